//! What is remembered: the journal, blobs, snapshots, views and the context index.
