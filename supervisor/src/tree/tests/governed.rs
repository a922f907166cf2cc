//! A tree that is held to another policy while it runs.

use super::*;

fn policy(text: &str) -> TreePolicy {
    TreePolicy::read("tree.toml", text).unwrap()
}

async fn crash(yard: &Yard, tree: &Tree, name: &str, generation: u64) {
    yard.tell(name, Do::Panic);
    up_again(tree, name, generation).await;
}

#[tokio::test(start_paused = true)]
async fn a_wider_intensity_holds_at_once_and_stops_nobody() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    for generation in 2..=4 {
        crash(&yard, &tree, "a", generation).await;
    }
    tree.govern(&policy(&three("one_for_one").replace("restarts = 3", "restarts = 5"))).unwrap();
    crash(&yard, &tree, "a", 5).await;
    crash(&yard, &tree, "a", 6).await;
    assert_eq!(tree.draw().find("b").unwrap().generation, 1);
    yard.tell("a", Do::Panic);
    assert!(matches!(tree.wait().await, Ended::Escalated(_)), "what was counted before still counts");
}

#[tokio::test(start_paused = true)]
async fn a_narrower_intensity_counts_what_was() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    crash(&yard, &tree, "a", 2).await;
    crash(&yard, &tree, "b", 2).await;
    tree.govern(&policy(&three("one_for_one").replace("restarts = 3", "restarts = 1"))).unwrap();
    yard.tell("c", Do::Panic);
    assert!(matches!(tree.wait().await, Ended::Escalated(_)));
}

#[tokio::test(start_paused = true)]
async fn another_strategy_decides_about_the_next_failure() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    tree.govern(&policy(&three("rest_for_one"))).unwrap();
    crash(&yard, &tree, "b", 2).await;
    up_again(&tree, "c", 2).await;
    assert_eq!(tree.draw().find("a").unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_comes_back_comes_back_under_the_policy_in_force() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    let wide = NESTED.replace("intensity = { restarts = 1, within", "intensity = { restarts = 3, within");
    tree.govern(&policy(&wide)).unwrap();
    tree.fault("mid", Fault::Kill).await.unwrap();
    up_again(&tree, "mid", 2).await;
    let before = tree.draw().find("b").unwrap().generation;
    for more in 1..=3 {
        crash(&yard, &tree, "b", before + more).await;
    }
    assert_eq!(tree.draw().find("mid").unwrap().generation, 2, "it may make three restarts now");
}

#[tokio::test(start_paused = true)]
async fn children_that_came_at_run_time_are_held_to_the_new_template() {
    let text = "root = 'root'\n[supervisor.root]\nchildren = ['runs']\n[dynamic.runs]\nlimit = 1\nchild = { restart = 'temporary' }\n";
    let mut yard = Yard::new(text);
    let (one, two) = (yard.hand("one"), yard.hand("two"));
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    runs.spawn_child("one", one).await.unwrap();
    tree.govern(&policy(&text.replace("limit = 1", "limit = 2").replace("temporary", "permanent"))).unwrap();
    runs.spawn_child("two", two).await.unwrap();
    crash(&yard, &tree, "one", 2).await;
    assert_eq!(yard.live(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_cannot_be_is_refused_whole() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    let text = three("one_for_all").replace("restarts = 3", "restarts = 0");
    let stranger = text.replace("\"c\"]", "\"c\", \"d\"]") + "[worker.d]";
    let told = tree.govern(&policy(&stranger)).unwrap_err().to_string();
    assert!(told.contains("nothing in this program can start the worker `d`"), "{told}");
    let other_root = text.replace("\"root\"", "\"top\"").replace("supervisor.root", "supervisor.top");
    let told = tree.govern(&policy(&other_root)).unwrap_err().to_string();
    assert!(told.contains("`top` is not the root"), "{told}");
    crash(&yard, &tree, "b", 2).await;
    assert_eq!(tree.draw().find("c").unwrap().generation, 1, "neither the strategy nor the intensity has changed");
    assert!(tree.draw().find("d").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_policies_stop_nobody() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    for round in 0..1_000 {
        let text = NESTED.replace("restarts = 1, within", &format!("restarts = {}, within", round % 7));
        tree.govern(&policy(&text)).unwrap();
        if round % 100 == 0 {
            tokio::time::sleep(SECOND).await;
        }
    }
    let drawn = tree.draw();
    assert!(["a", "b", "c", "z", "mid"].iter().all(|name| drawn.find(name).unwrap().generation == 1));
}
