//! Downloading one wheel with pip. Invariant: pip's words are captured, never
//! printed; it is given a bounded time without progress; and it never outlives
//! the call.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::FetchOptions;
use crate::cache::{CacheError, failed};
use crate::pins::{Bundle, Tags};

const POLL: Duration = Duration::from_millis(100);
const OUTPUT_NAME: &str = "pip-errors.txt";
/// Of pip's last words, how many bytes an error repeats.
const REASON_BYTES_MAX: usize = 600;

/// Why pip brought no wheel.
#[derive(Debug, thiserror::Error)]
pub enum PipError {
    /// The program could not be started.
    #[error(
        "the program `{program}` could not be started ({error}); install Python 3 with pip, or name it in the configuration"
    )]
    NoPython {
        /// As configured.
        program: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// Python is there and pip is not.
    #[error("`{program}` has no pip; install it (on Debian: the package python3-pip)")]
    NoPip {
        /// As configured.
        program: String,
    },
    /// No index could be reached.
    #[error(
        "pip could not reach its package index; check the network, the proxy, or pip's own configuration ({reason})"
    )]
    NoNetwork {
        /// Pip's last words.
        reason: String,
    },
    /// The index holds another file under this name.
    #[error("the package index offered a file that is not the pinned one; nothing of it was kept ({reason})")]
    WrongWheel {
        /// Pip's last words.
        reason: String,
    },
    /// Nothing arrived for too long.
    #[error("nothing arrived for {waited:?}; check the network and start again")]
    Stalled {
        /// How long.
        waited: Duration,
    },
    /// Anything else that pip says.
    #[error("pip ended with {status}: {reason}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        reason: String,
    },
    /// It said that all was well and left no wheel.
    #[error("pip left no wheel behind")]
    NoWheel,
    /// The scratch folder.
    #[error(transparent)]
    Disk(#[from] CacheError),
}

/// Pip's command line for a person who brings the wheel by hand.
pub(super) fn by_hand(bundle: &Bundle) -> String {
    let mut words = vec!["python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"];
    words.extend(tag_words(bundle.tags));
    words.push(bundle.requirement);
    words.join(" ")
}

/// Downloads the wheel into `scratch`, calling `arrived` with the bytes so far.
pub(super) fn download(
    bundle: &Bundle,
    options: &FetchOptions,
    scratch: &Path,
    arrived: &mut dyn FnMut(u64),
) -> Result<PathBuf, PipError> {
    let incoming = scratch.join("incoming");
    let wheels = incoming.join("wheels");
    fs::create_dir_all(&wheels).map_err(failed("make", &wheels))?;
    let output_path = scratch.join(OUTPUT_NAME);
    let output = File::create(&output_path).map_err(failed("write", &output_path))?;
    let requirements = scratch.join("requirements.txt");
    let line = format!("{} --hash=sha256:{}\n", bundle.requirement, bundle.wheel_sha256);
    fs::write(&requirements, line).map_err(failed("write", &requirements))?;

    let mut command = command(options, bundle.tags);
    // Pip writes to its temporary folder first: that is where the file grows.
    command.env("TMPDIR", &incoming).arg("-d").arg(&wheels).arg("-r").arg(&requirements);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    let child = command.spawn().map_err(|error| PipError::NoPython { program: program(options), error })?;

    let status = watch(Running(child), options.stall_max, &mut || {
        let bytes = folder_bytes(&incoming).min(bundle.wheel_bytes);
        arrived(bytes);
        bytes
    })?;
    if !status.success() {
        return Err(diagnose(status, &output_path, options, &wheels));
    }
    arrived(bundle.wheel_bytes);
    find_wheel(&wheels)
}

fn command(options: &FetchOptions, tags: Option<Tags>) -> Command {
    let mut words = options.python.iter();
    let mut command = Command::new(words.next().map_or("python3", String::as_str));
    command.args(words).args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]);
    command.args(["--require-hashes", "--no-cache-dir", "--no-input", "--no-color", "--progress-bar", "off"]);
    command.args(["--disable-pip-version-check", "--retries", "3", "--timeout", "30"]);
    command.args(tag_words(tags));
    command
}

fn tag_words(tags: Option<Tags>) -> Vec<&'static str> {
    tags.map_or_else(Vec::new, |tags| {
        vec!["--platform", tags.platform, "--python-version", tags.python, "--implementation", "cp", "--abi", tags.abi]
    })
}

fn program(options: &FetchOptions) -> String {
    options.python.join(" ")
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(mut pip: Running, stall_max: Duration, bytes: &mut dyn FnMut() -> u64) -> Result<ExitStatus, PipError> {
    let mut seen = 0;
    let mut waited = Duration::ZERO;
    loop {
        let ended = pip.0.try_wait().map_err(failed("watch", Path::new("pip")))?;
        if let Some(status) = ended {
            return Ok(status);
        }
        let now = bytes();
        if now > seen {
            (seen, waited) = (now, Duration::ZERO);
        } else if waited >= stall_max {
            return Err(PipError::Stalled { waited });
        }
        std::thread::sleep(POLL);
        waited += POLL;
    }
}

/// The size of everything in a folder. Files come and go meanwhile, so what
/// cannot be read counts as nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

fn find_wheel(wheels: &Path) -> Result<PathBuf, PipError> {
    let entries = fs::read_dir(wheels).map_err(failed("read", wheels))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or(PipError::NoWheel)
}

fn diagnose(status: ExitStatus, output: &Path, options: &FetchOptions, wheels: &Path) -> PipError {
    let said = fs::read(output).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let reason = last_words(&said);
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| said.contains(phrase));
    if has(&["No module named pip"]) {
        PipError::NoPip { program: program(options) }
    } else if has(&["No space left on device", "Disk quota exceeded"]) {
        PipError::Disk(CacheError::Full { path: wheels.into() })
    } else if has(&["DO NOT MATCH THE HASHES"]) {
        PipError::WrongWheel { reason }
    } else if has(&[
        "Failed to establish a new connection",
        "Name or service not known",
        "NameResolutionError",
        "ConnectTimeout",
        "ProxyError",
    ]) {
        PipError::NoNetwork { reason }
    } else {
        PipError::Failed { status, reason }
    }
}

/// The last lines that fit, on one line.
fn last_words(said: &str) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = line.floor_char_boundary(line.len().saturating_sub(REASON_BYTES_MAX));
    match line.get(start..) {
        None | Some("") => "it said nothing".into(),
        Some(words) => words.into(),
    }
}
