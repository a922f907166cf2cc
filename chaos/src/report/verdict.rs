//! What was found with one seed. Invariant: a verdict is small, however long its history was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::outage::outages_us;
use crate::aims::{Invariant, Sometimes};
use crate::checkers::{Violation, check_all, reached, unsteady};
use crate::experiment::Steady;
use crate::fault::{ActorEffect, DiskEffect, Fault, PlatformEffect, ProviderEffect};
use crate::history::{History, Seen};

/// Violations that are kept with their words; the others are only counted.
pub const VIOLATIONS_MAX: usize = 100;

/// What was found with one seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// The hash of the trace, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Where a second play of the seed first went another way, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<String>,
    /// Why no play came of it, if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplayed: Option<String>,
    /// How many violations each checker found; those that found none are not named.
    pub counts: BTreeMap<Invariant, u64>,
    /// The first [`VIOLATIONS_MAX`] violations, by time.
    pub violations: Vec<Violation>,
    /// Each part of the steady state that did not hold, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsteady: Vec<String>,
    /// Which of those things happened that had to.
    pub reached: Vec<Sometimes>,
    /// How many faults of each kind were planned.
    pub planned: BTreeMap<String, u64>,
    /// The faults that struck, by number.
    pub struck: Vec<Struck>,
    /// How long each crash kept the process away, in microseconds.
    pub outages_us: Vec<u64>,
}

/// A fault that struck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Struck {
    /// Its number in the plan.
    pub number: u32,
    /// Its kind, as in `provider.lost`; `unknown` where the plan has no such fault.
    pub kind: String,
    /// How often.
    pub times: u64,
}

impl Verdict {
    /// Judges a history.
    #[must_use]
    pub fn of(history: &History, invariants: &[Invariant], sometimes: &[Sometimes]) -> Self {
        let mut violations = check_all(invariants, history);
        let mut counts = BTreeMap::new();
        for violation in &violations {
            *counts.entry(violation.invariant).or_default() += 1;
        }
        violations.truncate(VIOLATIONS_MAX);
        let mut planned: BTreeMap<String, u64> = BTreeMap::new();
        for fault in &history.plan.faults {
            *planned.entry(kind(&fault.fault).to_owned()).or_default() += 1;
        }
        Self {
            seed: history.plan.seed,
            trace: None,
            diverged: None,
            unplayed: None,
            counts,
            violations,
            unsteady: Vec::new(),
            reached: sometimes.iter().copied().filter(|one| reached(*one, history)).collect(),
            planned,
            struck: struck(history),
            outages_us: outages_us(history),
        }
    }

    /// That of a seed whose play ended without a word, or not at all.
    #[must_use]
    pub fn unplayed(seed: u64, why: String) -> Self {
        Self {
            seed,
            trace: None,
            diverged: None,
            unplayed: Some(why),
            counts: BTreeMap::new(),
            violations: Vec::new(),
            unsteady: Vec::new(),
            reached: Vec::new(),
            planned: BTreeMap::new(),
            struck: Vec::new(),
            outages_us: Vec::new(),
        }
    }

    /// The same, with the parts of the steady state that are named here.
    #[must_use]
    pub fn with_steady(self, steady: &[Steady], history: &History) -> Self {
        Self { unsteady: unsteady(steady, history), ..self }
    }

    /// Adds what was found beside the history.
    pub fn add(&mut self, violation: Violation) {
        *self.counts.entry(violation.invariant).or_default() += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    /// Whether the seed shows that something is wrong.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !self.counts.is_empty() || !self.unsteady.is_empty() || self.apart().is_some()
    }

    /// Why its play cannot be given again, if it cannot.
    #[must_use]
    pub fn apart(&self) -> Option<&str> {
        self.unplayed.as_deref().or(self.diverged.as_deref())
    }
}

fn struck(history: &History) -> Vec<Struck> {
    let planned: BTreeMap<u32, &Fault> = history.plan.faults.iter().map(|one| (one.number, &one.fault)).collect();
    let mut times: BTreeMap<u32, u64> = BTreeMap::new();
    for sighting in &history.seen {
        if let Seen::Struck { number } = sighting.what {
            *times.entry(number).or_default() += 1;
        }
    }
    let struck = times.into_iter().map(|(number, times)| {
        let kind = planned.get(&number).map_or("unknown", |fault| kind(fault)).to_owned();
        Struck { number, kind, times }
    });
    struck.collect()
}

/// What kind of fault it is: who misbehaves, and how.
#[must_use]
pub fn kind(fault: &Fault) -> &'static str {
    match fault {
        Fault::Provider { effect, .. } => match effect {
            ProviderEffect::Status { .. } => "provider.status",
            ProviderEffect::Reset => "provider.reset",
            ProviderEffect::Slow { .. } => "provider.slow",
            ProviderEffect::Drip { .. } => "provider.drip",
            ProviderEffect::Stall => "provider.stall",
            ProviderEffect::Cut => "provider.cut",
            ProviderEffect::Garbage => "provider.garbage",
            ProviderEffect::Wrong => "provider.wrong",
            ProviderEffect::Lost => "provider.lost",
            ProviderEffect::Poison => "provider.poison",
        },
        Fault::Platform { effect, .. } => match effect {
            PlatformEffect::Status { .. } => "platform.status",
            PlatformEffect::Reset => "platform.reset",
            PlatformEffect::Slow { .. } => "platform.slow",
            PlatformEffect::Lost => "platform.lost",
            PlatformEffect::Late { .. } => "platform.late",
        },
        Fault::Actor { effect, .. } => match effect {
            ActorEffect::Panic => "actor.panic",
            ActorEffect::Error => "actor.error",
            ActorEffect::Hang => "actor.hang",
            ActorEffect::Slow { .. } => "actor.slow",
            ActorEffect::Kill => "actor.kill",
            ActorEffect::Flood { .. } => "actor.flood",
        },
        Fault::Disk { effect } => match effect {
            DiskEffect::Full { .. } => "disk.full",
            DiskEffect::SyncError => "disk.sync_error",
            DiskEffect::AppendError => "disk.append_error",
        },
        Fault::Clock { .. } => "clock",
        Fault::Crash { .. } => "crash",
    }
}
