use super::*;

const HEAD: &str = "[experiment]\nname = \"x\"\nduration = \"2m\"\nquiet = \"10m\"\n";
const WORK: &str = "[workload]\nruns = 4\narrival = \"1/5s\"\n";

/// Mistakes of a text, each as `line:column: …`.
#[track_caller]
fn mistakes(text: &str, expected: &[&str]) {
    let found: Vec<String> = match read("x.toml", text) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|error| error.to_string().replace("x.toml:", "")).collect(),
    };
    assert_eq!(found, expected, "{text}");
}

/// Mistakes of an experiment whose other parts are well; the text begins in line 8.
#[track_caller]
fn rest(text: &str, expected: &[&str]) {
    mistakes(&format!("{HEAD}{WORK}{text}"), expected);
}

/// The faults of an experiment.
#[track_caller]
fn faults(text: &str) -> Vec<FaultSpec> {
    read("x.toml", &format!("{HEAD}{WORK}{text}")).unwrap().faults
}

#[test]
fn what_is_left_out_has_a_default() {
    let experiment = read("x.toml", &format!("{HEAD}{WORK}")).unwrap();
    assert_eq!(experiment.modes, [Mode::Sim].into());
    assert_eq!((experiment.seed, experiment.seeds), (1, 100));
    assert_eq!((experiment.duration_ms, experiment.quiet_ms), (120_000, 600_000));
    assert_eq!(experiment.invariants, Invariant::ALL.into());
    assert_eq!((experiment.sometimes.len(), experiment.faults.len(), experiment.steady.len()), (0, 0, 0));
    assert_eq!((experiment.each_fault_off, experiment.abort), (0.0, None));
    assert_eq!(experiment.report, Report { out: "reports/".into(), formats: Format::ALL.into() });
    let workload = experiment.workload;
    assert_eq!((workload.approval, workload.platform), (Approval::Automatic, Platform::Careful));
    assert_eq!((workload.budget, workload.cost_max), (None, None));
}

#[test]
fn every_part_is_read() {
    let text = r#"
        [experiment]
        name = "all-of-it"
        modes = ["sim", "live"]
        seed = 42
        seeds = 1000
        duration = "2m"
        quiet = "10m"
        [workload]
        runs = 4
        arrival = "2/s"
        approval = "ask"
        platform = "careless"
        budget = "$2.00"
        cost_max = "$0.5"
        [[steady]]
        probe = "runs_finished_per_min"
        min = 10
        mode = "continuous"
        no_data = "ignore"
        [swarm]
        each_fault_off = 0.5
        [[invariant]]
        use = ["no_lost_run", "journal_vs_ledger"]
        [[invariant]]
        use = ["no_double_post"]
        [[sometimes]]
        use = ["crashed"]
        [abort]
        on = "error_rate > 0.5"
        [report]
        out = "elsewhere/"
        formats = ["md"]
    "#;
    let experiment = read("x.toml", text).unwrap();
    let invariants = [Invariant::NoLostRun, Invariant::NoDoublePost, Invariant::AcknowledgedSurvives];
    let expected = Experiment {
        name: "all-of-it".to_owned(),
        modes: [Mode::Sim, Mode::Live].into(),
        seed: 42,
        seeds: 1000,
        duration_ms: 120_000,
        quiet_ms: 600_000,
        workload: WorkloadSpec {
            runs: 4,
            arrival: Rate { count: 2, per: Duration::from_secs(1) },
            approval: Approval::Ask,
            budget: Some(Money::from_nanos(2_000_000_000)),
            cost_max: Some(Money::from_nanos(500_000_000)),
            platform: Platform::Careless,
            stand_in: false,
        },
        steady: vec![Steady {
            probe: Probe::RunsFinishedPerMin,
            min: Some(10.0),
            max: None,
            mode: Moment::Continuous,
            no_data: NoData::Ignore,
        }],
        faults: Vec::new(),
        each_fault_off: 0.5,
        invariants: invariants.into(),
        sometimes: [Sometimes::Crashed].into(),
        abort: Some(Abort { probe: Probe::ErrorRate, side: Side::Above, limit: 0.5 }),
        report: Report { out: "elsewhere/".into(), formats: [Format::Md].into() },
    };
    assert_eq!(experiment, expected);
}

#[test]
fn every_kind_is_read_with_its_keys() {
    let of = |kind: Kind| match kind {
        Kind::ProviderStatus => "status = 429\nretry_after = '5s'\ntarget = 'llm/*'\np = 0.3\ncount = 2\n",
        Kind::PlatformStatus => "status = 503\ntarget = 'platform/*'\nfor = '9s'\n",
        Kind::ProviderSlow | Kind::ProviderDrip | Kind::PlatformSlow | Kind::PlatformLate => "by = '2s'\n",
        Kind::ActorSlow => "target = 'run/*'\nby = '2s'\n",
        Kind::ActorFlood => "target = 'run/*'\nmessages = 9\n",
        Kind::ActorPanic | Kind::ActorError | Kind::ActorHang | Kind::ActorKill => "target = 'writer'\ncount = 3\n",
        Kind::DiskFull => "for = '9s'\n",
        Kind::ClockJump => "by = '-2h'\n",
        Kind::Crash => "point = 'sync.after'\nnth = 3\ndisk = 'torn'\ncount = 3\n",
        _ => "",
    };
    for kind in Kind::ALL {
        let specs = faults(&format!("[[fault]]\nkind = '{}'\nat = '1s..31s'\n{}", kind.name(), of(kind)));
        assert_eq!((specs.len(), specs[0].kind), (1, kind));
        assert!(serde_json::to_string(&specs[0].kind).unwrap().contains(kind.name()));
    }
}

#[test]
fn a_shape_of_time_decides_how_long_a_fault_is_there() {
    let hits = |text: &str| match &faults(&format!("[[fault]]\nkind = 'provider_lost'\n{text}"))[..] {
        [FaultSpec { at, form: Form::Whole(crate::fault::Fault::Provider { hits, .. }), times: 1, .. }] => {
            (at.from_ms, at.to_ms, hits.for_ms)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(hits(""), (0, 0, 120_000), "all the time");
    assert_eq!(hits("at = '30s'\n"), (30_000, 30_000, 90_000), "from then on");
    assert_eq!(hits("at = '30s..90s'\n"), (30_000, 30_000, 60_000), "for the whole range");
    assert_eq!(hits("at = '30s..90s'\nfor = '10s'\n"), (30_000, 90_000, 10_000), "somewhere in the range");
    assert_eq!(hits("for = '10s'\n"), (0, 110_000, 10_000), "somewhere");
    assert_eq!(hits("for = '2m'\n"), (0, 0, 120_000), "all the time");
}

#[test]
fn a_typo_in_a_key_gets_a_suggestion() {
    rest(
        "[[fault]]\nkind = \"provider_status\"\nstatus = 429\nretry_aftr = \"5s\"\n[repport]\nout = \"r\"\n",
        &[
            "11:1: unknown key `retry_aftr` in fault `provider_status`; did you mean `retry_after`?",
            "12:2: unknown key `repport` in the experiment; did you mean `report`?",
        ],
    );
}

#[test]
fn every_mistake_is_found_at_once() {
    let text = r#"[experiment]
name = "X Y"
modes = ["sim", "simm"]
duration = "2m"
quiet = "0s"
[workload]
runs = 0
arrival = "sometimes"
aproval = "ask"
[[steady]]
probe = "redy"
[[fault]]
kind = "provider_sttus"
[[fault]]
kind = "crash"
point = "post.after_send_before_ack"
at = "90s..30s"
[[fault]]
kind = "provider_cut"
p = 1.5
at = "3m"
[[invariant]]
use = ["no_lost_run", "no_lost_runs", "no_duble_post"]
[[sometimes]]
use = ["breaker_opend"]
[abort]
on = "eror_rate > 1"
"#;
    mistakes(
        text,
        &[
            "2:8: `X Y` is no name for an experiment; use small letters, digits and `-`, at most 64",
            "3:17: unknown mode `simm`; did you mean `sim`?",
            "5:9: `quiet` must be above zero and at most 7d",
            "7:8: `runs` must be a whole number from 1 to 10000",
            "8:11: `sometimes` is not a rate; write a count above zero and a time such as \"60/min\" or \"3/10s\"",
            "9:1: unknown key `aproval` in [workload]; did you mean `approval`?",
            "10:1: [[steady]] has neither `min` nor `max`; add `min = …` or `max = …`",
            "11:9: unknown probe `redy`; did you mean `ready`?",
            "13:8: unknown kind `provider_sttus`; did you mean `provider_status`?",
            "16:9: unknown point `post.after_send_before_ack`; did you mean `post.after_send`?",
            "17:6: `90s..30s` does not end after it begins; write the earlier time first, such as \"30s..90s\"",
            "20:5: `p` is a share, so it must be a number from 0 to 1; 0.3 is three of ten",
            "21:6: the fault begins at 3m, and the experiment's faults end at 2m; let it begin earlier, or give \
             [experiment] a longer `duration`",
            "23:23: unknown invariant `no_lost_runs`; did you mean `no_lost_run`?",
            "23:39: unknown invariant `no_duble_post`; did you mean `no_double_post`?",
            "25:8: unknown sometimes `breaker_opend`; did you mean `breaker_opened`?",
            "27:6: unknown probe `eror_rate`; did you mean `error_rate`?",
        ],
    );
}

#[test]
fn what_must_be_there_is_named() {
    mistakes(
        "",
        &[
            "1:1: the experiment has no [experiment]; add the table [experiment]",
            "1:1: the experiment has no [workload]; add the table [workload]",
        ],
    );
    mistakes(
        &format!(
            "[experiment]\n{WORK}[[fault]]\n[[fault]]\nkind = \"provider_slow\"\n[[swarm]]\n[[invariant]]\n[abort]\n"
        ),
        &[
            "1:1: [experiment] has no `name`; add `name = …`",
            "1:1: [experiment] has no `duration`; add `duration = …`",
            "1:1: [experiment] has no `quiet`; add `quiet = …`",
            "5:1: [[fault]] has no `kind`; add `kind = …`",
            "6:1: fault `provider_slow` has no `by`; add `by = …`",
            "8:1: [[swarm]] has no `each_fault_off`; add `each_fault_off = …`",
            "9:1: [[invariant]] has no `use`; add `use = …`",
            "10:1: [abort] has no `on`; add `on = …`",
        ],
    );
}

#[test]
fn an_impossible_schedule_is_refused() {
    rest(
        "[[fault]]\nkind = \"crash\"\nat = \"1m..121s\"\n\
         [[fault]]\nkind = \"disk_full\"\nat = \"100s..115s\"\nfor = \"6s\"\n\
         [[fault]]\nkind = \"provider_lost\"\nat = \"2m\"\n\
         [[fault]]\nkind = \"provider_lost\"\nfor = \"121s\"\n\
         [[fault]]\nkind = \"provider_lost\"\nfor = \"0s\"\n\
         [[fault]]\nkind = \"clock_jump\"\nby = \"0s\"\n\
         [[fault]]\nkind = \"crash\"\npoint = \"ack.before\"\nnth = \"5..1\"\n\
         [[fault]]\nkind = \"crash\"\nnth = 2\n",
        &[
            "10:6: the fault may begin until 121s, and the experiment's faults end at 2m; let it begin earlier, \
             or give [experiment] a longer `duration`",
            "14:7: the fault may last until 121s, and the experiment's faults end at 2m; shorten it, or give \
             [experiment] a longer `duration`",
            "17:6: the fault begins at 2m, and the experiment's faults end at 2m; let it begin earlier, or give \
             [experiment] a longer `duration`",
            "20:7: the fault may last until 121s, and the experiment's faults end at 2m; shorten it, or give \
             [experiment] a longer `duration`",
            "23:7: `for` must be above zero and at most 7d",
            "26:6: `0s` is no jump; write at least \"1ms\" and at most \"3650d\", with `-` in front to go back",
            "30:7: `nth` must be a whole number from 1 to 100000, or a range such as \"1..5\"",
            "33:7: `nth` counts the passings of a `point`, and there is none; add `point = …`, or take `nth` away",
        ],
    );
    mistakes(
        &format!("{HEAD}[workload]\nruns = 25\narrival = \"1/5s\"\n"),
        &["7:11: 25 runs at 1/5s take 125s, and the experiment's runs come within 2m; ask for fewer `runs`, \
             more often, \
             or give [experiment] a longer `duration`"],
    );
}

#[test]
fn a_mode_must_be_able_to_do_every_fault() {
    let head = HEAD.replace("[experiment]", "[experiment]\nmodes = [\"sim\", \"live\", \"kill9\"]");
    let text = "[[fault]]\nkind = \"crash\"\ndisk = \"torn\"\n[[fault]]\nkind = \"clock_jump\"\nby = \"1h\"\n\
                [[fault]]\nkind = \"actor_kill\"\ntarget = \"writer\"\n[[fault]]\nkind = \"provider_reset\"\n";
    mistakes(
        &format!("{head}{WORK}{text}"),
        &[
            "10:8: `live` cannot do `crash`; take `live` out of `modes`, or this fault out of the experiment",
            "13:8: `live` cannot do `clock_jump`; take `live` out of `modes`, or this fault out of the experiment",
            "13:8: `kill9` cannot do `clock_jump`; take `kill9` out of `modes`, or this fault out of the experiment",
            "16:8: `kill9` cannot do `actor_kill`; take `kill9` out of `modes`, or this fault out of the experiment",
        ],
    );
}

#[test]
fn what_a_mode_does_not_have_is_refused_with_its_line() {
    rest(
        "[abort]\non = \"ready < 1\"\n",
        &["8:1: [abort] is for `live` alone; add \"live\" to `modes`, or take it away"],
    );
    let head = HEAD.replace("[experiment]", "[experiment]\nmodes = [\"sim\", \"kill9\"]");
    mistakes(
        &format!("{head}{WORK}stand_in = true\n"),
        &["9:12: `kill9` has no `stand_in`; take `kill9` out of `modes`, or this key out of [workload]"],
    );
    mistakes(&format!("{head}{WORK}stand_in = false\n"), &[]);
}

#[test]
fn a_target_must_stand_for_something() {
    let text = "[[fault]]\nkind = \"actor_kill\"\ntarget = \"wirter\"\n\
                [[fault]]\nkind = \"provider_reset\"\ntarget = \"lm/*\"\n\
                [[fault]]\nkind = \"platform_reset\"\ntarget = \"platform/*\"\n";
    rest(
        text,
        &[
            "10:10: `wirter` stands for nothing that there is; did you mean `writer`?",
            "13:10: `lm/*` stands for nothing that there is; did you mean `llm/*`?",
        ],
    );
    let text = "[[fault]]\nkind = \"actor_panic\"\ntarget = \"agents\"\n\
                [[fault]]\nkind = \"actor_kill\"\ntarget = \"agents\"\n\
                [[fault]]\nkind = \"actor_flood\"\ntarget = \"ledger\"\nmessages = 9\n\
                [[fault]]\nkind = \"actor_flood\"\ntarget = \"lodger\"\nmessages = 9\n";
    rest(
        text,
        &[
            "10:10: `agents` is a supervisor, which takes no messages that `actor_panic` could strike; aim at a worker \
             or at `run/*`, or take `actor_kill`",
            "16:10: `ledger` takes no messages from outside, so `actor_flood` cannot flood it; aim at `run/*`",
            "20:10: `lodger` stands for nothing that there is; known here: `run/*`",
        ],
    );
    // A running system may have actors that the built-in tree does not name.
    let head = HEAD.replace("[experiment]", "[experiment]\nmodes = [\"live\"]");
    mistakes(&format!("{head}{WORK}[[fault]]\nkind = \"actor_kill\"\ntarget = \"poet\"\n"), &[]);
}

#[test]
fn a_wrong_form_is_told_plainly() {
    mistakes(
        "experiment = 3\n[[workload]]\n",
        &[
            "1:14: `experiment` is no table; write it once, as [experiment]",
            "2:1: `workload` is no table; write it once, as [workload]",
        ],
    );
    mistakes(
        &format!(
            "fault = 3\nsteady = [1]\n{HEAD}{WORK}[invariant]\nuse = \"no_lost_run\"\n[sometimes]\nuse = []\n\
             [[swarm]]\neach_fault_off = 0.5\n[[swarm]]\neach_fault_off = nan\n"
        ),
        &[
            "1:9: `fault` is no table; write each as [[fault]]",
            "2:11: `steady` is no table; write each as [[steady]]",
            "11:7: `use` must be a list; write `use = [\"…\"]`",
            "13:7: `use` is empty; name one at least, or take it away",
            "16:1: there is a swarm already; keep one of them",
            "17:18: `each_fault_off` is a share, so it must be a number from 0 to 1; 0.3 is three of ten",
        ],
    );
    rest(
        "[[steady]]\nprobe = \"ready\"\nmin = 2\nmax = 1\n[report]\nformats = [\"html\"]\n",
        &[
            "10:7: `min` is 2 and `max` is 1, so nothing can hold; exchange the two",
            "13:12: unknown format `html`; known here: `json`, `md`, `junit`",
        ],
    );
}

#[test]
fn mistakes_of_syntax_come_alone_and_all_at_once() {
    let found = read("x.toml", "[experiment]\nname = \"x\nquiet = 3\n[experiment]\n").unwrap_err();
    let lines: Vec<usize> = found.iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 4], "{found:?}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load(Path::new("no/such.toml")).unwrap_err();
    assert_eq!(error.to_string(), "the experiment `no/such.toml` cannot be read");
    assert!(std::error::Error::source(&error).is_some());
}

/// The experiments that are shipped, by name.
fn shipped() -> Vec<Experiment> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| load(path).unwrap_or_else(|error| panic!("{error}"))).collect()
}

#[test]
fn the_shipped_experiments_are_sound() {
    const NAMES: [&str; 16] = [
        "approval-under-crash",
        "breaker-flap",
        "budget-race",
        "clock-jump",
        "crash-in-recovery",
        "crash-mid-post",
        "disk-full",
        "hang",
        "mailbox-flood",
        "outage-of-everything",
        "poison-message",
        "provider-storm",
        "slow-provider",
        "stand-in",
        "torn-write",
        "tree-meltdown",
    ];
    let experiments = shipped();
    let names: Vec<&str> = experiments.iter().map(|experiment| experiment.name.as_str()).collect();
    assert_eq!(names, NAMES);
    for experiment in &experiments {
        let name = &experiment.name;
        assert!(experiment.modes.contains(&Mode::Sim), "{name}");
        assert!(!experiment.sometimes.is_empty(), "{name} proves nothing");
        let plans: Vec<_> = (0..50).map(|seed| crate::plan::expand(experiment, seed)).collect();
        for plan in &plans {
            assert_eq!(plan.workload.arrivals.len(), experiment.workload.runs as usize, "{name}");
            assert!(plan.faults.iter().all(|planned| planned.at_ms < plan.duration_ms), "{name}");
        }
        assert!(plans.iter().any(|plan| !plan.faults.is_empty()), "{name}");
        assert!(plans.windows(2).all(|pair| pair[0].workload != pair[1].workload), "{name}");
    }
}

#[test]
fn together_the_shipped_experiments_aim_at_everything() {
    let experiments = shipped();
    let invariants: BTreeSet<_> = experiments.iter().flat_map(|experiment| &experiment.invariants).collect();
    let sometimes: BTreeSet<_> = experiments.iter().flat_map(|experiment| &experiment.sometimes).collect();
    let kinds: BTreeSet<_> =
        experiments.iter().flat_map(|experiment| &experiment.faults).map(|spec| spec.kind).collect();
    assert_eq!(invariants.into_iter().copied().collect::<Vec<_>>(), Invariant::ALL);
    assert_eq!(sometimes.into_iter().copied().collect::<Vec<_>>(), Sometimes::ALL);
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), Kind::ALL);
}

#[test]
fn the_readme_names_everything_that_can_be_written() {
    let readme = include_str!("../../README.md");
    let names = Kind::ALL.map(Kind::name).into_iter().chain(Invariant::ALL.map(Invariant::name));
    let names = names.chain(Sometimes::ALL.map(Sometimes::name)).chain(Probe::ALL.map(Probe::name));
    let names = names.chain(crate::fault::Point::ALL.map(crate::fault::Point::name));
    for name in names {
        assert!(readme.contains(&format!("`{name}`")), "the README does not name `{name}`");
    }
}

#[test]
fn the_readmes_experiment_is_sound() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let experiment = read("mine.toml", text).unwrap();
    assert_eq!((experiment.name.as_str(), experiment.faults.len()), ("mine", 2));
    // The mistakes that it shows are those that would be told.
    let wrong = text.replace("retry_after", "retry_aftr").replace("10s..40s", "40s..10s");
    for mistake in read("mine.toml", &wrong).unwrap_err() {
        assert!(readme.contains(&mistake.to_string()), "{mistake}");
    }
}
