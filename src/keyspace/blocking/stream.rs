//! Blocked clients, and what is remembered of them and of all writes, as one stream of bytes, for snapshots.
//!
//! [Items](super::super::item_stream), each `u8 what | fields`:
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

use super::super::item_stream::{Fields, ItemPieces, ItemReader, Source};
use super::super::remembered::{Answer, Cursor, FrozenRemembered, Item, Kept, Remembered, Reply};
use super::Blocking;
use super::waiting::{Waiter, Waiting};
use crate::topology::{LogTime, SessionId, Slot, WriteId};

const SESSION: u8 = 1;
const ANSWER: u8 = 2;
const WAITER: u8 = 3;
const FORGOTTEN: u8 = 4;
const NO_SLOT: u16 = u16::MAX;

/// Blocked clients as they were at one log position, as bytes.
pub type BlockedPieces = ItemPieces<FrozenBlocked>;

/// Blocked clients as they were at one log position, item by item.
#[derive(Clone, Debug)]
pub struct FrozenBlocked {
    waiting: Arc<Waiting>,
    remembered: FrozenRemembered,
    at: Place,
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
        ItemPieces::new(FrozenBlocked { waiting, remembered, at: Place::Start })
    }
}

impl Source for FrozenBlocked {
    fn fill(&mut self, item: &mut Vec<u8>) -> bool {
        if let Place::Start = self.at {
            self.at = Place::Remembered(Cursor::default());
            item.push(FORGOTTEN);
            item.extend_from_slice(&self.remembered.forgotten_until().get().to_le_bytes());
            return true;
        }
        if let Place::Remembered(mut cursor) = self.at {
            let next = self.remembered.next(&mut cursor);
            self.at = Place::Remembered(cursor);
            match next {
                Some(Item::Session(session, known)) => {
                    put_id(item, SESSION, WriteId { session, sequence: known.low });
                    item.extend_from_slice(&known.heard.get().to_le_bytes());
                    item.extend_from_slice(&known.born.get().to_le_bytes());
                    return true;
                }
                Some(Item::Reply(session, kept)) => {
                    put_id(item, ANSWER, WriteId { session, sequence: kept.sequence });
                    let slot = kept.slot.map_or(NO_SLOT, Slot::number);
                    item.extend_from_slice(&slot.to_le_bytes());
                    match &kept.answer {
                        Answer::Gone => item.push(0),
                        Answer::Reply(reply) => {
                            item.push(1);
                            item.extend_from_slice(reply);
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
        put_id(item, WAITER, waiter.id);
        item.push(u8::from(waiter.resp3));
        item.extend_from_slice(&waiter.request);
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
    items: ItemReader,
    waiting: Waiting,
    remembered: Remembered,
}

impl BlockedLoader {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut items = std::mem::take(&mut self.items);
        items.push(bytes, |item| self.take(item))?;
        self.items = items;
        Ok(())
    }

    /// The state, if all of it is there.
    ///
    /// # Errors
    /// It is cut.
    pub fn finish(self) -> Result<(Blocking, Remembered), &'static str> {
        if self.items.is_cut() {
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
