//! The steady state: what operators can measure while the system is well. Invariant: a probe that
//! measured nothing has not held, unless the experiment says that it may.

use policies::document;
use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Runs that came to their end, in a minute.
    RunsFinishedPerMin,
    /// The share of requests and runs that failed, from 0 to 1.
    ErrorRate,
    /// 1 while the system says that it is ready, else 0.
    Ready,
    /// Restarts in the tree, in a minute.
    RestartsPerMin,
}

impl Probe {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RunsFinishedPerMin, Self::ErrorRate, Self::Ready, Self::RestartsPerMin];

    /// Its name in experiments and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RunsFinishedPerMin => "runs_finished_per_min",
            Self::ErrorRate => "error_rate",
            Self::Ready => "ready",
            Self::RestartsPerMin => "restarts_per_min",
        }
    }
}

/// When a probe must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before the first fault.
    Start,
    /// At the end of the quiet time.
    End,
    /// At both.
    #[default]
    Edge,
    /// All the time.
    Continuous,
}

/// What it means that a probe measured nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// It did not hold.
    #[default]
    Fail,
    /// Nothing.
    Ignore,
}

/// A part of the steady state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    /// What is measured.
    pub probe: Probe,
    /// The least that is well.
    pub min: Option<f64>,
    /// The most that is well.
    pub max: Option<f64>,
    /// When it must hold.
    pub mode: Moment,
    /// What it means that nothing was measured.
    pub no_data: NoData,
}

impl Steady {
    /// Whether it holds with what was measured, if anything was.
    #[must_use]
    pub fn holds(&self, measured: Option<f64>) -> bool {
        match measured {
            Some(value) => self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max),
            None => self.no_data == NoData::Ignore,
        }
    }
}

/// To which side of its limit a probe is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above it: `>`.
    Above,
    /// Below it: `<`.
    Below,
}

/// What ends an experiment at once, written "error_rate > 0.5".
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Abort {
    /// What is measured.
    pub probe: Probe,
    /// To which side of the limit it is bad.
    pub side: Side,
    /// The limit.
    pub limit: f64,
}

impl Abort {
    /// Whether what was measured ends the experiment.
    #[must_use]
    pub fn strikes(&self, measured: f64) -> bool {
        match self.side {
            Side::Above => measured > self.limit,
            Side::Below => measured < self.limit,
        }
    }
}

/// Text that names no condition.
#[derive(Debug, thiserror::Error)]
pub enum NotAbort {
    /// It has another form.
    #[error("`{0}` is no condition; write a probe, `>` or `<`, and a number, such as \"error_rate > 0.5\"")]
    Form(String),
    /// No probe has this name.
    #[error("unknown probe `{name}`; {help}")]
    Probe {
        /// The name.
        name: String,
        /// What was probably meant.
        help: String,
    },
}

impl TryFrom<String> for Abort {
    type Error = NotAbort;

    fn try_from(text: String) -> Result<Self, NotAbort> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, side, limit] = words[..] else { return Err(NotAbort::Form(text)) };
        let side = match side {
            ">" => Side::Above,
            "<" => Side::Below,
            _ => return Err(NotAbort::Form(text)),
        };
        let Some(limit) = limit.parse().ok().filter(|limit: &f64| limit.is_finite()) else {
            return Err(NotAbort::Form(text));
        };
        let Some(probe) = Probe::ALL.into_iter().find(|probe| probe.name() == name) else {
            let help = document::suggestion(name, Probe::ALL.map(Probe::name));
            return Err(NotAbort::Probe { name: name.to_owned(), help });
        };
        Ok(Self { probe, side, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abort(text: &str) -> Result<Abort, String> {
        Abort::try_from(text.to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_probe_without_data_fails_unless_that_is_allowed() {
        let strict =
            Steady { probe: Probe::Ready, min: Some(1.0), max: Some(2.0), mode: Moment::Edge, no_data: NoData::Fail };
        let held = [Some(0.9), Some(1.0), Some(2.0), Some(2.1), None].map(|measured| strict.holds(measured));
        assert_eq!(held, [false, true, true, false, false]);
        assert!(Steady { no_data: NoData::Ignore, ..strict }.holds(None));
    }

    #[test]
    fn an_abort_strikes_beyond_its_limit() {
        let above = abort("error_rate > 0.5").unwrap();
        assert_eq!(above, Abort { probe: Probe::ErrorRate, side: Side::Above, limit: 0.5 });
        assert_eq!([0.5, 0.6].map(|value| above.strikes(value)), [false, true]);
        let below = abort("ready < 1").unwrap();
        assert_eq!([1.0, 0.0].map(|value| below.strikes(value)), [false, true]);
    }

    #[test]
    fn an_abort_that_says_nothing_is_refused() {
        for text in ["", "error_rate", "error_rate >", "error_rate = 1", "error_rate > much", "error_rate > nan"] {
            assert!(abort(text).unwrap_err().contains("is no condition"), "{text}");
        }
        let error = abort("eror_rate > 1").unwrap_err();
        assert_eq!(error, "unknown probe `eror_rate`; did you mean `error_rate`?");
    }

    #[test]
    fn a_probe_is_written_by_its_name() {
        for probe in Probe::ALL {
            assert_eq!(serde_json::to_value(probe).unwrap(), probe.name());
        }
    }
}
