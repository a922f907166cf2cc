//! The context index on a Qdrant server.
