//! What is written when a node is given a shard, apart from the rest: it takes several syncs, for which the clients of the other shards
//! need not wait.
//!
//! A replica is formed in three parts: [`Home::begin_birth`] says what is to be written, [`BirthWrites::write`] writes it on any
//! thread, and [`Home::end_birth`] has the replica then. A crash between them is one before or after the birth. The same goes for the copy of
//! the catalog, which is on disk before anything is done that it asks for.

use std::sync::Arc;

use super::{Home, HomeError, SnapshotHome};
use crate::consensus::SnapshotPoint;
use crate::keyspace::Keyspace;
use crate::node::machine::{FrozenMachine, Machine};
use crate::node::replica::Replica;
use crate::storage::document::write_document;
use crate::storage::{Disk, Marker, RecoveredGroup, StorageError};
use crate::topology::{Catalog, ReplicaId, ShardId, ShardRecord, Slot};

/// The document that holds the last catalog that the node knew.
pub(super) const CATALOG_DOCUMENT: &str = "catalog";

/// How a replica comes to be of which its shard's birth is to be here.
pub enum Beginning {
    /// It was formed before.
    There(Box<Replica>),
    /// It is to be formed.
    Birth(Box<Birth>),
}

/// A replica that is being formed.
pub struct Birth {
    shard: ShardId,
    id: ReplicaId,
    place: usize,
    point: SnapshotPoint,
    machine: Machine,
}

/// What has to be on disk before it is.
pub struct BirthWrites {
    shard: ShardId,
    id: ReplicaId,
    point: SnapshotPoint,
    state: Option<FrozenMachine>,
    snapshots: SnapshotHome,
    marker: Marker,
}

/// A copy of the catalog that is to be written.
pub struct CatalogCopy {
    disk: Disk,
    path: std::path::PathBuf,
    catalog: Arc<Catalog>,
}

impl Home {
    /// Joins the cluster of a catalog, durably; the first one decides which that is.
    ///
    /// # Errors
    /// The disk, or the catalog of another cluster.
    pub fn join_cluster(&mut self, catalog: &Catalog) -> Result<(), HomeError> {
        Ok(self.dir.join_cluster(catalog.cluster)?)
    }

    /// The copy of the catalog that is to be written, if one is. A revision that tells of slots that moved, and of nothing else,
    /// is not: while slots move there are several a second, each would cost a sync, and a node that starts hears of them anew.
    pub fn copy_of(&self, catalog: &Arc<Catalog>) -> Option<CatalogCopy> {
        if self.kept.as_ref().is_some_and(|kept| kept.is_same_but_for_slots(catalog)) {
            return None;
        }
        let (disk, path) = (self.dir.disk().clone(), self.dir.path().join(CATALOG_DOCUMENT));
        Some(CatalogCopy { disk, path, catalog: Arc::clone(catalog) })
    }

    /// That copy is on disk.
    pub fn keeps(&mut self, catalog: Arc<Catalog>) {
        self.kept = Some(catalog);
    }

    /// Joins the catalog's cluster and keeps a copy of the catalog, all at once.
    ///
    /// # Errors
    /// The disk, or the catalog of another cluster.
    pub fn keep_catalog(&mut self, catalog: &Arc<Catalog>) -> Result<(), HomeError> {
        self.join_cluster(catalog)?;
        if let Some(copy) = self.copy_of(catalog) {
            copy.write()?;
            self.keeps(Arc::clone(catalog));
        }
        Ok(())
    }

    /// Begins to form a data shard here, from the catalog's record of its birth; or brings the replica back, which is there already
    /// when the copy of the catalog was missing at the start.
    ///
    /// # Errors
    /// The disk, or the shard was formed here before and its state is gone.
    pub fn begin_birth(
        &mut self,
        catalog: &Catalog,
        shard: &ShardRecord,
        id: ReplicaId,
    ) -> Result<Beginning, HomeError> {
        if let Some(replica) = self.restore(shard.id, id, shard.place(id))? {
            return Ok(Beginning::There(Box::new(replica)));
        }
        let mut keyspace = Keyspace::new(catalog.seed);
        for range in &shard.birth_slots {
            (range.first..=range.last).filter_map(Slot::new).for_each(|slot| keyspace.own(slot, range.epoch));
        }
        let point = SnapshotPoint::birth(shard.birth.iter().map(|r| r.id));
        let machine = Machine::Data(keyspace.into());
        Ok(Beginning::Birth(Box::new(Birth { shard: shard.id, id, place: shard.place(id), point, machine })))
    }

    /// What has to be written for it.
    pub fn writes_of(&self, birth: &Birth) -> BirthWrites {
        let Birth { shard, id, point, machine, .. } = birth;
        let (snapshots, marker) = (self.snapshots(), self.dir.marker());
        BirthWrites { shard: *shard, id: *id, point: point.clone(), state: machine.freeze(), snapshots, marker }
    }

    /// The replica; what it needs is written.
    ///
    /// # Errors
    /// Its group cannot begin.
    pub fn end_birth(&mut self, birth: Birth) -> Result<Replica, HomeError> {
        let Birth { shard, id, place, point, machine } = birth;
        self.dir.look();
        self.revive((shard, id, place), point, machine, RecoveredGroup::default(), 0)
    }

    /// All of that at once.
    ///
    /// # Errors
    /// As for [`Home::begin_birth`].
    pub fn give_birth(&mut self, catalog: &Catalog, shard: &ShardRecord, id: ReplicaId) -> Result<Replica, HomeError> {
        match self.begin_birth(catalog, shard, id)? {
            Beginning::There(replica) => Ok(*replica),
            Beginning::Birth(birth) => self.bear(*birth),
        }
    }

    fn bear(&mut self, birth: Birth) -> Result<Replica, HomeError> {
        self.writes_of(&birth).write()?;
        self.end_birth(birth)
    }

    /// Forms the catalog's group of a new cluster here.
    ///
    /// # Errors
    /// The node belongs to a cluster, or is not the catalog's first member.
    pub fn found(&mut self, catalog: Catalog) -> Result<Replica, HomeError> {
        catalog.validate().map_err(|e| HomeError::Init(e.to_string()))?;
        let name = self.dir.identity().node.clone();
        if let Some(cluster) = self.cluster() {
            return Err(HomeError::Init(format!("node `{name}` belongs to cluster {cluster} already")));
        }
        if self.dir.identity().bootstrapped.iter().any(|(shard, _)| *shard == ShardId::CATALOG) {
            return Err(HomeError::Init(format!("node `{name}` has the catalog of a cluster already")));
        }
        let [first] = catalog.catalog_shard().birth.as_slice() else {
            return Err(HomeError::Init("the catalog must be born with one replica".to_owned()));
        };
        let (first, point) = (first.clone(), SnapshotPoint::birth([first.id]));
        if first.node != name {
            return Err(HomeError::Init(format!("the catalog is born on node `{}`, and this is `{name}`", first.node)));
        }
        // The mark decides; a node that belonged to a cluster before there is one could never create it.
        let (cluster, shard, machine) = (catalog.cluster, ShardId::CATALOG, Machine::Catalog(Arc::new(catalog)));
        let replica = self.bear(Birth { shard, id: first.id, place: 0, point, machine })?;
        self.dir.join_cluster(cluster)?;
        Ok(replica)
    }
}

impl BirthWrites {
    /// The state first, then the mark: a crash between them leaves a replica that is simply there.
    ///
    /// # Errors
    /// The disk.
    pub fn write(self) -> Result<(), StorageError> {
        if let Some(state) = self.state {
            self.snapshots.write(self.shard, self.id, &self.point, state.pieces())?;
        }
        self.marker.mark_bootstrapped(self.shard, self.id)
    }
}

impl CatalogCopy {
    /// Writes it, durably.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self) -> Result<(), StorageError> {
        write_document(&self.disk, &self.path, &*self.catalog)
    }
}
