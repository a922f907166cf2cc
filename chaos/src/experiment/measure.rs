//! Measures that experiments give: shares and lengths of time. Invariant: a length that was read is above
//! zero and bounded.

use policies::document::{Mistakes, Section};
use policies::span::Span;
use toml::Spanned;

/// The longest time that an experiment may name: seven days.
const LENGTH_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// A share: a number from 0 to 1.
pub(super) fn share(section: &mut Section<'_>, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<f64> {
    let share = section.read::<f64>(key, mistakes)?;
    if !(0.0..=1.0).contains(share.get_ref()) {
        let help = "0.3 is three of ten";
        mistakes.add(share.span(), format!("`{key}` is a share, so it must be a number from 0 to 1"), help);
        return None;
    }
    Some(share.into_inner())
}

/// A length of time above zero, in milliseconds.
pub(super) fn length(
    section: &mut Section<'_>,
    key: &'static str,
    mistakes: &mut Mistakes<'_>,
) -> Option<Spanned<u64>> {
    let span = section.read::<Span>(key, mistakes)?;
    let place = span.span();
    let length_ms = millis(span.into_inner());
    if !(1..=LENGTH_MS_MAX).contains(&length_ms) {
        let max = Span::from_millis(LENGTH_MS_MAX);
        mistakes.add(place.clone(), format!("`{key}` must be above zero and at most {max}"), "");
        return None;
    }
    Some(Spanned::new(place, length_ms))
}

/// A length of time above zero that must be there, in milliseconds.
pub(super) fn need_length(
    section: &mut Section<'_>,
    key: &'static str,
    mistakes: &mut Mistakes<'_>,
) -> Option<Spanned<u64>> {
    section.require(key, mistakes);
    length(section, key, mistakes)
}

/// In whole milliseconds.
pub(super) fn millis(span: Span) -> u64 {
    u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX)
}
