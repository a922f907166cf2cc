//! The guards that one call passes: its caller's own, if it has one, in front of the shared one.
//! Invariant: the caller's own place and rate come first, then the shared ones, so that who waits for its
//! own rate keeps no other caller from a place; last the breakers, in the same order. A call is recorded in
//! both or in neither.

use std::time::Duration;

use policies::breaker::Admission;
use policies::priority::{Priority, Rank};
use tokio::time::Instant;

use super::{Guard, Permit, Refused, Waiting};

/// The way of a call through its guards; a cheap clone that shares their state.
#[derive(Clone)]
pub struct Line {
    own: Option<Own>,
    shared: Guard,
}

#[derive(Clone)]
struct Own {
    guard: Guard,
    /// Whether its breaker is about this call; its rate is about all of the caller's.
    breaks: bool,
}

/// What a breaker says that lets no call through now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The guard that it is part of.
    pub guard: String,
    /// How long until a trial call may go; none while those under way decide.
    pub wait: Option<Duration>,
}

impl Line {
    /// The way through one guard.
    pub fn new(shared: Guard) -> Self {
        Self { own: None, shared }
    }

    /// The way through the caller's own guard first; through its breaker, if `breaks`.
    #[must_use]
    pub fn behind(self, guard: Guard, breaks: bool) -> Self {
        Self { own: Some(Own { guard, breaks }), ..self }
    }

    /// The guard that others share.
    pub fn shared(&self) -> &Guard {
        &self.shared
    }

    /// The guards whose breakers it passes, in order.
    pub fn breakers(&self) -> impl Iterator<Item = &Guard> {
        self.own.iter().filter(|own| own.breaks).map(|own| &own.guard).chain([&self.shared])
    }

    /// The breaker that would let no call through now, if there is one: of two, the one that does so
    /// for longer.
    pub fn blocked(&self) -> Option<Blocked> {
        let blocked = self.breakers().filter_map(|guard| {
            let wait = match guard.foresee() {
                Admission::Go => return None,
                Admission::Wait(wait) => Some(wait),
                Admission::Refused => None,
            };
            Some(Blocked { guard: guard.name().to_owned(), wait })
        });
        blocked.max_by_key(|blocked| blocked.wait)
    }

    /// How long its breakers let nothing through; nothing when a call could go, now or once a trial
    /// call under way has ended.
    pub fn open_for(&self) -> Option<Duration> {
        self.breakers().filter_map(Guard::open_for).max()
    }

    /// A permit, if a call may be made at once. Where only the shared rate says no, one call is gone
    /// from the caller's own: its rate is kept, and not always used up.
    pub fn try_admit(&self) -> Option<Permit> {
        self.try_admit_as(self.shared.rank(Priority::Normal))
    }

    /// The same for a call of this rank: it is not let through before those that wait and are before it.
    pub fn try_admit_as(&self, rank: Rank) -> Option<Permit> {
        let Some(own) = &self.own else { return self.shared.try_admit_as(rank) };
        let (front, slot) = (own.guard.0.slots.try_take(rank)?, self.shared.0.slots.try_take(rank)?);
        // Nothing is taken out of the own bucket for a call that the other side does not want yet.
        if self.shared.held_for().is_some() {
            return None;
        }
        for guard in [&own.guard, &self.shared] {
            guard.0.pace.check_as(rank).ok()?;
        }
        let front = own.guard.pass(front, own.breaks).ok()?;
        self.shared.pass_breaker(slot).ok().map(|permit| permit.behind(front))
    }

    /// A permit, once there is one. It waits for places and rates until the deadline; at an open
    /// breaker it does not wait.
    ///
    /// # Errors
    /// The first of them, in their order, that does not let the call through.
    pub async fn admit(&self, deadline: Instant) -> Result<Permit, Refused> {
        self.admit_as(self.shared.rank(Priority::Normal), deadline).await
    }

    /// The same for a call of this rank, in turn with those that wait. While the other side holds calls back, it
    /// takes nothing of the caller's own rate. It does where the shared rate, or a hold that is told of only then,
    /// lasts to the deadline: that call is gone from the caller's own.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub async fn admit_as(&self, rank: Rank, deadline: Instant) -> Result<Permit, Refused> {
        let Some(own) = &self.own else { return self.shared.admit_as(rank, deadline).await };
        if deadline <= Instant::now() {
            return Err(Refused::Deadline(Waiting::Nothing));
        }
        while let Some(held) = self.shared.held_for() {
            let until = Instant::now() + held;
            tokio::time::sleep_until(until.min(deadline)).await;
            if until > deadline {
                return Err(Refused::Deadline(Waiting::Rate));
            }
        }
        let front = own.guard.pass_line(rank, deadline).await?;
        let slot = self.shared.pass_line(rank, deadline).await?;
        let front = own.guard.pass(front, own.breaks)?;
        self.shared.pass_breaker(slot).map(|permit| permit.behind(front))
    }
}
