//! What a replica leaves on the disk goes when the cluster has given the replica up (DESIGN.md, R16).
//!
//! The order makes a crash at any point harmless: the copy of the catalog that does not list the replica is on disk first, so no
//! start brings it back; then its log is forgotten (by the engine, in a batch); then its states go, then its mark. What a crash
//! leaves is found at the next start, by [`Home::leftovers`], and goes in the same way.
//!
//! Invariant: nothing is removed of a shard of which the catalog lists the replica that is here.

use super::{Home, HomeError};
use crate::storage::snapshot;
use crate::topology::{Catalog, ShardId};

impl Home {
    /// Shards of which something is on the disk, and no replica is here by this catalog; to be asked when the replicas have been
    /// restored. Their logs are to be forgotten, and then they are to be destroyed as this says.
    ///
    /// # Errors
    /// The disk.
    pub fn leftovers(&self, catalog: &Catalog) -> Result<Vec<ShardId>, HomeError> {
        let identity = self.dir.identity();
        let listed = |shard: &ShardId| catalog.replicas_on(&identity.node).any(|(record, _)| record.id == *shard);
        let states = snapshot::groups(self.dir.disk(), &self.dir.snapshot_dir())?;
        let logged = self.unclaimed.keys().copied();
        let marked = identity.bootstrapped.iter().map(|(shard, _)| *shard);
        let mut found: Vec<ShardId> = states.into_iter().chain(logged).map(ShardId).chain(marked).collect();
        found.retain(|shard| !listed(shard));
        found.extend(&self.of_others);
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Ends the removal of a shard's replica, whose log has been forgotten durably and whose
    /// [states are gone](super::SnapshotHome::remove_all).
    ///
    /// # Errors
    /// The disk. It can be done again.
    pub fn end_removal(&mut self, shard: ShardId) -> Result<(), HomeError> {
        self.dir.unmark_bootstrapped(shard)?;
        self.unclaimed.remove(&shard.0);
        self.of_others.remove(&shard);
        Ok(())
    }
}
