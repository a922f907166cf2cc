//! An agent's pool as it is asked for one call. Invariant: what is known of its models is looked up here, once
//! for an attempt; the order is that of [`policies::choice`], and what is told of it is what it was made of.

use std::sync::Arc;

use policies::choice::{Choose, Chosen, Considered, Facts, PoolPolicy, rank};
use policies::fallback::Outage;

use super::Stage;
use super::casting::Speaker;
use crate::agent::Voice;
use crate::workflow::AgentCall;

/// A pool in the order in which it is asked.
#[derive(Clone)]
pub(super) struct Pool {
    choose: Choose,
    /// Whether its first is first because the talk was held with it.
    keeps: bool,
    /// What is known of each, in that order.
    considered: Vec<Considered>,
}

/// One model of a pool, ready to speak.
pub(super) struct Member {
    pub(super) speaker: Speaker,
    /// Why it cannot make the call, whoever is up.
    pub(super) bar: Option<Outage>,
}

impl Stage {
    /// The pool of the agent that `own` speaks for, and its models in the order in which they are asked.
    /// What was not there at the start is left out.
    pub(super) fn pool(&self, call: &AgentCall, own: &Speaker, policy: &PoolPolicy) -> (Pool, Vec<Member>) {
        let there = policy.models.iter().filter_map(|name| Some((name, self.member(own, name)?)));
        let there: Vec<(&String, Speaker)> = there.collect();
        let facts: Vec<Facts> = there.iter().map(|(_, speaker)| self.facts(call, speaker)).collect();
        let kept = there.iter().position(|(name, _)| call.talk.with.as_ref() == Some(*name));
        let ranking = rank(policy, &facts, kept);
        let mut pool = Pool { choose: policy.choose, keeps: ranking.keeps, considered: Vec::new() };
        let mut members = Vec::new();
        for place in &ranking.order {
            let (Some((name, speaker)), Some(facts)) = (there.get(*place), facts.get(*place)) else { continue };
            let considered = Considered::new(name, *place, facts, &ranking);
            members.push(Member { speaker: speaker.clone(), bar: considered.out.clone() });
            pool.considered.push(considered);
        }
        (pool, members)
    }

    /// An agent with one of the models of its pool.
    pub(super) fn member(&self, own: &Speaker, name: &str) -> Option<Speaker> {
        Some(Speaker { voice: self.voice(name)?, pooled: Some(name.to_owned()), ..own.clone() })
    }

    /// What is spoken with a model of that name.
    pub(super) fn voice(&self, name: &str) -> Option<Voice> {
        let named = self.models.get(name)?;
        let timeout = self.guards.get(&named.guard).policy().timeout.duration();
        Some(Voice { model: Arc::clone(&named.model), guard: named.guard.clone(), timeout })
    }

    fn facts(&self, call: &AgentCall, speaker: &Speaker) -> Facts {
        let Speaker { spec, voice, .. } = speaker;
        let request = speaker.request(call, &self.prices);
        let able = voice.model.abilities();
        let missing = request.needs().into_iter().find(|need| !able.has(*need));
        let worst = self.worst_of_request(&request, speaker, speaker.waits_for_batch(call));
        let unpriced = || Outage::Unpriced { model: voice.model.price_key().to_owned() };
        Facts {
            bar: missing
                .map(|need| Outage::Unable { need: need.to_string() })
                .or_else(|| worst.is_err().then(unpriced)),
            price: worst.ok().map(|(_, worst)| worst),
            quality: self.ratings.of(&spec.name, &voice.model.id().0),
            latency: self.guards.get(&voice.guard).latency(),
        }
    }
}

impl Pool {
    /// What is told of the choice of `model`; `out` is what keeps each from the call now, in the order in
    /// which they are asked.
    pub(super) fn chosen(&self, model: &str, out: impl IntoIterator<Item = Option<Outage>>) -> Chosen {
        let told = |(considered, out): (&Considered, Option<Outage>)| Considered { out, ..considered.clone() };
        let considered = self.considered.iter().zip(out).map(told).collect();
        Chosen { model: model.to_owned(), by: self.choose, kept: self.keeps, considered }
    }
}
