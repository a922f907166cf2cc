//! What a run does: calls, questions, posts. Invariant: a step that is durable is never done again;
//! one that is in doubt is done as `docs/recovery.md` says.

use std::time::Duration;

use policies::breaker::{Admission, Outcome};
use policies::money::Money;

use super::model::{Due, GUARD, MILLI, Model, SECOND};
use crate::fault::{Fault, PlatformEffect, ProviderEffect};
use crate::history::Seen;
use crate::plan::{Approval, Arrival, Platform};

/// What a call may cost at worst, and what it costs at most.
const WORST: u64 = 200_000;
const COST_MAX: u64 = 180_000;
const ATTEMPTS_MAX: u32 = 4;
const TIME_OUT: u64 = 60 * SECOND;
const REPORTS: u32 = 3;
/// The held posts of one run in so many are left alone by everybody.
const LEFT_ONE_IN: usize = 3;
const INSUFFICIENT_STORAGE: u16 = 507;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Call,
    Question,
    Post,
}

#[derive(Debug)]
pub(super) struct Run {
    key: String,
    id: String,
    steps: Vec<Step>,
    done: usize,
    attempts: u32,
    pub(super) epoch: u32,
    /// Counts when it was told to go on; only the last telling holds.
    turn: u32,
    accepted: bool,
    pub(super) acknowledged: bool,
    pub(super) in_flight: bool,
    /// A post was sent, and its outcome is not known.
    sent: bool,
    held: bool,
    asked: bool,
    told: bool,
    reports: u32,
    pub(super) status: Option<&'static str>,
    posts: Vec<String>,
}

impl Run {
    pub(super) fn new(arrival: &Arrival, approval: Approval) -> Self {
        let post = match approval {
            Approval::Ask => vec![Step::Call, Step::Question, Step::Post],
            Approval::Automatic => vec![Step::Call, Step::Post],
        };
        Self {
            key: arrival.key.clone(),
            id: format!("run-of-{}", arrival.key),
            steps: [vec![Step::Call; 3], post.clone(), post].concat(),
            done: 0,
            attempts: 0,
            epoch: 0,
            turn: 0,
            accepted: false,
            acknowledged: false,
            in_flight: false,
            sent: false,
            held: false,
            asked: false,
            told: false,
            reports: 0,
            status: None,
            posts: Vec::new(),
        }
    }

    /// A post stands in one block with the step before it.
    fn post_key(&self) -> String {
        format!("{}/posts[{}]/publish:post", self.id, self.done - 1)
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.accepted && self.status.is_none() && !self.held
    }

    /// Begins the step under way anew.
    pub(super) fn begin_anew(&mut self) -> bool {
        self.epoch += 1;
        std::mem::take(&mut self.in_flight)
    }
}

impl Model {
    pub(super) fn ask(&mut self, index: usize) {
        let key = self.runs[index].key.clone();
        self.see(Seen::Asked { key: key.clone(), order: format!("all of {key}") });
        if !self.up {
            self.after(SECOND, Due::Ask(index));
        } else if self.now < self.full_until {
            self.see(Seen::Refused { key, status: INSUFFICIENT_STORAGE });
            self.after(5 * SECOND, Due::Ask(index));
        } else {
            if !self.runs[index].accepted {
                self.runs[index].accepted = true;
                self.go_on(index, MILLI);
            }
            // Sometimes the answer is so slow that the run has posted by then.
            let slow = if self.dice.once_in(5) { 20 * SECOND } else { 2 * MILLI };
            self.after(slow, Due::Acknowledge(index, self.life));
        }
    }

    pub(super) fn acknowledge(&mut self, index: usize, life: u32) {
        if !self.up || self.life != life {
            self.after(SECOND, Due::Ask(index));
            return;
        }
        let run = &mut self.runs[index];
        run.acknowledged = true;
        let (key, run) = (run.key.clone(), run.id.clone());
        self.see(Seen::Acknowledged { key, run });
        if self.dice.once_in(4) {
            self.after(3 * SECOND, Due::Ask(index));
        }
    }

    pub(super) fn go_on(&mut self, index: usize, micros: u64) {
        self.runs[index].turn += 1;
        let turn = self.runs[index].turn;
        self.after(micros, Due::Go(index, turn));
    }

    pub(super) fn go(&mut self, index: usize, turn: u32) {
        if !self.up || self.runs[index].turn != turn || !self.runs[index].is_under_way() {
            return;
        }
        if self.now < self.full_until {
            self.go_on(index, self.full_until - self.now);
            return;
        }
        match self.runs[index].steps.get(self.runs[index].done) {
            Some(Step::Call) => self.call(index),
            Some(Step::Question) => self.runs[index].asked = true,
            Some(Step::Post) => self.post(index),
            None => self.runs[index].status = Some("finished"),
        }
    }

    fn call(&mut self, index: usize) {
        let in_flight = self.runs.iter().filter(|run| run.in_flight).count() as u64;
        let budget = self.plan.workload.budget.unwrap_or(Money::ZERO).nanos();
        if self.charged + (in_flight + 1) * WORST > budget || self.runs[index].attempts >= ATTEMPTS_MAX {
            self.runs[index].status = Some("failed");
            return;
        }
        let was = self.breaker.epoch();
        match self.breaker.admit(self.elapsed()) {
            Admission::Go => {}
            Admission::Wait(wait) => return self.go_on(index, wait.as_micros() as u64 + 1),
            Admission::Refused => return self.go_on(index, SECOND),
        }
        if self.breaker.epoch() != was {
            self.moved("half_open");
        }
        self.calls += 1;
        let (run, call) = (&mut self.runs[index], self.calls);
        run.in_flight = true;
        run.attempts += 1;
        let (epoch, content) = (run.epoch, format!("{}#{}", run.id, run.done));
        self.see(Seen::Called { call, content, model: None });
        let key = self.runs[index].key.clone();
        self.see(Seen::CalledFor { call, key });
        if self.hit(|fault| matches!(fault, Fault::Provider { effect: ProviderEffect::Status { .. }, .. })) {
            self.after(50 * MILLI, Due::Fail { run: index, epoch, call });
        } else if self.hit(|fault| matches!(fault, Fault::Provider { effect: ProviderEffect::Lost, .. })) {
            self.see(Seen::Billed { call, cost: Money::from_nanos(COST_MAX) });
            self.after(TIME_OUT, Due::TimeOut { run: index, epoch });
        } else if self.hit(|fault| matches!(fault, Fault::Provider { effect: ProviderEffect::Poison, .. })) {
            self.see(Seen::Failed { call });
            self.runs[index].in_flight = false;
            // A trial that killed its agent says nothing of the provider, and another is made.
            self.feed(Outcome::Unclear);
            let (run, letter) = (self.runs[index].id.clone(), format!("letter-{call}"));
            self.see(Seen::DeadLettered { run, letter: letter.clone() });
            self.see(Seen::Replayed { letter });
            self.go_on(index, SECOND);
        } else {
            let thinks = 50 * MILLI + self.dice.below(3_000) * MILLI;
            self.after(thinks, Due::Answer { run: index, epoch, call });
        }
    }

    /// Whether a fault of that kind is on, which strikes then.
    fn hit(&mut self, kind: impl Fn(&Fault) -> bool) -> bool {
        let now_ms = self.now / MILLI;
        let on = self.plan.faults.iter().find(|planned| match &planned.fault {
            fault @ (Fault::Provider { hits, .. } | Fault::Platform { hits, .. }) => {
                kind(fault) && planned.at_ms <= now_ms && now_ms < planned.at_ms + hits.for_ms
            }
            _ => false,
        });
        let Some(number) = on.map(|planned| planned.number) else { return false };
        if self.struck.insert(number) {
            self.see(Seen::Struck { number });
        }
        true
    }

    fn moved(&mut self, to: &str) {
        self.see(Seen::BreakerMoved { guard: GUARD.to_owned(), to: to.to_owned() });
    }

    /// Tells the breaker how a call ended; one of an earlier epoch changes nothing.
    fn feed(&mut self, outcome: Outcome) {
        let was = self.breaker.epoch();
        let now = self.elapsed();
        self.breaker.record(was, outcome, Duration::ZERO, now);
        if self.breaker.epoch() != was {
            self.moved(if outcome == Outcome::Failed { "open" } else { "closed" });
        }
    }

    pub(super) fn answer(&mut self, index: usize, epoch: u32, call: u64) {
        let stale = self.is_stale(index, epoch);
        // A provider may notice that nobody listens any more, or may not.
        if stale && self.dice.once_in(2) {
            return;
        }
        let cost = COST_MAX / 2 + self.dice.below(COST_MAX / 2);
        self.see(Seen::Billed { call, cost: Money::from_nanos(cost) });
        self.see(Seen::Answered { call });
        if stale {
            return;
        }
        self.charged += cost;
        self.feed(Outcome::Succeeded);
        let run = &mut self.runs[index];
        run.in_flight = false;
        run.attempts = 0;
        self.record(index);
    }

    pub(super) fn fail(&mut self, index: usize, epoch: u32, call: u64) {
        if self.is_stale(index, epoch) {
            return;
        }
        self.see(Seen::Failed { call });
        self.feed(Outcome::Failed);
        self.runs[index].in_flight = false;
        self.go_on(index, SECOND);
    }

    pub(super) fn time_out(&mut self, index: usize, epoch: u32) {
        if self.is_stale(index, epoch) {
            return;
        }
        self.charged += WORST;
        self.feed(Outcome::Failed);
        self.runs[index].in_flight = false;
        self.go_on(index, SECOND);
    }

    fn record(&mut self, index: usize) {
        let epoch = self.runs[index].epoch;
        let room = self.full_until.saturating_sub(self.now);
        self.after(room + 5 * MILLI, Due::Recorded(index, epoch));
    }

    pub(super) fn recorded(&mut self, index: usize, epoch: u32) {
        if self.is_stale(index, epoch) {
            return;
        }
        let run = &mut self.runs[index];
        if run.steps.get(run.done) == Some(&Step::Post) {
            let key = run.post_key();
            run.posts.push(key);
            run.sent = false;
        }
        run.done += 1;
        self.go_on(index, MILLI);
    }

    fn post(&mut self, index: usize) {
        let run = &mut self.runs[index];
        let key = run.post_key();
        if std::mem::replace(&mut run.sent, true) {
            if self.plan.workload.platform == Platform::Careless {
                run.held = true;
                return;
            }
            let found = self.rows.contains(&key);
            self.see(Seen::LookedUp { key, found });
            if found {
                return self.record(index);
            }
        }
        let lost = self.hit(|fault| matches!(fault, Fault::Platform { effect: PlatformEffect::Lost, .. }));
        let epoch = self.runs[index].epoch;
        self.after(50 * MILLI, Due::Land { run: index, epoch, lost });
    }

    /// What was sent lands, whether its sender is still there or not.
    pub(super) fn land(&mut self, index: usize, epoch: u32, lost: bool) {
        let run = &self.runs[index];
        // A post of an earlier epoch may be done by now.
        let key = if run.sent { Some(run.post_key()) } else { None };
        if let Some(key) = key.filter(|key| !self.rows.contains(key)) {
            let run = run.id.clone();
            self.rows.insert(key.clone());
            self.see(Seen::Posted { content: format!("text of {key}"), key, run });
        }
        if self.is_stale(index, epoch) {
            return;
        }
        if lost { self.go_on(index, SECOND) } else { self.record(index) }
    }

    pub(super) fn look_at(&mut self, index: usize) {
        let run = &self.runs[index];
        let (id, done) = (run.id.clone(), run.done);
        let path = format!("posts[{done}]/approve");
        if run.asked && run.status.is_none() {
            if !std::mem::replace(&mut self.runs[index].told, true) {
                self.see(Seen::Questioned { run: id, path });
                // Sometimes the answer takes until the next look.
                if self.dice.once_in(2) {
                    return;
                }
            }
            self.approve(index, done);
        } else if run.held && run.reports < REPORTS {
            let key = run.post_key();
            self.runs[index].reports += 1;
            self.see(Seen::Held { run: id, key });
        } else if run.held && !index.is_multiple_of(LEFT_ONE_IN) {
            self.settle(index);
        } else if let Some(status) = run.status.filter(|_| run.reports < REPORTS) {
            let posts = run.posts.clone();
            self.runs[index].reports += 1;
            self.see(Seen::Reported {
                outputs: format!("outputs of {id}"),
                run: id,
                status: status.to_owned(),
                posts,
                spent: false,
            });
        }
    }

    /// Somebody has looked at the platform, and says what is there.
    fn settle(&mut self, index: usize) {
        let run = &mut self.runs[index];
        (run.held, run.sent, run.reports) = (false, false, 0);
        let (id, key) = (run.id.clone(), run.post_key());
        let is_out = self.rows.contains(&key);
        self.see(Seen::Settled { run: id, key });
        if is_out { self.record(index) } else { self.go_on(index, MILLI) }
    }

    fn approve(&mut self, index: usize, done: usize) {
        let run = &mut self.runs[index];
        (run.asked, run.told) = (false, false);
        run.done += 1;
        let id = run.id.clone();
        self.see(Seen::Approved { run: id, path: format!("posts[{done}]/approve") });
        self.go_on(index, MILLI);
    }
}
