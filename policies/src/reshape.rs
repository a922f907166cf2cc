//! What another tree does to the shape of one that runs: which nodes stay where they are, and which
//! come, go or move.
//!
//! Invariant: a node stays exactly when both trees have it, as the same kind, under the same supervisor,
//! which stays itself. Whoever does not stay is stopped, or started, or both.

use std::collections::BTreeMap;
use std::mem::discriminant;

use crate::tree::TreePolicy;

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on; at most its place among its siblings is another.
    Stays,
    /// It is new.
    Starts,
    /// It is in the tree no more.
    Stops,
    /// It is stopped, and started where the other tree has it.
    Moves,
}

/// What becomes of each node of either tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshaping(BTreeMap<String, Fate>);

impl Reshaping {
    /// What it does to `old` to become `new`. Nodes that are not reached from the root are left out.
    pub fn of(old: &TreePolicy, new: &TreePolicy) -> Self {
        let (before, after) = (parents(old), parents(new));
        let mut fates: BTreeMap<String, Fate> = BTreeMap::new();
        // Each after its supervisor, whose fate is its own.
        for name in new.start_order() {
            let is_same = |known: &Option<&str>| *known == after.get(name).copied().flatten();
            let is_alike = || old.node(name).map(discriminant) == new.node(name).map(discriminant);
            let stays_above = || match after.get(name).copied().flatten() {
                Some(supervisor) => fates.get(supervisor) == Some(&Fate::Stays),
                None => true,
            };
            let fate = match before.get(name) {
                None => Fate::Starts,
                Some(supervisor) if is_same(supervisor) && is_alike() && stays_above() => Fate::Stays,
                Some(_) => Fate::Moves,
            };
            fates.insert(name.to_owned(), fate);
        }
        for name in before.keys() {
            fates.entry((*name).to_owned()).or_insert(Fate::Stops);
        }
        Self(fates)
    }

    /// What becomes of the node of this name; none when neither tree has it.
    pub fn fate(&self, name: &str) -> Option<Fate> {
        self.0.get(name).copied()
    }

    /// Whether it goes on where it is.
    pub fn stays(&self, name: &str) -> bool {
        self.fate(name) == Some(Fate::Stays)
    }
}

/// Who supervises each node that is reached from the root; nobody the root itself.
fn parents(tree: &TreePolicy) -> BTreeMap<&str, Option<&str>> {
    let mut parents = BTreeMap::from([(tree.root.as_str(), None)]);
    for supervisor in tree.start_order() {
        for child in tree.children(supervisor) {
            parents.entry(child).or_insert(Some(supervisor));
        }
    }
    parents
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = r#"
        root = "top"
        [supervisor.top]
        children = ["a", "mid", "z"]
        [supervisor.mid]
        children = ["b", "c"]
        [worker.a]
        [worker.b]
        [worker.c]
        [worker.z]
    "#;

    /// What becomes of all that does not stay.
    fn told(edit: impl FnOnce(String) -> String) -> String {
        let read = |text: &str| TreePolicy::read("tree.toml", text).unwrap();
        let Reshaping(fates) = Reshaping::of(&read(TREE), &read(&edit(TREE.to_owned())));
        let moved = fates.iter().filter(|(_, fate)| **fate != Fate::Stays);
        moved.map(|(name, fate)| format!("{name} {fate:?}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn another_order_moves_nobody() {
        assert_eq!(told(|text| text), "");
        assert_eq!(told(|text| text.replace("\"a\", \"mid\", \"z\"", "\"z\", \"mid\", \"a\"")), "");
    }

    #[test]
    fn who_comes_starts_and_who_goes_stops() {
        assert_eq!(
            told(|text| text.replace("\"b\", \"c\"", "\"b\", \"d\"").replace("worker.c", "worker.d")),
            "c Stops, d Starts"
        );
    }

    #[test]
    fn a_branch_goes_and_moves_as_a_whole() {
        let gone =
            |text: String| text.replace("\"mid\", ", "").replace("[supervisor.mid]", "").replace("[worker.b]", "");
        let gone = |text: String| gone(text).replace("children = [\"b\", \"c\"]", "").replace("[worker.c]", "");
        assert_eq!(told(gone), "b Stops, c Stops, mid Stops");
        let lower = |text: String| {
            text.replace("\"a\", \"mid\", \"z\"", "\"a\", \"low\", \"z\"") + "[supervisor.low]\nchildren = [\"mid\"]"
        };
        assert_eq!(told(lower), "b Moves, c Moves, low Starts, mid Moves");
    }

    #[test]
    fn who_changes_its_supervisor_or_its_kind_is_started_anew() {
        assert_eq!(told(|text| text.replace("\"z\"]", "\"z\", \"c\"]").replace("\"b\", \"c\"", "\"b\"")), "c Moves");
        assert_eq!(told(|text| text.replace("worker.z", "supervisor.z")), "z Moves");
    }

    #[test]
    fn under_another_root_nothing_stays() {
        assert_eq!(
            told(|text| text.replace("\"top\"", "\"new\"").replace(".top", ".new")),
            "a Moves, b Moves, c Moves, mid Moves, new Starts, top Stops, z Moves"
        );
    }
}
