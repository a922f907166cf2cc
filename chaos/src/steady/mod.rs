//! The steady state, judged. Invariant: a probe that measured nothing has not held, unless the
//! experiment says that it may.

pub(crate) mod meter;

use crate::experiment::{Moment, NoData, Probe, Steady};
use crate::report::SteadyLine;
use meter::Meter;

/// The three parts of a play: before the first fault, while there are faults, and after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) first_fault_ms: u64,
    pub(crate) last_fault_ms: u64,
    pub(crate) end_ms: u64,
}

/// A line for each part of the steady state that is named, and one for each other probe.
pub(crate) fn lines(named: &[Steady], meter: &Meter, parts: Parts) -> Vec<SteadyLine> {
    let is_named = |probe: &Probe| named.iter().any(|steady| steady.probe == *probe);
    let others = Probe::ALL.into_iter().filter(|probe| !is_named(probe));
    let named = named.iter().map(|steady| line(steady.probe, Some(steady), meter, parts));
    named.chain(others.map(|probe| line(probe, None, meter, parts))).collect()
}

fn line(probe: Probe, steady: Option<&Steady>, meter: &Meter, parts: Parts) -> SteadyLine {
    let Parts { first_fault_ms, last_fault_ms, end_ms } = parts;
    let before = meter.measured(probe, 0, first_fault_ms);
    let after = meter.measured(probe, last_fault_ms, end_ms);
    SteadyLine {
        probe,
        wanted: steady.map(wanted),
        before,
        during: meter.measured(probe, first_fault_ms, last_fault_ms),
        after,
        holds: steady.is_none_or(|steady| match steady.mode {
            Moment::Start => judged(steady, &[before]),
            Moment::End => judged(steady, &[after]),
            Moment::Edge => judged(steady, &[before, after]),
            Moment::Continuous => {
                let moments = meter.readings().iter().filter_map(|reading| meter.at(probe, reading.at_ms));
                let moments: Vec<_> = moments.map(Some).collect();
                if moments.is_empty() { judged(steady, &[None]) } else { judged(steady, &moments) }
            }
        }),
    }
}

/// Whether it holds with all that was measured.
fn judged(steady: &Steady, measured: &[Option<f64>]) -> bool {
    measured.iter().all(|value| steady.holds(*value))
}

fn wanted(steady: &Steady) -> String {
    let bounds = match (steady.min, steady.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "anything".to_owned(),
    };
    let when = match steady.mode {
        Moment::Start => "before",
        Moment::End => "after",
        Moment::Edge => "before and after",
        Moment::Continuous => "all the time",
    };
    let no_data = if steady.no_data == NoData::Ignore { ", where there is data" } else { "" };
    format!("{bounds}, {when}{no_data}")
}

#[cfg(test)]
mod tests {
    use super::meter::Reading;
    use super::*;
    use crate::experiment::read;

    /// Ready at the beginning and at the end, and not in between; a run ends each second.
    fn meter() -> Meter {
        let mut meter = Meter::default();
        for second in 0..=60 {
            let is_ready = !(20..40).contains(&second);
            meter.read(Reading { at_ms: second * 1_000, is_ready, runs_ended: second, ..Reading::default() });
        }
        meter
    }

    fn check(steady: &str, first_fault_ms: u64, holds: bool) {
        let text = format!(
            "[experiment]\nname = 'x'\nmodes = ['live']\nduration = '1m'\nquiet = '1m'\n\
             [workload]\nruns = 1\narrival = '1/s'\n[[steady]]\n{steady}"
        );
        let experiment = read("x.toml", &text).unwrap();
        let parts = Parts { first_fault_ms, last_fault_ms: 45_000, end_ms: 60_000 };
        let lines = lines(&experiment.steady, &meter(), parts);
        assert_eq!(lines.len(), Probe::ALL.len());
        assert_eq!(lines[0].holds, holds, "{steady}: {:?}", lines[0]);
        assert!(lines[1..].iter().all(|line| line.holds && line.wanted.is_none()));
    }

    #[test]
    fn each_moment_is_judged_by_its_own_part() {
        for (mode, holds) in [("start", true), ("end", true), ("edge", true), ("continuous", false)] {
            check(&format!("probe = 'ready'\nmin = 1\nmode = '{mode}'\n"), 10_000, holds);
        }
        check("probe = 'ready'\nmin = 1\nmode = 'start'\n", 30_000, false);
        check("probe = 'runs_finished_per_min'\nmin = 59\nmax = 61\n", 10_000, true);
        check("probe = 'runs_finished_per_min'\nmin = 61\n", 10_000, false);
    }

    #[test]
    fn a_probe_without_data_has_not_held_unless_it_may() {
        check("probe = 'runs_finished_per_min'\nmin = 1\nmode = 'start'\n", 0, false);
        check("probe = 'runs_finished_per_min'\nmin = 1\nmode = 'start'\nno_data = 'ignore'\n", 0, true);
    }
}
