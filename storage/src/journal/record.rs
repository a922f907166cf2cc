//! Events as bytes, inside a frame.
//!
//! An event is `version u64 | form u8 | envelope length u32 | payload length u32 | envelope | payload`.
//! The envelope is a msgpack map, so that fields can be added; the payload is the JSON text itself, or
//! the address of the blob that holds it. Batches are encoded by those who submit them: the committer
//! fills in the versions and, where payloads are kept apart, their addresses.

use std::sync::Arc;

use policies::instant::Timestamp;
use policies::span::ByteSize;
use serde::{Deserialize, Serialize};

use super::error::AppendError;
use super::event::{Batch, Event, NewEvent, RecordId, Seq, StreamId, TraceId, Version, Write};
use super::frame::{FRAME_BYTES_MAX, Fields, Frame, OVERHEAD_BYTES};
use super::options::Options;
use crate::blobs::{BlobId, NOBODY};

/// The longest stream name in bytes: it is a part of the index's keys.
const STREAM_BYTES_MAX: usize = 512;

/// The payload is in the frame.
const INLINE: u8 = 0;
/// The payload is a blob, and the frame holds its address.
const APART: u8 = 1;

/// What stands before an event's envelope.
const HEAD_BYTES: usize = 17;
/// What an envelope usually takes beside its texts.
const ENVELOPE_BYTES_USUAL: usize = 64;

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "s")]
    stream: &'a str,
    #[serde(rename = "k")]
    kind: &'a str,
    #[serde(rename = "v")]
    schema: u16,
    #[serde(rename = "t")]
    time: Timestamp,
    #[serde(rename = "p")]
    principal: &'a str,
    #[serde(rename = "r")]
    trace: (u64, u64),
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    cause: Option<Seq>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
}

/// A batch, encoded as far as can be without knowing what comes before it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: RecordId,
    pub(super) time: Timestamp,
    pub(super) count: u32,
    /// The events, their versions zero.
    pub(super) events: Vec<u8>,
    /// Where in `events` the versions go.
    pub(super) version_offsets: Vec<u32>,
    /// Of `events`; not known until payloads are put apart.
    pub(super) digest: Option<[u8; 32]>,
    pub(super) writes: Vec<PreparedWrite>,
    pub(super) preconditions: Vec<(StreamId, Version)>,
    pub(super) apart: Vec<Apart>,
}

#[derive(Debug)]
pub(super) struct PreparedWrite {
    pub(super) stream: StreamId,
    pub(super) expected: Option<Version>,
    pub(super) count: u32,
}

/// A payload to be kept apart.
#[derive(Debug)]
pub(super) struct Apart {
    subject: Option<String>,
    bytes: Vec<u8>,
    /// Where in the events its address goes.
    offset: usize,
}

impl Apart {
    pub(super) fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or(NOBODY)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Prepared {
    /// What its frame will take in bytes.
    pub(super) fn frame_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.events.len()
    }

    /// Fills in the address of a payload that was put apart.
    pub(super) fn fill(&mut self, apart: &Apart, id: &BlobId) {
        self.events[apart.offset..apart.offset + BlobId::BYTES].copy_from_slice(&id.to_bytes());
    }

    /// The digest of its events; payloads must have been put apart.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest.unwrap_or_else(|| digest(&self.events))
    }
}

pub(super) fn digest(events: &[u8]) -> [u8; 32] {
    *blake3::hash(events).as_bytes()
}

/// Checks and encodes a batch.
pub(super) fn prepare(batch: Batch, options: &Options) -> Result<Prepared, AppendError> {
    let mut prepared = Prepared {
        id: batch.id,
        time: Timestamp::EPOCH,
        count: 0,
        events: Vec::new(),
        version_offsets: Vec::new(),
        digest: None,
        writes: Vec::with_capacity(batch.writes.len()),
        preconditions: batch.preconditions,
        apart: Vec::new(),
    };
    for Write { stream, expected, events } in batch.writes {
        check_name(&stream)?;
        if events.is_empty() {
            return Err(invalid(format!("its write to {stream} has no events")));
        }
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        for event in events {
            encode(&mut prepared, &stream, event, options)?;
        }
        prepared.count += count;
        prepared.writes.push(PreparedWrite { stream, expected, count });
    }
    if prepared.writes.is_empty() {
        return Err(invalid("it has no events".to_owned()));
    }
    let bytes_max = options.batch_bytes_max.bytes().min(FRAME_BYTES_MAX as u64 - OVERHEAD_BYTES as u64);
    check_size("the batch", prepared.events.len(), ByteSize(bytes_max))?;
    if prepared.apart.is_empty() {
        prepared.digest = Some(digest(&prepared.events));
    }
    Ok(prepared)
}

fn check_name(stream: &StreamId) -> Result<(), AppendError> {
    let name = stream.as_str();
    if name.is_empty() || name.len() > STREAM_BYTES_MAX || name.contains('\0') {
        return Err(invalid(format!("{name:?} names no stream; take 1 to {STREAM_BYTES_MAX} bytes without NUL")));
    }
    Ok(())
}

fn check_size(what: &'static str, bytes: usize, bytes_max: ByteSize) -> Result<(), AppendError> {
    let bytes = ByteSize(bytes as u64);
    if bytes > bytes_max { Err(AppendError::TooLarge { what, bytes, bytes_max }) } else { Ok(()) }
}

fn invalid(reason: String) -> AppendError {
    AppendError::Invalid { reason: Arc::from(reason) }
}

fn encode(prepared: &mut Prepared, stream: &StreamId, event: NewEvent, options: &Options) -> Result<(), AppendError> {
    check_size("a payload", event.payload.len(), options.payload_bytes_max)?;
    if prepared.version_offsets.is_empty() {
        prepared.time = event.time;
    }
    let envelope = Envelope {
        stream: stream.as_str(),
        kind: &event.kind,
        schema: event.schema,
        time: event.time,
        principal: &event.principal,
        trace: ((event.trace.0 >> 64) as u64, event.trace.0 as u64),
        cause: event.cause,
        subject: event.subject.as_deref(),
    };
    let apart = event.subject.is_some() || event.payload.len() as u64 > options.inline_max.bytes();
    let payload_bytes = if apart { BlobId::BYTES } else { event.payload.len() };
    let out = &mut prepared.events;
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    prepared.version_offsets.push(u32::try_from(out.len()).unwrap_or(u32::MAX));
    let texts = stream.as_str().len() + event.kind.len() + event.principal.len();
    out.reserve(HEAD_BYTES + ENVELOPE_BYTES_USUAL + texts + payload_bytes);
    out.extend_from_slice(&[0; 8]);
    out.push(if apart { APART } else { INLINE });
    let lengths = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length(payload_bytes));
    let start = out.len();
    rmp_serde::encode::write_named(out, &envelope).map_err(|error| invalid(error.to_string()))?;
    let envelope_length = length(out.len() - start);
    out[lengths..lengths + 4].copy_from_slice(&envelope_length);
    if apart {
        let offset = out.len();
        out.resize(offset + BlobId::BYTES, 0);
        prepared.apart.push(Apart { subject: event.subject, bytes: event.payload, offset });
    } else {
        out.extend_from_slice(&event.payload);
    }
    Ok(())
}

/// An event as it lies in a frame.
pub(super) struct Raw<'a> {
    pub(super) seq: Seq,
    pub(super) version: Version,
    pub(super) version_offset: usize,
    apart: bool,
    envelope: &'a [u8],
    payload: &'a [u8],
}

const LAYOUT: &str = "the record's events cannot be told apart";
const ENVELOPE: &str = "an event's envelope cannot be read";

/// The events of a frame.
pub(super) fn raws<'a>(frame: &Frame<'a>) -> Result<Vec<Raw<'a>>, &'static str> {
    let mut fields = Fields(frame.events);
    let mut raws = Vec::new();
    while !fields.0.is_empty() {
        let offset = frame.events.len() - fields.0.len();
        raws.push(raw(&mut fields, Seq(frame.head.first.0 + raws.len() as u64), offset).ok_or(LAYOUT)?);
    }
    if raws.len() == frame.head.count as usize { Ok(raws) } else { Err(LAYOUT) }
}

fn raw<'a>(fields: &mut Fields<'a>, seq: Seq, version_offset: usize) -> Option<Raw<'a>> {
    let version = Version(fields.u64()?);
    let apart = match fields.array()? {
        [INLINE] => false,
        [APART] => true,
        _ => return None,
    };
    let (envelope, payload) = (fields.u32()? as usize, fields.u32()? as usize);
    let (envelope, payload) = (fields.bytes(envelope)?, fields.bytes(payload)?);
    Some(Raw { seq, version, version_offset, apart, envelope, payload })
}

/// Where an event's payload is.
pub(super) enum Payload {
    Inline,
    Apart(BlobId),
}

impl Raw<'_> {
    /// The event's stream, without decoding the rest for good.
    pub(super) fn stream(&self) -> Result<&str, &'static str> {
        Ok(self.envelope()?.stream)
    }

    /// Where its payload is kept, if that is apart.
    pub(super) fn apart(&self) -> Result<Option<BlobId>, &'static str> {
        if self.apart { BlobId::from_bytes(self.payload).map(Some).ok_or(LAYOUT) } else { Ok(None) }
    }

    /// The event; where its payload is kept apart, with an empty one and its address.
    pub(super) fn event(&self) -> Result<(Event, Payload), &'static str> {
        let envelope = self.envelope()?;
        let (payload, place) = if self.apart {
            (Vec::new(), Payload::Apart(BlobId::from_bytes(self.payload).ok_or(LAYOUT)?))
        } else {
            (self.payload.to_vec(), Payload::Inline)
        };
        let event = Event {
            seq: self.seq,
            stream: StreamId::from(envelope.stream),
            version: self.version,
            time: envelope.time,
            kind: envelope.kind.to_owned(),
            schema: envelope.schema,
            principal: envelope.principal.to_owned(),
            trace: TraceId((u128::from(envelope.trace.0) << 64) | u128::from(envelope.trace.1)),
            cause: envelope.cause,
            subject: envelope.subject.map(str::to_owned),
            payload,
            erased: false,
        };
        Ok((event, place))
    }

    fn envelope(&self) -> Result<Envelope<'_>, &'static str> {
        rmp_serde::from_slice(self.envelope).map_err(|_| ENVELOPE)
    }
}
