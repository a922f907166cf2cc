//! A run: one workflow carried out once, as an entity.
//!
//! A run is told commands and answers with events; the events fold into its
//! state. What it asks of the world is in its `run.intended` events, what
//! became of it in `run.resolved`.
//!
//! Invariant: a run knows no clock, no chance and no I/O. The host that carries
//! it out previews a command with [`Run::after`], gathers the ledger's grants
//! for what would become due, and hands them in with the command.

mod command;
mod decide;
mod event;
mod failures;
pub(crate) mod gist;
mod hold;
mod id;
mod state;
mod tally;
mod walks;
mod whole;

#[cfg(test)]
mod tests;

use actors::entity::{Decided, Decision, Entity, read_back};
use actors::letters;

pub use command::{Act, Answer, Attempt, Command, Due, Grant, Order, Outcome, Refusal, Reply};
pub use decide::AUTOMATIC;
pub use event::{
    Accepted, ApprovalAsked, Approved, Cancelled, EffectOutcome, Event, Failed, Finished, Hold, Intended, ModelCall,
    Parked, Rejected, Reopened, Replied, Resolved, Resumed, Settled, StandIn, Terms, Then, WhenSpent,
};
pub use failures::Failures;
pub use id::{EffectKey, RunId};
pub use state::{End, Leaf, Phase, State, Status, Summary};
pub use tally::Tally;

use decide::Draft;

/// The entity.
#[derive(Clone, Copy, Debug)]
pub struct Run;

impl Run {
    /// What would be due after `command`: what the host asks the ledger about
    /// before it has the command decided. Nothing for a command that would be
    /// refused.
    #[must_use]
    pub fn after(state: &State, command: &Command) -> Vec<Due> {
        let preview = Command { grants: Vec::new(), ..command.clone() };
        let draft = Draft::of(state, preview);
        draft.ok().and_then(|draft| draft.state.due(command.now).ok()).unwrap_or_default()
    }
}

impl Entity for Run {
    const KIND: &'static str = "run";
    const SCHEMA: u16 = 1;
    const FOLD: u32 = 4;

    type State = State;
    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Decided<Self> {
        let draft = Draft::of(state, command)?;
        let reply = draft.reply();
        let preconditions = draft.preconditions;
        let beside = draft.letters.iter().map(letters::Event::beside).collect();
        Ok(Decision { preconditions, beside, ..Decision::happens(draft.events, reply) })
    }

    fn gist(command: &Command) -> Option<String> {
        Some(command.act.gist())
    }

    fn evolve(state: &mut State, event: &Event) {
        state.apply(event);
    }

    fn kind(event: &Event) -> &'static str {
        event.kind()
    }

    // Here, so that it is compiled with this crate, whoever reads a run.
    fn decode(kind: &str, schema: u16, payload: &[u8]) -> Result<Event, String> {
        read_back::<Self, Event>(kind, schema, payload)
    }
}
