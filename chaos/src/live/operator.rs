//! The server, as its operator asks it. Invariant: what was not answered is not taken as done.

use std::sync::Arc;
use std::time::Duration;

use actors::transport::Transport;
use agents::secret::Secret;
use gateway::live::{Asked, FOR_MAX, Shown, Standing};
use serde_json::Value;
use supervisor::TreeSnapshot;

use super::LiveError;
use crate::kill9::api::Api;

/// Where the faults are.
const FAULTS: &str = "/v1/chaos/faults";
/// How often the stop for all is sent before it is given up.
const STOPS_MAX: u32 = 5;
/// Between two of them.
const STOP_EVERY: Duration = Duration::from_millis(500);

/// Somebody with the server's token.
pub(super) struct Operator {
    api: Api,
    url: String,
}

/// What the server's health shows.
pub(super) struct Health {
    pub(super) is_ready: bool,
    /// The guards, by name, as they are shown.
    pub(super) guards: Value,
}

impl Operator {
    pub(super) fn new(http: Arc<dyn Transport>, url: &str, token: Secret) -> Self {
        Self { api: Api::new(http, url.to_owned()).with_token(token), url: url.to_owned() }
    }

    /// Makes sure that faults can be played, and that nobody else is at it.
    pub(super) async fn begin(&self) -> Result<(), LiveError> {
        let answer = self.api.get(FAULTS).await.ok_or_else(|| LiveError::Silent(self.url.clone()))?;
        match answer.status {
            200 => {
                let there = listed(&answer.json());
                let in_force = there.iter().filter(|shown| shown.standing == Standing::InForce).count();
                if in_force > 0 { Err(LiveError::Busy(in_force)) } else { Ok(()) }
            }
            401 | 403 => Err(LiveError::Refused(self.url.clone())),
            _ => Err(LiveError::Off(self.url.clone())),
        }
    }

    /// Starts the fault of this number; nothing when nobody answers, as may happen to a server with faults.
    pub(super) async fn start(&self, number: u32, asked: &Asked) -> Result<Option<Shown>, LiveError> {
        let body = serde_json::to_value(asked).unwrap_or_default();
        let Some(answer) = self.api.post(FAULTS, &body).await else { return Ok(None) };
        if answer.status != 201 {
            let reason = format!("{} {}", answer.status, answer.json()["detail"].as_str().unwrap_or_default());
            return Err(LiveError::Fault { number, reason });
        }
        Ok(serde_json::from_value(answer.json()).ok())
    }

    /// The faults as they stand; nothing when nobody answers.
    pub(super) async fn faults(&self) -> Option<Vec<Shown>> {
        let answer = self.api.get(FAULTS).await.filter(|answer| answer.status == 200)?;
        Some(listed(&answer.json()))
    }

    /// The one stop for all.
    pub(super) async fn stop(&self) -> Result<(), LiveError> {
        for _ in 0..STOPS_MAX {
            if self.api.delete(FAULTS).await.is_some_and(|answer| answer.status == 200) {
                return Ok(());
            }
            tokio::time::sleep(STOP_EVERY).await;
        }
        Err(LiveError::NotStopped(FOR_MAX))
    }

    /// The server's health; nothing when nobody answers.
    pub(super) async fn health(&self) -> Option<Health> {
        let answer = self.api.get("/health").await?;
        Some(Health { is_ready: answer.status == 200, guards: answer.json()["guards"].clone() })
    }

    /// The supervision tree; nothing when nobody answers.
    pub(super) async fn tree(&self) -> Option<TreeSnapshot> {
        let answer = self.api.get("/v1/tree").await.filter(|answer| answer.status == 200)?;
        serde_json::from_value(answer.json()).ok()
    }
}

fn listed(body: &Value) -> Vec<Shown> {
    serde_json::from_value(body["faults"].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use actors::transport;

    use super::*;

    /// What a server was asked: method and token.
    type Asked = Arc<Mutex<Vec<(String, String)>>>;

    /// A server that answers so.
    fn server(status: u16, body: &str) -> (Operator, Asked) {
        let asked = Asked::default();
        let (ear, body) = (Arc::clone(&asked), body.to_owned());
        let http = transport::scripted(move |request: http::Request<axum::body::Bytes>| {
            let token = request.headers()["authorization"].to_str().unwrap().to_owned();
            ear.lock().unwrap().push((request.method().to_string(), token));
            let response = http::Response::builder().status(status).body(transport::body(body.clone())).unwrap();
            async move { Ok(response) }
        });
        (Operator::new(http, "http://here", Secret::new("t")), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_play_begins_only_where_it_may() {
        let in_force = r#"{ "faults": [{ "id": "a", "fault": { "kind": "provider_reset" }, "standing": "in_force",
                            "began": 0, "hits": 0 }] }"#;
        for (status, body, wanted) in [
            (200, r#"{ "faults": [] }"#, ""),
            (200, in_force, "1 faults are in force already"),
            (401, "{}", "http://here refuses the token"),
            (404, "{}", "http://here takes no faults"),
        ] {
            let (operator, asked) = server(status, body);
            let begun = operator.begin().await.map_err(|error| error.to_string());
            match begun {
                Ok(()) => assert_eq!(wanted, ""),
                Err(error) => assert!(!wanted.is_empty() && error.contains(wanted), "{error}"),
            }
            assert_eq!(*asked.lock().unwrap(), [("GET".to_owned(), "Bearer t".to_owned())]);
        }
        let nobody = Operator::new(transport::unplugged(), "http://here", Secret::new("t"));
        assert!(nobody.begin().await.unwrap_err().to_string().contains("does not answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_nobody_acknowledges_is_sent_again_and_then_told() {
        let (operator, asked) = server(503, "{}");
        assert!(matches!(operator.stop().await, Err(LiveError::NotStopped(_))));
        assert_eq!(asked.lock().unwrap().len(), STOPS_MAX as usize);
        let (operator, _) = server(200, r#"{ "faults": [] }"#);
        operator.stop().await.unwrap();
    }
}
