//! Patterns of names, as faults aim by them.

/// Whether a pattern, in which `*` stands for any text, is the whole of a name. The last `*` that was
/// passed takes one character more whenever what follows it does not fit, so its work is bounded by
/// the product of the two lengths.
pub fn covers(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == name.get(n) {
            p += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|char| *char == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("a", "a"),
            ("run/*", "run/7"),
            ("run/*", "run/x"),
            ("*er", "writer"),
            ("*r", "writer"),
            ("r*v*r", "reviewer"),
            ("é*", "éa"),
        ] {
            assert!(covers(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("a", "ab"),
            ("ab", "a"),
            ("run/*", "runs"),
            ("*er", "feed"),
            ("r*x*r", "reviewer"),
            ("write", "writer"),
        ] {
            assert!(!covers(pattern, name), "{pattern} {name}");
        }
    }
}
