//! What the scripted model says. Invariant: a pure function of the request, so
//! that two runs with one seed read the same words.

use serde::Serialize;
use serde_json::{Value, json};

/// Sentences that a launch post could hold; none carries a banned word.
const SENTENCES: [&str; 8] = [
    "It does its work without a network, where you need it most.",
    "Every number in it was measured by the people who use it.",
    "You plan at the kitchen table and sail with the same plan.",
    "It takes minutes to learn and stays out of your way.",
    "What it knows stays with you, on your own device.",
    "It was tested for a whole summer by those who asked for it.",
    "One price covers all who are on board.",
    "It says what it does, and it does what it says.",
];
/// A request whose last turn holds one of these words is asked for a score.
const SCORE_SIGNS: [&str; 3] = ["score", "rate", "1-10"];
/// What follows this in the last turn are the words to begin with.
const BEGIN: &str = "with exactly these words, then go on: ";
/// What follows this in a turn is the JSON Schema that the reply shall fit …
const SCHEMA: &str = "with nothing but JSON that fits this JSON Schema:\n";
/// … to which this model, like others, keeps only when it is told again.
const COMPLAINT: &str = "That is not the JSON that was asked for.";
/// What is billed for a picture.
const PICTURE_TOKENS: u64 = 1000;
/// Characters of a token, by the usual rule of thumb.
const TOKEN_CHARS: usize = 4;

/// One scripted reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Names this request: the same for the same body.
    pub id: String,
    /// What the model says.
    pub text: String,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written, those of its thoughts included.
    pub completion_tokens: u64,
    /// Tokens thought.
    pub reasoning_tokens: u64,
}

impl Reply {
    /// As chat completions' whole reply.
    #[must_use]
    pub fn whole(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": self.text },
                "finish_reason": "stop",
            }],
            "usage": self.usage(),
        })
    }

    /// As the events of a streamed reply, `[DONE]` included.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        let chunk = |choices: &[Choice<'_>], usage: Option<Value>| {
            let chunk = Chunk { id: &self.id, object: "chat.completion.chunk", choices, usage };
            format!("data: {}\n\n", serde_json::to_string(&chunk).unwrap_or_default())
        };
        let choice = |content, finish_reason| Choice { index: 0, delta: Delta { content }, finish_reason };
        let words = self.text.split_inclusive(' ');
        let mut events: Vec<_> = words.map(|word| chunk(&[choice(Some(word), None)], None)).collect();
        events.push(chunk(&[choice(None, Some("stop"))], None));
        events.push(chunk(&[], Some(self.usage())));
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn usage(&self) -> Value {
        let mut usage = json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        });
        if self.reasoning_tokens > 0 {
            usage["completion_tokens_details"] = json!({ "reasoning_tokens": self.reasoning_tokens });
        }
        usage
    }
}

/// A part of a streamed reply.
#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'a str,
    choices: &'a [Choice<'a>],
    usage: Option<Value>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// The reply to a chat completion's body.
#[must_use]
pub fn reply(body: &[u8]) -> Reply {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let content = |m: &Value| words(&m["content"]);
    let pictures = messages.iter().map(|m| pictures(&m["content"])).sum::<u64>();
    // What Anthropic's shape has of the system stands beside the messages.
    let read = words(&request["system"]).len() + messages.iter().map(|m| content(m).len()).sum::<usize>();
    let last = messages.last().map(content).unwrap_or_default();
    let hash = fingerprint(body);
    let lower = last.to_lowercase();
    let native = &request["response_format"]["json_schema"]["schema"];
    let told = || messages.iter().find_map(|m| serde_json::from_str(content(m).split_once(SCHEMA)?.1).ok());
    let schema = if last.starts_with(COMPLAINT) { told() } else { native.is_object().then(|| native.clone()) };
    let text = if let Some(schema) = schema {
        sample(&schema, hash).to_string()
    } else if SCORE_SIGNS.iter().any(|sign| lower.contains(sign)) {
        (6 + hash % 5).to_string()
    } else {
        let opening = last.split_once(BEGIN).map_or_else(String::new, |(_, words)| format!("{} ", words.trim()));
        let place = usize::try_from(hash % SENTENCES.len() as u64).unwrap_or(0);
        format!("{opening}{}", SENTENCES.get(place).copied().unwrap_or_default())
    };
    let reasoning_tokens = request["reasoning_effort"].as_str().map_or(0, thought);
    Reply {
        id: format!("scripted-{hash:016x}"),
        prompt_tokens: tokens(read) + pictures * PICTURE_TOKENS,
        completion_tokens: tokens(text.len()) + reasoning_tokens,
        reasoning_tokens,
        text,
    }
}

/// What is thought where so much effort is asked for.
fn thought(effort: &str) -> u64 {
    match effort {
        "none" => 0,
        "minimal" | "low" => 16,
        "medium" => 32,
        _ => 64,
    }
}

/// A value that fits a schema of the plain kinds.
fn sample(schema: &Value, hash: u64) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties.map(|(name, part)| (name.clone(), sample(part, hash))).collect()
        }
        Some("array") => json!([sample(&schema["items"], hash)]),
        Some("integer" | "number") => json!(schema["minimum"].as_i64().unwrap_or(1)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        _ => json!(format!("word {}", hash % 100)),
    }
}

/// A text, or the texts of blocks.
fn words(content: &Value) -> String {
    let block = |block: &Value| block["text"].as_str().unwrap_or_default().to_owned();
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(block).collect(),
        _ => String::new(),
    }
}

/// How many pictures are among blocks.
fn pictures(content: &Value) -> u64 {
    let is_picture = |block: &&Value| matches!(block["type"].as_str(), Some("image" | "image_url"));
    content.as_array().into_iter().flatten().filter(is_picture).count() as u64
}

fn tokens(chars: usize) -> u64 {
    chars.div_ceil(TOKEN_CHARS).max(1) as u64
}

/// FNV-1a: small, stable over builds, and not meant to resist anybody.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_gets_the_same_words() {
        let body = br#"{"messages":[{"role":"user","content":"Write a sentence"}],"seed":1}"#;
        assert_eq!(reply(body), reply(body));
        let other = br#"{"messages":[{"role":"user","content":"Write a sentence"}],"seed":2}"#;
        assert_ne!(reply(body).id, reply(other).id);
    }

    #[test]
    fn a_score_is_a_number_from_six_to_ten() {
        for seed in 0..50 {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"Score it 1-10"}}],"seed":{seed}}}"#);
            let score: u64 = reply(body.as_bytes()).text.parse().unwrap();
            assert!((6..=10).contains(&score));
        }
    }

    #[test]
    fn a_schema_is_kept_to_where_it_is_set_and_where_it_is_asked_for_again() {
        let schema = json!({ "type": "object", "properties": { "kind": { "enum": ["news"] }, "stars": { "type": "integer", "minimum": 3 } } });
        let fitting = json!({ "kind": "news", "stars": 3 });
        let said = |body: Value| serde_json::from_str::<Value>(&reply(body.to_string().as_bytes()).text).ok();
        let asked = json!({ "role": "user", "content": format!("Write.\n\nAnswer {SCHEMA}{schema}") });
        let again = json!({ "role": "user", "content": format!("{COMPLAINT} Answer again.") });
        assert_eq!(said(json!({ "messages": [asked] })), None);
        assert_eq!(said(json!({ "messages": [asked, again] })), Some(fitting.clone()));
        let format = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": schema } });
        let plain = json!({ "role": "user", "content": "Write." });
        assert_eq!(said(json!({ "messages": [plain], "response_format": format })), Some(fitting));
    }

    #[test]
    fn the_stream_holds_the_whole_text() {
        let body = br#"{"messages":[{"role":"user","content":"Write"}]}"#;
        let reply = reply(body);
        let mut text = String::new();
        for event in reply.events() {
            let data = event.trim().strip_prefix("data: ").unwrap();
            if data != "[DONE]" {
                let chunk: Value = serde_json::from_str(data).unwrap();
                text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
        }
        assert_eq!(text, reply.text);
    }
}
