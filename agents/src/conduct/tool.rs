//! Carrying a tool call out. Invariant: arguments come from a workflow or a model, so each is checked before it
//! is used; what a tool gives back is bounded; and a call that may have acted is never said to have failed.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::guard::CallOutcome;
use actors::mailbox::Credit;
use policies::failure::FailureClass;
use policies::money::Money;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use storage::index::Filter;
use supervisor::Failure;

use super::CONTEXT;
use super::admit::Admitted;
use super::host::Conductor;
use super::perform::Ended;
use crate::context::{ContextError, Forget, NewNote, Remember, Search, Visit};
use crate::front::FrontError;
use crate::run::Intended;
use crate::tool::mcp::{McpCall, McpError, START_MAX};
use crate::tool::{FetchError, Home, Tool};
use crate::workflow::{Action, EffectClass, ToolCall};

/// Where notes go when a call names no collection.
const COLLECTION: &str = "main";
/// For telling a server to stop.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Hits of a search that says no number.
const LIMIT: usize = 5;

/// `context.remember`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RememberArguments {
    #[serde(default = "main")]
    collection: String,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default = "document")]
    kind: String,
    /// Documents or notes: each a text with its source.
    documents: Vec<Given>,
}

/// One document, as a workflow gives it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Text(String),
    Document { source: String, text: String },
}

/// `context.search`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchArguments {
    #[serde(default = "main")]
    collection: String,
    query: String,
    #[serde(default = "limit")]
    limit: usize,
    #[serde(default)]
    filter: BTreeMap<String, String>,
}

/// `context.forget`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgetArguments {
    #[serde(default = "main")]
    collection: String,
    filter: BTreeMap<String, String>,
}

/// `http.fetch`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageArguments {
    url: String,
}

fn main() -> String {
    COLLECTION.to_owned()
}

fn document() -> String {
    "document".to_owned()
}

fn limit() -> usize {
    LIMIT
}

impl Conductor {
    /// Carries a tool call out, and tells the guard how it ended.
    pub(super) async fn use_tool(&self, run: &str, intent: &Intended, call: &ToolCall, admitted: Admitted) -> Ended {
        let Admitted { permit, place, .. } = admitted;
        let world = &self.stage.spine.world;
        let Some(tool) = self.stage.tools.get(&call.tool) else {
            return Ended::failed(FailureClass::Rejected, format!("there is no tool `{}`", call.tool));
        };
        let given = Value::Object(call.with.clone().into_iter().collect());
        if let Err(misfits) = tool.check(&given) {
            return Ended::failed(FailureClass::Rejected, misfits.to_string());
        }
        let started = world.elapsed();
        let used = async {
            match &tool.home {
                Home::Context => self.use_context(run, call, place).await,
                Home::Web => self.read_page(call).await,
                Home::Mcp { server, tool: own } => self.ask_server(intent, &tool, server, own, place).await,
                Home::Agent(name) => Err(Fault::Arguments(format!("a step asks the agent `{name}` by `agent`"))),
            }
        };
        // A server is told to stop when its time is over, which takes a moment more. That it was waited for does not
        // put a call in doubt that was never made.
        let start_max = if let Home::Mcp { .. } = &tool.home { START_MAX } else { Duration::ZERO };
        let ended = tokio::time::timeout(start_max + tool.timeout + STOP_MAX, used).await;
        let took = world.elapsed().saturating_sub(started);
        let ended = ended.unwrap_or_else(|_| Err(Fault::Late(tool.name.clone(), tool.timeout)));
        match (&ended, &tool.home) {
            // That says nothing of what stands behind the guard.
            (Err(Fault::Context(ContextError::Unanswered(error))), _) => {
                return self.unanswered(CONTEXT, error, Money::ZERO);
            }
            (Err(Fault::Server(error)), Home::Mcp { server, .. }) => return self.unserved(server, error, call.class),
            _ => {}
        }
        permit.finish(CallOutcome { class: ended.as_ref().err().and_then(Fault::guard_class), took });
        match ended {
            Ok(answer) => Ended::ok(tool.bounded(answer)),
            Err(fault) if fault.may_have_acted() && call.class != EffectClass::Read => {
                Ended::unknown(tool.bounded_words(fault.to_string()), Money::ZERO)
            }
            Err(fault) => Ended::failed(fault.class(), tool.bounded_words(fault.to_string())),
        }
    }

    async fn use_context(&self, run: &str, call: &ToolCall, place: Credit) -> Result<Value, Fault> {
        let store = self.stage.context.visit(place);
        match call.tool.as_str() {
            "context.remember" => remember(store, run, call).await,
            "context.search" => search(store, call).await,
            "context.forget" => forget(store, call).await,
            other => Err(Fault::Arguments(format!("the context store has no tool `{other}`"))),
        }
    }

    async fn ask_server(
        &self,
        intent: &Intended,
        tool: &Tool,
        server: &str,
        own: &str,
        place: Credit,
    ) -> Result<Value, Fault> {
        let Action::Tool(call) = &intent.request else { return Err(Fault::Arguments("no tool is asked".to_owned())) };
        let Some(handle) = self.stage.tools.servers().get(server) else {
            return Err(Fault::Arguments(format!("there is no MCP server `{server}`")));
        };
        let call = McpCall {
            tool: own.to_owned(),
            arguments: call.with.clone().into_iter().collect(),
            key: intent.key.as_str().to_owned(),
            timeout: tool.timeout,
        };
        Ok(handle.call(call, place).await.map_err(Fault::Server)??)
    }

    /// What is told of a call whose server gave no answer: one that cannot have been made has failed.
    fn unserved(&self, server: &str, error: &FrontError, class: EffectClass) -> Ended {
        let ended = self.unanswered(server, error, Money::ZERO);
        if error.may_have_acted() || class.may_repeat() {
            return ended;
        }
        Ended { death: ended.death, ..Ended::failed(FailureClass::ProviderDown, format!("`{server}`: {error}")) }
    }

    async fn read_page(&self, call: &ToolCall) -> Result<Value, Fault> {
        let PageArguments { url } = arguments(call)?;
        Ok(self.stage.tools.web().fetch(&url).await?)
    }
}

async fn remember(store: Visit<'_>, run: &str, call: &ToolCall) -> Result<Value, Fault> {
    let arguments: RememberArguments = arguments(call)?;
    let kind = arguments.kind;
    let note = |(place, given)| match given {
        Given::Text(text) => NewNote { text, source: format!("document {}", place + 1), kind: kind.clone() },
        Given::Document { source, text } => NewNote { text, source, kind: kind.clone() },
    };
    let remember = Remember {
        collection: arguments.collection,
        run: run.to_owned(),
        agent: arguments.agent.unwrap_or_default(),
        subject: None,
        notes: arguments.documents.into_iter().enumerate().map(note).collect(),
    };
    let remembered = store.remember(remember).await?;
    Ok(json!({ "notes": remembered.ids.len() }))
}

async fn search(store: Visit<'_>, call: &ToolCall) -> Result<Value, Fault> {
    let arguments: SearchArguments = arguments(call)?;
    let filter = filter(arguments.filter);
    let search = Search { collection: arguments.collection, query: arguments.query, filter, limit: arguments.limit };
    let found = store.search(search).await?;
    Ok(json!({ "notes": found }))
}

async fn forget(store: Visit<'_>, call: &ToolCall) -> Result<Value, Fault> {
    let arguments: ForgetArguments = arguments(call)?;
    let matching = Forget::Matching(filter(arguments.filter));
    let notes = store.forget(arguments.collection, matching).await?;
    Ok(json!({ "notes": notes }))
}

fn filter(equalities: BTreeMap<String, String>) -> Filter {
    equalities.into_iter().fold(Filter::any(), |filter, (field, value)| filter.and(field, value))
}

fn arguments<T: DeserializeOwned>(call: &ToolCall) -> Result<T, Fault> {
    let map: Map<String, Value> = call.with.clone().into_iter().collect();
    serde_json::from_value(Value::Object(map))
        .map_err(|error| Fault::Arguments(format!("the arguments of `{}` do not fit: {error}", call.tool)))
}

/// Why a tool gave nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Arguments(String),
    #[error("{}", Failure::classify(.0).message)]
    Context(#[from] ContextError),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Server(FrontError),
    #[error("{0}")]
    Mcp(#[from] McpError),
    #[error("`{0}` did not answer within {1:?}")]
    Late(String, Duration),
}

impl Fault {
    fn class(&self) -> FailureClass {
        match self {
            Self::Arguments(_)
            | Self::Context(ContextError::TooMany { .. } | ContextError::Collection(_))
            | Self::Fetch(FetchError::Refused(_)) => FailureClass::Rejected,
            Self::Context(_) | Self::Server(_) | Self::Fetch(FetchError::Unreached { .. }) => {
                FailureClass::ProviderDown
            }
            Self::Mcp(error) => error.class(),
            Self::Late(..) => FailureClass::Hung,
        }
    }

    fn may_have_acted(&self) -> bool {
        match self {
            Self::Late(..) => true,
            Self::Mcp(error) => error.may_have_acted(),
            _ => false,
        }
    }

    /// The same for the guard: that one page is out of reach says nothing of the next.
    fn guard_class(&self) -> Option<FailureClass> {
        if let Self::Fetch(_) = self { None } else { Some(self.class()) }
    }
}
