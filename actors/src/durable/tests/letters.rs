//! Commands that kill their actor.

use super::*;
use crate::letters::{Event as Letter, Fate};

/// The next life, once the last one is over.
async fn next_life(rig: &Rig, last: &Handle<Tally>) -> Handle<Tally> {
    last.stopped().await;
    rig.start(busy_for_ever()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_command_that_kills_every_life_is_refused_by_the_fourth_and_the_others_are_taken() {
    let rig = Rig::new(1);
    let mut handle = rig.start(busy_for_ever()).await.unwrap();
    handle.ask(Command::Add(1)).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(handle.ask(Command::Panic).await, Err(AskError::Lost { .. })));
        handle = next_life(&rig, &handle).await;
    }
    let Err(AskError::Dead(id)) = handle.ask(Command::Panic).await else { panic!("it was taken") };
    let entry = rig.spine.letters.find(&id).await.unwrap().unwrap();
    assert_eq!((entry.letter.stream.as_str(), entry.letter.deaths.len()), ("tally/t", 3));
    assert_eq!(entry.letter.deaths[0].message, "panicked: on purpose");
    // This life lives on, and what was acknowledged is there.
    assert_eq!(handle.ask(Command::Ask).await, Ok(1));
    let text = rig.spine.metrics.encode();
    assert!(text.contains("callboard_dead_letters_total{actor=\"tally\"} 1"), "{text}");
    assert!(text.contains("callboard_dead_letters_open 1"), "{text}");

    // In another state it is another command.
    handle.ask(Command::Add(1)).await.unwrap();
    assert!(matches!(handle.ask(Command::Panic).await, Err(AskError::Lost { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_replayed_is_taken_again() {
    let rig = Rig::new(1);
    let mut handle = rig.start(busy_for_ever()).await.unwrap();
    for _ in 0..3 {
        handle.ask(Command::Panic).await.unwrap_err();
        handle = next_life(&rig, &handle).await;
    }
    let Err(AskError::Dead(id)) = handle.ask(Command::Panic).await else { panic!("it was taken") };
    let replayed = Letter::Replayed { id: id.clone(), at: rig.spine.world.now(), by: "ann".to_owned() };
    rig.spine.letters.settle(replayed, "ann").await.unwrap();
    assert!(matches!(handle.ask(Command::Panic).await, Err(AskError::Lost { .. })));
    let entry = rig.spine.letters.find(&id).await.unwrap().unwrap();
    assert!(matches!(entry.fate, Fate::Replayed { .. }), "{:?}", entry.fate);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_writes_nothing_does_not_hold_up_a_death() {
    let rig = Rig::held(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    assert!(matches!(handle.ask(Command::Panic).await, Err(AskError::Lost { .. })));
    handle.stopped().await;
}
