//! What faults do to the model. Invariant: what was in flight is charged at its worst case, and what
//! was durable stays.

use std::time::Duration;

use policies::breaker::Outcome;
use policies::intensity::{Verdict, Window};
use policies::tree::TreePolicy;

use super::model::{Due, MILLI, Model, closed};
use crate::fault::{DiskEffect, Fault, Loss, Point};
use crate::history::Seen;

/// What a call that was dropped is charged.
const WORST: u64 = 200_000;
const BOOT_US: u64 = 300 * MILLI;
const RESTART_US: u64 = 200 * MILLI;

impl Model {
    pub(super) fn strike(&mut self, index: usize) {
        let planned = self.plan.faults[index].clone();
        let number = planned.number;
        match planned.fault {
            Fault::Crash { point, loss, .. } => {
                self.see(Seen::Struck { number });
                self.crash(point, loss);
            }
            Fault::Actor { .. } if self.up => {
                self.see(Seen::Struck { number });
                self.restart();
            }
            Fault::Disk { effect: DiskEffect::Full { for_ms } } => {
                self.see(Seen::Struck { number });
                self.full_until = self.now + for_ms * MILLI;
            }
            Fault::Clock { .. } => self.see(Seen::Struck { number }),
            // Those strike at the calls and posts that they hit.
            Fault::Provider { .. } | Fault::Platform { .. } | Fault::Actor { .. } | Fault::Disk { .. } => {}
        }
    }

    fn crash(&mut self, point: Option<Point>, loss: Loss) {
        self.see(Seen::Crashed { point, loss });
        self.up = false;
        self.crashes += 1;
        self.drop_flights();
        self.after(BOOT_US, Due::Boot(self.crashes));
    }

    fn drop_flights(&mut self) {
        for run in &mut self.runs {
            if run.begin_anew() {
                self.charged += WORST;
                let now = Duration::from_micros(self.now);
                self.breaker.record(self.breaker.epoch(), Outcome::Unclear, Duration::ZERO, now);
            }
        }
    }

    pub(super) fn boot(&mut self, crashes: u32) {
        if crashes != self.crashes {
            return;
        }
        self.up = true;
        self.life += 1;
        self.breaker = closed();
        self.windows.clear();
        self.see(Seen::Ready { life: self.life });
        self.see(Seen::Depth { child: "writer".to_owned(), queued: 3, max: 256 });
        self.go_on_all(MILLI);
    }

    fn go_on_all(&mut self, micros: u64) {
        for index in 0..self.runs.len() {
            if self.runs[index].is_under_way() {
                self.go_on(index, micros);
            }
        }
    }

    /// The writer fails; past the intensity of its supervisor, that fails to the root.
    fn restart(&mut self) {
        self.drop_flights();
        if self.exceeds("agents") {
            self.see(Seen::Escalated { supervisor: "agents".to_owned() });
            self.windows.remove("agents");
            assert!(!self.exceeds("callboard"), "the plan lets the root melt");
            self.restarted("agents", "callboard");
        } else {
            self.restarted("writer", "agents");
        }
        self.go_on_all(RESTART_US);
    }

    fn exceeds(&mut self, supervisor: &'static str) -> bool {
        let tree = TreePolicy::builtin().unwrap();
        let intensity = tree.supervisor(supervisor).unwrap().intensity;
        let now = self.elapsed();
        let window = self.windows.entry(supervisor).or_insert_with(|| Window::new(intensity));
        window.record(now) == Verdict::Exceeded
    }

    fn restarted(&mut self, child: &str, supervisor: &str) {
        let (child, supervisor) = (child.to_owned(), supervisor.to_owned());
        self.see(Seen::Restarted { child, supervisor, class: "bug".to_owned() });
    }
}
