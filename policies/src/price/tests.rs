use proptest::prelude::*;

use super::*;

#[track_caller]
fn costs(model: &str, usage: Usage, expected: &str) {
    let cost = PriceTable::builtin().unwrap().actual(model, &usage).unwrap();
    assert_eq!(cost.to_string(), expected, "{model}");
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input: Tokens(input), output: Tokens(output), ..Usage::default() }
}

#[test]
fn prices_a_call() {
    costs("claude-opus-5-5", tokens(1_000_000, 1_000_000), "$24.00");
    costs("gpt-5.4-mini", tokens(1_000, 100), "$0.0012");
    costs(
        "claude-haiku-4-5",
        Usage { cache_read: Tokens(1_000), cache_write: Tokens(1_000), ..tokens(0, 0) },
        "$0.00135",
    );
    costs("sonar-pro", tokens(0, 0), "$0.014");
    costs("local", Usage { cpu: Span::from_secs(60), ..tokens(1_000, 1_000) }, "$0.00");
}

#[test]
fn a_long_input_costs_its_tier() {
    costs("claude-haiku-5-5", tokens(100_000, 0), "$0.01");
    costs("claude-haiku-5-5", tokens(100_001, 0), "$0.0500005");
    costs("gpt-6-luna", tokens(300_000, 100_000), "$0.135");
    let cached = Usage { cache_read: Tokens(272_001), ..tokens(0, 0) };
    costs("gpt-6.1-terra", cached, "$0.0272001");
}

#[test]
fn the_worst_case_takes_the_dearest_tier_and_the_cache_write() {
    let prices = PriceTable::builtin().unwrap();
    let worst =
        |model: &str, input| prices.worst_case(model, Tokens(input), Tokens(0), Span::ZERO).unwrap().to_string();
    assert_eq!(worst("claude-haiku-4-5", 1_000_000), "$1.25");
    assert_eq!(worst("claude-haiku-5-5", 100_000), "$0.0125");
    assert_eq!(worst("claude-haiku-5-5", 200_000), "$0.125");
}

#[test]
fn processor_time_can_cost() {
    let text =
        "version = 1\nsource = ''\ndate = ''\n[models.local]\ninput = '$0'\noutput = '$0'\ncpu_second = '$0.00001'\n";
    let prices: PriceTable = document::read("prices.toml", text).unwrap();
    let usage = Usage { cpu: Span::from_millis(1_500), ..Usage::default() };
    assert_eq!(prices.actual("local", &usage).unwrap().nanos(), 15_000);
    assert_eq!(prices.worst_case("local", Tokens(9), Tokens(9), Span::from_secs(2)).unwrap().nanos(), 20_000);
}

#[test]
fn a_model_without_a_price_is_refused() {
    let error = PriceTable::builtin().unwrap().actual("gpt-9", &Usage::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no price is known for the model `gpt-9` (price table 1), so no budget can cover it; add [models.\"gpt-9\"] to the price table"
    );
}

#[test]
fn a_price_that_is_not_written_is_that_of_input() {
    let price: ModelPrice = document::read("prices.toml", "input = '$3'\noutput = '$15'\n").unwrap();
    assert_eq!((price.cache_read, price.cache_write), (price.input, price.input));
    let json = serde_json::to_string(&price).unwrap();
    assert_eq!(serde_json::from_str::<ModelPrice>(&json).unwrap(), price);
}

fn price() -> impl Strategy<Value = PricePerMillion> {
    (0..100_000_000_000_u64).prop_map(|nanos| PricePerMillion::new(Money::from_nanos(nanos)))
}

fn tier() -> impl Strategy<Value = Tier> {
    (0..50_000_u64, price(), price(), price(), price()).prop_map(|(over, input, output, cache_read, cache_write)| {
        Tier { over: Tokens(over), input, output, cache_read, cache_write }
    })
}

fn model() -> impl Strategy<Value = ModelPrice> {
    (tier(), prop::collection::vec(tier(), 0..4), 0..1_000_000_u64, 0..1_000_000_u64).prop_map(
        |(base, tiers, request, cpu_second)| ModelPrice {
            input: base.input,
            output: base.output,
            cache_read: base.cache_read,
            cache_write: base.cache_write,
            request: Money::from_nanos(request),
            cpu_second: Money::from_nanos(cpu_second),
            tiers,
        },
    )
}

proptest! {
    #[test]
    fn the_worst_case_covers_every_call_within_it(
        model in model(), counts in prop::array::uniform4(0..30_000_u64), cpu in 0..100_000_u64,
        spare in (0..30_000_u64, 0..30_000_u64, 0..100_000_u64),
    ) {
        let [input, cache_read, cache_write, output] = counts.map(Tokens);
        let usage = Usage { input, cache_read, cache_write, output, cpu: Span::from_millis(cpu) };
        let worst = model.worst_case(
            usage.input_total() + Tokens(spare.0), output + Tokens(spare.1), Span::from_millis(cpu + spare.2),
        );
        prop_assert!(model.actual(&usage) <= worst);
    }
}
