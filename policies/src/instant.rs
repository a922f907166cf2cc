//! A moment of wall time.
//!
//! A timestamp is only ever given, never taken: this room knows no clock.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// So many microseconds after the Unix epoch, or before it if negative.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The moment this much later, to the whole microsecond below, at most the
    /// last one that can be written down.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        let micros = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add_unsigned(micros))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

/// RFC 3339 in UTC; outside the years -9999 to 9999, where RFC 3339 has no
/// spelling, the bare count of microseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => f.pad(&timestamp.to_string()),
            Err(_) => f.pad(&format!("{}us", self.0)),
        }
    }
}

/// Text that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a moment; write RFC 3339 such as \"2026-11-22T10:00:00Z\"")]
pub struct NotTimestamp(String);

/// Reads RFC 3339; parts of a microsecond are dropped.
impl FromStr for Timestamp {
    type Err = NotTimestamp;

    fn from_str(text: &str) -> Result<Self, NotTimestamp> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| NotTimestamp(text.to_owned()))?;
        Ok(Self(moment.as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_rfc_3339() {
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(1_500_000).to_string(), "1970-01-01T00:00:01.5Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), "9223372036854775807us");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn stops_at_the_ends() {
        assert_eq!(Timestamp(i64::MAX).plus(Duration::MAX), Timestamp(i64::MAX));
        assert_eq!(Timestamp(i64::MAX).since(Timestamp(i64::MIN)), Duration::from_micros(u64::MAX));
        assert_eq!(Timestamp(1).since(Timestamp(2)), Duration::ZERO);
    }

    #[test]
    fn json_holds_microseconds() {
        assert_eq!(serde_json::to_string(&Timestamp(-3)).unwrap(), "-3");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(micros in -1_000_000_000_000_000_i64..100_000_000_000_000_000) {
            prop_assert_eq!(Timestamp(micros).to_string().parse(), Ok(Timestamp(micros)));
        }

        #[test]
        fn since_undoes_plus(start in -1_000_000_i64..1_000_000, micros: u32) {
            let (start, later) = (Timestamp(start), Duration::from_micros(micros.into()));
            prop_assert_eq!(start.plus(later).since(start), later);
        }
    }
}
