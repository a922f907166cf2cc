//! Does all of it work: end-to-end tests.
