//! How good the checkers are: systems and histories that are broken on purpose, and who finds out.
//! Invariant: a mutant that nobody catches is an error.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::campaign::{Ask, Campaign};
use super::command::files;
use super::sabotage::Sabotage;
use crate::aims::Invariant;
use crate::checkers::score::score;
use crate::experiment;
use crate::history::History;
use crate::plan::expand;

/// Seeds in which a broken system may hide.
const SEEDS_MAX: u64 = 60;

/// `mutants`
#[derive(Args)]
pub(crate) struct MutantsArguments {
    /// The folder of the experiments
    #[arg(default_value = "chaos/experiments")]
    folder: PathBuf,
    /// Seeds of each experiment whose histories are broken
    #[arg(long, default_value_t = 6)]
    each: u64,
}

/// Breaks systems and histories, and prints who found out, and after how many seeds.
///
/// # Errors
/// When a mutant was not caught.
pub(crate) async fn mutants(arguments: &MutantsArguments) -> anyhow::Result<()> {
    let draft = std::env::temp_dir().join(format!("callboard-mutants-{}", std::process::id()));
    std::fs::create_dir_all(&draft).with_context(|| format!("the folder {} cannot be made", draft.display()))?;
    let outcome = both(arguments, &draft).await;
    // What is left behind is in the system's own folder for such things.
    let _ = std::fs::remove_dir_all(&draft);
    outcome
}

async fn both(arguments: &MutantsArguments, draft: &Path) -> anyhow::Result<()> {
    let campaign = super::command::campaign(Some(1))?;
    println!("| broken system | caught by | seeds |\n|---|---|---|");
    let mut hidden = 0;
    for sabotage in Sabotage::ALL {
        for invariant in sabotage.betrayed().0 {
            let (by, seeds) = match hunt(&campaign, sabotage, *invariant, draft).await? {
                Some(seeds) => (invariant.name(), seeds),
                None => {
                    hidden += 1;
                    ("NOBODY", SEEDS_MAX)
                }
            };
            println!("| {} | {by} | {seeds} |", sabotage.name());
        }
    }
    let histories = histories(&campaign, arguments, draft).await?;
    let score = score(histories.iter());
    println!("\n{score}");
    anyhow::ensure!(hidden == 0, "{hidden} broken systems were not found out");
    anyhow::ensure!(score.is_complete(), "not every broken history was found out");
    Ok(())
}

/// How many seeds it took until the checker found out. What it finds counts only in a plan that the whole
/// system plays without a fault.
async fn hunt(
    campaign: &Campaign,
    sabotage: Sabotage,
    invariant: Invariant,
    draft: &Path,
) -> anyhow::Result<Option<u64>> {
    let (_, text) = sabotage.betrayed();
    let experiment = experiment::read(sabotage.name(), text).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    for seed in 1..=SEEDS_MAX {
        let plan = draft.join("plan.json");
        std::fs::write(&plan, serde_json::to_string(&expand(&experiment, seed))?)?;
        let ask = Ask::Plan(plan);
        let told = campaign.with(&ask, &["--sabotage", sabotage.name()]).await?;
        if told.verdict.counts.contains_key(&invariant) && is_clean(campaign, &ask, sabotage, seed).await? {
            return Ok(Some(seed));
        }
    }
    Ok(None)
}

/// Whether no checker finds anything in the whole system.
async fn is_clean(campaign: &Campaign, ask: &Ask, sabotage: Sabotage, seed: u64) -> anyhow::Result<bool> {
    let whole = campaign.with(ask, &[]).await?.verdict;
    if !whole.counts.is_empty() {
        let (name, found) = (sabotage.name(), &whole.counts);
        println!("| {name} | (seed {seed} does not count: the whole system shows {found:?}) | |");
    }
    Ok(whole.counts.is_empty())
}

async fn histories(campaign: &Campaign, arguments: &MutantsArguments, draft: &Path) -> anyhow::Result<Vec<History>> {
    let files = files(&arguments.folder, "toml")?;
    let mut histories = Vec::new();
    for seed in 1..=arguments.each {
        for file in &files {
            let kept = draft.join("history.json");
            let ask = Ask::Seed { experiment: Some(file.clone()), seed };
            campaign.with(&ask, &["--history", &kept.display().to_string()]).await?;
            histories.push(serde_json::from_str(&std::fs::read_to_string(&kept)?)?);
        }
    }
    Ok(histories)
}
