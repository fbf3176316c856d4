//! All moves as a stream of [items](super::super::item_stream), for snapshots and digests. Data that is aside follows it in
//! the snapshot as slots, in the order of [`Moves::aside`].
//!
//! An item is `u8 what | fields`:
//!
//! | what | fields |
//! | --- | --- |
//! | 1 state | `u64 last number`, `u64 ownership`, `u8 closing` |
//! | 2 past | `u16 slot`, `u64` taken, refused, highest, gained, `u8` 1 if it went: `u64 shard`, `u64 epoch` |
//! | 3 export | `u64` number, target, revision, log time, `u8 frozen`, `u32 round` |
//! | 4 slot of the export | `u16 slot`, `u64 epoch`, `u8` changed from nothing on, `u8` sent from nothing on |
//! | 5 keys of that slot | `u8` 0 changed or 1 sent, keys |
//! | 11 base of a key | `u8` 0 changed or 1 sent, `u64` version, expiry or 0, bytes of a patch, size, `u8 form`, key |
//! | 12 more of that | bytes of the value's stream |
//! | 6 import | `u64` source, number, next, log time, cursor |
//! | 7 slot of the import | `u16 slot`, `u64` epoch, digest, highest version |
//! | 8 half a key of the import | `u16 slot`, `u64` version, expiry or 0, size, `u8 form`, key |
//! | 9 more of either | bytes of the value's stream |
//! | 13 half a patch of a key | `u16 slot`, `u64` version, expiry or 0, size, items done, items to insert, size so far, `u8` form, form so far, key |
//! | 14 more of that | bytes of an operation or an item that is not all there |
//! | 10 waiter of the import | `u128 session`, `u64 sequence`, `u8 RESP3`, request |
//!
//! Invariant: equal states have equal streams, however they came about: nothing here follows how they lie in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::blocking::Waiter;
use super::super::item_stream::{Fields, ItemPieces, ItemReader, Source, put_bytes, put_numbers};
use super::super::record::{ExpireAt, Key};
use super::super::slot_data::SlotData;
use super::super::value::{Patcher, Patching, StreamPlace, Value, ValueBuilder};
use super::changes::{Base, Change, Changes};
use super::export::{Export, ExportSlot, Phase};
use super::import::{Growing, Half, Import, ImportSlot};
use super::{Moves, Past};
use crate::topology::{Epoch, LogTime, MoveId, Revision, SessionId, ShardId, Slot, WriteId};

/// Keys in one item.
const KEYS_PER_ITEM: usize = 64;
/// Bytes of a half value in one item.
const HALF_ITEM_BYTES: usize = 256 * 1024;

type Fault = &'static str;

/// All moves at one log position, as bytes.
pub type MovesPieces = ItemPieces<FrozenMoves>;

/// All moves at one log position, item by item.
#[derive(Clone, Debug)]
pub struct FrozenMoves {
    moves: Moves,
    next: VecDeque<Place>,
}

/// An item to come.
#[derive(Clone, Debug)]
enum Place {
    State,
    Past(Slot),
    Export(u64),
    ExportSlot(u64, Slot),
    Keys {
        number: u64,
        slot: Slot,
        is_sent: bool,
        after: Option<Box<[u8]>>,
    },
    /// The first base of a key after this one.
    Base {
        number: u64,
        slot: Slot,
        is_sent: bool,
        after: Option<Box<[u8]>>,
    },
    BaseValue(Arc<Base>, StreamPlace),
    Import(MoveId),
    ImportSlot(MoveId, Slot),
    Half(MoveId),
    HalfItems(MoveId, StreamPlace),
    HalfRest(MoveId, usize),
    Waiter(MoveId, usize),
}

/// Where data is that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Frozen, in this export.
    Frozen(u64, Slot),
    /// Staged, in this import.
    Staged(MoveId, Slot),
}

impl Aside {
    /// The slot.
    pub const fn slot(self) -> Slot {
        match self {
            Self::Frozen(_, slot) | Self::Staged(_, slot) => slot,
        }
    }
}

impl Moves {
    /// The stream; it costs next to nothing until it is written.
    pub fn pieces(self) -> MovesPieces {
        let mut next = VecDeque::from([Place::State]);
        next.extend(self.past.keys().map(|slot| Place::Past(*slot)));
        for (number, export) in &self.exports {
            next.push_back(Place::Export(*number));
            for slot in export.slots.keys() {
                next.push_back(Place::ExportSlot(*number, *slot));
                let (number, slot, after) = (*number, *slot, None::<Box<[u8]>>);
                for is_sent in [false, true] {
                    next.push_back(Place::Keys { number, slot, is_sent, after: after.clone() });
                    next.push_back(Place::Base { number, slot, is_sent, after: after.clone() });
                }
            }
        }
        for (id, import) in &self.imports {
            next.push_back(Place::Import(*id));
            next.extend(import.slots.keys().map(|slot| Place::ImportSlot(*id, *slot)));
            if import.half.is_some() {
                next.push_back(Place::Half(*id));
                next.push_back(Place::HalfItems(*id, StreamPlace::default()));
            }
            next.extend((0..import.waiters.len()).map(|at| Place::Waiter(*id, at)));
        }
        ItemPieces::new(FrozenMoves { moves: self, next })
    }

    /// The data that is aside, in order.
    pub fn aside(&self) -> Vec<(Aside, Option<Arc<SlotData>>)> {
        let frozen = self.exports.values().filter(|export| export.phase == Phase::Frozen).flat_map(|export| {
            export.slots.iter().map(|(slot, held)| (Aside::Frozen(export.number, *slot), held.frozen.clone()))
        });
        let staged = self.imports.values().flat_map(|import| {
            import.slots.iter().map(|(slot, held)| (Aside::Staged(import.id, *slot), Some(Arc::clone(&held.data))))
        });
        frozen.chain(staged).collect()
    }

    /// Puts data aside that was loaded.
    pub fn put_aside(&mut self, aside: Aside, data: SlotData) {
        match aside {
            Aside::Frozen(number, slot) => {
                let held = self.exports.get_mut(&number).and_then(|export| export.slots.get_mut(&slot));
                if let Some(held) = held {
                    held.frozen = Some(Arc::new(data));
                }
            }
            Aside::Staged(id, slot) => {
                let held = self.imports.get_mut(&id).and_then(|import| import.slots.get_mut(&slot));
                if let Some(held) = held {
                    held.data = Arc::new(data);
                }
            }
        }
    }
}

impl Source for FrozenMoves {
    fn fill(&mut self, item: &mut Vec<u8>) -> bool {
        loop {
            let Some(place) = self.next.pop_front() else { return false };
            // A place may turn out to be empty.
            if self.fill_from(place, item).is_some() {
                return true;
            }
        }
    }
}

impl FrozenMoves {
    fn fill_from(&mut self, place: Place, out: &mut Vec<u8>) -> Option<()> {
        match place {
            Place::State => {
                out.push(1);
                put_numbers(out, &[self.moves.last_number, self.moves.ownership]);
                out.push(u8::from(self.moves.is_closing));
            }
            Place::Past(slot) => put_past(out, slot, self.moves.past.get(&slot)?),
            Place::Export(number) => {
                let export = self.moves.exports.get(&number)?;
                out.push(3);
                put_numbers(out, &[number, export.to.get(), export.revision.get(), export.started.get()]);
                out.push(u8::from(export.phase == Phase::Frozen));
                out.extend_from_slice(&export.round.to_le_bytes());
            }
            Place::ExportSlot(number, slot) => {
                let held = self.moves.exports.get(&number)?.slots.get(&slot)?;
                put_slot(out, 4, slot, &[held.epoch.get()]);
                out.extend_from_slice(&[u8::from(held.changed.is_reset), u8::from(held.sent.is_reset)]);
            }
            Place::Keys { number, slot, is_sent, after } => return self.fill_keys(number, slot, is_sent, after, out),
            Place::Base { number, slot, is_sent, after } => return self.fill_base(number, slot, is_sent, after, out),
            Place::BaseValue(base, from) => {
                out.push(12);
                let next = base.value.write_stream(from, HALF_ITEM_BYTES, out);
                next.into_iter().for_each(|next| self.next.push_front(Place::BaseValue(Arc::clone(&base), next)));
            }
            Place::Import(id) => {
                let import = self.moves.imports.get(&id)?;
                out.push(6);
                put_numbers(out, &[id.source.get(), id.number, import.next, import.started.get()]);
                put_bytes(out, &import.cursor);
            }
            Place::ImportSlot(id, slot) => {
                let held = self.moves.imports.get(&id)?.slots.get(&slot)?;
                put_slot(out, 7, slot, &[held.epoch.get(), held.digest, held.version_max]);
            }
            Place::Half(id) => {
                let half = self.moves.imports.get(&id)?.half.as_ref()?;
                let expire_at = half.expire_at.map_or(0, |at| at.get());
                match &half.value {
                    Growing::New(builder) => {
                        put_slot(out, 8, half.slot, &[half.version, expire_at, builder.size()]);
                        out.push(builder.form());
                    }
                    Growing::Patched(patcher) => {
                        let (Patching { form, size, at, left }, (value, _)) = (patcher.place(), patcher.so_far());
                        let numbers = [half.version, expire_at, size, at, u64::from(left), value.stream_size()];
                        put_slot(out, 13, half.slot, &numbers);
                        out.extend_from_slice(&[form, value.stream_form()]);
                    }
                }
                put_bytes(out, &half.key);
            }
            Place::HalfItems(id, from) => return self.fill_half(id, from, out),
            Place::HalfRest(id, from) => {
                let (what, rest) = match &self.moves.imports.get(&id)?.half.as_ref()?.value {
                    Growing::New(builder) => (9, builder.so_far().1),
                    Growing::Patched(patcher) => (14, patcher.so_far().1),
                };
                let bytes = rest.get(from..).filter(|bytes| !bytes.is_empty())?;
                let end = bytes.len().min(HALF_ITEM_BYTES);
                out.push(what);
                out.extend_from_slice(&bytes[..end]);
                self.next.push_front(Place::HalfRest(id, from + end));
            }
            Place::Waiter(id, at) => {
                let waiter = self.moves.imports.get(&id)?.waiters.get(at)?;
                out.push(10);
                out.extend_from_slice(&waiter.id.session.0.to_le_bytes());
                put_numbers(out, &[waiter.id.sequence]);
                out.push(u8::from(waiter.resp3));
                put_bytes(out, &waiter.request);
            }
        }
        Some(())
    }

    /// What changed of a slot that is copied: since the round began, or before it.
    fn changes(&self, number: u64, slot: Slot, is_sent: bool) -> Option<&Changes> {
        let held = self.moves.exports.get(&number)?.slots.get(&slot)?;
        Some(if is_sent { &held.sent } else { &held.changed })
    }

    fn fill_keys(
        &mut self,
        number: u64,
        slot: Slot,
        is_sent: bool,
        after: Option<Box<[u8]>>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let changes = self.changes(number, slot, is_sent)?;
        let keys: Vec<&Key> = changes.after(after.as_deref()).take(KEYS_PER_ITEM).map(|change| &change.key).collect();
        let last = keys.last()?;
        out.extend_from_slice(&[5, u8::from(is_sent)]);
        keys.iter().for_each(|key| put_bytes(out, key.as_bytes()));
        let after = Some(last.as_bytes().into());
        self.next.push_front(Place::Keys { number, slot, is_sent, after });
        Some(())
    }

    fn fill_base(
        &mut self,
        number: u64,
        slot: Slot,
        is_sent: bool,
        after: Option<Box<[u8]>>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let changes = self.changes(number, slot, is_sent)?;
        let has_base = |change: &&Change| change.base.is_some();
        let change = changes.after(after.as_deref()).find(has_base)?;
        let base = change.base.as_ref()?;
        let expire_at = base.expire_at.map_or(0, |at| at.get());
        out.extend_from_slice(&[11, u8::from(is_sent)]);
        put_numbers(out, &[base.version, expire_at, change.patch_bytes, base.value.stream_size()]);
        out.push(base.value.stream_form());
        put_bytes(out, change.key.as_bytes());
        let (base, after) = (Arc::clone(base), Some(change.key.as_bytes().into()));
        self.next.push_front(Place::Base { number, slot, is_sent, after });
        self.next.push_front(Place::BaseValue(base, StreamPlace::default()));
        Some(())
    }

    fn fill_half(&mut self, id: MoveId, from: StreamPlace, out: &mut Vec<u8>) -> Option<()> {
        let value = match &self.moves.imports.get(&id)?.half.as_ref()?.value {
            Growing::New(builder) => builder.so_far().0,
            Growing::Patched(patcher) => Some(patcher.so_far().0.clone()),
        };
        let Some(value) = value.filter(|value| value.stream_size() > 0) else {
            self.next.push_front(Place::HalfRest(id, 0));
            return None;
        };
        out.push(9);
        let next = value.write_stream(from, HALF_ITEM_BYTES, out);
        self.next.push_front(next.map_or(Place::HalfRest(id, 0), |next| Place::HalfItems(id, next)));
        Some(())
    }
}

fn put_slot(out: &mut Vec<u8>, what: u8, slot: Slot, numbers: &[u64]) {
    out.push(what);
    out.extend_from_slice(&slot.number().to_le_bytes());
    put_numbers(out, numbers);
}

fn put_past(out: &mut Vec<u8>, slot: Slot, past: &Past) {
    put_slot(out, 2, slot, &[past.taken.get(), past.refused.get(), past.highest.get(), past.gained]);
    out.push(u8::from(past.gone.is_some()));
    past.gone.into_iter().for_each(|(to, epoch)| put_numbers(out, &[to.get(), epoch.get()]));
}

/// Takes the bytes of a stream in order, cut anywhere.
#[derive(Debug, Default)]
pub struct MovesLoader {
    items: ItemReader,
    moves: Moves,
    past: BTreeMap<Slot, Past>,
    /// What the items are of that say no more than their slot.
    export: Option<(u64, Option<Slot>)>,
    import: Option<MoveId>,
    /// A base of which not all is there.
    base: Option<LoadingBase>,
    /// An earlier state of a value that is being patched, of which not all is there.
    patched: Option<(ValueBuilder, Patching)>,
}

/// A base on its way: of which key, and of which changes.
#[derive(Debug)]
struct LoadingBase {
    is_sent: bool,
    key: Box<[u8]>,
    version: u64,
    expire_at: Option<ExpireAt>,
    patch_bytes: u64,
    value: ValueBuilder,
}

impl MovesLoader {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut items = std::mem::take(&mut self.items);
        items.push(bytes, |item| self.take(item))?;
        self.items = items;
        Ok(())
    }

    /// The moves, but for the data that is aside.
    ///
    /// # Errors
    /// The stream is cut.
    pub fn finish(mut self) -> Result<Moves, Fault> {
        if self.items.is_cut() || self.base.is_some() || self.patched.is_some() {
            return Err("a move of which not all is there");
        }
        self.moves.past = Arc::new(self.past);
        Ok(self.moves)
    }

    fn take(&mut self, item: &[u8]) -> Result<(), Fault> {
        let mut fields = Fields(item);
        match fields.array()? {
            [1] => {
                (self.moves.last_number, self.moves.ownership) = (fields.u64()?, fields.u64()?);
                self.moves.is_closing = fields.array()? == [1];
            }
            [2] => {
                let (slot, past) = past(&mut fields)?;
                self.past.insert(slot, past);
            }
            [3] => self.take_export(&mut fields)?,
            [4] => self.take_export_slot(&mut fields)?,
            [5] => {
                let is_sent = fields.array()? == [1];
                let changes = self.changes(is_sent)?;
                while !fields.0.is_empty() {
                    changes.note_replaced(fields.bytes()?);
                }
            }
            [6] => self.take_import(&mut fields)?,
            [7] => {
                let (slot, epoch) = (slot(&mut fields)?, Epoch(fields.u64()?));
                let (digest, version_max) = (fields.u64()?, fields.u64()?);
                let data = Arc::new(SlotData::new(epoch));
                self.import()?.slots.insert(slot, ImportSlot { epoch, data, digest, version_max });
            }
            [8] => {
                let (slot, version, expire_at) = (slot(&mut fields)?, fields.u64()?, ExpireAt::new(fields.u64()?));
                let (size, [form], key) = (fields.u64()?, fields.array()?, fields.bytes()?.into());
                let value = Growing::New(ValueBuilder::new(form, size)?);
                self.import()?.half = Some(Half { slot, key, version, expire_at, value });
            }
            [9] => self.take_more(&mut fields)?,
            [11] => {
                let (is_sent, version) = (fields.array()? == [1], fields.u64()?);
                let (expire_at, patch_bytes, size) = (ExpireAt::new(fields.u64()?), fields.u64()?, fields.u64()?);
                let ([form], key) = (fields.array()?, fields.bytes()?.into());
                let value = ValueBuilder::new(form, size)?;
                self.base = Some(LoadingBase { is_sent, key, version, expire_at, patch_bytes, value });
            }
            [12] => self.take_base(std::mem::take(&mut fields.0))?,
            [13] => self.take_half_patch(&mut fields)?,
            [14] => {
                let half = self.import()?.half.as_mut().ok_or("more of no patch")?;
                let rest = std::mem::take(&mut fields.0);
                let Growing::Patched(patcher) = &mut half.value else { return Err("more of no patch") };
                if !patcher.push(rest)?.is_empty() || patcher.is_complete() {
                    return Err("more of a patch than it has");
                }
            }
            [10] => {
                let session = SessionId(u128::from_le_bytes(fields.array()?));
                let (sequence, [resp3]) = (fields.u64()?, fields.array()?);
                let waiter = Waiter::of(WriteId { session, sequence }, resp3 == 1, fields.bytes()?)?;
                self.import()?.waiters.push(Arc::new(waiter));
            }
            _ => return Err("no part of a move"),
        }
        fields.end()
    }

    fn take_export(&mut self, fields: &mut Fields<'_>) -> Result<(), Fault> {
        let (number, to) = (fields.u64()?, ShardId(fields.u64()?));
        let (revision, started) = (Revision(fields.u64()?), LogTime(fields.u64()?));
        let phase = if fields.array()? == [1] { Phase::Frozen } else { Phase::Copying };
        let round = u32::from_le_bytes(fields.array()?);
        self.export = Some((number, None));
        let export = Export { number, to, revision, started, phase, round, slots: BTreeMap::new() };
        self.moves.exports.insert(number, export);
        Ok(())
    }

    fn take_export_slot(&mut self, fields: &mut Fields<'_>) -> Result<(), Fault> {
        let (slot, epoch) = (slot(fields)?, Epoch(fields.u64()?));
        let [changed, sent] = fields.array()?.map(|is_reset: u8| {
            let mut changes = Changes::default();
            if is_reset == 1 {
                changes.reset();
            }
            changes
        });
        let (number, _) = self.export.ok_or("a slot of no export")?;
        self.export = Some((number, Some(slot)));
        let export = self.moves.exports.get_mut(&number).ok_or("a slot of no export")?;
        export.slots.insert(slot, ExportSlot { epoch, changed, sent, frozen: None });
        self.moves.copying.set(slot, export.phase == Phase::Copying);
        self.moves.export_of.insert(slot, number);
        Ok(())
    }

    fn changes(&mut self, is_sent: bool) -> Result<&mut Changes, Fault> {
        let (number, slot) = self.export.ok_or("keys of no export")?;
        let held = slot.and_then(|slot| self.moves.exports.get_mut(&number)?.slots.get_mut(&slot));
        let held = held.ok_or("keys of no exported slot")?;
        Ok(if is_sent { &mut held.sent } else { &mut held.changed })
    }

    fn take_base(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut loading = self.base.take().ok_or("more of no base")?;
        if !loading.value.push(bytes)?.is_empty() {
            return Err("more of a base than it has");
        }
        if !loading.value.is_complete() {
            self.base = Some(loading);
            return Ok(());
        }
        let LoadingBase { is_sent, key, version, expire_at, patch_bytes, value } = loading;
        let value = value.finish()?;
        self.changes(is_sent)?.put_base(&key, Base { version, expire_at, value }, patch_bytes);
        Ok(())
    }

    /// More of a value that is not all there, or of one that is being patched.
    fn take_more(&mut self, fields: &mut Fields<'_>) -> Result<(), Fault> {
        const TOO_MUCH: Fault = "more of a value than it has";
        let bytes = std::mem::take(&mut fields.0);
        if let Some((mut builder, place)) = self.patched.take() {
            if !builder.push(bytes)?.is_empty() {
                return Err(TOO_MUCH);
            }
            if !builder.is_complete() {
                self.patched = Some((builder, place));
                return Ok(());
            }
            let patcher = Patcher::resume(builder.finish()?, place)?;
            self.import()?.half.as_mut().ok_or(TOO_MUCH)?.value = Growing::Patched(patcher);
            return Ok(());
        }
        match &mut self.import()?.half.as_mut().ok_or("more of no value")?.value {
            Growing::New(builder) => builder.push(bytes)?.is_empty().then_some(()).ok_or(TOO_MUCH),
            Growing::Patched(_) => Err(TOO_MUCH),
        }
    }

    fn take_half_patch(&mut self, fields: &mut Fields<'_>) -> Result<(), Fault> {
        let (slot, version, expire_at) = (slot(fields)?, fields.u64()?, ExpireAt::new(fields.u64()?));
        let (size, at, left) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (size_before, [form, form_before], key) = (fields.u64()?, fields.array()?, fields.bytes()?.into());
        let place = Patching { form, size, at, left: u32::try_from(left).map_err(|_| "a patch of too much")? };
        let value = if size_before == 0 {
            Growing::Patched(Patcher::resume(Value::without_items(form_before)?, place)?)
        } else {
            self.patched = Some((ValueBuilder::new(form_before, size_before)?, place));
            Growing::New(ValueBuilder::new(form, size)?)
        };
        self.import()?.half = Some(Half { slot, key, version, expire_at, value });
        Ok(())
    }

    fn take_import(&mut self, fields: &mut Fields<'_>) -> Result<(), Fault> {
        let id = MoveId { source: ShardId(fields.u64()?), number: fields.u64()? };
        let (next, started, cursor) = (fields.u64()?, LogTime(fields.u64()?), fields.bytes()?.to_vec());
        self.import = Some(id);
        let (slots, waiters) = (BTreeMap::new(), Vec::new());
        self.moves.imports.insert(id, Import { id, next, started, cursor, slots, half: None, waiters });
        Ok(())
    }

    fn import(&mut self) -> Result<&mut Import, Fault> {
        self.import.and_then(|id| self.moves.imports.get_mut(&id)).ok_or("a part of no import")
    }
}

fn slot(fields: &mut Fields<'_>) -> Result<Slot, Fault> {
    Slot::new(u16::from_le_bytes(fields.array()?)).ok_or("no such slot")
}

fn past(fields: &mut Fields<'_>) -> Result<(Slot, Past), Fault> {
    let slot = slot(fields)?;
    let (taken, refused) = (Epoch(fields.u64()?), Epoch(fields.u64()?));
    let (highest, gained) = (Epoch(fields.u64()?), fields.u64()?);
    let gone = match fields.array()? {
        [1] => Some((ShardId(fields.u64()?), Epoch(fields.u64()?))),
        _ => None,
    };
    Ok((slot, Past { taken, refused, highest, gained, gone }))
}
