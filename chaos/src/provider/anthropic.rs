//! The scripted reply as Anthropic's Messages have it. Invariant: the usage of a stream is cumulative, and its
//! last word comes before the end of the message.

use serde_json::{Value, json};

use super::script::Reply;

/// As a whole message.
pub(super) fn whole(reply: &Reply) -> Value {
    let mut message = opened(reply, &json!([{ "type": "text", "text": reply.text }]), Some("end_turn"));
    message["usage"]["output_tokens"] = json!(reply.completion_tokens);
    message
}

/// As the events of a streamed message.
pub(super) fn events(reply: &Reply) -> Vec<String> {
    let event = |data: &Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
    let start = json!({ "type": "message_start", "message": opened(reply, &json!([]), None) });
    let block = json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    let words = reply.text.split_inclusive(' ').map(
        |word| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } }),
    );
    let ends = [
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({
            "type": "message_delta",
            "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": reply.completion_tokens },
        }),
        json!({ "type": "message_stop" }),
    ];
    [start, block].into_iter().chain(words).chain(ends).map(|data| event(&data)).collect()
}

/// What is said instead of a reply.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": null })
}

fn opened(reply: &Reply, content: &Value, stop_reason: Option<&str>) -> Value {
    json!({
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": { "input_tokens": reply.prompt_tokens, "output_tokens": 1 },
    })
}
