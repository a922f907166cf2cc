//! How fast calls may follow each other: by our own rate, which is governor's token bucket, and by the
//! other side's word. Invariant: the world's monotonic clock is the only one that it reads, so a paused
//! runtime drives it, and no word of the other side holds calls back for longer than [`HOLD_MAX`]. Who waits
//! is let through in turn.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use policies::priority::Rank;
use policies::span::Rate;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::turns::Turns;
use super::{Refused, Waiting, lock};
use crate::world::World;

/// The longest that calls are held back at the other side's word before it is asked anew.
const HOLD_MAX: Duration = policies::retry::HOLD_MAX;

/// A guard's pace.
pub(super) struct Pace {
    world: World,
    bucket: Mutex<Option<Arc<RateLimit>>>,
    /// Until when, on the world's monotonic clock, the other side wants no call.
    held_until: Mutex<Duration>,
    pub(super) turns: Turns,
    /// Wakes who is at the front when another rate is in force.
    changed: Notify,
}

impl Pace {
    pub(super) fn new(rate: Option<Rate>, world: &World) -> Self {
        let pace = Self {
            world: world.clone(),
            bucket: Mutex::default(),
            held_until: Mutex::default(),
            turns: Turns::default(),
            changed: Notify::new(),
        };
        pace.govern(rate);
        pace
    }

    /// Holds calls to another rate from now on, those that wait too.
    pub(super) fn govern(&self, rate: Option<Rate>) {
        *lock(&self.bucket) = rate.and_then(|rate| RateLimit::new(rate, &self.world)).map(Arc::new);
        self.changed.notify_one();
    }

    /// Lets no call go for so long, nor before an earlier word of this kind allows it.
    pub(super) fn hold(&self, span: Duration) {
        let until = self.world.elapsed().saturating_add(span.min(HOLD_MAX));
        let mut held = lock(&self.held_until);
        *held = until.max(*held);
    }

    /// How long calls are held back yet.
    pub(super) fn held_for(&self) -> Option<Duration> {
        lock(&self.held_until).checked_sub(self.world.elapsed()).filter(|left| !left.is_zero())
    }

    /// Takes a call out of the bucket, or says how long until there is one.
    pub(super) fn check(&self) -> Result<(), Duration> {
        if let Some(left) = self.held_for() {
            return Err(left);
        }
        let bucket = lock(&self.bucket).clone();
        bucket.map_or(Ok(()), |bucket| bucket.check())
    }

    /// The same for a newcomer of this rank, which is not before those that wait.
    pub(super) fn check_as(&self, rank: Rank) -> Result<(), Duration> {
        if self.turns.is_behind(rank) { Err(Duration::ZERO) } else { self.check() }
    }

    /// Takes a call out of the bucket as soon as there is one and it is its turn. Each round sleeps, so
    /// that the deadline bounds the rounds. Who cannot be let through in time keeps its turn until then, or
    /// others that have waited less would be before it.
    pub(super) async fn pass(&self, rank: Rank, deadline: Instant) -> Result<(), Refused> {
        /// tokio's timers have this resolution; a shorter sleep might not move the clock.
        const STEP: Duration = Duration::from_millis(1);
        let turn = self.turns.join(rank);
        let in_turn = async {
            loop {
                turn.is_front(true).await;
                let Err(wait) = self.check() else { return };
                tokio::select! {
                    biased;
                    () = turn.is_front(false) => {}
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep(wait.max(STEP)) => {}
                }
            }
        };
        tokio::time::timeout_at(deadline, in_turn).await.map_err(|_| Refused::Deadline(Waiting::Rate))
    }
}

/// A bucket that holds `count` calls and refills evenly, all of it in `per`.
struct RateLimit {
    limiter: RateLimiter<NotKeyed, InMemoryState, WorldClock, NoOpMiddleware<Duration>>,
    world: World,
}

#[derive(Clone, Debug)]
struct WorldClock(World);

impl Clock for WorldClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl RateLimit {
    /// A full bucket; `None` for a rate that limits nothing, which no policy file can hold.
    fn new(rate: Rate, world: &World) -> Option<Self> {
        let count = NonZeroU32::new(rate.count)?;
        let quota = Quota::with_period(rate.per / rate.count)?.allow_burst(count);
        let limiter = RateLimiter::direct_with_clock(quota, WorldClock(world.clone()));
        Some(Self { limiter, world: world.clone() })
    }

    /// Takes a call out of the bucket, or says how long until there is one.
    fn check(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|not_until| not_until.wait_time_from(self.world.elapsed()))
    }
}
