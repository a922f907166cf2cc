//! The `callboard-chaos` command.

/// A simulated life allocates and frees all the time, in one thread: this takes a good part off it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    chaos::command::main()
}
