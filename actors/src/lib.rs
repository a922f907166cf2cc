//! What an actor is: entities, durable actors, effects and their guard, and the world they live in.
//! Invariant: nothing here (or to the right of here) reads a clock, draws chance, spawns a task or
//! opens a connection but through [`world::World`].

pub mod durable;
pub mod entity;
pub mod guard;
pub mod letters;
pub mod mailbox;
pub mod telemetry;
pub mod transport;
pub mod world;

pub use storage::latest;
