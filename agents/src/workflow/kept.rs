//! What was compiled is kept, because a run evaluates the same sources at each of its decisions.
//!
//! Invariant: what is kept is a function of its source alone, and its sources together are bounded;
//! past the bound a source is compiled each time.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The sources that one of these keeps, in bytes together.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Compiled things by source.
pub(super) struct Kept<T>(RwLock<Shelf<T>>);

struct Shelf<T> {
    by_source: BTreeMap<&'static str, T>,
    bytes: usize,
}

impl<T: Clone> Kept<T> {
    pub(super) const fn new() -> Self {
        Self(RwLock::new(Shelf { by_source: BTreeMap::new(), bytes: 0 }))
    }

    /// What this source was compiled to, if it is kept.
    pub(super) fn get(&self, source: &str) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_source.get(source).cloned()
    }

    /// Compiles a source and keeps the result; nothing when there is no room. A source that is kept
    /// lives as long as the process.
    pub(super) fn keep<E>(
        &self,
        source: &str,
        compile: impl FnOnce(&'static str) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let mut shelf = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if shelf.bytes + source.len() > KEPT_BYTES_MAX {
            return None;
        }
        shelf.bytes += source.len();
        let source: &'static str = Box::leak(source.to_owned().into_boxed_str());
        let compiled = compile(source);
        if let Ok(compiled) = &compiled {
            shelf.by_source.insert(source, compiled.clone());
        }
        Some(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_compiled_once_and_never_past_the_bound() {
        let kept: Kept<usize> = Kept::new();
        let compile = |source: &'static str| Ok::<_, ()>(source.len());
        assert_eq!(kept.get("abc"), None);
        assert_eq!(kept.keep("abc", compile), Some(Ok(3)));
        assert_eq!(kept.get("abc"), Some(3));
        assert_eq!(kept.keep(&"x".repeat(KEPT_BYTES_MAX), compile), None);
        assert_eq!(kept.keep("d", |_| Err::<usize, _>("no")), Some(Err("no")));
        assert_eq!(kept.get("d"), None);
    }
}
