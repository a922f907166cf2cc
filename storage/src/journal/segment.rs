//! Segment files: their names, their headers, and walking over their frames.
//!
//! A header is `magic | format u32 | epoch u64 | first event u64 | chain before it | CRC-32`. It is
//! synced before the first frame is written, and only when all earlier segments are.
//!
//! Invariant: frames follow each other without a gap from the header on.

use std::io;
use std::ops::ControlFlow;

use super::event::Seq;
use super::frame::{self, Chain, Fields, Flaw, Frame};
use crate::disk::{Disk, File, read_full};

/// The journal's folder on its disk.
pub(super) const FOLDER: &str = "journal";
/// The format of segments that this build writes and reads.
pub(super) const FORMAT: u32 = 1;
pub(super) const HEADER_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"CBJOURNL";
const SUFFIX: &str = ".seg";
/// Digits of the largest sequence, so that names sort as their sequences do.
const NAME_DIGITS: usize = 20;

/// A frame's place: its segment, by the segment's first event, and its offset there in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) segment: Seq,
    pub(super) offset: u64,
}

pub(super) fn path(first: Seq) -> String {
    format!("{FOLDER}/{:0NAME_DIGITS$}{SUFFIX}", first.0)
}

/// The first event of the segment with this file name; `None` for other files.
pub(super) fn first(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok().map(Seq) } else { None }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) epoch: u64,
    pub(super) first: Seq,
    pub(super) before: Chain,
}

pub(super) enum HeaderFlaw {
    /// It is not a whole header.
    Bad,
    /// Another build's format.
    Format(u32),
}

impl Header {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.before.0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn read(file: &dyn File) -> io::Result<Result<Self, HeaderFlaw>> {
        let mut bytes = [0; HEADER_BYTES as usize];
        let read = read_full(file, 0, &mut bytes)?;
        Ok(Self::parse(&bytes[..read]))
    }

    fn parse(bytes: &[u8]) -> Result<Self, HeaderFlaw> {
        let mut fields = Fields(bytes);
        let mut parse = || {
            let (magic, format) = (fields.array::<8>()?, fields.u32()?);
            let (epoch, first, before) = (fields.u64()?, fields.u64()?, fields.array()?);
            let header = Self { epoch, first: Seq(first), before: Chain(before) };
            let crc = crc32fast::hash(&bytes[..bytes.len() - 4]);
            (&magic == MAGIC && fields.u32()? == crc).then_some((format, header))
        };
        match parse() {
            Some((FORMAT, header)) => Ok(header),
            Some((format, _)) => Err(HeaderFlaw::Format(format)),
            None => Err(HeaderFlaw::Bad),
        }
    }
}

/// Makes a segment, durable with its name.
pub(super) fn create(disk: &dyn Disk, header: Header) -> io::Result<Box<dyn File>> {
    let mut file = disk.open(&path(header.first))?;
    file.truncate(0)?;
    file.append(&header.to_bytes())?;
    file.sync()?;
    disk.sync_dir(FOLDER)?;
    Ok(file)
}

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// At the end of the bytes.
    Whole,
    /// The visitor had enough.
    Left,
    /// At bytes that are not a frame.
    Broken { offset: u64, what: &'static str },
}

/// Visits the frames between two offsets, with the offset of each, reading `chunk` bytes at a time.
pub(super) fn walk(
    file: &dyn File,
    from: u64,
    to: u64,
    chunk: usize,
    mut visit: impl FnMut(u64, &Frame<'_>) -> ControlFlow<()>,
) -> io::Result<Walked> {
    const CUT: &str = "the record is cut short";
    let all = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; chunk.min(all)];
    // The buffer holds `held` bytes of the file from `base` on; the next frame is at `at` in it.
    let (mut base, mut held, mut at) = (from, 0, 0);
    loop {
        let offset = base + at as u64;
        match frame::parse(&buffer[at..held]) {
            Ok(frame) => {
                if visit(offset, &frame).is_break() {
                    return Ok(Walked::Left);
                }
                at += frame.bytes;
            }
            Err(Flaw::Bad(what)) => return Ok(Walked::Broken { offset, what }),
            Err(Flaw::Short(_)) if offset == to => return Ok(Walked::Whole),
            Err(Flaw::Short(need)) if offset + need as u64 > to => {
                return Ok(Walked::Broken { offset, what: CUT });
            }
            Err(Flaw::Short(need)) => {
                buffer.copy_within(at..held, 0);
                (base, held, at) = (offset, held - at, 0);
                if buffer.len() < need {
                    buffer.resize(need, 0);
                }
                let left = usize::try_from(to - base).unwrap_or(usize::MAX);
                let end = buffer.len().min(left);
                let read = read_full(file, base + held as u64, &mut buffer[held..end])?;
                held += read;
                if held < need {
                    return Ok(Walked::Broken { offset, what: CUT });
                }
            }
        }
    }
}

/// What lies where a frame should begin and does not.
pub(super) struct Rest {
    /// Its length in bytes, without zeros at the end: those were reserved and not written to.
    pub(super) bytes: u64,
    /// Whether a frame in it was written after a sync that covered its beginning.
    pub(super) written_later: bool,
}

/// Looks at what is behind the last frame.
pub(super) fn rest(file: &dyn File, broken: u64, to: u64) -> io::Result<Rest> {
    let mut rest = vec![0; usize::try_from(to - broken).unwrap_or(0)];
    let read = read_full(file, broken, &mut rest)?;
    rest.truncate(read);
    let bytes = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let written_later = (1..bytes).any(|at| {
        rest[at..].starts_with(&frame::MAGIC)
            && frame::parse(&rest[at..]).is_ok_and(|frame| frame.head.group_start > broken)
    });
    Ok(Rest { bytes: bytes as u64, written_later })
}
