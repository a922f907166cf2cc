//! The `callboard-platform` command.

fn main() -> std::process::ExitCode {
    chaos::platform::main()
}
