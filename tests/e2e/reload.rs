//! Policies that change while the system runs.

use std::sync::Arc;
use std::time::Duration;

use actors::entity::Entity;
use actors::world::World;
use agents::run::{EffectOutcome, End, Event, Run, Terms};
use agents::workflow::ANNOUNCE;
use chaos::simulation::{brief, parts, provider};
use gateway::config::Config;
use gateway::policy::Documents;
use gateway::system::{Governed, NewRun, ReloadError, Reloaded, System, Wanted, run_id, watch};
use storage::disk::sim::SimDisk;
use storage::journal::Version;

fn built_in() -> Documents {
    Documents::read(&Config::default()).unwrap()
}

/// A system whose files say this.
async fn start(disk: &SimDisk, documents: Documents) -> Arc<System> {
    start_seeded(7, disk, documents).await
}

/// The same; each life on one disk needs a seed of its own, which its ids are drawn from.
async fn start_seeded(seed: u64, disk: &SimDisk, documents: Documents) -> Arc<System> {
    start_configured(seed, disk, Config::default(), documents).await
}

async fn start_configured(seed: u64, disk: &SimDisk, config: Config, documents: Documents) -> Arc<System> {
    let world = World::simulated(seed, provider(seed));
    let mut parts = parts(&world, disk).unwrap();
    parts.policies = gateway::policy::Policies::of(&config, &documents).unwrap();
    parts.governed = Some(Governed { config, documents });
    Arc::new(System::start(parts).await.unwrap())
}

async fn begin(system: &Arc<System>, name: &str) -> String {
    let workflow = system.workflow("workflows/announce.toml", ANNOUNCE).unwrap();
    let id = run_id("test", name);
    let (inputs, terms) = (brief(), Terms::default());
    system.accept(NewRun { id: id.clone(), workflow, inputs, principal: "test".to_owned(), terms }).await.unwrap();
    id
}

async fn reload(system: &System, documents: Documents) -> Result<Reloaded, ReloadError> {
    system.reload(Wanted::Documents(Box::new(documents)), false, "test").await
}

/// The built-in policies with other values, in each of the places that change in place.
fn varied(round: u64) -> Documents {
    let mut documents = built_in();
    let edit = |text: &mut String, from: &str, to: String| {
        assert!(text.contains(from), "{from}");
        *text = text.replacen(from, &to, 1);
    };
    edit(&mut documents.tree.text, "restarts = 5, within", format!("restarts = {}, within", round % 50 + 1));
    edit(&mut documents.tree.text, "wait = \"1s\"", format!("wait = \"{}s\"", round % 9 + 1));
    edit(&mut documents.tree.text, "progress_within = \"5m\"", format!("progress_within = \"{}m\"", round % 7 + 2));
    edit(&mut documents.tree.text, "limit = 10000", format!("limit = {}", 10 + round));
    edit(&mut documents.guard.text, "concurrency = 4", format!("concurrency = {}", round % 6 + 1));
    edit(&mut documents.guard.text, "attempts_max = 4", format!("attempts_max = {}", round % 5 + 1));
    edit(&mut documents.guard.text, "open = \"10s\"", format!("open = \"{}s\"", round % 20 + 1));
    edit(&mut documents.budget.text, "workspace = \"$20.00\"", format!("workspace = \"${}.00\"", 20 + round));
    documents
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_thousand_reloads_disturb_no_run() {
    let system = start(&SimDisk::new(), built_in()).await;
    let ids = [begin(&system, "one").await, begin(&system, "two").await, begin(&system, "three").await];
    let (mut applied, mut refused) = (0, 0);
    for round in 1..=1_000 {
        let mut documents = varied(round);
        if round % 10 == 0 {
            documents.tree.text.push_str("[worker.stranger]\n");
        }
        match reload(&system, documents).await {
            Ok(reloaded) => applied += u64::from(reloaded.applied),
            Err(_) => refused += 1,
        }
        if round == 500 {
            assert!(system.awake() > 0, "the runs are under way");
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!((applied, refused), (900, 100));
    assert_eq!(system.policy_version(), 1 + applied);
    for id in &ids {
        let mut follower = system.follow(id, Version::NONE);
        let mut resolved = 0;
        while let Some(event) = follower.next().await {
            match Run::decode(&event.kind, event.schema, &event.payload).unwrap() {
                Event::Intended(intent) => assert_eq!(intent.attempt, 1, "{} was tried again", intent.path),
                Event::Resolved(outcome) => {
                    assert!(matches!(outcome.outcome, EffectOutcome::Ok { .. }), "{outcome:?}");
                    resolved += 1;
                }
                _ => {}
            }
        }
        assert!(resolved > 0 && matches!(system.state(id).await.unwrap().end, Some(End::Finished { .. })));
    }
    let tree = system.picture();
    for name in ["ledger", "context", "feed", "aggregator", "researcher", "writer", "reviewer", "agents", "runs"] {
        assert_eq!(tree.find(name).unwrap().generation, 1, "{name} was restarted");
    }
    let guard = system.stage().guards.get("model/scripted");
    assert_eq!(guard.policy().concurrency, 999 % 6 + 1);
    assert_eq!(guard.policy().retry.attempts_max, 999 % 5 + 1);
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn what_cannot_be_read_or_may_not_change_leaves_everything_as_it_is() {
    let system = start(&SimDisk::new(), built_in()).await;
    let mut bad = varied(3);
    bad.budget.text.push_str("writr = \"$1.00\"\n");
    let told = reload(&system, bad).await.unwrap_err().to_string();
    assert!(told.contains("did you mean `writer`?"), "{told}");
    let mut other = varied(3);
    other.tree.text = other
        .tree
        .text
        .replace("root = \"callboard\"", "root = \"top\"")
        .replace("supervisor.callboard", "supervisor.top");
    let told = reload(&system, other).await.unwrap_err().to_string();
    assert!(told.contains("`root` cannot change"), "{told}");
    let mut other = varied(3);
    other.tree.text = other.tree.text.replace("[\"feed\"]", "[\"feed\", \"feed2\"]") + "[worker.feed2]\n";
    let told = reload(&system, other).await.unwrap_err().to_string();
    assert!(
        told.contains(
            "nothing in this program can start the worker `feed2`: no agent, publisher or MCP server has that name"
        ),
        "{told}"
    );
    let trial = system.reload(Wanted::Documents(Box::new(varied(3))), true, "test").await.unwrap();
    assert!(!trial.applied && trial.changes.iter().any(|change| change.key == "workspace"), "{trial:?}");
    assert_eq!(system.policy_version(), 1);
    assert_eq!(system.stage().guards.get("model/scripted").policy().concurrency, 4);
    assert!(!reload(&system, built_in()).await.unwrap().applied, "the same texts are no version");
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_start_uses_the_version_in_force_unless_the_files_say_something_new() {
    let disk = SimDisk::new();
    let concurrency = |system: &System| system.stage().guards.get("model/scripted").policy().concurrency;
    let system = start(&disk, built_in()).await;
    assert_eq!(reload(&system, varied(1)).await.unwrap().version, 2);
    let back = system.reload(Wanted::Rollback(None), false, "test").await.unwrap();
    assert_eq!((back.version, concurrency(&system), system.follows_its_files()), (3, 4, false));
    system.shutdown().await;

    // The files still say what was rolled back.
    let system = start_seeded(8, &disk, varied(1)).await;
    assert_eq!((system.policy_version(), concurrency(&system), system.follows_its_files()), (3, 4, false));
    let again = system.reload(Wanted::Rollback(Some(2)), false, "test").await.unwrap();
    assert_eq!((again.version, concurrency(&system)), (4, 2));
    let told = system.reload(Wanted::Rollback(Some(9)), false, "test").await.unwrap_err().to_string();
    assert!(told.contains("there is no version 9"), "{told}");
    system.shutdown().await;

    let system = start_seeded(9, &disk, varied(2)).await;
    assert_eq!((system.policy_version(), concurrency(&system), system.follows_its_files()), (5, 3, true));
    let history = system.policy_history().await.unwrap();
    let causes: Vec<_> =
        history.iter().map(|edition| serde_json::to_value(edition).unwrap()["cause"].clone()).collect();
    assert_eq!(causes, ["start", "rollback", "rollback", "reload", "start"]);
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_lowered_limit_holds_runs_up_and_a_raised_one_lets_new_ones_through() {
    let mut poor = built_in();
    poor.budget.text = poor.budget.text.replace("workspace = \"$20.00\"", "workspace = \"$0.00\"");
    let system = start(&SimDisk::new(), poor).await;
    let held = begin(&system, "held").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let end = system.state(&held).await.unwrap().end.clone();
    assert!(!matches!(end, Some(End::Finished { .. })), "nothing can be paid");
    reload(&system, built_in()).await.unwrap();
    let free = begin(&system, "free").await;
    let mut follower = system.follow(&free, Version::NONE);
    while follower.next().await.is_some() {}
    assert!(matches!(system.state(&free).await.unwrap().end, Some(End::Finished { .. })));
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_changed_file_is_taken_up_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("budget.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("run = \"$1.00\"\n");
    let mut config = Config::default();
    config.policies.budget = Some(file.clone());
    let documents = Documents::read(&config).unwrap();
    let system = start_configured(7, &SimDisk::new(), config.clone(), documents).await;
    drop(system.world().spawn("watch", watch(Arc::clone(&system), config.policies, |_| {})));
    for (text, version) in [
        ("run = \"$1.00\"\n", 1),
        ("run = \"$1.50\"\nagent = \"$2.00\"\n", 2),
        ("run = \"$1.50\nagent\n", 2),
        ("run = \"$3.00\"\n", 3),
    ] {
        write(text);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(system.policy_version(), version, "{text}");
    }
    system.shutdown().await;
}

/// The built-in policies, with a tree that has no reviewer.
fn without_reviewer() -> Documents {
    let mut documents = built_in();
    let text = documents.tree.text.replace("\"writer\", \"reviewer\"]", "\"writer\"]");
    let (before, reviewer) = text.split_once("[worker.reviewer]").unwrap();
    documents.tree.text = format!("{before}{}", reviewer.split_once("\n\n").unwrap().1);
    documents
}

async fn finishes(system: &Arc<System>, id: &str) -> bool {
    let mut follower = system.follow(id, Version::NONE);
    while follower.next().await.is_some() {}
    matches!(system.state(id).await.unwrap().end, Some(End::Finished { .. }))
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_agent_goes_and_comes_back_and_its_work_waits_for_it() {
    let disk = SimDisk::new();
    let system = start(&disk, built_in()).await;
    let first = begin(&system, "first").await;
    let gone = reload(&system, without_reviewer()).await.unwrap();
    let told: Vec<_> = gone.changes.iter().map(|change| format!("{} {:?}", change.key, change.effect)).collect();
    assert_eq!(told, ["supervisor.agents.children InPlace", "reviewer Stops { children: [\"reviewer\"] }"]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(system.picture().find("reviewer").is_none());
    assert!(system.state(&first).await.unwrap().end.is_none(), "it waits for its reviewer");
    system.shutdown().await;

    // So it does over a start.
    let system = start_seeded(8, &disk, without_reviewer()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(system.state(&first).await.unwrap().end.is_none());
    let back = system.reload(Wanted::Rollback(Some(1)), false, "test").await.unwrap();
    assert!(back.changes.iter().any(|change| format!("{:?}", change.effect) == "Starts { children: [\"reviewer\"] }"));
    assert!(finishes(&system, &first).await);
    assert_eq!(system.picture().find("writer").unwrap().generation, 1);
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_tree_is_turned_over_again_and_again_and_every_run_finishes() {
    let system = start(&SimDisk::new(), built_in()).await;
    let tree = |edit: &dyn Fn(String) -> String| {
        let mut documents = built_in();
        documents.tree.text = edit(documents.tree.text);
        documents
    };
    let shapes = [
        built_in(),
        without_reviewer(),
        // The publishers' supervisor goes, and the feed stands where it stood.
        tree(&|text| {
            let (before, rest) = text.split_once("[supervisor.publishers]").unwrap();
            let after = rest.split_once("[worker.feed]").unwrap().1;
            format!("{before}[worker.feed]{after}").replace("\"publishers\"", "\"feed\"")
        }),
        tree(&|text| {
            text.replace("\"researcher\", \"writer\", \"reviewer\"", "\"reviewer\", \"writer\", \"researcher\"")
        }),
        // Another level above the agents.
        tree(&|text| {
            text.replace("\"agents\", \"runs\"", "\"crew\", \"runs\"") + "[supervisor.crew]\nchildren = [\"agents\"]\n"
        }),
    ];
    let ids = [begin(&system, "one").await, begin(&system, "two").await, begin(&system, "three").await];
    for round in 0..60 {
        reload(&system, shapes[round % shapes.len()].clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    reload(&system, built_in()).await.unwrap();
    for id in &ids {
        assert!(finishes(&system, id).await, "{id}");
    }
    let picture = system.picture();
    for name in ["callboard", "ledger", "context", "aggregator", "runs"] {
        assert_eq!(picture.find(name).unwrap().generation, 1, "{name} was restarted");
    }
    let names: Vec<_> =
        picture.root.nodes().map(|node| node.name.as_str()).filter(|name| !name.starts_with("run/")).collect();
    assert_eq!(
        names,
        [
            "callboard",
            "ledger",
            "context",
            "publishers",
            "feed",
            "aggregator",
            "agents",
            "researcher",
            "writer",
            "reviewer",
            "runs"
        ]
    );
    system.shutdown().await;
}
