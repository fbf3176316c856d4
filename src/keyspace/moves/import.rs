//! The target of a move, at apply.
//!
//! Invariants: what is staged is served to nobody and never expires; `digest` of a slot is the sum of the digests of its
//! records; a slot is in one import at most, under an epoch that was neither refused nor taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::blocking::Waiter;
use super::super::record::{ExpireAt, Position, Record};
use super::super::remembered::{Kept, Remembered};
use super::super::slot_data::SlotData;
use super::super::store::Keyspace;
use super::super::value::{Patcher, Value, ValueBuilder};
use super::piece::{self, Fault, Item, Items, KeyHead, record_digest};
use super::step::{Seals, SlotEpochs};
use crate::topology::{Epoch, LogTime, MoveId, Slot, SlotEpoch};

/// A move at its target.
#[derive(Clone, Debug)]
pub struct Import {
    /// The attempt.
    pub id: MoveId,
    /// The sequence of the next piece.
    pub next: u64,
    /// The log time at which it began.
    pub started: LogTime,
    /// Where the source goes on.
    pub(super) cursor: Vec<u8>,
    pub(super) slots: BTreeMap<Slot, ImportSlot>,
    pub(super) half: Option<Half>,
    pub(super) waiters: Vec<Arc<Waiter>>,
}

/// A slot of an import.
#[derive(Clone, Debug)]
pub(super) struct ImportSlot {
    /// The epoch of the attempt.
    pub epoch: Epoch,
    /// What came so far.
    pub data: Arc<SlotData>,
    /// The sum of its records' digests.
    pub digest: u64,
    /// No record that came has a higher version.
    pub version_max: u64,
}

/// A key whose value is not all there yet.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub slot: Slot,
    pub key: Box<[u8]>,
    pub version: u64,
    pub expire_at: Option<ExpireAt>,
    pub value: Growing,
}

/// How it comes to be.
#[derive(Clone, Debug)]
pub(super) enum Growing {
    /// From nothing.
    New(ValueBuilder),
    /// From an earlier state of it.
    Patched(Patcher),
}

impl Growing {
    fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        match self {
            Self::New(builder) => builder.push(bytes),
            Self::Patched(patcher) => patcher.push(bytes),
        }
    }

    fn finish(self) -> Result<Value, Fault> {
        match self {
            Self::New(builder) => builder.finish(),
            Self::Patched(patcher) => patcher.finish(),
        }
    }

    const fn is_complete(&self) -> bool {
        match self {
            Self::New(builder) => builder.is_complete(),
            Self::Patched(patcher) => patcher.is_complete(),
        }
    }

    fn heap_bytes(&self) -> u64 {
        match self {
            Self::New(builder) => builder.heap_bytes(),
            Self::Patched(patcher) => patcher.heap_bytes(),
        }
    }

    fn into_unfinished(self) -> Option<Value> {
        match self {
            Self::New(builder) => builder.into_unfinished(),
            Self::Patched(patcher) => Some(patcher.into_unfinished()),
        }
    }
}

impl Half {
    fn of(slot: Slot, head: &KeyHead<'_>, value: Growing) -> Self {
        Self { slot, key: head.key.into(), version: head.version, expire_at: head.expire_at, value }
    }
}

impl Import {
    /// Its slots in order, with the epochs of the attempt.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = SlotEpoch> {
        self.slots.iter().map(|(slot, imported)| SlotEpoch { slot: *slot, epoch: imported.epoch })
    }

    /// The keys that came so far.
    pub fn keys(&self) -> u64 {
        self.slots.values().map(|slot| slot.data.sums().keys).sum()
    }

    /// The bytes that they take.
    pub fn bytes(&self) -> u64 {
        let half = self.half.as_ref().map_or(0, |half| half.value.heap_bytes());
        half + self.slots.values().map(|slot| slot.data.sums().held.bytes()).sum::<u64>()
    }
}

const OF_ANOTHER_MOVE: Fault = "a slot of another move";

/// What taking a piece needs besides the import.
struct Staging<'a> {
    import: &'a mut Import,
    remembered: &'a mut Remembered,
    seed: u64,
    now_ms: u64,
    discarded: Vec<Value>,
    /// The slot that items are of.
    slot: Option<Slot>,
}

impl Staging<'_> {
    fn take(&mut self, body: &[u8]) -> Result<(), Fault> {
        let mut items = Items(body);
        while let Some(item) = items.next()? {
            if !matches!(item, Item::More)
                && let Some(half) = self.import.half.take()
            {
                self.discarded.extend(half.value.into_unfinished());
            }
            match item {
                Item::Slot(slot) => self.slot = Some(slot),
                Item::Key(head) => {
                    let slot = self.slot_of(head.key)?;
                    if let Some((value, rest)) = Value::from_short_stream(head.form, head.size, items.0) {
                        items.0 = rest;
                        self.stage(slot, head.key, head.version, head.expire_at, value?)?;
                        continue;
                    }
                    let value = Growing::New(ValueBuilder::new(head.form, head.size)?);
                    self.go_on_with(Half::of(slot, &head, value), &mut items)?;
                }
                Item::Patch { base, head } => {
                    let slot = self.slot_of(head.key)?;
                    let before = self.take_staged(slot, head.key)?.filter(|record| record.version == base);
                    let before = before.ok_or("a patch of a value that is not here")?;
                    let value = Growing::Patched(Patcher::new(before.value, head.form, head.size));
                    self.go_on_with(Half::of(slot, &head, value), &mut items)?;
                }
                Item::More => {
                    let half = self.import.half.take().ok_or("more of no value")?;
                    self.go_on_with(half, &mut items)?;
                }
                Item::Removed(key) => {
                    let slot = self.slot.ok_or(OF_ANOTHER_MOVE)?;
                    let removed = self.take_staged(slot, key)?;
                    self.discarded.extend(removed.map(|record| record.value));
                }
                Item::Reset => {
                    let imported = self.imported(self.slot)?;
                    imported.data = Arc::new(SlotData::new(imported.epoch));
                    imported.digest = 0;
                }
                Item::Session(session) => self.remembered.merge_session(session),
                Item::Answer { id, answer } => {
                    let kept = Kept { sequence: id.sequence, slot: self.slot, answer };
                    self.remembered.merge_answer(id.session, kept);
                }
                Item::Forgotten(until) => self.remembered.merge_forgotten_until(until),
                Item::Waiter { id, resp3, request } => {
                    let waiter = Waiter::of(id, resp3, request)?;
                    if !self.import.slots.contains_key(&waiter.slot()) {
                        return Err("a blocked client of another slot");
                    }
                    self.import.waiters.push(Arc::new(waiter));
                }
            }
        }
        Ok(())
    }

    fn imported(&mut self, slot: Option<Slot>) -> Result<&mut ImportSlot, Fault> {
        slot.and_then(|slot| self.import.slots.get_mut(&slot)).ok_or(OF_ANOTHER_MOVE)
    }

    fn slot_of(&self, key: &[u8]) -> Result<Slot, Fault> {
        self.slot.filter(|slot| Slot::of_key(key) == *slot).ok_or("a key of another slot")
    }

    /// Takes out what has come of a key.
    fn take_staged(&mut self, slot: Slot, key: &[u8]) -> Result<Option<Record>, Fault> {
        let position = Position::of_key(key, self.seed);
        let imported = self.imported(Some(slot))?;
        let taken = Arc::make_mut(&mut imported.data).let_go(position, key);
        imported.digest = imported.digest.wrapping_sub(taken.as_ref().map_or(0, record_digest));
        Ok(taken)
    }

    fn go_on_with(&mut self, mut half: Half, items: &mut Items<'_>) -> Result<(), Fault> {
        items.0 = half.value.push(items.0)?;
        if !half.value.is_complete() {
            self.import.half = Some(half);
            return Ok(());
        }
        let value = half.value.finish()?;
        self.stage(half.slot, &half.key, half.version, half.expire_at, value)
    }

    fn stage(
        &mut self,
        slot: Slot,
        key: &[u8],
        version: u64,
        expire_at: Option<ExpireAt>,
        value: Value,
    ) -> Result<(), Fault> {
        let (position, now_ms) = (Position::of_key(key, self.seed), self.now_ms);
        let imported = self.imported(Some(slot))?;
        let record = Record::new(position, key, value, expire_at, version);
        record.touch(now_ms);
        imported.version_max = imported.version_max.max(version);
        imported.digest = imported.digest.wrapping_add(record_digest(&record));
        if let Some(old) = Arc::make_mut(&mut imported.data).take_over(record) {
            imported.digest = imported.digest.wrapping_sub(record_digest(&old));
            self.discarded.push(old.value);
        }
        Ok(())
    }
}

impl Keyspace {
    /// Begins an import, unless its epochs say that it is none to begin. One that is refused is refused for all its slots,
    /// so that its source gets to know.
    pub(super) fn start_import(&mut self, id: MoveId, slots: SlotEpochs<'_>) {
        if self.moves.imports.contains_key(&id) || slots.iter().len() == 0 {
            return;
        }
        let past = |slot: Slot| self.moves.past.get(&slot).copied().unwrap_or_default();
        if slots.iter().any(|wanted| past(wanted.slot).taken >= wanted.epoch) {
            return;
        }
        let is_held = |slot| self.has(slot) || self.moves.export_of.contains_key(&slot);
        let running = |wanted: &SlotEpoch| {
            self.imports().any(|import| import.slots.get(&wanted.slot).is_some_and(|held| held.epoch >= wanted.epoch))
        };
        let is_stale =
            |wanted: SlotEpoch| past(wanted.slot).refused >= wanted.epoch || is_held(wanted.slot) || running(&wanted);
        if self.moves.is_closing || slots.iter().any(is_stale) {
            return self.refuse_imports(slots);
        }
        self.drop_imports(|import| slots.iter().any(|wanted| import.slots.contains_key(&wanted.slot)));
        let import_slot = |epoch| ImportSlot { epoch, data: Arc::new(SlotData::new(epoch)), digest: 0, version_max: 0 };
        let slots = slots.iter().map(|SlotEpoch { slot, epoch }| (slot, import_slot(epoch))).collect();
        let (started, cursor, waiters) = (self.log_time, Vec::new(), Vec::new());
        self.moves.imports.insert(id, Import { id, next: 0, started, cursor, slots, half: None, waiters });
    }

    /// Takes a piece. One that is malformed refuses the attempt.
    pub(super) fn import_piece(&mut self, id: MoveId, sequence: u64, cursor: &[u8], body: &[u8]) -> bool {
        let (seed, now_ms) = (self.seed, self.log_time.get());
        let import = self.moves.imports.get_mut(&id).filter(|import| import.next == sequence);
        let Some(import) = import else { return false };
        let Some((mark, body)) = body.split_first_chunk::<8>() else {
            self.drop_imports(|import| import.id == id);
            return false;
        };
        if u64::from_le_bytes(*mark) != piece::mark_of(&import.cursor) {
            return false;
        }
        import.next += 1;
        import.cursor = cursor.to_vec();
        let (remembered, discarded) = (&mut self.remembered, Vec::new());
        let mut staging = Staging { import, remembered, seed, now_ms, discarded, slot: None };
        let result = staging.take(body);
        staging.discarded.into_iter().for_each(|value| self.discard(value));
        if result.is_err() {
            self.drop_imports(|import| import.id == id);
        }
        result.is_ok()
    }

    /// The decision: the slots are owned from here on, or never by this attempt.
    pub(super) fn finish_import(
        &mut self,
        id: MoveId,
        sequence: u64,
        log_time: LogTime,
        seals: Seals<'_>,
        body: &[u8],
    ) {
        if !self.import_piece(id, sequence, &[], body) {
            return;
        }
        if !self.moves.imports.get(&id).is_some_and(|import| import.fits(seals)) {
            return self.drop_imports(|import| import.id == id);
        }
        let Some(import) = self.moves.imports.remove(&id) else { return };
        self.log_time = self.log_time.max(log_time);
        self.moves.ownership += 1;
        for ((slot, imported), seal) in import.slots.into_iter().zip(seals.iter()) {
            let ownership = self.moves.ownership;
            let past = self.moves.past_of(slot);
            past.own(imported.epoch);
            past.gained = ownership;
            let mut data = Arc::unwrap_or_clone(imported.data);
            data.set_versions(seal.version, seal.last_removal_version);
            data.fit();
            self.install(slot, data);
        }
        self.blocking.take_over(import.waiters);
    }

    /// Refuses these attempts for ever, unless they succeeded, and drops what came of them.
    pub(super) fn refuse_imports(&mut self, slots: SlotEpochs<'_>) {
        self.refuse(slots.iter());
        self.drop_imports(|import| {
            slots.iter().any(|refused| import.slots.get(&refused.slot).is_some_and(|held| held.epoch <= refused.epoch))
        });
    }

    pub(super) fn close(&mut self) {
        self.moves.is_closing = true;
        self.drop_imports(|_| true);
    }

    fn refuse(&mut self, slots: impl Iterator<Item = SlotEpoch>) {
        slots.for_each(|SlotEpoch { slot, epoch }| self.moves.past_of(slot).refuse(epoch));
    }

    /// Drops imports; they count as refused.
    fn drop_imports(&mut self, which: impl Fn(&Import) -> bool) {
        let ids: Vec<MoveId> = self.imports().filter(|import| which(import)).map(|import| import.id).collect();
        for import in ids.iter().filter_map(|id| self.moves.imports.remove(id)).collect::<Vec<_>>() {
            self.refuse(import.slots());
            import.half.and_then(|half| half.value.into_unfinished()).into_iter().for_each(|value| self.discard(value));
            import.slots.into_values().for_each(|slot| self.discard_slot(slot.data));
        }
    }
}

impl Import {
    fn fits(&self, seals: Seals<'_>) -> bool {
        self.half.is_none()
            && self.slots.len() == seals.iter().len()
            && self.slots.values().zip(seals.iter()).all(|(slot, seal)| {
                slot.digest == seal.digest
                    && slot.version_max <= seal.version
                    && seal.last_removal_version <= seal.version
            })
    }
}
