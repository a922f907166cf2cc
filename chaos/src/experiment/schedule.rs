//! When faults come: moments, ranges of time and jumps of the clock, as people write them. Invariant: a
//! range that was read does not end before it begins.

use policies::span::{NotSpan, Span};
use serde::Deserialize;

use super::measure::millis;

/// The farthest that the clock may jump: ten years.
const JUMP_MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// When something begins: at a moment, or somewhere in a range, whose end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Window {
    /// The earliest, from the play's beginning.
    pub from_ms: u64,
    /// The end; the same as the beginning for a moment.
    pub to_ms: u64,
}

impl Window {
    /// Exactly then.
    #[must_use]
    pub fn moment(at_ms: u64) -> Self {
        Self { from_ms: at_ms, to_ms: at_ms }
    }

    /// How long it is; nothing for a moment.
    #[must_use]
    pub fn length_ms(self) -> u64 {
        self.to_ms - self.from_ms
    }
}

/// Text that is neither a moment nor a range.
#[derive(Debug, thiserror::Error)]
pub enum NotWindow {
    /// One of its times is none.
    #[error(transparent)]
    Time(#[from] NotSpan),
    /// The range is empty or runs backwards.
    #[error("`{0}` does not end after it begins; write the earlier time first, such as \"30s..90s\"")]
    Reversed(String),
}

impl TryFrom<String> for Window {
    type Error = NotWindow;

    fn try_from(text: String) -> Result<Self, NotWindow> {
        let time_ms = |text: &str| text.trim().parse::<Span>().map(millis);
        let Some((from, to)) = text.split_once("..") else { return Ok(Self::moment(time_ms(&text)?)) };
        let window = Self { from_ms: time_ms(from)?, to_ms: time_ms(to)? };
        if window.from_ms < window.to_ms { Ok(window) } else { Err(NotWindow::Reversed(text)) }
    }
}

/// How far the wall clock jumps: "2h", or back with "-10m".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Jump {
    pub(super) by_ms: i64,
}

/// Text that is no jump.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotJump {
    #[error(transparent)]
    Time(#[from] NotSpan),
    #[error("`{0}` is no jump; write at least \"1ms\" and at most \"3650d\", with `-` in front to go back")]
    Far(String),
}

impl TryFrom<String> for Jump {
    type Error = NotJump;

    fn try_from(text: String) -> Result<Self, NotJump> {
        let (sign, length) = text.strip_prefix('-').map_or((1, text.as_str()), |length| (-1, length));
        let length_ms = millis(length.parse::<Span>()?);
        match i64::try_from(length_ms) {
            Ok(by_ms) if (1..=JUMP_MS_MAX).contains(&length_ms) => Ok(Self { by_ms: sign * by_ms }),
            _ => Err(NotJump::Far(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Result<Window, String> {
        Window::try_from(text.to_owned()).map_err(|error| error.to_string())
    }

    fn jump(text: &str) -> Result<i64, String> {
        Jump::try_from(text.to_owned()).map(|jump| jump.by_ms).map_err(|error| error.to_string())
    }

    #[test]
    fn a_window_is_a_moment_or_a_range() {
        assert_eq!(window("30s"), Ok(Window::moment(30_000)));
        assert_eq!(window("30s..2m"), Ok(Window { from_ms: 30_000, to_ms: 120_000 }));
        assert_eq!(window("30s .. 2m").map(Window::length_ms), Ok(90_000));
        assert!(window("30").unwrap_err().contains("is not a length of time"));
        for text in ["90s..30s", "30s..30s"] {
            assert!(window(text).unwrap_err().contains("does not end after it begins"), "{text}");
        }
    }

    #[test]
    fn a_jump_goes_forward_or_back() {
        assert_eq!(jump("2h"), Ok(7_200_000));
        assert_eq!(jump("-10m"), Ok(-600_000));
        assert!(jump("soon").unwrap_err().contains("is not a length of time"));
        for text in ["0s", "-0s", "3651d", "99999999999d"] {
            assert!(jump(text).unwrap_err().contains("is no jump"), "{text}");
        }
    }
}
