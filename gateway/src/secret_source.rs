//! Where a secret is. Invariant: its words are read where they are needed, and no error repeats what
//! may be them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agents::key;
use agents::secret::Secret;
use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The longest that a command, or a file of a disk that is far away, may take to tell a secret.
const TIME_MAX: Duration = Duration::from_secs(10);
/// The longest secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// One byte more tells "too long" without reading all of it.
const BYTES_READ_MAX: u64 = SECRET_BYTES_MAX + 1;
/// How it is written.
const FORMS: &str = "{ env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }";

/// Where a secret is; the secret itself is read when it is needed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; white space around its content is dropped.
    File(PathBuf),
    /// A program and its arguments, which writes it to its standard output; white space around it is
    /// dropped.
    Command(Vec<String>),
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> serde::de::Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "where the secret is: {FORMS}")
    }

    /// The words that were written may be the secret itself, so they are not repeated.
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom(format!("a secret is not written here; say where it is: {FORMS}")))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        // What is derived is the type's own function; the trait's is the one above.
        let source = SecretSource::deserialize(serde::de::value::MapAccessDeserializer::new(&mut map))?;
        if map.next_key::<serde::de::IgnoredAny>()?.is_some() {
            return Err(serde::de::Error::custom("a secret is in one place; write `env`, `file` or `command`"));
        }
        if matches!(&source, SecretSource::Command(words) if words.is_empty()) {
            return Err(serde::de::Error::custom("a command is a program and its arguments, and this one is empty"));
        }
        Ok(source)
    }
}

impl SecretSource {
    /// Makes paths relative to this folder. A program without a folder is looked for where programs are.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        match self {
            Self::Env(_) => {}
            Self::File(path) => *path = folder.join(&*path),
            Self::Command(words) => {
                if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
                    *program = folder.join(&*program).display().to_string();
                }
            }
        }
    }

    /// Whether it can be read, as far as that can be told without starting anything.
    ///
    /// # Errors
    /// A sentence that names the source, never its content.
    pub fn look(&self) -> Result<(), String> {
        match self {
            Self::Env(name) => std::env::var(name).map_err(|_| self.unset()).and_then(|words| self.trimmed(&words)),
            Self::File(path) => {
                content(path).map_err(|why| format!("{self} {why}")).and_then(|words| self.trimmed(&words))
            }
            Self::Command(words) => {
                let program = words.first().map(String::as_str).unwrap_or_default();
                return if is_there(program) { Ok(()) } else { Err(format!("the program {program} is not there")) };
            }
        }
        .map(drop)
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn read(&self) -> Result<Secret, String> {
        let words = match self {
            Self::Env(name) => std::env::var(name).map_err(|_| self.unset())?,
            Self::File(path) => content_in_time(path).await.map_err(|why| format!("{self} {why}"))?,
            Self::Command(words) => output(words).await.map_err(|why| format!("{self} {why}"))?,
        };
        self.trimmed(&words).map(Secret::new)
    }

    fn trimmed(&self, words: &str) -> Result<String, String> {
        match words.trim() {
            "" => Err(format!("{self} is empty")),
            words => Ok(words.to_owned()),
        }
    }

    fn unset(&self) -> String {
        format!("{self} is not set; export it, or name another source")
    }
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the secret's file {}", path.display()),
            // Its arguments may say more than its name should.
            Self::Command(words) => {
                write!(f, "the secret's command {}", words.first().map(String::as_str).unwrap_or_default())
            }
        }
    }
}

#[async_trait]
impl key::SecretSource for SecretSource {
    async fn read(&self) -> Result<Secret, String> {
        Self::read(self).await
    }
}

/// Whether a program is where it is looked for.
pub(crate) fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// What a file holds, and why it is of no use.
fn content(path: &Path) -> Result<String, String> {
    let mut content = Vec::new();
    is_plain(std::fs::metadata(path))?;
    let read = std::fs::File::open(path).and_then(|file| file.take(BYTES_READ_MAX).read_to_end(&mut content));
    text(read, content)
}

/// The same for one who does not wait for long.
async fn content_in_time(path: &Path) -> Result<String, String> {
    let content = async {
        let mut content = Vec::new();
        is_plain(tokio::fs::metadata(path).await)?;
        let read = async { tokio::fs::File::open(path).await?.take(BYTES_READ_MAX).read_to_end(&mut content).await };
        text(read.await, content)
    };
    tokio::time::timeout(TIME_MAX, content).await.map_err(|_| format!("took longer than {TIME_MAX:?}"))?
}

/// What is no plain file, such as a pipe, may never end, or not even open.
fn is_plain(found: std::io::Result<std::fs::Metadata>) -> Result<(), String> {
    if found.map_err(|error| unread(&error))?.is_file() {
        return Ok(());
    }
    Err("is no plain file; name one, or a command that tells the secret".to_owned())
}

fn text(read: std::io::Result<usize>, content: Vec<u8>) -> Result<String, String> {
    let bytes = read.map_err(|error| unread(&error))?;
    if bytes as u64 > SECRET_BYTES_MAX {
        return Err(format!("has more than {SECRET_BYTES_MAX} bytes"));
    }
    String::from_utf8(content).map_err(|_| "holds what is no text".to_owned())
}

fn unread(error: &std::io::Error) -> String {
    format!("cannot be read: {error}")
}

/// What a command writes, and why it is of no use. What it says beside that may hold the secret, so nobody sees it.
async fn output(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let told = async {
        let mut told = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(BYTES_READ_MAX).read_to_end(&mut told).await?;
        }
        Ok((told, child.wait().await?))
    };
    let ended = tokio::time::timeout(TIME_MAX, told).await;
    let ended = ended.map_err(|_| format!("took longer than {TIME_MAX:?}"))?;
    let (told, status) = ended.map_err(|error: std::io::Error| format!("cannot be read: {error}"))?;
    if !status.success() {
        return Err(format!("failed ({status})"));
    }
    if told.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("wrote more than {SECRET_BYTES_MAX} bytes"));
    }
    String::from_utf8(told).map_err(|_| "wrote what is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_secret_names_its_source_only() {
        let source = SecretSource::Env("CALLBOARD_NO_SUCH_SECRET".to_owned());
        assert!(source.look().unwrap_err().contains("CALLBOARD_NO_SUCH_SECRET"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "  s3cret\n").unwrap();
        let source = SecretSource::File(path);
        assert_eq!((source.look(), source.read().await.unwrap().expose()), (Ok(()), "s3cret"));
    }

    #[tokio::test]
    async fn a_file_that_cannot_hold_a_secret_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("long");
        std::fs::write(&long, "x".repeat(70_000)).unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, wanted) in [
            (long, "has more than 65536 bytes"),
            (pipe, "is no plain file"),
            (PathBuf::from("/dev/zero"), "is no plain file"),
            (dir.path().join("none"), "cannot be read"),
        ] {
            let source = SecretSource::File(path);
            for error in [source.look().unwrap_err(), source.read().await.unwrap_err()] {
                assert!(error.starts_with("the secret's file /") && error.contains(wanted), "{error}");
            }
        }
    }

    fn command(words: &[&str]) -> SecretSource {
        SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[tokio::test]
    async fn a_command_tells_a_secret() {
        let told = command(&["sh", "-c", "echo ' s3cret '; echo noise >&2"]).read().await.unwrap();
        assert_eq!(told.expose(), "s3cret");
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_without_what_it_said_or_was_given() {
        for (script, wanted) in [
            ("echo s3cret; exit 3", "the secret's command sh failed (exit status: 3)"),
            ("true s3cret", "the secret's command sh is empty"),
            ("head -c 70000 /dev/zero; : s3cret", "the secret's command sh wrote more than 65536 bytes"),
        ] {
            let error = command(&["sh", "-c", script]).read().await.unwrap_err();
            assert!(error.starts_with(wanted) && !error.contains("s3cret"), "{error}");
        }
        let gone = command(&["callboard-no-such-program", "s3cret"]);
        assert_eq!(gone.look().unwrap_err(), "the program callboard-no-such-program is not there");
        assert!(gone.read().await.unwrap_err().contains("cannot be started"));
        assert_eq!(command(&["sh"]).look(), Ok(()));
    }
}
