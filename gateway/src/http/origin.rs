//! Who may speak to a server without keys. Invariant: a request that a web page of another place has a
//! browser send is refused: such a page could drive the server otherwise, because it is on loopback.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Names of this machine, as seen from itself.
const OURSELVES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Lets a request pass that names this machine, and no other origin.
pub(super) async fn local_only(request: Request, next: Next) -> Response {
    match stranger(request.headers()) {
        None => next.run(request).await,
        Some(name) => Problem::forbidden(format!(
            "this server has no keys yet and answers to this machine only, not to `{name}`; ask localhost, without \
             another Origin"
        ))
        .into_response(),
    }
}

/// The name of another place in the headers that a browser sets and no page can change.
fn stranger(headers: &HeaderMap) -> Option<String> {
    let told = |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"));
    let host = told(header::HOST);
    let origin = told(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, place)| place));
    host.into_iter().chain(origin).find(|place| !is_ourselves(place)).map(str::to_owned)
}

fn is_ourselves(place: &str) -> bool {
    let name = match place.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => place,
    };
    OURSELVES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to() {
        for (place, ours) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:80", true),
            ("LOCALHOST", true),
            ("evil.example", false),
            ("localhost.evil.example:80", false),
            ("127.0.0.1.evil.example", false),
            ("null", false),
        ] {
            assert_eq!(is_ourselves(place), ours, "{place}");
        }
    }
}
