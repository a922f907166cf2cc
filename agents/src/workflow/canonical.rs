//! Content hashes of JSON values.
//!
//! Invariant: equal content has an equal hash, whatever order the keys of its
//! maps were written or are stored in.

use serde::Serialize;
use serde_json::Value;

/// The JSON text of `value` with the keys of every map in order.
/// A value that JSON cannot hold gives the text of `null`.
pub(crate) fn text(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    write(&serde_json::to_value(value).unwrap_or(Value::Null), &mut out);
    out
}

/// The BLAKE3 hash of the canonical text.
pub(crate) fn hash(value: &impl Serialize) -> blake3::Hash {
    blake3::hash(&text(value))
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (n, (key, value)) in entries.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                plain(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        other => plain(other, out),
    }
}

fn plain(value: &impl Serialize, out: &mut Vec<u8>) {
    // Neither a text nor a number can fail, nor can a buffer in memory.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_changes_nothing() {
        let a: Value = serde_json::from_str(r#"{"b":[1,{"y":"\"","x":null}],"a":2.5}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":2.5,"b":[1,{"x":null,"y":"\""}]}"#).unwrap();
        assert_eq!(text(&a), br#"{"a":2.5,"b":[1,{"x":null,"y":"\""}]}"#);
        assert_eq!(hash(&a), hash(&b));
    }
}
