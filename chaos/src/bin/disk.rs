//! The `callboard-disk` command.

fn main() -> std::process::ExitCode {
    chaos::disk::main()
}
