//! What the killed program's data lies on: the machine's own file system, or one that drops what was not synced.
//!
//! Invariant: the runner does nothing below the folder itself, so it never waits for a server that is gone; when the
//! play ends, in whatever way, the mount goes too.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Kill9Error, Yard};
use crate::disk::command::{Order, READY, WRONG};
use crate::disk::take_down_stale;
use crate::disk::tree::Cut;
use crate::fault::Loss;

/// How long the disk may take over an order.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What the data lay on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// The machine's own file system, since nothing was to be lost.
    Own,
    /// A file system that drops what was not synced.
    Losing,
    /// The machine's own file system, since the other one cannot be mounted, for this reason.
    Refused(String),
}

impl std::fmt::Display for Medium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own => f.write_str(
                "the machine's own file system: what a kill leaves in the system's cache stays, so a missing sync \
                 cannot show",
            ),
            Self::Losing => f.write_str("a file system that drops at a kill what was not synced"),
            Self::Refused(why) => write!(f, "{}; {why}", Self::Own),
        }
    }
}

/// A disk that loses, under the data of a play.
pub(super) struct LosingDisk {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
}

impl LosingDisk {
    /// Mounts it; an error is why that cannot be done here.
    pub(super) async fn start(yard: &Yard, folder: PathBuf) -> Result<Self, String> {
        let mut command = Command::new(&yard.servers);
        command.arg("disk").arg(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(deaf_to) = yard.deaf_to {
            command.args(["--deaf-to", deaf_to.name()]);
        }
        // A Ctrl-C at the terminal is not for it: it goes when its input ends, after whoever uses it.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no input or output".to_owned());
        };
        let mut disk = Self { child, orders, answers: BufReader::new(answers).lines(), folder };
        match disk.answer().await {
            Ok(line) if line.starts_with(READY) => Ok(disk),
            Ok(line) => Err(line),
            Err(why) => Err(disk.last_words().await.unwrap_or(why)),
        }
    }

    /// Cuts the power.
    pub(super) async fn cut(&mut self, loss: Loss, seed: u64) -> Result<(), Kill9Error> {
        let cut = match loss {
            Loss::KeepAll => return Ok(()),
            Loss::LoseUnsynced => Cut::Clean,
            Loss::Torn => Cut::Torn { seed },
        };
        self.obeyed(Order::Cut(cut)).await
    }

    /// Takes it down; what it held is left in the folder.
    pub(super) async fn end(mut self) -> Result<(), Kill9Error> {
        let obeyed = self.obeyed(Order::End).await;
        // Whatever became of it: the end of its input is the order to go.
        drop(self.orders);
        if tokio::time::timeout(ANSWER_MAX, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        take_down_stale(&self.folder).map_err(|source| Kill9Error::File { path: self.folder, source })?;
        obeyed
    }

    async fn obeyed(&mut self, order: Order) -> Result<(), Kill9Error> {
        let failed = |why| Kill9Error::Disk { order: order.to_string(), why };
        let sent = self.orders.write_all(format!("{order}\n").as_bytes()).await;
        sent.map_err(|error| failed(error.to_string()))?;
        let answer = self.answer().await.map_err(failed)?;
        answer.strip_prefix(WRONG).map_or(Ok(()), |why| Err(failed(why.to_owned())))
    }

    async fn answer(&mut self) -> Result<String, String> {
        match tokio::time::timeout(ANSWER_MAX, self.answers.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err("it has ended".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it did not answer within {ANSWER_MAX:?}")),
        }
    }

    /// What a process that ended has said about it.
    async fn last_words(&mut self) -> Option<String> {
        let mut said = String::new();
        let mut errors = self.child.stderr.take()?;
        let read = errors.read_to_string(&mut said);
        tokio::time::timeout(ANSWER_MAX, read).await.ok()?.ok()?;
        let said = said.trim();
        (!said.is_empty()).then(|| said.strip_prefix(WRONG).unwrap_or(said).to_owned())
    }
}
