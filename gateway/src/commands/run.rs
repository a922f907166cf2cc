//! `callboard run`: one brief through the workflow, shown as it happens.
//! Invariant: the same command after a crash goes on with the same run.

use std::sync::Arc;
use std::time::Duration;

use actors::entity::Entity;
use agents::run::{Event as RunEvent, Run, State, Terms};
use agents::workflow::{self, Workflow};
use anyhow::Context;
use policies::approval::ApprovalPolicy;
use storage::journal::Version;

use super::person::Person;
use super::serve::asked_to_end;
use super::{PRINCIPAL, absolute, config, faults, is_fancy, start, stop};
use crate::brief::{self, Brief};
use crate::cli::RunArgs;
use crate::config::Config;
use crate::crash::CrashPoints;
use crate::system::{NewRun, System, run_id};
use crate::terminal::{Painter, report, tree};

/// How often one brief may be run again.
const AGAIN_MAX: u32 = 10_000;
/// How long the report waits for its figures.
const FIGURES_MAX: Duration = Duration::from_secs(30);

/// Runs the brief to its end.
///
/// # Errors
/// Faults of the folder or the configuration, a run that did not finish, or
/// whatever stopped the system.
pub async fn run(arguments: &RunArgs) -> anyhow::Result<()> {
    let config = config(&arguments.system)?;
    let crash = CrashPoints::from_environment()?;
    let brief = Brief::read(&arguments.folder).map_err(|found| faults(&found))?;
    // Before anything is fetched or opened, so that a fault costs nothing.
    let workflow = read_workflow(&config, arguments)?;
    let fancy = is_fancy(arguments.plain);
    let system = start(&config, &crash, fancy).await?;
    let outcome = tokio::select! {
        biased;
        () = asked_to_end() => Err(anyhow::anyhow!("stopped before the end; the same command goes on from here")),
        outcome = perform(&system, arguments, &brief, workflow, fancy) => outcome,
    };
    stop(&system).await;
    outcome
}

fn read_workflow(config: &Config, arguments: &RunArgs) -> anyhow::Result<Arc<Workflow>> {
    let own = arguments.folder.join(brief::WORKFLOW);
    let (label, text) = if own.exists() {
        (own.display().to_string(), crate::config::read(&own).map_err(|fault| faults(&[fault]))?)
    } else {
        ("workflows/announce.toml".to_owned(), workflow::ANNOUNCE.to_owned())
    };
    let known = crate::system::names(config);
    workflow::check(&label, &text, &known).map(Arc::new).map_err(|found| faults(&found))
}

async fn perform(
    system: &Arc<System>,
    arguments: &RunArgs,
    brief: &Brief,
    workflow: Arc<Workflow>,
    fancy: bool,
) -> anyhow::Result<()> {
    let mut inputs = brief.inputs();
    // A workflow of the folder's own need not ask for all of them.
    inputs.retain(|name, _| workflow.inputs.contains_key(name));
    let content = serde_json::to_string(&inputs)?;
    let name = format!("{}\0{content}\0{}", absolute(&arguments.folder), workflow.version());
    let (id, state) = choose(system, &name, arguments.again).await?;
    if state.end.is_some() {
        println!("this brief was run to its end; --again runs it once more");
        return conclude(system, &id).await;
    }
    if state.order.is_some() {
        println!("going on with run {id}");
    } else {
        let approval = if arguments.approve { ApprovalPolicy::Ask } else { ApprovalPolicy::Automatic };
        let terms = Terms { approval, ..Terms::default() };
        let new = NewRun { id: id.clone(), workflow, inputs, principal: PRINCIPAL.to_owned(), terms };
        system.accept(new).await.with_context(|| format!("run {id} was not accepted"))?;
        println!("run {id}: {}", brief.product);
    }
    print!("{}", tree(&system.picture().root, fancy));
    show(system, &id, fancy).await?;
    conclude(system, &id).await
}

/// The run that this command is about: the first that has not ended, or with
/// `again` not been begun.
async fn choose(system: &System, name: &str, again: bool) -> anyhow::Result<(String, State)> {
    let mut latest = None;
    for round in 0..AGAIN_MAX {
        let id = run_id(PRINCIPAL, &format!("{name}\0{round}"));
        if !system.knows(&id) {
            return match latest {
                Some(latest) if !again => Ok(latest),
                _ => Ok((id, State::default())),
            };
        }
        let state = system.state(&id).await.map_err(anyhow::Error::msg)?;
        let ended = state.end.is_some();
        latest = Some((id, state));
        if !ended {
            break;
        }
    }
    latest.context("this brief was run too often; change it, or use another data folder")
}

/// Prints each event of the run until its end.
async fn show(system: &Arc<System>, id: &str, fancy: bool) -> anyhow::Result<()> {
    let mut follower = system.follow(id, Version::NONE);
    let mut painter: Option<Painter> = None;
    let mut restarts = 0;
    let mut person = Person::new();
    while let Some(event) = follower.next().await {
        let event = Run::decode(&event.kind, event.schema, &event.payload).map_err(anyhow::Error::msg)?;
        let painter = *painter.get_or_insert_with(|| Painter::new(fancy, event.at()));
        if let Some(line) = painter.line(&event) {
            println!("{line}");
        }
        let picture = system.picture();
        let now: u64 = picture.root.nodes().map(|node| node.restarts).sum();
        if now > restarts {
            restarts = now;
            print!("{}", tree(&picture.root, fancy));
        }
        match &event {
            RunEvent::ApprovalAsked(question) => person.approve(system, id, question).await?,
            RunEvent::Parked(parked) => person.settle(system, id, parked).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Prints the report, and says whether the run reached its aim.
async fn conclude(system: &System, id: &str) -> anyhow::Result<()> {
    // The figures follow the journal; the run's end is in it already.
    system.reports().reach(system.journal().head(), FIGURES_MAX).await;
    let figures = system.reports().report(id)?.context("the report is not there yet; run the same command again")?;
    let state = system.state(id).await.map_err(anyhow::Error::msg)?;
    let outputs = match &state.end {
        Some(agents::run::End::Finished { outputs }) => Some(serde_json::to_value(outputs)?),
        _ => None,
    };
    let feed = system.feed_path().map(|path| absolute(&path));
    print!("{}", report(&figures, outputs.as_ref(), feed.as_deref()));
    match &figures.run.failure {
        Some(failure) => anyhow::bail!("the run failed: {failure}"),
        None => Ok(()),
    }
}
