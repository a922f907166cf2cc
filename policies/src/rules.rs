//! The exact rules that a post must keep, whatever a model thinks of it.
//!
//! A check is a pure function of the text, and finds every breach at once, so
//! that one redraft can mend them all.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// What a post must keep to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostRules {
    /// The most graphemes (characters as people count them), or `None` for any
    /// number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphemes_max: Option<u32>,
    /// The fewest graphemes.
    pub graphemes_min: u32,
    /// Words and phrases that must not occur, in any case.
    pub words_banned: Vec<String>,
    /// Words and phrases that must occur, in any case.
    pub terms_required: Vec<String>,
    /// The link that must occur, exactly and whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_required: Option<String>,
}

/// One rule that a post breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Breach {
    /// It is too long.
    TooLong {
        /// Its length in graphemes.
        graphemes: usize,
        /// The most allowed.
        max: u32,
    },
    /// It is too short.
    TooShort {
        /// Its length in graphemes.
        graphemes: usize,
        /// The fewest allowed.
        min: u32,
    },
    /// A banned word occurs.
    WordBanned {
        /// The word, as the rules write it.
        word: String,
    },
    /// A required term does not occur.
    TermMissing {
        /// The term, as the rules write it.
        term: String,
    },
    /// The required link does not occur.
    LinkMissing {
        /// The link.
        link: String,
    },
}

/// One sentence that a person, or a model asked to mend it, can act on.
impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { graphemes, max } => {
                write!(f, "The post has {graphemes} characters and may have at most {max}.")
            }
            Self::TooShort { graphemes, min } => {
                write!(f, "The post has {graphemes} characters and must have at least {min}.")
            }
            Self::WordBanned { word } => write!(f, "The post must not say \"{word}\"."),
            Self::TermMissing { term } => write!(f, "The post must mention \"{term}\"."),
            Self::LinkMissing { link } => write!(f, "The post must contain the link {link}."),
        }
    }
}

impl PostRules {
    /// All rules that the text breaks, in the order of the rules.
    pub fn check(&self, text: &str) -> Vec<Breach> {
        let graphemes = text.graphemes(true).count();
        let words = Words::new(text);
        let too_long = self.graphemes_max.filter(|max| graphemes > *max as usize);
        let too_short = (graphemes < self.graphemes_min as usize).then_some(self.graphemes_min);
        let banned = self.words_banned.iter().filter(|word| words.contain(word)).cloned();
        let missing = self.terms_required.iter().filter(|term| !words.contain(term)).cloned();
        let link = self.link_required.iter().filter(|link| !contains_link(text, link)).cloned();

        let lengths = too_long.map(|max| Breach::TooLong { graphemes, max });
        lengths
            .into_iter()
            .chain(too_short.map(|min| Breach::TooShort { graphemes, min }))
            .chain(banned.map(|word| Breach::WordBanned { word }))
            .chain(missing.map(|term| Breach::TermMissing { term }))
            .chain(link.map(|link| Breach::LinkMissing { link }))
            .collect()
    }
}

/// A text in one spelling, and where its words begin and end.
struct Words {
    text: String,
    bounds: Vec<usize>,
}

impl Words {
    fn new(text: &str) -> Self {
        let text = one_spelling(text);
        let bounds = text.split_word_bound_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { text, bounds }
    }

    /// Whether the term occurs as whole words: "AI" does in "AI's", not in "said".
    fn contain(&self, term: &str) -> bool {
        let term = one_spelling(term);
        !term.is_empty()
            && self.text.match_indices(&term).any(|(at, found)| self.is_edge(at) && self.is_edge(at + found.len()))
    }

    /// Whether a word may begin or end here: at a word boundary of Unicode
    /// (which scripts without spaces need), or beside a character that is no
    /// letter or digit (which is no such boundary in "AI's").
    fn is_edge(&self, at: usize) -> bool {
        let (before, after) = self.text.split_at(at);
        let is_inner = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
        self.bounds.binary_search(&at).is_ok()
            || !is_inner(before.chars().next_back())
            || !is_inner(after.chars().next())
    }
}

/// Lower case, straight apostrophes, and one space wherever there is white space.
fn one_spelling(text: &str) -> String {
    let text = text.to_lowercase().replace('\u{2019}', "'");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the link occurs whole: neither inside a word nor as the beginning of
/// a longer link. A full stop behind it, or a slash, does no harm.
fn contains_link(text: &str, link: &str) -> bool {
    let ends = |char: char| char.is_whitespace() || "<>\"()[]{}".contains(char);
    !link.is_empty()
        && text.match_indices(link).any(|(at, _)| {
            let starts_whole = !text[..at].ends_with(char::is_alphanumeric);
            let rest = text[at + link.len()..].split(ends).next().unwrap_or_default();
            let rest = rest.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', '…']);
            starts_whole && (rest.is_empty() || rest == "/")
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> PostRules {
        PostRules {
            graphemes_max: Some(60),
            graphemes_min: 5,
            words_banned: vec!["game changer".to_owned(), "AI".to_owned()],
            terms_required: vec!["Callboard".to_owned()],
            link_required: Some("https://example.com/a".to_owned()),
        }
    }

    #[test]
    fn finds_every_breach_at_once() {
        let text = format!("A Game\nchanger with AI. {}", "x".repeat(60));
        let found: Vec<String> = rules().check(&text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "The post has 84 characters and may have at most 60.",
                "The post must not say \"game changer\".",
                "The post must not say \"AI\".",
                "The post must mention \"Callboard\".",
                "The post must contain the link https://example.com/a.",
            ]
        );
    }

    #[test]
    fn a_good_post_breaks_nothing() {
        assert_eq!(rules().check("Callboard’s out, she said: https://example.com/a."), []);
        assert_eq!(PostRules::default().check(""), []);
    }

    #[test]
    fn length_is_counted_as_people_count() {
        let rules = PostRules { graphemes_max: Some(2), graphemes_min: 2, ..PostRules::default() };
        assert_eq!(rules.check("👩‍👩‍👧e\u{301}"), []);
        assert_eq!(rules.check("👩‍👩‍👧"), [Breach::TooShort { graphemes: 1, min: 2 }]);
        assert_eq!(rules.check("abc"), [Breach::TooLong { graphemes: 3, max: 2 }]);
    }

    #[track_caller]
    fn mentions(text: &str, term: &str, expected: bool) {
        assert_eq!(Words::new(text).contain(term), expected, "{term:?} in {text:?}");
    }

    #[test]
    fn terms_are_whole_words() {
        mentions("She said so.", "AI", false);
        mentions("the AI's work", "ai", true);
        mentions("GAME-CHANGER!", "game-changer", true);
        mentions("games changer", "game changer", false);
        mentions("in C++, of course", "C++", true);
        mentions("version 1.05", "1.0", false);
        mentions("don’t panic", "don't", true);
        mentions("我们的革命性产品", "革命", true);
        mentions("anything", "", false);
    }

    #[track_caller]
    fn links(text: &str, expected: bool) {
        assert_eq!(contains_link(text, "https://example.com/a"), expected, "{text:?}");
    }

    #[test]
    fn the_link_is_whole() {
        links("(https://example.com/a)", true);
        links("[here](https://example.com/a).", true);
        links("https://example.com/a/ and more", true);
        links("https://example.com/abc", false);
        links("https://example.com/a?utm=1", false);
        links("https://example.com/a.evil", false);
        links("HTTPS://EXAMPLE.COM/A", false);
    }

    #[test]
    fn is_read_and_written_as_toml_and_json() {
        let read: PostRules =
            crate::document::read("rules.toml", "graphemes_max = 300\nwords_banned = ['x']\n").unwrap();
        assert_eq!(read.graphemes_max, Some(300));
        let json = serde_json::to_string(&rules()).unwrap();
        assert_eq!(serde_json::from_str::<PostRules>(&json).unwrap(), rules());
        let breach = serde_json::to_string(&Breach::TermMissing { term: "x".to_owned() }).unwrap();
        assert_eq!(breach, r#"{"rule":"term_missing","term":"x"}"#);
    }

    proptest! {
        #[test]
        fn a_word_on_its_own_is_found(before in "[a-z ]{0,9}", word in "\\PC{1,9}", after in "[a-z ]{0,9}") {
            prop_assume!(!word.trim().is_empty());
            let text = format!("{before} {word} {after}");
            let rules = PostRules { words_banned: vec![word.clone()], ..PostRules::default() };
            prop_assert_eq!(rules.check(&text), [Breach::WordBanned { word }]);
        }
    }
}
