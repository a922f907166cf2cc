//! What is counted of a system at work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actors::telemetry::Metrics;
use actors::world::World;
use agents::run::Terms;
use agents::workflow::ANNOUNCE;
use chaos::simulation::{brief, parts, provider};
use gateway::system::{NewRun, System, run_id};
use storage::disk::sim::SimDisk;
use storage::journal::Version;
use supervisor::Fault;

async fn play(system: &Arc<System>, name: &str) -> String {
    let workflow = system.workflow("workflows/announce.toml", ANNOUNCE).unwrap();
    let id = run_id("test", name);
    let (inputs, terms) = (brief(), Terms::default());
    system.accept(NewRun { id: id.clone(), workflow, inputs, principal: "test".to_owned(), terms }).await.unwrap();
    // It fails once on its way.
    let _ = system.tree().fault(&format!("run/{id}"), Fault::Kill).await;
    let mut follower = system.follow(&id, Version::NONE);
    while follower.next().await.is_some() {}
    id
}

/// What a line counts, without its value.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn there_are_no_more_series_however_many_runs_there_are() {
    let world = World::simulated(7, provider(7));
    let system = Arc::new(System::start(parts(&world, &SimDisk::new()).unwrap()).await.unwrap());
    let mut ids = vec![play(&system, "first").await];
    let few = series(&system.metrics());
    for number in 0..12 {
        ids.push(play(&system, &format!("run {number}")).await);
    }
    let text = system.metrics();
    let new: Vec<_> = series(&text).difference(&few).cloned().collect();
    let is_known =
        |line: &String| ["class", "outcome", "state", "reason", "from"].iter().any(|label| line.contains(label));
    assert!(new.iter().all(is_known), "only words of closed sets may be new: {new:#?}");
    assert!(ids.iter().all(|id| !text.contains(id.as_str())), "{text}");
    let killed = "callboard_restarts_total{supervisor=\"runs\",child=\"runs\",class=\"shutdown\"} ";
    let killed = text.lines().find_map(|line| line.strip_prefix(killed)).unwrap();
    assert_eq!(killed.parse::<usize>().unwrap(), ids.len());

    let listed: BTreeSet<String> = Metrics::new().listed().into_iter().map(|metric| metric.name).collect();
    let shown = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
    });
    let unknown: Vec<_> = shown.filter(|name| !listed.contains(name)).collect();
    assert_eq!(unknown, Vec::<String>::new(), "each is on the page that lists them");
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_tree_is_counted_as_it_is_now() {
    let world = World::simulated(8, provider(8));
    let system = Arc::new(System::start(parts(&world, &SimDisk::new()).unwrap()).await.unwrap());
    let has =
        |line: &str| assert!(system.metrics().lines().any(|is| is == line), "{line} is not in\n{}", system.metrics());
    has("callboard_children{supervisor=\"agents\",state=\"up\"} 3");
    has("callboard_breaker_state{guard=\"model/scripted\",state=\"closed\"} 1");
    has("callboard_breaker_state{guard=\"model/scripted\",state=\"open\"} 0");
    system.operate("test", "writer", supervisor::Word::Stop).await.unwrap();
    system.tree().fault("feed", Fault::Kill).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    has("callboard_children{supervisor=\"agents\",state=\"up\"} 2");
    has("callboard_children{supervisor=\"agents\",state=\"parked\"} 1");
    has("callboard_children_held{supervisor=\"agents\",reason=\"operator\"} 1");
    has("callboard_failures_total{supervisor=\"publishers\",child=\"feed\",class=\"shutdown\"} 1");
    has("callboard_down_seconds_count{supervisor=\"publishers\"} 1");
    system.shutdown().await;
}
