//! A frozen keyspace as pieces, each made when it is asked for.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::record::Record;
use super::super::slot_data::SlotData;
use super::super::value::StreamPlace;
use super::{
    Frozen, KIND_BLOCKED, KIND_END, KIND_HEADER, KIND_KEYS, KIND_MOVES, KIND_SLOT, KIND_VALUE, MAGIC,
    RECORD_HEAD_BYTES, SNAPSHOT_FORMAT_VERSION,
};
use crate::topology::{SLOT_COUNT, Slot};

/// The pieces of a snapshot. Each is one or more whole records of the stream.
#[derive(Debug)]
pub struct Pieces {
    frozen: Frozen,
    piece_bytes: usize,
    checksum: u64,
    at: Place,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    /// Blocked clients.
    Blocked,
    /// Moves.
    Moves,
    /// The head of the first slot at or after this one.
    Slot(usize),
    /// A record of a slot; with `value`, the rest of its value from there on.
    Record {
        slot: usize,
        chunk: usize,
        item: usize,
        value: Option<StreamPlace>,
    },
    End,
    Done,
}

impl Pieces {
    pub(super) const fn new(frozen: Frozen, piece_bytes: usize) -> Self {
        Self { frozen, piece_bytes, checksum: 0, at: Place::Header }
    }

    /// Appends the next record of the stream.
    fn step(&mut self, piece: &mut Vec<u8>) {
        match self.at {
            Place::Header => self.header(piece),
            Place::Blocked => self.blocked(piece),
            Place::Moves => self.moves(piece),
            Place::Slot(from) => self.slot(piece, from),
            Place::Record { slot, chunk, item, value } => {
                let data = self.frozen.slots[slot].clone().expect("only slots that are there get records");
                let room = self.piece_bytes.saturating_sub(piece.len());
                match value {
                    Some(from) => self.value_rest(piece, &data, (slot, chunk, item), from, room),
                    None => self.keys(piece, &data, (slot, chunk, item), room),
                }
            }
            Place::End => {
                let keys = self.frozen.usage.keys;
                self.record(piece, KIND_END, |out| out.extend_from_slice(&keys.to_le_bytes()));
                self.at = Place::Done;
            }
            Place::Done => {}
        }
    }

    fn header(&mut self, piece: &mut Vec<u8>) {
        let (seed, log_time, limits) = (self.frozen.seed, self.frozen.log_time, self.frozen.limits);
        let slots = self.frozen.slots.iter().flatten().count() as u32;
        self.record(piece, KIND_HEADER, |out| {
            out.extend_from_slice(&MAGIC);
            out.extend_from_slice(&SNAPSHOT_FORMAT_VERSION.to_le_bytes());
            out.extend_from_slice(&seed.to_le_bytes());
            out.extend_from_slice(&log_time.get().to_le_bytes());
            out.extend_from_slice(&limits.key_bytes_max.to_le_bytes());
            out.extend_from_slice(&limits.value_bytes_max.to_le_bytes());
            out.extend_from_slice(&slots.to_le_bytes());
        });
        self.at = Place::Blocked;
    }

    fn blocked(&mut self, piece: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        if self.frozen.blocked.write(self.piece_bytes.saturating_sub(piece.len()), &mut bytes) {
            self.record(piece, KIND_BLOCKED, |out| out.extend_from_slice(&bytes));
        } else {
            self.at = Place::Moves;
        }
    }

    fn moves(&mut self, piece: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        if self.frozen.moves.write(self.piece_bytes.saturating_sub(piece.len()), &mut bytes) {
            self.record(piece, KIND_MOVES, |out| out.extend_from_slice(&bytes));
        } else {
            self.at = Place::Slot(0);
        }
    }

    fn slot(&mut self, piece: &mut Vec<u8>, from: usize) {
        // A slot that is written is let go, so that from here on its writers need not copy.
        if let Some(written) = from.checked_sub(1) {
            self.frozen.slots[written] = None;
        }
        let Some(slot) = (from..self.frozen.slots.len()).find(|&slot| self.frozen.slots[slot].is_some()) else {
            self.at = Place::End;
            return;
        };
        let data = self.frozen.slots[slot].clone().expect("found a line above");
        let aside = slot.checked_sub(SLOT_COUNT).and_then(|at| self.frozen.aside.get(at)).copied();
        self.record(piece, KIND_SLOT, |out| {
            out.extend_from_slice(&aside.map_or(slot as u16, Slot::number).to_le_bytes());
            out.extend_from_slice(&data.epoch.get().to_le_bytes());
            out.extend_from_slice(&data.version().to_le_bytes());
            out.extend_from_slice(&data.last_removal_version().to_le_bytes());
            out.extend_from_slice(&(data.records().len() as u64).to_le_bytes());
            out.push(u8::from(aside.is_some()));
        });
        self.at = after(&data, slot, 0, 0);
    }

    /// As many keys as fit, at least one; the value of the last may stay unfinished.
    fn keys(&mut self, piece: &mut Vec<u8>, data: &Arc<SlotData>, place: (usize, usize, usize), room: usize) {
        let (slot, mut chunk, mut item) = place;
        let mut next = Place::Done;
        self.record(piece, KIND_KEYS, |out| {
            let start = out.len();
            loop {
                let record = &data.records().chunks()[chunk][item];
                let room = room.saturating_sub(out.len() - start);
                let written = write_key(out, record, room);
                if written.is_some() {
                    next = Place::Record { slot, chunk, item, value: written };
                    return;
                }
                next = after(data, slot, chunk, item + 1);
                match next {
                    Place::Record { chunk: c, item: i, .. } if out.len() - start < room => (chunk, item) = (c, i),
                    _ => return,
                }
            }
        });
        self.at = next;
    }

    fn value_rest(
        &mut self,
        piece: &mut Vec<u8>,
        data: &Arc<SlotData>,
        (slot, chunk, item): (usize, usize, usize),
        from: StreamPlace,
        room: usize,
    ) {
        let mut rest = None;
        self.record(piece, KIND_VALUE, |out| {
            rest = data.records().chunks()[chunk][item].value.write_stream(from, room, out);
        });
        self.at = match rest {
            Some(_) => Place::Record { slot, chunk, item, value: rest },
            None => after(data, slot, chunk, item + 1),
        };
    }

    /// Appends one record whose payload `fill` writes, and its checksum.
    fn record(&mut self, piece: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = piece.len();
        piece.extend_from_slice(&[kind, 0, 0, 0, 0]);
        fill(piece);
        let length = (piece.len() - start - RECORD_HEAD_BYTES) as u32;
        piece[start + 1..start + RECORD_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        self.checksum = xxh3_64_with_seed(&piece[start..], self.checksum);
        piece.extend_from_slice(&self.checksum.to_le_bytes());
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::new();
        while piece.len() < self.piece_bytes && !matches!(self.at, Place::Done) {
            self.step(&mut piece);
        }
        (!piece.is_empty()).then_some(piece)
    }
}

/// The place of the record after others of its slot, or what follows the slot.
fn after(data: &SlotData, slot: usize, chunk: usize, item: usize) -> Place {
    let chunks = data.records().chunks();
    match chunks.get(chunk) {
        Some(items) if item < items.len() => Place::Record { slot, chunk, item, value: None },
        Some(_) if chunk + 1 < chunks.len() => Place::Record { slot, chunk: chunk + 1, item: 0, value: None },
        _ => Place::Slot(slot + 1),
    }
}

/// Writes a key and as much of its value as fits into `room`, at least a byte; where the value goes on, if it does.
fn write_key(out: &mut Vec<u8>, record: &Record, room: usize) -> Option<StreamPlace> {
    let (start, key) = (out.len(), record.key.as_bytes());
    out.push(record.value.stream_form());
    out.extend_from_slice(&record.version.to_le_bytes());
    out.extend_from_slice(&record.expire_at.map_or(0, |at| at.get()).to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&record.value.stream_size().to_le_bytes());
    let room = room.saturating_sub(out.len() - start);
    record.value.write_stream(StreamPlace::default(), room, out)
}
