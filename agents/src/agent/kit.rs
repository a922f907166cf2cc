//! What an agent has beside its model: tools, and guardrails. Invariant: a guardrail of rules is a pure function
//! of the text, and takes no more time than the text is long.

use policies::history::HistoryPolicy;
use policies::price::Reuse;
use policies::rules::PostRules;
use regex::Regex;

use crate::model::Thinking;
use crate::tool::Permissions;
use crate::workflow::{Breach, OnBreach, Side, TURNS_MAX, Talk};

/// Model calls of one step, where neither the step nor the agent says.
pub const TURNS_MAX_DEFAULT: u32 = 8;

/// See the module.
#[derive(Clone, Debug)]
pub struct Kit {
    /// The tools that it may use.
    pub tools: Permissions,
    /// The most model calls of one step.
    pub turns_max: u32,
    /// What its input and output must keep to.
    pub guardrails: Vec<Guardrail>,
    /// How much of its own talk it hears again; all of it without.
    pub history: Option<HistoryPolicy>,
    /// How much it thinks first, where a step does not say; as its model does by itself without.
    pub thinking: Option<Thinking>,
    /// How often calls of other steps and runs are expected to begin as its own do, by its tools and
    /// instructions.
    pub reuse: Reuse,
}

impl Default for Kit {
    fn default() -> Self {
        Self {
            tools: Permissions::default(),
            turns_max: TURNS_MAX_DEFAULT,
            guardrails: Vec::new(),
            history: None,
            thinking: None,
            reuse: Reuse::default(),
        }
    }
}

/// What a text must keep to.
#[derive(Clone, Debug)]
pub struct Guardrail {
    /// Its name, as its breaches are known by.
    pub name: String,
    /// Which texts it is about.
    pub on: Side,
    /// What they must keep to.
    pub rule: Rule,
    /// What a breach leads to.
    pub then: OnBreach,
    /// How often the model answers again, where a breach leads to that.
    pub retries_max: u32,
    /// What a breach leads to after those.
    pub otherwise: OnBreach,
}

/// What a text must keep to.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Length, words and links.
    Text(PostRules),
    /// It must not hold a match of this.
    Forbid(Regex),
    /// It must hold a match of this.
    Require(Regex),
    /// An agent must find it good.
    Judge {
        /// The agent.
        agent: String,
        /// What it looks for.
        criteria: String,
        /// The least score of 10.
        score_min: f64,
    },
}

impl Kit {
    /// The guardrails about a side.
    pub fn about(&self, side: Side) -> impl Iterator<Item = &Guardrail> {
        self.guardrails.iter().filter(move |guardrail| guardrail.on == side)
    }

    /// The first guardrail of rules that a text breaks.
    #[must_use]
    pub fn breach(&self, side: Side, text: &str, talk: &Talk, is_last: bool) -> Option<Breach> {
        self.about(side).find_map(|guardrail| {
            let reason = guardrail.rule.broken_by(text)?;
            Some(Breach { guard: guardrail.name.clone(), reason, then: guardrail.then(talk, is_last) })
        })
    }

    /// The most model calls of a step under these bounds.
    #[must_use]
    pub fn turns_max(&self, talk: &Talk) -> u32 {
        talk.limits.turns_max.unwrap_or(self.turns_max).clamp(1, TURNS_MAX)
    }
}

impl Guardrail {
    /// What a breach leads to after so many in one talk; in its last turn no answer can follow.
    #[must_use]
    pub fn then(&self, talk: &Talk, is_last: bool) -> OnBreach {
        let may_retry = self.on == Side::Output && talk.breaches < self.retries_max && !is_last;
        match self.then {
            OnBreach::Retry if !may_retry => self.otherwise,
            then => then,
        }
    }
}

impl Rule {
    /// What of it a text breaks; a judge is to be asked.
    fn broken_by(&self, text: &str) -> Option<String> {
        match self {
            Self::Text(rules) => {
                let breaches: Vec<String> = rules.check(text).iter().map(ToString::to_string).collect();
                (!breaches.is_empty()).then(|| breaches.join(" "))
            }
            // What was found may be what nobody is to see, so it is not repeated.
            Self::Forbid(pattern) => {
                pattern.is_match(text).then(|| format!("It holds what `{pattern}` describes, and must not."))
            }
            Self::Require(pattern) => {
                (!pattern.is_match(text)).then(|| format!("It holds nothing that `{pattern}` describes, and must."))
            }
            Self::Judge { .. } => None,
        }
    }
}
