//! A report as JUnit's XML, for what reads test results. Invariant: it has a failure if and only if
//! the campaign did not pass.

use std::fmt::Write;

use super::xml::escape;
use super::{CheckerLine, Report, SometimesLine, SteadyLine};

/// Violations told in one failure.
const TOLD_MAX: usize = 20;

struct Case {
    name: String,
    failure: Option<Failure>,
}

struct Failure {
    kind: &'static str,
    message: String,
    text: String,
}

/// One case for each checker, for each thing that had to happen, for each probe that had to hold, for the replays, and for there being
/// any seeds at all.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut cases = vec![seeds(report), replays(report)];
    cases.extend(report.checkers.iter().map(|line| checker(report, line)));
    cases.extend(report.sometimes.iter().map(|line| sometimes(report, line)));
    cases.extend(report.steady.iter().filter(|line| line.wanted.is_some()).map(steady));
    cases.extend(unsteady(report));
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let (name, tests) = (escape(&report.heading.experiment), cases.len());
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"0\"");
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites name=\"chaos\" {counts}>");
    let _ = writeln!(xml, "  <testsuite name=\"{name}\" {counts}>");
    let _ = writeln!(xml, "    <properties>");
    for (key, value) in [("runner", &report.heading.runner), ("commit", &report.heading.commit)] {
        let _ = writeln!(xml, "      <property name=\"{key}\" value=\"{}\"/>", escape(value));
    }
    let _ = writeln!(xml, "    </properties>");
    for case in &cases {
        write_case(&mut xml, &name, case);
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn write_case(xml: &mut String, experiment: &str, case: &Case) {
    let name = escape(&case.name);
    let head = format!("    <testcase classname=\"chaos.{experiment}\" name=\"{name}\" time=\"0\"");
    let _ = match &case.failure {
        None => writeln!(xml, "{head}/>"),
        Some(Failure { kind, message, text }) => writeln!(
            xml,
            "{head}>\n      <failure type=\"{kind}\" message=\"{}\">{}</failure>\n    </testcase>",
            escape(message),
            escape(text)
        ),
    };
}

fn seeds(report: &Report) -> Case {
    let none = || Failure {
        kind: "inconclusive",
        message: "no seed was played".to_owned(),
        text: "a campaign without seeds shows nothing".to_owned(),
    };
    Case { name: "has_seeds".to_owned(), failure: (report.seeds == 0).then(none) }
}

fn replays(report: &Report) -> Case {
    let diverged = report.verdicts.iter().filter_map(|verdict| Some((verdict.seed, verdict.apart()?)));
    let lines: Vec<_> = diverged.map(|(seed, first)| format!("seed {seed}: {first}")).collect();
    let failure = (!lines.is_empty()).then(|| Failure {
        kind: "divergence",
        message: format!("{} seeds did not replay", lines.len()),
        text: told(&lines),
    });
    Case { name: "replays".to_owned(), failure }
}

fn checker(report: &Report, line: &CheckerLine) -> Case {
    let lines = || -> Vec<String> {
        let all = report.verdicts.iter().flat_map(|verdict| verdict.violations.iter().map(move |v| (verdict.seed, v)));
        all.filter(|(_, v)| v.invariant == line.invariant).map(|(seed, v)| format!("seed {seed}: {v}")).collect()
    };
    let failure = (line.violations > 0).then(|| Failure {
        kind: "violation",
        message: format!("{} violations in {} of {} seeds", line.violations, line.seeds.len(), report.seeds),
        text: told(&lines()),
    });
    Case { name: line.invariant.name().to_owned(), failure }
}

fn sometimes(report: &Report, line: &SometimesLine) -> Case {
    let failure = (line.seeds == 0).then(|| Failure {
        kind: "inconclusive",
        message: format!("it never happened in {} seeds", report.seeds),
        text: "a campaign in which it never happens shows nothing about it".to_owned(),
    });
    Case { name: format!("sometimes.{}", line.sometimes.name()), failure }
}

fn steady(line: &SteadyLine) -> Case {
    let failure = (!line.holds).then(|| Failure {
        kind: "unsteady",
        message: format!("it must be {}", line.wanted.as_deref().unwrap_or_default()),
        text: format!("before {:?}, during {:?}, after {:?}", line.before, line.during, line.after),
    });
    Case { name: format!("steady.{}", line.probe.name()), failure }
}

/// Seeds of which a part of the steady state did not hold; no case where there are none.
fn unsteady(report: &Report) -> Option<Case> {
    let all =
        report.verdicts.iter().flat_map(|verdict| verdict.unsteady.iter().map(move |words| (verdict.seed, words)));
    let lines: Vec<_> = all.map(|(seed, words)| format!("seed {seed}: {words}")).collect();
    (!lines.is_empty()).then(|| {
        let message = format!("{} probes did not hold", lines.len());
        Case { name: "steady".to_owned(), failure: Some(Failure { kind: "unsteady", message, text: told(&lines) }) }
    })
}

fn told(lines: &[String]) -> String {
    let mut text = lines.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("\n");
    if let Some(left) = lines.len().checked_sub(TOLD_MAX).filter(|left| *left > 0) {
        let _ = write!(text, "\nand {left} more");
    }
    text
}
