//! `callboard serve`: the system behind its HTTP API, until it is told to stop.

use std::sync::Arc;

use anyhow::Context;

use super::{config, is_fancy, start, stop};
use crate::cli::ServeArgs;
use crate::crash::CrashPoints;
use crate::http;
use crate::system::{System, watch};
use crate::terminal::overview;

/// Serves until the process is asked to end, or the tree has ended.
///
/// # Errors
/// When the address is refused or taken, or the system does not start or ends
/// by itself.
pub async fn run(arguments: &ServeArgs) -> anyhow::Result<()> {
    let config = config(&arguments.system)?;
    let crash = CrashPoints::from_environment()?;
    let address = arguments.listen.unwrap_or(config.listen);
    http::allowed(address).map_err(anyhow::Error::msg)?;
    // Before the system starts, so that a taken port costs nothing.
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; another program may, or choose one with --listen"))?;
    let fancy = is_fancy(false);
    let system = start(&config, &crash, fancy).await?;
    print!("{}", overview(system.picture(), fancy));
    println!("listening on http://{}", listener.local_addr()?);
    let tree = system.tree().clone();
    let app = crash.router(http::router(Arc::clone(&system)), system.world());
    let server = axum::serve(http::at_once(listener), app);
    system.world().spawn("hindrances", say_what_holds_up(Arc::clone(&system)));
    println!("{}", in_force(&system));
    if config.policies.watch {
        system
            .world()
            .spawn("policy.watch", watch(Arc::clone(&system), config.policies.clone(), |said| eprintln!("{said}")));
    }
    let outcome = tokio::select! {
        biased;
        () = asked_to_end() => Ok(()),
        ended = tree.wait() => Err(anyhow::anyhow!("the supervision tree has ended: {ended:?}")),
        served = server => served.context("the HTTP server ended"),
    };
    println!("stopping");
    stop(&system).await;
    outcome
}

/// Which policies are in force, and whether they are those of the files.
fn in_force(system: &System) -> String {
    let version = system.policy_version();
    let from = if system.follows_its_files() {
        "as its files say"
    } else {
        "which was put in force after its files were read; `callboard policy reload` reads them again"
    };
    format!("version {version} of the policies is in force, {from}")
}

/// Says what holds runs up, and when it no longer does.
async fn say_what_holds_up(system: Arc<System>) {
    let mut hindrances = system.hindrances();
    loop {
        eprintln!("{}", hindrances.next().await);
    }
}

/// Ctrl-C, or the signal that service managers send.
pub(super) async fn asked_to_end() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    match terminate {
        Ok(mut terminate) => tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => {
            // Without a handler of ours the signal ends the process, which costs nothing.
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
