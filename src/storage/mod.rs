//! Log and state on disk, without meaning: bytes go in, and after a crash the same bytes come out or an error says
//! which file is damaged, and where. What the bytes mean is decided above (consensus, keyspace, node).
//!
//! - [`disk`]: the file seam, and [`simulated`]: a disk that loses what was not synced;
//! - [`log`]: one segment log per node, shared by all its Raft groups, so that one sync serves them all;
//! - [`snapshot`]: one file per group that replaces the head of its log;
//! - [`identity`]: the data directory, whose it is and what must be known before anything else;
//! - [`document`]: small JSON documents, replaced whole.
//!
//! Invariants: nothing is answered as durable before its sync returned; a failed write or sync of the log is final;
//! damage is reported and never repaired by a guess. Deliberately absent: caches, threads, compression, encryption.

pub mod disk;
pub mod document;
pub mod error;
pub mod identity;
pub mod log;
pub mod simulated;
pub mod snapshot;

pub use disk::{Disk, DiskFile, DiskLock};
pub use error::StorageError;
pub use identity::{DataDir, Identity};
pub use log::{LogOptions, LogUsage, Recovered, RecoveredEntry, RecoveredGroup, SegmentLog, WriteBatch};
pub use simulated::SimulatedDisk;
pub use snapshot::{SnapshotReader, SnapshotWriter};
