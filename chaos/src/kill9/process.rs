//! The processes of a play. Invariant: none outlives the play, and one that is started is waited for.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use gateway::crash::{self, Mark, Point};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::ground::Ground;
use super::{Kill9Error, Yard};

/// What the program says when it is ready, before its address.
const LISTENING: &str = "listening on ";
/// What is shown of what a program said at its end.
const SAID_BYTES_MAX: usize = 2_000;
/// How long the program may take to stop in order.
const STOP_MAX: Duration = Duration::from_secs(40);

/// A server beside the program: the provider or the platform. It goes when this goes.
pub(super) struct Helper {
    program: PathBuf,
    _child: Child,
    words: ChildStdin,
    pub(super) url: String,
}

impl Helper {
    /// Starts the server and waits until it says where it listens.
    pub(super) async fn start(program: &Path, arguments: &[String]) -> Result<Self, Kill9Error> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let failed = |source| Kill9Error::Program { program: program.to_owned(), source };
        let mut child = command.spawn().map_err(failed)?;
        let silent = || Kill9Error::Silent(format!("{} {}", program.display(), arguments.join(" ")));
        let stdout = child.stdout.take().ok_or_else(silent)?;
        let words = child.stdin.take().ok_or_else(silent)?;
        let line = BufReader::new(stdout).lines().next_line().await.map_err(failed)?;
        let url = line.ok_or_else(silent)?.trim().to_owned();
        Ok(Self { program: program.to_owned(), _child: child, words, url })
    }

    /// Says which part of the plan's time goes by from now on.
    pub(super) async fn go_by(&mut self, span_ms: &Range<u64>) -> Result<(), Kill9Error> {
        let line = format!("{}..{}\n", span_ms.start, span_ms.end);
        let failed = |source| Kill9Error::Program { program: self.program.clone(), source };
        self.words.write_all(line.as_bytes()).await.map_err(failed)
    }
}

/// One life of the program.
pub(super) struct Server {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    crash_log: PathBuf,
    errors: PathBuf,
}

/// How a life ended.
#[derive(Debug)]
pub(super) enum Death {
    /// It was killed, or died at a crash point.
    Crashed(Option<Point>),
    /// It ended by itself, for no reason that was given to it.
    Strange(String),
}

impl Server {
    /// Starts the program; with a mark, it will die there.
    pub(super) fn start(yard: &Yard, ground: &Ground<'_>, mark: Option<Mark>) -> Result<Self, Kill9Error> {
        let (crash_log, errors) = (ground.path("crash.log"), ground.path("callboard.err"));
        // What an earlier life has left there is not this one's.
        let _ = std::fs::remove_file(&crash_log);
        let log = std::fs::File::create(&errors).map_err(|source| Kill9Error::File { path: errors.clone(), source })?;
        let mut command = Command::new(&yard.callboard);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(&yard.folder)
            // Without it the program starts itself anew, which costs time in every life.
            .env("CANDLE_NUM_THREADS", "1")
            .env_remove(crash::POINT)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(models) = &yard.models {
            command.env("CALLBOARD_MODELS", models);
        }
        if let Some(mark) = mark {
            command.env(crash::POINT, mark.to_string()).env(crash::LOG, &crash_log);
        }
        let failed = |source| Kill9Error::Program { program: yard.callboard.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        let silent = || Kill9Error::Silent(yard.callboard.display().to_string());
        let said = BufReader::new(child.stdout.take().ok_or_else(silent)?).lines();
        Ok(Self { child, said, crash_log, errors })
    }

    /// Where it listens, once it is ready; nothing when it has ended before.
    pub(super) async fn listening(&mut self) -> Option<String> {
        while let Ok(Some(line)) = self.said.next_line().await {
            if let Some(address) = line.strip_prefix(LISTENING) {
                return Some(address.trim().to_owned());
            }
        }
        None
    }

    /// Waits for its end, or brings it about when the time has come.
    pub(super) async fn die_within(&mut self, life: Duration) -> Death {
        match tokio::time::timeout(life, self.child.wait()).await {
            Ok(ended) => self.ended(ended),
            Err(_) => self.kill().await,
        }
    }

    /// kill -9.
    pub(super) async fn kill(&mut self) -> Death {
        let killed = self.child.kill().await;
        match (self.point(), killed) {
            (point, Ok(())) => Death::Crashed(point),
            (_, Err(error)) => Death::Strange(format!("it could not be killed: {error}")),
        }
    }

    /// Asks it to stop, as a service manager does; an error is what it did instead.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        let pid = self.child.id().ok_or("it has ended before it was asked to")?;
        // There is no safe call for a signal other than kill -9.
        let asked = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid.to_string()]).status().await;
        asked.map_err(|error| format!("it cannot be asked to stop: {error}"))?;
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(ended) => Err(self.strange(ended)),
            Err(_) => {
                self.kill().await;
                Err(format!("it did not stop within {STOP_MAX:?}"))
            }
        }
    }

    fn ended(&self, ended: std::io::Result<ExitStatus>) -> Death {
        match self.point() {
            Some(point) => Death::Crashed(Some(point)),
            None => Death::Strange(self.strange(ended)),
        }
    }

    /// The point at which it says that it died.
    fn point(&self) -> Option<Point> {
        Point::named(std::fs::read_to_string(&self.crash_log).ok()?.trim())
    }

    fn strange(&self, ended: std::io::Result<ExitStatus>) -> String {
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let tail = said.ceil_char_boundary(said.len().saturating_sub(SAID_BYTES_MAX));
        format!("it ended by itself, {how}: {}", said[tail..].trim())
    }
}
