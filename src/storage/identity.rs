//! The data directory of a node: whose it is, and the few facts that must be known, durably, before anything else.
//!
//! Invariants: one process has it open (a lock that ends with the process); the incarnation is drawn once, when the
//! directory is made, and never changes; the cluster is set once; a "bootstrapped" mark goes only with a replica that the
//! cluster has given up for ever. A directory that holds something else, or another node's data, is refused and left as it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskLock};
use super::document::{read_document, temporary_path, write_document};
use super::error::StorageError;
use crate::topology::ids::{ClusterId, Incarnation, NodeName, ReplicaId, ShardId};

/// The version that this release writes and reads.
const FORMAT_VERSION: u32 = 1;
const IDENTITY_FILE: &str = "identity";
const LOCK_FILE: &str = "LOCK";
/// What a file system puts into a directory that is its root.
const LOST_AND_FOUND: &str = "lost+found";

/// A node's data directory, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    disk: Disk,
    path: PathBuf,
    identity: Identity,
    _lock: DiskLock,
}

/// What a data directory says about its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    format: u32,
    /// The node that the directory belongs to.
    pub node: NodeName,
    /// Drawn when the directory was made: a node that lost its disk comes back with another one.
    pub incarnation: Incarnation,
    /// The cluster that the node belongs to, once it does.
    pub cluster: Option<ClusterId>,
    /// The replicas that were formed here from a shard's first members: never again, even if their data is gone.
    pub bootstrapped: BTreeSet<(ShardId, ReplicaId)>,
}

/// Read before the rest of the document is understood.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl DataDir {
    /// Opens the directory of this node. Where there is none, or an empty one, it is made the node's, with the
    /// incarnation in `fresh` (a random one).
    pub fn open(disk: &Disk, path: &Path, node: &NodeName, fresh: Incarnation) -> Result<Self, StorageError> {
        // First without the lock, so that what is not ours stays as it was.
        inspect(disk, path, node)?;
        disk.create_dir(path)?;
        let lock = disk.lock(&path.join(LOCK_FILE)).map_err(|error| match error {
            StorageError::InUse { .. } => StorageError::InUse { path: path.to_path_buf() },
            error => error,
        })?;
        let identity = match inspect(disk, path, node)? {
            Some(identity) => identity,
            None => {
                let (node, bootstrapped) = (node.clone(), BTreeSet::new());
                let identity =
                    Identity { format: FORMAT_VERSION, node, incarnation: fresh, cluster: None, bootstrapped };
                write_document(disk, &path.join(IDENTITY_FILE), &identity)?;
                identity
            }
        };
        Ok(Self { disk: disk.clone(), path: path.to_path_buf(), identity, _lock: lock })
    }

    /// What the directory says about its node.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Sets the cluster, durably. Once set it stays: another one is refused.
    pub fn join_cluster(&mut self, cluster: ClusterId) -> Result<(), StorageError> {
        match self.identity.cluster {
            Some(present) if present == cluster => Ok(()),
            Some(present) => {
                let why = format!("the data directory belongs to cluster {present}, not to {cluster}");
                Err(StorageError::Foreign { path: self.path.clone(), why })
            }
            None => self.replace(Identity { cluster: Some(cluster), ..self.identity.clone() }),
        }
    }

    /// Notes, durably, that this replica was formed here from its shard's first members.
    pub fn mark_bootstrapped(&mut self, shard: ShardId, replica: ReplicaId) -> Result<(), StorageError> {
        if self.is_bootstrapped(shard, replica) {
            return Ok(());
        }
        let mut identity = self.identity.clone();
        identity.bootstrapped.insert((shard, replica));
        self.replace(identity)
    }

    /// Forgets, durably, that replicas of a shard were formed here: the cluster has given them up, and never uses their ids again.
    pub fn unmark_bootstrapped(&mut self, shard: ShardId) -> Result<(), StorageError> {
        let mut identity = self.identity.clone();
        identity.bootstrapped.retain(|(of, _)| *of != shard);
        if identity.bootstrapped.len() == self.identity.bootstrapped.len() {
            return Ok(());
        }
        self.replace(identity)
    }

    /// Whether this replica was ever formed here from its shard's first members.
    pub fn is_bootstrapped(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.identity.bootstrapped.contains(&(shard, replica))
    }

    /// The document of this name; `None` where there is none.
    pub fn read_document<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StorageError> {
        read_document(&self.disk, &self.path.join(name))
    }

    /// Replaces the document of this name, durably.
    pub fn write_document<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StorageError> {
        write_document(&self.disk, &self.path.join(name), value)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log is.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the snapshots are.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The disk that the directory is on.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    fn replace(&mut self, identity: Identity) -> Result<(), StorageError> {
        write_document(&self.disk, &self.path.join(IDENTITY_FILE), &identity)?;
        self.identity = identity;
        Ok(())
    }
}

/// The identity in a directory, if it is this node's; `None` where the directory is there to be taken.
fn inspect(disk: &Disk, path: &Path, node: &NodeName) -> Result<Option<Identity>, StorageError> {
    let foreign = |why: String| Err(StorageError::Foreign { path: path.to_path_buf(), why });
    let names = disk.list_dir(path)?.unwrap_or_default();
    let document = path.join(IDENTITY_FILE);
    if !names.iter().any(|name| name == IDENTITY_FILE) {
        // What a crash leaves of a directory that was just being made.
        let unfinished = temporary_path(Path::new(IDENTITY_FILE));
        let ours =
            |name: &String| [LOCK_FILE, LOST_AND_FOUND].contains(&name.as_str()) || unfinished == Path::new(name);
        return match names.iter().find(|name| !ours(name)) {
            Some(name) => foreign(format!("not a data directory: it holds `{name}` and no `{IDENTITY_FILE}`")),
            None => Ok(None),
        };
    }
    let Some(Format { format }) = read_document(disk, &document)? else { return Ok(None) };
    if format != FORMAT_VERSION {
        return Err(StorageError::Version { path: document, found: format, known: FORMAT_VERSION });
    }
    let identity: Option<Identity> = read_document(disk, &document)?;
    match identity {
        Some(identity) if identity.node != *node => {
            foreign(format!("the data directory of node `{}`, not of `{node}`", identity.node))
        }
        identity => Ok(identity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::simulated::SimulatedDisk;

    const DIR: &str = "/data/n1";

    fn open(machine: &SimulatedDisk, name: &str, fresh: u128) -> Result<DataDir, StorageError> {
        DataDir::open(&machine.disk(), Path::new(DIR), &NodeName::new(name), Incarnation(fresh))
    }

    #[test]
    fn what_it_was_told_is_there_after_a_crash() {
        let machine = SimulatedDisk::new(1);
        let mut dir = open(&machine, "n1", 7).unwrap();
        dir.join_cluster(ClusterId(9)).unwrap();
        dir.mark_bootstrapped(ShardId(3), ReplicaId(4)).unwrap();
        dir.write_document("catalog", &vec![1, 2]).unwrap();
        machine.crash();
        let mut dir = open(&machine, "n1", 8).unwrap();
        assert_eq!((dir.identity().incarnation, dir.identity().cluster), (Incarnation(7), Some(ClusterId(9))));
        assert!(dir.is_bootstrapped(ShardId(3), ReplicaId(4)) && !dir.is_bootstrapped(ShardId(3), ReplicaId(5)));
        assert_eq!(dir.read_document("catalog").unwrap(), Some(vec![1, 2]));
        let error = dir.join_cluster(ClusterId(10)).unwrap_err().to_string();
        assert!(error.contains("belongs to cluster 00000000000000000000000000000009, not to"), "{error}");
    }

    #[test]
    fn a_crash_while_it_is_made_leaves_a_directory_that_can_be_made_again() {
        for seed in 0..100 {
            let machine = SimulatedDisk::new(seed);
            machine.stop(1 + seed % 10);
            let first = open(&machine, "n1", 7).map(|dir| dir.identity().incarnation);
            machine.crash();
            let second = open(&machine, "n1", 8).unwrap().identity().incarnation;
            assert!(second == Incarnation(7) || first.is_err(), "seed {seed}");
        }
    }

    #[test]
    fn a_directory_of_others_is_refused_and_left_alone() {
        let machine = SimulatedDisk::new(1);
        drop(open(&machine, "n1", 7).unwrap());
        let before = machine.operations();
        let error = open(&machine, "n2", 8).unwrap_err().to_string();
        assert_eq!(error, "/data/n1: the data directory of node `n1`, not of `n2`");
        assert_eq!(machine.operations(), before);

        let machine = SimulatedDisk::new(1);
        let disk = machine.disk();
        disk.create_dir(Path::new(DIR)).unwrap();
        disk.create(&Path::new(DIR).join("photo.jpg")).unwrap();
        let before = machine.operations();
        let error = open(&machine, "n1", 7).unwrap_err().to_string();
        assert_eq!(error, "/data/n1: not a data directory: it holds `photo.jpg` and no `identity`");
        assert_eq!(machine.operations(), before);
    }

    #[test]
    fn it_has_one_owner_at_a_time() {
        let machine = SimulatedDisk::new(1);
        let held = open(&machine, "n1", 7).unwrap();
        let error = open(&machine, "n1", 7).unwrap_err().to_string();
        assert_eq!(error, "/data/n1: in use by another process");
        drop(held);
        open(&machine, "n1", 7).unwrap();
    }

    #[test]
    fn on_the_real_disk_it_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("new/n1");
        let open = || DataDir::open(&Disk::system(), &path, &NodeName::new("n1"), Incarnation(7));
        let held = open().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(open(), Err(StorageError::InUse { .. })));
        drop(held);
        std::fs::write(path.join("identity"), "{}").unwrap();
        let error = open().unwrap_err().to_string();
        assert!(error.ends_with("n1/identity: damaged at byte 0: the checksum of the document"), "{error}");
    }
}
