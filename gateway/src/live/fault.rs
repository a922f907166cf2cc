//! A fault as an operator asks for it. Invariant: what was taken has a target, an end and a bound on
//! what it may hit; what does not fit is one sentence that says what is known.

use std::time::Duration;

use actors::world::Trouble;
use http::StatusCode;
use policies::span::Span;
use serde::{Deserialize, Serialize};

/// The longest that a fault may be in force.
pub const FOR_MAX: Duration = Duration::from_secs(600);
/// How long a fault is in force that does not say.
pub const FOR: Duration = Duration::from_secs(30);
/// The longest that something may be slowed down.
pub const BY_MAX: Duration = Duration::from_secs(60);
/// The longest `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// The most calls or turns that a fault may hit.
pub const HITS_MAX: u32 = 10_000;
/// How many it may hit that does not say.
pub const HITS: u32 = 100;
/// The longest target, in bytes.
const TARGET_BYTES_MAX: usize = 200;
/// The statuses that are failures.
const STATUSES: std::ops::RangeInclusive<u16> = 400..=599;
/// All models behind HTTP.
const MODELS: &str = "llm/*";
/// All publishers.
const PLATFORMS: &str = "platform/*";

/// A kind of fault that a running system can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A model call is answered with a status.
    ProviderStatus,
    /// The connection breaks before a model call goes out.
    ProviderReset,
    /// A model call goes out later.
    ProviderSlow,
    /// Half an answer, then silence.
    ProviderStall,
    /// Half an answer, then the connection breaks.
    ProviderCut,
    /// An answer that is no JSON.
    ProviderGarbage,
    /// The call is made, and no answer ever comes.
    ProviderLost,
    /// A post is answered with a status, and not made.
    PlatformStatus,
    /// The connection breaks before the post goes out.
    PlatformReset,
    /// A post goes out later.
    PlatformSlow,
    /// A post is made, and then the connection breaks.
    PlatformLost,
    /// An actor panics at a message.
    ActorPanic,
    /// An actor ends with an error at a message.
    ActorError,
    /// An actor does not come back from a message.
    ActorHang,
    /// An actor takes longer for a message.
    ActorSlow,
    /// An actor is killed.
    ActorKill,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::ProviderStatus,
        Self::ProviderReset,
        Self::ProviderSlow,
        Self::ProviderStall,
        Self::ProviderCut,
        Self::ProviderGarbage,
        Self::ProviderLost,
        Self::PlatformStatus,
        Self::PlatformReset,
        Self::PlatformSlow,
        Self::PlatformLost,
        Self::ActorPanic,
        Self::ActorError,
        Self::ActorHang,
        Self::ActorSlow,
        Self::ActorKill,
    ];

    /// Its name in requests and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProviderStatus => "provider_status",
            Self::ProviderReset => "provider_reset",
            Self::ProviderSlow => "provider_slow",
            Self::ProviderStall => "provider_stall",
            Self::ProviderCut => "provider_cut",
            Self::ProviderGarbage => "provider_garbage",
            Self::ProviderLost => "provider_lost",
            Self::PlatformStatus => "platform_status",
            Self::PlatformReset => "platform_reset",
            Self::PlatformSlow => "platform_slow",
            Self::PlatformLost => "platform_lost",
            Self::ActorPanic => "actor_panic",
            Self::ActorError => "actor_error",
            Self::ActorHang => "actor_hang",
            Self::ActorSlow => "actor_slow",
            Self::ActorKill => "actor_kill",
        }
    }

    /// The keys that it has beside those of every fault.
    fn own_keys(self) -> &'static [&'static str] {
        match self {
            Self::ProviderStatus => &["status", "retry_after"],
            Self::PlatformStatus => &["status"],
            Self::ProviderSlow | Self::PlatformSlow | Self::ActorSlow => &["by"],
            _ => &[],
        }
    }

    /// What it is done to where nobody says; an actor must be named.
    fn target(self) -> Option<&'static str> {
        let name = self.name();
        if name.starts_with("provider") {
            return Some(MODELS);
        }
        name.starts_with("platform").then_some(PLATFORMS)
    }
}

/// A fault, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What kind.
    pub kind: Kind,
    /// `llm/MODEL`, `platform/PUBLISHER` or an actor's name in the tree; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// For how long; [`FOR`] without it, [`FOR_MAX`] at most.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// The share of calls or turns that it hits, from 0 to 1; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// How many it hits at most; [`HITS`] without it, [`HITS_MAX`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits_max: Option<u32>,
    /// The status of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
    /// How much slower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Span>,
}

impl Asked {
    /// Whether it makes sense, wherever it is asked for.
    ///
    /// # Errors
    /// [`NotFault`], as the server would answer.
    pub fn check(&self) -> Result<(), NotFault> {
        Fault::of(self.clone()).map(drop)
    }

    /// A fault of this kind of which nothing else is said.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, target: None, lasts: None, p: None, hits_max: None, status: None, retry_after: None, by: None }
    }
}

/// A fault that can be put into force.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// All that was asked for, with what was left out filled in.
    pub(super) asked: Asked,
    pub(super) target: String,
    pub(super) lasts: Duration,
    pub(super) p: f64,
    pub(super) hits_max: u32,
    pub(super) effect: Effect,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Provider(ProviderEffect),
    Platform(PlatformEffect),
    Turn(Trouble),
    Kill,
}

/// What a fault does to a model call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderEffect {
    Status { status: StatusCode, retry_after: Option<Duration> },
    Reset,
    Slow(Duration),
    Stall,
    Cut,
    Garbage,
    Lost,
}

/// What a fault does to a request to a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlatformEffect {
    Status(StatusCode),
    Reset,
    Slow(Duration),
    Lost,
}

/// Why a fault is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFault {
    /// A key of another kind.
    #[error("`{key}` does not belong to `{kind}`, {known}")]
    Key {
        /// The key.
        key: &'static str,
        /// The kind.
        kind: &'static str,
        /// Those that do.
        known: String,
    },
    /// A key is missing.
    #[error("`{kind}` needs `{key}`, such as {example}")]
    Missing {
        /// The kind.
        kind: &'static str,
        /// The key.
        key: &'static str,
        /// What it may be.
        example: &'static str,
    },
    /// A value is out of its bounds.
    #[error("`{key}` must be {bounds}")]
    Bounds {
        /// The key.
        key: &'static str,
        /// What it must be.
        bounds: String,
    },
    /// The target stands for nothing.
    #[error("the target `{target}` stands for nothing that `{kind}` can be done to here; {known}")]
    Target {
        /// The target.
        target: String,
        /// The kind.
        kind: &'static str,
        /// What there is.
        known: String,
    },
    /// There are too many.
    #[error("{0} faults are in force, which is the most; stop one, or wait until one is over")]
    Many(usize),
}

impl Fault {
    /// What was asked for, if it makes sense.
    pub(super) fn of(mut asked: Asked) -> Result<Self, NotFault> {
        let kind = asked.kind;
        own_keys_only(&asked)?;
        let effect = effect(&asked)?;
        let target = asked.target.clone().or_else(|| kind.target().map(str::to_owned));
        let target = target.ok_or(missing(kind, "target", "\"writer\" or \"run/*\""))?;
        if target.is_empty() || target.len() > TARGET_BYTES_MAX {
            return Err(bounds("target", format!("a name of 1 to {TARGET_BYTES_MAX} bytes")));
        }
        let lasts = within("for", asked.lasts.unwrap_or(Span(FOR)), FOR_MAX)?;
        let p = asked.p.unwrap_or(1.0);
        if kind == Kind::ActorKill && asked.p.is_some() {
            return Err(bounds("p", "left out of `actor_kill`, which kills whom it names".to_owned()));
        }
        if !(0.0..=1.0).contains(&p) {
            return Err(bounds("p", "a share, from 0 to 1".to_owned()));
        }
        let hits_max = asked.hits_max.unwrap_or(HITS);
        if !(1..=HITS_MAX).contains(&hits_max) {
            return Err(bounds("hits_max", format!("a whole number from 1 to {HITS_MAX}")));
        }
        asked.target = Some(target.clone());
        asked.lasts = Some(Span(lasts));
        asked.p = Some(p);
        asked.hits_max = Some(hits_max);
        Ok(Self { asked, target, lasts, p, hits_max, effect })
    }

    /// Whether its target stands for this name.
    pub(super) fn covers(&self, name: &str) -> bool {
        policies::pattern::covers(&self.target, name)
    }
}

fn own_keys_only(asked: &Asked) -> Result<(), NotFault> {
    let own = asked.kind.own_keys();
    let given =
        [("status", asked.status.is_some()), ("retry_after", asked.retry_after.is_some()), ("by", asked.by.is_some())];
    match given.into_iter().find(|(key, is_given)| *is_given && !own.contains(key)) {
        None => Ok(()),
        Some((key, _)) => {
            let known = match own {
                [] => "which has no keys of its own".to_owned(),
                own => format!("whose own keys are `{}`", own.join("`, `")),
            };
            Err(NotFault::Key { key, kind: asked.kind.name(), known })
        }
    }
}

fn effect(asked: &Asked) -> Result<Effect, NotFault> {
    Ok(match asked.kind {
        Kind::ProviderStatus => {
            let retry_after = asked.retry_after.map(|span| within("retry_after", span, RETRY_AFTER_MAX)).transpose()?;
            Effect::Provider(ProviderEffect::Status { status: status(asked)?, retry_after })
        }
        Kind::ProviderReset => Effect::Provider(ProviderEffect::Reset),
        Kind::ProviderSlow => Effect::Provider(ProviderEffect::Slow(by(asked)?)),
        Kind::ProviderStall => Effect::Provider(ProviderEffect::Stall),
        Kind::ProviderCut => Effect::Provider(ProviderEffect::Cut),
        Kind::ProviderGarbage => Effect::Provider(ProviderEffect::Garbage),
        Kind::ProviderLost => Effect::Provider(ProviderEffect::Lost),
        Kind::PlatformStatus => Effect::Platform(PlatformEffect::Status(status(asked)?)),
        Kind::PlatformReset => Effect::Platform(PlatformEffect::Reset),
        Kind::PlatformSlow => Effect::Platform(PlatformEffect::Slow(by(asked)?)),
        Kind::PlatformLost => Effect::Platform(PlatformEffect::Lost),
        Kind::ActorPanic => Effect::Turn(Trouble::Panic),
        Kind::ActorError => Effect::Turn(Trouble::Error),
        Kind::ActorHang => Effect::Turn(Trouble::Hang),
        Kind::ActorSlow => Effect::Turn(Trouble::Slow(by(asked)?)),
        Kind::ActorKill => Effect::Kill,
    })
}

fn status(asked: &Asked) -> Result<StatusCode, NotFault> {
    let status = asked.status.ok_or(missing(asked.kind, "status", "429 or 503"))?;
    let failure = StatusCode::from_u16(status).ok().filter(|_| STATUSES.contains(&status));
    failure.ok_or_else(|| bounds("status", format!("a failure, from {} to {}", STATUSES.start(), STATUSES.end())))
}

fn by(asked: &Asked) -> Result<Duration, NotFault> {
    within("by", asked.by.ok_or(missing(asked.kind, "by", "\"2s\""))?, BY_MAX)
}

fn within(key: &'static str, span: Span, max: Duration) -> Result<Duration, NotFault> {
    let length = span.duration();
    if length.is_zero() || length > max {
        return Err(bounds(key, format!("above zero and at most \"{}\"", Span(max))));
    }
    Ok(length)
}

fn missing(kind: Kind, key: &'static str, example: &'static str) -> NotFault {
    NotFault::Missing { kind: kind.name(), key, example }
}

fn bounds(key: &'static str, bounds: String) -> NotFault {
    NotFault::Bounds { key, bounds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Fault, String> {
        Fault::of(serde_json::from_str(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_bounds_all_the_same() {
        let fault = asked(r#"{ "kind": "provider_reset" }"#).unwrap();
        assert_eq!((fault.target.as_str(), fault.lasts, fault.p, fault.hits_max), ("llm/*", FOR, 1.0, HITS));
        let shown = serde_json::to_value(&fault.asked).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({ "kind": "provider_reset", "target": "llm/*", "for": "30s", "p": 1.0, "hits_max": 100 })
        );
    }

    #[test]
    fn a_kind_is_read_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn what_does_not_fit_is_one_sentence_that_says_what_is_known() {
        for (text, wanted) in [
            (r#"{ "kind": "provider_status" }"#, "`provider_status` needs `status`, such as 429 or 503"),
            (r#"{ "kind": "provider_status", "status": 200 }"#, "`status` must be a failure, from 400 to 599"),
            (r#"{ "kind": "provider_slow", "by": "2m" }"#, "`by` must be above zero and at most \"1m\""),
            (r#"{ "kind": "actor_panic" }"#, "`actor_panic` needs `target`, such as \"writer\" or \"run/*\""),
            (
                r#"{ "kind": "platform_status", "status": 503, "retry_after": "5s" }"#,
                "`retry_after` does not belong to `platform_status`, whose own keys are `status`",
            ),
            (
                r#"{ "kind": "actor_kill", "target": "writer", "by": "1s" }"#,
                "`by` does not belong to `actor_kill`, which has no keys of its own",
            ),
            (r#"{ "kind": "provider_reset", "for": "11m" }"#, "`for` must be above zero and at most \"10m\""),
            (r#"{ "kind": "provider_reset", "for": "0s" }"#, "`for` must be above zero and at most \"10m\""),
            (r#"{ "kind": "provider_reset", "p": 1.5 }"#, "`p` must be a share, from 0 to 1"),
            (
                r#"{ "kind": "actor_kill", "target": "writer", "p": 0.5 }"#,
                "`p` must be left out of `actor_kill`, which kills whom it names",
            ),
            (r#"{ "kind": "provider_reset", "hits_max": 0 }"#, "`hits_max` must be a whole number from 1 to 10000"),
            (r#"{ "kind": "provider_reset", "target": "" }"#, "`target` must be a name of 1 to 200 bytes"),
        ] {
            assert_eq!(asked(text).unwrap_err(), wanted, "{text}");
        }
    }
}
