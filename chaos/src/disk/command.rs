//! The `callboard-disk` command: mounts a disk that loses, and does what is said on the standard input.
//!
//! Invariant: each line is answered by one line, and the folder is free again when the process ends in order: at
//! `end`, at the end of the input, and at a signal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Parser;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

use super::mount::{mount, take_down_stale};
use super::tree::{Cut, Look, Lost, Tree};

/// What a disk holds, unless somebody says otherwise. It lies in memory twice: as written, and as durable.
pub const BYTES_MAX: u64 = 1 << 30;
/// How the answer begins that something went wrong.
pub const WRONG: &str = "error: ";
/// How the first line begins, before the folder.
pub const READY: &str = "mounted on ";

/// A disk that drops what was not synced when it is told to, as a power cut does.
#[derive(Debug, Parser)]
#[command(name = "callboard-disk", version)]
#[command(
    after_help = "Commands, one in a line on the standard input:\n  cut            drop all that was not synced\n  \
                        cut torn SEED  drop a part of it, by chance\n  end            take it down, and leave in the \
                        folder what was there\n\nUse `cut` when no program has a file open there."
)]
pub struct DiskArguments {
    /// The folder to mount it on: an empty one, or one that is not there yet
    folder: PathBuf,
    /// How many bytes its files may hold together
    #[arg(long, value_name = "BYTES", default_value_t = BYTES_MAX)]
    bytes_max: u64,
    /// What it answers without doing it, as if the program had not synced: a mutant, to try the checkers on
    #[arg(long, value_name = "SYNCS", hide = true)]
    deaf_to: Option<Deaf>,
}

/// Syncs that a disk answers and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Deaf {
    /// Those of files: what is written to them is lost.
    Files,
    /// Those of folders: new names are lost.
    Folders,
}

impl Deaf {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Folders => "folders",
        }
    }
}

/// Runs the command.
pub fn main() -> ExitCode {
    match serve(&DiskArguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is said to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drop what was not synced.
    Cut(Cut),
    /// Take it down, and leave in the folder what was there.
    End,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["cut"] => Ok(Self::Cut(Cut::Clean)),
            ["cut", "torn", seed] => match seed.parse() {
                Ok(seed) => Ok(Self::Cut(Cut::Torn { seed })),
                Err(_) => Err(format!("`{seed}` is no seed; write a whole number")),
            },
            ["end"] => Ok(Self::End),
            _ => Err(format!("`{}` is no command; write `cut`, `cut torn SEED` or `end`", line.trim())),
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cut(Cut::Clean) => f.write_str("cut"),
            Self::Cut(Cut::Torn { seed }) => write!(f, "cut torn {seed}"),
            Self::End => f.write_str("end"),
        }
    }
}

/// Serves until the end.
///
/// # Errors
/// When the folder cannot be used, nothing can be mounted here, or it cannot be taken down.
pub fn serve(arguments: &DiskArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(attend(arguments));
    // A read of the standard input may be under way, and would be waited for.
    runtime.shutdown_background();
    served
}

async fn attend(arguments: &DiskArguments) -> anyhow::Result<()> {
    let folder = prepare(&arguments.folder)?;
    let tree = Arc::new(Mutex::new(Tree::new(arguments.bytes_max)));
    let mounted = mount(Arc::clone(&tree), arguments.deaf_to, &folder).with_context(|| {
        let folder = folder.display();
        format!("nothing can be mounted on {folder} (it takes /dev/fuse, and to be root or to have fusermount3)")
    })?;
    println!("{READY}{}", folder.display());
    let leaves = obey(&tree).await;
    let free = mounted.take_down().with_context(|| format!("cannot take down {}", folder.display()));
    match (leaves, free) {
        (Ok(true), Ok(())) => match leave(&lock(&tree), &folder) {
            Ok(files) => println!("left {files} files"),
            Err(error) => println!("{WRONG}{error:#}"),
        },
        (Ok(true), Err(error)) => println!("{WRONG}{error:#}"),
        (Ok(false), free) => return free,
        (Err(error), _) => return Err(error),
    }
    Ok(())
}

/// Does what is said; true when what is there is to be left in the folder.
async fn obey(tree: &Mutex<Tree>) -> anyhow::Result<bool> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut terminated = signal(SignalKind::terminate())?;
    loop {
        let line = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Ok(false),
            _ = terminated.recv() => return Ok(false),
            line = lines.next_line() => line.context("the standard input cannot be read")?,
        };
        match line.as_deref().map(str::parse) {
            None => return Ok(false),
            Some(Ok(Order::End)) => return Ok(true),
            Some(Ok(Order::Cut(cut))) => {
                let Lost { files, names } = lock(tree).cut(cut);
                println!("{files} files and {names} names were not synced");
            }
            Some(Err(wrong)) => println!("{WRONG}{wrong}"),
        }
    }
}

/// An empty folder, whatever an earlier server has left on it.
fn prepare(folder: &Path) -> anyhow::Result<PathBuf> {
    let unusable = || format!("{} cannot be used", folder.display());
    take_down_stale(folder).with_context(unusable)?;
    std::fs::create_dir_all(folder).with_context(unusable)?;
    let is_empty = std::fs::read_dir(folder).with_context(unusable)?.next().is_none();
    anyhow::ensure!(is_empty, "{} is not empty; name another folder, or empty it", folder.display());
    folder.canonicalize().with_context(unusable)
}

/// Writes what the tree holds into the folder, which is an ordinary one again.
fn leave(tree: &Tree, folder: &Path) -> anyhow::Result<usize> {
    let mut files = 0;
    for (path, node) in tree.paths() {
        let place = folder.join(path);
        let written = match tree.look(node)? {
            Look::Folder => std::fs::create_dir(&place),
            Look::File(_) => {
                files += 1;
                std::fs::write(&place, tree.read(node, 0, usize::MAX)?)
            }
        };
        written.with_context(|| format!("{} cannot be written", place.display()))?;
    }
    Ok(files)
}

fn lock(tree: &Mutex<Tree>) -> std::sync::MutexGuard<'_, Tree> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_is_written() {
        for order in [Order::Cut(Cut::Clean), Order::Cut(Cut::Torn { seed: u64::MAX }), Order::End] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        assert_eq!(" cut  torn 7 ".parse(), Ok(Order::Cut(Cut::Torn { seed: 7 })));
        for (line, why) in [
            ("cut torn -1", "`-1` is no seed; write a whole number"),
            ("cut all", "`cut all` is no command; write `cut`, `cut torn SEED` or `end`"),
            ("", "`` is no command; write `cut`, `cut torn SEED` or `end`"),
        ] {
            assert_eq!(line.parse::<Order>(), Err(why.to_owned()));
        }
    }

    #[test]
    fn what_is_left_is_what_the_tree_held_and_a_folder_with_something_in_it_is_refused() {
        let mut tree = Tree::new(100);
        let folder = tree.make_folder(crate::disk::tree::ROOT, "d".as_ref()).unwrap();
        let file = tree.make_file(folder, "a".as_ref()).unwrap();
        tree.write(file, 1, b"x").unwrap();
        let place = tempfile::tempdir().unwrap();
        let inner = prepare(&place.path().join("inner")).unwrap();
        assert_eq!(leave(&tree, &inner).unwrap(), 1);
        assert_eq!(std::fs::read(inner.join("d/a")).unwrap(), b"\0x");
        let refused = prepare(&inner).unwrap_err().to_string();
        assert!(refused.ends_with("is not empty; name another folder, or empty it"), "{refused}");
    }
}
