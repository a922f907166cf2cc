//! The steady state of a play, read off what was seen. Invariant: what a probe measures here is what it measures
//! on a running server, as far as the sightings tell it, at the play's own times.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::experiment::Steady;
use crate::fault::{DiskEffect, Fault};
use crate::history::{History, Seen, Sighting};
use crate::report::SteadyLine;
use crate::steady::meter::{Meter, Reading, millis};
use crate::steady::{Parts, lines};

/// Between two looks, as on a running server.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The first look: at the very beginning there is nothing to measure yet.
const FIRST_MS: u64 = 1;
/// The lowest status that is the server's fault.
const SERVER_ERRORS: u16 = 500;
const MICROS_PER_MILLI: u64 = 1_000;

/// What the probes measured before the first fault, during, and after the last one, and whether each held that
/// the experiment names.
///
/// | | it goes by |
/// |---|---|
/// | `ready` | whether the process was last ready, and did not die since |
/// | `runs_finished_per_min` | runs that were first reported, as finished |
/// | `error_rate` | requests for runs without an answer or with a status from 500 on, and runs that did not finish |
/// | `restarts_per_min` | restarts that the tree told |
#[must_use]
pub fn steady_lines(steady: &[Steady], history: &History) -> Vec<SteadyLine> {
    lines(steady, &meter(history), parts(history))
}

/// Each part of the steady state that did not hold, in words.
#[must_use]
pub fn unsteady(steady: &[Steady], history: &History) -> Vec<String> {
    if steady.is_empty() {
        return Vec::new();
    }
    let told = |line: &SteadyLine| {
        let figure = |value: Option<f64>| value.map_or_else(|| "no data".to_owned(), |value| format!("{value:.2}"));
        let (before, during, after) = (figure(line.before), figure(line.during), figure(line.after));
        let wanted = line.wanted.as_deref().unwrap_or_default();
        let name = line.probe.name();
        format!("`{name}` must be {wanted}; it was {before} before the faults, {during} during, {after} after")
    };
    steady_lines(steady, history).iter().filter(|line| !line.holds).map(told).collect()
}

/// From the first fault that struck to the last. A disk that is full is so for a while.
fn parts(history: &History) -> Parts {
    let (mut first_ms, mut last_ms) = (None, None);
    for Sighting { at_us, what } in &history.seen {
        let lasts_ms = match what {
            Seen::Struck { number } => full_for_ms(history, *number),
            Seen::Crashed { .. } => 0,
            _ => continue,
        };
        let at_ms = at_us / MICROS_PER_MILLI;
        first_ms.get_or_insert(at_ms);
        last_ms = last_ms.max(Some(at_ms.saturating_add(lasts_ms)));
    }
    let end_ms = end_ms(history);
    let duration_ms = history.plan.duration_ms.min(end_ms);
    Parts {
        first_fault_ms: first_ms.unwrap_or(duration_ms),
        last_fault_ms: last_ms.unwrap_or(duration_ms).min(end_ms),
        end_ms,
    }
}

fn full_for_ms(history: &History, number: u32) -> u64 {
    let planned = history.plan.faults.iter().find(|planned| planned.number == number);
    match planned.map(|planned| &planned.fault) {
        Some(Fault::Disk { effect: DiskEffect::Full { for_ms } }) => *for_ms,
        _ => 0,
    }
}

/// Right after the last sighting.
fn end_ms(history: &History) -> u64 {
    history.seen.last().map_or(0, |sighting| sighting.at_us / MICROS_PER_MILLI + 1)
}

fn meter(history: &History) -> Meter {
    let (mut meter, mut tally) = (Meter::default(), Tally::default());
    let mut seen = history.seen.iter().peekable();
    let (mut at_ms, end_ms) = (FIRST_MS, end_ms(history));
    loop {
        // What comes at the very moment of a look, such as a fault, comes after it.
        while let Some(sighting) = seen.next_if(|sighting| sighting.at_us < at_ms.saturating_mul(MICROS_PER_MILLI)) {
            tally.see(&sighting.what);
        }
        tally.reading.at_ms = at_ms;
        meter.read(tally.reading);
        if at_ms >= end_ms {
            return meter;
        }
        at_ms = at_ms.saturating_add(millis(LOOK_EVERY)).min(end_ms);
    }
}

/// What was seen so far.
#[derive(Default)]
struct Tally<'a> {
    reading: Reading,
    /// Keys that were asked for and have no answer yet.
    asked: BTreeSet<&'a str>,
    /// Runs whose end was reported.
    ended: BTreeSet<&'a str>,
}

impl<'a> Tally<'a> {
    fn see(&mut self, what: &'a Seen) {
        let reading = &mut self.reading;
        match what {
            Seen::Ready { .. } => reading.is_ready = true,
            Seen::Crashed { .. } => reading.is_ready = false,
            // Whoever asks again had no answer.
            Seen::Asked { key, .. } if !self.asked.insert(key) => {
                reading.requests += 1;
                reading.requests_failed += 1;
            }
            Seen::Acknowledged { key, .. } if self.asked.remove(key.as_str()) => reading.requests += 1,
            Seen::Refused { key, status } if self.asked.remove(key.as_str()) => {
                reading.requests += 1;
                reading.requests_failed += u64::from(*status >= SERVER_ERRORS);
            }
            Seen::Reported { run, status, .. } if self.ended.insert(run) => {
                reading.runs_ended += 1;
                reading.runs_failed += u64::from(status != "finished");
            }
            Seen::Restarted { .. } => reading.restarts += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use policies::money::Money;

    use super::*;
    use crate::experiment::read;
    use crate::fault::Loss;
    use crate::plan::expand;

    const HEAD: &str = "[experiment]\nname = 'x'\nduration = '1m'\nquiet = '10m'\n\
                        [workload]\nruns = 1\narrival = '1/s'\n[[fault]]\nkind = 'crash'\nat = '20s'\n[[steady]]\n";

    /// Ready at once; a crash after 20 s, ready again after 21 s. A run is asked for each second and finishes a
    /// second later, until the play ends after two minutes; during the outage nobody answers.
    fn seen() -> Vec<(u64, Seen)> {
        let mut seen = vec![(0, Seen::Ready { life: 1 })];
        for second in 1..120_u64 {
            let (key, run) = (format!("k{second}"), format!("r{second}"));
            let order = "o".to_owned();
            seen.push((second * 1_000, Seen::Asked { key: key.clone(), order: order.clone() }));
            if second == 20 {
                seen.push((20_000, Seen::Struck { number: 0 }));
                seen.push((20_000, Seen::Crashed { point: None, loss: Loss::KeepAll }));
                seen.push((21_000, Seen::Ready { life: 2 }));
                seen.push((21_000, Seen::Asked { key: key.clone(), order }));
            }
            let answered_ms = if second == 20 { 21_000 } else { second * 1_000 + 10 };
            seen.push((answered_ms, Seen::Acknowledged { key, run: run.clone() }));
            let (status, outputs, posts) = ("finished".to_owned(), String::new(), Vec::new());
            seen.push((answered_ms + 900, Seen::Reported { run, status, outputs, posts, spent: false }));
        }
        seen.push((120_000, Seen::Over { tasks: 0, unfinished: 0, orphans: 0 }));
        seen
    }

    fn check(steady: &str, change: impl Fn(&mut Vec<(u64, Seen)>), wanted: &[&str]) {
        let experiment = read("x.toml", &format!("{HEAD}{steady}")).unwrap();
        let mut seen = seen();
        change(&mut seen);
        seen.sort_by_key(|(at_ms, _)| *at_ms);
        let seen = seen.into_iter().map(|(at_ms, what)| Sighting { at_us: at_ms * 1_000, what }).collect();
        let history = History { plan: expand(&experiment, 1), budget: Money::MAX, seen, broken: None };
        assert_eq!(unsteady(&experiment.steady, &history), wanted, "{steady}");
    }

    #[test]
    fn what_is_well_before_and_after_the_faults_holds() {
        for steady in [
            "probe = 'ready'\nmin = 1\n",
            "probe = 'runs_finished_per_min'\nmin = 50\nmax = 65\n",
            "probe = 'error_rate'\nmax = 0.01\n",
            "probe = 'restarts_per_min'\nmax = 0\n",
        ] {
            check(steady, |_| {}, &[]);
        }
    }

    #[test]
    fn what_is_not_well_is_told_with_what_was_measured() {
        let gone = |seen: &mut Vec<(u64, Seen)>| {
            seen.push((119_999, Seen::Crashed { point: None, loss: Loss::KeepAll }));
        };
        check(
            "probe = 'ready'\nmin = 1\nmode = 'end'\n",
            gone,
            &["`ready` must be at least 1, after; it was 1.00 before the faults, 1.00 during, 0.00 after"],
        );
        check("probe = 'ready'\nmin = 1\nmode = 'start'\n", gone, &[]);
        check(
            "probe = 'ready'\nmin = 1\nmode = 'continuous'\n",
            |_| {},
            &["`ready` must be at least 1, all the time; it was 1.00 before the faults, no data during, 1.00 after"],
        );
        let restarts = |seen: &mut Vec<(u64, Seen)>| {
            let (child, supervisor, class) = ("writer".to_owned(), "agents".to_owned(), String::new());
            seen.extend((0..20).map(|nth| {
                let (child, supervisor, class) = (child.clone(), supervisor.clone(), class.clone());
                (50_000 + nth, Seen::Restarted { child, supervisor, class })
            }));
        };
        check(
            "probe = 'restarts_per_min'\nmax = 5\n",
            restarts,
            &[
                "`restarts_per_min` must be at most 5, before and after; it was 0.00 before the faults, no data during, \
               11.97 after",
            ],
        );
        let refused = |seen: &mut Vec<(u64, Seen)>| {
            for (_, what) in seen.iter_mut().skip_while(|(at_ms, _)| *at_ms < 60_000) {
                if let Seen::Acknowledged { key, .. } = what {
                    *what = Seen::Refused { key: key.clone(), status: 503 };
                }
            }
        };
        let experiment = "probe = 'error_rate'\nmax = 0.1\nmode = 'end'\n";
        let wanted =
            "`error_rate` must be at most 0.1, after; it was 0.00 before the faults, no data during, 0.30 after";
        check(experiment, refused, &[wanted]);
    }

    #[test]
    fn a_probe_without_data_has_not_held_unless_it_may() {
        let at_once = |seen: &mut Vec<(u64, Seen)>| seen.insert(0, (0, Seen::Struck { number: 0 }));
        let probe = "probe = 'runs_finished_per_min'\nmin = 1\nmode = 'start'\n";
        check(
            probe,
            at_once,
            &["`runs_finished_per_min` must be at least 1, before; it was no data before the faults, 54.68 during, \
               60.45 after"],
        );
        check(&format!("{probe}no_data = 'ignore'\n"), at_once, &[]);
    }

    #[test]
    fn a_play_without_faults_is_steady_from_its_beginning_to_its_end() {
        let calm = |seen: &mut Vec<(u64, Seen)>| {
            seen.retain(|(_, what)| !matches!(what, Seen::Struck { .. } | Seen::Crashed { .. }));
        };
        check("probe = 'runs_finished_per_min'\nmin = 55\n", calm, &[]);
    }
}
