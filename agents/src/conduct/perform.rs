//! Carrying out one intent. Invariant: it ends in exactly one outcome, told to
//! the run; what may have cost money is charged, at its worst case when nobody
//! can say how much.

use std::time::Duration;

use actors::durable::Context;
use actors::guard::Permit;
use policies::failure::FailureClass;
use policies::money::Money;
use policies::retry::RetryPolicy;
use policies::span::Span;
use policies::tokens::Usage;
use serde_json::{Value, json};

use super::admit::Prepared;
use super::casting::{Cast, Speaker};
use super::host::Conductor;
use crate::agent::{Job, JobOutcome, Voice};
use crate::model::{Billed, ModelError, ModelReply, Progress};
use crate::publisher::{Landed, Post, PublishError, Published};
use crate::run::{Act, Attempt, EffectOutcome, Intended, Outcome, Run};
use crate::workflow::{Action, AgentCall, PostDraft};

/// An outcome before it is tied to its attempt.
pub(super) struct Ended {
    pub(super) outcome: EffectOutcome,
    pub(super) cost: Money,
    pub(super) usage: Usage,
    pub(super) remote_id: Option<String>,
}

impl Ended {
    pub(super) fn ok(output: Value) -> Self {
        Self { outcome: EffectOutcome::Ok { output }, cost: Money::ZERO, usage: Usage::default(), remote_id: None }
    }

    pub(super) fn failed(class: FailureClass, message: impl Into<String>) -> Self {
        let outcome = EffectOutcome::Failed { class, message: message.into(), retry_after: None };
        Self { outcome, cost: Money::ZERO, usage: Usage::default(), remote_id: None }
    }

    pub(super) fn unknown(reason: impl Into<String>, cost: Money) -> Self {
        let outcome = EffectOutcome::Unknown { reason: reason.into() };
        Self { outcome, cost, usage: Usage::default(), remote_id: None }
    }
}

impl Conductor {
    /// Carries the intent out in a task, and tells the run.
    pub(super) fn perform(&self, context: &Context<Run>, intent: Intended, prepared: Prepared) {
        let (this, host) = (self.clone(), context.clone());
        self.task(context, "run.perform", async move {
            let _under_way = this.gate.begin(intent.path.to_string());
            let started = host.world().elapsed();
            let (permit, cast, fault) = prepared.intended();
            let ended = match fault {
                Some(fault) => Ended::failed(FailureClass::Rejected, fault),
                None => this.act(host.id(), &intent, permit, &cast).await,
            };
            let took = host.world().elapsed().saturating_sub(started);
            let retry = this.stage.retry(&intent.request, &cast);
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
        let Ended { outcome, cost, usage, remote_id } = ended;
        let of = Attempt { key: intent.key.clone(), number: intent.attempt };
        let outcome = Outcome { of, outcome, cost, usage, remote_id, took: Span::from(took), retry };
        self.tell(context, Act::Outcome(Box::new(outcome))).await;
    }

    async fn act(&self, run: &str, intent: &Intended, permit: Permit, cast: &Cast) -> Ended {
        match &intent.request {
            Action::Agent(call) => self.ask_agent(run, intent, call, permit, cast).await,
            Action::Tool(call) => self.use_tool(run, call, permit).await,
            Action::Publish(draft) => self.publish(intent, draft, permit).await,
            // A question is no effect, so it never has an intent.
            Action::Approve(_) => Ended::failed(FailureClass::Bug, "a question was to be carried out as an effect"),
        }
    }

    async fn ask_agent(&self, run: &str, intent: &Intended, call: &AgentCall, permit: Permit, cast: &Cast) -> Ended {
        let Some(Speaker { agent, spec, voice, borrows }) = &cast.speaker else {
            return Ended::failed(FailureClass::Rejected, format!("there is no agent `{}`", call.agent));
        };
        let job = Job {
            run: run.to_owned(),
            path: intent.path.to_string(),
            key: intent.key.as_str().to_owned(),
            request: spec.request(call),
            instead: borrows.then(|| voice.clone()),
        };
        match agent.perform(job, permit, Progress::default()).await {
            JobOutcome::Done(Ok(reply)) => self.answered(voice, reply),
            JobOutcome::Done(Err(error)) => refused(error, intent.reserved),
            JobOutcome::NotSent(reason) => Ended::unknown(format!("the agent `{}`: {reason}", spec.name), Money::ZERO),
            JobOutcome::Lost => {
                let reason =
                    format!("the agent `{}` ended during the call; it is charged at its worst case", spec.name);
                Ended::unknown(reason, intent.reserved)
            }
        }
    }

    fn answered(&self, voice: &Voice, reply: ModelReply) -> Ended {
        // The price was there when the worst case was reserved, and no call is
        // made without it.
        let cost = self.stage.prices.actual(voice.model.price_key(), &reply.usage).unwrap_or(Money::ZERO);
        Ended {
            outcome: EffectOutcome::Ok { output: json!({ "text": reply.text }) },
            cost,
            usage: reply.usage,
            remote_id: reply.remote_id,
        }
    }

    async fn publish(&self, intent: &Intended, draft: &PostDraft, permit: Permit) -> Ended {
        let Some(publisher) = self.stage.publishers.get(&draft.publisher) else {
            return Ended::failed(FailureClass::Rejected, format!("there is no publisher `{}`", draft.publisher));
        };
        match publisher.publish(post(intent, draft), permit).await {
            Ok(published) => landed(draft, published),
            Err(error) if error.landed == Landed::Unknown => self.asked(intent, draft, error.message).await,
            Err(error) => not_published(error),
        }
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

pub(super) fn not_published(error: PublishError) -> Ended {
    match error.landed {
        Landed::No => Ended::failed(error.class, error.message),
        Landed::Unknown => Ended::unknown(error.message, Money::ZERO),
    }
}

/// A model's failure: free, or charged at what was reserved.
fn refused(error: ModelError, reserved: Money) -> Ended {
    let cost = match error.billed {
        Billed::No => Money::ZERO,
        Billed::Unknown => reserved,
    };
    let retry_after = error.retry_after.map(Span::from);
    let outcome = EffectOutcome::Failed { class: error.class, message: error.message, retry_after };
    Ended { outcome, cost, usage: Usage::default(), remote_id: None }
}
