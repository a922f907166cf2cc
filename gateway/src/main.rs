//! The `callboard` command.

fn main() -> std::process::ExitCode {
    gateway::entry::main()
}
