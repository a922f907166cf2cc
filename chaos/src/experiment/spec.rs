//! One fault as an experiment asks for it. Invariant: a fault that was read begins and ends within the
//! experiment's duration, and every way of running that the experiment names can do it.

use std::collections::BTreeSet;
use std::ops::Range;

use policies::document::{self, Mistakes, Section};
use policies::pattern::covers;
use policies::span::Span;
use policies::tree::{NodePolicy, TreePolicy};
use toml::Spanned;

use super::kind::{Kind, Mode, Victim};
use super::measure::{length, need_length, share};
use super::schedule::{Jump, Window};
use crate::fault::{ActorEffect, DiskEffect, Fault, Hits, Loss, PlatformEffect, Point, ProviderEffect};

/// The most faults of one spec, or hits of one fault.
const COUNT_MAX: u32 = 1_000;
/// The farthest passing of a crash point.
const NTH_MAX: u32 = 100_000;
/// The most messages of one flood.
const MESSAGES_MAX: u32 = 100_000;
/// The statuses that are failures.
const STATUS_MIN: u32 = 400;
const STATUS_MAX: u32 = 599;

/// The one provider that faults can be aimed at.
const PROVIDER: &str = "llm/*";
/// The one platform that faults can be aimed at.
const PLATFORM: &str = "platform/*";
/// Stands for all runs: the tree names them only while they are awake.
const RUNS: &str = "run/*";

/// A fault as an experiment asks for it: chance decides the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// Its place in the file, from 0; its chance is drawn by it, so that it stays when others go.
    pub index: u32,
    /// What it was called.
    pub kind: Kind,
    /// When it begins.
    pub at: Window,
    /// How many of them there are, each at a time of its own.
    pub times: u32,
    /// What it is.
    pub form: Form,
}

/// What chance makes a fault from.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// It is whole: only its time is drawn.
    Whole(Fault),
    /// A crash, whose passing is drawn too.
    Crash {
        /// Where.
        point: Option<Point>,
        /// The first and the last passing that it may be.
        nth: (u32, u32),
        /// What becomes of that which was not synced.
        loss: Loss,
    },
}

/// What a kind's own keys say.
enum Effect {
    Provider(ProviderEffect),
    Platform(PlatformEffect),
    Actor(ActorEffect),
    Disk(DiskEffect),
    Clock { by_ms: i64 },
    Crash { point: Option<Point>, nth: (u32, u32), loss: Loss },
}

/// What every fault is held against.
pub(super) struct Frame {
    pub(super) duration_ms: Option<u64>,
    pub(super) modes: BTreeSet<Mode>,
}

/// Reads the fault at a place in the file.
pub(super) fn read(
    index: u32,
    mut section: Section<'_>,
    frame: &Frame,
    mistakes: &mut Mistakes<'_>,
) -> Option<FaultSpec> {
    // Which keys there may be follows from the kind.
    let kind: Spanned<Kind> = section.need("kind", mistakes)?;
    let (place, kind) = (kind.span(), kind.into_inner());
    section.what = format!("fault `{}`", kind.name());
    fits(kind, &place, frame, mistakes);
    let timing = timing(kind, &mut section, frame, mistakes);
    let count = section.whole("count", 1..=COUNT_MAX, mistakes);
    let p = if lasts(kind) { share(&mut section, "p", mistakes).unwrap_or(1.0) } else { 1.0 };
    let target = target(kind, &mut section, frame, mistakes);
    let effect = effect(kind, timing.as_ref(), &mut section, mistakes);
    section.finish(mistakes);

    let timing = timing?;
    let hits = Hits { for_ms: timing.for_ms.unwrap_or_default(), p, count_max: count };
    let form = match effect? {
        Effect::Provider(effect) => Form::Whole(Fault::Provider { effect, hits }),
        Effect::Platform(effect) => Form::Whole(Fault::Platform { effect, hits }),
        Effect::Actor(effect) => Form::Whole(Fault::Actor { target: target?, effect }),
        Effect::Disk(effect) => Form::Whole(Fault::Disk { effect }),
        Effect::Clock { by_ms } => Form::Whole(Fault::Clock { by_ms }),
        Effect::Crash { point, nth, loss } => Form::Crash { point, nth, loss },
    };
    let times = if lasts(kind) { 1 } else { count.unwrap_or(1) };
    Some(FaultSpec { index, kind, at: timing.at, times, form })
}

/// Every way of running that the experiment names must be able to do it.
fn fits(kind: Kind, place: &Range<usize>, frame: &Frame, mistakes: &mut Mistakes<'_>) {
    for mode in frame.modes.iter().filter(|mode| !kind.modes().contains(mode)) {
        let (mode, kind) = (mode.name(), kind.name());
        let help = format!("take `{mode}` out of `modes`, or this fault out of the experiment");
        mistakes.add(place.clone(), format!("`{mode}` cannot do `{kind}`"), help);
    }
}

/// When a fault begins, and for how long it is there, where it lasts.
struct Timing {
    at: Window,
    for_ms: Option<u64>,
}

/// Reads `at` and `for`. What lasts and has no `for` is there for the whole range, or from the moment on.
fn timing(kind: Kind, section: &mut Section<'_>, frame: &Frame, mistakes: &mut Mistakes<'_>) -> Option<Timing> {
    let lasts = lasts(kind);
    let at = section.read::<Window>("at", mistakes);
    let length = match kind {
        Kind::DiskFull => need_length(section, "for", mistakes),
        _ if lasts => length(section, "for", mistakes),
        _ => None,
    };
    let duration_ms = frame.duration_ms?;
    let end = Span::from_millis(duration_ms);
    let for_ms = length.as_ref().map(|length| *length.get_ref());
    let somewhere = Window { from_ms: 0, to_ms: duration_ms.saturating_sub(for_ms.unwrap_or_default()) };
    let window = at.as_ref().map_or(somewhere, |at| *at.get_ref());
    if let (Some(at), Some(late)) = (at, late(window, duration_ms)) {
        let message = format!("the fault {late}, and the experiment's faults end at {end}");
        mistakes.add(at.span(), message, "let it begin earlier, or give [experiment] a longer `duration`");
        return None;
    }
    let until_ms = window.to_ms.saturating_add(for_ms.unwrap_or_default());
    if let Some(length) = length.filter(|_| until_ms > duration_ms) {
        let until = Span::from_millis(until_ms);
        let message = format!("the fault may last until {until}, and the experiment's faults end at {end}");
        mistakes.add(length.span(), message, "shorten it, or give [experiment] a longer `duration`");
        return None;
    }
    if lasts && for_ms.is_none() {
        let whole_ms = if window.length_ms() > 0 { window.length_ms() } else { duration_ms - window.from_ms };
        return Some(Timing { at: Window::moment(window.from_ms), for_ms: Some(whole_ms) });
    }
    Some(Timing { at: window, for_ms })
}

/// How a fault begins after the end, if it may.
fn late(at: Window, duration_ms: u64) -> Option<String> {
    if at.from_ms >= duration_ms {
        return Some(format!("begins at {}", Span::from_millis(at.from_ms)));
    }
    (at.to_ms > duration_ms).then(|| format!("may begin until {}", Span::from_millis(at.to_ms)))
}

/// Whether it is there for a while and hits what comes, rather than striking once.
fn lasts(kind: Kind) -> bool {
    matches!(kind.victim(), Victim::Provider | Victim::Platform)
}

/// Reads `target`: for an actor the names that it stands for, otherwise the one that there is.
fn target(kind: Kind, section: &mut Section<'_>, frame: &Frame, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let victim = kind.victim();
    let (target, known) = match victim {
        Victim::Provider => (section.read::<String>("target", mistakes)?, vec![PROVIDER.to_owned()]),
        Victim::Platform => (section.read::<String>("target", mistakes)?, vec![PLATFORM.to_owned()]),
        Victim::Actor => (section.need::<String>("target", mistakes)?, actors(kind)),
        Victim::Disk | Victim::Clock | Victim::Process => return None,
    };
    // A running system may have a tree of its own.
    let checked = victim != Victim::Actor || frame.modes.iter().any(|mode| *mode != Mode::Live);
    if checked && !known.iter().any(|name| name == target.get_ref() || covers(target.get_ref(), name)) {
        let (message, help) = nobody(kind, target.get_ref(), &known);
        mistakes.add(target.span(), message, help);
    }
    Some(target.into_inner())
}

/// What is wrong with a target that stands for nobody, and what to do about it.
fn nobody(kind: Kind, target: &str, known: &[String]) -> (String, String) {
    // A kill finds whoever there is.
    let is_there = actors(Kind::ActorKill).iter().any(|name| name == target || covers(target, name));
    if kind.victim() != Victim::Actor || !is_there {
        let help = document::suggestion(target, known.iter().map(String::as_str));
        return (format!("`{target}` stands for nothing that there is"), help);
    }
    if kind == Kind::ActorFlood {
        let message = format!("`{target}` takes no messages from outside, so `{}` cannot flood it", kind.name());
        return (message, format!("aim at `{RUNS}`"));
    }
    let message = format!("`{target}` is a supervisor, which takes no messages that `{}` could strike", kind.name());
    (message, format!("aim at a worker or at `{RUNS}`, or take `{}`", Kind::ActorKill.name()))
}

/// The names in the built-in tree that a fault of this kind can be aimed at. Only workers and runs take
/// turns, and only runs can be sent something from outside; killed is whoever there is.
fn actors(kind: Kind) -> Vec<String> {
    let nodes = TreePolicy::builtin().map(|tree| tree.nodes).unwrap_or_default();
    let fits = |node: &NodePolicy| match kind {
        Kind::ActorKill => true,
        Kind::ActorFlood => false,
        _ => matches!(node, NodePolicy::Worker(_)),
    };
    let named = nodes.into_iter().filter(|(_, node)| fits(node)).map(|(name, _)| name);
    named.chain([RUNS.to_owned()]).collect()
}

/// Reads the keys that the kind has for itself.
fn effect(
    kind: Kind,
    timing: Option<&Timing>,
    section: &mut Section<'_>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Effect> {
    Some(match kind {
        Kind::ProviderStatus => {
            let retry_after = length(section, "retry_after", mistakes);
            let status = status(section, mistakes)?;
            Effect::Provider(ProviderEffect::Status { status, retry_after_ms: retry_after.map(Spanned::into_inner) })
        }
        Kind::ProviderReset => Effect::Provider(ProviderEffect::Reset),
        Kind::ProviderSlow => Effect::Provider(ProviderEffect::Slow { by_ms: by(section, mistakes)? }),
        Kind::ProviderDrip => Effect::Provider(ProviderEffect::Drip { by_ms: by(section, mistakes)? }),
        Kind::ProviderStall => Effect::Provider(ProviderEffect::Stall),
        Kind::ProviderCut => Effect::Provider(ProviderEffect::Cut),
        Kind::ProviderGarbage => Effect::Provider(ProviderEffect::Garbage),
        Kind::ProviderWrong => Effect::Provider(ProviderEffect::Wrong),
        Kind::ProviderLost => Effect::Provider(ProviderEffect::Lost),
        Kind::ProviderPoison => Effect::Provider(ProviderEffect::Poison),
        Kind::PlatformStatus => Effect::Platform(PlatformEffect::Status { status: status(section, mistakes)? }),
        Kind::PlatformReset => Effect::Platform(PlatformEffect::Reset),
        Kind::PlatformSlow => Effect::Platform(PlatformEffect::Slow { by_ms: by(section, mistakes)? }),
        Kind::PlatformLost => Effect::Platform(PlatformEffect::Lost),
        Kind::PlatformLate => Effect::Platform(PlatformEffect::Late { by_ms: by(section, mistakes)? }),
        Kind::ActorPanic => Effect::Actor(ActorEffect::Panic),
        Kind::ActorError => Effect::Actor(ActorEffect::Error),
        Kind::ActorHang => Effect::Actor(ActorEffect::Hang),
        Kind::ActorSlow => Effect::Actor(ActorEffect::Slow { by_ms: by(section, mistakes)? }),
        Kind::ActorKill => Effect::Actor(ActorEffect::Kill),
        Kind::ActorFlood => {
            section.require("messages", mistakes);
            let messages = section.whole("messages", 1..=MESSAGES_MAX, mistakes)?;
            Effect::Actor(ActorEffect::Flood { messages })
        }
        Kind::DiskFull => Effect::Disk(DiskEffect::Full { for_ms: timing?.for_ms? }),
        Kind::DiskSyncError => Effect::Disk(DiskEffect::SyncError),
        Kind::DiskAppendError => Effect::Disk(DiskEffect::AppendError),
        Kind::ClockJump => {
            let jump = section.need::<Jump>("by", mistakes)?;
            Effect::Clock { by_ms: jump.into_inner().by_ms }
        }
        Kind::Crash => crash(section, mistakes),
    })
}

fn status(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<u16> {
    section.require("status", mistakes);
    let status = section.whole("status", STATUS_MIN..=STATUS_MAX, mistakes)?;
    u16::try_from(status).ok()
}

fn by(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<u64> {
    need_length(section, "by", mistakes).map(Spanned::into_inner)
}

fn crash(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Effect {
    let point = section.read::<Point>("point", mistakes);
    let has_point = section.get("point").is_some();
    let nth = nth(section, has_point, mistakes);
    let loss = section.read::<Loss>("disk", mistakes).map(Spanned::into_inner).unwrap_or_default();
    Effect::Crash { point: point.map(Spanned::into_inner), nth, loss }
}

/// At which passing: a number, or a range with both its ends.
fn nth(section: &mut Section<'_>, has_point: bool, mistakes: &mut Mistakes<'_>) -> (u32, u32) {
    const FIRST: (u32, u32) = (1, 1);
    let Some(value) = section.get("nth") else { return FIRST };
    if !has_point {
        let help = "add `point = …`, or take `nth` away";
        mistakes.add(value.span(), "`nth` counts the passings of a `point`, and there is none", help);
        return FIRST;
    }
    let range = match value.get_ref().as_str() {
        Some(text) => text
            .split_once("..")
            .and_then(|(first, last)| Some((first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?))),
        None => value.get_ref().as_integer().and_then(|n| n.as_str().parse().ok()).map(|n: u32| (n, n)),
    };
    let fits = |(first, last): &(u32, u32)| 1 <= *first && first <= last && *last <= NTH_MAX;
    range.filter(fits).unwrap_or_else(|| {
        let message = format!("`nth` must be a whole number from 1 to {NTH_MAX}, or a range such as \"1..5\"");
        mistakes.add(value.span(), message, "");
        FIRST
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_trees_actors_can_be_aimed_at() {
        let names = actors(Kind::ActorKill);
        for name in ["ledger", "feed", "writer", "reviewer", "runs", "callboard", "run/*"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        let workers = actors(Kind::ActorPanic);
        assert!(["ledger", "writer", "run/*"].iter().all(|name| workers.iter().any(|known| known == name)));
        assert!(!["agents", "runs", "callboard"].iter().any(|name| workers.iter().any(|known| known == name)));
        assert_eq!(actors(Kind::ActorFlood), [RUNS]);
    }
}
