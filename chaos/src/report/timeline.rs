//! A picture of one history: who saw what, and when. Invariant: the same history gives the same
//! picture, byte for byte, and its size does not grow with the history's length.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::verdict::kind;
use super::xml::escape;
use crate::checkers::{Moment, Violation};
use crate::fault::{DiskEffect, Fault};
use crate::history::{History, Seen, Sighting};
use crate::plan::Planned;

/// Violations that are marked and told; the others are only counted.
pub const VIOLATIONS_TOLD_MAX: usize = 12;

const WIDTH: u64 = 1_200;
const LEFT: u64 = 110;
const RIGHT: u64 = 20;
const SPAN: u64 = WIDTH - LEFT - RIGHT;
const TOP: u64 = 60;
const LANE: u64 = 64;
const ROW: u64 = 14;
const RADIUS: u64 = 4;
const AXIS: u64 = 34;
const LINE: u64 = 18;
/// The width of the words `quiet time`.
const QUIET_WORDS: u64 = 70;
const TICKS_MAX: u64 = 12;
/// Characters of a violation that fit into the picture's width.
const WORDS_MAX: usize = 180;
const MICROS_PER_MILLI: u64 = 1_000;
const MICROS_PER_SECOND: u64 = 1_000_000;
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}.soft{fill:#777}\
                     .good{fill:#2e7d32}.ask{fill:#1565c0}.wait{fill:#ef8a00}.bad{fill:#c62828}\
                     .up{fill:#c8e6c9}.on{fill:#ffe0b2}.quiet{fill:#f5f5f5}\
                     .edge{stroke:#ddd}.wrong{stroke:#c62828;stroke-dasharray:4 3}";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Client,
    Provider,
    Platform,
    Process,
    Faults,
}

impl Lane {
    const ALL: [Self; 5] = [Self::Client, Self::Provider, Self::Platform, Self::Process, Self::Faults];

    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Provider => "provider",
            Self::Platform => "platform",
            Self::Process => "process",
            Self::Faults => "faults",
        }
    }

    fn top(self) -> u64 {
        TOP + LANE * self as u64
    }
}

/// How a mark looks. Its rank is its row in the lane, so that good and bad are never on top of each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tone {
    Ask,
    Good,
    Wait,
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Good => "good",
            Self::Wait => "wait",
            Self::Bad => "bad",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Ask => "asked, called",
            Self::Good => "went well",
            Self::Wait => "waits, was billed, was restarted",
            Self::Bad => "went wrong",
        }
    }
}

/// Where something is marked. What falls onto one place becomes one mark.
type Place = (Lane, Tone, u64);

/// Draws a history, with what the checkers found in it.
#[must_use]
pub fn svg(history: &History, violations: &[Violation]) -> String {
    let scale = Scale::of(history);
    let told = violations.len().min(VIOLATIONS_TOLD_MAX) as u64 + u64::from(violations.len() > VIOLATIONS_TOLD_MAX);
    let floor = TOP + LANE * Lane::ALL.len() as u64;
    let height = floor + AXIS + LINE * (told + 2);
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">"
    );
    let _ = writeln!(svg, "<style>{STYLE}</style>");
    let _ = writeln!(svg, "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>");
    let title = format!("{}, seed {}", history.plan.experiment, history.plan.seed);
    let _ = writeln!(svg, "<text class=\"title\" x=\"{RIGHT}\" y=\"26\">{}</text>", escape(&title));
    legend(&mut svg);
    quiet(&mut svg, history, &scale, floor);
    axis(&mut svg, &scale, floor);
    lanes(&mut svg);
    lives(&mut svg, history, &scale);
    windows(&mut svg, history, &scale);
    marks(&mut svg, history, &scale);
    wrongs(&mut svg, violations, &scale, floor);
    svg.push_str("</svg>\n");
    svg
}

/// From moments to places.
struct Scale {
    end_us: u64,
}

impl Scale {
    /// From the beginning to the last thing that happened; what is found at the end of a long quiet
    /// time stands at the right edge.
    fn of(history: &History) -> Self {
        let happened = history.seen.iter().filter(|sighting| !matches!(sighting.what, Seen::Over { .. }));
        Self { end_us: happened.map(|sighting| sighting.at_us).max().unwrap_or(0).max(1) }
    }

    fn x(&self, at_us: u64) -> u64 {
        let along = u128::from(at_us.min(self.end_us)) * u128::from(SPAN) / u128::from(self.end_us);
        LEFT + u64::try_from(along).unwrap_or(SPAN)
    }

    /// The least round step that keeps to [`TICKS_MAX`].
    fn step_us(&self) -> u64 {
        let steps = (0..)
            .map(|power| 10_u64.saturating_pow(power))
            .flat_map(|ten| [ten, ten.saturating_mul(2), ten.saturating_mul(5)]);
        let mut wide = steps.filter(|step| self.end_us / step <= TICKS_MAX);
        wide.next().unwrap_or(self.end_us)
    }
}

fn legend(svg: &mut String) {
    let tones = [Tone::Ask, Tone::Good, Tone::Wait, Tone::Bad];
    let spans = tones.map(|tone| format!("<tspan class=\"{}\">\u{25cf} {}</tspan>", tone.class(), tone.meaning()));
    let _ = writeln!(svg, "<text x=\"{}\" y=\"26\" text-anchor=\"end\">{}</text>", WIDTH - RIGHT, spans.join("  "));
}

fn quiet(svg: &mut String, history: &History, scale: &Scale, floor: u64) {
    let from = scale.x(history.plan.duration_ms.saturating_mul(MICROS_PER_MILLI));
    let (width, height) = (WIDTH - RIGHT - from, floor - TOP);
    if width == 0 {
        return;
    }
    let _ = writeln!(svg, "<rect class=\"quiet\" x=\"{from}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\"/>");
    if width >= QUIET_WORDS {
        let _ = writeln!(svg, "<text class=\"soft\" x=\"{}\" y=\"{}\">quiet time</text>", from + 4, floor - 6);
    }
}

fn axis(svg: &mut String, scale: &Scale, floor: u64) {
    let step_us = scale.step_us();
    for tick in 0..=scale.end_us / step_us {
        let (x, at_us) = (scale.x(tick * step_us), tick * step_us);
        let _ = writeln!(svg, "<line class=\"edge\" x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{floor}\"/>");
        let y = floor + 16;
        let _ =
            writeln!(svg, "<text class=\"soft\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", label(at_us));
    }
}

fn label(at_us: u64) -> String {
    let fraction = format!("{:06}", at_us % MICROS_PER_SECOND);
    let text = format!("{}.{fraction}", at_us / MICROS_PER_SECOND);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn lanes(svg: &mut String) {
    for lane in Lane::ALL {
        let (y, middle) = (lane.top(), lane.top() + LANE / 2 + 4);
        let _ = writeln!(svg, "<line class=\"edge\" x1=\"0\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\"/>");
        let _ = writeln!(svg, "<text x=\"{RIGHT}\" y=\"{middle}\">{}</text>", lane.name());
    }
}

/// A bar, with words that show when one points at it.
fn bar(svg: &mut String, class: &str, (from, until): (u64, u64), y: u64, height: u64, words: &str) {
    let width = until.saturating_sub(from).max(1);
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"><title>{}</title></rect>",
        escape(words)
    );
}

fn lives(svg: &mut String, history: &History, scale: &Scale) {
    // Lives that begin and end on the same dots look the same, so the width bounds the bars.
    let mut bars: BTreeMap<(u64, u64), (u32, u64)> = BTreeMap::new();
    let mut up = None;
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Ready { life } => up = Some((*life, *at_us)),
            Seen::Crashed { .. } | Seen::Over { .. } => {
                if let Some((life, from_us)) = up.take() {
                    bars.entry((scale.x(from_us), scale.x(*at_us))).or_insert((life, from_us));
                }
            }
            _ => {}
        }
    }
    if let Some((life, from_us)) = up {
        bars.entry((scale.x(from_us), scale.x(scale.end_us))).or_insert((life, from_us));
    }
    for (ends, (life, from_us)) in bars {
        bar(svg, "up", ends, Lane::Process.top() + 4, LANE - 8, &format!("life {life}, ready at {}", Moment(from_us)));
    }
}

fn windows(svg: &mut String, history: &History, scale: &Scale) {
    let mut bars: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for planned in &history.plan.faults {
        let Some(for_ms) = window_ms(planned) else { continue };
        let from_us = planned.at_ms.saturating_mul(MICROS_PER_MILLI);
        let until_us = from_us.saturating_add(for_ms.saturating_mul(MICROS_PER_MILLI));
        let words = bars.entry((scale.x(from_us), scale.x(until_us))).or_default();
        if words.is_empty() {
            *words = format!("fault {}: {} on for {for_ms} ms", planned.number, kind(&planned.fault));
        }
    }
    for (ends, words) in bars {
        bar(svg, "on", ends, Lane::Faults.top() + 4, LANE - 8, &words);
    }
}

fn window_ms(planned: &Planned) -> Option<u64> {
    match planned.fault {
        Fault::Provider { hits, .. } | Fault::Platform { hits, .. } => Some(hits.for_ms),
        Fault::Disk { effect: DiskEffect::Full { for_ms } } => Some(for_ms),
        Fault::Disk { .. } | Fault::Actor { .. } | Fault::Clock { .. } | Fault::Crash { .. } => None,
    }
}

fn marks(svg: &mut String, history: &History, scale: &Scale) {
    let faults: BTreeMap<u32, &Fault> = history.plan.faults.iter().map(|one| (one.number, &one.fault)).collect();
    let mut marks: BTreeMap<Place, (u64, String)> = BTreeMap::new();
    for Sighting { at_us, what } in &history.seen {
        let Some((lane, tone, words)) = mark(what, &faults) else { continue };
        let (count, _) =
            marks.entry((lane, tone, scale.x(*at_us))).or_insert_with(|| (0, format!("{} {words}", Moment(*at_us))));
        *count += 1;
    }
    for ((lane, tone, x), (count, words)) in marks {
        let y = lane.top() + 10 + ROW * tone as u64;
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        let (class, words) = (tone.class(), escape(&words));
        let _ = writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\"><title>{words}{more}</title></circle>"
        );
    }
}

/// Where a sighting is marked, and in which words; some are too many or too plain to be.
fn mark(what: &Seen, faults: &BTreeMap<u32, &Fault>) -> Option<(Lane, Tone, String)> {
    use Lane::{Client, Faults, Platform, Process, Provider};
    use Tone::{Ask, Bad, Good, Wait};
    Some(match what {
        Seen::Asked { key, .. } => (Client, Ask, format!("asked for `{key}`")),
        Seen::Acknowledged { key, run } => (Client, Good, format!("`{key}` acknowledged as run {run}")),
        Seen::Refused { key, status } => (Client, Bad, format!("`{key}` refused with {status}")),
        Seen::Questioned { run, path } => (Client, Wait, format!("run {run} asks {path}")),
        Seen::Approved { run, path } => (Client, Ask, format!("run {run} has its yes to {path}")),
        Seen::Reported { run, status, posts, .. } => {
            let tone = if status == "finished" { Good } else { Bad };
            (Client, tone, format!("run {run} told as {status}, {} posts", posts.len()))
        }
        Seen::Held { run, key } => (Client, Wait, format!("run {run} holds post `{key}`")),
        Seen::Settled { run, key } => (Client, Ask, format!("post `{key}` of run {run} is settled")),
        Seen::Undone { run, status } => (Client, Bad, format!("run {run} had ended, and is {status}")),
        Seen::DeadLettered { run, letter } => (Client, Wait, format!("run {run} has the dead letter {letter}")),
        Seen::Replayed { letter } => (Client, Ask, format!("the dead letter {letter} replayed")),
        Seen::Called { call, content, .. } => (Provider, Ask, format!("call {call} came in, content {content}")),
        Seen::Billed { call, cost } => (Provider, Wait, format!("call {call} billed {cost}")),
        Seen::Answered { call } => (Provider, Good, format!("call {call} answered")),
        Seen::Failed { call } => (Provider, Bad, format!("call {call} failed")),
        Seen::Posted { key, run, .. } => (Platform, Good, format!("post `{key}` of run {run} is out")),
        Seen::Repeated { key } => (Platform, Wait, format!("post `{key}` came again and was known")),
        Seen::LookedUp { key, found } => {
            let result = if *found { "there" } else { "not there" };
            (Platform, Ask, format!("looked up `{key}`: {result}"))
        }
        Seen::Ready { life } => (Process, Good, format!("ready, life {life}")),
        Seen::Crashed { point, loss } => {
            let place = point.map_or("any place", |point| point.name());
            (Process, Bad, format!("died at {place}, {loss:?}"))
        }
        Seen::Struck { number } => {
            let kind = faults.get(number).map_or("unknown", |fault| kind(fault));
            (Faults, Bad, format!("fault {number} struck: {kind}"))
        }
        Seen::Restarted { child, supervisor, class } => {
            (Process, Wait, format!("{child} restarted by {supervisor} after {class}"))
        }
        Seen::Escalated { supervisor } => (Process, Bad, format!("{supervisor} gave up")),
        Seen::BreakerMoved { guard, to } => {
            let tone = if to == "closed" { Good } else { Wait };
            (Process, tone, format!("breaker {guard} is {to}"))
        }
        Seen::Depth { child, queued, max } if queued > max => {
            (Process, Bad, format!("{queued} messages wait for {child}, {max} may"))
        }
        Seen::Depth { .. } | Seen::CalledFor { .. } => return None,
        Seen::Over { tasks, unfinished, orphans } => {
            (Process, Ask, format!("over: {tasks} tasks, {unfinished} runs open, {orphans} orphans"))
        }
    })
}

fn wrongs(svg: &mut String, violations: &[Violation], scale: &Scale, floor: u64) {
    let mut y = floor + AXIS + LINE;
    for (number, violation) in (1..).zip(violations.iter().take(VIOLATIONS_TOLD_MAX)) {
        let x = scale.x(violation.at_us);
        let _ = writeln!(svg, "<line class=\"wrong\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{floor}\"/>", TOP - 6);
        let _ = writeln!(
            svg,
            "<text class=\"bad\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{number}</text>",
            TOP - 10 - 12 * (number % 2)
        );
        let all = format!("{number}  {violation}");
        let words: String = all.chars().take(WORDS_MAX).collect();
        let cut = if words.len() < all.len() { "…" } else { "" };
        let _ = writeln!(
            svg,
            "<text class=\"bad\" x=\"{RIGHT}\" y=\"{y}\">{}{cut}<title>{}</title></text>",
            escape(&words),
            escape(&all)
        );
        y += LINE;
    }
    let words = match violations.len().checked_sub(VIOLATIONS_TOLD_MAX) {
        Some(left) if left > 0 => format!("and {left} more violations"),
        _ if violations.is_empty() => "no violations".to_owned(),
        _ => return,
    };
    let _ = writeln!(svg, "<text x=\"{RIGHT}\" y=\"{y}\">{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aims::Invariant;
    use crate::checkers::{check_all, honest};

    #[test]
    fn a_picture_follows_from_its_history() {
        let history = honest::history(7);
        let found = check_all(&Invariant::ALL, &history);
        assert_eq!(svg(&history, &found), svg(&history, &found));
        assert_ne!(svg(&history, &found), svg(&honest::history(8), &found));
    }

    #[test]
    fn every_lane_is_there_and_every_violation_is_marked_until_there_are_too_many() {
        let history = honest::history(1);
        let violation = |number: u64| Violation {
            invariant: Invariant::Bounded,
            at_us: number * MICROS_PER_SECOND,
            message: format!("<{number}> & \"so\" on{}", " and on".repeat(60)),
        };
        for count in [0, 1, 12, 13, 40] {
            let picture = svg(&history, &(0..count).map(violation).collect::<Vec<_>>());
            for lane in Lane::ALL {
                assert!(picture.contains(&format!(">{}</text>", lane.name())), "{}", lane.name());
            }
            let told = (count as usize).min(VIOLATIONS_TOLD_MAX);
            assert_eq!(picture.matches("class=\"wrong\"").count(), told);
            assert_eq!(picture.contains("more violations"), count as usize > VIOLATIONS_TOLD_MAX);
            assert!(!picture.contains("<0>"));
        }
    }

    #[test]
    fn a_long_history_makes_no_large_picture() {
        let mut history = honest::history(3);
        let at = |number: u64| Sighting {
            at_us: number * 100,
            what: Seen::Called { call: number, content: format!("content {number}"), model: None },
        };
        history.seen = (0..20_000).map(at).collect();
        let picture = svg(&history, &[]);
        assert!(picture.lines().count() < 2 * SPAN as usize, "{} lines", picture.lines().count());
    }

    #[test]
    fn an_empty_history_can_be_drawn() {
        let mut history = honest::history(3);
        history.seen.clear();
        assert!(svg(&history, &[]).ends_with("</svg>\n"));
    }

    #[test]
    fn ticks_stand_at_round_times() {
        for (end_us, step_us) in
            [(1, 1), (9_000_000, 1_000_000), (1_020_000_000, 100_000_000), (65_000_000, 10_000_000)]
        {
            assert_eq!(Scale { end_us }.step_us(), step_us, "{end_us}");
        }
        assert_eq!(label(100_000_000), "100 s");
        assert_eq!(label(2_500_000), "2.5 s");
        assert_eq!(label(0), "0 s");
    }
}
