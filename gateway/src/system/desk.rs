//! What a person says to a run. Invariant: it is durable when it is answered, with the name of who
//! said it, and the first word on a question or a doubtful effect stands.

use actors::durable::Origin;
use agents::run::{Act, Command, EffectKey, Refusal, Status};
use agents::workflow::{Action, StepPath};
use serde_json::{Value, json};

use super::System;
use super::order::{AcceptError, why};

/// What a person says.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// Yes, to the question at this step.
    Approve(StepPath),
    /// No, to the question at this step, and why.
    Reject(StepPath, String),
    /// What became of an effect in doubt.
    Settle(EffectKey, Fate),
    /// The steps that a budget held back may go on: there is money again.
    Resume,
    /// Stop, and why; what is under way is still resolved.
    Cancel(String),
}

/// What became of an effect in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was done; the platform's name for it and its address, where they are known.
    Done {
        /// The name.
        id: Option<String>,
        /// The address.
        url: Option<String>,
    },
    /// It was not done, and is to be tried again.
    NotDone,
}

impl System {
    /// Tells a run what a person says, and returns where the run stands then.
    ///
    /// # Errors
    /// [`AcceptError`]; the run is as it was then.
    pub async fn say(&self, run: &str, by: &str, word: Word) -> Result<Status, AcceptError> {
        // Asking wakes a run that rests, and would make an actor for one that never was.
        if !self.knows(run) {
            return Err(AcceptError::Refused(Refusal::Absent));
        }
        let by_whom = by.to_owned();
        let act = match word {
            Word::Approve(path) => Act::Approve { path, by: by_whom },
            Word::Reject(path, reason) => Act::Reject { path, by: by_whom, reason },
            Word::Resume => Act::Resume { by: by_whom },
            Word::Cancel(reason) => Act::Cancel { by: by_whom, reason },
            Word::Settle(key, Fate::NotDone) => Act::Settle { key, landed: None, by: by_whom },
            Word::Settle(key, Fate::Done { id, url }) => {
                let landed = self.output(run, &key, id, url).await?;
                Act::Settle { key, landed: Some(landed), by: by_whom }
            }
        };
        let origin = Origin { principal: by.to_owned(), ..Origin::system() };
        let told = self.runs.ask(run, origin, Command::new(act)).await;
        told.map(|reply| reply.status).map_err(why)
    }

    /// The output of an effect that a person found done, in the shape that its step hands on.
    async fn output(
        &self,
        run: &str,
        key: &EffectKey,
        id: Option<String>,
        url: Option<String>,
    ) -> Result<Value, AcceptError> {
        let state = self.state(run).await.map_err(AcceptError::Unavailable)?;
        let request = state.parked().find(|(_, parked, _)| *parked == key).and_then(|(_, _, hold)| hold.request());
        Ok(match request {
            Some(Action::Publish(post)) => {
                json!({ "publisher": post.publisher, "title": post.title, "id": id, "url": url })
            }
            // Whether there is anything to settle is for the run to say.
            _ => json!({ "id": id, "url": url }),
        })
    }
}
