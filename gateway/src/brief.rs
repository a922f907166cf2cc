//! A folder with a brief, as the announce workflow's inputs.
//!
//! Invariant: nothing from the folder reaches a run before its size, its
//! encoding and its required parts were checked; the first fault of each file
//! is reported with its line.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use agents::workflow::{InputKind, Workflow, sentences};
use policies::document::{self, Error, Source};
use serde_json::{Value, json};

/// The largest file that is read: some 150 pages of text.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The most background documents of one brief.
pub const DOCUMENTS_MAX: usize = 64;
/// The least that the built-in workflow makes posts from: the first sentences are what the model reads,
/// and those after them make up the posts.
const SENTENCES_MIN: usize = 5;
/// The least text of them, in characters; the longest post's least is 120, and there are three.
const PROSE_CHARS_MIN: usize = 300;
/// How deep the background folder is read.
const DEPTH_MAX: usize = 3;

/// The announcement itself.
pub const BRIEF: &str = "brief.md";
/// How the company writes; optional.
const BRAND: &str = "brand.md";
/// What else is known; optional.
const BACKGROUND: &str = "background";
/// A workflow of the folder's own, instead of the built-in one; optional.
pub const WORKFLOW: &str = "workflow.toml";

/// A checked brief.
#[derive(Clone, Debug, PartialEq)]
pub struct Brief {
    /// The product's name: the brief's first heading.
    pub product: String,
    /// The page that every post links to: the brief's first link.
    pub link: String,
    /// The announcement, as written.
    pub text: String,
    /// The brand guide, as written; empty without one.
    pub brand: String,
    /// Background documents, by name.
    pub documents: Vec<Document>,
}

/// One background document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The path inside the folder.
    pub source: String,
    /// Its text.
    pub text: String,
}

impl Brief {
    /// Reads and checks a folder.
    ///
    /// # Errors
    /// Every fault found: one for each file, each with file, line and what to do.
    pub fn read(folder: &Path) -> Result<Self, Vec<Error>> {
        if !folder.is_dir() {
            let help = format!("name a folder that holds a `{BRIEF}`");
            return Err(vec![Error::whole(folder.display().to_string(), "there is no such folder", help)]);
        }
        let mut faults = Vec::new();
        let text = required(&folder.join(BRIEF)).map_err(|e| faults.push(e)).unwrap_or_default();
        let brand = optional(&folder.join(BRAND)).map_err(|e| faults.push(e)).unwrap_or_default();
        let documents = documents(folder, &mut faults);
        let (mut product, mut link) = (String::new(), String::new());
        if faults.is_empty() {
            product = heading(&text).map_or_else(
                || {
                    faults.push(fault(
                        &folder.join(BRIEF),
                        1,
                        "no heading names the product",
                        "begin the file with `# Name of the product`",
                    ));
                    String::new()
                },
                str::to_owned,
            );
            link = first_link(&text).map_or_else(
                || {
                    faults.push(fault(
                        &folder.join(BRIEF),
                        1,
                        "no link found",
                        "add a line such as `Link: https://example.org/product`",
                    ));
                    String::new()
                },
                str::to_owned,
            );
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { product, link, text, brand, documents })
    }

    /// Why the built-in workflow can hardly make posts from this brief, if so. `folder` is what it was
    /// read from.
    #[must_use]
    pub fn doubt(&self, folder: &Path) -> Option<Error> {
        let texts = std::iter::once(&self.text).chain(self.documents.iter().map(|document| &document.text));
        let prose: Vec<String> = texts.flat_map(|text| sentences(text)).collect();
        let chars: usize = prose.iter().map(|sentence| sentence.chars().count()).sum();
        if prose.len() >= SENTENCES_MIN && chars >= PROSE_CHARS_MIN {
            return None;
        }
        let count = if prose.len() == 1 { "1 sentence".to_owned() } else { format!("{} sentences", prose.len()) };
        let message = format!(
            "has {count} and {chars} characters of text besides headings and links, background included, too little \
             for three posts, which then repeat it or are held"
        );
        let help = format!(
            "write what is new, for whom, since when and at what price: {SENTENCES_MIN} sentences and \
             {PROSE_CHARS_MIN} characters at least"
        );
        Some(Error::whole(folder.join(BRIEF).display().to_string(), message, help))
    }

    /// The inputs of a run.
    #[must_use]
    pub fn inputs(&self) -> BTreeMap<String, Value> {
        let documents: Vec<_> = self.documents.iter().map(|d| json!({ "source": d.source, "text": d.text })).collect();
        BTreeMap::from([
            ("product".to_owned(), json!(self.product)),
            ("link".to_owned(), json!(self.link)),
            ("brief".to_owned(), json!(self.text)),
            ("brand".to_owned(), json!(self.brand)),
            ("documents".to_owned(), json!(documents)),
        ])
    }
}

/// What a folder gives a run.
const GIVEN: [(&str, InputKind); 5] = [
    ("brand", InputKind::Text),
    ("brief", InputKind::Text),
    ("documents", InputKind::List),
    ("link", InputKind::Text),
    ("product", InputKind::Text),
];

/// Whether a workflow's file stands in a brief's folder and is the one that `run` takes there.
#[must_use]
pub fn is_beside(workflow: &Path) -> bool {
    workflow.file_name().is_some_and(|name| name == WORKFLOW) && workflow.with_file_name(BRIEF).exists()
}

/// The inputs of a folder's own workflow that `run` cannot give it.
#[must_use]
pub fn never_given(workflow: &Workflow, source: Source<'_>) -> Vec<Error> {
    let names = GIVEN.map(|(name, _)| name);
    let mut faults = Vec::new();
    for (name, input) in &workflow.inputs {
        let (message, help) = match GIVEN.iter().find(|(given, _)| given == name) {
            None if input.required => {
                let meant = document::closest(name, names).map(|other| format!("did you mean `{other}`? If not, "));
                let given = names.map(|name| format!("`{name}`")).join(", ");
                (
                    format!("`run` never gives the input `{name}`: a folder gives {given}"),
                    format!("{}give it a default", meant.unwrap_or_default()),
                )
            }
            Some((_, kind)) if *kind != input.kind => {
                let (given, asked) = (kind.name(), input.kind.name());
                (
                    format!("`run` gives the input `{name}` as a {given}, and the workflow asks for a {asked}"),
                    format!("write type = \"{given}\""),
                )
            }
            _ => continue,
        };
        faults.push(source.error(source.place(&["inputs", name]).unwrap_or_default(), message, help));
    }
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults
}

fn fault(path: &Path, line: usize, message: &str, help: &str) -> Error {
    Error { file: path.display().to_string(), line, column: 1, message: message.to_owned(), help: help.to_owned() }
}

/// A text file's content, within [`FILE_BYTES_MAX`].
fn read_text(path: &Path) -> Result<Option<String>, Error> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fault(path, 1, &format!("cannot be read: {e}"), "make it a readable text file")),
    };
    let mut bytes = Vec::new();
    // One byte over the bound tells "too large" without reading all of it.
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| fault(path, 1, &format!("cannot be read: {e}"), "make it a readable text file"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fault(
            path,
            1,
            "is larger than 1 MiB",
            "shorten it, or split it into several background documents",
        ));
    }
    let bad = |at: usize| {
        let line = bytes.iter().take(at).filter(|b| **b == b'\n').count() + 1;
        fault(path, line, "is not a text file in UTF-8", "save it as plain text (Markdown) in UTF-8")
    };
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(bad(at));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(text.trim_start_matches('\u{feff}').to_owned())),
        Err(e) => Err(bad(e.valid_up_to())),
    }
}

fn required(path: &Path) -> Result<String, Error> {
    match read_text(path)? {
        None => Err(fault(path, 1, "is missing", "write the announcement there, in Markdown")),
        Some(text) if text.trim().is_empty() => {
            Err(fault(path, 1, "is empty", "write the announcement there, in Markdown"))
        }
        Some(text) => Ok(text),
    }
}

fn optional(path: &Path) -> Result<String, Error> {
    Ok(read_text(path)?.unwrap_or_default())
}

/// The background documents in the order of their names.
fn documents(folder: &Path, faults: &mut Vec<Error>) -> Vec<Document> {
    let mut paths = Vec::new();
    collect(&folder.join(BACKGROUND), DEPTH_MAX, &mut paths, faults);
    paths.sort();
    if paths.len() > DOCUMENTS_MAX {
        faults.push(Error::whole(
            folder.join(BACKGROUND).display().to_string(),
            format!("holds {} documents, more than {DOCUMENTS_MAX}", paths.len()),
            "keep those that matter for this announcement",
        ));
        return Vec::new();
    }
    let mut found = Vec::new();
    for path in paths {
        let source = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        match read_text(&path) {
            Ok(Some(text)) if !text.trim().is_empty() => found.push(Document { source, text }),
            Ok(_) => {}
            Err(e) => faults.push(e),
        }
    }
    found
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>, faults: &mut Vec<Error>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
        Err(e) => {
            faults.push(Error::whole(
                folder.display().to_string(),
                format!("cannot be read: {e}"),
                "make it a folder of Markdown or text files",
            ));
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if depth > 1 {
                collect(&path, depth - 1, paths, faults);
            }
        } else if path.extension().is_some_and(|e| e == "md" || e == "txt") {
            paths.push(path);
        }
    }
}

fn heading(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("# ")).map(str::trim).filter(|name| !name.is_empty())
}

fn first_link(text: &str) -> Option<&str> {
    let start = text.find("https://").or_else(|| text.find("http://"))?;
    let rest = text.get(start..)?;
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ')' | '>' | '"' | '<' | ']')).unwrap_or(rest.len());
    Some(rest.get(..end)?.trim_end_matches(['.', ',', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn faults(files: &[(&str, &[u8])]) -> String {
        let dir = folder(files);
        let faults = Brief::read(dir.path()).unwrap_err();
        faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
            .replace(&dir.path().display().to_string(), "")
    }

    const GOOD: &[u8] = b"# Lamp 3\n\nIt shines.\nSee (https://lamp.example/3).\n";

    #[test]
    fn reads_name_link_and_documents() {
        let dir = folder(&[
            ("brief.md", GOOD),
            ("brand.md", b"# Us\n## Words we do not use\n- perfect\n- `magic`\n## Tone\n- calm\n"),
            ("background/b.md", b"second"),
            ("background/a.txt", b"first"),
            ("background/deep/c.md", b"third"),
            ("background/picture.png", b"\x00\x01"),
        ]);
        let brief = Brief::read(dir.path()).unwrap();
        assert_eq!((brief.product.as_str(), brief.link.as_str()), ("Lamp 3", "https://lamp.example/3"));
        let sources: Vec<_> = brief.documents.iter().map(|d| d.source.as_str()).collect();
        assert_eq!(sources, ["background/a.txt", "background/b.md", "background/deep/c.md"]);
        assert_eq!(brief.inputs()["documents"][0]["source"], "background/a.txt");
    }

    #[test]
    fn a_missing_empty_binary_or_huge_brief_is_one_clear_error() {
        let huge = vec![b'a'; 50 * 1024 * 1024];
        for (files, wanted) in [
            (vec![], "brief.md:1:1: is missing"),
            (vec![("brief.md", &b" \n"[..])], "brief.md:1:1: is empty"),
            (vec![("brief.md", &b"# A\n\nb\x00c"[..])], "brief.md:3:1: is not a text file"),
            (vec![("brief.md", &b"# A\n\xff\xfe"[..])], "brief.md:2:1: is not a text file"),
            (vec![("brief.md", &huge[..])], "brief.md:1:1: is larger than 1 MiB"),
            (vec![("brief.md", &b"no heading https://a.example"[..])], "no heading names the product"),
            (vec![("brief.md", &b"# A\nno link"[..])], "no link found"),
        ] {
            let found = faults(&files);
            assert!(found.contains(wanted), "{found}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_said() {
        let found = Brief::read(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(found[0].to_string().starts_with("/nowhere/at/all: there is no such folder; "), "{found:?}");
    }

    #[test]
    fn each_bad_document_is_reported() {
        let found = faults(&[("brief.md", GOOD), ("background/a.md", b"\x00"), ("background/b.md", b"\xff")]);
        assert_eq!(found.lines().count(), 2, "{found}");
    }
}
