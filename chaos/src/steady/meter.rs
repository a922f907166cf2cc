//! What the probes measure. Invariant: a pure function of the readings; where there was nothing to
//! measure there is no value, never a zero.

use std::time::Duration;

use crate::experiment::Probe;

/// Rates and shares of the moment are those of so long a time.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
/// A rate over less than this means nothing.
const SPAN_MIN: Duration = Duration::from_secs(1);
/// A share of the moment needs so many outcomes.
const OUTCOMES_MIN: u64 = 5;
const MS_PER_MIN: f64 = 60_000.0;

/// One look at the server; its counts are those since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// When, from the beginning.
    pub(crate) at_ms: u64,
    /// Whether it says that it is ready.
    pub(crate) is_ready: bool,
    /// Requests of the client that have their answer, or none.
    pub(crate) requests: u64,
    /// Those of them that failed.
    pub(crate) requests_failed: u64,
    /// Runs whose end was reported.
    pub(crate) runs_ended: u64,
    /// Those of them that failed.
    pub(crate) runs_failed: u64,
    /// Restarts in the tree.
    pub(crate) restarts: u64,
}

/// The readings of a play, by time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Vec<Reading>);

impl Meter {
    pub(crate) fn read(&mut self, reading: Reading) {
        self.0.push(reading);
    }

    pub(crate) fn readings(&self) -> &[Reading] {
        &self.0
    }

    /// The probe over this time, if there is anything to go by.
    pub(crate) fn measured(&self, probe: Probe, from_ms: u64, to_ms: u64) -> Option<f64> {
        let last = self.0.iter().rev().find(|reading| reading.at_ms <= to_ms && reading.at_ms >= from_ms)?;
        let first = self.0.iter().rev().find(|reading| reading.at_ms <= from_ms).or(self.0.first())?;
        match probe {
            Probe::Ready => Some(f64::from(u8::from(last.is_ready))),
            Probe::RunsFinishedPerMin => per_min(first, last, |reading| reading.runs_ended - reading.runs_failed),
            Probe::RestartsPerMin => per_min(first, last, |reading| reading.restarts),
            Probe::ErrorRate => {
                let outcomes = outcomes(last) - outcomes(first);
                (outcomes > 0).then(|| figure(failures(last) - failures(first)) / figure(outcomes))
            }
        }
    }

    /// The probe at the moment of a reading: over the [`WINDOW`] before it, if that was long enough.
    pub(crate) fn at(&self, probe: Probe, at_ms: u64) -> Option<f64> {
        let window_ms = millis(WINDOW);
        let from_ms = at_ms.saturating_sub(window_ms);
        let is_enough = match probe {
            Probe::Ready => true,
            Probe::RunsFinishedPerMin | Probe::RestartsPerMin => at_ms >= window_ms,
            Probe::ErrorRate => {
                let upto = |ms: u64| self.0.iter().rev().find(|reading| reading.at_ms <= ms).map_or(0, outcomes);
                upto(at_ms) - upto(from_ms) >= OUTCOMES_MIN
            }
        };
        if is_enough { self.measured(probe, from_ms, at_ms) } else { None }
    }
}

fn outcomes(reading: &Reading) -> u64 {
    reading.requests + reading.runs_ended
}

fn failures(reading: &Reading) -> u64 {
    reading.requests_failed + reading.runs_failed
}

fn per_min(first: &Reading, last: &Reading, of: impl Fn(&Reading) -> u64) -> Option<f64> {
    let span_ms = last.at_ms.saturating_sub(first.at_ms);
    (span_ms >= millis(SPAN_MIN)).then(|| figure(of(last).saturating_sub(of(first))) * MS_PER_MIN / figure(span_ms))
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of one play are far below 2^53")]
fn figure(count: u64) -> f64 {
    count as f64
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute in which a run ends each ten seconds, every third one badly, with four requests a
    /// second; in its second half one request of four fails, and an actor is restarted every five seconds.
    fn minute() -> Meter {
        let reading = |second: u64| {
            let late = second.saturating_sub(30);
            Reading {
                at_ms: second * 1_000,
                is_ready: second != 40,
                requests: second * 4,
                requests_failed: late,
                runs_ended: second / 10,
                runs_failed: second / 30,
                restarts: late / 5,
            }
        };
        Meter((0..=60).map(reading).collect())
    }

    #[test]
    fn a_rate_is_counted_over_its_time_alone() {
        let meter = minute();
        let rate = |probe, from, to| meter.measured(probe, from, to);
        assert_eq!(rate(Probe::RestartsPerMin, 0, 30_000), Some(0.0));
        assert_eq!(rate(Probe::RestartsPerMin, 30_000, 60_000), Some(12.0));
        assert_eq!(rate(Probe::RunsFinishedPerMin, 0, 60_000), Some(4.0));
        assert_eq!(rate(Probe::Ready, 0, 40_500), Some(0.0));
        assert_eq!(rate(Probe::Ready, 0, 60_000), Some(1.0));
        let share = rate(Probe::ErrorRate, 30_000, 60_000).unwrap();
        assert!((share - 31.0 / 123.0).abs() < 1e-9, "{share}");
    }

    #[test]
    fn where_there_was_nothing_to_measure_there_is_no_value() {
        let meter = minute();
        for probe in Probe::ALL {
            assert_eq!(Meter::default().measured(probe, 0, 60_000), None);
            assert_eq!(meter.measured(probe, 61_000, 90_000), None, "{probe:?}");
        }
        assert_eq!(meter.measured(Probe::RestartsPerMin, 0, 500), None, "half a second makes no rate");
        let idle = Meter(vec![Reading::default(), Reading { at_ms: 5_000, ..Reading::default() }]);
        assert_eq!(idle.measured(Probe::ErrorRate, 0, 5_000), None);
        assert_eq!(idle.measured(Probe::RestartsPerMin, 0, 5_000), Some(0.0));
    }

    #[test]
    fn the_moment_needs_a_whole_window() {
        let meter = minute();
        assert_eq!(meter.at(Probe::RestartsPerMin, 29_000), None);
        assert_eq!(meter.at(Probe::RestartsPerMin, 60_000), Some(12.0));
        assert_eq!(meter.at(Probe::ErrorRate, 1_000), None, "four outcomes are too few");
        assert_eq!(meter.at(Probe::ErrorRate, 2_000), Some(0.0));
        assert_eq!(meter.at(Probe::Ready, 0), Some(1.0));
    }
}
