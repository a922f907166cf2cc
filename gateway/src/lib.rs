//! How it is reached: HTTP, the command line, and the wiring of the whole system.
