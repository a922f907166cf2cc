//! Does it recover: experiments, the simulator, the kill loop and the checkers.

pub mod command;
pub mod provider;
pub mod simulation;
