//! `callboard tree`: the live tree of a server.

use super::is_fancy;
use super::server::Server;
use crate::cli::TreeArgs;
use crate::terminal;

/// Prints the tree once.
///
/// # Errors
/// When the server does not answer with a tree.
pub async fn run(arguments: &TreeArgs) -> anyhow::Result<()> {
    let picture: supervisor::TreeSnapshot = Server::new(&arguments.server.url)?.get("/v1/tree").await?;
    print!("{}", terminal::tree(&picture.root, is_fancy(false)));
    Ok(())
}
