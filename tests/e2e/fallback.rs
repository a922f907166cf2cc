//! Two model servers, of which one is down: its stand-in takes over, and hands back.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use agents::run::{EffectOutcome, Event};
use policies::fallback::Outage;

use crate::desk::{Desk, Provider, recorded_calls};

/// Steps of the run, one after the other.
const STEPS: usize = 24;
/// While its breaker is open the stand-in has time for a few steps.
const GUARD: &str = "[model]\nbreaker = { failures = 2, open = \"1s\" }\n\
                     retry.backoff = { first = \"10ms\", factor = 1.0, cap = \"10ms\", jitter = 0.0 }\n";

/// A desk whose agents speak with `main`, which is down, and have `spare` to stand in.
struct Theatre {
    desk: Desk,
    main: Provider,
    spare: Provider,
    folders: [tempfile::TempDir; 2],
}

impl Theatre {
    fn new(guard: &str, more: &str) -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let down = folders[0].path().join("down");
        std::fs::write(&down, "").unwrap();
        let main = Provider::start(folders[0].path(), &["--think-ms", "20", "--down-while", down.to_str().unwrap()]);
        let spare = Provider::start(folders[1].path(), &["--think-ms", "150"]);
        let desk = Desk::new(&main.url);
        let model = |name: &str, url: &str| {
            format!(
                "[models.{name}]\nkind = \"openai\"\nurl = \"{url}\"\nname = \"scripted\"\nprice = \"gpt-4o-mini\"\n"
            )
        };
        let config = format!(
            "data = \"data\"\ncache = {:?}\nmodel = \"main\"\npolicies = {{ tree = \"tree.toml\", guard = \"guard.toml\" }}\n{}{}",
            crate::desk::cache().display().to_string(),
            model("main", &main.url),
            model("spare", &spare.url),
        );
        std::fs::write(desk.path("callboard.toml"), config).unwrap();
        let tree =
            format!("{}\n[supervisor.agents.child]\nfallback = [\"model/spare\"]\n{more}", policies::tree::BUILTIN);
        std::fs::write(desk.path("tree.toml"), tree).unwrap();
        std::fs::write(desk.path("guard.toml"), guard).unwrap();
        Self { desk, main, spare, folders }
    }

    /// A brief whose workflow is so many calls of the writer, one after the other.
    fn brief(&self) -> String {
        let folder = self.desk.brief("one");
        let step = |step: usize| {
            format!(
                "[[steps]]\nid = \"s{step}\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"Line {step}\"\noutput_max = 20\n"
            )
        };
        let inputs = "[inputs]\nproduct = { type = \"text\", description = \"The name.\" }\n";
        let steps: String = (0..STEPS).map(step).collect();
        let workflow = format!("name = \"lines\"\n{inputs}{steps}[outputs]\ntext = \"steps.s0.text\"\n");
        std::fs::write(folder.join("workflow.toml"), workflow).unwrap();
        folder.display().to_string()
    }

    fn recover(&self) {
        std::fs::remove_file(self.folders[0].path().join("down")).unwrap();
    }

    /// Who stood in at each call that was done, in order; none where nobody had to.
    fn stood_in(&self) -> Vec<Option<String>> {
        let events = self.desk.events();
        let done = |key: &agents::run::EffectKey, attempt: u32| {
            events.iter().any(|event| {
                matches!(event, Event::Resolved(resolved) if resolved.key == *key && resolved.attempt == attempt
                    && matches!(resolved.outcome, EffectOutcome::Ok { .. }))
            })
        };
        let intents = events.iter().filter_map(|event| match event {
            Event::Intended(intent) if done(&intent.key, intent.attempt) => Some(intent),
            _ => None,
        });
        intents.map(|intent| intent.stand_in.as_ref().map(|stand_in| stand_in.name("writer"))).collect()
    }
}

#[test]
fn a_run_is_finished_by_the_stand_in_and_handed_back_when_the_breaker_closes() {
    let theatre = Theatre::new(GUARD, "");
    let brief = theatre.brief();
    let mut child = theatre.desk.command(&["run", &brief, "--plain"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if line.contains("→ agent writer") && line.contains("stands in") && !said.contains("stands in") {
            theatre.recover();
        }
        said.push_str(&line);
        said.push('\n');
    }
    assert!(child.wait().unwrap().success(), "{said}");
    let wanted = "→ agent writer, attempt 3: model/spare stands in for it, because the breaker of model/main is open";
    assert!(said.contains(wanted), "{said}");
    assert!(said.contains("model/spare stood in for writer in "), "the report says it: {said}");
    let stood_in = theatre.stood_in();
    assert_eq!(stood_in.len(), STEPS);
    let back = stood_in.iter().position(Option::is_none).expect("it was handed back");
    assert!(back > 0 && stood_in[..back].iter().all(|who| who.as_deref() == Some("model/spare")), "{stood_in:?}");
    assert!(stood_in[back..].iter().all(Option::is_none), "it was handed back for good: {stood_in:?}");
    assert_eq!(theatre.main.calls().len() + theatre.spare.calls().len(), STEPS, "each call was served once");
}

#[test]
fn after_a_kill_the_stand_in_goes_on_and_no_recorded_call_is_made_again() {
    let theatre = Theatre::new(GUARD, "");
    let brief = theatre.brief();
    let mut child = theatre.desk.command(&["run", &brief, "--plain"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = lines.map_while(Result::ok).filter(|line| line.contains(" done in "));
    assert!(done.nth(3).is_some(), "four steps are done before it is killed");
    child.kill().unwrap();
    child.wait().unwrap();
    let recorded = recorded_calls(&theatre.desk.events()).len();
    assert!((4..STEPS).contains(&recorded), "{recorded}");
    let said = theatre.desk.callboard(&["run", &brief, "--plain"]).good();
    assert!(said.out.contains("stands in for it"), "{}", said.out);
    assert!(theatre.stood_in().iter().all(|who| who.as_deref() == Some("model/spare")));
    let served = theatre.spare.calls();
    for (call, attempts) in recorded_calls(&theatre.desk.events()) {
        let times = served.get(&call).copied().unwrap_or(0);
        assert!(times >= 1 && times <= attempts, "{call} was served {times} times for {attempts} attempts");
    }
    assert!(theatre.main.calls().is_empty(), "it was down all the time");
}

#[test]
fn a_step_that_has_used_up_its_attempts_goes_to_the_stand_in_though_no_breaker_opened() {
    let theatre = Theatre::new(&GUARD.replace("failures = 2", "failures = 99"), "");
    let said = theatre.desk.callboard(&["run", &theatre.brief(), "--plain"]).good();
    let intents = theatre.desk.events().into_iter().filter_map(|event| match event {
        Event::Intended(intent) => intent.stand_in.clone(),
        _ => None,
    });
    let because: Vec<Outage> = intents.map(|stand_in| stand_in.because).collect();
    assert_eq!(because.first(), Some(&Outage::Spent { guard: "model/main".to_owned() }), "{}", said.out);
}

#[test]
fn a_retry_whose_time_comes_while_its_failure_is_written_is_made() {
    let at_once = "{ first = \"1us\", factor = 1.0, cap = \"1us\", jitter = 0.0 }";
    let (before, _) = GUARD.split_once("retry.backoff").unwrap();
    let theatre = Theatre::new(&format!("{before}retry.backoff = {at_once}\n"), "");
    theatre.desk.callboard(&["run", &theatre.brief(), "--plain"]).good();
    assert_eq!(theatre.stood_in().len(), STEPS);
}

#[test]
fn an_agents_own_breaker_opens_before_that_of_its_model() {
    let own = "[supervisor.agents.child.breaker]\nfailures = 2\nopen = \"60s\"\n";
    let theatre = Theatre::new(&GUARD.replace("failures = 2", "failures = 99"), own);
    let said = theatre.desk.callboard(&["run", &theatre.brief(), "--plain"]).good();
    assert!(said.out.contains("because the breaker of agent/writer is open"), "{}", said.out);
    assert!(theatre.stood_in().iter().all(|who| who.as_deref() == Some("model/spare")));
}
