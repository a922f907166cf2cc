//! When a provider wants to be asked again, in all the ways that it may say so. Invariant: what cannot be
//! read is as good as not said; no time is taken from a clock but from the answer or the caller.

use std::time::Duration;

use http::HeaderMap;
use policies::instant::Timestamp;

/// A header's words.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// `retry-after-ms`, or else `retry-after` in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let millis = header(headers, "retry-after-ms").and_then(|value| seconds(value, 1e-3));
    millis.or_else(|| {
        let value = header(headers, "retry-after")?;
        seconds(value, 1.0).or_else(|| Some(http_date(value)?.since(answered_at(headers, now))))
    })
}

/// A number of units of so many seconds; less than none is none.
fn seconds(value: &str, unit: f64) -> Option<Duration> {
    let number: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(number.max(0.0) * unit).ok()
}

/// When the answer was sent by its own clock, which is the one that its dates are by.
pub(super) fn answered_at(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    header(headers, "date").and_then(http_date).unwrap_or(now)
}

/// `Wed, 25 Nov 2026 19:00:00 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    static PARSER: jiff::fmt::rfc2822::DateTimeParser = jiff::fmt::rfc2822::DateTimeParser::new();
    PARSER.parse_timestamp(text).ok().map(|moment| Timestamp::from_micros(moment.as_microsecond()))
}

/// A duration such as `12ms`, `1s` or `6m0.5s`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn reads_spans_as_openai_writes_them() {
        for (text, millis) in [("12ms", 12), ("1s", 1000), ("1m2s", 62_000), ("6m0s", 360_000), ("1h2m3.5s", 3_723_500)]
        {
            assert_eq!(span(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5", "5 s", "1w", "99999999999999999999h"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let now: Timestamp = "2026-11-25T19:00:00Z".parse().unwrap();
        const LATER: &str = "Wed, 25 Nov 2026 19:00:30 GMT";
        for (pairs, millis) in [
            (&[("retry-after", "7")][..], Some(7_000)),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", "-3")], Some(0)),
            (&[("retry-after", "1.5")], Some(1_500)),
            (&[("retry-after-ms", "250"), ("retry-after", "9")], Some(250)),
            (&[("retry-after-ms", "soon"), ("retry-after", "9")], Some(9_000)),
            (&[("retry-after", LATER)], Some(30_000)),
            (&[("retry-after", "Wed, 25 Nov 2026 18:00:00 GMT")], Some(0)),
            // Its own clock is ten seconds behind ours.
            (&[("retry-after", LATER), ("date", "Wed, 25 Nov 2026 18:59:50 GMT")], Some(40_000)),
            (&[("retry-after", "tomorrow")], None),
            (&[("retry-after", "1e300")], None),
            (&[], None),
        ] {
            assert_eq!(retry_after(&headers(pairs), now), millis.map(Duration::from_millis), "{pairs:?}");
        }
    }
}
