//! An AI agent: a supervised actor that makes model calls for runs. Invariant:
//! a call never outlives its agent, and whoever asked always learns whether the
//! request may have reached the provider.

mod actor;
mod kit;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::guard::Permit;
use actors::mailbox::{Cause, Credit};
use policies::choice::PoolPolicy;
use policies::fallback::StandIn;
use policies::tokens::Tokens;
use tokio::time::Instant;

pub use actor::{AgentActor, AgentMsg, Fault, Status};
pub use kit::{Guardrail, Kit, Rule, TURNS_MAX_DEFAULT};

use crate::front::{Front, FrontError};
use crate::model::{Block, Message, Model, ModelError, ModelReply, ModelRequest, Progress, Role, Thinking};
use crate::workflow::action::AgentCall;

/// An agent's own guard is this and its name.
pub const AGENT_GUARD: &str = "agent";

/// What an agent is.
#[derive(Clone)]
pub struct AgentSpec {
    /// Its name, as workflows and budgets know it.
    pub name: String,
    /// The model it speaks with.
    pub model: Arc<dyn Model>,
    /// The guard around its calls.
    pub guard: String,
    /// For one call.
    pub timeout: Duration,
    /// The longest that a call may show no sign of life, a token or a heartbeat; none for as long as it
    /// may take.
    pub silence_max: Option<Duration>,
    /// The longest reply it may ask for.
    pub output_max: Tokens,
    /// Its instructions, where a step gives none.
    pub system: Option<String>,
    /// How freely it writes, where a step does not say.
    pub temperature: f32,
    /// How the tree has its calls made.
    pub terms: AgentTerms,
    /// What it has beside its model.
    pub kit: Kit,
}

/// How the tree's policy has an agent's calls made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentTerms {
    /// Whether a breaker of its own is in front of its model's.
    pub breaks: bool,
    /// Whether a rate of its own is in front of its model's.
    pub paced: bool,
    /// The models that it speaks with instead of its own, one for each call; none where it has but that.
    pub pool: Option<Arc<PoolPolicy>>,
    /// Who stands in for it, the first choice first.
    pub fallback: Vec<StandIn>,
}

/// What a call is made with.
#[derive(Clone)]
pub struct Voice {
    /// The model.
    pub model: Arc<dyn Model>,
    /// The guard that all who speak with it share.
    pub guard: String,
    /// For one call, and between two signs of life of a model that shows them.
    pub timeout: Duration,
}

/// So many time-outs a call may take in all that shows signs of life.
const MOVING_TIMEOUTS_MAX: u32 = 10;

impl Voice {
    /// The longest that one call may take. One that moves is not cut for being slow; one that cannot show
    /// that it moves has its time-out.
    #[must_use]
    pub fn longest(&self) -> Duration {
        if self.model.shows_life() { self.timeout.saturating_mul(MOVING_TIMEOUTS_MAX) } else { self.timeout }
    }
}

impl AgentSpec {
    /// What it speaks with unless it is given something else.
    #[must_use]
    pub fn voice(&self) -> Voice {
        Voice { model: Arc::clone(&self.model), guard: self.guard.clone(), timeout: self.timeout }
    }

    /// The name of its own guard, in front of its model's.
    #[must_use]
    pub fn own_guard(&self) -> String {
        format!("{AGENT_GUARD}/{}", self.name)
    }

    /// The request that `call` asks this agent for; the same each time.
    #[must_use]
    pub fn request(&self, call: &AgentCall) -> ModelRequest {
        let system = call.system.as_ref().or(self.system.as_ref());
        let mut order = Message::user(&call.prompt);
        order.content.splice(..0, call.images.iter().cloned().map(Block::Image));
        let mut said = call.talk.said.as_slice();
        // A note of what was left out belongs to the order: some servers want the roles to alternate.
        if let [note, rest @ ..] = said
            && note.role == Role::User
        {
            order.content.extend(note.content.iter().cloned());
            said = rest;
        }
        let messages = system.map(Message::system).into_iter().chain([order]).chain(said.iter().cloned());
        #[expect(clippy::cast_possible_truncation, reason = "a temperature needs no more than single precision")]
        let temperature = call.temperature.map_or(self.temperature, |temperature| temperature as f32);
        // What is asked for the sake of a talk, and a grade, is short: an agent's own thinking would use it up.
        let own = self.kit.thinking.filter(|_| !call.graded && !call.talk.bare);
        let thinking = call.thinking.or(own);
        let beside = thinking.map_or(Tokens(0), Thinking::beside);
        ModelRequest {
            thinking,
            prefill: call.prefill.clone(),
            stop: call.stop.clone(),
            temperature,
            seed: call.seed,
            graded: call.graded,
            output_schema: call.schema.as_deref().cloned(),
            ..ModelRequest::asking(messages.collect(), call.output_max.min(self.output_max) + beside)
        }
    }
}

/// One model call for one step of a run.
#[derive(Clone)]
pub struct Job {
    /// The run.
    pub run: String,
    /// The step's path.
    pub path: String,
    /// The effect's key.
    pub key: String,
    /// What is asked.
    pub request: ModelRequest,
    /// What it is asked of, with the bounds that were reserved for; none for the agent's own, as that is now.
    pub instead: Option<Voice>,
    /// When it has to have ended, whatever its model may take; none where its step does not say.
    pub until: Option<Instant>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum JobOutcome {
    /// The model answered or failed, and said so.
    Done(Result<ModelReply, ModelError>),
    /// The agent did not make the call; nothing was spent.
    NotSent(FrontError),
    /// The agent went away during the call, for a reason of its own: charge the worst case.
    Lost,
    /// The agent died of the call: charge the worst case if it was sent.
    Killed {
        /// How it failed.
        cause: Cause,
        /// Whether the request may have reached the provider.
        sent: bool,
    },
}

/// An agent, whichever of its generations is up.
#[derive(Clone)]
pub struct AgentHandle {
    /// What its next life is started with.
    spec: Arc<Mutex<Arc<AgentSpec>>>,
    front: Front<AgentMsg>,
}

impl AgentHandle {
    /// The handle of an agent that is yet to be started.
    #[must_use]
    pub fn new(spec: AgentSpec) -> Self {
        Self { spec: Arc::new(Mutex::new(Arc::new(spec))), front: Front::new() }
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> Arc<AgentSpec> {
        Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes it another from its next life on; calls that are under way go on.
    pub fn respecify(&self, spec: AgentSpec) {
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec);
    }

    /// Where its factory publishes each generation.
    #[must_use]
    pub fn front(&self) -> &Front<AgentMsg> {
        &self.front
    }

    /// Has the job done under `permit` in a place of its mailbox; `progress` is shared with the model.
    pub async fn perform(&self, job: Job, permit: Permit, place: Credit, progress: Progress) -> JobOutcome {
        let _under_way = self.front.slot().begin(format!("{} of run {}", job.path, job.run));
        let shared = progress.clone();
        let job = Box::new(job);
        let message = |reply| AgentMsg::Perform { job, permit, progress: shared, reply };
        match self.front.ask_in(place, message).await {
            Ok(outcome) => JobOutcome::Done(outcome),
            Err(FrontError::Killed(cause)) => JobOutcome::Killed { cause, sent: progress.is_sent() },
            Err(_) if progress.is_sent() => JobOutcome::Lost,
            Err(reason) => JobOutcome::NotSent(reason),
        }
    }
}
