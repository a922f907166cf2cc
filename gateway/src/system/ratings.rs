//! What evaluations say of models, for those who choose among them. Invariant: what is chosen by is what the
//! journal had at the start, and what was recorded since.

use actors::world::World;
use agents::conduct::Stage;
use agents::evaluation::{Evaluation, FINISHED, Qualities, stream};
use agents::record::Recorder;
use storage::journal::{Journal, Version};

use super::System;

/// Reads what the journal has of every agent. What cannot be read leaves a choice less well founded, and
/// stops nothing.
pub(super) async fn read(world: &World, journal: &Journal, stage: &Stage) {
    for agent in stage.agents.keys() {
        take(world, journal, stage, agent).await;
    }
}

async fn take(world: &World, journal: &Journal, stage: &Stage, agent: &str) {
    let (journal, whose) = (journal.clone(), agent.to_owned());
    match world.blocking("evaluations", move || Qualities::read(&journal, &whose)).await {
        Ok(Ok(qualities)) => stage.ratings.set(agent, qualities),
        Ok(Err(error)) => tracing::warn!(agent, %error, "the agent's evaluations cannot be read"),
        Err(error) => tracing::warn!(agent, %error, "the agent's evaluations were not read"),
    }
}

impl System {
    /// Records an evaluation of an agent, of which there were `round` before; from then on models are chosen
    /// by it.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub async fn record_evaluation(&self, by: &str, evaluation: &Evaluation, round: u64) -> anyhow::Result<()> {
        let mut recorder = Recorder::new(self.world.clone(), self.journal.clone(), by);
        let event = recorder.event(FINISHED, None, evaluation)?;
        recorder.append(stream(&evaluation.agent), Some(Version(round)), vec![event]).await?;
        take(&self.world, &self.journal, &self.stage, &evaluation.agent).await;
        Ok(())
    }
}
