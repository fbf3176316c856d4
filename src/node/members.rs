//! A leader brings its group's members to what the catalog says, one safe step at a time (DESIGN.md, section 11).
//!
//! Which step is `consensus::next_step`'s to say. Here is only which catalog it is asked about.

use super::replica::Replica;
use crate::consensus::Step;
use crate::topology::Catalog;

impl Replica {
    /// Takes the next step towards the members that the catalog names, if this replica leads and none is under way.
    pub fn reconcile_members(&mut self, catalog: &Catalog) {
        if !self.group.leads() {
            return;
        }
        let Some(record) = catalog.shard(self.shard) else { return };
        // A member that this copy of the catalog does not know of: the copy is older than the members are.
        if self.group.members().all().any(|id| id >= catalog.next_replica) {
            return;
        }
        let wanted: Vec<_> = record.replicas.iter().map(|replica| replica.id).collect();
        match self.group.next_step(&wanted) {
            None => {}
            Some(Step::Transfer(to)) => {
                tracing::info!(shard = %record.name, replica = %to, "gets the leadership, as this replica is to leave");
                self.group.transfer(to);
            }
            Some(Step::Change(change)) => match self.group.propose_members(change) {
                Ok(index) => tracing::info!(shard = %record.name, %index, "members: {change}"),
                Err(error) => tracing::debug!(shard = %record.name, "members: {change}: {error}"),
            },
        }
    }
}
