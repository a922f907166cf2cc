//! What the ledger has said of budgets, as the journal has it. Invariant: each alert is given once, in order,
//! under its number in the workspace's stream of alerts.

use std::sync::Arc;

use agents::ledger::{Alerted, alerts_stream};
use policies::instant::Timestamp;
use serde::Serialize;
use storage::journal::{Event, Version};

use super::System;

/// Alerts read from the journal in one go.
const PAGE_MAX: usize = 64;

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Its number in the workspace, from 1.
    pub id: u64,
    /// When it was said.
    pub at: Timestamp,
    /// In a sentence.
    pub text: String,
    /// What it says.
    #[serde(flatten)]
    pub alerted: Alerted,
}

impl Said {
    /// None of an event that is no alert, or of a newer form.
    fn of(event: &Event) -> Option<Self> {
        let alerted: Alerted = serde_json::from_slice(&event.payload).ok()?;
        Some(Self { id: event.version.0, at: event.time, text: alerted.alert.to_string(), alerted })
    }
}

/// A reader of alerts, as they come.
pub struct AlertFollower {
    system: Arc<System>,
    after: Version,
    page: std::vec::IntoIter<Event>,
}

impl System {
    /// The alerts before the one of this number, or all: the newest first, `max` at most.
    ///
    /// # Errors
    /// Why they cannot be read, in a sentence.
    pub async fn alerts(&self, before: Option<u64>, max: usize) -> Result<Vec<Said>, String> {
        let events = self.events_before(alerts_stream(&self.workspace), before, max).await?;
        Ok(events.iter().filter_map(Said::of).collect())
    }

    /// Follows the alerts from after a number on.
    pub fn follow_alerts(self: &Arc<Self>, after: u64) -> AlertFollower {
        AlertFollower { system: Arc::clone(self), after: Version(after), page: Vec::new().into_iter() }
    }
}

impl AlertFollower {
    /// The next alert, waiting for it; none when the journal has stopped.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            for event in self.page.by_ref() {
                self.after = event.version;
                if let Some(said) = Said::of(&event) {
                    return Some(said);
                }
            }
            // Subscribed before the read, so that nothing falls between the two.
            let mut head = self.system.journal().watch_head();
            head.see();
            let stream = alerts_stream(&self.system.workspace);
            let page = self.system.events_after(stream, self.after, PAGE_MAX).await.ok()?;
            if page.is_empty() {
                head.next().await.ok()?;
            }
            self.page = page.into_iter();
        }
    }
}
