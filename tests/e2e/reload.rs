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
    other.tree.text = other.tree.text.replace("\"researcher\", \"writer\"", "\"writer\", \"researcher\"");
    let told = reload(&system, other).await.unwrap_err().to_string();
    assert!(told.contains("`supervisor.agents.children` cannot change"), "{told}");
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
