//! The progress of downloads. Invariant: on a terminal one bar at a time, else
//! one plain line at the beginning and at the end of each file.

use std::sync::{Arc, Mutex, PoisonError};

use agents_local::fetch::FetchProgress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows downloads; a cheap clone.
#[derive(Clone)]
pub struct Downloads {
    fancy: bool,
    bar: Arc<Mutex<Option<(&'static str, ProgressBar)>>>,
}

impl Downloads {
    /// Bars on a terminal, lines elsewhere.
    #[must_use]
    pub fn new(fancy: bool) -> Self {
        Self { fancy, bar: Arc::default() }
    }

    /// Shows how far a download has come.
    pub fn show(&self, at: FetchProgress) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if bar.as_ref().is_none_or(|(file, _)| *file != at.file) {
            if let Some((_, old)) = bar.take() {
                old.finish_and_clear();
            }
            // What is in the cache is whole at once, and nothing to show.
            if at.done_bytes >= at.total_bytes {
                return;
            }
            *bar = Some((at.file, self.begin(at)));
        }
        let whole = at.done_bytes >= at.total_bytes;
        if let Some((file, shown)) = bar.as_ref() {
            shown.set_position(at.done_bytes);
            if whole {
                shown.finish_and_clear();
                eprintln!("fetched {file}, {}", mebibytes(at.total_bytes));
            }
        }
        if whole {
            *bar = None;
        }
    }

    fn begin(&self, at: FetchProgress) -> ProgressBar {
        if !self.fancy {
            eprintln!("fetching {}, {} …", at.file, mebibytes(at.total_bytes));
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(at.total_bytes), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("fetching {msg} {bar:30} {bytes}/{total_bytes} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(at.file);
        bar
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_cache_shows_nothing_and_a_download_ends_once() {
        let downloads = Downloads::new(false);
        let at = |done_bytes| FetchProgress { file: "a model", done_bytes, total_bytes: 10 };
        downloads.show(at(10));
        assert!(downloads.bar.lock().unwrap().is_none());
        downloads.show(at(1));
        assert!(downloads.bar.lock().unwrap().is_some());
        downloads.show(at(10));
        assert!(downloads.bar.lock().unwrap().is_none());
    }
}
