//! What the disk may do to the journal, and what becomes of it.

use crate::desk::{Desk, Provider};

fn segments(desk: &Desk) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(desk.path("data/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    found.sort();
    found
}

fn desk_with_a_run() -> (tempfile::TempDir, Provider, Desk, String) {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let brief = desk.brief("one").display().to_string();
    desk.callboard(&["run", &brief, "--plain"]).good();
    (folder, provider, desk, brief)
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let (_folder, _provider, desk, brief) = desk_with_a_run();
    let last = segments(&desk).pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.extend_from_slice(&[0xCB; 100]);
    std::fs::write(&last, bytes).unwrap();
    let said = desk.callboard(&["run", &brief, "--plain"]).good();
    assert!(said.err.contains("torn") && said.err.contains("100 bytes"), "{}", said.err);
    assert!(desk.callboard(&["doctor"]).good().out.contains("is whole"));
}

#[test]
fn a_flipped_byte_stops_the_start_with_file_and_offset() {
    let (_folder, _provider, desk, brief) = desk_with_a_run();
    let first = segments(&desk).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&first, &bytes).unwrap();
    for arguments in [vec!["run", &brief, "--plain"], vec!["runs"], vec!["doctor"]] {
        let said = desk.callboard(&arguments).bad();
        let name = first.file_name().unwrap().to_string_lossy().into_owned();
        assert!(said.err.contains(&name) && said.err.contains("at byte "), "{}", said.err);
    }
    assert_eq!(std::fs::read(&first).unwrap(), bytes, "nothing was changed");
}

#[test]
fn a_full_disk_refuses_new_runs_loses_nothing_and_works_again() {
    let (_folder, provider, desk, brief) = desk_with_a_run();
    let used: u64 = segments(&desk).iter().map(|path| path.metadata().unwrap().len()).sum();
    desk.configure(&provider.url, &format!("journal.bytes_max = \"{}B\"", used + 2_000));
    let other = desk.brief("two").display().to_string();
    let said = desk.callboard(&["run", &other, "--plain"]).bad();
    assert!(said.err.contains("full"), "{}", said.err);
    assert_eq!(desk.feed().len(), 3);
    desk.configure(&provider.url, "");
    assert!(desk.callboard(&["run", &brief, "--plain"]).good().out.contains("run to its end"));
    desk.callboard(&["run", &other, "--plain"]).good();
    assert_eq!(desk.feed().len(), 6);
}

#[test]
fn a_deleted_context_index_and_deleted_views_are_made_anew() {
    let (_folder, _provider, desk, brief) = desk_with_a_run();
    for view in ["context", "views"] {
        std::fs::remove_dir_all(desk.path("data").join(view)).unwrap();
    }
    assert!(desk.callboard(&["run", &brief, "--plain"]).good().out.contains("run to its end"));
    desk.callboard(&["run", &brief, "--plain", "--again"]).good();
    assert_eq!(desk.feed().len(), 6);
}

#[test]
fn the_doctor_names_payloads_that_are_missing_or_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let brief = desk.brief("one");
    std::fs::write(brief.join("background/long.md"), "It was carried up a hill.\n".repeat(1000)).unwrap();
    desk.callboard(&["run", &brief.display().to_string(), "--plain"]).good();
    let blobs: Vec<_> =
        std::fs::read_dir(desk.path("data/blobs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files = blobs.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let blob =
        files.map(|entry| entry.unwrap().path()).find(|path| path.file_name().is_some_and(|n| n != "key")).unwrap();
    let said = desk.callboard(&["doctor"]).good();
    assert!(said.out.contains("is whole") && said.out.contains("payloads kept apart"), "{}", said.out);
    let bytes = std::fs::read(&blob).unwrap();
    let name = blob.file_name().unwrap().to_string_lossy().into_owned();
    std::fs::remove_file(&blob).unwrap();
    let said = desk.callboard(&["doctor"]).bad();
    assert!(said.err.contains(&format!("{name} is missing")) && said.err.contains(" of run/"), "{}", said.err);
    std::fs::write(&blob, &bytes[1..]).unwrap();
    let said = desk.callboard(&["doctor"]).bad();
    assert!(said.err.contains(&format!("{name} is damaged")), "{}", said.err);
    assert!(!said.out.contains("is whole"), "{}", said.out);
}

#[test]
fn the_doctor_tells_a_journal_that_was_cut_short_from_a_torn_tail() {
    let (_folder, _provider, desk, _brief) = desk_with_a_run();
    let last = segments(&desk).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, [bytes.as_slice(), &[0xCB; 100]].concat()).unwrap();
    let said = desk.callboard(&["doctor"]).good();
    assert!(said.out.contains("100 bytes that were never acknowledged"), "{}", said.out);
    std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    for _ in 0..2 {
        let said = desk.callboard(&["doctor"]).bad();
        assert!(said.err.contains("acknowledged events are missing at its end"), "{}", said.err);
        assert!(said.err.contains("  run/") && said.err.contains("restore a backup"), "{}", said.err);
        assert!(!said.out.contains("is whole") && !said.out.contains("never acknowledged"), "{}", said.out);
    }
    assert_eq!(std::fs::read(&last).unwrap().len(), bytes.len() / 2, "nothing was changed");
}

#[test]
fn a_second_process_is_kept_out() {
    let (_folder, _provider, desk, brief) = desk_with_a_run();
    let disk = storage::disk::files::FileDisk::new(desk.path("data"));
    let _held = storage::disk::Disk::lock(&disk, "journal/lock").unwrap();
    let said = desk.callboard(&["run", &brief, "--plain"]).bad();
    assert!(said.err.contains("in use"), "{}", said.err);
}
