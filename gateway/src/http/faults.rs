//! The operators' faults over HTTP. Invariant: these routes are there only where `[chaos]` is
//! configured, and whoever does not show its token learns nothing and changes nothing.

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Serialize;

use super::problem::Problem;
use crate::live::{Asked, Live, Shown};

/// How a token is shown.
const SCHEME: &[u8] = b"Bearer ";

/// The routes, over these faults.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(live: Live) -> Router<S> {
    Router::new()
        .route("/v1/chaos/faults", get(list).post(start).delete(stop_all))
        .route("/v1/chaos/faults/{id}", delete(stop))
        .with_state(live)
}

/// Somebody who has shown the token.
struct Operator;

impl FromRequestParts<Live> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, live: &Live) -> Result<Self, Problem> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(SCHEME));
        match shown {
            Some(token) if live.admits(token).await => Ok(Self),
            _ => Err(Problem::unauthorized("this needs `Authorization: Bearer …` with the token of [chaos]")),
        }
    }
}

#[derive(Serialize)]
struct Faults {
    faults: Vec<Shown>,
}

/// `POST /v1/chaos/faults`
async fn start(_: Operator, State(live): State<Live>, body: Bytes) -> Result<Response, Problem> {
    let shown = live.start(read(&body)?).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let location = format!("/v1/chaos/faults/{}", shown.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(shown)).into_response())
}

/// Text that is no JSON is one thing, JSON that is no fault another: it says what is known.
fn read(body: &[u8]) -> Result<Asked, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Problem::unprocessable(format!("the body is no fault: {error}"))
        } else {
            Problem::bad_request(format!("the body is no JSON: {error}"))
        }
    })
}

/// `GET /v1/chaos/faults`
async fn list(_: Operator, State(live): State<Live>) -> Json<Faults> {
    Json(Faults { faults: live.list() })
}

/// `DELETE /v1/chaos/faults`: the one stop for all.
async fn stop_all(_: Operator, State(live): State<Live>) -> Json<Faults> {
    Json(Faults { faults: live.stop() })
}

/// `DELETE /v1/chaos/faults/{id}`
async fn stop(_: Operator, State(live): State<Live>, Path(id): Path<String>) -> Result<Json<Shown>, Problem> {
    let absent = || Problem::not_found(format!("there is no fault `{id}`; GET /v1/chaos/faults lists them"));
    live.stop_one(&id).map(Json).ok_or_else(absent)
}

#[cfg(test)]
mod tests {
    use actors::transport;
    use actors::world::World;
    use agents::key::Key;
    use agents::secret::Secret;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    const TOKEN: &str = "Bearer open sesame";

    fn router() -> Router {
        let world = World::simulated(1, transport::unplugged());
        let live = Live::new(world, Key::fixed(Secret::new("open sesame")));
        let _ = live.models("small", transport::unplugged());
        routes::<()>(live)
    }

    async fn send(router: &Router, method: &str, path: &str, token: Option<&str>, body: &str) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let is_challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(is_challenged, status == StatusCode::UNAUTHORIZED);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_token_nothing_is_told_and_nothing_is_done() {
        let router = router();
        let fault = r#"{ "kind": "provider_reset" }"#;
        for token in [None, Some(""), Some("open sesame"), Some("Bearer "), Some("Bearer open"), Some("Basic x")] {
            for (method, path) in [
                ("POST", "/v1/chaos/faults"),
                ("GET", "/v1/chaos/faults"),
                ("DELETE", "/v1/chaos/faults"),
                ("DELETE", "/v1/chaos/faults/x"),
            ] {
                let (status, problem) = send(&router, method, path, token, fault).await;
                assert_eq!((status, &problem["status"]), (StatusCode::UNAUTHORIZED, &Value::from(401)), "{token:?}");
            }
        }
        let (status, listed) = send(&router, "GET", "/v1/chaos/faults", Some(TOKEN), "").await;
        assert_eq!((status, listed["faults"].as_array().unwrap().len()), (StatusCode::OK, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_started_shown_and_stopped() {
        let router = router();
        let fault = r#"{ "kind": "provider_status", "status": 429, "retry_after": "5s", "for": "30s", "p": 0.3,
                         "hits_max": 20 }"#;
        let (status, started) = send(&router, "POST", "/v1/chaos/faults", Some(TOKEN), fault).await;
        assert_eq!((status, &started["fault"]["target"]), (StatusCode::CREATED, &Value::from("llm/*")));
        let (_, listed) = send(&router, "GET", "/v1/chaos/faults", Some(TOKEN), "").await;
        assert_eq!(listed["faults"][0], started);
        let one = format!("/v1/chaos/faults/{}", started["id"].as_str().unwrap());
        let (_, stopped) = send(&router, "DELETE", &one, Some(TOKEN), "").await;
        assert_eq!((&stopped["standing"], &stopped["hits"]), (&Value::from("stopped"), &Value::from(0)));
        let (status, _) = send(&router, "DELETE", "/v1/chaos/faults/other", Some(TOKEN), "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        for _ in 0..2 {
            send(&router, "POST", "/v1/chaos/faults", Some(TOKEN), fault).await;
        }
        let (_, stopped) = send(&router, "DELETE", "/v1/chaos/faults", Some(TOKEN), "").await;
        assert_eq!(stopped["faults"].as_array().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn bad_input_is_one_problem_that_says_what_is_known() {
        let router = router();
        for (body, status, wanted) in [
            ("{", 400, "the body is no JSON"),
            (r#"{ "kind": "provider_rest" }"#, 422, "expected one of `provider_status`, `provider_reset`"),
            (r#"{ "kind": "provider_reset", "fro": "5s" }"#, 422, "expected one of `kind`, `target`, `for`"),
            (r#"{ "kind": "provider_reset", "for": "5" }"#, 422, "is not a length of time"),
            (r#"{ "kind": "provider_reset", "for": "1h" }"#, 422, "`for` must be above zero and at most \"10m\""),
            (r#"{ "kind": "provider_reset", "target": "llm/big" }"#, 422, "known: `llm/small`"),
        ] {
            let (told, problem) = send(&router, "POST", "/v1/chaos/faults", Some(TOKEN), body).await;
            assert_eq!(told.as_u16(), status, "{body}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(wanted), "{body}: {detail}");
        }
    }
}
