//! How each worker of the tree is made. Invariant: a worker's name in the tree
//! is the name that workflows and budgets know it by.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::guard::Guard;
use actors::world::World;
use agents::agent::{AgentActor, AgentHandle};
use agents::aggregator::{AggregatorActor, AggregatorArguments};
use agents::conduct::{PUBLISHER_GUARD, Stage};
use agents::context::{ContextActor, ContextArguments};
use agents::front::Front;
use agents::ledger::{LedgerActor, LedgerArguments};
use agents::publisher::{Publisher, PublisherActor, PublisherHandle};
use agents::tool::mcp::McpActor;
use ractor::Message;
use supervisor::{Factory, StartContext, worker};

/// What the factories need beyond the stage.
pub(super) struct Makings {
    pub(super) world: World,
    pub(super) ledger: LedgerArguments,
    pub(super) context: ContextArguments,
    pub(super) aggregator: AggregatorArguments,
    pub(super) publishers: BTreeMap<String, Arc<dyn Publisher>>,
}

/// The factories by the names of their workers.
pub(super) fn all(stage: &Arc<Stage>, makings: Makings) -> BTreeMap<String, Factory> {
    let mut factories = BTreeMap::new();
    let Makings { world, ledger, context, aggregator, publishers } = makings;
    let w = world.clone();
    add(&mut factories, "ledger", stage.ledger.front(), move |_| (LedgerActor::new(w.clone()), ledger.clone()));
    let w = world.clone();
    add(&mut factories, "context", stage.context.front(), move |_| (ContextActor::new(w.clone()), context.clone()));
    let w = world.clone();
    add(&mut factories, "aggregator", &stage.aggregator, move |_| {
        (AggregatorActor::new(w.clone()), aggregator.clone())
    });
    for (name, agent) in &stage.agents {
        agent_factory(&mut factories, &world, name, agent);
    }
    for (name, server) in stage.tools.servers() {
        let (world, server) = (world.clone(), server.clone());
        let front = server.front().clone();
        add(&mut factories, name, &front, move |_| (McpActor::new(world.clone()), server.clone()));
    }
    for (name, platform) in publishers {
        if let Some(handle) = stage.publishers.get(&name) {
            let guard = stage.guards.get(&format!("{PUBLISHER_GUARD}/{name}"));
            publisher_factory(&mut factories, &world, &name, handle, platform, guard);
        }
    }
    factories
}

fn agent_factory(factories: &mut BTreeMap<String, Factory>, world: &World, name: &str, agent: &AgentHandle) {
    let (world, agent) = (world.clone(), agent.clone());
    let front = agent.front().clone();
    add(factories, name, &front, move |_| (AgentActor::new(world.clone()), agent.spec()));
}

fn publisher_factory(
    factories: &mut BTreeMap<String, Factory>,
    world: &World,
    name: &str,
    handle: &PublisherHandle,
    platform: Arc<dyn Publisher>,
    guard: Guard,
) {
    let (world, actor) = (world.clone(), name.to_owned());
    let make = move |_: &StartContext| {
        let timeout = guard.policy().timeout.duration();
        (PublisherActor::new(world.clone(), &actor, timeout), Arc::clone(&platform))
    };
    add(factories, name, handle.front(), make);
}

/// A worker whose slot is its front's, and whose mailbox the tree shows.
fn add<A, F>(factories: &mut BTreeMap<String, Factory>, name: &str, front: &Front<A::Msg>, make: F)
where
    A: ractor::Actor,
    A::Msg: Message,
    F: Fn(&StartContext) -> (A, A::Arguments) + Send + Sync + 'static,
{
    let credits = front.credits().clone();
    let shown = move |context: &StartContext| {
        let credits = credits.clone();
        context.show_mailbox(Arc::new(move || credits.fill().into()));
        make(context)
    };
    factories.insert(name.to_owned(), worker(front.slot().clone(), shown));
}
