//! The local model as the agents see it. Invariant: a call occupies a worker
//! only while someone waits for it and nobody has cancelled it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use agents::model::{Billed, Finish, Message, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress};
use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::span::Span;
use policies::tokens::{Tokens, Usage};
use tokio::time::Instant;

use crate::language::{Generated, LanguageError, LanguageModel, StoppedBy};
use crate::pool::{Asker, Pool, SubmitError};

/// The key under which the price table knows every local model.
pub const PRICE_KEY: &str = "local";
/// When to ask again at a full queue: about one short reply later.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(2);

/// A [`LanguageModel`] behind a [`Pool`].
#[derive(Clone, Debug)]
pub struct LocalModel {
    id: ModelId,
    language: Arc<LanguageModel>,
    pool: Pool,
}

impl LocalModel {
    /// Puts the model behind the pool, under a name.
    #[must_use]
    pub fn new(id: ModelId, language: Arc<LanguageModel>, pool: Pool) -> Self {
        Self { id, language, pool }
    }

    /// [`LanguageModel::expected_digit`], in its turn.
    async fn grade(
        &self,
        messages: Vec<Message>,
        opening: String,
        progress: &Progress,
    ) -> Result<(f32, Usage), ModelError> {
        let job = move |language: &LanguageModel, _: Asker<'_>| {
            let input = language.count_opening(&messages, &opening)?;
            Ok((language.expected_digit(&messages, &opening)?, input))
        };
        let ((score, input), took) = self.run(progress, job).await?;
        Ok((score, Usage { input: Tokens(input), cpu: Span(took), ..Usage::default() }))
    }

    /// Runs a job on a worker and takes its time, which counts as processor
    /// time: a worker does nothing else.
    async fn run<T: Send + 'static>(
        &self,
        progress: &Progress,
        job: impl FnOnce(&LanguageModel, Asker<'_>) -> Result<T, LanguageError> + Send + 'static,
    ) -> Result<(T, Duration), ModelError> {
        if progress.cancelled() {
            return Err(cancelled(Billed::No));
        }
        let language = Arc::clone(&self.language);
        let timed = move |asker: Asker<'_>| {
            let started = Instant::now();
            (job(&language, asker), started.elapsed())
        };
        let answer = self.pool.submit(timed).map_err(refused)?;
        progress.sent();
        tokio::select! {
            biased;
            () = progress.on_cancelled() => Err(cancelled(Billed::Unknown)),
            answered = answer => {
                let (result, took) = answered.map_err(|_| lost())?;
                Ok((result.map_err(failed)?, took))
            }
        }
    }
}

#[async_trait]
impl Model for LocalModel {
    fn id(&self) -> ModelId {
        self.id.clone()
    }

    fn price_key(&self) -> &str {
        PRICE_KEY
    }

    fn count(&self, request: &ModelRequest) -> Tokens {
        self.language.count_prompt(request).map_or_else(|_| request.tokens_at_most(), Tokens)
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        request.check(&self.abilities(), &self.id)?;
        if request.graded {
            let prefill = request.prefill.unwrap_or_default();
            let (grade, usage) = self.grade(request.messages, prefill.clone(), progress).await?;
            let text = format!("{prefill}{grade:.1}");
            return Ok(ModelReply::saying(text, usage, Finish::Stop));
        }
        let watched = progress.clone();
        let job = move |language: &LanguageModel, asker: Asker<'_>| answer(language, &request, &watched, asker);
        let (generated, took) = self.run(progress, job).await?;
        reply(generated, took)
    }
}

fn answer(
    language: &LanguageModel,
    request: &ModelRequest,
    progress: &Progress,
    asker: Asker<'_>,
) -> Result<Generated, LanguageError> {
    let mut before = 0;
    language.generate(request, &mut |written| {
        progress.tick(written.saturating_sub(before));
        before = written;
        if asker.is_gone() || progress.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

fn reply(generated: Generated, took: Duration) -> Result<ModelReply, ModelError> {
    let finish = match generated.stopped_by {
        StoppedBy::End | StoppedBy::StopString => Finish::Stop,
        StoppedBy::Bound => Finish::Length,
        StoppedBy::Cancelled => return Err(cancelled(Billed::Unknown)),
    };
    let usage = Usage {
        input: Tokens(generated.input_tokens),
        output: Tokens(generated.output_tokens),
        cpu: Span(took),
        ..Usage::default()
    };
    Ok(ModelReply::saying(generated.text, usage, finish))
}

fn error(class: FailureClass, message: String, billed: Billed) -> ModelError {
    ModelError { class, message, retry_after: None, billed }
}

fn cancelled(billed: Billed) -> ModelError {
    error(FailureClass::Shutdown, "the call was cancelled".into(), billed)
}

fn lost() -> ModelError {
    error(FailureClass::Bug, "the local model's worker failed at this call".into(), Billed::Unknown)
}

fn refused(refusal: SubmitError) -> ModelError {
    match refusal {
        SubmitError::Full { .. } => ModelError {
            retry_after: Some(FULL_RETRY_AFTER),
            ..error(FailureClass::RateLimited, refusal.to_string(), Billed::No)
        },
        SubmitError::Stopped => error(FailureClass::ProviderDown, refusal.to_string(), Billed::No),
    }
}

fn failed(failure: LanguageError) -> ModelError {
    let class = match failure {
        LanguageError::TooLong { .. } | LanguageError::Temperature(_) | LanguageError::Tokenizer(_) => {
            FailureClass::Rejected
        }
        _ => FailureClass::Bug,
    };
    let billed = if class == FailureClass::Rejected { Billed::No } else { Billed::Unknown };
    error(class, failure.to_string(), billed)
}

#[cfg(test)]
mod tests {
    use policies::tokens::Tokens;

    use super::*;
    use crate::testbed;

    fn request() -> ModelRequest {
        ModelRequest {
            prefill: Some("Hello and welcome".into()),
            seed: 1,
            ..ModelRequest::asking(vec![Message::user("Say hello to the new colleagues.")], Tokens(6))
        }
    }

    /// A model whose one worker runs on a thread of its own until the test ends.
    fn with_worker<T>(waiting_max: usize, test: impl AsyncFnOnce(LocalModel) -> T) -> T {
        let (pool, mut workers) = Pool::new(waiting_max, 1);
        let model = LocalModel::new(ModelId("test".into()), testbed::language(), pool);
        let worker = workers.remove(0);
        std::thread::scope(|scope| {
            scope.spawn(|| worker.run());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(test(model))
        })
    }

    #[test]
    fn a_call_reports_what_it_used() {
        with_worker(1, async |model| {
            let progress = Progress::default();
            let reply = model.call(request(), &progress).await.unwrap();
            assert!(reply.text().starts_with("Hello and welcome"), "{reply:?}");
            assert_eq!(reply.usage.input, model.count(&request()));
            assert_eq!(progress.tokens(), Tokens(6));
            assert!(reply.usage.output <= Tokens(6) && reply.usage.cpu.0 > Duration::ZERO, "{reply:?}");
            assert!(progress.is_sent() && progress.beats() >= 6);
        });
    }

    #[test]
    fn a_cancelled_call_ends_and_frees_its_worker() {
        // Two places: the cancelled job may still hold one for a moment.
        with_worker(2, async |model| {
            let progress = Progress::default();
            let long = ModelRequest { output_max: Tokens(1500), ..request() };
            let (cancelled, ()) = tokio::join!(model.call(long, &progress), async { progress.cancel() });
            assert_eq!(cancelled.unwrap_err().class, FailureClass::Shutdown);
            assert!(model.call(request(), &Progress::default()).await.is_ok());
        });
    }

    #[test]
    fn a_full_queue_asks_to_come_again() {
        let (pool, _workers) = Pool::new(1, 1);
        let model = LocalModel::new(ModelId("test".into()), testbed::language(), pool);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (progress, second) = (Progress::default(), Progress::default());
            let waiting = model.call(request(), &progress);
            let (_, refused) = tokio::join!(waiting, async {
                let refused = model.call(request(), &second).await.unwrap_err();
                progress.cancel();
                refused
            });
            assert_eq!((refused.class, refused.billed), (FailureClass::RateLimited, Billed::No));
            assert_eq!(refused.retry_after, Some(FULL_RETRY_AFTER));
            assert!(!second.is_sent());
        });
    }

    #[test]
    fn a_grade_is_the_mean_of_its_digits() {
        with_worker(1, async |model| {
            let question = vec![Message::user("Give the word `sun` a grade from 1 to 9.")];
            let graded =
                ModelRequest { messages: question, prefill: Some("Score: ".into()), graded: true, ..request() };
            let reply = model.call(graded, &Progress::default()).await.unwrap();
            let grade: f32 = reply.text().strip_prefix("Score: ").unwrap().parse().unwrap();
            assert!((1.0..=9.0).contains(&grade), "{reply:?}");
            assert!(reply.usage.input > Tokens(10) && reply.usage.output == Tokens(0), "{reply:?}");
        });
    }

    #[test]
    fn a_prompt_that_is_too_long_is_rejected() {
        with_worker(1, async |model| {
            let long = ModelRequest { messages: vec![Message::user("word ".repeat(3000))], ..request() };
            let rejected = model.call(long, &Progress::default()).await.unwrap_err();
            assert_eq!((rejected.class, rejected.billed), (FailureClass::Rejected, Billed::No));
        });
    }
}
