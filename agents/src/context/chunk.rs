//! Cutting a document into notes. Invariant: nothing but white space is lost, no
//! note is longer than asked, and none is cut inside a grapheme that fits.

use unicode_segmentation::UnicodeSegmentation;

/// The pieces of `text`, of at most `chars_max` characters each: whole paragraphs
/// where they fit, else whole sentences, words, graphemes. A heading stays with
/// the paragraph that it heads.
pub(super) fn chunks(text: &str, chars_max: usize) -> Vec<String> {
    let mut chunks = Vec::new();
    let mut heading = String::new();
    for paragraph in paragraphs(text) {
        let mut open = std::mem::take(&mut heading);
        if paragraph.starts_with('#') && !paragraph.contains('\n') {
            flush(&mut open, &mut chunks);
            heading = fit(&paragraph, chars_max, &mut chunks);
            continue;
        }
        if !open.is_empty() {
            open.push('\n');
        }
        for sentence in paragraph.split_sentence_bounds() {
            put(sentence, chars_max, &mut open, &mut chunks);
        }
        flush(&mut open, &mut chunks);
    }
    flush(&mut heading, &mut chunks);
    chunks
}

/// A text as the open chunk, with all before its last piece finished.
fn fit(text: &str, chars_max: usize, chunks: &mut Vec<String>) -> String {
    let mut open = String::new();
    put(text, chars_max, &mut open, chunks);
    open.trim_end().to_owned()
}

/// Adds a piece to the open chunk, or begins a new one, cutting the piece into
/// smaller ones while it is too long.
fn put(piece: &str, chars_max: usize, open: &mut String, chunks: &mut Vec<String>) {
    let chars = |text: &str| text.chars().count();
    if chars(open) + chars(piece.trim_end()) > chars_max {
        flush(open, chunks);
    }
    if chars(piece.trim_end()) <= chars_max {
        open.push_str(piece);
        return;
    }
    let smaller: Vec<&str> = match piece.split_word_bounds().collect::<Vec<_>>() {
        words if words.len() > 1 => words,
        _ => piece.graphemes(true).collect(),
    };
    for part in smaller {
        match chars(part) <= chars_max {
            true => put(part, chars_max, open, chunks),
            // A grapheme may be as long as it likes; a word is cut once more.
            false => part.chars().for_each(|c| put(c.encode_utf8(&mut [0; 4]), chars_max.max(1), open, chunks)),
        }
    }
}

fn flush(open: &mut String, chunks: &mut Vec<String>) {
    let chunk = open.trim();
    if !chunk.is_empty() {
        chunks.push(chunk.to_owned());
    }
    open.clear();
}

fn paragraphs(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let mut paragraphs = vec![String::new()];
    for line in text.lines() {
        if let Some(open) = paragraphs.last_mut() {
            let heading = line.starts_with('#') || open.starts_with('#');
            if (line.trim().is_empty() || heading) && !open.is_empty() {
                paragraphs.push(String::new());
            }
        }
        if let Some(open) = paragraphs.last_mut().filter(|_| !line.trim().is_empty()) {
            if !open.is_empty() {
                open.push('\n');
            }
            open.push_str(line.trim_end());
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::chunks;

    #[test]
    fn a_heading_stays_with_its_paragraph() {
        let text = "# Pump\nIt pumps. It is blue.\n\nSecond paragraph.\n\n## Last";
        assert_eq!(chunks(text, 40), ["# Pump\nIt pumps. It is blue.", "Second paragraph.", "## Last"]);
    }

    #[test]
    fn a_long_paragraph_is_cut_between_sentences() {
        assert_eq!(chunks("One is here. Two is there. Three.", 27), ["One is here. Two is there.", "Three."]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_too_long(text in "[a-zé\u{301}.!? \n#👩‍👩‍👧]{0,200}", chars_max in 1_usize..40) {
            let solid = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let chunks = chunks(&text, chars_max);
            prop_assert_eq!(solid(&chunks.concat()), solid(&text));
            for chunk in &chunks {
                prop_assert!(chunk.chars().count() <= chars_max, "{:?}", chunk);
            }
        }
    }
}
