//! A leader brings its group's members to what the catalog says, one safe step at a time (DESIGN.md, section 11).
//!
//! Which step is `consensus::next_step`'s to say. Here is only which catalog it is asked about.

use super::replica::Replica;
use crate::consensus::{MemberChange, Standstill, Step};
use crate::topology::{Catalog, ReplicaId, ReplicaRecord, ShardRecord};

impl Replica {
    /// Takes the next step towards the members that the catalog names, if this replica leads and none is under way.
    pub fn reconcile_members(&mut self, catalog: &Catalog) {
        if !self.group.leads() {
            return;
        }
        let Some(record) = catalog.shard(self.shard) else { return };
        self.group.settle_members();
        let wanted: Vec<_> = record.replicas.iter().map(|replica| replica.id).collect();
        let step = self.group.next_step(&wanted);
        // Whatever is wanted, a joint change is left, and who is no voter leads no longer than it must.
        let is_due_anyway = match step {
            Some(Step::Change(MemberChange::LeaveJoint)) => true,
            Some(Step::Transfer(_)) => !self.group.members().voters.contains(&self.id),
            _ => false,
        };
        // This copy of the catalog is older than the members are: what it wants may have been given up since, and what was
        // a replica then may be destroyed by now.
        if self.is_older_than_members(catalog) && !is_due_anyway {
            return;
        }
        match step {
            None if self.may_be_brought_in(record) => self.confirm_members(catalog),
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

    /// By the revision that the members name, or, where an earlier release changed them and named none, by a member that it knows nothing of.
    fn is_older_than_members(&self, catalog: &Catalog) -> bool {
        let members = self.group.members();
        catalog.revision < members.revision || members.all().any(|id| id >= catalog.next_replica)
    }

    /// Whether a leader that knows an older catalog might still make somebody a member who is to leave and is none.
    pub fn may_be_brought_in(&self, record: &ShardRecord) -> bool {
        let members = self.group.members();
        let is_out = |replica: &ReplicaRecord| !members.contains(replica.id);
        members.revision < record.leaving_since && record.leaving.iter().any(is_out)
    }

    /// Who left before it came was taken out by no change, which would have named the revision. So this does.
    fn confirm_members(&mut self, catalog: &Catalog) {
        let members = self.group.members();
        // For anybody else it would be a change, and while one is under way there is a step to take.
        let is_plain = members.voters.contains(&self.id) && members.voters_outgoing.is_empty();
        if !is_plain || !self.group.leads_surely() {
            return;
        }
        match self.group.propose_members(MemberChange::Confirm(self.id), catalog.revision) {
            Ok(index) => tracing::info!(shard = %self.shard, %index, "members: confirmed by {}", catalog.revision),
            Err(error) => tracing::debug!(shard = %self.shard, "members: not confirmed: {error}"),
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
