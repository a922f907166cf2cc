//! What may be read from where, and what a tool makes of hostile arguments.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actors::transport::{Body, ConnectTo, Transport, TransportError, TransportErrorKind, body};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use super::*;

/// A small web: names, pages by address, and what was asked for.
#[derive(Default)]
pub(crate) struct Web {
    pub(crate) names: BTreeMap<&'static str, Vec<&'static str>>,
    pub(crate) pages: BTreeMap<&'static str, Page>,
    pub(crate) asked: Mutex<Vec<(String, Vec<SocketAddr>)>>,
    pub(crate) resolved: Mutex<Vec<String>>,
}

#[derive(Clone)]
pub(crate) enum Page {
    Says(&'static str, &'static str),
    Leads(&'static str),
    Endless,
}

#[async_trait]
impl Transport for Web {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        let url = request.uri().to_string();
        let to = request.extensions().get::<ConnectTo>().map(|to| to.0.clone()).unwrap_or_default();
        assert!(request.headers().keys().all(|name| ["accept", "user-agent"].contains(&name.as_str())));
        self.asked.lock().unwrap().push((url.clone(), to));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = http::Response::builder();
        let answer = match self.pages.get(url.as_str()) {
            Some(Page::Says(kind, text)) => answer.header("content-type", *kind).body(body(*text)),
            Some(Page::Leads(to)) => answer.status(302).header("location", *to).body(body("")),
            Some(Page::Endless) => {
                let piece = || Some((Ok(Bytes::from_static(b"again and again ")), ()));
                answer.body(Box::pin(futures::stream::unfold((), move |()| async move { piece() })) as Body)
            }
            None => answer.status(404).header("content-type", "text/plain").body(body("nothing here")),
        };
        Ok(answer.unwrap())
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, TransportError> {
        self.resolved.lock().unwrap().push(host.to_owned());
        let found = self.names.get(host).ok_or_else(|| TransportError {
            kind: TransportErrorKind::Connect,
            sent: false,
            message: format!("no such host {host}"),
        })?;
        Ok(found.iter().map(|address| SocketAddr::new(address.parse().unwrap(), port)).collect())
    }
}

pub(crate) fn policy(allow: &[&str], private: &[&str]) -> FetchPolicy {
    let patterns = |all: &[&str]| all.iter().map(|text| HostPattern::try_from((*text).to_owned()).unwrap()).collect();
    FetchPolicy { allow: patterns(allow), private: patterns(private), bytes_max: ByteSize(100) }
}

fn web() -> Arc<Web> {
    let names = [
        ("shop.example", vec!["1.2.3.4", "2606:4700::1"]),
        ("a.shop.example", vec!["1.2.3.4"]),
        ("rebound.example", vec!["1.2.3.4", "169.254.169.254"]),
        ("inside.example", vec!["10.0.0.7"]),
        ("mapped.example", vec!["::ffff:127.0.0.1"]),
    ];
    let pages = [
        ("https://shop.example/", Page::Says("text/html; charset=utf-8", "<p>Lamps")),
        ("https://shop.example/api", Page::Says("application/ld+json", "{}")),
        ("https://shop.example/picture", Page::Says("image/png", "PNG")),
        ("https://shop.example/long", Page::Endless),
        ("https://shop.example/moved", Page::Leads("/")),
        ("https://shop.example/inwards", Page::Leads("http://inside.example/")),
        ("https://shop.example/literal", Page::Leads("http://169.254.169.254/latest/meta-data/")),
        ("https://shop.example/file", Page::Leads("file:///etc/passwd")),
        ("https://shop.example/round", Page::Leads("https://shop.example/round")),
        ("http://inside.example/", Page::Says("text/plain", "secret")),
        ("http://127.0.0.1:8081/", Page::Says("text/plain", "own")),
    ];
    Arc::new(Web { names: names.into(), pages: pages.into(), ..Web::default() })
}

async fn fetch(policy: FetchPolicy, url: &str) -> (Result<Value, FetchError>, Arc<Web>) {
    let web = web();
    let fetched = Fetcher::new(policy, Arc::clone(&web) as Arc<dyn Transport>).fetch(url).await;
    (fetched, web)
}

#[tokio::test(start_paused = true)]
async fn a_page_is_read_from_the_addresses_that_were_checked() {
    for (url, kind, text) in [
        ("https://shop.example", "text/html", "<p>Lamps"),
        ("https://SHOP.example/api#part", "application/ld+json", "{}"),
        ("https://shop.example/moved", "text/html", "<p>Lamps"),
    ] {
        let (page, web) = fetch(policy(&["shop.example"], &[]), url).await;
        let page = page.unwrap();
        assert_eq!((page["type"].as_str(), page["text"].as_str()), (Some(kind), Some(text)), "{url}");
        let asked = web.asked.lock().unwrap().clone();
        let wanted: Vec<SocketAddr> = vec!["1.2.3.4:443".parse().unwrap(), "[2606:4700::1]:443".parse().unwrap()];
        assert!(asked.iter().all(|(_, to)| *to == wanted), "{asked:?}");
        assert_eq!(web.resolved.lock().unwrap().len(), asked.len(), "a name is looked up once for each request");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_never_asked_for() {
    let all = || policy(&["*"], &[]);
    for (policy, url, wanted) in [
        (FetchPolicy::default(), "https://shop.example/", "not among those that may be read"),
        (policy(&["shop.example"], &[]), "https://a.shop.example/", "not among those"),
        (policy(&["*.shop.example"], &[]), "https://shop.example/", "not among those"),
        (policy(&["shop.example"], &[]), "https://shop.example:8443/", "(port 8443) is not among"),
        (policy(&["shop.example"], &[]), "https://shop.example.evil.example/", "not among those"),
        (all(), "ftp://shop.example/", "only http and https"),
        (all(), "file:///etc/passwd", "only http and https"),
        (all(), "https://ann:word@shop.example/", "a user or a password"),
        (all(), "nonsense", "is no address"),
        (all(), "https://rebound.example/", "is 169.254.169.254, which is not a public address"),
        (all(), "http://inside.example/", "is 10.0.0.7, which is not"),
        (all(), "http://mapped.example/", "which is not a public address"),
        (all(), "http://127.0.0.1/", "is 127.0.0.1, which is not"),
        (all(), "http://2130706433/", "is 127.0.0.1, which is not"),
        (all(), "http://0x7f.1/", "is 127.0.0.1, which is not"),
        (all(), "http://[::ffff:10.0.0.1]/", "which is not a public address"),
        (all(), "http://[::1]/", "is ::1, which is not"),
        (all(), "https://nobody.example/", "no such host"),
        (policy(&[], &["*"]), "http://10.0.0.7/", "which is not a public address"),
        (
            policy(&["127.0.0.1:8081"], &["127.0.0.1"]),
            "http://127.0.0.1:8081/",
            "not a public address; `private` names its host, but not its port 8081: write \"127.0.0.1:8081\" there",
        ),
    ] {
        let (fetched, web) = fetch(policy, url).await;
        let error = fetched.unwrap_err().to_string();
        assert!(error.contains(wanted), "{url}: {error}");
        assert!(web.asked.lock().unwrap().is_empty(), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirection_is_checked_like_the_first_address_and_followed_a_few_times() {
    for (path, wanted) in [
        ("inwards", "http://inside.example/ is not read: `inside.example` is 10.0.0.7"),
        ("literal", "is 169.254.169.254, which is not"),
        ("file", "only http and https"),
        ("round", "redirects more than 5 times"),
    ] {
        let (fetched, web) = fetch(policy(&["*"], &[]), &format!("https://shop.example/{path}")).await;
        let error = fetched.unwrap_err().to_string();
        assert!(error.contains(wanted), "{path}: {error}");
        assert!(web.asked.lock().unwrap().iter().all(|(url, _)| url.starts_with("https://shop.example/")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_address_is_read_only_where_its_host_is_allowed_by_name() {
    let (page, _) = fetch(policy(&[], &["inside.example"]), "http://inside.example/").await;
    assert_eq!(page.unwrap()["text"], "secret");
    let (page, _) = fetch(policy(&[], &["127.0.0.1:8081"]), "http://127.0.0.1:8081/").await;
    assert_eq!(page.unwrap()["text"], "own");
}

#[tokio::test(start_paused = true)]
async fn only_text_is_read_and_no_more_than_its_bound() {
    let (page, _) = fetch(policy(&["shop.example"], &[]), "https://shop.example/picture").await;
    assert!(page.unwrap_err().to_string().contains("only text is read"));
    let (page, _) = fetch(policy(&["shop.example"], &[]), "https://shop.example/long").await;
    let page = page.unwrap();
    assert_eq!((page["text"].as_str().unwrap().len(), &page["cut"]), (100, &json!(true)));
    let (page, _) = fetch(policy(&["shop.example"], &[]), "https://shop.example/gone").await;
    assert_eq!(page.unwrap()["status"], 404);
}

#[test]
fn a_pattern_of_hosts_is_a_name_a_family_or_all() {
    for good in ["example.com", "*.example.com", "*", "*:8080", "127.0.0.1:8081", "[::1]:80", "bücher.example"] {
        assert!(HostPattern::try_from(good.to_owned()).is_ok(), "{good}");
    }
    for bad in ["", "*.", "a*.example", "*.*.example", "*.127.0.0.1", "example.com:x", "https://example.com", "a b"] {
        assert!(HostPattern::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

fn toolbox() -> Toolbox {
    Toolbox::new(["writer", "reviewer"], FetchPolicy::default(), [], actors::transport::unplugged())
}

#[test]
fn arguments_that_do_not_fit_are_told_and_nothing_else() {
    let tool = toolbox().get(SEARCH).unwrap();
    for (given, wanted) in [
        (json!("{\"query\": \"lamp"), "not a JSON object but the text"),
        (json!([1]), "not a JSON object but [1]"),
        (json!({}), "has no `query`"),
        (json!({ "query": 7 }), "/query: is number"),
        (json!({ "query": "x", "limit": 0 }), "/limit: must have or be at least 1"),
        (json!({ "query": "x", "limit": 1e300 }), ""),
        (json!({ "query": "x", "more": true }), "/more: is not known here"),
    ] {
        match tool.check(&given) {
            Err(misfits) => assert!(!wanted.is_empty() && misfits.to_string().contains(wanted), "{given}: {misfits}"),
            Ok(_) => assert_eq!(wanted, "", "{given}"),
        }
    }
}

#[test]
fn an_answer_is_cut_to_its_bound() {
    let tool = Tool { result_max: ByteSize(10), ..Tool::clone(&toolbox().get(SEARCH).unwrap()) };
    assert_eq!(tool.bounded(json!("short")), json!("short"));
    let cut = tool.bounded(json!({ "text": "ääääääääää" }));
    assert_eq!(cut, json!("{\"text\":\"… (the first 10 of 31 bytes)"));
}

#[test]
fn an_agent_is_offered_what_it_may_use_and_never_itself() {
    let names = |agent: &str, permissions: &[&str]| -> Vec<String> {
        let offered = toolbox().offered(agent, &Permissions::new(permissions.iter().copied()));
        offered.into_iter().map(|offered| offered.spec.name).collect()
    };
    assert!(names("writer", &[]).is_empty());
    assert_eq!(names("writer", &["context.search"]), ["context_search"]);
    assert_eq!(names("writer", &["agent.*", "http.*"]), ["agent_reviewer", "http_fetch"]);
}
