//! What replicas tell of their state so that it can be compared, and how the comparison ends.
//!
//! A mark in a shard's log names one position; every replica that comes to it freezes its state there. What is told of that
//! state is made of digests, so that equal states are known to be equal without being sent.

use serde::{Deserialize, Serialize};

use crate::topology::{LogIndex, LogTime, Slot, Term};

/// Names one mark; drawn by whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MarkId(pub u64);

/// Where a mark stands in its shard's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkPlace {
    /// The position.
    pub index: LogIndex,
    /// The term of the leader that logged it.
    pub term: Term,
}

/// What a replica has to tell at a mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkDigests {
    /// The replica has not come to the mark, or is reading its state: ask again.
    Pending {
        /// The last position that it applied.
        applied: LogIndex,
    },
    /// The replica is past the mark and has nothing to tell of it: it was sent a later state, it was only starting, or it
    /// has let go of the result. Another mark is needed.
    Passed,
    /// The digests.
    Ready(Box<StateDigest>),
}

/// The digests of a replica's state at one position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDigest {
    /// The position.
    pub index: LogIndex,
    /// The shard's clock.
    pub log_time: LogTime,
    /// The seed of key hashes.
    pub seed: u64,
    /// The longest key that apply takes.
    pub key_bytes_max: u32,
    /// The longest value that apply takes.
    pub value_bytes_max: u32,
    /// A digest of which slots are owned, and under which epochs.
    pub ownership: u64,
    /// Keys, those expired and not yet removed included.
    pub keys: u64,
    /// Memory of keys and values, as the keyspace counts it.
    pub bytes: u64,
    /// Keys with an expiry.
    pub expiring: u64,
    /// A digest of who waits for which key, and of what is remembered of writes that may come again.
    #[serde(default)]
    pub remembered: u64,
    /// The digests of the owned slots, in order.
    pub slots: Vec<SlotDigest>,
}

/// The digest of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotDigest {
    /// The slot.
    pub slot: Slot,
    /// Its digest.
    pub digest: u64,
}

/// What the keys of a slot are like, or some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotKeys {
    /// The slot's version counter.
    pub version: u64,
    /// The version that every absent key of it has.
    pub last_removal_version: u64,
    /// Keys in hash order.
    pub keys: Vec<KeyDigest>,
    /// Where the following ones start; none: these were the last.
    pub next: Option<u64>,
}

/// What one key is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDigest {
    /// The key, with everything escaped that is not printable ASCII.
    pub key: String,
    /// What `TYPE` says.
    pub kind: String,
    /// Its version.
    pub version: u64,
    /// When it expires; zero: never.
    pub expire_at: u64,
    /// The digest of its value.
    pub digest: u64,
}

/// What a comparison of the replicas of one shard came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All replicas hold the same.
    Identical,
    /// They do not.
    Different,
    /// Those that could be asked hold the same.
    Incomplete,
}
