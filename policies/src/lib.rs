//! What is allowed: typed configuration and pure decisions.
//!
//! Everything here is a value or a function of values. Policies knows no clock,
//! no chance, no tasks and no I/O: times and chances come in as arguments, and
//! configuration comes in as text.

pub mod approval;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod calibration;
pub mod choice;
pub mod document;
pub mod explain;
pub mod failure;
pub mod fallback;
pub mod guard;
pub mod history;
pub mod instant;
pub mod intensity;
pub mod latency;
pub mod liveness;
pub mod mailbox;
pub mod money;
pub mod pattern;
pub mod plan;
pub mod poison;
pub mod price;
pub mod priority;
pub mod reaction;
pub mod reshape;
pub mod retry;
pub mod rules;
pub mod share;
pub mod span;
pub mod strategy;
mod text;
pub mod thrift;
pub mod tokens;
pub mod tree;
