//! A model that says what its script says, for tests and simulations. Invariant:
//! a reply follows from the script, the request and how often its line was used;
//! the network and the processor have no part in it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::tokens::{Tokens, Usage};
use serde_json::Value;

use crate::model::{
    Abilities, Ability, Block, Finish, Image, Message, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress,
    ToolCall,
};

/// What a scripted model does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Says this after the prefill, cut to the request's bound.
    Say(String),
    /// Says this once that much time has passed.
    Late(Duration, String),
    /// Says this word by word, each after that much time, and shows life with each.
    Slow(Duration, String),
    /// Shows life for so many words, and then never again.
    Stall(u64),
    /// Asks for these tools, each by its name with its arguments.
    Use(Vec<(String, Value)>),
    /// Will not answer, and says this.
    Refuse(String),
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
        Self::Fail(ModelError::free(class, format!("scripted: {class}")))
    }
}

/// A model made of lines; see the module.
#[derive(Debug)]
pub struct Scripted {
    name: String,
    able: Abilities,
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
        Self { name: name.into(), able: Abilities::all_but([]), lines: Vec::new(), asked: Mutex::default() }
    }

    /// The same, able to do nothing of this.
    #[must_use]
    pub fn without(self, missing: &[Ability]) -> Self {
        Self { able: Abilities::all_but(missing), ..self }
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
        let found = self.lines.iter().position(|line| request.messages.iter().any(|message| line.is_about(message)));
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
            Answer::Slow(each, words) => {
                for _ in words.split_inclusive(' ') {
                    tokio::time::sleep(each).await;
                    progress.tick(0);
                }
                words
            }
            Answer::Stall(after) => {
                for _ in 0..after {
                    progress.tick(1);
                }
                std::future::pending().await
            }
            Answer::Use(calls) => return Ok(self.tools(request, calls)),
            Answer::Refuse(words) => {
                return Ok(ModelReply { finish: Finish::Refusal, ..self.said(request, words, progress) });
            }
            Answer::Fail(error) => return Err(error),
            Answer::Hang => std::future::pending().await,
            #[expect(clippy::panic, reason = "the script asks for it")]
            Answer::Panic => panic!("scripted panic"),
        };
        Ok(self.said(request, words, progress))
    }

    fn said(&self, request: &ModelRequest, words: String, progress: &Progress) -> ModelReply {
        let output_max = usize::try_from(request.output_max.0).unwrap_or(usize::MAX);
        let all = words.split_inclusive(' ').count();
        let said: String = words.split_inclusive(' ').take(output_max).collect();
        let output = all.min(output_max) as u64;
        progress.tick(output);
        let text = format!("{}{said}", request.prefill.as_deref().unwrap_or_default());
        let usage = Usage { input: self.count(request), output: Tokens(output), ..Usage::default() };
        ModelReply::saying(text, usage, if all > output_max { Finish::Length } else { Finish::Stop })
    }

    /// A reply that asks for tools. The ids of its calls follow from how many the conversation holds.
    fn tools(&self, request: &ModelRequest, calls: Vec<(String, Value)>) -> ModelReply {
        let blocks = request.messages.iter().flat_map(|message| &message.content);
        let before = blocks.filter(|block| matches!(block, Block::ToolCall(_))).count();
        let output = Tokens(calls.len() as u64);
        let call = |(at, (name, arguments))| {
            Block::ToolCall(ToolCall { id: format!("call-{}", before + at), name, arguments, signature: None })
        };
        let content = calls.into_iter().enumerate().map(call).collect();
        let usage = Usage { input: self.count(request), output, ..Usage::default() };
        ModelReply { content, ..ModelReply::saying("", usage, Finish::ToolUse) }
    }
}

impl Line {
    /// Whether a turn, or what a tool has answered in it, holds what this line is about.
    fn is_about(&self, message: &Message) -> bool {
        words(message).any(|words| words.contains(&self.holds))
    }
}

/// All that is said in a turn; a picture says its kind, such as `[image/png]`.
fn words(message: &Message) -> impl Iterator<Item = String> + '_ {
    let results = message.content.iter().filter_map(|block| match block {
        Block::ToolResult(result) => Some(result.words() + &result.images().map(kind).collect::<String>()),
        Block::Image(image) => Some(kind(image)),
        _ => None,
    });
    [message.text().into_owned()].into_iter().chain(results)
}

fn kind(image: &Image) -> String {
    match image {
        Image::Bytes { media_type, .. } => format!("[{media_type}]"),
        Image::Url(url) => format!("[{url}]"),
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

    fn abilities(&self) -> Abilities {
        self.able.clone()
    }

    fn shows_life(&self) -> bool {
        true
    }

    /// A token is a word.
    fn count(&self, request: &ModelRequest) -> Tokens {
        let texts = request.messages.iter().flat_map(words).chain(request.prefill.clone());
        Tokens(texts.map(|text| text.split_whitespace().count() as u64).sum())
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        request.check(&self.abilities(), &self.name)?;
        tokio::select! {
            biased;
            () = progress.on_cancelled() => Err(ModelError::cancelled(&self.name)),
            outcome = self.perform(&request, progress) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::ToolResult;

    fn request(text: &str) -> ModelRequest {
        let messages = vec![Message::user(text)];
        ModelRequest { prefill: Some("So: ".to_owned()), seed: 1, ..ModelRequest::asking(messages, Tokens(3)) }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_line_by_line_and_repeats_the_last() {
        let model = Scripted::new("test")
            .when("score", [Answer::say("one two three four"), Answer::say("7")])
            .otherwise([Answer::fail(FailureClass::ProviderDown)]);
        let progress = Progress::default();
        let first = model.call(request("score this"), &progress).await.unwrap();
        assert_eq!((&*first.text(), first.finish), ("So: one two three ", Finish::Length));
        assert_eq!((first.usage.input, first.usage.output), (Tokens(3), Tokens(3)));
        for _ in 0..2 {
            assert_eq!(model.call(request("score this"), &progress).await.unwrap().text(), "So: 7");
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

    #[tokio::test(start_paused = true)]
    async fn asks_for_tools_and_goes_on_with_what_they_found() {
        let look = || ("look".to_owned(), json!({ "at": "sky" }));
        let model = Scripted::new("test")
            .when("it is blue", [Answer::say("blue")])
            .otherwise([Answer::Use(vec![look(), look()]), Answer::Refuse("no".to_owned())]);
        let progress = Progress::default();
        let asked = ModelRequest { prefill: None, ..request("what colour?") };
        let reply = model.call(asked.clone(), &progress).await.unwrap();
        let ids: Vec<String> = reply.tool_calls().map(|call| call.id.clone()).collect();
        assert_eq!((reply.finish, &ids[..]), (Finish::ToolUse, &["call-0".to_owned(), "call-1".to_owned()][..]));
        let results = Message::results([ToolResult::text(&ids[0], "it is blue"), ToolResult::error(&ids[1], "gone")]);
        let messages = [asked.messages.clone(), vec![reply.into_message(), results]].concat();
        let reply = model.call(ModelRequest { messages, ..asked.clone() }, &progress).await.unwrap();
        assert_eq!((&*reply.text(), reply.finish), ("blue", Finish::Stop));
        assert_eq!(model.call(asked, &progress).await.unwrap().finish, Finish::Refusal);
    }
}
