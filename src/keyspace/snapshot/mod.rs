//! Snapshots: a frozen keyspace as a stream of bounded pieces, and back.
//!
//! The stream is a chain of records, little endian: `u8 kind | u32 payload length | payload | u64 checksum`. A checksum
//! covers its record and, as the seed of the hash, the checksum before it, so that no record can be changed, left out,
//! doubled or moved.
//!
//! | record | payload |
//! | --- | --- |
//! | header | magic, `u16 format version`, `u64 seed`, `u64 log time`, `u32 key limit`, `u32 value limit`, `u32 slots` |
//! | slot | `u16 slot`, `u64 epoch`, `u64 version`, `u64 last removal version`, `u64 keys`, `u8` 1 if it is not served |
//! | keys | keys of the slot in hash order: `u8 form`, `u64 version`, `u64 expiry or 0`, `u32 key length`, key, `u64 value size`, value (`value::stream`) |
//! | value | more bytes of the value that the record before left unfinished |
//! | blocked | bytes of the stream of blocked clients and remembered writes (`blocking::stream`); before the first slot |
//! | moves | bytes of the stream of moves (`moves::stream`); before the first slot |
//! | end | `u64 keys of all slots` |
//!
//! First come the slots that are served, in order; then data that is aside, in the order in which the moves have it.
//! A slot is complete when it has as many keys as it said. Only the last value of a record may be unfinished.
//!
//! Invariant: memory follows the bytes received, never a claimed length; damaged bytes are an error, never a panic.

mod loader;
mod writer;

use std::sync::Arc;

use super::blocking::BlockedPieces;
use super::limits::Limits;
use super::moves::{Aside, MovesPieces};
use super::remembered::Remembered;
use super::slot_data::SlotData;
use super::store::{Keyspace, Usage};
use crate::planted::{self, Bug};
use crate::topology::{LogTime, SLOT_COUNT, Slot};

pub use loader::Loader;
pub use writer::Pieces;

/// The version of the format, in the first record.
pub const SNAPSHOT_FORMAT_VERSION: u16 = 5;
/// Pieces are at least this long, whatever is asked for (the last one aside).
pub const PIECE_BYTES_MIN: usize = 1024;
/// Pieces are at most this long, whatever is asked for, plus one key.
pub const PIECE_BYTES_MAX: usize = 1024 * 1024;

const MAGIC: [u8; 8] = *b"PONTOONK";
const KIND_HEADER: u8 = 1;
const KIND_SLOT: u8 = 2;
const KIND_KEYS: u8 = 3;
const KIND_VALUE: u8 = 4;
const KIND_END: u8 = 5;
const KIND_BLOCKED: u8 = 6;
const KIND_MOVES: u8 = 7;
/// `u8 kind | u32 payload length`.
const RECORD_HEAD_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 8;
/// No record is longer: a piece, a key of the greatest length, and their frame.
const PAYLOAD_BYTES_MAX: usize = 2 * PIECE_BYTES_MAX;

/// A keyspace as it was at one log position. Holding it makes later writes copy what they change; it costs nothing else.
#[derive(Clone, Debug)]
pub struct Frozen {
    seed: u64,
    log_time: LogTime,
    limits: Limits,
    usage: Usage,
    /// The slots that are served, by number, and then the data that is aside.
    slots: Vec<Option<Arc<SlotData>>>,
    aside: Vec<Slot>,
    blocked: Box<BlockedPieces>,
    moves: Box<MovesPieces>,
}

impl Keyspace {
    /// A copy of the state as it is now, in a few hundred microseconds whatever it holds.
    pub fn freeze(&self) -> Frozen {
        let forgets = planted::is(Bug::RepliesNotInSnapshots);
        let remembered = if forgets { Remembered::default().freeze() } else { self.remembered.freeze() };
        let mut slots = self.slots().to_vec();
        let (aside, data): (Vec<Aside>, Vec<_>) = self.moves.aside().into_iter().unzip();
        slots.extend(data);
        Frozen {
            seed: self.seed,
            log_time: self.log_time,
            limits: self.limits,
            usage: self.usage(),
            slots,
            aside: aside.into_iter().map(Aside::slot).collect(),
            blocked: Box::new(self.blocking.freeze(remembered)),
            moves: Box::new(self.moves.clone().pieces()),
        }
    }
}

impl Frozen {
    /// The log time at which it was taken.
    pub const fn log_time(&self) -> LogTime {
        self.log_time
    }

    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn blocked(&self) -> BlockedPieces {
        (*self.blocked).clone()
    }

    pub(super) fn moves(&self) -> MovesPieces {
        (*self.moves).clone()
    }

    /// The data that is aside, in order.
    pub(super) fn aside(&self) -> impl Iterator<Item = &SlotData> {
        self.slots[SLOT_COUNT..].iter().flatten().map(|data| &**data)
    }

    pub(super) fn slot(&self, slot: Slot) -> Option<&SlotData> {
        self.slots[slot.index()].as_deref()
    }

    /// The snapshot as pieces of about `piece_bytes` each, made one by one.
    pub fn pieces(self, piece_bytes: usize) -> Pieces {
        Pieces::new(self, piece_bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, read, whole};
    use super::*;

    fn pieces_of(keyspace: &Keyspace, piece_bytes: usize) -> Vec<Vec<u8>> {
        keyspace.freeze().pieces(piece_bytes).collect()
    }

    fn load<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Keyspace, super::super::SnapshotError> {
        let mut loader = Loader::new();
        for piece in pieces {
            loader.push(piece)?;
        }
        loader.finish()
    }

    /// Keys of all forms, some of them sharing a slot, some expired and not removed, some large.
    fn example() -> Keyspace {
        let mut keyspace = whole();
        for number in 0..300 {
            apply(&mut keyspace, 1000, &format!("SET {{t}}{number} {} PX {}", "v".repeat(number), number + 1));
            apply(&mut keyspace, 1000, &format!("SET n{number} {number}"));
        }
        apply(&mut keyspace, 1100, &format!("SET {{t}}large {}", "x".repeat(5000)));
        apply(&mut keyspace, 1100, "APPEND n7 5");
        apply(&mut keyspace, 1100, "SET empty  EX 1");
        apply(&mut keyspace, 1100, "DEL n1");
        keyspace
    }

    #[test]
    fn a_loaded_snapshot_is_the_state_that_was_frozen() {
        for piece_bytes in [0, 3000, usize::MAX] {
            let mut keyspace = example();
            let pieces = pieces_of(&keyspace, piece_bytes);
            assert!(pieces.iter().all(|piece| piece.len() <= piece_bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX) * 2));
            let mut loaded = load(pieces.iter().map(Vec::as_slice)).unwrap();
            assert_eq!(loaded.digest(), keyspace.digest());
            assert_eq!((loaded.usage(), loaded.log_time()), (keyspace.usage(), keyspace.log_time()));
            assert_eq!(loaded.next_expiry(), keyspace.next_expiry());
            for keyspace in [&mut keyspace, &mut loaded] {
                apply(keyspace, 1200, "INCR n7");
            }
            assert_eq!(loaded.digest(), keyspace.digest());
        }
    }

    #[test]
    fn bytes_may_be_cut_anywhere() {
        let keyspace = example();
        let stream = pieces_of(&keyspace, 3000).concat();
        for cut in [1, 7, 1000] {
            let loaded = load(stream.chunks(cut)).unwrap();
            assert_eq!(loaded.digest(), keyspace.digest(), "{cut}");
        }
    }

    #[test]
    fn a_frozen_state_does_not_change() {
        let mut keyspace = example();
        let (frozen, digest) = (keyspace.freeze(), keyspace.digest());
        for number in 0..300 {
            apply(&mut keyspace, 1200, &format!("APPEND {{t}}{number} more"));
            apply(&mut keyspace, 1200, &format!("DEL n{number}"));
        }
        apply(&mut keyspace, 1200, "APPEND {t}large more");
        apply(&mut keyspace, 1200, "FLUSHALL");
        assert_eq!(read(&keyspace, 1200, "DBSIZE"), ":0\r\n");
        let pieces: Vec<Vec<u8>> = frozen.pieces(4096).collect();
        assert_eq!(load(pieces.iter().map(Vec::as_slice)).unwrap().digest(), digest);
    }

    #[test]
    fn every_damaged_byte_is_found() {
        let mut keyspace = Keyspace::new(1);
        for key in [&b"a"[..], b"b"] {
            keyspace.own(Slot::of_key(key), crate::topology::Epoch(2));
        }
        apply(&mut keyspace, 5, "SET a 1 EX 9");
        apply(&mut keyspace, 5, "SET b text");
        let stream = pieces_of(&keyspace, 0).concat();
        assert!(load([stream.as_slice()]).is_ok());
        for at in 0..stream.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = stream.clone();
                damaged[at] ^= flip;
                assert!(load([damaged.as_slice()]).is_err(), "byte {at} with {flip:#x}");
            }
            assert!(load([&stream[..at]]).is_err(), "cut after {at}");
        }
        assert!(load([stream.as_slice(), b"x"]).is_err());
    }

    #[test]
    fn records_cannot_be_left_out_or_swapped() {
        let pieces = pieces_of(&example(), 0);
        let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        assert!(slices.len() > 10);
        for at in (0..slices.len() - 1).step_by(slices.len() / 10) {
            let mut missing = slices.clone();
            missing.remove(at);
            assert!(load(missing).is_err(), "without piece {at}");
            let mut swapped = slices.clone();
            swapped.swap(at, at + 1);
            assert!(load(swapped).is_err(), "pieces {at} and the next swapped");
        }
    }
}
