//! Whom to talk to at another shard: its leader, once that is found. Until then all of its replicas are asked.

use std::time::Duration;

use super::super::pace::{Quickest, on_way_bytes_max};
use crate::net::Moment;
use crate::topology::{Catalog, ReplicaId, ShardId};

/// How long a leader may say nothing to what it is asked before all are asked again.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// A leader that confirms a piece so much later than it could has more to do than it can: its clients wait too.
const LATE_MAX: Duration = Duration::from_millis(12);

/// What is known of another shard's leader.
#[derive(Debug, Default)]
pub struct Contact {
    leader: Option<ReplicaId>,
    heard: Option<Moment>,
    /// When the leader was asked what it has not answered.
    asked: Option<Moment>,
    /// The least time that the leader took to confirm a piece of late: what the way to it and its log cost.
    quickest: Quickest,
}

impl Contact {
    /// A replica says that it leads.
    pub fn leads(&mut self, replica: ReplicaId, now: Moment) {
        if !matches!(self.leader, Some(leader) if leader.0 == replica.0) {
            self.quickest = Quickest::default();
        }
        self.leader = Some(replica);
        self.heard = Some(now);
        self.asked = None;
    }

    /// The leader confirmed a piece, which was sent once, after so long. Returns whether it is late.
    pub fn confirmed(&mut self, took: Duration, now: Moment) -> bool {
        took > self.quickest.note(took, now) + LATE_MAX
    }

    /// Bytes of one attempt that may be on their way to the leader.
    pub fn on_way_bytes_max(&self) -> usize {
        on_way_bytes_max(self.quickest.least())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_late_by_what_it_could_do_however_far_away_it_is() {
        let (mut contact, ms) = (Contact::default(), Duration::from_millis);
        contact.leads(ReplicaId(7), Moment::at(ms(1)));
        let is_late = |contact: &mut Contact, took, at| contact.confirmed(ms(took), Moment::at(ms(at)));
        assert!(!is_late(&mut contact, 100, 1) && !is_late(&mut contact, 105, 2) && is_late(&mut contact, 120, 3));
        contact.leads(ReplicaId(7), Moment::at(ms(4)));
        assert!(is_late(&mut contact, 120, 5), "the same leader");
        assert!(is_late(&mut contact, 120, 61_000), "the way may have become longer, which is not sure yet");
        assert!(!is_late(&mut contact, 120, 122_000), "it has");
        contact.leads(ReplicaId(8), Moment::at(ms(122_001)));
        assert!(!is_late(&mut contact, 150, 122_002), "another, on its own way");
    }
}
