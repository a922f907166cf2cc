//! The secrets that a configuration uses, looked for before anything is fetched or opened. Invariant: an
//! error names the source of a secret, never its words.

use policies::document::Error;

use super::{Config, ContextConfig, ModelConfig, PublisherConfig, SecretSource, Words};

/// What cannot be read of them.
pub(super) fn missing(config: &Config) -> Vec<Error> {
    let mut used: Vec<(Vec<&str>, &SecretSource)> = Vec::new();
    for used_model in config.models() {
        if let ModelConfig::Server(model) = used_model.model {
            used.extend(model.key.as_ref().map(|key| (with(used_model.way, "key"), key)));
        }
    }
    if let ContextConfig::Qdrant { key: Some(key), .. } = &config.context {
        used.push((vec!["context", "key"], key));
    }
    for (name, PublisherConfig::Webhook { key, .. }) in &config.publishers {
        used.extend(key.as_ref().map(|key| (vec!["publishers", name, "key"], key)));
    }
    let alerts = config.alerts.as_ref().and_then(|alerts| alerts.key.as_ref());
    used.extend(alerts.map(|key| (vec!["alerts", "key"], key)));
    for (name, server) in &config.mcp {
        for (key, word, words) in server.words() {
            if let Words::Secret(source) = words {
                used.push((vec!["mcp", name, key, word], source));
            }
        }
    }
    let headers = config.telemetry.otlp.iter().flat_map(|otlp| &otlp.headers);
    for (name, words) in headers {
        if let Words::Secret(source) = words {
            used.push((vec!["telemetry", "otlp", "headers", name], source));
        }
    }
    used.extend(config.chaos.as_ref().map(|chaos| (vec!["chaos", "token"], &chaos.token)));
    let fault = |(way, source): (Vec<&str>, &SecretSource)| {
        let why = source.look().err()?;
        Some(config.written.fault(&way, why, ""))
    };
    used.into_iter().filter_map(fault).collect()
}

fn with<'a>(mut way: Vec<&'a str>, key: &'a str) -> Vec<&'a str> {
    way.push(key);
    way
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use policies::document;

    use super::super::read::config;
    use crate::written::Written;

    #[test]
    fn every_secret_that_is_used_is_looked_for() {
        let text = "[agents.writer.model]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"b\"\nkey.env = \"CALLBOARD_NO_A\"\n\
                    [context]\nkind = \"qdrant\"\nurl = \"http://a\"\nkey = { env = \"CALLBOARD_NO_B\" }\n\
                    [publishers.board]\nkind = \"webhook\"\nurl = \"http://a\"\nkey = { file = \"/no/such/key\" }\n\
                    [telemetry.otlp]\nurl = \"http://a\"\nheaders = { a = \"b\", c = { env = \"CALLBOARD_NO_D\" } }\n\
                    [chaos]\ntoken = { env = \"CALLBOARD_NO_C\" }\n";
        let written = |text: &str| Written::in_file(Path::new("c.toml"), text.to_owned());
        let told = document::lines(&config(written(text)).unwrap().secrets_missing());
        for (line, wanted) in
            told.lines().zip(["c.toml:5:1: ", "c.toml:9:1: ", "c.toml:13:1: ", "c.toml:16:", "c.toml:18:1: "])
        {
            assert!(line.starts_with(wanted), "{told}");
        }
        assert_eq!(told.lines().count(), 5, "{told}");
        assert!(told.contains("CALLBOARD_NO_A is not set; export it"), "{told}");
        let text =
            "[model]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"b\"\nkey = { env = \"CALLBOARD_NO_A\" }\n";
        let own = |agent: &str| format!("[agents.{agent}.model]\nkind = \"local\"\n");
        let all = format!("{text}{}{}{}", own("researcher"), own("writer"), own("reviewer"));
        assert_eq!(config(written(text)).unwrap().secrets_missing().len(), 1);
        assert!(config(written(&all)).unwrap().secrets_missing().is_empty(), "no agent uses it");
    }
}
