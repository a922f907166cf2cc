//! The scripted model server, for the end-to-end tests to start.

fn main() -> std::process::ExitCode {
    chaos::provider::main()
}
