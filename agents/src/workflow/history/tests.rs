use policies::history::How;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{Image, ToolCall};

/// A turn that uses so many tools, whose answers have so many bytes.
fn turn(number: usize, answers: &[usize]) -> Vec<Message> {
    let id = |at: usize| format!("call-{number}-{at}");
    let call = |at: usize| {
        let arguments = json!({ "url": format!("https://shop.example/{number}") });
        Block::ToolCall(ToolCall { id: id(at), name: "http_fetch".to_owned(), arguments, signature: None })
    };
    let calls = (0..answers.len()).map(call);
    let said = Message::of(Role::Assistant, std::iter::once(Block::text("Let me look.")).chain(calls).collect());
    let results = answers.iter().enumerate().map(|(at, bytes)| ToolResult::text(id(at), "é".repeat(bytes / 2)));
    if answers.is_empty() { vec![said, Message::user("Go on.")] } else { vec![said, Message::results(results)] }
}

fn ids(messages: &[Message], calls: bool) -> Vec<String> {
    let blocks = messages.iter().flat_map(|message| &message.content);
    let id = |block: &Block| match block {
        Block::ToolCall(call) if calls => Some(call.id.clone()),
        Block::ToolResult(result) if !calls => Some(result.id.clone()),
        _ => None,
    };
    blocks.filter_map(id).collect()
}

fn policy(tokens_max: u64) -> HistoryPolicy {
    HistoryPolicy { keep_last: 2, ..HistoryPolicy::of(Tokens(tokens_max)) }
}

#[test]
fn what_is_left_out_is_said_to_be() {
    let mut history = History::default();
    for number in 0..8 {
        history.add(turn(number, &[3000]));
        history.trim(&policy(2000));
    }
    let heard = history.heard(PICTURES_BYTES_MAX);
    let note = heard[0].text().into_owned();
    assert!(note.starts_with("\n\n[The first ") && note.ends_with(" turns of this talk were left out to save room.]"));
    let shortened = heard.iter().flat_map(|message| &message.content).filter_map(|block| match block {
        Block::ToolResult(result) => Some(result.words()),
        _ => None,
    });
    let words: Vec<String> = shortened.collect();
    assert!(
        words.iter().any(|words| words.ends_with("[The other 2200 bytes of this answer were left out to save room.]"))
    );
    assert_eq!(words.last().map(String::len), Some(3000), "the newest answer is whole");
}

#[test]
fn a_summary_stands_for_all_before_it() {
    let policy = HistoryPolicy { how: How::Summarise, ..policy(2000) };
    let mut history = History::default();
    for number in 0..3 {
        history.add(turn(number, &[3000]));
    }
    assert_eq!(history.excess(&policy), Some(1));
    let first = history.record(1);
    assert!(first.starts_with("The model says: Let me look.\nThe model uses http_fetch: "), "{first}");
    assert!(first.contains("https://shop.example/0") && !first.contains("shop.example/1"), "{first}");
    history.sum_up(&policy, 1, " Page 0 is about lamps. ");
    history.add(turn(3, &[3000]));
    let second = history.record(1);
    assert!(second.contains("Page 0 is about lamps.") && second.contains("shop.example/1"), "{second}");
    history.sum_up(&policy, 1, &"long ".repeat(1000));
    let note = history.heard(PICTURES_BYTES_MAX)[0].text().into_owned();
    assert!(note.starts_with("\n\n[What came of it in the first 2 turns of this talk, in short:]\nlong "), "{note}");
    assert!(note.len() < 1700, "a summary that is too long is cut: {}", note.len());
    assert!(!note.contains("lamps"));
}

fn talks() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(0_usize..6000, 0..4), 1..24)
}

proptest! {
    #[test]
    fn a_talk_that_is_cut_keeps_its_pairs_and_its_limit(talk in talks(), max in 500_u64..6000, seldom in 1_usize..4) {
        let policy = policy(max);
        let mut history = History::default();
        for (number, answers) in talk.iter().enumerate() {
            history.add(turn(number, answers));
            if number % seldom > 0 {
                continue;
            }
            history.trim(&policy);
            let heard = history.heard(PICTURES_BYTES_MAX);
            prop_assert_eq!(ids(&heard, true), ids(&heard, false), "a call without its answer, or the other way round");
            let all = turn(number, answers);
            prop_assert_eq!(ids(&heard, true).ends_with(&ids(&all, true)), true, "the last turn is heard");
            let last = talk[(number + 1).saturating_sub(2)..=number].iter().enumerate();
            let least = last.flat_map(|(at, answers)| turn(at, answers)).map(|message| shortened(&message));
            let least = tokens_about(&least.collect::<Vec<_>>()).0 + NOTE_TOKENS.0 + 10;
            prop_assert!(tokens_about(&heard).0 <= max.max(least), "{} of {max}", tokens_about(&heard));
            // Once more changes nothing.
            history.trim(&policy);
            prop_assert_eq!(history.heard(PICTURES_BYTES_MAX), heard);
        }
    }
}

#[test]
fn of_the_pictures_the_latest_are_seen_again() {
    let picture = |bytes: usize| {
        let image = Image::of_bytes("image/png", &"A".repeat(bytes)).unwrap();
        let result = ToolResult { content: vec![Part::Image(image)], ..ToolResult::text("a", "") };
        vec![Message::results([result])]
    };
    let seen = |history: &History| {
        let results = history.heard(PICTURES_BYTES_MAX).into_iter().flat_map(|message| message.content);
        let is_seen = |block| matches!(block, Block::ToolResult(result) if result.images().next().is_some());
        results.map(is_seen).collect::<Vec<bool>>()
    };
    let (half, all) = (PICTURES_BYTES_MAX / 2, PICTURES_BYTES_MAX);
    let mut history = History::default();
    history.add(picture(4));
    history.add(picture(half));
    history.add(picture(half));
    assert_eq!(seen(&history), [false, true, true]);
    history.add(picture(all));
    assert_eq!(seen(&history), [false, false, false, true]);
    assert!(history.heard(PICTURES_BYTES_MAX)[0].content.iter().any(|block| {
        matches!(block, Block::ToolResult(result) if result.words() == "[A picture was left out to save room.]")
    }));
}

#[test]
fn what_a_step_shows_leaves_less_room_for_pictures_that_are_seen_again() {
    let image = |bytes: usize| Image::of_bytes("image/png", &"A".repeat(bytes)).unwrap();
    let mut history = History::default();
    for _ in 0..4 {
        let result = ToolResult { content: vec![Part::Image(image(128 << 10))], ..ToolResult::text("a", "") };
        history.add(vec![Message::results([result])]);
    }
    for (own, seen) in [(0, 4), (256 << 10, 4), (512 << 10, 3), (768 << 10, 1), (1000 << 10, 0)] {
        let images = if own > 0 { vec![image(own)] } else { Vec::new() };
        let action = history.before(AgentCall { images, prompt: "p".repeat(1 << 10), ..AgentCall::default() });
        assert!(canonical::text(&action).len() <= ACTION_BYTES_MAX, "{own}");
        let Action::Agent(mut call) = action else { panic!("no call") };
        let pictures = call.talk.said.iter_mut().flat_map(parts).filter_map(|part| picture_bytes(part)).count();
        assert_eq!(pictures, seen, "{own}");
    }
}
