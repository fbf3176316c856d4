//! What a node has on its disk, and how replicas come back from it.
//!
//! A replica is its newest snapshot, then its part of the log. A new one is born by a snapshot as well, so there is one way
//! back. Invariants: a shard is formed here only from the catalog's record of its birth, and only once (DESIGN.md, section
//! 5): a mark without a state means that the disk lost it, and is an error, never an empty shard.

mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::TICK;
use super::machine::{Machine, MachineError, MachineLoader};
use super::replica::Replica;
use crate::consensus::{Group, GroupOptions, HardState, LogEntry, RestoreError, Restored, SnapshotPoint};
use crate::keyspace::Keyspace;
use crate::net::Entropy;
use crate::storage::{
    DataDir, Disk, Identity, LogOptions, RecoveredGroup, SegmentLog, SnapshotReader, SnapshotWriter, StorageError,
    snapshot::{self, Replaced},
};
use crate::topology::{
    Catalog, ClusterId, Incarnation, LogIndex, NodeName, ReplicaId, ShardId, ShardRecord, Slot, Term,
};

const CATALOG_DOCUMENT: &str = "catalog";
const LEASES_DOCUMENT: &str = "leases";

/// Why a node cannot start or a replica cannot be.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A state on disk.
    #[error("{}: the state of shard {shard}: {error}", path.display())]
    State {
        /// The snapshot.
        path: PathBuf,
        /// The group.
        shard: ShardId,
        /// What is wrong.
        error: MachineError,
    },
    /// The log and the snapshot of a shard contradict each other.
    #[error("{}: the log and the state of shard {shard}: {error}", dir.display())]
    Restore {
        /// The data directory.
        dir: PathBuf,
        /// The group.
        shard: ShardId,
        /// What is wrong.
        error: RestoreError,
    },
    /// A state that was here is gone.
    #[error(
        "shard {shard}: its state was in {dir} and is gone; start the node with an empty directory, and its replicas are made anew from the others"
    )]
    Lost {
        /// The group.
        shard: ShardId,
        /// The data directory.
        dir: PathBuf,
    },
    /// The log was lost.
    #[error("{0}: the log is gone, but this node belongs to a cluster; its state may be from any time")]
    LogLost(PathBuf),
    /// The accepted file has the node no more, and nothing of the cluster is here.
    #[error(
        "{dir}: node `{node}` was removed from the cluster, and this data directory (incarnation {incarnation}) holds nothing of \
         it any more and never acts again; should the name come back, start it with an empty directory"
    )]
    Removed {
        /// The data directory.
        dir: PathBuf,
        /// The node.
        node: NodeName,
        /// The directory's incarnation.
        incarnation: Incarnation,
    },
    /// Another directory acts under the node's name since.
    #[error(
        "{dir}: the cluster has replaced this data directory (incarnation {incarnation}) by another one of node `{node}`, \
         and it may never act again: empty it, and the node starts with new replicas"
    )]
    Retired {
        /// The data directory.
        dir: PathBuf,
        /// The node.
        node: NodeName,
        /// The directory's incarnation.
        incarnation: Incarnation,
    },
    /// The state on disk is that of another replica of the shard.
    #[error("{}: the state of replica {found} of shard {shard}, and the one of this node is {expected}", path.display())]
    OtherReplica {
        /// The snapshot.
        path: PathBuf,
        /// The group.
        shard: ShardId,
        /// Whose state it is.
        found: ReplicaId,
        /// Whose it should be.
        expected: ReplicaId,
    },
    /// `pontoon init` twice, or on the wrong node.
    #[error("{0}")]
    Init(String),
}

impl HomeError {
    /// What whoever runs the node can do about it; nothing where the error itself says it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Storage(error) => error.advice(),
            Self::State { .. } | Self::Restore { .. } | Self::LogLost(_) | Self::OtherReplica { .. } => {
                "; nothing was changed; start the node with an empty directory, and its replicas are made anew from the \
                 others"
            }
            Self::Lost { .. } | Self::Retired { .. } | Self::Removed { .. } | Self::Init(_) => "",
        }
    }
}

/// A node's data directory.
pub struct Home {
    dir: DataDir,
    boot_nonce: u64,
    keeps_leases: bool,
    /// Whether leaders counted on this node before its start.
    kept_leases: bool,
    /// What the log holds of groups that have no state yet.
    unclaimed: BTreeMap<u64, RecoveredGroup>,
    /// Shards of which the directory holds the state of another replica than the catalog has here.
    of_others: BTreeSet<ShardId>,
    /// The copy of the catalog that was written last, since the start.
    kept: Option<Catalog>,
}

/// A handle to the snapshots of a node, for other threads.
#[derive(Clone, Debug)]
pub struct SnapshotHome {
    disk: Disk,
    dir: PathBuf,
}

/// What a snapshot says of itself.
#[derive(serde::Serialize, serde::Deserialize)]
struct Description {
    replica: ReplicaId,
    point: SnapshotPoint,
}

impl Home {
    /// Opens or makes the directory of the node `name`, and its log.
    ///
    /// # Errors
    /// It belongs to another node or process, cannot be written, or is damaged.
    pub fn open(disk: &Disk, path: &Path, name: &NodeName, entropy: &Entropy) -> Result<(Self, SegmentLog), HomeError> {
        Self::open_with(disk, path, name, entropy, LogOptions::default())
    }

    /// The same with a log of another layout. Its salt is drawn here.
    ///
    /// # Errors
    /// As for [`Home::open`].
    pub fn open_with(
        disk: &Disk,
        path: &Path,
        name: &NodeName,
        entropy: &Entropy,
        options: LogOptions,
    ) -> Result<(Self, SegmentLog), HomeError> {
        let dir = DataDir::open(disk, path, name, Incarnation(entropy.next_u128()))?;
        snapshot::open_directory(disk, &dir.snapshot_dir())?;
        let options = LogOptions { salt: entropy.next(), ..options };
        // The log is made before a cluster or a replica comes. It must not be made again, or the next start would find one.
        let had_log = dir.identity().cluster.is_some() || !dir.identity().bootstrapped.is_empty();
        let is_segment = |name: &String| Path::new(name).extension().is_some_and(|kind| kind == "log");
        if had_log && !disk.list_dir(&dir.log_dir())?.unwrap_or_default().iter().any(is_segment) {
            return Err(HomeError::LogLost(dir.log_dir()));
        }
        let (log, recovered) = SegmentLog::open(disk, &dir.log_dir(), options)?;
        if let Some(cut) = &recovered.cut {
            tracing::info!(file = %cut.path.display(), offset = cut.offset, "the last write before a crash was cut off");
        }
        let kept_leases = dir.read_document(LEASES_DOCUMENT)?.unwrap_or(false);
        let (boot_nonce, unclaimed) = (entropy.next(), recovered.groups);
        Ok((
            Self {
                dir,
                boot_nonce,
                keeps_leases: false,
                kept_leases,
                unclaimed,
                of_others: BTreeSet::new(),
                kept: None,
            },
            log,
        ))
    }

    /// The cluster that the node belongs to.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.dir.identity().cluster
    }

    /// The incarnation of the directory.
    pub fn incarnation(&self) -> Incarnation {
        self.dir.identity().incarnation
    }

    /// Lets leaders count on this node's replicas from now on; to be called before any of them is restored. It is on disk
    /// before anybody is told, so that a start without leases still waits for those that were given before it.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_leases(&mut self) -> Result<(), HomeError> {
        self.keeps_leases = true;
        Ok(self.dir.write_document(LEASES_DOCUMENT, &true)?)
    }

    /// Whether leaders may count on this node's replicas.
    pub const fn keeps_leases(&self) -> bool {
        self.keeps_leases
    }

    /// Whether leaders may have counted on them before this start, and none does any more.
    pub const fn kept_leases_once(&self) -> bool {
        self.kept_leases && !self.keeps_leases
    }

    /// All leases that were given before this start have run out.
    ///
    /// # Errors
    /// The disk.
    pub fn forget_leases(&self) -> Result<(), HomeError> {
        Ok(self.dir.write_document(LEASES_DOCUMENT, &false)?)
    }

    /// The snapshots, for another thread.
    pub fn snapshots(&self) -> SnapshotHome {
        SnapshotHome { disk: self.dir.disk().clone(), dir: self.dir.snapshot_dir() }
    }

    /// The last catalog that the node knew.
    ///
    /// # Errors
    /// It is damaged.
    pub fn catalog(&self) -> Result<Option<Catalog>, HomeError> {
        Ok(self.dir.read_document(CATALOG_DOCUMENT)?)
    }

    /// Refuses a directory that was replaced by another one under its name, or whose node was removed.
    ///
    /// # Errors
    /// It was.
    pub fn check_not_retired(&self, catalog: &Catalog) -> Result<(), HomeError> {
        let Identity { node, incarnation, .. } = self.dir.identity();
        if !catalog.is_retired(*incarnation) {
            return Ok(());
        }
        let (dir, node, incarnation) = (self.dir.path().to_path_buf(), node.clone(), *incarnation);
        Err(match catalog.nodes.contains_key(&node) {
            true => HomeError::Retired { dir, node, incarnation },
            false => HomeError::Removed { dir, node, incarnation },
        })
    }

    /// Keeps a copy of the catalog; the first one decides which cluster the node belongs to. A revision that tells of slots that
    /// moved, and of nothing else, is not written: while slots move there are several a second, each would stop the node for a
    /// sync, and a node that starts hears of them anew.
    ///
    /// # Errors
    /// The disk, or the catalog of another cluster.
    pub fn keep_catalog(&mut self, catalog: &Catalog) -> Result<(), HomeError> {
        self.dir.join_cluster(catalog.cluster)?;
        if self.kept.as_ref().is_some_and(|kept| kept.is_same_but_for_slots(catalog)) {
            return Ok(());
        }
        self.dir.write_document(CATALOG_DOCUMENT, catalog)?;
        self.kept = Some(catalog.clone());
        Ok(())
    }

    /// Brings the replicas back that the directory holds.
    ///
    /// # Errors
    /// A state is damaged, or was here and is gone.
    pub fn restore_all(&mut self, catalog: Option<&Catalog>) -> Result<Vec<Replica>, HomeError> {
        let name = self.dir.identity().node.clone();
        let mut found = Vec::new();
        let known = catalog.into_iter().flat_map(|c| c.replicas_on(&name)).map(|(s, r)| (s.id, r.id, s.place(r.id)));
        let mut known: Vec<_> = known.collect();
        // The cluster was created here, and the copy of its catalog was not written yet.
        let own = self.dir.identity().bootstrapped.iter().find(|(shard, _)| *shard == ShardId::CATALOG);
        if let Some((shard, id)) = own.filter(|_| catalog.is_none()) {
            known.push((*shard, *id, 0));
        }
        for (shard, replica, place) in known {
            match self.restore(shard, replica, place) {
                Ok(restored) => found.extend(restored),
                // Of one that the cluster gave up: its removal is resumed.
                Err(HomeError::OtherReplica { .. }) => drop(self.of_others.insert(shard)),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn restore(&mut self, shard: ShardId, id: ReplicaId, place: usize) -> Result<Option<Replica>, HomeError> {
        let snapshots = self.snapshots();
        let Some((description, machine, bytes)) = snapshots.read(shard)? else {
            // A replica that was sent its state has no mark, but its log begins after that state.
            let had_state = |logged: &RecoveredGroup| logged.compacted.index > 0 || !logged.entries.is_empty();
            if self.dir.is_bootstrapped(shard, id) || self.unclaimed.get(&shard.0).is_some_and(had_state) {
                return Err(HomeError::Lost { shard, dir: self.dir.path().to_path_buf() });
            }
            return Ok(None);
        };
        if description.replica != id {
            let (path, found) = (self.dir.snapshot_dir(), description.replica);
            return Err(HomeError::OtherReplica { path, shard, found, expected: id });
        }
        let logged = self.unclaimed.remove(&shard.0).unwrap_or_default();
        // The log is cut behind a state only when that is on disk: what lies between them was here, and is gone.
        if logged.compacted.index > description.point.index.0 {
            let dir = self.dir.path().to_path_buf();
            return Err(HomeError::Restore { dir, shard, error: RestoreError::Gap });
        }
        let replica = self.revive((shard, id, place), description.point, machine, logged, bytes)?;
        Ok(Some(replica))
    }

    fn revive(
        &self,
        (shard, id, place): (ShardId, ReplicaId, usize),
        start: SnapshotPoint,
        machine: Machine,
        logged: RecoveredGroup,
        snapshot_bytes: u64,
    ) -> Result<Replica, HomeError> {
        let logged_state = logged.state.as_deref().and_then(HardState::decode);
        let hard_state = logged_state.unwrap_or_default();
        let entries = entries_after(&start, logged);
        let log_starts_afresh = entries.is_none();
        let options = self.group_options(place, logged_state.is_some());
        let restored = Restored { start, hard_state, entries: entries.unwrap_or_default() };
        let group = Group::restore(id, options, restored).map_err(|error| {
            let dir = self.dir.path().to_path_buf();
            HomeError::Restore { dir, shard, error }
        })?;
        let mut replica = Replica::new(shard, id, group, machine, snapshot_bytes);
        replica.log_starts_afresh = log_starts_afresh;
        Ok(replica)
    }

    /// Forms a data shard here, from the catalog's record of its birth; or brings the replica back, which is there already
    /// when the copy of the catalog was missing at the start.
    ///
    /// # Errors
    /// The disk, or the shard was formed here before and its state is gone.
    pub fn give_birth(&mut self, catalog: &Catalog, shard: &ShardRecord, id: ReplicaId) -> Result<Replica, HomeError> {
        if let Some(replica) = self.restore(shard.id, id, shard.place(id))? {
            return Ok(replica);
        }
        let mut keyspace = Keyspace::new(catalog.seed);
        for range in &shard.birth_slots {
            (range.first..=range.last).filter_map(Slot::new).for_each(|slot| keyspace.own(slot, range.epoch));
        }
        let point = SnapshotPoint::birth(shard.birth.iter().map(|r| r.id));
        self.bear((shard.id, id, shard.place(id)), point, Machine::Data(keyspace.into()))
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
        let cluster = catalog.cluster;
        let replica = self.bear((ShardId::CATALOG, first.id, 0), point, Machine::Catalog(Arc::new(catalog)))?;
        self.dir.join_cluster(cluster)?;
        Ok(replica)
    }

    /// The state first, then the mark: a crash between them leaves a replica that is simply there.
    fn bear(
        &mut self,
        (shard, id, place): (ShardId, ReplicaId, usize),
        point: SnapshotPoint,
        machine: Machine,
    ) -> Result<Replica, HomeError> {
        if let Some(state) = machine.freeze() {
            let (_, replaced) = self.snapshots().write(shard, id, &point, state.pieces())?;
            replaced.remove()?;
        }
        self.dir.mark_bootstrapped(shard, id)?;
        self.revive((shard, id, place), point, machine, RecoveredGroup::default(), 0)
    }

    /// A replica that joins a shard: it has nothing until the leader sends it the state. Or brings it back, as above.
    ///
    /// # Errors
    /// What the log has of it is damaged.
    pub fn newcomer(&mut self, shard: &ShardRecord, id: ReplicaId) -> Result<Replica, HomeError> {
        if let Some(replica) = self.restore(shard.id, id, shard.place(id))? {
            return Ok(replica);
        }
        // Its term and vote may be there from before a restart.
        let logged = self.unclaimed.remove(&shard.id.0).unwrap_or_default();
        self.revive((shard.id, id, shard.place(id)), SnapshotPoint::default(), Machine::Empty, logged, 0)
    }

    /// `place` sets the elections of a group's replicas apart; a replica has the place of the one that it replaces.
    /// `took_part`: whether the replica may have voted or heard a leader before this start.
    fn group_options(&self, place: usize, took_part: bool) -> GroupOptions {
        let ticks = |ms: u128| (ms / TICK.as_millis()) as usize;
        let lease_ticks = ticks(450);
        let quiet = took_part && (self.keeps_leases || self.kept_leases);
        GroupOptions {
            heartbeat_ticks: ticks(50),
            lease_ticks,
            // The first tick may come at once.
            quiet_ticks: if quiet { lease_ticks + 1 } else { 0 },
            keeps_leases: self.keeps_leases,
            election_ticks: ticks(600) + place * ticks(100),
            append_bytes_max: 1 << 20,
            appends_in_flight_max: 256,
            uncommitted_bytes_max: 256 << 20,
            committed_bytes_max: 8 << 20,
            boot_nonce: self.boot_nonce,
            // What is in the catalog spreads from each of its voters.
        }
    }
}

impl SnapshotHome {
    /// Writes a state that stands for `point`. Returns its size, and what it replaces.
    ///
    /// # Errors
    /// The disk.
    pub fn write(
        &self,
        shard: ShardId,
        id: ReplicaId,
        point: &SnapshotPoint,
        pieces: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(u64, Replaced), StorageError> {
        let mut writer = self.writer(shard, id, point)?;
        for piece in pieces {
            writer.push(&piece)?;
        }
        writer.finish()
    }

    /// Removes the states of a replica that is destroyed; of large ones it takes its time.
    ///
    /// # Errors
    /// The disk. It can be done again.
    pub fn remove_all(&self, shard: ShardId) -> Result<(), StorageError> {
        snapshot::remove_all(&self.disk, &self.dir, shard.0)
    }

    /// Starts to write a state that stands for `point`.
    ///
    /// # Errors
    /// The disk.
    pub fn writer(&self, shard: ShardId, id: ReplicaId, point: &SnapshotPoint) -> Result<SnapshotWriter, StorageError> {
        let description = Description { replica: id, point: point.clone() };
        let json = serde_json::to_vec(&description).expect("a description is plain data");
        SnapshotWriter::create(&self.disk, &self.dir, shard.0, point.index.0, point.term.0, &json)
    }

    fn read(&self, shard: ShardId) -> Result<Option<(Description, Machine, u64)>, HomeError> {
        let Some(mut reader) = SnapshotReader::open_newest(&self.disk, &self.dir, shard.0)? else { return Ok(None) };
        let path = reader.path().to_path_buf();
        let state = |error| HomeError::State { path: path.clone(), shard, error };
        let description = serde_json::from_slice(reader.description())
            .map_err(|e| state(MachineError::Snapshot(format!("its description: {e}"))))?;
        let mut loader = MachineLoader::new(shard);
        while let Some(piece) = reader.next_piece()? {
            loader.push(&piece).map_err(state)?;
        }
        let machine = loader.finish().map_err(state)?;
        Ok(Some((description, machine, reader.file_bytes())))
    }
}

/// The logged entries that follow a snapshot, where the log reaches it with the same entry there. Otherwise what the log
/// holds was never committed, and it must start afresh after the snapshot.
fn entries_after(start: &SnapshotPoint, logged: RecoveredGroup) -> Option<Vec<LogEntry>> {
    let known_term = if logged.compacted.index == start.index.0 {
        Some(logged.compacted.term)
    } else {
        logged.entries.iter().find(|e| e.index == start.index.0).map(|e| e.term)
    };
    let after = logged.entries.into_iter().filter(|e| e.index > start.index.0);
    let entries =
        after.map(|e| LogEntry { index: LogIndex(e.index), term: Term(e.term), kind: e.kind, data: e.payload });
    (known_term == Some(start.term.0)).then(|| entries.collect())
}

#[cfg(test)]
mod tests;
