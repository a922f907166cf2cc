//! Does it recover: experiments, the simulator, the kill loop and the checkers.

pub mod provider;
