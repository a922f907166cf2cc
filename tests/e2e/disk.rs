//! The disk that drops what was not synced, mounted; each test is skipped, with the reason, where nothing can be mounted.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use chaos::disk::command::READY;
use policies::instant::Timestamp;
use storage::disk::files::FileDisk;
use storage::disk::{self, Disk};
use storage::journal::{
    Batch, Committer, INDEX_VERSION, Journal, NewEvent, OpenError, Options, RecordId, Seq, TraceId, Write,
};
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;

/// How often a lock is asked for.
const TRIES_MAX: usize = 10_000;
const NOW: Timestamp = Timestamp::from_micros(1_000_000);

/// A mounted disk, and its server.
struct Mount {
    server: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Mount {
    /// Nothing, where nothing can be mounted.
    fn on(folder: &Path, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-chaos"));
        command.arg("disk").arg(folder).args(arguments);
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
        let mut mount = Self { server, orders, answers: BufReader::new(answers).lines() };
        match mount.answers.next() {
            Some(line) => assert!(line.unwrap().starts_with(READY)),
            None => {
                let mut why = String::new();
                mount.server.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                assert!(why.contains("can be mounted"), "{why}");
                eprintln!("skipped: {why}");
                mount.server.wait().unwrap();
                return None;
            }
        }
        Some(mount)
    }

    fn say(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.answers.next().unwrap().unwrap()
    }

    fn end(mut self) -> String {
        let said = self.say("end");
        assert!(self.server.wait().unwrap().success());
        said
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_synced_outlives_a_cut_and_what_is_not_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut mount) = Mount::on(folder.path(), &[]) else { return };
    let files = FileDisk::new(folder.path());
    let mut file = files.open("kept").unwrap();
    file.append(b"synced").unwrap();
    file.sync().unwrap();
    files.sync_dir("").unwrap();
    file.append(b", and not").unwrap();
    files.open("new").unwrap().append(b"x").unwrap();
    assert_eq!(files.read("kept").unwrap(), b"synced, and not");
    drop(file);
    assert_eq!(mount.say("cut"), "2 files and 1 names were not synced");
    assert_eq!(files.read("kept").unwrap(), b"synced");
    assert_eq!(files.list("").unwrap(), ["kept"]);
    disk::replace(&files, "kept", b"replaced").unwrap();
    files.create_dir_all("d/e").unwrap();
    assert_eq!(mount.say("cut torn 7"), "0 files and 0 names were not synced");
    assert_eq!(files.read("kept").unwrap(), b"replaced");
    assert!(files.exists("d/e").unwrap());
    assert!(mount.say("cut torn x").starts_with("error: `x` is no seed"));
    assert!(mount.say("cat").starts_with("error: `cat` is no command"));
    assert_eq!(mount.end(), "left 1 files");
    assert_eq!(fs::read(folder.path().join("kept")).unwrap(), b"replaced");
}

#[test]
fn it_is_a_folder_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::on(folder.path(), &["--bytes-max", "100000"]) else { return };
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("d")).unwrap();
    fs::write(path("d/a"), b"one").unwrap();
    fs::rename(path("d/a"), path("b")).unwrap();
    assert!(fs::remove_file(path("d/a")).is_err() && fs::create_dir(path("d")).is_err());
    fs::write(path("c"), vec![7; 70_000]).unwrap();
    assert_eq!(fs::read(path("c")).unwrap(), vec![7; 70_000]);
    let full = fs::write(path("e"), vec![7; 70_000]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let open = fs::File::open(path("b")).unwrap();
    fs::remove_file(path("b")).unwrap();
    let mut bytes = Vec::new();
    (&open).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"one", "an open file outlives its name");
    drop(open);
    let many: Vec<_> = (0..300).map(|n| format!("n{n:03}")).collect();
    many.iter().for_each(|name| drop(fs::File::create(path("d").join(name)).unwrap()));
    assert_eq!(names(&path("d")), many);
    fs::remove_dir_all(path("d")).unwrap();
    assert_eq!(names(folder.path()), ["c", "e"]);
    mount.end();
}

#[test]
fn a_server_that_died_is_no_obstacle_and_one_whose_input_ends_takes_its_mount_down() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let Some(mut mount) = Mount::on(&place, &[]) else { return };
    fs::write(place.join("a"), b"x").unwrap();
    mount.server.kill().unwrap();
    mount.server.wait().unwrap();
    assert!(fs::read_dir(&place).is_err(), "nobody serves it");
    let mut mount = Mount::on(&place, &[]).unwrap();
    fs::write(place.join("a"), b"x").unwrap();
    drop(mount.orders);
    assert!(mount.server.wait().unwrap().success());
    assert_eq!(names(&place), Vec::<String>::new());
    fs::write(place.join("a"), b"x").unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_e2e-chaos")).arg("disk").arg(&place).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"));
}

/// Opens the journal. Another test may be starting a program at this moment, which holds all open files, and so the
/// lock of the life before, until it runs.
fn opened(folder: &Path) -> (Journal, Committer) {
    for _ in 0..TRIES_MAX {
        let shelf = MemoryShelves::new().open("streams", INDEX_VERSION).unwrap();
        match Journal::open(Arc::new(FileDisk::new(folder)), shelf, Options::default(), NOW) {
            Err(OpenError::Locked { .. }) => std::thread::sleep(Duration::from_millis(1)),
            opened => {
                let (journal, committer, _) = opened.unwrap();
                return (journal, committer);
            }
        }
    }
    panic!("the journal stays locked");
}

/// Opens the journal, appends `more` batches, each of them acknowledged, and dies; returns what stood there before.
fn life(folder: &Path, from: u128, more: u128) -> Vec<String> {
    let (journal, committer) = opened(folder);
    let there = journal.read(Seq::FIRST, usize::MAX).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let append = async {
            for nth in from..from + more {
                let event = NewEvent {
                    kind: "test.happened".to_owned(),
                    schema: 1,
                    time: NOW,
                    principal: "test".to_owned(),
                    trace: TraceId(1),
                    cause: None,
                    subject: None,
                    payload: nth.to_string().into_bytes(),
                };
                let write = Write { stream: "s".into(), expected: None, events: vec![event] };
                journal.append(Batch { id: RecordId(nth), writes: vec![write], preconditions: vec![] }).await.unwrap();
            }
        };
        tokio::select! {
            () = append => {}
            _ = committer.run() => panic!("the committer ended"),
        }
    });
    there.iter().map(|event| String::from_utf8(event.payload.to_vec()).unwrap()).collect()
}

#[test]
fn a_journal_survives_fifty_cuts_with_all_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut mount) = Mount::on(folder.path(), &[]) else { return };
    for nth in 0..50 {
        let wanted: Vec<_> = (0..nth * 3).map(|number: u128| number.to_string()).collect();
        assert_eq!(life(folder.path(), nth * 3, 3), wanted);
        let said = if nth % 2 == 0 { mount.say("cut") } else { mount.say(&format!("cut torn {nth}")) };
        assert!(said.ends_with("were not synced"), "{said}");
    }
    mount.end();
}

#[test]
fn a_journal_whose_syncs_are_not_done_loses_what_it_acknowledged() {
    for deaf_to in ["files", "folders"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(mut mount) = Mount::on(folder.path(), &["--deaf-to", deaf_to]) else { return };
        life(folder.path(), 0, 3);
        mount.say("cut");
        assert_eq!(life(folder.path(), 3, 0), Vec::<String>::new(), "{deaf_to}");
        mount.end();
    }
}
