//! The `callboard-chaos` command.

fn main() -> std::process::ExitCode {
    chaos::command::main()
}
