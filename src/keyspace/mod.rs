//! The state machine of a data shard: log entries in, replies out.
//!
//! A [`Keyspace`] holds the slots that its shard owns. A slot is one handle: its records in hash order, the order in
//! which they expire, its version counter. [`Keyspace::apply`] takes one log entry at a time and reads nothing but the
//! entry and the state (DESIGN.md, R6), so all replicas, and a replica that went on from a snapshot, are equal byte for
//! byte; [`Keyspace::digest`] tells whether they are. [`Keyspace::read`] answers what changes nothing.
//! [`Keyspace::freeze`] takes a copy in no time, which another thread turns into a snapshot while apply goes on.
//!
//! Time is log time. A key is gone when its expiry is at or before log time, whether it has been removed or not;
//! removal is left to the next write of the key and to [`Entry::Sweep`]. Where a reader's clock is ahead of log time
//! and the difference would show, the read is [`Read::Unsettled`].
//!
//! Ownership is judged where an entry is applied (R5): a request with a key of a slot that is not owned changes nothing.
//!
//! From the ground up: `chunk_map` (ordered copy-on-write map), `packed` (counted copy-on-write tree) < `value`, `record` < `slot_data` < `store`
//! ([`Keyspace`] and its primitives) < `strings`, `bits`, `keys`, `blocking` (commands) < `apply`; `snapshot` and `digest` beside.
//!
//! Deliberately absent: clocks, files, sockets; duplicates and sessions (R9), which are judged around this machine;
//! memory limits, which are judged before anything is proposed.

mod apply;
mod bits;
mod blocking;
mod call;
mod chunk_map;
mod covering;
mod digest;
mod element_scan;
mod entry;
mod error;
mod hashes;
#[cfg(test)]
mod histories;
mod holdings;
mod item_stream;
mod keys;
mod limits;
mod lists;
mod look_ahead;
mod moves;
mod named;
mod packed;
mod random;
pub mod rdb;
mod record;
mod remembered;
mod sets;
mod slot_data;
mod slot_set;
mod snapshot;
mod sorted_sets;
mod store;
mod strings;
#[cfg(test)]
mod tests;
mod transaction;
mod value;

pub use apply::{Applied, Read, ReadAt};
pub use blocking::Served;
pub use entry::{ENTRY_FORMAT_VERSION, Entry, put_rejected};
pub use error::{EntryError, SnapshotError};
pub use holdings::{Holding, Holdings};
pub use limits::Limits;
pub use look_ahead::LOOK_AHEAD_ENTRIES;
pub use moves::{
    BadCursor, Changed, Export, ExportEndHow, ExportReader, Import, Next, Past, Phase, Piece, Seals, SlotEpochs,
    SlotList, Step,
};
pub use named::record_slot;
pub use remembered::{Answer, NEWS_AHEAD_MS, RememberedUsage, Reply};
pub use slot_set::SlotSet;
pub use snapshot::{Frozen, Loader, PIECE_BYTES_MAX, PIECE_BYTES_MIN, Pieces, SNAPSHOT_FORMAT_VERSION};
pub use store::{Garbage, Keyspace, Usage};
pub use value::ValueType;
