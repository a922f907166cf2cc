//! Reading a tree, and finding every mistake in its shape.
//!
//! A text without mistakes gives a tree; a text with mistakes gives each of
//! them, in the order in which they stand in the text.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::{AutoShutdown, DynamicPolicy, NodePolicy, SupervisorPolicy, TreePolicy, WorkerPolicy, kin, moved};
use crate::{
    choice::{Choose, POOL_MAX},
    document::{self, Error, Mistakes, Source},
    fallback::{self, STAND_INS_MAX, StandIn},
    reaction::Amendments,
    strategy::RestartKind,
};

/// The text as it is written: one table for each kind of node.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    root: Spanned<String>,
    #[serde(default)]
    on: Amendments,
    /// What nodes inherit, which they have by now.
    #[serde(default, rename = "default")]
    _default: Option<IgnoredAny>,
    #[serde(default)]
    supervisor: BTreeMap<Spanned<String>, SupervisorPolicy>,
    #[serde(default)]
    dynamic: BTreeMap<Spanned<String>, DynamicPolicy>,
    #[serde(default)]
    worker: BTreeMap<Spanned<String>, WorkerPolicy>,
}

/// Where each child of each supervisor is named, by supervisor, and each stand-in of each worker.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    supervisor: BTreeMap<String, Children>,
    #[serde(default)]
    worker: BTreeMap<String, StandIns>,
}

#[derive(Deserialize)]
struct StandIns {
    #[serde(default)]
    fallback: Vec<Spanned<StandIn>>,
    #[serde(default)]
    pool: Models,
}

#[derive(Default, Deserialize)]
struct Models {
    #[serde(default)]
    models: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    choose: Option<Spanned<Choose>>,
}

#[derive(Deserialize)]
struct Children {
    #[serde(default)]
    children: Vec<Spanned<String>>,
}

/// Reads a tree, or tells every mistake.
pub(super) fn read(file: &str, text: &str) -> Result<TreePolicy, Vec<Error>> {
    let source = Source { file, text };
    let document = document::parse(source)?;
    let mut mistakes = Mistakes::new(source);
    let document = moved::without(&document, &mut mistakes);
    let document = kin::resolve(&document, &mut mistakes);
    let written: Option<Written> = mistakes.typed("variant", &document);
    let places: Option<Places> = mistakes.typed("variant", &document);
    // What holds the tree together cannot be told of one that is read in part.
    let policy = written.zip(places).map(|(written, places)| {
        let mut checker = Checker { mistakes: &mut mistakes };
        let (policy, declared) = checker.declare(written, &places);
        let parents = checker.adopt(&policy, &declared, &places);
        checker.reach(&policy, &declared, &parents);
        checker.cast(&policy, &places);
        checker.pool(&places);
        policy
    });
    mistakes.conclude(policy)
}

/// Where each node is declared.
type Declared = BTreeMap<String, Range<usize>>;

/// Who supervises each child.
type Parents<'a> = BTreeMap<&'a str, &'a str>;

struct Checker<'m, 'a> {
    mistakes: &'m mut Mistakes<'a>,
}

impl Checker<'_, '_> {
    fn report(&mut self, at: &Range<usize>, message: String, help: impl Into<String>) {
        self.mistakes.add(at.clone(), message, help);
    }

    /// Puts the three kinds of node into one tree: a name must be declared
    /// once, and the root must be a supervisor.
    fn declare(&mut self, written: Written, places: &Places) -> (TreePolicy, Declared) {
        let supervisors = written.supervisor.into_iter().map(|(name, policy)| (name, NodePolicy::Supervisor(policy)));
        let dynamics = written.dynamic.into_iter().map(|(name, policy)| (name, NodePolicy::Dynamic(policy)));
        let workers = written.worker.into_iter().map(|(name, policy)| (name, NodePolicy::Worker(policy)));
        let mut policy = TreePolicy { root: written.root.get_ref().clone(), on: written.on, nodes: BTreeMap::new() };
        let mut declared = Declared::new();
        for (name, node) in supervisors.chain(dynamics).chain(workers) {
            let (at, name) = (name.span(), name.into_inner());
            if declared.insert(name.clone(), at.clone()).is_some() {
                self.report(&at, format!("`{name}` is declared twice"), "rename one of the two");
            }
            policy.nodes.insert(name, node);
        }
        if !places.supervisor.contains_key(policy.root.as_str()) {
            let help = document::suggestion(&policy.root, places.supervisor.keys().map(String::as_str));
            self.report(&written.root.span(), format!("the root `{}` is not a supervisor", policy.root), help);
        }
        (policy, declared)
    }

    /// Gives each child to its supervisor: it must be declared, and not belong
    /// to another.
    fn adopt<'p>(&mut self, policy: &'p TreePolicy, declared: &Declared, places: &'p Places) -> Parents<'p> {
        let mut parents = Parents::new();
        for (supervisor, written) in &places.supervisor {
            for child in &written.children {
                let (at, name) = (child.span(), child.get_ref().as_str());
                let Some(node) = policy.node(name) else {
                    let known = declared.keys().map(String::as_str);
                    let help = match document::closest(name, known) {
                        Some(other) => {
                            format!("did you mean `{other}`? If not, declare [worker.{name}]")
                        }
                        None => format!("declare it, for instance as [worker.{name}]"),
                    };
                    self.report(&at, format!("unknown child `{name}` of `{supervisor}`"), help);
                    continue;
                };
                if let Some(other) = parents.insert(name, supervisor.as_str()) {
                    let message = if other == supervisor {
                        format!("`{name}` is twice a child of `{other}`")
                    } else {
                        format!("`{name}` is a child of `{other}` and of `{supervisor}`")
                    };
                    self.report(&at, message, "name it once");
                }
                self.weigh(&at, name, node, policy.supervisor(supervisor));
            }
        }
        parents
    }

    /// Stand-ins: each is another, is named once, and leads back to nobody for whom it stands in.
    fn cast(&mut self, policy: &TreePolicy, places: &Places) {
        for (worker, written) in &places.worker {
            if let Some(one_more) = written.fallback.get(STAND_INS_MAX) {
                let message = format!("`{worker}` has more than {STAND_INS_MAX} stand-ins");
                self.report(&one_more.span(), message, "name fewer");
            }
            for (place, one) in written.fallback.iter().enumerate() {
                let (at, stand_in) = (one.span(), one.get_ref());
                if written.fallback.iter().take(place).any(|other| other.get_ref() == stand_in) {
                    self.report(&at, format!("`{stand_in}` stands in for `{worker}` twice"), "name it once");
                }
                let StandIn::Agent(name) = stand_in else { continue };
                if name == worker {
                    let help = "name another agent, or a model as \"model/NAME\"";
                    self.report(&at, format!("`{worker}` cannot stand in for itself"), help);
                } else if policy.worker(name).is_none() {
                    let workers = policy.nodes.iter().filter(|(_, node)| matches!(node, NodePolicy::Worker(_)));
                    let help = document::suggestion(name, workers.map(|(name, _)| name.as_str()));
                    self.report(&at, format!("there is no agent `{name}` to stand in for `{worker}`"), help);
                } else if let Some(circle) = self::circle(policy, worker, name) {
                    let message = format!("the stand-ins go round in a circle: {}", circle.join(" → "));
                    self.report(&at, message, "take one of them out of its list");
                }
            }
        }
    }

    /// Pools: each model is named once, and does not stand in for itself.
    fn pool(&mut self, places: &Places) {
        for (worker, written) in &places.worker {
            let Some(pool) = &written.pool.models else { continue };
            let models = pool.get_ref();
            if models.is_empty() {
                self.report(&pool.span(), format!("the pool of `{worker}` is empty"), "name a model, or take it out");
            }
            if let Some(one_more) = models.get(POOL_MAX) {
                let message = format!("the pool of `{worker}` has more than {POOL_MAX} models");
                self.report(&one_more.span(), message, "name fewer");
            }
            for (place, model) in models.iter().enumerate() {
                if models.iter().take(place).any(|other| other.get_ref() == model.get_ref()) {
                    let message = format!("`{}` is in the pool of `{worker}` twice", model.get_ref());
                    self.report(&model.span(), message, "name it once");
                }
            }
            if let Some(choose) = &written.pool.choose
                && matches!(choose.get_ref(), Choose::Weights(weights) if weights.is_nothing())
            {
                let message = format!("the weights of the pool of `{worker}` weigh nothing");
                self.report(&choose.span(), message, "give one of price, quality and latency more than 0");
            }
            for one in &written.fallback {
                let StandIn::Model(name) = one.get_ref() else { continue };
                if models.iter().any(|model| model.get_ref() == name) {
                    let message = format!("`{name}` is in the pool of `{worker}`, so it cannot stand in for it");
                    self.report(&one.span(), message, "name it in one of the two");
                }
            }
        }
    }

    /// OTP's rules for significant children: they must be able to end for good,
    /// and their supervisor must care.
    fn weigh(&mut self, at: &Range<usize>, name: &str, node: &NodePolicy, supervisor: Option<&SupervisorPolicy>) {
        if !node.significant() {
            return;
        }
        if node.restart() == RestartKind::Permanent {
            let message = format!("`{name}` is significant but permanent, so it never ends for good");
            self.report(at, message, "give it restart = \"transient\" or \"temporary\"");
        }
        if supervisor.is_some_and(|policy| policy.auto_shutdown == AutoShutdown::Never) {
            let message = format!("`{name}` is significant but its supervisor never shuts down by itself");
            self.report(at, message, "give the supervisor auto_shutdown = \"any_significant\" or \"all_significant\"");
        }
    }

    /// The way up from every node must end at the root: neither in a cycle nor
    /// at a node that nobody supervises.
    fn reach(&mut self, policy: &TreePolicy, declared: &Declared, parents: &Parents<'_>) {
        let root = policy.root.as_str();
        for (name, at) in declared {
            let Some(parent) = parents.get(name.as_str()) else {
                if name != root {
                    let message = format!("`{name}` is not reached from the root `{root}`");
                    let help = "add it to the children of a supervisor, or take it out";
                    self.report(at, message, help);
                }
                continue;
            };
            let Some(cycle) = cycle(name, parents) else {
                continue;
            };
            // Each cycle once: at the root, or else at its first name.
            let first = if cycle.contains(&root) { Some(&root) } else { cycle.iter().min() };
            if first == Some(&name.as_str()) {
                let message = format!("the children make a cycle: {} → {name}", cycle.join(" → "));
                let help = format!("take `{name}` out of the children of `{parent}`");
                self.report(at, message, help);
            }
        }
    }
}

/// The names from this one down to itself again, if the way up leads there.
fn cycle<'p>(name: &str, parents: &Parents<'p>) -> Option<Vec<&'p str>> {
    let mut above = std::iter::successors(parents.get(name), |above| parents.get(**above)).take(parents.len()).copied();
    let mut names = Vec::new();
    while names.last().is_none_or(|last| *last != name) {
        names.push(above.next()?);
    }
    names.reverse();
    Some(names)
}

/// The circle that begins where `worker` names the agent `next`, if there is one.
fn circle(policy: &TreePolicy, worker: &str, next: &str) -> Option<Vec<String>> {
    let first = [StandIn::Agent(next.to_owned())];
    let list = |name: &str| if name == worker { &first[..] } else { policy.fallback(name) };
    fallback::circle(worker, &list)
}
