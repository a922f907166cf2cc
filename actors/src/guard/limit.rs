//! The rate limit: governor's token bucket on the world's monotonic clock. Invariant: it reads no
//! other clock, so a paused runtime drives it.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use policies::span::Rate;
use tokio::time::Instant;

use super::{Refused, Waiting};
use crate::world::World;

/// A bucket that holds `count` calls and refills evenly, all of it in `per`.
pub(super) struct RateLimit {
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
    pub(super) fn new(rate: Rate, world: &World) -> Option<Self> {
        let count = NonZeroU32::new(rate.count)?;
        let quota = Quota::with_period(rate.per / rate.count)?.allow_burst(count);
        let limiter = RateLimiter::direct_with_clock(quota, WorldClock(world.clone()));
        Some(Self { limiter, world: world.clone() })
    }

    /// Takes a call out of the bucket, or says how long until there is one.
    pub(super) fn check(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|not_until| not_until.wait_time_from(self.world.elapsed()))
    }

    /// Takes a call out of the bucket as soon as there is one. Each round sleeps, so that the
    /// deadline bounds the rounds; a wait that cannot end in time is not begun.
    pub(super) async fn pass(&self, deadline: Instant) -> Result<(), Refused> {
        /// tokio's timers have this resolution; a shorter sleep might not move the clock.
        const STEP: Duration = Duration::from_millis(1);
        while let Err(wait) = self.check() {
            let until = Instant::now() + wait.max(STEP);
            if until > deadline {
                return Err(Refused::Deadline(Waiting::Rate));
            }
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }
}
