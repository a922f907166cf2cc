//! The life of a durable actor. Invariant: `durable` is the fold of what is synced, `ahead` is
//! that and everything in flight; the two meet whenever nothing is in flight.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use policies::failure::FailureClass;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use storage::journal::{AppendError, Appended, Batch, RecordId, StreamId, Version, Write};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::flight::{Came, Doom, Flight, Flights, Landed, Landing};
use super::fold::{self, FoldError, Folded};
use super::handle::{AskError, Envelope, Handle, Inner, Message, Note, stream_of};
use super::{Context, Durable, Options, Spine};
use crate::entity::{Beside, Decision, Entity};
use crate::letters::Death;
use crate::mailbox::Credits;
use crate::world::{Chance, message_of};

/// How long a death may take to be written down before the actor dies of it all the same.
const DEATH_WITHIN: Duration = Duration::from_secs(10);

/// Why a durable actor ended; its supervisor starts it anew, and that folds what was written.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The journal refused or lost a write in a way that only a fresh fold can settle.
    #[error("the journal did not take what happened to `{stream}`")]
    Append {
        /// The entity's stream.
        stream: StreamId,
        /// What the journal says.
        #[source]
        source: AppendError,
    },
    /// Nobody can say any more how a write ended.
    #[error("nobody knows whether a write to `{0}` is durable")]
    Vanished(StreamId),
    /// A write landed although the one that it was built on had not: another writer is at work.
    #[error("a write to `{0}` landed out of order: does a second actor run this entity?")]
    OutOfOrder(StreamId),
    /// An event cannot be written down.
    #[error("an event of `{stream}` cannot be written down")]
    Event {
        /// The entity's stream.
        stream: StreamId,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
}

/// What an actor is started with.
pub struct Start {
    pub(super) spine: Spine,
    pub(super) id: Arc<str>,
    pub(super) options: Options,
    pub(super) credits: Credits,
}

/// One life: ractor's state of a durable actor.
pub struct Life<E: Entity> {
    durable: Folded<E::State>,
    ahead: E::State,
    ahead_version: Version,
    flights: Flights<E>,
    record_ids: Chance,
    context: Context<E>,
    credits: Credits,
    options: Options,
    myself: ActorRef<Message<E>>,
    keeping: bool,
    last_command: Duration,
    rest: Option<Timer>,
    /// Cancels the context's token when this life ends, however it ends.
    _ended: DropGuard,
}

/// A task that ends with what holds it.
struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<E: Entity> Actor for Durable<E> {
    type Msg = Message<E>;
    type State = Life<E>;
    type Arguments = Start;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        start: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let Start { spine, id, options, credits } = start;
        let stream = stream_of::<E>(&id);
        let (journal, snapshots, recent) = (spine.journal.clone(), Arc::clone(&spine.snapshots), spine.recent.clone());
        spine.landings.settled(&stream).await;
        let of = stream.clone();
        let durable = spine
            .world
            .blocking("fold", move || fold::fold::<E>(&journal, &snapshots, &recent, &of))
            .await
            .map_err(|source| FoldError::Lost { stream, source })??;
        let ended = CancellationToken::new();
        let handle = Handle::new(myself.clone(), credits.clone(), &id);
        Ok(Life {
            ahead: durable.state.clone(),
            ahead_version: durable.version,
            durable,
            flights: Flights::new(),
            record_ids: spine.world.chance("durable/records"),
            last_command: spine.world.elapsed(),
            context: Context { spine, handle, id, ended: ended.clone() },
            credits,
            options,
            myself,
            keeping: false,
            rest: None,
            _ended: ended.drop_guard(),
        })
    }

    async fn post_start(&self, _: ActorRef<Self::Msg>, life: &mut Self::State) -> Result<(), ActorProcessingErr> {
        life.trace("woke", life.durable.version);
        self.host.recovered(&life.context, &life.durable.state).await;
        if let Some(after) = life.options.rest_after {
            life.rest_in(after);
        }
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        life: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let note = match message.0 {
            Inner::Command(envelope) => return self.guarded(*envelope, life).await,
            Inner::Note(note) => note,
        };
        let _turn = life.context.world().turn(life.context.stream().as_str()).await?;
        let done = match note {
            Note::Landed => self.settle(life).await,
            Note::Snapshotted => {
                life.keeping = false;
                Ok(())
            }
            Note::Rest => {
                self.rest(life).await;
                Ok(())
            }
        };
        done.map_err(|failure| life.fail(failure))
    }

    /// A durable actor has no children; whatever is linked to it is not its to judge.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        _: SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// Answers what is in flight. Effects start no more: the next life's `recovered` finds them.
    async fn post_stop(&self, _: ActorRef<Self::Msg>, life: &mut Self::State) -> Result<(), ActorProcessingErr> {
        life.credits.close();
        life.context.ended.cancel();
        while let Some((flight, landed)) = life.flights.landed().await {
            if let Came::Of(_, flight) = life.land(flight, landed).map_err(|failure| life.fail(failure))? {
                flight.settle(None);
            }
        }
        life.trace("stopped", life.durable.version);
        Ok(())
    }
}

impl<E: Entity> Durable<E> {
    /// Handles a command, unless it is out of circulation. If it panics, that is counted before the actor
    /// dies of it.
    async fn guarded(&self, envelope: Envelope<E>, life: &mut Life<E>) -> Result<(), ActorProcessingErr> {
        let (letters, stream) = (life.context.spine.letters.clone(), life.context.stream().clone());
        let (gist, at) = (E::gist(&envelope.command), life.ahead_version);
        if let Some(letter) = gist.as_deref().and_then(|gist| letters.holds(&stream, at, gist)) {
            if let Some(answer) = envelope.answer {
                drop(answer.send(Err(AskError::Dead(letter))));
            }
            return Ok(());
        }
        let handled = async {
            let _turn = life.context.world().turn(stream.as_str()).await?;
            let done = self.command(envelope, life).await;
            done.map_err(|failure| life.fail(failure))
        };
        let panic = match AssertUnwindSafe(handled).catch_unwind().await {
            Ok(done) => return done,
            Err(panic) => panic,
        };
        if let Some(gist) = gist {
            let message = message_of(panic.as_ref());
            let death = Death::new(life.context.world().now(), stream.as_str(), FailureClass::Bug, &message, true);
            let counted = letters.died(&stream, at, &gist, death);
            if tokio::time::timeout(DEATH_WITHIN, counted).await.is_err() {
                tracing::error!(%stream, "a death is not counted: the journal takes too long");
            }
        }
        std::panic::resume_unwind(panic)
    }

    async fn command(&self, envelope: Envelope<E>, life: &mut Life<E>) -> Result<(), Failure> {
        let Envelope { command, origin, answer, credit } = envelope;
        if !credit.begin() {
            // It has made room for another.
            if let Some(answer) = answer {
                drop(answer.send(Err(AskError::Busy)));
            }
            return Ok(());
        }
        life.last_command = life.context.world().elapsed();
        let command = self.host.prepare(&life.ahead, command).await;
        let mut flight = Flight {
            events: Vec::new(),
            outcome: Err(AskError::Undone),
            doom: None,
            answer,
            credit,
            landing: Landing::Here,
        };
        match E::decide(&life.ahead, command) {
            Err(refusal) => flight.outcome = Err(AskError::Refused(refusal)),
            Ok(Decision { events, reply, preconditions, beside }) => {
                flight.outcome = Ok(reply);
                if !events.is_empty() {
                    let batch = life.batch(&origin, &events, &beside, preconditions)?;
                    // Before it is submitted: an event that `evolve` panics on is never written.
                    events.iter().for_each(|event| E::evolve(&mut life.ahead, event));
                    life.ahead_version.0 += count(&events);
                    flight.landing = life.submit(batch).await;
                    flight.events = events;
                }
            }
        }
        life.flights.push(flight);
        self.settle(life).await
    }

    /// Starts the effects of whatever has landed, and answers it. In this order: who is answered may take back
    /// what it had ready for an effect that was not begun.
    async fn settle(&self, life: &mut Life<E>) -> Result<(), Failure> {
        while let Some((flight, landed)) = life.flights.next_landed() {
            match life.land(flight, landed)? {
                Came::Of(events, flight) => {
                    self.host.started(&life.context, &life.durable.state, &events).await;
                    flight.settle(None);
                }
                Came::Undone => self.host.undone(&life.durable.state).await,
                Came::Nothing => {}
            }
        }
        life.keep_if_due();
        Ok(())
    }

    /// Rests if nothing is under way and the host agrees; else looks again later.
    async fn rest(&self, life: &mut Life<E>) {
        let Some(after) = life.options.rest_after else { return };
        let quiet = life.context.world().elapsed().saturating_sub(life.last_command);
        if quiet < after {
            return life.rest_in(after - quiet);
        }
        // Closing comes last: once closed, it rests.
        if !self.host.idle(&life.durable.state) || !life.credits.close_if_unused() {
            return life.rest_in(after);
        }
        if let Some(keep) = life.snapshot_if_due() {
            keep.await;
        }
        life.trace("rests", life.durable.version);
        life.myself.stop(Some("rest".to_owned()));
    }
}

impl<E: Entity> Life<E> {
    fn batch(
        &mut self,
        origin: &super::Origin,
        events: &[E::Event],
        beside: &[Beside],
        preconditions: Vec<(StreamId, Version)>,
    ) -> Result<Batch, Failure> {
        let stream = self.context.stream().clone();
        let time = self.context.world().now();
        let unwritten = |source| Failure::Event { stream: stream.clone(), source };
        let mut version = self.ahead_version;
        let write = |event| {
            let written = origin.event::<E>(event, time)?;
            version.0 += 1;
            self.context.spine.recent.keep::<E>(&stream, version, &written, event);
            Ok(written)
        };
        let events = events.iter().map(write).collect::<Result<_, _>>().map_err(unwritten)?;
        let beside = beside.iter().map(|event| origin.beside(event, time));
        let beside = beside.collect::<Result<Vec<_>, _>>().map_err(unwritten)?;
        let own = Write { stream: stream.clone(), expected: Some(self.ahead_version), events };
        let writes = std::iter::once(own).chain(beside).collect();
        Ok(Batch { id: RecordId(self.record_ids.id()), writes, preconditions })
    }

    /// Submits without waiting for the sync; waits only while the journal's queue has no room.
    async fn submit(&mut self, batch: Batch) -> Landing {
        let world = self.context.world().clone();
        let submitted = world.elapsed();
        let approach = self.context.spine.landings.begin(self.context.stream());
        let (done, ended) = oneshot::channel();
        match self.context.spine.journal.submit(batch).await {
            Err(error) => drop(done.send(Landed::Failed(error))),
            Ok(pending) => {
                let myself = self.myself.clone();
                world.spawn("append", async move {
                    let landed = pending.await.map_or_else(Landed::Failed, Landed::Synced);
                    drop(approach);
                    // A stopped actor takes no message, and waits for the outcome itself.
                    if done.send(landed).is_ok() {
                        let _ = myself.send_message(Message(Inner::Note(Note::Landed)));
                    }
                });
            }
        }
        Landing::Append { ended, submitted }
    }

    /// Folds one flight that has landed, and answers it unless its effects are to be started first.
    fn land(&mut self, flight: Flight<E>, landed: Option<(Landed, Duration)>) -> Result<Came<E>, Failure> {
        let Some((landed, submitted)) = landed else {
            let outcome = flight.doom.map(Doom::answer);
            flight.settle(outcome);
            return Ok(Came::Nothing);
        };
        let took = self.context.world().elapsed().saturating_sub(submitted);
        let error = match landed {
            Landed::Synced(appended) => return self.synced(flight, &appended, took),
            Landed::Failed(error) => error,
            Landed::Vanished => return self.give_up(flight, Failure::Vanished(self.context.stream().clone())),
        };
        self.context.spine.metrics.appended(E::KIND, name(&error), took);
        if let Some(doom) = flight.doom {
            flight.settle(Some(doom.answer()));
            return Ok(Came::Nothing);
        }
        match self.survivable(&error) {
            Some((answer, doom)) => {
                self.ahead.clone_from(&self.durable.state);
                self.ahead_version = self.durable.version;
                self.flights.doom(doom);
                flight.settle(Some(answer));
                Ok(Came::Undone)
            }
            None => {
                let stream = self.context.stream().clone();
                self.give_up(flight, Failure::Append { stream, source: error })
            }
        }
    }

    fn synced(&mut self, mut flight: Flight<E>, appended: &Appended, took: Duration) -> Result<Came<E>, Failure> {
        self.context.spine.metrics.appended(E::KIND, "ok", took);
        if flight.doom.is_some() {
            let failure = Failure::OutOfOrder(self.context.stream().clone());
            return self.give_up(flight, failure);
        }
        let events = std::mem::take(&mut flight.events);
        for event in &events {
            E::evolve(&mut self.durable.state, event);
            self.durable.version.0 += 1;
            self.trace(E::kind(event), self.durable.version);
        }
        self.durable.at = appended.last;
        Ok(Came::Of(events, flight))
    }

    /// Failures that leave the stream as it was, for certain, and the actor its rightful writer.
    fn survivable(&self, error: &AppendError) -> Option<(AskError<E::Refusal>, Doom)> {
        match error {
            AppendError::Full { .. } => Some((AskError::Full, Doom::Full)),
            AppendError::Retry { .. } => Some((AskError::Undone, Doom::Undone)),
            AppendError::TooLarge { .. } => Some((AskError::TooLarge(error.to_string()), Doom::Undone)),
            AppendError::Conflict { stream, expected, actual } if stream != self.context.stream() => {
                let (stream, expected, actual) = (stream.clone(), *expected, *actual);
                Some((AskError::Stale { stream, expected, actual }, Doom::Undone))
            }
            _ => None,
        }
    }

    fn give_up<T>(&self, flight: Flight<E>, failure: Failure) -> Result<T, Failure> {
        flight.settle(Some(AskError::Lost { reason: failure.to_string() }));
        Err(failure)
    }

    /// Takes no more, answers whoever waits, and hands the failure to the supervisor.
    fn fail(&mut self, failure: Failure) -> ActorProcessingErr {
        self.credits.close();
        self.flights.lose(&failure.to_string());
        self.trace("failed", self.durable.version);
        failure.into()
    }

    /// Writes a snapshot in the background, one at a time.
    fn keep_if_due(&mut self) {
        if self.keeping {
            return;
        }
        let Some(keep) = self.snapshot_if_due() else { return };
        self.keeping = true;
        let myself = self.myself.clone();
        self.context.world().spawn("snapshot", async move {
            keep.await;
            let _ = myself.send_message(Message(Inner::Note(Note::Snapshotted)));
        });
    }

    /// The writing of a snapshot, if there are enough events since the last. A failure costs the
    /// next start some time, so it is only reported.
    fn snapshot_if_due(&mut self) -> Option<impl Future<Output = ()> + Send + use<E>> {
        let every = self.options.snapshot_every;
        let since = self.durable.version.0.saturating_sub(self.durable.kept.0);
        if every == 0 || since < every {
            return None;
        }
        self.durable.kept = self.durable.version;
        let stream = self.context.stream().clone();
        let at = self.durable.at;
        let bytes = match fold::kept(&self.durable) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%stream, %error, "the state cannot be written down as a snapshot");
                return None;
            }
        };
        let snapshots = Arc::clone(&self.context.spine.snapshots);
        let world = self.context.world().clone();
        Some(async move {
            let name = stream.clone();
            let put = move || snapshots.put(name.as_str(), at, E::FOLD, &bytes);
            match world.blocking("snapshot", put).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%stream, %error, "the snapshot is not written"),
                Err(error) => tracing::warn!(%stream, %error, "the snapshot is not written"),
            }
        })
    }

    fn rest_in(&mut self, wait: Duration) {
        let myself = self.myself.clone();
        let timer = self.context.world().spawn("rest", async move {
            tokio::time::sleep(wait).await;
            let _ = myself.send_message(Message(Inner::Note(Note::Rest)));
        });
        self.rest = Some(Timer(timer.abort_handle()));
    }

    fn trace(&self, what: &str, version: Version) {
        let stream = self.context.stream();
        self.context.world().trace(format_args!("{stream}@{} {what}", version.0));
    }
}

/// The error's name among the metrics' labels.
fn name(error: &AppendError) -> &'static str {
    match error {
        AppendError::Full { .. } => "full",
        AppendError::Conflict { .. } => "conflict",
        AppendError::Fenced => "fenced",
        AppendError::TooLarge { .. } => "too_large",
        _ => "failed",
    }
}

fn count<T>(of: &[T]) -> u64 {
    u64::try_from(of.len()).unwrap_or(u64::MAX)
}
