//! What an adapter has to know of its provider: how a request is written, how a reply is read, what
//! refusals and limits mean. Invariant: the provider's own types stay in its folder; what leaves it is
//! neutral, and a reply counts as finished only when the provider said why it ended.

use http::HeaderMap;
use policies::instant::Timestamp;
use policies::tokens::Usage;
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use super::Options;
use super::fault::{Table, Told};
use crate::model::{Block, Finish, Image, Message, ModelRequest, RateNews, Role, Signature, Thinking};

/// A request, with all that decides how it is written.
pub(super) struct Asked<'a> {
    pub(super) options: &'a Options,
    pub(super) request: &'a ModelRequest,
    /// The conversation, with what asks for a prefill.
    pub(super) messages: &'a [Message],
    pub(super) stream: bool,
}

/// One provider's way of talking.
pub(super) trait Wire: Send + Sync {
    /// Where requests go, after the base of the address.
    fn path(&self) -> &'static str;

    /// Headers beside the key's and the usual ones.
    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Whether temperature and seed are sent where the configuration does not say.
    fn samples(&self) -> bool;

    /// The request as JSON.
    fn body(&self, asked: &Asked<'_>) -> Value;

    /// Takes one reply in.
    fn gather(&self) -> Box<dyn Gather>;

    /// What its refusals mean.
    fn faults(&self) -> Table;

    /// What an answer's head tells of its limits.
    fn rates(&self, headers: &HeaderMap, now: Timestamp) -> RateNews;
}

/// Takes one reply in, whole or event by event.
pub(super) trait Gather: Send {
    /// A whole body.
    fn whole(&mut self, body: &[u8]) -> Result<(), Broken>;

    /// The data of one event of a stream.
    fn event(&mut self, data: &str) -> Result<Step, Broken>;

    /// Whether the provider has said why the reply ended.
    fn is_finished(&self) -> bool;

    /// What was said, if that is all.
    fn complete(self: Box<Self>) -> Option<Completion>;
}

/// What an event was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A sign of life.
    Beat,
    /// A piece of the reply.
    Piece,
    /// The last one.
    Done,
}

/// Why a reply cannot be read on.
#[derive(Debug)]
pub(super) enum Broken {
    /// It is not what it should be.
    Nonsense(String),
    /// The provider told an error in it.
    Told(Box<Told>),
}

impl Broken {
    pub(super) fn told(value: &Value) -> Self {
        Self::Told(Box::new(Told::of(value)))
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Self::Nonsense(format!("not what this provider answers: {error}"))
    }
}

/// What a provider said, in neutral words.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) content: Vec<Block>,
    pub(super) finish: Finish,
    /// None where the provider does not say.
    pub(super) usage: Option<Usage>,
}

impl Asked<'_> {
    /// The temperature, where it is sent: models that think take none.
    pub(super) fn temperature(&self, wire: &dyn Wire) -> Option<Value> {
        let thinks = self.request.thinking.is_some_and(|thinking| thinking != Thinking::Off);
        let samples = self.options.sampling.unwrap_or_else(|| wire.samples());
        (samples && !thinks).then(|| decimal(self.request.temperature))
    }

    /// The words of all turns of the system: where a provider has one place for them.
    pub(super) fn system(&self) -> String {
        let turns = self.messages.iter().filter(|message| message.role == Role::System);
        turns.map(|message| message.text().into_owned()).collect::<Vec<_>>().join("\n\n")
    }
}

/// A number as it is written, not as the nearest double precision has it.
fn decimal(number: f32) -> Value {
    let double = number.to_string().parse().ok().and_then(Number::from_f64);
    double.map_or(Value::Null, Value::Number)
}

/// The arguments of a tool call, which the model wrote: as JSON if they are, else as the text.
pub(super) fn arguments(text: String) -> Value {
    match text.trim() {
        "" => Value::Object(serde_json::Map::new()),
        trimmed => serde_json::from_str(trimmed).unwrap_or(Value::String(text)),
    }
}

/// Arguments as they go back to the provider, for which they are a text.
pub(super) fn written(arguments: &Value) -> String {
    match arguments {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The signature, if this family made it: another's means nothing to it.
pub(super) fn own<'a>(signature: Option<&'a Signature>, family: &str) -> Option<&'a Signature> {
    signature.filter(|signature| signature.by == family)
}

/// A picture as the address that OpenAI's shapes take.
pub(super) fn image_url(image: &Image) -> String {
    match image {
        Image::Bytes { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
        Image::Url(url) => url.clone(),
    }
}

/// Whether a reply tells of an error instead.
pub(super) fn unless_told(value: &Value) -> Result<(), Broken> {
    match value.get("error") {
        Some(error) if !error.is_null() => Err(Broken::told(value)),
        _ => Ok(()),
    }
}

/// A field that may be null, where that says as much as if it were not there.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
