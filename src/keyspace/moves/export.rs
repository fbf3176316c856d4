//! The source of a move, at apply.
//!
//! Invariants: an export has at least one slot; each of its slots has data aside exactly while it is frozen; nothing of a
//! frozen slot changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::slot_data::SlotData;
use super::super::store::Keyspace;
use super::changes::Changes;
use super::step::{ExportEndHow, SlotList};
use crate::topology::{Epoch, LogTime, MoveId, Revision, ShardId, Slot, SlotEpoch};

/// A move at its source.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its number among the moves of this shard.
    pub number: u64,
    /// The target.
    pub to: ShardId,
    /// The catalog's revision that wants it so.
    pub revision: Revision,
    /// The log time at which it began.
    pub started: LogTime,
    /// How far it is.
    pub phase: Phase,
    /// The round: 0 is the copy of everything, the others are of what changed.
    pub round: u32,
    pub(super) slots: BTreeMap<Slot, ExportSlot>,
}

/// How far a move is at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The slots are served.
    Copying,
    /// They are not, and their data does not change.
    Frozen,
}

/// A slot of an export.
#[derive(Clone, Debug)]
pub(super) struct ExportSlot {
    /// The epoch of the attempt.
    pub epoch: Epoch,
    /// What changed in this round.
    pub changed: Changes,
    /// What changed in the round before, and is sent in this one.
    pub sent: Changes,
    /// The data, while it is frozen.
    pub frozen: Option<Arc<SlotData>>,
}

/// How much a next round would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values, roughly.
    pub bytes: u64,
}

impl Export {
    /// The name of the move, given the name of this shard.
    pub const fn id(&self, source: ShardId) -> MoveId {
        MoveId { source, number: self.number }
    }

    /// Its slots in order, with the epochs of the attempt.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = SlotEpoch> {
        self.slots.iter().map(|(slot, exported)| SlotEpoch { slot: *slot, epoch: exported.epoch })
    }

    /// How many keys changed in this round.
    pub fn changed_keys(&self) -> u64 {
        self.slots.values().map(|slot| slot.changed.len() as u64).sum()
    }

    pub(in super::super) fn frozen(&self) -> impl Iterator<Item = (Slot, &Arc<SlotData>)> {
        self.slots.iter().filter_map(|(slot, exported)| Some((*slot, exported.frozen.as_ref()?)))
    }
}

impl Keyspace {
    /// How much a next round of this export would send; counts no further than to about `keys_max`.
    pub fn changed(&self, number: u64, keys_max: usize) -> Changed {
        let mut sum = Changed::default();
        let Some(export) = self.export(number) else { return sum };
        for exported in export.slots.values() {
            for change in exported.changed.after(None).take(keys_max.saturating_sub(sum.keys as usize)) {
                sum.keys += 1;
                let key = change.key.as_bytes();
                let whole = self.peek(key).map_or(0, super::super::record::Record::bytes);
                let patch = change.base.as_ref().map_or(u64::MAX, |_| change.patch_bytes);
                sum.bytes += key.len() as u64 + whole.min(patch);
            }
        }
        sum
    }

    pub(super) fn start_export(&mut self, to: ShardId, revision: Revision, slots: SlotList<'_>) {
        let is_free = |slot: &Slot| self.has(*slot) && !self.moves.export_of.contains_key(slot);
        let slots: Vec<Slot> = slots.iter().filter(is_free).collect();
        if slots.is_empty() {
            return;
        }
        let (started, moves) = (self.log_time, &mut self.moves);
        moves.last_number += 1;
        let number = moves.last_number;
        let mut exported = BTreeMap::new();
        for slot in slots {
            // One that is named twice is one.
            if moves.export_of.insert(slot, number).is_none() {
                let epoch = moves.past_of(slot).next_epoch();
                let (changed, sent) = (Changes::default(), Changes::default());
                exported.insert(slot, ExportSlot { epoch, changed, sent, frozen: None });
                moves.copying.set(slot, true);
            }
        }
        let (phase, round) = (Phase::Copying, 0);
        let export = Export { number, to, revision, started, phase, round, slots: exported };
        moves.exports.insert(number, export);
    }

    pub(super) fn next_round(&mut self, number: u64, round: u32) -> bool {
        let Some(export) = self.moves.exports.get_mut(&number) else { return false };
        if export.phase != Phase::Copying || export.round.checked_add(1) != Some(round) {
            return false;
        }
        export.round = round;
        for slot in export.slots.values_mut() {
            let sent = std::mem::replace(&mut slot.sent, std::mem::take(&mut slot.changed));
            self.garbage.changes.push(sent);
        }
        true
    }

    pub(super) fn freeze_export(&mut self, number: u64, round: u32) {
        if !self.next_round(number, round) {
            return;
        }
        let slots: Vec<Slot> = self.slots_of_export(number);
        for slot in &slots {
            let data = self.take_out(*slot);
            self.moves.copying.set(*slot, false);
            if let Some(exported) = self.moves.exported_mut(*slot) {
                exported.frozen = data;
            }
        }
        if let Some(export) = self.moves.exports.get_mut(&number) {
            export.phase = Phase::Frozen;
        }
        self.let_go_of_parted(&slots);
    }

    pub(super) fn end_export(&mut self, number: u64, how: ExportEndHow) {
        let Some(export) = self.moves.exports.get(&number) else { return };
        match (export.phase, how) {
            (Phase::Frozen, ExportEndHow::Gone) => self.give_away(number),
            (_, ExportEndHow::UndoRefused) | (Phase::Copying, ExportEndHow::Undo) => self.undo_export(number),
            (Phase::Copying, ExportEndHow::Gone) | (Phase::Frozen, ExportEndHow::Undo) => {}
        }
    }

    fn give_away(&mut self, number: u64) {
        let slots = self.slots_of_export(number);
        self.let_go_of_waiters(&slots);
        let Some(export) = self.forget_export(number) else { return };
        for (slot, exported) in export.slots {
            self.moves.past_of(slot).gone = Some((export.to, exported.epoch));
            exported.frozen.into_iter().for_each(|data| self.discard_slot(data));
        }
    }

    /// The slots are owned under fresh epochs. Those that were frozen come back: what was refused for them meanwhile must not
    /// be overtaken.
    fn undo_export(&mut self, number: u64) {
        let Some(export) = self.forget_export(number) else { return };
        if export.phase == Phase::Frozen {
            self.moves.ownership += 1;
        }
        for (slot, exported) in export.slots {
            let ownership = self.moves.ownership;
            let past = self.moves.past_of(slot);
            let epoch = past.next_epoch();
            past.own(epoch);
            match exported.frozen {
                Some(data) => {
                    past.gained = ownership;
                    self.put_back(slot, data, epoch);
                }
                None => self.set_epoch(slot, epoch),
            }
        }
    }

    fn forget_export(&mut self, number: u64) -> Option<Export> {
        let mut export = self.moves.exports.remove(&number)?;
        for (slot, exported) in &mut export.slots {
            self.moves.export_of.remove(slot);
            self.moves.copying.set(*slot, false);
            self.garbage.changes.extend([&mut exported.changed, &mut exported.sent].map(std::mem::take));
        }
        Some(export)
    }

    fn slots_of_export(&self, number: u64) -> Vec<Slot> {
        self.export(number).into_iter().flat_map(Export::slots).map(|slot| slot.slot).collect()
    }
}
