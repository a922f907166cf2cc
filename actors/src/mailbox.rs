//! Bounds in front of ractor's unbounded mailboxes. Invariant: whoever sends a message holds a
//! credit until it is answered, so messages unanswered never pass the bound, and a mailbox that
//! closes while none is out loses none.

mod ticket;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use policies::mailbox::{MailboxPolicy, WhenFull};
use tokio::sync::Notify;

pub use ticket::{Cause, Ticket};

use crate::latest::{Latest, Watcher};
use crate::telemetry::Metrics;

/// The bit that says the mailbox takes no more; the other bits count the credits that are out.
const CLOSED: u64 = 1 << 63;

/// The policy in force for one mailbox or for many; a cheap clone. What changes it changes all of them
/// at once; what is under way by then stays.
#[derive(Clone, Debug)]
pub struct Bound(Arc<Latest<MailboxPolicy>>);

impl Bound {
    /// Mailboxes under this policy.
    pub fn new(policy: MailboxPolicy) -> Self {
        Self(Arc::new(Latest::new(policy)))
    }

    /// The policy as it is now.
    pub fn policy(&self) -> MailboxPolicy {
        self.0.get()
    }

    /// Puts another policy in force.
    pub fn govern(&self, policy: MailboxPolicy) {
        self.0.set_if(|held| std::mem::replace(held, policy) != policy);
    }

    fn watch(&self) -> Watcher<MailboxPolicy> {
        self.0.watch()
    }
}

impl Default for Bound {
    fn default() -> Self {
        Self::new(MailboxPolicy::default())
    }
}

/// The credits of one actor's mailbox; a cheap clone.
#[derive(Clone, Debug)]
pub struct Credits(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    bound: Bound,
    out: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    /// Dropped messages that ractor still holds: their credits went to others.
    shells: AtomicU64,
    /// Those that may be dropped, the eldest first; kept only where that is the policy.
    line: Mutex<VecDeque<Weak<Ticket>>>,
    freed: Notify,
    counts: OnceLock<Counts>,
}

/// Where a mailbox is counted, and as whose.
#[derive(Debug)]
struct Counts {
    metrics: Metrics,
    actor: String,
}

/// How a mailbox stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Messages under way: waiting, being handled, or waiting for their sync.
    pub depth: usize,
    /// How many may be.
    pub bound: usize,
    /// How many were refused since it is there.
    pub refused: u64,
    /// How many were dropped for others since it is there.
    pub dropped: u64,
}

/// The right to have one message under way; it goes back when dropped.
#[derive(Debug)]
pub struct Credit(Arc<Ticket>);

impl Credits {
    /// The credits of a mailbox under `bound`.
    pub fn new(bound: Bound) -> Self {
        Self(Arc::new(Gate {
            bound,
            out: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            shells: AtomicU64::new(0),
            line: Mutex::default(),
            freed: Notify::new(),
            counts: OnceLock::new(),
        }))
    }

    /// Counts from now on what happens in this mailbox, as that of `actor`; the first counter stays.
    pub fn count_as(&self, metrics: Metrics, actor: &str) {
        let _ = self.0.counts.set(Counts { metrics, actor: actor.to_owned() });
    }

    /// What it is bounded by.
    pub fn bound(&self) -> &Bound {
        &self.0.bound
    }

    /// A credit now, by dropping another message where that is the policy; or none, when all are out or
    /// the mailbox is closed.
    pub fn try_take(&self) -> Option<Credit> {
        let policy = self.0.bound.policy();
        let credit = self.0.take_or_drop(policy);
        if credit.is_none() && !self.is_closed() {
            self.0.refuse();
        }
        credit
    }

    /// A credit, waiting for one as long as the policy says; or none, when all are out until then or the
    /// mailbox is closed.
    pub async fn take(&self) -> Option<Credit> {
        let policy = self.0.bound.policy();
        if policy.when_full != WhenFull::Block {
            return self.try_take();
        }
        let freed = tokio::time::timeout(policy.block_within.duration(), self.freed());
        let credit = freed.await.unwrap_or_default();
        if credit.is_none() && !self.is_closed() {
            self.0.refuse();
        }
        credit
    }

    /// The next credit that is free; none once the mailbox is closed.
    async fn freed(&self) -> Option<Credit> {
        let mut changed = self.0.bound.watch();
        while !self.is_closed() {
            // Before it is looked, so that what is freed meanwhile wakes this one.
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if let Some(credit) = self.0.take_below(messages_max(self.0.bound.policy())) {
                return Some(credit);
            }
            tokio::select! {
                biased;
                () = freed => {}
                // The bound is ours, so it cannot be closed while we wait.
                _ = changed.next() => {}
            }
        }
        None
    }

    /// A credit beyond the bound, for what the actor's own effects report back: refusing it
    /// would lose an outcome. Their number is bounded by the effects the actor started.
    pub fn take_reserved(&self) -> Option<Credit> {
        self.0.take_below(CLOSED - 1)
    }

    /// Closes the mailbox, if no credit is out. Afterwards nobody can have sent what is not handled.
    pub fn close_if_unused(&self) -> bool {
        self.0.out.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Closes the mailbox, whatever is under way.
    pub fn close(&self) {
        self.0.out.fetch_or(CLOSED, Ordering::AcqRel);
        self.0.freed.notify_waiters();
    }

    /// Whether it takes no more, ever.
    pub fn is_closed(&self) -> bool {
        self.0.out.load(Ordering::Acquire) & CLOSED != 0
    }

    /// How many messages are under way: waiting, being handled, or waiting for their sync.
    pub fn depth(&self) -> usize {
        usize::try_from(self.0.out.load(Ordering::Acquire) & !CLOSED).unwrap_or(usize::MAX)
    }

    /// How many may be under way.
    pub fn capacity(&self) -> usize {
        self.0.bound.policy().messages_max()
    }

    /// How it stands.
    pub fn fill(&self) -> Fill {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (refused, dropped) = (count(&self.0.refused), count(&self.0.dropped));
        Fill { depth: self.depth(), bound: self.capacity(), refused, dropped }
    }
}

impl Gate {
    fn take_below(self: &Arc<Self>, bound: u64) -> Option<Credit> {
        let below = |out: u64| (out < bound).then_some(out + 1);
        self.out.try_update(Ordering::AcqRel, Ordering::Acquire, below).ok()?;
        Some(Credit(Arc::new(Ticket::new(Arc::clone(self)))))
    }

    fn take_or_drop(self: &Arc<Self>, policy: MailboxPolicy) -> Option<Credit> {
        let bound = messages_max(policy);
        if policy.when_full != WhenFull::DropOldest {
            return self.take_below(bound);
        }
        let line = &mut *self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let credit = self.take_below(bound).or_else(|| self.drop_oldest(line, bound))?;
        line.retain(|ticket| ticket.upgrade().is_some_and(|ticket| ticket.waits()));
        line.push_back(Arc::downgrade(&credit.0));
        Some(credit)
    }

    /// The credit of the eldest message that still waits. What ractor holds of those dropped has the
    /// same bound as the mailbox.
    fn drop_oldest(self: &Arc<Self>, line: &mut VecDeque<Weak<Ticket>>, bound: u64) -> Option<Credit> {
        if self.shells.load(Ordering::Acquire) >= bound || self.out.load(Ordering::Acquire) & CLOSED != 0 {
            return None;
        }
        while let Some(eldest) = line.pop_front() {
            let Some(eldest) = eldest.upgrade() else { continue };
            // Before it is told: its message may be gone the moment after.
            self.shells.fetch_add(1, Ordering::AcqRel);
            if eldest.drop_it() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                self.count(|counts| counts.metrics.mailbox_dropped(&counts.actor));
                return Some(Credit(Arc::new(Ticket::new(Arc::clone(self)))));
            }
            self.shells.fetch_sub(1, Ordering::AcqRel);
        }
        None
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.count(|counts| counts.metrics.mailbox_refused(&counts.actor));
    }

    fn count(&self, count: impl FnOnce(&Counts)) {
        if let Some(counts) = self.counts.get() {
            count(counts);
        }
    }
}

impl Credit {
    /// The handler begins with the message, if that was not dropped meanwhile.
    pub fn begin(&self) -> bool {
        let begins = self.0.take();
        if begins {
            let waited = self.0.sent().elapsed();
            self.0.gate.count(|counts| counts.metrics.mailbox_waited(&counts.actor, waited));
        }
        begins
    }

    /// What the sender can see of the message.
    pub fn ticket(&self) -> &Arc<Ticket> {
        &self.0
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        let gate = &self.0.gate;
        if self.0.end() {
            // Another message has its place.
            gate.shells.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        // The closed bit is the highest, and as many went out as come back: no borrow reaches it.
        gate.out.fetch_sub(1, Ordering::AcqRel);
        gate.freed.notify_one();
    }
}

fn messages_max(policy: MailboxPolicy) -> u64 {
    u64::try_from(policy.messages_max()).unwrap_or(CLOSED - 1).min(CLOSED - 1)
}

#[cfg(test)]
mod tests;
