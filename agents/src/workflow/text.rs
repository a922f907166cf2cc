//! Filters for prose, used by templates and expressions: cutting text into
//! sentences and chunks, fitting it to a length, and reading a Markdown guide.
//!
//! Invariant: a filter is a pure function of its arguments, and never cuts
//! inside a grapheme.

use unicode_segmentation::UnicodeSegmentation;

/// A chunk is never asked to be smaller than this, in characters.
const CHUNK_CHARS_MIN: usize = 40;

/// The sentences of a text, without headings, list marks and link lines;
/// a sentence ends at `.`, `!` or `?` before a space and an upper-case letter,
/// or at the end of a paragraph.
#[must_use]
pub fn sentences(text: &str) -> Vec<String> {
    paragraphs(text).iter().flat_map(|p| split_sentences(p)).collect()
}

/// The paragraphs of a text cut into pieces of at most `chars_max` characters,
/// at the ends of sentences where that is possible.
pub(super) fn chunks(text: &str, chars_max: usize) -> Vec<String> {
    let chars_max = chars_max.max(CHUNK_CHARS_MIN);
    let mut out = Vec::new();
    for paragraph in paragraphs(text) {
        let mut chunk = String::new();
        for sentence in split_sentences(&paragraph) {
            for piece in pieces(&sentence, chars_max) {
                let joined = chunk.chars().count() + 1 + piece.chars().count();
                if !chunk.is_empty() && joined > chars_max {
                    out.push(std::mem::take(&mut chunk));
                }
                if !chunk.is_empty() {
                    chunk.push(' ');
                }
                chunk.push_str(&piece);
            }
        }
        if !chunk.is_empty() {
            out.push(chunk);
        }
    }
    out
}

/// As many whole sentences as fit into `graphemes_max`; the first sentence is
/// cut after a word, with an ellipsis, when not even that one fits.
pub(super) fn fit(text: &str, graphemes_max: usize) -> String {
    let text = text.trim();
    if graphemes(text) <= graphemes_max {
        return text.to_owned();
    }
    let mut out = String::new();
    for sentence in split_sentences(text) {
        let joined = graphemes(&out) + usize::from(!out.is_empty()) + graphemes(&sentence);
        if joined > graphemes_max {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&sentence);
    }
    if out.is_empty() { cut(text, graphemes_max) } else { out }
}

/// The text without a last sentence that breaks off; a text that is nothing
/// but such a sentence gets a full stop.
pub(super) fn complete(text: &str) -> String {
    let mut sentences = sentences(text);
    let broken = |sentence: &String| !sentence.trim_end_matches(['"', '”', '’', ')']).ends_with(['.', '!', '?', '…']);
    if sentences.len() > 1 && sentences.last().is_some_and(broken) {
        sentences.pop();
    }
    let text = sentences.join(" ");
    if text.is_empty() || !broken(&text) {
        text
    } else {
        format!("{}.", text.trim_end_matches([',', ';', ':', '-', ' ']))
    }
}

/// The length of a text as a reader counts it.
pub(super) fn graphemes(text: &str) -> usize {
    // Of ASCII, a line's end is the only one that two characters make.
    if text.is_ascii() { text.len() - text.matches("\r\n").count() } else { text.graphemes(true).count() }
}

/// The body of the Markdown section with this heading (any level, any case),
/// without its sub-headings' text cut off; empty when there is no such section.
pub(super) fn section(text: &str, heading: &str) -> String {
    let mut level = 0;
    let mut body = Vec::new();
    for line in text.lines() {
        let marks = line.chars().take_while(|c| *c == '#').count();
        let title = line.trim_start_matches('#').trim();
        if level == 0 {
            if marks > 0 && title.eq_ignore_ascii_case(heading.trim()) {
                level = marks;
            }
        } else if marks > 0 && marks <= level {
            break;
        } else {
            body.push(line);
        }
    }
    body.join("\n").trim().to_owned()
}

/// The items of a Markdown list.
pub(super) fn bullets(text: &str) -> Vec<String> {
    let item = |line: &str| {
        let line = line.trim();
        let rest = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "))?.trim();
        (!rest.is_empty()).then(|| rest.to_owned())
    };
    text.lines().filter_map(item).collect()
}

/// The paragraphs of a Markdown text as plain lines: headings are dropped, and
/// so are lines of the form `Name: https://…`, which are data and not prose.
fn paragraphs(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        let data = line.split_once(": ").is_some_and(|(_, value)| value.starts_with("http") && !value.contains(' '));
        let item = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "));
        if (line.is_empty() || line.starts_with('#') || data || item.is_some()) && !open.is_empty() {
            out.push(std::mem::take(&mut open));
        }
        if line.is_empty() || line.starts_with('#') || data {
            continue;
        }
        if !open.is_empty() {
            open.push(' ');
        }
        open.push_str(item.unwrap_or(line));
    }
    if !open.is_empty() {
        out.push(open);
    }
    out
}

fn split_sentences(paragraph: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut start = 0;
    for (at, c) in paragraph.char_indices() {
        if !matches!(c, '.' | '!' | '?') {
            continue;
        }
        let end = at + c.len_utf8();
        let rest = &paragraph[end..];
        let next = rest.trim_start();
        let apart = next.len() < rest.len();
        if apart && next.chars().next().is_some_and(|c| !c.is_lowercase()) {
            out.push(paragraph[start..end].trim().to_owned());
            start = end;
        }
    }
    out.push(paragraph[start..].trim().to_owned());
    out.retain(|sentence| !sentence.is_empty());
    out
}

/// A sentence that is longer than a chunk, cut at words (and inside a word
/// only when the word itself is too long).
fn pieces(sentence: &str, chars_max: usize) -> Vec<String> {
    if sentence.chars().count() <= chars_max {
        return vec![sentence.to_owned()];
    }
    let mut out = vec![String::new()];
    let mut used = 0;
    for part in sentence.split_word_bounds() {
        let chars = part.chars().count();
        if used > 0 && used + chars > chars_max {
            out.push(String::new());
            used = 0;
        }
        if let Some(last) = out.last_mut() {
            last.push_str(part);
        }
        used += chars;
    }
    let trimmed = out.iter().map(|piece| piece.trim().to_owned());
    trimmed.filter(|piece| !piece.is_empty()).flat_map(|piece| split_long(&piece, chars_max)).collect()
}

fn split_long(word: &str, chars_max: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = String::new();
    let mut used = 0;
    for grapheme in word.graphemes(true) {
        let chars = grapheme.chars().count();
        if used > 0 && used + chars > chars_max {
            out.push(std::mem::take(&mut open));
            used = 0;
        }
        open.push_str(grapheme);
        used += chars;
    }
    out.push(open);
    out
}

fn cut(text: &str, graphemes_max: usize) -> String {
    let room = graphemes_max.saturating_sub(1);
    let kept: String = text.graphemes(true).take(room).collect();
    let whole = match kept.rfind(char::is_whitespace) {
        Some(space) if space > 0 => &kept[..space],
        _ => &kept,
    };
    if graphemes_max == 0 { String::new() } else { format!("{}…", whole.trim_end_matches([' ', ',', ';', ':'])) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_keep_numbers_and_addresses_whole() {
        let text = "# Title\n\nLink: https://a.example/2\n\nOne coast takes 1.4 gigabytes. It\nis small! Ask press@a.example today.\n\n- First\n- Second item";
        assert_eq!(
            sentences(text),
            ["One coast takes 1.4 gigabytes.", "It is small!", "Ask press@a.example today.", "First", "Second item"]
        );
    }

    #[test]
    fn fit_keeps_whole_sentences_and_cuts_only_the_first() {
        assert_eq!(fit("One two. Three four. Five.", 21), "One two. Three four.");
        assert_eq!(fit("One two. Three four. Five.", 26), "One two. Three four. Five.");
        assert_eq!(fit("A long first sentence goes here", 14), "A long first…");
        assert_eq!(fit("Anything", 0), "");
    }

    #[test]
    fn a_text_that_breaks_off_ends_before_that() {
        assert_eq!(complete("It is here. It plans. It also c"), "It is here. It plans.");
        assert_eq!(complete("It is here, and"), "It is here, and.");
        assert_eq!(complete("Ready!"), "Ready!");
        assert_eq!(complete(" "), "");
    }

    #[test]
    fn a_guide_gives_its_lists_by_heading() {
        let guide =
            "# Guide\n\n## Words we do not use\n\n- seamless\n* unlock\n\n### More\n\n- perfect\n\n## Always\n\n- link";
        assert_eq!(bullets(&section(guide, "words we do not use")), ["seamless", "unlock", "perfect"]);
        assert_eq!(section(guide, "Absent"), "");
    }

    proptest! {
        #[test]
        fn chunks_are_bounded_and_lose_no_letter(text in "[a-zé.!? \n#-]{0,400}", max in 40_usize..120) {
            for chunk in chunks(&text, max) {
                prop_assert!(chunk.chars().count() <= max);
                prop_assert!(!chunk.trim().is_empty());
            }
            let letters = |s: &str| s.chars().filter(|c| c.is_alphabetic()).count();
            let kept: usize = chunks(&text, max).iter().map(|c| letters(c)).sum();
            let prose: usize = paragraphs(&text).iter().map(|p| letters(p)).sum();
            prop_assert_eq!(kept, prose);
        }

        #[test]
        fn a_text_of_ascii_is_as_long_as_its_graphemes(text in "[ -~\r\n]{0,60}") {
            prop_assert_eq!(graphemes(&text), text.graphemes(true).count());
        }

        #[test]
        fn fit_never_passes_its_length(text in "\\PC{0,200}", max in 0_usize..120) {
            prop_assert!(graphemes(&fit(&text, max)) <= max);
        }
    }
}
