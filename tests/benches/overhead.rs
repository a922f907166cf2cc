//! What the whole path of an agent's step (guard, ledger and journal) costs over a bare call with reqwest to the
//! same model server, which is a process of its own and answers at once: for 1, 16 and 64 callers at a time, in
//! rounds of either that take turns.
//!
//! `cargo bench -p tests --bench overhead`, with `-- --quick` for fewer rounds. Ends with status 1 when a step
//! fails, or is not served exactly once.
#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock on real threads")]
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]

mod ground;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::entity::Entity;
use agents::model::Model;
use agents::providers::{Options, Remote};
use agents::run::{Event, Run};
use agents::workflow::Workflow;
use futures::future::join_all;
use gateway::system::System;
use policies::guard::GuardPolicy;
use policies::instant::Timestamp;
use storage::journal::Version;

const CALLERS: [usize; 3] = [1, 16, 64];
/// Steps of one run, one after the other.
const STEPS: usize = 20;
/// Calls of a round, at least.
const CALLS: usize = 320;
const ROUNDS: usize = 7;
const ROUNDS_QUICK: usize = 3;
const PROMPT: &str = "Write a sentence about a lamp that shines for a whole night on one charge.";

fn main() {
    let rounds = if ground::is_quick() { ROUNDS_QUICK } else { ROUNDS };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(folder.path());
    rustls::crypto::ring::default_provider().install_default().unwrap();
    println!("one agent step over one bare call, {rounds} rounds of each in turn");
    println!(
        "{:>7} {:>26}   {:>26}   {:>20}",
        "", "bare: p50, p99, calls/s", "step: p50, p99, steps/s", "p50, p99, rate"
    );
    let served = ground::runtime().block_on(async {
        let system = ground::start(folder.path(), |parts| {
            let widest = u32::try_from(CALLERS[CALLERS.len() - 1]).unwrap();
            let guard = GuardPolicy { concurrency: widest, ..parts.policies.guards.get("model") };
            parts.policies.guards.set("model", guard);
            let options =
                Options { price: Some("gpt-4o-mini".to_owned()), ..Options::compatible(&server.url, "scripted") };
            let model: Arc<dyn Model> = Arc::new(Remote::new(options, &parts.world, parts.world.http()).unwrap());
            parts.agents.iter_mut().for_each(|agent| agent.model = Arc::clone(&model));
        })
        .await;
        let workflow = talking(&system);
        let bare = Bare { client: reqwest::Client::new(), url: format!("{}/chat/completions", server.url) };
        let mut runs = 0;
        let mut calls = 0;
        for callers in CALLERS {
            let (mut alone, mut whole) = (Figures::default(), Figures::default());
            // The first round of each warms connections and files up.
            for round in 0..=rounds {
                let by_hand = bare.round(callers).await;
                let by_us = steps(&system, &workflow, callers, &mut runs).await;
                calls += by_hand.times.len() + by_us.times.len();
                if round > 0 {
                    alone.add(by_hand);
                    whole.add(by_us);
                }
            }
            show(callers, &mut alone, &mut whole);
        }
        system.shutdown().await;
        calls
    });
    let book: u64 = chaos::provider::read(&server.ledger).unwrap().values().sum();
    if book != served as u64 {
        eprintln!("{served} calls were made, and {book} were served");
        std::process::exit(1);
    }
}

/// The model server; it goes when this goes.
struct Server {
    child: Child,
    url: String,
    ledger: std::path::PathBuf,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let ledger = folder.join("calls.jsonl");
        let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-provider"));
        command.args(["--think-ms", "0", "--ledger"]).arg(&ledger).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: line.trim().to_owned(), ledger }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What some rounds took.
#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    took: Duration,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.took += other.took;
    }

    /// Half of them, all but one of a hundred, and how many there were in a second.
    fn sum_up(&mut self) -> (Duration, Duration, f64) {
        self.times.sort();
        let at = |of_hundred: usize| self.times[(self.times.len() - 1) * of_hundred / 100];
        (at(50), at(99), self.times.len() as f64 / self.took.as_secs_f64())
    }
}

fn show(callers: usize, bare: &mut Figures, step: &mut Figures) {
    let (bare, step) = (bare.sum_up(), step.sum_up());
    let figures = |(p50, p99, rate)| format!("{:>10} {:>10} {rate:>6.0}", ground::shown(p50), ground::shown(p99));
    let ratio = |step: Duration, bare: Duration| step.as_secs_f64() / bare.as_secs_f64();
    let (p50, p99, rate) = (ratio(step.0, bare.0), ratio(step.1, bare.1), step.2 / bare.2);
    println!("{callers:>7} {}   {}   {p50:>6.2} {p99:>6.2} {rate:>6.2}", figures(bare), figures(step));
}

/// A call with nothing around it.
#[derive(Clone)]
struct Bare {
    client: reqwest::Client,
    url: String,
}

impl Bare {
    async fn round(&self, callers: usize) -> Figures {
        let each = CALLS.div_ceil(callers * STEPS) * STEPS;
        let started = Instant::now();
        let callers = (0..callers).map(|caller| {
            let bare = self.clone();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(each);
                for nth in 0..each {
                    let began = Instant::now();
                    bare.call(caller * each + nth).await;
                    times.push(began.elapsed());
                }
                times
            })
        });
        let times = join_all(callers).await.into_iter().flat_map(Result::unwrap).collect();
        Figures { times, took: started.elapsed() }
    }

    /// The very request that the agent makes, but for its seed, and all of its streamed reply.
    async fn call(&self, seed: usize) {
        let body = serde_json::json!({
            "model": "scripted",
            "messages": [{ "role": "user", "content": PROMPT }],
            "max_tokens": 64,
            "temperature": 0.4,
            "seed": seed,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body.to_string());
        let reply = request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        assert!(reply.ends_with(b"data: [DONE]\n\n"));
    }
}

/// Runs of agent steps, one after the other, and nothing else.
fn talking(system: &System) -> Arc<Workflow> {
    let steps: Vec<String> = (0..STEPS)
        .map(|step| format!("[[steps]]\nid = \"s{step}\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"{PROMPT}\"\noutput_max = 64\n"))
        .collect();
    system.workflow("talk.toml", &format!("name = \"talk\"\ndescription = \"Talks.\"\n{}", steps.concat())).unwrap()
}

/// The same number of calls as steps of runs. A step takes from the outcome before it to its own, both durable:
/// decision, reservation, intent, call, settlement and outcome.
async fn steps(system: &Arc<System>, workflow: &Arc<Workflow>, callers: usize, runs: &mut usize) -> Figures {
    let each = CALLS.div_ceil(callers * STEPS);
    let first = *runs;
    *runs += callers * each;
    let started = Instant::now();
    let callers = (0..callers).map(|caller| {
        let (system, workflow) = (Arc::clone(system), Arc::clone(workflow));
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(each * STEPS);
            for nth in 0..each {
                let id = ground::accept(&system, &workflow, first + caller * each + nth).await;
                times.extend(play(&system, &id).await);
            }
            times
        })
    });
    let times = join_all(callers).await.into_iter().flat_map(Result::unwrap).collect();
    Figures { times, took: started.elapsed() }
}

/// Follows a run to its end, and says what each of its steps took.
async fn play(system: &Arc<System>, id: &str) -> Vec<Duration> {
    let mut follower = system.follow(id, Version::NONE);
    let (mut times, mut last) = (Vec::with_capacity(STEPS), Timestamp::EPOCH);
    while let Some(event) = follower.next().await {
        match Run::decode(&event.kind, event.schema, &event.payload).unwrap() {
            Event::Accepted(accepted) => last = accepted.at,
            Event::Resolved(outcome) => times.push(outcome.at.since(std::mem::replace(&mut last, outcome.at))),
            Event::Failed(failed) => {
                eprintln!("a step failed: {}", failed.message);
                std::process::exit(1);
            }
            _ => {}
        }
    }
    assert_eq!(times.len(), STEPS);
    times
}
