//! The context index on embedded Qdrant.
