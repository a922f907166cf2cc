//! A recovery repeats nothing that was recorded. Invariant: it is a bound, seen from outside: an
//! answer counts as recorded only when nothing can have kept it from being so.

use std::collections::BTreeMap;
use std::time::Duration;

use super::unrest::Unrest;
use super::violation::{Moment, Violation, micros};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// An answer after which the process lived on for longer than this, in peace, is recorded: an append
/// and its sync take milliseconds.
pub const DURABLE_WITHIN: Duration = Duration::from_secs(1);
/// An answer that took longer than this may have found nobody who listened.
pub const LISTENED_FOR: Duration = Duration::from_secs(60);

/// A call that was answered.
#[derive(Clone, Copy, Debug)]
struct Answer {
    called_us: u64,
    answered_us: u64,
    life: u32,
}

/// A content that was answered in one life, with more than [`DURABLE_WITHIN`] left of it, is not
/// called again in a later one.
///
/// Left out, because their record may rightly be missing: answers slower than [`LISTENED_FOR`], and
/// those where, between the call and [`DURABLE_WITHIN`] after the answer, an actor or the disk was
/// made to fail, or something was restarted. A call repeated within one life is the business of the
/// retries, and of the budget.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let unrest = Unrest::of(history);
    let ends = crashes(history);
    let mut life = 1;
    let mut under_way: BTreeMap<u64, (&str, u64, u32)> = BTreeMap::new();
    let mut answers: BTreeMap<&str, Vec<Answer>> = BTreeMap::new();
    let mut found = Vec::new();
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Crashed { .. } => life += 1,
            Seen::Called { call, content, .. } => {
                let known = answers.get(content.as_str()).map_or(&[][..], Vec::as_slice);
                if let Some(answer) = known.iter().find(|a| a.life < life && recorded(a, &ends, &unrest)) {
                    found.push(repeated(*call, content, *at_us, life, answer));
                }
                under_way.insert(*call, (content, *at_us, life));
            }
            Seen::Answered { call } => {
                let Some((content, called_us, called_in)) = under_way.remove(call) else { continue };
                // Over a crash, the answer found nobody.
                if called_in == life {
                    answers.entry(content).or_default().push(Answer { called_us, answered_us: *at_us, life });
                }
            }
            _ => {}
        }
    }
    found
}

/// When each life ended, the first one first.
fn crashes(history: &History) -> Vec<u64> {
    let crashed = |sighting: &Sighting| matches!(sighting.what, Seen::Crashed { .. }).then_some(sighting.at_us);
    history.seen.iter().filter_map(crashed).collect()
}

fn recorded(answer: &Answer, ends: &[u64], unrest: &Unrest) -> bool {
    let durable_us = answer.answered_us.saturating_add(micros(DURABLE_WITHIN));
    let listened = answer.answered_us.saturating_sub(answer.called_us) <= micros(LISTENED_FOR);
    let end_us = ends.get(answer.life as usize - 1).copied().unwrap_or(u64::MAX);
    listened && durable_us < end_us && !unrest.within(answer.called_us, durable_us)
}

fn repeated(call: u64, content: &str, at_us: u64, life: u32, answer: &Answer) -> Violation {
    let message = format!(
        "content `{content}` was answered at {} in life {}, which went on for more than {DURABLE_WITHIN:?}, and was \
         called again at {} in life {life}, as call {call}",
        Moment(answer.answered_us),
        answer.life,
        Moment(at_us)
    );
    Violation { invariant: Invariant::RecoveryIdempotent, at_us, message }
}
