//! A desk to try the product at: a folder with a brief and a configuration, the
//! program itself, and a model server in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use actors::entity::Entity;
use agents::run::{EffectOutcome, Event, Run};
use policies::instant::Timestamp;
use storage::disk::files::FileDisk;
use storage::journal::{INDEX_VERSION, Journal, Options, Seq};
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;

/// The model server; it goes when this goes.
pub(crate) struct Provider {
    child: Child,
    pub(crate) url: String,
    ledger: PathBuf,
}

impl Provider {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let ledger = folder.join("provider.jsonl");
        let mut child = Command::new(env!("CARGO_BIN_EXE_e2e-provider"))
            .arg("--ledger")
            .arg(&ledger)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: line.trim().to_owned(), ledger }
    }

    /// The file of its book.
    pub(crate) fn ledger(&self) -> &Path {
        &self.ledger
    }

    /// How often each request was served.
    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        chaos::provider::read(&self.ledger).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of one user.
pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
}

impl Desk {
    /// An empty folder whose configuration names this model server.
    pub(crate) fn new(model: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self { folder };
        desk.configure(model, "");
        desk
    }

    pub(crate) fn configure(&self, model: &str, more: &str) {
        let text = format!(
            "data = \"data\"\ncache = {:?}\n{more}\n[model]\nkind = \"openai\"\nurl = \"{model}\"\nname = \"scripted\"\nprice = \"gpt-4o-mini\"\n",
            cache().display().to_string(),
        );
        std::fs::write(self.path("callboard.toml"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A small brief of its own in a folder of that name.
    pub(crate) fn brief(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(folder.join("background")).unwrap();
        let brief = format!(
            "# Lamp {name}\n\nLamp {name} shines for a whole night on one charge. It weighs 200 grams and folds flat.\n\n\
             Link: https://lamp.example/{name}\n\nIt was tested by 40 climbers over one winter. None failed in the cold.\n"
        );
        std::fs::write(folder.join("brief.md"), brief).unwrap();
        std::fs::write(folder.join("background/test.md"), "Forty climbers carried it for 1,200 nights.\n").unwrap();
        folder
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-callboard"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).env_remove("CALLBOARD_MODELS");
        command
    }

    /// Runs the program to its end.
    pub(crate) fn callboard(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().unwrap())
    }

    /// Every run's events, read from the journal on disk.
    pub(crate) fn events(&self) -> Vec<Event> {
        let journal = self.journal();
        let runs = journal.iter().filter(|event| event.kind.starts_with("run."));
        runs.map(|event| Run::decode(&event.kind, event.schema, &event.payload).unwrap()).collect()
    }

    /// Everything in the journal on disk.
    pub(crate) fn journal(&self) -> Vec<storage::journal::Event> {
        let disk = std::sync::Arc::new(FileDisk::new(self.path("data")));
        let shelf = MemoryShelves::new().open("streams", INDEX_VERSION).unwrap();
        let (journal, _committer, _) =
            Journal::open(disk, shelf, Options::default(), Timestamp::from_micros(0)).unwrap();
        let mut events = Vec::new();
        let mut from = Seq::FIRST;
        loop {
            let page = journal.read(from, 512).unwrap();
            let Some(last) = page.last() else { return events };
            from = last.seq.next();
            events.extend(page);
        }
    }

    /// The feed's entries: id and title of each.
    pub(crate) fn feed(&self) -> Vec<(String, String)> {
        let text = std::fs::read(self.path("data/feed/feed.atom")).unwrap();
        let feed = atom_syndication::Feed::read_from(text.as_slice()).unwrap();
        feed.entries().iter().map(|entry| (entry.id().to_owned(), entry.title().to_string())).collect()
    }
}

/// What a program said, and how it ended.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }

    pub(crate) fn good(self) -> Self {
        assert!(self.status.success(), "{}\n{}", self.out, self.err);
        self
    }

    pub(crate) fn bad(self) -> Self {
        assert!(!self.status.success(), "{}", self.out);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}

/// Runs the chaos command in a folder; with this token where it asks a server.
pub(crate) fn chaos(folder: &Path, token: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-chaos"));
    command.args(arguments).current_dir(folder).env("CALLBOARD_MODELS", cache());
    Said::of(command.env("CALLBOARD_CHAOS_TOKEN", token).output().unwrap())
}

/// Where downloads are kept between tests: beside the build's products, or
/// where the environment says.
pub(crate) fn cache() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_e2e-callboard")).parent().unwrap().join("../models");
    let folder = std::env::var_os("CALLBOARD_MODELS").map_or(beside, PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// Outcomes that were recorded as done by a model: the server's name for each
/// call, with the attempts that its effect took.
pub(crate) fn recorded_calls(events: &[Event]) -> Vec<(String, u64)> {
    let attempts = |key| {
        let intents = events.iter().filter(|event| matches!(event, Event::Intended(intent) if intent.key == key));
        intents.count() as u64
    };
    let done = events.iter().filter_map(|event| match event {
        Event::Resolved(resolved) if matches!(resolved.outcome, EffectOutcome::Ok { .. }) => {
            let remote = resolved.remote_id.clone()?;
            remote.starts_with("scripted-").then(|| (remote, attempts(resolved.key.clone())))
        }
        _ => None,
    });
    done.collect()
}
