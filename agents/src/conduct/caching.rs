//! Which beginnings of a request its provider is to keep.
//!
//! Invariant: the marks follow from the call, the prices and what the configuration expects, so what is
//! reserved for is what is sent; nothing is marked that would not pay by the price table.

use policies::price::{Keep, ModelPrice, Reuse};

use crate::model::{CacheMarks, CacheTtl, ModelRequest};

/// The marks of a request in a talk of so many turns before it, which may come to so many in all.
///
/// A talk is expected to go on for as long as it has lasted already, for one turn more at least, where its
/// model has tools at all: nobody knows better, and one turn pays.
pub(super) fn marks(
    price: &ModelPrice,
    shared: Reuse,
    (turns, turns_max): (u32, u32),
    request: &ModelRequest,
) -> CacheMarks {
    let left = if request.tools.is_empty() { 0 } else { turns_max.saturating_sub(turns + 1) };
    let further = left.min(turns.max(1));
    let stable = request.stable_about();
    let all = request.whole_about();
    // What the first turn has marked stays marked, for it is read as long as the talk goes on.
    let first = u32::from(turns > 0 || further > 0);
    CacheMarks {
        system: price.keep(stable, shared.plus(first)).map(ttl),
        earlier: price.keep(all, Reuse::default().plus(u32::from(turns > 0))).map(ttl),
        messages: price.keep(all, Reuse::default().plus(further)).map(|_| CacheTtl::FiveMinutes),
    }
}

fn ttl(keep: Keep) -> CacheTtl {
    match keep {
        Keep::FiveMinutes => CacheTtl::FiveMinutes,
        Keep::Hour => CacheTtl::Hour,
    }
}

#[cfg(test)]
mod tests;
