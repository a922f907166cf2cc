//! The faults that a plan may hold. Invariant: a fault says everything about itself; what chance
//! decides of it (which calls it hits) follows from the plan's seed and the fault's number alone, so
//! that leaving one fault out leaves the others as they were.

use serde::{Deserialize, Serialize};

pub use gateway::crash::Point;

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Fault {
    /// The model's provider misbehaves, for a while.
    Provider {
        /// How.
        effect: ProviderEffect,
        /// Which calls, and for how long.
        hits: Hits,
    },
    /// The platform that is posted to misbehaves, for a while.
    Platform {
        /// How.
        effect: PlatformEffect,
        /// Which calls, and for how long.
        hits: Hits,
    },
    /// An actor misbehaves, once.
    Actor {
        /// Names of the tree; `*` stands for any text, as in `run/*`.
        target: String,
        /// How.
        effect: ActorEffect,
    },
    /// The disk misbehaves.
    Disk {
        /// How.
        effect: DiskEffect,
    },
    /// The wall clock jumps.
    Clock {
        /// Forward, or back below zero.
        by_ms: i64,
    },
    /// The process dies, and is started again.
    Crash {
        /// Where; at once when the fault's time has come, without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<Point>,
        /// At which passing of the point, from 1 on, counted from the fault's time.
        nth: u32,
        /// What becomes of that which was not synced.
        loss: Loss,
    },
}

/// Which calls a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hits {
    /// For how long from the fault's time on.
    pub for_ms: u64,
    /// The share of calls, from 0 to 1.
    pub p: f64,
    /// After so many hits it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_max: Option<u32>,
}

/// How a provider misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderEffect {
    /// Answers with this status, bills nothing.
    Status {
        /// 429, 500, 503, 529 …
        status: u16,
        /// Its `Retry-After`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// Breaks the connection before it answers, bills nothing.
    Reset,
    /// Answers this much later.
    Slow {
        /// How much.
        by_ms: u64,
    },
    /// Sends its reply piece by piece, with so much time before each; bills the whole.
    Drip {
        /// How much.
        by_ms: u64,
    },
    /// Sends half of its reply and then nothing more; bills the whole.
    Stall,
    /// Sends half of its reply and breaks the connection; bills the whole.
    Cut,
    /// Sends something that is no JSON; bills the whole.
    Garbage,
    /// Sends a reply of the right form with another content; bills it.
    Wrong,
    /// Bills the whole and never answers.
    Lost,
    /// What it is asked kills whoever makes the call, this time and [`POISONED_TIMES`] times in all,
    /// whoever asks it; bills nothing.
    Poison,
}

/// How often a poisoned call kills before it does no more harm: as often as the built-in policy takes it.
pub const POISONED_TIMES: u32 = 3;

/// How a platform misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformEffect {
    /// Answers with this status, takes nothing.
    Status {
        /// 429, 500, 503 …
        status: u16,
    },
    /// Breaks the connection, takes nothing.
    Reset,
    /// Answers this much later.
    Slow {
        /// How much.
        by_ms: u64,
    },
    /// Takes the post and breaks the connection.
    Lost,
    /// Breaks the connection and takes the post only this much later.
    Late {
        /// How much.
        by_ms: u64,
    },
}

/// How an actor misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorEffect {
    /// Its handler panics at the next message.
    Panic,
    /// Its handler ends with an error at the next message.
    Error,
    /// Its handler never comes back from the next message, until somebody kills it.
    Hang,
    /// Its handler takes this much longer for the next message.
    Slow {
        /// How much.
        by_ms: u64,
    },
    /// It is killed.
    Kill,
    /// A run is sent so many requests at once; nobody else can be sent any from outside.
    Flood {
        /// How many.
        messages: u32,
    },
}

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskEffect {
    /// Has no room, for a while.
    Full {
        /// For how long.
        for_ms: u64,
    },
    /// The next sync fails.
    SyncError,
    /// The next append fails, with half of its bytes written.
    AppendError,
}

/// What a crash does to that which was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Nothing: only the process dies.
    #[default]
    KeepAll,
    /// All of it is lost.
    LoseUnsynced,
    /// Of each sector, chance decides.
    Torn,
}
