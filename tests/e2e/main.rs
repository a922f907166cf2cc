//! End-to-end tests, in one binary: what a user of the whole product can rely on.

mod rooms;
