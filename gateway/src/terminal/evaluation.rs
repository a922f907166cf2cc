//! An evaluation on a terminal. Invariant: a pure function of it and of the one before; nothing is counted
//! here.

use agents::evaluation::{Answered, CaseOutcome, Evaluation, Score};
use policies::span::Span;

use super::lines::clip;
use super::table::table;

/// Where there is no figure.
const NONE: &str = "–";

/// The table of an evaluation, beside what the last one had of the same cases.
#[must_use]
pub fn evaluation(now: &Evaluation, last: Option<&Evaluation>) -> String {
    let heads = ["case", "score", "was", "rules", "grade", "tokens", "cost", "time", ""].map(str::to_owned);
    let rows = now.cases.iter().map(|case| row(case, last.and_then(|last| last.case(&case.case))));
    let mut text = table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>());
    for case in &now.cases {
        match &case.answer {
            Err(why) => text.push_str(&format!("  {} has no answer: {}; run {}\n", case.case, clip(why), case.run)),
            Ok(answer) => {
                for breach in &answer.breaches {
                    text.push_str(&format!("  {}: {}\n", case.case, clip(breach)));
                }
            }
        }
    }
    text.push_str(&sums(now, last));
    text
}

fn row(case: &CaseOutcome, last: Option<&Answered>) -> [String; 9] {
    let none = || NONE.to_owned();
    let was = last.map_or_else(none, |last| score(Some(last.score)));
    let Ok(answer) = &case.answer else {
        let name = case.case.clone();
        return [name, none(), was, none(), none(), none(), none(), none(), "failed".to_owned()];
    };
    let rules = if answer.breaches.is_empty() { "kept" } else { "broken" };
    let state = match &answer.stand_in {
        Some(stand_in) => format!("by {stand_in}"),
        None if answer.passed => String::new(),
        None => "not passed".to_owned(),
    };
    [
        case.case.clone(),
        score(Some(answer.score)),
        was,
        rules.to_owned(),
        answer.grade.map_or_else(none, |grade| format!("{:.1}", grade.value())),
        (answer.usage.input_total().0 + answer.usage.output.0).to_string(),
        answer.cost.to_string(),
        seconds(answer.took),
        state,
    ]
}

fn sums(now: &Evaluation, last: Option<&Evaluation>) -> String {
    let (answered, passed) = (now.answered().count(), now.answered().filter(|answer| answer.passed).count());
    let (cost, judge) = now.cost();
    let times = now.times();
    let mut text = format!(
        "\n  {} with {}: score {}, {passed} of {} passed, {cost} and {judge} for the grades\n  \
         time of an answer: p50 {}, p95 {}\n",
        now.agent,
        now.model,
        score(now.score()),
        now.cases.len(),
        seconds(times.p50),
        seconds(times.p95)
    );
    if answered < now.cases.len() {
        text.push_str(&format!("  {} had no answer and count in no figure\n", now.cases.len() - answered));
    }
    if let Some(last) = last {
        let times = last.times();
        text.push_str(&format!(
            "  the last one, of {} with {}: score {}, {}, p50 {}, p95 {}\n",
            last.at,
            last.model,
            score(last.score()),
            last.cost().0,
            seconds(times.p50),
            seconds(times.p95)
        ));
    }
    text
}

fn score(score: Option<Score>) -> String {
    score.map_or_else(|| NONE.to_owned(), |score| format!("{:.2}", score.value()))
}

fn seconds(span: Span) -> String {
    format!("{:.1} s", span.duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(grade: f64) -> Evaluation {
        let answer = json!({ "Ok": {
            "breaches": [], "grade": grade, "score": (grade - 1.0) / 8.0, "passed": true, "usage": { "input": 30, "output": 4 },
            "cost": 2_000_000, "took": "1200ms", "judge_cost": 1_000_000,
        } });
        let broken = json!({ "Ok": {
            "breaches": ["The post must not say \"new\"."], "grade": null, "score": 0.0, "passed": false, "usage": {},
            "cost": 0, "took": "3s", "judge_cost": 0, "stand_in": null,
        } });
        let case = |case: &str, answer| json!({ "case": case, "run": "r", "answer": answer });
        let cases = [case("a", answer), case("b", broken), case("c", json!({ "Err": "no\nmoney" }))];
        serde_json::from_value(json!({ "agent": "writer", "model": "local", "at": 0, "cases": cases })).unwrap()
    }

    #[test]
    fn each_case_has_its_line_beside_what_it_was() {
        let text = evaluation(&sample(7.0), Some(&sample(5.0)));
        let expected = "  case  score  was   rules   grade  tokens  cost    time\n";
        assert!(text.starts_with(expected), "{text}");
        for line in [
            "  a     0.75   0.50  kept    7.0    34      $0.002  1.2 s",
            "  b     0.00   0.00  broken  –      0       $0.00   3.0 s  not passed",
            "  c     –      –     –       –      –       –       –      failed",
            "  c has no answer: no money; run r",
            "  b: The post must not say \"new\".",
            "  writer with local: score 0.38, 1 of 3 passed, $0.002 and $0.001 for the grades",
            "  1 had no answer and count in no figure",
            "with local: score 0.25, $0.002, p50 1.2 s, p95 3.0 s",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
