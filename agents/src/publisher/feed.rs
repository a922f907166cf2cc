//! A publisher that keeps an Atom feed in a file. Invariant: the file is always a
//! whole, well-formed feed that holds each key once; a file that is damaged or
//! not ours is left as it is.

use std::sync::{Arc, Mutex, PoisonError};

use actors::world::World;
use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::span::ByteSize;
use serde::Deserialize;
use storage::disk::{self, Disk};

use super::archive::{self, Archives};
use super::{Capabilities, Landed, Post, PublishError, Published, Publisher, document};

/// The longest text of one post.
const POST_MAX: ByteSize = ByteSize(1 << 20);

/// One feed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedOptions {
    /// The file, within the disk's folder.
    pub path: String,
    /// The feed's title, when it is first written.
    pub title: String,
    /// Who publishes, when it is first written.
    pub author: String,
    /// Where readers fetch it, if anywhere.
    pub url: Option<String>,
    /// The most entries in the current document; the older half goes to an
    /// archive document beside it (RFC 5005). At least 2.
    pub entries_max: usize,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            path: "feed.atom".to_owned(),
            title: "Callboard".to_owned(),
            author: "Callboard".to_owned(),
            url: None,
            entries_max: 100,
        }
    }
}

/// The publisher; see the module. One per file.
pub struct FeedPublisher {
    world: World,
    feed: Arc<FeedFile>,
}

struct FeedFile {
    options: FeedOptions,
    disk: Arc<dyn Disk>,
    /// `None` until the chain was read. The lock also keeps writers apart.
    archives: Mutex<Option<Archives>>,
}

/// Why a document could not be used; becomes a [`PublishError`] by where it arose.
#[derive(Debug)]
pub(super) struct Fault {
    class: FailureClass,
    message: String,
}

impl Fault {
    pub(super) fn foreign(path: &str, reason: &str) -> Self {
        let message =
            format!("the feed document {path} {reason}; it is left as it is: move it away, or publish to another path");
        Self { class: FailureClass::Rejected, message }
    }

    pub(super) fn unreadable(path: &str, reason: &str) -> Self {
        let message = format!("the feed document {path} cannot be read ({reason}); check its permissions");
        Self { class: FailureClass::ProviderDown, message }
    }

    pub(super) fn unwritable(path: &str, reason: &str) -> Self {
        let message =
            format!("the feed document {path} cannot be written ({reason}); check free space and permissions");
        Self { class: FailureClass::ProviderDown, message }
    }

    fn landed(self, landed: Landed) -> PublishError {
        PublishError { class: self.class, landed, message: self.message }
    }
}

impl FeedPublisher {
    /// A publisher of the feed at `options.path` on `disk`; nothing is read yet.
    pub fn new(world: World, disk: Arc<dyn Disk>, options: FeedOptions) -> Self {
        Self { world, feed: Arc::new(FeedFile { options, disk, archives: Mutex::default() }) }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FeedFile) -> Result<T, PublishError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let feed = Arc::clone(&self.feed);
        let lost = |lost: actors::world::Lost| PublishError {
            class: FailureClass::Bug,
            landed: Landed::Unknown,
            message: lost.to_string(),
        };
        self.world.blocking("publisher/feed", move || work(&feed)).await.map_err(lost)?
    }
}

#[async_trait]
impl Publisher for FeedPublisher {
    async fn publish(&self, post: Post) -> Result<Published, PublishError> {
        self.on_disk(move |feed| feed.publish(&post)).await
    }

    async fn find(&self, key: &str) -> Result<Option<Published>, PublishError> {
        let id = document::entry_id(key);
        self.on_disk(move |feed| feed.find(id).map_err(|fault| fault.landed(Landed::Unknown))).await
    }

    fn capabilities(&self) -> Capabilities {
        // Writing the file is this process's own work, and ends with it.
        Capabilities { deduplicates: true, can_be_asked: true, lands_late: false }
    }
}

impl FeedFile {
    fn publish(&self, post: &Post) -> Result<Published, PublishError> {
        let before = |fault: Fault| fault.landed(Landed::No);
        if post.text.len() as u64 > POST_MAX.0 {
            let message = format!("the post {:?} is longer than {POST_MAX}; shorten it", post.title);
            return Err(Fault { class: FailureClass::Rejected, message }.landed(Landed::No));
        }
        let FeedOptions { path, entries_max, .. } = &self.options;
        let disk = self.disk.as_ref();
        let mut archives = self.archives.lock().unwrap_or_else(PoisonError::into_inner);
        let found = archive::read(disk, path).map_err(before)?;
        let archives = loaded(&mut archives, disk, path, found.as_ref()).map_err(before)?;
        let mut feed = found.unwrap_or_else(|| document::empty(&self.options, post.published));
        let entry = document::entry(post);
        let published = self.published(entry.id.clone());
        if archives.holds(&entry.id) || feed.entries.iter().any(|other| other.id == entry.id) {
            return Ok(published);
        }
        document::add(&mut feed, entry);
        let entries_max = (*entries_max).max(2);
        if feed.entries.len() > entries_max {
            archives.roll(disk, path, &mut feed, entries_max / 2).map_err(before)?;
        }
        let bytes = document::write(&feed).map_err(|reason| before(Fault::unwritable(path, &reason)))?;
        // The rename may have been done although its sync failed.
        disk::replace(disk, path, &bytes)
            .map_err(|error| Fault::unwritable(path, &error.to_string()).landed(Landed::Unknown))?;
        Ok(published)
    }

    fn find(&self, id: String) -> Result<Option<Published>, Fault> {
        let (disk, path) = (self.disk.as_ref(), self.options.path.as_str());
        let mut archives = self.archives.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(feed) = archive::read(disk, path)? else { return Ok(None) };
        let archives = loaded(&mut archives, disk, path, Some(&feed))?;
        let there = archives.holds(&id) || feed.entries.iter().any(|entry| entry.id == id);
        Ok(there.then(|| self.published(id)))
    }

    fn published(&self, remote_id: String) -> Published {
        Published { remote_id, url: self.options.url.clone() }
    }
}

fn loaded<'a>(
    archives: &'a mut Option<Archives>,
    disk: &dyn Disk,
    path: &str,
    feed: Option<&atom_syndication::Feed>,
) -> Result<&'a mut Archives, Fault> {
    let known = match archives.take() {
        Some(known) => known,
        None => Archives::load(disk, path, feed)?,
    };
    Ok(archives.insert(known))
}
