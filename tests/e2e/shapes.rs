//! Steps that want JSON of their models, or have them think, as a user writes and runs them.

use agents::run::Event;

use crate::desk::{Desk, Provider};

const POST: &str = r#"{
  "type": "object",
  "properties": {
    "headline": { "type": "string" },
    "kind": { "enum": ["launch", "sale"] },
    "stars": { "type": "integer", "minimum": 4, "maximum": 9 }
  },
  "required": ["headline", "kind", "stars"],
  "additionalProperties": false
}"#;

fn workflow(field: &str) -> String {
    format!(
        "name = \"shaped\"\n[inputs]\nproduct = {{ type = \"text\" }}\n\
         [[steps]]\nid = \"plan\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"Plan a post about {{{{ inputs.product }}}}.\"\n\
         output_max = 200\nschema = \"post.json\"\n\
         [[steps]]\nid = \"publish\"\nkind = \"publish\"\npublisher = \"feed\"\n\
         post = {{ title = \"{{{{ steps.plan.output.{field} }}}} of {{{{ steps.plan.output.stars + 1 }}}} stars\", text = \"steps.plan.output.headline\" }}\n"
    )
}

#[test]
fn a_step_gives_json_of_a_schema_whatever_its_model_can_do() {
    for (without, repairs) in [("", 0), ("without = [\"schema\"]\n", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
        let desk = Desk::new(&provider.url);
        let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
        std::fs::write(desk.path("callboard.toml"), format!("{config}{without}")).unwrap();
        let brief = desk.brief("one");
        std::fs::write(brief.join("post.json"), POST).unwrap();
        std::fs::write(brief.join("workflow.toml"), workflow("kindd")).unwrap();
        let said = desk.callboard(&["check", "one"]).bad();
        assert!(
            said.out.contains("the schema of step `plan` has no property `kindd`; did you mean `kind`?"),
            "{}",
            said.out
        );
        std::fs::write(brief.join("workflow.toml"), workflow("kind")).unwrap();
        desk.callboard(&["check", "one"]).good();
        desk.callboard(&["run", "one", "--plain"]).good();
        let titles: Vec<String> = desk.feed().into_iter().map(|(_, title)| title).collect();
        assert_eq!(titles, ["launch of 5 stars"]);
        let events = desk.events();
        let bill = events.iter().find_map(|event| match event {
            Event::Resolved(resolved) if resolved.path.as_str() == "plan" => {
                Some((resolved.usage.repeats, resolved.cost))
            }
            _ => None,
        });
        let reserved = events.iter().find_map(|event| match event {
            Event::Intended(intent) if intent.path.as_str() == "plan" => Some(intent.reserved),
            _ => None,
        });
        let ((repeats, cost), reserved) = (bill.unwrap(), reserved.unwrap());
        assert_eq!(repeats, repairs);
        assert!(cost <= reserved, "{cost} of {reserved}");
        assert_eq!(provider.calls().values().sum::<u64>(), 1 + repairs, "what was asked again was paid for");
    }
}

#[test]
fn a_model_thinks_as_its_agent_or_its_step_says() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    desk.configure(&provider.url, "[agents.writer]\nthinking = \"low\"\n");
    let step = |id: &str, more: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"{id}\"\noutput_max = 200\n{more}"
        )
    };
    let steps = [step("own", ""), step("more", "thinking = \"high\"\n"), step("none", "thinking = \"off\"\n")];
    let brief = desk.brief("one");
    std::fs::write(brief.join("workflow.toml"), format!("name = \"thinks\"\n{}", steps.concat())).unwrap();
    desk.callboard(&["run", "one", "--plain"]).good();
    let thought: Vec<(String, u64)> = desk
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Resolved(resolved) => Some((resolved.path.to_string(), resolved.usage.reasoning.0)),
            _ => None,
        })
        .collect();
    assert_eq!(thought, [("own".to_owned(), 16), ("more".to_owned(), 64), ("none".to_owned(), 0)]);
    let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
    std::fs::write(desk.path("callboard.toml"), format!("{config}without = [\"thinking\"]\n")).unwrap();
    let said = desk.callboard(&["check"]).bad();
    assert!(said.out.contains("`thinking` is for a model that can be told how much to think"), "{}", said.out);
}
