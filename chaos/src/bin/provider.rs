//! The `callboard-provider` command.

fn main() -> std::process::ExitCode {
    chaos::provider::main()
}
