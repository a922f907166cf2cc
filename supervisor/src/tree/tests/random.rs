//! Random trees, random failures: whatever happens, nobody is lost and nobody is left over.

use policies::backoff::Backoff;
use policies::intensity::Intensity;
use policies::reaction::{Action, Amendment, Amendments};
use policies::span::Span;
use policies::strategy::{RestartKind, Strategy};
use policies::tree::{NodePolicy, SupervisorPolicy, WorkerPolicy};
use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;

use super::*;
use crate::NodeSnapshot;

/// The shape of a tree: its supervisors, each with the number of its workers and, but for
/// the first, the elder supervisor it is under.
#[derive(Debug, Clone)]
struct Shape {
    supervisors: Vec<(Strategy, Vec<RestartKind>, prop::sample::Index)>,
    /// So many supervisors on are the workers of each to be found.
    shift: usize,
}

const SUPERVISORS_MAX: usize = 4;
/// Workers of one supervisor.
const WORKERS_MAX: usize = 3;

#[derive(Debug, Clone)]
enum Blow {
    Worker(prop::sample::Index, u8),
    Fail(prop::sample::Index, FailureClass),
    Supervisor(prop::sample::Index),
    Park(prop::sample::Index),
    Resume(prop::sample::Index),
    /// The breaker in front of all opens, or closes.
    Breaker(bool),
    /// The tree becomes another.
    Reload(Shape),
    /// No budget pays this worker any more, or one pays all again.
    Poor(Option<prop::sample::Index>),
    Pause(u64),
}

fn shapes() -> impl Generate<Value = Shape> {
    let strategy = prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)];
    let kind = prop_oneof![4 => Just(RestartKind::Permanent), 1 => Just(RestartKind::Transient), 1 => Just(RestartKind::Temporary)];
    let supervisor = (strategy, prop::collection::vec(kind, 0..=WORKERS_MAX), any::<prop::sample::Index>());
    let shift = 0..WORKERS_MAX;
    (prop::collection::vec(supervisor, 1..=SUPERVISORS_MAX), shift)
        .prop_map(|(supervisors, shift)| Shape { supervisors, shift })
}

fn blows() -> impl Generate<Value = Vec<Blow>> {
    let index = any::<prop::sample::Index>;
    let blow = prop_oneof![
        6 => (index(), 0..5_u8).prop_map(|(worker, how)| Blow::Worker(worker, how)),
        3 => (index(), prop::sample::select(&FailureClass::ALL[..])).prop_map(|(worker, class)| Blow::Fail(worker, class)),
        1 => index().prop_map(Blow::Supervisor),
        1 => index().prop_map(Blow::Park),
        1 => index().prop_map(Blow::Resume),
        1 => any::<bool>().prop_map(Blow::Breaker),
        2 => shapes().prop_map(Blow::Reload),
        1 => prop::option::of(index()).prop_map(Blow::Poor),
        4 => (0..3_000_u64).prop_map(Blow::Pause),
    ];
    prop::collection::vec(blow, 0..40)
}

/// What the tree says of one class.
fn amendments() -> impl Generate<Value = Amendments> {
    let action = prop_oneof![
        Just(Action::Restart),
        Just(Action::Pause),
        Just(Action::Park),
        Just(Action::Stop),
        Just(Action::Escalate)
    ];
    let amendment = (prop::sample::select(&FailureClass::ALL[..]), action, any::<bool>());
    let amendment = amendment.prop_map(|(class, action, counts)| {
        (class, Amendment { action: Some(action), counts: Some(counts), wait: None })
    });
    prop::collection::vec(amendment, 0..3).prop_map(|amendments| amendments.into_iter().collect())
}

/// Each worker that a shape may have.
fn everyone() -> impl Iterator<Item = String> {
    (0..SUPERVISORS_MAX).flat_map(|at| (0..WORKERS_MAX).map(move |number| format!("w{at}{number}")))
}

/// Which shape the tree has, and what its failures lead to.
fn policy(shape: &Shape, on: Amendments) -> TreePolicy {
    let mut nodes = std::collections::BTreeMap::new();
    let mut children: Vec<Vec<String>> = vec![Vec::new(); shape.supervisors.len()];
    for (at, (_, kinds, parent)) in shape.supervisors.iter().enumerate() {
        if at > 0 {
            children[parent.index(at)].push(format!("s{at}"));
        }
        for (number, kind) in kinds.iter().enumerate() {
            // Under another shift, others are the first, and others again come from elsewhere.
            let name =
                format!("w{}{}", (at + shape.shift * number) % SUPERVISORS_MAX, (number + shape.shift) % WORKERS_MAX);
            children[at].push(name.clone());
            let backoff = Backoff { first: Span::from_millis(50 * number as u64), ..Backoff::default() };
            let worker =
                WorkerPolicy { restart: *kind, backoff, shutdown: Span::from_secs(1), ..WorkerPolicy::default() };
            nodes.insert(name, NodePolicy::Worker(worker));
        }
    }
    for (at, ((strategy, ..), children)) in shape.supervisors.iter().zip(children).enumerate() {
        let intensity = Intensity { restarts: 4, within: Span::from_secs(5) };
        let own = SupervisorPolicy { strategy: *strategy, intensity, children, ..SupervisorPolicy::default() };
        nodes.insert(format!("s{at}"), NodePolicy::Supervisor(own));
    }
    TreePolicy { root: "s0".into(), on, nodes }
}

fn pick(yard: &Yard, at: prop::sample::Index) -> Option<String> {
    let count = yard.slots.len();
    (count > 0).then(|| yard.slots.keys().nth(at.index(count)).unwrap().clone())
}

async fn strike(yard: &mut Yard, tree: &Tree, blow: Blow) {
    match blow {
        Blow::Worker(at, how) => hit(yard, at, how),
        Blow::Fail(at, class) => {
            if let Some(hand) = pick(yard, at).and_then(|name| yard.slots[&name].current()) {
                let _ = hand.send_message(Do::Fail(class));
            }
        }
        Blow::Supervisor(at) => {
            let supervisors = yard.policy.nodes.keys().filter(|name| name.starts_with('s') && *name != "s0");
            let supervisors: Vec<_> = supervisors.collect();
            if !supervisors.is_empty() {
                let _ = tree.fault(supervisors[at.index(supervisors.len())], Fault::Kill).await;
            }
        }
        Blow::Park(at) => {
            if let Some(name) = pick(yard, at) {
                tree.park(&name).await;
            }
        }
        Blow::Resume(at) => {
            if let Some(name) = pick(yard, at) {
                tree.resume(&name).await;
            }
        }
        Blow::Reload(shape) => {
            let other = policy(&shape, yard.policy.on.clone());
            tree.govern(&other).unwrap();
            yard.policy = other;
        }
        Blow::Breaker(open) => *yard.weather.breaker.lock().unwrap() = open.then_some(SECOND),
        Blow::Poor(None) => yard.weather.poor.lock().unwrap().clear(),
        Blow::Poor(Some(at)) => yard.weather.poor.lock().unwrap().extend(pick(yard, at)),
        Blow::Pause(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
}

fn hit(yard: &Yard, at: prop::sample::Index, how: u8) {
    let Some(hand) = pick(yard, at).and_then(|name| yard.slots[&name].current()) else { return };
    // Whether it still takes messages is its affair.
    let _ = match how {
        0 => hand.send_message(Do::Panic),
        1 => hand.send_message(Do::Fail(FailureClass::ProviderDown)),
        2 => hand.send_message(Do::End),
        3 => hand.send_message(Do::Sleep(Duration::from_millis(700))),
        _ => {
            hand.kill();
            Ok(())
        }
    };
}

fn workers_up(node: &NodeSnapshot, found: &mut Vec<String>) {
    if node.name.starts_with('w') && node.state == NodeState::Up {
        found.push(node.name.clone());
    }
    node.children.iter().for_each(|child| workers_up(child, found));
}

/// The names of all below supervisors that are up.
fn names(node: &NodeSnapshot) -> Vec<String> {
    let below = node.children.iter().filter(|_| node.state == NodeState::Up).flat_map(names);
    below.chain([node.name.clone()]).collect()
}

fn is_at_rest(node: &NodeSnapshot) -> bool {
    matches!(node.state, NodeState::Up | NodeState::Parked | NodeState::Done) && node.children.iter().all(is_at_rest)
}

async fn run(
    shape: Shape,
    on: Amendments,
    blows: Vec<Blow>,
    seed: u64,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let mut yard = Yard::of(policy(&shape, on), seed);
    for name in everyone() {
        if !yard.factories.contains_key(&name) {
            let factory = yard.hand(&name);
            yard.factories.insert(name, factory);
        }
    }
    let tree = yard.start().await;
    for blow in blows {
        strike(&mut yard, &tree, blow).await;
        // Fails by itself when two generations of one name live at once.
        yard.live();
    }
    *yard.weather.breaker.lock().unwrap() = None;
    yard.weather.poor.lock().unwrap().clear();
    // Let the last blow land first.
    tokio::time::sleep(SECOND).await;
    until(&tree, "at rest", |picture| is_at_rest(&picture.root)).await;
    let mut up = Vec::new();
    workers_up(&tree.draw().root, &mut up);
    up.sort();
    prop_assert_eq!(up, yard.live(), "the picture shows exactly those that live");
    if tree.is_up() {
        let shown = names(&tree.draw().root);
        let strangers: Vec<_> = shown.iter().filter(|name| !yard.policy.nodes.contains_key(*name)).collect();
        prop_assert_eq!(strangers, Vec::<&String>::new(), "who left is gone");
    }
    yard.take_log();
    let escalated = tree.escalated().is_some();
    tree.shutdown().await;
    prop_assert!(yard.live().is_empty(), "no orphan");
    if !escalated {
        let log = yard.take_log();
        let stopped: Vec<_> = log.split(' ').filter_map(|entry| entry.strip_prefix('-')).collect();
        let order = yard.policy.start_order().into_iter().rev();
        let expected: Vec<_> = order.filter(|name| stopped.contains(name)).collect();
        prop_assert_eq!(stopped, expected, "stopped in reverse start order");
    }
    Ok(())
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(96))]
    #[test]
    fn no_orphan_no_double_and_order_kept(shape in shapes(), on in amendments(), blows in blows(), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(shape, on, blows, seed))?;
    }
}
