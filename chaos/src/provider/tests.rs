//! The provider over a real connection, as the plan has it.

use actors::transport::{self, Body};
use actors::world::{World, WorldOptions};
use axum::body::Bytes;
use http::{Request, Response};
use policies::span::ByteSize;

use super::*;
use crate::experiment::read as experiment;
use crate::forecast::Forecast;
use crate::ledger::{self, Ledger};
use crate::plan::expand;

const HEAD: &str = "[experiment]\nname = 'x'\nduration = '1m'\nquiet = '1m'\n[workload]\nruns = 1\narrival = '1/s'\n";

async fn text(answer: Response<Body>) -> Option<String> {
    let body = transport::collect(answer.into_body(), ByteSize(1 << 20)).await.ok()?;
    Some(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_call_meets_what_the_plan_has_for_it() {
    let kinds = ["status'\nstatus = 429\nretry_after = '2s", "reset", "cut", "garbage", "wrong"];
    let faults = kinds.map(|kind| format!("[[fault]]\nkind = 'provider_{kind}'\ncount = 1\n")).concat();
    let plan = expand(&experiment("x.toml", &format!("{HEAD}{faults}")).unwrap(), 1);
    let world = World::real(WorldOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("provider.jsonl");
    let options = Options { forecast: Some(Forecast::new(&plan, world.clone())), ..Options::default() };
    let app = app(options, Ledger::open(&path, world.clone()).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/chat/completions", listener.local_addr().unwrap());
    world.spawn("provider", async move { axum::serve(listener, app).await });
    let http = world.http();
    let call = || {
        let body = r#"{"messages":[{"role":"user","content":"Write"}],"stream":true}"#;
        http.send(Request::post(&url).header("content-type", "application/json").body(Bytes::from(body)).unwrap())
    };

    let limited = call().await.unwrap();
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"2".parse().unwrap()));
    assert!(call().await.is_err(), "the connection breaks");
    // The connection may break before the half that was written is sent.
    if let Ok(half) = call().await {
        assert_eq!(text(half).await, None, "half of an answer");
    }
    assert!(text(call().await.unwrap()).await.unwrap().starts_with("<html>"));
    assert!(text(call().await.unwrap()).await.unwrap().contains("cannot"));
    assert!(text(call().await.unwrap()).await.unwrap().contains("[DONE]"), "each comes once");

    let entries = ledger::read::<Entry>(&path).unwrap().into_iter().map(|line| line.entry);
    let told = entries.map(|entry| match entry {
        Entry::Struck { number } => format!("struck {number}"),
        Entry::Refused { call, status, .. } => format!("{call} refused {status}"),
        Entry::Served { call, .. } => format!("{call} served"),
        Entry::Halved { call, cut } => format!("{call} halved {cut}"),
        Entry::Spoiled { call } => format!("{call} spoiled"),
        Entry::Answered { call } => format!("{call} answered"),
    });
    let wanted = [
        "struck 0",
        "1 refused 429",
        "struck 1",
        "2 refused 0",
        "struck 2",
        "3 served",
        "3 halved true",
        "struck 3",
        "4 served",
        "4 spoiled",
        "struck 4",
        "5 served",
        "5 answered",
        "6 served",
        "6 answered",
    ];
    assert_eq!(told.collect::<Vec<_>>(), wanted);
}
