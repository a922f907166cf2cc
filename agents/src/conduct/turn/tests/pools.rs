//! Talks with the models of a pool: they keep to one, move on when it goes out, and lose nothing by it.

use policies::choice::{Choose, PoolPolicy};
use policies::fallback::Outage;
use policies::guard::GuardPolicy;
use policies::span::Span;

use super::*;

fn pooled(choose: Choose) -> AgentTerms {
    let models = ["dear", "cheap"].map(str::to_owned).to_vec();
    AgentTerms { pool: Some(Arc::new(PoolPolicy { models, choose, quality_min: None })), ..AgentTerms::default() }
}

/// Asks for two pages, and is down when it is to go on with them.
fn falls() -> Scripted {
    let down = Answer::fail(FailureClass::ProviderDown);
    Scripted::new("cheap")
        .when("Write more.", [Answer::say("More of lamps.")])
        .when("the desk is green", [down])
        .otherwise([Answer::Use(vec![fetch("lamp"), fetch("desk")])])
}

/// Goes on with what another has asked for, after so long.
fn goes_on(after: Duration) -> Scripted {
    let late = Answer::Late(after, "The lamp is blue.".to_owned());
    Scripted::new("dear").when("the desk is green", [late]).otherwise([Answer::Refuse("not me".to_owned())])
}

async fn moving(after: Duration) -> House {
    let writer = ("writer", script(), kit(&["http.fetch"]));
    let named = vec![("cheap", falls()), ("dear", goes_on(after))];
    let house = House::of(vec![writer], Vec::new(), named, pooled(Choose::Cheapest)).await;
    let mut guards = policies::guard::Guards::default();
    let mut guard = GuardPolicy::default();
    (guard.breaker.failures, guard.breaker.open) = (2, Span::from_secs(10));
    guards.set("default", guard);
    house.stage.guards.govern(guards);
    house
}

/// Another step after the first, whose talk is a new one.
const MORE: &str =
    "[[steps]]\nid = \"more\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"Write more.\"\noutput_max = 20";

impl House {
    /// Each call of a model: its path, the model, and why not the first.
    fn spoken(&self) -> Vec<(String, String, Option<Outage>)> {
        let spoken = |event| match event {
            Event::Intended(intent) => {
                let choice = intent.choice.clone()?;
                let first = choice.considered.first().and_then(|first| first.out.clone());
                Some((intent.path.to_string(), choice.model.clone(), first))
            }
            _ => None,
        };
        self.events().into_iter().filter_map(spoken).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_talk_whose_model_goes_out_goes_on_with_the_next_and_the_next_talk_has_it_back() {
    // Longer than a breaker is open.
    let house = moving(Duration::from_secs(12)).await;
    assert_eq!(house.says(MORE).await, "The lamp is blue.");
    let call = |path: &str, model: &str, out: Option<Outage>| (path.to_owned(), model.to_owned(), out);
    let open = Outage::Breaker { guard: "model/cheap".to_owned() };
    assert_eq!(
        house.spoken(),
        [
            call("write", "cheap", None),
            call("write@2", "cheap", None),
            call("write@2", "cheap", None),
            call("write@2", "dear", Some(open)),
            call("more", "cheap", None),
        ]
    );
    // What was asked of the one that went on: the same talk, the tools' answers included.
    let events = house.events();
    let asked: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Intended(intent) if intent.path.as_str() == "write@2" => Some((&intent.key, &intent.request)),
            _ => None,
        })
        .collect();
    assert!(asked.windows(2).all(|pair| pair[0] == pair[1]), "it is the same effect, whoever makes it");
    assert_eq!(house.calls("dear"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_talk_keeps_to_its_model_though_another_would_be_chosen_by_now() {
    let own = Scripted::new("dear")
        .when("the desk is green", [Answer::say("The lamp is blue.")])
        .otherwise([Answer::Use(vec![fetch("lamp"), fetch("desk")])]);
    let other = Scripted::new("cheap").otherwise([Answer::say("More of lamps.")]);
    let writer = ("writer", script(), kit(&["http.fetch"]));
    let named = vec![("cheap", other), ("dear", own)];
    let house = House::of(vec![writer], Vec::new(), named, pooled(Choose::Fastest)).await;
    assert_eq!(house.says(MORE).await, "The lamp is blue.");
    let models: Vec<(String, String)> = house.spoken().into_iter().map(|(path, model, _)| (path, model)).collect();
    let call = |path: &str, model: &str| (path.to_owned(), model.to_owned());
    // After its first turn the other one is the one that nothing is known of.
    assert_eq!(models, [call("write", "dear"), call("write@2", "dear"), call("more", "cheap")]);
    let kept: Vec<bool> = house
        .events()
        .iter()
        .filter_map(|event| if let Event::Intended(intent) = event { intent.choice.as_ref() } else { None })
        .map(|choice| choice.kept)
        .collect();
    assert_eq!(kept, [false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_talk_that_changes_its_model_may_be_killed_at_any_point() {
    let soon = Duration::from_millis(50);
    let whole = moving(soon).await;
    let answer = whole.says("").await;
    let events = whole.events().len();
    assert!(events > 12, "{events}");
    for after in 1..events {
        let house = moving(soon).await;
        let run = house.accept("", ApprovalPolicy::default()).await;
        house.until(|house| house.events().len() >= after).await;
        house.kill(&run).await;
        let known = house.spoken();
        let _run = house.up().await;
        house.until(|house| house.state().end.is_some()).await;
        let Some(End::Finished { outputs }) = house.state().end else { panic!("{:?}", house.state().end) };
        assert_eq!(outputs["text"], answer.as_str(), "killed after event {after}");
        let done = ledger_of(&house.events());
        assert!(done.values().all(|(_, ok)| *ok == 1) && done.len() == 4, "after {after}: {done:?}");
        assert!(house.spoken().starts_with(&known), "what was chosen stays chosen");
    }
}
