//! What follows from each command.

use policies::approval::ApprovalPolicy;
use storage::journal::{StreamId, Version};

use super::*;
use crate::workflow::StepPath;

fn steps(count: usize) -> Arc<Workflow> {
    let step = |n: usize| {
        format!("[[steps]]\nid = \"s{n}\"\nkind = \"tool\"\ntool = \"context.search\"\nwith = {{ n = {n} }}\n")
    };
    workflow(&format!(
        "name = \"noop\"\n{}[outputs]\nlast = \"steps.s0.text\"\n",
        (0..count).map(step).collect::<String>()
    ))
}

const POST: &str = r#"
name = "post"
[[steps]]
id = "ok"
kind = "approve"
what = "publish?"
[[steps]]
id = "post"
kind = "publish"
publisher = "feed"
post = { title = "'t'", text = "'x'" }
[outputs]
by = "steps.ok.by"
"#;

fn asking() -> Terms {
    Terms { approval: ApprovalPolicy::Ask, ..Terms::default() }
}

fn failure(class: FailureClass) -> EffectOutcome {
    EffectOutcome::Failed { class, message: "no answer".to_owned(), retry_after: None }
}

#[test]
fn ten_steps_take_eleven_appends() {
    let mut host = Host::accepted(&steps(10), Terms::default());
    host.play();
    assert_eq!(host.state.status(), Status::Finished);
    assert_eq!(host.appends.len(), 11);
    let kinds = host.kinds();
    assert_eq!(kinds[0], ["run.accepted", "run.intended"]);
    assert_eq!(kinds[5], ["run.resolved", "run.intended"]);
    assert_eq!(kinds[10], ["run.resolved", "run.finished"]);
    assert_eq!(host.state.cost, Money::from_nanos(100));
}

#[test]
fn a_step_without_a_grant_starts_later() {
    let mut host = Host::new();
    host.grants = false;
    host.tell(Act::Accept(order(&steps(1), Terms::default()))).unwrap();
    assert!(host.open().is_empty());
    assert_eq!(host.state.due(Timestamp::EPOCH).unwrap().len(), 1);
    host.grants = true;
    let reply = host.tell(Act::StartReady).unwrap();
    assert_eq!(reply.started.len(), 1);
    let again = host.tell(Act::StartReady).unwrap();
    assert!(again.started.is_empty(), "what is under way is not started again");
}

#[test]
fn what_was_evaluated_for_events_that_never_came_to_be_is_not_used() {
    let host = Host::accepted(&steps(2), Terms::default());
    let intent = host.open().remove(0);
    let ended = |text: &str| {
        let mut branch = host.clone();
        branch.resolve(&intent, EffectOutcome::ok(json!({ "text": text }))).unwrap();
        branch.play();
        branch.outputs()
    };
    assert_eq!(
        [ended("one"), ended("other"), ended("one")],
        ["one", "other", "one"].map(|text| json!({ "last": text }))
    );
}

#[test]
fn a_recorded_outcome_never_changes() {
    let mut host = Host::accepted(&steps(2), Terms::default());
    let intent = host.open().remove(0);
    host.resolve(&intent, answer(&intent.request)).unwrap();
    let refusal = host.resolve(&intent, failure(FailureClass::Hung)).unwrap_err();
    assert!(matches!(refusal, Refusal::Resolved { number: 1, .. }), "{refusal}");
    let future = Intended { attempt: 2, ..intent };
    assert!(matches!(host.resolve(&future, answer(&future.request)), Err(Refusal::NeverStarted { number: 2, .. })));
}

#[test]
fn what_may_pass_is_tried_again_when_it_is_due() {
    let mut host = Host::accepted(&steps(1), Terms::default());
    let first = host.open().remove(0);
    host.resolve(&first, failure(FailureClass::ProviderDown)).unwrap();
    assert!(host.open().is_empty());
    let due = host.state.retry_due().unwrap();
    assert!(due > Timestamp::from_micros(host.now));
    host.now = due.micros();
    host.tell(Act::StartReady).unwrap();
    let second = host.open().remove(0);
    assert_eq!((second.attempt, &second.key), (2, &first.key));
    assert!(matches!(host.resolve(&first, answer(&first.request)), Err(Refusal::Resolved { number: 1, .. })));
    host.play();
    let summary = host.state.summary().unwrap();
    assert_eq!((summary.status, summary.retries), (Status::Finished, 1));
}

#[test]
fn a_clock_that_is_set_back_makes_no_retry_wait_longer() {
    let mut host = Host::accepted(&steps(1), Terms::default());
    let intent = host.open().remove(0);
    host.resolve(&intent, failure(FailureClass::Hung)).unwrap();
    let now = Timestamp::from_micros(host.now);
    let (due, wait) = host.state.next_retry(now).unwrap();
    assert_eq!(due.since(now), wait);
    let earlier = Timestamp::from_micros(host.now - 3_600_000_000);
    assert_eq!(host.state.next_retry(earlier), Some((due, wait)), "an hour earlier it is the same wait");
}

#[test]
fn attempts_end_with_the_policy() {
    let mut host = Host::accepted(&steps(1), Terms::default());
    for _ in 0..host.retry.attempts_max {
        let intent = host.open().remove(0);
        host.resolve(&intent, failure(FailureClass::Hung)).unwrap();
        host.now = host.state.retry_due().map_or(host.now, Timestamp::micros);
        if host.state.is_going() {
            host.tell(Act::StartReady).unwrap();
        }
    }
    let Some(End::Failed(failed)) = &host.state.end else { panic!("{:?}", host.state.end) };
    assert_eq!((failed.path.as_str(), failed.class, failed.message.as_str()), ("s0", FailureClass::Hung, "no answer"));
    assert_eq!(host.state.retry_due(), None);
}

#[test]
fn a_lasting_failure_ends_the_run_and_the_rest_is_still_resolved() {
    let text = r#"
name = "two"
[[steps]]
id = "both"
kind = "parallel"
steps = [
  { id = "a", kind = "tool", tool = "context.search" },
  { id = "b", kind = "tool", tool = "context.search" },
]
"#;
    let mut host = Host::accepted(&workflow(text), Terms::default());
    let open = host.open();
    host.resolve(&open[0], failure(FailureClass::Rejected)).unwrap();
    assert_eq!(host.state.status(), Status::Failed);
    host.resolve(&open[1], failure(FailureClass::Hung)).unwrap();
    assert_eq!(host.open(), []);
    assert_eq!(host.state.cost, Money::from_nanos(20));
    assert!(matches!(host.tell(Act::StartReady), Err(Refusal::Ended(Status::Failed))));
}

#[test]
fn a_lost_call_is_charged_and_made_again_at_once() {
    let mut host = Host::accepted(&steps(1), Terms::default());
    for number in 1..5 {
        let attempts = host.open().iter().map(attempt).collect();
        host.lose(attempts).unwrap();
        assert_eq!(host.open()[0].attempt, number + 1);
    }
    assert_eq!(host.state.cost, Money::from_nanos(40));
}

#[test]
fn the_policy_approves_in_the_same_decision() {
    let mut host = Host::accepted(&workflow(POST), Terms::default());
    assert_eq!(host.kinds(), [["run.accepted", "run.approved", "run.intended"]]);
    host.play();
    assert_eq!(host.outputs(), json!({"by": AUTOMATIC}));
}

#[test]
fn a_person_is_asked_once_and_answers_once() {
    let mut host = Host::accepted(&workflow(POST), asking());
    assert_eq!(host.state.status(), Status::Waiting);
    assert_eq!(host.state.asked().next().unwrap().what, "publish?");
    host.tell(Act::StartReady).unwrap();
    assert_eq!(host.appends.len(), 1);
    let yes = || Act::Approve { path: StepPath::from("ok"), by: "ann".to_owned() };
    host.tell(yes()).unwrap();
    assert!(matches!(host.tell(yes()), Err(Refusal::NotAsked(_))));
    host.play();
    assert_eq!(host.outputs(), json!({"by": "ann"}));
}

#[test]
fn a_no_ends_the_run_or_lets_it_go_on() {
    let no = || Act::Reject { path: StepPath::from("ok"), by: "ann".to_owned(), reason: "dull".to_owned() };
    let mut host = Host::accepted(&workflow(POST), asking());
    host.tell(no()).unwrap();
    assert_eq!(host.state.status(), Status::Rejected);
    let text = r#"
name = "gentle"
steps = [{ id = "ok", kind = "approve", what = "publish?", on_reject = "continue" }]
outputs = { approved = "steps.ok.approved" }
"#;
    let mut host = Host::accepted(&workflow(text), asking());
    host.tell(no()).unwrap();
    assert_eq!(host.outputs(), json!({"approved": false}));
}

#[test]
fn a_post_in_doubt_waits_for_a_person() {
    let doubt = || EffectOutcome::Unknown { reason: "the line broke".to_owned() };
    let mut host = Host::accepted(&workflow(POST), Terms::default());
    let intent = host.open().remove(0);
    host.resolve(&intent, doubt()).unwrap();
    assert_eq!(host.state.status(), Status::Parked);
    assert_eq!(host.kinds()[1], ["run.resolved", "run.parked"]);
    let settle = |landed| Act::Settle { key: intent.key.clone(), landed, by: "ann".to_owned() };
    let mut landed = host.clone();
    landed.tell(settle(Some(json!({"text": "there"})))).unwrap();
    assert_eq!(landed.state.status(), Status::Finished);
    assert!(matches!(landed.tell(settle(None)), Err(Refusal::NotInDoubt(_))));
    host.tell(settle(None)).unwrap();
    assert_eq!((host.open()[0].attempt, &host.open()[0].key), (2, &intent.key));
    host.tell(Act::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() }).unwrap();
    let second = host.open().remove(0);
    host.resolve(&second, doubt()).unwrap();
    host.tell(settle(Some(json!({})))).unwrap();
    assert_eq!(host.state.status(), Status::Cancelled);
}

#[test]
fn a_budget_refusal_says_which_scope_and_how_much() {
    let refusal = BudgetRefusal::of_total(ScopeId::Run("r".to_owned()), PRICE, Money::from_nanos(3));
    let mut host = Host::new();
    host.refusal = Some(refusal.clone());
    host.tell(Act::Accept(order(&steps(1), Terms::default()))).unwrap();
    let Some(End::Failed(failed)) = &host.state.end else { panic!("{:?}", host.state.end) };
    assert_eq!((failed.class, failed.refusal.as_ref()), (FailureClass::BudgetSpent, Some(&refusal)));
    assert_eq!(failed.message, refusal.to_string());

    let mut host = Host::new();
    host.refusal = Some(refusal);
    host.tell(Act::Accept(order(&steps(1), Terms { when_spent: WhenSpent::Park, ..Terms::default() }))).unwrap();
    assert_eq!(host.state.status(), Status::Parked);
    host.refusal = None;
    host.tell(Act::Resume { by: "ann".to_owned() }).unwrap();
    assert_eq!(host.open()[0].attempt, 1);
    host.play();
    assert_eq!(host.state.status(), Status::Finished);
}

#[test]
fn a_failed_run_goes_on_from_what_failed_under_the_same_key() {
    let two_posts = POST.replace("[outputs]", "[[steps]]\nid = \"more\"\nkind = \"publish\"\npublisher = \"feed\"\npost = { title = \"'u'\", text = \"'y'\" }\n[outputs]");
    let mut host = Host::accepted(&workflow(&two_posts), Terms::default());
    let first = host.open().remove(0);
    host.resolve(&first, answer(&first.request)).unwrap();
    let failed = host.open().remove(0);
    host.resolve(&failed, failure(FailureClass::Rejected)).unwrap();
    assert_eq!((host.state.status(), host.open().len()), (Status::Failed, 0));

    host.tell(Act::Resume { by: "ann".to_owned() }).unwrap();
    assert_eq!(host.kinds().last().unwrap(), &["run.reopened", "run.intended"]);
    let Some(Event::Reopened(reopened)) = host.appends.last().unwrap().first() else { panic!("{:?}", host.appends) };
    assert_eq!((reopened.spent, reopened.path.as_str()), (Money::from_nanos(20), "more"));
    let again = host.open();
    assert_eq!(again.len(), 1, "what is out is not posted again");
    assert_eq!((&again[0].key, again[0].attempt), (&failed.key, 2));
    host.play();
    assert_eq!(host.state.status(), Status::Finished);
    assert!(host.state.summary().unwrap().failure.is_none());
}

#[test]
fn a_reopened_step_has_all_its_attempts_again() {
    let mut host = Host::accepted(&steps(1), Terms::default());
    for _ in 0..2 {
        for left in (0..host.retry.attempts_max).rev() {
            let intent = host.open().remove(0);
            host.resolve(&intent, failure(FailureClass::Hung)).unwrap();
            assert_eq!(host.state.is_going(), left > 0);
            host.now = host.state.retry_due().map_or(host.now, Timestamp::micros);
            host.tell(if left > 0 { Act::StartReady } else { Act::Resume { by: "ann".to_owned() } }).unwrap();
        }
    }
    host.play();
    assert_eq!(host.state.status(), Status::Finished);
}

#[test]
fn only_a_failed_run_goes_on() {
    let mut host = Host::accepted(&steps(1), Terms::default());
    host.tell(Act::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() }).unwrap();
    let refusal = host.tell(Act::Resume { by: "ann".to_owned() }).unwrap_err();
    assert!(matches!(refusal, Refusal::Ended(Status::Cancelled)), "{refusal}");
    let mut host = Host::accepted(&steps(1), Terms::default());
    host.play();
    assert!(matches!(host.tell(Act::Resume { by: "ann".to_owned() }), Err(Refusal::Ended(Status::Finished))));
}

#[test]
fn a_step_that_cannot_be_evaluated_fails_the_run_and_keeps_the_outcome() {
    let text = r#"
name = "bad"
[[steps]]
id = "a"
kind = "tool"
tool = "context.search"
[[steps]]
id = "b"
kind = "compute"
with = { x = "steps.a.nothing" }
"#;
    let mut host = Host::accepted(&workflow(text), Terms::default());
    host.play();
    assert_eq!(host.kinds()[1], ["run.resolved", "run.failed"]);
    let failure = host.state.summary().unwrap().failure.unwrap();
    assert_eq!(failure, "with.x: `steps.a.nothing` has no value; mend the workflow or its inputs");
}

#[test]
fn a_run_is_accepted_once_and_only_with_its_inputs() {
    let mut host = Host::accepted(&steps(1), Terms::default());
    assert!(matches!(host.tell(Act::Accept(order(&steps(1), Terms::default()))), Err(Refusal::Exists(_))));
    let mut fresh = Host::new();
    assert!(matches!(fresh.tell(Act::StartReady), Err(Refusal::Absent)));
    let text =
        "name = \"t\"\ninputs = { a = { type = \"text\" } }\nsteps = [{ id = \"x\", kind = \"compute\", with = {} }]\n";
    let refusal = fresh.tell(Act::Accept(order(&workflow(text), Terms::default()))).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the inputs do not fit the workflow: the input `a` is required; give it with the run"
    );
}

#[test]
fn a_decision_depends_on_the_ledger_that_granted_it() {
    let ledger = (StreamId::from("ledger/main"), Version(3));
    let mut command = Command::new(Act::Accept(order(&steps(1), Terms::default())));
    let answer = Answer::Reserved { amount: PRICE, scopes: Vec::new(), at: None, condition: Some(ledger.clone()) };
    let grant = |due: Due| Grant {
        path: due.path,
        attempt: due.attempt,
        answer: answer.clone(),
        stand_in: None,
        choice: None,
        call: None,
    };
    command.grants = Run::after(&State::default(), &command).into_iter().map(grant).collect();
    let granted = Run::decide(&State::default(), command.clone()).unwrap();
    assert_eq!(granted.preconditions, [ledger]);
    command.grants.clear();
    assert_eq!(Run::decide(&State::default(), command).unwrap().preconditions, []);
}
