//! The agent's actor. It only keeps books: each call runs in a task of its own,
//! so that stopping it and asking after it stay prompt. Invariant: when the actor
//! goes, by whatever way, its books go, and with them every call.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actors::guard::{CallOutcome, Permit};
use actors::world::{World, message_of};
use futures::FutureExt;
use policies::failure::FailureClass;
use policies::tokens::Tokens;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisor::Failure;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{AgentSpec, Job, Voice};
use crate::front::Reply;
use crate::model::{ModelError, ModelReply, Progress, Thinking};

/// What an agent is told.
pub enum AgentMsg {
    /// Make this call.
    Perform {
        /// The call.
        job: Box<Job>,
        /// The guard's permission, given back with the outcome.
        permit: Permit,
        /// Shared with the model and with whoever asked.
        progress: Progress,
        /// Where the outcome goes.
        reply: Reply<Result<ModelReply, ModelError>>,
    },
    /// A call's task is over; only the agent's own tasks say so.
    Ended {
        /// The call's number.
        number: u64,
        /// The message of the panic that ended it, if one did.
        panic: Option<String>,
    },
    /// What is under way?
    Status(Reply<Vec<Status>>),
    /// Misbehave, so that recovery can be watched.
    Poke(Fault),
}

impl AgentMsg {
    /// Whether it is to be handled still.
    fn begins(&self) -> bool {
        match self {
            Self::Perform { reply, .. } => reply.begin(),
            Self::Status(reply) => reply.begin(),
            Self::Ended { .. } | Self::Poke(_) => true,
        }
    }
}

/// One call under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The run it is made for.
    pub run: String,
    /// The step's path.
    pub path: String,
    /// Tokens so far.
    pub tokens: Tokens,
    /// Signs of life so far.
    pub beats: u64,
    /// Since when, on the world's monotonic clock.
    pub since: Duration,
}

/// How an agent can be made to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It panics.
    Panic,
    /// Its handler never returns.
    Hang,
}

/// The actor; its arguments are what the agent is.
pub struct AgentActor {
    world: World,
}

impl AgentActor {
    /// An agent's actor in this world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

/// The agent's books.
pub struct Books {
    spec: Arc<AgentSpec>,
    calls: BTreeMap<u64, Call>,
    next: u64,
}

struct Call {
    job: Job,
    progress: Progress,
    since: Duration,
    task: JoinHandle<()>,
}

impl Drop for Call {
    fn drop(&mut self) {
        // Work on other threads sees the cancellation; the task itself is dropped.
        self.progress.cancel();
        self.task.abort();
    }
}

impl Actor for AgentActor {
    type Msg = AgentMsg;
    type State = Books;
    type Arguments = Arc<AgentSpec>;

    async fn pre_start(&self, _: ActorRef<AgentMsg>, spec: Arc<AgentSpec>) -> Result<Books, ActorProcessingErr> {
        Ok(Books { spec, calls: BTreeMap::new(), next: 0 })
    }

    async fn handle(
        &self,
        me: ActorRef<AgentMsg>,
        message: AgentMsg,
        books: &mut Books,
    ) -> Result<(), ActorProcessingErr> {
        if !message.begins() {
            return Ok(());
        }
        let _turn = self.world.turn(&books.spec.name).await?;
        match message {
            AgentMsg::Perform { job, permit, progress, reply } => {
                let number = books.next;
                books.next += 1;
                let call = perform(
                    Arc::clone(&books.spec),
                    (*job).clone(),
                    permit,
                    progress.clone(),
                    reply,
                    self.world.clone(),
                );
                let task = self.world.spawn("agent/call", async move {
                    let panic = call.await;
                    // An agent that is gone has dropped its books already.
                    let _ = me.cast(AgentMsg::Ended { number, panic });
                });
                books.calls.insert(number, Call { job: *job, progress, since: self.world.elapsed(), task });
            }
            AgentMsg::Ended { number, panic } => {
                books.calls.remove(&number);
                if let Some(panic) = panic {
                    let message = format!("agent {}: its model {panic}", books.spec.name);
                    return Err(Failure::new(FailureClass::Bug, message).into());
                }
            }
            AgentMsg::Status(reply) => reply.send(books.status()),
            #[expect(clippy::panic, reason = "someone asked to see it")]
            AgentMsg::Poke(Fault::Panic) => panic!("agent {} was poked", books.spec.name),
            AgentMsg::Poke(Fault::Hang) => std::future::pending().await,
        }
        Ok(())
    }
}

impl Books {
    fn status(&self) -> Vec<Status> {
        let status = |call: &Call| Status {
            run: call.job.run.clone(),
            path: call.job.path.clone(),
            tokens: call.progress.tokens(),
            beats: call.progress.beats(),
            since: call.since,
        };
        self.calls.values().map(status).collect()
    }
}

/// Makes the call and answers. A panic of the model is laid at the call's door, and returned.
async fn perform(
    spec: Arc<AgentSpec>,
    mut job: Job,
    permit: Permit,
    progress: Progress,
    reply: Reply<Result<ModelReply, ModelError>>,
    world: World,
) -> Option<String> {
    let beside = job.request.thinking.map_or(Tokens(0), Thinking::beside);
    job.request.output_max = job.request.output_max.min(spec.output_max + beside);
    let voice = job.instead.take().unwrap_or_else(|| spec.voice());
    let (until, path) = (job.until, std::mem::take(&mut job.path));
    let started = world.elapsed();
    let guard = permit.guard().clone();
    progress.on_news(move |news| {
        if let Some(span) = news.hold() {
            guard.hold(span);
        }
        guard.leaves(news.left());
    });
    progress.sent();
    let call = async {
        let made = async {
            tokio::select! {
                biased;
                outcome = voice.model.call(job.request, &progress) => outcome,
                how = outlasts(&voice, &progress) => Err(hung(&spec, &voice, how)),
                silent = falls_silent(&progress, spec.silence_max) => {
                    Err(hung(&spec, &voice, format!("gave no sign of life for {silent:?}")))
                }
            }
        };
        tokio::select! {
            biased;
            outcome = made => Some(outcome),
            () = ends(until) => None,
        }
    };
    let ended = AssertUnwindSafe(call).catch_unwind().await;
    progress.cancel();
    let outcome = match ended {
        Ok(Some(outcome)) => outcome,
        // That says nothing of the model: the permit goes back without a word.
        Ok(None) => {
            drop(permit);
            reply.send(Err(overdue(&path, &voice)));
            return None;
        }
        Err(panic) => {
            let message = message_of(panic.as_ref());
            reply.killed(FailureClass::Bug, format!("its model {message}"));
            return Some(message);
        }
    };
    let took = world.elapsed().saturating_sub(started);
    if says_how_long(&outcome) {
        permit.guard().measure(took);
    }
    permit.finish(CallOutcome { class: outcome.as_ref().err().map(|error| error.class), took });
    reply.send(outcome);
    None
}

/// Whether an outcome says how long the model takes: what was answered did, unless it was kept from an
/// earlier call, and so did what hung; what failed quickly says nothing.
fn says_how_long(outcome: &Result<ModelReply, ModelError>) -> bool {
    match outcome {
        Ok(reply) => (reply.usage.input_total() + reply.usage.output).0 > 0,
        Err(error) => error.class == FailureClass::Hung,
    }
}

/// Resolves when the call has taken as long as it may: its time-out without a sign of life, where its
/// model shows any, and [`Voice::longest`] at all events.
async fn outlasts(voice: &Voice, progress: &Progress) -> String {
    let begun = Instant::now();
    let end = begun + voice.longest();
    tokio::time::sleep_until(end.min(begun + voice.timeout)).await;
    if end <= Instant::now() {
        return format!("did not finish within {:?}", voice.longest());
    }
    tokio::select! {
        biased;
        silent = falls_silent(progress, Some(voice.timeout)) => format!("gave no sign of life for {silent:?}"),
        () = tokio::time::sleep_until(end) => format!("did not finish within {:?}", voice.longest()),
    }
}

/// Resolves then; never, where no time is given.
async fn ends(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Resolves once the call has shown no sign of life for as long as it may; never, when it may be silent as
/// long as it likes.
async fn falls_silent(progress: &Progress, silence_max: Option<Duration>) -> Duration {
    let Some(silence_max) = silence_max else { return std::future::pending().await };
    loop {
        let heard = progress.last_sign();
        tokio::time::sleep_until(heard + silence_max).await;
        if progress.last_sign() == heard {
            return silence_max;
        }
    }
}

fn hung(spec: &AgentSpec, voice: &Voice, how: String) -> ModelError {
    let (model, guard, agent) = (voice.model.id(), &voice.guard, &spec.name);
    let message =
        format!("{model} {how}; ask for less, or raise the timeout of the guard {guard} or the liveness of {agent}");
    ModelError::unknown(FailureClass::Hung, message)
}

/// That a call was cut off for its step's sake; there is no time for another.
fn overdue(path: &str, voice: &Voice) -> ModelError {
    let message = format!(
        "`{path}` is at its time_max: {} was under way and was cut off; raise time_max of the step, or ask for less",
        voice.model.id()
    );
    ModelError::unknown(FailureClass::Rejected, message)
}
