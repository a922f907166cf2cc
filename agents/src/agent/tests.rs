use std::sync::Arc;
use std::time::Duration;

use policies::failure::FailureClass;
use policies::mailbox::MailboxPolicy;
use policies::tokens::Tokens;
use ractor::ActorRef;

use super::*;
use crate::fixture;
use crate::scripted::{Answer, Scripted};
use actors::transport;
use actors::world::World;

const TIMEOUT: Duration = Duration::from_secs(60);

fn handle(model: Scripted) -> AgentHandle {
    AgentHandle::new(spec(model))
}

fn spec(model: Scripted) -> AgentSpec {
    AgentSpec {
        name: "writer".to_owned(),
        model: Arc::new(model),
        guard: "model".to_owned(),
        timeout: TIMEOUT,
        silence_max: None,
        output_max: Tokens(50),
        system: Some("You write.".to_owned()),
        terms: super::AgentTerms::default(),
        kit: super::Kit::default(),
        temperature: 0.5,
    }
}

fn call(prompt: &str) -> AgentCall {
    AgentCall {
        agent: "writer".to_owned(),
        prompt: prompt.to_owned(),
        output_max: Tokens(100),
        seed: 3,
        ..AgentCall::default()
    }
}

fn job(agent: &AgentHandle, prompt: &str) -> Job {
    let request = agent.spec().request(&call(prompt));
    Job { run: "a".to_owned(), path: "write".to_owned(), key: "k".to_owned(), request, instead: None, until: None }
}

async fn start(world: &World, agent: &AgentHandle) -> ActorRef<AgentMsg> {
    fixture::start(agent.front(), AgentActor::new(world.clone()), agent.spec()).await
}

fn world() -> World {
    World::simulated(1, transport::unplugged())
}

/// Has a job done in the next place of the mailbox.
async fn perform(agent: &AgentHandle, job: Job, permit: Permit, progress: Progress) -> JobOutcome {
    match agent.front().enter().await {
        Ok(place) => agent.perform(job, permit, place, progress).await,
        Err(full) => JobOutcome::NotSent(full),
    }
}

/// Starts a job and gives it time to get under way.
async fn under_way(world: &World, agent: &AgentHandle, prompt: &str) -> tokio::task::JoinHandle<JobOutcome> {
    let (agent, job, permit) = (agent.clone(), job(agent, prompt), fixture::permit(world));
    let task = world.spawn("test", async move { perform(&agent, job, permit, Progress::default()).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    task
}

#[tokio::test(start_paused = true)]
async fn a_job_is_done_within_the_agents_bounds() {
    let (world, agent) = (world(), handle(Scripted::new("m").otherwise([Answer::say("hello")])));
    start(&world, &agent).await;
    let outcome = perform(&agent, job(&agent, "x"), fixture::permit(&world), Progress::default()).await;
    assert!(matches!(outcome, JobOutcome::Done(Ok(reply)) if reply.text() == "hello"));
    let request =
        agent.spec().request(&AgentCall { system: Some("Be odd.".to_owned()), temperature: Some(1.0), ..call("x") });
    assert_eq!((&*request.messages[0].text(), request.temperature, request.output_max), ("Be odd.", 1.0, Tokens(50)));
    assert_eq!(agent.spec().request(&call("x")).messages[0].text(), "You write.");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_falls_silent_is_hung_and_one_that_shows_life_is_not() {
    let patient = |answer| {
        let silence_max = Some(Duration::from_secs(10));
        AgentHandle::new(AgentSpec { silence_max, ..spec(Scripted::new("m").otherwise([answer])) })
    };
    let (world, silent) = (world(), patient(Answer::Hang));
    start(&world, &silent).await;
    let outcome = perform(&silent, job(&silent, "x"), fixture::permit(&world), Progress::default()).await;
    let JobOutcome::Done(Err(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((error.class, error.message.contains("no sign of life for 10s")), (FailureClass::Hung, true));
    assert_eq!(world.elapsed().as_secs(), 10);

    let lively = patient(Answer::Late(Duration::from_secs(50), "hello".to_owned()));
    start(&world, &lively).await;
    let progress = Progress::default();
    let beating = {
        let progress = progress.clone();
        world.spawn("beats", async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                progress.tick(0);
            }
        })
    };
    let outcome = perform(&lively, job(&lively, "x"), fixture::permit(&world), progress).await;
    assert!(matches!(&outcome, JobOutcome::Done(Ok(reply)) if reply.text() == "hello"), "{outcome:?}");
    beating.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_moves_outlasts_its_time_out_and_one_that_stalls_does_not() {
    let words = "one two three four";
    for (answer, wanted, took) in [
        (Answer::Slow(TIMEOUT * 9 / 10, words.to_owned()), Ok(words), TIMEOUT * 36 / 10),
        (Answer::Stall(3), Err("gave no sign of life for 60s"), TIMEOUT),
        (Answer::Slow(TIMEOUT / 2, "on ".repeat(30)), Err("did not finish within 600s"), TIMEOUT * 10),
    ] {
        let (world, agent) = (world(), handle(Scripted::new("m").otherwise([answer])));
        start(&world, &agent).await;
        let progress = Progress::default();
        // What it waits in the mailbox is no silence of its model.
        tokio::time::sleep(TIMEOUT * 2).await;
        let before = world.elapsed();
        let outcome = perform(&agent, job(&agent, "x"), fixture::permit(&world), progress).await;
        assert_eq!((world.elapsed() - before).as_secs(), took.as_secs());
        match (outcome, wanted) {
            (JobOutcome::Done(Ok(reply)), Ok(words)) => assert_eq!(reply.text(), words),
            (JobOutcome::Done(Err(error)), Err(how)) => {
                assert!(error.class == FailureClass::Hung && error.message.contains(how), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_drops_its_jobs_and_says_which_were_sent() {
    let (world, agent) = (world(), handle(Scripted::new("m").otherwise([Answer::Hang])));
    let actor = start(&world, &agent).await;
    let sent = under_way(&world, &agent, "x").await;
    actor.kill();
    assert_eq!(sent.await.unwrap(), JobOutcome::Lost);
    // No generation is up: whoever asks waits for the next one, and then was not sent.
    let waiting = perform(&agent, job(&agent, "x"), fixture::permit(&world), Progress::default()).await;
    assert!(matches!(waiting, JobOutcome::NotSent(FrontError::NotUp(_))), "{waiting:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hung_agent_is_cut_by_a_kill_and_what_it_never_read_was_not_sent() {
    let (world, agent) = (world(), handle(Scripted::new("m").otherwise([Answer::Hang])));
    let actor = start(&world, &agent).await;
    let sent = under_way(&world, &agent, "x").await;
    actor.cast(AgentMsg::Poke(Fault::Hang)).unwrap();
    let unread = under_way(&world, &agent, "y").await;
    actor.kill();
    assert_eq!(sent.await.unwrap(), JobOutcome::Lost);
    assert_eq!(unread.await.unwrap(), JobOutcome::NotSent(FrontError::Untaken));
}

#[tokio::test(start_paused = true)]
async fn stopping_and_asking_are_prompt_while_calls_run() {
    let (world, agent) = (world(), handle(Scripted::new("m").otherwise([Answer::Hang])));
    let actor = start(&world, &agent).await;
    let task = under_way(&world, &agent, "x").await;
    let before = world.elapsed();
    let status = agent.front().ask(AgentMsg::Status).await.unwrap();
    assert_eq!(status.iter().map(|status| status.path.as_str()).collect::<Vec<_>>(), ["write"]);
    actor.stop_and_wait(None, None).await.unwrap();
    assert_eq!(world.elapsed(), before);
    assert_eq!(task.await.unwrap(), JobOutcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_model_or_of_the_agent_takes_the_agent_down() {
    for poke in [false, true] {
        let answer = if poke { Answer::Hang } else { Answer::Panic };
        let (world, agent) = (world(), handle(Scripted::new("m").otherwise([answer])));
        let actor = start(&world, &agent).await;
        let task = under_way(&world, &agent, "x").await;
        if poke {
            actor.cast(AgentMsg::Poke(Fault::Panic)).unwrap();
        }
        // Only what it died of is to blame.
        match task.await.unwrap() {
            JobOutcome::Lost => assert!(poke),
            JobOutcome::Killed { cause, sent } => {
                assert!(!poke && sent);
                assert_eq!(cause.class, FailureClass::Bug);
                assert_eq!(cause.message, "its model panicked: scripted panic");
            }
            other => panic!("{other:?}"),
        }
        actor.wait(None).await.unwrap();
        assert!(agent.front().slot().current().is_none());
        // The next generation starts with nothing under way.
        start(&world, &agent).await;
        assert!(agent.front().ask(AgentMsg::Status).await.unwrap().is_empty());
        assert_eq!(agent.front().credits().depth(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_hung_and_may_be_billed() {
    let (world, agent) = (world(), handle(Scripted::new("m").otherwise([Answer::Hang])));
    start(&world, &agent).await;
    let progress = Progress::default();
    let outcome = perform(&agent, job(&agent, "x"), fixture::permit(&world), progress.clone()).await;
    let JobOutcome::Done(Err(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((error.class, error.billed), (FailureClass::Hung, crate::model::Billed::Unknown));
    assert!(progress.cancelled(), "work on other threads learns of it");
    assert!(world.elapsed() >= TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn more_jobs_than_the_mailbox_takes_are_refused() {
    let (world, agent) = (world(), handle(Scripted::new("m").otherwise([Answer::Hang])));
    start(&world, &agent).await;
    agent.front().credits().bound().govern(MailboxPolicy::of(9));
    let mut tasks = Vec::new();
    for _ in 0..9 {
        let (agent, job) = (agent.clone(), job(&agent, "x"));
        let permit = fixture::permit(&world);
        tasks.push(world.spawn("test", async move { perform(&agent, job, permit, Progress::default()).await }));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let refused = perform(&agent, job(&agent, "x"), fixture::permit(&world), Progress::default()).await;
    assert_eq!(refused, JobOutcome::NotSent(FrontError::Full { capacity: 9 }));
}
