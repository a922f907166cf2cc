//! Reading an experiment. Invariant: every mistake of a text is found in one reading, in the order in
//! which they stand there; only mistakes of syntax hide what comes after them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use policies::document::{self, Error, Located, Mistakes, Section, Source};
use policies::money::Money;
use policies::span::{Rate, Span};
use toml::Spanned;

use super::kind::Mode;
use super::measure::{need_length, share};
use super::spec::{self, FaultSpec, Frame};
use super::steady::{Abort, Moment, NoData, Probe, Steady};
use super::{Experiment, Format, Report, WorkloadSpec};
use crate::aims::Invariant;
use crate::plan::{Approval, Platform};

/// The longest name.
const NAME_CHARS_MAX: usize = 64;
/// The most seeds of one campaign.
const SEEDS_MAX: u32 = 1_000_000;
/// The seeds of a campaign that does not say how many.
const SEEDS: u32 = 100;
/// The first seed of a campaign that does not say which.
const SEED: u64 = 1;
/// The most runs of one play.
const RUNS_MAX: u32 = 10_000;

/// Reads an experiment; `file` is what its mistakes are named after.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn read(file: &str, text: &str) -> Result<Experiment, Vec<Error>> {
    let source = Source { file, text };
    let document = document::parse(source)?;
    let mut mistakes = Mistakes::new(source);
    let experiment = whole(&document, &mut mistakes);
    mistakes.conclude(experiment)
}

fn whole(document: Located<'_>, mistakes: &mut Mistakes<'_>) -> Option<Experiment> {
    let mut section = Section::of("the experiment", document, mistakes)?;
    let head = section.need_table("experiment", mistakes).map(|section| head(section, mistakes));
    let frame = Frame {
        duration_ms: head.as_ref().and_then(|head| head.duration_ms),
        modes: head.as_ref().map(|head| head.modes.clone()).unwrap_or_default(),
    };
    let workload = section.need_table("workload", mistakes).and_then(|section| workload(section, &frame, mistakes));
    let steady = section.tables("steady", mistakes);
    let steady: Vec<_> = steady.into_iter().filter_map(|section| probe(section, mistakes)).collect();
    let specs = (0..).zip(section.tables("fault", mistakes));
    let faults: Vec<FaultSpec> =
        specs.filter_map(|(index, section)| spec::read(index, section, &frame, mistakes)).collect();
    let each_fault_off = swarm(section.tables("swarm", mistakes), mistakes);
    let invariants = uses(section.tables("invariant", mistakes), "invariant", mistakes);
    let sometimes = uses(section.tables("sometimes", mistakes), "sometimes", mistakes);
    let abort = section.table("abort", mistakes).and_then(|section| abort(section, &frame, mistakes));
    let report = section.table("report", mistakes).map(|section| report(section, mistakes));
    section.finish(mistakes);

    let head = head?;
    Some(Experiment {
        name: head.name?,
        modes: head.modes,
        seed: head.seed,
        seeds: head.seeds.into(),
        duration_ms: head.duration_ms?,
        quiet_ms: head.quiet_ms?,
        workload: workload?,
        steady,
        faults,
        each_fault_off,
        invariants: if invariants.is_empty() { Invariant::ALL.into() } else { invariants },
        sometimes,
        abort,
        report: report.unwrap_or_default(),
    })
}

/// `[experiment]`.
struct Head {
    name: Option<String>,
    modes: BTreeSet<Mode>,
    seed: u64,
    seeds: u32,
    duration_ms: Option<u64>,
    quiet_ms: Option<u64>,
}

fn head(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Head {
    let name = section.need::<String>("name", mistakes).and_then(|name| named(name, mistakes));
    let head = Head {
        name,
        modes: match section.get("modes") {
            Some(_) => section.list("modes", "mode", mistakes).into_iter().collect(),
            None => [Mode::Sim].into(),
        },
        seed: section.read("seed", mistakes).map_or(SEED, Spanned::into_inner),
        seeds: section.whole("seeds", 1..=SEEDS_MAX, mistakes).unwrap_or(SEEDS),
        duration_ms: need_length(&mut section, "duration", mistakes).map(Spanned::into_inner),
        quiet_ms: need_length(&mut section, "quiet", mistakes).map(Spanned::into_inner),
    };
    section.finish(mistakes);
    head
}

/// Reports are files of this name, and keys begin with it.
fn named(name: Spanned<String>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let (place, name) = (name.span(), name.into_inner());
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) {
        let help = format!("use small letters, digits and `-`, at most {NAME_CHARS_MAX}");
        mistakes.add(place, format!("`{name}` is no name for an experiment"), help);
        return None;
    }
    Some(name)
}

fn workload(mut section: Section<'_>, frame: &Frame, mistakes: &mut Mistakes<'_>) -> Option<WorkloadSpec> {
    section.require("runs", mistakes);
    let runs = section.whole("runs", 1..=RUNS_MAX, mistakes);
    let arrival = section.need::<Rate>("arrival", mistakes);
    let approval: Approval = section.or_default("approval", mistakes);
    let platform: Platform = section.or_default("platform", mistakes);
    let stand_in = section.boolean("stand_in", mistakes).unwrap_or_default();
    if let Some(place) = section.get("stand_in").map(Spanned::span).filter(|_| stand_in) {
        for mode in frame.modes.iter().filter(|mode| **mode != Mode::Sim) {
            let mode = mode.name();
            let help = format!("take `{mode}` out of `modes`, or this key out of [workload]");
            mistakes.add(place.clone(), format!("`{mode}` has no `stand_in`"), help);
        }
    }
    let budget = section.read::<Money>("budget", mistakes).map(Spanned::into_inner);
    let cost_max = section.read::<Money>("cost_max", mistakes).map(Spanned::into_inner);
    section.finish(mistakes);

    let (runs, arrival) = (runs?, arrival?);
    let (place, arrival) = (arrival.span(), arrival.into_inner());
    let spec = WorkloadSpec { runs, arrival, approval, budget, cost_max, platform, stand_in };
    let needed = spec.turn(runs);
    let duration = frame.duration_ms.map(Span::from_millis);
    if let Some(duration) = duration.filter(|duration| needed > duration.duration()) {
        let needed = Span(needed);
        let message =
            format!("{runs} runs at {arrival} take {needed}, and the experiment's runs come within {duration}");
        mistakes.add(place, message, "ask for fewer `runs`, more often, or give [experiment] a longer `duration`");
    }
    Some(spec)
}

fn probe(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Steady> {
    let probe = section.need::<Probe>("probe", mistakes);
    let min = section.read::<f64>("min", mistakes);
    let max = section.read::<f64>("max", mistakes).map(Spanned::into_inner);
    let mode: Moment = section.or_default("mode", mistakes);
    let no_data: NoData = section.or_default("no_data", mistakes);
    if section.get("min").is_none() && section.get("max").is_none() {
        mistakes.add(section.span.clone(), "[[steady]] has neither `min` nor `max`", "add `min = …` or `max = …`");
    }
    section.finish(mistakes);
    let place = min.as_ref().map(Spanned::span);
    let min = min.map(Spanned::into_inner);
    if let (Some(place), Some(low), Some(high)) = (place, min, max)
        && low > high
    {
        mistakes.add(place, format!("`min` is {low} and `max` is {high}, so nothing can hold"), "exchange the two");
    }
    Some(Steady { probe: probe?.into_inner(), min, max, mode, no_data })
}

/// `[[swarm]]`: there is one at most.
fn swarm(sections: Vec<Section<'_>>, mistakes: &mut Mistakes<'_>) -> f64 {
    let mut chosen = None;
    for mut section in sections {
        section.require("each_fault_off", mistakes);
        let off = share(&mut section, "each_fault_off", mistakes);
        if chosen.is_some() {
            mistakes.add(section.span.clone(), "there is a swarm already", "keep one of them");
        }
        chosen = chosen.or(off);
        section.finish(mistakes);
    }
    chosen.unwrap_or_default()
}

/// `use` of each `[[invariant]]` or `[[sometimes]]`, together.
fn uses<T: serde::de::DeserializeOwned + Ord>(
    sections: Vec<Section<'_>>,
    noun: &str,
    mistakes: &mut Mistakes<'_>,
) -> BTreeSet<T> {
    let mut used = BTreeSet::new();
    for mut section in sections {
        section.require("use", mistakes);
        used.extend(section.list::<T>("use", noun, mistakes));
        section.finish(mistakes);
    }
    used
}

/// `[abort]`: only a running system is anybody's to spare.
fn abort(mut section: Section<'_>, frame: &Frame, mistakes: &mut Mistakes<'_>) -> Option<Abort> {
    let place = section.span.clone();
    let on = section.need("on", mistakes);
    section.finish(mistakes);
    if on.is_some() && !frame.modes.is_empty() && !frame.modes.contains(&Mode::Live) {
        mistakes.add(place, "[abort] is for `live` alone", "add \"live\" to `modes`, or take it away");
    }
    on.map(Spanned::into_inner)
}

fn report(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Report {
    let built_in = Report::default();
    let out = section.read::<PathBuf>("out", mistakes).map_or(built_in.out, Spanned::into_inner);
    let formats = match section.get("formats") {
        Some(_) => section.list::<Format>("formats", "format", mistakes).into_iter().collect(),
        None => built_in.formats,
    };
    section.finish(mistakes);
    Report { out, formats }
}
