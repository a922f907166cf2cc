//! The report at the end of a run. Invariant: its figures are the aggregator's;
//! nothing is counted here.

use agents::aggregator::Report;
use policies::tokens::Usage;
use serde_json::Value;

/// A run's report as text. `outputs` are what the workflow handed back.
#[must_use]
pub fn report(report: &Report, outputs: Option<&Value>, feed: Option<&str>) -> String {
    let mut rows = vec![["post", "time", "tokens", "cost", "drafts", "score", "state"].map(str::to_owned)];
    for post in outputs.and_then(|o| o.get("posts")).and_then(Value::as_array).into_iter().flatten() {
        rows.push(row(report, post));
    }
    let mut text = String::from("\nReport\n");
    text.push_str(&table(&rows));
    let run = &report.run;
    let took = run
        .finished
        .map_or_else(|| "still running".to_owned(), |end| format!("{:.1} s", end.since(run.started).as_secs_f64()));
    let (tokens, posts) = (tokens(&run.usage), report.posts.len());
    let total = run.cost;
    text.push_str(&format!(
        "\n  run {}: {}, {took}, {tokens} tokens, {total}, {posts} published\n  retries {}, restarts {}\n",
        run.id, run.status, run.retries, report.restarts
    ));
    if let Some(failure) = &run.failure {
        text.push_str(&format!("  {failure}\n"));
    }
    if let Some(feed) = feed {
        text.push_str(&format!("  feed: {feed}\n"));
    }
    text
}

fn row(report: &Report, post: &Value) -> [String; 7] {
    let channel = post.get("channel").and_then(Value::as_str).unwrap_or("?");
    let words = post.get("text").and_then(Value::as_str).unwrap_or_default();
    let figures = report.posts.iter().find(|p| p.post.text == words);
    let (took, used, cost) = figures.map_or_else(
        || ("–".to_owned(), "–".to_owned(), "–".to_owned()),
        |f| (format!("{:.1} s", f.took.duration().as_secs_f64()), tokens(&f.usage).to_string(), f.cost.to_string()),
    );
    let plain = |key: &str| match post.get(key) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    [channel.to_owned(), took, used, cost, plain("drafts"), plain("score"), plain("status")]
}

fn tokens(usage: &Usage) -> u64 {
    usage.input_total().0 + usage.output.0
}

/// Columns as wide as their widest cell.
fn table(rows: &[[String; 7]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(&format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["post", "time", "", "", "", "", "x"], ["professional", "1 s", "", "", "", "", "y"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let text = table(&rows);
        let place = |line: &str, sign| line.find(sign).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(place(lines[0], 'x'), place(lines[1], 'y'));
    }
}
