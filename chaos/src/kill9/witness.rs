//! What was seen, put together. Invariant: the client's sightings are taken down when they are made,
//! and those of provider and platform come from their own ledgers, with the times that stand there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use actors::world::World;
use policies::document;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::price::PriceTable;
use policies::tokens::{Tokens, Usage};

use super::Kill9Error;
use super::ground::PRICE;
use crate::history::{History, Seen, Sighting};
use crate::ledger::Line;
use crate::plan::Plan;
use crate::{platform, provider};

/// Takes down what is seen.
pub(crate) struct Witness {
    world: World,
    beginning: Timestamp,
    seen: Mutex<Vec<Sighting>>,
    broken: Mutex<Option<String>>,
}

impl Witness {
    pub(crate) fn new(world: World) -> Self {
        let beginning = world.now();
        Self { world, beginning, seen: Mutex::default(), broken: Mutex::default() }
    }

    /// Takes down what is seen now.
    pub(crate) fn see(&self, what: Seen) {
        let at_us = self.since_beginning(self.world.now());
        lock(&self.seen).push(Sighting { at_us, what });
    }

    /// Takes down that the program has done something that no fault explains; the first one stands.
    pub(crate) fn broke(&self, why: impl Into<String>) {
        lock(&self.broken).get_or_insert_with(|| why.into());
    }

    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.broken).is_some()
    }

    /// Something about what was seen so far.
    pub(crate) fn tell<T>(&self, of: impl FnOnce(&[Sighting]) -> T) -> T {
        of(&lock(&self.seen))
    }

    fn since_beginning(&self, at: Timestamp) -> u64 {
        u64::try_from(at.since(self.beginning).as_micros()).unwrap_or(u64::MAX)
    }

    /// The history, with what stands in the ledgers.
    pub(crate) fn close(
        self,
        plan: Plan,
        budget: Money,
        calls: Vec<Line<provider::Entry>>,
        posts: Vec<Line<platform::Entry>>,
    ) -> Result<History, Kill9Error> {
        let prices = PriceTable::builtin().map_err(|errors| Kill9Error::Policy(document::lines(&errors)))?;
        let mut seen = std::mem::take(&mut *lock(&self.seen));
        for line in calls {
            let at_us = self.since_beginning(Timestamp::from_micros(line.at_us));
            seen.extend(called(line.entry, &prices)?.into_iter().map(|what| Sighting { at_us, what }));
        }
        for line in posts {
            let at_us = self.since_beginning(Timestamp::from_micros(line.at_us));
            seen.extend(posted(line.entry).map(|what| Sighting { at_us, what }));
        }
        seen.sort_by_key(|sighting| sighting.at_us);
        let broken = lock(&self.broken).take();
        Ok(History { plan, budget, seen, broken })
    }
}

fn called(entry: provider::Entry, prices: &PriceTable) -> Result<Vec<Seen>, Kill9Error> {
    Ok(match entry {
        provider::Entry::Served { call, id, prompt_tokens, completion_tokens, .. } => {
            let usage = Usage { input: Tokens(prompt_tokens), output: Tokens(completion_tokens), ..Usage::default() };
            let cost = prices.actual(PRICE, &usage).map_err(|error| Kill9Error::Policy(error.to_string()))?;
            vec![Seen::Called { call, content: id, model: None }, Seen::Billed { call, cost }]
        }
        provider::Entry::Answered { call } => vec![Seen::Answered { call }],
        provider::Entry::Refused { call, id, .. } => {
            vec![Seen::Called { call, content: id, model: None }, Seen::Failed { call }]
        }
        provider::Entry::Halved { call, .. } | provider::Entry::Spoiled { call } => vec![Seen::Failed { call }],
        provider::Entry::Struck { number } => vec![Seen::Struck { number }],
    })
}

fn posted(entry: platform::Entry) -> Option<Seen> {
    Some(match entry {
        platform::Entry::Posted { key, content, .. } => {
            let run = key.split('/').next().unwrap_or_default().to_owned();
            Seen::Posted { key, content, run }
        }
        platform::Entry::Repeated { key } => Seen::Repeated { key },
        platform::Entry::LookedUp { key, found } => Seen::LookedUp { key, found },
        platform::Entry::Struck { number } => Seen::Struck { number },
        // What lands is told when it does.
        platform::Entry::Coming { .. } => return None,
    })
}

/// A panic elsewhere cannot leave what is seen half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use actors::transport;

    use super::*;
    use crate::kill9::{Kill9Options, plan};

    #[tokio::test(start_paused = true)]
    async fn sightings_of_all_sides_stand_in_the_order_of_their_times() {
        let world = World::simulated(1, transport::unplugged());
        let began = world.now().micros();
        let witness = Witness::new(world.clone());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        witness.see(Seen::Ready { life: 1 });
        let served = provider::Entry::Served {
            call: 1,
            id: "x".to_owned(),
            prompt_tokens: 1_000_000,
            completion_tokens: 1_000_000,
            billed: 0,
        };
        let calls = vec![
            Line { at_us: began + 10_000, entry: served },
            Line { at_us: began + 40_000, entry: provider::Entry::Answered { call: 1 } },
        ];
        let key = "run7/posts[0]/publish:00".to_owned();
        let post = platform::Entry::Posted { key: key.clone(), content: "c".to_owned(), id: "post-1".to_owned() };
        let posts = vec![Line { at_us: began + 30_000, entry: post }];
        witness.broke("first");
        witness.broke("second");
        let plan = plan(&Kill9Options::default());
        let history = witness.close(plan, Money::MAX, calls, posts).unwrap();
        let cost = "$0.75".parse().unwrap();
        let wanted = [
            (10_000, Seen::Called { call: 1, content: "x".to_owned(), model: None }),
            (10_000, Seen::Billed { call: 1, cost }),
            (20_000, Seen::Ready { life: 1 }),
            (30_000, Seen::Posted { key, content: "c".to_owned(), run: "run7".to_owned() }),
            (40_000, Seen::Answered { call: 1 }),
        ];
        let seen: Vec<_> = history.seen.into_iter().map(|sighting| (sighting.at_us, sighting.what)).collect();
        assert_eq!(seen, wanted);
        assert_eq!(history.broken.as_deref(), Some("first"));
    }
}
