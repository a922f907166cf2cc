//! The place of the mount where there is no FUSE. Invariant: it says so, and does nothing.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::command::Deaf;
use super::tree::Tree;

pub(super) enum Mounted {}

pub(super) fn mount(_: Arc<Mutex<Tree>>, _: Option<Deaf>, _: &Path) -> io::Result<Mounted> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux is supported"))
}

impl Mounted {
    pub(super) fn take_down(self) -> io::Result<()> {
        match self {}
    }
}

/// Takes down what an earlier server has left mounted on a folder: nothing, here.
pub fn take_down_stale(_: &Path) -> io::Result<()> {
    Ok(())
}
