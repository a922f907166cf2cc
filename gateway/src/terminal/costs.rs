//! Costs in a table.

use agents::aggregator::CostPage;

use super::table::table;

/// A page of costs as a table, with where the next begins.
pub fn costs(by: &str, page: &CostPage) -> String {
    if page.costs.is_empty() {
        return "no call of a model has ended yet\n".to_owned();
    }
    let head = [by, "calls", "tokens in", "tokens out", "cost"].map(str::to_owned);
    let line = |line: &agents::aggregator::CostLine| {
        let usage = line.cost.usage;
        [
            line.name.clone(),
            line.cost.calls.to_string(),
            usage.input_total().to_string(),
            usage.output.to_string(),
            line.cost.cost.to_string(),
        ]
    };
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(page.costs.iter().map(line)).collect();
    let more = page.next.as_ref().map(|next| format!("more with --after {next}\n")).unwrap_or_default();
    format!("{}{more}", table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_shown_with_their_sums_and_where_more_are() {
        let page = serde_json::json!({ "costs": [
            { "name": "writer", "calls": 3, "cost": 1_500_000, "usage": { "input": 10, "cache_read": 5, "output": 7 } }
        ], "next": "writer" });
        let page: CostPage = serde_json::from_value(page).unwrap();
        let shown = costs("agent", &page);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["writer", "3", "15", "7", "$0.0015"]);
        assert_eq!(lines[2], "more with --after writer");
        assert_eq!(costs("agent", &CostPage::default()), "no call of a model has ended yet\n");
    }
}
