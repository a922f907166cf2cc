//! One connection to a server. Invariant: a call that is given up is cancelled at the server, a program ends with
//! its connection, rmcp's types stay in here, and nothing that a server says leaves it with a secret that the
//! server was given.

use std::borrow::Cow;
use std::future::{Future, ready};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use actors::transport::Transport;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ContentBlock, Implementation, InitializeRequestParams,
    PaginatedRequestParams, ResourceContents,
};
use rmcp::service::{NotificationContext, Peer, RunningService, ServiceError};
use rmcp::transport::TokioChildProcess;
use rmcp::{ClientHandler, RoleClient, serve_client};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Notify;

use super::listing::TOOLS_MAX;
use super::words::Censor;
use super::{CONNECT_MAX, McpCall, McpError, Reach, http};
use crate::secret::Confided;
use crate::tool::pictures::Pictures;

/// For one page of the list of tools.
const LIST_MAX: Duration = Duration::from_secs(30);
/// The most pages of a list.
const PAGES_MAX: usize = 16;
/// What a program inherits of this process' environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// The key under which a call tells the server its effect's key.
const KEY: &str = "callboard/idempotency-key";

/// A connection; it ends when this is dropped.
pub(super) struct Session {
    service: RunningService<RoleClient, Ear>,
    changed: Arc<Notify>,
    censor: Censor,
}

/// Hears when the list of tools has changed.
struct Ear {
    changed: Arc<Notify>,
}

impl ClientHandler for Ear {
    fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) -> impl Future<Output = ()> + Send + '_ {
        self.changed.notify_one();
        ready(())
    }

    fn get_info(&self) -> InitializeRequestParams {
        let own = Implementation::new("callboard", env!("CARGO_PKG_VERSION"));
        InitializeRequestParams::new(ClientCapabilities::default(), own)
    }
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// Why it cannot, for a person; no value of the environment or of a header is in it.
    pub(super) async fn open(reach: &Reach, transport: Arc<dyn Transport>) -> Result<Self, String> {
        let changed = Arc::new(Notify::new());
        let ear = Ear { changed: Arc::clone(&changed) };
        let censor = Censor::of(reach.words());
        let service = async {
            match reach {
                Reach::Program { .. } => {
                    let child = program(reach).await?;
                    serve_client(ear, child).await.map_err(|error| error.to_string())
                }
                Reach::Address { url, headers } => {
                    let way = http::way(url, headers, transport).await?;
                    serve_client(ear, way).await.map_err(|error| error.to_string())
                }
            }
        };
        let service = tokio::time::timeout(CONNECT_MAX, service).await;
        let service = service.map_err(|_| format!("it did not answer within {CONNECT_MAX:?}"))?;
        Ok(Self { service: service.map_err(|error| censor.clip(&error))?, changed, censor })
    }

    pub(super) fn line(&self) -> Line {
        Line { peer: self.service.peer().clone(), changed: Arc::clone(&self.changed), censor: self.censor.clone() }
    }
}

/// Starts a program, with the secrets of now.
async fn program(reach: &Reach) -> Result<TokioChildProcess, String> {
    let Reach::Program { command, args, env } = reach else { return Err("it is no program".to_owned()) };
    let mut program = Command::new(command);
    program.args(args).env_clear().kill_on_drop(true);
    program.envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    for (name, word) in env {
        let word = word.afresh().await.map_err(|error| format!("it cannot be given `{name}`: {error}"))?;
        program.env(name, word.expose());
    }
    let started = TokioChildProcess::builder(program).stderr(Stdio::null()).spawn();
    started.map(|(child, _)| child).map_err(|error| format!("`{command}` cannot be started: {error}"))
}

/// What a connection is asked over; a cheap clone.
#[derive(Clone)]
pub(super) struct Line {
    peer: Peer<RoleClient>,
    changed: Arc<Notify>,
    censor: Censor,
}

impl Line {
    /// Resolves when the server says that its tools have changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.peer.is_transport_closed()
    }

    /// What the server can do, as far as it is asked.
    pub(super) async fn list(&self) -> Result<Vec<rmcp::model::Tool>, String> {
        let (mut tools, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = PaginatedRequestParams::default().with_cursor(cursor);
            let page = tokio::time::timeout(LIST_MAX, self.peer.list_tools(Some(page))).await;
            let page = page.map_err(|_| format!("it did not list its tools within {LIST_MAX:?}"))?;
            let page =
                page.map_err(|error| format!("it does not list its tools: {}", self.censor.clip(&error.to_string())))?;
            tools.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() || tools.len() >= TOOLS_MAX {
                break;
            }
        }
        let keys = self.censor.confided().keys();
        // Under another name than its own it could not be called.
        tools.retain(|tool| matches!(keys.blotted(&tool.name), Cow::Borrowed(_)));
        tools.iter_mut().for_each(|tool| blot(tool, &keys));
        Ok(tools)
    }

    /// Makes a call. Dropped, or out of time, it is cancelled at the server.
    pub(super) async fn call(&self, call: McpCall) -> Result<Value, McpError> {
        let mut params = CallToolRequestParams::new(call.tool);
        params.arguments = Some(call.arguments);
        params.meta = serde_json::from_value(json!({ KEY: call.key })).ok();
        let answer = tokio::time::timeout(call.timeout, self.peer.call_tool(params)).await;
        match answer {
            Err(_) => Err(McpError::Late(call.timeout)),
            Ok(Ok(result)) => told(result, &self.censor.confided()),
            Ok(Err(ServiceError::McpError(error))) => Err(McpError::Refused(self.censor.clip(&error.to_string()))),
            Ok(Err(error)) => Err(McpError::Lost(self.censor.clip(&error.to_string()))),
        }
    }
}

/// Blots secrets out of what is kept of a tool beside its name.
fn blot(tool: &mut rmcp::model::Tool, keys: &Confided) {
    if let Some(Cow::Owned(blotted)) = tool.description.as_deref().map(|words| keys.blotted(words)) {
        tool.description = Some(blotted.into());
    }
    let mut schema = Value::Object((*tool.input_schema).clone());
    keys.blot(&mut schema);
    if let Value::Object(schema) = schema {
        tool.input_schema = Arc::new(schema);
    }
}

/// What a server has answered: what it says in a structure, else its words; and its pictures.
fn told(result: CallToolResult, confided: &Confided) -> Result<Value, McpError> {
    let mut pictures = Pictures::default();
    let words: Vec<String> = result.content.iter().map(|block| words(block, &mut pictures)).collect();
    let words = words.join("\n");
    if result.is_error == Some(true) {
        return Err(McpError::Refused(confided.blotted(&words).into_owned()));
    }
    let mut answer = result.structured_content.unwrap_or_else(|| json!({ "text": words }));
    confided.clone().keys().blot(&mut answer);
    Ok(pictures.beside(answer))
}

fn words(block: &ContentBlock, pictures: &mut Pictures) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => pictures.take(&image.mime_type, &image.data),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            _ => "(a resource that is no text)".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("(a link to {})", link.uri),
        _ => "(something that is no text)".to_owned(),
    }
}
