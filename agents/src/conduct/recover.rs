//! What a new life of a run finds open, and what becomes of it.
//!
//! Invariant: a model call by batch is looked for at its provider; any other is charged at its worst case and made again under a
//! new reservation; a read or an idempotent tool is simply made again; a post is
//! asked for at its platform, and held for a person when nobody can tell.

use actors::durable::Context;
use policies::money::Money;
use policies::priority::Priority;

use super::batch::by_batch;
use super::host::Conductor;
use super::perform::{Ended, landed, post};
use crate::run::{Attempt, Failures, Intended, Run, State};
use crate::workflow::{Action, EffectClass, PostDraft};

/// How often a platform that cannot tell now is asked again.
const ASKS_MAX: u32 = 5;

impl Conductor {
    /// Settles every intent that was open when the last life ended.
    pub(super) fn recover(&self, context: &Context<Run>, state: &State) {
        let mut lost = Vec::new();
        for intent in state.open_intents() {
            match (&intent.request, intent.class) {
                (Action::Publish(draft), EffectClass::Reconcile) => {
                    self.reconcile(context, intent.clone(), draft.clone());
                }
                (Action::Agent(_), _) if by_batch(intent) => {
                    let request = state.request(&intent.key, &intent.request).into_owned();
                    self.take_up(context, Intended { request, ..intent.clone() });
                }
                _ => lost.push(Attempt { key: intent.key.clone(), number: intent.attempt }),
            }
        }
        self.vanished(context, lost, "the run's actor ended while this was under way");
    }

    /// Asks the platform what became of a post, in a task.
    fn reconcile(&self, context: &Context<Run>, intent: Intended, draft: PostDraft) {
        let (this, host) = (self.clone(), context.clone());
        self.task(context, "run.reconcile", async move {
            let started = host.world().elapsed();
            let reason = "the run's actor ended while the post was under way".to_owned();
            let ended = this.asked(&intent, &draft, reason).await;
            let took = host.world().elapsed().saturating_sub(started);
            let retry = this.guard(&intent.request).policy().retry;
            this.resolve(&host, &intent, ended, took, retry).await;
        });
    }

    /// What became of a post that is in doubt for this reason, as far as its platform can tell.
    pub(super) async fn asked(&self, intent: &Intended, draft: &PostDraft, reason: String) -> Ended {
        let Some(publisher) = self.stage.publishers.get(&draft.publisher) else {
            return Ended::unknown(format!("there is no publisher `{}` to ask", draft.publisher), Money::ZERO);
        };
        let able = publisher.capabilities();
        let mut last = reason;
        if able.lands_late {
            // A request of the process that died cannot outlast its time-out.
            let guard = self.guard(&intent.request);
            let since = self.stage.spine.world.now().since(intent.at);
            tokio::time::sleep(guard.policy().timeout.duration().saturating_sub(since)).await;
        }
        if able.can_be_asked {
            for _ in 0..ASKS_MAX {
                let (permit, _) = self.place(&intent.request, &Failures::default(), Priority::Normal).await;
                match publisher.find(intent.key.as_str().to_owned(), permit).await {
                    Ok(Some(published)) => return landed(draft, published),
                    Ok(None) if able.deduplicates => return self.again(intent, draft).await,
                    Ok(None) => return Ended::unknown("the platform does not show it, and may yet", Money::ZERO),
                    Err(error) => last = error.to_string(),
                }
            }
        } else if able.deduplicates {
            return self.again(intent, draft).await;
        }
        Ended::unknown(last, Money::ZERO)
    }

    /// Posts once more under the same key, which the platform takes for the same post.
    async fn again(&self, intent: &Intended, draft: &PostDraft) -> Ended {
        let (permit, cast) = self.place(&intent.request, &Failures::default(), Priority::Normal).await;
        let Some(publisher) = self.stage.publishers.get(&draft.publisher) else {
            return Ended::unknown("the publisher is gone", Money::ZERO);
        };
        let place = self.entered(&intent.request, &cast).await;
        match publisher.publish(post(intent, draft), permit, place).await {
            Ok(published) => landed(draft, published),
            Err(error) => self.not_published(draft, error),
        }
    }
}
