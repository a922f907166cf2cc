//! The ids of tool calls, when a talk goes on with another provider than the one that gave them.
//!
//! Invariant: every provider takes each id that is sent, no two calls of a conversation share one, and an
//! answer has that of its call; what is sent of a conversation that grew begins as it did before.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{Block, Message};

/// The longest id that every provider takes: that of OpenAI's chat completions.
const CHARS_MAX: usize = 40;
/// How much of a hash stands for an id that does not fit.
const HASH_CHARS: usize = 24;

/// The conversation with ids that every provider takes.
pub(super) fn fitted(messages: Cow<'_, [Message]>) -> Cow<'_, [Message]> {
    let mut ids = Ids::default();
    let names: Vec<Option<String>> = messages.iter().flat_map(|message| &message.content).map(|b| ids.of(b)).collect();
    if !ids.changed {
        return messages;
    }
    let mut messages = messages.into_owned();
    let blocks = messages.iter_mut().flat_map(|message| &mut message.content);
    for (block, name) in blocks.zip(names) {
        match (block, name) {
            (Block::ToolCall(call), Some(name)) => call.id = name,
            (Block::ToolResult(result), Some(name)) => result.id = name,
            _ => {}
        }
    }
    Cow::Owned(messages)
}

#[derive(Default)]
struct Ids {
    taken: BTreeSet<String>,
    /// The new ids of the calls that wait for their answers, by the old ones, in order.
    open: BTreeMap<String, VecDeque<String>>,
    /// How many calls there were.
    calls: usize,
    changed: bool,
}

impl Ids {
    /// The id that a block goes by; none where it has none.
    fn of(&mut self, block: &Block) -> Option<String> {
        let (old, new) = match block {
            Block::ToolCall(call) => {
                let new = self.fresh(&call.id);
                self.open.entry(call.id.clone()).or_default().push_back(new.clone());
                (&call.id, new)
            }
            Block::ToolResult(result) => {
                let waiting = self.open.get_mut(&result.id).and_then(VecDeque::pop_front);
                // One that answers nothing that was asked is told under an id of its own.
                let new =
                    waiting.unwrap_or_else(|| if fits(&result.id) { result.id.clone() } else { hashed(&result.id, 0) });
                (&result.id, new)
            }
            _ => return None,
        };
        self.changed |= *old != new;
        Some(new)
    }

    fn fresh(&mut self, id: &str) -> String {
        self.calls += 1;
        let new = if fits(id) && !self.taken.contains(id) { id.to_owned() } else { hashed(id, self.calls) };
        self.taken.insert(new.clone());
        new
    }
}

fn fits(id: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !id.is_empty() && id.len() <= CHARS_MAX && id.chars().all(is_plain)
}

/// What stands for an id, by which call of the conversation it is.
fn hashed(id: &str, nth: usize) -> String {
    let hash = blake3::hash(format!("{nth}\0{id}").as_bytes()).to_hex();
    format!("call_{}", &hash.as_str()[..HASH_CHARS])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::model::{Role, ToolCall, ToolResult};

    fn call(id: &str) -> Block {
        Block::ToolCall(ToolCall { id: id.to_owned(), name: "t".to_owned(), arguments: Value::Null, signature: None })
    }

    /// Turns of calls with these ids, each with its answers in order.
    fn talk(turns: &[Vec<String>]) -> Vec<Message> {
        let turn = |ids: &Vec<String>| {
            let calls = Message::of(Role::Assistant, ids.iter().map(|id| call(id)).collect());
            [calls, Message::results(ids.iter().enumerate().map(|(at, id)| ToolResult::text(id, at.to_string())))]
        };
        turns.iter().flat_map(turn).collect()
    }

    fn ids(messages: &[Message]) -> (Vec<String>, Vec<String>) {
        let blocks = || messages.iter().flat_map(|message| &message.content);
        let calls =
            blocks().filter_map(|block| if let Block::ToolCall(call) = block { Some(call.id.clone()) } else { None });
        let results = blocks()
            .filter_map(|block| if let Block::ToolResult(result) = block { Some(result.id.clone()) } else { None });
        (calls.collect(), results.collect())
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let messages = talk(&[vec!["toolu_01".to_owned(), "call-2".to_owned()], vec!["fc_3".to_owned()]]);
        assert!(matches!(fitted(Cow::Borrowed(&messages)), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn each_call_has_an_id_of_its_own_that_fits_and_its_answer_has_the_same(
            turns in prop::collection::vec(prop::collection::vec("[ab.:]{0,2}|[a-z]{39,42}", 1..4), 0..4), cut in 0..4_usize,
        ) {
            let messages = talk(&turns);
            let sent = fitted(Cow::Borrowed(&messages));
            let (calls, results) = ids(&sent);
            prop_assert_eq!(&calls, &results);
            prop_assert!(calls.iter().all(|id| fits(id)));
            prop_assert_eq!(calls.iter().collect::<BTreeSet<_>>().len(), calls.len());
            let before = talk(&turns[..cut.min(turns.len())]);
            prop_assert!(sent.starts_with(&fitted(Cow::Borrowed(&before))), "a cache of it would be lost");
        }
    }
}
