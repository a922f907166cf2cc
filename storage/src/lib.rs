//! What is remembered: the journal, blobs, snapshots, views and the context index.

pub mod index;
pub mod journal;
pub mod views;
