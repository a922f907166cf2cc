//! When an answer leaves, and what it says.

use policies::mailbox::MailboxPolicy;
use storage::journal::{Batch, NewEvent, RecordId, TraceId, Write};

use super::*;
use crate::mailbox::Bound;

fn outside(stream: &str, schema: u16) -> Batch {
    let event = NewEvent {
        kind: "added".to_owned(),
        schema,
        time: crate::world::EPOCH,
        principal: "somebody".to_owned(),
        trace: TraceId(0),
        cause: None,
        subject: None,
        payload: br#"{"added":5}"#.to_vec(),
    };
    let write = Write { stream: stream.into(), expected: None, events: vec![event] };
    Batch { id: RecordId(1), writes: vec![write], preconditions: vec![] }
}

#[tokio::test(start_paused = true)]
async fn decides_the_next_before_the_first_is_synced_and_answers_in_order() {
    let mut rig = Rig::held(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    let mut asked = Vec::new();
    for command in [Command::Add(1), Command::Add(2), Command::Ask, Command::Overflow] {
        asked.push(rig.asking(&handle, command));
        quiet().await;
    }
    assert_eq!(
        rig.notes.take(),
        ["recovered 0", "prepare Add(1) on 0", "prepare Add(2) on 1", "prepare Ask on 3", "prepare Overflow on 3",],
        "all are decided, none is answered"
    );
    assert_eq!(handle.depth(), 4);
    rig.commit();
    quiet().await;
    let mut notes = rig.notes.take();
    let (started, answers): (Vec<_>, Vec<_>) = notes.drain(..).partition(|note| note.starts_with("started"));
    assert_eq!(started, ["started [Added(1)] at 1", "started [Added(2)] at 3"]);
    assert_eq!(
        answers,
        [
            "answer to Add(1): Ok(1)",
            "answer to Add(2): Ok(3)",
            "answer to Ask: Ok(3)",
            "answer to Overflow: Err(Refused(\"3 is enough\"))",
        ]
    );
    assert_eq!(handle.depth(), 0);
    assert_eq!(rig.spine.journal.syncs(), 1, "one sync covers both");
}

#[tokio::test(start_paused = true)]
async fn answers_nothing_good_and_starts_no_effect_when_the_sync_fails() {
    let rig = Rig::new(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    assert_eq!(handle.ask(Command::Add(1)).await, Ok(1));
    rig.notes.take();
    rig.disk.fail_next_sync();
    let asked = handle.ask(Command::Add(2)).await;
    assert!(matches!(asked, Err(AskError::Lost { .. })), "{asked:?}");
    assert_eq!(rig.notes.take(), ["prepare Add(2) on 1"]);
    handle.stopped().await;
    assert_eq!(handle.ask(Command::Ask).await, Err(AskError::Gone));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_answered_finds_the_effects_begun() {
    let rig = Rig::new(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    assert_eq!(handle.ask(Command::Add(3)).await, Ok(3));
    let notes = rig.notes.take();
    assert_eq!(notes.last().unwrap(), "started [Added(3)] at 3", "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_said_and_leaves_the_state_as_it_was() {
    let mut rig = Rig::held(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    rig.disk.set_capacity(Some(rig.disk.used()));
    let first = rig.asking(&handle, Command::Add(1));
    quiet().await;
    let built_on_it = rig.asking(&handle, Command::Add(2));
    let question = rig.asking(&handle, Command::Ask);
    quiet().await;
    rig.commit();
    for asked in [first, built_on_it, question] {
        assert_eq!(asked.await.unwrap(), Err(AskError::Full));
    }
    assert_eq!(handle.ask(Command::Ask).await, Ok(0));
    assert_eq!(handle.ask(Command::Add(4)).await, Err(AskError::Full));
    rig.disk.set_capacity(None);
    assert_eq!(handle.ask(Command::Add(8)).await, Ok(8));
    let notes = rig.notes.take();
    assert!(!notes.iter().any(|note| note.contains("started [Added(1)]")));
    // Once for each that failed by itself: what is built on it goes with it.
    assert_eq!(notes.iter().filter(|note| *note == "undone at 0").count(), 2, "{notes:?}");
    assert!(rig.spine.metrics.encode().contains("appends_total{entity=\"tally\",outcome=\"full\"} "));
}

#[tokio::test(start_paused = true)]
async fn a_precondition_that_fails_is_said_and_the_actor_goes_on() {
    let rig = Rig::new(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    let other = StreamId::from("other/x");
    let provided = |version| Command::AddProvided(other.clone(), version);
    assert_eq!(handle.ask(provided(Version::NONE)).await, Ok(1));
    rig.spine.journal.append(outside("other/x", 1)).await.unwrap();
    let stale = AskError::Stale { stream: other.clone(), expected: Version::NONE, actual: Version(1) };
    assert_eq!(handle.ask(provided(Version::NONE)).await, Err(stale));
    assert_eq!(handle.ask(provided(Version(1))).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn another_writer_ends_the_actor_and_the_next_life_folds_both() {
    let rig = Rig::new(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    assert_eq!(handle.ask(Command::Add(1)).await, Ok(1));
    rig.spine.journal.append(outside("tally/t", 1)).await.unwrap();
    let Err(AskError::Lost { reason }) = handle.ask(Command::Add(2)).await else { panic!("not lost") };
    assert!(reason.contains("tally/t"), "{reason}");
    handle.stopped().await;
    let next = rig.start(busy_for_ever()).await.unwrap();
    assert_eq!(next.ask(Command::Ask).await, Ok(6));
}

#[tokio::test(start_paused = true)]
async fn what_it_cannot_understand_stops_its_start_and_names_the_record() {
    let rig = Rig::new(1);
    rig.spine.journal.append(outside("tally/t", 2)).await.unwrap();
    let Err(StartError::Fold(error)) = rig.start(Options::default()).await else { panic!("started") };
    let said = error.to_string();
    assert!(said.contains("event 1 of `tally/t`") && said.contains("schema 2"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn says_busy_at_the_bound_and_takes_reports_beyond_it() {
    let mut rig = Rig::held(1);
    let handle = rig.start(Options { mailbox: Bound::new(MailboxPolicy::of(2)), ..busy_for_ever() }).await.unwrap();
    let asked = [1, 2].map(|n| rig.asking(&handle, Command::Add(n)));
    quiet().await;
    assert_eq!(handle.ask(Command::Add(4)).await, Err(AskError::Busy));
    assert_eq!(handle.tell(Origin::system(), Command::Add(4)), Err(AskError::Busy));
    let reported = {
        let handle = handle.clone();
        rig.spine.world.spawn("report", async move { handle.report(Origin::system(), Command::Add(8)).await })
    };
    quiet().await;
    assert_eq!(handle.depth(), 3);
    rig.commit();
    for asked in asked {
        assert!(asked.await.unwrap().is_ok());
    }
    assert_eq!(reported.await.unwrap(), Ok(11));
    assert_eq!(handle.tell(Origin::system(), Command::Add(16)), Ok(()));
    assert_eq!(handle.ask(Command::Ask).await, Ok(27));
    assert!(rig.spine.metrics.encode().contains("mailbox_refusals_total{actor=\"tally\"} 2"));
}

#[tokio::test(start_paused = true)]
async fn records_on_whose_behalf_it_was() {
    let rig = Rig::new(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    let origin = Origin { principal: "ana".to_owned(), trace: TraceId(7), cause: None };
    handle.ask_as(origin, Command::Add(1)).await.unwrap();
    let event = rig.spine.journal.read_stream(handle.stream(), Version::NONE, 1).unwrap().remove(0);
    assert_eq!((event.principal.as_str(), event.trace, event.kind.as_str()), ("ana", TraceId(7), "added"));
    assert_eq!(event.time, rig.spine.world.now());
}
