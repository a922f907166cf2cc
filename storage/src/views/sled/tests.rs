//! Shelves on disk, and what becomes of them when their files are harmed.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::journal::Seq;
use crate::views::seal::{self, Seal};
use crate::views::{Changes, Entry, after_prefix};

const CACHE_BYTES: u64 = 8 << 20;
const ENTRIES: u32 = 5_000;

fn open(path: &Path) -> SledShelves {
    SledShelves::open(path, CACHE_BYTES).unwrap()
}

fn shelf(shelves: &SledShelves) -> Arc<dyn Shelf> {
    Shelves::open(shelves, "runs", 1).unwrap()
}

fn entry(number: u32) -> Entry {
    let key = format!("run/{number:06}");
    let value = format!("{number} ").repeat(20);
    (key.into_bytes(), value.into_bytes())
}

fn changes(numbers: impl IntoIterator<Item = u32>) -> Changes {
    let mut changes = Changes::new();
    for number in numbers {
        let (key, value) = entry(number);
        changes.put(key, value);
    }
    changes
}

/// Entries 0 to `ENTRIES`, in steps of 50, so that entry n came with event n + 1.
fn fill(path: &Path) {
    let shelves = open(path);
    let shelf = shelf(&shelves);
    for first in (0..ENTRIES).step_by(50) {
        let last = first + 50;
        shelf.apply(&changes(first..last), Seq(u64::from(last))).unwrap();
    }
}

fn all(shelf: &dyn Shelf) -> Vec<Entry> {
    let end = after_prefix(b"run/");
    shelf.range(b"run/"..&end, usize::MAX, false).unwrap()
}

/// What a shelf promises after any accident: the exact fold up to its sequence.
fn assert_exact(shelf: &dyn Shelf) -> u64 {
    let reached = shelf.sequence().unwrap().unwrap_or_default().0;
    let expected: Vec<Entry> = (0..u32::try_from(reached).unwrap()).map(entry).collect();
    assert!(all(shelf) == expected, "the data is not the fold up to {reached}");
    reached
}

#[test]
fn keeps_data_and_sequence_over_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    assert_eq!(seal::open(folder.path()), Seal::Intact);
    let shelves = open(folder.path());
    assert_eq!(shelves.rebuilt(), None);
    let shelf = shelf(&shelves);
    assert_eq!(assert_exact(shelf.as_ref()), u64::from(ENTRIES));
    let bytes: usize = (0..ENTRIES).map(entry).map(|(k, v)| k.len() + v.len()).sum();
    assert_eq!(shelf.bytes(), bytes as u64);
}

#[test]
fn ranges_exclude_their_end_and_run_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let shelves = open(folder.path());
    let shelf = shelf(&shelves);
    let mut some = changes(0..10);
    some.put("a", "before");
    some.put("z", "after");
    shelf.apply(&some, Seq(10)).unwrap();
    let (from, to) = (entry(2).0, entry(6).0);
    let found = |limit, reverse| shelf.range(&from..&to, limit, reverse).unwrap();
    assert_eq!(found(9, false), [2, 3, 4, 5].map(entry));
    assert_eq!(found(2, false), [2, 3].map(entry));
    assert_eq!(found(2, true), [5, 4].map(entry));
    assert!(shelf.range(&to..&from, 9, false).unwrap().is_empty());
    assert!(shelf.range(&[]..&[], 9, false).unwrap().is_empty());
    assert_eq!(shelf.get(b"z").unwrap().unwrap(), b"after");
    let mut removal = Changes::new();
    removal.remove("z");
    removal.remove("never there");
    shelf.apply(&removal, Seq(11)).unwrap();
    assert_eq!(shelf.get(b"z").unwrap(), None);
}

#[test]
fn another_fold_version_starts_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let shelves = open(folder.path());
    let newer = Shelves::open(&shelves, "runs", 2).unwrap();
    assert_eq!(newer.sequence().unwrap(), None);
    assert_eq!(newer.bytes(), 0);
    assert!(all(newer.as_ref()).is_empty());
    newer.apply(&changes(0..50), Seq(50)).unwrap();
    drop((newer, shelves));
    let shelves = open(folder.path());
    let newer = Shelves::open(&shelves, "runs", 2).unwrap();
    assert_eq!(assert_exact(newer.as_ref()), 50);
}

#[test]
fn shelves_are_apart_and_handles_of_one_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let shelves = open(folder.path());
    let (one, same) = (shelf(&shelves), shelf(&shelves));
    let other = Shelves::open(&shelves, "costs", 1).unwrap();
    one.apply(&changes(0..50), Seq(50)).unwrap();
    assert_eq!(assert_exact(same.as_ref()), 50);
    assert_eq!(other.sequence().unwrap(), None);
    one.clear().unwrap();
    assert_eq!(assert_exact(same.as_ref()), 0);
}

#[test]
fn a_second_owner_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shelves = open(folder.path());
    let shelf = shelf(&shelves);
    shelf.apply(&changes(0..50), Seq(50)).unwrap();
    let second = SledShelves::open(folder.path(), CACHE_BYTES);
    assert!(matches!(second, Err(ShelfError::Locked { .. })));
    assert_eq!(assert_exact(shelf.as_ref()), 50);
}

#[test]
fn a_disk_that_refuses_is_an_error_and_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views");
    fs::write(&path, "a file").unwrap();
    let refused = SledShelves::open(&path, CACHE_BYTES);
    assert!(matches!(refused, Err(ShelfError::Io { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
}

fn files(path: &Path) -> Vec<PathBuf> {
    let names = seal::lengths(path).unwrap();
    names.keys().map(|name| path.join(name)).collect()
}

fn copy(from: &Path, to: &Path) {
    for name in seal::lengths(from).unwrap().keys() {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(name), target).unwrap();
    }
    fs::create_dir_all(to.join("blobs")).unwrap();
}

/// Harms a copy of `original` and opens it: the shelf must be exact, after a
/// rebuilding or without, and must take new entries and keep them.
fn survives(original: &Path, harm: impl FnOnce(&Path)) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views");
    copy(original, &path);
    harm(&path);
    let reached = {
        let shelves = open(&path);
        let shelf = shelf(&shelves);
        let reached = assert_exact(shelf.as_ref());
        let number = u32::try_from(reached).unwrap();
        let next = changes(number..number + 1);
        shelf.apply(&next, Seq(reached + 1)).unwrap();
        reached
    };
    let shelves = open(&path);
    assert_eq!(assert_exact(shelf(&shelves).as_ref()), reached + 1);
    reached
}

#[test]
fn is_exact_after_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let shelves = open(folder.path());
    let live = shelf(&shelves);
    for first in (0..2_000).step_by(10) {
        let last = first + 10;
        live.apply(&changes(first..last), Seq(u64::from(last))).unwrap();
        if last % 100 == 0 {
            // What a killed process leaves behind, and worse: sled may be writing.
            assert!(survives(folder.path(), |_| ()) <= u64::from(last));
        }
    }
}

fn shorten(path: &Path, by: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(by))
}

fn flip(path: &Path, share: f64) {
    let mut bytes = fs::read(path).unwrap();
    if bytes.is_empty() {
        return;
    }
    let at = (share * bytes.len() as f64) as usize;
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn unseal(path: &Path) {
    let _ = fs::remove_file(path.join("callboard.seal"));
}

#[test]
fn is_rebuilt_after_any_file_is_deleted_or_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    assert_eq!(survives(folder.path(), |_| ()), u64::from(ENTRIES));
    assert_eq!(survives(folder.path(), unseal), u64::from(ENTRIES));
    for file in files(folder.path()) {
        let name = file.strip_prefix(folder.path()).unwrap();
        survives(folder.path(), |path| fs::remove_file(path.join(name)).unwrap());
        for by in [1, 4096, 100_000, u64::MAX] {
            survives(folder.path(), |path| shorten(&path.join(name), by).unwrap());
        }
    }
    let nothing = |path: &Path| fs::remove_dir_all(path).unwrap();
    assert_eq!(survives(folder.path(), nothing), 0);
}

#[test]
fn is_rebuilt_after_a_byte_flips_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    for file in files(folder.path()) {
        let name = file.strip_prefix(folder.path()).unwrap();
        for step in 0..12 {
            let share = f64::from(step) / 12.0;
            survives(folder.path(), |path| flip(&path.join(name), share));
            survives(folder.path(), |path| {
                unseal(path);
                if path.join(name).exists() {
                    flip(&path.join(name), share);
                }
            });
        }
    }
}

#[test]
fn is_rebuilt_after_a_snapshot_was_left_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    for content in [&b""[..], b"half a snapshot"] {
        survives(folder.path(), |path| {
            unseal(path);
            let name = "snap.0000000000010000.generating";
            fs::write(path.join(name), content).unwrap();
        });
    }
}

#[test]
fn data_that_does_not_add_up_is_deleted_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    {
        let config = ::sled::Config::new().path(folder.path());
        let db = engine::unlocked(folder.path(), &config).unwrap();
        let mut key = vec![engine::ENTRY];
        key.extend(entry(7).0);
        db.open_tree("runs").unwrap().remove(key).unwrap().unwrap();
    }
    let shelves = open(folder.path());
    assert!(shelves.rebuilt().unwrap().contains("tally"));
    assert_eq!(assert_exact(shelf(&shelves).as_ref()), 0);
}

#[test]
fn damage_that_is_met_later_is_cured_by_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    {
        let shelves = open(folder.path());
        let shelf = shelf(&shelves);
        let panicking = shelves.engine.run::<()>("runs", |_| panic!("a page is gone"));
        assert!(matches!(panicking, Err(ShelfError::Damaged { .. })));
        // The others are still served.
        assert_eq!(assert_exact(shelf.as_ref()), u64::from(ENTRIES));
    }
    let shelves = open(folder.path());
    assert_eq!(shelves.rebuilt(), Some("a page is gone"));
    assert_eq!(assert_exact(shelf(&shelves).as_ref()), 0);
}
