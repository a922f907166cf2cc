//! What an effect asks, whole. Invariant: it is what its intent's hash was made of, in every life of the run.

use std::borrow::Cow;

use super::id::EffectKey;
use super::state::State;
use crate::workflow::{Action, ReadyStep};

impl State {
    /// What an effect asks, with all that was said before in its talk, and what that shows and is to be like; `written`
    /// is what its intent has.
    #[must_use]
    pub fn request<'a>(&self, key: &EffectKey, written: &'a Action) -> Cow<'a, Action> {
        let Action::Agent(call) = written else { return Cow::Borrowed(written) };
        // A first turn has heard nothing, and old journals have it written.
        if call.talk.turns == 0 || !call.talk.said.is_empty() {
            return Cow::Borrowed(written);
        }
        let is_of = |step: &&ReadyStep| key.is_of(&step.path, &step.hash);
        let whole = self.next().ok().and_then(|next| next.ready.iter().find(is_of).map(|step| (*step.action).clone()));
        whole.map_or(Cow::Borrowed(written), Cow::Owned)
    }
}
