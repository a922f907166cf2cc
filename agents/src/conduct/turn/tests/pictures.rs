//! Pictures that tools answer with: seen by models with eyes, told to others, and recorded either way.

use std::collections::BTreeMap;

use policies::approval::ApprovalPolicy;
use serde_json::json;

use super::servers::server;
use super::{House, kit, script};
use crate::model::Ability;
use crate::run::End;
use crate::scripted::{Answer, Scripted};
use crate::tool::mcp::{McpHandle, McpServer, McpTerms, tests as mcp};
use crate::workflow::{EffectClass, StepPath};

/// A run whose writer looks at a picture.
async fn looks(model: Scripted) -> House {
    let folder = tempfile::tempdir().unwrap();
    let classes = BTreeMap::from([("look".to_owned(), EffectClass::Read)]);
    let terms = McpTerms { classes, ..McpTerms::default() };
    let handle = McpHandle::new("files", McpServer { reach: mcp::program(folder.path()), terms });
    let model = model.otherwise([Answer::Use(vec![("mcp_files_look".to_owned(), json!({ "text": "x" }))])]);
    let house = House::with_servers(vec![("writer", model, kit(&["mcp.files.*"]))], vec![handle.clone()]).await;
    server(&house, &handle).await;
    mcp::eventually("the list", || !handle.tools().is_empty()).await;
    house.accept("", ApprovalPolicy::default()).await;
    mcp::eventually("an end", || house.state().end.is_some()).await;
    house
}

#[tokio::test]
async fn a_picture_is_seen_by_a_model_with_eyes_and_told_to_another() {
    let seeing = script().when("[image/png]", [Answer::say("A lamp.")]);
    let blind = script().without(&[Ability::Images]).when("which you cannot see", [Answer::say("Something.")]);
    for (model, says) in [(seeing, "A lamp."), (blind, "Something.")] {
        let house = looks(model).await;
        match house.state().end {
            Some(End::Finished { outputs }) => assert_eq!(outputs["text"], says),
            end => panic!("{end:?}"),
        }
        let image = json!({ "bytes": { "media_type": "image/png", "base64": "iVBORw0KGgo=" } });
        let recorded = house.state().outcomes[&StepPath::from("write@1[0]")].clone();
        assert_eq!(recorded["images"], json!([image]), "recorded as it came, whoever hears of it");
    }
}
