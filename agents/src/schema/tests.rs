//! What fits, what does not and why, and how a model is held to it.

use std::sync::Arc;

use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::tokens::{Tokens, Usage};
use serde_json::{Value, json};

use super::*;
use crate::model::{
    Abilities, Ability, BatchCall, Billed, Finish, Message, Model, ModelError, ModelId, ModelReply, ModelRequest,
    OutputSchema, Progress, ToolSpec,
};
use crate::scripted::{Answer, Scripted};

fn post() -> Value {
    json!({
        "type": "object",
        "properties": {
            "title": { "type": "string", "minLength": 1, "maxLength": 10, "description": "short" },
            "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" }, "maxItems": 2 },
            "score": { "anyOf": [{ "type": "null" }, { "type": "integer", "minimum": 1, "exclusiveMaximum": 10 }] },
        },
        "required": ["title", "tags"],
        "additionalProperties": false,
        "$defs": { "tag": { "enum": ["news", "sale"] } },
    })
}

fn told(schema: Value, value: &Value) -> Vec<String> {
    Schema::read(schema).unwrap().misfits(value).iter().map(ToString::to_string).collect()
}

#[test]
fn a_check_that_does_not_come_to_an_end_is_ended() {
    for word in ["anyOf", "oneOf", "allOf"] {
        let again = json!({ "$ref": "#" });
        let told = told(json!({ word: [again, again] }), &json!({}));
        assert!(
            told[..] == ["the whole: takes more than 262144 steps to check; say less, or ask for a plainer schema"]
        );
    }
    let deep = json!({ "$ref": "#/properties/a" });
    let schema = json!({ "properties": { "a": { "enum": vec!["x"; 1000], "anyOf": [deep, deep] } } });
    assert!(told(schema, &json!({ "a": "x" }))[0].contains("steps"));
    let schema = json!({ "items": { "enum": ["a", "b"] } });
    assert!(told(schema, &json!(vec!["a"; 50_000])).is_empty(), "a long value is no such thing");
}

#[test]
fn what_fits_has_no_misfits() {
    for value in [
        json!({ "title": "Lamp", "tags": [] }),
        json!({ "title": "Lämpchen10", "tags": ["news", "sale"], "score": null }),
        json!({ "title": "x", "tags": ["news"], "score": 9.0 }),
    ] {
        assert_eq!(told(post(), &value), [""; 0], "{value}");
    }
}

/// More of them than are checked.
fn many_patterns() -> Value {
    json!({ "allOf": (0..17).map(|nth| json!({ "pattern": nth.to_string() })).collect::<Vec<_>>() })
}

#[test]
fn a_text_must_match_a_pattern_somewhere() {
    let schema = json!({ "type": "array", "items": { "type": ["string", "null"], "pattern": "^[a-z]+-\\d{2}$" } });
    assert_eq!(told(schema.clone(), &json!(["lamp-03", null, "ab-99"])), [""; 0]);
    assert_eq!(told(schema, &json!(["lamp-03", "Lamp-3"])), ["/1: must match the regular expression ^[a-z]+-\\d{2}$"]);
    assert_eq!(told(json!({ "pattern": "b" }), &json!("abc")), [""; 0], "it is not anchored by itself");
    assert_eq!(told(json!({ "pattern": "b" }), &json!(7)), [""; 0], "it says nothing of what is no text");
    // A pattern that would take others for ever.
    let long = "a".repeat(100_000);
    assert_eq!(told(json!({ "pattern": "^(a+)+$" }), &json!(format!("{long}!"))).len(), 1);
}

#[test]
fn what_does_not_fit_is_told_with_its_place() {
    for (value, wanted) in [
        (json!([]), "the whole: is array and must be of the type object"),
        (json!({ "tags": [] }), "the whole: has no `title`"),
        (json!({ "title": "", "tags": [] }), "/title: must have or be at least 1 characters"),
        (json!({ "title": "x", "tags": ["news", "old"] }), "/tags/1: must be one of \"news\", \"sale\""),
        (json!({ "title": "x", "tags": ["news", "news", "news"] }), "/tags: must have or be at most 2 items"),
        (json!({ "title": "x", "tags": [], "score": 10 }), "/score: must be below 10"),
        (json!({ "title": "x", "tags": [], "score": 1.5 }), "/score: is number and must be of the type"),
        (json!({ "title": "x", "tags": [], "a/b": 1 }), "/a~1b: is not known here"),
    ] {
        let told = told(post(), &value);
        assert!(told.iter().any(|line| line.starts_with(wanted)), "{value}: {told:?}");
    }
}

#[test]
fn shapes_are_combined() {
    let either = json!({ "oneOf": [{ "type": "integer" }, { "type": "number", "minimum": 5 }] });
    assert_eq!(told(either.clone(), &json!(3)), [""; 0]);
    assert_eq!(told(either.clone(), &json!(7)), ["the whole: must fit exactly one of 2 shapes and fits 2"]);
    let both = json!({ "allOf": [either, { "const": 3 }] });
    assert_eq!(told(both, &json!(4)), ["the whole: must be 3"]);
    assert_eq!(told(json!({ "additionalProperties": { "type": "null" } }), &json!({ "a": 1 })).len(), 1);
    assert_eq!(told(json!(false), &json!(1)), ["the whole: nothing is allowed here"]);
}

#[test]
fn a_schema_that_goes_round_in_a_circle_ends() {
    assert!(told(json!({ "$ref": "#" }), &json!(1))[0].contains("nested deeper"));
    let tree = json!({ "type": "object", "properties": { "next": { "$ref": "#" } } });
    assert_eq!(told(tree, &json!({ "next": { "next": {} } })), [""; 0]);
}

#[test]
fn what_is_not_checked_is_refused() {
    for (schema, wanted) in [
        (json!({ "not": {} }), "says `not` at #, which is not checked"),
        (json!({ "pattern": 7 }), "`pattern` at #, which must be a regular expression"),
        (json!({ "pattern": "(" }), "`pattern` at #, which is no regular expression"),
        (json!({ "items": { "pattern": "(a)\\1" } }), "`pattern` at #/items, which is no regular expression"),
        (json!({ "pattern": "(?=a)b" }), "which is no regular expression that is checked in linear time"),
        (json!({ "pattern": "((a{100}){100}){100}" }), "or is too large"),
        (many_patterns(), "which is one regular expression too many"),
        (json!({ "items": { "not": {} } }), "`not` at #/items"),
        (json!({ "type": "text" }), "is no type"),
        (json!({ "$ref": "http://elsewhere" }), "names no place"),
        (json!({ "required": "a" }), "a list of names"),
        (json!({ "properties": { "a": 5 } }), "is no schema"),
        (json!({ "minimum": "1" }), "must be a number"),
    ] {
        let error = Schema::read(schema).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_schema_is_strict_when_every_object_is_closed_and_needs_all() {
    let closed = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"],
                         "additionalProperties": false });
    assert!(is_strict(&closed));
    assert!(!is_strict(&post()), "`score` may be left out");
    assert!(!is_strict(&json!({ "type": "array", "items": { "type": "object" } })));
    assert!(is_strict(&json!({ "enum": [{ "type": "object" }] })));
}

/// A scripted model that keeps to schemas by itself, or cannot.
struct Shared(Arc<Scripted>, bool);

#[async_trait::async_trait]
impl Model for Shared {
    fn id(&self) -> ModelId {
        self.0.id()
    }

    fn price_key(&self) -> &str {
        self.0.price_key()
    }

    fn abilities(&self) -> Abilities {
        Abilities::all_but(if self.1 { &[][..] } else { &[Ability::Schema] })
    }

    fn count(&self, request: &ModelRequest) -> Tokens {
        self.0.count(request)
    }

    async fn call_by_batch(&self, request: ModelRequest, _: BatchCall) -> Result<ModelReply, ModelError> {
        self.call(request, &Progress::default()).await
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        assert!(self.1 || request.output_schema.is_none(), "it is asked for what it cannot do");
        self.0.call(request, progress).await
    }
}

fn asking() -> ModelRequest {
    let output_schema = Some(OutputSchema { name: "post".to_owned(), schema: post() });
    ModelRequest { output_schema, ..ModelRequest::asking(vec![Message::user("A post.")], Tokens(20)) }
}

async fn call(answers: Vec<Answer>, able: bool) -> (Result<ModelReply, ModelError>, u64) {
    let script = Scripted::new("m").when("What is wrong", answers[1..].to_vec()).otherwise([answers[0].clone()]);
    let script = Arc::new(script);
    let model = Structured::around(Arc::new(Shared(Arc::clone(&script), able)));
    let outcome = model.call(asking(), &Progress::default()).await;
    (outcome, script.calls())
}

const GOOD: &str = r#"{"title":"Lamp","tags":["news"]}"#;

#[tokio::test(start_paused = true)]
async fn a_reply_that_fits_comes_as_bare_json() {
    for said in [GOOD.to_owned(), format!("Here it is:\n```json\n{GOOD}\n```\nGood luck!")] {
        let (reply, calls) = call(vec![Answer::Say(said), Answer::say("")], false).await;
        let reply = reply.unwrap();
        assert_eq!((serde_json::from_str::<Value>(&reply.text()).unwrap()["title"].as_str(), calls), (Some("Lamp"), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_does_not_fit_is_put_right_and_all_of_it_is_counted() {
    let (reply, calls) = call(vec![Answer::say("no json"), Answer::say("{}"), Answer::say(GOOD)], false).await;
    let reply = reply.unwrap();
    assert_eq!((calls, reply.usage.output, reply.usage.repeats), (3, Tokens(2 + 1 + 1), 2));
    let model = Structured::around(Arc::new(Shared(Arc::new(Scripted::new("m")), false)));
    let bounds = model.bounds(&asking());
    assert!(reply.usage.input <= bounds.input && bounds.output == Tokens(60), "{bounds:?}");
    assert_eq!(bounds.repeats, 2, "each request may have its fee");
    let once = model.bounds_once(&asking());
    assert!(once.input < bounds.input && (once.output, once.repeats) == (Tokens(20), 0), "{once:?}");
    assert!(once.input >= Scripted::new("m").count(&asking()), "with the words that ask for the schema");
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_so_often_and_no_more() {
    let (error, calls) = call(vec![Answer::say("no"), Answer::say("no")], false).await;
    let error = error.unwrap_err();
    assert_eq!((error.class, calls), (FailureClass::Rejected, 1 + REPAIRS_MAX));
    let Billed::Used(usage) = error.billed else { panic!("{error:?}") };
    assert_eq!(usage.output, Tokens(3));
    let (error, calls) = call(vec![Answer::say("no"), Answer::say(GOOD)], true).await;
    assert_eq!((error.unwrap_err().class, calls), (FailureClass::Rejected, 1), "it keeps to schemas by itself");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_held_to_the_schema_and_answered_once() {
    for (said, fits) in [(format!("Here: {GOOD}"), true), ("no json".to_owned(), false)] {
        let script = Arc::new(Scripted::new("m").otherwise([Answer::Say(said)]));
        let model = Structured::around(Arc::new(Shared(Arc::clone(&script), false)));
        let batch = BatchCall { id: "b".to_owned(), since: Timestamp::EPOCH, may_be_there: false };
        let outcome = model.call_by_batch(asking(), batch).await;
        assert_eq!((outcome.is_ok(), script.calls()), (fits, 1));
        match outcome {
            Ok(reply) => assert!(serde_json::from_str::<Value>(&reply.text()).is_ok()),
            Err(error) => assert!(matches!(error.billed, Billed::Used(_)), "{error:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_on_the_way_does_not_hide_what_was_used_before() {
    let used = Usage { output: Tokens(5), ..Usage::default() };
    let failing = |billed| Answer::Fail(ModelError { billed, ..ModelError::free(FailureClass::ProviderDown, "503") });
    let cases = [(Billed::No, Some((1, 0))), (Billed::Used(Box::new(used)), Some((6, 1))), (Billed::Unknown, None)];
    for (billed, wanted) in cases {
        let (error, _) = call(vec![Answer::say("no"), failing(billed)], false).await;
        let told = match error.unwrap_err().billed {
            Billed::Used(usage) => Some((usage.output.0, usage.repeats)),
            Billed::Unknown => None,
            Billed::No => Some((0, 0)),
        };
        assert_eq!(told, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_yet_is_handed_on_and_what_was_cut_is_an_error() {
    let (reply, calls) = call(vec![Answer::Refuse("never".to_owned()), Answer::say("")], false).await;
    assert_eq!((reply.unwrap().finish, calls), (Finish::Refusal, 1));
    let (error, calls) = call(vec![Answer::Say("a ".repeat(30)), Answer::say("")], false).await;
    assert_eq!((error.unwrap_err().message.contains("cut at 20 tokens"), calls), (true, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_schema_passes_as_it_is() {
    let model =
        Structured::around(Arc::new(Shared(Arc::new(Scripted::new("m").otherwise([Answer::say("hello")])), false)));
    let tools = vec![ToolSpec { name: "a".into(), description: String::new(), schema: json!({}) }];
    let asked = ModelRequest { tools, output_schema: None, ..asking() };
    assert_eq!(model.call(asked.clone(), &Progress::default()).await.unwrap().text(), "hello");
    assert_eq!(model.bounds(&asked).output, Tokens(20));
}
