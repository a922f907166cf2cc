//! A workflow in a folder, with the files that it names there. Invariant: nothing of another folder is read
//! for it, and a name that leads nowhere is told with the one that may be meant.

use std::path::Path;

use agents::workflow::{Known, Workflow, check_beside};
use policies::document::{self, Error};

/// The most names of a folder that are looked through for one that may be meant.
const NAMES_MAX: usize = 256;

/// Reads and checks the workflow with this text in the file at `path`.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub(crate) fn check(path: &Path, text: &str, known: &Known) -> Result<Workflow, Vec<Error>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    check_beside(&path.display().to_string(), text, known, &|name: &str| read(folder, name))
}

fn read(folder: &Path, name: &str) -> Result<String, (String, String)> {
    let path = folder.join(name);
    if !path.exists() {
        let names = names(folder, Path::new(name));
        let help = document::suggestion(name, names.iter().map(String::as_str));
        return Err((format!("there is no file `{name}` beside the workflow"), help));
    }
    crate::config::read(&path).map_err(|fault| (format!("`{name}` {}", fault.message), fault.help))
}

/// The files of a folder that end as this one does.
fn names(folder: &Path, like: &Path) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(NAMES_MAX);
    let alike = entries.map(|entry| entry.file_name()).filter(|name| Path::new(name).extension() == like.extension());
    let mut names: Vec<String> = alike.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
