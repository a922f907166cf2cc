//! End-to-end tests, in one binary: what a user of the whole product can rely on.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on shall fail")]

mod billing;
mod choosing;
mod desk;
mod disk;
mod economy;
mod evaluation;
mod fallback;
mod going_on;
mod kill;
mod kill9;
mod letters;
mod live;
mod metrics;
mod money;
mod operators;
mod reload;
mod restart;
mod rooms;
mod secrets;
mod serve;
mod shapes;
mod simulation;
mod standing_in;
mod storage_faults;
mod telemetry;
mod words;
