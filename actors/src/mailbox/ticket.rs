//! What became of one message, as its sender can still see when the message is gone. Invariant: it moves
//! one way only, from waiting to taken, dropped or gone, and what it did to its handler stays at its door.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use policies::failure::FailureClass;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Gate;

const WAITS: u8 = 0;
const TAKEN: u8 = 1;
const DROPPED: u8 = 2;
/// It went before anybody took it, with the mailbox that it was in.
const GONE: u8 = 3;

/// Shared by a message and its sender.
#[derive(Debug)]
pub struct Ticket {
    pub(super) gate: Arc<Gate>,
    stage: AtomicU8,
    sent: Instant,
    death: OnceLock<Cause>,
    dropped: Notify,
}

/// What a message did to the one who was at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How the handler failed.
    pub class: FailureClass,
    /// What it failed of.
    pub message: String,
}

impl Ticket {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        let (stage, sent) = (AtomicU8::new(WAITS), Instant::now());
        Self { gate, stage, sent, death: OnceLock::new(), dropped: Notify::new() }
    }

    /// Whether its handler has begun with it.
    pub fn is_taken(&self) -> bool {
        self.stage.load(Ordering::Acquire) == TAKEN
    }

    /// Whether it was dropped to make room.
    pub fn is_dropped(&self) -> bool {
        self.stage.load(Ordering::Acquire) == DROPPED
    }

    /// Resolves when it is dropped to make room.
    pub async fn dropped(&self) {
        if !self.is_dropped() {
            self.dropped.notified().await;
        }
    }

    /// The death that it is to blame for, if there is one.
    pub fn death(&self) -> Option<&Cause> {
        self.death.get()
    }

    /// Lays its handler's death at its door; the first one stays.
    pub fn blame(&self, cause: Cause) {
        let _ = self.death.set(cause);
    }

    pub(super) fn waits(&self) -> bool {
        self.stage.load(Ordering::Acquire) == WAITS
    }

    pub(super) fn sent(&self) -> Instant {
        self.sent
    }

    /// Whether it was waiting still, and is taken now.
    pub(super) fn take(&self) -> bool {
        self.leave(TAKEN)
    }

    /// Whether it was waiting still, and is dropped now.
    pub(super) fn drop_it(&self) -> bool {
        let was_waiting = self.leave(DROPPED);
        if was_waiting {
            // One sender waits for it at most; it finds the word when it comes later.
            self.dropped.notify_one();
        }
        was_waiting
    }

    /// The message goes; whether it was dropped before.
    pub(super) fn end(&self) -> bool {
        !self.leave(GONE) && self.is_dropped()
    }

    fn leave(&self, to: u8) -> bool {
        self.stage.compare_exchange(WAITS, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
