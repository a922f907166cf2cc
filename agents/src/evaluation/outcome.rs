//! What came of the cases, and how one evaluation compares with another.
//!
//! Invariant: every figure is a function of the cases' outcomes.

use std::collections::BTreeMap;

use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::Usage;
use serde::{Deserialize, Serialize};

/// The grades that a judge can give.
const GRADE_RANGE: (f64, f64) = (1.0, 9.0);

/// A judge's grade, from 1 (bad) to 9 (excellent).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grade(f64);

impl Grade {
    /// The grade of a judge that may have said anything.
    #[must_use]
    pub fn of(said: f64) -> Option<Self> {
        let (least, most) = GRADE_RANGE;
        said.is_finite().then(|| Self(said.clamp(least, most)))
    }

    /// As a number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

/// How good an answer is: from 0, as bad as can be or against a rule, to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// The score of an answer: 0 if it breaks a rule; else its grade, from the worst to the best; 1 where
    /// nobody grades.
    #[must_use]
    pub fn of(breaches: usize, grade: Option<Grade>) -> Self {
        let (least, most) = GRADE_RANGE;
        match grade {
            _ if breaches > 0 => Self(0.0),
            Some(Grade(grade)) => Self((grade - least) / (most - least)),
            None => Self(1.0),
        }
    }

    /// The mean; none of no scores.
    #[must_use]
    pub fn mean(scores: impl IntoIterator<Item = Self>) -> Option<Self> {
        let (mut sum, mut count) = (0.0, 0_u32);
        for Self(score) in scores {
            sum += score;
            count += 1;
        }
        (count > 0).then(|| Self(sum / f64::from(count)))
    }

    /// As a number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

/// A case that was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// The rules that it breaks, as sentences.
    pub breaches: Vec<String>,
    /// What the judge says of it.
    pub grade: Option<Grade>,
    /// What follows from both.
    pub score: Score,
    /// Whether it keeps its rules and has the grade that the case asks for.
    pub passed: bool,
    /// Who answered in the agent's place, such as "model/local", if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
    /// The model that answered, by its provider's name for it, where the agent itself was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the answer used …
    pub usage: Usage,
    /// … and cost …
    pub cost: Money,
    /// … and how long its attempts took together.
    pub took: Span,
    /// What the judge cost.
    pub judge_cost: Money,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseOutcome {
    /// The case: its file's name and its own.
    pub case: String,
    /// Its run.
    pub run: String,
    /// Its answer, or why it has none.
    pub answer: Result<Answered, String>,
}

/// What came of an agent over its cases: the payload of `evaluation.finished`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The agent.
    pub agent: String,
    /// The model that it speaks with.
    pub model: String,
    /// When it was done.
    pub at: Timestamp,
    /// The cases, in the order of their files.
    pub cases: Vec<CaseOutcome>,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Half of them took at most this.
    pub p50: Span,
    /// 95 of 100 took at most this.
    pub p95: Span,
}

impl Evaluation {
    /// The cases that were answered.
    pub fn answered(&self) -> impl Iterator<Item = &Answered> {
        self.cases.iter().filter_map(|case| case.answer.as_ref().ok())
    }

    /// The mean score; none when nothing was answered.
    #[must_use]
    pub fn score(&self) -> Option<Score> {
        Score::mean(self.answered().map(|answer| answer.score))
    }

    /// The mean score of what the agent answered with each model.
    #[must_use]
    pub fn scores(&self) -> BTreeMap<&str, Score> {
        let mut all: BTreeMap<&str, Vec<Score>> = BTreeMap::new();
        for answer in self.answered() {
            // An evaluation that does not say so had one model alone.
            let own = Some(&self.model).filter(|_| answer.stand_in.is_none());
            if let Some(model) = answer.model.as_ref().or(own) {
                all.entry(model).or_default().push(answer.score);
            }
        }
        all.into_iter().filter_map(|(model, scores)| Some((model, Score::mean(scores)?))).collect()
    }

    /// What the answers cost, and what their grades did.
    #[must_use]
    pub fn cost(&self) -> (Money, Money) {
        let sum = |cost: fn(&Answered) -> Money| self.answered().map(cost).sum();
        (sum(|answer| answer.cost), sum(|answer| answer.judge_cost))
    }

    /// How long the answers took, by nearest rank.
    #[must_use]
    pub fn times(&self) -> Times {
        let mut spans: Vec<Span> = self.answered().map(|answer| answer.took).collect();
        spans.sort_unstable();
        let rank = |percent: usize| {
            let at = (spans.len() * percent).div_ceil(100).saturating_sub(1);
            spans.get(at).copied().unwrap_or(Span::ZERO)
        };
        Times { p50: rank(50), p95: rank(95) }
    }

    /// What this evaluation has of a case.
    #[must_use]
    pub fn case(&self, case: &str) -> Option<&Answered> {
        self.cases.iter().find(|outcome| outcome.case == case)?.answer.as_ref().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(score: Score, millis: u64) -> Answered {
        Answered {
            breaches: Vec::new(),
            grade: None,
            score,
            passed: true,
            stand_in: None,
            model: None,
            usage: Usage::default(),
            cost: Money::from_nanos(3),
            took: Span::from_millis(millis),
            judge_cost: Money::from_nanos(1),
        }
    }

    fn evaluation(cases: Vec<Result<Answered, String>>) -> Evaluation {
        let outcome = |(nth, answer): (usize, _)| CaseOutcome { case: format!("c{nth}"), run: String::new(), answer };
        let cases = cases.into_iter().enumerate().map(outcome).collect();
        Evaluation { agent: "writer".to_owned(), model: "m".to_owned(), at: Timestamp::EPOCH, cases }
    }

    #[test]
    fn a_score_is_nothing_against_a_rule_and_else_the_grade() {
        assert_eq!(Score::of(1, Grade::of(9.0)).value(), 0.0);
        assert_eq!(Score::of(0, None).value(), 1.0);
        assert_eq!([1.0, 5.0, 9.0].map(|grade| Score::of(0, Grade::of(grade)).value()), [0.0, 0.5, 1.0]);
        assert_eq!(Grade::of(0.0), Grade::of(1.0), "what is no grade is the nearest one");
        assert_eq!(Grade::of(f64::NAN), None);
    }

    #[test]
    fn what_failed_counts_in_no_figure() {
        let half = Score::of(0, Grade::of(5.0));
        let mut cases: Vec<_> = (1..=20).map(|millis| Ok(answered(half, millis))).collect();
        cases.push(Err("no money".to_owned()));
        let evaluation = evaluation(cases);
        assert_eq!(evaluation.score(), Some(half));
        assert_eq!(evaluation.cost(), (Money::from_nanos(60), Money::from_nanos(20)));
        assert_eq!(evaluation.times(), Times { p50: Span::from_millis(10), p95: Span::from_millis(19) });
        assert!(evaluation.case("c0").is_some() && evaluation.case("c20").is_none() && evaluation.case("x").is_none());
    }

    #[test]
    fn of_nothing_there_are_no_figures() {
        let evaluation = evaluation(vec![Err("down".to_owned())]);
        assert_eq!((evaluation.score(), evaluation.times()), (None, Times::default()));
    }

    #[test]
    fn each_answer_says_something_of_the_model_that_gave_it_and_of_no_other() {
        let bad = Answered { stand_in: Some("agent/other".to_owned()), ..answered(Score::of(1, None), 1) };
        let other = Answered { model: Some("n".to_owned()), ..answered(Score::of(0, Grade::of(5.0)), 1) };
        let evaluation = evaluation(vec![Ok(bad), Ok(answered(Score::of(0, None), 1)), Ok(other)]);
        assert_eq!(evaluation.score().unwrap().value(), 0.5);
        let scores: Vec<_> = evaluation.scores().into_iter().map(|(model, score)| (model, score.value())).collect();
        assert_eq!(scores, [("m", 1.0), ("n", 0.5)]);
    }
}
