//! What becomes of a step that kills whoever carries it out.

use actors::letters::{Event as Letters, LetterId};
use policies::poison::Then as PoisonThen;

use super::*;
use crate::workflow::StepPath;

const TWO: &str = r#"
name = "two"
[[steps]]
id = "both"
kind = "parallel"
steps = [
    { id = "bad", kind = "tool", tool = "context.search", with = { n = 1 } },
    { id = "good", kind = "tool", tool = "context.search", with = { n = 2 } },
]
[outputs]
last = "steps.both.bad.text"
"#;

const ONCE: &str = r#"
name = "once"
[[steps]]
id = "mail"
kind = "tool"
tool = "mail.send"
[outputs]
done = "steps.mail.text"
"#;

fn step(host: &Host, name: &str) -> Intended {
    host.open().into_iter().find(|intent| intent.path.as_str().ends_with(name)).unwrap()
}

/// A run of which one step has killed so often that it is a dead letter.
fn buried() -> (Host, LetterId) {
    let mut host = Host::accepted(&workflow(TWO), Terms::default());
    for _ in 0..host.poison.deaths {
        let bad = step(&host, "bad");
        host.kill(&bad, true).unwrap();
    }
    let [Letters::Dead(letter)] = host.letters.as_slice() else { panic!("{:?}", host.letters) };
    let id = letter.id.clone();
    (host, id)
}

#[test]
fn a_step_that_kills_too_often_is_held_with_its_history_and_the_others_go_on() {
    let (mut host, id) = buried();
    let letters = host.letters.clone();
    let [Letters::Dead(letter)] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.stream.as_str(), letter.what.as_str(), letter.child.as_str()), ("run/r", "both/bad", "writer"));
    assert_eq!(letter.deaths.len(), 3);
    assert!(letter.deaths.iter().all(|death| death.certain && death.class == FailureClass::Bug));
    assert!(letter.content["tool"]["tool"] == "context.search" && !letter.in_doubt, "{letter:?}");
    // In one append with the last outcome, so that neither is there without the other.
    assert_eq!(host.kinds().last().unwrap(), &["run.resolved", "run.parked"]);
    let (path, _, hold) = host.state.parked().next().unwrap();
    assert_eq!((path.as_str(), hold.letter()), ("both/bad", Some(&id)));
    assert_eq!(host.state.status(), Status::Running);
    let good = step(&host, "good");
    host.resolve(&good, answer(&good.request)).unwrap();
    assert_eq!((host.state.status(), host.open().len()), (Status::Parked, 0));
    // Each of its calls is charged once.
    assert_eq!(host.state.cost, Money::from_nanos(40));
}

#[test]
fn a_letter_that_is_replayed_may_kill_as_often_again_and_a_second_replay_is_told() {
    let (mut host, id) = buried();
    let replay = |letter: &LetterId| Act::Replay { letter: letter.clone(), by: "ann".to_owned() };
    host.tell(replay(&id)).unwrap();
    assert!(matches!(host.tell(replay(&id)), Err(Refusal::NoLetter(_))));
    assert!(matches!(host.letters.last(), Some(Letters::Replayed { by, .. }) if by == "ann"));
    let bad = step(&host, "bad");
    assert_eq!(bad.attempt, 4);
    host.kill(&bad, true).unwrap();
    assert_eq!(step(&host, "bad").attempt, 5, "it is not poison at once");
    host.play();
    assert_eq!(host.state.status(), Status::Finished);
}

#[test]
fn a_letter_that_is_discarded_fails_its_step_as_poison_and_the_run_can_be_resumed() {
    let (mut host, letter) = buried();
    let discard = Act::Discard { letter: letter.clone(), by: "ann".to_owned(), reason: "no use".to_owned() };
    host.tell(discard.clone()).unwrap();
    let Some(End::Failed(failed)) = &host.state.end else { panic!("{:?}", host.state.end) };
    assert_eq!((failed.class, failed.path.as_str()), (FailureClass::Poison, "both/bad"));
    assert!(failed.message.contains("no use"), "{}", failed.message);
    assert!(matches!(host.tell(discard), Err(Refusal::NoLetter(_))));
    assert!(matches!(host.letters.last(), Some(Letters::Discarded { id, .. }) if *id == letter));
    host.tell(Act::Resume { by: "ann".to_owned() }).unwrap();
    host.play();
    assert_eq!(host.state.status(), Status::Finished);
}

#[test]
fn a_letter_of_a_run_that_ended_can_be_discarded_and_not_replayed() {
    let (mut host, letter) = buried();
    host.tell(Act::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() }).unwrap();
    let by = || "ann".to_owned();
    assert!(matches!(host.tell(Act::Replay { letter: letter.clone(), by: by() }), Err(Refusal::Ended(_))));
    host.tell(Act::Discard { letter, by: by(), reason: String::new() }).unwrap();
    assert_eq!((host.state.status(), host.state.parked().count()), (Status::Cancelled, 0));
}

#[test]
fn what_may_have_been_done_is_settled_and_never_replayed() {
    let mut host = Host::accepted(&workflow(ONCE), Terms::default());
    host.poison.deaths = 1;
    let mail = host.open().remove(0);
    host.kill(&mail, true).unwrap();
    let [Letters::Dead(letter)] = host.letters.as_slice() else { panic!("{:?}", host.letters) };
    let letter = letter.clone();
    assert!(letter.in_doubt);
    let refused = host.tell(Act::Replay { letter: letter.id.clone(), by: "ann".to_owned() }).unwrap_err();
    assert!(matches!(&refused, Refusal::Doubtful(key) if *key == mail.key), "{refused}");
    let mut done = host.clone();
    let settle = |landed| Act::Settle { key: mail.key.clone(), landed, by: "ann".to_owned() };
    done.tell(settle(Some(json!({"text": "there"})))).unwrap();
    assert_eq!(done.state.status(), Status::Finished);
    assert!(matches!(done.letters.last(), Some(Letters::Discarded { id, .. }) if *id == letter.id));
    host.tell(settle(None)).unwrap();
    assert_eq!(host.open()[0].attempt, 2);
    assert!(matches!(host.letters.last(), Some(Letters::Replayed { id, .. }) if *id == letter.id));
}

#[test]
fn a_policy_may_have_poison_fail_at_once() {
    let mut host = Host::accepted(&workflow(TWO), Terms::default());
    host.poison.then = PoisonThen::Fail;
    for _ in 0..3 {
        let bad = step(&host, "bad");
        host.kill(&bad, true).unwrap();
    }
    let Some(End::Failed(failed)) = &host.state.end else { panic!("{:?}", host.state.end) };
    assert_eq!((failed.class, host.letters.len()), (FailureClass::Poison, 0));
    // What may have been done is held all the same.
    let mut doubtful = Host::accepted(&workflow(ONCE), Terms::default());
    doubtful.poison = PoisonPolicy { deaths: 1, then: PoisonThen::Fail, ..PoisonPolicy::default() };
    let mail = doubtful.open().remove(0);
    doubtful.kill(&mail, true).unwrap();
    assert!(matches!(doubtful.state.parked().next(), Some((_, _, Hold::Doubt { .. }))));
}

#[test]
fn deaths_count_over_crashes_of_the_process_and_those_that_it_was_only_there_for_weigh_less() {
    let mut host = Host::accepted(&workflow(TWO), Terms::default());
    host.poison = PoisonPolicy { deaths: 3, suspected: 6, ..PoisonPolicy::default() };
    let path = StepPath::from("both/bad");
    for crashes in 0..3 {
        assert_eq!(host.state.leaves[&path].losses, 2 * crashes);
        let bad = step(&host, "bad");
        host.kill(&bad, crashes < 1).unwrap();
        // The process dies: the next one has what was written, and nothing else.
        let mut folded = State::default();
        host.appends.iter().flatten().for_each(|event| Run::evolve(&mut folded, event));
        assert_eq!(folded, host.state);
        let bad = attempt(&step(&host, "bad"));
        host.lose(vec![bad]).unwrap();
    }
    let [Letters::Dead(letter)] = host.letters.as_slice() else { panic!("{:?}", host.letters) };
    let certain: Vec<bool> = letter.deaths.iter().map(|death| death.certain).collect();
    assert_eq!(certain, [true, false, false, false, false, false]);
    assert_eq!(letter.deaths[1].child, "run/r");
}
