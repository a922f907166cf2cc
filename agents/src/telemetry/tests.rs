//! What is told of runs.

mod sending;

use std::collections::BTreeSet;

use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::tokens::{Tokens, Usage};
use serde_json::{Value, json};
use storage::journal::Seq;

use super::span::{self, Span};
use super::trace::RunTrace;
use super::traces::Traces;
use super::*;
use crate::fixture::{self, Ground};
use crate::model::Finish;
use crate::run::{EffectOutcome, Event, Failed, Finished, Intended, ModelCall, Reopened, Replied, Resolved, Then};
use crate::workflow::{Action, EffectClass, StepPath, ToolCall};

const TRACE: u128 = 0xabc;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn accepted(seconds: i64) -> Event {
    accepted_as("r", seconds)
}

fn accepted_as(run: &str, seconds: i64) -> Event {
    fixture::accepted(run, at(seconds))
}

fn asked(path: &str, attempt: u32, seconds: i64) -> Event {
    let call = ModelCall {
        model: "m-1".to_owned(),
        agent: "writer".to_owned(),
        counted: Tokens(7),
        bound: Tokens(0),
        provider: "anthropic".to_owned(),
        batch: false,
    };
    let intent = fixture::intended(path, path, attempt, Money::ZERO, Vec::new());
    Event::Intended(Arc::new(Intended { at: at(seconds), call: Some(call), ..intent }))
}

fn told(path: &str, attempt: u32, seconds: i64, output: Value) -> Event {
    let usage =
        Usage { input: Tokens(7), cache_read: Tokens(2), output: Tokens(3), reasoning: Tokens(1), ..Usage::default() };
    let replied = Some(Replied {
        finish: Finish::Stop,
        model: Some("m-1-2026".to_owned()),
        first_chunk: Some(policies::span::Span::from_millis(250)),
    });
    Event::Resolved(Box::new(Resolved {
        at: at(seconds),
        outcome: EffectOutcome::ok(output),
        usage,
        replied,
        remote_id: Some("msg-1".to_owned()),
        ..fixture::resolved(path, path, attempt, Money::from_nanos(5))
    }))
}

fn failed(path: &str, attempt: u32, seconds: i64, then: Then) -> Event {
    let message = "the model said: a private thing".to_owned();
    Event::Resolved(Box::new(Resolved {
        at: at(seconds),
        outcome: EffectOutcome::Failed { class: FailureClass::RateLimited, message, retry_after: None },
        usage: Usage::default(),
        then,
        ..fixture::resolved(path, path, attempt, Money::ZERO)
    }))
}

fn tool(path: &str, seconds: i64) -> Event {
    let with = [("query".to_owned(), json!("a private question"))].into();
    let call = ToolCall { tool: "context.search".to_owned(), class: EffectClass::Read, with };
    let intent = fixture::intended(path, path, 1, Money::ZERO, Vec::new());
    Event::Intended(Arc::new(Intended { at: at(seconds), request: Action::Tool(call), ..intent }))
}

fn finished(seconds: i64) -> Event {
    Event::Finished(Finished { at: at(seconds), outputs: Default::default() })
}

fn events() -> Vec<Event> {
    events_of("r")
}

/// An agent that is refused once, uses a tool, and answers.
fn events_of(run: &str) -> Vec<Event> {
    let turn = json!({ "text": "a private thought", "turn": { "calls": [] } });
    vec![
        accepted_as(run, 1),
        asked("write", 1, 2),
        failed("write", 1, 3, Then::Retry { at: at(4) }),
        asked("write", 2, 4),
        told("write", 2, 5, turn),
        tool("write@1[0]", 5),
        told("write@1[0]", 1, 6, json!({ "notes": ["a private note"] })),
        asked("write@2", 1, 6),
        told("write@2", 1, 8, json!({ "text": "a private answer" })),
        finished(9),
    ]
}

fn folded(events: &[Event]) -> Vec<Span> {
    let mut run = RunTrace::begin(&events[0], TRACE, false).unwrap();
    events.iter().flat_map(|event| run.fold(event)).collect()
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a span::Value> {
    span.attributes.iter().find(|(is, _)| *is == name).map(|(_, value)| value)
}

#[test]
fn a_run_is_a_trace_of_its_steps_calls_and_tools() {
    let spans = folded(&events());
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let wanted = [
        "chat m-1",
        "chat m-1",
        "execute_tool context.search",
        "chat m-1",
        "invoke_agent writer",
        "invoke_workflow announce",
    ];
    assert_eq!(names, wanted);
    let [first, second, tool, third, step, run] = spans.try_into().unwrap();
    assert_eq!((run.parent, step.parent), (None, Some(run.id)));
    assert!([&first, &second, &tool, &third].iter().all(|span| span.parent == Some(step.id)));
    assert!([&first, &tool, &step, &run].iter().all(|span| span.trace == TRACE));
    assert_eq!((step.start, step.end, run.start, run.end), (at(2), at(8), at(1), at(9)));
    assert_eq!((first.is_call, tool.is_call, run.is_call), (true, false, false));
    assert_eq!(first.failure.as_ref().map(|failure| failure.class), Some("rate_limited"));
    assert_eq!((&step.failure, &run.failure), (&None, &None), "what was mended is no failure");
    let text = |value: &str| Some(span::Value::Text(value.to_owned()));
    for (name, value) in [
        ("gen_ai.operation.name", text("chat")),
        ("gen_ai.provider.name", text("anthropic")),
        ("gen_ai.request.model", text("m-1")),
        ("gen_ai.request.max_tokens", Some(span::Value::Whole(10))),
        ("gen_ai.response.model", text("m-1-2026")),
        ("gen_ai.response.id", text("msg-1")),
        ("gen_ai.response.finish_reasons", Some(span::Value::Texts(vec!["stop".to_owned()]))),
        ("gen_ai.response.time_to_first_chunk", Some(span::Value::Real(0.25))),
        ("gen_ai.usage.input_tokens", Some(span::Value::Whole(9))),
        ("gen_ai.usage.output_tokens", Some(span::Value::Whole(3))),
        ("gen_ai.usage.cache_read.input_tokens", Some(span::Value::Whole(2))),
        ("gen_ai.usage.reasoning.output_tokens", Some(span::Value::Whole(1))),
        ("gen_ai.usage.cache_creation.input_tokens", None),
        ("gen_ai.conversation.id", text("r")),
        ("gen_ai.agent.name", text("writer")),
        ("error.type", None),
    ] {
        assert_eq!(attribute(&second, name).cloned(), value, "{name}");
    }
    assert_eq!(attribute(&step, "gen_ai.usage.input_tokens"), Some(&span::Value::Whole(18)));
    assert_eq!(attribute(&run, "gen_ai.workflow.name").cloned(), text("announce"));
    assert_eq!(attribute(&first, "error.type").cloned(), text("rate_limited"));
}

#[test]
fn an_agent_that_is_asked_as_a_tool_is_a_step_of_the_one_that_asked() {
    let turn = json!({ "text": "", "turn": {} });
    let spans = folded(&[
        accepted(1),
        asked("write", 1, 2),
        told("write", 1, 3, turn.clone()),
        asked("write@1[0]", 1, 3),
        told("write@1[0]", 1, 4, turn),
        asked("write@1[0]@2", 1, 4),
        told("write@1[0]@2", 1, 5, json!({ "text": "" })),
        asked("write@2", 1, 5),
        told("write@2", 1, 6, json!({ "text": "" })),
        finished(7),
    ]);
    let [_, inner, second, asked, outer, step, run] = spans.try_into().unwrap();
    assert_eq!((asked.name.as_str(), asked.parent), ("invoke_agent writer", Some(step.id)));
    assert_eq!((inner.parent, second.parent, outer.parent), (Some(asked.id), Some(asked.id), Some(step.id)));
    assert_eq!(step.parent, Some(run.id));
}

#[test]
fn what_was_neither_asked_nor_answered_is_no_call_and_what_is_open_ends_with_the_run() {
    // A guardrail stood before the first call, and the run was given up before the judge had spoken.
    let held = Event::Resolved(Box::new(Resolved {
        outcome: EffectOutcome::ok(json!({ "text": "", "turn": { "side": "input" } })),
        usage: Usage::default(),
        at: at(3),
        ..fixture::resolved("write", "write", 1, Money::ZERO)
    }));
    let failure = Event::Failed(Failed {
        at: at(5),
        path: StepPath::from("write"),
        class: FailureClass::Rejected,
        message: "it was a private thing".to_owned(),
        refusal: None,
    });
    let spans = folded(&[accepted(1), asked("write", 1, 2), held, failure]);
    let [step, run] = spans.try_into().unwrap();
    assert_eq!((step.name.as_str(), step.end), ("invoke_agent writer", at(3)));
    assert_eq!(run.failure.unwrap().class, "rejected");
}

#[test]
fn a_run_that_goes_on_after_its_end_is_a_part_of_the_same_trace_and_repeats_no_span() {
    let fails = |seconds| {
        Event::Failed(Failed {
            at: at(seconds),
            path: StepPath::from("write"),
            class: FailureClass::RateLimited,
            message: String::new(),
            refusal: None,
        })
    };
    let reopened = Event::Reopened(Reopened {
        at: at(10),
        path: StepPath::from("write"),
        by: "ann".to_owned(),
        spent: Money::ZERO,
        cost_max: None,
        ended: None,
    });
    let spans = folded(&[
        accepted(1),
        asked("write", 1, 2),
        failed("write", 1, 3, Then::GiveUp),
        fails(3),
        reopened,
        asked("write", 1, 11),
        told("write", 1, 12, json!({ "text": "" })),
        finished(13),
    ]);
    let ids: BTreeSet<_> = spans.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), 6, "{spans:#?}");
    let (first, second) = (&spans[2], &spans[5]);
    assert_eq!((second.parent, second.start, second.end), (Some(first.id), at(10), at(13)));
    assert_eq!(spans[4].parent, Some(second.id));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_in_the_middle_tells_what_one_that_saw_it_all_tells() {
    let mut ground = Ground::new(1);
    for event in events() {
        ground.run("r", &event, None).await.unwrap();
    }
    let journaled = ground.events();
    let traces = || Traces::new(ground.world.clone(), ground.journal.clone(), Some(Seq::FIRST));
    let mut whole = Vec::new();
    let mut one = traces();
    for event in &journaled {
        whole.push(one.take(event).await.unwrap());
    }
    assert_eq!(whole.iter().flatten().count(), 6);
    for from in 0..journaled.len() {
        let mut late = traces();
        for (event, wanted) in journaled.iter().zip(&whole).skip(from) {
            assert_eq!(&late.take(event).await.unwrap(), wanted, "begun at {from}");
        }
    }
}

#[test]
fn what_is_too_long_is_cut_and_stays_readable_as_what_it_is() {
    let long = "\"\n".repeat(40 << 10);
    let output = json!({ "text": long, "list": vec![1.5; 40 << 10] });
    let mut answer = told("write", 1, 3, output.clone());
    if let Event::Resolved(outcome) = &mut answer {
        outcome.remote_id = Some(long.clone());
        outcome.replied.as_mut().unwrap().model = Some(long.clone());
    }
    let found = told("tool", 1, 5, output);
    let failure = Event::Failed(Failed {
        at: at(6),
        path: StepPath::from("write"),
        class: FailureClass::Rejected,
        message: long.clone(),
        refusal: None,
    });
    let mut run = RunTrace::begin(&accepted(1), TRACE, true).unwrap();
    let events = [asked("write", 1, 2), answer, tool("tool", 4), found, failure];
    let spans: Vec<Span> = events.iter().flat_map(|event| run.fold(event)).collect();
    let text = |span: &Span, name: &str| match attribute(span, name) {
        Some(span::Value::Text(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    for (operation, name) in [("chat", "gen_ai.output.messages"), ("execute_tool", "gen_ai.tool.call.result")] {
        let span = spans.iter().find(|span| span.name.starts_with(operation)).unwrap();
        let text = text(span, name);
        assert!((1 << 10..=32 << 10).contains(&text.len()), "{name}: {}", text.len());
        serde_json::from_str::<Value>(&text).unwrap();
    }
    let chat = spans.iter().find(|span| span.is_call).unwrap();
    assert!(["gen_ai.response.id", "gen_ai.response.model"].iter().all(|name| text(chat, name).len() <= 256));
    let words = spans.last().unwrap().failure.as_ref().unwrap().words.as_ref().unwrap();
    assert_eq!((words.len() <= 32 << 10, words.starts_with(&long[..1000])), (true, true));
}

#[test]
fn what_a_model_asks_tools_for_is_among_what_it_said() {
    let call =
        json!({ "type": "tool_call", "id": "c-1", "name": "search", "arguments": { "query": "a private question" } });
    let content = [json!({ "type": "text", "text": "let me see" }), call];
    let turn = json!({ "text": "let me see", "turn": { "content": content } });
    let mut run = RunTrace::begin(&accepted(1), TRACE, true).unwrap();
    let events = [asked("write", 1, 2), told("write", 1, 3, turn)];
    let spans: Vec<Span> = events.iter().flat_map(|event| run.fold(event)).collect();
    let Some(span::Value::Text(said)) = attribute(&spans[0], "gen_ai.output.messages") else { panic!("{spans:?}") };
    let said: Value = serde_json::from_str(said).unwrap();
    assert_eq!(said[0]["parts"][0]["content"], "let me see");
    assert_eq!(said[0]["parts"][1]["arguments"]["query"], "a private question", "{said}");
}
