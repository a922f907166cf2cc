//! What a server's refusal means. Invariant: only a refusal that the provider
//! certainly does not bill is [`Billed::No`], and what cannot pass on a second
//! try is never classed as retryable.

use std::time::Duration;

use actors::transport::TransportError;
use http::{HeaderMap, StatusCode, Uri};
use policies::failure::FailureClass;

use super::wire::{Fault, FaultBody};
use crate::model::{Billed, ModelError};

/// What a server's words may take of a message.
const WORDS_CHARS_MAX: usize = 300;
/// No money left: time does not heal these.
const SPENT: &[&str] =
    &["insufficient_quota", "billing_hard_limit_reached", "enforced_spend_limit_reached", "spend_limit_reached"];
const CROWDED: &[&str] = &["rate_limit_exceeded", "rate_limit_error", "requests", "tokens"];

/// The request did not get through.
pub(super) fn unreached(url: &Uri, error: &TransportError) -> ModelError {
    ModelError {
        class: FailureClass::ProviderDown,
        message: format!("{url} did not answer ({error}); check that the server runs and is reachable"),
        retry_after: None,
        billed: if error.sent { Billed::Unknown } else { Billed::No },
    }
}

/// A reply began and could not be read to its end.
pub(super) fn broken(url: &Uri, reason: &str) -> ModelError {
    ModelError {
        class: FailureClass::ProviderDown,
        message: format!("the reply of {url} could not be used: {}", clip(reason)),
        retry_after: None,
        billed: Billed::Unknown,
    }
}

/// An error in the body of a reply whose status was 200.
pub(super) fn told(url: &Uri, fault: &Fault) -> ModelError {
    let class = match fault.status() {
        Some(status) => class(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), Some(fault)),
        None if fault.is(SPENT) => FailureClass::Rejected,
        None if fault.is(CROWDED) => FailureClass::RateLimited,
        None => FailureClass::ProviderDown,
    };
    ModelError {
        class,
        message: format!("{url} broke off: {}", clip(fault.message())),
        retry_after: None,
        billed: Billed::Unknown,
    }
}

/// A reply whose status is not 2xx.
pub(super) fn refused(url: &Uri, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ModelError {
    let fault = serde_json::from_slice::<FaultBody>(body).ok().map(|body| body.error);
    let class = class(status, fault.as_ref());
    let words =
        fault.as_ref().map_or_else(|| String::from_utf8_lossy(body).into_owned(), |fault| fault.message().to_owned());
    let advice = advice(status, class);
    ModelError {
        class,
        message: format!("{url} answered {status}: {}{advice}", clip(words.trim())),
        retry_after: class.is_retryable().then(|| retry_after(headers)).flatten(),
        billed: billed(status),
    }
}

fn class(status: StatusCode, fault: Option<&Fault>) -> FailureClass {
    match status.as_u16() {
        _ if fault.is_some_and(|fault| fault.is(SPENT)) => FailureClass::Rejected,
        429 => FailureClass::RateLimited,
        408 | 409 | 425 | 500.. => FailureClass::ProviderDown,
        _ => FailureClass::Rejected,
    }
}

/// A time-out or a failure within may come after the work was done.
fn billed(status: StatusCode) -> Billed {
    match status.as_u16() {
        408 | 500 | 502 | 504 => Billed::Unknown,
        _ => Billed::No,
    }
}

fn advice(status: StatusCode, class: FailureClass) -> &'static str {
    match status.as_u16() {
        300..=399 => "; set base_url to the address it points to",
        401 | 403 => "; check the api_key and what it may do",
        404 => "; check base_url and the model's name",
        402 | 429 if class == FailureClass::Rejected => {
            "; the account has no quota left: raise it, or take another model"
        }
        _ => "",
    }
}

/// `Retry-After` in seconds, else the reset of whichever limit is used up.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let millis = header("retry-after-ms").and_then(|value| value.parse().ok()).map(Duration::from_millis);
    let seconds = header("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
    millis.or(seconds).or_else(|| {
        ["requests", "tokens"]
            .into_iter()
            .filter(|limit| header(&format!("x-ratelimit-remaining-{limit}")).is_none_or(|left| left == "0"))
            .filter_map(|limit| reset(header(&format!("x-ratelimit-reset-{limit}"))?))
            .max()
    })
}

/// A duration such as `12ms`, `1s` or `6m0.5s`.
fn reset(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        rest = &rest[letters..];
    }
    Some(total)
}

fn clip(words: &str) -> String {
    match words.char_indices().nth(WORDS_CHARS_MAX) {
        None => words.to_owned(),
        Some((end, _)) => format!("{}…", &words[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, reset};

    #[test]
    fn reads_resets_as_openai_writes_them() {
        for (text, millis) in [("12ms", 12), ("1s", 1000), ("6m0s", 360_000), ("1h2m3.5s", 3_723_500)] {
            assert_eq!(reset(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["s", "5", "5 s", "1w", "99999999999999999999h"] {
            assert_eq!(reset(text), None, "{text}");
        }
    }
}
