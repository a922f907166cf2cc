//! What the tree asks before it restarts a child: whether the breaker in front of what the child needs
//! lets calls through, and whether a budget could pay its next attempt.
//!
//! Invariant: an answer is a look-up. The ledger's sums are those of the last time that somebody
//! asked or a child came down; until they are known, nothing is held back for want of money.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::guard::{Guard, Guards};
use actors::world::World;
use agents::agent::AgentSpec;
use agents::conduct::{CONTEXT_GUARD, PUBLISHER_GUARD, Stage};
use agents::ledger::LedgerHandle;
use agents::model::Model;
use policies::budget::{Accounts, ScopeId};
use policies::money::Money;
use policies::price::Bounds;
use policies::span::Span;
use policies::tokens::Tokens;
use supervisor::{BreakerView, BreakerWord, Prospects, Standing};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// The breakers and the budgets behind the tree's workers.
pub(super) struct Outlook {
    guards: Guards,
    /// The guard in front of what each worker that is no agent needs.
    needs: BTreeMap<String, String>,
    stage: Arc<Stage>,
    purses: BTreeMap<String, Purse>,
    sums: Arc<Sums>,
    reader: AbortOnDropHandle<()>,
}

/// What an agent's calls are paid from.
struct Purse {
    scopes: [ScopeId; 2],
}

/// The ledger's sums, as they were read last.
#[derive(Default)]
struct Sums {
    read: Mutex<Accounts>,
    wanted: Notify,
}

impl Outlook {
    /// What is behind the workers of this stage.
    pub(super) fn new(world: &World, stage: &Arc<Stage>) -> Self {
        let publishers = stage.publishers.keys().map(|name| (name.clone(), format!("{PUBLISHER_GUARD}/{name}")));
        let context = [("context".to_owned(), CONTEXT_GUARD.to_owned())];
        let purse = |name: &String| {
            let scopes = [ScopeId::Agent(name.clone()), ScopeId::Workspace(stage.workspace.clone())];
            (name.clone(), Purse { scopes })
        };
        let sums = Arc::new(Sums::default());
        let reader = world.spawn("prospects", Arc::clone(&sums).keep(stage.ledger.clone()));
        Self {
            guards: stage.guards.clone(),
            needs: publishers.chain(context).collect(),
            stage: Arc::clone(stage),
            purses: stage.agents.keys().map(purse).collect(),
            sums,
            reader: AbortOnDropHandle::new(reader),
        }
    }

    /// A child came down, so it may soon be asked whether it can be paid.
    pub(super) fn look(&self) {
        self.sums.wanted.notify_one();
    }

    /// The tree has ended, so nothing will be asked any more.
    pub(super) fn close(&self) {
        self.reader.abort();
    }
}

impl Prospects for Outlook {
    fn breaker_open(&self, child: &str) -> Option<Duration> {
        match self.stage.agents.get(child) {
            // With another model it has work all the same.
            Some(agent) if self.stage.can_borrow(agent) => None,
            Some(agent) => self.stage.line(&agent.spec()).open_for(),
            None => self.guards.get(self.needs.get(child)?).open_for(),
        }
    }

    fn can_pay(&self, child: &str) -> bool {
        let (Some(purse), Some(agent)) = (self.purses.get(child), self.stage.agents.get(child)) else { return true };
        // For whoever asks next.
        self.look();
        purse.is_enough(least(&self.stage, &agent.spec()), &self.sums.lock())
    }

    fn standing(&self, node: &str) -> Standing {
        let breaker = match self.stage.agents.get(node) {
            Some(agent) => worst(self.stage.line(&agent.spec()).breakers()),
            None => self.needs.get(node).map(|guard| shown(&self.guards.get(guard))),
        };
        Standing { breaker, budget_left: self.budget_left(node) }
    }
}

/// The least that a call of an agent costs, with its own model or the cheapest of its pool.
fn least(stage: &Stage, spec: &AgentSpec) -> Money {
    let least = |model: &Arc<dyn Model>| {
        let least = Bounds { input: Tokens(1), output: Tokens(1), ..Bounds::default() };
        // What has no price is refused by the ledger, whoever restarts.
        stage.prices.worst_case(model.price_key(), &least).unwrap_or(Money::ZERO)
    };
    let pool = spec.terms.pool.iter().flat_map(|pool| &pool.models);
    let pool = pool.filter_map(|name| stage.models.get(name)).map(|named| least(&named.model)).min();
    pool.unwrap_or_else(|| least(&spec.model))
}

fn shown(guard: &Guard) -> BreakerView {
    let (state, wait) = (guard.state().breaker.into(), guard.open_for().map(Span));
    BreakerView { guard: guard.name().to_owned(), state, wait }
}

/// Of an agent's own breaker and that of its model, the one that holds it back more; the former, where
/// neither does.
fn worst<'g>(breakers: impl Iterator<Item = &'g Guard>) -> Option<BreakerView> {
    let rank = |view: &BreakerView| match view.state {
        BreakerWord::Closed => 0,
        BreakerWord::HalfOpen => 1,
        BreakerWord::Open => 2,
    };
    breakers.map(shown).reduce(|first, second| if rank(&second) > rank(&first) { second } else { first })
}

impl Outlook {
    /// The least that is left in the budgets of an agent or a run; nothing when none limits it.
    fn budget_left(&self, node: &str) -> Option<Money> {
        let run = || node.strip_prefix("run/").map(|id| ScopeId::Run(id.to_owned()));
        let scopes = self.purses.get(node).map_or_else(|| run().into_iter().collect(), |purse| purse.scopes.to_vec());
        let accounts = self.sums.lock();
        let limited = scopes.iter().map(|scope| accounts.account(scope)).filter(|account| account.limits.is_limited());
        limited.map(|account| account.left()).min()
    }
}

impl Purse {
    fn is_enough(&self, least: Money, accounts: &Accounts) -> bool {
        self.scopes.iter().all(|scope| accounts.account(scope).left() >= least)
    }
}

impl Sums {
    async fn keep(self: Arc<Self>, ledger: LedgerHandle) {
        loop {
            self.wanted.notified().await;
            match ledger.accounts().await {
                Ok(accounts) => *self.lock() = accounts,
                Err(error) => tracing::debug!(%error, "the ledger's sums are not known now"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // What is behind it is replaced as a whole, so a poisoned lock is still good.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use policies::budget::Limits;

    use super::*;

    fn pays(least: &str, accounts: &Accounts) -> bool {
        let scopes = [ScopeId::Agent("writer".into()), ScopeId::Workspace("main".into())];
        Purse { scopes }.is_enough(least.parse().unwrap(), accounts)
    }

    #[test]
    fn a_purse_is_empty_when_one_of_its_scopes_is() {
        let mut accounts = Accounts::default();
        assert!(pays("$0.01", &accounts), "nothing limits it");
        let limit = |limit: &str| Limits::total(limit.parse().unwrap());
        accounts.set_limits(&ScopeId::Workspace("main".into()), limit("$0.02"));
        assert!(pays("$0.02", &accounts) && !pays("$0.03", &accounts));
        accounts.set_limits(&ScopeId::Agent("writer".into()), limit("$0.00"));
        assert!(!pays("$0.01", &accounts));
        accounts.set_limits(&ScopeId::Agent("reviewer".into()), limit("$0.00"));
        assert!(pays("$0.00", &accounts), "what costs nothing can always be paid");
    }
}
