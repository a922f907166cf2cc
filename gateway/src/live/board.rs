//! The faults of this process, and which of them hits what happens now. Invariant: a pure decision of
//! time and chance that are handed in; a fault hits nothing before it was put here, nothing from its
//! end on, and never more than it may.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use actors::world::{Chance, Trouble};
use policies::instant::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::fault::{Asked, Effect, Fault, NotFault, PlatformEffect, ProviderEffect};

/// The most faults in force at once.
pub const FAULTS_MAX: usize = 64;
/// The most faults that are remembered when they are over; the oldest is forgotten first.
const OVER_MAX: usize = 256;

/// Where a fault stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It hits what it is aimed at.
    InForce,
    /// It has hit all that it may.
    UsedUp,
    /// Its time is over.
    Expired,
    /// An operator has stopped it, or the process stops.
    Stopped,
}

/// A fault as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name.
    pub id: String,
    /// What was asked for, with what was left out filled in.
    pub fault: Asked,
    /// Since when.
    pub began: Timestamp,
    /// Where it stands.
    pub standing: Standing,
    /// How many calls or turns it has hit, or how many actors it has killed.
    pub hits: u32,
}

/// What hits.
pub(super) struct Hit<E> {
    pub(super) effect: E,
    /// Cancelled when the fault's time is over or it is stopped: whatever it holds up goes on then.
    pub(super) gone: CancellationToken,
    /// The fault, when this was the last that it may hit.
    pub(super) used_up: Option<Shown>,
}

struct Entry {
    shown: Shown,
    fault: Fault,
    /// On the monotonic clock.
    ends: Duration,
    chance: Chance,
    gone: CancellationToken,
    /// The actors in a turn that it has stopped, with the time of it.
    hung: BTreeMap<String, Duration>,
}

/// The faults, in the order in which they came.
#[derive(Default)]
pub(super) struct Board {
    entries: VecDeque<Entry>,
}

/// A fault that has gone: nothing is held up by it any more.
pub(super) struct Gone {
    pub(super) shown: Shown,
    /// Whether it was in force until now.
    pub(super) was_in_force: bool,
    /// The actors that it has stopped in a turn, with the time of it.
    pub(super) hung: BTreeMap<String, Duration>,
}

impl Board {
    /// Puts a fault into force; what it returns is cancelled when the fault is gone.
    pub(super) fn put(
        &mut self,
        id: String,
        fault: Fault,
        began: Timestamp,
        now: Duration,
        chance: Chance,
    ) -> Result<(Shown, CancellationToken), NotFault> {
        if self.entries.iter().filter(|entry| !entry.gone.is_cancelled()).count() >= FAULTS_MAX {
            return Err(NotFault::Many(FAULTS_MAX));
        }
        self.forget();
        let shown = Shown { id, fault: fault.asked.clone(), began, standing: Standing::InForce, hits: 0 };
        let gone = CancellationToken::new();
        let ends = now.saturating_add(fault.lasts);
        let entry = Entry { shown: shown.clone(), fault, ends, chance, gone: gone.clone(), hung: BTreeMap::new() };
        self.entries.push_back(entry);
        Ok((shown, gone))
    }

    /// What a call of this model runs into now.
    pub(super) fn provider(&mut self, model: &str, now: Duration) -> Option<Hit<ProviderEffect>> {
        self.strike(&format!("llm/{model}"), now, |effect| match effect {
            Effect::Provider(effect) => Some(effect),
            _ => None,
        })
    }

    /// What a request to the platform of this publisher runs into now.
    pub(super) fn platform(&mut self, publisher: &str, now: Duration) -> Option<Hit<PlatformEffect>> {
        self.strike(&format!("platform/{publisher}"), now, |effect| match effect {
            Effect::Platform(effect) => Some(effect),
            _ => None,
        })
    }

    /// What this actor's turn runs into now.
    pub(super) fn turn(&mut self, actor: &str, now: Duration) -> Option<Hit<Trouble>> {
        self.strike(actor, now, |effect| match effect {
            Effect::Turn(trouble) => Some(trouble),
            _ => None,
        })
    }

    /// Whether a fault that somebody carries out may hit once more.
    pub(super) fn may_hit(&self, id: &str, now: Duration) -> bool {
        self.entries.iter().any(|entry| entry.shown.id == id && entry.is_in_force(now))
    }

    /// Counts a hit of a fault that somebody carries out.
    pub(super) fn carried_out(&mut self, id: &str) -> Option<Hit<()>> {
        self.entries.iter_mut().find(|entry| entry.shown.id == id).map(|entry| entry.hit(()))
    }

    fn strike<E>(&mut self, name: &str, now: Duration, of: impl Fn(Effect) -> Option<E>) -> Option<Hit<E>> {
        for entry in &mut self.entries {
            let Some(effect) = of(entry.fault.effect) else { continue };
            if !entry.is_in_force(now) || !entry.fault.covers(name) || entry.chance.unit() >= entry.fault.p {
                continue;
            }
            if entry.fault.effect == Effect::Turn(Trouble::Hang) {
                entry.hung.insert(name.to_owned(), now);
            }
            return Some(entry.hit(effect));
        }
        None
    }

    /// Ends one fault, whatever it still holds up included; nothing when there is none, or it is gone.
    pub(super) fn end(&mut self, id: &str, standing: Standing) -> Option<Gone> {
        let entry = self.entries.iter_mut().find(|entry| entry.shown.id == id && !entry.gone.is_cancelled())?;
        Some(entry.end(standing))
    }

    /// Ends all of them.
    pub(super) fn stop(&mut self) -> Vec<Gone> {
        let there = self.entries.iter_mut().filter(|entry| !entry.gone.is_cancelled());
        there.map(|entry| entry.end(Standing::Stopped)).collect()
    }

    /// The faults as they stand, the oldest first.
    pub(super) fn shown(&self, now: Duration) -> Vec<Shown> {
        self.entries.iter().map(|entry| entry.shown(now)).collect()
    }

    /// One fault as it stands.
    pub(super) fn find(&self, id: &str, now: Duration) -> Option<Shown> {
        self.entries.iter().find(|entry| entry.shown.id == id).map(|entry| entry.shown(now))
    }

    fn forget(&mut self) {
        while self.entries.len() >= FAULTS_MAX + OVER_MAX {
            let Some(oldest) = self.entries.iter().position(|entry| entry.gone.is_cancelled()) else { return };
            self.entries.remove(oldest);
        }
    }
}

impl Entry {
    fn is_in_force(&self, now: Duration) -> bool {
        self.shown.standing == Standing::InForce && now < self.ends
    }

    fn hit<E>(&mut self, effect: E) -> Hit<E> {
        self.shown.hits += 1;
        let is_used_up = self.shown.standing == Standing::InForce && self.shown.hits >= self.fault.hits_max;
        if is_used_up {
            self.shown.standing = Standing::UsedUp;
        }
        Hit { effect, gone: self.gone.clone(), used_up: is_used_up.then(|| self.shown.clone()) }
    }

    fn end(&mut self, standing: Standing) -> Gone {
        let was_in_force = self.shown.standing == Standing::InForce;
        if was_in_force {
            self.shown.standing = standing;
        }
        self.gone.cancel();
        Gone { shown: self.shown.clone(), was_in_force, hung: std::mem::take(&mut self.hung) }
    }

    /// As it stands: a fault whose time is over is over, even before somebody has noted it.
    fn shown(&self, now: Duration) -> Shown {
        let is_late = self.shown.standing == Standing::InForce && now >= self.ends;
        Shown { standing: if is_late { Standing::Expired } else { self.shown.standing }, ..self.shown.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn put(board: &mut Board, id: &str, text: &str) -> CancellationToken {
        let fault = Fault::of(serde_json::from_str(text).unwrap()).unwrap();
        let chance = Chance::derived(7, id, 0);
        board.put(id.to_owned(), fault, Timestamp::from_micros(0), NOW, chance).unwrap().1
    }

    fn after(seconds: u64) -> Duration {
        NOW + Duration::from_secs(seconds)
    }

    #[test]
    fn a_fault_hits_what_it_is_aimed_at_and_nothing_else() {
        let mut board = Board::default();
        put(&mut board, "a", r#"{ "kind": "provider_reset", "target": "llm/small*" }"#);
        put(&mut board, "b", r#"{ "kind": "platform_lost", "target": "platform/feed" }"#);
        put(&mut board, "c", r#"{ "kind": "actor_panic", "target": "writer" }"#);
        assert_eq!(board.provider("small-7b", NOW).map(|hit| hit.effect), Some(ProviderEffect::Reset));
        assert!(board.provider("large", NOW).is_none());
        assert_eq!(board.platform("feed", NOW).map(|hit| hit.effect), Some(PlatformEffect::Lost));
        assert!(board.platform("board", NOW).is_none());
        assert_eq!(board.turn("writer", NOW).map(|hit| hit.effect), Some(Trouble::Panic));
        assert!(board.turn("reviewer", NOW).is_none());
        assert_eq!(board.shown(NOW).iter().map(|fault| fault.hits).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_fault_hits_nothing_from_its_end_on_even_before_its_end_is_noted() {
        let mut board = Board::default();
        put(&mut board, "a", r#"{ "kind": "provider_reset", "for": "10s" }"#);
        assert!(board.provider("m", after(9)).is_some());
        assert!(board.provider("m", after(10)).is_none());
        assert_eq!(board.find("a", after(10)).unwrap().standing, Standing::Expired);
        let gone = board.end("a", Standing::Expired).unwrap();
        assert!(gone.was_in_force && gone.shown.hits == 1);
        assert!(board.end("a", Standing::Expired).is_none(), "it ends once");
    }

    #[test]
    fn a_fault_hits_no_more_than_it_may_and_then_the_next_one_hits() {
        let mut board = Board::default();
        let gone = put(&mut board, "a", r#"{ "kind": "provider_lost", "hits_max": 2 }"#);
        put(&mut board, "b", r#"{ "kind": "provider_reset", "hits_max": 1 }"#);
        let hits: Vec<_> = (0..4).map(|_| board.provider("m", NOW)).collect();
        let effects: Vec<_> = hits.iter().map(|hit| hit.as_ref().map(|hit| hit.effect)).collect();
        let (lost, reset) = (Some(ProviderEffect::Lost), Some(ProviderEffect::Reset));
        assert_eq!(effects, [lost, lost, reset, None]);
        let used_up: Vec<_> = hits.iter().flatten().map(|hit| hit.used_up.is_some()).collect();
        assert_eq!(used_up, [false, true, true]);
        assert!(!gone.is_cancelled(), "what it holds up is held up until its time is over");
        let gone = board.end("a", Standing::Expired).unwrap();
        assert!(!gone.was_in_force && gone.shown.standing == Standing::UsedUp);
    }

    #[test]
    fn one_stop_ends_all() {
        let mut board = Board::default();
        let gone = [
            put(&mut board, "a", r#"{ "kind": "provider_reset" }"#),
            put(&mut board, "b", r#"{ "kind": "actor_hang", "target": "*" }"#),
        ];
        assert!(board.turn("writer", NOW).is_some());
        let stopped = board.stop();
        assert!(gone.iter().all(CancellationToken::is_cancelled));
        assert_eq!(stopped.iter().map(|gone| gone.shown.standing).collect::<Vec<_>>(), [Standing::Stopped; 2]);
        assert_eq!(stopped[1].hung, BTreeMap::from([("writer".to_owned(), NOW)]));
        assert!(board.provider("m", NOW).is_none() && board.turn("writer", NOW).is_none());
        assert!(board.stop().is_empty());
    }

    #[test]
    fn a_share_hits_its_share_of_calls() {
        let mut board = Board::default();
        put(&mut board, "a", r#"{ "kind": "provider_reset", "p": 0.3, "hits_max": 10000 }"#);
        let hits = (0..10_000).filter(|_| board.provider("m", NOW).is_some()).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
        put(&mut board, "b", r#"{ "kind": "platform_reset", "p": 0.0 }"#);
        assert!((0..100).all(|_| board.platform("feed", NOW).is_none()));
    }

    #[test]
    fn there_are_only_so_many_in_force_and_the_oldest_that_are_over_are_forgotten() {
        let mut board = Board::default();
        let reset = || Fault::of(Asked::new(super::super::fault::Kind::ProviderReset)).unwrap();
        let one_more = |board: &mut Board, nth: usize| {
            board.put(nth.to_string(), reset(), Timestamp::from_micros(0), NOW, Chance::derived(1, "x", 0)).map(drop)
        };
        for nth in 0..FAULTS_MAX {
            one_more(&mut board, nth).unwrap();
        }
        assert_eq!(one_more(&mut board, FAULTS_MAX), Err(NotFault::Many(FAULTS_MAX)));
        for nth in FAULTS_MAX..FAULTS_MAX + 2 * OVER_MAX {
            board.end(&(nth - FAULTS_MAX).to_string(), Standing::Stopped).unwrap();
            one_more(&mut board, nth).unwrap();
        }
        assert_eq!(board.shown(NOW).len(), FAULTS_MAX + OVER_MAX);
        assert!(board.find("0", NOW).is_none());
    }
}
