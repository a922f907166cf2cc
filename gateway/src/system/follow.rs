//! Following one run, live. Invariant: each event of the run is given once, in
//! order, and the following ends with the run.

use std::sync::Arc;

use actors::entity::Entity;
use agents::run::{Event as RunEvent, Run};
use storage::journal::{Event, Version};

use super::System;

/// Events read from the journal in one go.
const PAGE_MAX: usize = 128;

/// A reader of one run's events.
pub struct Follower {
    system: Arc<System>,
    id: String,
    after: Version,
    page: std::vec::IntoIter<Event>,
    ended: bool,
    looked_back: bool,
}

impl System {
    /// Follows a run from after a version on.
    pub fn follow(self: &Arc<Self>, id: &str, after: Version) -> Follower {
        Follower {
            system: Arc::clone(self),
            id: id.to_owned(),
            after,
            page: Vec::new().into_iter(),
            ended: false,
            looked_back: false,
        }
    }
}

impl Follower {
    /// Whether the run's end lies before where the following began: a client that comes back with the
    /// last event that it has would wait for ever else.
    async fn ended_before(&mut self) -> bool {
        if self.looked_back {
            return false;
        }
        let last = self.system.last_event(&self.id).await;
        self.looked_back = true;
        last.as_ref().and_then(ends).unwrap_or(false)
    }

    /// The next event, waiting for it; none after the run's end, or when the
    /// journal has stopped.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.page.next() {
                self.after = event.version;
                self.ended = ends(&event).unwrap_or(self.ended);
                return Some(event);
            }
            // Subscribed before the read, so that nothing falls between the two.
            let mut head = self.system.journal().watch_head();
            head.see();
            let page = self.system.run_events(&self.id, self.after, PAGE_MAX).await.ok()?;
            if !page.is_empty() {
                self.page = page.into_iter();
            } else if self.ended || self.ended_before().await {
                return None;
            } else {
                head.next().await.ok()?;
            }
        }
    }
}

/// Whether the run has ended with this event; nothing where the event leaves that as it was.
fn ends(event: &Event) -> Option<bool> {
    match Run::decode(&event.kind, event.schema, &event.payload) {
        Ok(RunEvent::Finished(_) | RunEvent::Failed(_) | RunEvent::Cancelled(_)) => Some(true),
        Ok(RunEvent::Rejected(rejected)) if rejected.ends => Some(true),
        Ok(RunEvent::Reopened(_)) => Some(false),
        _ => None,
    }
}
