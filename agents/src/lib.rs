//! Who does the work: agents with their models and tools, workflows and runs, the ledger, the context store, publishers and aggregators.

pub mod agent;
pub mod aggregator;
pub mod conduct;
pub mod context;
pub mod embed;
pub mod evaluation;
pub mod front;
pub mod key;
pub mod ledger;
pub mod model;
pub mod providers;
pub mod publisher;
pub mod run;
pub mod schema;
pub mod scripted;
pub mod secret;
pub mod telemetry;
pub mod thrift;
pub mod tool;
pub mod workflow;

pub mod record;
mod tether;

#[cfg(test)]
mod fixture;
