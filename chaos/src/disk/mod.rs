//! A disk that loses what was not synced, as a folder that programs can use: for the kill -9 runner, since a killed
//! process alone loses nothing that it has written.
//!
//! Invariant: its server does no I/O below its own folder while it serves it, so it never waits for itself.

pub mod command;
#[cfg(target_os = "linux")]
mod mount;
#[cfg(not(target_os = "linux"))]
#[path = "nowhere.rs"]
mod mount;
pub mod tree;

pub use command::{DiskArguments, main, serve};
pub use mount::take_down_stale;
