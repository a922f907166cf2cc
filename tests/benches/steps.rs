//! What the steps of a run cost the disk: a run of ten steps that do nothing, alone on real files,
//! beside as many plain appends, each followed by `fdatasync`, in the same folder.
//!
//! `cargo bench -p tests --bench steps`, with `-- --quick` for fewer runs. Ends with status 1 when a
//! run costs more than twelve syncs.
#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock on real threads")]
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]

mod ground;
mod idle;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use storage::journal::Version;

const STEPS: usize = 10;
const SYNCS_MAX: u64 = 12;
const RUNS: usize = 50;
const RUNS_QUICK: usize = 10;
/// About what one of the run's events takes.
const EVENT_BYTES: usize = 400;

fn main() {
    let runs = if ground::is_quick() { RUNS_QUICK } else { RUNS };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (mut ours, mut floors, mut most) = (Vec::new(), Vec::new(), 0);
    ground::runtime().block_on(async {
        let system = ground::start(folder.path(), |_| {}).await;
        let workflow = idle::workflow(&system, STEPS, false);
        for nth in 0..runs {
            let before = system.journal().syncs();
            let started = Instant::now();
            let id = ground::accept(&system, &workflow, nth).await;
            let mut follower = system.follow(&id, Version::NONE);
            while follower.next().await.is_some() {}
            ours.push(started.elapsed());
            let syncs = system.journal().syncs() - before;
            floors.push(floor(folder.path(), syncs));
            most = most.max(syncs);
        }
        system.shutdown().await;
    });
    let (ours, floor) = (median(ours), median(floors));
    println!("{STEPS} no-op steps, {runs} runs, one after the other");
    println!("{:<34} {most:>10}", "syncs of a run, the most");
    println!("{:<34} {:>10}", "a run, median", ground::shown(ours));
    println!("{:<34} {:>10}", "as many appends and syncs, median", ground::shown(floor));
    println!("{:<34} {:>10.2}", "ratio", ours.as_secs_f64() / floor.as_secs_f64());
    if most > SYNCS_MAX {
        eprintln!("a run cost {most} syncs, and at most {SYNCS_MAX} are promised");
        std::process::exit(1);
    }
}

fn floor(folder: &Path, syncs: u64) -> Duration {
    let mut file = File::options().create(true).append(true).open(folder.join("floor")).unwrap();
    let started = Instant::now();
    for _ in 0..syncs {
        file.write_all(&[b'x'; EVENT_BYTES]).unwrap();
        file.sync_data().unwrap();
    }
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
