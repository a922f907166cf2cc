//! `callboard eval`: an agent over cases, each a run of its own.
//! Invariant: the same command after a crash goes on with the same runs, so that no answer is paid for
//! twice; what came of all is recorded once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use agents::agent::{AgentSpec, AgentTerms};
use agents::evaluation::{Answered, CASES_MAX, Case, CaseOutcome, Cases, Evaluation, Grade, Qualities, Score};
use agents::run::{End, State, Status, Terms};
use agents::workflow::{Workflow, check};
use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream as many};
use policies::choice::PoolPolicy;
use policies::document::{self, Error};
use serde_json::Value;
use storage::journal::Version;

use super::run::figures;
use super::serve::asked_to_end;
use super::{PRINCIPAL, config, faults, is_fancy, start, stop};
use crate::cli::EvalArgs;
use crate::config::Config;
use crate::crash::CrashPoints;
use crate::policy::Policies;
use crate::system::{NewRun, System, run_id};
use crate::terminal;

/// What the tree puts before an agent's name.
const BRANCH: &str = "agents.";

/// A case with what it takes to run it.
struct Task {
    /// Its file's name and its own.
    name: String,
    case: Case,
    workflow: Arc<Workflow>,
}

/// Runs the cases, prints the table and keeps what came of them.
///
/// # Errors
/// Faults of the cases or the configuration, a case without an answer, a mean score under the least that
/// was asked for, or whatever stopped the system.
pub async fn run(arguments: &EvalArgs) -> anyhow::Result<()> {
    let config = config(&arguments.system)?;
    let crash = CrashPoints::from_environment()?;
    let agent = arguments.agent.strip_prefix(BRANCH).unwrap_or(&arguments.agent);
    // Before anything is fetched or opened, so that a fault costs nothing.
    let tasks = tasks(&config, agent, &arguments.cases)?;
    if let Some(model) = &arguments.model {
        in_pool(&config, agent, model)?;
    }
    let system = start(&config, &crash, is_fancy(arguments.json)).await?;
    let outcome = tokio::select! {
        biased;
        () = asked_to_end() => Err(anyhow::anyhow!("stopped before the end; the same command goes on from here")),
        outcome = evaluate(&system, agent, &tasks, arguments) => outcome,
    };
    stop(&system).await;
    outcome
}

/// Whether the agent has such a model in its pool.
fn in_pool(config: &Config, agent: &str, model: &str) -> anyhow::Result<()> {
    let tree = Policies::load(config).map_err(|found| anyhow::anyhow!(faults(&found)))?.tree;
    let pool = tree.pool(agent);
    anyhow::ensure!(!pool.is_empty(), "`{agent}` has no pool of models, so there is none to name; leave --model out");
    let meant = || document::suggestion(model, pool.iter().map(String::as_str));
    anyhow::ensure!(
        pool.iter().any(|known| known == model),
        "the pool of `{agent}` has no model `{model}`; {}",
        meant()
    );
    Ok(())
}

fn tasks(config: &Config, agent: &str, paths: &[PathBuf]) -> anyhow::Result<Vec<Task>> {
    let known = crate::system::names(config);
    if !known.agents.contains(agent) {
        let meant = document::suggestion(agent, known.agents.iter().map(String::as_str));
        anyhow::bail!("there is no agent `{agent}`; {meant}");
    }
    let (mut tasks, mut found, mut files) = (Vec::new(), Vec::new(), BTreeSet::new());
    for path in files_of(paths)? {
        let label = path.display().to_string();
        let cases =
            match crate::config::read(&path).map_err(|fault| vec![fault]).and_then(|text| Cases::read(&label, &text)) {
                Ok(cases) => cases,
                Err(faults) => {
                    found.extend(faults);
                    continue;
                }
            };
        let file = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        if !files.insert(file.clone()) {
            found.push(Error::whole(&label, format!("there is another file `{file}`"), "give each a name of its own"));
        }
        for case in cases.cases {
            match check(&label, &case.workflow(agent, &cases.judge), &known) {
                Ok(workflow) => {
                    tasks.push(Task { name: format!("{file}/{}", case.id), case, workflow: Arc::new(workflow) });
                }
                // The lines of a workflow that was made from a case say nothing to whoever wrote the case.
                Err(faults) => {
                    found.extend(faults.into_iter().map(|fault| {
                        Error::whole(&label, format!("case `{}`: {}", case.id, fault.message), fault.help)
                    }))
                }
            }
        }
    }
    anyhow::ensure!(found.is_empty(), faults(&found));
    anyhow::ensure!(tasks.len() <= CASES_MAX, "there are {} cases; evaluate at most {CASES_MAX} at once", tasks.len());
    Ok(tasks)
}

/// The files, and those of the folders, by name.
fn files_of(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let entries = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        let is_cases = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        let mut inside: Vec<_> = entries.into_iter().filter(is_cases).collect();
        inside.sort();
        anyhow::ensure!(!inside.is_empty(), "{} holds no cases; they are files such as writer.toml", path.display());
        files.extend(inside);
    }
    Ok(files)
}

async fn evaluate(system: &Arc<System>, agent: &str, tasks: &[Task], arguments: &EvalArgs) -> anyhow::Result<()> {
    let (journal, whose) = (system.journal().clone(), agent.to_owned());
    let before = system.world().blocking("evaluations", move || Qualities::read(&journal, &whose)).await??;
    let round = before.count;
    if let Some(model) = &arguments.model {
        keep_to(system, agent, model);
    }
    let with = arguments.model.as_deref();
    let cases = many::iter(tasks).map(|task| answer(system, agent, task, (round, with)));
    let cases: Vec<CaseOutcome> = cases.buffered(usize::from(arguments.parallel)).try_collect().await?;
    let evaluation =
        Evaluation { agent: agent.to_owned(), model: model(system, agent, &cases), at: system.world().now(), cases };
    let kept = system.record_evaluation(PRINCIPAL, &evaluation, round).await;
    kept.context("the evaluation could not be recorded; the same command does it again without new calls")?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print!("{}", terminal::evaluation(&evaluation, before.last.as_ref()));
    }
    conclude(&evaluation, arguments.score_min)
}

/// Has an agent speak with one model of its pool, as long as this process runs.
fn keep_to(system: &System, agent: &str, model: &str) {
    let Some(agent) = system.stage().agents.get(agent) else { return };
    let spec = AgentSpec::clone(&agent.spec());
    let alone = |pool: &Arc<PoolPolicy>| {
        Arc::new(PoolPolicy { models: vec![model.to_owned()], quality_min: None, ..PoolPolicy::clone(pool) })
    };
    let terms = AgentTerms { pool: spec.terms.pool.as_ref().map(alone), ..spec.terms.clone() };
    agent.respecify(AgentSpec { terms, ..spec });
}

/// What the answers were given with: the models that gave them, or else the agent's own.
fn model(system: &System, agent: &str, cases: &[CaseOutcome]) -> String {
    let answers = cases.iter().filter_map(|case| case.answer.as_ref().ok());
    let models: BTreeSet<&str> = answers.filter_map(|answer| answer.model.as_deref()).collect();
    if models.is_empty() {
        let spec = system.stage().agents.get(agent).map(|agent| agent.spec());
        return spec.map_or_else(String::new, |spec| spec.model.id().to_string());
    }
    models.into_iter().collect::<Vec<_>>().join(" + ")
}

fn conclude(evaluation: &Evaluation, score_min: Option<f64>) -> anyhow::Result<()> {
    let failed = evaluation.cases.len() - evaluation.answered().count();
    anyhow::ensure!(failed == 0, "{failed} of {} cases have no answer", evaluation.cases.len());
    if let (Some(least), Some(score)) = (score_min, evaluation.score()) {
        anyhow::ensure!(score.value() >= least, "the score {:.2} is less than {least:.2}", score.value());
    }
    Ok(())
}

/// Has a case answered, in the run that this round of the agent's evaluations, with this model of its pool,
/// has for it.
async fn answer(
    system: &Arc<System>,
    agent: &str,
    task: &Task,
    (round, with): (u64, Option<&str>),
) -> anyhow::Result<CaseOutcome> {
    let inputs = task.case.inputs();
    let content = serde_json::to_string(&inputs)?;
    let with = with.map(|model| format!("\0model/{model}")).unwrap_or_default();
    let case = format!("eval\0{agent}\0{round}\0{}\0{content}\0{}{with}", task.name, task.workflow.version());
    let id = run_id(PRINCIPAL, &case);
    if !system.knows(&id) {
        let workflow = Arc::clone(&task.workflow);
        let new = NewRun { id: id.clone(), workflow, inputs, principal: PRINCIPAL.to_owned(), terms: Terms::default() };
        system.accept(new).await.with_context(|| format!("case {} was not taken on", task.name))?;
    }
    let mut follower = system.follow(&id, Version::NONE);
    while follower.next().await.is_some() {
        let state = system.state(&id).await.map_err(anyhow::Error::msg)?;
        if state.end.is_none() && state.status() == Status::Parked {
            let held = state.parked().map(|(_, key, _)| key.to_string()).collect::<Vec<_>>().join(", ");
            anyhow::bail!(
                "case {} waits for a person (run {id}: {held}); the same command goes on from here",
                task.name
            );
        }
    }
    let state = system.state(&id).await.map_err(anyhow::Error::msg)?;
    let answer = match &state.end {
        Some(End::Finished { .. }) => answered(system, (&id, agent), &state, &task.case).await?,
        Some(End::Failed(failed)) => Err(failed.message.clone()),
        Some(End::Rejected(_) | End::Cancelled { .. }) => Err("its run was stopped".to_owned()),
        None => anyhow::bail!("the journal has stopped; the same command goes on from here"),
    };
    Ok(CaseOutcome { case: task.name.clone(), run: id, answer })
}

/// What a finished run says of its case; or why that says nothing.
async fn answered(
    system: &System,
    (id, agent): (&str, &str),
    state: &State,
    case: &Case,
) -> anyhow::Result<Result<Answered, String>> {
    let Some(End::Finished { outputs }) = &state.end else { anyhow::bail!("run {id} is not finished") };
    let breaches = outputs.get("breaches").and_then(Value::as_array).into_iter().flatten();
    let breaches: Vec<String> = breaches.filter_map(Value::as_str).map(str::to_owned).collect();
    let grade = outputs.get("grade").and_then(Value::as_f64).and_then(Grade::of);
    if case.question.is_some() && grade.is_none() {
        return Ok(Err("the judge gave no grade".to_owned()));
    }
    let report = figures(system, id).await?;
    let step = |name: &str| report.run.steps.iter().find(|(path, _)| path.to_string() == name).map(|(_, step)| step);
    let answer = step("answer").with_context(|| format!("run {id} has no figures yet; run the same command again"))?;
    let is_enough = case.grade_min.is_none_or(|least| grade.is_some_and(|grade| grade.value() >= least));
    Ok(Ok(Answered {
        passed: breaches.is_empty() && is_enough,
        score: Score::of(breaches.len(), grade),
        breaches,
        grade,
        stand_in: answer.stand_in.clone(),
        model: answer.model.as_ref().filter(|call| call.agent == agent).map(|call| call.model.clone()),
        usage: answer.usage,
        cost: answer.cost,
        took: answer.took,
        judge_cost: step("grade").map(|step| step.cost).unwrap_or_default(),
    }))
}
