//! Where telemetry is sent, as the configuration names it. Invariant: a secret is read when it is sent, so that
//! it can be rotated.

use actors::world::World;
use agents::key::Key;
use agents::telemetry::{Collector, Header, Options};
use anyhow::Context;

use super::KEY_AGE_MAX;
use crate::config::{Config, Words};

/// The collector, where there is one.
pub(super) fn sent(config: &Config, world: &World) -> anyhow::Result<Option<(Collector, Options)>> {
    let Some(otlp) = &config.telemetry.otlp else { return Ok(None) };
    let mut headers = Vec::new();
    for (name, words) in &otlp.headers {
        let header = match words {
            Words::Plain(words) => {
                let words = words.parse();
                Header::Plain(words.with_context(|| format!("[telemetry] cannot send the header `{name}`"))?)
            }
            Words::Secret(source) => Header::Secret(Key::read_from(source.clone(), world.clone(), KEY_AGE_MAX)),
        };
        headers.push((name.clone(), header));
    }
    let collector = Collector::new(&otlp.url, headers, otlp.timeout, world.http());
    let options = Options {
        interval: otlp.interval,
        queue_max: otlp.queue_max,
        age_max: otlp.age_max,
        content: config.telemetry.content,
        workspace: config.workspace.clone(),
    };
    Ok(Some((collector.context("[telemetry] cannot be used")?, options)))
}
