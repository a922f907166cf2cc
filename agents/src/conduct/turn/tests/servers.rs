//! Servers whose tools are used: those that are not there yet, that die of a call, or that say too much.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::approval::ApprovalPolicy;
use policies::failure::FailureClass;
use serde_json::json;

use super::{House, kit, script};
use crate::fixture;
use crate::run::{EffectOutcome, End, Event, Status};
use crate::scripted::Answer;
use crate::tool::mcp::{McpActor, McpHandle, McpServer, McpTerms, tests as mcp};
use crate::workflow::EffectClass;

const WORKFLOW: &str = "name = \"w\"\n[[steps]]\nid = \"use\"\nkind = \"tool\"\ntool = \"mcp.files.echo\"\n\
                        [steps.with]\ntext = \"'hello'\"\n[outputs]\ntext = \"{{ steps.use.text }}\"\n";

/// A server whose every life ends with the program that it is; another life begins at once.
pub(super) async fn server(house: &House, handle: &McpHandle) {
    let (handle, world) = (handle.clone(), house.ground.world.clone());
    let keep_up = {
        let world = world.clone();
        async move {
            loop {
                let actor = fixture::start(handle.front(), McpActor::new(world.clone()), handle.clone()).await;
                while actor.get_status() != ractor::ActorStatus::Stopped {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    };
    world.spawn("keep up", keep_up);
}

#[tokio::test]
async fn a_step_waits_for_a_server_that_has_yet_to_list_its_tools() {
    let folder = tempfile::tempdir().unwrap();
    let handle = McpHandle::new("files", McpServer { reach: mcp::program(folder.path()), terms: McpTerms::default() });
    let house = House::with_servers(Vec::new(), vec![handle.clone()]).await;
    house.follow(WORKFLOW, ApprovalPolicy::default()).await;
    mcp::eventually("the intent", || !house.paths().is_empty()).await;
    assert!(house.state().end.is_none() && handle.tools().is_empty());
    server(&house, &handle).await;
    mcp::eventually("an end", || house.state().end.is_some()).await;
    match house.state().end {
        Some(End::Finished { outputs }) => assert_eq!(outputs["text"], "echo: hello"),
        end => panic!("{end:?}"),
    }
    mcp::eventually("the list", || !handle.tools().is_empty()).await;
    assert!(house.stage.tools.get("mcp.files.none").is_none(), "once it has listed them, its tools are those");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_its_server_was_never_there_for_is_not_in_doubt() {
    let terms = McpTerms { timeout: Duration::from_secs(1), ..McpTerms::default() };
    let folder = tempfile::tempdir().unwrap();
    let handle = McpHandle::new("files", McpServer { reach: mcp::program(folder.path()), terms });
    let house = House::with_servers(Vec::new(), vec![handle]).await;
    house.follow(WORKFLOW, ApprovalPolicy::default()).await;
    let outcome = |house: &House| {
        house.events().into_iter().find_map(|event| match event {
            Event::Resolved(resolved) => Some(resolved.outcome.clone()),
            _ => None,
        })
    };
    house.until(|house| outcome(house).is_some()).await;
    match outcome(&house).unwrap() {
        EffectOutcome::Failed { class, .. } => assert_eq!(class, FailureClass::ProviderDown),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_in_doubt_is_made_again_under_its_key_or_held_for_a_person_by_its_class() {
    for (class, tool, settled) in [(EffectClass::Idempotent, "set", true), (EffectClass::Once, "die", false)] {
        let folder = tempfile::tempdir().unwrap();
        let classes = BTreeMap::from([(tool.to_owned(), class)]);
        let terms = McpTerms { classes, ..McpTerms::default() };
        let handle = McpHandle::new("files", McpServer { reach: mcp::program(folder.path()), terms });
        let name = format!("mcp_files_{tool}");
        let model = script()
            .when(format!("{tool}: x"), [Answer::say("It is set.")])
            .otherwise([Answer::Use(vec![(name, json!({ "text": "x" }))])]);
        let members = vec![("writer", model, kit(&["mcp.files.*"]))];
        let house = House::with_servers(members, vec![handle.clone()]).await;
        server(&house, &handle).await;
        mcp::eventually("the list", || !handle.tools().is_empty()).await;
        house.accept("", ApprovalPolicy::default()).await;
        mcp::eventually("an end", || house.state().end.is_some() || house.state().status() == Status::Parked).await;
        let state = house.state();
        let calls: Vec<String> = mcp::log(folder.path()).lines().map(str::to_owned).collect();
        if settled {
            assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
            assert!(calls.len() == 2 && calls[0] == calls[1] && calls[0].contains("r/write@1[0]:"), "{calls:?}");
        } else {
            let (path, ..) = state.parked().next().unwrap();
            assert_eq!((path.as_str(), calls.len()), ("write@1[0]", 1), "{calls:?}");
        }
    }
}

#[tokio::test]
async fn what_a_server_says_of_a_failure_is_cut_like_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let handle = McpHandle::new("files", McpServer { reach: mcp::program(folder.path()), terms: McpTerms::default() });
    let model = script()
        .when("No. ", [Answer::say("It cannot be done.")])
        .otherwise([Answer::Use(vec![("mcp_files_scold".to_owned(), json!({ "text": "x" }))])]);
    let house = House::with_servers(vec![("writer", model, kit(&["mcp.files.*"]))], vec![handle.clone()]).await;
    server(&house, &handle).await;
    mcp::eventually("the list", || !handle.tools().is_empty()).await;
    house.accept("", ApprovalPolicy::default()).await;
    mcp::eventually("an end", || house.state().end.is_some()).await;
    let events = house.events();
    let longest = events.iter().map(|event| serde_json::to_string(event).unwrap().len()).max();
    let max = usize::try_from(crate::tool::RESULT_MAX.0).unwrap();
    assert!(longest > Some(max) && longest < Some(max + 4096), "{longest:?} bytes of an event");
}
