//! OpenAI's chat completions, and all who speak them: Ollama, vLLM, llama.cpp, Perplexity's Sonar.
//! Invariant: unknown fields are ignored and absent ones tolerated, since every server adds and omits
//! some; what differs between servers is said by the dialect.

mod reply;
mod request;

use http::HeaderMap;
use policies::instant::Timestamp;
use serde::Deserialize;
use serde_json::Value;

pub(super) use reply::total_cost;
pub(super) use request::effort;

use super::fault::{KEY, NAME, On, Rule, SHORTEN, SPENT, Table, busy, failed, limited, rejected};
use super::rates;
use super::wire::{Asked, Gather, Wire};
use crate::model::RateNews;

/// Which field names a server understands, and what it adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Ollama, vLLM, llama.cpp and most others: `max_tokens`.
    #[default]
    Compatible,
    /// OpenAI itself, whose newer models know `max_completion_tokens` only.
    OpenAi,
    /// Perplexity's Sonar, which searches, and says what it costs.
    Sonar,
}

/// See the module.
pub(super) struct Chat(pub(super) Dialect);

impl Wire for Chat {
    fn path(&self) -> &'static str {
        "/chat/completions"
    }

    fn samples(&self) -> bool {
        true
    }

    fn body(&self, asked: &Asked<'_>) -> Value {
        request::body(self, asked)
    }

    fn gather(&self) -> Box<dyn Gather> {
        Box::new(reply::Gathered::new(self.0))
    }

    fn faults(&self) -> Table {
        Table(RULES)
    }

    fn rates(&self, headers: &HeaderMap, now: Timestamp) -> RateNews {
        rates::OPENAI.read(headers, now)
    }
}

/// By error code or type, of all who speak OpenAI's shapes.
pub(super) const RULES: &[Rule] = &[
    rejected(On::Kind("insufficient_quota"), SPENT),
    rejected(On::Kind("billing_hard_limit_reached"), SPENT),
    rejected(On::Kind("billing_not_active"), SPENT),
    rejected(On::Kind("enforced_spend_limit_reached"), SPENT),
    rejected(On::Kind("spend_limit_reached"), SPENT),
    rejected(On::Kind("invalid_api_key"), KEY),
    rejected(On::Kind("authentication_error"), KEY),
    rejected(On::Kind("permission_error"), KEY),
    rejected(On::Kind("model_not_found"), NAME),
    rejected(On::Kind("context_length_exceeded"), SHORTEN),
    rejected(On::Kind("string_above_max_length"), SHORTEN),
    rejected(On::Kind("content_policy_violation"), ""),
    rejected(On::Kind("content_filter"), ""),
    limited(On::Kind("rate_limit_exceeded")),
    limited(On::Kind("rate_limit_error")),
    // The types of a 429 that names its limit.
    limited(On::Kind("requests")),
    limited(On::Kind("tokens")),
    busy(On::Kind("overloaded_error")),
    busy(On::Kind("engine_overloaded")),
    failed(On::Kind("server_error")),
    failed(On::Kind("internal_server_error")),
    // Those of a response that failed.
    failed(On::Kind("vector_store_timeout")),
    rejected(On::Kind("invalid_prompt"), ""),
    rejected(On::Kind("data_residency_mismatch"), ""),
    rejected(On::Kind("bio_policy"), ""),
    rejected(On::Kind("misalignment_policy_violation"), ""),
    rejected(On::Kind("invalid_image"), ""),
    rejected(On::Kind("invalid_image_format"), ""),
    rejected(On::Kind("invalid_base64_image"), ""),
    rejected(On::Kind("invalid_image_url"), ""),
    rejected(On::Kind("image_too_large"), ""),
    rejected(On::Kind("image_too_small"), ""),
    rejected(On::Kind("image_parse_error"), ""),
    rejected(On::Kind("image_content_policy_violation"), ""),
    rejected(On::Kind("invalid_image_mode"), ""),
    rejected(On::Kind("image_file_too_large"), ""),
    rejected(On::Kind("unsupported_image_media_type"), ""),
    rejected(On::Kind("empty_image_file"), ""),
    rejected(On::Kind("failed_to_download_image"), ""),
    rejected(On::Kind("image_file_not_found"), ""),
    rejected(On::Kind("invalid_request_error"), ""),
];
