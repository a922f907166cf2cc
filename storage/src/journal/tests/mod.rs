//! Laws of the journal as a whole, on a simulated disk.

mod appending;
mod crashes;
mod damage;
mod reading;

use std::sync::Arc;

use futures::future::{Either, select};
use policies::instant::Timestamp;
use policies::span::ByteSize;

use super::*;
use crate::disk::sim::{Loss, SimDisk};
use crate::views::Shelves;
use crate::views::memory::MemoryShelves;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

/// What outlives a process: its disk and its shelves.
#[derive(Clone)]
struct Machine {
    disk: SimDisk,
    shelves: MemoryShelves,
    options: Options,
}

/// The usual bounds, with a reserve that these short histories use up.
fn small_reserve() -> Options {
    Options { reserve_bytes: ByteSize(700), ..Options::default() }
}

impl Default for Machine {
    fn default() -> Self {
        Self::with(small_reserve())
    }
}

impl Machine {
    fn with(options: Options) -> Self {
        Self { disk: SimDisk::new(), shelves: MemoryShelves::new(), options }
    }

    fn open(&self) -> Result<(Journal, Committer, Opened), OpenError> {
        let shelf = self.shelves.open("streams", INDEX_VERSION).unwrap();
        Journal::open(Arc::new(self.disk.clone()), shelf, self.options.clone(), NOW)
    }

    /// Opens the journal, runs the body and closes in good order.
    async fn session<T>(&self, body: impl AsyncFnOnce(Journal) -> T) -> T {
        let (journal, committer, _) = self.open().unwrap();
        let work = async {
            let outcome = body(journal.clone()).await;
            journal.close().await;
            outcome
        };
        tokio::join!(work, committer.run()).0
    }

    /// Opens the journal, runs the body and dies without closing; the disk is as it was at that moment.
    async fn life<T>(&self, body: impl AsyncFnOnce(Journal) -> T) -> T {
        let (journal, committer, _) = self.open().unwrap();
        let (body, committer) = (std::pin::pin!(body(journal)), std::pin::pin!(committer.run()));
        match select(body, committer).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((_, body)) => body.await,
        }
    }

    async fn all(&self) -> Vec<Event> {
        self.session(async |journal| journal.read(Seq::FIRST, usize::MAX).unwrap()).await
    }

    fn segments(&self) -> Vec<String> {
        use crate::disk::Disk;
        let names = self.disk.list("journal").unwrap();
        names.iter().filter(|name| name.ends_with(".seg")).map(|name| format!("journal/{name}")).collect()
    }
}

fn event(payload: impl Into<Vec<u8>>) -> NewEvent {
    NewEvent {
        kind: "test.happened".to_owned(),
        schema: 3,
        time: NOW,
        principal: "key/1".to_owned(),
        trace: TraceId(u128::MAX - 1),
        cause: Some(Seq(1)),
        subject: None,
        payload: payload.into(),
    }
}

fn write(stream: &str, expected: Option<u64>, payloads: &[&str]) -> Write {
    let events = payloads.iter().map(|payload| event(*payload)).collect();
    Write { stream: stream.into(), expected: expected.map(Version), events }
}

fn batch(id: u128, writes: Vec<Write>) -> Batch {
    Batch { id: RecordId(id), writes, preconditions: Vec::new() }
}

fn one(id: u128, stream: &str, expected: Option<u64>) -> Batch {
    batch(id, vec![write(stream, expected, &["1"])])
}

fn payloads(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| std::str::from_utf8(&event.payload).unwrap()).collect()
}
