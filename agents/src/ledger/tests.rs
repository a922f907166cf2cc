use std::collections::BTreeMap;
use std::time::Duration;

use actors::latest::Latest;
use policies::budget::{BudgetPolicy, Limits, ScopeId};
use policies::failure::FailureClass;
use policies::money::Money;
use policies::tokens::{Tokens, Usage};
use proptest::prelude::*;
use ractor::ActorRef;
use serde_json::json;
use storage::disk::sim::Loss;
use storage::journal::AppendError;

use super::*;
use crate::fixture::{self, Ground};
use crate::run::{Cancelled, Event, Failed, Intended, ModelCall, Reopened, Resolved};

mod million;
mod runs;
mod shipped;
mod webhook;
mod windows;

fn scopes(run: &str) -> Vec<ScopeId> {
    vec![ScopeId::Workspace("main".to_owned()), ScopeId::Agent("writer".to_owned()), ScopeId::Run(run.to_owned())]
}

fn policy(workspace: u64, run: u64) -> BudgetPolicy {
    BudgetPolicy {
        workspace: Limits::total(Money::from_nanos(workspace)),
        run: Limits::total(Money::from_nanos(run)),
        ..BudgetPolicy::default()
    }
}

fn hold(key: &str) -> HoldId {
    HoldId { key: key.into(), attempt: 1 }
}

fn ask(key: &str, run: &str, nanos: u64) -> Reserve {
    let (hold, scopes, amount) = (hold(key), scopes(run), Money::from_nanos(nanos));
    Reserve { hold, scopes, amount, now: Timestamp::EPOCH, cost_max: None, stood: None }
}

async fn start(ground: &Ground, policy: &BudgetPolicy) -> (LedgerHandle, ActorRef<LedgerMsg>) {
    ground.ledger(Latest::new(policy.clone()).watch(), None).await
}

async fn intend(ground: &mut Ground, grant: &Grant) -> Result<(), AppendError> {
    let Grant { hold, scopes, reserved, at, stream, generation, .. } = grant.clone();
    let intent = fixture::intended("write", &hold.key, hold.attempt, reserved, scopes);
    let intent = Intended { granted: Some(at), ..intent };
    ground.run("x", &Event::Intended(std::sync::Arc::new(intent)), Some((stream, generation))).await.map(|_| ())
}

async fn resolve(ground: &mut Ground, key: &str, cost: u64) {
    let outcome = fixture::resolved("write", key, 1, Money::from_nanos(cost));
    ground.run("x", &Event::Resolved(Box::new(outcome)), None).await.unwrap();
}

/// Lets the tail reach what was written.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn workspace(ledger: &LedgerHandle) -> (u64, u64) {
    let account = ledger.accounts().await.unwrap().account(&scopes("a")[0]);
    (account.spent.nanos(), account.reserved.nanos())
}

#[tokio::test(start_paused = true)]
async fn a_hold_becomes_a_reservation_and_then_spending() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let grant = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    assert_eq!(workspace(&ledger).await, (0, 40));
    let again = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    assert_eq!(Grant { number: grant.number, ..again }, grant, "asking again is asking once");
    intend(&mut ground, &grant).await.unwrap();
    settle().await;
    assert_eq!(workspace(&ledger).await, (0, 40));
    resolve(&mut ground, "k", 15).await;
    settle().await;
    assert_eq!(workspace(&ledger).await, (15, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_scope_and_holds_nothing() {
    let ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let ReserveError::Refused(refusal) = ledger.reserve(ask("k", "a", 51)).await.unwrap_err() else { panic!() };
    assert_eq!((refusal.scope, refusal.asked.nanos(), refusal.left.nanos()), (ScopeId::Run("a".to_owned()), 51, 50));
    assert_eq!(workspace(&ledger).await, (0, 0));
    let grant = ledger.reserve(ask("k", "a", 50)).await.unwrap();
    ledger.release(grant.granted());
    assert_eq!(workspace(&ledger).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn open_intents_are_reserved_and_holds_forgotten_after_a_restart() {
    let mut ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &policy(100, 50)).await;
    let first = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    let lost = ledger.reserve(ask("l", "b", 40)).await.unwrap();
    intend(&mut ground, &first).await.unwrap();
    actor.kill();
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    assert_eq!(workspace(&ledger).await, (0, 40));
    // What the dead ledger granted, the journal refuses.
    assert!(matches!(intend(&mut ground, &lost).await, Err(AppendError::Conflict { .. })));
    resolve(&mut ground, "k", 40).await;
    settle().await;
    assert_eq!(workspace(&ledger).await, (40, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hold_whose_owner_vanished_is_freed_and_its_grant_is_void() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let lost = ledger.reserve(ask("l", "a", 50)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    settle().await;
    assert_eq!(workspace(&ledger).await, (0, 0));
    assert!(intend(&mut ground, &lost).await.is_err());
    let grant = ledger.reserve(ask("l", "a", 50)).await.unwrap();
    assert!(grant.generation > lost.generation);
    intend(&mut ground, &grant).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_ledger_ends_the_first() {
    let ground = Ground::new(1);
    let (_, first) = start(&ground, &policy(100, 50)).await;
    let (second, _) = start(&ground, &policy(100, 50)).await;
    first.wait(None).await.unwrap();
    second.reserve(ask("k", "a", 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn other_workspaces_are_not_counted() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let others = vec![ScopeId::Workspace("other".to_owned())];
    let intent = fixture::intended("write", "k", 1, Money::from_nanos(70), others);
    ground.run("y", &Event::Intended(std::sync::Arc::new(intent)), None).await.unwrap();
    settle().await;
    assert_eq!(workspace(&ledger).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_too_new_ends_the_ledger() {
    let mut ground = Ground::new(1);
    let (_, actor) = start(&ground, &policy(100, 50)).await;
    ground.append("run/y", "run.intended", &json!({"key": 1}), None).await.unwrap();
    actor.wait(None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_account_of_a_run_goes_once_the_run_has_ended_and_owes_nothing() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let grant = ledger.reserve(ask("k", "x", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    let cancelled = Cancelled { at: ground.world.now(), by: "me".to_owned(), reason: "no".to_owned() };
    ground.run("x", &Event::Cancelled(cancelled), None).await.unwrap();
    settle().await;
    let scope = ScopeId::Run("x".to_owned());
    assert_eq!(ledger.accounts().await.unwrap().account(&scope).reserved.nanos(), 40);
    resolve(&mut ground, "k", 40).await;
    settle().await;
    assert!(ledger.accounts().await.unwrap().iter().all(|(named, _)| *named != scope));
    assert_eq!(workspace(&ledger).await, (40, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_has_spent_what_it_had_spent() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 90)).await;
    let grant = ledger.reserve(ask("k", "x", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    resolve(&mut ground, "k", 40).await;
    let (at, path) = (ground.world.now(), fixture::resolved("write", "k", 1, Money::ZERO).path);
    let (class, message) = (FailureClass::Rejected, "no".to_owned());
    let failed = Failed { at, path: path.clone(), class, message, refusal: None };
    ground.run("x", &Event::Failed(failed), None).await.unwrap();
    // At once, without the ledger having seen the end: its own limit stands, and so does what is spent.
    let (limit, spent, ended) = (Some(Money::from_nanos(60)), Money::from_nanos(40), Some(at));
    ledger.reopen_run("x", Stood { limit, spent, ended }).await.unwrap();
    let within = |key: &str, nanos| Reserve { cost_max: limit, ..ask(key, "x", nanos) };
    assert!(ledger.reserve(within("l", 21)).await.is_err());
    ledger.reserve(within("l", 20)).await.unwrap();
    let reopened = Reopened { at, path, by: "me".to_owned(), spent, cost_max: limit, ended };
    ground.run("x", &Event::Reopened(reopened), None).await.unwrap();
    settle().await;
    let account = ledger.accounts().await.unwrap().account(&ScopeId::Run("x".to_owned()));
    assert_eq!((account.spent, account.reserved), (spent, Money::from_nanos(20)));
    assert_eq!(workspace(&ledger).await, (40, 20), "the workspace pays once");
    // A ledger that starts anew folds the same.
    let (anew, _) = start(&ground, &policy(100, 90)).await;
    assert!(anew.reserve(within("m", 21)).await.is_err());
    anew.reserve(within("m", 20)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_granted_again_stands_when_the_first_grant_is_given_back() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let first = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    let again = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    ledger.release(first.granted());
    assert!(ledger.reserve(ask("l", "a", 40)).await.is_err(), "it is held still");
    intend(&mut ground, &again).await.unwrap();
    settle().await;
    assert_eq!(workspace(&ledger).await, (0, 40));
}

#[tokio::test(start_paused = true)]
async fn the_account_of_a_run_that_ended_goes_with_the_last_hold_in_it() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let grant = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    ground.append("run/a", "run.finished", &json!({ "finished": { "at": 0, "outputs": {} } }), None).await.unwrap();
    settle().await;
    assert!(ledger.accounts().await.unwrap().iter().any(|(scope, _)| *scope == ScopeId::Run("a".to_owned())));
    ledger.release(grant.granted());
    settle().await;
    assert!(ledger.accounts().await.unwrap().iter().all(|(scope, _)| *scope != ScopeId::Run("a".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_hold_given_back_by_mistake_still_counts_once_its_intent_is_seen() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let grant = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    ledger.release(grant.granted());
    assert!(ledger.reserve(ask("l", "a", 40)).await.is_err());
    settle().await;
    assert_eq!(workspace(&ledger).await, (0, 40));
}

#[tokio::test(start_paused = true)]
async fn it_starts_from_a_snapshot_without_its_holds() {
    let mut ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &policy(100, 50)).await;
    let grant = ledger.reserve(ask("k", "a", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    ledger.reserve(ask("held", "b", 30)).await.unwrap();
    ground.fill(10_001).await;
    settle().await;
    assert!(ground.snapshots.get("ledger/main", book::FOLD_VERSION).unwrap().is_some());
    actor.kill();
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    assert_eq!(workspace(&ledger).await, (0, 40));
    resolve(&mut ground, "k", 5).await;
    settle().await;
    assert_eq!(workspace(&ledger).await, (5, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Reserve { run: u8, nanos: u64 },
    Intend(prop::sample::Index),
    Release(prop::sample::Index),
    Resolve(prop::sample::Index, f64),
    Restart,
    Crash,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => (0..3_u8, 0..40_u64).prop_map(|(run, nanos)| Step::Reserve { run, nanos }),
        5 => index().prop_map(Step::Intend),
        1 => index().prop_map(Step::Release),
        4 => (index(), 0.0..=1.0).prop_map(|(at, share)| Step::Resolve(at, share)),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

const WORKSPACE_MAX: u64 = 100;
const RUN_MAX: u64 = 60;

/// The journal's own account of a scope: spent, and reserved by open intents.
fn journalled(ground: &Ground, scope: &ScopeId) -> (u64, u64) {
    let mut open: BTreeMap<String, u64> = BTreeMap::new();
    let mut spent = 0;
    for event in ground.events().iter().filter(|event| event.kind.starts_with("run.")) {
        match serde_json::from_slice(&event.payload).unwrap() {
            Event::Intended(intent) if intent.scopes.contains(scope) => {
                open.insert(intent.key.to_string(), intent.reserved.nanos());
            }
            Event::Resolved(outcome) if open.remove(outcome.key.as_str()).is_some() => spent += outcome.cost.nanos(),
            _ => {}
        }
    }
    (spent, open.values().sum())
}

async fn law_holds(steps: Vec<Step>) {
    let mut ground = Ground::new(7);
    let policy = policy(WORKSPACE_MAX, RUN_MAX);
    let (mut ledger, mut actor) = start(&ground, &policy).await;
    let mut granted: Vec<Grant> = Vec::new();
    let mut intended: Vec<Grant> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Reserve { run, nanos } => {
                let asked = ledger.reserve(ask(&format!("k{number}"), &run.to_string(), nanos)).await;
                granted.extend(asked.ok());
            }
            Step::Intend(at) if !granted.is_empty() => {
                let grant = granted.swap_remove(at.index(granted.len()));
                if intend(&mut ground, &grant).await.is_ok() {
                    intended.push(grant);
                }
            }
            Step::Release(at) if !granted.is_empty() => {
                ledger.release(granted.swap_remove(at.index(granted.len())).granted())
            }
            Step::Resolve(at, share) if !intended.is_empty() => {
                let grant = intended.swap_remove(at.index(intended.len()));
                let cost = (grant.reserved.nanos() as f64 * share) as u64;
                resolve(&mut ground, &grant.hold.key, cost).await;
            }
            Step::Restart => {
                actor.kill();
                (ledger, actor) = start(&ground, &policy).await;
            }
            Step::Crash => {
                actor.kill();
                ground.crash(Loss::LoseUnsynced).await;
                (ledger, actor) = start(&ground, &policy).await;
            }
            Step::Wait => tokio::time::sleep(Duration::from_secs(40)).await,
            Step::Intend(_) | Step::Release(_) | Step::Resolve(..) => {}
        }
        for (scope, limit) in [(&scopes("0")[0], WORKSPACE_MAX), (&scopes("1")[2], RUN_MAX)] {
            let account = ledger.accounts().await.unwrap().account(scope);
            assert!(account.committed().nanos() <= limit, "{scope}: {account:?}");
            let (spent, reserved) = journalled(&ground, scope);
            assert!(spent + reserved <= limit, "the journal itself passes the limit of {scope}");
        }
    }
    // Once what is left over has aged away, nothing but the journal's own sums remains.
    tokio::time::sleep(Duration::from_secs(130)).await;
    settle().await;
    for scope in scopes("0") {
        let account = ledger.accounts().await.unwrap().account(&scope);
        assert_eq!((account.spent.nanos(), account.reserved.nanos()), journalled(&ground, &scope), "{scope} leaks");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_order_of_events_passes_a_limit_or_leaks(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(law_holds(steps));
    }
}

#[tokio::test(start_paused = true)]
async fn other_limits_hold_from_the_next_question_on_and_forget_nothing() {
    let ground = Ground::new(1);
    let limits = Latest::new(policy(100, 50));
    let (ledger, _) = ground.ledger(limits.watch(), None).await;
    ledger.reserve(ask("a", "x", 40)).await.unwrap();
    assert!(ledger.reserve(ask("b", "x", 20)).await.is_err());
    limits.set(policy(100, 60));
    ledger.reserve(ask("b", "x", 20)).await.unwrap();
    limits.set(policy(50, 60));
    let refused = ledger.reserve(ask("c", "y", 1)).await.unwrap_err();
    assert!(refused.to_string().contains("workspace/main"), "{refused}");
    let account = ledger.accounts().await.unwrap().account(&ScopeId::Workspace("main".to_owned()));
    assert_eq!((account.limits.total, account.reserved), (Some(Money::from_nanos(50)), Money::from_nanos(60)));
}

#[tokio::test(start_paused = true)]
async fn what_models_bill_for_what_was_counted_is_learnt_of_the_journal_and_kept_over_restarts() {
    let mut ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &policy(1_000, 1_000)).await;
    for call in 0..20 {
        let key = format!("k{call}");
        let grant = ledger.reserve(ask(&key, "x", 1)).await.unwrap();
        let counted = Some(ModelCall {
            model: "m".to_owned(),
            agent: "writer".to_owned(),
            counted: Tokens(100),
            bound: Tokens(0),
            provider: String::new(),
            batch: false,
        });
        let intent = fixture::intended("write", &key, 1, grant.reserved, grant.scopes.clone());
        let intent = Intended { granted: Some(grant.at), call: counted, ..intent };
        ground.run("x", &Event::Intended(std::sync::Arc::new(intent)), None).await.unwrap();
        let outcome = fixture::resolved("write", &key, 1, Money::ZERO);
        let usage = Usage { input: Tokens(70), cache_read: Tokens(50), ..Usage::default() };
        ground.run("x", &Event::Resolved(Box::new(Resolved { usage, ..outcome })), None).await.unwrap();
    }
    settle().await;
    let factor = |ledger: &LedgerHandle| ledger.factors().of("m").factor();
    assert_eq!(factor(&ledger), 1_320, "a fifth more than was counted, and a tenth of that");
    ground.fill(10_001).await;
    settle().await;
    actor.kill();
    let (anew, _) = start(&ground, &policy(1_000, 1_000)).await;
    assert_eq!((factor(&anew), anew.factors().of("other")), (1_320, Default::default()));
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_ledger_outlives_it() {
    let ground = Ground::new(1);
    // What the world did not start.
    let strangers =
        || tokio::runtime::Handle::current().metrics().num_alive_tasks().saturating_sub(ground.world.tasks());
    let before = strangers();
    let (ledger, actor) = start(&ground, &policy(100, 50)).await;
    ledger.reserve(ask("k", "a", 40)).await.unwrap();
    actor.kill();
    settle().await;
    assert_eq!(strangers(), before, "its next look for lost holds went with it");
}
