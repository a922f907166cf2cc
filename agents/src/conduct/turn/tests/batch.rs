//! Steps that wait for a batch: half the price, no place held, and one batch whatever dies.

use std::sync::Arc;
use std::time::Duration;

use policies::approval::ApprovalPolicy;
use policies::choice::{Choose, PoolPolicy};
use policies::money::Money;

use super::{House, script};
use crate::agent::{AgentMsg, AgentSpec, AgentTerms, Kit};
use crate::fixture::batches::{BatchServer, Ending};
use crate::providers::{Api, Options, Remote, Version};
use crate::run::{Act, Command, EffectOutcome, End, Event, Intended, Then};
use crate::scripted::Answer;

const LINES: &str = "latency = \"batch\"";
/// A hundred tokens in and ten out, at half of a thousand nano-dollars each.
const HALF: Money = Money::from_nanos(55_000);

async fn house(endings: &[Ending]) -> (House, Arc<BatchServer>) {
    let house = House::new(vec![("writer", script(), Kit::default())]).await;
    let world = &house.ground.world;
    let server = BatchServer::new(world, Duration::from_secs(600), endings);
    let model = remote(&house, &server);
    let agent = &house.stage.agents["writer"];
    agent.respecify(AgentSpec { model, ..(*agent.spec()).clone() });
    (house, server)
}

fn remote(house: &House, server: &Arc<BatchServer>) -> Arc<Remote> {
    let options = Options::new(Api::Anthropic(Version::default()), "https://api.test/v1", "m");
    Arc::new(Remote::new(options, &house.ground.world, server.transport()).unwrap())
}

fn intents(house: &House) -> Vec<Intended> {
    let intent = |event| if let Event::Intended(intent) = event { Some((*intent).clone()) } else { None };
    house.events().into_iter().filter_map(intent).collect()
}

async fn ends(house: &House) {
    /// A batch takes ten minutes of paused time here.
    const LOOKS_MAX: usize = 10_000;
    for _ in 0..LOOKS_MAX {
        if house.state().end.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("it does not end: {:#?}", house.events());
}

fn text(house: &House) -> String {
    let Some(End::Finished { outputs }) = house.state().end else { panic!("{:?}", house.state().end) };
    outputs["text"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_step_by_batch_costs_half_and_holds_no_place_while_it_waits() {
    let (house, server) = house(&[Ending::Succeeded]).await;
    house.accept(LINES, ApprovalPolicy::default()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((server.taken().len(), house.state().end.is_some()), (1, false));
    let agent = &house.stage.agents["writer"];
    assert!(agent.front().ask(AgentMsg::Status).await.unwrap().is_empty(), "the agent is free");
    assert_eq!(agent.front().credits().depth(), 0);
    ends(&house).await;
    assert_eq!((text(&house).as_str(), house.state().cost, server.billed()), ("The lamp shines.", HALF, 1));
    let by_batch = intents(&house).remove(0);
    assert!(by_batch.call.is_some_and(|call| call.batch));
    assert_eq!(server.taken()[0]["requests"][0]["custom_id"].as_str().map(str::len), Some(64));
    // The same asked at once reserves twice as much.
    let (now, _) = self::house(&[Ending::Succeeded]).await;
    now.accept("", ApprovalPolicy::default()).await;
    now.until(|house| !intents(house).is_empty()).await;
    assert_eq!(intents(&now).remove(0).reserved.nanos(), 2 * by_batch.reserved.nanos());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_while_it_waits_finds_its_batch_and_pays_once() {
    // Before anything is sent, in the middle of the wait, and more than once.
    for kills in [&[0_u64][..], &[1], &[45_000], &[599_000], &[20, 30_000, 300_000]] {
        let (house, server) = house(&[Ending::Succeeded]).await;
        let mut run = house.accept(LINES, ApprovalPolicy::default()).await;
        for after in kills {
            tokio::time::sleep(Duration::from_millis(*after)).await;
            run.cell().kill();
            house.until(|_| run.cell().get_status() == ractor::ActorStatus::Stopped).await;
            run = house.up().await;
        }
        ends(&house).await;
        assert_eq!((text(&house).as_str(), server.billed()), ("The lamp shines.", 1), "{kills:?}");
        assert_eq!(house.state().cost, HALF, "{kills:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_expired_is_made_again_under_a_new_reservation_and_another_name() {
    let (house, server) = house(&[Ending::Expired, Ending::Succeeded]).await;
    house.accept(LINES, ApprovalPolicy::default()).await;
    ends(&house).await;
    assert_eq!((text(&house).as_str(), house.state().cost), ("The lamp shines.", HALF));
    let attempts: Vec<u32> = intents(&house).iter().map(|intent| intent.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    let names = server.taken().into_iter().map(|taken| taken["requests"][0]["custom_id"].to_string());
    let names: std::collections::BTreeSet<String> = names.collect();
    assert_eq!(names.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_model_that_is_gone_is_charged_at_its_worst_case() {
    let (house, _) = house(&[Ending::Succeeded]).await;
    let run = house.accept(LINES, ApprovalPolicy::default()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    run.cell().kill();
    house.until(|_| run.cell().get_status() == ractor::ActorStatus::Stopped).await;
    let agent = &house.stage.agents["writer"];
    let scripted = Arc::new(script().otherwise([Answer::say("Lamps.")]));
    agent.respecify(AgentSpec { model: scripted, ..(*agent.spec()).clone() });
    let _run = house.up().await;
    house.until(|house| house.events().iter().any(|event| matches!(event, Event::Resolved(_)))).await;
    let first = house.events().into_iter().find_map(|event| match event {
        Event::Resolved(resolved) => Some(resolved),
        _ => None,
    });
    let first = first.unwrap();
    assert!(matches!(first.outcome, EffectOutcome::Unknown { .. }) && matches!(first.then, Then::Retry { .. }));
    assert_eq!(first.cost, intents(&house)[0].reserved);
}

#[tokio::test(start_paused = true)]
async fn a_model_without_batches_answers_at_once_for_the_whole_price() {
    let house = House::new(vec![("writer", script().otherwise([Answer::say("Lamps.")]), Kit::default())]).await;
    assert_eq!(house.says(LINES).await, "Lamps.");
    let intent = intents(&house).remove(0);
    assert!(intent.call.is_some_and(|call| !call.batch));
}

#[tokio::test(start_paused = true)]
async fn a_model_of_a_pool_makes_a_batch_and_a_later_life_finds_it() {
    for kills in [&[][..], &[30_u64, 300]] {
        let models = vec!["slow".to_owned()];
        let pool = PoolPolicy { models, choose: Choose::Cheapest, quality_min: None };
        let terms = AgentTerms { pool: Some(Arc::new(pool)), ..AgentTerms::default() };
        let writer = ("writer", script(), Kit::default());
        let mut house = House::of(vec![writer], Vec::new(), vec![("slow", script())], terms).await;
        let server = BatchServer::new(&house.ground.world, Duration::from_secs(600), &[Ending::Succeeded]);
        let model = remote(&house, &server);
        Arc::get_mut(&mut house.stage).unwrap().models.get_mut("slow").unwrap().model = model;
        let mut run = house.accept(LINES, ApprovalPolicy::default()).await;
        for after in kills {
            tokio::time::sleep(Duration::from_secs(*after)).await;
            run.cell().kill();
            house.until(|_| run.cell().get_status() == ractor::ActorStatus::Stopped).await;
            run = house.up().await;
        }
        ends(&house).await;
        assert_eq!((text(&house).as_str(), house.state().cost, server.billed()), ("The lamp shines.", HALF, 1));
        let intent = intents(&house).remove(0);
        assert!(intent.call.is_some_and(|call| call.batch));
        let choice = intent.choice.unwrap();
        assert_eq!((choice.model.as_str(), choice.considered[0].price), ("slow", Some(intent.reserved)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_cancelled_run_is_still_charged_when_it_ends() {
    let (house, server) = house(&[Ending::Succeeded]).await;
    let run = house.accept(LINES, ApprovalPolicy::default()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    run.ask(Command::new(Act::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() })).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert!(matches!(house.state().end, Some(End::Cancelled { .. })));
    assert_eq!((house.state().cost, server.billed()), (HALF, 1));
}
