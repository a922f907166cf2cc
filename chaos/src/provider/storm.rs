//! A provider's bad weather. Invariant: what becomes of a call follows from the seed and the call's number, so
//! that a storm can be had again.

/// Of a hundred calls, so many are answered 429 …
const LIMITED: u64 = 15;
/// … 529 …
const OVERLOADED: u64 = 10;
/// … with half a reply and then silence …
const STALLED: u64 = 8;
/// … and with half a reply and a broken connection.
const CUT: u64 = 10;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// It is served.
    Fine,
    /// It is refused with 429, and costs nothing.
    Limited,
    /// It is refused with 529, and costs nothing.
    Overloaded,
    /// It is billed, and its reply never ends.
    Stalled,
    /// It is billed, and its reply breaks off.
    Cut,
}

/// A storm, by its seed.
#[derive(Clone, Copy, Debug)]
pub struct Storm(pub u64);

impl Storm {
    /// What becomes of the call of this number.
    #[must_use]
    pub fn over(self, call: u64) -> Weather {
        let dice = mixed(mixed(self.0).wrapping_add(call)) % 100;
        let mut end = 0;
        for (share, weather) in [
            (LIMITED, Weather::Limited),
            (OVERLOADED, Weather::Overloaded),
            (STALLED, Weather::Stalled),
            (CUT, Weather::Cut),
        ] {
            end += share;
            if dice < end {
                return weather;
            }
        }
        Weather::Fine
    }
}

/// The mixing step of SplitMix64.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_has_its_shares_and_is_the_same_each_time() {
        let calls = |seed| (1..=10_000).map(move |call| Storm(seed).over(call));
        assert!(calls(1).eq(calls(1)) && !calls(1).eq(calls(2)));
        for (share, weather) in [
            (LIMITED, Weather::Limited),
            (OVERLOADED, Weather::Overloaded),
            (STALLED, Weather::Stalled),
            (CUT, Weather::Cut),
        ] {
            let count = calls(7).filter(|is| *is == weather).count() as u64;
            assert!(count.abs_diff(share * 100) < 150, "{weather:?}: {count}");
        }
    }
}
