//! `callboard run`: one brief through the workflow, shown as it happens.
//! Invariant: the same command after a crash goes on with the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actors::entity::Entity;
use agents::aggregator::Report;
use agents::run::{End, Event as RunEvent, Run, State, Terms};
use agents::workflow::{self, Workflow};
use anyhow::Context;
use policies::approval::ApprovalPolicy;
use policies::document::Source;
use serde_json::Value;
use storage::journal::Version;

use super::person::Person;
use super::serve::asked_to_end;
use super::{PRINCIPAL, absolute, config, faults, is_fancy, start, stop};
use crate::beside;
use crate::brief::{self, Brief};
use crate::cli::RunArgs;
use crate::config::Config;
use crate::crash::CrashPoints;
use crate::system::{Hindrance, NewRun, System, Word, run_id};
use crate::terminal::{Painter, overview, report};

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
    let inputs = inputs(&brief, &workflow)?;
    let system = start(&config, &crash, fancy).await?;
    let outcome = tokio::select! {
        biased;
        () = asked_to_end() => Err(anyhow::anyhow!("stopped before the end; the same command goes on from here")),
        outcome = perform(&system, arguments, &brief, (workflow, inputs), fancy) => outcome,
    };
    stop(&system).await;
    outcome
}

fn read_workflow(config: &Config, arguments: &RunArgs) -> anyhow::Result<Arc<Workflow>> {
    let own = arguments.folder.join(brief::WORKFLOW);
    let known = crate::system::names(config);
    let (label, text, workflow) = if own.exists() {
        let text = crate::config::read(&own).map_err(|fault| faults(&[fault]))?;
        let workflow = beside::check(&own, &text, &known);
        (own.display().to_string(), text, workflow)
    } else {
        let label = "workflows/announce.toml".to_owned();
        let workflow = workflow::check(&label, workflow::ANNOUNCE, &known);
        (label, workflow::ANNOUNCE.to_owned(), workflow)
    };
    let workflow = workflow.map_err(|found| faults(&found))?;
    let never = brief::never_given(&workflow, Source { file: &label, text: &text });
    if never.is_empty() { Ok(Arc::new(workflow)) } else { Err(faults(&never)) }
}

/// What the brief gives to the workflow.
fn inputs(brief: &Brief, workflow: &Workflow) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut inputs = brief.inputs();
    // A workflow of the folder's own need not ask for all of them.
    inputs.retain(|name, _| workflow.inputs.contains_key(name));
    match workflow.bind(inputs.clone()) {
        Ok(_) => Ok(inputs),
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::bail!("the brief does not fit the workflow: {}", lines.join("; "))
        }
    }
}

async fn perform(
    system: &Arc<System>,
    arguments: &RunArgs,
    brief: &Brief,
    (workflow, inputs): (Arc<Workflow>, BTreeMap<String, Value>),
    fancy: bool,
) -> anyhow::Result<()> {
    let content = serde_json::to_string(&inputs)?;
    let name = format!("{}\0{content}\0{}", absolute(&arguments.folder), workflow.version());
    let (id, state) = choose(system, &name, arguments.again).await?;
    if let Some(end) = &state.end {
        let End::Failed(failed) = end else {
            println!("{}; --again begins a new run, which posts everything once more", ended(&id, end));
            return conclude(system, &id).await;
        };
        println!("run {id} failed: {}", failed.message);
        println!("it goes on from there; what is out stays out and is not posted again");
        system.say(&id, PRINCIPAL, Word::Resume).await.with_context(|| format!("run {id} does not go on"))?;
    } else if state.order.is_some() {
        println!("going on with run {id}");
    } else {
        let approval = if arguments.approve { ApprovalPolicy::Ask } else { ApprovalPolicy::Automatic };
        let terms = Terms { approval, ..Terms::default() };
        let new = NewRun { id: id.clone(), workflow, inputs, principal: PRINCIPAL.to_owned(), terms };
        system.accept(new).await.with_context(|| format!("run {id} was not accepted"))?;
        println!("run {id}: {}", brief.product);
    }
    print!("{}", overview(system.picture(), fancy));
    show(system, &id, fancy).await?;
    conclude(system, &id).await
}

/// The run that this command is about: the first that has not ended, or with
/// `again` not been begun.
async fn choose(system: &System, name: &str, again: bool) -> anyhow::Result<(String, Arc<State>)> {
    let mut latest = None;
    let mut out = BTreeSet::new();
    for round in 0..AGAIN_MAX {
        let id = run_id(PRINCIPAL, &format!("{name}\0{round}"));
        if !system.knows(&id) {
            return match latest {
                Some(latest) if !again => Ok(latest),
                _ => {
                    warn_of_posts(&out);
                    Ok((id, Arc::default()))
                }
            };
        }
        if again {
            out.extend(posts(system, &id).await?);
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

/// The posts that a run has out: publisher and title of each.
async fn posts(system: &System, id: &str) -> anyhow::Result<Vec<(String, String)>> {
    let report = figures(system, id).await?;
    Ok(report.posts.into_iter().map(|post| (post.post.publisher, post.post.title)).collect())
}

fn warn_of_posts(out: &BTreeSet<(String, String)>) {
    if out.is_empty() {
        return;
    }
    println!("a new run knows nothing of the earlier ones; these are out already, and will be posted once more:");
    for (publisher, title) in out {
        println!("  {publisher}: {title}");
    }
}

/// How a run ended that cannot go on.
fn ended(id: &str, end: &End) -> String {
    match end {
        End::Finished { .. } => "this brief was run to its end".to_owned(),
        End::Failed(failed) => format!("run {id} failed: {}", failed.message),
        End::Rejected(no) => format!("run {id} was rejected by {}: {}", no.by, no.reason),
        End::Cancelled { by, reason } => format!("run {id} was cancelled by {by}: {reason}"),
    }
}

/// Prints each event of the run until its end, and what holds it up meanwhile.
async fn show(system: &Arc<System>, id: &str, fancy: bool) -> anyhow::Result<()> {
    let mut follower = system.follow(id, Version::NONE);
    let mut painter: Option<Painter> = None;
    let mut restarts = 0;
    let mut person = Person::new();
    let mut hindrances = system.hindrances();
    loop {
        let event = tokio::select! {
            biased;
            event = follower.next() => event,
            hindrance = hindrances.next() => {
                tell(system, id, painter, &hindrance).await;
                continue;
            }
        };
        let Some(event) = event else { return Ok(()) };
        let event = Run::decode(&event.kind, event.schema, &event.payload).map_err(anyhow::Error::msg)?;
        let painter = *painter.get_or_insert_with(|| Painter::new(fancy, event.at()));
        if let Some(line) = painter.line(&event) {
            println!("{line}");
        }
        let picture = system.picture();
        let now: u64 = picture.root.nodes().map(|node| node.restarts).sum();
        if now > restarts {
            restarts = now;
            print!("{}", overview(picture, fancy));
        }
        match &event {
            RunEvent::ApprovalAsked(question) => person.approve(system, id, question).await?,
            RunEvent::Parked(parked) => person.settle(system, id, parked).await?,
            _ => {}
        }
    }
}

/// Prints what holds the run up, or no longer does.
async fn tell(system: &System, id: &str, painter: Option<Painter>, hindrance: &Hindrance) {
    let now = system.world().now();
    let painter = painter.unwrap_or_else(|| Painter::new(false, now));
    let mut waiting = Vec::new();
    if let Hindrance::Open { guard, .. } | Hindrance::Held { guard, .. } = hindrance {
        waiting = system.waiting_for(id, guard).await;
    }
    println!("{}", painter.hindrance(now, hindrance, &waiting));
}

/// Prints the report, and says whether the run reached its aim.
async fn conclude(system: &System, id: &str) -> anyhow::Result<()> {
    let figures = figures(system, id).await?;
    let state = system.state(id).await.map_err(anyhow::Error::msg)?;
    let outputs = match &state.end {
        Some(End::Finished { outputs }) => Some(serde_json::to_value(outputs)?),
        _ => None,
    };
    let feed = system.feed_path().filter(|path| path.exists()).map(|path| absolute(&path));
    print!("{}", report(&figures, outputs.as_ref(), feed.as_deref()));
    match &state.end {
        Some(End::Finished { .. }) | None => Ok(()),
        Some(End::Failed(failed)) => anyhow::bail!(
            "the run failed: {}\nthe same command goes on from there and keeps what is done; --again begins a new run",
            failed.message
        ),
        Some(end) => anyhow::bail!("{}", ended(id, end)),
    }
}

/// A run's figures, as of now.
pub(super) async fn figures(system: &System, id: &str) -> anyhow::Result<Report> {
    // The figures follow the journal, which has it already.
    system.reports().reach(system.journal().head(), FIGURES_MAX).await;
    system.reports().report(id)?.context("the report is not there yet; run the same command again")
}
