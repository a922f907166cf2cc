//! How much room the terminal has. Invariant: what is cut to it says that it was cut.

use console::Term;

/// The terminal's size, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// From side to side.
    pub columns: usize,
    /// From top to bottom.
    pub lines: usize,
}

impl Screen {
    /// As it is now; none when what is printed goes elsewhere.
    #[must_use]
    pub fn now() -> Option<Self> {
        let term = Term::stdout();
        let (lines, columns) = term.is_term().then(|| term.size_checked()).flatten()?;
        Some(Self { columns: usize::from(columns), lines: usize::from(lines) })
    }
}

/// As much of a text of many lines as fits, with how many more there are.
#[must_use]
pub fn cut(text: &str, lines_max: usize) -> String {
    let lines = text.lines().count();
    // The cursor stands on a line of its own.
    if lines < lines_max {
        return text.to_owned();
    }
    let fit = lines_max.saturating_sub(2);
    let mut cut: String = text.split_inclusive('\n').take(fit).collect();
    cut.push_str(&format!("… {} lines more; name a branch, or give --depth or --limit\n", lines - fit));
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_does_not_is_counted() {
        assert_eq!(cut("a\nb\n", 3), "a\nb\n");
        assert_eq!(cut("a\nb\nc\nd\n", 4), "a\nb\n… 2 lines more; name a branch, or give --depth or --limit\n");
    }
}
