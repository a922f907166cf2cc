//! What is seen of the server beside its runs: its health, its tree, its faults, and how the client's
//! requests fare. Invariant: each restart, each move of a breaker and each hit is told once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::transport::{self, Transport};
use gateway::live::Shown;
use serde_json::Value;
use supervisor::{NodeSnapshot, TreeSnapshot};

use crate::history::{Seen, Sighting};

/// The most hits of one fault that are told one by one.
const HITS_TOLD_MAX: u32 = 1_000;
/// The lowest status that is the server's fault.
const SERVER_ERRORS: u16 = 500;

/// How the client's requests fare.
#[derive(Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    /// Requests that are over, and those of them that failed.
    pub(super) fn counts(&self) -> (u64, u64) {
        // In this order, so that there are never more failures than requests.
        let failed = self.failed.load(Ordering::Acquire);
        (self.requests.load(Ordering::Acquire), failed)
    }
}

/// One request on its way; one that is given up before its answer has failed.
struct OnItsWay {
    tally: Arc<Tally>,
    is_well: bool,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.tally.requests.fetch_add(1, Ordering::Release);
        if !self.is_well {
            self.tally.failed.fetch_add(1, Ordering::Release);
        }
    }
}

/// This transport, with its requests counted.
pub(super) fn counted(http: Arc<dyn Transport>, tally: Arc<Tally>) -> Arc<dyn Transport> {
    transport::scripted(move |request| {
        let (http, tally) = (Arc::clone(&http), Arc::clone(&tally));
        async move {
            let mut on_its_way = OnItsWay { tally, is_well: false };
            let answer = http.send(request).await;
            on_its_way.is_well = answer.as_ref().is_ok_and(|answer| answer.status().as_u16() < SERVER_ERRORS);
            answer
        }
    })
}

/// What was seen so far.
#[derive(Default)]
pub(super) struct Watch {
    restarts: BTreeMap<String, u64>,
    /// Restarts since the first look.
    restarted: u64,
    is_begun: bool,
    breakers: BTreeMap<String, &'static str>,
    /// By the fault's name at the server: its number in the plan and its hits.
    hits: BTreeMap<String, (u32, u32)>,
}

impl Watch {
    /// Restarts since the first look.
    pub(super) fn restarted(&self) -> u64 {
        self.restarted
    }

    /// The server has given this name to the fault of this number.
    pub(super) fn knows(&mut self, id: String, number: u32) {
        self.hits.insert(id, (number, 0));
    }

    /// What is new in the tree. What was there before the first look is not ours.
    pub(super) fn tree(&mut self, tree: &TreeSnapshot) -> Vec<Seen> {
        let mut news = Vec::new();
        self.node(&tree.root, "", &mut news);
        self.is_begun = true;
        news
    }

    fn node(&mut self, node: &NodeSnapshot, supervisor: &str, news: &mut Vec<Seen>) {
        let known = self.restarts.insert(node.name.clone(), node.restarts);
        let before = known.unwrap_or(if self.is_begun { 0 } else { node.restarts });
        let more = node.restarts.saturating_sub(before);
        self.restarted += more;
        let class = node.last_failure.as_ref().map_or_else(String::new, |failure| failure.class.to_string());
        let restarted = Seen::Restarted { child: node.name.clone(), supervisor: supervisor.to_owned(), class };
        news.extend((0..more).map(|_| restarted.clone()));
        for child in &node.children {
            self.node(child, &node.name, news);
        }
    }

    /// What is new of the guards.
    pub(super) fn guards(&mut self, guards: &Value) -> Vec<Seen> {
        let mut news = Vec::new();
        for (guard, shown) in guards.as_object().into_iter().flatten() {
            let to = match shown["breaker"].as_str().unwrap_or_default() {
                open if open.starts_with("open") => "open",
                half if half.starts_with("half") => "half_open",
                _ => "closed",
            };
            let was = self.breakers.insert(guard.clone(), to).unwrap_or("closed");
            if was != to {
                news.push(Seen::BreakerMoved { guard: guard.clone(), to: to.to_owned() });
            }
        }
        news
    }

    /// What is new of our faults.
    pub(super) fn faults(&mut self, faults: &[Shown]) -> Vec<Seen> {
        let mut news = Vec::new();
        for shown in faults {
            let Some((number, told)) = self.hits.get_mut(&shown.id) else { continue };
            let more = shown.hits.min(HITS_TOLD_MAX).saturating_sub(*told);
            *told += more;
            news.extend((0..more).map(|_| Seen::Struck { number: *number }));
        }
        news
    }
}

/// Runs whose end was reported, and those of them that did not finish.
pub(super) fn ends(seen: &[Sighting]) -> (u64, u64) {
    let mut ends: BTreeMap<&str, bool> = BTreeMap::new();
    for sighting in seen {
        if let Seen::Reported { run, status, .. } = &sighting.what {
            ends.entry(run).or_insert(status == "finished");
        }
    }
    let failed = ends.values().filter(|is_finished| !**is_finished).count();
    (ends.len() as u64, failed as u64)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use gateway::live::{Asked, Kind, Standing};
    use policies::instant::Timestamp;
    use serde_json::json;

    use super::*;

    fn tree(writer: u64, more: &[(&str, u64)]) -> TreeSnapshot {
        let node = |name: &str, restarts: u64, children: Value| {
            json!({ "name": name, "kind": "worker", "state": "up", "generation": 1, "restarts": restarts,
                    "last_failure": { "class": "bug", "reason": "x", "at": 0 },
                    "since": 0, "mailbox": null, "children": children })
        };
        let mut children = vec![node("writer", writer, json!([]))];
        children.extend(more.iter().map(|(name, restarts)| node(name, *restarts, json!([]))));
        let root = node("callboard", 0, json!(children));
        serde_json::from_value(json!({ "at": 0, "root": root })).unwrap()
    }

    #[test]
    fn a_restart_is_told_once_and_what_was_before_is_not() {
        let mut watch = Watch::default();
        assert!(watch.tree(&tree(3, &[])).is_empty());
        let restarted = |child: &str| Seen::Restarted {
            child: child.to_owned(),
            supervisor: "callboard".to_owned(),
            class: "bug".to_owned(),
        };
        assert_eq!(watch.tree(&tree(4, &[("run/1", 1)])), [restarted("writer"), restarted("run/1")]);
        assert!(watch.tree(&tree(4, &[("run/1", 1)])).is_empty());
        assert!(watch.tree(&tree(4, &[])).is_empty());
        assert_eq!(watch.restarted(), 2);
    }

    #[test]
    fn a_breaker_is_told_when_it_moves() {
        let mut watch = Watch::default();
        let moves: Vec<_> = ["closed", "open { until: 3s }", "open { until: 3s }", "halfopen { probes: 1 }", "closed"]
            .into_iter()
            .flat_map(|breaker| watch.guards(&json!({ "model/x": { "breaker": breaker } })))
            .map(|seen| match seen {
                Seen::BreakerMoved { to, .. } => to,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(moves, ["open", "half_open", "closed"]);
    }

    #[test]
    fn a_hit_of_our_faults_is_told_once() {
        let mut watch = Watch::default();
        watch.knows("a".to_owned(), 7);
        let shown = |id: &str, hits: u32| Shown {
            id: id.to_owned(),
            fault: Asked::new(Kind::ProviderReset),
            began: Timestamp::from_micros(0),
            standing: Standing::InForce,
            hits,
        };
        assert_eq!(watch.faults(&[shown("a", 2), shown("b", 5)]), vec![Seen::Struck { number: 7 }; 2]);
        assert_eq!(watch.faults(&[shown("a", 3)]), [Seen::Struck { number: 7 }]);
        assert!(watch.faults(&[shown("a", 3)]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_fails_by_the_servers_fault_or_without_an_answer() {
        let tally = Arc::new(Tally::default());
        for (path, failed) in [("/200", 0), ("/404", 0), ("/503", 1), ("/never", 2)] {
            let server = transport::scripted(|request: http::Request<Bytes>| async move {
                let status = request.uri().path().trim_start_matches('/').parse::<u16>();
                let Ok(status) = status else { return std::future::pending().await };
                Ok(http::Response::builder().status(status).body(transport::body("")).unwrap())
            });
            let request = http::Request::get(format!("http://here{path}")).body(Bytes::new()).unwrap();
            let server = counted(server, Arc::clone(&tally));
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), server.send(request)).await;
            assert_eq!(tally.counts().1, failed, "{path}");
        }
        assert_eq!(tally.counts(), (4, 2));
    }

    #[test]
    fn an_end_counts_once_however_often_it_is_reported() {
        let reported = |run: &str, status: &str| Sighting {
            at_us: 0,
            what: Seen::Reported {
                run: run.to_owned(),
                status: status.to_owned(),
                outputs: String::new(),
                posts: Vec::new(),
                spent: false,
            },
        };
        assert_eq!(ends(&[reported("a", "finished"), reported("b", "failed"), reported("a", "finished")]), (2, 1));
    }
}
