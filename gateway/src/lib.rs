//! How it is reached: HTTP, the command line, and the wiring of the whole system.

mod beside;
pub mod brief;
pub mod cli;
pub mod commands;
pub mod config;
pub mod crash;
pub mod entry;
pub mod http;
pub mod live;
pub mod policy;
mod secret_source;
pub mod system;
pub mod terminal;
pub mod wiring;
pub mod written;
