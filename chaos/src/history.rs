//! What was seen from outside: by the client, by the provider, by the platform, and of the process.
//! Invariant: nothing here was read from the system's own store. The checkers judge by this alone.

use policies::money::Money;
use serde::{Deserialize, Serialize};

use crate::fault::{Loss, Point};
use crate::plan::Plan;

/// One play of a plan, as it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// What was to be done.
    pub plan: Plan,
    /// What the workspace may spend.
    pub budget: Money,
    /// What was seen, in order.
    pub seen: Vec<Sighting>,
    /// Why the play itself broke off, if it did: a fault of the system that no fault explains, such as
    /// a start that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// Something seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// When, in microseconds from the play's beginning, over all lives of the process.
    pub at_us: u64,
    /// By whom, and what.
    pub what: Seen,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Seen {
    // The client.
    /// A run was asked for; the same key may be asked for again, with the same content.
    Asked {
        /// The idempotency key.
        key: String,
        /// The hash of all that was asked.
        order: String,
    },
    /// The run was acknowledged.
    Acknowledged {
        /// The idempotency key.
        key: String,
        /// The run.
        run: String,
    },
    /// The run was refused, for good or for now.
    Refused {
        /// The idempotency key.
        key: String,
        /// The HTTP status.
        status: u16,
    },
    /// A question of a run was seen.
    Questioned {
        /// The run.
        run: String,
        /// Its step.
        path: String,
    },
    /// A question is answered with yes: noted before the answer is sent, since it may be acted on before it
    /// is acknowledged.
    Approved {
        /// The run.
        run: String,
        /// Its step.
        path: String,
    },
    /// A run's end was reported to the client: each time that it looked.
    Reported {
        /// The run.
        run: String,
        /// `finished`, `failed`, `cancelled`, `rejected`.
        status: String,
        /// The hash of the outputs that came with it.
        outputs: String,
        /// The keys of the posts that it says it has made.
        posts: Vec<String>,
        /// Whether it says that a budget has ended it.
        #[serde(default)]
        spent: bool,
    },
    /// A post of a run is held for a person, as reported to the client.
    Held {
        /// The run.
        run: String,
        /// The effect's key.
        key: String,
    },
    /// A post in doubt is settled: noted before the word is sent, since it may be acted on before it is
    /// acknowledged.
    Settled {
        /// The run.
        run: String,
        /// The effect's key.
        key: String,
    },
    /// A run whose end was reported is under way again, as reported to the client.
    Undone {
        /// The run.
        run: String,
        /// What it is now.
        status: String,
    },
    /// A step of a run is a dead letter, as reported to the client.
    DeadLettered {
        /// The run.
        run: String,
        /// The letter.
        letter: String,
    },
    /// A dead letter was replayed, and that acknowledged.
    Replayed {
        /// The letter.
        letter: String,
    },
    // The provider's ledger.
    /// A call came in.
    Called {
        /// The provider's number for it.
        call: u64,
        /// The hash of its content: the same call made again has the same.
        content: String,
        /// The model that it is for, where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// Which order a call is for, where its words say so.
    CalledFor {
        /// The provider's number for it.
        call: u64,
        /// The order's idempotency key.
        key: String,
    },
    /// A call was billed.
    Billed {
        /// The provider's number for it.
        call: u64,
        /// How much.
        cost: Money,
    },
    /// A call was answered, whole and well.
    Answered {
        /// The provider's number for it.
        call: u64,
    },
    /// A call failed at the provider, by a fault.
    Failed {
        /// The provider's number for it.
        call: u64,
    },
    // The platform's ledger.
    /// A post is out.
    Posted {
        /// The key that it came with.
        key: String,
        /// The hash of its content.
        content: String,
        /// The run that its key names.
        run: String,
    },
    /// A post came again with a key that is out already, and was taken for the first.
    Repeated {
        /// The key.
        key: String,
    },
    /// The platform was asked for a key.
    LookedUp {
        /// The key.
        key: String,
        /// Whether it was there.
        found: bool,
    },
    // The process.
    /// It is ready, for the first time or again.
    Ready {
        /// Which life, from 1.
        life: u32,
    },
    /// It died.
    Crashed {
        /// The place, where it died at one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<Point>,
        /// What was lost.
        loss: Loss,
    },
    /// A fault struck.
    Struck {
        /// Its number in the plan.
        number: u32,
    },
    // What the process shows about itself to operators, taken as a claim to be judged.
    /// A child of the tree was restarted.
    Restarted {
        /// Its name.
        child: String,
        /// Its supervisor's name.
        supervisor: String,
        /// The failure's class.
        class: String,
    },
    /// A supervisor gave up.
    Escalated {
        /// Its name.
        supervisor: String,
    },
    /// A breaker moved.
    BreakerMoved {
        /// The guard.
        guard: String,
        /// `closed`, `open`, `half_open`.
        to: String,
    },
    /// A mailbox that is deeper than any was before, or over its own bound.
    Depth {
        /// The actor whose mailbox it is.
        child: String,
        /// Messages that wait there.
        queued: u64,
        /// The most that may wait.
        max: u64,
    },
    /// At the very end, after the quiet time and a shutdown.
    Over {
        /// Tasks that have not ended.
        tasks: u64,
        /// Runs that the client does not know the end of.
        unfinished: u64,
        /// Actors that are alive without a supervisor.
        orphans: u64,
    },
}
