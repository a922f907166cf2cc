//! The announcement: three posts, at most three drafts each, and only what
//! keeps the rules goes out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

const LINK: &str = "https://gullwing.example/3";

/// A model that writes `opening` after the prefill and scores as told.
struct World {
    opening: fn(&str) -> &'static str,
    score: &'static str,
}

impl World {
    fn answer(&self, step: &ReadyStep) -> Value {
        match &*step.action {
            Action::Agent(call) if call.agent == "writer" => {
                let prefill = call.prefill.clone().unwrap_or_default();
                assert!(call.prompt.split_whitespace().count() < 110, "a small model's prompt: {}", call.prompt);
                json!({"text": format!("{prefill} {}", (self.opening)(step.path.as_str()))})
            }
            Action::Agent(_) => json!({"text": format!("Score: {}", self.score)}),
            Action::Tool(call) if call.tool == "context.search" => {
                let note = |text: &str| json!({"text": text, "source": "brief", "kind": "fact", "score": 0.5});
                json!({"notes": [
                    note("# Gullwing 3\nGullwing 3 is a kettle for boats. It boils a litre in four minutes."),
                    note("## Power\nIt draws 300 watts from a 12 volt battery, and stops by itself."),
                    note("Is it loud? No. It hums at 31 decibels."),
                    note("It is a seamless kettle."),
                    note("The kettle was tested on 40 boats over one winter."),
                    note("It costs 79 euros and comes with two lids."),
                ]})
            }
            Action::Tool(_) => json!({"notes": 3}),
            Action::Approve(_) => json!({"approved": !step.path.as_str().contains("[2]"), "by": "ann"}),
            Action::Publish(post) => json!({"url": format!("https://feed.example/{}", post.title.len())}),
        }
    }

    fn play(&self) -> (Vec<Value>, Vec<ReadyStep>) {
        let known = Known::new(["writer", "reviewer"], ["feed"]);
        let workflow = check("announce.toml", ANNOUNCE, &known)
            .unwrap_or_else(|errors| panic!("{}", errors.iter().map(|error| format!("{error}\n")).collect::<String>()));
        let given: BTreeMap<String, Value> = serde_json::from_value(json!({
            "brief": "# Gullwing 3\n\nGullwing 3 is a kettle for boats. It boils a litre in four minutes.\n\nLink: https://gullwing.example/3\n\nIt is blue.",
            "product": "Gullwing 3",
            "link": LINK,
            "brand": "## Words we do not use\n\n- Seamless\n",
        }))
        .unwrap();
        let inputs = workflow.bind(given).unwrap();
        let mut outcomes = Outcomes::new();
        let mut settled = Settled::default();
        let mut asked = Vec::new();
        loop {
            let given = Given { run: "r", inputs: &inputs, outcomes: &outcomes };
            let next = advance(&workflow, given).unwrap();
            assert_eq!(go_on(&workflow, given, &mut settled), Ok(next.clone()), "what was settled changes nothing");
            if let Some(outputs) = next.finished {
                return (outputs["posts"].as_array().unwrap().clone(), asked);
            }
            for step in next.ready {
                outcomes.insert(step.path.clone(), self.answer(&step).into());
                asked.push(step);
            }
        }
    }
}

fn field<'v>(posts: &'v [Value], name: &str) -> Vec<&'v Value> {
    posts.iter().map(|post| &post[name]).collect()
}

#[test]
fn three_posts_are_drafted_reviewed_and_published() {
    let world = World { opening: |_| "It boils water wherever you drop anchor. And then it", score: "8" };
    let (posts, asked) = world.play();
    assert_eq!(field(&posts, "channel"), ["feed", "short", "professional"]);
    assert_eq!(field(&posts, "status"), ["published", "published", "rejected"]);
    assert_eq!(field(&posts, "drafts"), [1, 1, 1]);
    assert_eq!(
        posts[0]["text"],
        "We're happy to announce Gullwing 3. It boils water wherever you drop anchor.\n\n\
         It draws 300 watts from a 12 volt battery, and stops by itself.\n\n\
         The kettle was tested on 40 boats over one winter.\n\n\
         It costs 79 euros and comes with two lids.\n\n\
         https://gullwing.example/3"
    );
    assert_eq!(
        posts[1]["text"],
        "Exciting news! We're happy to announce Gullwing 3. It boils water wherever you drop anchor. \
         It draws 300 watts from a 12 volt battery, and stops by itself. https://gullwing.example/3"
    );
    let drafts = asked.iter().filter_map(|step| match &*step.action {
        Action::Publish(post) => Some(post),
        _ => None,
    });
    let drafts: Vec<_> = drafts.collect();
    assert_eq!(drafts.len(), 2);
    assert_eq!((drafts[0].title.as_str(), drafts[0].link.as_deref()), ("Introducing Gullwing 3", Some(LINK)));
}

#[test]
fn a_low_score_is_redrafted_twice_and_no_more() {
    let world = World { opening: |_| "It boils water wherever you drop anchor.", score: "2" };
    let (posts, asked) = world.play();
    assert_eq!(field(&posts, "drafts"), [3, 3, 3]);
    assert_eq!(field(&posts, "status"), ["published", "published", "rejected"], "the rules decide what goes out");
    let writes = asked.iter().filter(|step| step.path.as_str().ends_with("/write"));
    assert_eq!(writes.count(), 9);
}

#[test]
fn a_post_that_breaks_a_rule_is_redrafted_with_the_reason_and_then_held() {
    let world = World {
        opening: |path| if path.contains("draft#2") { "It boils." } else { "It is a seamless joy." },
        score: "8",
    };
    let (posts, asked) = world.play();
    assert_eq!(field(&posts, "drafts"), [2, 2, 2]);
    let second = asked.iter().find_map(|step| match &*step.action {
        Action::Agent(call) if step.path.as_str() == "posts[0]/draft#2/write" => Some(&call.prompt),
        _ => None,
    });
    assert!(second.unwrap().contains("seamless"), "{second:?}");
    let (posts, asked) = World { opening: |_| "It is a seamless joy.", score: "8" }.play();
    assert_eq!(field(&posts, "status"), ["held", "held", "held"]);
    assert_eq!(field(&posts, "url"), [&Value::Null; 3]);
    assert!(!asked.iter().any(|step| matches!(*step.action, Action::Publish(_) | Action::Approve(_))));
}
