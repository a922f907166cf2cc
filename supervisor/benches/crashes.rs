//! Ten thousand children under one supervisor, and a thousand of them crash each second for a minute:
//! how long from a crash until the next life is up, and whether a child is lost. Beside it, an Erlang
//! supervisor does the same on this machine, if there is one.
//!
//! `cargo bench -p supervisor`, with `-- --quick` for five seconds. Ends with status 1 when a child is
//! lost; no time is asserted.
#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock on real threads")]
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actors::world::{World, WorldOptions};
use policies::failure::FailureClass;
use policies::tree::TreePolicy;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisor::{Failure, Silent, Slot, Tree, worker};

const CHILDREN: usize = 10_000;
const CRASHES_A_SECOND: u64 = 1_000;
const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 5;
/// A step through the children that meets each once before any twice: it shares no factor with their number.
const STRIDE: u64 = 7_919;
/// How often the crashes that are due are sent.
const TICK: Duration = Duration::from_millis(1);
/// How long the last restarts may take.
const SETTLING: Duration = Duration::from_secs(1);

const TREE: &str = r#"
    root = "root"
    [supervisor.root]
    children = ["crowd"]
    [dynamic.crowd]
    limit = 10000
    intensity = { restarts = 10000, within = "1s" }
    child = { backoff = { first = "0s", cap = "0s" } }
"#;
const ERLANG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/erlang/crashes.escript");

/// What a run of either came to.
struct Outcome {
    up: Duration,
    crashes: usize,
    /// From each crash to the next life.
    p50: Duration,
    p99: Duration,
    longest: Duration,
    restarts: usize,
    lost: usize,
}

/// One child over all of its lives.
struct Place {
    slot: Slot<Order>,
    /// When its last life crashed, in nanoseconds since the start; 0 when it has not.
    crashed: AtomicU64,
}

struct Crowd {
    begun: Instant,
    places: Vec<Place>,
    took: Mutex<Vec<Duration>>,
}

enum Order {
    Crash,
    Answer(tokio::sync::oneshot::Sender<()>),
}

struct Member;

impl Actor for Member {
    type Msg = Order;
    type State = (Arc<Crowd>, usize);
    type Arguments = (Arc<Crowd>, usize);

    async fn pre_start(&self, _: ActorRef<Order>, place: Self::Arguments) -> Result<Self::State, ActorProcessingErr> {
        Ok(place)
    }

    async fn post_start(&self, _: ActorRef<Order>, (crowd, at): &mut Self::State) -> Result<(), ActorProcessingErr> {
        let crashed = crowd.places[*at].crashed.swap(0, Ordering::AcqRel);
        if crashed > 0 {
            let took = crowd.begun.elapsed().saturating_sub(Duration::from_nanos(crashed));
            crowd.took.lock().unwrap().push(took);
        }
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Order>,
        order: Order,
        (crowd, at): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Answer(asker) => drop(asker.send(())),
            Order::Crash => {
                let now = u64::try_from(crowd.begun.elapsed().as_nanos()).unwrap();
                crowd.places[*at].crashed.store(now, Ordering::Release);
                return Err(Failure::new(FailureClass::Bug, "crash").into());
            }
        }
        Ok(())
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let seconds = if quick { SECONDS_QUICK } else { SECONDS };
    println!("{CHILDREN} children, {CRASHES_A_SECOND} crashes a second for {seconds} s\n");
    println!("            all up    crashes   restarts       p50       p99    longest    lost");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ours = runtime.block_on(run(Duration::from_secs(seconds)));
    show("callboard", &ours);
    match erlang(seconds) {
        Some(theirs) => show("erlang", &theirs),
        None => println!("erl is not installed: apt install erlang-base"),
    }
    if ours.lost > 0 || ours.restarts < ours.crashes {
        eprintln!("\n{} children were lost, {} crashes of {} were restarted", ours.lost, ours.restarts, ours.crashes);
        std::process::exit(1);
    }
}

fn show(who: &str, outcome: &Outcome) {
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!(
        "{who:<10} {:>5.0} ms {:>10} {:>10} {:>6.3} ms {:>6.3} ms {:>7.3} ms {:>7}",
        ms(outcome.up),
        outcome.crashes,
        outcome.restarts,
        ms(outcome.p50),
        ms(outcome.p99),
        ms(outcome.longest),
        outcome.lost,
    );
}

async fn run(time: Duration) -> Outcome {
    let place = |_| Place { slot: Slot::new(), crashed: AtomicU64::new(0) };
    let places = (0..CHILDREN).map(place).collect();
    let crowd = Arc::new(Crowd { begun: Instant::now(), places, took: Mutex::default() });
    let world = World::real(WorldOptions::default()).unwrap();
    let policy = TreePolicy::read("bench", TREE).unwrap();
    let tree = Tree::start(world, policy, BTreeMap::new(), Arc::new(Silent)).await.unwrap();
    tree.ready().await.unwrap();
    let dynamic = tree.dynamic("crowd").unwrap();
    for at in 0..CHILDREN {
        let (slot, crowd) = (crowd.places[at].slot.clone(), Arc::clone(&crowd));
        let factory = worker(slot, move |_| (Member, (Arc::clone(&crowd), at)));
        dynamic.spawn_child(format!("member/{at}"), factory).await.unwrap();
    }
    let up = crowd.begun.elapsed();
    let crashes = crash(&crowd, time).await;
    tokio::time::sleep(SETTLING).await;
    let mut lost = 0;
    for place in &crowd.places {
        lost += usize::from(!answers(place).await);
    }
    let mut took = std::mem::take(&mut *crowd.took.lock().unwrap());
    took.sort_unstable();
    let share = |percent: usize| took.get((took.len() * percent / 100).saturating_sub(1)).copied().unwrap_or_default();
    let (p50, p99, longest, restarts) = (share(50), share(99), share(100), took.len());
    tree.shutdown().await;
    Outcome { up, crashes, p50, p99, longest, restarts, lost }
}

/// Sends as many crashes as are due, until the time is over; how many.
async fn crash(crowd: &Crowd, time: Duration) -> usize {
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < time {
        let due = u64::try_from(begun.elapsed().as_micros()).unwrap() * CRASHES_A_SECOND / 1_000_000;
        for nth in sent..due {
            let at = usize::try_from(nth * STRIDE).unwrap() % CHILDREN;
            let member = crowd.places[at].slot.current().unwrap();
            member.send_message(Order::Crash).map_err(|_| "it is down").unwrap();
        }
        sent = due;
        tokio::time::sleep(TICK).await;
    }
    usize::try_from(sent).unwrap()
}

async fn answers(place: &Place) -> bool {
    let (asker, answer) = tokio::sync::oneshot::channel();
    let Some(member) = place.slot.current() else { return false };
    member.send_message(Order::Answer(asker)).is_ok() && answer.await.is_ok()
}

/// The same by an Erlang supervisor; none when there is no Erlang.
fn erlang(seconds: u64) -> Option<Outcome> {
    let arguments = [CHILDREN.to_string(), CRASHES_A_SECOND.to_string(), seconds.to_string()];
    let output = Command::new("escript").arg(ERLANG).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text.split_whitespace().map_while(|number| number.parse().ok()).collect();
    let [up, p50, p99, longest, crashes, restarts, lost] = numbers[..] else {
        panic!("{ERLANG} failed: {}{text}", String::from_utf8_lossy(&output.stderr));
    };
    let count = |number| usize::try_from(number).unwrap();
    Some(Outcome {
        up: Duration::from_micros(up),
        crashes: count(crashes),
        p50: Duration::from_micros(p50),
        p99: Duration::from_micros(p99),
        longest: Duration::from_micros(longest),
        restarts: count(restarts),
        lost: count(lost),
    })
}
