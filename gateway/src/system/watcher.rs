//! What happens in the supervision tree, written into the journal.
//!
//! Invariant: the tree is never held up: an event that finds the queue full is
//! counted and left out, and the next one written says how many were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::latest::{self, Latest};
use actors::telemetry::{Held, Kin, Metrics};
use actors::world::World;
use policies::failure::FailureClass;
use serde::Serialize;
use storage::journal::{AppendError, Batch, Journal, NewEvent, RecordId, StreamId, TraceId, Write};
use supervisor::{Hold, Observer, Sphere, SupervisionEvent};
use tokio::sync::mpsc;

use super::RUNS;
use super::prospects::Outlook;

/// Events that may wait to be written.
const WAITING_MAX: usize = 1024;
/// Events written in one batch.
const BATCH_MAX: usize = 64;
/// How often a batch is tried again while the journal is full or in doubt.
const TRIES_MAX: u32 = 5;
/// Between two tries.
const TRY_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// The stream of the tree's events.
pub(super) const STREAM: &str = "supervision/callboard";

/// Hears the tree.
pub(super) struct Watcher {
    other: Option<Arc<dyn Observer>>,
    outlook: Arc<Outlook>,
    metrics: Metrics,
    /// How often the supervisor of the runs has come up.
    runs_up: Latest<u64>,
    sender: mpsc::Sender<SupervisionEvent>,
    left_out: Arc<AtomicU64>,
}

/// Writes down what the watcher heard.
pub(super) struct Scribe {
    receiver: mpsc::Receiver<SupervisionEvent>,
    left_out: Arc<AtomicU64>,
}

/// A watcher and its scribe.
pub(super) fn pair(other: Option<Arc<dyn Observer>>, outlook: Arc<Outlook>, metrics: Metrics) -> (Watcher, Scribe) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let left_out = Arc::new(AtomicU64::new(0));
    let runs_up = Latest::new(0);
    let watcher = Watcher { other, outlook, metrics, runs_up, sender, left_out: Arc::clone(&left_out) };
    (watcher, Scribe { receiver, left_out })
}

impl Watcher {
    /// Follows how often the supervisor of the runs has come up.
    pub(super) fn runs_up(&self) -> latest::Watcher<u64> {
        self.runs_up.watch()
    }
}

impl Observer for Watcher {
    fn event_in(&self, sphere: Sphere<'_>, event: SupervisionEvent) {
        count(&self.metrics, sphere, &event);
        self.event(event);
    }

    fn event(&self, event: SupervisionEvent) {
        if let Some(other) = &self.other {
            other.event(event.clone());
        }
        if matches!(&event, SupervisionEvent::ChildUp { child, .. } if child == RUNS) {
            self.runs_up.set_if(|times| {
                *times += 1;
                true
            });
        }
        match &event {
            SupervisionEvent::ChildDown { class: Some(_), .. } => self.outlook.look(),
            SupervisionEvent::Stopped => self.outlook.close(),
            _ => {}
        }
        if is_news(&event) && self.sender.try_send(event).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts what happened, under names that are as many as the policy has.
fn count(metrics: &Metrics, sphere: Sphere<'_>, event: &SupervisionEvent) {
    let supervisor = sphere.supervisor;
    let kin = |child: &str| {
        let child = if sphere.is_dynamic { supervisor } else { child };
        Kin { supervisor: supervisor.to_owned(), child: child.to_owned() }
    };
    match event {
        SupervisionEvent::ChildUp { down: Some(down), .. } => metrics.up_again(supervisor, *down),
        SupervisionEvent::ChildDown { child, class: Some(class), .. } => metrics.child_failed(kin(child), *class),
        SupervisionEvent::Restarting { child, class, .. } => metrics.restarting(kin(child), *class),
        SupervisionEvent::Paused { child, hold, .. } => metrics.child_paused(
            kin(child),
            match hold {
                Hold::Breaker => Held::Breaker,
                Hold::Budget => Held::Budget,
            },
        ),
        SupervisionEvent::Parked { child, class, .. } => metrics.child_parked(kin(child), *class),
        SupervisionEvent::Stuck { child } => metrics.child_stuck(&kin(child)),
        SupervisionEvent::Escalated { class, .. } => metrics.escalated(supervisor, *class),
        SupervisionEvent::ChildUp { .. } | SupervisionEvent::ChildDown { .. } | SupervisionEvent::Stopped => {}
    }
}

/// A first start and a normal end are no news: every run makes both.
fn is_news(event: &SupervisionEvent) -> bool {
    match event {
        SupervisionEvent::ChildUp { generation, .. } => *generation > 1,
        SupervisionEvent::ChildDown { class, .. } => class.is_some(),
        SupervisionEvent::Restarting { .. }
        | SupervisionEvent::Paused { .. }
        | SupervisionEvent::Parked { .. }
        | SupervisionEvent::Stuck { .. }
        | SupervisionEvent::Escalated { .. } => true,
        // Nothing to write, but the scribe may go.
        SupervisionEvent::Stopped => true,
    }
}

/// One event's payload.
#[derive(Serialize)]
struct Line<'a> {
    child: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<FailureClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<Hold>,
    /// Events that the queue had no room for, before this one.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Scribe {
    /// Writes until the tree has stopped, or the watcher is gone.
    pub(super) async fn run(mut self, world: World, journal: Journal) {
        let mut chance = world.chance("supervision");
        let mut heard = Vec::with_capacity(BATCH_MAX);
        while self.receiver.recv_many(&mut heard, BATCH_MAX).await > 0 {
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            let over = heard.contains(&SupervisionEvent::Stopped);
            let events = heard.drain(..).enumerate();
            let events = events
                .filter_map(|(place, event)| written(&world, &event, if place == 0 { left_out } else { 0 }))
                .collect();
            let write = Write { stream: StreamId::from(STREAM), expected: None, events };
            let batch = Batch { id: RecordId(chance.id()), writes: vec![write], preconditions: Vec::new() };
            append_or_give_up(&journal, batch, "supervision events").await;
            if over {
                return;
            }
        }
    }
}

/// Appends what may be left out: it is tried a few times, and given up with a warning that says `what`.
pub(crate) async fn append_or_give_up(journal: &Journal, batch: Batch, what: &str) {
    if batch.writes.iter().all(|write| write.events.is_empty()) {
        return;
    }
    for _ in 0..TRIES_MAX {
        match journal.append(batch.clone()).await {
            Ok(_) => return,
            Err(AppendError::Full { .. } | AppendError::Retry { .. } | AppendError::Unknown { .. }) => {
                tokio::time::sleep(TRY_EVERY).await;
            }
            Err(error) => {
                tracing::warn!(%error, what, "it could not be written");
                return;
            }
        }
    }
    tracing::warn!(what, "it was given up: the journal takes none");
}

fn written(world: &World, event: &SupervisionEvent, left_out: u64) -> Option<NewEvent> {
    let line =
        |child| Line { child, generation: None, class: None, reason: None, after_ms: None, hold: None, left_out };
    let (kind, line) = match event {
        SupervisionEvent::ChildUp { child, generation, .. } => {
            ("supervision.child_up", Line { generation: Some(*generation), ..line(child) })
        }
        SupervisionEvent::ChildDown { child, class, reason } => {
            ("supervision.child_down", Line { class: *class, reason: Some(reason), ..line(child) })
        }
        SupervisionEvent::Restarting { child, after, .. } => {
            let after_ms = u64::try_from(after.as_millis()).ok();
            ("supervision.restarting", Line { after_ms, ..line(child) })
        }
        SupervisionEvent::Paused { child, hold, again_in } => {
            let (after_ms, hold) = (u64::try_from(again_in.as_millis()).ok(), Some(*hold));
            ("supervision.paused", Line { after_ms, hold, ..line(child) })
        }
        SupervisionEvent::Parked { child, class, reason } => {
            ("supervision.parked", Line { class: Some(*class), reason: Some(reason), ..line(child) })
        }
        SupervisionEvent::Stuck { child } => ("supervision.stuck", line(child)),
        SupervisionEvent::Escalated { supervisor, class, reason, .. } => {
            ("supervision.escalated", Line { class: Some(*class), reason: Some(reason), ..line(supervisor) })
        }
        SupervisionEvent::Stopped => return None,
    };
    Some(NewEvent {
        kind: kind.to_owned(),
        schema: 1,
        time: world.now(),
        principal: "callboard".to_owned(),
        trace: TraceId(0),
        cause: None,
        subject: None,
        payload: serde_json::to_vec(&line).ok()?,
    })
}
