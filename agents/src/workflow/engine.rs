//! Expressions and templates, evaluated within bounds.
//!
//! Invariant: an evaluation sees the values that it is given and nothing else;
//! a name without a value is an error; work and size are bounded.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, LazyLock};

use minijinja::{Environment, Expression, Template, UndefinedBehavior, Value};

use super::kept::Kept;
use super::text;

/// The most instructions that one evaluation may take.
pub const FUEL_MAX: u64 = 200_000;
/// The longest text that a template may give, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// The longest source of one expression or template, in bytes.
pub const SOURCE_BYTES_MAX: usize = 16 * 1024;
/// How deep an expression may nest.
const NESTING_MAX: usize = 64;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL_MAX));
    engine.set_recursion_limit(NESTING_MAX);
    engine.set_debug(true);
    // `debug` prints the whole state; `pprint` prints how values are stored.
    engine.remove_global("debug");
    engine.remove_filter("pprint");
    engine.add_filter("sentences", |s: String| text::sentences(&s));
    engine.add_filter("chunks", |s: String, chars_max: usize| text::chunks(&s, chars_max));
    engine.add_filter("fit", |s: String, graphemes_max: usize| text::fit(&s, graphemes_max));
    engine.add_filter("complete", |s: String| text::complete(&s));
    engine.add_filter("graphemes", |s: String| text::graphemes(&s));
    engine.add_filter("section", |s: String, heading: String| text::section(&s, &heading));
    engine.add_filter("bullets", |s: String| text::bullets(&s));
    engine
});

/// Which of the two languages a source is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// Gives a value.
    Expression,
    /// Gives a text.
    Template,
}

/// A source that does not parse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxFault {
    /// Where, in bytes from the start of the source.
    pub(super) offset: usize,
    /// What is wrong.
    pub(super) message: String,
}

/// The names that a source uses and does not set itself, with the attributes
/// asked of them, such as `steps.write.text`.
pub(super) fn names(language: Language, source: &str) -> Result<BTreeSet<String>, SyntaxFault> {
    if source.len() > SOURCE_BYTES_MAX {
        let message = format!("it is {} bytes long, and {SOURCE_BYTES_MAX} is the most", source.len());
        return Err(SyntaxFault { offset: 0, message });
    }
    let engine: &Environment<'_> = &ENGINE;
    let found = match language {
        Language::Expression => {
            engine.compile_expression_owned(source.to_owned()).map(|e| e.undeclared_variables(true))
        }
        Language::Template => engine.template_from_str(source).map(|t| t.undeclared_variables(true)),
    };
    if let Some(fault) = unknown_word(engine, language, source) {
        return Err(fault);
    }
    match found {
        Ok(names) => Ok(names.into_iter().filter(|name| !is_function(engine, name)).collect()),
        Err(error) => Err(SyntaxFault { offset: offset(&error, source), message: message(&error) }),
    }
}

/// The first filter or test that the engine does not have. The engine itself
/// would only miss it when the source is evaluated.
fn unknown_word(engine: &Environment<'_>, language: Language, source: &str) -> Option<SyntaxFault> {
    let mut code = language == Language::Expression;
    let mut quote = None;
    let mut before = "";
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let word = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        let length = match (code, quote) {
            (false, _) if rest.starts_with("{#") => rest.find("#}")?,
            (false, _) => {
                code = rest.starts_with("{{") || rest.starts_with("{%");
                if code { 2 } else { c.len_utf8() }
            }
            (true, Some(open)) => {
                quote = (c != open).then_some(open);
                if c == '\\' { 1 + rest[1..].chars().next().map_or(0, char::len_utf8) } else { c.len_utf8() }
            }
            (true, None) if word > 0 => {
                let name = &rest[..word];
                let kind = if before == "|" { "filter" } else { "test" };
                let asked = before == "|" || (before == "is" && name != "not");
                if asked && !has(engine, kind, name) {
                    return Some(SyntaxFault { offset: at, message: format!("there is no {kind} `{name}`") });
                }
                // `is not` asks for the test after it.
                before = if before == "is" && name == "not" { "is" } else { name };
                word
            }
            (true, None) => {
                let ends = language == Language::Template && (rest.starts_with("}}") || rest.starts_with("%}"));
                code = !ends;
                quote = matches!(c, '\'' | '"').then_some(c);
                if !c.is_whitespace() {
                    before = &rest[..c.len_utf8()];
                }
                if ends { 2 } else { c.len_utf8() }
            }
        };
        at += length;
    }
    None
}

fn has(engine: &Environment<'_>, kind: &str, name: &str) -> bool {
    use minijinja::ErrorKind;
    let source = if kind == "filter" { format!("none|{name}") } else { format!("none is {name}") };
    let tried = engine.compile_expression_owned(source).and_then(|expression| expression.eval(()));
    !tried.is_err_and(|error| matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest))
}

static EXPRESSIONS: Kept<Arc<Expression<'static, 'static>>> = Kept::new();
static TEMPLATES: Kept<Arc<Template<'static, 'static>>> = Kept::new();

/// The value of an expression.
pub(super) fn value(source: &str, context: &Value) -> Result<Value, String> {
    let compile = || ENGINE.compile_expression_owned(source.to_owned()).map(Arc::new);
    let expression = match EXPRESSIONS.get(source) {
        Some(expression) => expression,
        None => EXPRESSIONS.keep(source, |_| compile()).unwrap_or_else(compile).map_err(|e| message(&e))?,
    };
    let value = expression.eval(context.clone()).map_err(|e| message(&e))?;
    if value.is_undefined() {
        return Err(format!("`{source}` has no value"));
    }
    Ok(value)
}

/// The text of a template.
pub(super) fn text(source: &str, context: &Value) -> Result<String, String> {
    let compile = |source: &'static str| ENGINE.template_from_str(source).map(Arc::new);
    match TEMPLATES.get(source).map(Ok).or_else(|| TEMPLATES.keep(source, compile)) {
        Some(template) => render(&*template.map_err(|e| message(&e))?, context),
        None => {
            let engine: &Environment<'_> = &ENGINE;
            render(&engine.template_from_str(source).map_err(|e| message(&e))?, context)
        }
    }
}

fn render(template: &Template<'_, '_>, context: &Value) -> Result<String, String> {
    let mut out = Bounded(Vec::new());
    template.render_captured_to(context.clone(), &mut out).map_err(|e| message(&e))?;
    String::from_utf8(out.0).map_err(|e| e.to_string())
}

/// A buffer that takes [`TEXT_BYTES_MAX`] bytes and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > TEXT_BYTES_MAX {
            return Err(io::Error::other(format!("the text is longer than {TEXT_BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_function(engine: &Environment<'_>, name: &str) -> bool {
    engine.globals().any(|(global, _)| global == name)
}

/// What is wrong, without the engine's internal names for the source.
fn message(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match std::error::Error::source(error) {
        Some(cause) => format!("{what}: {cause}"),
        None => what,
    }
}

/// Where an error is: its range when the engine knows it, else its line.
fn offset(error: &minijinja::Error, source: &str) -> usize {
    let line = || source.split_inclusive('\n').take(error.line().unwrap_or(1).saturating_sub(1)).map(str::len).sum();
    error.range().map_or_else(line, |range| range.start).min(source.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Value {
        Value::from(minijinja::value::Serde(serde_json::json!({"a": 2, "items": ["x", "y"], "nothing": null})))
    }

    #[test]
    fn names_are_those_that_must_come_from_outside() {
        let source =
            "{% for s in steps.find.hits %}{{ s.text }}{{ loop.index }}{{ range(3) }}{% endfor %}{{ inputs.x|fit(3) }}";
        let found = names(Language::Template, source).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["inputs.x", "steps.find.hits"]);
    }

    #[test]
    fn a_syntax_error_says_where() {
        let fault = names(Language::Template, "one\ntwo {{ a +* }}").unwrap_err();
        assert!(fault.offset >= 4, "{fault:?}");
        assert!(names(Language::Expression, "a > > b").is_err());
        assert!(names(Language::Expression, &"a ".repeat(SOURCE_BYTES_MAX)).is_err());
    }

    #[test]
    fn an_unknown_filter_or_test_is_found_without_evaluating() {
        let message = |language, source| names(language, source).err().map(|fault| (fault.offset, fault.message));
        let unknown = |at: usize, what: &str| Some((at, format!("there is no {what}")));
        assert_eq!(message(Language::Expression, "a|fit(3)|lenght"), unknown(9, "filter `lenght`"));
        assert_eq!(message(Language::Expression, "a is not defind"), unknown(9, "test `defind`"));
        assert_eq!(message(Language::Expression, "a is not defined and 'x|y \\'|z' is string"), None);
        assert_eq!(message(Language::Template, "é a|b {# |c #} is d {{ a | frist }}"), unknown(28, "filter `frist`"));
        assert_eq!(message(Language::Template, "a|b {% if a is none %}|c is d{% endif %}"), None);
    }

    #[test]
    fn a_name_without_a_value_is_an_error() {
        assert!(value("b", &context()).is_err());
        assert!(value("a.b.c", &context()).is_err());
        assert!(text("{{ b }}", &context()).is_err());
        assert_eq!(value("b is defined", &context()).unwrap(), Value::from(false));
        assert_eq!(value("nothing or a", &context()).unwrap(), Value::from(2));
    }

    #[test]
    fn work_and_size_are_bounded() {
        let long = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}";
        assert!(text(long, &context()).unwrap_err().contains("fuel"));
        let wide = "{% for a in range(9000) %}0123456789012345678901234567890123456789{% endfor %}";
        assert!(text(wide, &context()).unwrap_err().contains("longer than"), "{:?}", text(wide, &context()));
    }
}
