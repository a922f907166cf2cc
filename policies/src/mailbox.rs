//! How many messages may wait for a worker, and what becomes of one more.
//!
//! Invariant: a bound is at least 1, and whatever happens at it is one of [`WhenFull`]: no message waits
//! beyond the bound, and none is lost without its sender being told.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::span::Span;

/// The mailbox of a worker. A number alone is its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MailboxPolicy {
    /// The most messages that wait for it or that it is at; 0 counts as 1.
    pub bound: u32,
    /// What becomes of one more.
    pub when_full: WhenFull,
    /// How long its sender waits at most, where one more blocks.
    pub block_within: Span,
}

/// What becomes of one message more than a mailbox takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Its sender is told at once that the mailbox is full.
    #[default]
    Refuse,
    /// The one that has waited longest is dropped for it, and its sender is told. Only for what carries
    /// no promise.
    DropOldest,
    /// Its sender waits for room, and is told that the mailbox is full when none came in time.
    Block,
}

impl Default for MailboxPolicy {
    fn default() -> Self {
        Self::of(1_024)
    }
}

impl MailboxPolicy {
    /// A mailbox of this bound that refuses one message more.
    pub const fn of(bound: u32) -> Self {
        Self { bound, when_full: WhenFull::Refuse, block_within: Span::from_secs(5) }
    }

    /// The most messages, at least 1.
    pub fn messages_max(&self) -> usize {
        usize::try_from(self.bound.max(1)).unwrap_or(usize::MAX)
    }
}

/// The policy as a table writes it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    bound: u32,
    when_full: WhenFull,
    block_within: Option<Span>,
}

impl Default for Written {
    fn default() -> Self {
        let MailboxPolicy { bound, when_full, .. } = MailboxPolicy::default();
        Self { bound, when_full, block_within: None }
    }
}

impl<'de> Deserialize<'de> for MailboxPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl Either {
    fn bound<E: de::Error>(bound: Option<u32>, written: de::Unexpected<'_>) -> Result<MailboxPolicy, E> {
        let bound = bound.filter(|bound| *bound > 0);
        bound.map(MailboxPolicy::of).ok_or_else(|| E::invalid_value(written, &Self))
    }
}

impl<'de> Visitor<'de> for Either {
    type Value = MailboxPolicy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a number of messages, 1 at least, such as 256, or a table such as { bound = 256, when_full = \"block\" }",
        )
    }

    fn visit_i64<E: de::Error>(self, bound: i64) -> Result<MailboxPolicy, E> {
        Self::bound(bound.try_into().ok(), de::Unexpected::Signed(bound))
    }

    fn visit_u64<E: de::Error>(self, bound: u64) -> Result<MailboxPolicy, E> {
        Self::bound(bound.try_into().ok(), de::Unexpected::Unsigned(bound))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<MailboxPolicy, A::Error> {
        let Written { bound, when_full, block_within } = Written::deserialize(MapAccessDeserializer::new(table))?;
        if bound == 0 {
            return Err(de::Error::invalid_value(de::Unexpected::Unsigned(0), &"a bound of 1 message at least"));
        }
        if block_within.is_some() && when_full != WhenFull::Block {
            return Err(de::Error::custom(
                "`block_within` says how long a sender waits, and needs when_full = \"block\"",
            ));
        }
        let block_within = block_within.unwrap_or(MailboxPolicy::default().block_within);
        Ok(MailboxPolicy { bound, when_full, block_within })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Worker {
        mailbox: MailboxPolicy,
    }

    fn read(text: &str) -> Result<MailboxPolicy, String> {
        toml::from_str::<Worker>(text).map(|worker| worker.mailbox).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_number_alone_is_the_bound_and_one_more_is_refused() {
        assert_eq!(read("mailbox = 7"), Ok(MailboxPolicy::of(7)));
        assert_eq!(MailboxPolicy::of(7).when_full, WhenFull::Refuse);
        assert_eq!(MailboxPolicy::of(0).messages_max(), 1);
    }

    #[test]
    fn a_table_says_what_happens_at_the_bound_and_may_leave_out_the_rest() {
        let blocks = read("mailbox = { bound = 3, when_full = 'block', block_within = '2s' }").unwrap();
        let expected = MailboxPolicy { bound: 3, when_full: WhenFull::Block, block_within: Span::from_secs(2) };
        assert_eq!(blocks, expected);
        let dropping = MailboxPolicy { when_full: WhenFull::DropOldest, ..MailboxPolicy::default() };
        assert_eq!(read("mailbox.when_full = 'drop_oldest'"), Ok(dropping));
    }

    #[test]
    fn what_is_no_mailbox_is_refused() {
        for text in [
            "mailbox = -1",
            "mailbox = 0",
            "mailbox.bound = 0",
            "mailbox = 4294967296",
            "mailbox = 'many'",
            "mailbox.when_full = 'drop'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("mailbox.bund = 1").unwrap_err().contains("unknown field `bund`"));
    }

    #[test]
    fn a_wait_without_blocking_is_refused() {
        let refusal = read("mailbox = { bound = 3, block_within = '2s' }").unwrap_err().to_string();
        assert!(refusal.contains("needs when_full = \"block\""), "{refusal}");
    }

    #[test]
    fn what_is_written_reads_back() {
        let policy = read("mailbox = { bound = 3, when_full = 'block', block_within = '2s' }").unwrap();
        let written = serde_json::to_value(policy).unwrap();
        assert_eq!(serde_json::from_value::<MailboxPolicy>(written).unwrap(), policy);
    }
}
