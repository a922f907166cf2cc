//! The client: it asks for runs, follows each to its end, answers questions and settles doubts.
//!
//! Invariant: it goes by what it was answered, and by the platform's ledger where it settles a doubt;
//! what it was not answered it asks again, with the same key and the same content.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use actors::world::Chance;
use agents::run::{EffectOutcome, Event, Settled};
use agents::workflow::Action;
use futures::future::join_all;
use serde_json::{Value, json};

use super::api::Api;
use super::course::stream;
use super::ground::{PUBLISHER, order};
use super::witness::Witness;
use crate::history::Seen;
use crate::plan::Plan;
use crate::{ledger, platform};

/// Between two looks at a program that is killed all the time.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Requests for runs at once.
const ASKS_MAX: usize = 8;
/// Runs looked at at once.
const LOOKS_MAX: usize = 16;
/// In one round of so many, a run is asked for once more that was acknowledged long ago.
const ASKED_AGAIN_ONE_IN: u64 = 4;
/// In one round of so many, a run is looked at once more whose end is known.
const LOOKED_BACK_ONE_IN: u64 = 8;
/// So many looks at a question, at most, before it is answered: some wait until the program has died.
const THINK_LOOKS: u64 = 40;
/// Of so many questions, one is answered at the first look.
const AT_ONCE_ONE_IN: u64 = 2;
/// The answer that there is no such run.
const NOT_FOUND: u16 = 404;
/// Digits of the hash of what was asked, or of what came of it.
const HASH_DIGITS: usize = 16;

/// How a client goes about it.
pub(crate) struct Manner {
    /// Between two looks.
    pub(crate) look_every: Duration,
    /// The publisher by which its runs post.
    pub(crate) publisher: String,
    /// Where it looks before it settles a doubt; without it, doubts are left to people.
    pub(crate) platform_ledger: Option<PathBuf>,
}

impl Manner {
    /// As towards a program that is killed all the time, beside a platform with this ledger.
    pub(crate) fn beside(platform_ledger: PathBuf) -> Self {
        Self { look_every: LOOK_EVERY, publisher: PUBLISHER.to_owned(), platform_ledger: Some(platform_ledger) }
    }
}

/// What the client wants and knows of one run.
struct Wish {
    at_ms: u64,
    key: String,
    body: String,
    /// The run, once it was acknowledged.
    run: Option<String>,
    /// Whether its end was reported.
    ended: bool,
    /// Whether a post of it was seen to be held for a person, whom the client is not.
    held: bool,
}

/// What came of one look at a run.
enum Sight {
    Nothing,
    Going(Value),
    Ended,
}

/// The client; see the module.
pub(crate) struct Client<'a> {
    witness: &'a Witness,
    wishes: Vec<Wish>,
    /// Questions that were seen, by run and step, with the looks until they are answered; none once they were.
    questioned: BTreeMap<(String, String), Option<u64>>,
    manner: Manner,
    chance: Chance,
}

impl<'a> Client<'a> {
    pub(crate) fn new(plan: &Plan, witness: &'a Witness, manner: Manner) -> Self {
        let wish = |(nth, arrival): (usize, &crate::plan::Arrival)| Wish {
            at_ms: arrival.at_ms,
            key: arrival.key.clone(),
            body: order(&plan.workload, nth, &manner.publisher),
            run: None,
            ended: false,
            held: false,
        };
        let wishes = plan.workload.arrivals.iter().enumerate().map(wish).collect();
        let chance = stream(plan.seed, "kill9/client");
        Self { witness, wishes, questioned: BTreeMap::new(), manner, chance }
    }

    /// Runs whose end the client does not know, those included that nobody has taken on.
    pub(crate) fn unfinished(&self) -> usize {
        self.wishes.iter().filter(|wish| !wish.ended).count()
    }

    /// Those of them that need no person.
    fn waiting(&self) -> usize {
        self.wishes.iter().filter(|wish| !wish.ended && !wish.held).count()
    }

    /// Goes on and on, until it is over or nothing is left to be done.
    pub(crate) async fn visit(&mut self, api: &Api, now_ms: impl Fn() -> u64, until: Until<'_>) {
        while !until.is_reached(self) {
            self.ask(api, now_ms()).await;
            self.follow(api).await;
            tokio::time::sleep(self.manner.look_every).await;
        }
    }

    /// Asks for what is due, and now and then for what it has.
    async fn ask(&mut self, api: &Api, now_ms: u64) {
        let again = self.one_in(ASKED_AGAIN_ONE_IN, |wish| wish.run.is_some());
        let due = |wish: &Wish| wish.run.is_none() && wish.at_ms <= now_ms;
        let asked: Vec<usize> = (0..self.wishes.len()).filter(|nth| due(&self.wishes[*nth])).take(ASKS_MAX).collect();
        let asked: Vec<usize> = asked.into_iter().chain(again).collect();
        let taken = join_all(asked.iter().map(|nth| self.ask_for(api, &self.wishes[*nth]))).await;
        for (nth, run) in asked.into_iter().zip(taken) {
            if let Some(run) = run {
                self.wishes[nth].run = Some(run);
            }
        }
    }

    /// Asks for one run; its id, when it is acknowledged.
    async fn ask_for(&self, api: &Api, wish: &Wish) -> Option<String> {
        let key = wish.key.clone();
        self.witness.see(Seen::Asked { key: key.clone(), order: fingerprint(&wish.body) });
        let answer = api.ask(&key, &wish.body).await?;
        match (answer.status, &wish.run) {
            (200 | 201, known) => {
                let run = answer.json()["id"].as_str()?.to_owned();
                if answer.status == 201 && known.is_some() {
                    // Whoever takes it on as new says that it was not there.
                    self.witness.see(Seen::Refused { key: key.clone(), status: NOT_FOUND });
                    self.witness.broke(format!("{key} was acknowledged, and was taken on as new afterwards"));
                }
                self.witness.see(Seen::Acknowledged { key: key.clone(), run: run.clone() });
                Some(run)
            }
            (status, _) => {
                self.witness.see(Seen::Refused { key: key.clone(), status });
                if (400..500).contains(&status) {
                    self.witness.broke(format!("{key} was refused for good: {status}, {}", answer.json()["detail"]));
                }
                None
            }
        }
    }

    /// Looks at the runs under way, and does what they wait for; now and then looks back.
    async fn follow(&mut self, api: &Api) {
        let back = self.one_in(LOOKED_BACK_ONE_IN, |wish| wish.ended);
        let going = |wish: &Wish| wish.run.is_some() && !wish.ended;
        let going: Vec<usize> =
            (0..self.wishes.len()).filter(|nth| going(&self.wishes[*nth])).take(LOOKS_MAX).collect();
        self.look(api, going.into_iter().chain(back).collect()).await;
    }

    /// Looks at every run once more.
    pub(crate) async fn look_back(&mut self, api: &Api) {
        for nth in 0..self.wishes.len() {
            self.look(api, vec![nth]).await;
        }
    }

    async fn look(&mut self, api: &Api, at: Vec<usize>) {
        let runs: Vec<(usize, String)> =
            at.into_iter().filter_map(|nth| Some((nth, self.wishes[nth].run.clone()?))).collect();
        let sights = join_all(runs.iter().map(|(nth, run)| self.look_at(api, &self.wishes[*nth].key, run))).await;
        for ((nth, run), sight) in runs.into_iter().zip(sights) {
            match sight {
                Sight::Nothing => {}
                Sight::Ended => self.wishes[nth].ended = true,
                Sight::Going(_) if self.wishes[nth].ended => {
                    self.witness.broke(format!("run {run} has ended, and goes on afterwards"));
                }
                Sight::Going(shown) => {
                    self.answer(api, &run, &shown).await;
                    self.settle(api, nth, &run, &shown).await;
                }
            }
        }
    }

    async fn look_at(&self, api: &Api, key: &str, run: &str) -> Sight {
        let Some(answer) = api.get(&format!("/v1/runs/{run}")).await else { return Sight::Nothing };
        if answer.status == NOT_FOUND {
            self.witness.see(Seen::Refused { key: key.to_owned(), status: NOT_FOUND });
            self.witness.broke(format!("run {run} was acknowledged, and is not known afterwards"));
        }
        if answer.status != 200 {
            return Sight::Nothing;
        }
        let shown = answer.json();
        let status = shown["status"].as_str().unwrap_or_default();
        if !matches!(status, "finished" | "failed" | "cancelled" | "rejected") {
            return Sight::Going(shown);
        }
        let Some(posts) = self.posts(api, run).await else { return Sight::Nothing };
        self.witness.see(Seen::Reported {
            run: run.to_owned(),
            status: status.to_owned(),
            outputs: fingerprint(&shown["outputs"].to_string()),
            posts,
            spent: false,
        });
        Sight::Ended
    }

    /// The keys of the posts that a run says it has made; nothing when its events did not come whole.
    async fn posts(&self, api: &Api, run: &str) -> Option<Vec<String>> {
        let answer = api.get(&format!("/v1/runs/{run}/events")).await?;
        let payloads = answer.events().into_iter().map(|event| event["payload"].clone());
        let events: Result<Vec<Event>, _> = payloads.map(serde_json::from_value).collect();
        match events {
            Ok(events) => posts_of(events.into_iter()),
            Err(error) => {
                self.witness.broke(format!("an event of run {run} cannot be read: {error}"));
                None
            }
        }
    }

    /// Says yes to every question, once it has thought about it.
    async fn answer(&mut self, api: &Api, run: &str, shown: &Value) {
        for question in shown["approvals"].as_array().into_iter().flatten() {
            let path = question["path"].as_str().unwrap_or_default().to_owned();
            if !self.has_thought(run, &path) {
                continue;
            }
            let yes = json!({ "path": path, "approved": true });
            // Without an answer, the question is still there at the next look, or is not.
            let _ = api.post(&format!("/v1/runs/{run}/approvals"), &yes).await;
        }
    }

    /// Looks at a question, and says whether it is answered now, or once more.
    fn has_thought(&mut self, run: &str, path: &str) -> bool {
        let question = (run.to_owned(), path.to_owned());
        if !self.questioned.contains_key(&question) {
            self.witness.see(Seen::Questioned { run: run.to_owned(), path: path.to_owned() });
            let at_once = self.chance.below(AT_ONCE_ONE_IN) == 0;
            let looks = if at_once { 0 } else { self.chance.below(THINK_LOOKS) };
            self.questioned.insert(question.clone(), Some(looks));
        }
        let Some(left) = self.questioned.get_mut(&question) else { return true };
        match left {
            Some(looks) if *looks > 0 => {
                *looks -= 1;
                false
            }
            Some(_) => {
                *left = None;
                // Now, not when it is acknowledged: the answer may be heard and its acknowledgement lost.
                self.witness.see(Seen::Approved { run: run.to_owned(), path: path.to_owned() });
                true
            }
            None => true,
        }
    }

    /// Settles what is held in doubt, after a look at the platform's ledger, if the client knows it.
    async fn settle(&mut self, api: &Api, nth: usize, run: &str, shown: &Value) {
        let held = || shown["parked"].as_array().into_iter().flatten();
        for poison in held().map(|held| &held["hold"]["poison"]).filter(|poison| poison["in_doubt"] == false) {
            self.replay(api, run, poison["letter"].as_str().unwrap_or_default()).await;
        }
        let is_doubtful = |hold: &Value| hold["doubt"].is_object() || hold["poison"]["in_doubt"] == true;
        for held in held().filter(|held| is_doubtful(&held["hold"])) {
            let key = held["key"].as_str().unwrap_or_default().to_owned();
            if !self.wishes[nth].held {
                self.witness.see(Seen::Held { run: run.to_owned(), key: key.clone() });
            }
            let Some(platform_ledger) = &self.manner.platform_ledger else {
                self.wishes[nth].held = true;
                continue;
            };
            let lines = match ledger::read::<platform::Entry>(platform_ledger) {
                Ok(lines) => lines,
                Err(error) => return self.witness.broke(error.to_string()),
            };
            let word = match standing(lines.into_iter().map(|line| line.entry), &key) {
                Standing::Out(id) => json!({ "key": key, "done": true, "id": id }),
                Standing::Coming => continue,
                Standing::Nowhere => json!({ "key": key, "done": false }),
            };
            self.witness.see(Seen::Settled { run: run.to_owned(), key: key.clone() });
            let _ = api.post(&format!("/v1/runs/{run}/settlements"), &word).await;
        }
    }

    /// Replays a dead letter at once: the program was killed around it, by whatever.
    async fn replay(&mut self, api: &Api, run: &str, letter: &str) {
        let (run, letter) = (run.to_owned(), letter.to_owned());
        self.witness.see(Seen::DeadLettered { run, letter: letter.clone() });
        let answer = api.post(&format!("/v1/letters/{letter}/replay"), &json!({})).await;
        if answer.is_some_and(|answer| answer.status == 200) {
            self.witness.see(Seen::Replayed { letter });
        }
    }

    /// By chance, one of the wishes that are so.
    fn one_in(&mut self, rounds: u64, so: impl Fn(&Wish) -> bool) -> Option<usize> {
        if self.chance.below(rounds) > 0 {
            return None;
        }
        let those: Vec<usize> = (0..self.wishes.len()).filter(|nth| so(&self.wishes[*nth])).collect();
        let place = usize::try_from(self.chance.below(those.len() as u64)).unwrap_or(0);
        those.get(place).copied()
    }
}

/// What the platform has of a key.
enum Standing {
    /// It is out, by this name.
    Out(String),
    /// It is on its way.
    Coming,
    /// Nothing.
    Nowhere,
}

fn standing(entries: impl Iterator<Item = platform::Entry>, key: &str) -> Standing {
    let mut standing = Standing::Nowhere;
    for entry in entries {
        match entry {
            platform::Entry::Posted { key: posted, id, .. } if posted == key => return Standing::Out(id),
            platform::Entry::Coming { key: coming } if coming == key => standing = Standing::Coming,
            _ => {}
        }
    }
    standing
}

/// How long a visit lasts.
pub(crate) enum Until<'a> {
    /// Until the program has died.
    Dead(&'a Cell<bool>),
    /// Until the end of every run is known.
    Done,
    /// Until somebody says so, or there is no run whose end is not known and needs no person.
    Told(&'a Cell<bool>),
}

impl Until<'_> {
    fn is_reached(&self, client: &Client<'_>) -> bool {
        match self {
            Self::Dead(dead) => dead.get() || client.witness.is_broken(),
            Self::Done => client.unfinished() == 0 || client.witness.is_broken(),
            Self::Told(told) => told.get() || client.waiting() == 0 || client.witness.is_broken(),
        }
    }
}

/// The keys of the posts that a run's events say were made; nothing when its end is not among them.
fn posts_of(events: impl Iterator<Item = Event>) -> Option<Vec<String>> {
    let (mut ends, mut keys, mut made) = (false, BTreeMap::new(), BTreeSet::new());
    for event in events {
        match event {
            Event::Intended(intent) if matches!(intent.request, Action::Publish(_)) => {
                keys.insert(intent.path.clone(), intent.key.as_str().to_owned());
            }
            Event::Resolved(resolved) if matches!(resolved.outcome, EffectOutcome::Ok { .. }) => {
                made.extend(keys.get(&resolved.path).cloned());
            }
            Event::Resumed(resumed) if matches!(resumed.settled, Settled::Landed { .. }) => {
                made.extend(keys.get(&resumed.path).cloned());
            }
            Event::Rejected(rejected) => ends |= rejected.ends,
            Event::Finished(_) | Event::Failed(_) | Event::Cancelled(_) => ends = true,
            Event::Reopened(_) => ends = false,
            _ => {}
        }
    }
    ends.then(|| made.into_iter().collect())
}

fn fingerprint(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().get(..HASH_DIGITS).unwrap_or_default().to_owned()
}
