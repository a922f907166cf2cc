//! What is written and read of a conversation, and what is refused before it is sent.

use policies::failure::FailureClass;
use policies::tokens::{Tokens, Usage};
use serde_json::json;

use super::*;

fn asking() -> ModelRequest {
    ModelRequest::asking(vec![Message::user("Hello?")], Tokens(100))
}

fn look() -> ToolSpec {
    ToolSpec { name: "look".to_owned(), description: "Looks.".to_owned(), schema: json!({ "type": "object" }) }
}

#[test]
fn a_request_of_before_is_written_and_read_as_it_was() {
    let old =
        r#"{"messages":[{"role":"user","text":"Hello?"}],"output_max":100,"temperature":0.0,"seed":0,"graded":false}"#;
    assert_eq!(serde_json::to_string(&asking()).unwrap(), old);
    assert_eq!(serde_json::from_str::<ModelRequest>(old).unwrap(), asking());
    let reply =
        r#"{"text":"Hi","usage":{"input":1,"output":2,"cache_read":0,"cache_write":0,"cpu":"0s"},"finish":"stop"}"#;
    let read: ModelReply = serde_json::from_str(reply).unwrap();
    let usage = Usage { input: Tokens(1), output: Tokens(2), ..Usage::default() };
    assert_eq!(read, ModelReply::saying("Hi", usage, Finish::Stop));
    assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::from_str::<serde_json::Value>(reply).unwrap());
}

#[test]
fn every_block_is_read_back_as_it_was_written() {
    let signature = Signature { by: "a".to_owned(), data: "xyz".to_owned(), item: Some("rs_1".to_owned()) };
    let picture = Image::Bytes { media_type: "image/png".to_owned(), base64: "AAAA".to_owned() };
    let content = vec![
        Block::Thinking { text: "Hm.".to_owned(), signature: Some(signature.clone()) },
        Block::Redacted(signature),
        Block::text("Look:"),
        Block::Image(picture.clone()),
        Block::Image(Image::Url("https://a/b.png".to_owned())),
        Block::ToolCall(ToolCall {
            id: "1".to_owned(),
            name: "look".to_owned(),
            arguments: json!({"a": [1]}),
            signature: None,
        }),
        Block::ToolResult(ToolResult { id: "1".to_owned(), content: vec![Part::Image(picture)], is_error: true }),
    ];
    let message = Message::of(Role::Assistant, content);
    let text = serde_json::to_string(&message).unwrap();
    assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message, "{text}");
    assert_eq!(message.text(), "Look:");
    let usage = Usage::default();
    let reply = ModelReply {
        content: message.content,
        model: Some("m-1".to_owned()),
        ..ModelReply::saying("", usage, Finish::ToolUse)
    };
    let text = serde_json::to_string(&reply).unwrap();
    assert_eq!(serde_json::from_str::<ModelReply>(&text).unwrap(), reply, "{text}");
}

#[test]
fn what_is_used_of_a_request_is_written_and_nothing_else() {
    let asked = ModelRequest {
        tools: vec![look()],
        tool_choice: ToolChoice::Named("look".to_owned()),
        thinking: Some(Thinking::Effort(Effort::High)),
        cache: CacheMarks { system: Some(CacheTtl::Hour), ..CacheMarks::default() },
        ..asking()
    };
    let written = serde_json::to_value(&asked).unwrap();
    assert_eq!(written["tool_choice"], json!({ "named": "look" }));
    assert_eq!((&written["thinking"], &written["cache"]), (&json!({ "effort": "high" }), &json!({ "system": "1h" })));
    assert!(written.get("output_schema").is_none() && written.get("stream").is_none());
    assert_eq!(serde_json::from_value::<ModelRequest>(written).unwrap(), asked);
}

#[test]
fn what_a_model_cannot_do_is_refused_and_costs_nothing() {
    let seen = Message::results([ToolResult {
        content: vec![Part::Image(Image::Url("http://a".to_owned()))],
        ..ToolResult::text("1", "")
    }]);
    for (asked, missing) in [
        (ModelRequest { tools: vec![look()], ..asking() }, "use tools"),
        (ModelRequest { messages: vec![seen], ..asking() }, "see images"),
        (ModelRequest { thinking: Some(Thinking::Budget(Tokens(9))), ..asking() }, "told how much to think"),
        (ModelRequest { tool_choice: ToolChoice::None, ..asking() }, "made to use a tool"),
    ] {
        let error = asked.check(&Abilities::TEXT, &"m").unwrap_err();
        assert!(error.message.contains(missing), "{error}");
        assert_eq!((error.class, error.billed), (FailureClass::Rejected, Billed::No));
        assert_eq!(asked.check(&Abilities::all_but([]), &"m"), Ok(()));
    }
    let off = ModelRequest { thinking: Some(Thinking::Off), ..asking() };
    assert_eq!(off.check(&Abilities::TEXT, &"m"), Ok(()));
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    for (asked, why) in [
        (ModelRequest { tool_choice: ToolChoice::Any, ..asking() }, "offers none"),
        (ModelRequest { tools: vec![look()], tool_choice: ToolChoice::Named("see".to_owned()), ..asking() }, "`see`"),
        (ModelRequest { thinking: Some(Thinking::Budget(Tokens(100))), ..asking() }, "leave nothing of the 100"),
    ] {
        let error = asked.check(&Abilities::all_but([]), &"m").unwrap_err();
        assert!(error.message.contains(why), "{error}");
    }
}

#[test]
fn tokens_are_counted_for_all_that_is_sent() {
    let (plain, about) = (asking().tokens_at_most(), asking().whole_about());
    assert!(plain.0 >= 6 + 16);
    let more = [
        ModelRequest { tools: vec![look()], ..asking() },
        ModelRequest { output_schema: Some(OutputSchema { name: "abc".into(), schema: json!({}) }), ..asking() },
        ModelRequest {
            messages: vec![Message::of(Role::User, vec![Block::Image(Image::Url("http://a".into()))])],
            ..asking()
        },
        ModelRequest {
            messages: vec![Message::results([ToolResult::text("1", "a long answer of a tool")])],
            ..asking()
        },
    ];
    assert!(more.iter().all(|asked| asked.tokens_at_most() > plain && asked.whole_about() > about));
}

#[test]
fn only_a_limit_that_is_used_up_holds_the_next_call_back() {
    let second = std::time::Duration::from_secs(1);
    let window = |remaining| Window { limit: Some(9), remaining, resets_in: Some(second) };
    let news = |remaining| RateNews { tokens: window(remaining), ..RateNews::default() };
    assert_eq!((news(Some(1)).hold(), news(None).hold(), news(Some(0)).hold()), (None, None, Some(second)));
    assert_eq!(RateNews { retry_after: Some(second * 2), ..news(Some(0)) }.hold(), Some(second * 2));
    // What is left is for the calls to come, each of which needs another part of it.
    let rest = Some((policies::tokens::Tokens(1), second));
    assert_eq!((news(Some(1)).left().tokens, news(None).left().tokens, news(Some(1)).left().input), (rest, None, None));
    let untold = Window { resets_in: None, ..window(Some(0)) };
    assert_eq!(RateNews { requests: untold, ..RateNews::default() }.hold(), None);
}
