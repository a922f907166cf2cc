mod laws;
mod otp;
mod reactions;
mod reshaping;
mod words;

use std::sync::Arc;

use policies::backoff::Backoff;
use policies::span::Span;
use policies::strategy::RestartKind::{self, Permanent, Temporary, Transient};
use policies::strategy::Strategy::{self, OneForAll, OneForOne, RestForOne};
use policies::tree::AutoShutdown;

use super::*;
use crate::prospects::Hold;
use crate::snapshot::NodeState;

/// Books of children named a, b, c…, with a log of what was ordered.
struct Bench {
    books: Books,
    now: Duration,
    actors: u64,
    log: Vec<String>,
    /// Orders that take time and have not been answered.
    open: Vec<Order>,
    end: Option<End>,
    /// What puts restarts off.
    held: Option<(Hold, Duration)>,
    events: Vec<(Duration, SupervisionEvent)>,
    /// The rules of all children that there ever were.
    rules: Vec<Rules>,
    /// The children in force, in order.
    roster: Vec<NodeId>,
    /// Orders that came out of turn.
    slips: Vec<String>,
}

fn name(id: NodeId) -> String {
    let at = ('a'..='z').zip(0..).find(|(_, at)| NodeId::of(*at) == id);
    at.map_or('?', |(name, _)| name).to_string()
}

fn id(name: &str) -> NodeId {
    NodeId::of(u64::from(name.as_bytes()[0] - b'a'))
}

fn no_backoff() -> Backoff {
    Backoff { first: Span::default(), factor: 1.0, cap: Span::default(), jitter: 0.0 }
}

fn rules(restart: RestartKind) -> Rules {
    Rules { restart, backoff: no_backoff(), allowance: None, reactions: Arc::default(), significant: false }
}

impl Bench {
    fn new(regime: Regime, restarts: u32, children: &[Rules]) -> Self {
        let intensity = Intensity { restarts, within: Span::from_secs(10) };
        let mut books = Books::new("sup", regime, intensity);
        for (at, rules) in children.iter().enumerate() {
            let id = NodeId::of(at as u64);
            books.add(id, Child::new(&name(id), rules.clone(), 0, 0));
        }
        let now = Duration::ZERO;
        let mut bench = Self {
            books,
            now,
            actors: 0,
            log: Vec::new(),
            open: Vec::new(),
            end: None,
            held: None,
            events: Vec::new(),
            rules: children.to_vec(),
            roster: (0..children.len()).map(|at| NodeId::of(at as u64)).collect(),
            slips: Vec::new(),
        };
        bench.pump();
        bench
    }

    fn declared(strategy: Strategy, kinds: &[RestartKind]) -> Self {
        let children: Vec<_> = kinds.iter().copied().map(rules).collect();
        let mut bench = Self::new(Regime::Declared(strategy, AutoShutdown::Never), 3, &children);
        bench.answer_all();
        bench.log.clear();
        bench
    }

    fn at(&self) -> Moment {
        Moment { now: self.now, chance: 0.0 }
    }

    /// Another policy has these children, named by their letters; those that there never were come with
    /// `rules`.
    fn reload(&mut self, children: &str, rules: &Rules) {
        self.roster = children.split(' ').filter(|name| !name.is_empty()).map(id).collect();
        let newest = self.roster.iter().max().copied();
        while newest >= Some(NodeId::of(self.rules.len() as u64)) {
            self.rules.push(rules.clone());
        }
        let made = |id| Some(Child::new(&name(id), rules.clone(), 0, 0));
        self.books.reshape(&self.roster, made);
        self.pump();
    }

    /// Whether an order comes in its turn, and is of one that is not gone.
    fn is_due(&self, order: &Order) -> bool {
        let Regime::Declared(strategy, _) = self.books.regime else { return true };
        let (Order::Start(id, _) | Order::Stop(id, _)) = order else { return true };
        let pending = &self.books.pending;
        let seat = Seat { rank: self.books.children[id].rank, id: *id };
        match (order, strategy) {
            (Order::Start(..), _) if !self.roster.contains(id) => false,
            (Order::Start(..), OneForOne) => pending.unborn.first() == Some(&seat) || !pending.unborn.contains(&seat),
            (Order::Start(..), _) => pending.all.first() == Some(&seat),
            _ => pending.condemned.last().is_none_or(|younger| *younger < seat),
        }
    }

    fn pump(&mut self) {
        let held = self.held;
        for order in self.books.orders(|_, _| held) {
            if !self.is_due(&order) {
                self.slips.push(format!("{order:?} in {}", self.states()));
            }
            match &order {
                Order::Start(id, _) => self.log.push(format!("start {}", name(*id))),
                Order::Stop(id, _) => self.log.push(format!("stop {}", name(*id))),
                Order::Wake(id, _, after) => self.log.push(format!("wait {} {after:?}", name(*id))),
                Order::Forget(id) => self.log.push(format!("forget {}", name(*id))),
                Order::Ready => self.log.push("ready".into()),
                Order::End(end) => self.end = Some(end.clone()),
                Order::Tell(event) => self.events.push((self.now, event.clone())),
                Order::Show(_) | Order::Failed(..) => {}
            }
            if matches!(order, Order::Start(..) | Order::Stop(..) | Order::Wake(..)) {
                self.open.push(order);
            }
        }
    }

    /// Answers one open order as the tasks do when all goes well.
    fn answer(&mut self, at: usize) {
        match self.open.remove(at) {
            Order::Start(id, generation) => {
                self.actors += 1;
                self.books.started(id, generation, ActorId::Local(self.actors), self.at());
            }
            Order::Stop(id, generation) => self.books.stopped(id, generation),
            Order::Wake(id, generation, _) => self.books.woke(id, generation),
            _ => {}
        }
        self.pump();
    }

    fn answer_all(&mut self) {
        while !self.open.is_empty() {
            self.answer(0);
        }
    }

    fn actor(&self, id: NodeId) -> Option<ActorId> {
        self.books.actors.iter().find(|(_, child)| **child == id).map(|(actor, _)| *actor)
    }

    fn exit(&mut self, child: &str, exit: Exit) {
        let actor = self.actor(id(child)).unwrap();
        self.books.exited(actor, exit, self.at());
        self.pump();
    }

    fn fail(&mut self, child: &str) {
        self.exit(child, bug());
    }

    fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }

    fn states(&self) -> String {
        let letter = |child: &Child| match child.view().state {
            NodeState::Up => 'U',
            NodeState::Done => 'D',
            NodeState::Waiting => 'W',
            NodeState::Backoff => 'B',
            NodeState::Paused => 'H',
            NodeState::Parked => 'P',
            NodeState::Stuck => '!',
            NodeState::Starting => 's',
            NodeState::Stopping => 'x',
        };
        self.books.order().iter().map(|id| letter(&self.books.children[id])).collect()
    }
}

fn bug() -> Exit {
    failed(FailureClass::Bug)
}

fn failed(class: FailureClass) -> Exit {
    Exit::Failed(Failure::new(class, "it broke"))
}

#[test]
fn a_transient_child_that_had_ended_comes_back_with_its_group() {
    let mut bench = Bench::declared(OneForAll, &[Permanent, Transient, Permanent]);
    bench.exit("b", Exit::Normal);
    bench.fail("a");
    bench.answer_all();
    assert_eq!(bench.take_log(), "stop c, start a, start b, start c");
}

#[test]
fn a_child_starts_when_its_elder_is_up() {
    let mut bench =
        Bench::new(Regime::Declared(OneForOne, AutoShutdown::Never), 3, &[rules(Permanent), rules(Permanent)]);
    assert_eq!(bench.take_log(), "start a");
    bench.answer(0);
    assert_eq!(bench.take_log(), "start b");
    bench.answer(0);
    assert_eq!(bench.take_log(), "ready");
}

#[test]
fn a_child_is_not_stopped_before_its_younger_sibling_is_down() {
    let mut bench = Bench::declared(OneForOne, &[Permanent; 3]);
    bench.books.close(End::Closed);
    bench.pump();
    for expected in ["stop c", "stop b", "stop a"] {
        assert_eq!((bench.take_log().as_str(), &bench.end), (expected, &None));
        bench.answer(0);
    }
    assert_eq!((bench.states().as_str(), &bench.end), ("DDD", &Some(End::Closed)));
}

#[test]
fn an_outage_backs_off_but_uses_up_no_restarts() {
    let mut bench = Bench::declared(OneForOne, &[Permanent; 1]);
    for _ in 0..20 {
        bench.exit("a", failed(FailureClass::ProviderDown));
        assert_eq!(bench.take_log(), "wait a 1s");
        bench.answer_all();
        bench.take_log();
    }
    assert_eq!(bench.end, None);
}

fn backing_off(strategy: Strategy) -> Bench {
    let backoff = Backoff { first: Span::from_secs(1), factor: 2.0, cap: Span::from_secs(4), jitter: 0.0 };
    let child = Rules { backoff, ..rules(Permanent) };
    let children = [child.clone(), child.clone(), child];
    let mut bench = Bench::new(Regime::Declared(strategy, AutoShutdown::Never), 10, &children);
    bench.answer_all();
    bench.log.clear();
    bench
}

#[test]
fn back_off_grows_to_its_cap_and_begins_anew_after_a_healthy_time() {
    let mut bench = backing_off(OneForOne);
    let mut delays = Vec::new();
    for _ in 0..4 {
        bench.fail("b");
        delays.push(bench.take_log());
        bench.answer_all();
        bench.take_log();
    }
    bench.now += Duration::from_secs(10);
    bench.fail("b");
    delays.push(bench.take_log());
    assert_eq!(delays, ["wait b 1s", "wait b 2s", "wait b 4s", "wait b 4s", "wait b 1s"]);
}

#[test]
fn a_group_waits_out_the_back_off_together() {
    let mut bench = backing_off(OneForAll);
    bench.fail("b");
    // The timer comes last here.
    bench.answer(1);
    bench.answer(1);
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("wait b 1s, stop c, stop a", "WBW"));
    bench.answer_all();
    assert_eq!(bench.take_log(), "start a, start b, start c");
}

#[test]
fn a_child_that_backs_off_does_not_hold_up_its_siblings() {
    let mut bench = backing_off(OneForOne);
    bench.fail("a");
    bench.fail("c");
    bench.answer(1);
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("wait a 1s, wait c 1s, start c", "BUs"));
}

#[test]
fn an_elder_that_fails_while_a_younger_backs_off_starts_first() {
    let mut bench = backing_off(RestForOne);
    bench.fail("c");
    bench.fail("a");
    bench.answer_all();
    let log = bench.take_log();
    assert!(log.ends_with("start a, start b, start c"), "{log}");
}

#[test]
fn a_failed_start_counts_and_backs_off() {
    let mut bench =
        Bench::new(Regime::Declared(OneForOne, AutoShutdown::Never), 2, &[rules(Permanent), rules(Permanent)]);
    for generation in 1..=3 {
        assert_eq!(bench.end, None);
        bench.open.clear();
        let failure = Failure::new(FailureClass::Bug, "no port");
        bench.books.start_failed(id("a"), generation, failure, bench.at());
        bench.pump();
    }
    assert_eq!(bench.end, Some(End::Escalated(Failure::new(FailureClass::Bug, "no port"))));
    assert_eq!(bench.take_log(), "start a, start a, start a", "the younger sibling never starts");
}

#[test]
fn an_event_of_a_life_that_is_over_changes_nothing() {
    let mut bench = Bench::declared(OneForOne, &[Permanent; 2]);
    let old = bench.actor(id("a")).unwrap();
    bench.fail("a");
    bench.answer_all();
    let before = (bench.states(), bench.take_log());
    bench.books.exited(old, bug(), bench.at());
    bench.books.stopped(id("a"), 1);
    bench.books.woke(id("a"), 1);
    bench.books.vanished(id("a"), 1, bench.at());
    bench.books.start_failed(id("a"), 1, Failure::new(FailureClass::Bug, "late"), bench.at());
    let stale = bench.books.started(id("a"), 1, ActorId::Local(99), bench.at());
    bench.pump();
    assert_eq!(stale, Report::Stale);
    assert_eq!((bench.states(), bench.take_log()), (before.0, String::new()));
}

#[test]
fn an_exit_heard_before_its_start_is_not_lost() {
    let mut bench = Bench::new(Regime::Declared(OneForOne, AutoShutdown::Never), 3, &[rules(Permanent)]);
    bench.open.clear();
    bench.books.exited(ActorId::Local(7), failed(FailureClass::Poison), bench.at());
    bench.pump();
    bench.books.started(id("a"), 1, ActorId::Local(7), bench.at());
    bench.pump();
    assert_eq!(bench.take_log(), "start a, start a, ready");
    assert!(bench.books.early.is_empty());
}

#[test]
fn a_kill_is_classified_by_who_asked() {
    let class_of = |fault: Option<Fault>| {
        let mut bench = Bench::declared(OneForOne, &[Permanent; 1]);
        if let Some(fault) = fault {
            assert_eq!(bench.books.blame(id("a"), fault), Some(1));
        }
        let actor = bench.actor(id("a")).unwrap();
        bench.books.exited(actor, Exit::Killed, bench.at());
        let orders = bench.books.orders(|_, _| None);
        orders.into_iter().find_map(|order| match order {
            Order::Failed(_, failure) => Some(failure.class),
            _ => None,
        })
    };
    assert_eq!(class_of(None), Some(FailureClass::Bug));
    assert_eq!(class_of(Some(Fault::Hung)), Some(FailureClass::Hung));
    assert_eq!(class_of(Some(Fault::Kill)), Some(FailureClass::Shutdown));
}

#[test]
fn dynamic_children_are_stopped_side_by_side_and_leave_the_books() {
    let mut bench = Bench::new(Regime::Dynamic, 3, &[rules(Transient), rules(Transient)]);
    assert_eq!(bench.take_log(), "start a, start b");
    bench.answer_all();
    assert_eq!(bench.take_log(), "ready");
    bench.books.close(End::Closed);
    bench.pump();
    assert_eq!(bench.take_log(), "stop b, stop a");
    bench.answer_all();
    assert_eq!((bench.take_log().as_str(), bench.books.len()), ("forget b, forget a", 0));
}

#[test]
fn a_dynamic_child_retired_while_it_backs_off_never_comes_back() {
    let backoff = Backoff { first: Span::from_secs(1), ..no_backoff() };
    let backoff = Backoff { cap: Span::from_secs(1), ..backoff };
    let mut bench = Bench::new(Regime::Dynamic, 3, &[Rules { backoff, ..rules(Permanent) }]);
    bench.answer_all();
    bench.fail("a");
    assert!(bench.books.retire(id("a")));
    bench.take_log();
    bench.pump();
    bench.answer_all();
    assert_eq!((bench.take_log().as_str(), bench.books.len()), ("forget a", 0));
}
