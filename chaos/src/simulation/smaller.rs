//! `shrink`: a failing plan, made small. Invariant: what comes out fails as the first plan did, by the same
//! checker, or by playing another way the second time.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::act::{named, read_plan};
use super::campaign::{Ask, Campaign, Told};
use super::command::{campaign, put};
use crate::aims::Invariant;
use crate::plan::Plan;
use crate::shrink::{RUNS_MAX, Shrunk, shrink};

/// `shrink`
#[derive(Args)]
pub(crate) struct ShrinkArguments {
    /// The plan of a play that failed, as `sim` writes it beside its report
    plan: PathBuf,
    /// The checker that must go on failing (default: the one that failed first; of a plan that no checker fails, that it differs from itself)
    #[arg(long, value_parser = invariant)]
    invariant: Option<Invariant>,
    /// Where the smallest failing plan goes
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn invariant(name: &str) -> Result<Invariant, String> {
    named(Invariant::ALL, Invariant::name, name)
}

/// How a plan fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// A checker finds something.
    By(Invariant),
    /// Its second play goes another way.
    Apart,
}

impl Failing {
    /// How these plays fail, if they do: by the checker that is wanted, or else by the one that found the first
    /// violation among those that the campaign was judged by.
    fn of(told: &Told, wanted: Option<Invariant>, judged: &[Invariant]) -> Option<Self> {
        if let Some(wanted) = wanted {
            return told.verdict.counts.contains_key(&wanted).then_some(Self::By(wanted));
        }
        let mut found = told.verdict.violations.iter().map(|violation| violation.invariant);
        let first = found.clone().find(|invariant| judged.contains(invariant)).or_else(|| found.next());
        first.map(Self::By).or_else(|| told.verdict.diverged.is_some().then_some(Self::Apart))
    }

    async fn again(self, campaign: &Campaign, plan: &Path) -> bool {
        let ask = Ask::Plan(plan.to_owned());
        match self {
            Self::By(invariant) => {
                campaign.once(&ask, None).await.is_ok_and(|told| told.verdict.counts.contains_key(&invariant))
            }
            Self::Apart => campaign.twice(&ask).await.is_ok_and(|told| told.verdict.diverged.is_some()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::By(invariant) => invariant.name(),
            Self::Apart => "that it differs from itself",
        }
    }
}

/// Makes a failing plan small.
///
/// # Errors
/// When the plan does not fail.
pub(crate) async fn make_small(arguments: &ShrinkArguments) -> anyhow::Result<()> {
    let saved = read_plan(&arguments.plan)?;
    let campaign = campaign(Some(1))?;
    let told = campaign.twice(&Ask::Plan(arguments.plan.clone())).await?;
    let failing = Failing::of(&told, arguments.invariant, &saved.failed);
    let failing = failing.with_context(|| format!("{} does not fail", arguments.plan.display()))?;
    let draft = std::env::temp_dir().join(format!("callboard-shrink-{}.json", std::process::id()));
    let handle = tokio::runtime::Handle::current();
    let shrunk = tokio::task::block_in_place(|| {
        shrink(&saved.plan, RUNS_MAX, |candidate| {
            let text = serde_json::to_string(candidate).unwrap_or_default();
            std::fs::write(&draft, text).is_ok() && handle.block_on(failing.again(&campaign, &draft))
        })
    });
    // What is left behind is in the system's own folder for such things.
    let _ = std::fs::remove_file(&draft);
    anyhow::ensure!(shrunk.reproduced, "the plan did not fail when it was played again");
    let out = keep(&shrunk, arguments.out.clone())?;
    println!("{}, by {}: {}", left(&shrunk, &saved.plan), failing.name(), out.display());
    Ok(())
}

fn keep(shrunk: &Shrunk, out: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let Plan { experiment, seed, .. } = &shrunk.plan;
    let out = out.unwrap_or_else(|| PathBuf::from(format!("chaos/regressions/{experiment}-{seed}.json")));
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    }
    put(&out, &(serde_json::to_string_pretty(&shrunk.plan)? + "\n"))?;
    Ok(out)
}

fn left(shrunk: &Shrunk, whole: &Plan) -> String {
    format!(
        "{} faults and {} runs are left of {} and {}, after {} plays{}",
        shrunk.plan.faults.len(),
        shrunk.plan.workload.arrivals.len(),
        whole.faults.len(),
        whole.workload.arrivals.len(),
        shrunk.runs,
        if shrunk.minimal { "" } else { ", and it may get smaller yet" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::Violation;
    use crate::report::Verdict;

    fn told(found: &[Invariant], diverged: Option<&str>) -> Told {
        let violation = |invariant: &Invariant| Violation { invariant: *invariant, at_us: 0, message: String::new() };
        let verdict = Verdict {
            counts: found.iter().map(|invariant| (*invariant, 1)).collect(),
            violations: found.iter().map(violation).collect(),
            diverged: diverged.map(str::to_owned),
            ..Verdict::unplayed(1, String::new())
        };
        Told { verdict, events: 0, cpu_us: 0, elapsed_ms: 0, lives: 0 }
    }

    #[test]
    fn what_failed_first_must_go_on_failing_unless_another_is_wanted() {
        use Invariant::{NoBudgetOverrun, NoDoublePost, NoLostRun};
        let both = told(&[NoLostRun, NoDoublePost], None);
        assert_eq!(Failing::of(&both, None, &[]), Some(Failing::By(NoLostRun)));
        assert_eq!(Failing::of(&both, None, &[NoDoublePost]), Some(Failing::By(NoDoublePost)), "it was judged by that");
        assert_eq!(Failing::of(&both, Some(NoDoublePost), &[]), Some(Failing::By(NoDoublePost)));
        assert_eq!(Failing::of(&both, Some(NoBudgetOverrun), &[]), None);
        assert_eq!(Failing::of(&told(&[], Some("line 1")), None, &[]), Some(Failing::Apart));
        assert_eq!(Failing::of(&told(&[], None), None, &[]), None);
    }
}
