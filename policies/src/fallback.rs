//! Who stands in for an agent while what it needs is out, and when it hands back.
//!
//! Invariant: the one that is named first is taken whenever it can act, so that it has its work back
//! with the next call after its breaker lets one through; a stand-in acts only while all before it are
//! out, and never for one that an operator holds.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{budget::ScopeId, choice::Rating, text::serde_as_text};

/// The most that one list may name.
pub const STAND_INS_MAX: usize = 8;

/// Who takes over: written "agent/reviewer" or "model/local".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StandIn {
    /// Another agent, with its own model, instructions and budget, and with its own stand-ins.
    Agent(String),
    /// The same agent, with another model.
    Model(String),
}

impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent/{name}"),
            Self::Model(name) => write!(f, "model/{name}"),
        }
    }
}

/// Text that is no stand-in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no stand-in; write agent/ or model/ and a name, such as \"model/local\"")]
pub struct NotStandIn(String);

impl FromStr for StandIn {
    type Err = NotStandIn;

    fn from_str(text: &str) -> Result<Self, NotStandIn> {
        match text.split_once('/') {
            Some((_, "")) => None,
            Some(("agent", name)) => Some(Self::Agent(name.to_owned())),
            Some(("model", name)) => Some(Self::Model(name.to_owned())),
            _ => None,
        }
        .ok_or_else(|| NotStandIn(text.to_owned()))
    }
}

serde_as_text!(StandIn, "a stand-in such as \"model/local\" or \"agent/reviewer\"");

/// One place of a chain: an agent, and the model it speaks with there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The agent.
    pub agent: String,
    /// The model by its name; none for the agent's own.
    pub model: Option<String>,
}

/// All that may act for an agent, in the order in which they are asked: itself, then its list, and
/// behind each agent of that the agent's own list. Each is in it once, whatever the lists say.
pub fn chain<'l>(agent: &str, list: &impl Fn(&str) -> &'l [StandIn]) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    // What is still to be looked at, the next at the end, with the agent whose list names it.
    let mut open = vec![(agent.to_owned(), StandIn::Agent(agent.to_owned()))];
    while let Some((owner, next)) = open.pop() {
        let link = match next {
            StandIn::Agent(name) => Link { agent: name, model: None },
            StandIn::Model(name) => Link { agent: owner, model: Some(name) },
        };
        if links.contains(&link) {
            continue;
        }
        if link.model.is_none() {
            open.extend(list(&link.agent).iter().rev().map(|below| (link.agent.clone(), below.clone())));
        }
        links.push(link);
    }
    links
}

/// The agents that stand in for each other in a circle that `agent` is part of, in its order and from
/// `agent` back to it; none where there is no such circle.
pub fn circle<'l>(agent: &str, list: &impl Fn(&str) -> &'l [StandIn]) -> Option<Vec<String>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut ways: Vec<Vec<&str>> = vec![vec![agent]];
    while let Some(way) = ways.pop() {
        let Some(last) = way.last() else { continue };
        for below in list(last) {
            let StandIn::Agent(name) = below else { continue };
            if name == agent {
                return Some(way.iter().copied().chain([agent]).map(str::to_owned).collect());
            }
            if !seen.contains(&name.as_str()) {
                seen.push(name);
                ways.push(way.iter().copied().chain([name.as_str()]).collect());
            }
        }
    }
    None
}

/// Whether one of a chain can act now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can, at once or as soon as it has a place and its rate allows.
    Ready,
    /// This effect has failed with it as often as it may; it is asked again when nobody else can act.
    Spent,
    /// It cannot.
    Out(Outage),
    /// An operator stopped or paused it, which is no outage.
    Held,
}

/// Why one of a chain cannot act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Outage {
    /// A breaker in front of it is open, or half open with all its trial calls under way.
    Breaker {
        /// The guard that it is part of.
        guard: String,
    },
    /// Its worker was parked, or is down for good, by policy.
    Down {
        /// The worker.
        worker: String,
    },
    /// This effect has failed with it as often as it may.
    Spent {
        /// The guard whose `retry` says how often.
        guard: String,
    },
    /// A budget does not cover it, and says that a cheaper one be asked.
    Budget {
        /// The scope whose budget that is.
        scope: ScopeId,
    },
    /// It cannot do what the call needs.
    Unable {
        /// What that is, such as "use tools".
        need: String,
    },
    /// Nobody knows what it costs.
    Unpriced {
        /// Its key in the price table.
        model: String,
    },
    /// Evaluation has found it worse than its pool allows.
    Worse {
        /// How good it is.
        quality: Rating,
        /// The least that is allowed.
        quality_min: Rating,
    },
}

impl Outage {
    /// Whether it passes by itself, so that the one that is out is worth waiting for.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Breaker { .. } | Self::Down { .. })
    }

    /// Whether it is about the call and the one that would make it, whoever is up and whatever is paid.
    pub const fn is_bar(&self) -> bool {
        matches!(self, Self::Unable { .. } | Self::Unpriced { .. } | Self::Worse { .. })
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaker { guard } => write!(f, "the breaker of {guard} is open"),
            Self::Down { worker } => write!(f, "{worker} is down"),
            Self::Spent { guard } => write!(f, "its attempts with {guard} are used up"),
            Self::Budget { scope } => write!(f, "the budget of {scope} does not cover it"),
            Self::Unable { need } => write!(f, "it cannot {need}"),
            Self::Unpriced { model } => write!(f, "the price table has no model `{model}`"),
            Self::Worse { quality, quality_min } => {
                write!(f, "its quality is {quality}, and {quality_min} is the least")
            }
        }
    }
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one at this place of the chain.
    Take(usize),
    /// Nobody can now.
    Wait,
}

/// Decides who of a chain acts. The first is the one that is named, the others are its stand-ins.
pub fn choose(chain: &[Readiness]) -> Choice {
    if chain.first() == Some(&Readiness::Held) {
        return Choice::Wait;
    }
    let first = |wanted: &Readiness| chain.iter().position(|link| link == wanted);
    first(&Readiness::Ready).or_else(|| first(&Readiness::Spent)).map_or(Choice::Wait, Choice::Take)
}

/// How many of a chain are spent, from its beginning, after so many failures of one effect:
/// `attempts` is how often each may be tried. The last is never spent, since nobody stands in for it.
pub fn spent(attempts: &[u32], failures: u32) -> usize {
    let mut sum = 0_u32;
    let used_up = attempts.iter().take_while(|most| {
        sum = sum.saturating_add((**most).max(1));
        sum <= failures
    });
    used_up.count().min(attempts.len().saturating_sub(1))
}

#[cfg(test)]
mod tests;
