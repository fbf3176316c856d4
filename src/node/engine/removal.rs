//! How a replica goes from the engine: whoever waits is told, and its log is forgotten with the next batch.
//!
//! Invariant: another replica of the same shard may come only after [`Event::LogForgotten`]: by then nothing of the old one is on its
//! way to the disk.

use super::{Engine, Event};
use crate::net::Moment;
use crate::node::answers::Answers;
use crate::node::replica::Turn;
use crate::topology::{LogTime, ShardId};

/// Shards whose logs are being forgotten.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    /// In the batch that gathers.
    gathering: Vec<ShardId>,
    /// In the one that is being written.
    in_flight: Vec<ShardId>,
}

impl Engine {
    /// Lets go of a shard's replica, unless one of its states is on its way to the disk; returns whether it is gone.
    pub fn remove_replica(&mut self, shard: ShardId, now: Moment, wall: LogTime, answers: &mut dyn Answers) -> bool {
        let Some(replica) = self.replicas.get(&shard) else { return true };
        if self.snapshots.is_writing(shard) || replica.receiving {
            return false;
        }
        let mut replica = self.replicas.remove(&shard).expect("just seen");
        let (scratch, spans) = (&mut self.scratch, &mut self.spans);
        replica.dissolve(&mut Turn { now, wall, answers, scratch, spans, seed: 0 });
        self.parts.retain(|(of, _)| *of != shard);
        self.dirty.retain(|of| *of != shard);
        self.snapshots.forget(shard);
        self.events.push(Event::StatusChanged);
        self.forget_log(shard);
        true
    }

    /// Has the log forget a shard; [`Event::LogForgotten`] tells when that is durable.
    pub fn forget_log(&mut self, shard: ShardId) {
        self.batch.forget(shard.0);
        self.forgetting.gathering.push(shard);
    }

    pub(super) fn forgetting_taken(&mut self) {
        self.forgetting.in_flight.append(&mut self.forgetting.gathering);
    }

    pub(super) fn forgetting_written(&mut self) {
        self.events.extend(self.forgetting.in_flight.drain(..).map(Event::LogForgotten));
    }
}
