//! An open file of the simulated disk.
//!
//! Invariant: a handle of an earlier life does nothing.

use std::io;
use std::sync::MutexGuard;

use super::content::Content;
use super::{FileId, Operation, SimDisk, State};
use crate::disk::File;

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) id: FileId,
    pub(super) life: u64,
    /// Where the next append goes: before what was reserved.
    pub(super) end: u64,
}

impl SimFile {
    /// The outer error leaves no trace on the disk; the inner one is a planned fault, which may
    /// leave some.
    fn state(&self, operation: Operation) -> io::Result<(MutexGuard<'_, State>, io::Result<()>)> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("this handle is from before a simulated power cut"));
        }
        state.count(operation)?;
        let admitted = state.strike(operation);
        Ok((state, admitted))
    }
}

impl File for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut state, admitted) = self.state(Operation::Append)?;
        let asked = if admitted.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let written = state.write(self.id, self.end, &bytes[..asked]);
        admitted?;
        if written < bytes.len() {
            return Err(full());
        }
        state.counters.appends += 1;
        drop(state);
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let (mut state, admitted) = self.state(Operation::Reserve)?;
        admitted?;
        let length = state.files.get(&self.id).map_or(0, Content::len);
        let missing = usize::try_from((self.end + bytes).saturating_sub(length)).unwrap_or(usize::MAX);
        if state.write(self.id, length, &vec![0; missing]) < missing { Err(full()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut state, admitted) = self.state(Operation::Sync)?;
        if let Some(content) = state.files.get_mut(&self.id) {
            if admitted.is_ok() { content.sync() } else { content.fail_sync() }
        }
        admitted?;
        state.counters.syncs += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let (state, admitted) = self.state(Operation::Read)?;
        admitted?;
        Ok(state.files.get(&self.id).map_or(0, Content::len))
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut state, admitted) = self.state(Operation::Append)?;
        admitted?;
        if let Some(content) = state.files.get_mut(&self.id) {
            content.rewrite(offset, bytes);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (state, admitted) = self.state(Operation::Read)?;
        admitted?;
        let bytes = state.files.get(&self.id).map_or(&[][..], Content::bytes);
        let from = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let read = from.len().min(buffer.len());
        buffer[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let (mut state, admitted) = self.state(Operation::Truncate)?;
        admitted?;
        if let Some(content) = state.files.get_mut(&self.id) {
            let freed = content.truncate(length);
            state.used -= freed;
        }
        drop(state);
        self.end = length;
        Ok(())
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}
