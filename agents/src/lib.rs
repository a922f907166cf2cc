//! Who does the work: agents with their models and tools, workflows and runs, the ledger, the context store, publishers and aggregators.

pub mod embed;
pub mod model;
