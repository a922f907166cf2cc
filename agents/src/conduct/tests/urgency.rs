//! Who goes first where calls wait for the model's guard: as the step says, or else the run.

use policies::priority::Priority;

use super::*;

fn step(id: &str, lines: &str) -> String {
    format!(
        "[[steps.steps]]\nid = \"{id}\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"{id}\"\noutput_max = 20\n{lines}\n"
    )
}

/// The prompts in the order in which the model heard them, when all had to wait for its one place.
async fn heard(steps: &[(&str, &str)], priority: Priority) -> Vec<String> {
    let house = House::with(&[]).await;
    let mut guards = policies::guard::Guards::default();
    guards.set("default", GuardPolicy { concurrency: 1, ..GuardPolicy::default() });
    house.stage.guards.govern(guards);
    let held = house.stage.guards.get("model/main").try_admit().unwrap();
    let steps: String = steps.iter().map(|(id, lines)| step(id, lines)).collect();
    let text = format!("[[steps]]\nid = \"p\"\nkind = \"parallel\"\n{steps}");
    house.take_on(&text, Terms { priority, ..Terms::default() }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(held);
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    let heard = house.main.heard.lock().unwrap();
    heard.iter().map(|request| request.messages.last().unwrap().text().into_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_urgent_steps_of_a_run_go_first() {
    let steps = [("later", "priority = \"low\""), ("plain", ""), ("now", "priority = \"high\"")];
    assert_eq!(heard(&steps, Priority::Normal).await, ["now", "plain", "later"]);
    assert_eq!(heard(&steps, Priority::Low).await[0], "now");
    // What says nothing is as urgent as the run.
    let heard = heard(&[("plain", ""), ("normal", "priority = \"normal\"")], Priority::High).await;
    assert_eq!(heard, ["plain", "normal"]);
}

#[test]
fn terms_that_say_nothing_of_it_are_written_as_they_were() {
    let written = serde_json::to_value(Terms::default()).unwrap();
    assert!(written.get("priority").is_none(), "{written}");
    let terms: Terms = serde_json::from_value(written).unwrap();
    assert_eq!(terms.priority, Priority::Normal);
    let urgent = Terms { priority: Priority::High, ..Terms::default() };
    assert_eq!(serde_json::from_value::<Terms>(serde_json::to_value(urgent).unwrap()).unwrap(), urgent);
}
