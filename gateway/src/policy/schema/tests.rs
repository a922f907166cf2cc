//! The schemas and the readers agree: on the keys, exactly; on values, in what the samples show.

use std::collections::BTreeSet;

use serde_json::Value;

use super::validator::{fits, resolve};
use super::*;
use crate::config::Config;
use policies::document::Error;
use policies::{budget, guard, price, tree};

/// What the reader of such a file says of a text.
fn read(kind: SchemaOf, text: &str) -> Result<(), Vec<Error>> {
    match kind {
        SchemaOf::Tree => tree::TreePolicy::read("tree.toml", text).map(drop),
        SchemaOf::Guard => guard::Guards::read("guard.toml", text).map(drop),
        SchemaOf::Budget => policies::document::read::<budget::BudgetPolicy>("budget.toml", text).map(drop),
        SchemaOf::Prices => policies::document::read::<price::PriceTable>("prices.toml", text).map(drop),
        SchemaOf::Callboard => {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("callboard.toml");
            std::fs::write(&path, text).unwrap();
            Config::load(Some(&path)).map(drop)
        }
    }
}

fn schema(kind: SchemaOf) -> Value {
    serde_json::from_str(kind.text()).unwrap()
}

fn accepts(kind: SchemaOf, text: &str) -> bool {
    let document: toml::Table = toml::from_str(text).unwrap();
    fits(&schema(kind), &serde_json::to_value(document).unwrap())
}

/// Schema and reader both take the text, or both refuse it.
#[track_caller]
fn agree(kind: SchemaOf, text: &str, is_good: bool) {
    let read = read(kind, text);
    assert_eq!(read.is_ok(), is_good, "the reader of {kind:?}, of {text:?}: {read:?}");
    assert_eq!(accepts(kind, text), is_good, "the schema of {kind:?}, of {text:?}");
}

#[test]
fn every_built_in_policy_fits() {
    agree(SchemaOf::Tree, tree::BUILTIN, true);
    agree(SchemaOf::Guard, guard::BUILTIN, true);
    agree(SchemaOf::Budget, budget::BUILTIN, true);
    agree(SchemaOf::Prices, price::BUILTIN, true);
    agree(SchemaOf::Callboard, "", true);
}

/// The names that the reader knows where this text has the alien key.
fn known(kind: SchemaOf, text: &str) -> BTreeSet<String> {
    let errors = read(kind, text).unwrap_err();
    let told =
        errors.iter().find(|error| error.message.contains(ALIEN)).unwrap_or_else(|| panic!("{text}: {errors:?}"));
    let names = told.help.strip_prefix("known here: ").unwrap_or_else(|| panic!("{text}: {told}"));
    names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()
}

/// A key that is like no other.
const ALIEN: &str = "zzz9zzz9zzz9";

/// The keys that the schema knows at a place: a pointer into it, through what it refers to.
fn keys(kind: SchemaOf, pointer: &str) -> BTreeSet<String> {
    let root = schema(kind);
    let mut at = &root;
    for step in pointer.split('/').skip(1) {
        at = &at[step];
        let referred = at.get("$ref").or_else(|| at["allOf"][0].get("$ref"));
        if let Some(name) = referred {
            at = resolve(&root, name.as_str().unwrap());
        }
    }
    at["properties"].as_object().unwrap_or_else(|| panic!("{pointer}: {at}")).keys().cloned().collect()
}

#[test]
fn the_schemas_know_the_keys_that_the_readers_know() {
    let tree = "root = 'a'\n[supervisor.a]\n";
    let prices = "version = 1\nsource = 's'\ndate = 'd'\n";
    let price = "[models.a]\ninput = '$1'\noutput = '$1'\n";
    use SchemaOf::{Budget, Callboard, Guard, Prices, Tree};
    for (kind, pointer, before) in [
        (Tree, "", tree.replace("[supervisor.a]", "")),
        (Tree, "/definitions/on", format!("{tree}[on]\n")),
        (Tree, "/definitions/amendment", format!("{tree}[on.bug]\n")),
        (Tree, "/definitions/worker", format!("{tree}[worker.b]\n")),
        (Tree, "/definitions/backoff", format!("{tree}[worker.b.backoff]\n")),
        (Tree, "/definitions/breaker", format!("{tree}[worker.b.breaker]\n")),
        (
            Tree,
            "/definitions/worker/properties/liveness",
            format!("{tree}[worker.b.liveness]\nprogress_within = '1s'\n"),
        ),
        (Tree, "/definitions/mailbox_table", format!("{tree}[worker.b.mailbox]\n")),
        (Tree, "/definitions/pool", format!("{tree}[worker.b.pool]\nmodels = ['m']\n")),
        (Tree, "/definitions/weights", format!("{tree}[worker.b.pool]\nmodels = ['m']\n[worker.b.pool.choose]\n")),
        (Tree, "/definitions/poison", format!("{tree}[worker.b.poison]\n")),
        (Tree, "/definitions/allowance", format!("{tree}[worker.b.allowance]\nrestarts = 1\nwithin = '1s'\n")),
        (Tree, "/definitions/intensity", format!("{tree}[supervisor.a.intensity]\n")),
        (Tree, "/definitions/dynamic", format!("{tree}[dynamic.b]\n")),
        (Guard, "/definitions/guard", "[default]\n".to_owned()),
        (Guard, "/definitions/breaker", "[default.breaker]\n".to_owned()),
        (Guard, "/definitions/retry", "[default.retry]\n".to_owned()),
        (Guard, "/definitions/backoff", "[default.retry.backoff]\n".to_owned()),
        (Budget, "", String::new()),
        (Budget, "/definitions/limits_table", "[run]\n".to_owned()),
        (Prices, "", prices.to_owned()),
        (Callboard, "", String::new()),
        (Callboard, "/properties/feed", "[feed]\n".to_owned()),
        (Callboard, "/properties/fetch", "[fetch]\n".to_owned()),
        (Callboard, "/definitions/guardrail", "[[agents.a.guard]]\nname = 'a'\nforbid = 'a'\n".to_owned()),
        (Callboard, "/properties/journal", "[journal]\n".to_owned()),
        (Callboard, "/properties/policies", "[policies]\n".to_owned()),
        (Callboard, "/properties/alerts", "[alerts]\nurl = 'http://a'\n".to_owned()),
        (Callboard, "/properties/chaos", "[chaos]\ntoken = { env = 'A' }\n".to_owned()),
        (Callboard, "/properties/telemetry", "[telemetry]\n".to_owned()),
        (Callboard, "/properties/telemetry/properties/otlp", "[telemetry.otlp]\nurl = 'http://a'\n".to_owned()),
        (Callboard, "/properties/agents/additionalProperties", "[agents.a]\n".to_owned()),
        (
            Callboard,
            "/properties/agents/additionalProperties/properties/history",
            "[agents.a.history]\ntokens_max = 1000\n".to_owned(),
        ),
        (
            Callboard,
            "/properties/agents/additionalProperties/properties/prompt_cache",
            "[agents.a.prompt_cache]\n".to_owned(),
        ),
        (Callboard, "/definitions/publisher", "[publishers.a]\nkind = 'webhook'\nurl = 'http://a/b'\n".to_owned()),
    ] {
        let text = format!("{before}{ALIEN} = 1\n");
        assert_eq!(keys(kind, pointer), known(kind, &text), "{kind:?} {pointer}");
        assert!(!accepts(kind, &text), "the schema of {kind:?} takes any key at {pointer}");
    }
    // What a supervisor's workers inherit is taken out before its own table is read.
    let mut supervisor = known(Tree, &format!("{tree}{ALIEN} = 1\n"));
    supervisor.insert("child".to_owned());
    assert_eq!(keys(Tree, "/definitions/supervisor"), supervisor);
    // A price has its defaults from the document, so its reader is a type of its own.
    let known_price = known(Prices, &format!("{prices}{price}{ALIEN} = 1\n"));
    assert_eq!(keys(Prices, "/definitions/price"), known_price);
    let tier = format!("{prices}{price}tiers = [{{ over = 1, input = '$1', output = '$1', {ALIEN} = 1 }}]\n");
    assert_eq!(keys(Prices, "/definitions/tier"), known(Prices, &tier));
    let fee = format!("{prices}{price}request = {{ least = '$1', most = '$1', {ALIEN} = 1 }}\n");
    assert_eq!(keys(Prices, "/definitions/fee_range"), known(Prices, &fee));
}

#[test]
fn the_schemas_know_the_keys_of_each_kind() {
    for (place, kind, index, needs) in [
        ("model", "local", 0, ""),
        ("model", "anthropic", 1, "name = 'n'\nkey.env = 'K'\n"),
        ("model", "openai", 2, "url = 'http://a/v1'\nname = 'n'\n"),
        ("model", "responses", 3, "name = 'n'\nkey.env = 'K'\n"),
        ("model", "perplexity", 4, "name = 'n'\nkey.env = 'K'\n"),
        ("model", "sonar", 5, "name = 'n'\nkey.env = 'K'\n"),
        ("model", "compatible", 6, "url = 'http://a/v1'\nname = 'n'\n"),
        ("context", "embedded", 0, ""),
        ("context", "qdrant", 1, "url = 'http://a'\n"),
    ] {
        let text = format!("[{place}]\nkind = '{kind}'\n{needs}{ALIEN} = 1\n");
        let root = schema(SchemaOf::Callboard);
        let of = if place == "model" { &root["definitions"]["model"] } else { &root["properties"]["context"] };
        let keys: BTreeSet<String> = of["oneOf"][index]["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, known(SchemaOf::Callboard, &text), "{kind}");
        assert!(!accepts(SchemaOf::Callboard, &text));
        agree(SchemaOf::Callboard, &text.replace(&format!("{ALIEN} = 1\n"), ""), true);
    }
}

#[test]
fn a_tree_is_taken_or_refused_by_both() {
    for (node, is_good) in [
        ("[worker.b]\nshutdown = '5s'\nmailbox = 3\nrate = '3/10s'\n", true),
        ("[worker.b]\nfallback = ['model/local', 'model/org/small']\n", true),
        ("[worker.b]\nfallback = []\n", true),
        ("[worker.b]\nfallback = ['local']\n", false),
        ("[worker.b]\nfallback = ['model/']\n", false),
        ("[worker.b]\nfallback = 'model/local'\n", false),
        (
            "[worker.b]\nfallback = ['model/1', 'model/2', 'model/3', 'model/4', 'model/5', 'model/6', 'model/7', 'model/8', 'model/9']\n",
            false,
        ),
        ("[worker.b]\npool = { models = ['a', 'b'], choose = 'cheapest', quality_min = 0.7 }\n", true),
        ("[worker.b]\npool = { models = ['a'], choose = { price = 2, latency = 1 }, quality_min = 1 }\n", true),
        ("[worker.b]\npool = { models = [] }\n", false),
        ("[worker.b]\npool = { choose = 'best' }\n", false),
        ("[worker.b]\npool = { models = ['a'], choose = 'cheepest' }\n", false),
        ("[worker.b]\npool = { models = ['a'], choose = { price = 101 } }\n", false),
        ("[worker.b]\npool = { models = ['a'], quality_min = 70 }\n", false),
        ("[worker.b]\npool.models = ['1', '2', '3', '4', '5', '6', '7', '8', '9']\n", false),
        ("[worker.b]\nbudget = '$1.50'\n", false),
        ("[worker.b]\nliveness = { progress_within = '1m', calling_within = '2m' }\n", true),
        ("[worker.b]\nbreaker = { failure_rate = '100%', open = '500ms' }\non.bug = { action = 'park' }\n", true),
        ("[worker.b]\nallowance = { restarts = 3, within = '1m', then = 'stop' }\nrestart = 'transient'\n", true),
        ("[worker.b]\nbackoff = { factor = 1, jitter = 1.0 }\n", true),
        ("[default.worker]\nmailbox = 3\n[worker.b]\n", true),
        ("[dynamic.b]\nlimit = 3\nrest_after = '1h'\nchild = { mailbox = 1 }\n", true),
        ("[worker.b]\nshutdown = 5\n", false),
        ("[worker.b]\nshutdown = '5'\n", false),
        ("[worker.b]\nshutdown = '5 s'\n", false),
        ("[worker.b]\nshutdown = '1.5s'\n", false),
        ("[worker.b]\nrate = '0/min'\n", false),
        ("[worker.b]\nrate = '5'\n", false),
        ("[worker.b]\nrate = '5/0s'\n", false),
        ("[worker.b]\nmailbox = { bound = 9, when_full = 'block', block_within = '2s' }\n", true),
        ("[worker.b]\npoison = { deaths = 5, suspected = 9, then = 'fail' }\n", true),
        ("[worker.b]\npoison.deaths = 0\n", false),
        ("[worker.b]\nmailbox.when_full = 'drop'\n", false),
        ("[worker.b]\nmailbox = -1\n", false),
        ("[worker.b]\nmailbox = 4294967296\n", false),
        ("[worker.b]\nmailbox = 'many'\n", false),
        ("[worker.b]\nsignificant = 'yes'\n", false),
        ("[worker.b]\nrestart = 'sometimes'\n", false),
        ("[worker.b]\nbackoff = { factor = 0.5 }\n", false),
        ("[worker.b]\nbackoff = { jitter = 1.5 }\n", false),
        ("[worker.b]\nbreaker = { failure_rate = '101%' }\n", false),
        ("[worker.b]\nbreaker = { failure_rate = '0%' }\n", false),
        ("[worker.b]\nallowance = { restarts = 3 }\n", false),
        ("[worker.b]\nallowance = { restarts = 10001, within = '1m' }\n", false),
        ("[worker.b]\non.bgu = { action = 'park' }\n", false),
        ("[worker.b]\non.bug = { action = 'rest' }\n", false),
        ("[default.worke]\nmailbox = 3\n[worker.b]\n", false),
    ] {
        agree(SchemaOf::Tree, &format!("root = 'a'\n[supervisor.a]\nchildren = ['b']\n{node}"), is_good);
    }
    agree(SchemaOf::Tree, "[supervisor.a]\n", false);
    agree(SchemaOf::Tree, "root = 'a'\n[supervisor.a]\nintensity = { restarts = 10001 }\n", false);
    agree(SchemaOf::Tree, "root = 'a'\n[supervisor.a]\nstrategy = 'one'\n", false);
    agree(SchemaOf::Tree, "root = 'a'\n[supervisor.a]\nauto_shutdown = 'all_significant'\n", true);
}

#[test]
fn the_other_files_are_taken_or_refused_by_both() {
    use SchemaOf::{Budget, Callboard, Guard, Prices};
    let prices = |rest: &str| format!("version = 1\nsource = 's'\ndate = 'd'\n{rest}");
    for (kind, text, is_good) in [
        (Guard, "[default]\nrate = '60/min'\n['model/x']\nretry = { attempts_max = 2 }\n".to_owned(), true),
        (Guard, "[default]\ntimeout = 5\n".to_owned(), false),
        (Guard, "[default]\nretry = { attempts_max = -1 }\n".to_owned(), false),
        (Guard, "default = 1\n".to_owned(), false),
        (Budget, "run = '$2.00'\n[agents]\nwriter = '$0.000000001'\n".to_owned(), true),
        (Budget, "run = '$2.0000000001'\n".to_owned(), false),
        (Budget, "run = 2.0\n".to_owned(), false),
        (
            Budget,
            "zone = 'Europe/Zurich'\nalerts = ['50%', '100%']\nrun = { day = '$1', at_end = 'wait' }\n".to_owned(),
            true,
        ),
        (Budget, "alerts = ['0%']\n".to_owned(), false),
        (Budget, "run = { at_end = 'sleep' }\n".to_owned(), false),
        (Budget, "agents = { writer = { week = '$1' } }\n".to_owned(), false),
        (Budget, "[agents]\nwriter = true\n".to_owned(), false),
        (Prices, prices("[models.a]\ninput = '$1'\noutput = '$1'\ncpu_second = '$0.1'\n"), true),
        (Prices, prices("[models.a]\ninput = '$1'\noutput = '$1'\nsearch = '$1'\ncache_write_1h = '$2'\n"), true),
        (Prices, prices("[models.a]\ninput = '$1'\noutput = '$1'\nrequest = { least = '$1', most = '$2' }\n"), true),
        (Prices, prices("[models.a]\ninput = '$1'\noutput = '$1'\nrequest = { most = '$2' }\n"), false),
        (Prices, prices("[models.a]\ninput = '$1'\n"), false),
        (Prices, "version = 1\nsource = 's'\n".to_owned(), false),
        (Callboard, "[journal]\nbytes_max = '10GiB'\n".to_owned(), true),
        (Callboard, "[journal]\nbytes_max = '10GB'\n".to_owned(), false),
        (Callboard, "[chaos]\ntoken = { env = 'A', file = 'b' }\n".to_owned(), false),
        (Callboard, "[chaos]\ntoken = { file = 'b' }\n".to_owned(), true),
        (Callboard, "[chaos]\n".to_owned(), false),
        (Callboard, "[model]\nkind = 'opena'\n".to_owned(), false),
        (Callboard, "[model]\nkind = 'openai'\nurl = 'ftp://a'\nname = 'n'\n".to_owned(), false),
        (Callboard, "[model]\nkind = 'openai'\nurl = 'http://u:p@a'\nname = 'n'\n".to_owned(), false),
        (Callboard, "[model]\nkind = 'openai'\nurl = 'http://a'\nname = 'n'\ndialect = 'open_ai'\n".to_owned(), true),
        (Callboard, "[agents.writer.model]\nkind = 'local'\n".to_owned(), true),
        (Callboard, "[agents.writer]\nmodel = 'local'\n".to_owned(), true),
        (Callboard, "model = 'local'\n[models.small]\nkind = 'local'\n".to_owned(), true),
        (Callboard, "[agents.writer]\nmodel = 3\n".to_owned(), false),
        (
            Callboard,
            "[agents.writer]\nhistory = { tokens_max = 8000, how = 'summarise', by = 'reviewer' }\n".to_owned(),
            true,
        ),
        (Callboard, "[agents.writer]\nthinking = 'xhigh'\n".to_owned(), true),
        (Callboard, "[agents.writer]\nthinking = 2048\n".to_owned(), true),
        (Callboard, "[agents.writer]\nthinking = 1000\n".to_owned(), false),
        (Callboard, "[agents.writer]\nthinking = 'hard'\n".to_owned(), false),
        (Callboard, "[agents.writer]\nthinking = true\n".to_owned(), false),
        (Callboard, "[agents.writer]\nprompt_cache = { within_1h = 20 }\n".to_owned(), true),
        (Callboard, "[agents.writer]\nprompt_cache = { within_5m = -1 }\n".to_owned(), false),
        (Prices, prices("[models.a]\ninput = '$1'\noutput = '$1'\ncache_prefix_min = 2048\n"), true),
        (Prices, prices("[models.a]\ninput = '$1'\noutput = '$1'\nbatch = '50%'\n"), true),
        (Prices, prices("[models.a]\ninput = '$1'\noutput = '$1'\nbatch = '0%'\n"), false),
        (Callboard, "[agents.writer]\nhistory = { tokens_max = 100 }\n".to_owned(), false),
        (Callboard, "[agents.writer]\nhistory = { how = 'trim' }\n".to_owned(), false),
        (Callboard, "[agents.writer]\nhistory = { tokens_max = 800, keep_last = 0 }\n".to_owned(), false),
        (Callboard, "[agents.writer]\nhistory = { tokens_max = 900, how = 'forget' }\n".to_owned(), false),
        (Callboard, "[models.small]\nkind = 'lokal'\n".to_owned(), false),
        (Callboard, "[publishers.a]\nkind = 'webhook'\nurl = 'http://a'\ndeduplicates = 1\n".to_owned(), false),
    ] {
        agree(kind, &text, is_good);
    }
}

#[test]
fn a_model_of_a_provider_is_taken_or_refused_by_both() {
    for (text, is_good) in [
        ("[model]\nkind = 'compatible'\nname = 'n'\n", false),
        ("[model]\nkind = 'anthropic'\nname = 'n'\n", false),
        ("[model]\nkind = 'anthropic'\nname = 'n'\nurl = 'http://a/v1'\n", true),
        ("[model]\nkind = 'anthropic'\nname = 'n'\nkey.env = 'K'\nversion = '2023-06-01'\nauth = 'bearer'\n", true),
        ("[model]\nkind = 'anthropic'\nname = 'n'\nkey.env = 'K'\nversion = '2024-01-01'\n", false),
        ("[model]\nkind = 'anthropic'\nname = 'n'\nkey.env = 'K'\ndialect = 'open_ai'\n", false),
        ("[model]\nkind = 'responses'\nname = 'n'\nkey.env = 'K'\nprefill = 'continue'\n", false),
        ("[model]\nkind = 'sonar'\nname = 'n'\nkey.env = 'K'\nwithout = ['images', 'schema']\nkey_age = '1h'\n", true),
        ("[model]\nkind = 'sonar'\nname = 'n'\nkey.env = 'K'\nwithout = ['sight']\n", false),
        ("[model]\nkind = 'sonar'\nname = 'n'\nkey = { command = ['pass', 'show', 'sonar'] }\n", true),
        ("[model]\nkind = 'sonar'\nname = 'n'\nkey = { command = [] }\n", false),
        ("[model]\nkind = 'sonar'\nname = 'n'\nkey = { command = 'pass' }\n", false),
    ] {
        agree(SchemaOf::Callboard, text, is_good);
    }
}
