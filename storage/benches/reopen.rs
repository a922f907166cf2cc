//! Opening a journal of a million events in a hundred thousand streams at rest: how long it takes,
//! and what memory it keeps.
//!
//! `cargo bench -p storage --bench reopen`, with `-- --quick` for a tenth. Ends with status 1 when an
//! opening with an up-to-date index takes 2 s or more.
#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock on real threads")]
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::instant::Timestamp;
use storage::disk::files::FileDisk;
use storage::journal::{
    Batch, Committer, INDEX_VERSION, Journal, NewEvent, Opened, Options, Pending, RecordId, Seq, StreamId, TraceId,
    Version, Write, verify_chain,
};
use storage::views::Shelves;
use storage::views::sled::SledShelves;

const EVENTS: u64 = 1_000_000;
const EVENTS_A_STREAM: u64 = 10;
const PAYLOAD_BYTES: usize = 200;
/// Appends under way at once while the journal is filled.
const PIPELINE: usize = 4096;
const OPENING_MAX: Duration = Duration::from_secs(2);
const INDEX_CACHE_BYTES: u64 = 64 << 20;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let events = if quick { EVENTS / 10 } else { EVENTS };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    timed("fill and close", || {
        let (journal, committer, _) = open(folder.path());
        work(journal, committer, |journal| fill(journal, events));
    });

    let memory = resident_bytes();
    let ((journal, committer, opened), took) = timed("open, index up to date", || open(folder.path()));
    assert_eq!((opened.head, opened.indexed), (Seq(events), 0));
    println!("{:<26} {:>8} KiB", "memory that it keeps", resident_bytes().saturating_sub(memory) >> 10);
    let last = stream(events - 1);
    assert_eq!(journal.version(&last).unwrap(), Version(EVENTS_A_STREAM));
    timed("read 1,000 streams", || {
        for nth in 0..1000 {
            let stream = stream(nth * 97 * EVENTS_A_STREAM % events);
            assert_eq!(journal.read_stream(&stream, Version::NONE, usize::MAX).unwrap().len(), 10);
        }
    });
    work(journal, committer, async |_| ());

    timed("verify the chain", || verify_chain(&disk(folder.path())).unwrap());
    std::fs::remove_dir_all(folder.path().join("views")).unwrap();
    let ((_, _, opened), _) = timed("open, index lost", || open(folder.path()));
    assert_eq!(opened.indexed, events);
    if took >= OPENING_MAX {
        eprintln!("opening took {took:?}, and less than {OPENING_MAX:?} is promised");
        std::process::exit(1);
    }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let outcome = work();
    let took = start.elapsed();
    println!("{what:<26} {:>8.0} ms", took.as_secs_f64() * 1000.0);
    (outcome, took)
}

fn disk(folder: &Path) -> FileDisk {
    FileDisk::new(folder.join("data"))
}

fn open(folder: &Path) -> (Journal, Committer, Opened) {
    let shelves = SledShelves::open(folder.join("views"), INDEX_CACHE_BYTES).unwrap();
    let index = shelves.open("streams", INDEX_VERSION).unwrap();
    let options = Options { queue_max: PIPELINE, ..Options::default() };
    Journal::open(Arc::new(disk(folder)), index, options, Timestamp::EPOCH).unwrap()
}

/// Runs the committer around some work and closes the journal.
fn work(journal: Journal, committer: Committer, work: impl AsyncFnOnce(Journal)) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| committer.run_blocking());
        runtime.block_on(async {
            work(journal.clone()).await;
            journal.close().await;
        });
    });
}

async fn fill(journal: Journal, events: u64) {
    let mut pending = VecDeque::new();
    for nth in 0..events {
        if pending.len() == PIPELINE
            && let Some(oldest) = pending.pop_front()
        {
            let oldest: Pending = oldest;
            oldest.await.unwrap();
        }
        pending.push_back(journal.submit(batch(nth)).await.unwrap());
    }
    for last in pending {
        last.await.unwrap();
    }
}

fn batch(nth: u64) -> Batch {
    let event = NewEvent {
        kind: "bench.appended".to_owned(),
        schema: 1,
        time: Timestamp::EPOCH,
        principal: "bench".to_owned(),
        trace: TraceId(nth.into()),
        cause: None,
        subject: None,
        payload: vec![b'x'; PAYLOAD_BYTES],
    };
    let write = Write { stream: stream(nth), expected: None, events: vec![event] };
    Batch { id: RecordId(nth.into()), writes: vec![write], preconditions: Vec::new() }
}

/// Streams come to life one after the other, a hundred side by side.
fn stream(nth: u64) -> StreamId {
    let block = nth / (100 * EVENTS_A_STREAM);
    StreamId::from(format!("run/{:06}", block * 100 + nth % 100))
}

fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}
