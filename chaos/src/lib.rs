//! Does it recover: experiments, the simulator, the kill loop and the checkers.

pub mod aims;
pub mod checkers;
pub mod command;
pub mod disk;
pub mod experiment;
pub mod fault;
pub mod forecast;
pub mod history;
pub mod kill9;
pub mod ledger;
pub mod live;
pub mod plan;
pub mod platform;
pub mod provider;
pub mod report;
pub mod shrink;
pub mod simulation;
mod steady;
