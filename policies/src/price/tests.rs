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
    let worst = |model: &str, input| {
        let bounds = Bounds { input: Tokens(input), ..Bounds::default() };
        prices.worst_case(model, &bounds).unwrap().to_string()
    };
    let hour = Bounds { input: Tokens(1_000_000), hour_cache: true, ..Bounds::default() };
    assert_eq!(prices.worst_case("claude-haiku-4-5", &hour).unwrap().to_string(), "$2.00");
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
    let bounds = Bounds { input: Tokens(9), output: Tokens(9), cpu: Span::from_secs(2), ..Bounds::default() };
    assert_eq!(prices.worst_case("local", &bounds).unwrap().nanos(), 20_000);
}

#[test]
fn a_model_without_a_price_is_refused() {
    let error = PriceTable::builtin().unwrap().actual("gpt-9", &Usage::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no price is known for the model `gpt-9` (price table 2), so no budget can cover it; add [models.\"gpt-9\"] to the price table"
    );
}

#[test]
fn a_price_that_is_not_written_is_that_of_input() {
    let price: ModelPrice = document::read("prices.toml", "input = '$3'\noutput = '$15'\n").unwrap();
    assert_eq!((price.cache_read, price.cache_write), (price.input, price.input));
    assert_eq!(price.cache_write_1h, price.input.twice());
    let json = serde_json::to_string(&price).unwrap();
    assert_eq!(serde_json::from_str::<ModelPrice>(&json).unwrap(), price);
}

#[test]
fn the_hour_cache_and_searches_have_prices_of_their_own() {
    costs("claude-opus-5-5", Usage { cache_write_1h: Tokens(1_000), ..tokens(0, 0) }, "$0.008");
    costs("claude-haiku-5-5", Usage { cache_write_1h: Tokens(100_001), ..tokens(0, 0) }, "$0.100001");
    costs("perplexity/sonar", Usage { searches: 3, ..tokens(0, 0) }, "$0.015");
    costs("claude-opus-5-5", Usage { reasoning: Tokens(100), ..tokens(0, 100) }, "$0.002");
}

#[test]
fn what_the_provider_says_counts_over_the_table() {
    let told = Usage { cost_told: Some(Money::from_nanos(7)), ..tokens(1_000_000, 1_000_000) };
    costs("claude-opus-5-5", told, "$0.000000007");
}

#[test]
fn a_fee_that_varies_is_reserved_and_charged_at_its_top_unless_told() {
    let read = |fee: &str| {
        let text = format!("input = '$0'\noutput = '$0'\nrequest = {fee}\n");
        document::read::<ModelPrice>("prices.toml", &text)
    };
    let price = read("{ least = '$0.006', most = '$0.014' }").unwrap();
    assert_eq!((price.request.least().nanos(), price.request.most().nanos()), (6_000_000, 14_000_000));
    assert_eq!(price.worst_case(&Bounds::default()), price.request.most());
    assert_eq!(price.actual(&Usage::default()), price.request.most());
    let thrice = Money::from_nanos(3 * price.request.most().nanos());
    assert_eq!(price.worst_case(&Bounds { repeats: 2, ..Bounds::default() }), thrice);
    assert_eq!(price.actual(&Usage { repeats: 2, ..Usage::default() }), thrice);
    let told = Usage { cost_told: Some(price.request.least()), ..Usage::default() };
    assert_eq!(price.actual(&told), price.request.least());
    assert_eq!(serde_json::to_string(&price.request).unwrap(), r#"{"least":6000000,"most":14000000}"#);
    assert_eq!(read("'$0.005'").unwrap().request, Fee::flat(Money::from_nanos(5_000_000)));
    let error = read("{ least = '$2', most = '$1' }").unwrap_err().remove(0);
    assert!(error.to_string().contains("the fee's least, $2.00, is more than its most, $1.00"), "{error}");
}

fn price() -> impl Strategy<Value = PricePerMillion> {
    (0..100_000_000_000_u64).prop_map(|nanos| PricePerMillion::new(Money::from_nanos(nanos)))
}

fn tier() -> impl Strategy<Value = Tier> {
    (0..50_000_u64, prop::array::uniform5(price())).prop_map(
        |(over, [input, output, cache_read, cache_write, cache_write_1h])| Tier {
            over: Tokens(over),
            input,
            output,
            cache_read,
            cache_write,
            cache_write_1h,
        },
    )
}

fn model() -> impl Strategy<Value = ModelPrice> {
    (tier(), prop::collection::vec(tier(), 0..4), prop::array::uniform3(0..1_000_000_u64)).prop_map(
        |(base, tiers, [request, cpu_second, search])| ModelPrice {
            input: base.input,
            output: base.output,
            cache_read: base.cache_read,
            cache_write: base.cache_write,
            cache_write_1h: base.cache_write_1h,
            cache_prefix_min: Tokens(0),
            batch: None,
            request: Fee::flat(Money::from_nanos(request)),
            search: Money::from_nanos(search),
            reasoning_max: Some(Tokens(700)),
            searches_max: Some(3),
            cpu_second: Money::from_nanos(cpu_second),
            tiers,
        },
    )
}

proptest! {
    #[test]
    fn the_worst_case_covers_every_call_within_it(
        model in model(), counts in prop::array::uniform5(0..30_000_u64), cpu in 0..100_000_u64, searches in 0..9_u64,
        repeats in 0..3_u64,
        hour_cache: bool, spare in (0..30_000_u64, 0..30_000_u64, 0..100_000_u64, 0..3_u64),
    ) {
        let [input, cache_read, cache_write, cache_write_1h, output] = counts.map(Tokens);
        let cache_write_1h = if hour_cache { cache_write_1h } else { Tokens(0) };
        let cpu = Span::from_millis(cpu);
        let usage = Usage { input, cache_read, cache_write, cache_write_1h, output, searches, repeats, cpu, ..Usage::default() };
        let worst = model.worst_case(&Bounds {
            input: usage.input_total() + Tokens(spare.0),
            output: output + Tokens(spare.1),
            cpu: Span(cpu.0 + Span::from_millis(spare.2).0),
            searches: searches + spare.3,
            repeats: repeats + spare.3,
            unasked: 0,
            hour_cache,
        });
        prop_assert!(model.actual(&usage) <= worst);
    }
}

#[test]
fn what_a_provider_does_unasked_is_reserved_for_and_needs_a_bound() {
    let table = PriceTable::builtin().unwrap();
    let free = |price: &ModelPrice| ModelPrice { reasoning_max: None, searches_max: None, ..price.clone() };
    let dear = ModelPrice {
        search: Money::from_nanos(5),
        reasoning_max: Some(Tokens(1000)),
        searches_max: Some(3),
        ..table.price("gpt-4o-mini").unwrap().clone()
    };
    let asked = Bounds { input: Tokens(10), output: Tokens(10), ..Bounds::default() };
    let twice = Bounds { unasked: 2, ..asked };
    let used = Usage { input: Tokens(10), output: Tokens(2010), searches: 6, ..Usage::default() };
    assert_eq!(dear.worst_case(&twice), dear.actual(&used));
    assert_eq!(dear.worst_case(&asked), free(&dear).worst_case(&asked), "nothing where it does nothing unasked");
    let mut table = table;
    for (reasoning_max, lacks) in [(None, "reasoning_max"), (Some(Tokens(0)), "searches_max")] {
        let model = ModelPrice { reasoning_max, searches_max: None, ..dear.clone() };
        table.models.insert("dear".to_owned(), model);
        let refused = table.worst_case("dear", &twice).unwrap_err();
        assert!(refused.to_string().contains(&format!("add `{lacks}` to [models.\"dear\"]")), "{refused}");
        assert!(table.worst_case("dear", &asked).is_ok());
    }
    for name in ["sonar-pro", "perplexity/sonar"] {
        assert_eq!(table.price(name).unwrap().lacks_bound(), None, "{name}");
    }
    assert_eq!(table.price("local").unwrap().lacks_bound(), None, "what costs nothing needs no bound");
}

#[test]
fn a_batch_costs_its_share_of_the_tokens_and_all_of_the_fees() {
    let table = PriceTable::builtin().unwrap();
    let haiku = table.price("claude-haiku-5-5").unwrap();
    let by_batch = haiku.by_batch().unwrap();
    let usage = Usage { input: Tokens(200_000), output: Tokens(1000), ..Usage::default() };
    assert_eq!(by_batch.actual(&usage).nanos() * 2, haiku.actual(&usage).nanos(), "tiers too");
    let fee = Fee::flat(Money::from_nanos(7));
    let dear = ModelPrice { request: fee, search: Money::from_nanos(5), ..haiku.clone() };
    let searching = Usage { searches: 2, ..Usage::default() };
    assert_eq!(dear.by_batch().unwrap().actual(&searching), Money::from_nanos(17));
    assert_eq!(by_batch.by_batch(), None);
    assert_eq!(table.price("sonar-pro").unwrap().by_batch(), None);
}
