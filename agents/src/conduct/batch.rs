//! Model calls by a provider's batch: for less, within a day.
//!
//! Invariant: a batch is named by its effect and its attempt, so that a later life finds it again and makes no
//! second one; while it is waited for, it holds no place with a guard or an agent, and no time-out runs.

use actors::durable::Context;

use super::casting::{Cast, Speaker};
use super::host::Conductor;
use super::perform::Ended;
use crate::model::{BatchCall, Progress};
use crate::run::{Attempt, Intended, Run};
use crate::workflow::{Action, AgentCall, Latency};

/// Whether an attempt is made by a batch.
pub(super) fn by_batch(intent: &Intended) -> bool {
    intent.call.as_ref().is_some_and(|call| call.batch)
}

impl Speaker {
    /// Whether it makes this call by a batch, with its own model or one of its pool. A stand-in answers at
    /// once: it is there because of an outage.
    pub(super) fn waits_for_batch(&self, call: &AgentCall) -> bool {
        let wants = call.talk.limits.latency == Latency::Batch;
        wants && !self.borrows && self.spec.name == call.agent && self.voice.model.batches()
    }
}

impl Conductor {
    /// Has the call made by a batch, or finds what became of the one that an earlier life made.
    pub(super) async fn ask_by_batch(
        &self,
        intent: &Intended,
        call: &AgentCall,
        speaker: &Speaker,
        may_be_there: bool,
    ) -> Ended {
        let batch = BatchCall { id: name(intent), since: intent.at, may_be_there };
        let request = speaker.request(call, &self.stage.prices);
        tracing::info!(key = %intent.key, batch = batch.id, "a step waits for a batch");
        let ended = match speaker.voice.model.call_by_batch(request, batch).await {
            Ok(reply) => self.answered(speaker, call, reply, (&Progress::default(), true)),
            Err(error) => self.refused(&speaker.voice, error, intent),
        };
        let (used, metrics) = (&ended.usage, &self.stage.spine.metrics);
        metrics.model_used(&speaker.voice.model.id().0, used.input_total(), used.output, ended.cost);
        ended
    }

    /// Goes on with a batch of an earlier life, in a task. One that nobody here could have made is lost.
    pub(super) fn take_up(&self, context: &Context<Run>, intent: Intended) {
        let Some((cast, speaker)) = self.maker(&intent) else {
            let attempt = Attempt { key: intent.key.clone(), number: intent.attempt };
            return self.vanished(context, vec![attempt], "its batch was made with a model that is not here any more");
        };
        let (this, host) = (self.clone(), context.clone());
        self.task(context, "run.batch", async move {
            let Action::Agent(call) = &intent.request else { return };
            let started = host.world().elapsed();
            let ended = this.ask_by_batch(&intent, call, &speaker, true).await;
            let took = host.world().elapsed().saturating_sub(started);
            let retry = this.stage.retry(&cast);
            this.resolve(&host, &intent, ended, took, retry).await;
        });
    }

    /// The agent that made an intent's call, with the model that it was made with.
    fn maker(&self, intent: &Intended) -> Option<(Cast, Box<Speaker>)> {
        let Action::Agent(call) = &intent.request else { return None };
        let pooled = intent.choice.as_ref().map(|choice| choice.model.as_str());
        let cast = self.stage.cast_own(call, pooled)?;
        let speaker = cast.speaker.clone()?;
        let model = &intent.call.as_ref()?.model;
        (speaker.voice.model.id().0 == *model && speaker.voice.model.batches()).then_some((cast, speaker))
    }
}

/// What an attempt's batch is known by.
fn name(intent: &Intended) -> String {
    blake3::hash(format!("{}\n{}", intent.key, intent.attempt).as_bytes()).to_hex().to_string()
}
