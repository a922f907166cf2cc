//! What holds of the books whatever happens, in whatever order.

use proptest::prelude::{Just, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;

use policies::intensity::{Allowance, Then};
use policies::reaction::{Action, Amendment, Reactions};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Answer(prop::sample::Index),
    StartFails(prop::sample::Index),
    Exit(prop::sample::Index, Exit),
    Later(u64),
    Park(prop::sample::Index),
    Resume(prop::sample::Index),
    /// What restarts ask for is there, or is not.
    Hold(bool),
    /// Another policy is in force: who stays, in which order, and whether another comes, and where.
    Reload(u32, Option<prop::sample::Index>),
    Close,
}

fn steps() -> impl Generate<Value = Vec<Step>> {
    let exits = prop_oneof![
        Just(Exit::Normal),
        Just(Exit::Killed),
        prop::sample::select(&FailureClass::ALL[..]).prop_map(failed)
    ];
    let step = prop_oneof![
        12 => any::<prop::sample::Index>().prop_map(Step::Answer),
        1 => any::<prop::sample::Index>().prop_map(Step::StartFails),
        6 => (any::<prop::sample::Index>(), exits).prop_map(|(child, exit)| Step::Exit(child, exit)),
        3 => (0..8_u64).prop_map(Step::Later),
        1 => any::<prop::sample::Index>().prop_map(Step::Park),
        1 => any::<prop::sample::Index>().prop_map(Step::Resume),
        1 => any::<bool>().prop_map(Step::Hold),
        2 => (any::<u32>(), any::<Option<prop::sample::Index>>()).prop_map(|(who, comes)| Step::Reload(who, comes)),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 0..200)
}

fn reactions() -> impl Generate<Value = Arc<Reactions>> {
    let action = prop_oneof![
        6 => Just(Action::Restart), 3 => Just(Action::Pause), 1 => Just(Action::Park), 1 => Just(Action::Stop),
        1 => Just(Action::Escalate),
    ];
    let class = prop::sample::select(&FailureClass::ALL[..]);
    let amendment = (class, action, any::<bool>()).prop_map(|(class, action, counts)| {
        (class, Amendment { action: Some(action), counts: Some(counts), wait: None })
    });
    prop::collection::vec(amendment, 0..4)
        .prop_map(|amendments| Arc::new(Reactions::default().amended(&amendments.into_iter().collect())))
}

fn allowances() -> impl Generate<Value = Option<Allowance>> {
    let then = prop_oneof![Just(Then::Escalate), Just(Then::Park), Just(Then::Stop)];
    let allowance =
        (0..4_u32, then).prop_map(|(restarts, then)| Allowance { restarts, within: Span::from_secs(10), then });
    prop::option::weighted(0.3, allowance)
}

fn children() -> impl Generate<Value = Vec<Rules>> {
    let kind = prop_oneof![Just(Permanent), Just(Transient), Just(Temporary)];
    let child = (kind, any::<bool>(), reactions(), allowances(), prop::bool::weighted(0.3)).prop_map(
        |(kind, waits, reactions, allowance, significant)| {
            let first = Span::from_millis(if waits { 100 } else { 0 });
            let backoff = Backoff { first, cap: Span::from_secs(1), ..no_backoff() };
            Rules { backoff, reactions, allowance, significant, ..rules(kind) }
        },
    );
    prop::collection::vec(child, 0..6)
}

fn regimes() -> impl Generate<Value = Regime> {
    let strategy = prop_oneof![Just(OneForOne), Just(OneForAll), Just(RestForOne)];
    let shutdown = prop_oneof![
        4 => Just(AutoShutdown::Never), 1 => Just(AutoShutdown::AnySignificant), 1 => Just(AutoShutdown::AllSignificant),
    ];
    prop_oneof![
        4 => (strategy, shutdown).prop_map(|(strategy, shutdown)| Regime::Declared(strategy, shutdown)),
        1 => Just(Regime::Dynamic),
    ]
}

/// What must hold after every step.
fn check_laws(bench: &Bench, regime: Regime) -> Result<(), TestCaseError> {
    let books = &bench.books;
    prop_assert_eq!(&bench.slips, &Vec::<String>::new(), "each starts and stops in its turn");
    for (id, child) in &books.children {
        let settled = matches!(child.life, Life::Up { .. } | Life::Parked | Life::Done { .. });
        prop_assert_eq!(books.pending.all.contains(&Seat { rank: child.rank, id: *id }), !settled);
        let known = match child.life {
            Life::Up { actor } => Some(actor),
            Life::Condemned { actor, .. } | Life::Stopping { actor, .. } => actor,
            _ => None,
        };
        prop_assert_eq!(bench.actor(*id), known, "each actor belongs to one life");
    }
    prop_assert!(books.actors.values().all(|id| books.children.contains_key(id)), "no orphan");
    let stops = bench.open.iter().filter(|order| matches!(order, Order::Stop(..))).count();
    prop_assert!(stops <= 1 || regime == Regime::Dynamic, "stops go one by one");
    let ranks: std::collections::BTreeSet<u64> = books.children.values().map(|child| child.rank).collect();
    prop_assert_eq!(ranks.len(), books.children.len(), "each has a place of its own");
    if regime != Regime::Dynamic && books.closing.is_none() {
        let order = books.order();
        let staying: Vec<_> = order.into_iter().filter(|id| !books.children[id].leaves).collect();
        prop_assert_eq!(&staying, &bench.roster, "the children are those of the policy in force, in its order");
    }
    Ok(())
}

/// The restarts that were made and count, by when, child and class.
fn counted(bench: &Bench, children: &[Rules]) -> Vec<(Duration, String)> {
    let mut classes = std::collections::BTreeMap::new();
    let mut counted = Vec::new();
    for (at, event) in &bench.events {
        match event {
            SupervisionEvent::ChildDown { child, class, .. } => drop(classes.insert(child.clone(), *class)),
            SupervisionEvent::Restarting { child, .. } => {
                let rules = &children[usize::from(child.as_bytes()[0] - b'a')];
                if classes[child].is_none_or(|class| rules.reactions.to(class).counts) {
                    counted.push((*at, child.clone()));
                }
            }
            _ => {}
        }
    }
    counted
}

fn recent(counted: &[(Duration, String)], until: Duration, of: Option<&str>) -> usize {
    let of_child = counted.iter().filter(|(_, child)| of.is_none_or(|name| name == child));
    of_child.filter(|(at, _)| *at <= until && until - *at < Duration::from_secs(10)).count()
}

/// No window holds more restarts than are allowed, and a supervisor gives up when a failure says so
/// or when one restart more was due, and never else.
fn check_intensity(bench: &Bench, children: &[Rules], resumed: bool) -> Result<(), TestCaseError> {
    let counted = counted(bench, children);
    for (at, child) in &counted {
        prop_assert!(recent(&counted, *at, None) <= RESTARTS as usize, "the supervisor's intensity");
        let allowance = children[usize::from(child.as_bytes()[0] - b'a')].allowance;
        let within = allowance.is_none_or(|own| recent(&counted, *at, Some(child)) <= own.restarts as usize);
        prop_assert!(resumed || within, "the child's allowance");
    }
    let escalations = bench.events.iter().filter_map(|(at, event)| match event {
        SupervisionEvent::Escalated { child, class, .. } => Some((*at, child, *class)),
        _ => None,
    });
    for (at, child, class) in escalations {
        let rules = &children[usize::from(child.as_bytes()[0] - b'a')];
        let is_due = rules.reactions.to(class).action == Action::Escalate;
        let spent = recent(&counted, at, None) >= RESTARTS as usize;
        let own = rules.allowance.is_some_and(|own| {
            own.then == Then::Escalate && recent(&counted, at, Some(child)) >= own.restarts as usize
        });
        prop_assert!(is_due || spent || own, "{child} {class} at {at:?}");
        prop_assert!(matches!(bench.books.closing, Some(End::Escalated(_) | End::Closed | End::Finished)));
    }
    Ok(())
}

/// The restarts that a supervisor may make within 10 s.
const RESTARTS: u32 = 4;

/// The most children that there ever are.
const CHILDREN_MAX: usize = 12;

/// Another roster: of those in force, some, in another order, and perhaps a new one.
fn reload(bench: &mut Bench, who: u32, comes: Option<prop::sample::Index>) {
    if bench.books.regime == Regime::Dynamic || bench.books.closing.is_some() {
        return;
    }
    let of = |place: usize| who.rotate_left(5 * place as u32);
    let mut roster: Vec<_> = bench.roster.iter().enumerate().filter(|(at, _)| of(*at) % 4 != 0).collect();
    if who.is_multiple_of(3) {
        roster.sort_by_key(|(at, _)| of(*at));
    }
    let mut roster: Vec<String> = roster.into_iter().map(|(_, id)| name(*id)).collect();
    let ever = bench.rules.len();
    if let Some(place) = comes.filter(|_| ever < CHILDREN_MAX) {
        roster.insert(place.index(roster.len() + 1), name(NodeId::of(ever as u64)));
    }
    let before: Vec<_> = bench.books.children.iter().map(|(id, child)| (*id, child.life)).collect();
    let rules = bench.rules.get(who as usize % ever.max(1)).cloned().unwrap_or_else(|| rules(Permanent));
    bench.held = None;
    let (log, orders) = (bench.log.len(), bench.roster.clone());
    bench.reload(&roster.join(" "), &rules);
    for (id, _) in before.iter().filter(|(id, life)| matches!(life, Life::Up { .. }) && bench.roster.contains(id)) {
        let touched = [format!("start {}", name(*id)), format!("stop {}", name(*id))];
        if bench.log[log..].iter().any(|order| touched.contains(order)) {
            bench.slips.push(format!("{} was disturbed: {orders:?}", name(*id)));
        }
    }
}

fn take_step(bench: &mut Bench, step: Step) {
    let children = bench.rules.len();
    let pick = |at: prop::sample::Index| NodeId::of(at.index(children.max(1)) as u64);
    match step {
        Step::Answer(at) if !bench.open.is_empty() => bench.answer(at.index(bench.open.len())),
        Step::StartFails(at) if !bench.open.is_empty() => {
            if let Order::Start(id, generation) = bench.open[at.index(bench.open.len())] {
                bench.open.retain(|order| *order != Order::Start(id, generation));
                let failure = Failure::new(FailureClass::Bug, "no start");
                bench.books.start_failed(id, generation, failure, bench.at());
            }
        }
        Step::Exit(at, exit) if !bench.books.actors.is_empty() => {
            let actor = *bench.books.actors.keys().nth(at.index(bench.books.actors.len())).unwrap();
            bench.books.exited(actor, exit, bench.at());
        }
        Step::Later(seconds) => bench.now += Duration::from_secs(seconds),
        Step::Park(at) => drop(bench.books.park(pick(at))),
        Step::Resume(at) => drop(bench.books.resume(pick(at))),
        Step::Hold(held) => bench.held = held.then_some((Hold::Breaker, Duration::from_secs(1))),
        Step::Reload(who, comes) => reload(bench, who, comes),
        Step::Close => bench.books.close(End::Closed),
        _ => {}
    }
    bench.pump();
}

proptest! {
    #[test]
    fn books_are_whole_whatever_happens(regime in regimes(), children in children(), steps in steps()) {
        let mut bench = Bench::new(regime, RESTARTS, &children);
        let resumed = steps.iter().any(|step| matches!(step, Step::Resume(_)));
        for step in steps {
            take_step(&mut bench, step);
            check_laws(&bench, regime)?;
        }
        bench.held = None;
        // Left alone, every child comes to rest; and the end comes exactly when it was due.
        bench.answer_all();
        check_laws(&bench, regime)?;
        prop_assert!(bench.books.children.values().all(|child| !child.leaves), "who leaves is gone in the end");
        prop_assert!(bench.books.pending.all.is_empty());
        prop_assert_eq!(bench.end.is_some(), bench.books.is_closing());
        prop_assert!(bench.end.is_none() || bench.books.actors.is_empty());
        check_intensity(&bench, &bench.rules, resumed)?;
    }
}
