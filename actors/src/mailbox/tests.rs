use std::time::Duration;

use policies::span::Span;
use proptest::prelude::*;

use super::*;

fn credits(bound: u32, when_full: WhenFull) -> Credits {
    let block_within = Span::from_secs(5);
    Credits::new(Bound::new(MailboxPolicy { bound, when_full, block_within }))
}

#[test]
fn refuses_at_capacity_and_takes_again_when_a_credit_returns() {
    let credits = credits(2, WhenFull::Refuse);
    let first = credits.try_take().unwrap();
    let _second = credits.try_take().unwrap();
    assert!(credits.try_take().is_none());
    assert_eq!((credits.depth(), credits.capacity()), (2, 2));
    drop(first);
    assert!(credits.try_take().is_some());
}

#[test]
fn reports_of_effects_pass_the_bound_and_are_counted() {
    let credits = credits(0, WhenFull::Refuse);
    let only = credits.try_take().unwrap();
    assert!(credits.try_take().is_none());
    let report = credits.take_reserved().unwrap();
    assert_eq!(credits.fill(), Fill { depth: 2, bound: 1, refused: 1, dropped: 0 });
    drop(only);
    assert!(!credits.close_if_unused());
    drop(report);
    assert!(credits.close_if_unused());
    assert!(credits.take_reserved().is_none());
}

#[test]
fn closing_keeps_the_count_of_what_is_under_way() {
    let credits = credits(4, WhenFull::Refuse);
    let credit = credits.try_take().unwrap();
    credits.close();
    assert!(credits.is_closed());
    assert!(credits.try_take().is_none());
    assert_eq!(credits.depth(), 1);
    drop(credit);
    assert_eq!(credits.depth(), 0);
    assert!(credits.is_closed());
}

#[test]
fn a_race_to_take_never_passes_the_capacity() {
    let credits = credits(3, WhenFull::Refuse);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let _held = credits.try_take();
                    assert!(credits.depth() <= 3);
                }
            });
        }
    });
    assert_eq!(credits.depth(), 0);
}

#[test]
fn another_bound_holds_at_once_and_takes_nothing_back() {
    let credits = credits(1, WhenFull::Refuse);
    let first = credits.try_take().unwrap();
    assert!(credits.try_take().is_none());
    credits.bound().govern(MailboxPolicy::of(2));
    let second = credits.try_take().unwrap();
    credits.bound().govern(MailboxPolicy::of(1));
    assert_eq!((credits.depth(), credits.capacity()), (2, 1));
    drop(first);
    assert!(credits.try_take().is_none());
    drop(second);
    assert!(credits.try_take().is_some());
}

#[test]
fn the_eldest_that_waits_makes_room_and_learns_it() {
    let credits = credits(2, WhenFull::DropOldest);
    let taken = credits.try_take().unwrap();
    assert!(taken.begin());
    let eldest = credits.try_take().unwrap();
    let youngest = credits.try_take().unwrap();
    // What its handler is at is no longer dropped.
    assert!(taken.ticket().is_taken() && !eldest.begin() && eldest.ticket().is_dropped());
    assert_eq!(credits.fill(), Fill { depth: 2, bound: 2, refused: 0, dropped: 1 });
    drop(eldest);
    assert_eq!(credits.depth(), 2);
    drop((taken, youngest));
    assert_eq!(credits.depth(), 0);
}

#[test]
fn what_is_dropped_and_still_held_is_bounded_too() {
    let credits = credits(2, WhenFull::DropOldest);
    let held: Vec<Credit> = std::iter::from_fn(|| credits.try_take()).take(9).collect();
    assert_eq!(held.len(), 4);
    assert_eq!(credits.fill(), Fill { depth: 2, bound: 2, refused: 1, dropped: 2 });
}

#[tokio::test(start_paused = true)]
async fn one_more_waits_for_room_and_is_refused_when_none_comes() {
    let credits = credits(1, WhenFull::Block);
    let first = credits.take().await.unwrap();
    assert!(credits.take().await.is_none());
    assert_eq!(credits.fill().refused, 1);
    let (second, ()) = tokio::join!(credits.take(), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(first);
    });
    assert!(second.is_some());
    let (third, ()) = tokio::join!(credits.take(), async {
        let roomy = MailboxPolicy { bound: 2, ..credits.bound().policy() };
        credits.bound().govern(roomy);
    });
    assert!(third.is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_learns_that_it_closed() {
    let credits = credits(1, WhenFull::Block);
    let _first = credits.take().await.unwrap();
    let (second, ()) = tokio::join!(credits.take(), async {
        tokio::task::yield_now().await;
        credits.close();
    });
    assert!(second.is_none());
    assert_eq!(credits.fill().refused, 0);
}

/// What senders and the handler may do, in any order.
#[derive(Clone, Debug)]
enum Step {
    Send,
    Begin(usize),
    End(usize),
    Govern(u32, WhenFull),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rule = prop_oneof![Just(WhenFull::Refuse), Just(WhenFull::DropOldest), Just(WhenFull::Block)];
    let step = prop_oneof![
        4 => Just(Step::Send),
        2 => (0..9_usize).prop_map(Step::Begin),
        2 => (0..9_usize).prop_map(Step::End),
        1 => (0..5_u32, rule).prop_map(|(bound, rule)| Step::Govern(bound, rule)),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    /// Every message is at any time waiting, taken, dropped or gone, and the counts say so.
    #[test]
    fn no_message_is_lost_unseen_and_the_bound_holds(steps in steps()) {
        let credits = credits(2, WhenFull::Refuse);
        let mut held: Vec<Credit> = Vec::new();
        let (mut sent, mut refused) = (0_u64, 0_u64);
        for step in steps {
            let bound = credits.capacity();
            match step {
                Step::Send => {
                    let depth = credits.depth();
                    match credits.try_take() {
                        Some(credit) => {
                            held.push(credit);
                            prop_assert!(credits.depth() <= bound.max(depth));
                        }
                        None => refused += 1,
                    }
                    sent += 1;
                }
                Step::Begin(place) => {
                    if let Some(credit) = held.get(place) {
                        let waits = credit.ticket().waits();
                        prop_assert_eq!(credit.begin(), waits);
                    }
                }
                Step::End(place) if place < held.len() => drop(held.remove(place)),
                Step::End(_) => {}
                Step::Govern(bound, when_full) => {
                    credits.bound().govern(MailboxPolicy { bound, when_full, ..MailboxPolicy::default() });
                }
            }
            let dropped = held.iter().filter(|credit| credit.ticket().is_dropped()).count();
            prop_assert_eq!(credits.depth(), held.len() - dropped);
            prop_assert_eq!(credits.fill().refused, refused);
            prop_assert!(credits.fill().dropped <= sent);
        }
        held.clear();
        prop_assert_eq!(credits.depth(), 0);
        prop_assert_eq!(credits.0.shells.load(Ordering::Acquire), 0);
    }
}
