//! A stream that stalls and one that is slow, as the agent that waits for it sees them; and what is told of
//! limits while one comes.

use actors::guard::Guards;
use actors::transport::Body;
use bytes::Bytes;
use futures::StreamExt;
use policies::failure::FailureClass;

use super::cassette::{Cassette, load};
use super::*;
use crate::agent::{Job, JobOutcome};
use crate::model::Billed;

/// A provider whose stream comes in so many pieces, one each `every`, and then stops if it `stalls`.
fn provider(adapter: &str, pieces: usize, every: Duration, stalls: bool) -> Arc<dyn Transport> {
    let Cassette { answer, .. } = load(adapter, "stream").unwrap();
    transport::scripted(move |_| {
        let whole = answer.pieces.concat().into_bytes();
        let size = whole.len().div_ceil(pieces);
        let shown = if stalls { pieces / 2 } else { pieces };
        let pieces: Vec<Bytes> = whole.chunks(size).take(shown).map(Bytes::copy_from_slice).collect();
        let slow = futures::stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(every).await;
            Ok(piece)
        });
        let body: Body = if stalls { slow.chain(futures::stream::pending()).boxed() } else { slow.boxed() };
        let response = answer.with_body(body);
        async move { Ok(response) }
    })
}

fn job() -> Job {
    Job { run: "a".into(), path: "write".into(), key: "k".into(), request: asking(), instead: None, until: None }
}

/// What becomes of a call, and how long it takes.
async fn perform(
    adapter: &str,
    transport: Arc<dyn Transport>,
    silence_max: Option<Duration>,
) -> (JobOutcome, Duration) {
    let world = world();
    let agent = agent(&world, remote(options(adapter), transport), silence_max).await;
    let place = agent.front().enter().await.unwrap();
    let before = world.elapsed();
    let outcome = agent.perform(job(), fixture::permit(&world), place, Progress::default()).await;
    (outcome, world.elapsed() - before)
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_that_moves_is_not_cut_though_it_takes_longer_than_the_time_out() {
    for adapter in ADAPTERS.into_iter().filter(|adapter| *adapter != "anthropic-2023") {
        let (outcome, took) = perform(adapter, provider(adapter, 10, TIMEOUT * 9 / 10, false), None).await;
        let JobOutcome::Done(Ok(reply)) = outcome else { panic!("{adapter}: {outcome:?}") };
        assert_eq!((&*reply.text(), took >= TIMEOUT * 8), (SAID, true), "{adapter}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_noticed_by_its_silence() {
    for (silence_max, wanted) in [(None, TIMEOUT), (Some(Duration::from_secs(20)), Duration::from_secs(20))] {
        let every = Duration::from_secs(10);
        let (outcome, took) = perform("anthropic", provider("anthropic", 8, every, true), silence_max).await;
        let JobOutcome::Done(Err(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((error.class, &error.billed), (FailureClass::Hung, &Billed::Unknown));
        assert!(error.message.contains(&format!("no sign of life for {wanted:?}")), "{error}");
        assert_eq!(took.as_secs(), (every * 4 + wanted).as_secs(), "as soon as it has been silent for so long");
    }
}

#[tokio::test(start_paused = true)]
async fn even_a_stream_that_moves_has_an_end() {
    let (outcome, took) = perform("openai", provider("openai", 1000, TIMEOUT / 2, false), None).await;
    let JobOutcome::Done(Err(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((error.class, took.as_secs()), (FailureClass::Hung, (TIMEOUT * 10).as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_used_up_holds_all_who_share_the_guard_while_the_reply_still_comes() {
    let world = world();
    let Cassette { mut answer, .. } = load("openai", "stream").unwrap();
    for (name, value) in [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m2s")] {
        answer.headers.insert(name.to_owned(), value.to_owned());
    }
    let guards = Guards::new(world.clone(), policies::guard::Guards::builtin().unwrap());
    let pieces = answer.pieces.concat();
    let transport = transport::scripted(move |_| {
        let body = futures::stream::iter([Ok(Bytes::from(pieces.clone()))]).then(async |piece| {
            tokio::time::sleep(Duration::from_secs(2)).await;
            piece
        });
        let response = answer.with_body(body.boxed());
        async move { Ok(response) }
    });
    let agent = agent(&world, remote(options("openai"), transport), None).await;
    let permit = guards.get("model").try_admit().unwrap();
    let place = agent.front().enter().await.unwrap();
    let call = agent.perform(job(), permit, place, Progress::default());
    let look = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        guards.get("model").held_for()
    };
    let (outcome, held) = tokio::join!(call, look);
    assert!(matches!(outcome, JobOutcome::Done(Ok(_))), "{outcome:?}");
    assert_eq!(held, Some(Duration::from_secs(61)), "it is heard before the reply is whole");
    assert!(guards.get("model").try_admit().is_none() && guards.get("other").try_admit().is_some());
}
