//! The world an actor lives in: clock, chance, tasks, threads and the way out over HTTP.
//! Invariant: this is the only module that reads a clock, draws entropy or spawns. A simulated
//! world on a paused, single-threaded runtime does the same steps in the same order for one seed.

mod chance;
mod pulse;
mod simulation;
mod trouble;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use policies::instant::Timestamp;
use policies::liveness::Doing;
use tokio::task::JoinHandle;

pub use chance::Chance;
pub use pulse::{Pulse, Turn};
pub use simulation::{EPOCH, Listener};
pub use trouble::{ON_PURPOSE, Trouble, Troubled, Troublemaker};

use crate::transport::{self, Transport};
use simulation::Simulation;

/// What a real world is made with.
#[derive(Clone, Debug, Default)]
pub struct WorldOptions {
    /// How it reaches other machines.
    pub transport: transport::Options,
}

/// A world could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The operating system gave no entropy.
    #[error("the operating system gives no random numbers; a world needs them for ids and jitter")]
    Entropy(#[source] rand::rngs::SysError),
    /// The HTTP client could not be built.
    #[error("the HTTP client cannot be set up")]
    Transport(#[source] transport::SetupError),
}

/// Work handed to another task or thread ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` ended without a result: {reason}")]
pub struct Lost {
    /// The name under which the work was started.
    pub name: &'static str,
    /// A panic's message, or that it was cancelled.
    pub reason: String,
}

/// A thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// A simulated world has one thread only.
    #[error("`{0}` asks for a thread of its own, and a simulated world has none to give")]
    Simulated(&'static str),
    /// The operating system refused.
    #[error("the thread `{name}` cannot be started; check the limit on processes")]
    Refused {
        /// The thread's name.
        name: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// Clock, chance, tasks and transport; a cheap clone that everything carries along.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    start: tokio::time::Instant,
    transport: Arc<dyn Transport>,
    tasks: AtomicUsize,
    trouble: trouble::Seat,
    pulses: pulse::Pulses,
    mode: Mode,
}

enum Mode {
    Real(chance::Entropy),
    Simulated(Simulation),
}

impl World {
    /// The real world: wall clock, entropy of the operating system, HTTP over the network.
    ///
    /// # Errors
    /// When the system gives no entropy, or no HTTP client can be set up.
    pub fn real(options: WorldOptions) -> Result<Self, WorldError> {
        let transport = transport::network(&options.transport).map_err(WorldError::Transport)?;
        let entropy = chance::Entropy::open().map_err(WorldError::Entropy)?;
        Ok(Self::new(transport, Mode::Real(entropy)))
    }

    /// A simulated world, whose every choice follows from `seed`. Make it inside a
    /// `current_thread` runtime with a paused clock; it starts at [`EPOCH`]. The same seed draws the
    /// same ids, so a world that goes on from another one's disk takes its seed from [`reboot`].
    pub fn simulated(seed: u64, transport: Arc<dyn Transport>) -> Self {
        Self::new(transport, Mode::Simulated(Simulation::new(seed)))
    }

    fn new(transport: Arc<dyn Transport>, mode: Mode) -> Self {
        let start = tokio::time::Instant::now();
        Self(Arc::new(Inner {
            start,
            transport,
            tasks: AtomicUsize::new(0),
            trouble: trouble::Seat::default(),
            pulses: pulse::Pulses::new(start),
            mode,
        }))
    }

    /// Whether this world is simulated.
    pub fn is_simulated(&self) -> bool {
        matches!(self.0.mode, Mode::Simulated(_))
    }

    /// The wall clock. It may jump, forwards and back: measure spans with [`World::elapsed`].
    #[expect(clippy::disallowed_methods, reason = "this is the wall clock that all others ask")]
    pub fn now(&self) -> Timestamp {
        match &self.0.mode {
            Mode::Real(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(Timestamp::from_micros(0), |since| Timestamp::from_micros(micros(since))),
            Mode::Simulated(simulation) => simulation.now(self.elapsed()),
        }
    }

    /// Monotonic time since this world began; a paused runtime's clock drives it.
    pub fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Moves the wall clock by `by_ms` milliseconds, against the monotonic one. A real world's
    /// clock is not ours to move: there it does nothing.
    pub fn jump(&self, by_ms: i64) {
        if let Mode::Simulated(simulation) = &self.0.mode {
            simulation.jump(by_ms);
        }
    }

    /// A stream of chance of its own. In simulation it follows from the seed, the name, and how
    /// often this name was asked for; other names' streams do not disturb it.
    pub fn chance(&self, name: &str) -> Chance {
        match &self.0.mode {
            Mode::Real(entropy) => entropy.stream(),
            Mode::Simulated(simulation) => simulation.chance(name),
        }
    }

    /// Starts a task. It ends by itself or by its handle; nobody joins it.
    #[expect(clippy::disallowed_methods, reason = "this is where all tasks are spawned")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let counted = Counted::new(self.clone());
        // The runtime moves a task about before it pins it; these futures are long.
        let mut future = Box::pin(future);
        tokio::spawn(async move {
            counted.0.yield_point().await;
            tracing::trace!(task = name, "started");
            let output = std::future::poll_fn(|context| {
                counted.0.step();
                future.as_mut().poll(context)
            })
            .await;
            drop(future);
            drop(counted);
            output
        })
    }

    /// How many tasks that [`World::spawn`] started have not ended.
    pub fn tasks(&self) -> usize {
        self.0.tasks.load(Ordering::Relaxed)
    }

    /// Runs blocking work off the async threads; in simulation at once and in place.
    ///
    /// # Errors
    /// [`Lost`] when the work panics, or the runtime shuts down first.
    #[expect(clippy::disallowed_methods, reason = "this is where all blocking work goes")]
    pub async fn blocking<T, F>(&self, name: &'static str, work: F) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if self.is_simulated() {
            return std::panic::catch_unwind(AssertUnwindSafe(work))
                .map_err(|panic| Lost { name, reason: message_of(panic.as_ref()) });
        }
        tokio::task::spawn_blocking(work).await.map_err(|end| {
            let reason =
                end.try_into_panic().map_or_else(|_| "cancelled".to_owned(), |panic| message_of(panic.as_ref()));
            Lost { name, reason }
        })
    }

    /// Starts a thread, for a loop that blocks for as long as it lives.
    ///
    /// # Errors
    /// In simulation, always: run the same steps as a task. Else when the system refuses.
    pub fn thread<F>(&self, name: &'static str, work: F) -> Result<std::thread::JoinHandle<()>, ThreadError>
    where
        F: FnOnce() + Send + 'static,
    {
        if self.is_simulated() {
            return Err(ThreadError::Simulated(name));
        }
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(|source| ThreadError::Refused { name, source })
    }

    /// Where another task may go first: 0 to 3 seeded yields in simulation, which find the
    /// ordering faults that a first-in-first-out scheduler hides; nothing in the real world.
    pub async fn yield_point(&self) {
        if let Mode::Simulated(simulation) = &self.0.mode {
            for _ in 0..simulation.yields() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// What every handler of an actor begins with: a [yield point](Self::yield_point), and whatever
    /// trouble somebody makes for the actor of this name. The turn lasts until what this returns is
    /// dropped.
    ///
    /// # Errors
    /// [`Troubled`], when the turn is to fail.
    pub async fn turn(&self, actor: &str) -> Result<Turn, Troubled> {
        let turn = self.0.pulses.begin(actor, Doing::Working);
        self.yield_point().await;
        if let Some(trouble) = self.0.trouble.strike(actor) {
            trouble::meet(actor, trouble).await?;
        }
        Ok(turn)
    }

    /// Beside the turns of the actor of this name, something that a task does for it.
    pub fn act(&self, actor: &str, doing: Doing) -> Turn {
        self.0.pulses.begin(actor, doing)
    }

    /// Who is at work, in the order in which they began.
    pub fn busy(&self) -> Vec<Pulse> {
        self.0.pulses.busy()
    }

    /// Lets somebody make trouble from now on, or nobody.
    pub fn trouble(&self, troublemaker: Option<Arc<dyn Troublemaker>>) {
        self.0.trouble.take(troublemaker);
    }

    /// The one way to other machines.
    pub fn http(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.0.transport)
    }

    /// Folds a line into the running trace, by which two runs of one seed are compared. The real
    /// world keeps none, and does not even format the line.
    pub fn trace(&self, line: impl Display) {
        if let Mode::Simulated(simulation) = &self.0.mode {
            simulation.trace(self.elapsed(), &line);
        }
    }

    /// Tells each line of the trace to `listener` too. The real world has no trace.
    pub fn listen(&self, listener: Listener) {
        if let Mode::Simulated(simulation) = &self.0.mode {
            simulation.listen(listener);
        }
    }

    /// Yields no more at yield points, so that what came first goes first: to see whether a failure
    /// needs another order.
    pub fn still(&self) {
        if let Mode::Simulated(simulation) = &self.0.mode {
            simulation.still();
        }
    }

    fn step(&self) {
        if let Mode::Simulated(simulation) = &self.0.mode {
            simulation.step();
        }
    }

    /// How often a task or an actor of a simulated world had its turn, and the lines of its trace
    /// together; 0 in the real one.
    pub fn steps(&self) -> u64 {
        match &self.0.mode {
            Mode::Real(_) => 0,
            Mode::Simulated(simulation) => simulation.steps(),
        }
    }

    /// The trace so far, as a hash; `None` in the real world.
    pub fn trace_hash(&self) -> Option<u64> {
        match &self.0.mode {
            Mode::Real(_) => None,
            Mode::Simulated(simulation) => Some(simulation.trace_hash()),
        }
    }
}

/// The seed for the `boots`-th start on the same simulated disk. A real restart draws fresh ids;
/// with the old seed a simulated one would draw those that the journal knows already.
pub fn reboot(seed: u64, boots: u64) -> u64 {
    chance::Chance::derived(seed, "world/reboot", boots).below(u64::MAX)
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("simulated", &self.is_simulated()).finish_non_exhaustive()
    }
}

/// One task in the count, for as long as its future exists.
struct Counted(World);

impl Counted {
    fn new(world: World) -> Self {
        world.0.tasks.fetch_add(1, Ordering::Relaxed);
        Self(world)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a panic said.
pub fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}"))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
