use agents::model::Ability;
use agents::providers::{Api, Auth, ChatDialect, ResponsesDialect, Version};
use policies::document;

use super::*;

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn an_empty_file_is_the_default() {
    let (dir, path) = written("");
    let config = Config::load(Some(&path)).unwrap();
    assert_eq!(config.data, dir.path().join(".callboard"));
    assert!(matches!(config.model, ModelChoice::Own(ModelConfig::Local { .. })));
}

#[test]
fn a_model_server_is_a_few_lines() {
    let (_dir, path) = written(
        "[model]\nkind = \"openai\"\nurl = \"http://127.0.0.1:11434/v1\"\nname = \"qwen\"\nkey = { env = \"SOME_KEY\" }\n",
    );
    let config = Config::load(Some(&path)).unwrap();
    let ModelChoice::Own(model) = config.model else { panic!("{:?}", config.model) };
    let ModelConfig::Server(model) = model else { panic!("{model:?}") };
    assert!(model.stream && matches!(model.key, Some(SecretSource::Env(_))));
}

#[test]
fn each_kind_of_provider_is_a_few_lines_and_knows_its_address() {
    for (kind, more, api, url) in [
        ("anthropic", "", Api::Anthropic(Version::V2026_10_21), "https://api.anthropic.com/v1"),
        (
            "anthropic",
            "version = \"2023-06-01\"\n",
            Api::Anthropic(Version::V2023_06_01),
            "https://api.anthropic.com/v1",
        ),
        ("openai", "url = \"http://a/v1\"\ndialect = \"open_ai\"\n", Api::Chat(ChatDialect::OpenAi), "http://a/v1"),
        ("responses", "", Api::Responses(ResponsesDialect::OpenAi), "https://api.openai.com/v1"),
        ("perplexity", "", Api::Responses(ResponsesDialect::Perplexity), "https://api.perplexity.ai/v1"),
        ("sonar", "", Api::Chat(ChatDialect::Sonar), "https://api.perplexity.ai"),
        ("compatible", "url = \"http://a/v1\"\n", Api::Chat(ChatDialect::Compatible), "http://a/v1"),
    ] {
        let (_dir, path) = written(&format!(
            "[models.m]\nkind = \"{kind}\"\nname = \"n\"\nkey.env = \"K\"\nwithout = [\"images\"]\nauth = \"bearer\"\n{more}"
        ));
        let config = Config::load(Some(&path)).unwrap();
        let ModelConfig::Server(model) = &config.named["m"] else { panic!("{kind}") };
        let options = model.options(None);
        assert_eq!((options.api, options.base_url.as_str(), options.model.as_str()), (api, url, "n"), "{kind}");
        assert_eq!((options.without, options.auth), (vec![Ability::Images], Some(Auth::Bearer)), "{kind}");
    }
}

#[test]
fn what_a_kind_cannot_do_is_told_where_it_is_written() {
    for (text, wanted) in [
        ("kind = \"anthropic\"\nname = \"n\"\nsampling = true\n", ":4:12: the version 2026-10-21 takes no temperature"),
        ("kind = \"responses\"\nname = \"n\"\nprefill = \"continue\"\n", ":4:11: this kind goes on from no words"),
        ("kind = \"compatible\"\nname = \"n\"\n", "[model] of the kind `compatible` has no `url`"),
        ("kind = \"anthropic\"\nname = \"n\"\n", "[model] of the kind `anthropic` has no `key`"),
        ("kind = \"sonar\"\nname = \"n\"\nwithout = [\"sight\"]\n", ":4:12: "),
        ("kind = \"sonar\"\nname = \"n\"\nversion = \"1\"\n", "unknown key `version` in [model] of the kind `sonar`"),
        ("kind = \"sonar\"\nname = \"n\"\nkey = { command = [] }\n", "a command is a program and its arguments"),
    ] {
        let (_dir, path) = written(&format!("[model]\n{text}"));
        let told = document::lines(&Config::load(Some(&path)).unwrap_err());
        assert!(told.contains(wanted), "{told}");
    }
    let (_dir, path) = written(
        "[model]\nkind = \"anthropic\"\nname = \"n\"\nversion = \"2023-06-01\"\nsampling = true\nkey.env = \"K\"\n",
    );
    assert!(Config::load(Some(&path)).is_ok());
}

#[test]
fn telemetry_that_cannot_be_sent_is_told_where_it_is_written() {
    for (text, wanted) in [
        ("headers = { \"a b\" = \"c\" }", "no header can be called `a b`"),
        ("interval = \"9300000000000000s\"", "`interval` is more than a day"),
        ("timeout = \"25h\"", "`timeout` is more than a day"),
        ("interval = \"0s\"", "`interval` is no time"),
    ] {
        let (_dir, path) = written(&format!("[telemetry.otlp]\nurl = \"http://a:4318\"\n{text}\n"));
        let told = document::lines(&Config::load(Some(&path)).unwrap_err());
        assert!(told.contains(":3:") && told.contains(wanted), "{told}");
    }
}

#[test]
fn a_commands_program_is_relative_to_the_file_if_it_is_in_a_folder() {
    let key = |program: &str| {
        let (dir, path) = written(&format!(
            "[model]\nkind = \"sonar\"\nname = \"n\"\nkey = {{ command = [\"{program}\", \"a/b\"] }}\n"
        ));
        let config = Config::load(Some(&path)).unwrap();
        let ModelChoice::Own(ModelConfig::Server(model)) = config.model else { panic!("{:?}", config.model) };
        let Some(SecretSource::Command(words)) = model.key else { panic!("no command") };
        words[0].replace(&dir.path().display().to_string(), "DIR") + " " + &words[1]
    };
    assert_eq!((key("pass"), key("bin/key")), ("pass a/b".to_owned(), "DIR/bin/key a/b".to_owned()));
}

#[test]
fn paths_are_relative_to_the_file() {
    let (dir, path) = written(
        "policies.tree = \"tree.toml\"\n[model]\nkind = \"local\"\npath = \"models/x.gguf\"\n\
         [agents.writer.model]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"b\"\nkey = { file = \"key\" }\n",
    );
    let config = Config::load(Some(&path)).unwrap();
    assert_eq!(config.policies.tree, Some(dir.path().join("tree.toml")));
    let ModelChoice::Own(ModelConfig::Local { path: Some(model), .. }) = &config.model else {
        panic!("{:?}", config.model)
    };
    assert_eq!(*model, dir.path().join("models/x.gguf"));
    let Some(ModelChoice::Own(ModelConfig::Server(model))) = &config.agents["writer"].model else {
        panic!("{:?}", config.agents)
    };
    let Some(SecretSource::File(key)) = &model.key else { panic!("{model:?}") };
    assert_eq!(*key, dir.path().join("key"));
}

#[test]
fn a_publisher_is_a_few_lines() {
    let (dir, path) = written(
        "[publishers.board]\nkind = \"webhook\"\nurl = \"http://a/posts\"\nkey = { file = \"key\" }\ncan_be_asked = true\n",
    );
    let config = Config::load(Some(&path)).unwrap();
    let PublisherConfig::Webhook { url, key: Some(SecretSource::File(key)), deduplicates: false, can_be_asked: true } =
        &config.publishers["board"]
    else {
        panic!("{:?}", config.publishers)
    };
    assert_eq!((url.as_str(), key), ("http://a/posts", &dir.path().join("key")));
}

#[test]
fn chaos_is_off_unless_it_has_a_token() {
    let (dir, path) = written("[chaos]\ntoken = { file = \"token\" }\n");
    let Some(ChaosConfig { token: SecretSource::File(token) }) = Config::load(Some(&path)).unwrap().chaos else {
        panic!("it has a token")
    };
    assert_eq!(token, dir.path().join("token"));
    assert!(Config::default().chaos.is_none());
    let (_dir, path) = written("[chaos]\n");
    let error = document::lines(&Config::load(Some(&path)).unwrap_err());
    assert!(error.contains("[chaos] has no `token`"), "{error}");
}

#[test]
fn a_publisher_has_a_name_of_its_own() {
    for taken in ["feed", "writer", "ledger", "editor"] {
        let (_dir, path) =
            written(&format!("[agents.editor]\n[publishers.{taken}]\nkind = \"webhook\"\nurl = \"http://a/posts\"\n"));
        let error = document::lines(&Config::load(Some(&path)).unwrap_err());
        assert!(error.contains(":2:13: ") && error.contains(&format!("`{taken}` is taken")), "{error}");
    }
}

#[test]
fn all_faults_are_found_each_where_it_stands() {
    let (dir, path) = written(
        "listen = \"localhost:8080\"\nworkspce = \"main\"\n[model]\nkind = \"openai\"\nurl = \"127.0.0.1:11434/v1\"\n\
         nmae = \"qwen\"\nstream = \"yes\"\ndialect = \"openai\"\n[agents.writer.model]\nkind = \"local\"\ncpu_second = \"free\"\n\
         url = \"http://a/v1\"\n[context]\nkind = \"qdrant\"\nurl = \"http://127.0.0.1:99999\"\n[feed]\nurl = \"feed.atom\"\n\
         tilte = \"News\"\n[publishers.board]\nkind = \"webook\"\n[publishers.\"wall\"]\nkind = \"webhook\"\n\
         url = \"ftp://a/posts\"\n[policies]\ntree = 5\nbudgt = \"b.toml\"\n",
    );
    let told = document::lines(&Config::load(Some(&path)).unwrap_err());
    let told = told.replace(&format!("{}/callboard.toml:", dir.path().display()), "");
    let expected = [
        "1:10: `localhost:8080` is no address to listen on; write an IP address and a port, such as \"127.0.0.1:8080\"",
        "2:1: unknown key `workspce` in the configuration; did you mean `workspace`?",
        "3:1: [model] of the kind `openai` has no `name`; add `name = …`",
        "5:7: `127.0.0.1:11434/v1` is no http address; write one such as \"http://127.0.0.1:11434/v1\"",
        "6:1: unknown key `nmae` in [model] of the kind `openai`; did you mean `name`?",
        "7:10: `stream` must be true or false",
        "8:11: unknown dialect `openai`; did you mean `open_ai`?",
        "11:14: `free` is not an amount of money; write dollars such as \"$2.00\", with at most 9 decimals",
        "12:1: unknown key `url` in [agents.writer.model] of the kind `local`; known here: `kind`, `path`, `cpu_second`",
        "15:7: `http://127.0.0.1:99999` is no http address; write one such as \"http://127.0.0.1:11434/v1\"",
        "17:7: `feed.atom` is no http address; write one such as \"http://127.0.0.1:11434/v1\"",
        "18:1: unknown field `tilte`; did you mean `title`?",
        "20:8: `kind` cannot be `webook`; did you mean `webhook`?",
        "23:7: `ftp://a/posts` is no http address; write one such as \"http://127.0.0.1:11434/v1\"",
        "25:8: invalid type: integer `5`, expected path string",
        "26:1: unknown field `budgt`; did you mean `budget`?",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn an_address_with_a_password_is_not_repeated() {
    let (_dir, path) = written("[model]\nkind = \"openai\"\nurl = \"https://me:s3cret@a/v1\"\nname = \"b\"\n");
    let error = document::lines(&Config::load(Some(&path)).unwrap_err());
    assert!(error.contains(":3:7:") && !error.contains("s3cret"), "{error}");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let (_dir, path) = written(&"#".repeat(FILE_BYTES_MAX as usize + 1));
    let error = document::lines(&Config::load(Some(&path)).unwrap_err());
    assert!(error.contains("callboard.toml: is larger than 1MiB"), "{error}");
}

#[test]
fn each_model_in_use_is_named_with_its_agents() {
    let (_dir, path) = written("[agents.writer.model]\nkind = \"local\"\n");
    let config = Config::load(Some(&path)).unwrap();
    let models: Vec<_> = config.models().into_iter().map(|used| (used.way, used.agents)).collect();
    assert_eq!(
        models,
        [(vec!["model"], vec!["researcher", "reviewer"]), (vec!["agents", "writer", "model"], vec!["writer"])]
    );
}

#[test]
fn a_typo_is_named_with_its_line() {
    let (_dir, path) = written("workspace = \"a\"\nlisten = \"127.0.0.1:80\"\ndatta = \"x\"\n");
    let error = document::lines(&Config::load(Some(&path)).unwrap_err());
    assert!(error.contains(":3:") && error.contains("data"), "{error}");
}

#[test]
fn a_secret_written_into_the_file_is_not_repeated() {
    let (_dir, path) = written("[model]\nkind = \"openai\"\nurl = \"http://a\"\nname = \"b\"\nkey = \"sk-plain\"\n");
    let error = document::lines(&Config::load(Some(&path)).unwrap_err());
    assert!(!error.contains("sk-plain") && error.contains("env"), "{error}");
}

const TWO: &str = "[models.claude]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"haiku\"\n\
                   [models.spare]\nkind = \"openai\"\nurl = \"http://b/v1\"\nname = \"haiku\"\n";

#[test]
fn models_have_names_and_each_name_a_guard_of_its_own() {
    let (_dir, path) = written(&format!("model = \"claude\"\n{TWO}[agents.writer]\nmodel = \"local\"\n"));
    let config = Config::load(Some(&path)).unwrap();
    let used: Vec<_> = config.models().into_iter().map(|used| (used.guard(), used.way, used.agents)).collect();
    let others = vec!["researcher", "reviewer"];
    assert_eq!(
        used,
        [
            ("model/claude".to_owned(), vec!["models", "claude"], others),
            ("model/local".to_owned(), vec![], vec!["writer"]),
            ("model/spare".to_owned(), vec!["models", "spare"], vec![]),
        ]
    );
    assert_eq!(config.model_names().collect::<Vec<_>>(), ["claude", "spare", "local"]);
    assert_eq!(Config::default().model_of("writer").guard(), "model/local");
}

#[test]
fn a_model_that_nobody_described_is_told_where_it_is_named() {
    let (_dir, path) = written(&format!("model = \"claud\"\n{TWO}[agents.writer]\nmodel = \"gpt\"\n"));
    let faults: Vec<String> = Config::load(Some(&path)).unwrap_err().iter().map(ToString::to_string).collect();
    let has = |place: &str, words: &str| faults.iter().any(|fault| fault.contains(place) && fault.ends_with(words));
    let meant = "there is no model `claud`; did you mean `claude`? If not, describe it as [models.claud]";
    assert!(has(":1:9: ", meant), "{faults:?}");
    assert!(has(":11:9: ", "there is no model `gpt`; describe it as [models.gpt]"), "{faults:?}");
}

#[test]
fn what_a_model_saves_is_read_with_its_bounds() {
    let text = "[models.a]\nkind = \"compatible\"\nurl = \"http://x/v1\"\nname = \"m\"\ncoalesce = true\n\
                cache = { ttl = \"1h\", bytes_max = \"1MiB\" }\n";
    let (_dir, path) = written(text);
    let config = Config::load(Some(&path)).unwrap();
    let Some(ModelConfig::Server(model)) = config.named.get("a") else { panic!("no server") };
    let cache = model.cache.unwrap();
    assert_eq!((model.coalesce, cache.bytes_max.bytes(), cache.any_temperature), (true, 1 << 20, false));
    let (_dir, path) = written(&text.replace("\"1h\"", "\"0s\""));
    let told = document::lines(&Config::load(Some(&path)).unwrap_err());
    assert!(told.contains(":6:9: a cache with a `ttl` of 0s keeps nothing") && told.lines().count() == 1, "{told}");
    let (_dir, path) = written(&text.replace("ttl = \"1h\", ", ""));
    assert!(document::lines(&Config::load(Some(&path)).unwrap_err()).contains("ttl"));
}
