//! The faults of a plan, as they come into force. Invariant: what a fault draws follows from the plan's
//! seed, the fault's number and what was asked of it before; other faults change nothing of it. Of several
//! that hit at once the first strikes, and only that one's count goes down.

use std::time::Duration;

use actors::world::{Chance, Trouble};
use policies::pattern::covers;

use crate::fault::{ActorEffect, Fault, Hits, Loss, PlatformEffect, Point, ProviderEffect};
use crate::plan::{Plan, Planned};

/// All faults of one play.
pub(crate) struct Weather {
    fronts: Vec<Front>,
}

/// One fault, and how often it has struck.
struct Front {
    planned: Planned,
    chance: Chance,
    /// How often it struck; for a crash, how often its point was passed.
    count: u32,
    over: bool,
}

/// A fault that the driver applies by itself, when its time has come.
pub(super) struct Due {
    pub(super) number: u32,
    pub(super) fault: Fault,
    /// Decides what the fault leaves open, such as which of several actors.
    pub(super) chance: Chance,
}

impl Weather {
    pub(crate) fn new(plan: &Plan) -> Self {
        let front = |planned: &Planned| Front {
            planned: planned.clone(),
            chance: Chance::derived(plan.seed, "fault", u64::from(planned.number)),
            count: 0,
            over: false,
        };
        Self { fronts: plan.faults.iter().map(front).collect() }
    }

    /// What a call to the provider runs into now.
    pub(crate) fn provider(&mut self, now: Duration) -> Option<(u32, ProviderEffect)> {
        self.first_hit(now, |fault| match fault {
            Fault::Provider { effect, hits } => Some((*effect, *hits)),
            _ => None,
        })
    }

    /// What a request to the platform runs into now.
    pub(crate) fn platform(&mut self, now: Duration) -> Option<(u32, PlatformEffect)> {
        self.first_hit(now, |fault| match fault {
            Fault::Platform { effect, hits } => Some((*effect, *hits)),
            _ => None,
        })
    }

    /// The first of the faults in force that hit. Each of them draws, whether another was before it or not, so
    /// that it draws the same when that one is left out.
    fn first_hit<E>(&mut self, now: Duration, of: impl Fn(&Fault) -> Option<(E, Hits)>) -> Option<(u32, E)> {
        let drawn = self.fronts.iter_mut().filter_map(|front| {
            let (effect, hits) = of(&front.planned.fault)?;
            front.draws(hits, now).then_some((front, effect))
        });
        let (front, effect) = drawn.fold(None, |first, one| first.or(Some(one)))?;
        front.count += 1;
        Some((front.planned.number, effect))
    }

    /// What this actor's turn runs into now.
    pub(super) fn actor(&mut self, actor: &str, now: Duration) -> Option<(u32, Trouble)> {
        let front = self.fronts.iter_mut().find(|front| {
            let Fault::Actor { target, effect } = &front.planned.fault else { return false };
            trouble(*effect).is_some() && front.is_due(now) && covers(target, actor)
        })?;
        front.over = true;
        let Fault::Actor { effect, .. } = front.planned.fault else { return None };
        trouble(effect).map(|trouble| (front.planned.number, trouble))
    }

    /// Whether the process dies as it passes this point now.
    pub(super) fn passes(&mut self, point: Point, now: Duration) -> Option<(u32, Loss)> {
        for front in &mut self.fronts {
            if let Fault::Crash { point: Some(at), nth, loss } = front.planned.fault
                && at == point
                && front.is_due(now)
            {
                front.count += 1;
                if front.count >= nth.max(1) {
                    front.over = true;
                    return Some((front.planned.number, loss));
                }
            }
        }
        None
    }

    /// When the next fault is due that the driver applies.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.fronts.iter().filter(|front| !front.over && front.is_driven()).map(Front::at).min()
    }

    /// The faults that the driver applies now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Due> {
        let due = self.fronts.iter_mut().filter(|front| front.is_driven() && front.is_due(now));
        let taken = due.map(|front| {
            front.over = true;
            let chance = Chance::derived(front.chance.below(u64::MAX), "fault/driven", 0);
            Due { number: front.planned.number, fault: front.planned.fault.clone(), chance }
        });
        taken.collect()
    }

    /// Ends every fault: the quiet time has begun.
    pub(super) fn clear(&mut self) {
        self.fronts.iter_mut().for_each(|front| front.over = true);
    }
}

impl Front {
    fn at(&self) -> Duration {
        Duration::from_millis(self.planned.at_ms)
    }

    fn is_due(&self, now: Duration) -> bool {
        !self.over && self.at() <= now
    }

    /// Whether it strikes by itself, and not at somebody's call or turn.
    fn is_driven(&self) -> bool {
        match self.planned.fault {
            Fault::Provider { .. } | Fault::Platform { .. } | Fault::Crash { point: Some(_), .. } => false,
            Fault::Actor { effect, .. } => trouble(effect).is_none(),
            Fault::Disk { .. } | Fault::Clock { .. } | Fault::Crash { point: None, .. } => true,
        }
    }

    /// Whether it would hit a call now; what has hit as often as it may draws no more.
    fn draws(&mut self, hits: Hits, now: Duration) -> bool {
        let until = self.at() + Duration::from_millis(hits.for_ms);
        if !self.is_due(now) || now >= until || hits.count_max.is_some_and(|max| self.count >= max) {
            return false;
        }
        self.chance.unit() < hits.p
    }
}

fn trouble(effect: ActorEffect) -> Option<Trouble> {
    match effect {
        ActorEffect::Panic => Some(Trouble::Panic),
        ActorEffect::Error => Some(Trouble::Error),
        ActorEffect::Hang => Some(Trouble::Hang),
        ActorEffect::Slow { by_ms } => Some(Trouble::Slow(Duration::from_millis(by_ms))),
        ActorEffect::Kill | ActorEffect::Flood { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather(faults: Vec<Fault>) -> Weather {
        let numbered = faults.into_iter().zip(0..);
        planned(numbered.map(|(fault, number)| Planned { number, at_ms: 1_000, fault }).collect())
    }

    fn planned(faults: Vec<Planned>) -> Weather {
        Weather::new(&Plan { seed: 7, ..Plan::plain(&[], faults) })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_fault_hits_within_its_window_and_no_more_than_its_count() {
        let hits = Hits { for_ms: 5_000, p: 1.0, count_max: Some(2) };
        let mut weather = weather(vec![Fault::Provider { effect: ProviderEffect::Reset, hits }]);
        let struck = [0, 1, 2, 3, 7].map(|second| weather.provider(at(second)).is_some());
        assert_eq!(struck, [false, true, true, false, false]);
    }

    #[test]
    fn leaving_one_fault_out_leaves_the_others_as_they_were() {
        let hits = Hits { for_ms: 5_000, p: 0.5, count_max: None };
        let platform = Fault::Platform { effect: PlatformEffect::Reset, hits };
        let provider = Fault::Provider { effect: ProviderEffect::Reset, hits };
        let mut both = weather(vec![platform.clone(), provider.clone()]);
        let mut one = weather(vec![platform]);
        for _ in 0..64 {
            both.provider(at(2));
            assert_eq!(both.platform(at(2)).is_some(), one.platform(at(2)).is_some());
        }
    }

    #[test]
    fn leaving_out_a_fault_of_the_same_kind_leaves_what_the_next_draws() {
        let half = Hits { for_ms: 5_000, p: 0.5, count_max: None };
        let fault = |number, effect| Planned { number, at_ms: 1_000, fault: Fault::Provider { effect, hits: half } };
        let both = vec![fault(0, ProviderEffect::Reset), fault(1, ProviderEffect::Lost)];
        let (mut both, mut alone) = (planned(both.clone()), planned(both[1..].to_vec()));
        let mut seen = 0;
        for _ in 0..64 {
            let (of_both, of_one) = (both.provider(at(2)), alone.provider(at(2)));
            match of_both {
                // What the first one takes, the other would have hit or not all the same.
                Some((0, _)) => {}
                other => assert_eq!(other, of_one),
            }
            seen += u32::from(of_both.is_some_and(|(number, _)| number == 1));
        }
        assert!(seen > 1, "the second one hits where the first does not");
    }

    #[test]
    fn only_the_fault_that_strikes_is_counted() {
        let once = Hits { for_ms: 5_000, p: 1.0, count_max: Some(1) };
        let fault = |number, effect| Planned { number, at_ms: 1_000, fault: Fault::Provider { effect, hits: once } };
        let mut weather = planned(vec![fault(0, ProviderEffect::Reset), fault(1, ProviderEffect::Lost)]);
        let struck = [0, 1, 2].map(|_| weather.provider(at(2)).map(|(number, _)| number));
        assert_eq!(struck, [Some(0), Some(1), None]);
    }

    #[test]
    fn a_crash_waits_for_its_passing() {
        let crash = Fault::Crash { point: Some(Point::SyncAfter), nth: 2, loss: Loss::Torn };
        let mut weather = weather(vec![crash]);
        assert_eq!(weather.passes(Point::SyncAfter, at(0)), None, "not yet due");
        assert_eq!(weather.passes(Point::SyncAfter, at(1)), None);
        assert_eq!(weather.passes(Point::SyncBefore, at(1)), None);
        assert_eq!(weather.passes(Point::SyncAfter, at(2)), Some((0, Loss::Torn)));
        assert_eq!(weather.passes(Point::SyncAfter, at(3)), None, "once");
    }
}
