//! What checking finds, and what the interpreter does next.

mod advancing;
mod announcing;
mod checking;

use super::*;

/// Agents, publishers and tools as the tests name them.
fn known() -> Known {
    let mut known = Known::new(["writer", "reviewer"], ["feed"]);
    known.tools.insert("mail.send".to_owned(), EffectClass::Once);
    known
}

fn workflow(text: &str) -> Workflow {
    check("w.toml", text, &known()).unwrap_or_else(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}
