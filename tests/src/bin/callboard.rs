//! The `callboard` command, for the end-to-end tests to start: cargo hands a
//! test the programs of its own package only.

fn main() -> std::process::ExitCode {
    gateway::entry::main()
}
