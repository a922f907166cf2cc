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
    /// The alerts before the one of this number, or all: the newest first, `max` at most; with the number of the
    /// last that was looked at, which may be one that cannot be read here.
    ///
    /// # Errors
    /// Why they cannot be read, in a sentence.
    pub async fn alerts(&self, before: Option<u64>, max: usize) -> Result<(Vec<Said>, Option<u64>), String> {
        let events = self.events_before(alerts_stream(&self.workspace), before, max).await?;
        Ok(page(&events))
    }

    /// Follows the alerts from after a number on.
    pub fn follow_alerts(self: &Arc<Self>, after: u64) -> AlertFollower {
        AlertFollower { system: Arc::clone(self), after: Version(after), page: Vec::new().into_iter() }
    }
}

/// What can be read of a page of events, with the number of its last.
fn page(events: &[Event]) -> (Vec<Said>, Option<u64>) {
    (events.iter().filter_map(Said::of).collect(), events.last().map(|event| event.version.0))
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
            // Subscribed before the look, so that nothing falls between the two.
            let mut head = self.system.journal().watch_head();
            head.see();
            let stream = alerts_stream(&self.system.workspace);
            // Most of what is written is no alert, and costs each follower this look alone.
            let is_there_more = self.system.journal().version(&stream).ok()? > self.after;
            if is_there_more {
                self.page = self.system.events_after(stream, self.after, PAGE_MAX).await.ok()?.into_iter();
            }
            if self.page.len() == 0 {
                head.next().await.ok()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use policies::budget::{Alert, AlertEvent, ScopeId};
    use policies::money::Money;
    use policies::share::Share;
    use storage::journal::{Seq, TraceId};

    use super::*;

    fn event(number: u64, payload: Vec<u8>) -> Event {
        Event {
            seq: Seq(number),
            stream: alerts_stream("main"),
            version: Version(number),
            time: Timestamp::EPOCH,
            kind: "ledger.alerted".to_owned(),
            schema: 1,
            principal: "system/ledger".to_owned(),
            trace: TraceId(1),
            cause: None,
            subject: None,
            payload,
            erased: false,
        }
    }

    #[test]
    fn the_next_page_begins_behind_what_cannot_be_read() {
        let event_of_share = AlertEvent::Share(Share::percent(80).unwrap());
        let scope = ScopeId::Workspace("main".to_owned());
        let (spent, limit) = (Money::from_nanos(8), Money::from_nanos(10));
        let alert = Alert { scope, window: None, since: None, event: event_of_share, spent, limit };
        let alerted = Alerted { workspace: "main".to_owned(), alert };
        let newer = b"{\"of\":\"a newer form\"}".to_vec();
        let (said, last) = page(&[event(5, serde_json::to_vec(&alerted).unwrap()), event(4, newer.clone())]);
        assert_eq!((said.len(), said[0].id, last), (1, 5, Some(4)));
        assert_eq!(page(&[event(4, newer)]), (Vec::new(), Some(4)), "there is more, though nothing is shown");
        assert_eq!(page(&[]), (Vec::new(), None));
    }
}
