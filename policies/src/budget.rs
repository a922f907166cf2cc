//! Budgets: who may spend how much, and the sums of the ledger.
//!
//! The law: of every limited scope, spent + reserved ≤ limit, always. Money is
//! reserved in every scope of a call or in none, at its worst case, before the
//! call. The only way past a limit is a call that cost more than its worst
//! case, or a limit that was lowered; the first is recorded and reported, and
//! both refuse everything that follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{document, money::Money, text::serde_as_text};

/// The text of the limits compiled in, `defaults/budget.toml`.
pub const BUILTIN: &str = include_str!("../defaults/budget.toml");

/// Who spends: written "run/abc", "agent/writer", "workspace/main".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeId {
    /// Everything in a workspace.
    Workspace(String),
    /// One agent over all its runs.
    Agent(String),
    /// One run.
    Run(String),
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace(name) => write!(f, "workspace/{name}"),
            Self::Agent(name) => write!(f, "agent/{name}"),
            Self::Run(id) => write!(f, "run/{id}"),
        }
    }
}

/// Text that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a budget scope; write workspace/, agent/ or run/ and a name, such as \"agent/writer\"")]
pub struct NotScopeId(String);

impl FromStr for ScopeId {
    type Err = NotScopeId;

    fn from_str(text: &str) -> Result<Self, NotScopeId> {
        match text.split_once('/') {
            Some((_, "")) => None,
            Some(("workspace", name)) => Some(Self::Workspace(name.to_owned())),
            Some(("agent", name)) => Some(Self::Agent(name.to_owned())),
            Some(("run", id)) => Some(Self::Run(id.to_owned())),
            _ => None,
        }
        .ok_or_else(|| NotScopeId(text.to_owned()))
    }
}

serde_as_text!(ScopeId, "a budget scope such as \"agent/writer\"");

/// The limits that a workspace starts with; where there is none, spending is
/// counted and not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetPolicy {
    /// For the whole workspace.
    pub workspace: Option<Money>,
    /// For each run.
    pub run: Option<Money>,
    /// For each agent that `agents` does not name.
    pub agent: Option<Money>,
    /// For agents by name.
    pub agents: BTreeMap<String, Money>,
}

impl BudgetPolicy {
    /// The limits compiled in, `defaults/budget.toml`.
    ///
    /// # Errors
    /// None once this crate's tests pass: the file is part of the build.
    pub fn builtin() -> Result<Self, Vec<document::Error>> {
        document::read("policies/defaults/budget.toml", BUILTIN)
    }

    /// What the scope may spend in all, or `None` for no limit.
    pub fn limit(&self, scope: &ScopeId) -> Option<Money> {
        match scope {
            ScopeId::Workspace(_) => self.workspace,
            ScopeId::Run(_) => self.run,
            ScopeId::Agent(name) => self.agents.get(name).copied().or(self.agent),
        }
    }
}

/// The sums of one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The most it may spend, or `None` for no limit.
    pub limit: Option<Money>,
    /// What was spent.
    pub spent: Money,
    /// What calls under way may still cost.
    pub reserved: Money,
}

impl Account {
    /// Spent and reserved together.
    pub fn committed(&self) -> Money {
        self.spent.saturating_add(self.reserved)
    }

    /// What may still be reserved; without a limit, what can still be counted.
    pub fn left(&self) -> Money {
        self.limit.unwrap_or(Money::MAX).saturating_sub(self.committed())
    }
}

/// A reservation that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{scope} has {left} left and the call may cost {asked}; raise the budget of {scope} or ask for less")]
pub struct Refusal {
    /// The first scope that it does not fit into.
    pub scope: ScopeId,
    /// How much was asked for.
    pub asked: Money,
    /// How much was left there.
    pub left: Money,
}

/// A call that cost more than was reserved for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the call cost {actual} and {reserved} was reserved for it in {scope}; check the price table")]
pub struct Overrun {
    /// The first scope that had reserved too little.
    pub scope: ScopeId,
    /// What was reserved there.
    pub reserved: Money,
    /// What the call cost.
    pub actual: Money,
}

/// The accounts of all scopes.
///
/// A scope that was never named has no limit and spent nothing. Where a list
/// of scopes names one twice, it counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Accounts {
    accounts: BTreeMap<ScopeId, Account>,
}

impl Accounts {
    /// Sets or lifts the limit of a scope. One below what is already committed
    /// takes nothing back, and refuses every new reservation.
    pub fn set_limit(&mut self, scope: ScopeId, limit: Option<Money>) {
        self.accounts.entry(scope).or_default().limit = limit;
    }

    /// Reserves the amount in every scope, or in none.
    ///
    /// # Errors
    /// [`Refusal`] names the first scope that it does not fit into.
    pub fn reserve(&mut self, scopes: &[ScopeId], amount: Money) -> Result<(), Refusal> {
        for scope in scopes {
            let left = self.account(scope).left();
            if amount > left {
                return Err(Refusal { scope: scope.clone(), asked: amount, left });
            }
        }
        self.each(scopes, |account| account.reserved = account.reserved.saturating_add(amount));
        Ok(())
    }

    /// Turns a reservation into spending, once the call's cost is known.
    ///
    /// All of `actual` is recorded as spent. What it had not reserved, in any
    /// of the scopes, is reported.
    #[must_use = "an overrun must be reported"]
    pub fn settle(&mut self, scopes: &[ScopeId], reserved: Money, actual: Money) -> Option<Overrun> {
        let overrun = scopes.iter().find_map(|scope| {
            let reserved = reserved.min(self.account(scope).reserved);
            (actual > reserved).then(|| Overrun { scope: scope.clone(), reserved, actual })
        });
        self.each(scopes, |account| {
            account.reserved = account.reserved.saturating_sub(reserved);
            account.spent = account.spent.saturating_add(actual);
        });
        overrun
    }

    /// Gives a reservation back whole: the call was not made.
    pub fn release(&mut self, scopes: &[ScopeId], reserved: Money) {
        self.each(scopes, |account| account.reserved = account.reserved.saturating_sub(reserved));
    }

    /// The sums of a scope.
    pub fn account(&self, scope: &ScopeId) -> Account {
        self.accounts.get(scope).copied().unwrap_or_default()
    }

    /// All scopes that were named, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ScopeId, &Account)> {
        self.accounts.iter()
    }

    /// Forgets a scope that has ended, and returns its last sums.
    pub fn remove(&mut self, scope: &ScopeId) -> Option<Account> {
        self.accounts.remove(scope)
    }

    fn each(&mut self, scopes: &[ScopeId], change: impl Fn(&mut Account)) {
        for scope in scopes.iter().collect::<BTreeSet<_>>() {
            change(self.accounts.entry(scope.clone()).or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn dollars(dollars: u64) -> Money {
        Money::from_nanos(dollars * 1_000_000_000)
    }

    fn workspace() -> ScopeId {
        ScopeId::Workspace("main".to_owned())
    }

    fn run(id: &str) -> ScopeId {
        ScopeId::Run(id.to_owned())
    }

    #[test]
    fn reserves_everywhere_or_nowhere() {
        let mut accounts = Accounts::default();
        accounts.set_limit(workspace(), Some(dollars(10)));
        accounts.set_limit(run("a"), Some(dollars(2)));
        let refusal = accounts.reserve(&[workspace(), run("a")], dollars(3)).unwrap_err();
        assert_eq!(refusal, Refusal { scope: run("a"), asked: dollars(3), left: dollars(2) });
        assert_eq!(
            refusal.to_string(),
            "run/a has $2.00 left and the call may cost $3.00; raise the budget of run/a or ask for less"
        );
        assert_eq!(accounts.account(&workspace()).reserved, Money::ZERO);
    }

    #[test]
    fn what_a_call_did_not_need_is_free_again() {
        let mut accounts = Accounts::default();
        accounts.set_limit(run("a"), Some(dollars(2)));
        accounts.reserve(&[run("a")], dollars(2)).unwrap();
        assert_eq!(accounts.settle(&[run("a")], dollars(2), dollars(1)), None);
        accounts.reserve(&[run("a")], dollars(1)).unwrap();
        accounts.release(&[run("a")], dollars(1));
        assert_eq!(accounts.account(&run("a")).left(), dollars(1));
    }

    #[test]
    fn an_overrun_is_recorded_and_reported() {
        let mut accounts = Accounts::default();
        accounts.set_limit(run("a"), Some(dollars(1)));
        accounts.reserve(&[run("a")], dollars(1)).unwrap();
        let overrun = accounts.settle(&[run("a")], dollars(1), dollars(3)).unwrap();
        assert_eq!((overrun.reserved, overrun.actual), (dollars(1), dollars(3)));
        assert_eq!(accounts.account(&run("a")).spent, dollars(3));
        assert_eq!(accounts.reserve(&[run("a")], Money::from_nanos(1)).unwrap_err().left, Money::ZERO);
    }

    #[test]
    fn settling_what_was_never_reserved_is_an_overrun() {
        let mut accounts = Accounts::default();
        assert!(accounts.settle(&[run("a")], dollars(1), dollars(1)).is_some());
    }

    #[test]
    fn a_scope_named_twice_counts_once() {
        let mut accounts = Accounts::default();
        accounts.set_limit(run("a"), Some(dollars(1)));
        accounts.reserve(&[run("a"), run("a")], dollars(1)).unwrap();
        assert_eq!(accounts.account(&run("a")).reserved, dollars(1));
    }

    #[test]
    fn a_lowered_limit_refuses_what_follows() {
        let mut accounts = Accounts::default();
        accounts.reserve(&[run("a")], dollars(5)).unwrap();
        accounts.set_limit(run("a"), Some(dollars(1)));
        assert!(accounts.reserve(&[run("a")], Money::from_nanos(1)).is_err());
        accounts.reserve(&[run("a")], Money::ZERO).unwrap();
    }

    #[test]
    fn scopes_are_written_as_text() {
        let mut accounts = Accounts::default();
        accounts.set_limit(run("a/b"), Some(dollars(1)));
        let json = serde_json::to_string(&accounts).unwrap();
        assert_eq!(json, r#"{"run/a/b":{"limit":1000000000,"spent":0,"reserved":0}}"#);
        assert_eq!(serde_json::from_str::<Accounts>(&json).unwrap(), accounts);
        for text in ["", "run", "run/", "team/a"] {
            assert!(text.parse::<ScopeId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_agent_may_have_its_own_limit() {
        let policy =
            BudgetPolicy { agents: [("writer".to_owned(), dollars(7))].into(), ..BudgetPolicy::builtin().unwrap() };
        assert_eq!(policy.limit(&ScopeId::Agent("writer".to_owned())), Some(dollars(7)));
        assert_eq!(policy.limit(&ScopeId::Agent("reviewer".to_owned())), policy.agent);
        assert_eq!(policy.limit(&run("a")), policy.run);
        assert_eq!(policy.limit(&workspace()), policy.workspace);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Reserve(Vec<usize>, u64),
        Settle(prop::sample::Index, f64),
        Release(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let reserve = (prop::collection::vec(0..4_usize, 1..5), 0..100_u64)
            .prop_map(|(scopes, amount)| Step::Reserve(scopes, amount));
        let settle = (any::<prop::sample::Index>(), 0.0..=1.0).prop_map(|(hold, share)| Step::Settle(hold, share));
        let release = any::<prop::sample::Index>().prop_map(Step::Release);
        prop::collection::vec(prop_oneof![2 => reserve, 1 => settle, 1 => release], 0..100)
    }

    proptest! {
        #[test]
        fn no_sequence_passes_a_limit_and_none_leaks(limits in prop::collection::vec(0..300_u64, 3), steps in steps()) {
            // The fourth scope has no limit.
            let scopes: Vec<ScopeId> = (0..4).map(|id| run(&id.to_string())).collect();
            let mut accounts = Accounts::default();
            for (scope, limit) in scopes.iter().zip(&limits) {
                accounts.set_limit(scope.clone(), Some(Money::from_nanos(*limit)));
            }
            let mut holds: Vec<(Vec<ScopeId>, Money)> = Vec::new();
            for step in steps {
                let before = accounts.clone();
                match step {
                    Step::Reserve(named, amount) => {
                        let named: Vec<_> = named.into_iter().map(|at| scopes[at].clone()).collect();
                        let amount = Money::from_nanos(amount);
                        match accounts.reserve(&named, amount) {
                            Ok(()) => holds.push((named, amount)),
                            Err(refusal) => {
                                prop_assert!(refusal.asked > refusal.left);
                                prop_assert_eq!(&accounts, &before);
                            }
                        }
                    }
                    Step::Settle(hold, share) if !holds.is_empty() => {
                        let (named, reserved) = holds.swap_remove(hold.index(holds.len()));
                        let actual = Money::from_nanos((reserved.nanos() as f64 * share) as u64);
                        prop_assert_eq!(accounts.settle(&named, reserved, actual), None);
                    }
                    Step::Release(hold) if !holds.is_empty() => {
                        let (named, reserved) = holds.swap_remove(hold.index(holds.len()));
                        accounts.release(&named, reserved);
                    }
                    Step::Settle(..) | Step::Release(..) => {}
                }
                for scope in &scopes {
                    let account = accounts.account(scope);
                    let held: Money = holds.iter().filter(|(named, _)| named.contains(scope)).map(|(_, amount)| *amount).sum();
                    prop_assert!(account.limit.is_none_or(|limit| account.committed() <= limit));
                    prop_assert_eq!(account.reserved, held, "nothing leaks");
                }
            }
        }
    }
}
