//! A leader brings its group's members to what the catalog says, one safe step at a time (DESIGN.md, section 11).
//!
//! Which step is `consensus::next_step`'s to say. Here is only which catalog it is asked about.

use super::replica::Replica;
use crate::consensus::{Standstill, Step};
use crate::topology::{Catalog, ReplicaId, ShardRecord};

impl Replica {
    /// Takes the next step towards the members that the catalog names, if this replica leads and none is under way.
    pub fn reconcile_members(&mut self, catalog: &Catalog) {
        if !self.group.leads() {
            return;
        }
        let Some(record) = catalog.shard(self.shard) else { return };
        // This copy of the catalog is older than the members are: what it wants may have been given up since, and what was
        // a replica then may be destroyed by now.
        if catalog.revision < self.group.members().revision {
            return;
        }
        self.group.settle_members();
        let wanted: Vec<_> = record.replicas.iter().map(|replica| replica.id).collect();
        match self.group.next_step(&wanted) {
            None => {}
            Some(Step::Transfer(to)) => {
                tracing::info!(shard = %record.name, replica = %to, "gets the leadership, as this replica is to leave");
                self.group.transfer(to);
            }
            Some(Step::Change(change)) => match self.group.propose_members(change, catalog.revision) {
                Ok(index) => tracing::info!(shard = %record.name, %index, "members: {change}"),
                Err(error) => tracing::debug!(shard = %record.name, "members: {change}: {error}"),
            },
        }
    }

    /// What this leader is doing about its group's members, or waits for, in words; nothing where they are as they should be.
    pub fn describe_change(&self, catalog: &Catalog) -> Option<String> {
        let record = catalog.shard(self.shard)?;
        let wanted: Vec<_> = record.replicas.iter().map(|replica| replica.id).collect();
        let words: Vec<String> = self.group.left_to_do(&wanted).iter().map(|left| words(left, record)).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

fn words(left: &Standstill, record: &ShardRecord) -> String {
    let name = |id: &ReplicaId| match record.all_replicas().find(|replica| replica.id == *id) {
        Some(replica) => format!("replica {id} on {}", replica.node),
        None => format!("replica {id}, whose disk is gone,"),
    };
    match left {
        Standstill::Untold => "a majority is being told who the members are".to_owned(),
        Standstill::Joint => "a change of members is being agreed on".to_owned(),
        Standstill::Comes(id) => format!("{} is about to be added", name(id)),
        Standstill::Silent(id) => format!("{} does not answer, and the change waits for it", name(id)),
        Standstill::Empty(id) => format!("{} is being sent the state", name(id)),
        Standstill::Learns { replica, matched, committed } => {
            format!("{} learns: it has {matched} of {committed} entries", name(replica))
        }
        Standstill::Leaves(id) => format!("{} is to leave", name(id)),
        Standstill::Missed(id) => {
            format!("{} does not answer, and without it there would be no majority after the next step", name(id))
        }
    }
}
