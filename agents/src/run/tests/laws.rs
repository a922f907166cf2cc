//! Laws of runs: whatever the workflow, the order of completion, the failures
//! and the crashes, a run comes to the same end.

use policies::failure::FailureClass;
use policies::retry::RetryPolicy;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;

/// The shape of a step.
#[derive(Clone, Debug)]
enum Shape {
    Agent,
    Tool,
    Mail,
    Compute,
    Approve,
    Publish,
    Parallel(Vec<Shape>),
    Sequence(Vec<Shape>),
    Map(u8, Vec<Shape>),
    Branch(Vec<Shape>, Vec<Shape>),
    Loop(u8, Vec<Shape>),
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let leaf = prop_oneof![
        3 => Just(Shape::Agent),
        2 => Just(Shape::Tool),
        1 => Just(Shape::Mail),
        1 => Just(Shape::Compute),
        1 => Just(Shape::Approve),
        1 => Just(Shape::Publish),
    ];
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            some().prop_map(Shape::Parallel),
            some().prop_map(Shape::Sequence),
            (0_u8..4, some()).prop_map(|(items, steps)| Shape::Map(items, steps)),
            (some(), some()).prop_map(|(then, otherwise)| Shape::Branch(then, otherwise)),
            (1_u8..4, some()).prop_map(|(times, steps)| Shape::Loop(times, steps)),
        ]
    });
    prop::collection::vec(tree, 1..4)
}

/// Writes shapes as a workflow in which each step uses the one before it.
struct Printer {
    ids: usize,
}

impl Printer {
    fn workflow(shapes: &[Shape]) -> Arc<Workflow> {
        let mut printer = Self { ids: 0 };
        let (ids, steps) = printer.list(shapes, None);
        let outputs: Vec<String> = ids.iter().map(|id| format!("{id} = \"steps.{id}\"")).collect();
        workflow(&format!("name = \"random\"\nsteps = {steps}\noutputs = {{ {} }}\n", outputs.join(", ")))
    }

    fn list(&mut self, shapes: &[Shape], mut last: Option<String>) -> (Vec<String>, String) {
        let mut ids = Vec::new();
        let mut texts = Vec::new();
        for shape in shapes {
            let (id, text) = self.step(shape, last.as_deref());
            last = Some(id.clone());
            ids.push(id);
            texts.push(text);
        }
        (ids, format!("[{}]", texts.join(", ")))
    }

    fn step(&mut self, shape: &Shape, last: Option<&str>) -> (String, String) {
        self.ids += 1;
        let id = format!("s{}", self.ids);
        let seen = last.map_or("run.id".to_owned(), |last| format!("steps.{last}"));
        let inner = last.map(str::to_owned);
        let body = match shape {
            Shape::Agent => {
                format!("kind = \"agent\", agent = \"writer\", prompt = \"{{{{ {seen} }}}}\", output_max = 9")
            }
            Shape::Tool => format!("kind = \"tool\", tool = \"context.search\", with = {{ q = \"{seen}\" }}"),
            Shape::Mail => format!("kind = \"tool\", tool = \"mail.send\", with = {{ q = \"{seen}\" }}"),
            Shape::Compute => format!("kind = \"compute\", with = {{ v = \"{seen}\" }}"),
            Shape::Approve => format!("kind = \"approve\", what = \"{{{{ {seen} }}}}\""),
            Shape::Publish => {
                format!(
                    "kind = \"publish\", publisher = \"feed\", post = {{ title = \"'t'\", text = \"{seen}|string\" }}"
                )
            }
            Shape::Parallel(shapes) => {
                let texts: Vec<String> = shapes.iter().map(|shape| self.step(shape, last).1).collect();
                format!("kind = \"parallel\", steps = [{}]", texts.join(", "))
            }
            Shape::Sequence(shapes) => format!("kind = \"sequence\", steps = {}", self.list(shapes, inner).1),
            Shape::Map(items, shapes) => {
                format!("kind = \"map\", over = \"range({items})\", as = \"n\", steps = {}", self.list(shapes, inner).1)
            }
            Shape::Branch(then, otherwise) => {
                let then = self.list(then, inner.clone()).1;
                let otherwise = self.list(otherwise, inner).1;
                format!("kind = \"branch\", when = \"'f' in {seen}|string\", then = {then}, else = {otherwise}")
            }
            Shape::Loop(times, shapes) => {
                let (ids, steps) = self.list(shapes, inner);
                let last = ids.last().cloned().unwrap_or_default();
                format!("kind = \"loop\", times_max = {times}, until = \"'f' in steps.{last}|string\", steps = {steps}")
            }
        };
        (id.clone(), format!("{{ id = \"{id}\", {body} }}"))
    }
}

/// Choices in the order in which they are asked for, repeated for ever.
struct Choices {
    list: Vec<u16>,
    next: usize,
}

impl Choices {
    fn below(&mut self, count: usize) -> usize {
        self.next += 1;
        let choice = self.list.get(self.next % self.list.len().max(1)).copied().unwrap_or(0);
        // The position keeps a short list from failing the same step for ever.
        (usize::from(choice) + self.next / self.list.len().max(1)) % count
    }
}

/// A host that never gives up.
fn stubborn() -> Host {
    Host { retry: RetryPolicy { attempts_max: 1_000, ..RetryPolicy::default() }, ..Host::new() }
}

fn stubborn_with(workflow: &Arc<Workflow>) -> Host {
    let mut host = stubborn();
    host.tell(Act::Accept(order(workflow, Terms::default()))).unwrap();
    host
}

/// One step of a world in which much goes wrong.
fn stumble(host: &mut Host, choices: &mut Choices) {
    host.grants = choices.below(4) > 0;
    let open = host.open();
    if open.is_empty() {
        host.grants = true;
        let in_doubt = host.state.leaves.values().find(|leaf| matches!(leaf.phase, Phase::Parked(_))).cloned();
        if let Some(Leaf { key: Some(key), phase: Phase::Parked(hold), .. }) = in_doubt {
            if let Some(letter) = hold.letter().filter(|_| !hold.is_doubtful()).cloned() {
                host.tell(Act::Replay { letter, by: "ann".to_owned() }).unwrap();
                return;
            }
            let landed = hold.request().filter(|_| choices.below(2) == 0).map(|request| output(&answer(request)));
            host.tell(Act::Settle { key, landed, by: "ann".to_owned() }).unwrap();
        } else {
            host.now = host.state.retry_due().map_or(host.now, |due| due.micros().max(host.now));
            host.tell(Act::StartReady).unwrap();
        }
        return;
    }
    let intent = &open[choices.below(open.len())];
    let told = match choices.below(8) {
        0 => {
            let (message, retry_after) = ("down".to_owned(), None);
            host.resolve(intent, EffectOutcome::Failed { class: FailureClass::ProviderDown, message, retry_after })
        }
        1 => host.lose(vec![attempt(intent)]),
        2 => host.kill(intent, true),
        _ => host.resolve(intent, answer(&intent.request)),
    };
    told.unwrap();
}

fn output(outcome: &EffectOutcome) -> Value {
    match outcome {
        EffectOutcome::Ok { output } => Value::clone(output),
        other => panic!("{other:?}"),
    }
}

/// Brings a run to its end through a world in which much goes wrong.
fn bring_to_end(host: &mut Host, choices: &mut Choices) -> Result<(), TestCaseError> {
    for _ in 0..5_000 {
        if host.state.end.is_some() {
            return Ok(());
        }
        stumble(host, choices);
    }
    Err(TestCaseError::fail(format!("no end: {:?}", host.state.leaves)))
}

fn fold(appends: &[Vec<Event>]) -> State {
    let mut state = State::default();
    for event in appends.iter().flatten() {
        Run::evolve(&mut state, event);
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_order_and_every_mishap_comes_to_the_same_end(shapes in shapes(), list in prop::collection::vec(any::<u16>(), 1..40)) {
        let workflow = Printer::workflow(&shapes);
        let mut calm = stubborn_with(&workflow);
        calm.play();
        let mut stormy = stubborn();
        let mut choices = Choices { list, next: 0 };
        stormy.grants = choices.below(2) == 0;
        stormy.tell(Act::Accept(order(&workflow, Terms::default()))).unwrap();
        bring_to_end(&mut stormy, &mut choices)?;
        prop_assert_eq!(stormy.outputs(), calm.outputs());
        prop_assert_eq!(&stormy.state.outcomes, &calm.state.outcomes);

        // The fold of what was written is the state, and a snapshot loses nothing.
        prop_assert_eq!(&fold(&stormy.appends), &stormy.state);
        let snapshot = serde_json::to_vec(&stormy.state).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<State>(&snapshot).unwrap(), &stormy.state);
        let open: Vec<_> = stormy.letters.iter().filter_map(|event| match event {
            letters::Event::Dead(letter) => Some((letter.id.clone(), letter.deaths.len())),
            _ => None,
        }).collect();
        // Each letter was dealt with once, and has its history.
        prop_assert!(open.iter().all(|(_, deaths)| *deaths >= 1));
        prop_assert_eq!(stormy.letters.len(), 2 * open.len());
        let resolved = stormy.appends.iter().flatten().filter(|event| matches!(event, Event::Resolved(_))).count();
        prop_assert_eq!(stormy.state.cost, Money::from_nanos(10 * resolved as u64));
    }

    #[test]
    fn from_every_prefix_the_end_is_the_same(shapes in shapes(), list in prop::collection::vec(any::<u16>(), 1..40), cut: prop::sample::Index) {
        let workflow = Printer::workflow(&shapes);
        let mut choices = Choices { list, next: 0 };
        let mut whole = stubborn_with(&workflow);
        bring_to_end(&mut whole, &mut choices)?;
        let kept = 1 + cut.index(whole.appends.len());
        let mut host = Host { state: fold(&whole.appends[..kept]), appends: whole.appends[..kept].to_vec(), ..stubborn() };
        host.now = whole.now;
        // A crash: whatever was under way is lost.
        let attempts = host.open().iter().map(attempt).collect();
        host.lose(attempts).unwrap();
        bring_to_end(&mut host, &mut choices)?;
        prop_assert_eq!(host.outputs(), whole.outputs());
    }

    #[test]
    fn an_attempt_is_intended_once_and_resolved_once(shapes in shapes(), list in prop::collection::vec(any::<u16>(), 1..40)) {
        let mut host = stubborn_with(&Printer::workflow(&shapes));
        bring_to_end(&mut host, &mut Choices { list, next: 0 })?;
        let mut open = BTreeMap::new();
        let mut attempts = BTreeMap::new();
        for event in host.appends.iter().flatten() {
            match event {
                Event::Intended(intent) => {
                    let before = attempts.insert(intent.path.clone(), intent.attempt);
                    prop_assert_eq!(intent.attempt, before.unwrap_or(0) + 1);
                    prop_assert!(open.insert(intent.path.clone(), intent.key.clone()).is_none());
                }
                Event::Resolved(resolved) => {
                    prop_assert_eq!(open.remove(&resolved.path), Some(resolved.key.clone()));
                }
                _ => {}
            }
        }
        prop_assert!(open.is_empty());
    }
}
