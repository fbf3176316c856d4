//! Digests: one number per slot that is the same on all replicas at the same log position.
//!
//! Over version counters and records in hash order, with everything that a command could ever see; the epoch and the
//! last access are not in it, since a move and a read would change them.

use xxhash_rust::xxh3::Xxh3;

use super::record::Record;
use super::slot_data::SlotData;
use super::store::Keyspace;
use super::value::StreamPlace;
use crate::topology::Slot;

/// Values are read in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

/// The digest of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotDigest {
    /// The slot.
    pub slot: Slot,
    /// Its digest.
    pub digest: u64,
}

impl Keyspace {
    /// The digests of all slots owned, in order.
    pub fn digest(&self) -> Vec<SlotDigest> {
        let digest_of = |slot| self.slot_digest(slot).map(|digest| SlotDigest { slot, digest });
        self.owned().iter().filter_map(digest_of).collect()
    }

    /// The digest of a slot, if it is owned.
    pub fn slot_digest(&self, slot: Slot) -> Option<u64> {
        self.slot(slot).map(digest_of_slot)
    }
}

fn digest_of_slot(data: &SlotData) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&data.version().to_le_bytes());
    hash.update(&data.last_removal_version().to_le_bytes());
    data.records().iter().for_each(|record| add_record(&mut hash, record));
    hash.digest()
}

fn add_record(hash: &mut Xxh3, record: &Record) {
    let key = record.key.as_bytes();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(&record.version.to_le_bytes());
    hash.update(&record.expire_at.map_or(0, |at| at.get()).to_le_bytes());
    hash.update(&[record.value.stream_form()]);
    hash.update(&record.value.stream_size().to_le_bytes());
    let (mut place, mut piece) = (Some(StreamPlace::default()), Vec::new());
    while let Some(from) = place {
        piece.clear();
        place = record.value.write_stream(from, PIECE_BYTES, &mut piece);
        hash.update(&piece);
    }
}
