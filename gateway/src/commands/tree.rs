//! `callboard tree`: the live tree of a server.

use actors::transport;
use actors::world::{World, WorldOptions};
use anyhow::Context;
use policies::span::ByteSize;

use super::is_fancy;
use crate::cli::TreeArgs;
use crate::terminal;

/// The largest picture that is read.
const PICTURE_MAX: ByteSize = ByteSize(16 << 20);

/// Prints the tree once.
///
/// # Errors
/// When the server does not answer with a tree.
pub async fn run(arguments: &TreeArgs) -> anyhow::Result<()> {
    let world = World::real(WorldOptions::default())?;
    let url = format!("{}/v1/tree", arguments.url.trim_end_matches('/'));
    let request = http::Request::get(&url).body(bytes::Bytes::new()).context("--url is not an address")?;
    let no_server = || format!("{url} does not answer; start `callboard serve`, or name it with --url");
    let response = world.http().send(request).await.with_context(no_server)?;
    let status = response.status();
    let body = transport::collect(response.into_body(), PICTURE_MAX).await.with_context(no_server)?;
    anyhow::ensure!(status.is_success(), "{url} answered {status}; is it a Callboard server?");
    let picture: supervisor::TreeSnapshot =
        serde_json::from_slice(&body).with_context(|| format!("{url} did not answer with a tree"))?;
    print!("{}", terminal::tree(&picture.root, is_fancy(false)));
    Ok(())
}
