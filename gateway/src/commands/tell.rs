//! `callboard approve`, `reject`, `settle`, `resume` and `cancel`: a person's word to a run of a
//! server. Invariant: what is printed is where the run stands afterwards.

use serde_json::{Value, json};

use super::server::Server;
use crate::cli::{CancelArgs, RejectArgs, ResumeArgs, SettleArgs, StepArgs};

/// Says yes to a question.
///
/// # Errors
/// When the run does not wait for it, or no server answers.
pub async fn approve(arguments: &StepArgs) -> anyhow::Result<()> {
    let body = json!({ "path": arguments.step, "approved": true });
    tell(&arguments.server.url, &arguments.run, "approvals", &body).await
}

/// Says no to a question.
///
/// # Errors
/// When the run does not wait for it, or no server answers.
pub async fn reject(arguments: &RejectArgs) -> anyhow::Result<()> {
    let StepArgs { run, step, server } = &arguments.step;
    let body = json!({ "path": step, "approved": false, "reason": arguments.reason });
    tell(&server.url, run, "approvals", &body).await
}

/// Says what became of an effect in doubt.
///
/// # Errors
/// When it is not in doubt, or no server answers.
pub async fn settle(arguments: &SettleArgs) -> anyhow::Result<()> {
    let mut body = json!({ "key": arguments.key, "done": arguments.done });
    if let Some(id) = &arguments.id {
        body["id"] = json!(id);
    }
    if let Some(url) = &arguments.address {
        body["url"] = json!(url);
    }
    tell(&arguments.server.url, &arguments.run, "settlements", &body).await
}

/// Says that there is money again.
///
/// # Errors
/// When the run has ended, or no server answers.
pub async fn resume(arguments: &ResumeArgs) -> anyhow::Result<()> {
    tell(&arguments.server.url, &arguments.run, "resume", &json!({})).await
}

/// Stops a run.
///
/// # Errors
/// When the run has ended, or no server answers.
pub async fn cancel(arguments: &CancelArgs) -> anyhow::Result<()> {
    let body = json!({ "reason": arguments.reason });
    tell(&arguments.server.url, &arguments.run, "cancel", &body).await
}

/// What a person says of an effect that is held: of a dead letter to be replayed or discarded, its name;
/// else the key to settle it by.
fn way_on(held: &Value) -> String {
    let hold = &held["hold"];
    match hold["letter"].as_str() {
        Some(letter) if hold["in_doubt"] != true => {
            format!("it is the dead letter {letter}; callboard letters replay or discard it")
        }
        _ => held["key"].as_str().unwrap_or("?").to_owned(),
    }
}

async fn tell(url: &str, run: &str, what: &str, body: &Value) -> anyhow::Result<()> {
    let run: String = run.chars().filter(char::is_ascii_alphanumeric).collect();
    let after: Value = Server::new(url)?.post(&format!("/v1/runs/{run}/{what}"), body).await?;
    println!("run {run}: {}", after["status"].as_str().unwrap_or("?"));
    for question in after["approvals"].as_array().into_iter().flatten() {
        println!("  {} waits for approval", question["path"].as_str().unwrap_or("?"));
    }
    for held in after["parked"].as_array().into_iter().flatten() {
        println!("  {} is held: {}", held["path"].as_str().unwrap_or("?"), way_on(held));
    }
    Ok(())
}
