//! Tools of MCP servers. A server is a supervised worker; its tools are `mcp.<server>.<tool>`.
//!
//! Invariant: whatever a server says is taken for outside input: its list of tools, its answers and its
//! silence are bounded, the secrets that it was given are blotted out of what it says, and an answer that did
//! not come is never said to mean that nothing was done.

mod actor;
mod http;
mod listing;
mod session;
mod words;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::mailbox::Credit;
use policies::failure::FailureClass;
use policies::span::ByteSize;
use serde_json::{Map, Value};

pub use actor::{McpActor, McpMsg};
pub use words::Word;

use super::{Home, RESULT_MAX, Tool};
use crate::front::{Front, FrontError, UP_WAIT_MAX};
use crate::workflow::EffectClass;

/// A tool of a server is this, the server's name, a dot and the tool's name.
pub const MCP_TOOL: &str = "mcp.";
/// The guard of a server is this and its name.
pub const MCP_GUARD: &str = "mcp";
/// For a call, where nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// For starting a server and agreeing on the protocol.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// What a call may wait for its server beside its own time; nothing was asked by then.
pub const START_MAX: Duration = UP_WAIT_MAX.saturating_add(CONNECT_MAX);

/// A server.
#[derive(Clone, Debug)]
pub struct McpServer {
    /// How it is reached.
    pub reach: Reach,
    /// What its tools are held to.
    pub terms: McpTerms,
}

/// How a server is reached.
#[derive(Clone)]
pub enum Reach {
    /// It is a program that is started, and talks over its standard input and output.
    Program {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment: nothing of this process' own but `PATH`, `HOME`, `LANG` and `TMPDIR`.
        env: BTreeMap<String, Word>,
    },
    /// It listens for streamable HTTP.
    Address {
        /// Where.
        url: String,
        /// What each request carries.
        headers: BTreeMap<String, Word>,
    },
}

impl Reach {
    /// What the server is given.
    fn words(&self) -> &BTreeMap<String, Word> {
        match self {
            Self::Program { env: words, .. } | Self::Address { headers: words, .. } => words,
        }
    }
}

/// Neither arguments nor values are shown: they may hold secrets.
impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program { command, .. } => {
                f.debug_struct("Program").field("command", command).finish_non_exhaustive()
            }
            Self::Address { url, .. } => f.debug_struct("Address").field("url", url).finish_non_exhaustive(),
        }
    }
}

/// What the tools of a server are held to.
#[derive(Clone, Debug)]
pub struct McpTerms {
    /// Whether what the server says of its tools (`readOnlyHint`, `idempotentHint`) is believed.
    pub trust_hints: bool,
    /// What may be done about a call whose outcome is lost, by tool.
    pub classes: BTreeMap<String, EffectClass>,
    /// For one call.
    pub timeout: Duration,
    /// The most of an answer that is kept.
    pub result_max: ByteSize,
    /// The tools that agents were given by name, as the server calls them.
    pub named: BTreeSet<String>,
}

impl Default for McpTerms {
    fn default() -> Self {
        Self {
            trust_hints: false,
            classes: BTreeMap::new(),
            timeout: TIMEOUT,
            result_max: RESULT_MAX,
            named: BTreeSet::new(),
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct McpCall {
    /// The tool, as the server calls it.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// The effect's key: the same for each attempt, so that the server can tell.
    pub key: String,
    /// How long it may take.
    pub timeout: Duration,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    /// There is no connection; nothing was asked.
    #[error("the server is not connected: {0}")]
    NotConnected(String),
    /// The server says that it did not do it.
    #[error("{0}")]
    Refused(String),
    /// The connection ended, or what came was no answer.
    #[error("the answer was lost: {0}")]
    Lost(String),
    /// It took too long, and was told to stop.
    #[error("there was no answer within {0:?}")]
    Late(Duration),
}

impl McpError {
    /// How it is to be handled.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Refused(_) => FailureClass::Rejected,
            Self::NotConnected(_) | Self::Lost(_) => FailureClass::ProviderDown,
            Self::Late(_) => FailureClass::Hung,
        }
    }

    /// Whether the server may have done it.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Late(_))
    }
}

/// The tools of a server.
pub type Tools = Arc<[Arc<Tool>]>;

/// A server, whichever of its generations is up.
#[derive(Clone)]
pub struct McpHandle {
    name: Arc<str>,
    server: Arc<McpServer>,
    front: Front<McpMsg>,
    /// The tools of its latest listing, once there is one: a server that is down keeps its tools, and calls wait for it.
    tools: Arc<Mutex<Option<Tools>>>,
}

impl McpHandle {
    /// The handle of a server that is yet to be started.
    #[must_use]
    pub fn new(name: &str, server: McpServer) -> Self {
        let tools = Arc::default();
        Self { name: name.into(), server: Arc::new(server), front: Front::new(), tools }
    }

    /// Its name, also in the tree.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn server(&self) -> &McpServer {
        &self.server
    }

    /// Where its factory publishes each generation.
    #[must_use]
    pub fn front(&self) -> &Front<McpMsg> {
        &self.front
    }

    /// Its tools, as it listed them last; none before it has.
    #[must_use]
    pub fn tools(&self) -> Tools {
        self.listed().unwrap_or_default()
    }

    /// The tool that it calls `own`. Before it has listed any, each may be one of its tools: whoever calls it waits for
    /// the server, which checks by itself.
    #[must_use]
    pub fn tool(&self, own: &str) -> Option<Arc<Tool>> {
        let is_own = |tool: &&Arc<Tool>| matches!(&tool.home, Home::Mcp { tool, .. } if tool == own);
        match self.listed() {
            Some(tools) => tools.iter().find(is_own).cloned(),
            None => listing::unlisted(&self.name, &self.server.terms, own).ok().map(Arc::new),
        }
    }

    fn listed(&self) -> Option<Tools> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn list(&self, tools: Vec<Arc<Tool>>) {
        *self.tools.lock().unwrap_or_else(PoisonError::into_inner) = Some(tools.into());
    }

    /// Makes a call in a place of its mailbox.
    ///
    /// # Errors
    /// [`FrontError`] of a worker that gave no answer, and within it why there is no result.
    pub async fn call(&self, call: McpCall, place: Credit) -> Result<Result<Value, McpError>, FrontError> {
        self.front.ask_in(place, |reply| McpMsg::Call { call: Box::new(call), reply }).await
    }
}
