//! What is remembered: the journal, blobs, snapshots, views and the context index.

pub mod blobs;
pub mod disk;
pub mod index;
pub mod journal;
pub mod latest;
pub mod snapshots;
pub mod views;
