//! The `callboard-chaos` command, for the end-to-end tests to start.

fn main() -> std::process::ExitCode {
    chaos::command::main()
}
