//! `callboard check`: all faults of briefs, workflows, policies and
//! configuration. Invariant: it starts nothing and writes nothing, and what `run` and `serve` would
//! refuse, it finds.

mod kind;

use std::io::Write;
use std::path::Path;

use agents::workflow;
use anyhow::Context;
use policies::document::{self, Error};

use self::kind::Kind;
use crate::beside;
use crate::brief::{self, Brief};
use crate::cli::CheckArgs;
use crate::config::{self, Config};
use crate::http;
use crate::policy::{Documents, Policies};
use crate::system::names;

/// What was found.
#[derive(Default)]
struct Findings {
    /// What is refused.
    faults: Vec<Error>,
    /// What is let pass, and is hardly meant.
    doubts: Vec<Error>,
}

impl Findings {
    /// Faults that were not told yet: policies and configuration are looked at for several paths.
    fn add(&mut self, faults: impl IntoIterator<Item = Error>) {
        once(&mut self.faults, faults);
    }

    fn doubt(&mut self, doubts: impl IntoIterator<Item = Error>) {
        once(&mut self.doubts, doubts);
    }

    /// What is wrong with a configuration and all that it names.
    fn whole(&mut self, config: &Config) {
        self.policies(config);
        self.add(config.secrets_missing());
        self.doubt(config.programs_missing());
        self.add(http::allowed(config.listen).err().map(|why| config.written.fault(&["listen"], why, "")));
    }

    /// What is wrong with the policies that a configuration names.
    fn policies(&mut self, config: &Config) {
        let read = Documents::read(config).and_then(|documents| Ok((Policies::of(config, &documents)?, documents)));
        match read {
            Ok((policies, documents)) => self.doubt(policies.doubts(config, &documents)),
            Err(faults) => self.add(faults),
        }
    }
}

fn once(known: &mut Vec<Error>, found: impl IntoIterator<Item = Error>) {
    for error in found {
        if !known.contains(&error) {
            known.push(error);
        }
    }
}

/// Prints every fault, or that there is none.
///
/// # Errors
/// When there are faults, or they cannot be printed.
pub fn run(arguments: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (mut found, mut checked) = (Findings::default(), Vec::new());
    let config = Config::load(arguments.config.as_deref()).map_err(|faults| found.add(faults));
    if let Ok(config) = &config
        && arguments.paths.is_empty()
    {
        checked.push("the configuration and its policies".to_owned());
        found.whole(config);
        let built_in = workflow::check("workflows/announce.toml", workflow::ANNOUNCE, &names(config));
        found.add(built_in.err().unwrap_or_default());
    }
    let config = config.unwrap_or_default();
    for path in &arguments.paths {
        checked.push(path.display().to_string());
        check_path(path, &config, &mut found);
    }
    found.faults.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    for doubt in &found.doubts {
        writeln!(out, "warning: {doubt}").context("the warnings cannot be printed")?;
    }
    for fault in &found.faults {
        writeln!(out, "{fault}").context("the faults cannot be printed")?;
    }
    match found.faults.len() {
        0 => writeln!(out, "no faults in {}", checked.join(", ")).context("the result cannot be printed"),
        1 => anyhow::bail!("1 fault found"),
        more => anyhow::bail!("{more} faults found"),
    }
}

fn check_path(path: &Path, config: &Config, found: &mut Findings) {
    let is_brief = path.file_name().is_some_and(|name| name == brief::BRIEF);
    let path = match path.parent().filter(|_| is_brief && path.is_file()) {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None if path.is_dir() => path,
        None => return check_file(path, config, found),
    };
    let own = path.join(brief::WORKFLOW);
    match Brief::read(path) {
        // A workflow of the folder's own may do with less.
        Ok(brief) if !own.exists() => found.doubt(brief.doubt(path)),
        Ok(_) => {}
        Err(faults) => found.add(faults),
    }
    if own.exists() {
        check_file(&own, config, found);
    }
}

fn check_file(path: &Path, config: &Config, found: &mut Findings) {
    let text = match config::read(path) {
        Ok(text) => text,
        Err(fault) => return found.add([fault]),
    };
    let label = path.display().to_string();
    let mut with = config.clone();
    let file = Some(path.to_owned());
    match kind::of(path, &text) {
        Err(faults) => return found.add(faults),
        Ok(Kind::Workflow) => {
            let source = document::Source { file: &label, text: &text };
            return found.add(match beside::check(path, &text, &names(config)) {
                Err(faults) => faults,
                Ok(workflow) if brief::is_beside(path) => brief::never_given(&workflow, source),
                Ok(_) => Vec::new(),
            });
        }
        Ok(Kind::Config) => {
            return match Config::load(Some(path)) {
                Ok(config) => found.whole(&config),
                Err(faults) => found.add(faults),
            };
        }
        // A policy is held against the configuration, as if it named this file.
        Ok(Kind::Tree) => with.policies.tree = file,
        Ok(Kind::Guards) => with.policies.guard = file,
        Ok(Kind::Prices) => with.policies.prices = file,
        Ok(Kind::Budget) => with.policies.budget = file,
    }
    found.policies(&with);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn faults(name: &str, text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let arguments = CheckArgs { paths: vec![path], config: None };
        let mut out = Vec::new();
        let outcome = run(&arguments, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(outcome.is_err(), !text.starts_with("no faults"), "{text}");
        text
    }

    #[test]
    fn what_is_built_in_has_no_faults() {
        let mut out = Vec::new();
        run(&CheckArgs { paths: vec![], config: None }, &mut out).unwrap();
    }

    #[test]
    fn the_example_has_no_faults() {
        let example = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/launch"));
        run(&CheckArgs { paths: vec![example], config: None }, &mut Vec::new()).unwrap();
    }

    #[test]
    fn each_kind_of_file_is_told_by_its_name_or_its_tables() {
        for (name, text, wanted) in [
            ("guard.toml", "[default]\n[\"publisher/fed\"]\n", "publisher/feed"),
            ("budget.toml", "[agents]\nwritr = \"$1.00\"\n", "writer"),
            ("tree.toml", "root = \"a\"\n[supervisor.a]\nstrateegy = \"one_for_one\"\n", "strategy"),
            ("mine.toml", "root = \"a\"\n[supervisor.a]\nchildren = [\"b\"]\n", "`b`"),
            ("guard.toml", "[default]\ntimeut = \"5s\"\n", "timeout"),
            ("prices.toml", "version = 1\nsource = \"x\"\ndate = \"y\"\n[models.a]\ninput = \"1\"\n", ":5:"),
            ("budget.toml", "runn = \"$1.00\"\n", "run"),
            ("callboard.toml", "[model]\nkind = \"opena\"\n", "openai"),
        ] {
            let found = faults(name, text);
            assert!(found.contains(wanted) && found.contains(name), "{name}: {found}");
        }
    }

    #[test]
    fn what_check_does_not_take_is_said() {
        for (name, text, wanted) in [
            ("brand.md", "# Lamp\n", "brand.md: is neither a brief.md nor a TOML file; check takes a folder"),
            ("notes.txt", "x", "notes.txt: is neither a brief.md nor a TOML file; check takes a folder"),
            ("odd.toml", "colour = 1\n", "odd.toml: has no table that tells what it is; check takes a folder"),
            ("odd.toml", "colour = \n", "odd.toml:1:"),
            ("calm.toml", "[experiment]\nname = \"x\"\n", "calm.toml: is an experiment; an experiment is read by"),
        ] {
            let found = faults(name, text);
            assert!(found.contains(wanted), "{found}");
        }
    }

    #[test]
    fn a_file_without_a_telling_name_is_told_by_its_tables() {
        for (text, wanted) in [
            ("[model]\ntimeuot = \"1s\"\nrate = \"1/s\"\n", "timeout"),
            ("[model]\nkind = \"locale\"\n", "local"),
            ("run = \"$1\"\nagnt = \"$1\"\n", "agent"),
            ("[[steps]]\nid = \"a\"\n", "`kind`"),
        ] {
            let found = faults("mine.toml", text);
            assert!(found.contains("mine.toml:") && found.contains(wanted), "{found}");
        }
    }

    #[test]
    fn all_that_run_or_serve_would_refuse_is_found() {
        let found = faults(
            "callboard.toml",
            "listen = \"0.0.0.0:8080\"\n[model]\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\nname = \"gpt-9\"\n\
             key = { env = \"CALLBOARD_NO_SUCH_KEY\" }\n",
        );
        for wanted in [
            "callboard.toml:1:10: 0.0.0.0:8080 is reachable from other machines",
            "callboard.toml:5:8: the price table has no model `gpt-9`",
            "callboard.toml:6:1: the environment variable CALLBOARD_NO_SUCH_KEY is not set",
        ] {
            assert!(found.contains(wanted), "{wanted}: {found}");
        }
    }

    #[test]
    fn a_model_that_acts_unasked_needs_a_bound_of_it_in_the_price_table() {
        let model = |kind: &str, price: &str| {
            format!("[model]\nkind = \"{kind}\"\nname = \"sonar-new\"\nprice = \"{price}\"\nkey.env = \"PATH\"\n")
        };
        let found = faults("callboard.toml", &model("sonar", "gpt-4o-mini"));
        let wanted = "callboard.toml:4:9: `gpt-4o-mini` may think and search unasked, and the price table has no \
                      `reasoning_max` for it";
        assert!(found.contains(wanted), "{found}");
        for (kind, price) in [("sonar", "sonar-pro"), ("perplexity", "perplexity/sonar")] {
            let found = faults("callboard.toml", &model(kind, price));
            assert!(!found.contains("unasked"), "{kind}: {found}");
        }
    }

    /// What `check` says of a folder with these files.
    fn folder(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut out = Vec::new();
        let _ = run(&CheckArgs { paths: vec![dir.path().to_owned()], config: None }, &mut out);
        String::from_utf8(out).unwrap().replace(&format!("{}/", dir.path().display()), "")
    }

    const BRIEF: &str = "# Lamp 3\n\nLink: https://lamp.example/3\n\nIt shines.\n";

    #[test]
    fn a_brief_that_can_hardly_make_posts_is_doubted() {
        let said = folder(&[("brief.md", BRIEF)]);
        assert!(said.starts_with("warning: brief.md: has 1 sentence and 10 characters of text"), "{said}");
        assert!(said.contains("\nno faults in "), "{said}");
    }

    #[test]
    fn a_brief_stands_for_its_folder() {
        let said = faults("brief.md", "# Lamp 3\n\nNothing to click on.\n");
        assert!(said.contains("brief.md:1:1: no link found") && said.lines().count() == 1, "{said}");
    }

    #[test]
    fn faults_are_told_file_by_file_in_the_order_of_the_lines() {
        let text =
            "listen = \"0.0.0.0:8080\"\nworkspace = \"main\"\n[chaos]\ntoken = { env = \"CALLBOARD_NO_SUCH_KEY\" }\n";
        let found = faults("callboard.toml", text);
        assert!(found.find("callboard.toml:1:10:") < found.find("callboard.toml:4:1:"), "{found}");
    }

    #[test]
    fn an_input_that_no_folder_gives_is_found() {
        let steps = "[[steps]]\nid = \"a\"\nkind = \"compute\"\nwith = { x = 1 }\n";
        let inputs = "name = \"w\"\n[inputs]\nproduct = { type = \"text\" }\nprodukt = { type = \"text\" }\n\
                      tone = { type = \"text\", default = \"calm\" }\nlink = { type = \"list\" }\n";
        let said = folder(&[("brief.md", BRIEF), ("workflow.toml", &format!("{inputs}{steps}"))]);
        assert_eq!(
            said,
            "workflow.toml:4:1: `run` never gives the input `produkt`: a folder gives `brand`, `brief`, `documents`, \
             `link`, `product`; did you mean `product`? If not, give it a default\n\
             workflow.toml:6:1: `run` gives the input `link` as a text, and the workflow asks for a list; write type = \"text\"\n"
        );
    }

    #[test]
    fn the_schema_of_a_step_is_read_beside_its_workflow() {
        let step = |schema: &str| {
            format!(
                "name = \"w\"\n[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"x\"\noutput_max = 9\n\
                 schema = \"{schema}\"\n[outputs]\ntitle = \"steps.a.output.titel\"\n"
            )
        };
        let post = "{ \"type\": \"object\", \"properties\": { \"title\": { \"type\": \"string\" } } }";
        for (files, wanted) in [
            (
                &[("post.json", post)][..],
                "workflow.toml:10:10: the schema of step `a` has no property `titel`; did you mean `title`?\n",
            ),
            (
                &[("pots.json", post)],
                "workflow.toml:8:10: there is no file `post.json` beside the workflow; did you mean `pots.json`?\n",
            ),
            (
                &[("post.json", "{")],
                "workflow.toml:8:10: `post.json` is no JSON: EOF while parsing an object at line 1 column 1; mend the file\n",
            ),
            (
                &[("post.json", "{ \"patern\": \"a\" }")],
                "workflow.toml:8:10: the schema says `patern` at #, which is not checked here; ",
            ),
        ] {
            let workflow = step("post.json");
            let files: Vec<(&str, &str)> = [("brief.md", BRIEF), ("workflow.toml", workflow.as_str())]
                .into_iter()
                .chain(files.iter().copied())
                .collect();
            let said = folder(&files);
            assert!(said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn a_budget_without_any_limit_is_doubted() {
        for (text, is_doubted) in [
            ("", true),
            ("zone = \"UTC\"\n", true),
            ("run = { at_end = \"wait\" }\n", true),
            ("run = \"$1.00\"\n", false),
            ("agent = { day = \"$1.00\" }\n", false),
            ("[agents]\nwriter = \"$1.00\"\n", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("budget.toml");
            std::fs::write(&path, text).unwrap();
            let mut out = Vec::new();
            run(&CheckArgs { paths: vec![path], config: None }, &mut out).unwrap();
            let said = String::from_utf8(out).unwrap();
            assert_eq!(said.contains("budget.toml: nothing is limited, since"), is_doubted, "{text:?}: {said}");
            assert_eq!(said.starts_with("warning: "), is_doubted, "{text:?}: {said}");
        }
    }

    #[test]
    fn a_missing_path_is_one_clear_error() {
        let arguments = CheckArgs { paths: vec![PathBuf::from("/no/such/file.toml")], config: None };
        let mut out = Vec::new();
        assert!(run(&arguments, &mut out).is_err());
        assert!(String::from_utf8(out).unwrap().contains("/no/such/file.toml: cannot be read"));
    }
}
