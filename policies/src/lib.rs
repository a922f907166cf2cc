//! What is allowed: typed configuration and pure decisions.
