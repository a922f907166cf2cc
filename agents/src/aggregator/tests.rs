use std::sync::Arc;
use std::time::Duration;

use policies::budget::ScopeId;
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::Tokens;
use proptest::prelude::*;
use ractor::{Actor, ActorRef};
use serde_json::json;
use storage::journal::Seq;
use storage::views::memory::MemoryShelves;
use storage::views::{Fold, Shelf, Shelves};

use super::*;
use crate::fixture::{self, Ground};
use crate::run::{EffectOutcome, Event, Failed, Finished, Intended, ModelCall, Reopened, Resolved, Status, Then};
use crate::workflow::{Action, PostDraft, StepPath};

fn shelf() -> Arc<dyn Shelf> {
    MemoryShelves::new().open("figures", Figures::default().version()).unwrap()
}

fn accepted(id: &str, micros: i64) -> Event {
    fixture::accepted(id, Timestamp::from_micros(micros))
}

fn intended(path: &str, attempt: u32) -> Event {
    let scopes = vec![ScopeId::Workspace("main".to_owned())];
    Event::Intended(Arc::new(fixture::intended(path, path, attempt, Money::from_nanos(9), scopes)))
}

fn publishing(path: &str) -> Event {
    let mut intent = fixture::intended(path, path, 1, Money::ZERO, Vec::new());
    intent.request = Action::Publish(PostDraft {
        publisher: "feed".to_owned(),
        title: "Title".to_owned(),
        text: "Text".to_owned(),
        link: None,
    });
    Event::Intended(Arc::new(intent))
}

fn resolved(path: &str, attempt: u32, then: Then) -> Event {
    let outcome = match then {
        Then::Done => EffectOutcome::ok(json!({})),
        _ => EffectOutcome::Unknown { reason: "lost".to_owned() },
    };
    let remote_id = Some("urn:x".to_owned());
    Event::Resolved(Box::new(Resolved {
        outcome,
        then,
        remote_id,
        ..fixture::resolved(path, path, attempt, Money::from_nanos(5))
    }))
}

fn finished(micros: i64) -> Event {
    Event::Finished(Finished { at: Timestamp::from_micros(micros), outputs: Default::default() })
}

async fn start(ground: &Ground, reports: &Reports) -> ActorRef<AggregatorMsg> {
    let arguments =
        AggregatorArguments { journal: ground.journal.clone(), recent: Default::default(), reports: reports.clone() };
    Actor::spawn(None, AggregatorActor::new(ground.world.clone()), arguments).await.unwrap().0
}

async fn restart_of(ground: &mut Ground, child: &str) {
    let payload = json!({"event": "restarting", "child": child, "class": "bug", "generation": 2});
    ground.append("supervision/main", "supervision.restarting", &payload, None).await.unwrap();
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_report_sums_up_each_step_and_each_post() {
    let mut ground = Ground::new(1);
    let reports = Reports::new(shelf());
    start(&ground, &reports).await;
    restart_of(&mut ground, "writer").await;
    let retry = Then::Retry { at: Timestamp::EPOCH };
    for event in [
        accepted("a", 1_000_000),
        intended("posts[0]/write", 1),
        intended("posts[1]/write", 1),
        resolved("posts[0]/write", 1, retry),
        intended("posts[0]/write", 2),
        resolved("posts[0]/write", 2, Then::Done),
        resolved("posts[1]/write", 1, Then::Done),
        publishing("posts[0]/publish"),
        resolved("posts[0]/publish", 1, Then::Done),
        publishing("posts[1]/publish"),
    ] {
        ground.run("a", &event, None).await.unwrap();
    }
    restart_of(&mut ground, "writer").await;
    let seq = ground.run("a", &finished(3_000_000), None).await.unwrap();
    restart_of(&mut ground, "reviewer").await;
    assert!(reports.reach(seq.next(), SECOND).await);

    let report = reports.report("a").unwrap().unwrap();
    assert_eq!((report.run.status, report.restarts, report.run.retries), (Status::Finished, 1, 1));
    assert_eq!((report.run.cost.nanos(), report.run.usage.output), (20, Tokens(12)));
    let write = &report.run.steps[&StepPath::from("posts[0]/write")];
    assert_eq!((write.attempts, write.target.as_str(), write.took), (2, "writer", Span::from_millis(500)));
    assert_eq!(report.posts.len(), 1, "the second post is not out");
    let post = &report.posts[0];
    assert_eq!((post.sums.cost.nanos(), post.post.remote_id.as_deref()), (15, Some("urn:x")));
    assert!(reports.report("b").unwrap().is_none());

    let totals = reports.totals().unwrap();
    assert_eq!((totals.runs, totals.finished, totals.posts, totals.restarts, totals.retries), (1, 1, 1, 3, 1));
    assert_eq!(totals.restarts_by_child["writer"], 2);
}

#[tokio::test(start_paused = true)]
async fn runs_are_listed_page_by_page_the_newest_first() {
    let mut ground = Ground::new(1);
    let reports = Reports::new(shelf());
    start(&ground, &reports).await;
    let mut seq = Default::default();
    for (id, micros) in [("c", 3), ("a", 1), ("b", 2), ("d", 3)] {
        seq = ground.run(id, &accepted(id, micros), None).await.unwrap();
    }
    assert!(reports.reach(seq, SECOND).await);
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = reports.runs(after.as_ref(), 3).unwrap();
        ids.extend(page.runs.into_iter().map(|run| run.id));
        let Some(next) = page.next else { break };
        after = Some(next.to_string().parse().unwrap());
    }
    assert_eq!(ids, ["c", "d", "b", "a"]);
    assert!("xyz".parse::<Cursor>().is_err() && "00".parse::<Cursor>().is_err());
}

#[tokio::test(start_paused = true)]
async fn steps_outside_a_map_belong_to_the_post_beside_them() {
    let mut ground = Ground::new(1);
    let reports = Reports::new(shelf());
    start(&ground, &reports).await;
    ground.run("a", &accepted("a", 1), None).await.unwrap();
    let mut seq = Default::default();
    for path in ["research", "article/draft#1/write", "short/write"] {
        seq = ground.run("a", &intended(path, 1), None).await.unwrap();
        ground.run("a", &resolved(path, 1, Then::Done), None).await.unwrap();
    }
    ground.run("a", &publishing("article/publish"), None).await.unwrap();
    seq = seq.max(ground.run("a", &resolved("article/publish", 1, Then::Done), None).await.unwrap());
    assert!(reports.reach(seq, SECOND).await);
    assert_eq!(reports.report("a").unwrap().unwrap().posts[0].sums.cost.nanos(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_came_to_no_post_has_its_figures_too() {
    let mut ground = Ground::new(1);
    let reports = Reports::new(shelf());
    start(&ground, &reports).await;
    let scopes = || vec![ScopeId::Workspace("main".to_owned())];
    let begun = |path: &str, micros: i64| {
        let intent = fixture::intended(path, path, 1, Money::ZERO, scopes());
        Event::Intended(Arc::new(Intended { at: Timestamp::from_micros(micros), ..intent }))
    };
    let ended = |path: &str, micros: i64| {
        let outcome = fixture::resolved(path, path, 1, Money::from_nanos(5));
        Event::Resolved(Box::new(Resolved { at: Timestamp::from_micros(micros), ..outcome }))
    };
    ground.run("a", &accepted("a", 1), None).await.unwrap();
    for (path, from, to) in [("posts[1]/find", 100, 400), ("posts[1]/write", 300, 900), ("posts[10]/write", 100, 5000)]
    {
        ground.run("a", &begun(path, from), None).await.unwrap();
        ground.run("a", &ended(path, to), None).await.unwrap();
    }
    let seq = ground.run("a", &finished(6000), None).await.unwrap();
    assert!(reports.reach(seq, SECOND).await);
    let run = reports.report("a").unwrap().unwrap().run;
    let sums = run.item("posts", 1).unwrap();
    assert_eq!((sums.time, sums.cost.nanos()), (Span::from(Duration::from_micros(800)), 10));
    assert_eq!(sums.usage.output, Tokens(6));
    assert_eq!(run.item("posts", 2), None);
}

/// An intent of a call of that model by that agent.
fn calls(path: &str, agent: &str, model: &str) -> Event {
    let (provider, counted) = (String::new(), Tokens(7));
    let (model, agent, bound) = (model.to_owned(), agent.to_owned(), Tokens(0));
    let call = ModelCall { model, agent, counted, bound, provider, batch: false };
    let Event::Intended(intent) = intended(path, 1) else { panic!("it is no intent") };
    Event::Intended(Arc::new(Intended { call: Some(call), ..Intended::clone(&intent) }))
}

#[tokio::test(start_paused = true)]
async fn costs_by_whatever_they_are_listed_add_up_to_the_same() {
    let mut ground = Ground::new(1);
    let reports = Reports::new(shelf());
    let actor = start(&ground, &reports).await;
    for id in ["a", "b"] {
        ground.run(id, &accepted(id, 1), None).await.unwrap();
    }
    let mut seq = Default::default();
    for (run, path, agent, model) in [
        ("a", "posts[0]/write", "writer", "large"),
        ("a", "posts[1]/write", "writer", "small"),
        ("b", "posts[0]/write", "writer", "large"),
        ("b", "review", "reviewer", "large"),
    ] {
        ground.run(run, &calls(path, agent, model), None).await.unwrap();
        seq = ground.run(run, &resolved(path, 1, Then::Done), None).await.unwrap();
    }
    // What calls no model is no cost of one.
    ground.run("a", &publishing("publish"), None).await.unwrap();
    seq = seq.max(ground.run("a", &resolved("publish", 1, Then::Done), None).await.unwrap());
    assert!(reports.reach(seq, SECOND).await);
    let lines = |by: CostsBy| {
        let page = reports.costs(by, None, 9).unwrap();
        assert_eq!(page.next, None);
        page.costs.into_iter().map(|line| (line.name, line.cost.calls)).collect::<Vec<_>>()
    };
    let named =
        |lines: &[(&str, u64)]| lines.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect::<Vec<_>>();
    assert_eq!(lines(CostsBy::Agent), named(&[("reviewer", 1), ("writer", 3)]));
    assert_eq!(lines(CostsBy::Model), named(&[("large", 3), ("small", 1)]));
    assert_eq!(lines(CostsBy::Day), named(&[("1970-01-01", 4)]));
    assert_eq!(lines(CostsBy::Run), named(&[("a", 2), ("b", 2)]));
    let steps = lines(CostsBy::Step);
    assert_eq!(steps.iter().map(|(_, calls)| calls).collect::<Vec<_>>(), [&3, &1]);
    assert!(steps[0].0.ends_with(":posts/write") && steps[1].0.ends_with(":review"), "{steps:?}");
    for by in [CostsBy::Agent, CostsBy::Model, CostsBy::Day, CostsBy::Run, CostsBy::Step] {
        let costs = reports.costs(by, None, 9).unwrap().costs;
        assert_eq!(costs.iter().map(|line| line.cost.cost.nanos()).sum::<u64>(), 20, "{by}");
    }
    // Page by page, and for one run.
    let first = reports.costs(CostsBy::Agent, None, 1).unwrap();
    assert_eq!((first.costs[0].name.as_str(), first.next.as_deref()), ("reviewer", Some("reviewer")));
    assert_eq!(reports.costs(CostsBy::Agent, first.next.as_deref(), 1).unwrap().costs[0].name, "writer");
    let of = reports.costs_of("a", None, 1).unwrap().unwrap();
    assert_eq!((of.costs[0].name.as_str(), of.next.as_deref()), ("posts[0]/write", Some("posts[0]/write")));
    let rest = reports.costs_of("a", of.next.as_deref(), 9).unwrap().unwrap();
    assert_eq!((rest.costs[0].name.as_str(), rest.costs.len(), rest.next), ("posts[1]/write", 1, None));
    assert_eq!(reports.costs_of("nobody", None, 9).unwrap(), None);
    // A fold that starts anew counts nothing twice.
    actor.kill();
    let _anew = start(&ground, &reports).await;
    seq = ground.run("b", &calls("again", "writer", "small"), None).await.unwrap();
    seq = seq.max(ground.run("b", &resolved("again", 1, Then::Done), None).await.unwrap());
    assert!(reports.reach(seq, SECOND).await);
    assert_eq!(lines(CostsBy::Model), named(&[("large", 3), ("small", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_that_goes_on_is_counted_once() {
    let mut ground = Ground::new(1);
    let reports = Reports::new(shelf());
    start(&ground, &reports).await;
    let (at, path) = (Timestamp::from_micros(2), StepPath::from("write"));
    let message = "no".to_owned();
    let failed = Failed { at, path: path.clone(), class: FailureClass::Rejected, message, refusal: None };
    let reopened = Reopened { at, path, by: "me".to_owned(), spent: Money::ZERO, cost_max: None, ended: None };
    let mut seq = Default::default();
    for event in [
        accepted("a", 1),
        intended("write", 1),
        resolved("write", 1, Then::GiveUp),
        Event::Failed(failed),
        Event::Reopened(reopened),
    ] {
        seq = ground.run("a", &event, None).await.unwrap();
    }
    assert!(reports.reach(seq, SECOND).await);
    let run = reports.report("a").unwrap().unwrap().run;
    assert_eq!((run.status, run.finished, run.failure), (Status::Running, None, None));
    assert_eq!(reports.moving().unwrap(), ["a"]);
    assert_eq!(reports.totals().unwrap().unfinished, 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_stops_it_before_the_figures_are_wrong() {
    let mut ground = Ground::new(1);
    let reports = Reports::new(shelf());
    let actor = start(&ground, &reports).await;
    let seq = ground.run("a", &accepted("a", 1), None).await.unwrap();
    ground.append("run/a", "run.unheard_of", &json!({"unheard_of": 1}), None).await.unwrap();
    actor.wait(None).await.unwrap();
    assert!(reports.reached.get().0 <= seq.0);
}

#[tokio::test(start_paused = true)]
async fn what_the_fold_keeps_in_mind_does_not_show() {
    let mut ground = Ground::new(1);
    restart_of(&mut ground, "writer").await;
    for id in ["a", "b"] {
        ground.run(id, &accepted(id, 1), None).await.unwrap();
    }
    ground.append("ledger/main", "ledger.opened", &json!({}), None).await.unwrap();
    for (id, event) in [
        ("a", intended("write", 2)),
        ("b", publishing("publish")),
        ("a", resolved("write", 2, Then::Park)),
        ("b", resolved("publish", 1, Then::Done)),
        ("a", intended("write", 3)),
        ("b", finished(9)),
    ] {
        ground.run(id, &event, None).await.unwrap();
    }
    let events = ground.journal.read(Seq::ZERO.next(), 99).unwrap();
    let (shelf, mut figures) = (shelf(), Figures::default());
    for event in &events {
        let step = std::slice::from_ref(event);
        let in_mind = figures.apply(shelf.as_ref(), step).unwrap();
        let not_taken_before = figures.apply(shelf.as_ref(), step).unwrap();
        let fresh = Figures::default().apply(shelf.as_ref(), step).unwrap();
        assert_eq!((&in_mind, &not_taken_before), (&fresh, &fresh), "{}", event.kind);
        shelf.apply(&fresh, event.seq).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_event_counts_once_over_any_restarts(
        events in prop::collection::vec((0..3_usize, 0..4_u32, any::<bool>()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut ground = Ground::new(3);
            let (broken, whole) = (Reports::new(shelf()), Reports::new(shelf()));
            let mut actor = start(&ground, &broken).await;
            for run in 0..3 {
                ground.run(&run.to_string(), &accepted(&run.to_string(), 1 + run), None).await.unwrap();
            }
            for (run, what, restart) in events {
                let id = run.to_string();
                match what {
                    0 => ground.run(&id, &intended("write", 2), None).await.unwrap(),
                    1 => ground.run(&id, &resolved("write", 1, Then::Done), None).await.unwrap(),
                    2 => ground.run(&id, &publishing("publish"), None).await.unwrap(),
                    _ => ground.run(&id, &resolved("publish", 1, Then::Done), None).await.unwrap(),
                };
                restart_of(&mut ground, &id).await;
                if restart {
                    actor.kill();
                    actor = start(&ground, &broken).await;
                }
            }
            start(&ground, &whole).await;
            let head = ground.journal.head();
            assert!(broken.reach(head, SECOND).await && whole.reach(head, SECOND).await);
            assert_eq!(broken.totals().unwrap(), whole.totals().unwrap());
            assert_eq!(broken.runs(None, 9).unwrap(), whole.runs(None, 9).unwrap());
        });
    }
}
