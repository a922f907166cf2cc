//! A plan's faults as a running server is asked for them. Invariant: a pure function; everything is
//! asked for within the server's bounds, or the play does not begin.

use std::time::Duration;

use gateway::live::{Asked, FOR_MAX, Kind};
use policies::span::Span;

use super::LiveError;
use crate::fault::{ActorEffect, Fault, Hits, PlatformEffect, ProviderEffect};
use crate::plan::Plan;

/// The shortest time that a fault is asked for.
const FOR_MIN: Duration = Duration::from_secs(1);

/// A fault at its time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    pub(super) number: u32,
    pub(super) at_ms: u64,
    pub(super) asked: Asked,
}

impl Due {
    /// When it is over, at the latest.
    pub(super) fn ends_ms(&self) -> u64 {
        let lasts = self.asked.lasts.map_or(FOR_MAX, Span::duration);
        self.at_ms.saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The faults of the plan, by time.
pub(super) fn course(plan: &Plan) -> Result<Vec<Due>, LiveError> {
    let due = |planned: &crate::plan::Planned| {
        let number = planned.number;
        let left_ms = plan.duration_ms.saturating_sub(planned.at_ms);
        let asked = asked(&planned.fault, left_ms)
            .ok_or_else(|| LiveError::Fault { number, reason: "no running server is given such a fault".to_owned() })?;
        asked.check().map_err(|source| LiveError::Bounds { number, source })?;
        Ok(Due { number, at_ms: planned.at_ms, asked })
    };
    plan.faults.iter().map(due).collect()
}

/// What the operators' API is asked for; nothing for what it cannot do.
fn asked(fault: &Fault, left_ms: u64) -> Option<Asked> {
    match fault {
        Fault::Provider { effect, hits } => provider(*effect).map(|asked| lasting(asked, *hits)),
        Fault::Platform { effect, hits } => platform(*effect).map(|asked| lasting(asked, *hits)),
        Fault::Actor { target, effect } => {
            let lasts = Duration::from_millis(left_ms).clamp(FOR_MIN, FOR_MAX);
            let asked = actor(*effect)?;
            Some(Asked { target: Some(target.clone()), lasts: Some(Span(lasts)), hits_max: Some(1), ..asked })
        }
        Fault::Disk { .. } | Fault::Clock { .. } | Fault::Crash { .. } => None,
    }
}

/// Without a count, the server's own bound on what a fault may hit stands.
fn lasting(asked: Asked, hits: Hits) -> Asked {
    Asked { lasts: Some(Span::from_millis(hits.for_ms)), p: Some(hits.p), hits_max: hits.count_max, ..asked }
}

fn provider(effect: ProviderEffect) -> Option<Asked> {
    Some(match effect {
        ProviderEffect::Status { status, retry_after_ms } => Asked {
            status: Some(status),
            retry_after: retry_after_ms.map(Span::from_millis),
            ..Asked::new(Kind::ProviderStatus)
        },
        ProviderEffect::Reset => Asked::new(Kind::ProviderReset),
        ProviderEffect::Slow { by_ms } => slow(Kind::ProviderSlow, by_ms),
        ProviderEffect::Stall => Asked::new(Kind::ProviderStall),
        ProviderEffect::Cut => Asked::new(Kind::ProviderCut),
        ProviderEffect::Garbage => Asked::new(Kind::ProviderGarbage),
        ProviderEffect::Lost => Asked::new(Kind::ProviderLost),
        ProviderEffect::Drip { .. } | ProviderEffect::Wrong | ProviderEffect::Poison => return None,
    })
}

fn platform(effect: PlatformEffect) -> Option<Asked> {
    Some(match effect {
        PlatformEffect::Status { status } => Asked { status: Some(status), ..Asked::new(Kind::PlatformStatus) },
        PlatformEffect::Reset => Asked::new(Kind::PlatformReset),
        PlatformEffect::Slow { by_ms } => slow(Kind::PlatformSlow, by_ms),
        PlatformEffect::Lost => Asked::new(Kind::PlatformLost),
        PlatformEffect::Late { .. } => return None,
    })
}

fn actor(effect: ActorEffect) -> Option<Asked> {
    Some(match effect {
        ActorEffect::Panic => Asked::new(Kind::ActorPanic),
        ActorEffect::Error => Asked::new(Kind::ActorError),
        ActorEffect::Hang => Asked::new(Kind::ActorHang),
        ActorEffect::Slow { by_ms } => slow(Kind::ActorSlow, by_ms),
        ActorEffect::Kill => Asked::new(Kind::ActorKill),
        ActorEffect::Flood { .. } => return None,
    })
}

fn slow(kind: Kind, by_ms: u64) -> Asked {
    Asked { by: Some(Span::from_millis(by_ms)), ..Asked::new(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Mode, read};
    use crate::plan::expand;

    const HEAD: &str = "[experiment]\nname = 'x'\nmodes = ['live']\nduration = '20m'\nquiet = '1m'\n\
                        [workload]\nruns = 1\narrival = '1/s'\n";

    fn written(faults: &str) -> Result<Vec<Due>, LiveError> {
        course(&expand(&read("x.toml", &format!("{HEAD}{faults}")).unwrap(), 1))
    }

    #[test]
    fn a_fault_is_asked_for_as_the_experiment_has_it() {
        let due = written(
            "[[fault]]\nkind = 'provider_status'\nstatus = 429\nretry_after = '5s'\nat = '10s..40s'\np = 0.3\n\
             [[fault]]\nkind = 'actor_panic'\ntarget = 'writer'\nat = '50s'\n",
        );
        let due: Vec<_> = due
            .unwrap()
            .into_iter()
            .map(|due| (due.at_ms, due.ends_ms(), serde_json::to_value(&due.asked).unwrap()))
            .collect();
        let status = serde_json::json!({
            "kind": "provider_status", "status": 429, "retry_after": "5s", "for": "30s", "p": 0.3,
        });
        let panic = serde_json::json!({ "kind": "actor_panic", "target": "writer", "for": "10m", "hits_max": 1 });
        assert_eq!(due, [(10_000, 40_000, status), (50_000, 650_000, panic)]);
    }

    #[test]
    fn what_a_server_would_refuse_ends_the_play_before_it_begins() {
        for (fault, wanted) in [
            ("kind = 'provider_reset'\nat = '0s..11m'\n", "`for` must be above zero and at most \"10m\""),
            ("kind = 'provider_slow'\nby = '2m'\nat = '0s..1m'\n", "`by` must be above zero and at most \"1m\""),
        ] {
            let error = written(&format!("[[fault]]\n{fault}")).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert_eq!(source, wanted);
        }
    }

    #[test]
    fn every_shipped_experiment_that_says_so_can_be_played_live() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");
        let mut played = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let experiment = crate::experiment::load(&entry.unwrap().path()).unwrap();
            if experiment.modes.contains(&Mode::Live) {
                for seed in 0..20 {
                    course(&expand(&experiment, seed)).unwrap();
                }
                assert!(experiment.invariants.iter().any(|one| super::super::INVARIANTS.contains(one)));
                played.push(experiment.name);
            }
        }
        played.sort();
        assert_eq!(played, ["breaker-flap", "hang", "provider-storm", "slow-provider", "tree-meltdown"]);
    }
}
