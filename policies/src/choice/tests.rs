use proptest::prelude::*;

use super::*;
use crate::fallback::{self, Choice, Readiness};

fn facts(price: u64, quality: Option<f64>, latency: Option<u64>) -> Facts {
    Facts {
        bar: None,
        price: Some(Money::from_nanos(price)),
        quality: quality.and_then(Rating::of),
        latency: latency.map(Span::from_millis),
    }
}

fn pool(choose: Choose) -> PoolPolicy {
    PoolPolicy { models: Vec::new(), choose, quality_min: None }
}

fn unable() -> Option<Outage> {
    Some(Outage::Unable { need: "use tools".to_owned() })
}

#[track_caller]
fn check(choose: Choose, facts: &[Facts], kept: Option<usize>, order: &[usize]) {
    assert_eq!(rank(&pool(choose), facts, kept).order, order, "{choose:?}");
}

const EVEN: Weights = Weights { price: 1, quality: 1, latency: 1 };

#[test]
fn each_rule_ranks_by_what_it_names_and_equals_keep_the_order_of_the_list() {
    let of = [
        facts(3_000_000, Some(0.7), Some(900)),
        facts(1_000_000, Some(0.9), Some(900)),
        facts(1_000_000, Some(0.9), Some(300)),
    ];
    check(Choose::Chain, &of, None, &[0, 1, 2]);
    check(Choose::Cheapest, &of, None, &[1, 2, 0]);
    check(Choose::Best, &of, None, &[1, 2, 0]);
    check(Choose::Fastest, &of, None, &[2, 0, 1]);
    check(Choose::Weights(EVEN), &of, None, &[2, 1, 0]);
}

#[test]
fn weights_are_a_mean_of_parts_with_a_floor_under_what_is_nearly_nothing() {
    let weights = Choose::Weights(Weights { price: 1, quality: 1, latency: 0 });
    let of = [facts(300_000, Some(0.5), None), facts(0, Some(0.4), None), facts(10, Some(0.4), None)];
    let ranking = rank(&pool(weights), &of, None);
    let scores: Vec<f64> = ranking.scores.iter().flatten().map(|score| score.value()).collect();
    // The price parts are a quarter, all, and a hair less than all.
    assert_eq!((scores, ranking.order), (vec![0.375, 0.7, 0.699], vec![1, 2, 0]));
}

#[test]
fn what_is_not_known_is_neither_favoured_nor_starved() {
    // Two are known to be 0.2 and 0.8; the third counts as 0.5.
    let of = [facts(0, Some(0.2), None), facts(0, None, None), facts(0, Some(0.8), None)];
    check(Choose::Best, &of, None, &[2, 1, 0]);
    let nobody = [facts(0, None, None), facts(0, None, None)];
    check(Choose::Best, &nobody, None, &[0, 1]);
    let halves = rank(&pool(Choose::Weights(Weights { quality: 1, ..Weights::default() })), &nobody, None).scores;
    assert_eq!(halves, [Some(Rating::HALF); 2]);
    // Who was never measured is asked once, whatever its place.
    check(Choose::Fastest, &[facts(0, None, Some(10)), facts(0, None, None)], None, &[1, 0]);
}

#[test]
fn who_cannot_make_the_call_is_last_with_the_reason_and_counts_in_no_measure() {
    let policy = PoolPolicy { quality_min: Rating::of(0.6), ..pool(Choose::Weights(EVEN)) };
    let of = [
        Facts { bar: unable(), ..facts(1, Some(1.0), Some(1)) },
        facts(0, Some(0.599), None),
        facts(5, Some(0.6), Some(7)),
        facts(5, None, Some(7)),
    ];
    let ranking = rank(&policy, &of, None);
    assert_eq!(ranking.order, [2, 3, 0, 1], "what was never evaluated is not known to be bad");
    assert_eq!(ranking.bars[0], unable());
    let worse = ranking.bars[1].as_ref().unwrap();
    assert_eq!(worse.to_string(), "its quality is 0.599, and 0.6 is the least");
    assert!(worse.is_bar() && !worse.passes());
    assert_eq!(ranking.scores[2], Rating::of(0.866), "price and latency are the least of those that can");
}

#[test]
fn a_talk_goes_on_with_its_model_as_long_as_that_can_make_the_call() {
    let mut of = [facts(1, None, None), facts(2, None, None), facts(3, None, None)];
    check(Choose::Cheapest, &of, Some(2), &[2, 0, 1]);
    check(Choose::Cheapest, &of, Some(9), &[0, 1, 2]);
    assert!(rank(&pool(Choose::Cheapest), &of, Some(2)).keeps);
    of[2].bar = unable();
    check(Choose::Cheapest, &of, Some(2), &[0, 1, 2]);
    assert!(!rank(&pool(Choose::Cheapest), &of, Some(2)).keeps);
}

#[test]
fn a_choice_is_told_in_a_sentence() {
    let out = Outage::Breaker { guard: "model/home".to_owned() };
    let considered = |model: &str, out: Option<Outage>| Considered {
        model: model.to_owned(),
        price: None,
        quality: None,
        latency: None,
        score: None,
        out,
    };
    let considered = vec![considered("home", Some(out)), considered("claude", None)];
    let chosen = Chosen { model: "claude".to_owned(), by: Choose::Cheapest, kept: false, considered };
    assert_eq!(chosen.to_string(), "claude, the cheapest of 2; not home, because the breaker of model/home is open");
    let kept = Chosen { model: "home".to_owned(), kept: true, ..chosen };
    assert_eq!(kept.to_string(), "home, with which the talk goes on");
    let written = serde_json::to_value(&kept).unwrap();
    assert_eq!(serde_json::from_value::<Chosen>(written).unwrap(), kept);
}

fn read(lines: &str) -> Result<PoolPolicy, String> {
    crate::document::read("tree.toml", lines).map_err(|errors| crate::document::lines(&errors))
}

#[test]
fn a_rule_is_a_word_or_weights_and_a_typo_is_told_with_what_was_meant() {
    let choose = |value: &str| read(&format!("models = [\"a\"]\nchoose = {value}\n")).map(|pool| pool.choose);
    assert_eq!(choose("\"best\""), Ok(Choose::Best));
    let weights = Choose::Weights(Weights { price: 2, quality: 1, latency: 0 });
    assert_eq!(choose("{ price = 2, quality = 1 }"), Ok(weights));
    assert_eq!(weights.to_string(), "the one with the best score of price × 2 + quality × 1");
    for (value, part) in [
        ("\"cheepest\"", "did you mean `cheapest`?"),
        ("{ prize = 1 }", "did you mean `price`?"),
        ("{ price = 101 }", "over the most, 100"),
        ("3", "such as \"cheapest\""),
    ] {
        let told = choose(value).unwrap_err();
        assert!(told.contains(part) && told.lines().count() == 1, "{value}: {told}");
    }
    for (value, is_good) in [("0.7", true), ("1", true), ("0", true), ("1.1", false), ("-1", false), ("\"x\"", false)] {
        assert_eq!(read(&format!("models = [\"a\"]\nquality_min = {value}\n")).is_ok(), is_good, "{value}");
    }
    assert!(read("choose = \"best\"\n").unwrap_err().contains("models"));
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let bar = prop_oneof![4 => Just(None), 1 => Just(unable())];
    let price = prop_oneof![Just(0_u64), 0..10_u64, 0..50_000_000_u64, Just(u64::MAX)];
    let latency = prop::option::of(prop_oneof![0..5_u64, 0..900_000_u64]);
    (bar, price, prop::option::of(0..=1000_u16), latency).prop_map(|(bar, price, quality, latency)| {
        let quality = quality.map(|thousandths| f64::from(thousandths) / 1000.0);
        Facts { bar, ..facts(price, quality, latency) }
    })
}

fn any_rule() -> impl Strategy<Value = Choose> {
    let weights = (1..=WEIGHT_MAX, 0..=WEIGHT_MAX, 0..=WEIGHT_MAX);
    let weights = weights.prop_map(|(price, quality, latency)| Choose::Weights(Weights { price, quality, latency }));
    prop_oneof![Just(Choose::Chain), Just(Choose::Cheapest), Just(Choose::Best), Just(Choose::Fastest), weights]
}

fn any_pool() -> impl Strategy<Value = (PoolPolicy, Vec<Facts>, Option<usize>)> {
    let facts = prop::collection::vec(any_facts(), 1..=POOL_MAX);
    (any_rule(), facts, prop::option::of(0..POOL_MAX), prop::option::of(0..=1000_u16)).prop_map(
        |(choose, facts, kept, quality_min)| {
            let quality_min = quality_min.and_then(|thousandths| Rating::of(f64::from(thousandths) / 1000.0));
            (PoolPolicy { quality_min, ..pool(choose) }, facts, kept)
        },
    )
}

fn any_readiness() -> impl Strategy<Value = Readiness> {
    let open = || Readiness::Out(Outage::Breaker { guard: "m".to_owned() });
    prop_oneof![3 => Just(Readiness::Ready), 1 => Just(Readiness::Spent), 2 => Just(open())]
}

proptest! {
    #[test]
    fn a_ranking_has_each_once_and_who_is_barred_is_behind_all_others((policy, facts, kept) in any_pool()) {
        let ranking = rank(&policy, &facts, kept);
        let mut sorted = ranking.order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..facts.len()).collect::<Vec<_>>());
        prop_assert!(ranking.order.is_sorted_by_key(|place| ranking.bars[*place].is_some()));
        let weighs = matches!(policy.choose, Choose::Weights(_));
        prop_assert!(ranking.scores.iter().all(|score| score.is_some() == weighs));
    }

    #[test]
    fn who_is_out_or_barred_is_never_chosen_while_another_can(
        (policy, facts, kept) in any_pool(), ready in prop::collection::vec(any_readiness(), POOL_MAX),
    ) {
        let ranking = rank(&policy, &facts, kept);
        let stands = |place: &usize| match &ranking.bars[*place] {
            Some(bar) => Readiness::Out(bar.clone()),
            None => ready[*place].clone(),
        };
        let chain: Vec<Readiness> = ranking.order.iter().map(stands).collect();
        match fallback::choose(&chain) {
            Choice::Take(at) => {
                prop_assert!(!matches!(chain[at], Readiness::Out(_)));
                prop_assert!(chain[at] == Readiness::Ready || !chain.contains(&Readiness::Ready));
            }
            Choice::Wait => prop_assert!(chain.iter().all(|link| matches!(link, Readiness::Out(_)))),
        }
    }

    #[test]
    fn the_cheapest_is_never_beaten_on_price(facts in prop::collection::vec(any_facts(), 1..=POOL_MAX)) {
        let ranking = rank(&pool(Choose::Cheapest), &facts, None);
        let able = facts.iter().filter(|facts| facts.bar.is_none());
        let first = &facts[ranking.order[0]];
        if let Some(least) = able.map(|facts| facts.price).min() {
            prop_assert_eq!(first.price, least);
        }
    }

    #[test]
    fn whoever_gets_better_never_falls_behind(
        (policy, mut facts, _) in any_pool(), who in 0..POOL_MAX, price in 0..=100_u64, latency in 0..=100_u64,
    ) {
        let who = who % facts.len();
        let place = |facts: &[Facts]| rank(&policy, facts, None).order.iter().position(|place| *place == who);
        // A quality that was not known weighs in the mean that others are given, so it stays as it is.
        let before = place(&facts);
        let was = facts[who].clone();
        facts[who].price = was.price.map(|was| Money::from_nanos(was.nanos() / 100 * price));
        facts[who].latency = was.latency.map(|was| Span::from_millis(u64::try_from(was.duration().as_millis()).unwrap() / 100 * latency));
        prop_assert!(place(&facts) <= before);
    }

    #[test]
    fn another_order_of_the_list_only_permutes_the_equal((policy, facts, _) in any_pool()) {
        let ranking = rank(&policy, &facts, None);
        let turned: Vec<Facts> = facts.iter().rev().cloned().collect();
        let other = rank(&policy, &turned, None);
        let last = facts.len() - 1;
        let measure = |of: &[Facts], ranking: &Ranking, place: usize| match policy.choose {
            Choose::Chain => (0, None, None),
            Choose::Cheapest => (of[place].price.unwrap().nanos(), None, None),
            // What is not known counts as the mean, which is the same in both.
            Choose::Best => (0, of[place].quality.is_some().then_some(of[place].quality).flatten(), None),
            Choose::Fastest => (0, None, of[place].latency),
            Choose::Weights(_) => (0, ranking.scores[place], None),
        };
        let mean = |of: &[Facts]| of.iter().any(|facts| facts.quality.is_none());
        prop_assume!(policy.choose != Choose::Best || !mean(&facts));
        for (one, two) in ranking.order.iter().zip(&other.order) {
            if ranking.bars[*one].is_none() {
                prop_assert_eq!(measure(&facts, &ranking, *one), measure(&turned, &other, *two));
                prop_assert!(other.bars[*two].is_none() && *two <= last);
            }
        }
    }
}
