//! Tools: what agents and workflows can do beside talking.
//!
//! Invariant: a tool is used only by whoever was given it, with arguments that fit its schema, within its time
//! and its bytes; and what may be done about it after a crash is said before it is used.

mod address;
mod built_in;
mod fetch;
pub mod mcp;
mod permission;
mod pictures;
mod toolbox;
mod url;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::time::Duration;

use policies::span::ByteSize;
use serde_json::{Map, Value, json};

pub use address::is_public;
pub use built_in::{FETCH, REMEMBER, SEARCH};
pub use fetch::{FetchError, FetchPolicy, Fetcher};
pub use permission::Permissions;
pub use pictures::{PICTURES, PICTURES_BYTES_MAX, PICTURES_MAX, apart};
pub use toolbox::{Offered, Toolbox};
pub use url::{HostPattern, HostPatternError};

use crate::schema::Schema;
use crate::secret::Confided;
use crate::workflow::EffectClass;

/// Another agent as a tool is this and its name.
pub const AGENT_TOOL: &str = "agent.";
/// Of a tool's answer, where nothing else is said.
pub const RESULT_MAX: ByteSize = ByteSize(32 << 10);
/// Of a word of somebody else within a sentence of ours.
const CLIP_CHARS_MAX: usize = 100;

/// A tool.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name, such as `context.search`.
    pub name: String,
    /// What it does and when to use it, for a model.
    pub description: String,
    /// The JSON Schema of its arguments, as a model sees it.
    pub schema: Value,
    /// The same, as it is checked.
    pub arguments: Arguments,
    /// What may be done about a call whose outcome is lost.
    pub class: EffectClass,
    /// For one call.
    pub timeout: Duration,
    /// The most of its answer that is kept.
    pub result_max: ByteSize,
    /// Who carries it out.
    pub home: Home,
}

/// Who carries a tool out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// The context store.
    Context,
    /// The way to other machines.
    Web,
    /// Another agent, by its name.
    Agent(String),
    /// An MCP server.
    Mcp {
        /// Its name.
        server: String,
        /// The tool, as the server calls it.
        tool: String,
    },
}

/// The arguments that a tool takes.
#[derive(Clone, Debug)]
pub enum Arguments {
    /// An object that fits this.
    Fitting(Schema),
    /// Any object: its schema says what is not checked here, so the tool checks by itself.
    Object,
}

/// Arguments that a tool does not take; written for the model that gave them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arguments of `{tool}` do not fit: {}", .misfits.join("; "))]
pub struct Misfits {
    /// The tool.
    pub tool: String,
    /// What is wrong, each with its place.
    pub misfits: Vec<String>,
}

impl Arguments {
    /// How arguments with this schema are checked.
    #[must_use]
    pub fn of(tool: &str, schema: &Value) -> Self {
        match Schema::read(schema.clone()) {
            Ok(schema) => Self::Fitting(schema),
            Err(error) => {
                tracing::warn!(tool, %error, "the arguments of a tool are checked by the tool alone");
                Self::Object
            }
        }
    }
}

impl Tool {
    /// The arguments of a call, if they fit.
    ///
    /// # Errors
    /// [`Misfits`], for whoever gave them.
    pub fn check(&self, given: &Value) -> Result<Map<String, Value>, Misfits> {
        let refused = |misfits| Err(Misfits { tool: self.name.clone(), misfits });
        let object = match given {
            Value::Object(object) => object,
            Value::String(text) => return refused(vec![format!("not a JSON object but the text {:?}", clip(text))]),
            other => return refused(vec![format!("not a JSON object but {}", clip(&other.to_string()))]),
        };
        if let Arguments::Fitting(schema) = &self.arguments {
            let misfits: Vec<String> = schema.misfits(given).iter().map(ToString::to_string).collect();
            if !misfits.is_empty() {
                return refused(misfits);
            }
        }
        Ok(object.clone())
    }

    /// An answer, cut to what is kept of it. Its pictures have a bound of their own.
    #[must_use]
    pub fn bounded(&self, answer: Value) -> Value {
        let Some((pictures, rest)) = apart(&answer) else {
            return self.cut(&answer.to_string()).map_or(answer, Value::String);
        };
        let rest = Value::Object(rest);
        let rest = self.cut(&rest.to_string()).map_or(rest, |text| json!({ "text": text }));
        let mut fields = rest.as_object().cloned().unwrap_or_default();
        fields.insert(PICTURES.to_owned(), json!(pictures));
        Value::Object(fields)
    }

    /// Why there is none, cut in the same way: a server may say as much of that.
    #[must_use]
    pub fn bounded_words(&self, words: String) -> String {
        self.cut(&words).unwrap_or(words)
    }

    /// What is kept of a text that is too long.
    fn cut(&self, text: &str) -> Option<String> {
        let bytes_max = usize::try_from(self.result_max.0).unwrap_or(usize::MAX);
        if text.len() <= bytes_max {
            return None;
        }
        let (cut, all) = (&text[..text.floor_char_boundary(bytes_max)], text.len());
        Some(format!("{cut}… (the first {bytes_max} of {all} bytes)"))
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context => f.write_str("the context store"),
            Self::Web => f.write_str("the web"),
            Self::Agent(name) => write!(f, "the agent `{name}`"),
            Self::Mcp { server, .. } => write!(f, "the MCP server `{server}`"),
        }
    }
}

/// The beginning of what somebody else wrote.
fn clip(text: &str) -> String {
    Confided::default().excerpt(text, CLIP_CHARS_MAX)
}
