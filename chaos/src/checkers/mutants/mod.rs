//! Broken histories, one for each way in which a system could break its word. Invariant: a mutant
//! changes a history in the one way that its name says; its checker must find it.

mod actors;
mod posts;
mod runs;

use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// A way to break a history.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What it does.
    pub name: &'static str,
    /// Whose checker must find it.
    pub invariant: Invariant,
    /// Breaks the history at a place that the seed chooses; none where it has no such place.
    pub apply: fn(&History, u64) -> Option<History>,
}

/// All mutants, by invariant.
#[must_use]
pub fn mutants() -> Vec<Mutant> {
    let mut all = [runs::mutants(), posts::mutants(), actors::mutants()].concat();
    all.sort_by_key(|mutant| mutant.invariant);
    all
}

/// One of them, as the seed decides.
fn pick<T>(from: Vec<T>, seed: u64) -> Option<T> {
    let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
    let place = usize::try_from(mixed(seed) % count).ok()?;
    from.into_iter().nth(place)
}

/// As splitmix64 does: seeds that follow each other lead to places that do not.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a look at each sighting chooses, with its place.
fn places<'a, T>(history: &'a History, choose: impl Fn(&'a Seen) -> Option<T>) -> Vec<(usize, T)> {
    let sightings = history.seen.iter().enumerate();
    sightings.filter_map(|(place, sighting)| choose(&sighting.what).map(|chosen| (place, chosen))).collect()
}

/// The history with one sighting more, behind those of the same moment.
fn with(mut history: History, at_us: u64, what: Seen) -> History {
    let place = history.seen.partition_point(|sighting| sighting.at_us <= at_us);
    history.seen.insert(place, Sighting { at_us, what });
    history
}

/// The history without the sightings that are chosen.
fn without(mut history: History, gone: impl Fn(&Seen) -> bool) -> History {
    history.seen.retain(|sighting| !gone(&sighting.what));
    history
}

/// When the history ends.
fn last_us(history: &History) -> u64 {
    history.seen.last().map_or(0, |sighting| sighting.at_us)
}

/// A moment before the very end, so that what is added does not follow it.
fn late_us(history: &History) -> u64 {
    let over = history.seen.iter().find(|sighting| matches!(sighting.what, Seen::Over { .. }));
    over.map_or_else(|| last_us(history), |over| over.at_us.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_invariant_has_a_mutant_and_every_mutant_a_name_of_its_own() {
        let mutants = mutants();
        let guarded: BTreeSet<_> = mutants.iter().map(|mutant| mutant.invariant).collect();
        assert_eq!(guarded.into_iter().collect::<Vec<_>>(), Invariant::ALL);
        let names: BTreeSet<_> = mutants.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), mutants.len());
    }
}
