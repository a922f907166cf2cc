//! Content hashes of JSON values.
//!
//! Invariant: equal content has an equal hash, whatever order the keys of its
//! maps were written or are stored in.

use serde::Serialize;
use serde_json::Value;

/// The JSON text of `value` with the keys of every map in order.
/// A value that JSON cannot hold gives the text of `null`.
pub(crate) fn text(value: &impl Serialize) -> String {
    let mut out = String::new();
    write(&serde_json::to_value(value).unwrap_or(Value::Null), &mut out);
    out
}

/// The BLAKE3 hash of the canonical text.
pub(crate) fn hash(value: &impl Serialize) -> blake3::Hash {
    blake3::hash(text(value).as_bytes())
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, value)) in entries.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_changes_nothing() {
        let a: Value = serde_json::from_str(r#"{"b":[1,{"y":"\"","x":null}],"a":2.5}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":2.5,"b":[1,{"x":null,"y":"\""}]}"#).unwrap();
        assert_eq!(text(&a), r#"{"a":2.5,"b":[1,{"x":null,"y":"\""}]}"#);
        assert_eq!(hash(&a), hash(&b));
    }
}
