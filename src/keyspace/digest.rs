//! Digests: one number per slot that is the same on all replicas at the same log position.
//!
//! Over version counters and records in hash order, with everything that a command could ever see; the epoch and the
//! last access are not in it, since a move and a read would change them.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::blocking::BlockedPieces;
use super::record::Record;
use super::slot_data::SlotData;
use super::snapshot::Frozen;
use super::store::Keyspace;
use super::value::{StreamPlace, Value};
use crate::protocol::verification::{KeyDigest, SlotDigest, SlotKeys, StateDigest};
use crate::topology::{LogIndex, Slot};

/// Values are read in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

impl Keyspace {
    /// The digests of all slots owned, in order.
    pub fn digest(&self) -> Vec<SlotDigest> {
        let digest_of = |slot| self.slot_digest(slot).map(|digest| SlotDigest { slot, digest });
        self.owned().iter().filter_map(digest_of).collect()
    }

    /// The digest of a slot, if it is owned.
    pub fn slot_digest(&self, slot: Slot) -> Option<u64> {
        self.slot(slot).map(|data| self.with_waiters(slot, digest_of_slot(data)))
    }

    /// Adds who waits for keys of the slot, where anybody does.
    fn with_waiters(&self, slot: Slot, digest: u64) -> u64 {
        self.waiters_of(slot).fold(digest, |digest, (key, waiters)| {
            let names = waiters.iter().map(|id| (id.session.0.to_le_bytes(), id.sequence.to_le_bytes()));
            let digest = xxh3_64_with_seed(key, digest);
            names.fold(digest, |digest, (session, sequence)| {
                xxh3_64_with_seed(&sequence, xxh3_64_with_seed(&session, digest))
            })
        })
    }
}

impl Frozen {
    /// The digests of the whole state, which stands at `index`. Reads every key: not for a thread that others wait for.
    pub fn digest(&self, index: LogIndex) -> StateDigest {
        let owned = || Slot::all().filter_map(|slot| Some((slot, self.slot(slot)?)));
        let mut ownership = Xxh3::new();
        for (slot, data) in owned() {
            ownership.update(&slot.number().to_le_bytes());
            ownership.update(&data.epoch.get().to_le_bytes());
        }
        add_moves(&mut ownership, self);
        let (limits, usage) = (self.limits(), self.usage());
        StateDigest {
            index,
            log_time: self.log_time(),
            seed: self.seed(),
            key_bytes_max: limits.key_bytes_max,
            value_bytes_max: limits.value_bytes_max,
            ownership: ownership.digest(),
            keys: usage.keys,
            bytes: usage.bytes,
            expiring: usage.expires,
            remembered: digest_of_blocked(self.blocked()),
            slots: owned().map(|(slot, data)| SlotDigest { slot, digest: digest_of_slot(data) }).collect(),
        }
    }

    /// What the keys of a slot are like: `keys_max` at most, after the first `from` in hash order. None: it is not owned.
    pub fn slot_keys(&self, slot: Slot, from: u64, keys_max: usize) -> Option<SlotKeys> {
        let data = self.slot(slot)?;
        let keys: Vec<KeyDigest> =
            data.records().iter().skip(from as usize).take(keys_max).map(digest_of_key).collect();
        let next = from + keys.len() as u64;
        Some(SlotKeys {
            version: data.version(),
            last_removal_version: data.last_removal_version(),
            keys,
            next: (next < data.records().len() as u64).then_some(next),
        })
    }
}

fn digest_of_blocked(mut pieces: BlockedPieces) -> u64 {
    let (mut hash, mut piece) = (Xxh3::new(), Vec::new());
    while pieces.write(PIECE_BYTES, &mut piece) {
        hash.update(&piece);
        piece.clear();
    }
    hash.digest()
}

/// Adds what is known of slots that are elsewhere or on their way, and the data of the latter.
fn add_moves(hash: &mut Xxh3, frozen: &Frozen) {
    let (mut moves, mut piece) = (frozen.moves(), Vec::new());
    while moves.write(PIECE_BYTES, &mut piece) {
        hash.update(&piece);
        piece.clear();
    }
    frozen.aside().for_each(|data| hash.update(&digest_of_slot(data).to_le_bytes()));
}

fn digest_of_key(record: &Record) -> KeyDigest {
    let mut hash = Xxh3::new();
    add_value(&mut hash, &record.value, &mut Vec::new());
    KeyDigest {
        key: record.key.as_bytes().escape_ascii().to_string(),
        kind: record.value.type_name().to_owned(),
        version: record.version,
        expire_at: record.expire_at.map_or(0, |at| at.get()),
        digest: hash.digest(),
    }
}

fn digest_of_slot(data: &SlotData) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&data.version().to_le_bytes());
    hash.update(&data.last_removal_version().to_le_bytes());
    let mut piece = Vec::new();
    data.records().iter().for_each(|record| add_record(&mut hash, record, &mut piece));
    hash.digest()
}

fn add_record(hash: &mut Xxh3, record: &Record, piece: &mut Vec<u8>) {
    let key = record.key.as_bytes();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(&record.version.to_le_bytes());
    hash.update(&record.expire_at.map_or(0, |at| at.get()).to_le_bytes());
    add_value(hash, &record.value, piece);
}

/// `piece` is room to work in.
fn add_value(hash: &mut Xxh3, value: &Value, piece: &mut Vec<u8>) {
    hash.update(&[value.stream_form()]);
    hash.update(&value.stream_size().to_le_bytes());
    let mut place = Some(StreamPlace::default());
    while let Some(from) = place {
        piece.clear();
        place = value.write_stream(from, PIECE_BYTES, piece);
        hash.update(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, whole};
    use super::*;

    fn digest(keyspace: &Keyspace) -> StateDigest {
        keyspace.freeze().digest(LogIndex(9))
    }

    /// Two states that heard the same, and then one of them another line.
    fn pair(lines: &[&str], planted: &str) -> (Keyspace, Keyspace) {
        let (mut one, mut other) = (whole(), whole());
        for keyspace in [&mut one, &mut other] {
            lines.iter().for_each(|line| drop(apply(keyspace, 1000, line)));
        }
        assert_eq!(digest(&one), digest(&other));
        apply(&mut other, 1000, planted);
        (one, other)
    }

    #[test]
    fn a_difference_shows_in_the_digest_of_its_slot_alone() {
        for planted in ["SET {t}a 2", "APPEND {t}a x", "EXPIRE {t}a 10", "DEL {t}a", "SET {t}new 1"] {
            let (one, other) = pair(&["SET {t}a 1", "SET {t}b 1", "SET elsewhere 1"], planted);
            let (one, other) = (digest(&one), digest(&other));
            let differ: Vec<Slot> =
                one.slots.iter().zip(&other.slots).filter(|(a, b)| a != b).map(|(a, _)| a.slot).collect();
            assert_eq!(differ, [Slot::of_key(b"{t}")], "{planted}");
            assert_eq!(one.ownership, other.ownership);
        }
    }

    #[test]
    fn the_keys_of_a_slot_are_listed_piece_by_piece_and_escaped() {
        let mut keyspace = whole();
        (0..25).for_each(|number| drop(apply(&mut keyspace, 1000, &format!("SET {{t}}\x01{number} v PX 7"))));
        let (frozen, slot) = (keyspace.freeze(), Slot::of_key(b"{t}"));
        let (mut from, mut listed) = (Some(0), Vec::new());
        while let Some(start) = from {
            let page = frozen.slot_keys(slot, start, 10).unwrap();
            assert_eq!((page.version, page.last_removal_version), (25, 0));
            listed.extend(page.keys);
            from = page.next;
        }
        assert_eq!(listed.len(), 25);
        assert!(listed.iter().any(|key| key.key == "{t}\\x0124" && key.expire_at == 1007 && key.kind == "string"));
        assert!(listed.iter().all(|key| key.digest == listed[0].digest), "a value's digest knows nothing of its key");
        assert!(frozen.slot_keys(slot, 25, 10).unwrap().keys.is_empty());
        assert_eq!(Keyspace::new(1).freeze().slot_keys(slot, 0, 10), None);
    }
}
