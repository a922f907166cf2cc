//! A hundred thousand runs that wait for a person: what memory they take while they rest, and how
//! long a system takes to start on the million events that they have left.
//!
//! The process that takes them on is asked for what its heap holds: what is resident beyond that is
//! what the allocator keeps of its peak, for the next ones. What rests is resident in no such way, so
//! a process started on all of them is asked for its resident memory.
//!
//! `cargo bench -p tests --bench resting`, with `-- --quick` for a twentieth. Ends with status 1 when
//! the resting runs take more memory than the views' cache and some slack, or the start takes 2 s.
#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock on real threads")]
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]

mod ground;
mod idle;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::StreamExt;
use peak_alloc::PeakAlloc;

const RUNS: usize = 100_000;
const RUNS_QUICK: usize = 5_000;
/// A run's events are its acceptance, two a step, and the question: ten.
const STEPS: usize = 4;
/// Runs that are being accepted at once.
const SIDE_BY_SIDE: usize = 256;
/// Runs that are awake at once; the next ones wait until some rest.
const AWAKE_MAX: usize = 1_000;
/// Before the first reading, so that what is paid once is not counted: threads, caches, pools.
const WARM_UP: usize = RUNS_QUICK;
/// What the allocator and the journal's own caches may add.
const SLACK_BYTES: u64 = 32 << 20;
const START_MAX: Duration = Duration::from_secs(2);
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How this program, started again, is told to only open a folder.
const OPEN: &str = "CALLBOARD_BENCH_OPEN";

fn main() {
    if let Some(folder) = std::env::var_os(OPEN) {
        return open(Path::new(&folder));
    }
    let runs = if ground::is_quick() { RUNS_QUICK } else { RUNS };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let grown = ground::runtime().block_on(fill(folder.path(), runs));
    let (empty, _) = opened(&folder.path().join("empty"));
    let (full, took) = opened(folder.path());
    let added = full.saturating_sub(empty);
    line("a start on nothing keeps", mib(empty));
    line("a start on all of it keeps", mib(full));
    line("… more, for each resting run", format!("{:.0} B", added as f64 / runs as f64));
    line("the start took", ground::shown(took));
    let allowed = ground::VIEWS_CACHE_BYTES + SLACK_BYTES;
    if grown > allowed || added > allowed {
        eprintln!("resting runs took {} and {}, and {} is allowed", mib(grown), mib(added), mib(allowed));
        std::process::exit(1);
    }
    if took >= START_MAX {
        eprintln!("the start took {took:?}, and less than {START_MAX:?} is promised");
        std::process::exit(1);
    }
}

/// Accepts the runs and waits until all rest; returns what the heap grew by from the warm-up's end.
async fn fill(folder: &Path, runs: usize) -> u64 {
    let system = ground::start(folder, |_| {}).await;
    let workflow = idle::workflow(&system, STEPS, true);
    let accept = |from: usize, to: usize| {
        let (system, workflow) = (&system, &workflow);
        async move {
            // One asks for all whether there is room: the question costs as much as there are runs awake.
            let admitted = futures::stream::iter(from..to).then(|nth| async move {
                while nth % SIDE_BY_SIDE == 0 && system.awake() > AWAKE_MAX {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                nth
            });
            let accepting = admitted.map(|nth| ground::accept(system, workflow, nth));
            accepting.buffer_unordered(SIDE_BY_SIDE).for_each(async |_| ()).await;
            while system.awake() > 0 || !system.reports().reach(system.journal().head(), START_MAX).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (HEAP.current_usage() as u64, resident_bytes())
        }
    };
    let before = accept(0, WARM_UP).await;
    let started = Instant::now();
    let after = accept(WARM_UP, WARM_UP + runs).await;
    let events = system.journal().head().0;
    line("runs that rest", runs + WARM_UP);
    line("events in the journal", events);
    line("events a second while they came", format!("{:.0}", events as f64 / started.elapsed().as_secs_f64()));
    let grown = after.0.saturating_sub(before.0);
    line("the heap grew by", mib(grown));
    line("… for each run", format!("{:.0} B", grown as f64 / runs as f64));
    line("resident memory grew by", mib(after.1.saturating_sub(before.1)));
    system.shutdown().await;
    grown
}

/// What a process of its own keeps after a start on this folder, and how long the start took.
fn opened(folder: &Path) -> (u64, Duration) {
    let output = Command::new(std::env::current_exe().unwrap()).env(OPEN, folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut figures = text.split_whitespace().map(|figure| figure.parse().unwrap());
    (figures.next().unwrap(), Duration::from_micros(figures.next().unwrap()))
}

fn open(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    ground::runtime().block_on(async {
        let started = Instant::now();
        let system = ground::start(folder, |_| {}).await;
        let took = started.elapsed();
        println!("{} {}", resident_bytes(), took.as_micros());
        system.shutdown().await;
    });
}

fn line(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<34} {figure:>14}");
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}
