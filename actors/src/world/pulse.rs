//! Who is at work, at what, and when it last got on. Invariant: an act is here exactly as long as it
//! goes on, however it ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::liveness::Doing;

/// An actor at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Its name in the tree.
    pub actor: String,
    /// What it is doing.
    pub doing: Doing,
    /// The monotonic time at which it last got on.
    pub since: Duration,
}

/// The acts under way, in the order in which they began.
#[derive(Clone)]
pub(super) struct Pulses {
    start: tokio::time::Instant,
    acts: Arc<Mutex<Acts>>,
}

#[derive(Default)]
struct Acts {
    begun: u64,
    under_way: BTreeMap<u64, Pulse>,
}

/// One act: a turn of an actor's handler, or a call that a task makes for it. It is over when this is
/// dropped.
#[must_use = "the act ends when this is dropped"]
pub struct Turn {
    pulses: Pulses,
    number: u64,
}

impl Pulses {
    pub(super) fn new(start: tokio::time::Instant) -> Self {
        Self { start, acts: Arc::default() }
    }

    pub(super) fn begin(&self, actor: &str, doing: Doing) -> Turn {
        let since = self.start.elapsed();
        let acts = &mut *self.lock();
        let number = acts.begun;
        acts.begun += 1;
        acts.under_way.insert(number, Pulse { actor: actor.to_owned(), doing, since });
        Turn { pulses: self.clone(), number }
    }

    pub(super) fn busy(&self) -> Vec<Pulse> {
        self.lock().under_way.values().cloned().collect()
    }

    /// A panic elsewhere cannot leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Acts> {
        self.acts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// It got on: a token, a step, a heartbeat.
    pub fn progress(&self) {
        self.change(|_| {});
    }

    /// It does this from now on, which is progress too; what it did before.
    pub fn enter(&self, doing: Doing) -> Doing {
        self.change(|pulse| pulse.doing = doing)
    }

    /// Does this for as long as the future takes, and then again what it did before.
    pub async fn during<T>(&self, doing: Doing, future: impl Future<Output = T>) -> T {
        let before = self.enter(doing);
        let output = future.await;
        self.enter(before);
        output
    }

    fn change(&self, change: impl FnOnce(&mut Pulse)) -> Doing {
        let now = self.pulses.start.elapsed();
        let mut acts = self.pulses.lock();
        // It is there for as long as we are.
        let Some(pulse) = acts.under_way.get_mut(&self.number) else { return Doing::Working };
        let before = pulse.doing;
        pulse.since = now;
        change(pulse);
        before
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pulses.lock().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pulses: &Pulses) -> Vec<(String, Doing, u64)> {
        pulses.busy().into_iter().map(|pulse| (pulse.actor, pulse.doing, pulse.since.as_secs())).collect()
    }

    async fn seconds(count: u64) {
        tokio::time::advance(Duration::from_secs(count)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_act_is_seen_until_it_is_over_and_progress_moves_it_on() {
        let pulses = Pulses::new(tokio::time::Instant::now());
        let turn = pulses.begin("writer", Doing::Working);
        let call = pulses.begin("writer", Doing::Calling);
        seconds(3).await;
        call.progress();
        let both = |since| vec![("writer".to_owned(), Doing::Working, 0), ("writer".to_owned(), Doing::Calling, since)];
        assert_eq!(told(&pulses), both(3));
        drop(turn);
        assert_eq!(told(&pulses), both(3)[1..]);
        drop(call);
        assert_eq!(told(&pulses), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_does_for_a_while_is_over_afterwards() {
        let pulses = Pulses::new(tokio::time::Instant::now());
        let turn = pulses.begin("run/1", Doing::Working);
        let waits = turn.during(Doing::AwaitingRate, async {
            seconds(60).await;
            told(&pulses)
        });
        assert_eq!(waits.await, [("run/1".to_owned(), Doing::AwaitingRate, 0)]);
        assert_eq!(told(&pulses), [("run/1".to_owned(), Doing::Working, 60)]);
        assert_eq!(turn.enter(Doing::AwaitingPerson), Doing::Working);
    }
}
