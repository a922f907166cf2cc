use std::sync::{Arc, Mutex};

use actors::transport::{self, Transport};
use actors::world::World;
use agents::run::{Cancelled, EffectKey, Intended, Resolved, Resumed, RunId, Then};
use agents::workflow::{EffectClass, PostDraft, StepPath};
use axum::body::Bytes;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::Usage;

use super::*;
use crate::aims::{Invariant, Sometimes};
use crate::checkers::{check, reached};
use crate::history::{History, Sighting};
use crate::kill9::{Kill9Options, plan};
use crate::ledger::Ledger;

/// What was sent to a program: method, path and body.
type Sent = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A program that answers from a function of method and path.
fn program(answer: impl Fn(&str, &str) -> (u16, Value) + Send + Sync + 'static) -> (Arc<dyn Transport>, Sent) {
    let sent = Sent::default();
    let ear = Arc::clone(&sent);
    let server = transport::scripted(move |request: http::Request<Bytes>| {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let (status, body) = answer(&method, &path);
        ear.lock().unwrap().push((method, path, serde_json::from_slice(request.body()).unwrap_or_default()));
        let response = http::Response::builder().status(status).body(transport::body(body.to_string())).unwrap();
        async move { Ok(response) }
    });
    (server, sent)
}

struct Play {
    folder: tempfile::TempDir,
    world: World,
    witness: Witness,
    plan: Plan,
}

impl Play {
    fn new() -> Self {
        let world = World::simulated(1, transport::unplugged());
        Self {
            folder: tempfile::tempdir().unwrap(),
            witness: Witness::new(world.clone()),
            world,
            plan: plan(&Kill9Options { cycles: 1, runs: 1, ..Kill9Options::default() }),
        }
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("platform.jsonl")
    }

    /// So many rounds of a client, the run being taken on before.
    async fn rounds(&self, rounds: usize, http: &Arc<dyn Transport>) {
        let api = Api::new(Arc::clone(http), "http://here".to_owned());
        let mut client = Client::new(&self.plan, &self.witness, Manner::beside(self.ledger()));
        for _ in 0..rounds {
            client.ask(&api, 0).await;
            client.follow(&api).await;
        }
    }

    fn history(self) -> History {
        self.witness.close(self.plan, Money::MAX, Vec::new(), Vec::new()).unwrap()
    }
}

fn saw(history: &History, wanted: impl Fn(&Seen) -> bool) -> usize {
    history.seen.iter().filter(|Sighting { what, .. }| wanted(what)).count()
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_settled_by_the_platforms_ledger() {
    for there in [false, true] {
        let play = Play::new();
        if there {
            let posted = platform::Entry::Posted { key: "k".to_owned(), content: "c".to_owned(), id: "7".to_owned() };
            Ledger::open(&play.ledger(), play.world.clone()).unwrap().write(posted).unwrap();
        }
        let (http, sent) = program(|method, path| match (method, path) {
            ("POST", "/v1/runs") => (201, json!({ "id": "r" })),
            ("GET", _) => {
                let doubt = json!({ "path": "p", "key": "k", "hold": { "doubt": { "reason": "lost" } } });
                let budget = json!({ "path": "q", "key": "l", "hold": { "budget": {} } });
                (200, json!({ "status": "parked", "parked": [doubt, budget] }))
            }
            _ => (200, json!({})),
        });
        play.rounds(1, &http).await;
        let wanted =
            if there { json!({ "key": "k", "done": true, "id": "7" }) } else { json!({ "key": "k", "done": false }) };
        let last = sent.lock().unwrap().last().cloned().unwrap();
        assert_eq!(last, ("POST".to_owned(), "/v1/runs/r/settlements".to_owned(), wanted));
        let history = play.history();
        assert_eq!(saw(&history, |seen| matches!(seen, Seen::Held { run, key } if run == "r" && key == "k")), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_with_yes_until_it_is_gone_and_told_once() {
    let play = Play::new();
    let (http, sent) = program(|method, path| match (method, path) {
        ("POST", "/v1/runs") => (200, json!({ "id": "r" })),
        ("GET", _) => (200, json!({ "status": "waiting", "approvals": [{ "path": "p", "what": "?" }] })),
        _ => (503, json!({})),
    });
    play.rounds(100, &http).await;
    let yes = ("POST".to_owned(), "/v1/runs/r/approvals".to_owned(), json!({ "path": "p", "approved": true }));
    assert!(sent.lock().unwrap().iter().filter(|sent| **sent == yes).count() > 1);
    let history = play.history();
    assert_eq!(saw(&history, |seen| matches!(seen, Seen::Questioned { .. })), 1);
    assert_eq!(saw(&history, |seen| matches!(seen, Seen::Approved { .. })), 1);
    assert_eq!(history.broken, None);
}

#[tokio::test(start_paused = true)]
async fn some_questions_wait_while_the_program_dies() {
    let play = Play::new();
    let (http, _) = program(|method, path| match (method, path) {
        ("POST", "/v1/runs") => (200, json!({ "id": "r" })),
        ("GET", _) => {
            let asked: Vec<_> = (0..20).map(|nth| json!({ "path": format!("p{nth}"), "what": "?" })).collect();
            (200, json!({ "status": "waiting", "approvals": asked }))
        }
        _ => (200, json!({})),
    });
    let api = Api::new(Arc::clone(&http), "http://here".to_owned());
    let mut client = Client::new(&play.plan, &play.witness, Manner::beside(play.ledger()));
    for round in 0..100 {
        client.ask(&api, 0).await;
        client.follow(&api).await;
        if round == 3 {
            play.witness.see(Seen::Crashed { point: None, loss: crate::fault::Loss::KeepAll });
        }
    }
    drop(client);
    let history = play.history();
    assert!(reached(Sometimes::ApprovalWaitedOverCrash, &history));
    assert_eq!(saw(&history, |seen| matches!(seen, Seen::Approved { .. })), 20);
}

#[test]
fn a_post_that_is_on_its_way_is_not_settled_before_it_is_out() {
    let coming = || platform::Entry::Coming { key: "k".to_owned() };
    let out = || platform::Entry::Posted { key: "k".to_owned(), content: String::new(), id: "7".to_owned() };
    let standing = |entries: Vec<platform::Entry>| standing(entries.into_iter(), "k");
    assert!(matches!(standing(vec![coming()]), Standing::Coming));
    assert!(matches!(standing(vec![coming(), out()]), Standing::Out(id) if id == "7"));
    assert!(matches!(standing(Vec::new()), Standing::Nowhere));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_asked_for_until_it_is_acknowledged() {
    let play = Play::new();
    let asked = Mutex::new(0);
    let (http, _) = program(move |_, path| {
        let mut asked = asked.lock().unwrap();
        *asked += u32::from(path == "/v1/runs");
        if *asked < 3 { (503, json!({})) } else { (200, json!({ "id": "r", "status": "running" })) }
    });
    play.rounds(3, &http).await;
    let history = play.history();
    assert_eq!(saw(&history, |seen| matches!(seen, Seen::Refused { status: 503, .. })), 2);
    assert!(saw(&history, |seen| matches!(seen, Seen::Acknowledged { run, .. } if run == "r")) > 0);
    let orders = history.seen.iter().filter_map(|sighting| match &sighting.what {
        Seen::Asked { order, .. } => Some(order),
        _ => None,
    });
    assert_eq!(orders.collect::<BTreeSet<_>>().len(), 1, "the same is asked each time");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_forgotten_taken_on_again_or_refused_for_good_breaks_the_play() {
    let play = Play::new();
    let lost = |method: &str, _: &str| if method == "POST" { (201, json!({ "id": "r" })) } else { (404, json!({})) };
    play.rounds(1, &program(lost).0).await;
    let history = play.history();
    let forgotten = check(Invariant::AcknowledgedSurvives, &history);
    assert!(forgotten.iter().any(|violation| violation.message.contains("answered with 404")), "{forgotten:?}");
    assert!(history.broken.unwrap().contains("is not known afterwards"));

    let play = Play::new();
    let new =
        |method: &str, _: &str| (if method == "POST" { 201 } else { 200 }, json!({ "id": "r", "status": "running" }));
    play.rounds(100, &program(new).0).await;
    let history = play.history();
    assert!(!check(Invariant::AcknowledgedSurvives, &history).is_empty());
    assert!(history.broken.unwrap().contains("taken on as new afterwards"));

    let play = Play::new();
    play.rounds(1, &program(|_, _| (422, json!({ "detail": "no" }))).0).await;
    assert!(play.history().broken.unwrap().contains("422"));
}

#[test]
fn what_a_run_has_made_is_what_its_events_say() {
    let at = Timestamp::EPOCH;
    let draft = PostDraft { publisher: "board".to_owned(), title: String::new(), text: String::new(), link: None };
    let path = |name: &str| serde_json::from_value::<StepPath>(json!(name)).unwrap();
    let key = |name: &str| EffectKey::of(&RunId::new("r"), &path(name), &Action::Publish(draft.clone()));
    let intended = |name: &str| {
        Event::Intended(std::sync::Arc::new(Intended {
            at,
            key: key(name),
            path: path(name),
            attempt: 1,
            class: EffectClass::Reconcile,
            request: Action::Publish(draft.clone()),
            request_hash: String::new(),
            reserved: Money::ZERO,
            scopes: Vec::new(),
            granted: None,
            stand_in: None,
            choice: None,
            call: None,
        }))
    };
    let resolved = |name: &str, outcome| {
        Event::Resolved(Box::new(Resolved {
            at,
            key: key(name),
            path: path(name),
            attempt: 1,
            outcome,
            cost: Money::ZERO,
            usage: Usage::default(),
            remote_id: None,
            took: Span::ZERO,
            then: Then::Done,
            death: None,
            replied: None,
        }))
    };
    let ok = || EffectOutcome::ok(json!({}));
    let unknown = || EffectOutcome::Unknown { reason: String::new() };
    let landed = |name: &str| {
        let settled = Settled::Landed { output: json!({}) };
        Event::Resumed(Resumed { at, path: path(name), by: String::new(), settled })
    };
    let end = Event::Cancelled(Cancelled { at, by: String::new(), reason: String::new() });
    let mut events = vec![
        intended("a"),
        intended("b"),
        intended("c"),
        resolved("a", ok()),
        resolved("b", unknown()),
        resolved("c", unknown()),
        landed("c"),
        // What is no post of this run is none.
        resolved("d", ok()),
    ];
    assert_eq!(posts_of(events.clone().into_iter()), None, "it has not ended");
    events.push(end);
    let wanted = ["a", "c"].map(|name| key(name).as_str().to_owned());
    assert_eq!(posts_of(events.into_iter()).unwrap(), wanted);
}
