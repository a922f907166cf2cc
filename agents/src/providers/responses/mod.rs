//! OpenAI's responses, and Perplexity's agents, which speak them. Invariant: the last event of a stream
//! has the whole reply, so what came before it is a sign of life, and is taken only where that event
//! leaves it out; thoughts go back as they came.

mod reply;
mod request;

use http::HeaderMap;
use policies::instant::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::fault::Table;
use super::wire::{Asked, Gather, Wire};
use super::{chat, rates};
use crate::model::RateNews;

/// Whose responses they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI's.
    #[default]
    OpenAi,
    /// Perplexity's, which says what it costs.
    Perplexity,
}

impl Dialect {
    /// Whose signatures go back.
    const fn family(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Perplexity => "perplexity",
        }
    }
}

/// See the module.
pub(super) struct Responses(pub(super) Dialect);

impl Wire for Responses {
    fn path(&self) -> &'static str {
        "/responses"
    }

    fn samples(&self) -> bool {
        false
    }

    fn body(&self, asked: &Asked<'_>) -> Value {
        request::body(self, asked)
    }

    fn gather(&self) -> Box<dyn Gather> {
        Box::new(reply::Gathered::new(self.0))
    }

    fn faults(&self) -> Table {
        Table(chat::RULES)
    }

    fn rates(&self, headers: &HeaderMap, now: Timestamp) -> RateNews {
        rates::OPENAI.read(headers, now)
    }
}
