//! A server's actor: it keeps the connection. Invariant: it is up before its server is, so that a server that is
//! down holds nobody up but those that call it; a connection that ends ends the actor, and its supervisor decides.

use std::time::Duration;

use actors::world::World;
use policies::failure::FailureClass;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::Value;
use supervisor::Failure;

use super::session::{Line, Session};
use super::{McpCall, McpError, McpHandle, listing};
use crate::front::Reply;
use crate::tether::Tether;

/// Between two looks at whether the connection holds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two listings, however often a server says that its tools have changed: each makes the regular expressions
/// of all their schemas ready.
const LIST_PAUSE_MIN: Duration = Duration::from_secs(1);

/// What a server's actor is told.
pub enum McpMsg {
    /// Make this call.
    Call {
        /// The call.
        call: Box<McpCall>,
        /// Where the outcome goes.
        reply: Reply<Result<Value, McpError>>,
    },
    /// What came of connecting; only the actor's own tasks say so, as with all that follows.
    Connected(Box<Connecting>),
    /// The tools that the server has now.
    Listed(Result<Vec<rmcp::model::Tool>, String>),
    /// The connection has ended.
    Gone,
}

/// What came of connecting.
pub struct Connecting(Result<Session, String>);

/// The actor; its arguments are the handle that it serves.
pub struct McpActor {
    world: World,
}

impl McpActor {
    /// A server's actor in this world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

/// The connection, and who waits for it.
pub struct Connection {
    handle: McpHandle,
    tasks: Tether,
    session: Option<Session>,
    /// As many as the mailbox has places.
    waiting: Vec<(McpCall, Reply<Result<Value, McpError>>)>,
}

impl Actor for McpActor {
    type Msg = McpMsg;
    type State = Connection;
    type Arguments = McpHandle;

    async fn pre_start(&self, me: ActorRef<McpMsg>, handle: McpHandle) -> Result<Connection, ActorProcessingErr> {
        let tasks = Tether::new(self.world.clone());
        let (reach, transport) = (handle.server().reach.clone(), self.world.http());
        tasks.spawn("mcp.connect", async move {
            let session = Session::open(&reach, transport).await;
            // An actor that is gone wants no connection.
            let _ = me.cast(McpMsg::Connected(Box::new(Connecting(session))));
        });
        Ok(Connection { handle, tasks, session: None, waiting: Vec::new() })
    }

    async fn handle(
        &self,
        me: ActorRef<McpMsg>,
        message: McpMsg,
        connection: &mut Connection,
    ) -> Result<(), ActorProcessingErr> {
        if let McpMsg::Call { reply, .. } = &message
            && !reply.begin()
        {
            return Ok(());
        }
        let _turn = self.world.turn(connection.handle.name()).await?;
        match message {
            McpMsg::Call { call, reply } => connection.call(*call, reply),
            McpMsg::Connected(connecting) => match connecting.0 {
                Ok(session) => connection.connected(session, me),
                Err(reason) => return Err(connection.down(&reason).into()),
            },
            McpMsg::Listed(Ok(listed)) => {
                let (name, terms) = (connection.handle.name(), &connection.handle.server().terms);
                let tools = listing::tools(name, terms, listed);
                tracing::info!(server = name, tools = tools.len(), "an MCP server has listed its tools");
                // Told once, not by each life and each change of the list.
                if connection.handle.listed().is_none() {
                    for tool in listing::missing(terms, &tools) {
                        tracing::warn!(
                            server = name,
                            tool,
                            "the configuration names a tool that the server does not have"
                        );
                    }
                }
                connection.handle.list(tools);
            }
            McpMsg::Listed(Err(reason)) => return Err(connection.down(&reason).into()),
            McpMsg::Gone => return Err(connection.down("its connection has ended").into()),
        }
        Ok(())
    }
}

impl Connection {
    fn connected(&mut self, session: Session, me: ActorRef<McpMsg>) {
        self.tasks.spawn("mcp.watch", watch(session.line(), me));
        self.session = Some(session);
        for (call, reply) in std::mem::take(&mut self.waiting) {
            self.call(call, reply);
        }
    }

    /// Makes a call in a task, once there is a connection.
    fn call(&mut self, call: McpCall, reply: Reply<Result<Value, McpError>>) {
        let Some(session) = &self.session else { return self.waiting.push((call, reply)) };
        let line = session.line();
        self.tasks.spawn("mcp.call", async move { reply.send(line.call(call).await) });
    }

    /// The failure that ends this life. Whoever waited for the connection hears that nothing was asked.
    fn down(&mut self, reason: &str) -> Failure {
        for (_, reply) in std::mem::take(&mut self.waiting) {
            reply.send(Err(McpError::NotConnected(reason.to_owned())));
        }
        Failure::new(FailureClass::ProviderDown, format!("the MCP server {}: {reason}", self.handle.name()))
    }
}

/// Lists the server's tools, again when they have changed, until the connection ends.
async fn watch(line: Line, me: ActorRef<McpMsg>) {
    let mut has_changed = true;
    loop {
        if has_changed {
            let _ = me.cast(McpMsg::Listed(line.list().await));
            // What changes meanwhile is heard after it.
            tokio::time::sleep(LIST_PAUSE_MIN).await;
        }
        if line.is_closed() {
            let _ = me.cast(McpMsg::Gone);
            return;
        }
        has_changed = tokio::select! {
            biased;
            () = line.changed() => true,
            () = tokio::time::sleep(LOOK_AGAIN) => false,
        };
    }
}
