//! How a life ends, and what the next one finds.

use policies::failure::FailureClass;
use policies::guard::GuardPolicy;
use ractor::{ActorProcessingErr, ActorRef, SupervisionEvent};
use storage::disk::sim::Loss;

use super::*;
use crate::guard::{CallOutcome, Guards, Refused};

#[tokio::test(start_paused = true)]
async fn a_panic_loses_the_asker_and_the_next_life_refolds_what_was_answered() {
    let rig = Rig::new(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    handle.ask(Command::Add(3)).await.unwrap();
    let ended = rig.notes.ended.lock().unwrap().take().unwrap();
    assert!(!ended.is_cancelled());
    assert!(matches!(handle.ask(Command::Panic).await, Err(AskError::Lost { .. })));
    handle.stopped().await;
    quiet().await;
    assert!(ended.is_cancelled(), "its effects are told to end");
    let next = rig.start(busy_for_ever()).await.unwrap();
    assert_eq!(next.ask(Command::Ask).await, Ok(3));
    assert!(rig.notes.take().contains(&"recovered 3".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_next_life_waits_for_the_last_ones_writes() {
    let mut rig = Rig::held(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    let added = rig.asking(&handle, Command::Add(1));
    quiet().await;
    assert!(matches!(handle.ask(Command::Panic).await, Err(AskError::Lost { .. })));
    assert!(matches!(added.await.unwrap(), Err(AskError::Lost { .. })), "it may have happened: it did");
    let (spine, notes) = (rig.spine.clone(), rig.notes.clone());
    let starting = rig
        .spine
        .world
        .spawn("start", async move { Durable::<Tally>::start(&spine, "t", notes, busy_for_ever(), None).await });
    quiet().await;
    assert!(!starting.is_finished());
    rig.commit();
    let next = starting.await.unwrap().unwrap();
    assert_eq!(next.ask(Command::Add(1)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_is_in_flight_and_starts_no_effect() {
    let mut rig = Rig::held(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    let added = rig.asking(&handle, Command::Add(1));
    quiet().await;
    handle.cell().stop(None);
    quiet().await;
    assert!(!added.is_finished());
    rig.commit();
    assert_eq!(added.await.unwrap(), Ok(1));
    handle.stopped().await;
    assert!(!rig.notes.take().iter().any(|note| note.starts_with("started")));
}

#[tokio::test(start_paused = true)]
async fn draining_answers_what_is_queued_too() {
    let mut rig = Rig::held(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    let asked = [1, 2, 3].map(|n| rig.asking(&handle, Command::Add(n)));
    quiet().await;
    handle.cell().drain().unwrap();
    rig.commit();
    for asked in asked {
        assert!(asked.await.unwrap().is_ok());
    }
    handle.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_survives_a_power_cut() {
    let (disk, shelves) = (SimDisk::new(), MemoryShelves::new());
    let mut rig = Rig::on(disk.clone(), &shelves, 1);
    rig.commit();
    let handle = rig.start(Options { snapshot_every: 2, ..busy_for_ever() }).await.unwrap();
    for n in 1..=5 {
        handle.ask(Command::Add(n)).await.unwrap();
    }
    quiet().await;
    disk.power_cut(Loss::LoseUnsynced);
    let mut rig = Rig::on(disk, &shelves, crate::world::reboot(1, 1));
    rig.commit();
    let handle = rig.start(busy_for_ever()).await.unwrap();
    assert_eq!(handle.ask(Command::Add(0)).await, Ok(15));
}

#[tokio::test(start_paused = true)]
async fn folds_from_the_last_snapshot_and_keeps_one_when_due() {
    let rig = Rig::new(1);
    let options = Options { snapshot_every: 4, ..busy_for_ever() };
    let handle = rig.start(options.clone()).await.unwrap();
    for n in 1..=9 {
        handle.ask(Command::Add(n)).await.unwrap();
        quiet().await;
    }
    let (at, bytes) = rig.spine.snapshots.get("tally/t", Tally::FOLD).unwrap().unwrap();
    assert_eq!((at.0, bytes.as_slice()), (8, br#"{"version":8,"state":36}"#.as_slice()));
    // A planted snapshot shows that it is what the fold starts from.
    rig.spine.snapshots.put("tally/t", at, Tally::FOLD, br#"{"version":8,"state":1036}"#).unwrap();
    assert_eq!(rig.start(options).await.unwrap().ask(Command::Ask).await, Ok(1045));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_no_use_costs_only_the_fold() {
    let rig = Rig::new(1);
    let handle = rig.start(busy_for_ever()).await.unwrap();
    handle.ask(Command::Add(3)).await.unwrap();
    for (fold, bytes) in [
        (Tally::FOLD, br#"{"version":9,"state":90}"#.as_slice()),
        (Tally::FOLD, b"nonsense"),
        (Tally::FOLD + 1, br#"{"version":1,"state":90}"#),
    ] {
        rig.spine.snapshots.put("tally/t", storage::journal::Seq(1), fold, bytes).unwrap();
        let handle = rig.start(busy_for_ever()).await.unwrap();
        assert_eq!(handle.ask(Command::Ask).await, Ok(3));
    }
}

#[tokio::test(start_paused = true)]
async fn rests_when_nothing_happens_and_the_host_agrees() {
    let rig = Rig::new(1);
    let rest_after = Some(Duration::from_secs(10));
    let handle = rig.start(Options { rest_after, snapshot_every: 1, ..Options::default() }).await.unwrap();
    rig.notes.busy.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(handle.ask(Command::Add(1)).await, Ok(1), "an effect is under way");
    rig.notes.busy.store(false, std::sync::atomic::Ordering::Relaxed);
    let start = rig.spine.world.elapsed();
    handle.stopped().await;
    assert_eq!(rig.spine.world.elapsed() - start, Duration::from_secs(10));
    assert_eq!(handle.ask(Command::Ask).await, Err(AskError::Gone));
    quiet().await;
    assert_eq!(rig.spine.world.tasks(), 1, "only the committer is left");
}

/// Notes how those linked to it end.
struct Supervisor(Arc<Notes>);

impl Actor for Supervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => {
                let failure = error.downcast_ref::<Failure>().is_some();
                self.0.note(format!("failed, by a failure of its own: {failure}"));
            }
            SupervisionEvent::ActorTerminated(_, _, reason) => self.0.note(format!("ended: {reason:?}")),
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn its_supervisor_learns_how_it_ended() {
    let rig = Rig::new(1);
    let seen = Arc::new(Notes::default());
    let (supervisor, _) = Supervisor::spawn(None, Supervisor(seen.clone()), ()).await.unwrap();
    let options = Options { rest_after: Some(Duration::from_secs(1)), ..Options::default() };
    let mut ends = Vec::new();
    for end in ["rest", "panic", "sync"] {
        let cell = Some(supervisor.get_cell());
        let handle = Durable::<Tally>::start(&rig.spine, "t", Arc::new(Alone), options.clone(), cell).await.unwrap();
        match end {
            "panic" => assert!(handle.ask(Command::Panic).await.is_err()),
            "sync" => {
                rig.disk.fail_next_sync();
                assert!(handle.ask(Command::Add(1)).await.is_err());
            }
            _ => {}
        }
        handle.stopped().await;
        quiet().await;
        ends.extend(seen.take());
    }
    assert_eq!(
        ends,
        ["ended: Some(\"rest\")", "failed, by a failure of its own: false", "failed, by a failure of its own: true",]
    );
}

/// A host whose every command makes a call that fails.
struct Calls(Guards);

#[async_trait]
impl Host<Tally> for Calls {
    async fn prepare(&self, _: &Sum, command: Command) -> Command {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        if let Ok(permit) = self.0.get("model").admit(deadline).await {
            permit.finish(CallOutcome { class: Some(FailureClass::ProviderDown), took: Duration::ZERO });
        }
        command
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_stays_open_over_a_restart() {
    let rig = Rig::new(1);
    let guards = Guards::new(rig.spine.world.clone(), policies::guard::Guards::default());
    let start = || Durable::<Tally>::start(&rig.spine, "t", Arc::new(Calls(guards.clone())), busy_for_ever(), None);
    let handle = start().await.unwrap();
    for _ in 1..GuardPolicy::default().breaker.failures {
        handle.ask(Command::Add(1)).await.unwrap();
    }
    handle.ask(Command::Panic).await.unwrap_err();
    handle.stopped().await;
    start().await.unwrap().ask(Command::Ask).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    assert!(matches!(guards.get("model").admit(deadline).await, Err(Refused::Open(Some(_)))));
}

/// ractor drops the mailbox of an actor that panics, though every cast to it had been taken.
#[tokio::test(start_paused = true)]
async fn a_panic_loses_a_full_mailbox_but_nothing_that_was_answered() {
    /// One bit of the sum for each that asks.
    const ASKING: u64 = 60;
    for panics_after in [0, 1, 30, ASKING - 1] {
        let rig = Rig::new(panics_after);
        let handle = rig.start(busy_for_ever()).await.unwrap();
        let command = |n| if n == panics_after { Command::Panic } else { Command::Add(1_u64 << n) };
        let asking: Vec<_> = (0..ASKING).map(|n| rig.asking(&handle, command(n))).collect();
        let (mut answered, mut unseen, mut lost) = (0, 0, 0);
        for (n, asked) in (0..ASKING).zip(asking) {
            match asked.await.unwrap() {
                Ok(_) => answered |= 1_u64 << n,
                Err(AskError::Lost { .. }) => lost |= 1_u64 << n,
                Err(AskError::Gone) => unseen |= 1_u64 << n,
                Err(other) => panic!("another error: {other}"),
            }
        }
        handle.stopped().await;
        let next = rig.start(busy_for_ever()).await.unwrap();
        let kept = next.ask(Command::Ask).await.unwrap();
        assert_eq!(kept & answered, answered, "{panics_after}: what was answered is there");
        assert_eq!(kept & unseen, 0, "{panics_after}: what was not seen is not");
        assert!(lost & (1_u64 << panics_after) != 0, "{panics_after}: whoever was lost was told");
    }
}
