//! Bad input gets one clear error; the command line explains itself.

use crate::desk::{Desk, chaos};

fn desk() -> Desk {
    Desk::new("http://127.0.0.1:9/v1")
}

#[test]
fn a_brief_that_is_missing_empty_binary_or_huge_is_one_error_with_its_file() {
    let desk = desk();
    let folder = desk.path("bad");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("brief.md");
    let path = folder.display().to_string();
    let huge = vec![b'x'; 50 << 20];
    for (content, wanted) in [
        (None, "is missing"),
        (Some(&b""[..]), "is empty"),
        (Some(&b"# A\n\x00"[..]), ":2:1: is not a text file"),
        (Some(&huge[..]), "larger than 1 MiB"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        for arguments in [["run", &path], ["check", &path]] {
            let said = desk.callboard(&arguments).bad();
            let all = format!("{}{}", said.out, said.err);
            assert!(all.contains("brief.md") && all.contains(wanted), "{wanted}: {all}");
        }
        assert!(!desk.path("data").exists(), "nothing was opened");
    }
}

#[test]
fn check_finds_the_faults_of_a_workflow_all_at_once() {
    let desk = desk();
    let workflow = "name = \"w\"\n[inputs]\nbrief = { type = \"text\" }\n\n[[steps]]\nid = \"a\"\nkind = \"agnet\"\n\n\
                    [[steps]]\nid = \"b\"\nkind = \"compute\"\nwith.x = \"steps.c.y\"\n\n[[steps]]\nid = \"c\"\nkind = \"compute\"\nwith.y = \"steps.b.x\"\n\n\
                    [[steps]]\nid = \"d\"\nkind = \"compute\"\nwith.x = \"inputs.breif\"\n\n[[steps]]\nid = \"e\"\nkind = \"branch\"\nwhen = \"1 +\"\n\n[[steps.then]]\nid = \"f\"\nkind = \"compute\"\nwith.x = \"1\"\n";
    let path = desk.path("w.toml");
    std::fs::write(&path, workflow).unwrap();
    let said = desk.callboard(&["check", "w.toml"]).bad();
    for wanted in ["w.toml:7:", "agent", "w.toml:12:", "w.toml:22:", "brief", "w.toml:27:"] {
        assert!(said.out.contains(wanted), "{wanted}: {}", said.out);
    }
}

#[test]
fn check_names_the_line_of_a_typo_and_what_was_meant() {
    let desk = desk();
    std::fs::write(desk.path("callboard.toml"), "data = \"data\"\n[modle]\nkind = \"local\"\n").unwrap();
    let said = desk.callboard(&["check"]).bad();
    assert!(said.out.contains("callboard.toml:2:") && said.out.contains("`model`"), "{}", said.out);
}

#[test]
fn every_command_explains_itself() {
    let desk = desk();
    let help = desk.callboard(&["--help"]).good().out;
    for command in
        ["run", "serve", "check", "runs", "tree", "doctor", "approve", "reject", "settle", "resume", "cancel"]
    {
        assert!(help.contains(command), "{help}");
        assert!(desk.callboard(&[command, "--help"]).good().out.contains("Usage: "));
    }
}

#[test]
fn the_built_in_things_have_no_faults() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/launch");
    desk().callboard(&["check", example]).good();
}

const EXPERIMENT: &str = "\
[experiment]
name = \"x\"
modes = [\"sim\", \"live\", \"kill9\"]
duration = \"1m\"
quiet = \"1m\"

[workload]
runs = 2
arrival = \"1/s\"

[[fault]]
kind = \"provider_status\"
status = 429
retry_after = \"5s\"
at = \"10s..40s\"
";

#[test]
fn an_experiment_with_a_mistake_is_one_error_with_its_line_and_what_was_meant_in_each_mode() {
    let desk = desk();
    let chaos = |mode: &str| chaos(desk.folder.path(), "t", &[mode, "x.toml"]);
    for (right, wrong, wanted) in [
        (
            "retry_after",
            "retry_aftr",
            "x.toml:14:1: unknown key `retry_aftr` in fault `provider_status`; did you mean `retry_after`?",
        ),
        (
            "provider_status",
            "provider_sttus",
            "x.toml:12:8: unknown kind `provider_sttus`; did you mean `provider_status`?",
        ),
        (
            "10s..40s",
            "40s..10s",
            "x.toml:15:6: `40s..10s` does not end after it begins; write the earlier time first, such as \"30s..90s\"",
        ),
        (
            "10s..40s",
            "10s..80s",
            "x.toml:15:6: the fault may begin until 80s, and the experiment's faults end at 1m; let it begin earlier, \
             or give [experiment] a longer `duration`",
        ),
    ] {
        std::fs::write(desk.path("x.toml"), EXPERIMENT.replace(right, wrong)).unwrap();
        for mode in ["sim", "live", "kill9"] {
            let said = chaos(mode).bad();
            let lines: Vec<_> = said.err.lines().filter(|line| line.contains("x.toml:")).collect();
            assert_eq!(lines, [format!("error: {wanted}")], "{mode}: {}{}", said.out, said.err);
            assert!(!desk.path("reports").exists(), "nothing was begun");
        }
    }
    let said = chaos("simm").bad();
    assert!(said.err.contains("'sim'"), "{}", said.err);
}
