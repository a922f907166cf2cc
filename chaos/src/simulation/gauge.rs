//! How full mailboxes get. Invariant: each is held against its own bound, and a sighting is made only of
//! one that is over it, or deeper than any was before, so there are few.

use std::collections::BTreeMap;

use supervisor::Depth;

use crate::history::Seen;

/// What was seen of the mailboxes so far.
#[derive(Default)]
pub(super) struct Gauge {
    /// The most messages that ever waited in one mailbox.
    deepest: usize,
    /// The most that waited in each mailbox that was over its bound.
    over: BTreeMap<String, usize>,
}

impl Gauge {
    /// What is worth telling of a mailbox, if anything is.
    pub(super) fn see(&mut self, child: &str, depth: Depth) -> Option<Seen> {
        let Depth { queued, max, .. } = depth;
        let is_deepest = queued > self.deepest;
        let is_over = queued > max && self.over.get(child).is_none_or(|before| queued > *before);
        self.deepest = self.deepest.max(queued);
        if is_over {
            self.over.insert(child.to_owned(), queued);
        }
        let told = || Seen::Depth { child: child.to_owned(), queued: queued as u64, max: max as u64 };
        (is_deepest || is_over).then(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(queued: usize, max: usize) -> Depth {
        Depth { queued, max, refused: 0, dropped: 0 }
    }

    #[test]
    fn a_small_mailbox_over_its_bound_does_not_hide_behind_a_deep_one() {
        let mut gauge = Gauge::default();
        assert!(gauge.see("ledger", depth(90, 256)).is_some());
        let over = gauge.see("writer", depth(9, 8));
        assert_eq!(over, Some(Seen::Depth { child: "writer".to_owned(), queued: 9, max: 8 }));
        assert_eq!(gauge.see("writer", depth(9, 8)), None, "it is told already");
        assert!(gauge.see("writer", depth(10, 8)).is_some(), "it gets worse");
    }

    #[test]
    fn within_its_bound_only_the_deepest_is_told() {
        let mut gauge = Gauge::default();
        assert!(gauge.see("a", depth(1, 8)).is_some());
        assert_eq!(gauge.see("b", depth(1, 8)), None);
        assert!(gauge.see("b", depth(2, 8)).is_some());
        assert_eq!(gauge.see("a", depth(0, 8)), None);
    }
}
