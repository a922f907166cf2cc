//! A group of batches that is being put together for one write and one sync.
//!
//! Invariant: each batch is judged as if all before it in the group were durable, and no answer
//! leaves before they are.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use policies::span::ByteSize;

use super::error::{AppendError, ReadError};
use super::event::{Appended, RecordId, Seq, StreamId, Version};
use super::frame::{self, Chain, Head, Kind};
use super::handle::{Answer, Reply, Shared, Shortage};
use super::index::Run;
use super::record::Prepared;
use super::segment::Position;

/// The end of the journal: what the next frame follows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    pub(super) next: Seq,
    pub(super) chain: Chain,
}

/// Where a group is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) start: Position,
    pub(super) epoch: u64,
    /// Bytes of the whole journal before the group.
    pub(super) journal_bytes: u64,
}

/// Streams whose versions are kept from group to group; with more, all are looked up anew.
const TIPS_MAX: usize = 4096;

pub(super) struct Group {
    place: Place,
    pub(super) end: End,
    pub(super) bytes: Vec<u8>,
    pub(super) runs: Vec<(StreamId, Run)>,
    pub(super) frames: Vec<Staged>,
    answers: Vec<(Reply, Fate, Box<Prepared>)>,
    /// Versions that streams have, or will have with this group. Looked up by name alone.
    tips: HashMap<StreamId, Version, RandomState>,
    /// Those of the events of the batch at hand.
    versions: Vec<Version>,
    /// What a batch was refused for, if it was for want of room.
    pub(super) shortage: Option<Shortage>,
    /// Why nothing more can be staged, now or later.
    pub(super) failed: Option<Arc<str>>,
}

/// A frame of the group.
pub(super) struct Staged {
    pub(super) first: Seq,
    pub(super) at: Position,
    /// Its batch's place among the answers.
    answer: usize,
}

enum Fate {
    Own(Result<Appended, AppendError>),
    /// That of an earlier batch of this group, of which this one is a repetition.
    SameAs(usize),
}

impl Group {
    /// An empty group at this place, in the buffers of the last one.
    pub(super) fn begin(&mut self, place: Place, end: End) {
        self.place = place;
        self.end = end;
        self.bytes.clear();
        self.runs.clear();
        self.frames.clear();
        self.answers.clear();
        if self.tips.len() > TIPS_MAX {
            self.tips.clear();
        }
        self.shortage = None;
    }

    /// Forgets what the group would have made of the journal: it was not written.
    pub(super) fn give_up(&mut self, repeats: &mut Repeats) {
        self.tips.clear();
        repeats.forget_last(self.frames.len());
    }

    pub(super) fn new(place: Place, end: End) -> Self {
        Self {
            place,
            end,
            bytes: Vec::new(),
            runs: Vec::new(),
            frames: Vec::new(),
            answers: Vec::new(),
            tips: HashMap::default(),
            versions: Vec::new(),
            shortage: None,
            failed: None,
        }
    }

    /// Adds a batch, if the streams are as it expects.
    pub(super) fn stage(&mut self, shared: &Shared, repeats: &mut Repeats, mut batch: Box<Prepared>, reply: Reply) {
        let fate = match &self.failed {
            Some(reason) => Fate::Own(Err(AppendError::Stopped { reason: reason.clone() })),
            None => match repeats.insert(batch.id, self.here()) {
                None => Fate::Own(self.stage_new(shared, &mut batch).inspect_err(|_| repeats.forget_last(1))),
                Some(at) => self.repeated(shared, at),
            },
        };
        if let Fate::Own(Err(error)) = &fate {
            self.shortage = Shortage::of(error).or(self.shortage.take());
        }
        self.answers.push((reply, fate, batch));
    }

    /// What became of the batch in the frame at this place.
    fn repeated(&self, shared: &Shared, at: Position) -> Fate {
        if let Some(staged) = self.frames.iter().find(|staged| staged.at == at) {
            return Fate::SameAs(staged.answer);
        }
        let retry = |error: ReadError| AppendError::Retry { reason: error.to_string().into() };
        Fate::Own(shared.reader.appended(at).map_err(retry))
    }

    /// Where the next frame goes.
    fn here(&self) -> Position {
        Position { offset: self.place.start.offset + self.bytes.len() as u64, ..self.place.start }
    }

    /// Answers all batches: each its own answer, or all the same failure.
    pub(super) fn answer(&mut self, failure: Option<&AppendError>) {
        let mut fates: Vec<Result<Appended, AppendError>> = Vec::new();
        // Fates are kept for repetitions only, which are rare.
        let repeated = self.answers.iter().any(|(_, fate, _)| matches!(fate, Fate::SameAs(_)));
        for (reply, fate, batch) in self.answers.drain(..) {
            let fate = match (failure, fate) {
                (Some(failure), _) => Err(failure.clone()),
                (None, Fate::Own(fate)) => fate,
                (None, Fate::SameAs(at)) => fates[at].clone(),
            };
            if repeated {
                fates.push(fate.clone());
            }
            // Whoever asked may have gone away; the batch stands all the same.
            let _ = reply.send(Answer { fate, _spent: Some(batch) });
        }
    }

    fn stage_new(&mut self, shared: &Shared, batch: &mut Prepared) -> Result<Appended, AppendError> {
        for (stream, expected) in &batch.preconditions {
            let actual = self.version(shared, stream)?;
            check(stream, *expected, actual)?;
        }
        let mut reached: Vec<(StreamId, Version)> = Vec::with_capacity(batch.writes.len());
        self.versions.clear();
        for write in &batch.writes {
            let known = reached.iter().position(|(stream, _)| *stream == write.stream);
            let before = match known {
                Some(at) => reached[at].1,
                None => self.version(shared, &write.stream)?,
            };
            if let Some(expected) = write.expected {
                check(&write.stream, expected, before)?;
            }
            self.versions.extend((1..=u64::from(write.count)).map(|events| before.plus(events)));
            let after = before.plus(write.count.into());
            match known {
                Some(at) => reached[at].1 = after,
                None => reached.push((write.stream.clone(), after)),
            }
        }
        self.check_quota(shared, batch)?;
        put_apart(shared, batch)?;
        Ok(self.append(batch, reached))
    }

    fn append(&mut self, batch: &Prepared, reached: Vec<(StreamId, Version)>) -> Appended {
        let (at, versions) = (self.here(), &self.versions);
        let mut head = Head {
            kind: Kind::Events,
            count: batch.count,
            epoch: self.place.epoch,
            group_start: self.place.start.offset,
            id: batch.id,
            first: self.end.next,
            time: batch.time,
            chain: Chain::default(),
        };
        head.chain = head.link(&self.end.chain, &batch.digest(), versions);
        frame::write(&mut self.bytes, &head, &batch.events, &batch.version_offsets, versions);
        self.end = End { next: head.next(), chain: head.chain };
        self.frames.push(Staged { first: head.first, at, answer: self.answers.len() });
        let mut event = 0;
        for write in &batch.writes {
            let run = Run { first: versions[event], count: write.count, at };
            self.runs.push((write.stream.clone(), run));
            event += write.count as usize;
        }
        for (stream, version) in &reached {
            if let Some(tip) = self.tips.get_mut(stream) {
                *tip = *version;
            }
        }
        Appended { first: head.first, last: Seq(head.next().0 - 1), versions: reached }
    }

    fn version(&mut self, shared: &Shared, stream: &StreamId) -> Result<Version, AppendError> {
        if let Some(version) = self.tips.get(stream) {
            return Ok(*version);
        }
        let version = shared.reader.version(stream).map_err(|error| {
            let reason: Arc<str> = error.to_string().into();
            self.failed = Some(reason.clone());
            AppendError::Stopped { reason }
        })?;
        self.tips.insert(stream.clone(), version);
        Ok(version)
    }

    fn check_quota(&self, shared: &Shared, batch: &Prepared) -> Result<(), AppendError> {
        let Some(quota) = shared.options.bytes_max else { return Ok(()) };
        let asked = batch.frame_bytes() as u64;
        let used = self.place.journal_bytes + self.bytes.len() as u64;
        if used + asked > quota.bytes() {
            let limit = format!("its quota is {quota}").into();
            return Err(AppendError::Full { asked: ByteSize(asked), limit });
        }
        Ok(())
    }
}

fn check(stream: &StreamId, expected: Version, actual: Version) -> Result<(), AppendError> {
    if expected == actual {
        return Ok(());
    }
    Err(AppendError::Conflict { stream: stream.clone(), expected, actual })
}

/// Writes the payloads that are kept apart; they are durable before the record that names them.
fn put_apart(shared: &Shared, batch: &mut Prepared) -> Result<(), AppendError> {
    for apart in std::mem::take(&mut batch.apart) {
        let asked = ByteSize(apart.bytes().len() as u64);
        let id = shared.reader.blobs().put(apart.subject(), apart.bytes()).map_err(|error| {
            if error.is_full() {
                return AppendError::Full { asked, limit: "the disk is full".into() };
            }
            AppendError::Retry { reason: format!("a payload could not be kept: {error}").into() }
        })?;
        batch.fill(&apart, &id);
    }
    Ok(())
}

/// Where recent batches went, so that repetitions are answered and not appended.
pub(super) struct Repeats {
    batches_max: usize,
    places: HashMap<RecordId, Position, RandomState>,
    order: VecDeque<RecordId>,
}

impl Repeats {
    pub(super) fn new(batches_max: usize) -> Self {
        Self { batches_max, places: HashMap::default(), order: VecDeque::new() }
    }

    /// Notes where a batch goes, unless it went somewhere before, which it returns.
    pub(super) fn insert(&mut self, id: RecordId, at: Position) -> Option<Position> {
        match self.places.entry(id) {
            Entry::Occupied(known) => return Some(*known.get()),
            Entry::Vacant(free) => free.insert(at),
        };
        self.order.push_back(id);
        if self.order.len() > self.batches_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        None
    }

    /// Takes back the last so many insertions.
    fn forget_last(&mut self, batches: usize) {
        for id in self.order.drain(self.order.len().saturating_sub(batches)..) {
            self.places.remove(&id);
        }
    }
}
