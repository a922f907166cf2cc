//! Tasks that end with their owner. Invariant: when the tether goes, by whatever
//! way its owner ended, every task on it is cut at its next await.

use actors::world::World;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Held by an actor's state; see the module.
#[derive(Debug)]
pub(crate) struct Tether {
    world: World,
    token: CancellationToken,
    _cut: DropGuard,
}

impl Tether {
    pub(crate) fn new(world: World) -> Self {
        let token = CancellationToken::new();
        Self { world, token: token.clone(), _cut: token.drop_guard() }
    }

    /// Runs the future until it ends or the tether goes.
    pub(crate) fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.world.spawn(name, async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = future => {}
            }
        });
    }
}
