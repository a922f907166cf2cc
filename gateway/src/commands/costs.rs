//! `callboard costs`: what calls of models cost, as a server has it.

use agents::aggregator::CostPage;

use super::server::{Server, escaped};
use crate::cli::CostsArgs;
use crate::terminal;

/// Prints a page of costs.
///
/// # Errors
/// When there is no such run, or no server answers.
pub async fn run(arguments: &CostsArgs) -> anyhow::Result<()> {
    let CostsArgs { by, run, after, limit, server } = arguments;
    let by = if run.is_some() { "step" } else { by.as_str() };
    let asked = [("run", run), ("after", after)];
    let asked = asked.iter().filter_map(|(name, value)| Some(format!("&{name}={}", escaped(value.as_deref()?))));
    let path = format!("/v1/costs?by={}&limit={limit}{}", escaped(by), asked.collect::<String>());
    let page: CostPage = Server::new(&server.url)?.get(&path).await?;
    print!("{}", terminal::costs(by, &page));
    Ok(())
}
