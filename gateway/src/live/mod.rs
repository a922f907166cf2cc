//! Faults on purpose in a running system, for its operators: an experiment that is kept within bounds.
//!
//! Invariant: without `[chaos]` in the configuration there is no [`Live`], nothing is wrapped around
//! anything, and the routes are not there. With it, a fault hits what it is aimed at and nothing else,
//! for as long as it says and never longer than [`FOR_MAX`], as often as it may and never more than
//! [`HITS_MAX`] times; and when it has expired, was stopped, or the process ends, nothing of it is left.

mod actor;
mod board;
mod diary;
mod fault;
mod platform;
mod provider;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actors::transport::Transport;
use actors::world::{Chance, Trouble, Troublemaker, World};
use agents::key::Key;
use agents::publisher::Publisher;
use storage::journal::Journal;
use supervisor::Tree;

pub use board::{FAULTS_MAX, Shown, Standing};
pub use fault::{Asked, BY_MAX, FOR, FOR_MAX, HITS, HITS_MAX, Kind, NotFault, RETRY_AFTER_MAX};

use actor::{Actors, RUNS};
use board::{Board, Gone, Hit};
use diary::{Diary, Pages};
use fault::{Fault, PlatformEffect, ProviderEffect};

/// How long the journal is waited for when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// The live faults of this process; a cheap clone.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    world: World,
    token: Key,
    books: Mutex<Books>,
    /// The tree's actors, once there is a tree.
    actors: OnceLock<Actors>,
    diary: Diary,
    /// What the diary's writer takes when it begins.
    pages: Mutex<Option<Pages>>,
}

struct Books {
    board: Board,
    chance: Chance,
    models: BTreeSet<String>,
    publishers: BTreeSet<String>,
}

impl Live {
    /// For whoever shows this token; no fault is in force yet.
    #[must_use]
    pub fn new(world: World, token: Key) -> Self {
        let (diary, pages) = diary::diary();
        let books = Books {
            board: Board::default(),
            chance: world.chance("chaos/live"),
            models: BTreeSet::new(),
            publishers: BTreeSet::new(),
        };
        Self(Arc::new(Inner {
            world,
            token,
            books: Mutex::new(books),
            actors: OnceLock::new(),
            diary,
            pages: Mutex::new(Some(pages)),
        }))
    }

    /// Whether this is the token, as it is now; nobody is admitted where there is none.
    pub async fn admits(&self, token: &[u8]) -> bool {
        let wanted = self.0.token.current().await.inspect_err(|error| tracing::warn!(%error, "[chaos] has no token"));
        // The comparison of two hashes takes the same time whatever they are.
        wanted.is_ok_and(|wanted| blake3::hash(token) == blake3::hash(wanted.expose().as_bytes()))
    }

    /// The way to a model of this name, with its faults.
    #[must_use]
    pub fn models(&self, model: &str, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        self.books().models.insert(format!("llm/{model}"));
        Arc::new(provider::Faulty { transport, live: self.clone(), model: model.to_owned() })
    }

    /// The publisher of this name, with the faults of its platform.
    #[must_use]
    pub fn publisher(&self, name: &str, publisher: Arc<dyn Publisher>) -> Arc<dyn Publisher> {
        self.books().publishers.insert(format!("platform/{name}"));
        Arc::new(platform::Faulty { publisher, live: self.clone(), name: name.to_owned() })
    }

    /// From now on actors can be aimed at, and what happens is written down.
    pub(crate) fn attach(&self, journal: Journal, tree: &Tree) {
        self.attach_actors(Actors::of(tree.clone()));
        if let Some(pages) = lock(&self.0.pages).take() {
            self.0.world.spawn("chaos.diary", pages.run(self.0.world.clone(), journal));
        }
    }

    fn attach_actors(&self, actors: Actors) {
        if self.0.actors.set(actors).is_ok() {
            self.0.world.trouble(Some(Arc::new(self.clone())));
        }
    }

    /// Puts a fault into force, and returns it as it stands.
    ///
    /// # Errors
    /// [`NotFault`]; nothing is in force then that was not before.
    pub fn start(&self, asked: Asked) -> Result<Shown, NotFault> {
        let fault = Fault::of(asked)?;
        self.aims_at_something(&fault)?;
        let (world, lasts) = (&self.0.world, fault.lasts);
        let is_kill = fault.effect == fault::Effect::Kill;
        let (shown, gone) = {
            let mut books = self.books();
            let id = format!("{:012x}", books.chance.below(1 << 48));
            let chance = world.chance("chaos/fault");
            let put = books.board.put(id, fault, world.now(), world.elapsed(), chance)?;
            // Before anybody can be hit, so that a fault's start is its first event.
            self.0.diary.note(put.0.clone());
            put
        };
        let (live, id) = (self.clone(), shown.id.clone());
        if is_kill {
            world.spawn("chaos.kill", self.clone().kill(shown.clone(), gone.clone()));
        }
        world.spawn("chaos.expiry", async move {
            if tokio::time::timeout(lasts, gone.cancelled()).await.is_err() {
                let ended = live.books().board.end(&id, Standing::Expired);
                live.revert(ended.into_iter().collect());
            }
        });
        Ok(shown)
    }

    /// The faults, in force and over, the oldest first.
    pub fn list(&self) -> Vec<Shown> {
        self.books().board.shown(self.0.world.elapsed())
    }

    /// Stops one fault, and returns it as it stands then; nothing when there is none of this name.
    pub fn stop_one(&self, id: &str) -> Option<Shown> {
        let ended = self.books().board.end(id, Standing::Stopped);
        self.revert(ended.into_iter().collect());
        self.books().board.find(id, self.0.world.elapsed())
    }

    /// The one stop for all: returns those that it has stopped.
    pub fn stop(&self) -> Vec<Shown> {
        let ended = self.books().board.stop();
        let stopped = ended.iter().map(|gone| gone.shown.clone()).collect();
        self.revert(ended);
        stopped
    }

    /// Stops all faults, makes no trouble any more, and waits until that is written down.
    pub(crate) async fn close(&self) {
        self.stop();
        self.0.world.trouble(None);
        let is_written = lock(&self.0.pages).is_none();
        if is_written && tokio::time::timeout(FLUSH_MAX, self.0.diary.flush()).await.is_err() {
            tracing::warn!("the journal took no word of the last live faults within {FLUSH_MAX:?}");
        }
    }

    fn aims_at_something(&self, fault: &Fault) -> Result<(), NotFault> {
        let known = {
            let books = self.books();
            match fault.effect {
                fault::Effect::Provider(_) => books.models.clone(),
                fault::Effect::Platform(_) => books.publishers.clone(),
                fault::Effect::Turn(_) => self.0.actors.get().map(Actors::workers).unwrap_or_default(),
                fault::Effect::Kill => self.0.actors.get().map(Actors::known).unwrap_or_default(),
            }
        };
        // A run need not be awake now.
        let is_run = known.contains(RUNS) && fault.target.starts_with("run/");
        if is_run || known.iter().any(|name| fault.covers(name)) {
            return Ok(());
        }
        let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let known =
            if names.is_empty() { "there is nothing".to_owned() } else { format!("known: {}", names.join(", ")) };
        Err(NotFault::Target { target: fault.target.clone(), kind: fault.asked.kind.name(), known })
    }

    /// Notes what ended, and frees the actors that it holds: nobody but a kill gets them out of their turn.
    fn revert(&self, ended: Vec<Gone>) {
        for Gone { shown, was_in_force, hung } in ended {
            if was_in_force {
                self.0.diary.note(shown);
            }
            if let Some(actors) = self.0.actors.get().filter(|_| !hung.is_empty()) {
                self.0.world.spawn("chaos.revert", actors.clone().free(self.0.world.clone(), hung));
            }
        }
    }

    fn provider(&self, model: &str) -> Option<Hit<ProviderEffect>> {
        let hit = self.books().board.provider(model, self.0.world.elapsed());
        self.noted(hit)
    }

    fn platform(&self, publisher: &str) -> Option<Hit<PlatformEffect>> {
        let hit = self.books().board.platform(publisher, self.0.world.elapsed());
        self.noted(hit)
    }

    fn noted<E>(&self, mut hit: Option<Hit<E>>) -> Option<Hit<E>> {
        if let Some(shown) = hit.as_mut().and_then(|hit| hit.used_up.take()) {
            self.0.diary.note(shown);
        }
        hit
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.0.books)
    }
}

impl Troublemaker for Live {
    fn strike(&self, actor: &str) -> Option<Trouble> {
        let hit = self.books().board.turn(actor, self.0.world.elapsed());
        self.noted(hit).map(|hit| hit.effect)
    }
}

/// A panic elsewhere cannot leave the books half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
