//! The archives of a feed: what has left its current document. Invariant: the
//! chain of `prev-archive` links alone says which archives count; a file that a
//! crash left beside the chain is written anew.

use std::collections::BTreeSet;

use atom_syndication::Feed;
use storage::disk::{self, Disk};

use super::{document, feed::Fault};

/// The most archives a feed may have.
const ARCHIVES_MAX: u32 = 9_999;

/// What is archived: the number of the last archive, and every entry's id.
#[derive(Debug, Default)]
pub(super) struct Archives {
    last: u32,
    ids: BTreeSet<String>,
}

impl Archives {
    /// Follows the chain from the current document back.
    pub(super) fn load(disk: &dyn Disk, path: &str, current: Option<&Feed>) -> Result<Self, Fault> {
        let mut archives = Self::default();
        let mut next = current.and_then(document::archive_before).map(str::to_owned);
        let mut below = u32::MAX;
        while let Some(name) = next {
            let file = beside(path, &name);
            let strange = || Fault::foreign(path, &format!("names the archive {name:?}, which is none of its own"));
            // Numbers fall along the chain, so that it ends.
            let number = number(path, &file).filter(|&number| number < below).ok_or_else(strange)?;
            let feed =
                read(disk, &file)?.ok_or_else(|| Fault::foreign(&file, "is missing, though the feed names it"))?;
            archives.last = archives.last.max(number);
            archives.ids.extend(feed.entries.iter().map(|entry| entry.id.clone()));
            next = document::archive_before(&feed).map(str::to_owned);
            below = number;
        }
        Ok(archives)
    }

    /// Whether the entry is in an archive.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Moves the oldest `count` entries of `feed` to a new archive, written
    /// before the feed that names it.
    pub(super) fn roll(&mut self, disk: &dyn Disk, path: &str, feed: &mut Feed, count: usize) -> Result<(), Fault> {
        let number = self.last + 1;
        if number > ARCHIVES_MAX {
            return Err(Fault::foreign(
                path,
                &format!("has {ARCHIVES_MAX} archives, the most there can be; begin a new feed"),
            ));
        }
        let file = name(path, number);
        // A leftover of ours is overwritten; anybody else's file is not.
        read(disk, &file)?;
        let archive = document::split_archive(feed, count, base(&file), base(path));
        let bytes = document::write(&archive).map_err(|reason| Fault::unwritable(&file, &reason))?;
        disk::replace(disk, &file, &bytes).map_err(|error| Fault::unwritable(&file, &error.to_string()))?;
        self.last = number;
        self.ids.extend(archive.entries.into_iter().map(|entry| entry.id));
        Ok(())
    }
}

/// One of our documents, or nothing where there is no file.
pub(super) fn read(disk: &dyn Disk, path: &str) -> Result<Option<Feed>, Fault> {
    let unreadable = |error: std::io::Error| Fault::unreadable(path, &error.to_string());
    if !disk.exists(path).map_err(unreadable)? {
        return Ok(None);
    }
    let bytes = disk.read(path).map_err(unreadable)?;
    document::read(&bytes).map(Some).map_err(|reason| Fault::foreign(path, &reason))
}

fn name(path: &str, number: u32) -> String {
    let (stem, extension) = path.rsplit_once('.').unwrap_or((path, "atom"));
    format!("{stem}-archive-{number:04}.{extension}")
}

fn number(path: &str, file: &str) -> Option<u32> {
    let digits = file.rsplit_once('.')?.0.rsplit_once("-archive-")?.1;
    let number = digits.parse().ok()?;
    (number > 0 && name(path, number) == file).then_some(number)
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn beside(path: &str, name: &str) -> String {
    path.rsplit_once('/').map_or_else(|| name.to_owned(), |(dir, _)| format!("{dir}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::{name, number};

    #[test]
    fn an_archive_is_known_by_its_feed_and_number() {
        assert_eq!(name("out/feed.atom", 7), "out/feed-archive-0007.atom");
        assert_eq!(number("out/feed.atom", "out/feed-archive-0007.atom"), Some(7));
        for other in ["out/feed-archive-7.atom", "out/feed-archive-0000.atom", "out/../feed-archive-0007.atom", "x"] {
            assert_eq!(number("out/feed.atom", other), None, "{other}");
        }
    }
}
