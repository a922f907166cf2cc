use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::breaker::{Admission, Breaker, BreakerPolicy, BreakerState, Outcome};
use crate::span::Span;

fn stand_in(text: &str) -> StandIn {
    text.parse().unwrap()
}

type Lists = BTreeMap<&'static str, Vec<StandIn>>;

fn lists(of: &[(&'static str, &[&str])]) -> Lists {
    of.iter().map(|(agent, list)| (*agent, list.iter().map(|text| stand_in(text)).collect())).collect()
}

fn told(lists: &Lists, agent: &str) -> Vec<String> {
    let links = chain(agent, &|name: &str| lists.get(name).map_or(&[], Vec::as_slice));
    links.into_iter().map(|link| format!("{}:{}", link.agent, link.model.unwrap_or_default())).collect()
}

#[test]
fn a_stand_in_is_written_with_what_it_is() {
    for text in ["agent/reviewer", "model/local", "model/org/small"] {
        assert_eq!(stand_in(text).to_string(), text);
    }
    for text in ["local", "agent/", "modle/local", ""] {
        let error = text.parse::<StandIn>().unwrap_err().to_string();
        assert!(error.contains("model/local"), "{error}");
    }
}

#[test]
fn a_chain_is_the_agent_then_its_list_with_the_lists_of_the_agents_in_it() {
    let lists = lists(&[("a", &["model/x", "agent/b", "model/y"]), ("b", &["model/x", "agent/c"])]);
    assert_eq!(told(&lists, "a"), ["a:", "a:x", "b:", "b:x", "c:", "a:y"]);
    assert_eq!(told(&lists, "c"), ["c:"]);
}

#[test]
fn a_circle_is_found_from_wherever_it_is_part_of_and_ends_no_chain() {
    let lists = lists(&[("a", &["agent/b"]), ("b", &["model/x", "agent/c"]), ("c", &["agent/b"])]);
    let list = |name: &str| lists.get(name).map_or(&[][..], Vec::as_slice);
    assert_eq!(circle("a", &list), None, "it leads into one, and is no part of it");
    assert_eq!(circle("b", &list).unwrap(), ["b", "c", "b"]);
    assert_eq!(told(&lists, "a"), ["a:", "b:", "b:x", "c:"]);
}

fn breaker(guard: &str) -> Readiness {
    Readiness::Out(Outage::Breaker { guard: guard.to_owned() })
}

#[test]
fn an_operators_hold_is_no_outage() {
    use Readiness::{Held, Ready, Spent};
    assert_eq!(choose(&[Held, Ready]), Choice::Wait);
    assert_eq!(choose(&[breaker("m"), Held, Ready]), Choice::Take(2), "a stand-in that is held is passed over");
    assert_eq!(choose(&[breaker("m"), Held]), Choice::Wait);
    assert_eq!(choose(&[Spent, breaker("m")]), Choice::Take(0), "better than nobody");
    assert_eq!(choose(&[]), Choice::Wait);
}

#[test]
fn attempts_are_used_up_in_the_order_of_the_chain() {
    let after = |failures| spent(&[4, 0, 2], failures);
    assert_eq!([0, 3, 4, 5, 6, 7, 99].map(after), [0, 0, 1, 2, 2, 2, 2]);
    assert_eq!((spent(&[], 3), spent(&[1], 3)), (0, 0));
}

fn readiness() -> impl Strategy<Value = Readiness> {
    prop_oneof![
        Just(Readiness::Ready),
        Just(Readiness::Spent),
        Just(Readiness::Held),
        Just(breaker("model/x")),
        Just(Readiness::Out(Outage::Down { worker: "w".to_owned() })),
    ]
}

proptest! {
    #[test]
    fn who_is_taken_can_act_and_all_before_it_cannot(chain in prop::collection::vec(readiness(), 0..6)) {
        let held = chain.first() == Some(&Readiness::Held);
        match choose(&chain) {
            Choice::Take(place) => {
                prop_assert!(!held, "it stood in for one that an operator holds");
                prop_assert!(matches!(chain[place], Readiness::Ready | Readiness::Spent));
                prop_assert!(!chain[..place].contains(&Readiness::Ready));
                if chain[place] == Readiness::Spent {
                    prop_assert!(!chain.contains(&Readiness::Ready));
                }
            }
            Choice::Wait => {
                let able = |link: &Readiness| matches!(link, Readiness::Ready | Readiness::Spent);
                prop_assert!(held || !chain.iter().any(able));
            }
        }
    }

    #[test]
    fn the_first_has_its_work_back_as_soon_as_it_can_act(mut chain in prop::collection::vec(readiness(), 1..6)) {
        chain[0] = Readiness::Ready;
        prop_assert_eq!(choose(&chain), Choice::Take(0));
    }

    #[test]
    fn more_failures_spend_no_fewer(attempts in prop::collection::vec(0_u32..6, 0..6), failures in 0_u32..40) {
        let (now, then) = (spent(&attempts, failures), spent(&attempts, failures + 1));
        prop_assert!(now <= then && then <= now + 1);
        prop_assert!(then < attempts.len().max(1));
    }

    #[test]
    fn a_chain_has_each_once_and_ends(
        of in prop::collection::vec(prop::collection::vec((0_usize..4, any::<bool>()), 0..5), 4)
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let list = |list: &Vec<(usize, bool)>| list.iter().map(|(name, is_agent)| {
            let name = NAMES[*name].to_owned();
            if *is_agent { StandIn::Agent(name) } else { StandIn::Model(name) }
        }).collect();
        let lists: Lists = NAMES.into_iter().zip(of.iter().map(list)).collect();
        let links = chain("a", &|name: &str| lists[name].as_slice());
        prop_assert_eq!(&links[0], &Link { agent: "a".to_owned(), model: None });
        let mut once = links.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), links.len());
        for listed in &lists["a"] {
            let is_in = |link: &Link| match listed {
                StandIn::Agent(name) => link.agent == *name && link.model.is_none(),
                StandIn::Model(name) => link.agent == "a" && link.model.as_ref() == Some(name),
            };
            prop_assert!(links.iter().any(is_in), "{listed} is missing");
        }
    }

    /// A call each time: to the one that is named or to its stand-in, as the breaker in front of the first says.
    #[test]
    fn while_the_breaker_is_open_nothing_reaches_the_first_and_half_open_only_trials_do(
        probes in 1_u32..4,
        calls in prop::collection::vec((0_u64..8, 0_u8..3, any::<bool>()), 1..80),
    ) {
        let policy = BreakerPolicy { failures: 2, open: Span::from_secs(5), probes, ..BreakerPolicy::default() };
        let mut breaker = Breaker::new(policy);
        let mut under_way = Vec::new();
        let mut now = Duration::ZERO;
        for (wait, ends, is_well) in calls {
            now += Duration::from_secs(wait);
            for _ in 0..ends {
                if let Some((epoch, is_well)) = under_way.pop() {
                    let outcome = if is_well { Outcome::Succeeded } else { Outcome::Failed };
                    breaker.record(epoch, outcome, Duration::ZERO, now);
                }
            }
            let foreseen = breaker.foresee(now);
            let first = if foreseen == Admission::Go { Readiness::Ready } else {
                Readiness::Out(Outage::Breaker { guard: "m".to_owned() })
            };
            let before = breaker.state();
            match choose(&[first, Readiness::Ready]) {
                Choice::Take(0) => {
                    prop_assert_eq!(breaker.admit(now), Admission::Go);
                    let is_due = !matches!(before, BreakerState::Open { until } if now < until);
                    prop_assert!(is_due, "a call went through an open breaker");
                    if let BreakerState::HalfOpen { in_flight, passed } = breaker.state() {
                        prop_assert!(in_flight + passed <= probes, "more than the trial calls");
                    }
                    under_way.push((breaker.epoch(), is_well));
                }
                Choice::Take(_) => {
                    prop_assert!(before != BreakerState::Closed, "it did not hand back");
                    prop_assert_ne!(breaker.admit(now), Admission::Go);
                }
                Choice::Wait => prop_assert!(false, "the stand-in is always ready"),
            }
        }
    }
}
