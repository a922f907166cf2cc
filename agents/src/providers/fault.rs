//! What a provider's refusal means. Invariant: only a refusal that the provider certainly does not bill
//! is [`Billed::No`], what has no money behind it is never tried again, what each provider's words
//! mean is data: one table for each; and no error repeats a key that the provider was sent.

use actors::transport::TransportError;
use http::{HeaderMap, StatusCode, Uri};
use policies::failure::FailureClass;
use serde_json::Value;

use super::wait::header;
use crate::model::{Billed, ModelError};
use crate::secret::Confided;

/// What a server's words may take of a message.
const WORDS_CHARS_MAX: usize = 300;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// An error's type or code.
    Kind(&'static str),
    /// An answer's status, or a code that is one.
    Status(u16),
}

/// What one refusal means.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) on: On,
    pub(super) class: FailureClass,
    /// Of a refusal in place of an answer; one in the middle of an answer may always have cost money.
    pub(super) billed: Billed,
    /// What a person can do.
    pub(super) advice: &'static str,
}

/// The rules of one provider; what has none goes by its status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table(pub(super) &'static [Rule]);

/// The rules of one provider, and the keys that it was sent.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) table: Table,
    pub(super) confided: Confided,
}

pub(super) const KEY: &str = "; check the key and what it may do";
pub(super) const NAME: &str = "; check url and the model's name";
pub(super) const SPENT: &str = "; the account has no money or quota left: raise it, or take another model";
pub(super) const SHORTEN: &str = "; make the request shorter";
const MOVED: &str = "; set url to the address it points to";

/// The provider refuses the request for good.
pub(super) const fn rejected(on: On, advice: &'static str) -> Rule {
    Rule { on, class: FailureClass::Rejected, billed: Billed::No, advice }
}

/// The provider asks for fewer calls.
pub(super) const fn limited(on: On) -> Rule {
    Rule { on, class: FailureClass::RateLimited, billed: Billed::No, advice: "" }
}

/// The provider could not begin.
pub(super) const fn busy(on: On) -> Rule {
    Rule { on, class: FailureClass::ProviderDown, billed: Billed::No, advice: "" }
}

/// The provider failed at it, perhaps after the work was done.
pub(super) const fn failed(on: On) -> Rule {
    Rule { on, class: FailureClass::ProviderDown, billed: Billed::Unknown, advice: "" }
}

/// What statuses mean where a table says nothing of them.
const STATUSES: &[Rule] = &[
    rejected(On::Status(401), KEY),
    rejected(On::Status(402), SPENT),
    rejected(On::Status(403), KEY),
    rejected(On::Status(404), NAME),
    failed(On::Status(408)),
    busy(On::Status(409)),
    rejected(On::Status(413), SHORTEN),
    busy(On::Status(425)),
    limited(On::Status(429)),
    failed(On::Status(500)),
    failed(On::Status(502)),
    busy(On::Status(503)),
    failed(On::Status(504)),
    busy(On::Status(529)),
];
static REDIRECTED: Rule = rejected(On::Status(300), MOVED);
static OTHER_CLIENT: Rule = rejected(On::Status(400), "");
static OTHER_SERVER: Rule = busy(On::Status(500));
static UNTOLD: Rule = failed(On::Kind(""));

/// What a provider told of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Its type, its code and the code of its details, as far as they are words.
    pub(super) kinds: Vec<String>,
    /// A code that is an HTTP status (vLLM, llama.cpp).
    pub(super) status: Option<u16>,
    pub(super) message: String,
}

impl Told {
    /// An error object, in any of the shapes in use: `{"error": {…}}`, `{"error": "words"}`, the inner
    /// object alone, `{"detail": …}`.
    pub(super) fn of(value: &Value) -> Self {
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let code = error.get("code");
        let kinds = [error.get("type"), code, error.pointer("/details/error_code")];
        let words = [error.get("message"), Some(error), value.get("detail"), value.get("message")];
        Self {
            kinds: kinds.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            status: code.and_then(Value::as_u64).and_then(|code| code.try_into().ok()),
            message: words
                .into_iter()
                .flatten()
                .find_map(Value::as_str)
                .map_or_else(|| value.to_string(), str::to_owned),
        }
    }

    fn in_body(body: &[u8]) -> Self {
        serde_json::from_slice(body).map_or_else(
            |_| Self { message: String::from_utf8_lossy(body).trim().to_owned(), ..Self::default() },
            |value: Value| Self::of(&value),
        )
    }
}

impl Table {
    /// What an error means, by its words before its status.
    pub(super) fn rule(self, status: Option<u16>, told: &Told) -> &'static Rule {
        let by_kind = |rule: &&Rule| matches!(rule.on, On::Kind(kind) if told.kinds.iter().any(|told| told == kind));
        self.0.iter().find(by_kind).unwrap_or_else(|| self.by_status(status))
    }

    /// What a status means by itself.
    fn by_status(self, status: Option<u16>) -> &'static Rule {
        let by_status = |rule: &&Rule| matches!(rule.on, On::Status(of) if Some(of) == status);
        self.0.iter().chain(STATUSES).find(by_status).unwrap_or(match status {
            Some(300..=399) => &REDIRECTED,
            Some(400..=499) => &OTHER_CLIENT,
            Some(_) => &OTHER_SERVER,
            None => &UNTOLD,
        })
    }
}

impl Faults {
    /// An answer whose status is not 2xx.
    pub(super) fn refused(&self, url: &Uri, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ModelError {
        let told = Told::in_body(body);
        let rule = self.table.rule(Some(status.as_u16()), &told);
        // Nothing was made where the status says so, whatever kind of error the body names.
        let is_free = self.table.by_status(Some(status.as_u16())).billed == Billed::No;
        let billed = if is_free { Billed::No } else { rule.billed.clone() };
        let class = match header(headers, "x-should-retry") {
            Some("false") if rule.class.is_retryable() => FailureClass::Rejected,
            Some("true") if rule.class == FailureClass::Rejected && rule.advice != SPENT => FailureClass::ProviderDown,
            _ => rule.class,
        };
        let id = header(headers, "request-id").or_else(|| header(headers, "x-request-id"));
        let id = id.map_or_else(String::new, |id| format!(" (request {})", self.words(id)));
        let message = format!("{url} answered {status}: {}{id}{}", self.words(&told.message), rule.advice);
        ModelError { class, message, retry_after: None, billed }
    }

    /// An error in the body of an answer whose status was 200.
    pub(super) fn told(&self, url: &Uri, told: &Told) -> ModelError {
        let rule = self.table.rule(told.status, told);
        ModelError::unknown(rule.class, format!("{url} broke off: {}{}", self.words(&told.message), rule.advice))
    }

    /// The beginning of what the provider says.
    pub(super) fn words(&self, words: &str) -> String {
        self.confided.excerpt(words, WORDS_CHARS_MAX)
    }
}

/// The request did not get through.
pub(super) fn unreached(url: &Uri, error: &TransportError) -> ModelError {
    let message = format!("{url} did not answer ({error}); check that the server runs and is reachable");
    let billed = if error.sent { Billed::Unknown } else { Billed::No };
    ModelError { class: FailureClass::ProviderDown, message, retry_after: None, billed }
}

/// A reply began and could not be read to its end, for a reason in our own words.
pub(super) fn broken(url: &Uri, reason: &str) -> ModelError {
    ModelError::unknown(FailureClass::ProviderDown, format!("the reply of {url} could not be used: {reason}"))
}
