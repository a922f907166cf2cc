//! A model that says what its script says, for tests and simulations. Invariant:
//! a reply follows from the script, the request and how often its line was used;
//! the network and the processor have no part in it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::tokens::{Tokens, Usage};

use crate::model::{Billed, Finish, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress};

/// What a scripted model does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Says this after the prefill, cut to the request's bound.
    Say(String),
    /// Says this once that much time has passed.
    Late(Duration, String),
    /// Fails.
    Fail(ModelError),
    /// Never answers; only cancellation ends it.
    Hang,
    /// Panics, as a model with a bug does.
    Panic,
}

impl Answer {
    /// Says `text` at once.
    pub fn say(text: impl Into<String>) -> Self {
        Self::Say(text.into())
    }

    /// Fails with this class, certainly unbilled.
    #[must_use]
    pub fn fail(class: FailureClass) -> Self {
        Self::Fail(ModelError { class, message: format!("scripted: {class}"), retry_after: None, billed: Billed::No })
    }
}

/// A model made of lines; see the module.
#[derive(Debug)]
pub struct Scripted {
    name: String,
    lines: Vec<Line>,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Line {
    /// Some part of the conversation must hold this.
    holds: String,
    answers: Vec<Answer>,
}

#[derive(Debug, Default)]
struct Asked {
    /// How often each line was used.
    uses: Vec<usize>,
    calls: u64,
}

impl Scripted {
    /// A model without lines: it rejects everything.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), lines: Vec::new(), asked: Mutex::default() }
    }

    /// Answers requests that hold `text` in some message: with each answer once,
    /// in order, then with the last one for ever. Earlier lines go first.
    #[must_use]
    pub fn when(mut self, text: impl Into<String>, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.lines.push(Line { holds: text.into(), answers: answers.into_iter().collect() });
        self
    }

    /// Answers whatever no earlier line does.
    #[must_use]
    pub fn otherwise(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.when("", answers)
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    fn answer(&self, request: &ModelRequest) -> Answer {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.calls += 1;
        let found = self
            .lines
            .iter()
            .position(|line| request.messages.iter().any(|message| message.text.contains(&line.holds)));
        let Some(at) = found else { return Answer::fail(FailureClass::Rejected) };
        asked.uses.resize(self.lines.len(), 0);
        let used = asked.uses[at];
        asked.uses[at] += 1;
        let answers = &self.lines[at].answers;
        answers.get(used).or(answers.last()).cloned().unwrap_or_else(|| Answer::fail(FailureClass::Rejected))
    }

    async fn perform(&self, request: &ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        let words = match self.answer(request) {
            Answer::Say(words) => words,
            Answer::Late(delay, words) => {
                tokio::time::sleep(delay).await;
                words
            }
            Answer::Fail(error) => return Err(error),
            Answer::Hang => std::future::pending().await,
            #[expect(clippy::panic, reason = "the script asks for it")]
            Answer::Panic => panic!("scripted panic"),
        };
        let output_max = usize::try_from(request.output_max.0).unwrap_or(usize::MAX);
        let all = words.split_inclusive(' ').count();
        let said: String = words.split_inclusive(' ').take(output_max).collect();
        let output = all.min(output_max) as u64;
        progress.tick(output);
        Ok(ModelReply {
            text: format!("{}{said}", request.prefill.as_deref().unwrap_or_default()),
            usage: Usage { input: self.count(request), output: Tokens(output), ..Usage::default() },
            finish: if all > output_max { Finish::Length } else { Finish::Stop },
            remote_id: None,
        })
    }
}

#[async_trait]
impl Model for Scripted {
    fn id(&self) -> ModelId {
        ModelId(self.name.clone())
    }

    fn price_key(&self) -> &str {
        &self.name
    }

    /// A token is a word.
    fn count(&self, request: &ModelRequest) -> Tokens {
        let texts = request.messages.iter().map(|message| message.text.as_str()).chain(request.prefill.as_deref());
        Tokens(texts.map(|text| text.split_whitespace().count() as u64).sum())
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        tokio::select! {
            biased;
            () = progress.on_cancelled() => Err(ModelError {
                class: FailureClass::Shutdown,
                message: format!("the call to {} was cancelled", self.name),
                retry_after: None,
                billed: Billed::Unknown,
            }),
            outcome = self.perform(&request, progress) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Message;

    fn request(text: &str) -> ModelRequest {
        ModelRequest {
            messages: vec![Message::user(text)],
            prefill: Some("So: ".to_owned()),
            stop: Vec::new(),
            output_max: Tokens(3),
            temperature: 0.0,
            seed: 1,
            graded: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_line_by_line_and_repeats_the_last() {
        let model = Scripted::new("test")
            .when("score", [Answer::say("one two three four"), Answer::say("7")])
            .otherwise([Answer::fail(FailureClass::ProviderDown)]);
        let progress = Progress::default();
        let first = model.call(request("score this"), &progress).await.unwrap();
        assert_eq!((first.text.as_str(), first.finish), ("So: one two three ", Finish::Length));
        assert_eq!((first.usage.input, first.usage.output), (Tokens(3), Tokens(3)));
        for _ in 0..2 {
            assert_eq!(model.call(request("score this"), &progress).await.unwrap().text, "So: 7");
        }
        let error = model.call(request("write this"), &progress).await.unwrap_err();
        assert_eq!(error.class, FailureClass::ProviderDown);
        assert_eq!(model.calls(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn cancellation_ends_even_a_hanging_call() {
        let model = Scripted::new("test").otherwise([Answer::Hang]);
        let progress = Progress::default();
        let (outcome, ()) = tokio::join!(model.call(request("x"), &progress), async { progress.cancel() });
        assert_eq!(outcome.unwrap_err().class, FailureClass::Shutdown);
    }
}
