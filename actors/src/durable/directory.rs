//! Live actors by id, woken when somebody speaks to them. Invariant: one id has at most one entry,
//! waking or live; an entity at rest has none, and a command that finds its actor going to rest
//! waits for its end and goes to the next life.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::StartError;
use super::handle::{AskError, Asked, Handle, NotTaken, Origin};
use crate::entity::Entity;
use crate::world::World;

/// How often a command finds its actor gone before that is reported.
const WAKES_MAX: usize = 8;

/// How long one that is being started elsewhere is waited for.
const ELSEWHERE_MAX: Duration = Duration::from_secs(30);

/// Starts the actor of an id, and returns once it runs. Where a supervisor starts it, and may
/// start it again after a failure, its factory calls [`Directory::publish`] each time.
pub type Spawner<E> =
    Arc<dyn Fn(Directory<E>, String) -> BoxFuture<'static, Result<Handle<E>, WakeError>> + Send + Sync>;

/// An actor could not be woken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WakeError {
    /// It did not start, or may not be started.
    #[error("{0}")]
    Failed(String),
    /// Somebody else, such as its supervisor, is about to start it and will publish it.
    #[error("it is being started elsewhere")]
    Elsewhere,
}

impl From<StartError> for WakeError {
    fn from(error: StartError) -> Self {
        Self::Failed(match error {
            StartError::Fold(cause) => format!("its stream cannot be folded: {cause}"),
            StartError::Stopped(reason) => reason,
        })
    }
}

/// Live actors by id; a cheap clone.
pub struct Directory<E: Entity>(Arc<Shared<E>>);

struct Shared<E: Entity> {
    world: World,
    spawner: Spawner<E>,
    slots: Mutex<BTreeMap<String, Slot<E>>>,
}

type Woken<E> = Result<Handle<E>, WakeError>;

enum Slot<E: Entity> {
    /// Who waits for it, in the order they came. Not a `watch` channel: that one wakes those who
    /// wait on it in an order drawn by chance, which no seed can repeat.
    Waking(Vec<oneshot::Sender<Woken<E>>>),
    Live(Handle<E>),
}

impl<E: Entity> Clone for Directory<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Entity> Directory<E> {
    /// An empty directory, whose actors `spawner` starts.
    pub fn new(world: World, spawner: Spawner<E>) -> Self {
        Self(Arc::new(Shared { world, spawner, slots: Mutex::default() }))
    }

    /// Asks the entity `id`, and wakes it if it rests.
    ///
    /// # Errors
    /// As [`Handle::ask`], and [`AskError::NotStarted`].
    pub async fn ask(&self, id: &str, origin: Origin, mut command: E::Command) -> Asked<E> {
        for _ in 0..WAKES_MAX {
            let handle = self.live(id).await.map_err(|error| AskError::NotStarted(error.to_string()))?;
            match handle.offer(origin.clone(), command).await {
                Ok(awaited) => return awaited.answer().await,
                Err(NotTaken::Busy) => return Err(AskError::Busy),
                Err(NotTaken::Gone(back)) => command = back,
            }
            handle.stopped().await;
            self.forget(id, &handle);
        }
        Err(AskError::Gone)
    }

    /// The live actor of `id`, woken if it rests. It may rest again at any time.
    ///
    /// # Errors
    /// [`WakeError`], when it cannot be started.
    pub async fn live(&self, id: &str) -> Result<Handle<E>, WakeError> {
        match self.live_or_waking(id) {
            Ok(handle) => Ok(handle),
            Err(woken) => woken.await.unwrap_or_else(|_| Err(WakeError::Failed("the system stops".to_owned()))),
        }
    }

    /// The live actor; or where it will be told how its start went, begun if it was not yet.
    fn live_or_waking(&self, id: &str) -> Result<Handle<E>, oneshot::Receiver<Woken<E>>> {
        let (waits, woken) = oneshot::channel();
        match self.slots().entry(id.to_owned()) {
            Entry::Occupied(mut slot) => match slot.get_mut() {
                Slot::Live(handle) => return Ok(handle.clone()),
                Slot::Waking(waiting) => waiting.push(waits),
            },
            Entry::Vacant(slot) => {
                slot.insert(Slot::Waking(vec![waits]));
                self.wake(id.to_owned());
            }
        }
        Err(woken)
    }

    /// Starts the actor in a task of its own, so that no caller's cancellation can leave it half
    /// started.
    fn wake(&self, id: String) {
        let this = self.clone();
        self.0.world.spawn("wake", async move {
            let spawning = AssertUnwindSafe((this.0.spawner)(this.clone(), id.clone())).catch_unwind();
            match spawning.await.unwrap_or_else(|_| Err(WakeError::Failed("its start panicked".to_owned()))) {
                // It counts only while nobody has published another.
                Ok(handle) => this.install(&id, handle, |slot| matches!(slot, Some(Slot::Waking(_)))),
                Err(WakeError::Elsewhere) => {
                    if tokio::time::timeout(ELSEWHERE_MAX, this.live(&id)).await.is_err() {
                        this.fail(&id, WakeError::Failed(format!("not started within {ELSEWHERE_MAX:?}")));
                    }
                }
                Err(error) => this.fail(&id, error),
            }
        });
    }

    /// Makes a newly started actor the one that commands go to, in place of any earlier life.
    pub fn publish(&self, id: &str, handle: Handle<E>) {
        self.install(id, handle, |_| true);
    }

    fn install(&self, id: &str, handle: Handle<E>, over: impl FnOnce(Option<&Slot<E>>) -> bool) {
        let mut slots = self.slots();
        let slot = slots.get(id);
        let known = matches!(slot, Some(Slot::Live(known)) if known.cell() == handle.cell());
        if known || !over(slot) {
            return;
        }
        let earlier = slots.insert(id.to_owned(), Slot::Live(handle.clone()));
        drop(slots);
        answer(earlier, &Ok(handle.clone()));
        let (this, id) = (self.clone(), id.to_owned());
        self.0.world.spawn("watch", async move {
            handle.stopped().await;
            this.forget(&id, &handle);
        });
    }

    fn fail(&self, id: &str, error: WakeError) {
        let mut slots = self.slots();
        let waking = matches!(slots.get(id), Some(Slot::Waking(_))).then(|| slots.remove(id));
        drop(slots);
        answer(waking.flatten(), &Err(error));
    }

    /// Removes this life's entry, if it is still the one.
    fn forget(&self, id: &str, handle: &Handle<E>) {
        let mut slots = self.slots();
        if matches!(slots.get(id), Some(Slot::Live(known)) if known.cell() == handle.cell()) {
            slots.remove(id);
        }
    }

    /// The live actors' ids, each with its commands under way.
    pub fn depths(&self) -> BTreeMap<String, usize> {
        let slots = self.slots();
        let live = slots.iter().filter_map(|(id, slot)| match slot {
            Slot::Live(handle) => Some((id.clone(), handle.depth())),
            Slot::Waking(_) => None,
        });
        live.collect()
    }

    /// How many actors are live.
    pub fn live_count(&self) -> usize {
        self.slots().values().filter(|slot| matches!(slot, Slot::Live(_))).count()
    }

    /// Whether everything rests.
    pub fn is_empty(&self) -> bool {
        self.slots().is_empty()
    }

    /// A panic elsewhere cannot leave the slots half changed, so a poisoned lock is still good.
    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot<E>>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those who waited on a slot how it ended. They may have gone away.
fn answer<E: Entity>(slot: Option<Slot<E>>, woken: &Woken<E>) {
    if let Some(Slot::Waking(waiting)) = slot {
        for waits in waiting {
            let _ = waits.send(woken.clone());
        }
    }
}
