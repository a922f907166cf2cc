//! What policies and the configuration know each other by. Invariant: a name that only one of them knows
//! is a fault, told where it is written: what it was meant to limit would go without.

use std::collections::BTreeSet;

use agents::conduct::{CONTEXT_GUARD, PUBLISHER_GUARD, TOOL_GUARD};
use agents::tool::FETCH;
use agents::tool::mcp::MCP_GUARD;
use policies::budget::BudgetPolicy;
use policies::document::{self, Error};
use policies::guard::Guards;
use policies::mailbox::WhenFull;
use policies::price::PriceTable;
use policies::tree::{NodePolicy, TreePolicy, WorkerPolicy};

use crate::config::{Config, LOCAL, ModelConfig};
use crate::system::{RUNS, SERVICES, TELEMETRY, agents, publishers, servers};
use crate::written::Written;

/// Services that the tree lacks, and workers that nothing can start.
pub(super) fn tree(config: &Config, tree: &TreePolicy, written: &Written) -> Vec<Error> {
    let lacks = |what: &str, table: &str, name: &str| {
        let help = format!("add [{table}.{name}] and name it among the children of a supervisor");
        written.fault(&[], format!("the tree has no {what} `{name}`"), help)
    };
    let services = SERVICES.into_iter().filter(|name| tree.worker(name).is_none());
    let missing = services.map(|name| lacks("worker", "worker", name));
    let runs = tree.dynamic(RUNS).is_none().then(|| lacks("dynamic supervisor", "dynamic", RUNS));
    let startable: BTreeSet<&str> =
        agents(config).chain(SERVICES).chain(publishers(config)).chain(servers(config)).collect();
    let workers = tree.nodes.iter().filter(|(_, node)| matches!(node, NodePolicy::Worker(_)));
    let unknown = workers.filter(|(name, _)| !startable.contains(name.as_str())).map(|(name, _)| {
        let help = document::suggestion(name, startable.iter().copied());
        let message = format!(
            "nothing in this program can start the worker `{name}`: no agent, publisher or MCP server has that name"
        );
        written.fault(&["worker", name], message, help)
    });
    missing.chain(runs).chain(unknown).chain(droppers(tree, written)).collect()
}

/// Agents, publishers and MCP servers that no worker of the tree stands for, so that what is given to them waits.
pub(super) fn idle(config: &Config, tree: &TreePolicy, written: &Written) -> Vec<Error> {
    let all: BTreeSet<&str> = agents(config).chain(publishers(config)).chain(servers(config)).collect();
    let missing = all.into_iter().filter(|name| tree.worker(name).is_none());
    let doubt = |name: &str| {
        let waits = format!("no worker `{name}`, so what is given to `{name}` waits");
        let add = format!("add [worker.{name}] and name it among the children of a supervisor");
        if written.is_built_in() {
            let table = match name {
                name if config.agents.contains_key(name) => "agents",
                name if config.mcp.contains_key(name) => "mcp",
                _ => "publishers",
            };
            let help = format!("copy policies/defaults/tree.toml, {add}, and name the copy as `policies.tree`");
            return config.written.fault(&[table, name], format!("the built-in tree has {waits}"), help);
        }
        written.fault(&[], format!("the tree has {waits}"), format!("{add}, unless it is meant so"))
    };
    missing.map(doubt).collect()
}

/// Mailboxes that may drop what somebody was promised.
fn droppers(tree: &TreePolicy, written: &Written) -> Vec<Error> {
    const RULE: [&str; 2] = ["mailbox", "when_full"];
    let drops = |worker: &WorkerPolicy| worker.mailbox.when_full == WhenFull::DropOldest;
    let fault = |name: &str, ways: &[&[&str]]| {
        let message = format!("`{name}` carries what was promised, so its mailbox may not drop the oldest");
        let help = format!("write \"refuse\" or \"block\"; only {} may drop", TELEMETRY.join(", "));
        // Where it says so itself, or else inherits it from.
        let ways = ways.iter().map(|way| [*way, &RULE].concat());
        let way = ways.into_iter().find(|way| written.source().has(way)).unwrap_or_default();
        written.fault(&way, message, help)
    };
    let of_node = |(name, node): (&String, &NodePolicy)| match node {
        NodePolicy::Worker(worker) if drops(worker) && !TELEMETRY.contains(&name.as_str()) => {
            let parent = tree.parent(name).unwrap_or_default();
            let ways: [&[&str]; 3] = [&["worker", name], &["supervisor", parent, "child"], &["default", "worker"]];
            Some(fault(name, &ways))
        }
        NodePolicy::Dynamic(dynamic) if drops(&dynamic.child) => {
            let ways: [&[&str]; 3] =
                [&["dynamic", name, "child"], &["default", "dynamic", "child"], &["default", "worker"]];
            Some(fault(name, &ways))
        }
        _ => None,
    };
    tree.nodes.iter().filter_map(of_node).collect()
}

/// Models in use that have no price, or none that bounds what a call may cost.
pub(super) fn prices(config: &Config, prices: &PriceTable) -> Vec<Error> {
    let fault = |used: &crate::config::ModelInUse<'_>| {
        let (key, name) = match used.model {
            ModelConfig::Local { .. } => ("kind", LOCAL),
            ModelConfig::Server(model) => match &model.price {
                Some(price) => ("price", price.as_str()),
                None => ("name", model.name.as_str()),
            },
        };
        if let Some(price) = prices.models.get(name) {
            let acts_unasked = matches!(used.model, ModelConfig::Server(model) if model.api.acts_unasked());
            let bound = price.lacks_bound().filter(|_| acts_unasked)?;
            let way: Vec<&str> = used.way.iter().copied().chain([key]).collect();
            let message = format!("`{name}` may think and search unasked, and the price table has no `{bound}` for it");
            let help = format!("add `{bound}` to [models.\"{name}\"] in it, for what is reserved for each request");
            return Some(config.written.fault(&way, message, help));
        }
        let agents = used.agents.join(", ");
        let for_whom = if agents.is_empty() { String::new() } else { format!(" (for {agents})") };
        let message =
            format!("the price table has no model `{name}`, and budgets cannot be kept without its price{for_whom}");
        let meant = document::closest(name, prices.models.keys().map(String::as_str));
        let meant = meant.map(|other| format!("did you mean `{other}`? If not, ")).unwrap_or_default();
        let set = if key == "kind" {
            ""
        } else {
            "set `price` to a key of the table (`local` for a server of your own), or "
        };
        let help = format!("{meant}{set}add [models.\"{name}\"] to it");
        let way: Vec<&str> = used.way.iter().copied().chain([key]).collect();
        Some(config.written.fault(&way, message, help))
    };
    config.models().iter().filter_map(fault).collect()
}

/// Limits for agents that there are not.
pub(super) fn budget(config: &Config, budget: &BudgetPolicy, written: &Written) -> Vec<Error> {
    let known: BTreeSet<&str> = agents(config).collect();
    let strangers = budget.agents.keys().filter(|name| !known.contains(name.as_str()));
    let fault = |name: &String| {
        let message = format!("there is no agent `{name}`, so its limit holds nobody");
        written.fault(&["agents", name], message, document::suggestion(name, known.iter().copied()))
    };
    strangers.map(fault).collect()
}

/// A budget that limits nobody: perhaps a file that was being written.
pub(super) fn unlimited(budget: &BudgetPolicy, written: &Written) -> Option<Error> {
    let help = "add limits such as workspace = \"$20.00\", unless it is meant so";
    let fault =
        || written.fault(&[], "nothing is limited, since the budget has no limit: spending is only counted", help);
    budget.limits_nothing().then(fault)
}

/// Guards that no effect has, and none inherits from.
pub(super) fn guards(config: &Config, guards: &Guards, written: &Written) -> Vec<Error> {
    let known = guarded(config);
    let strangers = guards.iter().map(|(name, _)| name).filter(|name| !known.contains(*name));
    let fault = |name: &str| {
        let help = document::suggestion(name, known.iter().map(String::as_str));
        written.fault(&[name], format!("nothing stands behind the guard `{name}`"), help)
    };
    let mut faults: Vec<Error> = strangers.map(fault).collect();
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults
}

/// The guards that effects have under this configuration, with those that they inherit from.
pub(crate) fn guarded(config: &Config) -> BTreeSet<String> {
    let models = config.models();
    let models = models.iter().map(crate::config::ModelInUse::guard);
    let publishers = publishers(config).map(|name| format!("{PUBLISHER_GUARD}/{name}"));
    let servers = servers(config).map(|name| format!("{MCP_GUARD}/{name}"));
    let fixed = [CONTEXT_GUARD.to_owned(), format!("model/{LOCAL}"), format!("{TOOL_GUARD}/{FETCH}")];
    let own = models.chain(publishers).chain(servers).chain(fixed);
    let above = |name: String| {
        let names: Vec<String> = std::iter::successors(Some(name.as_str()), |name| Some(name.rsplit_once('/')?.0))
            .map(str::to_owned)
            .collect();
        names
    };
    own.flat_map(above).chain(["default".to_owned()]).collect()
}
