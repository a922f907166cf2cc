//! One line for each thing that happens. Invariant: a pure function of the
//! event, so that the same run always reads the same.

use agents::run::{EffectOutcome, Event, Hold, Intended, Then};
use agents::workflow::{Action, StepPath};
use policies::instant::Timestamp;
use policies::money::Money;

use crate::system::Hindrance;

/// The most characters of a message on a line.
const MESSAGE_CHARS_MAX: usize = 160;

/// The most steps that one line names.
const WAITING_SHOWN: usize = 4;

/// Turns a run's events into lines.
#[derive(Clone, Copy, Debug)]
pub struct Painter {
    colours: bool,
    start: Timestamp,
}

/// How a word is meant.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    Plain,
    Good,
    Quiet,
    Warn,
    Bad,
}

impl Painter {
    /// Lines whose times count from `start`.
    #[must_use]
    pub fn new(colours: bool, start: Timestamp) -> Self {
        Self { colours, start }
    }

    /// The line of an event; none for one that says nothing new to a person.
    #[must_use]
    pub fn line(&self, event: &Event) -> Option<String> {
        let (tone, text) = said(event)?;
        Some(self.write(event.at(), tone, &text))
    }

    /// The line of what holds the run up, or no longer does; `waiting` are the steps that it holds up.
    #[must_use]
    pub fn hindrance(&self, at: Timestamp, hindrance: &Hindrance, waiting: &[StepPath]) -> String {
        let tone = match hindrance {
            Hindrance::Full(_) | Hindrance::Open { .. } | Hindrance::Held { .. } => Tone::Bad,
            Hindrance::Room | Hindrance::Closed { .. } => Tone::Good,
        };
        let mut text = hindrance.to_string();
        if matches!(hindrance, Hindrance::Open { .. } | Hindrance::Held { .. }) && !waiting.is_empty() {
            let names: Vec<&str> = waiting.iter().take(WAITING_SHOWN).map(StepPath::as_str).collect();
            let more = waiting.len().saturating_sub(WAITING_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text.push_str(&format!("; it holds up {}{more}", names.join(", ")));
        }
        self.write(at, tone, &text)
    }

    fn write(&self, at: Timestamp, tone: Tone, text: &str) -> String {
        let seconds = at.since(self.start).as_secs_f64();
        let text = if self.colours { tone.paint(text) } else { text.to_owned() };
        format!("{seconds:>7.1} s  {text}")
    }
}

impl Tone {
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => "32",
            Self::Quiet => "2",
            Self::Warn => "33",
            Self::Bad => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

fn said(event: &Event) -> Option<(Tone, String)> {
    Some(match event {
        Event::Accepted(run) => {
            let version = run.version.as_str().get(..8).unwrap_or_default().to_owned();
            (Tone::Plain, format!("accepted: workflow `{}` ({version})", run.workflow.name))
        }
        Event::Intended(intent) => {
            let again = if intent.attempt > 1 { format!(", attempt {}", intent.attempt) } else { String::new() };
            (
                Tone::Quiet,
                format!("{} → {}{again}{}{}", intent.path, doer(&intent.request), how(intent), choice(intent)),
            )
        }
        Event::Resolved(resolved) => resolved_line(resolved),
        Event::ApprovalAsked(question) => (Tone::Plain, format!("{} waits for a person", question.path)),
        Event::Approved(approved) => (Tone::Good, format!("{} approved by {}", approved.path, approved.by)),
        Event::Rejected(no) => (Tone::Bad, format!("{} rejected by {}: {}", no.path, no.by, clip(&no.reason))),
        Event::Parked(parked) => (Tone::Bad, format!("{} is held: {}", parked.path, why(&parked.hold))),
        Event::Resumed(resumed) => (Tone::Plain, format!("{} goes on, says {}", resumed.path, resumed.by)),
        Event::Reopened(reopened) => {
            (Tone::Plain, format!("goes on from {}, says {}", place(&reopened.path), reopened.by))
        }
        Event::Finished(_) => (Tone::Good, "finished".to_owned()),
        Event::Failed(failed) => (Tone::Bad, format!("failed at {}: {}", failed.path, failed.message)),
        Event::Cancelled(cancelled) => {
            (Tone::Bad, format!("cancelled by {}: {}", cancelled.by, clip(&cancelled.reason)))
        }
    })
}

fn resolved_line(resolved: &agents::run::Resolved) -> (Tone, String) {
    let path = &resolved.path;
    match &resolved.outcome {
        EffectOutcome::Ok { output } => {
            let tokens = resolved.usage.input_total().0 + resolved.usage.output.0;
            let mut text = format!("{path} done in {:.1} s", resolved.took.duration().as_secs_f64());
            if tokens > 0 {
                text.push_str(&format!(", {tokens} tokens, {}", resolved.cost));
            }
            if let Some(words) = output.get("text").and_then(serde_json::Value::as_str) {
                text.push_str(&format!(": {}", clip(words)));
            }
            (Tone::Good, text)
        }
        EffectOutcome::Failed { message, .. } | EffectOutcome::Unknown { reason: message } => {
            let next = match resolved.then {
                Then::Retry { at } => format!("; again in {:.1} s", at.since(resolved.at).as_secs_f64()),
                Then::Park => "; held for a person".to_owned(),
                Then::Told => "; the model is told".to_owned(),
                Then::Done | Then::GiveUp => String::new(),
            };
            let charged =
                if resolved.cost > Money::ZERO { format!(", charged {}", resolved.cost) } else { String::new() };
            (Tone::Bad, format!("{path} failed{charged}: {}{next}", clip(message)))
        }
    }
}

/// A step's name; the root has none.
fn place(path: &StepPath) -> &str {
    if path.as_str().is_empty() { "the outputs" } else { path.as_str() }
}

fn doer(action: &Action) -> String {
    match action {
        Action::Agent(call) => format!("agent {}", call.agent),
        Action::Tool(call) => format!("tool {}", call.tool),
        Action::Publish(post) => format!("publisher {}", post.publisher),
        Action::Approve(_) => "a person".to_owned(),
    }
}

/// That it waits for a batch, or who does it instead, and why.
fn how(intent: &Intended) -> String {
    if let Some(call) = intent.call.as_ref().filter(|call| call.batch) {
        return format!(", waits for a batch at {}", call.model);
    }
    let (Some(stand_in), Action::Agent(call)) = (&intent.stand_in, &intent.request) else { return String::new() };
    format!(": {} stands in for it, because {}", stand_in.name(&call.agent), stand_in.because)
}

/// Which model of its pool the agent speaks with, and why.
fn choice(intent: &Intended) -> String {
    intent.choice.as_ref().map(|choice| format!(" with {choice}")).unwrap_or_default()
}

fn why(hold: &Hold) -> String {
    match hold {
        Hold::Doubt { reason, .. } => clip(reason),
        Hold::Budget { refusal } => refusal.to_string(),
        Hold::Poison { letter, deaths, reason, .. } => {
            format!("the dead letter {letter} after {} deaths: {}", deaths.len(), clip(reason))
        }
    }
}

/// One line of at most [`MESSAGE_CHARS_MAX`], without control characters: the
/// words come from models and platforms.
pub(super) fn clip(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let flat = flat.trim();
    match flat.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", flat.get(..end).unwrap_or_default()),
        None => flat.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agents::run::{Approved, Cancelled};
    use policies::span::ByteSize;
    use storage::journal::Shortage;

    #[test]
    fn words_from_outside_cannot_move_the_cursor() {
        let reason = format!("a\u{1b}[2J\nb{}", "c".repeat(500));
        let event = Event::Cancelled(Cancelled { at: Timestamp::from_micros(2_500_000), by: "me".into(), reason });
        let line = Painter::new(false, Timestamp::from_micros(0)).line(&event).unwrap();
        assert!(line.starts_with("    2.5 s  cancelled by me: a [2J b"), "{line}");
        assert!(!line.contains('\u{1b}') && line.chars().count() < 230);
    }

    #[test]
    fn what_holds_a_run_up_is_said_with_the_steps_that_wait() {
        let path = |text: &str| -> StepPath { serde_json::from_value(serde_json::json!(text)).unwrap() };
        let painter = Painter::new(false, Timestamp::from_micros(0));
        let at = Timestamp::from_micros(1_000_000);
        let open = Hindrance::Open { guard: "llm/x".to_owned(), wait: std::time::Duration::from_millis(9_900) };
        let waiting: Vec<StepPath> = (0..6).map(|n| path(&format!("s{n}"))).collect();
        let line = painter.hindrance(at, &open, &waiting);
        assert!(line.contains("`llm/x`") && line.contains("10 s"), "{line}");
        assert!(line.ends_with("holds up s0, s1, s2, s3 and 2 more"), "{line}");
        let held = Hindrance::Held { guard: "model/x".to_owned(), wait: std::time::Duration::from_secs(62) };
        let line = painter.hindrance(at, &held, &["draft".into()]);
        assert!(
            line.ends_with("the limits behind `model/x` are used up; its next call goes in 62 s; it holds up draft")
        );
        let full = Hindrance::Full(Shortage { asked: ByteSize(4096), limit: "the disk is full".into() });
        let line = painter.hindrance(at, &full, &waiting);
        assert!(
            line.contains("4KiB") && line.contains("the disk is full") && line.contains("nothing is lost"),
            "{line}"
        );
        assert!(painter.hindrance(at, &Hindrance::Room, &[]).ends_with("the journal has room again; it goes on"));
    }

    #[test]
    fn colours_are_only_painted_when_asked_for() {
        let path: StepPath = serde_json::from_value(serde_json::json!("gate/approve")).unwrap();
        let event = Event::Approved(Approved { at: Timestamp::from_micros(0), path, by: "policy:automatic".into() });
        let start = Timestamp::from_micros(0);
        assert!(Painter::new(true, start).line(&event).unwrap().contains("\u{1b}[32m"));
        assert!(!Painter::new(false, start).line(&event).unwrap().contains('\u{1b}'));
    }
}
