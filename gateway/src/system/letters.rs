//! The dead letters, as operators list, inspect, replay and discard them.
//!
//! Invariant: what becomes of a letter is decided once, by its run or by the register, and a second
//! request for it is told so; whatever was asked for is in the audit.

use actors::durable::Origin;
use actors::letters::{Entry, Event, Fate, Kind, LetterId, Settled};
use agents::run::{Act, Command, Refusal};
use serde::{Deserialize, Serialize};

use super::System;
use super::operate::Outcome;
use super::order::{AcceptError, why};

/// What the streams of runs begin with.
const RUN: &str = "run/";

/// What a person does with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// Puts it into circulation again.
    Replay,
    /// Gives it up, and why.
    Discard(String),
}

/// A letter that was replayed or discarded, now or before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disposed {
    /// The letter as it is now.
    pub letter: Entry,
    /// Whether that had been done before, so that nothing was done now.
    pub already: bool,
}

/// Why nothing became of a letter.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// There is none of that name.
    #[error("there is no dead letter `{0}`; callboard letters lists them")]
    Unknown(LetterId),
    /// Its run does not take it.
    #[error(transparent)]
    Run(#[from] AcceptError),
    /// They cannot be read or written.
    #[error("{0}")]
    Unavailable(String),
}

/// The payload of a deed.
#[derive(Serialize)]
struct Told<'a> {
    letter: &'a LetterId,
    action: &'a str,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl System {
    /// The letters before a place, or all; only those that are open, if that is asked for; the newest
    /// first, `max` at most.
    ///
    /// # Errors
    /// Why they cannot be read, in a sentence.
    pub async fn letters(&self, before: Option<u64>, open: bool, max: usize) -> Result<Vec<Entry>, String> {
        self.register().page(before, open, max).await.map_err(|error| error.to_string())
    }

    /// One letter.
    ///
    /// # Errors
    /// [`LetterError`].
    pub async fn letter(&self, id: &LetterId) -> Result<Entry, LetterError> {
        let found = self.register().find(id).await.map_err(|error| LetterError::Unavailable(error.to_string()))?;
        found.ok_or_else(|| LetterError::Unknown(id.clone()))
    }

    /// The commands to a run that are dead letters.
    pub fn dead_commands(&self, run: &str) -> Vec<LetterId> {
        self.register().commands_of(&format!("{RUN}{run}"))
    }

    /// Replays or discards a letter. What was done with it before stays done.
    ///
    /// # Errors
    /// [`LetterError`]; the letter is as it was then.
    pub async fn dispose(&self, by: &str, id: &LetterId, disposal: Disposal) -> Result<Disposed, LetterError> {
        let at = self.world.now();
        let action = match disposal {
            Disposal::Replay => "replay",
            Disposal::Discard(_) => "discard",
        };
        let disposed = self.disposed(by, id, disposal).await;
        let (outcome, why) = match &disposed {
            Ok(Disposed { already: false, .. }) => (Outcome::Done, None),
            Ok(Disposed { already: true, .. }) => (Outcome::Refused, Some("it was dealt with before".to_owned())),
            Err(error) => (Outcome::Refused, Some(error.to_string())),
        };
        self.note(at, by, "letters", &Told { letter: id, action, outcome, why }).await;
        disposed
    }

    async fn disposed(&self, by: &str, id: &LetterId, disposal: Disposal) -> Result<Disposed, LetterError> {
        let letter = self.letter(id).await?;
        if letter.fate != Fate::Open {
            return Ok(Disposed { letter, already: true });
        }
        match letter.letter.kind {
            Kind::Effect => self.dispose_of_step(by, letter, disposal).await,
            Kind::Command => self.dispose_of_command(by, letter, disposal).await,
        }
    }

    /// The run decides, and writes down with its own event what becomes of the letter.
    async fn dispose_of_step(&self, by: &str, entry: Entry, disposal: Disposal) -> Result<Disposed, LetterError> {
        let (id, whose) = (entry.letter.id, by.to_owned());
        let run = entry.letter.stream.strip_prefix(RUN).unwrap_or(&entry.letter.stream);
        let act = match disposal {
            Disposal::Replay => Act::Replay { letter: id.clone(), by: whose },
            Disposal::Discard(reason) => Act::Discard { letter: id.clone(), by: whose, reason },
        };
        let origin = Origin { principal: by.to_owned(), ..Origin::system() };
        let told = self.runs.ask(run, origin, Command::new(act)).await.map_err(why);
        let letter = self.letter(&id).await?;
        match told {
            Ok(_) => Ok(Disposed { letter, already: false }),
            // Somebody else was faster.
            Err(AcceptError::Refused(Refusal::NoLetter(_))) if letter.fate != Fate::Open => {
                Ok(Disposed { letter, already: true })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn dispose_of_command(&self, by: &str, entry: Entry, disposal: Disposal) -> Result<Disposed, LetterError> {
        let (id, at, whose) = (entry.letter.id, self.world.now(), by.to_owned());
        let replays = disposal == Disposal::Replay;
        let event = match disposal {
            Disposal::Replay => Event::Replayed { id: id.clone(), at, by: whose },
            Disposal::Discard(reason) => Event::Discarded { id: id.clone(), at, by: whose, reason },
        };
        let settled = self.register().settle(event, by).await;
        let settled = settled.map_err(|error| LetterError::Unavailable(error.to_string()))?;
        let (letter, already) = match settled.ok_or(LetterError::Unknown(id))? {
            Settled::Now(letter) => (letter, false),
            Settled::Before(letter) => (letter, true),
        };
        if let (true, false, Some(run)) = (replays, already, letter.letter.stream.strip_prefix(RUN)) {
            // What it was told is kept by those who told it; this wakes a run that rests.
            if let Err(error) = self.runs.live(run).await {
                tracing::warn!(run, %error, "the run of a letter that was replayed is not awake");
            }
        }
        Ok(Disposed { letter, already })
    }

    fn register(&self) -> &actors::letters::Letters {
        &self.stage.spine.letters
    }
}
