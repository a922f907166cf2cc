//! The `callboard` command.

/// An order, a reservation and an event are made on one thread and freed on another: this takes a good part
/// off what the system's allocator asks for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    gateway::entry::main()
}
