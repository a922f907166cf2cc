//! Breakers make only legal moves, and nothing is called through an open one. Invariant: what a
//! breaker says of itself is held against its own rules and against the provider's ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use super::unrest::Unrest;
use super::violation::{Moment, Violation, micros};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// A call that was let through while the breaker was closed reaches the provider within this: its
/// intent has to be durable first.
pub const ON_THE_WAY: Duration = Duration::from_secs(1);

/// Guards of model calls begin with this.
const MODELS: &str = "model/";
const CLOSED: &str = "closed";
const OPEN: &str = "open";
const HALF_OPEN: &str = "half_open";

/// Where each guard stands that has moved in this life, and since when.
type States<'a> = BTreeMap<&'a str, (u64, &'a str)>;

/// A call that names no model counts as made through an open breaker only when every guard of a model
/// that has moved in this life is open. An agent's own breaker is held to its moves alone, since no call
/// names the agent that makes it. While an actor or the disk is slowed down,
/// a call that was let through earlier may come at any time.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let unrest = Unrest::of(history);
    let mut states = States::new();
    let mut found = Vec::new();
    for (place, Sighting { at_us, what }) in history.seen.iter().enumerate() {
        match what {
            // A new process begins with new breakers, all closed.
            Seen::Crashed { .. } | Seen::Ready { .. } => states.clear(),
            Seen::BreakerMoved { guard, to } => {
                let (since_us, from) = states.insert(guard, (*at_us, to)).unwrap_or((0, CLOSED));
                if !is_legal(from, to) {
                    let (since, at) = (Moment(since_us), Moment(*at_us));
                    let message = format!("breaker `{guard}`, {from} since {since}, went to {to} at {at}");
                    found.push(violation(*at_us, message));
                }
            }
            Seen::Called { call, content, model } => {
                let Some((guard, since_us)) = open(&states, model.as_deref()) else { continue };
                let on_the_way = at_us.saturating_sub(since_us) <= micros(ON_THE_WAY);
                if on_the_way || unrest.delays(*at_us) || is_probe(&history.seen[place..], guard, *at_us) {
                    continue;
                }
                let (since, at) = (Moment(since_us), Moment(*at_us));
                let message = format!(
                    "call {call} (content `{content}`) came in at {at}, while breaker `{guard}` was open since {since}"
                );
                found.push(violation(*at_us, message));
            }
            _ => {}
        }
    }
    found
}

fn is_legal(from: &str, to: &str) -> bool {
    matches!((from, to), (CLOSED | HALF_OPEN, OPEN) | (OPEN, HALF_OPEN) | (HALF_OPEN, CLOSED))
}

/// The guard that opened last, when all known guards of models are open; of a call that names its model,
/// that of this model, when it is.
fn open<'a>(states: &States<'a>, model: Option<&str>) -> Option<(&'a str, u64)> {
    let is_meant = |name: &str| model.is_none_or(|model| name == model);
    let models = || states.iter().filter(|(guard, _)| guard.strip_prefix(MODELS).is_some_and(is_meant));
    if models().any(|(_, (_, state))| *state != OPEN) {
        return None;
    }
    models().map(|(guard, (since_us, _))| (*guard, *since_us)).max_by_key(|(_, since_us)| *since_us)
}

/// Whether the call is the probe whose move is told a moment after it.
fn is_probe(rest: &[Sighting], guard: &str, at_us: u64) -> bool {
    let due_us = at_us.saturating_add(micros(ON_THE_WAY));
    let mut soon = rest.iter().take_while(|sighting| sighting.at_us <= due_us);
    soon.any(
        |sighting| matches!(&sighting.what, Seen::BreakerMoved { guard: who, to } if who == guard && to == HALF_OPEN),
    )
}

fn violation(at_us: u64, message: String) -> Violation {
    Violation { invariant: Invariant::BreakerLegal, at_us, message }
}
