//! A talk that is too long to be heard whole: what is sent, what is recorded, and what a crash changes, which is
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actors::entity::Entity;
use policies::approval::ApprovalPolicy;
use policies::failure::FailureClass;
use policies::history::{HistoryPolicy, How};
use policies::tokens::Tokens;

use super::{House, Member, fetch, kit, ledger_of, script};
use crate::agent::Kit;
use crate::model::{Ability, Block};
use crate::run::{End, Event, Run, State};
use crate::scripted::{Answer, Scripted};
use crate::workflow::{Action, StepPath};

/// The pages that lead from one to the next.
const PAGES: usize = 8;

/// Follows the pages to the last one, whatever it still hears of those before.
fn follower() -> Scripted {
    let follow = |script: Scripted, page: usize| {
        script.when(format!("go to p{page}."), [Answer::Use(vec![fetch(&format!("p{page}"))])])
    };
    let script = (2..=PAGES).rev().fold(script().when("this is the end", [Answer::say("The lamp is blue.")]), follow);
    script.otherwise([Answer::Use(vec![fetch("p1")])])
}

fn scribe() -> Scripted {
    script().when("It is nothing but a record", [Answer::say("Pages were read.")])
}

fn policy(how: How) -> HistoryPolicy {
    let by = (how == How::Summarise).then(|| "reviewer".to_owned());
    HistoryPolicy { keep_last: 2, how, by, summary_max: Tokens(20), ..HistoryPolicy::of(Tokens(500)) }
}

fn members(how: How, scribe: Scripted) -> Vec<Member> {
    let history = Some(policy(how));
    vec![
        ("writer", follower(), Kit { history, turns_max: 20, ..kit(&["http.fetch"]) }),
        ("reviewer", scribe, Kit::default()),
    ]
}

/// What was asked in each turn of the writer, and in each summary, by its path.
fn asked(house: &House) -> BTreeMap<String, String> {
    let mut asked = BTreeMap::new();
    for event in house.events() {
        let Event::Intended(intent) = event else { continue };
        if let Some(before) = asked.insert(intent.path.to_string(), intent.request_hash.clone()) {
            assert_eq!(before, intent.request_hash, "{} asks for something else than before", intent.path);
        }
    }
    asked
}

#[tokio::test(start_paused = true)]
async fn a_long_talk_is_cut_and_its_intents_say_only_what_is_new() {
    let house = House::new(members(How::Trim, script())).await;
    assert_eq!(house.says("").await, "The lamp is blue.");
    assert_eq!(house.paths().len(), 2 * PAGES + 1);
    let sizes = house.events().into_iter().filter_map(|event| match event {
        Event::Intended(intent) if matches!(intent.request, Action::Agent(_)) => {
            Some(serde_json::to_vec(&intent).unwrap().len())
        }
        _ => None,
    });
    let sizes: Vec<usize> = sizes.collect();
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(most - least < 200, "no intent repeats the talk: {sizes:?}");
    // A turn that hears less is counted, and reserved for, as what it hears.
    let counted = house.events().into_iter().filter_map(|event| match event {
        Event::Intended(intent) => intent.call.as_ref().map(|call| call.counted.0),
        _ => None,
    });
    let counted: Vec<u64> = counted.collect();
    assert!(counted.windows(2).any(|two| two[1] < two[0]), "{counted:?}");
    let whole = House::new(vec![("writer", follower(), Kit { turns_max: 20, ..kit(&["http.fetch"]) })]).await;
    assert_eq!(whole.says("").await, "The lamp is blue.");
    assert_ne!(asked(&whole)["write@9"], asked(&house)["write@9"]);
    assert_eq!(asked(&whole)["write@2"], asked(&house)["write@2"], "nothing is cut before it has to be");
}

#[tokio::test(start_paused = true)]
async fn what_a_step_shows_and_wants_is_recorded_once_and_holds_in_each_turn() {
    let said = [Answer::Use(vec![fetch("lamp")]), Answer::say("It is blue."), Answer::say("{\"colour\":\"blue\"}")];
    let writer = script().without(&[Ability::Schema]).when("[image/png]", said);
    let house = House::new(vec![("writer", writer, kit(&["http.fetch"]))]).await;
    let lines = "images = [\"{{ 'data:image/png;base64,AAAA' }}\"]\n\
                 schema = { type = \"object\", properties = { colour = { type = \"string\" } }, required = [\"colour\"] }";
    assert_eq!(house.says(lines).await, "{\"colour\":\"blue\"}");
    let intents = house.events().into_iter().filter_map(|event| match event {
        Event::Intended(intent) => Some((intent.path.to_string(), serde_json::to_string(&intent.request).unwrap())),
        _ => None,
    });
    let intents: BTreeMap<String, String> = intents.collect();
    let has = |path: &str| (intents[path].contains("AAAA"), intents[path].contains("colour"));
    assert_eq!((has("write"), has("write@2")), ((true, true), (false, false)));
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_asked_for_once_for_each_cut_and_is_heard_from_then_on() {
    let house = House::new(members(How::Summarise, scribe())).await;
    assert_eq!(house.says("").await, "The lamp is blue.");
    let summaries: Vec<String> = house.paths().into_iter().filter(|path| path.ends_with('~')).collect();
    assert!(summaries.len() > 1 && summaries.len() < PAGES / 2, "{summaries:?}");
    assert_eq!(house.calls("reviewer"), summaries.len() as u64);
    let scribe = house.events().into_iter().find_map(|event| match event {
        Event::Intended(intent) if intent.path.as_str() == summaries[1] => Some(intent.request.clone()),
        _ => None,
    });
    let Some(Action::Agent(call)) = scribe else { panic!("no summary was asked for") };
    assert_eq!((call.agent.as_str(), call.output_max), ("reviewer", Tokens(20)));
    assert!(call.prompt.contains("Write of lamps.") && call.prompt.contains("Pages were read."), "{}", call.prompt);
    // The last turn hears of the first pages by the summary alone.
    let state = house.state();
    let last = StepPath::from("write").turn(u32::try_from(PAGES).unwrap() + 1);
    assert_eq!(*state.outcomes[&last], serde_json::json!({ "text": "The lamp is blue." }));
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_fails_has_the_turns_go_without() {
    for scribe in [
        script().otherwise([Answer::fail(FailureClass::Rejected)]),
        script().otherwise([Answer::say("  ")]),
        script().otherwise([Answer::Refuse("no".to_owned())]),
    ] {
        let house = House::new(members(How::Summarise, scribe)).await;
        assert_eq!(house.says("").await, "The lamp is blue.");
    }
}

#[tokio::test(start_paused = true)]
async fn a_summarised_talk_that_is_killed_at_any_point_asks_the_same_and_nothing_twice() {
    let whole = House::new(members(How::Summarise, scribe())).await;
    let answer = whole.says("").await;
    let (events, hashes) = (whole.events().len(), asked(&whole));
    assert!(hashes.keys().any(|path| path.ends_with('~')));
    for after in 1..events {
        let house = House::new(members(How::Summarise, scribe())).await;
        let run = house.accept("", ApprovalPolicy::default()).await;
        house.until(|house| house.events().len() >= after).await;
        tokio::time::sleep(Duration::from_millis((after % 3) as u64 * 20)).await;
        house.kill(&run).await;
        house.restart_writer().await;
        let _run = house.up().await;
        house.until(|house| house.state().end.is_some()).await;
        let Some(End::Finished { outputs }) = house.state().end else { panic!("{:?}", house.state().end) };
        assert_eq!(outputs["text"], answer.as_str(), "killed after event {after}");
        assert_eq!(asked(&house), hashes, "killed after event {after}");
        assert!(ledger_of(&house.events()).values().all(|(_, ok)| *ok == 1), "killed after event {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_left_out_is_said_below_the_order() {
    let house = House::new(members(How::Trim, script())).await;
    house.says("").await;
    let mut state = State::default();
    let mut notes = BTreeSet::new();
    for event in house.events() {
        Run::evolve(&mut state, &event);
        let Event::Intended(intent) = &event else { continue };
        let request = state.request(&intent.key, &intent.request);
        let Action::Agent(call) = &*request else { continue };
        let sent = house.stage.agents["writer"].spec().request(call);
        assert_eq!(crate::workflow::canonical::hash(&*request).to_hex().as_str(), intent.request_hash);
        assert!(sent.messages.windows(2).all(|two| two[0].role != two[1].role), "the roles alternate");
        notes.extend(sent.messages[0].content.iter().skip(1).filter_map(Block::as_text).map(str::to_owned));
    }
    assert!(notes.iter().any(|note| note.contains("turns of this talk were left out")), "{notes:?}");
}
