//! One file of a disk that loses: its bytes as processes see them, and its bytes as a power cut would leave them.
//!
//! Invariant: the two agree up to `dirty_from` and, where they are of one length, from `dirty_to` on; a
//! tear never touches what lies below.

/// The unit in which a disk keeps or loses bytes.
const SECTOR_BYTES: usize = 512;

/// The bytes of one file, written and durable.
#[derive(Clone, Debug, Default)]
pub struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty_from: usize,
    dirty_to: usize,
}

impl Content {
    pub(super) fn durable(bytes: &[u8]) -> Self {
        Self { seen: bytes.to_vec(), durable: bytes.to_vec(), dirty_from: bytes.len(), dirty_to: 0 }
    }

    /// The bytes as processes see them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn len(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.seen.extend_from_slice(bytes);
        self.dirty_to = self.seen.len();
    }

    /// Writes at an offset; zeros fill what lies between the end and it.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        if offset > self.seen.len() {
            self.resize(offset);
        }
        let (over, behind) = bytes.split_at(bytes.len().min(self.seen.len() - offset));
        self.rewrite(offset as u64, over);
        self.append(behind);
    }

    /// Cuts to a length, or fills up to it with zeros.
    pub fn resize(&mut self, length: usize) {
        self.dirty_from = self.dirty_from.min(length);
        self.dirty_to = self.dirty_to.max(length);
        self.seen.resize(length, 0);
    }

    /// Whether a power cut would change nothing.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.seen == self.durable
    }

    /// Returns how many bytes it cut off.
    pub(super) fn truncate(&mut self, length: u64) -> u64 {
        let before = self.seen.len();
        self.seen.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        self.dirty_from = self.dirty_from.min(self.seen.len());
        (before - self.seen.len()) as u64
    }

    pub(super) fn rewrite(&mut self, offset: u64, bytes: &[u8]) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.seen.len());
        let end = (start + bytes.len()).min(self.seen.len());
        self.seen[start..end].copy_from_slice(&bytes[..end - start]);
        self.dirty_from = self.dirty_from.min(start);
        self.dirty_to = self.dirty_to.max(end);
    }

    /// Makes all bytes durable.
    pub fn sync(&mut self) {
        if self.durable.len() == self.seen.len() {
            let to = self.dirty_to.clamp(self.dirty_from, self.seen.len());
            self.durable[self.dirty_from..to].copy_from_slice(&self.seen[self.dirty_from..to]);
        } else {
            self.durable.truncate(self.dirty_from);
            self.durable.extend_from_slice(&self.seen[self.dirty_from..]);
        }
        self.clean();
    }

    fn clean(&mut self) {
        (self.dirty_from, self.dirty_to) = (self.seen.len(), 0);
    }

    /// Linux marks the pages clean when their write-back fails: the bytes can be read until the
    /// cache goes, and no later sync writes them.
    pub(super) fn fail_sync(&mut self) {
        self.durable.truncate(self.dirty_from);
        self.durable.resize(self.seen.len(), 0);
        self.clean();
    }

    pub(super) fn flip(&mut self, offset: u64) {
        let Ok(offset) = usize::try_from(offset) else { return };
        for bytes in [&mut self.seen, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte = !*byte;
            }
        }
    }

    /// A power cut: what was not synced is gone.
    pub fn revert(&mut self) {
        self.seen.clone_from(&self.durable);
        self.clean();
    }

    /// A power cut that keeps a part of what was not synced: some length of it, each sector new, old, zeros or garbage.
    pub fn tear(&mut self, dice: &mut Dice) {
        let floor = self.dirty_from;
        let (short, long) =
            (self.seen.len().min(self.durable.len()).max(floor), self.seen.len().max(self.durable.len()));
        if short == long && self.seen == self.durable {
            return;
        }
        // Often all of it or none of it: the ends are where mistakes are.
        let length = match dice.below(4) {
            0 => long,
            1 => short,
            _ => short + dice.below(long - short + 1),
        };
        let mut kept = self.durable[..floor.min(self.durable.len())].to_vec();
        while kept.len() < length {
            let start = kept.len();
            let end = (start / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES).min(length);
            // Sectors that were already on the disk are old or new; only fresh ones can hold zeros
            // or garbage.
            let fresh = start >= self.durable.len();
            match dice.below(6) {
                0 | 1 if !fresh => kept.extend_from_slice(&self.durable[start..end.min(self.durable.len())]),
                0 => kept.resize(end, 0),
                1 => kept.extend((start..end).map(|_| dice.byte())),
                2 => extend(&mut kept, &self.durable, end),
                _ => extend(&mut kept, &self.seen, end),
            }
        }
        self.durable = kept;
        self.revert();
    }
}

/// Goes on with the bytes of that place up to `end`, and with zeros where there are none.
fn extend(kept: &mut Vec<u8>, bytes: &[u8], end: usize) {
    kept.extend_from_slice(bytes.get(kept.len()..end.min(bytes.len())).unwrap_or_default());
    kept.resize(end, 0);
}

/// A small seeded generator (SplitMix64, Steele et al. 2014): the simulated disk's own chance, so
/// that it needs no other.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }
}
