//! The headers in which providers tell what is left of their limits. Invariant: one table of names for
//! each provider; a header that is not there or not understood says nothing.

use std::time::Duration;

use http::HeaderMap;
use policies::instant::Timestamp;

use super::wait::{answered_at, header, span};
use crate::model::{RateNews, Window};

/// How a provider says when a limit is whole again.
#[derive(Clone, Copy)]
pub(super) enum Reset {
    /// As a moment, in RFC 3339.
    Moment,
    /// As a time from now, such as `1m2s`.
    Span,
}

/// The names of one limit's headers: how much in all, how much is left, and when it is whole again.
pub(super) type Names = [&'static str; 3];

/// A provider's headers.
pub(super) struct Headers {
    pub(super) requests: Names,
    pub(super) tokens: Names,
    pub(super) input: Option<Names>,
    pub(super) output: Option<Names>,
    pub(super) reset: Reset,
}

/// Anthropic's.
pub(super) const ANTHROPIC: Headers = Headers {
    requests: [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    tokens: [
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ],
    input: Some([
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ]),
    output: Some([
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ]),
    reset: Reset::Moment,
};

/// OpenAI's, and those of many who speak as it does.
pub(super) const OPENAI: Headers = Headers {
    requests: ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    tokens: ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    input: None,
    output: None,
    reset: Reset::Span,
};

impl Headers {
    /// What an answer tells.
    pub(super) fn read(&self, headers: &HeaderMap, now: Timestamp) -> RateNews {
        let window = |names: &Names| Window {
            limit: header(headers, names[0]).and_then(|value| value.parse().ok()),
            remaining: header(headers, names[1]).and_then(|value| value.parse().ok()),
            resets_in: header(headers, names[2]).and_then(|value| self.reset(value, headers, now)),
        };
        RateNews {
            requests: window(&self.requests),
            tokens: window(&self.tokens),
            input: self.input.as_ref().map(window).unwrap_or_default(),
            output: self.output.as_ref().map(window).unwrap_or_default(),
            retry_after: None,
        }
    }

    fn reset(&self, value: &str, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
        match self.reset {
            Reset::Moment => Some(value.parse::<Timestamp>().ok()?.since(answered_at(headers, now))),
            Reset::Span => span(value),
        }
    }
}

/// How long until the limits are whole that a refusal may have been about: those of which nothing is
/// left, or of which it is not said.
pub(super) fn reset_of_refused(news: &RateNews) -> Option<Duration> {
    let windows = [news.requests, news.tokens, news.input, news.output];
    windows.iter().filter(|window| window.remaining.is_none_or(|left| left == 0)).filter_map(|w| w.resets_in).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn anthropic_tells_moments() {
        let now: Timestamp = "2026-11-25T19:00:00Z".parse().unwrap();
        let told = headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-25T19:00:01Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-25T19:01:00Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "many"),
        ]);
        let news = ANTHROPIC.read(&told, now);
        let second = Some(Duration::from_secs(1));
        assert_eq!(news.requests, Window { limit: Some(50), remaining: Some(49), resets_in: second });
        assert_eq!(news.hold(), Some(Duration::from_secs(60)));
        assert_eq!(news.output, Window::default());
    }

    #[test]
    fn openai_tells_spans() {
        let told = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m2s"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "12ms"),
        ]);
        let news = OPENAI.read(&told, Timestamp::EPOCH);
        assert_eq!(news.hold(), Some(Duration::from_secs(62)));
        assert_eq!(news.tokens.resets_in, Some(Duration::from_millis(12)));
        assert_eq!(reset_of_refused(&news), Some(Duration::from_secs(62)));
        assert_eq!(OPENAI.read(&HeaderMap::new(), Timestamp::EPOCH), RateNews::default());
    }
}
