//! What surrounds every effect: deadline, concurrency, rate, breaker, retry.
//!
//! Guards inherit: what `[model]` leaves out comes from `[default]`, and what
//! `["model/claude"]` leaves out comes from `[model]`. Every name has a guard.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

use crate::{
    breaker::BreakerPolicy,
    document::{self, Located, Mistakes, Source, inherit},
    retry::RetryPolicy,
    span::{Rate, Span},
};

/// The text of the guards compiled in, `defaults/guard.toml`.
pub const BUILTIN: &str = include_str!("../defaults/guard.toml");

/// The name that every guard inherits from.
const DEFAULT: &str = "default";

/// The guard of one kind of effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardPolicy {
    /// The longest wait for a place and the rate before it is tried anew.
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
        Self::read("policies/defaults/guard.toml", BUILTIN)
    }

    /// Reads guards from TOML, one table each.
    ///
    /// # Errors
    /// Every mistake in the text.
    pub fn read(file_label: &str, text: &str) -> Result<Self, Vec<document::Error>> {
        let source = Source { file: file_label, text };
        let document = document::parse(source)?;
        let mut mistakes = Mistakes::new(source);
        // First as each stands, so that a mistake is told once, and not of every guard that inherits it.
        let own: Option<BTreeMap<String, GuardPolicy>> = mistakes.typed("variant", &document);
        let guards = own.and_then(|_| mistakes.typed("variant", &resolve(&document)));
        mistakes.conclude(guards.map(|guards| Self { guards }))
    }

    /// The guard of that name, or of the nearest name above it: of
    /// "model/claude", then "model", then "default".
    pub fn get(&self, name: &str) -> GuardPolicy {
        self.nearest(name).and_then(|name| self.guards.get(name)).cloned().unwrap_or_default()
    }

    /// The name whose guard [`Guards::get`] gives, where one is written.
    pub fn nearest<'n>(&self, name: &'n str) -> Option<&'n str> {
        std::iter::once(name).chain(ancestors(name)).find(|name| self.guards.contains_key(*name))
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

/// The document with every guard complete.
pub(crate) fn resolve<'a>(document: Located<'a>) -> Spanned<DeValue<'a>> {
    let Some(mut guards) = document.get_ref().as_table().cloned() else { return document.clone() };
    let names: Vec<String> = guards.keys().map(|name| name.get_ref().to_string()).collect();
    for name in names {
        // In order of names, so that a parent is complete before its children.
        let base = ancestors(&name).find_map(|name| guards.get(name)?.get_ref().as_table()).cloned();
        if let Some(DeValue::Table(own)) = guards.get_mut(name.as_str()).map(Spanned::get_mut) {
            *own = inherit(&base.unwrap_or_default(), own);
        }
    }
    Spanned::new(document.span(), DeValue::Table(guards))
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
