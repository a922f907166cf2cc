//! What comes next, from what is recorded.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

/// Carries a workflow out, a leaf's output being what `answer` gives.
fn play(text: &str, inputs: Value, mut answer: impl FnMut(&ReadyStep) -> Value) -> Result<Played, EvalError> {
    let workflow = workflow(text);
    let inputs: BTreeMap<String, Value> = serde_json::from_value(inputs).unwrap();
    let inputs = workflow.bind(inputs).unwrap();
    let mut outcomes = Outcomes::new();
    let mut settled = Settled::default();
    let mut waves = Vec::new();
    loop {
        let given = Given { run: "r", inputs: &inputs, outcomes: &outcomes };
        let next = advance(&workflow, given);
        assert_eq!(go_on(&workflow, given, &mut settled), next, "what was settled changes nothing");
        let next = next?;
        if let Some(outputs) = next.finished {
            assert!(next.ready.is_empty());
            return Ok(Played { waves, outputs: json!(outputs) });
        }
        assert!(!next.ready.is_empty(), "neither finished nor anything to do");
        waves.push(next.ready.iter().map(|step| step.path.to_string()).collect::<Vec<_>>().join(" "));
        for step in &next.ready {
            outcomes.insert(step.path.clone(), answer(step).into());
        }
    }
}

#[derive(Debug, PartialEq)]
struct Played {
    waves: Vec<String>,
    outputs: Value,
}

fn reply(step: &ReadyStep) -> Value {
    match &*step.action {
        Action::Agent(call) => json!({"text": format!("{}{}", call.prefill.as_deref().unwrap_or(""), call.prompt)}),
        Action::Approve(_) => json!({"approved": true, "by": "ann"}),
        other => json!({"of": other.target()}),
    }
}

#[test]
fn the_json_of_a_step_with_a_schema_is_there_for_the_steps_after_it() {
    let text = r#"
name = "w"
[[steps]]
id = "plan"
kind = "agent"
agent = "writer"
prompt = "Plan."
output_max = 9
schema = { type = "object", properties = { topics = { type = "array", items = { type = "string" } }, stars = { type = "integer" } } }
[[steps]]
id = "each"
kind = "map"
over = "steps.plan.output.topics"
as = "topic"
steps = [{ id = "line", kind = "agent", agent = "writer", prompt = "On {{ topic }}, {{ steps.plan.output.stars + 1 }}", output_max = 9 }]
[outputs]
lines = "steps.each"
whole = "steps.plan.output"
"#;
    let json = json!({ "topics": ["lamps", "desks"], "stars": 3 });
    let answer = |step: &ReadyStep| match step.path.as_str() {
        "plan" => {
            let Action::Agent(call) = &*step.action else { panic!("{step:?}") };
            assert_eq!(call.schema.as_ref().unwrap().name, "plan");
            json!({ "text": json.to_string() })
        }
        _ => reply(step),
    };
    let played = play(text, json!({}), answer).unwrap();
    assert_eq!(played.outputs["whole"], json);
    assert_eq!(
        played.outputs["lines"],
        json!([{ "line": { "text": "On lamps, 4" } }, { "line": { "text": "On desks, 4" } }])
    );
}

#[test]
fn a_step_shows_pictures_of_inputs_and_of_what_tools_answered() {
    let text = r#"
name = "w"
[inputs.photo]
type = "text"
[[steps]]
id = "look"
kind = "tool"
tool = "context.search"
[[steps]]
id = "write"
kind = "agent"
agent = "writer"
prompt = "What is there?"
output_max = 9
images = ["{{ inputs.photo }}", "steps.look.images"]
"#;
    let picture = json!({ "bytes": { "media_type": "image/png", "base64": "AAAA" } });
    let mut seen = Vec::new();
    let mut shows = |photo: &str, looked: Value| {
        play(text, json!({ "photo": photo }), |step| match &*step.action {
            Action::Agent(call) => {
                seen = serde_json::to_value(&call.images).unwrap().as_array().unwrap().clone();
                reply(step)
            }
            _ => json!({ "images": looked }),
        })
        .map(|_| std::mem::take(&mut seen))
        .map_err(|error| error.to_string())
    };
    let address = json!({ "url": "https://a.example/b.png" });
    assert_eq!(shows("data:image/png;base64,AAAA", json!([])), Ok(vec![picture.clone()]));
    assert_eq!(shows("https://a.example/b.png", json!([picture])), Ok(vec![address, picture.clone()]));
    for (photo, looked, wanted) in [
        ("photo.png", json!([]), "step `write`, images: a picture is `data:TYPE;base64,BYTES` or an address"),
        ("data:image/png;base64,AAAA", json!(7), "step `write`, images: must give a text"),
        ("data:image/png;base64,AAAA", json!(vec![picture; PICTURES_SHOWN_MAX]), "gives more than 8 pictures"),
    ] {
        let error = shows(photo, looked).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}

const NESTED: &str = r#"
name = "nested"
[inputs.channels]
type = "list"
[[steps]]
id = "both"
kind = "parallel"
steps = [
  { id = "find", kind = "tool", tool = "context.search", with = { query = "inputs.channels[0]", limit = 3 } },
  { id = "ask", kind = "agent", agent = "writer", prompt = "hello", output_max = 9 },
]
[[steps]]
id = "posts"
kind = "map"
over = "inputs.channels"
as = "channel"
[[steps.steps]]
id = "draft"
kind = "loop"
times_max = 3
until = "steps.write.text|length > 7"
steps = [{ id = "write", kind = "agent", agent = "writer", prompt = "{{ channel }}{% if loop.iteration > 1 %}+{{ loop.previous.write.text }}{% endif %}", output_max = 9 }]
[[steps.steps]]
id = "gate"
kind = "branch"
when = "steps.draft.iterations < 3"
then = [{ id = "post", kind = "publish", publisher = "feed", post = { title = "channel", text = "{{ steps.draft.write.text }}!", link = "'https://a.example'" } }]
[outputs]
drafts = "steps.posts|map(attribute='draft')|map(attribute='write')|map(attribute='text')|list"
gates = "steps.posts|map(attribute='gate')|map(attribute='taken')|list"
ask = "{{ run.id }}:{{ steps.both.ask.text }}"
"#;

#[test]
fn a_tree_is_walked_as_far_as_its_outcomes_reach() {
    let played = play(NESTED, json!({"channels": ["abc", "a"]}), reply).unwrap();
    assert_eq!(
        played.waves,
        [
            "both/find both/ask",
            "posts[0]/draft#1/write posts[1]/draft#1/write",
            "posts[0]/draft#2/write posts[1]/draft#2/write",
            "posts[0]/draft#3/write posts[1]/draft#3/write",
        ]
    );
    let expected = json!({
        "ask": "r:hello", "drafts": ["abc+abc+abc", "a+a+a"], "gates": ["else", "else"],
    });
    assert_eq!(played.outputs, expected);
    let short = play(NESTED, json!({"channels": ["abcd"]}), reply).unwrap();
    assert_eq!(short.waves[2..], ["posts[0]/draft#2/write", "posts[0]/gate/post"]);
}

#[test]
fn an_empty_map_and_an_else_less_branch_are_done_at_once() {
    let played = play(NESTED, json!({"channels": ["x"]}), reply).unwrap();
    assert_eq!(played.outputs["gates"], json!(["else"]));
    let error = play(NESTED, json!({"channels": []}), reply).unwrap_err();
    assert_eq!(error.path.as_str(), "both/find");
    assert!(error.to_string().starts_with("step `both/find`, with.query: "), "{error}");
}

#[test]
fn a_score_is_read_after_the_prefill() {
    let text = r#"
name = "scored"
steps = [{ id = "rate", kind = "agent", agent = "reviewer", prompt = "p", prefill = "From 0 to 10: ", output_max = 4, parse = "score" }]
[outputs]
score = "steps.rate.score"
"#;
    let score = |reply: &str| play(text, json!({}), |_| json!({"text": reply})).unwrap().outputs["score"].clone();
    assert_eq!(score("From 0 to 10: 7/10"), json!(7.0));
    assert_eq!(score("From 0 to 10: well"), Value::Null);
    assert!(play(text, json!({}), |_| json!(3)).unwrap_err().message.contains("no text"));
}

#[test]
fn rules_are_checked_without_an_effect() {
    let text = r#"
name = "rules"
inputs = { text = { type = "text" } }
steps = [{ id = "rules", kind = "check", text = "inputs.text", rules = { graphemes_max = 5, words_banned = ["'bad'"] } }]
outputs = { ok = "steps.rules.ok", breaches = "steps.rules.breaches|length" }
"#;
    let outputs = |input: &str| play(text, json!({"text": input}), reply).unwrap();
    assert_eq!(outputs("fine"), Played { waves: Vec::new(), outputs: json!({"ok": true, "breaches": 0}) });
    assert_eq!(outputs("bad, long").outputs, json!({"ok": false, "breaches": 2}));
}

#[test]
fn the_seed_is_of_the_run_and_the_place() {
    let mut seeds = Vec::new();
    play(NESTED, json!({"channels": ["a", "a"]}), |step| {
        if let Action::Agent(call) = &*step.action {
            seeds.push(call.seed);
        }
        reply(step)
    })
    .unwrap();
    let all = seeds.len();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), all);
}

#[test]
fn a_run_is_bounded() {
    let many = r#"
name = "many"
inputs = { n = { type = "number" } }
[[steps]]
id = "outer"
kind = "map"
over = "range(inputs.n)"
as = "a"
steps = [{ id = "inner", kind = "map", over = "range(inputs.n)", as = "b", steps = [{ id = "x", kind = "compute", with = { y = "a * b" } }] }]
"#;
    let message = |n: usize| play(many, json!({"n": n}), reply).unwrap_err().message;
    assert!(play(many, json!({"n": 9}), reply).is_ok());
    assert_eq!(message(60), "the run comes to more than 2000 steps");
    assert_eq!(message(101), "gives more than 100 items");
    let large = r#"
name = "large"
steps = [{ id = "t", kind = "tool", tool = "mail.send", with = { a = ["x"] } }]
"#;
    let large = large.replace("[\"x\"]", &format!("[{}]", vec!["\"'y' * 16000\""; 70].join(",")));
    assert!(play(&large, json!({}), reply).unwrap_err().message.contains("is the most"));
}

#[test]
fn inputs_are_bound_or_refused_all_at_once() {
    let workflow = workflow(
        "name = \"t\"\ninputs = { a = { type = \"text\" }, b = { type = \"number\", default = 4 }, c = { type = \"list\" } }\n\
         steps = [{ id = \"x\", kind = \"compute\", with = {} }]\n",
    );
    let bind = |inputs: Value| workflow.bind(serde_json::from_value(inputs).unwrap());
    assert_eq!(json!(bind(json!({"a": "x", "c": []})).unwrap()), json!({"a": "x", "b": 4, "c": []}));
    let errors = bind(json!({"c": "x", "d": 1})).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "the input `a` is required; give it with the run",
            "the input `c` must be a list",
            "the workflow has no input `d`; it has `a`, `b`, `c`"
        ]
    );
}

#[test]
fn inputs_that_no_step_could_hand_on_are_refused_before_the_run() {
    let text =
        "name = \"t\"\ninputs = { a = { type = \"text\" } }\nsteps = [{ id = \"x\", kind = \"compute\", with = {} }]\n";
    let bind = |bytes: usize| workflow(text).bind([("a".to_owned(), json!("x".repeat(bytes)))].into());
    // The name and the marks around it take eight bytes.
    assert!(bind(INPUTS_BYTES_MAX - 8).is_ok());
    assert_eq!(bind(INPUTS_BYTES_MAX - 7), Err(vec![InputError::TooLarge { bytes: INPUTS_BYTES_MAX + 1 }]));
}
