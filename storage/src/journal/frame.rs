//! Frames: how one batch, or one note of the journal's own, lies in a segment.
//!
//! A frame is `magic | body length u32 | CRC-32 of the body u32 | body`; a body is its [`Head`] and
//! then the events. Numbers are little-endian.
//!
//! Invariant: a frame that parses is the frame that was written, up to the strength of CRC-32; that
//! nobody changed it on purpose is what the chain is for.

use policies::instant::Timestamp;

use super::event::{RecordId, Seq, Version};

/// Begins every frame. 0xFF and 0xFE occur in no UTF-8 text, so no payload can look like a frame.
pub(super) const MAGIC: [u8; 4] = [0xFF, b'C', b'B', 0xFE];
/// No frame is larger; a length beyond it is damage.
pub(super) const FRAME_BYTES_MAX: usize = 48 << 20;

const PREFIX_BYTES: usize = 12;
const HEAD_BYTES: usize = 85;
/// What a link is made of, with one version.
const LINK_BYTES: usize = 32 + 32 + 1 + 4 + 8 + 16 + 8 + 8 + 8;
/// What a frame takes besides its events.
pub(super) const OVERHEAD_BYTES: usize = PREFIX_BYTES + HEAD_BYTES;

/// The hash that ties a frame to all frames before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chain(pub(super) [u8; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A batch.
    Events = 1,
    /// The journal was opened; a new epoch begins.
    Opened = 2,
    /// The journal was closed in good order.
    Sealed = 3,
}

/// What a frame says besides its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) count: u32,
    pub(super) epoch: u64,
    /// Where in the segment the write began that this frame was part of. All before it was synced
    /// when this frame was written.
    pub(super) group_start: u64,
    pub(super) id: RecordId,
    /// The first event's place; for a frame without events, the next event's.
    pub(super) first: Seq,
    pub(super) time: Timestamp,
    pub(super) chain: Chain,
}

impl Head {
    /// The place of the event after this frame.
    pub(super) fn next(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count))
    }

    /// The chain after this frame: over the chain before it, the digest of its events without their
    /// versions (which are not known yet when the events are encoded), and all that gives them place.
    pub(super) fn link(&self, before: &Chain, digest: &[u8; 32], versions: &[Version]) -> Chain {
        let mut fixed = [0; LINK_BYTES];
        let (mut rest, fields) = (&mut fixed[..], self);
        let mut put = |bytes: &[u8]| {
            let (field, behind) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            field.copy_from_slice(bytes);
            rest = behind;
        };
        put(&before.0);
        put(digest);
        put(&[fields.kind as u8]);
        put(&fields.count.to_le_bytes());
        put(&fields.epoch.to_le_bytes());
        put(&fields.id.0.to_le_bytes());
        put(&fields.first.0.to_le_bytes());
        put(&fields.time.micros().to_le_bytes());
        // Two blocks in the common case of one event: the committer makes a hash for every batch.
        if let [version] = versions {
            put(&version.0.to_le_bytes());
            return Chain(*blake3::hash(&fixed).as_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&fixed[..LINK_BYTES - 8]);
        for version in versions {
            hasher.update(&version.0.to_le_bytes());
        }
        Chain(*hasher.finalize().as_bytes())
    }
}

/// Appends a frame to `out`. The versions go to the offsets given with them, counted in `events`.
pub(super) fn write(out: &mut Vec<u8>, head: &Head, events: &[u8], offsets: &[u32], versions: &[Version]) {
    let start = out.len();
    let body_bytes = u32::try_from(HEAD_BYTES + events.len()).unwrap_or(u32::MAX);
    out.reserve(OVERHEAD_BYTES + events.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&body_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(head.kind as u8);
    out.extend_from_slice(&head.count.to_le_bytes());
    out.extend_from_slice(&head.epoch.to_le_bytes());
    out.extend_from_slice(&head.group_start.to_le_bytes());
    out.extend_from_slice(&head.id.0.to_le_bytes());
    out.extend_from_slice(&head.first.0.to_le_bytes());
    out.extend_from_slice(&head.time.micros().to_le_bytes());
    out.extend_from_slice(&head.chain.0);
    out.extend_from_slice(events);
    let events_start = start + OVERHEAD_BYTES;
    for (offset, version) in offsets.iter().zip(versions) {
        let at = events_start + *offset as usize;
        out[at..at + 8].copy_from_slice(&version.0.to_le_bytes());
    }
    let crc = crc32fast::hash(&out[start + PREFIX_BYTES..]);
    out[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
}

/// A frame as it lies in a buffer.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) head: Head,
    pub(super) events: &'a [u8],
    /// Its length, all told.
    pub(super) bytes: usize,
}

/// Why bytes are not a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// They may become one with this many bytes from its start.
    Short(usize),
    /// They never will.
    Bad(&'static str),
}

/// Reads the frame at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Frame<'_>, Flaw> {
    let mut fields = Fields(bytes);
    let short = Flaw::Short(PREFIX_BYTES);
    let (Some(magic), Some(length), Some(crc)) = (fields.array(), fields.u32(), fields.u32()) else {
        return Err(short);
    };
    if magic != MAGIC {
        return Err(Flaw::Bad("no record begins here"));
    }
    let length = length as usize;
    if !(HEAD_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Err(Flaw::Bad("the record's length is impossible"));
    }
    let Some(body) = fields.bytes(length) else {
        return Err(Flaw::Short(PREFIX_BYTES + length));
    };
    if crc32fast::hash(body) != crc {
        return Err(Flaw::Bad("the record's checksum does not match"));
    }
    let mut fields = Fields(body);
    let head = head(&mut fields).ok_or(Flaw::Bad("the record is of an unknown kind"))?;
    Ok(Frame { head, events: fields.0, bytes: PREFIX_BYTES + length })
}

fn head(fields: &mut Fields<'_>) -> Option<Head> {
    let kind = match fields.array::<1>()? {
        [1] => Kind::Events,
        [2] => Kind::Opened,
        [3] => Kind::Sealed,
        _ => return None,
    };
    Some(Head {
        kind,
        count: fields.u32()?,
        epoch: fields.u64()?,
        group_start: fields.u64()?,
        id: RecordId(u128::from_le_bytes(fields.array()?)),
        first: Seq(fields.u64()?),
        time: Timestamp::from_micros(i64::from_le_bytes(fields.array()?)),
        chain: Chain(fields.array()?),
    })
}

/// Takes fields off the front of bytes; `None` once they run out.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Head, Vec<u8>) {
        let head = Head {
            kind: Kind::Events,
            count: 2,
            epoch: 3,
            group_start: 64,
            id: RecordId(u128::MAX - 5),
            first: Seq(7),
            time: Timestamp::from_micros(-9),
            chain: Chain([8; 32]),
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &head, &[0; 24], &[0, 16], &[Version(5), Version(6)]);
        (head, bytes)
    }

    #[test]
    fn what_is_written_is_parsed() {
        let (head, mut bytes) = sample();
        let length = bytes.len();
        bytes.extend_from_slice(b"more");
        let frame = parse(&bytes).unwrap();
        assert_eq!((frame.head, frame.bytes), (head, length));
        assert_eq!(frame.events, [&5_u64.to_le_bytes()[..], &[0; 8], &6_u64.to_le_bytes()].concat());
        assert_eq!(frame.head.next(), Seq(9));
    }

    #[test]
    fn a_prefix_asks_for_more_and_a_change_is_bad() {
        let (_, bytes) = sample();
        for length in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..length]), Err(Flaw::Short(need)) if need > length));
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(parse(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_chain_depends_on_every_part() {
        let (head, _) = sample();
        let link = |head: &Head, before, digest, version| head.link(&Chain(before), &digest, &[Version(version)]);
        let chain = link(&head, [1; 32], [2; 32], 3);
        assert_ne!(chain, link(&head, [9; 32], [2; 32], 3));
        assert_ne!(chain, link(&head, [1; 32], [9; 32], 3));
        assert_ne!(chain, link(&head, [1; 32], [2; 32], 9));
        assert_ne!(chain, link(&Head { id: RecordId(1), ..head }, [1; 32], [2; 32], 3));
        assert_ne!(chain, link(&Head { first: Seq(1), ..head }, [1; 32], [2; 32], 3));
    }
}
