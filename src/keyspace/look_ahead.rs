//! What the next entries will change is fetched from memory before they are applied.
//!
//! Keys are spread at random, so each write waits for memory about six times, one after the other: the slot, its directory, its chunk,
//! the record, what the record held. Looked at for many entries at once, step by step, those waits overlap. Changes nothing.

use std::hint::black_box;
use std::sync::Arc;

use super::Keyspace;
use super::entry::Entry;
use super::record::Record;
use super::slot_data::SlotData;
use crate::protocol::request::second_argument;
use crate::topology::Slot;

/// As many entries are looked at together: what that fetches fits well into the nearest cache.
pub const LOOK_AHEAD_ENTRIES: usize = 32;

impl Keyspace {
    /// Fetches what these entries will change, as far as a look at their first bytes tells: a write of one key in a small slot.
    pub fn look_ahead<'a>(&self, entries: impl Iterator<Item = &'a [u8]>) {
        let slots: Vec<Slot> = entries.filter_map(slot_of).collect();
        let slots: Vec<&SlotData> = slots.iter().filter_map(|slot| self.slot(*slot)).collect();
        let fetched = slots.iter().fold(0, |sum, data| sum ^ data.fetch());
        // Which record of several chunks it is would have to be searched for.
        let chunks = slots.iter().filter_map(|data| match data.records().chunks() {
            [chunk] => Some(chunk),
            _ => None,
        });
        let chunks: Vec<&Arc<Vec<Record>>> = chunks.collect();
        let records: Vec<&Record> = chunks.iter().filter_map(|chunk| chunk.get(chunk.len() / 2)).collect();
        let fetched = records.iter().fold(fetched, |sum, record| sum ^ record.fetch());
        black_box(fetched);
    }
}

fn slot_of(entry: &[u8]) -> Option<Slot> {
    match Entry::decode(entry) {
        Ok(Entry::Write { request, .. }) => second_argument(request).map(Slot::of_key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::write_array;
    use crate::topology::{Epoch, LogTime};

    fn write(args: &[&[u8]]) -> Vec<u8> {
        let (mut request, mut entry) = (Vec::new(), Vec::new());
        write_array(&mut request, args.iter().copied());
        let (time, seed, resp3) = (LogTime(1), 0, false);
        Entry::Write { time, seed, resp3, identity: None, seen: u64::MAX, request: &request }.encode(&mut entry);
        entry
    }

    #[test]
    fn the_slot_of_a_write_is_known_beforehand_and_of_what_is_none_it_is_not() {
        let entry = write(&[b"SET", b"{tag}k", b"v"]);
        assert_eq!(slot_of(&entry), Some(Slot::of_key(b"tag")));
        assert_eq!(slot_of(&write(&[b"FLUSHALL"])), None);
        // Cut off somewhere, it may be the request of a shorter key, which is fetched in vain.
        (0..entry.len() - b"{tag}k\r\n$1\r\nv\r\n".len())
            .for_each(|end| assert_eq!(slot_of(&entry[..end]), None, "{end}"));
    }

    #[test]
    fn a_look_ahead_changes_nothing() {
        let mut keyspace = Keyspace::new(1);
        Slot::all().take(9_000).for_each(|slot| keyspace.own(slot, Epoch(1)));
        let value = [b'v'; 100];
        let keys: Vec<String> = (0..3_000).map(|n| format!("{{{}}}{n}", n % 40)).collect();
        let mut entries: Vec<Vec<u8>> = keys.iter().map(|key| write(&[b"SET", key.as_bytes(), &value])).collect();
        entries.extend([write(&[b"SADD", b"s", b"1"]), write(&[b"SET", b"i", b"7"]), write(&[b"SET", b"short", b"x"])]);
        let ahead = |keyspace: &Keyspace, entries: &[Vec<u8>]| keyspace.look_ahead(entries.iter().map(Vec::as_slice));
        for some in entries.chunks(LOOK_AHEAD_ENTRIES) {
            let before = keyspace.digest();
            ahead(&keyspace, some);
            assert_eq!(keyspace.digest(), before);
            for entry in some {
                let _ = keyspace.apply(&Entry::decode(entry).unwrap(), &mut Vec::new());
            }
        }
        ahead(&keyspace, &entries);
        assert!(keyspace.usage().keys > 1_000);
    }
}
