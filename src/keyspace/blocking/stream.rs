//! Blocked clients, and what is remembered of them and of all writes, as one stream of bytes, for snapshots.
//!
//! Items, each `u32 length | u8 what | fields`, little endian; an item may be cut anywhere, and the next piece goes on:
//!
//! | what | fields |
//! | --- | --- |
//! | forgotten | `u64 log time` until which sessions were forgotten; first |
//! | session | session, `u64 low`, `u64 log time` of its last sign of life, `u64 log time` of its latest birth |
//! | answer | session, `u64 sequence`, `u16 slot` or 65535 for none, `u8` 1 for a reply or 0 for gone, the reply |
//! | waiter | session, `u64 sequence`, `u8 RESP3`, the request |
//!
//! Waiters come in the order of their queues; their keys and what they wait for follow from the request.

use std::sync::Arc;

use super::super::remembered::{Answer, Cursor, FrozenRemembered, Item, Kept, Remembered, Reply};
use super::Blocking;
use super::waiting::{Waiter, Waiting};
use crate::topology::{LogTime, SessionId, Slot, WriteId};

const SESSION: u8 = 1;
const ANSWER: u8 = 2;
const WAITER: u8 = 3;
const FORGOTTEN: u8 = 4;
const NO_SLOT: u16 = u16::MAX;
const LENGTH_BYTES: usize = 4;

/// Blocked clients as they were at one log position, as bytes.
#[derive(Clone, Debug)]
pub struct BlockedPieces {
    waiting: Arc<Waiting>,
    remembered: FrozenRemembered,
    at: Place,
    /// The item that is being written, and how much of it was.
    item: Vec<u8>,
    written: usize,
}

/// The last item that was begun.
#[derive(Clone, Copy, Debug)]
enum Place {
    Start,
    Remembered(Cursor),
    Waiter(Option<u64>),
}

impl Blocking {
    /// The state as a stream; it costs nothing until it is written.
    pub fn freeze(&self, remembered: FrozenRemembered) -> BlockedPieces {
        let waiting = Arc::clone(&self.waiting);
        BlockedPieces { waiting, remembered, at: Place::Start, item: Vec::new(), written: 0 }
    }
}

impl BlockedPieces {
    /// Appends at most `room` bytes of the stream, at least one; `false`: there was nothing left.
    pub fn write(&mut self, room: usize, out: &mut Vec<u8>) -> bool {
        let mut room = room.max(1);
        let mut wrote = false;
        while room > 0 {
            if self.written == self.item.len() && !self.next_item() {
                return wrote;
            }
            let end = self.item.len().min(self.written + room);
            out.extend_from_slice(&self.item[self.written..end]);
            room -= end - self.written;
            self.written = end;
            wrote = true;
        }
        wrote
    }

    fn next_item(&mut self) -> bool {
        self.item.clear();
        self.written = 0;
        self.item.extend_from_slice(&[0; LENGTH_BYTES]);
        if !self.fill_item() {
            self.item.clear();
            return false;
        }
        let length = (self.item.len() - LENGTH_BYTES) as u32;
        self.item[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        true
    }

    fn fill_item(&mut self) -> bool {
        if let Place::Start = self.at {
            self.at = Place::Remembered(Cursor::default());
            self.item.push(FORGOTTEN);
            self.item.extend_from_slice(&self.remembered.forgotten_until().get().to_le_bytes());
            return true;
        }
        if let Place::Remembered(mut cursor) = self.at {
            let item = self.remembered.next(&mut cursor);
            self.at = Place::Remembered(cursor);
            match item {
                Some(Item::Session(session, known)) => {
                    put_id(&mut self.item, SESSION, WriteId { session, sequence: known.low });
                    self.item.extend_from_slice(&known.heard.get().to_le_bytes());
                    self.item.extend_from_slice(&known.born.get().to_le_bytes());
                    return true;
                }
                Some(Item::Reply(session, kept)) => {
                    put_id(&mut self.item, ANSWER, WriteId { session, sequence: kept.sequence });
                    let slot = kept.slot.map_or(NO_SLOT, Slot::number);
                    self.item.extend_from_slice(&slot.to_le_bytes());
                    match &kept.answer {
                        Answer::Gone => self.item.push(0),
                        Answer::Reply(reply) => {
                            self.item.push(1);
                            self.item.extend_from_slice(reply);
                        }
                    }
                    return true;
                }
                None => self.at = Place::Waiter(None),
            }
        }
        let Place::Waiter(before) = self.at else { return false };
        let Some((number, waiter)) = self.waiting.waiter_after(before) else { return false };
        self.at = Place::Waiter(Some(number));
        put_id(&mut self.item, WAITER, waiter.id);
        self.item.push(u8::from(waiter.resp3));
        self.item.extend_from_slice(&waiter.request);
        true
    }
}

fn put_id(out: &mut Vec<u8>, what: u8, id: WriteId) {
    out.push(what);
    out.extend_from_slice(&id.session.0.to_le_bytes());
    out.extend_from_slice(&id.sequence.to_le_bytes());
}

/// Takes the bytes of a stream in order, cut anywhere.
#[derive(Debug, Default)]
pub struct BlockedLoader {
    rest: Vec<u8>,
    waiting: Waiting,
    remembered: Remembered,
}

impl BlockedLoader {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some((head, more)) = rest[at..].split_first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_le_bytes(*head) as usize;
            let Some(item) = more.get(..length) else { break };
            self.take(item)?;
            at += LENGTH_BYTES + length;
        }
        self.rest = rest;
        self.rest.drain(..at);
        Ok(())
    }

    /// The state, if all of it is there.
    ///
    /// # Errors
    /// It is cut.
    pub fn finish(self) -> Result<(Blocking, Remembered), &'static str> {
        if !self.rest.is_empty() {
            return Err("a blocked client of whom not all is there");
        }
        Ok((Blocking { waiting: Arc::new(self.waiting), ..Blocking::default() }, self.remembered))
    }

    fn take(&mut self, item: &[u8]) -> Result<(), &'static str> {
        let mut fields = Fields(item);
        let [what] = fields.array()?;
        if what == FORGOTTEN {
            self.remembered.load_forgotten_until(LogTime(u64::from_le_bytes(fields.array()?)));
            return if fields.0.is_empty() { Ok(()) } else { Err("a time longer than it may be") };
        }
        let session = SessionId(u128::from_le_bytes(fields.array()?));
        let number = u64::from_le_bytes(fields.array()?);
        let id = WriteId { session, sequence: number };
        match what {
            SESSION => {
                let heard = LogTime(u64::from_le_bytes(fields.array()?));
                let born = LogTime(u64::from_le_bytes(fields.array()?));
                self.remembered.load_session(session, number, heard, born);
                if fields.0.is_empty() { Ok(()) } else { Err("a session longer than it may be") }
            }
            ANSWER => {
                let slot = match u16::from_le_bytes(fields.array()?) {
                    NO_SLOT => None,
                    number => Some(Slot::new(number).ok_or("no such slot")?),
                };
                let answer = match (fields.array()?, fields.0) {
                    ([0], []) => Answer::Gone,
                    ([1], reply) => Answer::Reply(Reply::new(reply)),
                    _ => return Err("an answer of unknown form"),
                };
                self.remembered.load_reply(session, Kept { sequence: number, slot, answer })
            }
            WAITER => {
                let [resp3] = fields.array()?;
                self.wait(id, resp3 == 1, fields.0)
            }
            _ => Err("neither a session nor an answer nor a blocked client"),
        }
    }

    fn wait(&mut self, id: WriteId, resp3: bool, request: &[u8]) -> Result<(), &'static str> {
        if self.waiting.contains(id) {
            return Err("a blocked client twice");
        }
        self.waiting.add(Waiter::of(id, resp3, request)?);
        Ok(())
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (head, rest) = self.0.split_first_chunk().ok_or("a blocked client's record shorter than it must be")?;
        self.0 = rest;
        Ok(*head)
    }
}
