//! What surrounds every effect: deadline, concurrency, rate, breaker, retry.
//!
//! Guards inherit: what `[model]` leaves out comes from `[default]`, and what
//! `["model/claude"]` leaves out comes from `[model]`. Every name has a guard.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    breaker::BreakerPolicy,
    document,
    retry::RetryPolicy,
    span::{Rate, Span},
};

/// The name that every guard inherits from.
const DEFAULT: &str = "default";

/// The guard of one kind of effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardPolicy {
    /// For the whole effect: waiting, attempts and the delays between them.
    pub deadline: Span,
    /// For one attempt.
    pub timeout: Span,
    /// The most calls at once; 0 counts as 1.
    pub concurrency: u32,
    /// The most calls in a time, or `None` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When the other side is left alone.
    pub breaker: BreakerPolicy,
    /// How failed attempts are repeated.
    pub retry: RetryPolicy,
}

impl Default for GuardPolicy {
    fn default() -> Self {
        Self {
            deadline: Span::from_secs(300),
            timeout: Span::from_secs(60),
            concurrency: 8,
            rate: None,
            breaker: BreakerPolicy::default(),
            retry: RetryPolicy::default(),
        }
    }
}

/// The guards by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Guards {
    guards: BTreeMap<String, GuardPolicy>,
}

impl Guards {
    /// The guards compiled in, `defaults/guard.toml`.
    ///
    /// # Errors
    /// None once this crate's tests pass: the file is part of the build.
    pub fn builtin() -> Result<Self, Vec<document::Error>> {
        Self::read("policies/defaults/guard.toml", include_str!("../defaults/guard.toml"))
    }

    /// Reads guards from TOML, one table each.
    ///
    /// # Errors
    /// Every mistake in the text.
    pub fn read(file_label: &str, text: &str) -> Result<Self, Vec<document::Error>> {
        // Read once with types, so that a mistake is found where it stands, and
        // once without, since only then what was left out can be told apart.
        document::read::<BTreeMap<String, GuardPolicy>>(file_label, text)?;
        let mut tables: BTreeMap<String, Table> = document::read(file_label, text)?;
        let inherited: Vec<String> = tables.keys().cloned().collect();
        for name in inherited {
            // In order of names, so that a parent is complete before its children.
            let base = ancestors(&name).find_map(|name| tables.get(name)).cloned().unwrap_or_default();
            let own = tables.remove(&name).unwrap_or_default();
            tables.insert(name, merge(base, own));
        }
        let source = document::Source { file: file_label, text };
        let typed = |(name, table): (String, Table)| match Value::Table(table).try_into() {
            Ok(guard) => Ok((name, guard)),
            Err(error) => Err(vec![source.error(source.place(&[&name]).unwrap_or_default(), error.to_string(), "")]),
        };
        Ok(Self { guards: tables.into_iter().map(typed).collect::<Result<_, _>>()? })
    }

    /// The guard of that name, or of the nearest name above it: of
    /// "model/claude", then "model", then "default".
    pub fn get(&self, name: &str) -> GuardPolicy {
        let mut names = std::iter::once(name).chain(ancestors(name));
        names.find_map(|name| self.guards.get(name)).cloned().unwrap_or_default()
    }

    /// Sets the guard of that name.
    pub fn set(&mut self, name: impl Into<String>, guard: GuardPolicy) {
        self.guards.insert(name.into(), guard);
    }

    /// All named guards, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &GuardPolicy)> {
        self.guards.iter().map(|(name, guard)| (name.as_str(), guard))
    }
}

/// The names that a guard inherits from, the nearest first.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    let above = std::iter::successors(name.rsplit_once('/'), |(above, _)| above.rsplit_once('/'));
    above.map(|(above, _)| above).chain((name != DEFAULT).then_some(DEFAULT))
}

/// `own` over `base`, table by table.
fn merge(mut base: Table, own: Table) -> Table {
    for (key, value) in own {
        let merged = match (base.remove(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => Value::Table(merge(below, above)),
            (_, value) => value,
        };
        base.insert(key, merged);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [default]
        timeout = "9s"
        breaker = { failures = 7, probes = 2 }
        [model]
        rate = "60/min"
        breaker.failures = 3
        ["model/claude"]
        concurrency = 1
    "#;

    #[test]
    fn inherits_value_by_value() {
        let guards = Guards::read("guard.toml", TEXT).unwrap();
        let claude = guards.get("model/claude");
        assert_eq!((claude.timeout, claude.concurrency), (Span::from_secs(9), 1));
        assert_eq!((claude.breaker.failures, claude.breaker.probes), (3, 2));
        assert_eq!(claude.rate, "60/min".parse().ok());
    }

    #[test]
    fn an_unnamed_guard_is_its_nearest_relative() {
        let guards = Guards::read("guard.toml", TEXT).unwrap();
        assert_eq!(guards.get("model/openai/batch"), guards.get("model"));
        assert_eq!(guards.get("publisher"), guards.get("default"));
        assert_eq!(Guards::default().get("model"), GuardPolicy::default());
    }

    #[test]
    fn a_mistake_is_found_where_it_stands() {
        let errors = Guards::read("guard.toml", "[model]\nbreaker.failurs = 3\n[default]\ntimeout = 9\n").unwrap_err();
        assert_eq!(
            document::lines(&errors),
            "guard.toml:2:9: unknown field `failurs`; did you mean `failures`?\n\
             guard.toml:4:11: invalid type: integer `9`, expected a length of time such as \"30s\""
        );
    }

    #[test]
    fn the_builtin_guards_cover_every_effect() {
        let guards = Guards::builtin().unwrap();
        let names: Vec<_> = guards.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["context", "default", "model", "publisher"]);
        assert_eq!(guards.get("default"), GuardPolicy::default());
        assert_eq!(guards.get("publisher").retry.retry_after_max, Span::from_secs(60));
        for (name, guard) in guards.iter() {
            assert!(guard.timeout <= guard.deadline, "{name}");
        }
    }
}
