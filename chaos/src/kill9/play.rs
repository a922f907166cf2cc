//! A plan, played: one life of the program after the other, then a quiet time without kills.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use actors::world::{Chance, World, WorldOptions};
use gateway::crash::Mark;

use super::api::Api;
use super::client::{Client, Manner, Until};
use super::course::stream;
use super::ground::{self, Ground};
use super::medium::{LosingDisk, Medium};
use super::process::{Death, Helper, Server};
use super::witness::Witness;
use super::{Kill9Error, Yard};
use crate::fault::{Fault, Loss};
use crate::history::{History, Seen};
use crate::ledger;
use crate::plan::{Plan, Planned, Platform};

/// How long a start may take: the first one fetches the models, if they are not there.
const START_MAX: Duration = Duration::from_secs(600);
/// How long a point is waited for before the program is killed all the same.
const POINT_MAX: Duration = Duration::from_secs(4);
/// How long a program that says nothing more may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(10);
/// Of so many random kills, one comes before the program is ready.
const EARLY_ONE_IN: u64 = 4;

/// A play that was made.
#[derive(Debug)]
pub struct Played {
    /// What was seen.
    pub history: History,
    /// What the data lay on.
    pub medium: Medium,
}

/// Plays the plan in the yard; `told` is called after each kill, with how many there were.
///
/// # Errors
/// [`Kill9Error`] when the play itself cannot be made.
pub async fn play(plan: Plan, yard: &Yard, told: &dyn Fn(usize)) -> Result<Played, Kill9Error> {
    ground::clear(&yard.folder)?;
    let (medium, mut disk) = underlay(&plan, yard).await;
    let played = play_on(plan, yard, disk.as_mut(), told).await;
    let free = match disk {
        Some(disk) => disk.end().await,
        None => Ok(()),
    };
    let history = played?;
    free?;
    Ok(Played { history, medium })
}

/// Puts a disk that loses under the data, if anything is to be lost and the machine allows it.
async fn underlay(plan: &Plan, yard: &Yard) -> (Medium, Option<LosingDisk>) {
    let loses = |planned: &Planned| matches!(planned.fault, Fault::Crash { loss, .. } if loss != Loss::KeepAll);
    if !plan.faults.iter().any(loses) {
        return (Medium::Own, None);
    }
    match LosingDisk::start(yard, Ground::new(yard).data()).await {
        Ok(disk) => (Medium::Losing, Some(disk)),
        Err(why) => (Medium::Refused(why), None),
    }
}

async fn play_on(
    plan: Plan,
    yard: &Yard,
    disk: Option<&mut LosingDisk>,
    told: &dyn Fn(usize),
) -> Result<History, Kill9Error> {
    let ground = Ground::new(yard);
    ground.lay_plan(&plan)?;
    let provider = Helper::start(&yard.servers, &provider_arguments(yard, &ground)).await?;
    let platform = Helper::start(&yard.servers, &platform_arguments(yard, &ground, &plan)).await?;
    ground.lay(&plan.workload, &provider.url, &platform.url)?;
    let world = World::real(WorldOptions::default())?;
    let witness = Witness::new(world.clone());
    let client = Client::new(&plan, &witness, Manner::beside(ground.platform_ledger()));
    let (start_took, beside) = (Duration::ZERO, [provider, platform]);
    let hours = Hours::default();
    let mut game = Game { world, yard, ground, disk, beside, witness: &witness, client, lives: 0, start_took, hours };
    let mut kills = 0;
    // Until the program is ready for the first time.
    game.go_by(&(0..0)).await?;
    for planned in &plan.faults {
        // Provider and platform do theirs by themselves, and all others only a simulation can do.
        let Fault::Crash { point, nth: passing, loss } = planned.fault else { continue };
        let mark = point.map(|point| Mark { point, nth: passing });
        let mut chance = stream(plan.seed, &format!("kill9/early/{}", planned.number));
        let death = game.live(mark, planned.at_ms, &mut chance).await?;
        let loss = if game.disk.is_some() { loss } else { Loss::KeepAll };
        game.bury(death, Some(planned.number), loss);
        if let Some(disk) = &mut game.disk {
            disk.cut(loss, plan.seed ^ u64::from(planned.number)).await?;
        }
        kills += 1;
        told(kills);
        if witness.is_broken() {
            break;
        }
    }
    if !witness.is_broken() {
        game.rest(&plan).await?;
    }
    drop(game);
    let ground = Ground::new(yard);
    let (calls, posts) = (ledger::read(&ground.provider_ledger())?, ledger::read(&ground.platform_ledger())?);
    let budget = ground::budget_of(&plan.workload)?;
    witness.close(plan, budget, calls, posts)
}

fn provider_arguments(yard: &Yard, ground: &Ground<'_>) -> Vec<String> {
    let ledger = ground.provider_ledger().display().to_string();
    let (plan, think) = (ground.plan().display().to_string(), millis(yard.provider_think).to_string());
    ["provider", "--ledger", &ledger, "--plan", &plan, "--think-ms", &think].map(str::to_owned).to_vec()
}

fn platform_arguments(yard: &Yard, ground: &Ground<'_>, plan: &Plan) -> Vec<String> {
    let kind = match plan.workload.platform {
        Platform::Careful => "--careful",
        Platform::Careless => "--careless",
    };
    let ledger = ground.platform_ledger().display().to_string();
    let (faults, think) = (ground.plan().display().to_string(), millis(yard.platform_think).to_string());
    ["platform", kind, "--ledger", &ledger, "--plan", &faults, "--think-ms", &think].map(str::to_owned).to_vec()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A play under way.
struct Game<'a> {
    world: World,
    yard: &'a Yard,
    ground: Ground<'a>,
    /// The disk under the data, if it is one that loses.
    disk: Option<&'a mut LosingDisk>,
    /// The provider and the platform.
    beside: [Helper; 2],
    witness: &'a Witness,
    client: Client<'a>,
    lives: u32,
    /// How long the last start took.
    start_took: Duration,
    hours: Hours,
}

impl Game<'_> {
    /// One life, from the start to the kill: at the mark, or when the plan's time is at `until_ms`.
    async fn live(&mut self, mark: Option<Mark>, until_ms: u64, chance: &mut Chance) -> Result<Death, Kill9Error> {
        let is_early = mark.is_none() && self.lives > 0 && chance.below(EARLY_ONE_IN) == 0;
        let early = is_early.then(|| self.start_took.mul_f64(chance.unit()));
        let mut server = Server::start(self.yard, &self.ground, mark)?;
        let death = match self.begin(&mut server, early).await {
            Beginning::Ready(api) => {
                let span_ms = self.hours.span(until_ms);
                self.go_by(&span_ms).await?;
                let life = Duration::from_millis(span_ms.end.saturating_sub(span_ms.start));
                let life = if mark.is_some() { life.max(POINT_MAX) } else { life };
                let (world, ready) = (self.world.clone(), self.world.elapsed());
                let took = move || world.elapsed().saturating_sub(ready);
                let now_ms = || at(&span_ms, took());
                let dead = Cell::new(false);
                let dying = async {
                    let death = server.die_within(life).await;
                    dead.set(true);
                    death
                };
                let (death, ()) = futures::join!(dying, self.client.visit(&api, now_ms, Until::Dead(&dead)));
                let still_ms = self.hours.pass(&span_ms, took());
                self.go_by(&still_ms).await?;
                death
            }
            Beginning::Gone(death) => death,
        };
        Ok(death)
    }

    /// Lets this part of the plan's time go by for provider and platform.
    async fn go_by(&mut self, span_ms: &Range<u64>) -> Result<(), Kill9Error> {
        for server in &mut self.beside {
            server.go_by(span_ms).await?;
        }
        Ok(())
    }

    /// Waits until the program is ready, but no longer than `early`.
    async fn begin(&mut self, server: &mut Server, early: Option<Duration>) -> Beginning {
        self.lives += 1;
        let began = self.world.elapsed();
        match tokio::time::timeout(early.unwrap_or(START_MAX), server.listening()).await {
            Ok(Some(address)) => {
                self.start_took = self.world.elapsed().saturating_sub(began);
                self.witness.see(Seen::Ready { life: self.lives });
                Beginning::Ready(Api::new(self.world.http(), address))
            }
            Ok(None) => Beginning::Gone(server.die_within(GONE_MAX).await),
            Err(_) => {
                let death = server.kill().await;
                if early.is_none() {
                    self.witness.broke(format!("the program was not ready within {START_MAX:?}"));
                }
                Beginning::Gone(death)
            }
        }
    }

    /// After the last kill: nothing is done to the program any more, and everything must come to its end.
    async fn rest(&mut self, plan: &Plan) -> Result<(), Kill9Error> {
        // What provider and platform were to do is over.
        self.go_by(&(plan.duration_ms.saturating_add(1)..u64::MAX)).await?;
        let mut server = Server::start(self.yard, &self.ground, None)?;
        let api = match self.begin(&mut server, None).await {
            Beginning::Ready(api) => api,
            Beginning::Gone(death) => {
                self.bury(death, None, Loss::KeepAll);
                return Ok(());
            }
        };
        let quiet = Duration::from_millis(plan.quiet_ms);
        let visit = self.client.visit(&api, || plan.duration_ms, Until::Done);
        let death = tokio::select! {
            biased;
            () = visit => None,
            death = server.die_within(quiet) => Some(death),
        };
        match death {
            None => {
                self.client.look_back(&api).await;
                if let Err(why) = server.stop().await {
                    self.witness.broke(why);
                }
            }
            // The time is over, and the program was killed for it; what is missing is told below.
            Some(Death::Crashed(_)) => {}
            Some(Death::Strange(why)) => self.witness.broke(why),
        }
        // Tasks and orphans of another process cannot be counted from here, so the checkers that go by them
        // are not asked.
        self.witness.see(Seen::Over { tasks: 0, unfinished: self.client.unfinished() as u64, orphans: 0 });
        Ok(())
    }

    /// Takes down how a life ended.
    fn bury(&self, death: Death, number: Option<u32>, loss: Loss) {
        match death {
            Death::Crashed(point) => {
                if let Some(number) = number {
                    self.witness.see(Seen::Struck { number });
                }
                self.witness.see(Seen::Crashed { point, loss });
            }
            Death::Strange(why) => self.witness.broke(why),
        }
    }
}

/// The plan's time, of which a part goes by in each life. What a life leaves of its part is the next one's.
#[derive(Default)]
struct Hours {
    gone_ms: u64,
}

impl Hours {
    /// The part of a life that is to end at this moment.
    fn span(&self, until_ms: u64) -> Range<u64> {
        self.gone_ms..until_ms.max(self.gone_ms)
    }

    /// A life was over after so much of its part; where time stands still until the next one.
    fn pass(&mut self, span_ms: &Range<u64>, took: Duration) -> Range<u64> {
        self.gone_ms = at(span_ms, took);
        self.gone_ms..self.gone_ms
    }
}

/// The plan's time after so much of this part.
fn at(span_ms: &Range<u64>, took: Duration) -> u64 {
    span_ms.start.saturating_add(millis(took)).min(span_ms.end)
}

/// How a life began.
enum Beginning {
    /// It answers.
    Ready(Api),
    /// It died before.
    Gone(Death),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_life_leaves_of_the_plans_time_goes_by_in_the_next() {
        let mut hours = Hours::default();
        assert_eq!(hours.span(700), 0..700, "it dies before it is ready");
        let span = hours.span(1_500);
        assert_eq!(span, 0..1_500);
        assert_eq!(hours.pass(&span, Duration::from_millis(400)), 400..400, "and time stands still");
        let span = hours.span(2_000);
        assert_eq!(span, 400..2_000);
        assert_eq!(hours.pass(&span, Duration::from_secs(60)), 2_000..2_000);
    }
}
