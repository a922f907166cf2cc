//! Does it recover: experiments, the simulator, the kill loop and the checkers.

pub mod aims;
pub mod command;
pub mod fault;
pub mod history;
pub mod plan;
pub mod provider;
pub mod simulation;
