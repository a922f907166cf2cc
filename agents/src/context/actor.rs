//! The context store's actor. Writes go through it one by one; searches and the
//! indexing loop run in tasks that end with it. Invariant: what it has accepted
//! is in the journal, and how far a search must wait is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actors::world::World;
use policies::failure::FailureClass;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::index::{ContextIndex, Filter};
use storage::journal::{Journal, Seq, StreamId, Version};
use storage::latest::{Latest, Watcher};
use supervisor::Failure;

use super::event::{self, Change, FORGOTTEN, ForgottenEvent, REMEMBERED, RememberedEvent};
use super::indexer::{Indexer, IndexerError};
use super::{ContextError, Forget, Found, HITS_MAX, NOTES_MAX, NoteId, Remember, Remembered, Search};
use crate::embed::Embedder;
use crate::front::Reply;
use crate::record::Recorder;
use crate::tether::Tether;

/// Notes in one event.
const EVENT_NOTES_MAX: usize = 64;
/// Events of one append.
const APPEND_EVENTS_MAX: usize = 32;
/// Events read at once.
const READ_EVENTS_MAX: usize = 256;
/// Its name in the tree.
const NAME: &str = "context";
/// How long a search waits for the index.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(30);
/// Collections whose last write is known apart; the others share the latest.
const COLLECTIONS_MAX: usize = 4_096;

/// What the store is told.
pub enum ContextMsg {
    /// Remember these.
    Remember {
        /// The notes.
        remember: Remember,
        /// Where the outcome goes.
        reply: Reply<Result<Remembered, ContextError>>,
    },
    /// Which notes are about this?
    Search {
        /// The question.
        search: Search,
        /// Where the answer goes.
        reply: Reply<Result<Vec<Found>, ContextError>>,
    },
    /// Forget these.
    Forget {
        /// The collection.
        collection: String,
        /// Which of its notes.
        forget: Forget,
        /// Where the outcome goes: how many there were.
        reply: Reply<Result<usize, ContextError>>,
    },
    /// The indexing loop ended; only the store's own loop says so.
    Broken(IndexerError),
}

impl ContextMsg {
    /// Whether it is to be handled still.
    fn begins(&self) -> bool {
        match self {
            Self::Remember { reply, .. } => reply.begin(),
            Self::Search { reply, .. } => reply.begin(),
            Self::Forget { reply, .. } => reply.begin(),
            Self::Broken(_) => true,
        }
    }
}

/// What the store is started with.
#[derive(Clone)]
pub struct ContextArguments {
    /// Where notes are kept.
    pub journal: Journal,
    /// How they are found. It must have been made with this embedder.
    pub index: Arc<dyn ContextIndex>,
    /// What makes their vectors.
    pub embedder: Arc<dyn Embedder>,
}

/// The actor.
pub struct ContextActor {
    world: World,
}

/// The actor's state.
pub struct Store {
    world: World,
    arguments: ContextArguments,
    recorder: Recorder,
    reached: Watcher<Seq>,
    written: Written,
    tether: Tether,
}

/// The last event of each collection, as far as a search must know.
struct Written {
    by_collection: BTreeMap<String, Seq>,
    others: Seq,
}

impl ContextActor {
    /// A store's actor in this world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

impl Actor for ContextActor {
    type Msg = ContextMsg;
    type State = Store;
    type Arguments = ContextArguments;

    async fn pre_start(
        &self,
        me: ActorRef<ContextMsg>,
        arguments: ContextArguments,
    ) -> Result<Store, ActorProcessingErr> {
        let sender = Latest::new(Seq::default());
        let reached = sender.watch();
        let indexer = Indexer {
            world: self.world.clone(),
            journal: arguments.journal.clone(),
            index: Arc::clone(&arguments.index),
            embedder: Arc::clone(&arguments.embedder),
            reached: sender,
        };
        let tether = Tether::new(self.world.clone());
        tether.spawn("context/index", async move {
            let _ = me.cast(ContextMsg::Broken(indexer.run().await));
        });
        Ok(Store {
            world: self.world.clone(),
            recorder: Recorder::new(self.world.clone(), arguments.journal.clone(), "system/context"),
            // What an earlier generation accepted is somewhere before the head.
            written: Written { by_collection: BTreeMap::new(), others: arguments.journal.head() },
            arguments,
            reached,
            tether,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<ContextMsg>,
        message: ContextMsg,
        store: &mut Store,
    ) -> Result<(), ActorProcessingErr> {
        if !message.begins() {
            return Ok(());
        }
        let _turn = self.world.turn(NAME).await?;
        match message {
            ContextMsg::Remember { remember, reply } => reply.send(store.remember(&remember).await),
            ContextMsg::Forget { collection, forget, reply } => reply.send(store.forget(&collection, forget).await),
            ContextMsg::Search { search, reply } => {
                let wanted = store.written.before_search(&search.collection);
                let task = answer(self.world.clone(), store.arguments.clone(), store.reached.clone(), wanted, search);
                store.tether.spawn("context/search", async move { reply.send(task.await) });
            }
            ContextMsg::Broken(error) => {
                let failure = Failure::classify(&error);
                return Err(Failure::new(
                    FailureClass::Bug,
                    format!("the context store cannot index: {}", failure.message),
                )
                .into());
            }
        }
        Ok(())
    }
}

impl Store {
    async fn remember(&mut self, remember: &Remember) -> Result<Remembered, ContextError> {
        let stream = stream(&remember.collection)?;
        let remembered = RememberedEvent::of(remember);
        if remembered.notes.len() > NOTES_MAX {
            return Err(ContextError::TooMany { notes: remembered.notes.len() });
        }
        let ids: Vec<_> = remembered.notes.iter().map(|note| note.id).collect();
        let mut events = Vec::new();
        for notes in remembered.notes.chunks(EVENT_NOTES_MAX) {
            let part = RememberedEvent { notes: notes.to_vec(), ..remembered.clone() };
            events.push(self.recorder.event(REMEMBERED, remember.subject.clone(), &part).map_err(unwritable)?);
        }
        let mut seq = None;
        // Several appends: what a crash leaves out is remembered again, under the same ids.
        for part in events.chunks(APPEND_EVENTS_MAX) {
            seq = self.append(&remember.collection, stream.clone(), part.to_vec()).await?;
        }
        Ok(Remembered { ids, seq })
    }

    async fn forget(&mut self, collection: &str, forget: Forget) -> Result<usize, ContextError> {
        let stream = stream(collection)?;
        let known = self.notes(&stream, &forget).await?;
        let count = known.len();
        if count > 0 {
            let forgotten = ForgottenEvent { ids: known.into_iter().collect() };
            let event = self.recorder.event(FORGOTTEN, None, &forgotten).map_err(unwritable)?;
            self.append(collection, stream, vec![event]).await?;
        }
        Ok(count)
    }

    async fn append(
        &mut self,
        collection: &str,
        stream: StreamId,
        events: Vec<storage::journal::NewEvent>,
    ) -> Result<Option<Seq>, ContextError> {
        if events.is_empty() {
            return Ok(None);
        }
        let appended = self.recorder.append(stream, None, events).await.map_err(ContextError::Append)?;
        self.written.note(collection, appended.last);
        Ok(Some(appended.last))
    }

    /// Which notes of a collection are remembered now and meant: by the journal,
    /// since the index may be behind.
    async fn notes(&self, stream: &StreamId, forget: &Forget) -> Result<BTreeSet<NoteId>, ContextError> {
        let mut known = BTreeSet::new();
        let mut after = Version::default();
        loop {
            let (journal, of) = (self.arguments.journal.clone(), stream.clone());
            let read =
                self.world.blocking("context/read", move || journal.read_stream(&of, after, READ_EVENTS_MAX)).await;
            let events = read.map_err(ContextError::Lost)?.map_err(ContextError::Read)?;
            let Some(last) = events.last() else { return Ok(known) };
            after = last.version;
            for event in &events {
                match Change::of(event).map_err(ContextError::Event)? {
                    None => {}
                    Some(Change::Forgotten(forgotten)) => forgotten.ids.iter().for_each(|id| {
                        known.remove(id);
                    }),
                    Some(Change::Remembered(remembered)) => {
                        let meant = remembered.notes.iter().filter(|note| match forget {
                            Forget::Ids(ids) => ids.contains(&note.id),
                            Forget::Matching(filter) => filter.admits(&remembered.payload(&note.note)),
                        });
                        known.extend(meant.map(|note| note.id));
                    }
                }
            }
        }
    }
}

impl Written {
    fn note(&mut self, collection: &str, seq: Seq) {
        self.by_collection.insert(collection.to_owned(), seq);
        if self.by_collection.len() > COLLECTIONS_MAX
            && let Some((_, seq)) = self.by_collection.pop_first()
        {
            self.others = self.others.max(seq);
        }
    }

    fn before_search(&self, collection: &str) -> Seq {
        self.by_collection.get(collection).copied().unwrap_or(self.others)
    }
}

async fn answer(
    world: World,
    arguments: ContextArguments,
    mut reached: Watcher<Seq>,
    wanted: Seq,
    search: Search,
) -> Result<Vec<Found>, ContextError> {
    let caught_up =
        tokio::time::timeout(SEARCH_WAIT_MAX, reached.wait_for(|at| *at >= wanted)).await.is_ok_and(|at| at.is_ok());
    if !caught_up {
        return Err(ContextError::Behind { reached: reached.get(), wanted });
    }
    let embedder = Arc::clone(&arguments.embedder);
    let query = search.query;
    let vectors = world.blocking("context/embed", move || embedder.embed(&[&query])).await;
    let vectors = vectors.map_err(ContextError::Lost)?.map_err(ContextError::Embed)?;
    let Some(vector) = vectors.into_iter().next() else { return Ok(Vec::new()) };
    let filter: Filter = search.filter.and("collection", search.collection);
    let hits = arguments.index.search(vector, filter, search.limit.min(HITS_MAX)).await.map_err(ContextError::Index)?;
    Ok(hits.into_iter().map(found).collect())
}

fn found(mut hit: storage::index::Hit) -> Found {
    let mut field = |name: &str| hit.payload.remove(name).unwrap_or_default();
    Found { text: field("text"), source: field("source"), kind: field("kind"), score: hit.score }
}

fn stream(collection: &str) -> Result<StreamId, ContextError> {
    event::stream(collection).ok_or_else(|| ContextError::Collection(collection.to_owned()))
}

fn unwritable(error: serde_json::Error) -> ContextError {
    ContextError::Event(error.to_string())
}
