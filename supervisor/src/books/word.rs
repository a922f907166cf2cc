//! What an operator says of a child.
//!
//! Invariant: a child that an operator stopped starts by an operator's word only, and one that was told
//! to drain is not brought back when it fails meanwhile.

use super::life::{After, Life};
use super::{Books, NodeId};
use crate::snapshot::Duty;
use crate::word::Word;

impl Books {
    /// Does as an operator says; false when it does not fit where the child is in its life.
    pub(crate) fn told(&mut self, id: NodeId, word: Word) -> bool {
        if self.closing.is_some() {
            return false;
        }
        match word {
            Word::Restart => self.restart_anew(id),
            Word::Stop => self.park(id),
            Word::Pause => self.pause(id),
            Word::Resume => self.resume(id),
            Word::Drain => self.drain(id),
        }
    }

    /// Stops a child until it is resumed, wherever it is in its life; false when it has left the
    /// tree for good, or is about to.
    pub(crate) fn park(&mut self, id: NodeId) -> bool {
        let Some(child) = self.children.get_mut(&id).filter(|_| self.closing.is_none()) else { return false };
        let life = match child.life {
            Life::Done { .. } => return false,
            Life::Condemned { after: After::Retire, .. } | Life::Stopping { after: After::Retire, .. } => return false,
            Life::Waiting | Life::Backoff | Life::Held | Life::Parked => Life::Parked,
            _ => child.life.ending(After::Park),
        };
        child.stopped = true;
        child.duty = Duty::Open;
        self.set(id, life);
        true
    }

    /// Has a parked or held child start in its turn, whatever it was held by, and one that was paused
    /// or told to drain take work again; false when it is none of these.
    pub(crate) fn resume(&mut self, id: NodeId) -> bool {
        let Some(child) = self.children.get_mut(&id) else { return false };
        let life = match child.life {
            Life::Parked | Life::Held => {
                child.begin_anew();
                Life::Waiting
            }
            Life::Condemned { after: After::Park, .. } | Life::Stopping { after: After::Park, .. } => return false,
            _ if child.duty == Duty::Open => return false,
            as_it_is => as_it_is,
        };
        child.stopped = false;
        child.duty = Duty::Open;
        self.set(id, life);
        true
    }

    /// Has a child begin nothing new; false when it is stopped, or has left the tree for good.
    fn pause(&mut self, id: NodeId) -> bool {
        let Some(child) = self.children.get_mut(&id) else { return false };
        match child.life {
            Life::Parked | Life::Done { .. } => return false,
            Life::Condemned { after: After::Retire | After::Park, .. }
            | Life::Stopping { after: After::Retire | After::Park, .. } => return false,
            _ => {}
        }
        child.duty = Duty::Paused;
        let life = child.life;
        self.set(id, life);
        true
    }

    /// Has a child finish what is under way and stop; one that is down is stopped at once.
    fn drain(&mut self, id: NodeId) -> bool {
        match self.children.get_mut(&id) {
            Some(child) if matches!(child.life, Life::Up { .. }) => {
                child.duty = Duty::Draining;
                let life = child.life;
                self.set(id, life);
                true
            }
            Some(_) => self.park(id),
            None => false,
        }
    }

    /// The generation that is to be watched until nothing is under way any more.
    pub(crate) fn draining(&self, id: NodeId) -> Option<u64> {
        let child = self.children.get(&id)?;
        (child.duty == Duty::Draining && matches!(child.life, Life::Up { .. })).then_some(child.generation)
    }

    /// Nothing is under way any more.
    pub(crate) fn drained(&mut self, id: NodeId, generation: u64) {
        if self.draining(id) == Some(generation) {
            self.park(id);
        }
    }

    /// Stops a child in order and starts it again, wherever it is in its life; false when it is about
    /// to leave the tree for good.
    fn restart_anew(&mut self, id: NodeId) -> bool {
        let Some(child) = self.children.get_mut(&id) else { return false };
        let life = match child.life {
            Life::Condemned { after: After::Retire, .. } | Life::Stopping { after: After::Retire, .. } => return false,
            Life::Waiting | Life::Backoff | Life::Held | Life::Parked | Life::Done { .. } => Life::Waiting,
            _ => child.life.ending(After::Start),
        };
        child.begin_anew();
        child.stopped = false;
        child.duty = Duty::Open;
        self.set(id, life);
        true
    }
}
