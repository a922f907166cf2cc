//! A workflow that does nothing, for the benches.

use std::sync::Arc;

use agents::workflow::Workflow;
use gateway::system::System;

/// So many searches of an empty store, and a question at the end if there is to be one.
pub(crate) fn workflow(system: &System, steps: usize, asks: bool) -> Arc<Workflow> {
    let mut text = "name = \"idle\"\ndescription = \"Does nothing.\"\n".to_owned();
    for step in 0..steps {
        text.push_str(&format!(
            "[[steps]]\nid = \"s{step}\"\nkind = \"tool\"\ntool = \"context.search\"\nwith = {{ query = \"'nothing'\" }}\n"
        ));
    }
    if asks {
        text.push_str("[[steps]]\nid = \"ask\"\nkind = \"approve\"\nwhat = \"Go on?\"\n");
    }
    system.workflow("idle.toml", &text).unwrap()
}
