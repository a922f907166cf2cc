//! The model's loop: what is due next, and who deals with it. Invariant: time never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policies::breaker::{Breaker, BreakerPolicy};
use policies::intensity::Window;
use policies::money::Money;

use super::Dice;
use super::work::Run;
use crate::history::{History, Seen, Sighting};
use crate::plan::Plan;

pub(super) const MILLI: u64 = 1_000;
pub(super) const SECOND: u64 = 1_000_000;
const LOOK_US: u64 = 500 * MILLI;
pub(super) const GUARD: &str = "model/scripted";

/// What is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The client asks for a run.
    Ask(usize),
    /// The client has its acknowledgement, unless the process died since this life.
    Acknowledge(usize, u32),
    /// A run goes on, unless it was told so again since this turn.
    Go(usize, u32),
    /// A call is answered.
    Answer { run: usize, epoch: u32, call: u64 },
    /// A call fails at the provider.
    Fail { run: usize, epoch: u32, call: u64 },
    /// A call was waited for long enough.
    TimeOut { run: usize, epoch: u32 },
    /// What the run has learned is durable.
    Recorded(usize, u32),
    /// A post reaches the platform.
    Land { run: usize, epoch: u32, lost: bool },
    /// A fault's time has come.
    Strike(usize),
    /// The process is up, unless it died again since.
    Boot(u32),
    /// The client looks at all of its runs.
    Look,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) plan: Plan,
    pub(super) now: u64,
    pub(super) dice: Dice,
    pub(super) runs: Vec<Run>,
    pub(super) up: bool,
    pub(super) life: u32,
    pub(super) crashes: u32,
    pub(super) breaker: Breaker,
    pub(super) windows: BTreeMap<&'static str, Window>,
    pub(super) calls: u64,
    /// What was charged, lost calls at their worst case.
    pub(super) charged: u64,
    pub(super) full_until: u64,
    /// Keys that the platform has.
    pub(super) rows: BTreeSet<String>,
    pub(super) struck: BTreeSet<u32>,
    seen: Vec<Sighting>,
    next: BTreeMap<(u64, u64), Due>,
    ticket: u64,
}

/// Plays a plan to its end.
pub(super) fn play(plan: &Plan) -> History {
    let mut model = Model {
        now: 0,
        dice: Dice::new(plan.seed.rotate_left(17)),
        runs: plan.workload.arrivals.iter().map(|arrival| Run::new(arrival, plan.workload.approval)).collect(),
        up: false,
        life: 0,
        crashes: 0,
        breaker: closed(),
        windows: BTreeMap::new(),
        calls: 0,
        charged: 0,
        full_until: 0,
        rows: BTreeSet::new(),
        struck: BTreeSet::new(),
        seen: Vec::new(),
        next: BTreeMap::new(),
        ticket: 0,
        plan: plan.clone(),
    };
    model.prepare();
    let end_us = (plan.duration_ms + plan.quiet_ms) * MILLI;
    while let Some(((at_us, _), due)) = model.next.pop_first() {
        if at_us > end_us {
            break;
        }
        model.now = at_us;
        model.act(due);
    }
    model.now = end_us;
    model.look();
    model.over();
    History { plan: plan.clone(), budget: plan.workload.budget.unwrap_or(Money::ZERO), seen: model.seen, broken: None }
}

pub(super) fn closed() -> Breaker {
    Breaker::new(BreakerPolicy::default())
}

impl Model {
    fn prepare(&mut self) {
        self.after(0, Due::Boot(0));
        self.after(LOOK_US, Due::Look);
        for index in 0..self.plan.workload.arrivals.len() {
            let at_ms = self.plan.workload.arrivals[index].at_ms;
            self.after(at_ms * MILLI, Due::Ask(index));
        }
        for index in 0..self.plan.faults.len() {
            let at_ms = self.plan.faults[index].at_ms;
            self.after(at_ms * MILLI + 1, Due::Strike(index));
        }
    }

    fn act(&mut self, due: Due) {
        match due {
            Due::Ask(run) => self.ask(run),
            Due::Acknowledge(run, life) => self.acknowledge(run, life),
            Due::Go(run, turn) => self.go(run, turn),
            Due::Answer { run, epoch, call } => self.answer(run, epoch, call),
            Due::Fail { run, epoch, call } => self.fail(run, epoch, call),
            Due::TimeOut { run, epoch } => self.time_out(run, epoch),
            Due::Recorded(run, epoch) => self.recorded(run, epoch),
            Due::Land { run, epoch, lost } => self.land(run, epoch, lost),
            Due::Strike(fault) => self.strike(fault),
            Due::Boot(crashes) => self.boot(crashes),
            Due::Look => {
                self.look();
                self.after(LOOK_US, Due::Look);
            }
        }
    }

    pub(super) fn see(&mut self, what: Seen) {
        self.seen.push(Sighting { at_us: self.now, what });
    }

    pub(super) fn after(&mut self, micros: u64, due: Due) {
        self.ticket += 1;
        self.next.insert((self.now + micros, self.ticket), due);
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Whether the run's work was begun anew, or waits for nobody.
    pub(super) fn is_stale(&self, run: usize, epoch: u32) -> bool {
        !self.up || self.runs[run].epoch != epoch
    }

    /// The client looks: at questions, at posts that are held, at ends.
    fn look(&mut self) {
        if !self.up {
            return;
        }
        for index in 0..self.runs.len() {
            if self.runs[index].acknowledged {
                self.look_at(index);
            }
        }
    }

    fn over(&mut self) {
        let open = self.runs.iter().filter(|run| run.acknowledged && run.status.is_none()).count();
        self.see(Seen::Over { tasks: 0, unfinished: open as u64, orphans: 0 });
    }
}
