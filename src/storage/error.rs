//! What can go wrong below the log, the snapshots and the data directory: every variant names the file, and the place
//! in it where there is one.
//!
//! Errors can be cloned, since a poisoned log answers every later call with the error that poisoned it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failure of storage. None of them may be retried as if nothing had happened, except where a variant says so.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused: stop the replica (a failed write or sync of the log is final).
    #[error("{}: cannot {action}{}: {source}", path.display(), at(*offset))]
    Io {
        /// What was tried, as a verb: "write", "sync".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The first byte of the operation, where it has a place.
        offset: Option<u64>,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// The bytes on disk are not the bytes that were written: refuse to start, an operator must look.
    #[error("{}: damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// The first byte that is known to be wrong, or the start of the checked block around it.
        offset: u64,
        /// Which check failed.
        what: String,
    },
    /// A file that must be there is not: refuse to start, an operator must look.
    #[error("{}: missing, but {evidence}", path.display())]
    Missing {
        /// The missing file.
        path: PathBuf,
        /// Why it must have been there.
        evidence: String,
    },
    /// Another process holds the lock: nothing was changed.
    #[error("{}: in use by another process", path.display())]
    InUse {
        /// What is locked.
        path: PathBuf,
    },
    /// The directory holds something else, or another node's data: nothing was changed.
    #[error("{}: {why}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was found instead of the expected.
        why: String,
    },
    /// The file was written by another release: nothing was changed.
    #[error("{}: format version {found}, this release reads version {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that the file names.
        found: u32,
        /// The version that this release reads.
        known: u32,
    },
    /// A caller asked for what the contract forbids (a gap in a group's log, a batch past its limit).
    #[error("group {group}: {what}")]
    Refused {
        /// The group.
        group: u64,
        /// Which rule the call breaks.
        what: String,
    },
}

impl StorageError {
    pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), offset, what: what.into() }
    }

    /// Whether the disk is full.
    pub fn is_out_of_space(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }

    /// What whoever runs the node can do about it; nothing where the error itself says it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Io { .. } if self.is_out_of_space() => "; make room on the disk, then start the node again",
            Self::Io { source, .. } if source.raw_os_error() == Some(EIO) => {
                "; start the node again if the disk is well, otherwise with an empty directory: its replicas are then made \
                 anew from the others"
            }
            Self::Damaged { .. } | Self::Missing { .. } => {
                "; nothing was changed; start the node with an empty directory, and its replicas are made anew from the \
                 others"
            }
            _ => "",
        }
    }

    pub(super) fn refused(group: u64, what: impl Into<String>) -> Self {
        Self::Refused { group, what: what.into() }
    }
}

/// The operating system's number for what a broken disk answers; the standard library has no kind for it.
const EIO: i32 = 5;

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default()
}
