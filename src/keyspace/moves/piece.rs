//! What a piece of a move says: items one after the other, little endian.
//!
//! | tag | item |
//! | --- | --- |
//! | 1 slot | `u16 slot`: what follows is of this slot |
//! | 2 key | `u8 form`, `u64 version`, `u64 expiry or 0`, `u32 key length`, key, `u64 value size`, value ([`stream`](super::super::value)); where the piece ends before the value does, the value goes on in the next |
//! | 3 more | first in a piece: more of the value, or of the patch, that the piece before left unfinished |
//! | 4 removed | `u32 key length`, key: there is no such key |
//! | 5 reset | the slot has no keys |
//! | 6 session | `u128 session`, `u64 low`, `u64 heard`, `u64 born` |
//! | 7 answer | `u128 session`, `u64 sequence`, `u8` 1 for a reply or 0 for gone, `u32 length`, reply; of the slot |
//! | 8 forgotten | `u64 log time` until which sessions were forgotten |
//! | 10 patch | `u64` version of the value that the target has, then as a key; a patch in the place of the value |
//! | 9 waiter | `u128 session`, `u64 sequence`, `u8 RESP3`, `u32 length`, request |
//!
//! A value that is half there is dropped when anything but more of it comes; so is one that is half patched, whose key is gone then.
//!
//! Before the items comes the mark of the cursor that the piece goes on from (`u64`, zero for the beginning). Leaders of the source
//! that follow each other may cut the same data elsewhere: a piece of one that does not go on where the one before it, of another,
//! has ended, would leave something out, and is not taken.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::record::{ExpireAt, Record};
use super::super::remembered::{Answer, Kept, Reply, SessionState};
use super::super::value::{StreamPlace, Value};
use crate::topology::{LogTime, SessionId, Slot, WriteId};

const SLOT: u8 = 1;
const KEY: u8 = 2;
const MORE: u8 = 3;
const REMOVED: u8 = 4;
const RESET: u8 = 5;
const SESSION: u8 = 6;
const ANSWER: u8 = 7;
const FORGOTTEN: u8 = 8;
const WAITER: u8 = 9;
const PATCH: u8 = 10;

/// What is wrong with a piece.
pub type Fault = &'static str;

/// What tells a cursor from others.
pub fn mark_of(cursor: &[u8]) -> u64 {
    if cursor.is_empty() { 0 } else { xxhash_rust::xxh3::xxh3_64(cursor) }
}

/// The items of a piece that goes on after the cursor of this mark.
pub fn after(mark: u64, items: &[u8]) -> Vec<u8> {
    [&mark.to_le_bytes()[..], items].concat()
}

/// What is known of a key beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHead<'a> {
    /// The form of the value's stream.
    pub form: u8,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expire_at: Option<ExpireAt>,
    /// The key.
    pub key: &'a [u8],
    /// The size of the value's stream.
    pub size: u64,
}

impl<'a> KeyHead<'a> {
    /// That of a key with a value.
    pub fn new(key: &'a [u8], version: u64, expire_at: Option<ExpireAt>, value: &Value) -> Self {
        Self { form: value.stream_form(), version, expire_at, key, size: value.stream_size() }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.form);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.expire_at.map_or(0, |at| at.get()).to_le_bytes());
        put_bytes(out, self.key);
        out.extend_from_slice(&self.size.to_le_bytes());
    }
}

/// An item as it is read.
#[derive(Debug)]
pub enum Item<'a> {
    /// What follows is of this slot.
    Slot(Slot),
    /// A key; its value begins where the item ends, and is not taken yet.
    Key(KeyHead<'a>),
    /// What the value of a key has become since this version of it; begins where the item ends, and is not taken yet.
    Patch { base: u64, head: KeyHead<'a> },
    /// More of an unfinished value, which is not taken yet.
    More,
    /// There is no such key.
    Removed(&'a [u8]),
    /// There are no keys.
    Reset,
    /// A session.
    Session(SessionState),
    /// An answer of a session that came before.
    Answer { id: WriteId, answer: Answer },
    /// Until when sessions were forgotten.
    Forgotten(LogTime),
    /// A blocked client.
    Waiter { id: WriteId, resp3: bool, request: &'a [u8] },
}

/// Says that what follows is of this slot.
pub fn put_slot(out: &mut Vec<u8>, slot: Slot) {
    out.push(SLOT);
    out.extend_from_slice(&slot.number().to_le_bytes());
}

/// Writes a key and as much of its value as fits into about `room` bytes; where the value goes on, if it does.
pub fn put_key(out: &mut Vec<u8>, head: KeyHead<'_>, value: &Value, room: usize) -> Option<StreamPlace> {
    let start = out.len();
    out.push(KEY);
    head.put(out);
    let room = room.saturating_sub(out.len() - start);
    value.write_stream(StreamPlace::default(), room, out)
}

/// Writes more of a value.
pub fn put_more(out: &mut Vec<u8>, value: &Value, from: StreamPlace, room: usize) -> Option<StreamPlace> {
    out.push(MORE);
    value.write_stream(from, room, out)
}

/// Begins to say what a key's value has become since this version.
pub fn put_patch(out: &mut Vec<u8>, base: u64, head: KeyHead<'_>) {
    out.push(PATCH);
    out.extend_from_slice(&base.to_le_bytes());
    head.put(out);
}

/// Says that more of a value or a patch follows.
pub fn put_more_follows(out: &mut Vec<u8>) {
    out.push(MORE);
}

/// Says that there is no such key.
pub fn put_removed(out: &mut Vec<u8>, key: &[u8]) {
    out.push(REMOVED);
    put_bytes(out, key);
}

/// Says that the slot has no keys.
pub fn put_reset(out: &mut Vec<u8>) {
    out.push(RESET);
}

/// Writes what is known of a session.
pub fn put_session(out: &mut Vec<u8>, session: SessionState) {
    out.push(SESSION);
    out.extend_from_slice(&session.id.0.to_le_bytes());
    for number in [session.low, session.heard.get(), session.born.get()] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Writes an answer.
pub fn put_answer(out: &mut Vec<u8>, session: SessionId, kept: &Kept) {
    put_id(out, ANSWER, WriteId { session, sequence: kept.sequence });
    match &kept.answer {
        Answer::Gone => out.extend_from_slice(&[0; 5]),
        Answer::Reply(reply) => {
            out.push(1);
            put_bytes(out, reply);
        }
    }
}

/// Says until when sessions were forgotten.
pub fn put_forgotten(out: &mut Vec<u8>, until: LogTime) {
    out.push(FORGOTTEN);
    out.extend_from_slice(&until.get().to_le_bytes());
}

/// Writes a blocked client.
pub fn put_waiter(out: &mut Vec<u8>, id: WriteId, resp3: bool, request: &[u8]) {
    put_id(out, WAITER, id);
    out.push(u8::from(resp3));
    put_bytes(out, request);
}

fn put_id(out: &mut Vec<u8>, tag: u8, id: WriteId) {
    out.push(tag);
    out.extend_from_slice(&id.session.0.to_le_bytes());
    out.extend_from_slice(&id.sequence.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The items of a piece.
#[derive(Debug)]
pub struct Items<'a>(pub &'a [u8]);

impl<'a> Items<'a> {
    /// The next item; none at the end.
    ///
    /// # Errors
    /// It is none.
    pub fn next(&mut self) -> Result<Option<Item<'a>>, Fault> {
        let Some((tag, rest)) = self.0.split_first() else { return Ok(None) };
        self.0 = rest;
        Ok(Some(match *tag {
            SLOT => Item::Slot(Slot::new(u16::from_le_bytes(self.array()?)).ok_or("no such slot")?),
            KEY => Item::Key(self.head()?),
            PATCH => Item::Patch { base: self.u64()?, head: self.head()? },
            MORE => Item::More,
            REMOVED => Item::Removed(self.bytes()?),
            RESET => Item::Reset,
            SESSION => {
                let id = SessionId(u128::from_le_bytes(self.array()?));
                let (low, heard, born) = (self.u64()?, LogTime(self.u64()?), LogTime(self.u64()?));
                Item::Session(SessionState { id, low, heard, born })
            }
            ANSWER => {
                let (id, [form], reply) = (self.id()?, self.array()?, self.bytes()?);
                let answer = match form {
                    0 => Answer::Gone,
                    1 => Answer::Reply(Reply::new(reply)),
                    _ => return Err("an answer of unknown form"),
                };
                Item::Answer { id, answer }
            }
            FORGOTTEN => Item::Forgotten(LogTime(self.u64()?)),
            WAITER => {
                let (id, [resp3]) = (self.id()?, self.array()?);
                Item::Waiter { id, resp3: resp3 == 1, request: self.bytes()? }
            }
            _ => return Err("an item of unknown kind"),
        }))
    }

    fn head(&mut self) -> Result<KeyHead<'a>, Fault> {
        let ([form], version) = (self.array()?, self.u64()?);
        let (expire_at, key) = (ExpireAt::new(self.u64()?), self.bytes()?);
        Ok(KeyHead { form, version, expire_at, key, size: self.u64()? })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, rest) = self.0.split_first_chunk().ok_or("an item that is cut")?;
        self.0 = rest;
        Ok(*head)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or("an item that is cut")?;
        self.0 = rest;
        Ok(head)
    }

    fn id(&mut self) -> Result<WriteId, Fault> {
        let session = SessionId(u128::from_le_bytes(self.array()?));
        Ok(WriteId { session, sequence: self.u64()? })
    }
}

/// The digest of a record: of its key and of what is known of it, not of the value's bytes, since a slot never gives the same
/// version twice. So both ends know it without reading values; those are covered by the checksums of log and frames.
pub fn record_digest(record: &Record) -> u64 {
    const ODD: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];
    let expire_at = record.expire_at.map_or(0, |at| at.get());
    let known = [record.version, expire_at, u64::from(record.value.stream_form()), record.value.stream_size()];
    let seed =
        known.iter().zip(ODD).fold(0_u64, |seed, (number, odd)| (seed ^ number.wrapping_add(1)).wrapping_mul(odd));
    xxh3_64_with_seed(record.key.as_bytes(), seed)
}
