//! What operators can rely on: only they are let in, every fault ends, and one stop ends all.

use actors::transport;
use agents::secret::Secret;
use supervisor::NodeKind;

use super::*;

/// A world with live faults, two agents, their supervisor, and no tree.
pub(super) struct Play {
    pub(super) live: Live,
    pub(super) world: World,
    killed: Arc<Mutex<Vec<String>>>,
}

pub(super) fn play() -> Play {
    let world = World::simulated(1, transport::unplugged());
    let live = Live::new(world.clone(), Key::fixed(Secret::new("open sesame")));
    let killed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&killed);
    let nodes = || {
        let workers = ["writer", "reviewer", "run/7"].map(|name| (name.to_owned(), NodeKind::Worker));
        workers.into_iter().chain([("team".to_owned(), NodeKind::Supervisor)]).collect()
    };
    let kill = move |name| {
        told.lock().unwrap().push(name);
        Box::pin(std::future::ready(true)) as futures::future::BoxFuture<'static, bool>
    };
    live.attach_actors(Actors::new(nodes, kill));
    Play { live, world, killed }
}

impl Play {
    pub(super) fn start(&self, text: &str) -> Result<Shown, NotFault> {
        self.live.start(serde_json::from_str(text).unwrap())
    }

    /// What was noted since the last look.
    fn notes(&self) -> Vec<(&'static str, u32)> {
        let mut pages = self.live.0.pages.lock().unwrap();
        let pages = pages.as_mut().unwrap();
        std::iter::from_fn(|| pages.next()).map(|(_, kind, hits)| (kind, hits)).collect()
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_token_is_admitted() {
    let play = play();
    assert!(play.live.admits(b"open sesame").await);
    for wrong in [&b""[..], b"open sesam", b"open sesame ", b"Open sesame"] {
        assert!(!play.live.admits(wrong).await);
    }
}

/// A token that a test changes.
#[derive(Clone)]
struct Place(Arc<Mutex<&'static str>>);

#[async_trait::async_trait]
impl agents::key::SecretSource for Place {
    async fn read(&self) -> Result<Secret, String> {
        Ok(Secret::new(*self.0.lock().unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_rotated_without_a_restart() {
    let world = World::simulated(1, transport::unplugged());
    let place = Place(Arc::new(Mutex::new("open sesame")));
    let live = Live::new(world.clone(), Key::read_from(place.clone(), world, Duration::from_secs(10)));
    assert!(live.admits(b"open sesame").await);
    *place.0.lock().unwrap() = "open barley";
    seconds(11).await;
    assert!(live.admits(b"open barley").await && !live.admits(b"open sesame").await);
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_by_itself_and_each_step_is_noted() {
    let play = play();
    let id = play.start(r#"{ "kind": "actor_error", "target": "writer", "for": "10s" }"#).unwrap().id;
    assert!(play.world.turn("writer").await.is_err());
    assert!(play.world.turn("reviewer").await.is_ok());
    seconds(9).await;
    assert!(play.world.turn("writer").await.is_err());
    seconds(2).await;
    assert!(play.world.turn("writer").await.is_ok());
    assert_eq!(play.notes(), [("chaos.started", 0), ("chaos.expired", 2)]);
    let [shown] = &play.live.list()[..] else { panic!("{:?}", play.live.list()) };
    assert_eq!((&shown.id, shown.standing, shown.hits), (&id, Standing::Expired, 2));
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_has_hit_all_that_it_may_is_noted_once() {
    let play = play();
    play.start(r#"{ "kind": "actor_error", "target": "*", "hits_max": 2, "for": "10s" }"#).unwrap();
    for (actor, is_hit) in [("writer", true), ("reviewer", true), ("writer", false)] {
        assert_eq!(play.world.turn(actor).await.is_err(), is_hit);
    }
    seconds(11).await;
    assert_eq!(play.notes(), [("chaos.started", 0), ("chaos.used_up", 2)]);
}

#[tokio::test(start_paused = true)]
async fn one_stop_ends_all_at_once() {
    let play = play();
    play.start(r#"{ "kind": "actor_error", "target": "writer" }"#).unwrap();
    let other = play.start(r#"{ "kind": "actor_error", "target": "reviewer" }"#).unwrap();
    assert_eq!(play.live.stop().len(), 2);
    assert!(play.world.turn("writer").await.is_ok() && play.world.turn("reviewer").await.is_ok());
    assert_eq!(play.live.stop_one(&other.id).unwrap().standing, Standing::Stopped);
    assert_eq!(play.live.stop_one("nothing"), None);
    let third = play.start(r#"{ "kind": "actor_error", "target": "writer" }"#).unwrap();
    assert_eq!(play.live.stop_one(&third.id).unwrap().standing, Standing::Stopped);
    let kinds: Vec<_> = play.notes().into_iter().map(|(kind, _)| kind).collect();
    let (started, stopped) = ("chaos.started", "chaos.stopped");
    assert_eq!(kinds, [started, started, stopped, stopped, started, stopped]);
    seconds(60).await;
    assert!(play.notes().is_empty(), "what was stopped does not expire");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_when_the_process_ends() {
    let play = play();
    play.start(r#"{ "kind": "actor_error", "target": "writer" }"#).unwrap();
    play.live.close().await;
    assert!(play.world.turn("writer").await.is_ok());
    assert_eq!(play.live.list()[0].standing, Standing::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_hangs_is_freed_when_the_fault_is_gone_and_one_in_another_turn_is_not() {
    let play = play();
    play.start(r#"{ "kind": "actor_hang", "target": "*", "hits_max": 2, "for": "10s" }"#).unwrap();
    let hang = |actor: &'static str| {
        let world = play.world.clone();
        play.world.spawn("turn", async move { world.turn(actor).await.map(drop) })
    };
    let (writer, reviewer) = (hang("writer"), hang("reviewer"));
    seconds(5).await;
    assert!(!writer.is_finished() && !reviewer.is_finished());
    // Somebody has killed it meanwhile, and it is in a later turn.
    reviewer.abort();
    seconds(1).await;
    let _turn = play.world.turn("reviewer").await.unwrap();
    seconds(5).await;
    assert_eq!(*play.killed.lock().unwrap(), ["writer"]);
    writer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_kill_takes_each_that_it_names_once_and_no_more_than_it_may() {
    for (fault, wanted) in [
        (r#"{ "kind": "actor_kill", "target": "*er" }"#, &["reviewer", "writer"][..]),
        (r#"{ "kind": "actor_kill", "target": "*", "hits_max": 1 }"#, &["reviewer"]),
        (r#"{ "kind": "actor_kill", "target": "run/8" }"#, &[]),
    ] {
        let play = play();
        play.start(fault).unwrap();
        seconds(60).await;
        assert_eq!(*play.killed.lock().unwrap(), wanted, "{fault}");
        assert_eq!(play.live.list()[0].hits as usize, wanted.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_stands_for_nothing_is_told_with_what_there_is() {
    let play = play();
    let _ = play.live.models("small", transport::unplugged());
    for (fault, wanted) in [
        (r#"{ "kind": "actor_panic", "target": "wirter" }"#, "known: `reviewer`, `run/*`, `writer`"),
        // A supervisor takes no turns.
        (r#"{ "kind": "actor_panic", "target": "team" }"#, "known: `reviewer`, `run/*`, `writer`"),
        (r#"{ "kind": "actor_kill", "target": "taem" }"#, "known: `reviewer`, `run/*`, `team`, `writer`"),
        (r#"{ "kind": "provider_reset", "target": "llm/big" }"#, "known: `llm/small`"),
        (r#"{ "kind": "platform_reset" }"#, "there is nothing"),
    ] {
        let error = play.start(fault).unwrap_err().to_string();
        assert!(error.ends_with(wanted), "{error}");
    }
    assert!(play.live.list().is_empty());
}
