//! Whom to talk to at another shard: its leader, once that is found. Until then all of its replicas are asked.

use std::time::Duration;

use crate::net::Moment;
use crate::topology::{Catalog, ReplicaId, ShardId};

/// How long a leader may say nothing to what it is asked before all are asked again.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// What is known of another shard's leader.
#[derive(Debug, Default)]
pub struct Contact {
    leader: Option<ReplicaId>,
    heard: Option<Moment>,
    /// When the leader was asked what it has not answered.
    asked: Option<Moment>,
}

impl Contact {
    /// A replica says that it leads.
    pub const fn leads(&mut self, replica: ReplicaId, now: Moment) {
        self.leader = Some(replica);
        self.heard = Some(now);
        self.asked = None;
    }

    /// A replica says that it does not lead, and maybe who does.
    pub fn not_leader(&mut self, replica: ReplicaId, leader: Option<ReplicaId>, now: Moment) {
        if self.leader == Some(replica) {
            self.leader = leader.filter(|leader| *leader != replica);
            self.asked = None;
        } else if self.leader.is_none() {
            self.leader = leader.filter(|leader| *leader != replica);
        }
        self.heard = Some(now);
    }

    /// Something is sent that is to be answered.
    pub fn asks(&mut self, now: Moment) {
        if self.leader.is_some() && self.asked.is_none() {
            self.asked = Some(now);
        }
        if self.asked.is_some_and(|asked| now.since(asked) > SILENCE_MAX) {
            (self.leader, self.asked) = (None, None);
        }
    }

    /// Who leads, as far as is known, among the replicas that the catalog names.
    pub fn leader(&self, shard: ShardId, catalog: &Catalog) -> Option<ReplicaId> {
        self.leader.filter(|leader| replicas(shard, catalog).any(|replica| replica == *leader))
    }

    /// To whom to send a question.
    pub fn to(&self, shard: ShardId, catalog: &Catalog) -> Vec<ReplicaId> {
        self.leader(shard, catalog).map_or_else(|| replicas(shard, catalog).collect(), |leader| vec![leader])
    }

    /// Whether anybody has said anything since a moment.
    pub fn was_heard_since(&self, since: Moment) -> bool {
        self.heard.is_some_and(|heard| heard >= since)
    }

    /// Whether the leader is known.
    pub const fn has_leader(&self) -> bool {
        self.leader.is_some()
    }
}

fn replicas(shard: ShardId, catalog: &Catalog) -> impl Iterator<Item = ReplicaId> + '_ {
    let record = catalog.shard(shard);
    record.into_iter().flat_map(|record| record.all_replicas()).map(|replica| replica.id)
}
