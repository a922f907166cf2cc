//! Carrying out one intent. Invariant: it ends in exactly one outcome, told to
//! the run; what may have cost money is charged, at its worst case when nobody
//! can say how much.

use std::time::Duration;

use actors::durable::Context;
use actors::letters::Death;
use actors::mailbox::Cause;
use actors::telemetry::CallEnded;
use actors::telemetry::convention::OTHER;
use policies::failure::FailureClass;
use policies::money::Money;
use policies::retry::RetryPolicy;
use policies::span::Span;
use policies::tokens::{Tokens, Usage};
use serde_json::{Value, json};

use super::CONTEXT;
use super::admit::{Admitted, Prepared};
use super::batch::by_batch;
use super::casting::{Cast, Speaker};
use super::host::Conductor;
use crate::agent::{Job, JobOutcome, Voice};
use crate::front::FrontError;
use crate::model::{Billed, ModelError, ModelReply, Progress};
use crate::publisher::{Landed, Post, PostError, Published};
use crate::run::{Act, Attempt, EffectOutcome, Intended, Outcome, Replied, Run};
use crate::tool::mcp::MCP_TOOL;
use crate::workflow::{Action, AgentCall, PostDraft};

/// An outcome before it is tied to its attempt.
pub(super) struct Ended {
    pub(super) outcome: EffectOutcome,
    pub(super) cost: Money,
    pub(super) usage: Usage,
    pub(super) remote_id: Option<String>,
    /// Who died of it, or may have.
    pub(super) death: Option<Death>,
    /// What a model's reply was like, where there was one.
    pub(super) replied: Option<Replied>,
}

impl Ended {
    pub(super) fn ok(output: Value) -> Self {
        Self {
            outcome: EffectOutcome::ok(output),
            cost: Money::ZERO,
            usage: Usage::default(),
            remote_id: None,
            death: None,
            replied: None,
        }
    }

    pub(super) fn failed(class: FailureClass, message: impl Into<String>) -> Self {
        let outcome = EffectOutcome::Failed { class, message: message.into(), retry_after: None };
        Self { outcome, ..Self::ok(Value::Null) }
    }

    pub(super) fn unknown(reason: impl Into<String>, cost: Money) -> Self {
        let outcome = EffectOutcome::Unknown { reason: reason.into() };
        Self { outcome, cost, ..Self::ok(Value::Null) }
    }

    fn of_death(self, death: Death) -> Self {
        Self { death: Some(death), ..self }
    }
}

impl Conductor {
    /// Carries the intent out in a task, and tells the run.
    pub(super) fn perform(&self, context: &Context<Run>, intent: Intended, prepared: Prepared) {
        let (this, host) = (self.clone(), context.clone());
        self.task(context, "run.perform", async move {
            // A batch goes on by itself, so neither a stop nor a drain waits for it.
            let _under_way = (!by_batch(&intent)).then(|| this.gate.begin(intent.path.to_string()));
            let started = host.world().elapsed();
            let (admitted, cast, fault) = prepared.intended();
            let ended = match fault {
                Some(fault) => Ended::failed(FailureClass::Rejected, fault),
                None => this.act(host.id(), &intent, admitted, &cast).await,
            };
            let took = host.world().elapsed().saturating_sub(started);
            let retry = this.stage.retry(&cast);
            this.resolve(&host, &intent, ended, took, retry).await;
        });
    }

    /// Tells the run how an attempt ended, and how failed ones are made again.
    pub(super) async fn resolve(
        &self,
        context: &Context<Run>,
        intent: &Intended,
        ended: Ended,
        took: Duration,
        retry: RetryPolicy,
    ) {
        let Ended { outcome, cost, usage, remote_id, death, replied } = ended;
        if let Some(death) = death.as_ref().filter(|death| death.certain) {
            context.spine().metrics.message_killed(&death.child);
        }
        let of = Attempt { key: intent.key.clone(), number: intent.attempt };
        let poison = self.stage.poison(death.as_ref().map_or_else(|| worker(&intent.request), |death| &death.child));
        let took = Span::from(took);
        let outcome = Outcome { of, outcome, cost, usage, remote_id, took, retry, death, poison, replied };
        self.tell(context, Act::Outcome(Box::new(outcome))).await;
    }

    /// A death of a worker.
    fn death(&self, worker: &str, class: FailureClass, message: &str, certain: bool) -> Death {
        Death::new(self.stage.spine.world.now(), worker, class, message, certain)
    }

    /// What is told of an effect whose worker gave no answer: whatever cannot have been done costs nothing.
    pub(super) fn unanswered(&self, worker: &str, error: &FrontError, worst: Money) -> Ended {
        let cost = if error.may_have_acted() { worst } else { Money::ZERO };
        let ended = Ended::unknown(format!("`{worker}`: {error}"), cost);
        let death = match error {
            FrontError::Killed(Cause { class, message }) => self.death(worker, *class, message, true),
            FrontError::Lost => self.death(worker, FailureClass::Shutdown, &error.to_string(), false),
            FrontError::Full { .. } | FrontError::Dropped | FrontError::NotUp(_) | FrontError::Untaken => {
                self.death(worker, FailureClass::ProviderDown, &error.to_string(), false)
            }
        };
        ended.of_death(death)
    }

    async fn act(&self, run: &str, intent: &Intended, admitted: Admitted, cast: &Cast) -> Ended {
        match &intent.request {
            Action::Agent(call) => self.ask_agent(run, intent, call, admitted, cast).await,
            Action::Tool(call) => self.use_tool(run, intent, call, admitted).await,
            Action::Publish(draft) => self.publish(intent, draft, admitted).await,
            // A question is no effect, so it never has an intent.
            Action::Approve(_) => Ended::failed(FailureClass::Bug, "a question was to be carried out as an effect"),
        }
    }

    async fn ask_agent(
        &self,
        run: &str,
        intent: &Intended,
        call: &AgentCall,
        admitted: Admitted,
        cast: &Cast,
    ) -> Ended {
        let Some(speaker) = &cast.speaker else {
            return Ended::failed(FailureClass::Rejected, format!("there is no agent `{}`", call.agent));
        };
        if let Some(outcome) = self.held_back(speaker, call) {
            return Ended { outcome, ..Ended::ok(Value::Null) };
        }
        if by_batch(intent) {
            drop(admitted);
            return self.ask_by_batch(intent, call, speaker, false).await;
        }
        let Admitted { permit, place, until } = admitted;
        let Speaker { agent, spec, voice, .. } = &**speaker;
        let job = Job {
            run: run.to_owned(),
            path: intent.path.to_string(),
            key: intent.key.as_str().to_owned(),
            request: speaker.request(call, &self.stage.prices),
            // Its own too: what was reserved for is what is called, whatever was reloaded meanwhile.
            instead: Some(voice.clone()),
            until,
        };
        let (progress, world) = (Progress::default(), &self.stage.spine.world);
        let began = world.elapsed();
        let ended = match agent.perform(job, permit, place, progress.clone()).await {
            JobOutcome::Done(Ok(reply)) => self.answered(speaker, call, reply, (&progress, false)),
            JobOutcome::Done(Err(error)) => self.refused(voice, error, intent),
            JobOutcome::NotSent(reason) => self.unanswered(&spec.name, &reason, Money::ZERO),
            JobOutcome::Lost => {
                let reason =
                    format!("the agent `{}` ended during the call; it is charged at its worst case", spec.name);
                let death = self.death(&spec.name, FailureClass::Shutdown, &reason, false);
                Ended::unknown(reason, intent.reserved).of_death(death)
            }
            JobOutcome::Killed { cause, sent } => {
                let worst = if sent { intent.reserved } else { Money::ZERO };
                self.unanswered(&spec.name, &FrontError::Killed(cause), worst)
            }
        };
        let (used, metrics, model) = (&ended.usage, &self.stage.spine.metrics, voice.model.id().0);
        metrics.model_used(&model, used.input_total(), used.output, ended.cost);
        // A reply that took no input was kept from an earlier call.
        let is_kept = ended.replied.is_some() && used.input_total() == Tokens(0);
        if progress.is_sent() && !is_kept {
            let error = match &ended.outcome {
                // A reply that will not do is a good call all the same.
                _ if ended.replied.is_some() => None,
                EffectOutcome::Failed { class, .. } => Some(class.as_str()),
                EffectOutcome::Unknown { .. } => Some(OTHER),
                EffectOutcome::Ok { .. } => None,
            };
            metrics.call_ended(&CallEnded {
                provider: voice.model.provider(),
                model: &model,
                error,
                took: world.elapsed().saturating_sub(began),
                first_chunk: progress.first_chunk(),
                usage: ended.usage,
            });
        }
        ended
    }

    pub(super) fn answered(
        &self,
        speaker: &Speaker,
        call: &AgentCall,
        reply: ModelReply,
        (progress, batch): (&Progress, bool),
    ) -> Ended {
        let first_chunk = progress.first_chunk().map(Span::from);
        let replied = Some(Replied { finish: reply.finish, model: reply.model.clone(), first_chunk });
        let cost = self.cost(&speaker.voice, &reply.usage, batch);
        let outcome = self.outcome(speaker, call, &reply);
        Ended { outcome, cost, usage: reply.usage, remote_id: reply.remote_id, death: None, replied }
    }

    /// A model's failure: free, at what it used, or charged at what was reserved.
    pub(super) fn refused(&self, voice: &Voice, error: ModelError, intent: &Intended) -> Ended {
        let (cost, usage) = match error.billed {
            Billed::No => (Money::ZERO, Usage::default()),
            Billed::Used(usage) => (self.cost(voice, &usage, by_batch(intent)), *usage),
            Billed::Unknown => (intent.reserved, Usage::default()),
        };
        let retry_after = error.retry_after.map(Span::from);
        let outcome = EffectOutcome::Failed { class: error.class, message: error.message, retry_after };
        Ended { outcome, cost, usage, ..Ended::ok(Value::Null) }
    }

    fn cost(&self, voice: &Voice, usage: &Usage, batch: bool) -> Money {
        // The price was there when the worst case was reserved, and no call is
        // made without it.
        let Ok(price) = self.stage.prices.price(voice.model.price_key()) else { return Money::ZERO };
        let by_batch = if batch { price.by_batch() } else { None };
        by_batch.as_ref().unwrap_or(price).actual(usage)
    }

    async fn publish(&self, intent: &Intended, draft: &PostDraft, admitted: Admitted) -> Ended {
        let Some(publisher) = self.stage.publishers.get(&draft.publisher) else {
            return Ended::failed(FailureClass::Rejected, format!("there is no publisher `{}`", draft.publisher));
        };
        let Admitted { permit, place, .. } = admitted;
        match publisher.publish(post(intent, draft), permit, place).await {
            Ok(published) => landed(draft, published),
            Err(error) if error.landed() == Landed::Unknown => {
                let death = self.killed_by(draft, &error);
                let ended = self.asked(intent, draft, error.to_string()).await;
                Ended { death: ended.death.or(death), ..ended }
            }
            Err(error) => self.not_published(draft, error),
        }
    }

    /// The death that a post caused, or was there for.
    fn killed_by(&self, draft: &PostDraft, error: &PostError) -> Option<Death> {
        let PostError::Unanswered(error) = error else { return None };
        self.unanswered(&draft.publisher, error, Money::ZERO).death
    }

    /// What is told of a post that did not go out, or of which nobody can say.
    pub(super) fn not_published(&self, draft: &PostDraft, error: PostError) -> Ended {
        let death = self.killed_by(draft, &error);
        let ended = match (error.landed(), error) {
            (Landed::Unknown, error) => Ended::unknown(error.to_string(), Money::ZERO),
            (Landed::No, PostError::Platform(error)) => Ended::failed(error.class, error.message),
            (Landed::No, PostError::Unanswered(error)) => Ended::failed(FailureClass::ProviderDown, error.to_string()),
        };
        Ended { death, ..ended }
    }
}

/// The name in the tree of whoever an action names.
fn worker(action: &Action) -> &str {
    match action {
        Action::Agent(call) => &call.agent,
        Action::Publish(post) => &post.publisher,
        Action::Tool(call) => match call.tool.strip_prefix(MCP_TOOL).and_then(|rest| rest.split_once('.')) {
            Some((server, _)) => server,
            None => CONTEXT,
        },
        Action::Approve(_) => CONTEXT,
    }
}

/// The post of an intent: the same for each of its attempts.
pub(super) fn post(intent: &Intended, draft: &PostDraft) -> Post {
    Post {
        key: intent.key.as_str().to_owned(),
        title: draft.title.clone(),
        text: draft.text.clone(),
        link: draft.link.clone(),
        published: intent.at,
    }
}

pub(super) fn landed(draft: &PostDraft, published: Published) -> Ended {
    let output = json!({
        "publisher": draft.publisher,
        "title": draft.title,
        "id": published.remote_id,
        "url": published.url,
    });
    Ended { remote_id: Some(published.remote_id), ..Ended::ok(output) }
}
