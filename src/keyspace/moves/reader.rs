//! What the source of a move sends next, read from its state in bounded pieces.
//!
//! A round goes through the slots of the move in order, and in each through what it has to send: in round 0 all records in
//! hash order, later the keys that changed in the round before. After the freeze follow the remembered replies of the
//! slots, the sessions, the blocked clients, and the digests that the target has to come to.
//!
//! What is sent of a key is what it held when the round began. A key that has changed since comes in the next round, and is left
//! out of this one; but of a large value that is changed in place what it was is kept ([`changes`](super::changes)), and sent. So
//! a large value gets to the target however much is written to it, and from then on a patch of it each round. One that is
//! replaced while a part of it is sent is broken off: the target drops what it has of it.
//!
//! The cursor is all that another leader needs to go on, after any piece; the digests alone begin anew.

use super::super::item_stream::put_numbers;
use super::super::record::{Position, Record};
use super::super::slot_data::{SlotData, at_or_after};
use super::super::store::Keyspace;
use super::super::value::{PatchPlace, StreamPlace, Value};
use super::changes::{Base, Change};
use super::export::{Export, ExportSlot, Phase};
use super::piece::{self, KeyHead, record_digest};
use crate::planted::{self, Bug};
use crate::protocol::moves::SlotSeal;
use crate::topology::{LogTime, SessionId, Slot, WriteId};

/// Keys, replies or sessions that one call looks at, at most.
const VISITS_MAX: usize = 16_384;
/// Sessions that were not heard of for longer are not sent: none of their writes is young enough to be executed again.
const SESSION_AGE_MAX_MS: u64 = 90_000;
/// An item that is to begin in a piece finds at least so much room, or begins the next.
const ROOM_MIN_BYTES: usize = 64;

/// Where the leader of a source is with what it sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReader {
    round: u32,
    place: Place,
    /// The digests that are done, and one that is being summed up: until after which key, and to what.
    seals: Vec<SlotSeal>,
    sum: (Option<Box<[u8]>>, u64),
    /// The mark of the cursor that went with the last piece.
    last: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The keys of this slot, after this one; the first slot if none.
    Keys {
        slot: Option<Slot>,
        after: Option<Box<[u8]>>,
        half: Option<HalfSent>,
    },
    RoundDone,
    Answers(Option<WriteId>),
    Sessions(Option<SessionId>),
    Waiters(Option<WriteId>),
    Seals,
}

/// A value of which a part was sent: of the key after which the place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfSent {
    /// The value itself.
    Whole { version: u64, form: u8, size: u64, at: StreamPlace },
    /// What it has become since it had this version.
    Patch { base: u64, version: u64, at: PatchPlace },
}

/// What a key held when the round began.
#[derive(Clone, Copy, Debug)]
enum Then<'a> {
    /// Nobody knows: it has changed since, and comes in the next round.
    Changed,
    /// Nothing.
    Nothing,
    /// This.
    Held(KeyHead<'a>, &'a Value),
}

impl<'a> Then<'a> {
    fn of(exported: &'a ExportSlot, record: Option<&'a Record>, key: &'a [u8]) -> Self {
        match (exported.changed.find(key), record) {
            (Some(Change { base: Some(base), .. }), _) => {
                Self::Held(KeyHead::new(key, base.version, base.expire_at, &base.value), &base.value)
            }
            (Some(_), _) => Self::Changed,
            (None, Some(record)) => {
                Self::Held(KeyHead::new(key, record.version, record.expire_at, &record.value), &record.value)
            }
            (None, None) => Self::Nothing,
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Keys { slot: None, after: None, half: None }
    }
}

/// Bytes that are no cursor of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the cursor of an export")]
pub struct BadCursor;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The data; empty: there is nothing to send, and something to be read yet.
    pub body: Vec<u8>,
    /// Where another leader goes on after it.
    pub cursor: Vec<u8>,
    /// What comes next.
    pub next: Next,
}

/// What comes after a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More.
    More,
    /// Nothing in this round.
    RoundDone,
    /// Nothing: it is the last, and this is what each slot must have come to.
    Finish(Vec<SlotSeal>),
}

/// Room for one piece, and for the work that it may take.
struct Pen {
    out: Vec<u8>,
    end: usize,
    visits: usize,
    /// The slot that was said last.
    slot: Option<Slot>,
}

impl Pen {
    /// Whether one more item may be looked at.
    fn go_on(&mut self) -> bool {
        let goes = self.visits < VISITS_MAX && (self.out.is_empty() || self.room() >= ROOM_MIN_BYTES);
        self.visits += usize::from(goes);
        goes
    }

    const fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }

    fn slot(&mut self, slot: Slot) {
        if self.slot.replace(slot) != Some(slot) {
            piece::put_slot(&mut self.out, slot);
        }
    }

    /// Writes a key with its value; what is left of it, if it did not fit.
    fn whole(&mut self, head: KeyHead<'_>, value: &Value) -> Option<HalfSent> {
        let room = self.room();
        let at = piece::put_key(&mut self.out, head, value, room)?;
        Some(HalfSent::Whole { version: head.version, form: head.form, size: head.size, at })
    }

    /// Writes what has become of a key; what is left of it, if it did not fit.
    fn change(&mut self, slot: Slot, head: KeyHead<'_>, value: &Value, base: Option<&Base>) -> Option<HalfSent> {
        let base = base.filter(|base| base.value.value_type() == value.value_type());
        let Some(base) = base else {
            self.slot(slot);
            return self.whole(head, value);
        };
        if KeyHead::new(head.key, base.version, base.expire_at, &base.value) == head {
            return None;
        }
        self.slot(slot);
        piece::put_patch(&mut self.out, base.version, head);
        self.patch(PatchPlace::default(), head, value, base)
    }

    fn patch(&mut self, from: PatchPlace, head: KeyHead<'_>, value: &Value, base: &Base) -> Option<HalfSent> {
        let (room, mut visits) = (self.room(), VISITS_MAX.saturating_sub(self.visits));
        let at = value.write_patch(&base.value, from, room, &mut visits, &mut self.out);
        self.visits = VISITS_MAX - visits;
        at.map(|at| HalfSent::Patch { base: base.version, version: head.version, at })
    }

    /// Writes more of what was begun, if the key still holds it; what is left of it.
    fn more(&mut self, sent: HalfSent, head: KeyHead<'_>, value: &Value, base: Option<&Base>) -> Option<HalfSent> {
        match sent {
            HalfSent::Whole { version, form, size, at } => {
                let is_it = (version, form, size) == (head.version, head.form, head.size);
                let room = self.room();
                let at = is_it.then(|| piece::put_more(&mut self.out, value, at, room)).flatten()?;
                Some(HalfSent::Whole { version, form, size, at })
            }
            HalfSent::Patch { base: before, version, at } => {
                let base = base.filter(|base| (base.version, head.version) == (before, version))?;
                piece::put_more_follows(&mut self.out);
                self.patch(at, head, value, base)
            }
        }
    }
}

impl Keyspace {
    /// The next piece of an export, of about `bytes_max`. None: there is no such export, or the reader is of a round that
    /// has not begun here.
    pub fn read_export(&self, number: u64, reader: &mut ExportReader, bytes_max: usize) -> Option<Piece> {
        let export = self.export(number)?;
        if reader.round > export.round {
            return None;
        }
        if reader.round < export.round {
            *reader = ExportReader { round: export.round, last: reader.last, ..ExportReader::default() };
        }
        let mut pen = Pen { out: Vec::new(), end: bytes_max, visits: 0, slot: None };
        let next = loop {
            let is_done = match &reader.place {
                Place::Keys { .. } => self.read_keys(export, &mut reader.place, &mut pen),
                Place::RoundDone => break Next::RoundDone,
                Place::Answers(_) => self.read_answers(export, &mut reader.place, &mut pen),
                Place::Sessions(_) => self.read_sessions(&mut reader.place, &mut pen),
                Place::Waiters(_) => self.read_waiters(export, &mut reader.place, &mut pen),
                Place::Seals => {
                    if reader.read_seals(export, self.seed, &mut pen) {
                        break Next::Finish(reader.seals.clone());
                    }
                    false
                }
            };
            if !is_done {
                break Next::More;
            }
        };
        let cursor = reader.cursor();
        if pen.out.is_empty() && !matches!(next, Next::Finish(_)) {
            return Some(Piece { body: pen.out, cursor, next });
        }
        let body = piece::after(std::mem::replace(&mut reader.last, piece::mark_of(&cursor)), &pen.out);
        Some(Piece { body, cursor, next })
    }

    /// Whether the stage is over; the place is that of the next then.
    fn read_keys(&self, export: &Export, place: &mut Place, pen: &mut Pen) -> bool {
        loop {
            let Place::Keys { slot, after, half } = place else { return true };
            let mut rest = export.slots.iter().filter(|(number, _)| slot.is_none_or(|slot| **number >= slot));
            let Some((number, exported)) = rest.next() else {
                *place = if export.phase == Phase::Frozen { Place::Answers(None) } else { Place::RoundDone };
                return true;
            };
            let next_slot = rest.next().map(|(slot, _)| *slot);
            if *slot != Some(*number) {
                (*slot, *after, *half) = (Some(*number), None, None);
            }
            if !self.read_slot(export.round, *number, exported, (after, half), pen) {
                return false;
            }
            // Past the last slot there is none: a number that no slot has is not needed, as the iterator is empty then.
            *place = match next_slot {
                Some(slot) => Place::Keys { slot: Some(slot), after: None, half: None },
                None if export.phase == Phase::Frozen => Place::Answers(None),
                None => Place::RoundDone,
            };
        }
    }

    fn read_slot(
        &self,
        round: u32,
        slot: Slot,
        exported: &ExportSlot,
        (after, half): (&mut Option<Box<[u8]>>, &mut Option<HalfSent>),
        pen: &mut Pen,
    ) -> bool {
        let Some(data) = exported.frozen.as_deref().or_else(|| self.slot(slot)) else { return true };
        if let Some(sent) = half.take() {
            let key = after.as_deref().unwrap_or_default();
            let then = Then::of(exported, data.find(Position::of_key(key, self.seed), key), key);
            let base = exported.sent.find(key).and_then(|change| change.base.as_deref());
            *half = if let Then::Held(head, value) = then { pen.more(sent, head, value, base) } else { None };
            if half.is_some() {
                return false;
            }
        }
        if round == 0 {
            return self.read_records(slot, data, exported, (after, half), pen);
        }
        if exported.sent.is_reset && after.is_none() {
            pen.slot(slot);
            piece::put_reset(&mut pen.out);
        }
        let from = after.clone();
        for change in exported.sent.after(from.as_deref()) {
            if !pen.go_on() {
                return false;
            }
            let key = change.key.as_bytes();
            *after = Some(key.into());
            match Then::of(exported, data.find(Position::of_key(key, self.seed), key), key) {
                Then::Changed => {}
                Then::Nothing => {
                    pen.slot(slot);
                    piece::put_removed(&mut pen.out, key);
                }
                Then::Held(head, value) => *half = pen.change(slot, head, value, change.base.as_deref()),
            }
            if half.is_some() {
                return false;
            }
        }
        true
    }

    fn read_records(
        &self,
        slot: Slot,
        data: &SlotData,
        exported: &ExportSlot,
        (after, half): (&mut Option<Box<[u8]>>, &mut Option<HalfSent>),
        pen: &mut Pen,
    ) -> bool {
        let mut last = None;
        let mut is_over = true;
        for record in records_after(data, after.as_deref(), self.seed) {
            if !pen.go_on() {
                is_over = false;
                break;
            }
            last = Some(record);
            if let Then::Held(head, value) = Then::of(exported, Some(record), record.key.as_bytes()) {
                pen.slot(slot);
                *half = pen.whole(head, value);
            }
            if half.is_some() {
                is_over = false;
                break;
            }
        }
        if let Some(last) = last {
            *after = Some(last.key.as_bytes().into());
        }
        is_over
    }

    fn read_answers(&self, export: &Export, place: &mut Place, pen: &mut Pen) -> bool {
        let Place::Answers(after) = place else { return true };
        let mut said = None;
        for (session, kept) in self.remembered.answers_after(*after) {
            if !pen.go_on() {
                return false;
            }
            let id = WriteId { session: session.id, sequence: kept.sequence };
            *after = Some(id);
            let goes = |slot: &Slot| export.slots.contains_key(slot) && !planted::is(Bug::RepliesStayBehind);
            let Some(slot) = kept.slot.filter(goes) else { continue };
            if said.replace(session.id) != Some(session.id) {
                piece::put_session(&mut pen.out, session);
            }
            pen.slot(slot);
            piece::put_answer(&mut pen.out, session.id, kept);
        }
        *place = Place::Sessions(None);
        true
    }

    fn read_sessions(&self, place: &mut Place, pen: &mut Pen) -> bool {
        let Place::Sessions(after) = place else { return true };
        let heard_min = LogTime(self.log_time.get().saturating_sub(SESSION_AGE_MAX_MS));
        for session in self.remembered.sessions_after(*after) {
            if !pen.go_on() {
                return false;
            }
            *after = Some(session.id);
            if session.heard >= heard_min {
                piece::put_session(&mut pen.out, session);
            }
        }
        piece::put_forgotten(&mut pen.out, self.remembered.forgotten_until());
        *place = Place::Waiters(None);
        true
    }

    fn read_waiters(&self, export: &Export, place: &mut Place, pen: &mut Pen) -> bool {
        let Place::Waiters(after) = place else { return true };
        for waiter in self.blocking.waiters_after(*after) {
            if !pen.go_on() {
                return false;
            }
            *after = Some(waiter.id);
            if export.slots.contains_key(&waiter.slot()) {
                piece::put_waiter(&mut pen.out, waiter.id, waiter.resp3, &waiter.request);
            }
        }
        *place = Place::Seals;
        true
    }
}

fn records_after<'a>(data: &'a SlotData, after: Option<&[u8]>, seed: u64) -> impl Iterator<Item = &'a Record> {
    let after = after.map(|key| (Position::of_key(key, seed), key.to_vec()));
    let start = at_or_after(after.as_ref().map_or(Position(0), |(position, _)| *position));
    data.records()
        .range_from(start)
        .skip_while(move |record| after.as_ref().is_some_and(|(position, key)| record.order(*position, key).is_le()))
}

impl ExportReader {
    /// Goes on where a cursor says; an empty one is the beginning.
    ///
    /// # Errors
    /// It is no cursor.
    pub fn resume(cursor: &[u8]) -> Result<Self, BadCursor> {
        if cursor.is_empty() {
            return Ok(Self::default());
        }
        let mut bytes = CursorBytes(cursor);
        let (round, [stage]) = (u32::from_le_bytes(bytes.array()?), bytes.array()?);
        let place = match stage {
            0 => Place::Keys {
                slot: bytes.option(|bytes| Slot::new(u16::from_le_bytes(bytes.array()?)).ok_or(BadCursor))?,
                after: bytes.option(CursorBytes::key)?,
                half: bytes.option(CursorBytes::half)?,
            },
            1 => Place::RoundDone,
            2 => Place::Answers(bytes.option(CursorBytes::id)?),
            3 => Place::Sessions(bytes.option(|bytes| Ok(SessionId(u128::from_le_bytes(bytes.array()?))))?),
            4 => Place::Waiters(bytes.option(CursorBytes::id)?),
            5 => Place::Seals,
            _ => return Err(BadCursor),
        };
        let last = piece::mark_of(cursor);
        if bytes.0.is_empty() { Ok(Self { round, place, last, ..Self::default() }) } else { Err(BadCursor) }
    }

    /// Where another leader goes on.
    pub fn cursor(&self) -> Vec<u8> {
        let mut out = self.round.to_le_bytes().to_vec();
        match &self.place {
            Place::Keys { slot, after, half } => {
                out.push(0);
                put_option(&mut out, *slot, |out, slot| out.extend_from_slice(&slot.number().to_le_bytes()));
                put_option(&mut out, after.as_ref(), |out, key| {
                    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
                    out.extend_from_slice(key);
                });
                put_option(&mut out, *half, |out, half| match half {
                    HalfSent::Whole { version, form, size, at } => {
                        let (item, byte) = at.parts();
                        out.extend_from_slice(&[0, form]);
                        put_numbers(out, &[version, size, item, byte]);
                    }
                    HalfSent::Patch { base, version, at } => {
                        out.push(1);
                        put_numbers(out, &[base, version, at.base, at.item, at.byte]);
                    }
                });
            }
            Place::RoundDone => out.push(1),
            Place::Answers(after) => {
                out.push(2);
                put_option(&mut out, *after, put_id);
            }
            Place::Sessions(after) => {
                out.push(3);
                put_option(&mut out, *after, |out, id| out.extend_from_slice(&id.0.to_le_bytes()));
            }
            Place::Waiters(after) => {
                out.push(4);
                put_option(&mut out, *after, put_id);
            }
            Place::Seals => out.push(5),
        }
        out
    }

    /// Sums the digests of the slots up; whether all are done.
    fn read_seals(&mut self, export: &Export, seed: u64, pen: &mut Pen) -> bool {
        let frozen: Vec<&SlotData> = export.frozen().map(|(_, data)| &**data).collect();
        while let Some(data) = frozen.get(self.seals.len()) {
            let (after, mut sum) = std::mem::take(&mut self.sum);
            let mut last = None;
            for record in records_after(data, after.as_deref(), seed) {
                if pen.visits >= VISITS_MAX {
                    let last = last.map(|record: &Record| record.key.as_bytes().into());
                    self.sum = (last.or_else(|| after.clone()), sum);
                    return false;
                }
                pen.visits += 1;
                sum = record_digest(record).wrapping_add(sum);
                last = Some(record);
            }
            let (version, last_removal_version) = (data.version(), data.last_removal_version());
            self.seals.push(SlotSeal { version, last_removal_version, digest: sum });
        }
        true
    }
}

fn put_option<T>(out: &mut Vec<u8>, option: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(option.is_some()));
    if let Some(value) = option {
        put(out, value);
    }
}

fn put_id(out: &mut Vec<u8>, id: WriteId) {
    out.extend_from_slice(&id.session.0.to_le_bytes());
    out.extend_from_slice(&id.sequence.to_le_bytes());
}

struct CursorBytes<'a>(&'a [u8]);

impl CursorBytes<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadCursor> {
        let (head, rest) = self.0.split_first_chunk().ok_or(BadCursor)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u64(&mut self) -> Result<u64, BadCursor> {
        self.array().map(u64::from_le_bytes)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, BadCursor>) -> Result<Option<T>, BadCursor> {
        match self.array()? {
            [0] => Ok(None),
            [1] => read(self).map(Some),
            _ => Err(BadCursor),
        }
    }

    fn key(&mut self) -> Result<Box<[u8]>, BadCursor> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (key, rest) = self.0.split_at_checked(length).ok_or(BadCursor)?;
        self.0 = rest;
        Ok(key.into())
    }

    fn id(&mut self) -> Result<WriteId, BadCursor> {
        Ok(WriteId { session: SessionId(u128::from_le_bytes(self.array()?)), sequence: self.u64()? })
    }

    fn half(&mut self) -> Result<HalfSent, BadCursor> {
        if self.array()? == [1] {
            let (base, version) = (self.u64()?, self.u64()?);
            let at = PatchPlace { base: self.u64()?, item: self.u64()?, byte: self.u64()? };
            return Ok(HalfSent::Patch { base, version, at });
        }
        let ([form], version, size) = (self.array()?, self.u64()?, self.u64()?);
        let (item, byte) = (self.u64()?, self.u64()?);
        // What is past the end of a value cannot have been sent.
        let at = StreamPlace::of_parts(item, byte).filter(|_| item <= size).ok_or(BadCursor)?;
        Ok(HalfSent::Whole { version, form, size, at })
    }
}
