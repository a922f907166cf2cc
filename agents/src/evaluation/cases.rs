//! Cases as a person writes them, and the workflow that each becomes.
//!
//! Invariant: what a case says reaches its workflow as inputs; none of it is read as a template or as an
//! expression.

use std::collections::{BTreeMap, BTreeSet};

use policies::document::{self, Error, Source};
use policies::rules::PostRules;
use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The most cases of one file.
pub const CASES_MAX: usize = 1_000;
/// The longest name of a case, in bytes.
const ID_BYTES_MAX: usize = 64;
/// What a judge may write: a digit, and room to be wrong.
const GRADE_TOKENS: u32 = 4;

/// The cases of one file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The agent that grades.
    #[serde(default = "reviewer")]
    pub judge: String,
    /// What it is asked of each answer, where the case asks nothing else; without a question, the rules
    /// alone decide.
    #[serde(default)]
    pub question: Option<String>,
    /// What the evaluated agent is told first in each case, where the case says nothing else.
    #[serde(default)]
    pub system: Option<String>,
    /// The cases, at least one.
    pub cases: Vec<Case>,
}

fn reviewer() -> String {
    "reviewer".to_owned()
}

/// One thing that the agent is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name in this file.
    pub id: String,
    /// What the agent is asked.
    pub prompt: String,
    /// What it is told first.
    #[serde(default)]
    pub system: Option<String>,
    /// How its answer begins.
    #[serde(default)]
    pub prefill: Option<String>,
    /// Where its answer ends.
    #[serde(default)]
    pub stop: Vec<String>,
    /// The most that it may write.
    #[serde(default = "output_max")]
    pub output_max: Tokens,
    /// 0 takes the likeliest token each time.
    #[serde(default)]
    pub temperature: f32,
    /// What the answer must keep to.
    #[serde(default)]
    pub rules: PostRules,
    /// What the judge is asked of the answer.
    #[serde(default)]
    pub question: Option<String>,
    /// The least grade, from 1 to 9, with which the case is passed.
    #[serde(default)]
    pub grade_min: Option<f64>,
}

fn output_max() -> Tokens {
    Tokens(256)
}

impl Cases {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// Everything that is wrong with it, with line and column.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<Error>> {
        let mut read: Self = document::read(file, text)?;
        let source = Source { file, text };
        let mut faults = Vec::new();
        if !(1..=CASES_MAX).contains(&read.cases.len()) {
            let message = format!("it has {} cases", read.cases.len());
            faults.push(Error::whole(file, message, format!("write 1 to {CASES_MAX} of them, each as [[cases]]")));
        }
        let mut names = BTreeSet::new();
        for (nth, case) in read.cases.iter().enumerate() {
            let mut fault = |key: &str, message: String, help: &str| {
                let span = source.place(&["cases", &nth.to_string(), key]).unwrap_or(0..0);
                faults.push(source.error(span, message, help));
            };
            if !is_name(&case.id) {
                let help = "take 1 to 64 small letters, digits, `-` and `_`";
                fault("id", format!("{:?} names no case", case.id), help);
            }
            if !names.insert(&case.id) {
                fault("id", format!("there are two cases `{}`", case.id), "give each a name of its own");
            }
            if case.prompt.trim().is_empty() {
                fault("prompt", "it asks nothing".to_owned(), "write what the agent is asked");
            }
            if case.grade_min.is_some_and(|least| !(1.0..=9.0).contains(&least)) {
                fault("grade_min", "grades are from 1 to 9".to_owned(), "write a number in between");
            }
            if case.grade_min.is_some() && case.question.is_none() && read.question.is_none() {
                fault("grade_min", "nobody grades it".to_owned(), "write a `question` for the judge");
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for case in &mut read.cases {
            case.question = case.question.take().or_else(|| read.question.clone());
            case.system = case.system.take().or_else(|| read.system.clone());
        }
        Ok(read)
    }
}

fn is_name(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(fits)
}

impl Case {
    /// The workflow of this case, for an agent and a judge.
    #[must_use]
    pub fn workflow(&self, agent: &str, judge: &str) -> String {
        let mut text = format!(
            "name = \"evaluation\"\ndescription = \"One case of an evaluation.\"\n\n[inputs]\n\
             prompt = {{ type = \"text\" }}\nsystem = {{ type = \"text\", default = \"\" }}\n\
             question = {{ type = \"text\", default = \"\" }}\nrules = {{ type = \"map\" }}\n\
             prefill = {{ type = \"text\", default = \"\" }}\n\n\
             [[steps]]\nid = \"answer\"\nkind = \"agent\"\nagent = {}\nprompt = \"{{{{ inputs.prompt }}}}\"\n\
             output_max = {}\ntemperature = {:?}\n",
            quoted(agent),
            self.output_max.0,
            self.temperature
        );
        if self.system.is_some() {
            text.push_str("system = \"{{ inputs.system }}\"\n");
        }
        if self.prefill.is_some() {
            text.push_str("prefill = \"{{ inputs.prefill }}\"\n");
        }
        if !self.stop.is_empty() {
            let stop: Vec<_> = self.stop.iter().map(|stop| quoted(stop)).collect();
            text.push_str(&format!("stop = [{}]\n", stop.join(", ")));
        }
        let rules: Vec<_> = self.rule_names().map(|name| format!("{name} = \"inputs.rules.{name}\"")).collect();
        text.push_str(&format!(
            "\n[[steps]]\nid = \"rules\"\nkind = \"check\"\ntext = \"steps.answer.text\"\nrules = {{ {} }}\n",
            rules.join(", ")
        ));
        let mut outputs = "text = \"steps.answer.text\"\nbreaches = \"steps.rules.breaches\"\n".to_owned();
        if self.question.is_some() {
            text.push_str(&format!(
                "\n[[steps]]\nid = \"grade\"\nkind = \"agent\"\nagent = {}\n\
                 prompt = \"{{{{ inputs.question }}}}\\n\\nText: {{{{ steps.answer.text }}}}\\n\\n\
                 Rate the text from 1 (bad) to 9 (excellent).\"\n\
                 prefill = \"Score: \"\nstop = [\"\\n\"]\noutput_max = {GRADE_TOKENS}\ntemperature = 0.0\n\
                 parse = \"score\"\n",
                quoted(judge)
            ));
            outputs.push_str("grade = \"steps.grade.score\"\n");
        }
        format!("{text}\n[outputs]\n{outputs}")
    }

    /// What the run of this case is given.
    #[must_use]
    pub fn inputs(&self) -> BTreeMap<String, Value> {
        let rules = serde_json::to_value(&self.rules).unwrap_or_else(|_| json!({}));
        let mut inputs = BTreeMap::from([("prompt".to_owned(), json!(self.prompt)), ("rules".to_owned(), rules)]);
        let texts = [("system", &self.system), ("question", &self.question), ("prefill", &self.prefill)];
        for (name, text) in texts {
            if let Some(text) = text {
                inputs.insert(name.to_owned(), json!(text));
            }
        }
        inputs
    }

    /// The rules that it has.
    fn rule_names(&self) -> impl Iterator<Item = &'static str> {
        let rules = &self.rules;
        let has = [
            ("graphemes_min", rules.graphemes_min > 0),
            ("graphemes_max", rules.graphemes_max.is_some()),
            ("words_banned", !rules.words_banned.is_empty()),
            ("terms_required", !rules.terms_required.is_empty()),
            ("link_required", rules.link_required.is_some()),
        ];
        has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name)
    }
}

/// A text in TOML. JSON's escapes are TOML's too; only DEL is left, which TOML wants escaped.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::{Known, check};

    fn names() -> Known {
        Known::new(["writer", "reviewer"], ["feed"])
    }

    #[test]
    fn each_case_is_a_workflow_whatever_it_says() {
        let hostile = "{{ inputs.rules }} \"\\ \n\u{7f}{% for %} 'x'";
        let text = format!(
            "question = {0}\n[[cases]]\nid = \"a\"\nprompt = {0}\nsystem = {0}\nprefill = {0}\nstop = [{0}]\n\
             rules = {{ graphemes_min = 1, graphemes_max = 9, words_banned = [{0}], terms_required = [{0}], \
             link_required = \"http://x\" }}\n[[cases]]\nid = \"b\"\nprompt = \"plain\"\n",
            quoted(hostile)
        );
        let cases = Cases::read("cases.toml", &text).unwrap();
        for case in &cases.cases {
            let workflow = case.workflow("writer", &cases.judge);
            let checked = check("case", &workflow, &names()).unwrap_or_else(|faults| panic!("{faults:?}\n{workflow}"));
            checked.bind(case.inputs()).unwrap();
        }
        assert_eq!(cases.cases[1].question.as_deref(), Some(hostile), "the file's question");
        assert_eq!(cases.cases[0].inputs()["prompt"], hostile);
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let text = "[[cases]]\nid = \"A b\"\nprompt = \" \"\n\n[[cases]]\nid = \"b\"\nprompt = \"x\"\ngrade_min = 12\n\n\
                    [[cases]]\nid = \"b\"\nprompt = \"x\"\n";
        let faults = Cases::read("cases.toml", text).unwrap_err();
        let told = document::lines(&faults);
        let expected = [
            ":2:6: \"A b\" names no case",
            ":3:10: it asks nothing",
            ":8:13: grades are from 1 to 9",
            ":8:13: nobody grades it",
            ":11:6: there are two cases `b`",
        ];
        for expected in expected {
            assert!(told.contains(expected), "{expected}\n{told}");
        }
        assert!(Cases::read("cases.toml", "cases = []").is_err());
        assert!(
            document::lines(&Cases::read("c", "[[cases]]\nid = \"a\"\npromt = \"x\"").unwrap_err()).contains("prompt")
        );
    }
}
