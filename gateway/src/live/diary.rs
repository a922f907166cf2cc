//! The live faults in the journal: stream `chaos/live`. Invariant: nothing waits for it; a note that
//! finds the queue full is counted and left out, and the next one written says how many were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::world::World;
use serde::Serialize;
use storage::journal::{Batch, Journal, NewEvent, RecordId, StreamId, TraceId, Write};
use tokio::sync::{mpsc, oneshot};

use super::board::{Shown, Standing};
use super::fault::Asked;
use crate::system::append_or_give_up;

/// Notes that may wait to be written.
const WAITING_MAX: usize = 1024;
/// The stream of the faults.
const STREAM: &str = "chaos/live";
/// Who made them.
const PRINCIPAL: &str = "operator";

/// Where notes go.
pub(super) struct Diary {
    sender: mpsc::Sender<Note>,
    left_out: Arc<AtomicU64>,
}

/// Where they come out.
pub(super) struct Pages {
    receiver: mpsc::Receiver<Note>,
    left_out: Arc<AtomicU64>,
}

enum Note {
    /// A fault, as it stands now; with the number of notes that were left out before it.
    Fault(Box<Shown>),
    /// Everything before this is to be written down.
    Flush(oneshot::Sender<()>),
}

pub(super) fn diary() -> (Diary, Pages) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let left_out = Arc::new(AtomicU64::new(0));
    (Diary { sender, left_out: Arc::clone(&left_out) }, Pages { receiver, left_out })
}

impl Diary {
    /// Notes how a fault stands now.
    pub(super) fn note(&self, shown: Shown) {
        if self.sender.try_send(Note::Fault(Box::new(shown))).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when everything that was noted is written, or given up.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Note::Flush(done)).await.is_ok() {
            // Nobody reads any more: then nothing is written either.
            let _ = written.await;
        }
    }
}

/// One event's payload.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    fault: &'a Asked,
    hits: u32,
    /// Notes that the queue had no room for, before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

impl Pages {
    /// Writes until nobody can note anything any more.
    pub(super) async fn run(mut self, world: World, journal: Journal) {
        let mut chance = world.chance("chaos/diary");
        while let Some(note) = self.receiver.recv().await {
            match note {
                Note::Flush(done) => {
                    let _ = done.send(());
                }
                Note::Fault(shown) => {
                    let left_out = self.left_out.swap(0, Ordering::Relaxed);
                    let Some(event) = written(&world, &shown, left_out) else { continue };
                    let write = Write { stream: StreamId::from(STREAM), expected: None, events: vec![event] };
                    let batch = Batch { id: RecordId(chance.id()), writes: vec![write], preconditions: Vec::new() };
                    append_or_give_up(&journal, batch, "a live fault").await;
                }
            }
        }
    }

    /// The next note, for tests: where the fault stands, and its hits.
    #[cfg(test)]
    pub(super) fn next(&mut self) -> Option<(String, &'static str, u32)> {
        match self.receiver.try_recv() {
            Ok(Note::Fault(shown)) => Some((shown.id.clone(), kind(shown.standing), shown.hits)),
            _ => None,
        }
    }
}

/// The event that says that a fault has come to stand so.
fn kind(standing: Standing) -> &'static str {
    match standing {
        Standing::InForce => "chaos.started",
        Standing::UsedUp => "chaos.used_up",
        Standing::Expired => "chaos.expired",
        Standing::Stopped => "chaos.stopped",
    }
}

fn written(world: &World, shown: &Shown, left_out: u64) -> Option<NewEvent> {
    let line =
        Line { id: &shown.id, fault: &shown.fault, hits: shown.hits, left_out: (left_out > 0).then_some(left_out) };
    Some(NewEvent {
        kind: kind(shown.standing).to_owned(),
        schema: 1,
        time: world.now(),
        principal: PRINCIPAL.to_owned(),
        trace: TraceId(0),
        cause: None,
        subject: None,
        payload: serde_json::to_vec(&line).ok()?,
    })
}
