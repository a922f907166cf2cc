//! The tools that are built in: the context store's. Invariant: arguments come
//! from a workflow or a model, so each is checked before it is used.

use std::collections::BTreeMap;

use actors::guard::CallOutcome;
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
use crate::workflow::ToolCall;

/// Where notes go when a call names no collection.
const COLLECTION: &str = "main";
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
    pub(super) async fn use_tool(&self, run: &str, call: &ToolCall, admitted: Admitted) -> Ended {
        let Admitted { permit, place } = admitted;
        let world = &self.stage.spine.world;
        let started = world.elapsed();
        let store = self.stage.context.visit(place);
        let ended = match call.tool.as_str() {
            "context.remember" => remember(store, run, call).await,
            "context.search" => search(store, call).await,
            "context.forget" => forget(store, call).await,
            other => Err(Fault::Arguments(format!("there is no tool `{other}`"))),
        };
        let took = world.elapsed().saturating_sub(started);
        if let Err(Fault::Context(ContextError::Unanswered(error))) = &ended {
            // That says nothing of what stands behind the guard.
            return self.unanswered(CONTEXT, error, Money::ZERO);
        }
        let class = ended.as_ref().err().map(Fault::class);
        permit.finish(CallOutcome { class, took });
        ended.map_or_else(|fault| Ended::failed(fault.class(), fault.to_string()), Ended::ok)
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
}

impl Fault {
    fn class(&self) -> FailureClass {
        match self {
            Self::Arguments(_) | Self::Context(ContextError::TooMany { .. } | ContextError::Collection(_)) => {
                FailureClass::Rejected
            }
            Self::Context(_) => FailureClass::ProviderDown,
        }
    }
}
