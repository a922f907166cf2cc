//! Chance by named stream. Invariant: a stream's values follow from its key alone; no stream
//! disturbs another.

use std::sync::{Mutex, PoisonError};

use rand::rngs::{SysError, SysRng};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of chance, owned by whoever draws from it.
#[derive(Debug)]
pub struct Chance(ChaCha12Rng);

impl Chance {
    /// The stream of the `nth` asking for `name` under `seed`.
    pub fn derived(seed: u64, name: &str, nth: u64) -> Self {
        let mut key = [0_u8; 32];
        for (lane, part) in key.chunks_exact_mut(8).zip(0_u64..) {
            let mut hash = Fold::new(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            hash.line(name.as_bytes());
            hash.line(&nth.to_le_bytes());
            lane.copy_from_slice(&hash.value().to_le_bytes());
        }
        Self(ChaCha12Rng::from_seed(key))
    }

    /// A number in [0, 1), evenly spread.
    pub fn unit(&mut self) -> f64 {
        /// 2^-53: the step between the doubles that 53 random bits can name.
        const STEP: f64 = 1.0 / 9_007_199_254_740_992.0;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let bits = (self.0.next_u64() >> 11) as f64;
        bits * STEP
    }

    /// A whole number in 0..n; 0 when n is 0. Biased by less than n in 2^64.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An id that no other draw will repeat.
    pub fn id(&mut self) -> u128 {
        u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64())
    }
}

/// Streams for the real world, each keyed from one generator that the system seeded.
pub(super) struct Entropy(Mutex<ChaCha12Rng>);

impl Entropy {
    pub(super) fn open() -> Result<Self, SysError> {
        ChaCha12Rng::try_from_rng(&mut SysRng).map(|rng| Self(Mutex::new(rng)))
    }

    pub(super) fn stream(&self) -> Chance {
        let mut key = [0_u8; 32];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut key);
        Chance(ChaCha12Rng::from_seed(key))
    }
}

/// A running FNV-1a hash with a final mix: it tells runs apart, it does not protect secrets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold(u64);

impl Fold {
    pub(super) fn new(seed: u64) -> Self {
        let mut fold = Self(0xcbf2_9ce4_8422_2325);
        fold.line(&seed.to_le_bytes());
        fold
    }

    /// Folds in one line; its length goes in too, so that lines cannot run together.
    pub(super) fn line(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The hash so far, mixed as splitmix64 does.
    pub(super) fn value(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
