//! A model whose replies fit the schema that was asked for. Invariant: a reply to a request with a schema
//! fits it, or is none; a model that cannot keep to one by itself is asked to, and asked again at most
//! [`REPAIRS_MAX`] times, and all that is reserved for beforehand.

use std::sync::Arc;

use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::price::Bounds;
use policies::tokens::{Tokens, Usage};
use serde_json::Value;

use super::{Misfit, Schema};
use crate::model::{
    Abilities, Ability, BatchCall, Billed, Block, Finish, Message, Model, ModelError, ModelId, ModelReply,
    ModelRequest, OutputSchema, Progress, Role,
};

/// How often a reply that does not fit is sent back to be put right.
pub const REPAIRS_MAX: u64 = 2;
/// What asking again may take: bytes of it, and so more than its tokens.
const COMPLAINT_BYTES_MAX: usize = 2048;
const ASK: &str = "\n\nAnswer with nothing but JSON that fits this JSON Schema:\n";
const AGAIN: &str = "That is not the JSON that was asked for. Answer again, with nothing but JSON that fits the \
                     schema. What is wrong:\n";

/// See the module.
pub struct Structured(Arc<dyn Model>);

impl Structured {
    /// This model, held to schemas.
    pub fn around(model: Arc<dyn Model>) -> Arc<dyn Model> {
        Arc::new(Self(model))
    }

    fn repairs_max(&self) -> u64 {
        if self.0.abilities().has(Ability::Schema) { 0 } else { REPAIRS_MAX }
    }

    /// The request as the model can be asked it.
    fn asked(&self, mut request: ModelRequest, output: &OutputSchema) -> ModelRequest {
        if self.0.abilities().has(Ability::Schema) {
            return request;
        }
        request.output_schema = None;
        let ask = format!("{ASK}{}", output.schema);
        match request.messages.last_mut().filter(|last| last.role == Role::User) {
            Some(last) => last.content.push(Block::text(ask)),
            None => request.messages.push(Message::user(ask.trim_start())),
        }
        request
    }

    async fn fitting(
        &self,
        request: ModelRequest,
        output: &OutputSchema,
        progress: &Progress,
    ) -> Result<ModelReply, ModelError> {
        let schema = self.read(output)?;
        let mut request = self.asked(request, output);
        let mut usage = Usage::default();
        let mut repairs = 0;
        loop {
            let reply = self.0.call(request.clone(), progress).await.map_err(|error| after(usage, error))?;
            usage = usage + reply.usage;
            usage.repeats = repairs;
            match judged(&schema, reply, usage, request.output_max) {
                Judged::Said(reply) => return Ok(*reply),
                Judged::Cut(why) => return Err(self.unusable(&why, usage)),
                Judged::Unfit(_, told) if repairs == self.repairs_max() => {
                    return Err(self.unusable(&told.join("; "), usage));
                }
                Judged::Unfit(reply, told) => {
                    repairs += 1;
                    request.messages.push(reply.into_message());
                    request.messages.push(Message::user(complaint(&told)));
                }
            }
        }
    }

    fn read(&self, output: &OutputSchema) -> Result<Schema, ModelError> {
        let refused = |error| ModelError::free(FailureClass::Rejected, format!("{}: {error}", self.id()));
        Schema::read(output.schema.clone()).map_err(refused)
    }

    fn unusable(&self, why: &str, usage: Usage) -> ModelError {
        let message = format!("the reply of {} is not the JSON that was asked for: {why}", self.id());
        ModelError::used(FailureClass::Rejected, message, usage)
    }
}

/// What a reply is found to be.
enum Judged {
    /// One that fits, or that is no answer yet, or none at all.
    Said(Box<ModelReply>),
    /// One that does not fit, and why.
    Unfit(Box<ModelReply>, Vec<String>),
    /// The beginning of one.
    Cut(String),
}

/// Holds a reply against the schema that was asked for.
fn judged(schema: &Schema, reply: ModelReply, usage: Usage, output_max: Tokens) -> Judged {
    match reply.finish {
        Finish::ToolUse | Finish::Pause | Finish::Refusal | Finish::ContentFilter => {
            return Judged::Said(Box::new(ModelReply { usage, ..reply }));
        }
        Finish::Length | Finish::ContextFull => {
            return Judged::Cut(format!("it was cut at {output_max} tokens; allow more"));
        }
        Finish::Stop => {}
    }
    let misfits = match json_in(&reply.text()) {
        Some(value) => match schema.misfits(&value) {
            fits if fits.is_empty() => return Judged::Said(Box::new(said(reply, &value, usage))),
            misfits => misfits,
        },
        None => vec![Misfit { at: String::new(), why: "is no JSON".to_owned(), is_alien_type: true }],
    };
    Judged::Unfit(Box::new(reply), misfits.iter().map(ToString::to_string).collect())
}

/// What is said of a reply that does not fit.
fn complaint(told: &[String]) -> String {
    let mut words = format!("{AGAIN}{}", told.join("\n"));
    words.truncate(words.floor_char_boundary(COMPLAINT_BYTES_MAX));
    words
}

/// An error after so much was used.
fn after(used: Usage, mut error: ModelError) -> ModelError {
    if !used.is_nothing() {
        error.billed = match error.billed {
            Billed::No => Billed::Used(Box::new(used)),
            Billed::Used(more) => Billed::Used(Box::new(Usage { repeats: used.repeats + 1, ..used + *more })),
            Billed::Unknown => Billed::Unknown,
        };
    }
    error
}

/// The reply with nothing but the JSON for its words.
fn said(reply: ModelReply, value: &Value, usage: Usage) -> ModelReply {
    let mut content: Vec<Block> = reply.content.into_iter().filter(|block| block.as_text().is_none()).collect();
    content.push(Block::text(value.to_string()));
    ModelReply { content, usage, ..reply }
}

/// The JSON of a reply: all of it, or what stands between the first brace and the last.
fn json_in(text: &str) -> Option<Value> {
    let between = |open, close| text.find(open).zip(text.rfind(close)).and_then(|(from, to)| text.get(from..=to));
    let candidates = [Some(text), between('{', '}'), between('[', ']')];
    candidates.into_iter().flatten().find_map(|text| serde_json::from_str(text.trim()).ok())
}

#[async_trait]
impl Model for Structured {
    fn id(&self) -> ModelId {
        self.0.id()
    }

    fn provider(&self) -> &'static str {
        self.0.provider()
    }

    fn price_key(&self) -> &str {
        self.0.price_key()
    }

    fn abilities(&self) -> Abilities {
        self.0.abilities().with(Ability::Schema)
    }

    fn batches(&self) -> bool {
        self.0.batches()
    }

    /// A reply that does not fit is not sent back: a batch is answered once.
    async fn call_by_batch(&self, mut request: ModelRequest, call: BatchCall) -> Result<ModelReply, ModelError> {
        let Some(output) = request.output_schema.clone() else { return self.0.call_by_batch(request, call).await };
        request.graded = false;
        let schema = self.read(&output)?;
        let cut_at = request.output_max;
        let reply = self.0.call_by_batch(self.asked(request, &output), call).await?;
        let usage = reply.usage;
        match judged(&schema, reply, usage, cut_at) {
            Judged::Said(reply) => Ok(*reply),
            Judged::Unfit(_, told) => Err(self.unusable(&told.join("; "), usage)),
            Judged::Cut(why) => Err(self.unusable(&why, usage)),
        }
    }

    fn takes_marks(&self) -> bool {
        self.0.takes_marks()
    }

    fn shows_life(&self) -> bool {
        self.0.shows_life()
    }

    fn count(&self, request: &ModelRequest) -> Tokens {
        let Some(output) = &request.output_schema else { return self.0.count(request) };
        let first = self.0.count(&self.asked(request.clone(), output));
        let more = request.output_max + Tokens(COMPLAINT_BYTES_MAX as u64);
        // Each repair repeats what came before it.
        (0..=self.repairs_max()).map(|repairs| first + Tokens(more.0.saturating_mul(repairs))).sum()
    }

    fn bounds(&self, request: &ModelRequest) -> Bounds {
        let bounds = self.0.bounds(request);
        if request.output_schema.is_none() {
            return bounds;
        }
        let calls = 1 + self.repairs_max();
        Bounds {
            input: self.count(request),
            output: Tokens(bounds.output.0.saturating_mul(calls)),
            searches: bounds.searches.saturating_mul(calls),
            repeats: self.repairs_max(),
            unasked: bounds.unasked.saturating_mul(calls),
            ..bounds
        }
    }

    fn bounds_once(&self, request: &ModelRequest) -> Bounds {
        let bounds = self.0.bounds_once(request);
        match &request.output_schema {
            None => bounds,
            Some(output) => Bounds { input: self.0.count(&self.asked(request.clone(), output)), ..bounds },
        }
    }

    async fn call(&self, mut request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        request.check(&self.abilities(), &self.id())?;
        match request.output_schema.clone() {
            None => self.0.call(request, progress).await,
            Some(output) => {
                request.graded = false;
                self.fitting(request, &output, progress).await
            }
        }
    }
}
