//! Anthropic's Messages. Invariant: every token of the input is counted once, as what it is billed as;
//! thoughts go back as they came, signature and all, and those of others do not.

mod reply;
mod request;

use http::HeaderMap;
use policies::instant::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::fault::{KEY, NAME, On, Rule, SHORTEN, SPENT, Table, busy, failed, limited, rejected};
use super::rates;
use super::wire::{Asked, Gather, Wire};
use crate::model::RateNews;

/// Whose signatures go back.
const FAMILY: &str = "anthropic";

/// A version of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// The newest, which takes no temperature.
    #[default]
    #[serde(rename = "2026-10-21")]
    V2026_10_21,
    /// The first, which still works.
    #[serde(rename = "2023-06-01")]
    V2023_06_01,
}

impl Version {
    /// As it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2026_10_21 => "2026-10-21",
            Self::V2023_06_01 => "2023-06-01",
        }
    }
}

/// See the module.
pub(super) struct Anthropic(pub(super) Version);

impl Wire for Anthropic {
    fn path(&self) -> &'static str {
        "/messages"
    }

    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        vec![("anthropic-version", self.0.as_str())]
    }

    fn samples(&self) -> bool {
        self.0 == Version::V2023_06_01
    }

    fn body(&self, asked: &Asked<'_>) -> Value {
        request::body(self, asked)
    }

    fn gather(&self) -> Box<dyn Gather> {
        Box::<reply::Gathered>::default()
    }

    fn faults(&self) -> Table {
        Table(RULES)
    }

    fn rates(&self, headers: &HeaderMap, now: Timestamp) -> RateNews {
        rates::ANTHROPIC.read(headers, now)
    }
}

/// By error type, and before it by the code of its details.
const RULES: &[Rule] = &[
    rejected(On::Kind("enforced_spend_limit_reached"), SPENT),
    rejected(On::Kind("contract_spend_limit_reached"), SPENT),
    rejected(On::Kind("linked_organization_spend_limit_reached"), SPENT),
    rejected(On::Kind("linked_organization_billing_unavailable"), SPENT),
    rejected(On::Kind("organization_on_hold"), SPENT),
    limited(On::Kind("ramp_limit_exceeded")),
    busy(On::Kind("cmek_key_unreachable")),
    busy(On::Kind("cmek_context_unavailable")),
    rejected(On::Kind("billing_error"), SPENT),
    rejected(On::Kind("invalid_request_error"), ""),
    rejected(On::Kind("authentication_error"), KEY),
    rejected(On::Kind("permission_error"), KEY),
    rejected(On::Kind("not_found_error"), NAME),
    rejected(On::Kind("request_too_large"), SHORTEN),
    limited(On::Kind("rate_limit_error")),
    busy(On::Kind("conflict_error")),
    busy(On::Kind("overloaded_error")),
    failed(On::Kind("timeout_error")),
    failed(On::Kind("api_error")),
];
