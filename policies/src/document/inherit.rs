//! Tables that inherit from others. Invariant: every value keeps the place where it is written, so that
//! a mistake in it, and where it comes from, can be told whoever inherits it.

use toml::de::{DeTable, DeValue};

/// `own` over `base`, table by table: what `own` leaves out comes from `base`.
pub fn inherit<'a>(base: &DeTable<'a>, own: &DeTable<'a>) -> DeTable<'a> {
    let mut merged = base.clone();
    for (key, value) in own {
        // Taken out first: a map that has a key keeps it, and with it the place of the other one.
        let below = merged.remove(key);
        let mut value = value.clone();
        if let (Some(DeValue::Table(below)), DeValue::Table(above)) =
            (below.map(toml::Spanned::into_inner), value.get_mut())
        {
            *above = inherit(&below, above);
        }
        merged.insert(key.clone(), value);
    }
    merged
}
