//! The feed's documents as values: entries, ids, and what is ours. Invariant: a
//! document that is not well-formed or not ours is never returned as one that is.

use atom_syndication::{Content, Entry, Feed, FixedDateTime, Generator, Link, Person, Text};
use policies::instant::Timestamp;

use super::{FeedOptions, Post};

/// How we know our own documents again.
const GENERATOR: &str = "Callboard";
const ENTRY_URN: &str = "urn:callboard:post:";
const FEED_URN: &str = "urn:callboard:feed:";
/// RFC 5005.
const HISTORY_NAMESPACE: &str = "http://purl.org/syndication/history/1.0";
const PREV_ARCHIVE: &str = "prev-archive";

/// The id of the entry with that key: the same for ever.
pub(super) fn entry_id(key: &str) -> String {
    format!("{ENTRY_URN}{}", blake3::hash(key.as_bytes()).to_hex())
}

/// A feed without entries.
pub(super) fn empty(options: &FeedOptions, now: Timestamp) -> Feed {
    let name = format!("{}\n{}", options.author, options.title);
    let own = |href: &String| Link { href: href.clone(), rel: "self".to_owned(), ..Link::default() };
    Feed {
        title: Text::plain(printable(&options.title)),
        id: format!("{FEED_URN}{}", blake3::hash(name.as_bytes()).to_hex()),
        updated: date(now),
        authors: vec![Person { name: printable(&options.author), ..Person::default() }],
        generator: Some(Generator { value: GENERATOR.to_owned(), ..Generator::default() }),
        links: options.url.iter().map(own).collect(),
        ..Feed::default()
    }
}

/// The entry of a post.
pub(super) fn entry(post: &Post) -> Entry {
    let link = |href: &String| Link { href: printable(href), rel: "alternate".to_owned(), ..Link::default() };
    let content =
        Content { value: Some(html(&post.text)), content_type: Some("html".to_owned()), ..Content::default() };
    Entry {
        title: Text::plain(printable(&post.title)),
        id: entry_id(&post.key),
        updated: date(post.published),
        published: Some(date(post.published)),
        links: post.link.iter().map(link).collect(),
        content: Some(content),
        ..Entry::default()
    }
}

/// Puts the entry first and moves the feed's date on.
pub(super) fn add(feed: &mut Feed, entry: Entry) {
    feed.updated = feed.updated.max(entry.updated);
    feed.entries.insert(0, entry);
}

/// Reads one of our documents. An error says why it is not one.
pub(super) fn read(bytes: &[u8]) -> Result<Feed, String> {
    let feed = Feed::read_from(bytes).map_err(|error| format!("is damaged ({error})"))?;
    match &feed.generator {
        Some(generator) if generator.value == GENERATOR => Ok(feed),
        _ => Err("was written by another program".to_owned()),
    }
}

/// The document's text.
pub(super) fn write(feed: &Feed) -> Result<Vec<u8>, String> {
    feed.write_to(Vec::new()).map_err(|error| error.to_string())
}

/// The archive that the document names as the one before it.
pub(super) fn archive_before(feed: &Feed) -> Option<&str> {
    feed.links.iter().find(|link| link.rel == PREV_ARCHIVE).map(|link| link.href.as_str())
}

/// Splits the oldest `count` entries off into an archive document (RFC 5005),
/// which the feed then names by `name`, and which names the feed by `current`.
pub(super) fn split_archive(feed: &mut Feed, count: usize, name: &str, current: &str) -> Feed {
    let kept = feed.entries.len().saturating_sub(count);
    let mut archive = Feed { entries: feed.entries.split_off(kept), ..feed.clone() };
    archive.links.push(Link { href: current.to_owned(), rel: "current".to_owned(), ..Link::default() });
    archive.updated = archive.entries.iter().map(|entry| entry.updated).max().unwrap_or(feed.updated);
    archive.namespaces.insert("fh".to_owned(), HISTORY_NAMESPACE.to_owned());
    let mark = atom_syndication::extension::Extension { name: "fh:archive".to_owned(), ..Default::default() };
    archive.extensions.entry("fh".to_owned()).or_default().insert("archive".to_owned(), vec![mark]);
    feed.links.retain(|link| link.rel != PREV_ARCHIVE);
    feed.links.push(Link { href: name.to_owned(), rel: PREV_ARCHIVE.to_owned(), ..Link::default() });
    archive
}

fn date(timestamp: Timestamp) -> FixedDateTime {
    // Years that RFC 3339 cannot write do not occur in posts; readers get the epoch.
    timestamp.to_string().parse().unwrap_or_default()
}

/// XML 1.0 has no way to write most control characters.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|&c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..))
        .collect()
}

/// Plain text as HTML, since readers join the lines of plain text.
fn html(text: &str) -> String {
    let escaped = printable(text).replace("\r\n", "\n").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let paragraphs = escaped.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    paragraphs.map(|paragraph| format!("<p>{}</p>", paragraph.replace('\n', "<br/>"))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_lines_survive_and_markup_does_not() {
        assert_eq!(html("a <b> & c\nd\r\n\r\n\r\ne\u{0}"), "<p>a &lt;b&gt; &amp; c<br/>d</p>\n<p>e</p>");
    }

    #[test]
    fn one_key_has_one_id() {
        assert_eq!(entry_id("a"), entry_id("a"));
        assert_ne!(entry_id("a"), entry_id("b"));
    }
}
