//! Why a log entry or a snapshot cannot be taken. Each stops the replica: going on would make it differ from others.

use crate::topology::Slot;

/// Why an entry cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Written by a newer version of the program: upgrade this replica.
    #[error("log entry of format version {0}, which this version of pontoon does not know")]
    Version(u8),
    /// A kind of entry that this version does not know.
    #[error("log entry of unknown kind {0}")]
    Kind(u8),
    /// Shorter than its kind needs, or with a field out of its range.
    #[error("malformed log entry: {0}")]
    Malformed(&'static str),
}

/// Why a snapshot cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer version of the program: upgrade this replica.
    #[error("snapshot of format version {0}, which this version of pontoon does not know")]
    Version(u16),
    /// Its bytes changed after they were written, or are none of ours.
    #[error("damaged snapshot: {what} at byte {offset}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where the bad record begins.
        offset: u64,
    },
    /// What a slot says of itself does not fit its records.
    #[error("damaged snapshot: slot {slot}: {what}")]
    Slot {
        /// The slot.
        slot: Slot,
        /// What is wrong.
        what: &'static str,
    },
    /// It ends before its end.
    #[error("the snapshot is cut short after {0} bytes")]
    Incomplete(u64),
}
