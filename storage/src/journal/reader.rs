//! Reading.
use super::error::ReadError;
use super::event::{Event, Seq, StreamId, Version};
use crate::blobs::Blobs;
use crate::views::ShelfError;

pub(super) struct Reader(Blobs);

impl Reader {
    pub(super) fn read(&self, _: Seq, _: Seq, _: usize) -> Result<Vec<Event>, ReadError> {
        Err(ReadError::Closed)
    }
    pub(super) fn read_stream(&self, _: &StreamId, _: Version, _: usize) -> Result<Vec<Event>, ReadError> {
        Err(ReadError::Closed)
    }
    pub(super) fn version(&self, _: &StreamId) -> Result<Version, ShelfError> {
        Ok(Version::NONE)
    }
    pub(super) fn blobs(&self) -> &Blobs {
        &self.0
    }
    pub(super) fn probe_room(&self) -> std::io::Result<()> {
        Ok(())
    }
}
