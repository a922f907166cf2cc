//! Trouble on purpose: what an actor's turn may run into, in a simulation or in an experiment on a
//! live system. Invariant: without a troublemaker no turn meets any.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What a turn runs into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It panics.
    Panic,
    /// It ends with an error.
    Error,
    /// It never goes on, until the actor is killed.
    Hang,
    /// It takes this much longer.
    Slow(Duration),
}

/// Says which turns run into what.
pub trait Troublemaker: Send + Sync {
    /// What the turn of this actor, by its name in the tree, runs into; asked once a turn.
    fn strike(&self, actor: &str) -> Option<Trouble>;
}

/// A turn that ended with an error on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its turn failed on purpose")]
pub struct Troubled;

/// Where the troublemaker of a world is, if it has one.
#[derive(Default)]
pub(super) struct Seat(RwLock<Option<Arc<dyn Troublemaker>>>);

impl Seat {
    pub(super) fn take(&self, troublemaker: Option<Arc<dyn Troublemaker>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = troublemaker;
    }

    pub(super) fn strike(&self, actor: &str) -> Option<Trouble> {
        let troublemaker = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        troublemaker?.strike(actor)
    }
}

/// What the panic of an actor ends with that was made to panic; no fault of the system's.
pub const ON_PURPOSE: &str = "panics on purpose";

/// Runs into it.
#[expect(clippy::panic, reason = "it is what was asked for")]
pub(super) async fn meet(actor: &str, trouble: Trouble) -> Result<(), Troubled> {
    match trouble {
        Trouble::Panic => panic!("{actor} {ON_PURPOSE}"),
        Trouble::Error => Err(Troubled),
        Trouble::Hang => std::future::pending().await,
        Trouble::Slow(by) => {
            tokio::time::sleep(by).await;
            Ok(())
        }
    }
}
