//! Servers of real processes: over standard input and output and over HTTP, well and badly behaved.

use std::path::{Path, PathBuf};

use actors::world::{World, WorldOptions};
use ractor::{Actor, ActorRef, ActorStatus};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::key::{Key, SecretSource};
use crate::secret::Secret;
use crate::tool::{Home, Toolbox};

/// Real time that a process may take for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server's program, which writes what happens to it into a folder.
pub(crate) fn program(folder: &Path) -> Reach {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tool/mcp/server.py");
    Reach::Program {
        command: "python3".to_owned(),
        args: vec!["-u".to_owned(), script.display().to_string()],
        env: [("LOG".to_owned(), Word::Plain(folder.join("log").display().to_string()))].into(),
    }
}

pub(crate) fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    const LOOK: Duration = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if is_so() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("{what} does not come");
}

struct Up {
    handle: McpHandle,
    actor: ActorRef<McpMsg>,
    folder: TempDir,
}

impl Up {
    async fn new(reach: Reach, terms: McpTerms, folder: TempDir) -> Self {
        let world = World::real(WorldOptions::default()).unwrap();
        let handle = McpHandle::new("files", McpServer { reach, terms });
        let (actor, _) = Actor::spawn(None, McpActor::new(world), handle.clone()).await.unwrap();
        handle.front().slot().publish(actor.clone());
        Self { handle, actor, folder }
    }

    async fn program(terms: McpTerms) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::new(program(folder.path()), terms, folder).await
    }

    async fn call(&self, tool: &str, timeout: Duration) -> Result<Value, McpError> {
        let arguments = json!({ "text": "hello" }).as_object().unwrap().clone();
        let call = McpCall { tool: tool.to_owned(), arguments, key: "r/s:k".to_owned(), timeout };
        let place = self.handle.front().enter().await.unwrap();
        self.handle.call(call, place).await.unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.handle.tools().iter().map(|tool| tool.name.clone()).collect()
    }
}

#[tokio::test]
async fn the_tools_of_a_program_are_listed_and_called() {
    let up = Up::program(McpTerms::default()).await;
    assert_eq!(up.call("echo", PATIENCE).await, Ok(json!({ "text": "echo: hello" })), "it waits for the connection");
    assert_eq!(up.call("fail", PATIENCE).await, Err(McpError::Refused("cannot do hello".to_owned())));
    assert!(log(up.folder.path()).starts_with("echo hello r/s:k\n"), "the server is told the effect's key");
    eventually("the list", || !up.names().is_empty()).await;
    assert!(up.names().contains(&"mcp.files.echo".to_owned()) && !up.names().iter().any(|name| name.contains('!')));
    assert!(!up.names().contains(&"mcp.files.extra".to_owned()));
    up.call("more", PATIENCE).await.unwrap();
    eventually("the new tool", || up.names().contains(&"mcp.files.extra".to_owned())).await;
}

#[tokio::test]
async fn pictures_of_an_answer_are_kept_beside_its_words() {
    let up = Up::program(McpTerms::default()).await;
    let image = json!({ "bytes": { "media_type": "image/png", "base64": "iVBORw0KGgo=" } });
    let wanted = json!({ "text": "a lamp:\n(an image, image/png)", "images": [image] });
    assert_eq!(up.call("look", PATIENCE).await, Ok(wanted));
}

#[tokio::test]
async fn a_hint_is_believed_only_where_the_operator_says_so() {
    let classes = BTreeMap::from([("fail".to_owned(), EffectClass::Reconcile)]);
    for (trust_hints, echo, set) in
        [(false, EffectClass::Once, EffectClass::Once), (true, EffectClass::Read, EffectClass::Idempotent)]
    {
        let up = Up::program(McpTerms { trust_hints, classes: classes.clone(), ..McpTerms::default() }).await;
        eventually("the list", || !up.names().is_empty()).await;
        let tools = up.handle.tools();
        let class = |name: &str| tools.iter().find(|tool| tool.name == format!("mcp.files.{name}")).unwrap().class;
        assert_eq!((class("echo"), class("set"), class("fail")), (echo, set, EffectClass::Reconcile));
        let toolbox = Toolbox::new([], Default::default(), [up.handle.clone()], actors::transport::unplugged());
        let tool = toolbox.get("mcp.files.echo").unwrap();
        assert_eq!(tool.home, Home::Mcp { server: "files".to_owned(), tool: "echo".to_owned() });
        assert!(tool.check(&json!({ "text": 7 })).unwrap_err().to_string().contains("/text: is number"));
    }
}

#[test]
fn tools_that_are_named_and_not_listed_are_found_once_each() {
    let named = |names: [&str; 2]| names.map(str::to_owned);
    let terms = McpTerms {
        classes: named(["echo", "ecko"]).map(|name| (name, EffectClass::Read)).into(),
        named: named(["ecko", "fial"]).into(),
        ..McpTerms::default()
    };
    let tools = [Arc::new(listing::unlisted("files", &terms, "echo").unwrap())];
    assert_eq!(listing::missing(&terms, &tools), ["ecko", "fial"]);
}

#[tokio::test]
async fn a_call_that_a_program_dies_of_is_lost_and_ends_the_worker() {
    let up = Up::program(McpTerms::default()).await;
    let place = up.handle.front().enter().await.unwrap();
    let arguments = json!({ "text": "x" }).as_object().unwrap().clone();
    let call = McpCall { tool: "die".to_owned(), arguments, key: "k".to_owned(), timeout: PATIENCE };
    match up.handle.call(call, place).await {
        Ok(Err(error)) => assert!(error.may_have_acted(), "{error}"),
        Err(error) => assert!(error.may_have_acted(), "{error}"),
        Ok(Ok(value)) => panic!("{value}"),
    }
    eventually("the end", || up.actor.get_status() == ActorStatus::Stopped).await;
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_cancelled_at_the_server() {
    let up = Up::program(McpTerms::default()).await;
    up.call("echo", PATIENCE).await.unwrap();
    let late = Duration::from_millis(200);
    assert_eq!(up.call("hang", late).await, Err(McpError::Late(late)));
    eventually("the cancellation", || log(up.folder.path()).contains("cancelled")).await;
    assert!(up.call("echo", PATIENCE).await.is_ok(), "the connection is still good");
}

#[tokio::test]
async fn lines_that_are_no_json_and_floods_of_notices_are_passed_over() {
    let up = Up::program(McpTerms::default()).await;
    assert_eq!(up.call("garbage", PATIENCE).await, Ok(json!({ "text": "garbage: hello" })));
    assert!(up.call("echo", PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_program_that_is_not_there_fails_its_callers_and_nothing_was_asked() {
    let reach = Reach::Program { command: "/no/such/program".to_owned(), args: Vec::new(), env: BTreeMap::new() };
    let up = Up::new(reach, McpTerms::default(), tempfile::tempdir().unwrap()).await;
    let place = up.handle.front().enter().await.unwrap();
    let call = McpCall { tool: "x".to_owned(), arguments: Map::new(), key: "k".to_owned(), timeout: PATIENCE };
    match up.handle.call(call, place).await {
        Ok(Err(McpError::NotConnected(reason))) => assert!(reason.contains("cannot be started"), "{reason}"),
        // The worker may have ended before it was asked.
        Err(error) => assert!(!error.may_have_acted(), "{error}"),
        other => panic!("{other:?}"),
    }
    eventually("the end", || up.actor.get_status() == ActorStatus::Stopped).await;
}

/// A secret that a test changes.
#[derive(Clone)]
struct Place(Arc<Mutex<&'static str>>);

#[async_trait::async_trait]
impl SecretSource for Place {
    async fn read(&self) -> Result<Secret, String> {
        Ok(Secret::new(*self.0.lock().unwrap()))
    }
}

impl Place {
    fn of(words: &'static str) -> Self {
        Self(Arc::new(Mutex::new(words)))
    }

    fn word(&self) -> Word {
        let world = World::real(WorldOptions::default()).unwrap();
        Word::Key(Key::read_from(self.clone(), world, Duration::from_secs(3600)))
    }
}

#[tokio::test]
async fn a_program_is_given_the_secrets_of_when_it_starts_and_says_none_of_them() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::of("t0ken-of-yesterday"));
    let Reach::Program { command, args, mut env } = program(folder.path()) else { unreachable!() };
    env.insert("TOKEN".to_owned(), place.word());
    // Read when the configuration was.
    env["TOKEN"].current().await.unwrap();
    *place.0.lock().unwrap() = "today-w0rd";
    let up = Up::new(Reach::Program { command, args, env }, McpTerms::default(), folder).await;
    let told = up.call("leak", PATIENCE).await.unwrap();
    assert_eq!(told, json!({ "text": "it runs with today-w0rd" }), "a short one is no key in what is no error");
    let scolded = up.call("scold", PATIENCE).await.unwrap_err().to_string();
    assert!(scolded.starts_with("[redacted] may not do that."), "{}", &scolded[..50]);
    *place.0.lock().unwrap() = "t0ken-of-tomorrow";
    let reach = up.handle.server().reach.clone();
    let up = Up::new(reach, McpTerms::default(), tempfile::tempdir().unwrap()).await;
    assert_eq!(up.call("leak", PATIENCE).await, Ok(json!({ "text": "it runs with [redacted]" })));
    eventually("the list", || !up.names().is_empty()).await;
    let tools = up.handle.tools();
    let told = tools.iter().find(|tool| tool.name == "mcp.files.told").unwrap();
    assert_eq!(told.description, "Runs with [redacted].");
    assert_eq!(told.schema["properties"], json!({ "[redacted]": { "description": "[redacted]" } }));
    assert!(!format!("{tools:?}").contains("t0ken"), "a tool that is called by it is left out");
}

#[tokio::test]
async fn a_server_whose_tools_change_without_end_is_asked_for_them_now_and_then() {
    const CALLS: usize = 200;
    let up = Up::program(McpTerms::default()).await;
    up.call("restless", PATIENCE).await.unwrap();
    for _ in 0..CALLS {
        up.call("echo", PATIENCE).await.unwrap();
    }
    let listed = log(up.folder.path()).lines().filter(|line| *line == "listed").count();
    assert!(listed < CALLS / 10, "{listed} listings beside {CALLS} calls");
}

/// A server over HTTP, as long as its standard input is open.
async fn over_http(folder: &Path) -> (tokio::process::Child, String) {
    let Reach::Program { command, mut args, .. } = program(folder) else { unreachable!() };
    let port = folder.join("port");
    args.push(port.display().to_string());
    let mut server = tokio::process::Command::new(command);
    server.args(args).env("LOG", folder.join("log"));
    let server = server.stdin(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    eventually("the port", || port.exists()).await;
    (server, format!("http://127.0.0.1:{}/mcp", std::fs::read_to_string(&port).unwrap()))
}

#[tokio::test]
async fn a_server_is_called_over_streamable_http_with_the_headers_that_are_configured() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = over_http(folder.path()).await;
    let headers = [("x-token".to_owned(), Word::Plain("t0ken".to_owned()))].into();
    let reach = Reach::Address { url, headers };
    assert!(!format!("{reach:?}").contains("t0ken"));
    let up = Up::new(reach, McpTerms::default(), folder).await;
    assert_eq!(up.call("echo", PATIENCE).await, Ok(json!({ "text": "echo: hello" })));
    eventually("the list", || !up.names().is_empty()).await;
    let log = log(up.folder.path());
    assert!(log.contains("http tools/call t0ken"), "{log}");
}

#[tokio::test]
async fn a_header_is_rotated_within_a_connection_and_a_refusal_is_told_without_it() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::of("t0ken-of-yesterday"));
    let wanted = folder.path().join("log.wanted");
    std::fs::write(&wanted, "t0ken-of-yesterday").unwrap();
    let (_server, url) = over_http(folder.path()).await;
    let headers = [("x-token".to_owned(), place.word())].into();
    let up = Up::new(Reach::Address { url, headers }, McpTerms::default(), folder).await;
    assert!(up.call("echo", PATIENCE).await.is_ok());
    std::fs::write(&wanted, "t0ken-of-today").unwrap();
    let refused = up.call("echo", PATIENCE).await.unwrap_err().to_string();
    assert!(refused.contains("[redacted] is not the token"), "{refused}");
    *place.0.lock().unwrap() = "t0ken-of-today";
    assert_eq!(up.call("echo", PATIENCE).await, Ok(json!({ "text": "echo: hello" })));
}
