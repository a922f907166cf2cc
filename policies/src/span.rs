//! Lengths of time, rates and sizes, as people write them.
//!
//! What is printed is read back as the same value, in the largest unit that
//! divides it, so a policy can be shown, edited and stored as text.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use crate::text::serde_as_text;

/// A length of time: "30s", "1500ms", "2m", "1h", "7d".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Units of time with their nanoseconds, largest first.
const TIME_UNITS: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// So many whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// As the standard library counts it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_nanos() {
            0 => f.pad("0s"),
            nanos => f.pad(&in_largest_unit(nanos, &TIME_UNITS)),
        }
    }
}

/// Text that is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time; write a whole number and a unit (ms, s, m, h, d) such as \"30s\"")]
pub struct NotSpan(String);

impl FromStr for Span {
    type Err = NotSpan;

    fn from_str(text: &str) -> Result<Self, NotSpan> {
        let nanos = with_unit(text, &TIME_UNITS).and_then(|nanos| {
            let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
            let rest = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
            Some(Self(Duration::new(seconds, rest)))
        });
        nanos.ok_or_else(|| NotSpan(text.to_owned()))
    }
}

serde_as_text!(Span, "a length of time such as \"30s\"");

/// So many things in such a time: "60/min", "5/s", "3/10s".
///
/// A rate that was read from text has a count and a time above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// The units a rate may name instead of a length of time.
const RATE_UNITS: [(&str, Duration); 4] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3_600)),
    ("day", Duration::from_secs(86_400)),
];

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RATE_UNITS.iter().find(|(_, per)| *per == self.per) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}", self.count, Span(self.per)),
        }
    }
}

/// Text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate; write a count above zero and a time such as \"60/min\" or \"3/10s\"")]
pub struct NotRate(String);

impl FromStr for Rate {
    type Err = NotRate;

    fn from_str(text: &str) -> Result<Self, NotRate> {
        let rate = text.split_once('/').and_then(|(count, per)| {
            let count: NonZeroU32 = count.parse().ok()?;
            let unit = RATE_UNITS.iter().find(|(unit, _)| *unit == per);
            let per = unit.map_or_else(|| per.parse().ok().map(Span::duration), |(_, per)| Some(*per))?;
            (!per.is_zero()).then_some(Self { count: count.get(), per })
        });
        rate.ok_or_else(|| NotRate(text.to_owned()))
    }
}

serde_as_text!(Rate, "a rate such as \"60/min\"");

/// A size in bytes: "64MiB", "512KiB", "100B".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Units of size with their bytes, largest first.
const SIZE_UNITS: [(&str, u128); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.pad("0B"),
            bytes => f.pad(&in_largest_unit(bytes.into(), &SIZE_UNITS)),
        }
    }
}

/// Text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write a whole number and a unit (B, KiB, MiB, GiB, TiB) such as \"64MiB\"")]
pub struct NotByteSize(String);

impl FromStr for ByteSize {
    type Err = NotByteSize;

    fn from_str(text: &str) -> Result<Self, NotByteSize> {
        let bytes = with_unit(text, &SIZE_UNITS).and_then(|bytes| u64::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| NotByteSize(text.to_owned()))
    }
}

serde_as_text!(ByteSize, "a size such as \"64MiB\"");

/// The amount in the first unit that divides it; the last unit must be 1.
fn in_largest_unit(amount: u128, units: &[(&str, u128)]) -> String {
    let whole = units.iter().find(|(_, size)| amount.is_multiple_of(*size));
    whole.map_or_else(|| amount.to_string(), |(unit, size)| format!("{}{unit}", amount / size))
}

/// "30s" as an amount of the smallest unit.
fn with_unit(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u128>().ok()?.checked_mul(*size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: FromStr<Err: fmt::Debug> + fmt::Display>(text: &str, printed: &str) {
        assert_eq!(text.parse::<T>().unwrap().to_string(), printed, "{text}");
    }

    #[test]
    fn prints_in_the_largest_unit_that_divides() {
        check::<Span>("30s", "30s");
        check::<Span>("1500ms", "1500ms");
        check::<Span>("120s", "2m");
        check::<Span>("48h", "2d");
        check::<Span>("0ms", "0s");
        check::<Rate>("60/min", "60/min");
        check::<Rate>("60/60s", "60/min");
        check::<Rate>("3/10s", "3/10s");
        check::<ByteSize>("1024KiB", "1MiB");
        check::<ByteSize>("0KiB", "0B");
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_number() {
        for text in ["", "30", "s", "-1s", "1.5s", "1 s", "1S", "99999999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
        for text in ["", "60", "/min", "0/min", "60/", "60/0s", "60/year"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
        for text in ["", "64", "MiB", "1KB", "16777216TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn json_holds_text_and_says_what_it_wants() {
        assert_eq!(serde_json::to_string(&Span::from_secs(90)).unwrap(), "\"90s\"");
        let error = serde_json::from_str::<Span>("30").unwrap_err().to_string();
        assert!(error.contains("a length of time such as \"30s\""), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(seconds: u64, nanos in 0..1_000_000_000_u32, count in 1..u32::MAX, bytes: u64) {
            let span = Span(Duration::new(seconds, nanos));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
            let size = ByteSize(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let rate = Rate { count, per: Duration::new(seconds, nanos) };
            prop_assume!(!rate.per.is_zero());
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
