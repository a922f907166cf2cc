//! Journal appends beside the floor: a bare group committer that appends and syncs a file, with the
//! same queue and the same acknowledgements. Rounds of both alternate; medians are compared.
//!
//! `cargo bench -p storage --bench appends`, with `-- --quick` for fewer rounds. Ends with status 1
//! when 128 writers reach less than 0.8 of the floor.
#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock on real threads")]
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use policies::instant::Timestamp;
use storage::disk::files::FileDisk;
use storage::journal::{Batch, INDEX_VERSION, Journal, NewEvent, Options, RecordId, StreamId, TraceId, Version, Write};
use storage::views::Shelves;
use storage::views::sled::SledShelves;
use tokio::sync::{mpsc, oneshot};

const PAYLOAD_BYTES: usize = 300;
/// Writers, and how often each appends in a round.
const LOADS: [(usize, usize); 3] = [(1, 200), (16, 100), (128, 100)];
const ROUNDS: usize = 21;
const ROUNDS_QUICK: usize = 5;
const QUEUE_MAX: usize = 1024;
/// The promise, at the last load.
const RATIO_MIN: f64 = 0.8;
const INDEX_CACHE_BYTES: u64 = 64 << 20;

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--quick") { ROUNDS_QUICK } else { ROUNDS };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    println!("acknowledged appends of {PAYLOAD_BYTES} B a second, medians of {rounds} rounds");
    println!(
        "{:>8} {:>12} {:>12} {:>8} {:>14} {:>14}",
        "writers", "append+sync", "journal", "ratio", "bytes, raw", "bytes, journal"
    );
    let mut ratio = 0.0;
    for (writers, appends) in LOADS {
        let (mut raws, mut journals, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = (0, 0);
        for round in 0..rounds {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let run_raw = || runtime.block_on(raw(folder.path(), writers, appends));
            let run_journal = || runtime.block_on(journal(folder.path(), writers, appends));
            // Each goes first as often as the other, so that a drift of the machine favours neither.
            let (raw, journal) = if round % 2 == 0 {
                let raw = run_raw();
                (raw, run_journal())
            } else {
                let journal = run_journal();
                (run_raw(), journal)
            };
            raws.push(raw.0);
            journals.push(journal.0);
            ratios.push(journal.0 / raw.0);
            bytes = (raw.1, journal.1);
        }
        ratio = median(ratios);
        let (raw, journal) = (median(raws), median(journals));
        let each = |bytes: u64| bytes / (writers * appends) as u64;
        println!("{writers:>8} {raw:>12.0} {journal:>12.0} {ratio:>8.2} {:>14} {:>14}", each(bytes.0), each(bytes.1));
    }
    if ratio < RATIO_MIN {
        eprintln!("128 writers reach {ratio:.2} of append + sync, and {RATIO_MIN} is promised");
        std::process::exit(1);
    }
}

/// Appends a second, and bytes in the file.
async fn raw(folder: &Path, writers: usize, appends: usize) -> (f64, u64) {
    let path = folder.join("raw");
    let mut file = File::create(&path).unwrap();
    let (requests, mut queue) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>(QUEUE_MAX);
    let committer = std::thread::spawn(move || {
        let (mut group, mut replies) = (Vec::new(), Vec::new());
        while let Some((bytes, reply)) = queue.blocking_recv() {
            group.extend_from_slice(&bytes);
            replies.push(reply);
            while let Ok((bytes, reply)) = queue.try_recv() {
                group.extend_from_slice(&bytes);
                replies.push(reply);
            }
            file.write_all(&group).unwrap();
            file.sync_data().unwrap();
            group.clear();
            for reply in replies.drain(..) {
                reply.send(()).unwrap();
            }
        }
    });
    let rate = load(writers, appends, move |_, _| {
        let requests = requests.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            requests.send((vec![b'x'; PAYLOAD_BYTES], reply)).await.unwrap();
            answer.await.unwrap();
        }
    })
    .await;
    committer.join().unwrap();
    (rate, path.metadata().unwrap().len())
}

/// Appends a second, and bytes in the segments.
async fn journal(folder: &Path, writers: usize, appends: usize) -> (f64, u64) {
    let disk = Arc::new(FileDisk::new(folder.join("data")));
    let shelves = SledShelves::open(folder.join("views"), INDEX_CACHE_BYTES).unwrap();
    let index = shelves.open("streams", INDEX_VERSION).unwrap();
    let options = Options { queue_max: QUEUE_MAX, ..Options::default() };
    let (journal, committer, _) = Journal::open(disk, index, options, Timestamp::EPOCH).unwrap();
    let committer = std::thread::spawn(|| committer.run_blocking());
    let handle = journal.clone();
    let rate = load(writers, appends, move |writer, nth| {
        let journal = handle.clone();
        async move {
            journal.append(batch(writer, nth)).await.unwrap();
        }
    })
    .await;
    journal.close().await;
    committer.join().unwrap();
    let segments = std::fs::read_dir(folder.join("data/journal")).unwrap();
    (rate, segments.map(|segment| segment.unwrap().metadata().unwrap().len()).sum())
}

fn batch(writer: usize, nth: usize) -> Batch {
    let event = NewEvent {
        kind: "bench.appended".to_owned(),
        schema: 1,
        time: Timestamp::EPOCH,
        principal: "bench".to_owned(),
        trace: TraceId(writer as u128),
        cause: None,
        subject: None,
        payload: vec![b'x'; PAYLOAD_BYTES],
    };
    let stream = StreamId::from(format!("bench/{writer}"));
    let write = Write { stream, expected: Some(Version(nth as u64)), events: vec![event] };
    let id = RecordId((writer as u128) << 64 | nth as u128);
    Batch { id, writes: vec![write], preconditions: Vec::new() }
}

/// Runs the writers, each a task that appends one after the other; appends a second.
async fn load<F>(writers: usize, appends: usize, append: impl Fn(usize, usize) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let append = append.clone();
            tokio::spawn(async move {
                for nth in 0..appends {
                    append(writer, nth).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (writers * appends) as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
