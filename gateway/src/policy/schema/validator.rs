//! As much of JSON Schema (draft 7) as the schemas use. Invariant: a word that it does not know is a
//! panic, so that no schema says what is not tested.

use serde_json::Value;

/// The words that say something to people only.
const SILENT: [&str; 5] = ["$schema", "title", "description", "default", "definitions"];

/// Whether the document fits the schema.
pub(super) fn fits(root: &Value, document: &Value) -> bool {
    matches(root, root, document)
}

fn matches(root: &Value, schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(word, said)| match word.as_str() {
        "$ref" => matches(root, resolve(root, said.as_str().unwrap()), value),
        "type" => is_a(said.as_str().unwrap(), value),
        "const" => said == value,
        "enum" => said.as_array().unwrap().contains(value),
        "minimum" => value.as_f64().is_none_or(|number| number >= said.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= said.as_f64().unwrap()),
        "pattern" => {
            value.as_str().is_none_or(|text| regex::Regex::new(said.as_str().unwrap()).unwrap().is_match(text))
        }
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= said.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= said.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| matches(root, said, item))),
        "allOf" => said.as_array().unwrap().iter().all(|part| matches(root, part, value)),
        "anyOf" => said.as_array().unwrap().iter().any(|part| matches(root, part, value)),
        "oneOf" => said.as_array().unwrap().iter().filter(|part| matches(root, part, value)).count() == 1,
        "required" => value
            .as_object()
            .is_none_or(|table| said.as_array().unwrap().iter().all(|name| table.contains_key(name.as_str().unwrap()))),
        "properties" => value.as_object().is_none_or(|table| {
            table.iter().all(|(key, value)| said.get(key).is_none_or(|of| matches(root, of, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|table| {
            let others = table.iter().filter(|(key, _)| schema["properties"].get(key.as_str()).is_none());
            others.into_iter().all(|(_, value)| said.is_object() && matches(root, said, value))
        }),
        word => SILENT.contains(&word) || panic!("the schema says `{word}`, which is not tested"),
    })
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        kind => panic!("the schema has the type `{kind}`, which is not tested"),
    }
}

pub(super) fn resolve<'s>(root: &'s Value, name: &str) -> &'s Value {
    root.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("nothing is defined as {name}"))
}
