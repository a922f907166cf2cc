//! The report at the end of a run. Invariant: its figures are the aggregator's;
//! nothing is counted here.

use std::collections::BTreeMap;

use agents::aggregator::{Report, StepFigures, StepPhase, Sums};
use agents::workflow::StepPath;
use policies::tokens::Usage;
use serde_json::Value;

use super::lines::clip;
use super::table::table;

/// What the outputs call the list of posts, and the map that makes them, in a workflow such as the
/// built-in one.
const POSTS: &str = "posts";
/// Where there is no figure.
const NONE: &str = "–";
/// The most steps that are listed.
const STEPS_MAX: usize = 200;

type Row = [String; 7];

/// A run's report as text. `outputs` are what the workflow handed back.
#[must_use]
pub fn report(report: &Report, outputs: Option<&Value>, feed: Option<&str>) -> String {
    let posts = outputs.and_then(|outputs| outputs.get(POSTS)).and_then(Value::as_array);
    let mut text = String::from("\nReport\n");
    match posts {
        Some(posts) if posts.iter().all(Value::is_object) => text.push_str(&table(&post_rows(report, posts))),
        _ => {
            text.push_str(&table(&step_rows(report)));
            let more = report.run.steps.len().saturating_sub(STEPS_MAX);
            if more > 0 {
                text.push_str(&format!("  and {more} more steps\n"));
            }
            for (name, value) in outputs.and_then(Value::as_object).into_iter().flatten() {
                text.push_str(&format!("  {name}: {}\n", clip(&plain(Some(value)))));
            }
        }
    }
    text.push_str(&totals(report));
    match feed {
        Some(feed) => text.push_str(&format!("  feed: {feed}\n")),
        None if report.posts.is_empty() => text.push_str("  feed: none, nothing was published\n"),
        None => {}
    }
    text
}

fn totals(report: &Report) -> String {
    let run = &report.run;
    let took = run
        .finished
        .map_or_else(|| "still running".to_owned(), |end| format!("{:.1} s", end.since(run.started).as_secs_f64()));
    let (tokens, posts) = (tokens(&run.usage), report.posts.len());
    let mut text = format!(
        "\n  run {}: {}, {took}, {tokens} tokens, {}, {posts} published\n  retries {}, restarts {}\n",
        run.id, run.status, run.cost, run.retries, report.restarts
    );
    text.push_str(&stand_ins(report));
    if let Some(failure) = &run.failure {
        text.push_str(&format!("  {failure}\n"));
    }
    text
}

/// Steps that a stand-in did, by who that was and why.
fn stand_ins(report: &Report) -> String {
    let mut steps: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for step in report.run.steps.values() {
        if let (Some(stand_in), Some(because)) = (&step.stand_in, &step.because) {
            *steps.entry((stand_in, &step.target, because)).or_default() += 1;
        }
    }
    let line = |((stand_in, agent, because), steps): ((&str, &str, &str), usize)| {
        let s = if steps == 1 { "" } else { "s" };
        format!("  {stand_in} stood in for {agent} in {steps} step{s}, because {because}\n")
    };
    steps.into_iter().map(line).collect()
}

fn post_rows(report: &Report, posts: &[Value]) -> Vec<Row> {
    let heads = ["post", "time", "tokens", "cost", "drafts", "score", "state"].map(str::to_owned);
    let rows = posts.iter().enumerate().map(|(index, post)| post_row(report, index, post));
    std::iter::once(heads).chain(rows).collect()
}

/// A post that was held or rejected took its steps too, so the figures are those of its item in the
/// map, and of what was published where there is no such map.
fn post_row(report: &Report, index: usize, post: &Value) -> Row {
    let words = post.get("text").and_then(Value::as_str).unwrap_or_default();
    let published = || report.posts.iter().find(|p| p.post.text == words).map(|p| p.sums);
    let [took, used, cost] = figures(report.run.item(POSTS, index).or_else(published));
    let [channel, drafts, score, status] = ["channel", "drafts", "score", "status"].map(|key| plain(post.get(key)));
    [channel, took, used, cost, drafts, score, status]
}

fn figures(sums: Option<Sums>) -> [String; 3] {
    let Some(sums) = sums else { return [NONE; 3].map(str::to_owned) };
    [seconds(sums.time.duration().as_secs_f64()), tokens(&sums.usage).to_string(), sums.cost.to_string()]
}

fn step_rows(report: &Report) -> Vec<Row> {
    let heads = ["step", "by", "time", "tokens", "cost", "attempts", "state"].map(str::to_owned);
    let rows = report.run.steps.iter().take(STEPS_MAX).map(|(path, step)| step_row(path, step));
    std::iter::once(heads).chain(rows).collect()
}

fn step_row(path: &StepPath, step: &StepFigures) -> Row {
    let state = match step.phase {
        StepPhase::Open => "under way",
        StepPhase::Again => "to be tried again",
        StepPhase::Asked => "waits for a person",
        StepPhase::Parked => "held",
        StepPhase::Done => "done",
        StepPhase::Over => "failed",
    };
    let by = match &step.stand_in {
        _ if step.target.is_empty() => NONE.to_owned(),
        Some(stand_in) => format!("{} ({stand_in})", step.target),
        None => step.target.clone(),
    };
    let sums = Sums { time: step.took, usage: step.usage, cost: step.cost };
    let [took, used, cost] = figures(Some(sums));
    [path.to_string(), by, took, used, cost, step.attempts.to_string(), state.to_owned()]
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NONE.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn tokens(usage: &Usage) -> u64 {
    usage.input_total().0 + usage.output.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Report {
        let step = |target: &str, begun: i64, ended: i64, attempts: u32, phase: &str| {
            json!({
                "target": target, "phase": phase, "attempts": attempts, "begun": begun, "ended": ended, "took": "1s",
                "usage": { "input": 10, "output": 5 }, "cost": 0,
            })
        };
        let run = json!({
            "id": "r", "workflow": "w", "status": "finished", "started": 0, "finished": 9_000_000, "cost": 0,
            "usage": {}, "retries": 1, "failure": null, "posts": [], "restarts_before": 0, "restarts_at_end": 0,
            "steps": {
                "posts[0]/write": step("writer", 1_000_000, 3_000_000, 1, "done"),
                "posts[1]/write": step("writer", 1_000_000, 2_500_000, 2, "done"),
                "posts[1]/approve": step("", 2_500_000, 8_000_000, 0, "done"),
            },
        });
        Report { run: serde_json::from_value(run).unwrap(), restarts: 0, posts: Vec::new() }
    }

    #[test]
    fn columns_line_up() {
        let rows = [["post", "time", "", "", "", "", "x"], ["professional", "1 s", "", "", "", "", "y"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let text = table(&rows);
        let place = |line: &str, sign| line.find(sign).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(place(lines[0], 'x'), place(lines[1], 'y'));
    }

    #[test]
    fn a_post_that_is_not_out_has_its_figures() {
        let posts = json!({ "posts": [
            { "channel": "feed", "text": "a", "status": "held" },
            { "channel": "short", "text": "b", "status": "rejected", "score": 6.5 },
            { "channel": "none", "text": "c", "status": "held" },
        ] });
        let text = report(&sample(), Some(&posts), None);
        let words = |nth: usize| text.lines().nth(nth).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(3), ["feed", "2.0", "s", "15", "$0.00", "–", "–", "held"], "{text}");
        assert_eq!(words(4), ["short", "7.0", "s", "30", "$0.00", "–", "6.5", "rejected"], "{text}");
        assert_eq!(words(5), ["none", "–", "–", "–", "–", "–", "held"], "{text}");
        assert!(text.contains("feed: none, nothing was published"), "{text}");
    }

    #[test]
    fn another_workflow_shows_its_steps_and_outputs() {
        let text = report(&sample(), Some(&json!({ "summary": "a\u{1b}b", "posts": "none" })), Some("feed.atom"));
        assert!(text.contains("  posts[1]/write    writer  1.0 s  15      $0.00  2         done\n"), "{text}");
        assert!(text.contains("  posts[1]/approve  –       "), "{text}");
        assert!(text.contains("  summary: a b\n") && text.contains("  feed: feed.atom\n"), "{text}");
        assert!(report(&sample(), None, None).contains("step  "), "a run that failed shows its steps");
    }
}
