//! The ledger's actor: opens a generation, folds the journal up to it, then keeps
//! up with the tail. Invariant: it answers nothing before it has folded its own
//! opening, so no intent of an older generation can surprise it.

use std::sync::Arc;
use std::time::Duration;

use actors::durable::Recent;
use actors::latest::Watcher;
use actors::world::World;
use policies::budget::{Accounts, Alert, BudgetPolicy, Refusal, ScopeId};
use policies::failure::FailureClass;
use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr};
use serde::Serialize;
use storage::journal::{AppendError, Journal, Seq, Write};
use storage::snapshots::Snapshots;
use supervisor::Failure;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::book::{Book, FOLD_VERSION};
use super::entry::{ALERTED, Alerted, Entry, OPENED, Reader};
use super::webhook::Outbox;
use super::{AlertHook, Factors, Grant, Granted, Reserve, Stood, alerts_stream, stream};
use crate::front::Reply;
use crate::record::Recorder;
use crate::tether::Tether;

/// Events read at once while folding.
const READ_EVENTS_MAX: usize = 1024;
/// Its name in the tree.
const NAME: &str = "ledger";
/// Events between snapshots.
const SNAPSHOT_EVERY: u64 = 10_000;
/// A hold is followed by its intent within moments; one this old was lost.
const HOLD_AGE_MAX: Duration = Duration::from_secs(60);

/// What the ledger is told.
pub enum LedgerMsg {
    /// May this be spent?
    Reserve {
        /// What is asked.
        reserve: Reserve,
        /// Where the answer goes.
        reply: Reply<Result<Grant, Refusal>>,
    },
    /// A failed run is about to go on.
    Reopen {
        /// The run's scope.
        scope: ScopeId,
        /// Where it stood.
        stood: Stood,
        /// Told when the run's account stands.
        reply: Reply<()>,
    },
    /// This was granted and will not be used.
    Release(Granted),
    /// What are the sums?
    Accounts(Reply<Accounts>),
    /// The journal has these events; only the ledger's own tail says so.
    Tail {
        /// In order, the first after what was folded.
        entries: Vec<Entry>,
        /// Sent when they are folded: the tail waits for it.
        folded: oneshot::Sender<()>,
    },
    /// The tail broke.
    Broken(String),
    /// Look for holds that were lost.
    Check,
}

impl LedgerMsg {
    /// Whether it is to be handled still.
    fn begins(&self) -> bool {
        match self {
            Self::Reserve { reply, .. } => reply.begin(),
            Self::Reopen { reply, .. } => reply.begin(),
            Self::Accounts(reply) => reply.begin(),
            Self::Release(_) | Self::Tail { .. } | Self::Broken(_) | Self::Check => true,
        }
    }
}

/// What a ledger is started with.
#[derive(Clone)]
pub struct LedgerArguments {
    /// Whose ledger.
    pub workspace: String,
    /// Its limits, which may become others while it is up.
    pub policy: Watcher<BudgetPolicy>,
    /// What it is a fold of.
    pub journal: Journal,
    /// What was written to it moments ago.
    pub recent: Recent,
    /// Where its fold is kept between starts.
    pub snapshots: Arc<Snapshots>,
    /// Where it says what it sees of models' bills.
    pub factors: Factors,
    /// Where alerts are sent, if anywhere.
    pub hook: Option<AlertHook>,
}

/// The actor.
pub struct LedgerActor {
    world: World,
}

/// The actor's state.
pub struct Open {
    arguments: LedgerArguments,
    recorder: Recorder,
    book: Book,
    reader: Reader,
    snapshot_at: Seq,
    outbox: Option<Outbox>,
    /// Whether alerts were left to another ledger, that this book takes for told.
    is_superseded: bool,
    /// The next look for lost holds; it goes with the actor, and outlives none.
    check: Option<AbortOnDropHandle<Result<(), MessagingErr<LedgerMsg>>>>,
    /// Its tasks end with it.
    _tether: Tether,
}

#[derive(Serialize)]
struct Opened<'a> {
    workspace: &'a str,
}

impl LedgerActor {
    /// A ledger's actor in this world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

impl Actor for LedgerActor {
    type Msg = LedgerMsg;
    type State = Open;
    type Arguments = LedgerArguments;

    async fn pre_start(
        &self,
        me: ActorRef<LedgerMsg>,
        mut arguments: LedgerArguments,
    ) -> Result<Open, ActorProcessingErr> {
        let mut recorder = Recorder::new(self.world.clone(), arguments.journal.clone(), "system/ledger");
        let mut book = Book::new(&arguments.workspace, arguments.policy.see());
        let mut snapshot_at = Seq::default();
        let (name, snapshots) = (stream(&arguments.workspace), Arc::clone(&arguments.snapshots));
        let kept = self.world.blocking("ledger/snapshot", move || snapshots.get(name.as_str(), FOLD_VERSION)).await??;
        if let Some((at, bytes)) = kept.filter(|(at, _)| *at <= arguments.journal.head())
            && book.restore(at, &bytes)
        {
            snapshot_at = at;
        }
        let reader = Reader::new(&arguments.workspace, arguments.recent.clone());
        let opened = open(&mut recorder, &arguments.workspace, &mut book).await?;
        catch_up(&self.world, &arguments.journal, (&reader, &mut book), opened).await?;
        book.accounts(self.world.now());
        book.share(arguments.factors.clone());
        book.go_live();
        let tether = Tether::new(self.world.clone());
        tether.spawn("ledger/tail", follow(arguments.journal.clone(), reader.clone(), book.at().next(), me));
        let outbox = arguments.hook.clone().map(|hook| Outbox::open(hook, &self.world, &tether));
        let (check, is_superseded) = (None, false);
        let mut open =
            Open { arguments, recorder, book, reader, snapshot_at, outbox, is_superseded, check, _tether: tether };
        open.tell().await?;
        Ok(open)
    }

    async fn handle(
        &self,
        me: ActorRef<LedgerMsg>,
        message: LedgerMsg,
        open: &mut Open,
    ) -> Result<(), ActorProcessingErr> {
        if !message.begins() {
            return Ok(());
        }
        let _turn = self.world.turn(NAME).await?;
        if let Some(policy) = open.arguments.policy.see_new() {
            open.book.govern(policy);
        }
        match message {
            LedgerMsg::Reserve { reserve, reply } => {
                if let (Some(run), Some(stood)) = (reserve.run(), reserve.stood) {
                    self.reopen(open, run.clone(), stood).await?;
                }
                reply.send(open.book.reserve(reserve, self.world.elapsed(), self.world.now()));
                open.watch(&me);
            }
            LedgerMsg::Reopen { scope, stood, reply } => {
                self.reopen(open, scope, stood).await?;
                reply.send(());
            }
            LedgerMsg::Release(granted) => open.book.release(granted, open.arguments.journal.head()),
            LedgerMsg::Accounts(reply) => reply.send(open.book.accounts(self.world.now()).clone()),
            LedgerMsg::Tail { entries, folded } => {
                let reached = open.book.at();
                for entry in entries.iter().filter(|entry| entry.seq > reached) {
                    open.book.fold(entry)?;
                }
                // What is kept counts as said, so that it is said before.
                open.tell().await?;
                open.snapshot(&self.world).await;
                // The tail's task may be gone, which ends nothing here.
                let _ = folded.send(());
            }
            LedgerMsg::Broken(reason) => {
                let message = format!("the ledger cannot follow the journal: {reason}");
                return Err(Failure::new(FailureClass::Bug, message).into());
            }
            LedgerMsg::Check => {
                open.check = None;
                self.renew(open).await?;
                open.watch(&me);
            }
        }
        open.tell().await?;
        Ok(())
    }
}

impl LedgerActor {
    async fn reopen(&self, open: &mut Open, run: ScopeId, stood: Stood) -> Result<(), ActorProcessingErr> {
        // The run's end must be behind it, which would close the account once more.
        let Open { arguments, book, reader, .. } = open;
        catch_up(&self.world, &arguments.journal, (reader, book), arguments.journal.head()).await?;
        book.reopen(run, stood);
        Ok(())
    }

    /// Opens a new generation if a hold was lost, which frees that hold once the
    /// fold has passed all that an older grant can still lead to.
    async fn renew(&self, open: &mut Open) -> Result<(), ActorProcessingErr> {
        let lost = open.book.oldest_hold().is_some_and(|since| self.world.elapsed() >= since + HOLD_AGE_MAX);
        if lost {
            self::open(&mut open.recorder, &open.arguments.workspace, &mut open.book).await?;
        }
        Ok(())
    }
}

impl Open {
    /// Has [`LedgerMsg::Check`] come once there can be a hold to look for.
    fn watch(&mut self, me: &ActorRef<LedgerMsg>) {
        if self.check.is_none() && self.book.has_holds() {
            self.check = Some(AbortOnDropHandle::new(me.send_after(HOLD_AGE_MAX, || LedgerMsg::Check)));
        }
    }

    /// Writes what there is to say of budgets, so that it is said once over all restarts.
    async fn tell(&mut self) -> Result<(), ActorProcessingErr> {
        let alerts = self.book.take_alerts();
        if alerts.is_empty() {
            return Ok(());
        }
        let workspace = &self.arguments.workspace;
        let event = |recorder: &mut Recorder, alert: &Alert| {
            recorder.event(ALERTED, None, &Alerted { workspace: workspace.clone(), alert: alert.clone() })
        };
        let events = alerts.iter().map(|alert| event(&mut self.recorder, alert)).collect::<Result<Vec<_>, _>>()?;
        let write = Write { stream: alerts_stream(workspace), expected: None, events };
        match self.recorder.append_while(vec![self.book.condition()], write).await {
            Ok(_) => alerts.into_iter().for_each(|alert| self.send(alert)),
            // Another ledger says it, and this one will see so and end.
            Err(AppendError::Conflict { .. }) => self.is_superseded = true,
            Err(error) => {
                tracing::warn!(%error, "what there is to say of budgets could not be written; it is tried again");
                self.book.give_back_alerts(alerts);
            }
        }
        Ok(())
    }

    /// Says what is in the journal by now. What a ledger that ends has not sent yet is not sent.
    fn send(&self, alert: Alert) {
        tracing::warn!(scope = %alert.scope, "{alert}");
        if let Some(outbox) = &self.outbox {
            outbox.post(Alerted { workspace: self.arguments.workspace.clone(), alert });
        }
    }

    async fn snapshot(&mut self, world: &World) {
        let at = self.book.at();
        let is_all_said = !self.book.has_alerts() && !self.is_superseded;
        if at.0 < self.snapshot_at.0 + SNAPSHOT_EVERY || !is_all_said {
            return;
        }
        self.snapshot_at = at;
        let (name, snapshots) = (stream(&self.arguments.workspace), Arc::clone(&self.arguments.snapshots));
        let Ok(bytes) = self.book.keep() else { return };
        let kept =
            world.blocking("ledger/snapshot", move || snapshots.put(name.as_str(), at, FOLD_VERSION, &bytes)).await;
        // Without a snapshot the next start folds more, and is as right.
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the ledger's snapshot could not be kept"),
            Err(lost) => tracing::warn!(%lost, "the ledger's snapshot could not be kept"),
        }
    }
}

/// Writes the opening of a new generation, and tells the book.
async fn open(recorder: &mut Recorder, workspace: &str, book: &mut Book) -> Result<Seq, ActorProcessingErr> {
    let event = recorder.event(OPENED, None, &Opened { workspace })?;
    let appended = recorder.append(stream(workspace), None, vec![event]).await?;
    if let Some((_, generation)) = appended.versions.first() {
        book.open(*generation);
    }
    Ok(appended.last)
}

async fn catch_up(
    world: &World,
    journal: &Journal,
    (reader, book): (&Reader, &mut Book),
    until: Seq,
) -> Result<(), ActorProcessingErr> {
    while book.at() < until {
        let (journal, from) = (journal.clone(), book.at().next());
        let events = world.blocking("ledger/read", move || journal.read(from, READ_EVENTS_MAX)).await??;
        if events.is_empty() {
            let message = format!("the journal gives no events after {}, though it reaches {until}", book.at());
            return Err(Failure::new(FailureClass::Bug, message).into());
        }
        for event in &events {
            book.fold(&reader.read(event)?)?;
        }
    }
    Ok(())
}

/// Hands the ledger what the journal has, read already: its own turn is for the sums alone.
async fn follow(journal: Journal, reader: Reader, from: Seq, ledger: ActorRef<LedgerMsg>) {
    let mut tail = journal.tail(from);
    loop {
        let entries = match tail.next().await {
            Ok(events) => reader.read_all(&events).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let entries = match entries {
            Ok(entries) => entries,
            Err(reason) => {
                let _ = ledger.cast(LedgerMsg::Broken(reason));
                return;
            }
        };
        let (folded, done) = oneshot::channel();
        if ledger.cast(LedgerMsg::Tail { entries, folded }).is_err() || done.await.is_err() {
            return;
        }
    }
}
