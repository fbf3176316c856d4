//! [`Keyspace`]: the slots of one shard, the sums over them, and the few primitives that every command is made of.
//!
//! Invariants: `owned`, `occupied`, `usage` and `timers` always agree with `slots`; nothing outside of this file
//! changes a slot. All but `garbage`, `spans`, `request_bytes` and `draws` is replicated state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::blocking::Blocking;
use super::holdings::Holdings;
use super::limits::Limits;
use super::moves::{Changes, Moves};
use super::record::{ExpireAt, Position, Record};
use super::remembered::Remembered;
use super::slot_data::{Changed, Expired, SlotData};
use super::slot_set::SlotSet;
use super::value::{Collection, Hash, Text, Value};
use crate::protocol::request::Span;
use crate::topology::{Epoch, LogTime, SLOT_COUNT, Slot};

/// A removed value this large is left for the caller to free off the thread.
const GARBAGE_VALUE_BYTES_MIN: usize = 64 * 1024;

/// What a change of a value is counted for beside its request, in a patch: the operation, and what lies around it.
const EDIT_BYTES: u64 = 512;
/// What an item is counted for by which a collection grows or shrinks.
const ITEM_BYTES: u64 = 32;

/// How many expired fields a command removes before it begins, at most.
const EXPIRED_FIELDS_MAX: usize = 128;

/// The state machine of a data shard (see the module of the folder).
#[derive(Debug)]
pub struct Keyspace {
    pub(super) seed: u64,
    pub(super) log_time: LogTime,
    pub(super) limits: Limits,
    slots: Box<[Option<Arc<SlotData>>]>,
    owned: SlotSet,
    occupied: SlotSet,
    timers: BTreeSet<(ExpireAt, Slot)>,
    usage: Usage,
    pub(super) garbage: Garbage,
    /// Room for the arguments of the request that is being applied.
    pub(super) spans: Vec<Span>,
    /// Who waits for which key.
    pub(super) blocking: Blocking,
    /// What became of writes that have a name.
    pub(super) remembered: Remembered,
    /// Slots on their way.
    pub(super) moves: Moves,
    /// The ownership that the leader of the entry had seen that is being applied; all of it between entries.
    pub(super) seen: u64,
    /// The bytes of the client's request that is being applied, until they are counted as those of a patch.
    pub(super) request_bytes: usize,
    /// Counts RANDOMKEY's draws.
    draws: AtomicU64,
}

/// A key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherType;

/// How much a keyspace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys, those expired and not yet removed included.
    pub keys: u64,
    /// Memory of keys and values, roughly; the same on every replica.
    pub bytes: u64,
    /// Keys with an expiry.
    pub expires: u64,
    /// Keys and bytes by type.
    pub by_type: Holdings,
}

/// What was removed and takes long to free. Drop it on another thread.
#[derive(Debug, Default)]
pub struct Garbage {
    slots: Vec<Arc<SlotData>>,
    values: Vec<Value>,
    pub(super) changes: Vec<Changes>,
}

impl Garbage {
    /// Whether there is nothing to free.
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.values.is_empty() && self.changes.is_empty()
    }
}

impl Keyspace {
    /// A keyspace that owns no slots. `seed` is the catalog's.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            log_time: LogTime::default(),
            limits: Limits::default(),
            slots: vec![None; SLOT_COUNT].into(),
            owned: SlotSet::default(),
            occupied: SlotSet::default(),
            timers: BTreeSet::new(),
            usage: Usage::default(),
            garbage: Garbage::default(),
            spans: Vec::new(),
            blocking: Blocking::default(),
            remembered: Remembered::default(),
            moves: Moves::default(),
            seen: u64::MAX,
            request_bytes: 0,
            draws: AtomicU64::new(0),
        }
    }

    /// Takes an empty slot into ownership, at the shard's birth. A slot that is owned already keeps its data.
    pub fn own(&mut self, slot: Slot, epoch: Epoch) {
        if !self.owned.contains(slot) {
            self.install(slot, SlotData::new(epoch));
            self.moves.note_founded(slot, epoch);
        }
    }

    /// The epoch under which the slot is owned, if it is.
    pub fn owns(&self, slot: Slot) -> Option<Epoch> {
        self.slot(slot).map(|data| data.epoch)
    }

    /// Whether the slot is owned.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.owned.contains(slot)
    }

    /// Whether the slot is owned, and was when the entry that is being applied was proposed (DESIGN.md, R5).
    pub(super) fn admits(&self, slot: Slot) -> bool {
        self.owned.contains(slot) && !self.moves.is_gained_after(slot, self.seen)
    }

    /// The slots owned.
    pub const fn owned(&self) -> &SlotSet {
        &self.owned
    }

    /// The shard's clock.
    pub const fn log_time(&self) -> LogTime {
        self.log_time
    }

    /// What apply refuses.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// How much it holds.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// When the next key expires.
    pub fn next_expiry(&self) -> Option<LogTime> {
        self.timers.first().map(|(at, _)| LogTime(at.get()))
    }

    /// At most `slots_max` slots with keys that are expired at `clock`, the longest due first: the leader logs a
    /// [`Sweep`](super::Entry::Sweep) for each.
    pub fn due_sweeps(&self, clock: LogTime, slots_max: usize) -> Vec<Slot> {
        let due = self.timers.iter().take_while(|(at, _)| at.get() <= clock.get());
        due.take(slots_max).map(|&(_, slot)| slot).collect()
    }

    /// What was removed since the last call and takes long to free; none if there is nothing.
    pub fn take_garbage(&mut self) -> Option<Garbage> {
        (!self.garbage.is_empty()).then(|| std::mem::take(&mut self.garbage))
    }

    /// The version of a key: that of its record, or of the slot's last removal. None: the slot is not owned.
    pub fn version_of(&self, key: &[u8]) -> Option<u64> {
        let data = self.slot(Slot::of_key(key))?;
        let live = self.peek(key).filter(|record| !record.is_expired(self.log_time.get()));
        Some(live.map_or(data.last_removal_version(), |record| record.version))
    }

    pub(super) fn slot(&self, slot: Slot) -> Option<&SlotData> {
        self.slots[slot.index()].as_deref()
    }

    pub(super) fn slots(&self) -> &[Option<Arc<SlotData>>] {
        &self.slots
    }

    /// The owned slots that hold keys.
    pub(super) const fn occupied(&self) -> &SlotSet {
        &self.occupied
    }

    /// The record of a key, expired or not.
    pub(super) fn peek(&self, key: &[u8]) -> Option<&Record> {
        let slot = Slot::of_key(key);
        if !self.occupied.contains(slot) {
            return None;
        }
        self.slot(slot)?.find(self.position(key), key)
    }

    /// Whether a key, or a field of it, expires after log time and at or before `now_ms`.
    pub(super) fn is_unsettled(&self, key: &[u8], now_ms: u64) -> bool {
        let log_time_ms = self.log_time.get();
        now_ms > log_time_ms
            && self.timers.first().is_some_and(|(at, _)| at.get() <= now_ms)
            && self
                .peek(key)
                .is_some_and(|record| record.expires_between(log_time_ms, now_ms) && !record.is_expired(log_time_ms))
    }

    /// Sets a key of an owned slot, whatever it was before.
    pub(super) fn put(&mut self, key: &[u8], value: Value, expire_at: Option<ExpireAt>) {
        self.blocking.note_ready(key);
        let (slot, position, now_ms) = (Slot::of_key(key), self.position(key), self.log_time.get());
        self.note_replaced(slot, key);
        let old = self.change(slot, |data| data.put(position, key, value, expire_at, now_ms));
        old.into_iter().for_each(|value| self.discard(value));
    }

    /// Changes a value in place; none: no such key.
    pub(super) fn edit<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Value) -> (Changed, R)) -> Option<R> {
        let (slot, position, now_ms) = (Slot::of_key(key), self.position(key), self.log_time.get());
        // A slot without keys is not copied.
        if !self.occupied.contains(slot) {
            return None;
        }
        if !self.moves.notes(slot) {
            return self.change(slot, |data| data.edit(position, key, now_ms, change));
        }
        let before = self.note_edit(slot, key)?;
        let edited = self.change(slot, |data| data.edit(position, key, now_ms, change));
        self.note_edited(slot, key, before);
        edited
    }

    /// Notes that a key is about to be changed in place; how many items it has, if it is there.
    #[cold]
    fn note_edit(&mut self, slot: Slot, key: &[u8]) -> Option<u64> {
        let position = self.position(key);
        let record = self.slots[slot.index()].as_deref()?.find(position, key)?;
        if let Some(changed) = self.moves.changed_mut(slot) {
            changed.note_edited(record);
        }
        Some(record.value.stream_size())
    }

    /// Notes how much more there is to say of a key that was changed in place and had so many items before.
    #[cold]
    fn note_edited(&mut self, slot: Slot, key: &[u8], before: u64) {
        let Some(now) = self.peek(key).map(|record| record.value.clone()) else { return };
        let items = now.stream_size().abs_diff(before);
        let is_string = matches!(now, Value::String(_));
        let bytes = EDIT_BYTES + items * if is_string { 1 } else { ITEM_BYTES };
        // What comes with one request is counted once, however many commands it has.
        let request = std::mem::take(&mut self.request_bytes) as u64;
        if let Some(changed) = self.moves.changed_mut(slot) {
            changed.note_patch(key, bytes + request, &now);
        }
    }

    /// Notes that a key is set anew, or removed.
    fn note_replaced(&mut self, slot: Slot, key: &[u8]) {
        let base = self.moves.note_replaced(slot, key);
        base.into_iter().for_each(|value| self.discard(value));
    }

    /// Changes a string in place; none: no such string.
    pub(super) fn edit_text<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Text) -> R) -> Option<R> {
        self.edit(key, |value| match value {
            Value::String(text) => (Changed::Yes, Some(change(text))),
            _ => (Changed::No, None),
        })?
    }

    /// Changes a collection in place, an empty one if the key is not there, and removes the key if nothing is left. The
    /// key does not hold another type: the command has made sure ([`WriteCall::collection`](super::call::WriteCall)).
    pub(super) fn edit_collection<C: Collection, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut C) -> (Changed, R),
    ) -> R {
        if self.peek(key).is_none() {
            let mut collection = C::default();
            let (_, result) = change(&mut collection);
            if !collection.is_empty() {
                self.put(key, collection.into_value(), None);
            }
            return result;
        }
        let edited = self.edit(key, |value| {
            let collection = C::of_mut(value).expect("the command has checked the type");
            let (changed, result) = change(collection);
            (changed, (result, collection.is_empty()))
        });
        let (result, is_empty) = edited.expect("the key was there a moment ago");
        if is_empty {
            self.remove(key);
        }
        result
    }

    /// Changes the collection that a key holds, in one look-up, and removes the key if nothing is left; none: no such
    /// key.
    pub(super) fn edit_present<C: Collection, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut C) -> (Changed, R),
    ) -> Result<Option<R>, OtherType> {
        let edited = self.edit(key, |value| match C::of_mut(value) {
            Some(collection) => {
                let (changed, result) = change(collection);
                (changed, Ok((result, collection.is_empty())))
            }
            None => (Changed::No, Err(OtherType)),
        });
        let Some((result, is_empty)) = edited.transpose()? else { return Ok(None) };
        if is_empty {
            self.remove(key);
        }
        Ok(Some(result))
    }

    /// Sets or takes away an expiry; false: no such key.
    pub(super) fn set_expiry(&mut self, key: &[u8], expire_at: Option<ExpireAt>) -> bool {
        let (slot, position) = (Slot::of_key(key), self.position(key));
        if self.moves.notes(slot) {
            self.note_edit(slot, key);
        }
        self.change(slot, |data| data.set_expiry(position, key, expire_at))
    }

    /// Removes a key; false: there was none.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.take(key).map(|record| self.discard(record.value)).is_some()
    }

    /// Takes a key out.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Record> {
        // A slot is not copied for a key that is not there.
        self.peek(key)?;
        let (slot, position) = (Slot::of_key(key), self.position(key));
        self.note_replaced(slot, key);
        self.change(slot, |data| data.remove(position, key))
    }

    /// Removes a key if it is expired, or some of its fields that are: commands do not see the others, and sweeps
    /// remove them.
    pub(super) fn remove_if_expired(&mut self, key: &[u8]) {
        let now_ms = self.log_time.get();
        if self.timers.first().is_none_or(|(at, _)| at.get() > now_ms) {
            return;
        }
        let Some(record) = self.peek(key).filter(|record| record.is_due(now_ms)) else { return };
        if record.is_expired(now_ms) {
            self.remove(key);
        } else {
            self.edit_collection(key, |hash: &mut Hash| {
                (Changed::Yes, hash.remove_expired(now_ms, EXPIRED_FIELDS_MAX))
            });
        }
    }

    /// Removes at most `removals_max` expired keys and fields of a slot.
    pub(super) fn sweep(&mut self, slot: Slot, removals_max: u32) {
        let now_ms = self.log_time.get();
        if self.slot(slot).and_then(|data| data.sums().next_expiry).is_none_or(|at| at.get() > now_ms) {
            return;
        }
        let mut left = removals_max as usize;
        while left > 0 {
            let due = self.moves.notes(slot).then(|| self.slot(slot)?.first_due(now_ms)).flatten();
            let before = due.as_ref().and_then(|key| self.note_edit(slot, key.as_bytes()));
            match self.change(slot, |data| data.remove_one_expired(now_ms, left)) {
                Some(Expired::Key(record)) => {
                    left -= 1;
                    self.note_replaced(slot, record.key.as_bytes());
                    self.discard(record.value);
                }
                Some(Expired::Fields(key, count)) => {
                    left -= count.min(left);
                    before.into_iter().for_each(|before| self.note_edited(slot, key.as_bytes(), before));
                }
                None => break,
            }
        }
    }

    /// Removes all keys of these slots, as far as they are owned.
    pub(super) fn clear(&mut self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            let Some(data) = self.take_out(slot) else { continue };
            let emptied = data.emptied();
            self.garbage.slots.push(data);
            self.install(slot, emptied);
            self.garbage.changes.extend(self.moves.note_reset(slot));
        }
    }

    /// Takes an owned slot out: it is not served any more.
    pub(super) fn take_out(&mut self, slot: Slot) -> Option<Arc<SlotData>> {
        let data = self.slots[slot.index()].take()?;
        self.account(slot, &data, true);
        self.owned.set(slot, false);
        Some(data)
    }

    /// Makes what was taken out the data of the slot again, under another epoch.
    pub(super) fn put_back(&mut self, slot: Slot, data: Arc<SlotData>, epoch: Epoch) {
        let mut data = Arc::unwrap_or_clone(data);
        data.epoch = epoch;
        self.install(slot, data);
    }

    /// Sets the epoch of an owned slot.
    pub(super) fn set_epoch(&mut self, slot: Slot, epoch: Epoch) {
        if let Some(data) = &mut self.slots[slot.index()] {
            Arc::make_mut(data).epoch = epoch;
        }
    }

    /// Makes `data` the data of a slot that is not owned so far.
    pub(super) fn install(&mut self, slot: Slot, data: SlotData) {
        debug_assert!(self.slots[slot.index()].is_none(), "a slot's data is taken out before other data comes in");
        self.account(slot, &data, false);
        self.owned.set(slot, true);
        self.slots[slot.index()] = Some(Arc::new(data));
    }

    /// A number that differs from call to call, for choices that no two replicas need to make alike.
    pub(super) fn draw(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(&self.draws.fetch_add(1, Relaxed).to_le_bytes(), self.seed)
    }

    fn position(&self, key: &[u8]) -> Position {
        Position::of_key(key, self.seed)
    }

    pub(super) fn discard_slot(&mut self, data: Arc<SlotData>) {
        self.garbage.slots.push(data);
    }

    pub(super) fn discard(&mut self, value: Value) {
        if value.heap_bytes() >= GARBAGE_VALUE_BYTES_MIN {
            self.garbage.values.push(value);
        }
    }

    /// Changes an owned slot and keeps the sums in line.
    fn change<R>(&mut self, slot: Slot, change: impl FnOnce(&mut SlotData) -> R) -> R {
        let data = self.slots[slot.index()].as_mut().expect("ownership is checked before anything changes");
        let data = Arc::make_mut(data);
        let before = data.sums();
        let result = change(data);
        let after = data.sums();
        self.usage.keys = self.usage.keys - before.keys + after.keys;
        self.usage.by_type.exchange(&before.held, &after.held);
        self.usage.bytes = self.usage.by_type.bytes();
        self.usage.expires = self.usage.expires - before.expiring + after.expiring;
        if (before.keys == 0) != (after.keys == 0) {
            self.occupied.set(slot, after.keys > 0);
        }
        if before.next_expiry != after.next_expiry {
            before.next_expiry.map(|at| self.timers.remove(&(at, slot)));
            after.next_expiry.map(|at| self.timers.insert((at, slot)));
        }
        result
    }

    /// Adds a whole slot to the sums, or takes it out of them.
    fn account(&mut self, slot: Slot, data: &SlotData, leaves: bool) {
        let sums = data.sums();
        let add = |total: &mut u64, part: u64| *total = if leaves { *total - part } else { *total + part };
        add(&mut self.usage.keys, sums.keys);
        let (gone, come) = if leaves { (sums.held, Holdings::default()) } else { (Holdings::default(), sums.held) };
        self.usage.by_type.exchange(&gone, &come);
        self.usage.bytes = self.usage.by_type.bytes();
        add(&mut self.usage.expires, sums.expiring);
        self.occupied.set(slot, !leaves && sums.keys > 0);
        if let Some(at) = sums.next_expiry {
            if leaves {
                self.timers.remove(&(at, slot))
            } else {
                self.timers.insert((at, slot))
            };
        }
    }
}
