//! The faults of a plan as a server meets them that is a process of its own. Invariant: which calls a
//! fault hits follows from the plan and the time that the server was told; while nobody lives whom it
//! serves, that time stands still.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::world::World;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::fault::{PlatformEffect, ProviderEffect};
use crate::plan::Plan;
use crate::simulation::weather::Weather;

/// What comes over a server's calls; a cheap clone shares it.
#[derive(Clone)]
pub struct Forecast(Arc<Shared>);

struct Shared {
    world: World,
    state: Mutex<State>,
}

struct State {
    weather: Weather,
    /// The plan's time when this part of it began, and where it ends.
    from: Duration,
    until: Duration,
    /// When that was, on the monotonic clock.
    since: Duration,
}

/// There is no forecast.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// The plan cannot be read.
    #[error("the plan {path} cannot be read")]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} is not a plan")]
    NotPlan {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Forecast {
    /// The plan's faults; its time begins now.
    #[must_use]
    pub fn new(plan: &Plan, world: World) -> Self {
        let since = world.elapsed();
        let state = State { weather: Weather::new(plan), from: Duration::ZERO, until: Duration::MAX, since };
        Self(Arc::new(Shared { world, state: Mutex::new(state) }))
    }

    /// The faults of the plan in this file.
    ///
    /// # Errors
    /// [`ForecastError`] when there is no plan.
    pub fn load(path: &Path, world: World) -> Result<Self, ForecastError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ForecastError::Unreadable { path: path.to_owned(), source })?;
        let plan =
            serde_json::from_str(&text).map_err(|source| ForecastError::NotPlan { path: path.to_owned(), source })?;
        Ok(Self::new(&plan, world))
    }

    /// Does what each line says: `FROM..UNTIL`, in milliseconds, is the part of the plan's time that
    /// goes by from now on. It stands still at its end.
    pub async fn listen(self, lines: impl AsyncBufRead + Unpin) {
        let mut lines = lines.lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match told(&line) {
                Some(span) => self.go_by(span),
                None => eprintln!("error: `{line}` is no part of a plan's time; write it as `1200..1900`"),
            }
        }
    }

    /// This part of the plan's time goes by from now on.
    pub fn go_by(&self, span_ms: Range<u64>) {
        let mut state = self.state();
        state.from = Duration::from_millis(span_ms.start);
        state.until = Duration::from_millis(span_ms.end);
        state.since = self.0.world.elapsed();
    }

    /// What a call of a model runs into now: the fault's number, and what it does.
    #[must_use]
    pub fn provider(&self) -> Option<(u32, ProviderEffect)> {
        self.ask(Weather::provider)
    }

    /// What a post runs into now: the fault's number, and what it does.
    #[must_use]
    pub fn platform(&self) -> Option<(u32, PlatformEffect)> {
        self.ask(Weather::platform)
    }

    fn ask<T>(&self, ask: impl FnOnce(&mut Weather, Duration) -> Option<T>) -> Option<T> {
        let mut state = self.state();
        let passed = self.0.world.elapsed().saturating_sub(state.since);
        let now = state.from.saturating_add(passed).min(state.until);
        ask(&mut state.weather, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change above is a single step.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Forecast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forecast").finish_non_exhaustive()
    }
}

/// A part of the plan's time as it is told.
fn told(line: &str) -> Option<Range<u64>> {
    let (from, until) = line.trim().split_once("..")?;
    Some(from.parse().ok()?..until.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use actors::transport;

    use super::*;
    use crate::experiment::read;
    use crate::plan::expand;

    fn forecast() -> Forecast {
        let text = "[experiment]\nname = 'x'\nduration = '1m'\nquiet = '1m'\n[workload]\nruns = 1\narrival = '1/s'\n\
                    [[fault]]\nkind = 'provider_reset'\nat = '10s..20s'\ncount = 2\n";
        let plan = expand(&read("x.toml", text).unwrap(), 1);
        Forecast::new(&plan, World::simulated(1, transport::unplugged()))
    }

    #[tokio::test(start_paused = true)]
    async fn time_goes_by_as_it_is_told_and_stands_still_between() {
        let forecast = forecast();
        assert_eq!(forecast.provider(), None);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(forecast.provider(), Some((0, ProviderEffect::Reset)), "without a word it goes by");
        forecast.go_by(9_000..9_500);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(forecast.provider(), None, "it stands still");
        forecast.clone().listen(&b"9500..12000\nsoon\n"[..]).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(forecast.platform(), None);
        assert!(forecast.provider().is_some());
        assert_eq!(forecast.provider(), None, "it hits twice in all");
    }

    #[test]
    fn a_file_that_is_no_plan_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let world = || World::simulated(1, transport::unplugged());
        assert!(Forecast::load(&path, world()).unwrap_err().to_string().contains("cannot be read"));
        std::fs::write(&path, "{}").unwrap();
        assert!(Forecast::load(&path, world()).unwrap_err().to_string().contains("is not a plan"));
    }
}
