//! Server-sent events, as chat servers send them, from a stream of bytes.
//! Invariant: no more than one line of `LINE_BYTES_MAX` is ever held back; that is as much as a
//! whole reply, because the last event of one may carry all of it.
//!
//! A line of bare JSON among the events is handed on too: Ollama reports an
//! error in the middle of a stream that way.

use super::exchange::REPLY_BYTES_MAX;

const LINE_BYTES_MAX: u64 = REPLY_BYTES_MAX.0;

/// A line ran past its bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

/// Cuts bytes into the JSON texts of their events.
#[derive(Default)]
pub(super) struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// The texts that `bytes` completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, LineTooLong> {
        let mut texts = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if (self.pending.len() + piece.len()) as u64 > LINE_BYTES_MAX {
                return Err(LineTooLong);
            }
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                texts.extend(text(&self.pending));
                self.pending.clear();
            }
        }
        Ok(texts)
    }

    /// The text of a last line that no line break ended.
    pub(super) fn finish(self) -> Option<String> {
        text(&self.pending)
    }
}

fn text(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    match line.strip_prefix("data:") {
        Some(data) => Some(data.trim_start().to_owned()),
        None => line.starts_with('{').then(|| line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, LineTooLong, Splitter};

    const STREAM: &str = ": hello\r\ndata: {\"a\":\"\u{e9}\"}\r\n\r\nevent: x\ndata:[DONE]\n\n{\"error\":\"no\"}";

    #[test]
    fn finds_the_same_texts_wherever_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let mut splitter = Splitter::default();
            let mut texts = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                texts.extend(splitter.push(piece).unwrap());
            }
            texts.extend(splitter.finish());
            assert_eq!(texts, ["{\"a\":\"\u{e9}\"}", "[DONE]", "{\"error\":\"no\"}"]);
        }
    }

    #[test]
    fn refuses_an_endless_line() {
        let mut splitter = Splitter::default();
        splitter.push(&vec![b'x'; usize::try_from(LINE_BYTES_MAX).unwrap()]).unwrap();
        assert_eq!(splitter.push(b"x"), Err(LineTooLong));
    }
}
