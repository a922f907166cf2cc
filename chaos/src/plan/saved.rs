//! A plan as it is kept beside a report. Invariant: what was kept can be played again by itself, and says of
//! which state of the program it was true.

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::aims::Invariant;

/// A plan, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// The commit that was tried.
    pub commit: String,
    /// The hash of its trace, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The checkers that found something, whose violation came first before the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Invariant>,
    /// The plan.
    pub plan: Plan,
}

/// Reads a plan that was kept, or one that stands alone.
///
/// # Errors
/// What is wrong with it, where it is neither.
pub fn read(text: &str) -> Result<Saved, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_str(text)?;
    if value.get("plan").is_some() {
        return serde_json::from_value(value);
    }
    let plan = serde_json::from_value(value)?;
    Ok(Saved { commit: "unknown".to_owned(), trace: None, failed: Vec::new(), plan })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_with_what_came_of_it_or_alone() {
        let plan = Plan { seed: 7, ..Plan::plain(&["k"], Vec::new()) };
        let saved = Saved {
            commit: "c0ffee".to_owned(),
            trace: Some("abc".to_owned()),
            failed: vec![Invariant::NoLostRun],
            plan: plan.clone(),
        };
        assert_eq!(read(&serde_json::to_string(&saved).unwrap()).unwrap(), saved);
        assert_eq!(read(&serde_json::to_string(&plan).unwrap()).unwrap().plan, plan);
        assert!(read("{}").unwrap_err().to_string().contains("experiment"));
        assert!(read("{\"plan\": {}}").is_err() && read("7").is_err() && read("").is_err());
    }
}
