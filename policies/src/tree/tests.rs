use super::*;
use crate::choice::{Choose, PoolPolicy};
use crate::{
    failure::FailureClass,
    intensity::Then,
    mailbox::WhenFull,
    reaction::{Action, Amendment, Reaction},
};

#[track_caller]
fn mistakes(text: &str, expected: &[&str]) {
    let found = TreePolicy::read("tree.toml", text).err().unwrap_or_default();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_builtin_tree_stands() {
    let tree = TreePolicy::builtin().unwrap();
    let order = tree.start_order();
    assert_eq!(order.len(), tree.nodes.len(), "{order:?}");
    assert_eq!(order[..2], ["callboard", "ledger"]);
    assert_eq!(tree.parent("writer"), Some("agents"));
    assert_eq!(tree.parent("callboard"), None);
    assert_eq!(tree.dynamic("runs").unwrap().limit, 10_000);
    assert_eq!(tree.supervisor("callboard").unwrap().strategy, Strategy::RestForOne);
}

#[test]
fn the_builtin_tree_says_what_is_done_without_it_too() {
    let tree = TreePolicy::builtin().unwrap();
    assert_eq!(tree.reactions("writer"), Reactions::default());
    assert_eq!(tree.child_reactions("runs"), Reactions::default());
}

#[test]
fn what_is_left_out_has_a_default() {
    let tree =
        TreePolicy::read("tree.toml", "root = 'a'\n[supervisor.a]\nchildren = ['b', 'c']\n[worker.b]\n[dynamic.c]\n")
            .unwrap();
    assert_eq!(tree.supervisor("a").unwrap().intensity, Intensity::default());
    assert_eq!(tree.worker("b"), Some(&WorkerPolicy::default()));
    assert_eq!(tree.dynamic("c"), Some(&DynamicPolicy::default()));
    assert_eq!(tree.node("b").unwrap().shutdown(), Some(Span::from_secs(5)));
    assert_eq!(tree.node("a").unwrap().shutdown(), None);
    assert_eq!((tree.worker("a"), tree.supervisor("b"), tree.dynamic("a")), (None, None, None));
    assert!(tree.nodes.values().all(|node| !node.significant() && node.restart() == RestartKind::Permanent));
    assert!(tree.nodes.values().all(|node| node.backoff() == Backoff::default()));
}

#[test]
fn every_field_of_a_worker_is_read() {
    let text = r#"
        root = "a"
        [supervisor.a]
        children = ["b"]
        auto_shutdown = "any_significant"
        [worker.b]
        restart = "transient"
        shutdown = "1s"
        mailbox = 7
        poison = { deaths = 4 }
        backoff = { first = "1ms", factor = 3.0, cap = "9s", jitter = 0.0 }
        significant = true
        liveness = { progress_within = "2m" }
        allowance = { restarts = 3, within = "1m", then = "park" }
        on.bug = { action = "park" }
        breaker = { failures = 2 }
        rate = "60/min"
        pool = { models = ["a"], choose = "best" }
        fallback = ["model/local"]
    "#;
    let tree = TreePolicy::read("tree.toml", text).unwrap();
    let expected = WorkerPolicy {
        restart: RestartKind::Transient,
        shutdown: Span::from_secs(1),
        mailbox: MailboxPolicy::of(7),
        poison: PoisonPolicy { deaths: 4, ..PoisonPolicy::default() },
        backoff: Backoff { first: Span::from_millis(1), factor: 3.0, cap: Span::from_secs(9), jitter: 0.0 },
        significant: true,
        liveness: Some(Liveness::within(Span::from_secs(120))),
        allowance: Some(Allowance { restarts: 3, within: Span::from_secs(60), then: Then::Park }),
        on: [(FailureClass::Bug, Amendment { action: Some(Action::Park), ..Amendment::default() })]
            .into_iter()
            .collect(),
        breaker: Some(BreakerPolicy { failures: 2, ..BreakerPolicy::default() }),
        rate: "60/min".parse().ok(),
        pool: Some(PoolPolicy { models: vec!["a".to_owned()], choose: Choose::Best, quality_min: None }),
        fallback: vec!["model/local".parse().unwrap()],
    };
    assert_eq!(tree.worker("b"), Some(&expected));
}

#[test]
fn what_failures_lead_to_comes_from_the_tree_and_then_from_the_worker() {
    let text = r#"
        root = "a"
        [on.provider_down]
        wait = "7s"
        [on.bug]
        action = "park"
        [supervisor.a]
        children = ["b", "c", "d"]
        [worker.b]
        on.provider_down.action = "stop"
        [worker.c]
        [dynamic.d]
        child.on.bug.action = "stop"
    "#;
    let tree = TreePolicy::read("tree.toml", text).unwrap();
    let down = |name: &str| tree.reactions(name).to(FailureClass::ProviderDown);
    let paused = Reaction { action: Action::Pause, counts: false, wait: Span::from_secs(7) };
    assert_eq!((down("b"), down("c")), (Reaction { action: Action::Stop, ..paused }, paused));
    assert_eq!(tree.reactions("a").to(FailureClass::Bug).action, Action::Park);
    assert_eq!(tree.child_reactions("d").to(FailureClass::Bug).action, Action::Stop);
}

#[test]
fn a_typo_in_a_class_is_found_where_it_stands() {
    mistakes(
        "root = 'a'\n[supervisor.a]\n[on.provider_dwn]\naction = \"pause\"\n",
        &["tree.toml:3:5: unknown variant `provider_dwn`; did you mean `provider_down`?"],
    );
}

#[test]
fn a_typo_is_found_where_it_stands() {
    mistakes(
        "root = 'a'\n[supervisor.a]\nchidren = []\n",
        &["tree.toml:3:1: unknown field `chidren`; did you mean `children`?"],
    );
    mistakes(
        "root = 'a'\n[supervisor.a]\nstrategy = 'none_for_one'\n[worker.b]\nshutdown = 5\n",
        &[
            "tree.toml:3:12: unknown variant `none_for_one`; did you mean `one_for_one`?",
            "tree.toml:5:12: invalid type: integer `5`, expected a length of time such as \"30s\"",
        ],
    );
    mistakes("root = 'a'\n[worke.b]\n", &["tree.toml:2:2: unknown field `worke`; did you mean `worker`?"]);
}

#[test]
fn an_unknown_child_is_found() {
    mistakes(
        "root = 'a'\n[supervisor.a]\nchildren = ['writr']\n[worker.writer]\n",
        &[
            "tree.toml:3:13: unknown child `writr` of `a`; did you mean `writer`? If not, declare [worker.writr]",
            "tree.toml:4:9: `writer` is not reached from the root `a`; add it to the children of a supervisor, or take it out",
        ],
    );
}

#[test]
fn a_child_has_one_parent() {
    mistakes(
        "root = 'a'\n[supervisor.a]\nchildren = ['b', 'c', 'c']\n[supervisor.b]\nchildren = ['c']\n[worker.c]\n",
        &[
            "tree.toml:3:23: `c` is twice a child of `a`; name it once",
            "tree.toml:5:13: `c` is a child of `a` and of `b`; name it once",
        ],
    );
}

#[test]
fn a_name_is_declared_once() {
    mistakes(
        "root = 'a'\n[supervisor.a]\nchildren = ['b']\n[worker.b]\n[dynamic.b]\n",
        &["tree.toml:4:9: `b` is declared twice; rename one of the two"],
    );
}

#[test]
fn cycles_are_found() {
    mistakes(
        "root = 'a'\n[supervisor.a]\nchildren = ['b']\n[supervisor.b]\nchildren = ['a']\n",
        &["tree.toml:2:13: the children make a cycle: a → b → a; take `a` out of the children of `b`"],
    );
    mistakes(
        "root = 'a'\n[supervisor.a]\n[supervisor.b]\nchildren = ['c']\n[supervisor.c]\nchildren = ['b', 'd']\n[worker.d]\n",
        &["tree.toml:3:13: the children make a cycle: b → c → b; take `b` out of the children of `c`"],
    );
}

#[test]
fn the_root_is_a_supervisor() {
    mistakes(
        "root = 'callbord'\n[supervisor.callboard]\n",
        &[
            "tree.toml:1:8: the root `callbord` is not a supervisor; did you mean `callboard`?",
            "tree.toml:2:13: `callboard` is not reached from the root `callbord`; add it to the children of a supervisor, or take it out",
        ],
    );
}

#[test]
fn a_significant_child_must_be_able_to_matter() {
    mistakes(
        "root = 'a'\n[supervisor.a]\nchildren = ['b']\n[worker.b]\nsignificant = true\n",
        &[
            "tree.toml:3:13: `b` is significant but permanent, so it never ends for good; give it restart = \"transient\" or \"temporary\"",
            "tree.toml:3:13: `b` is significant but its supervisor never shuts down by itself; give the supervisor auto_shutdown = \"any_significant\" or \"all_significant\"",
        ],
    );
}

#[test]
fn starts_depth_first() {
    let text = "root='a'\n[supervisor.a]\nchildren=['s','z']\n[supervisor.s]\nchildren=['y','x']\n[worker.x]\n[worker.y]\n[worker.z]\n";
    assert_eq!(TreePolicy::read("tree.toml", text).unwrap().start_order(), ["a", "s", "y", "x", "z"]);
}

#[test]
fn a_cycle_made_by_hand_does_not_hang() {
    let loops = SupervisorPolicy { children: vec!["a".to_owned()], ..SupervisorPolicy::default() };
    let on = Amendments::default();
    let tree = TreePolicy { root: "a".to_owned(), on, nodes: [("a".to_owned(), NodePolicy::Supervisor(loops))].into() };
    assert_eq!(tree.start_order(), ["a"]);
}

#[test]
fn a_mistake_in_what_is_inherited_is_told_once_and_where_it_stands() {
    let nodes = "root = 'a'\n[supervisor.a]\nchildren = ['b', 'c']\n[worker.b]\n[worker.c]\n";
    mistakes(
        &format!("{nodes}[default.worker]\nmailbx = 1\n"),
        &["tree.toml:7:1: unknown field `mailbx`; did you mean `mailbox`?"],
    );
    mistakes(
        &format!("{nodes}[default.workr]\nmailbox = 1\n[supervisor.a.child]\nshutdown = 3\n"),
        &[
            "tree.toml:6:10: unknown kind of node `workr`; did you mean `worker`?",
            "tree.toml:9:12: invalid type: integer `3`, expected a length of time such as \"30s\"",
        ],
    );
    mistakes(&format!("default = 1\n{nodes}"), &["tree.toml:1:11: `default` is no table; write [default.worker]"]);
}

#[test]
fn what_is_inherited_may_be_completed_by_who_inherits_it() {
    let text = "root = 'a'\n[default.worker]\nliveness.progress_within = '5s'\n[supervisor.a]\nchildren = ['b']\n[worker.b]\nliveness.calling_within = '9s'\n";
    let liveness = TreePolicy::read("tree.toml", text).unwrap().worker("b").unwrap().liveness.unwrap();
    assert_eq!((liveness.progress_within, liveness.calling_within), (Span::from_secs(5), Some(Span::from_secs(9))));
}

/// The mistakes of a tree of agents with these lists of stand-ins.
#[track_caller]
fn stand_ins(workers: &str, expected: &[&str]) {
    mistakes(&format!("root = 'a'\n[supervisor.a]\nchildren = ['b', 'c']\n{workers}"), expected);
}

#[test]
fn a_stand_in_that_cannot_stand_in_is_found_where_it_stands() {
    stand_ins(
        "[worker.b]\nfallback = ['agent/b', 'agent/d', 'model/x', 'model/x', 'local']\n[worker.c]\n",
        &["tree.toml:5:57: `local` is no stand-in; write agent/ or model/ and a name, such as \"model/local\""],
    );
    stand_ins(
        "[worker.b]\nfallback = ['agent/b', 'agent/cc', 'model/x', 'model/x']\n[worker.c]\n",
        &[
            "tree.toml:5:13: `b` cannot stand in for itself; name another agent, or a model as \"model/NAME\"",
            "tree.toml:5:24: there is no agent `cc` to stand in for `b`; did you mean `c`?",
            "tree.toml:5:47: `model/x` stands in for `b` twice; name it once",
        ],
    );
    let many: Vec<String> = (0..9).map(|n| format!("'model/{n}'")).collect();
    stand_ins(
        &format!("[worker.b]\nfallback = [{}]\n[worker.c]\n", many.join(", ")),
        &["tree.toml:5:101: `b` has more than 8 stand-ins; name fewer"],
    );
}

#[test]
fn stand_ins_that_lead_back_are_found_at_each_that_does() {
    stand_ins(
        "[worker.b]\nfallback = ['model/x', 'agent/c']\n[worker.c]\nfallback = ['agent/b']\n",
        &[
            "tree.toml:5:24: the stand-ins go round in a circle: b → c → b; take one of them out of its list",
            "tree.toml:7:13: the stand-ins go round in a circle: c → b → c; take one of them out of its list",
        ],
    );
    stand_ins("[worker.b]\nfallback = ['agent/c', 'model/x']\n[worker.c]\nfallback = ['model/x']\n", &[]);
}

#[test]
fn stand_ins_are_inherited_as_a_whole_list() {
    let text = "root = 'a'\n[supervisor.a]\nchildren = ['b', 'c']\n[supervisor.a.child]\nfallback = ['model/x', 'model/y']\n[worker.b]\n[worker.c]\nfallback = []\n";
    let tree = TreePolicy::read("tree.toml", text).unwrap();
    let told = |name: &str| tree.fallback(name).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((told("b"), told("c")), (vec!["model/x".to_owned(), "model/y".to_owned()], vec![]));
    assert!(tree.fallback("a").is_empty());
}

#[test]
fn a_budget_in_the_tree_is_told_where_it_belongs() {
    let message =
        "the tree limits no spending, so this `budget` would hold nobody; take it out, and limit in budget.toml";
    let all = "each agent with `agent = \"$10.00\"`, or one under [agents]";
    mistakes(
        "root = 'a'\n[supervisor.a]\nchildren = ['b', 'c']\nchild.budget = '$1'\n[worker.b]\nbudget = '$2.00'\n\
         [dynamic.c]\nchild = { budget = 5 }\n[default.worker]\nbudget = '$3'\n",
        &[
            &format!("tree.toml:4:7: {message} {all}"),
            &format!("tree.toml:6:1: {message} under [agents], as `b = \"$10.00\"`"),
            &format!("tree.toml:8:11: {message} each run with `run = \"$2.00\"`"),
            &format!("tree.toml:10:1: {message} {all}"),
        ],
    );
}

#[test]
fn a_mailbox_that_is_a_number_is_joined_with_what_else_is_said_of_it() {
    let text = "root = 'a'\n[default.worker]\nmailbox = 7\n[supervisor.a]\nchildren = ['b', 'c']\n[supervisor.a.child]\nmailbox.when_full = 'block'\n[worker.b]\n[worker.c]\nmailbox = 9\n";
    let tree = TreePolicy::read("tree.toml", text).unwrap();
    let mailbox = |name: &str| tree.worker(name).unwrap().mailbox;
    assert_eq!((mailbox("b").bound, mailbox("b").when_full), (7, WhenFull::Block));
    assert_eq!((mailbox("c").bound, mailbox("c").when_full), (9, WhenFull::Block));
}

#[test]
fn a_mistake_in_a_mailbox_or_in_what_is_poison_is_found_where_it_stands() {
    mistakes(
        "root = 'a'\n[supervisor.a]\nchildren = ['b']\n[worker.b]\nmailbox = { bound = 3, when_full = 'blok' }\npoison.deaths = 0\n",
        &[
            "tree.toml:5:36: unknown variant `blok`; did you mean `block`?",
            "tree.toml:6:17: a message cannot be allowed 0 deaths; write a number from 1 to 1000",
        ],
    );
}

#[test]
fn what_is_wrong_with_a_pool_is_told_where_it_stands() {
    let told = |pool: &str| {
        let text = format!("root = \"a\"\n[supervisor.a]\nchildren = [\"b\"]\n[worker.b]\n{pool}\n");
        TreePolicy::read("tree.toml", &text).map(drop).map_err(|errors| crate::document::lines(&errors)).err()
    };
    for (pool, wanted) in [
        ("pool.models = []", "tree.toml:5:15: the pool of `b` is empty; name a model, or take it out"),
        ("pool.models = [\"x\", \"y\", \"x\"]", "tree.toml:5:26: `x` is in the pool of `b` twice; name it once"),
        (
            "pool = { models = [\"x\"], choose = { price = 0 } }",
            "tree.toml:5:35: the weights of the pool of `b` weigh nothing; give one of price, quality and latency more than 0",
        ),
        (
            "pool.models = [\"x\"]\nfallback = [\"model/x\"]",
            "tree.toml:6:13: `x` is in the pool of `b`, so it cannot stand in for it; name it in one of the two",
        ),
        (
            "pool = { model = [\"x\"], models = [\"y\"] }",
            "tree.toml:5:10: unknown field `model`; did you mean `models`?",
        ),
    ] {
        assert_eq!(told(pool).as_deref(), Some(wanted), "{pool}");
    }
    assert_eq!(told("pool = { models = [\"x\", \"y\"], choose = { price = 1 } }"), None);
}
