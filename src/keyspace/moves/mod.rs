//! Moves of slots between shards, as replicated state: what both ends decide at apply (DESIGN.md, section 10).
//!
//! A move is one attempt to bring some slots from a source to a target: [`MoveId`], with an epoch for each slot. The
//! source counts its moves and gives the epochs out: the highest that it ever used for the slot, plus one. As only the
//! owner may begin an attempt, the epochs of a slot are a chain without branches, and no epoch names two things.
//!
//! - The source ([`export`]): `Copying`, it serves the slots and notes every key that changes ([`changes`]), and of large values
//!   what they were, so that only what changed of them is sent; `Frozen`, it does
//!   not answer for them, and their data is held aside; then they are `Gone`, or undone under the next epoch.
//! - The target ([`import`]): it puts the pieces together aside of what it serves, where nothing expires and nobody sees
//!   them. One entry decides: valid, all slots are owned at once; else the attempt is refused for ever.
//! - Both remember for ever ([`past`]) the highest epoch under which a slot was owned here, the highest that was refused,
//!   and where it went: so any replica can say what became of an attempt, however late it is asked.
//!
//! What the leader of the source sends is read from the state ([`reader`]) in bounded pieces ([`piece`]); the place where it
//! goes on travels with each piece and is kept by the target.
//!
//! **Who waits.** The blocked clients of a slot move with it, in their order; they are neither served nor cancelled while it
//! is frozen. A client that waits over several slots which do not freeze together cannot be kept by one shard: it is let
//! go at the freeze, nothing is remembered of it, and its proxy asks again under the same name. One that only puts into a slot
//! that is elsewhere by now (`BLMOVE`) is let go when there is something for it. At `Gone` all that moved are let go
//! here; asked again at the target under their names, they have the places that they had.
//!
//! **What is remembered** of writes is true wherever it lies: a name stands for one execution and one reply. So the
//! target takes replies over as they come, before the decision, and the source need not look for them at `Gone`: they leave
//! as all do, when their session says so or is silent. Sessions are sent after all replies: what was dropped in between is below
//! the `low` that comes with them.
//!
//! **Counting.** [`Keyspace::ownership`] rises whenever slots come that requests were refused for. An entry that was
//! proposed before its leader saw that is refused for these slots: otherwise it would overtake what was refused.
//!
//! Invariants: a slot is in `slots` of the keyspace, or frozen in one export, or neither; it is in one export and one
//! import at most; `copying` has exactly the slots of exports that copy. All of it is replicated state.

mod changes;
mod export;
mod import;
mod past;
mod piece;
mod reader;
mod step;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slot_set::SlotSet;
use super::store::Keyspace;
use super::value::Value;
use crate::planted::{self, Bug};
use crate::protocol::moves::ImportState;
use crate::topology::{Epoch, MoveId, Slot, SlotEpoch, Whereabouts};

pub use changes::Changes;
pub use export::{Changed, Export, Phase};
pub use import::Import;
pub use past::Past;
pub use reader::{BadCursor, ExportReader, Next, Piece};
pub use step::{ExportEndHow, KIND_FIRST, KIND_LAST, Seals, SlotEpochs, SlotList, Step};
pub use stream::{Aside, MovesLoader, MovesPieces};

/// All moves of a shard, and what it remembers of those that are over. A copy costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    last_number: u64,
    exports: BTreeMap<u64, Export>,
    export_of: BTreeMap<Slot, u64>,
    imports: BTreeMap<MoveId, Import>,
    past: Arc<BTreeMap<Slot, Past>>,
    ownership: u64,
    is_closing: bool,
    /// The slots whose changes are noted.
    copying: SlotSet,
}

impl Moves {
    /// Whether changes of the slot are noted.
    #[inline]
    pub fn notes(&self, slot: Slot) -> bool {
        self.copying.contains(slot)
    }

    /// Notes that a key is set anew or removed. What is handed back is not needed any more.
    #[inline]
    pub fn note_replaced(&mut self, slot: Slot, key: &[u8]) -> Option<Value> {
        if self.notes(slot) { self.changed_mut(slot)?.note_replaced(key) } else { None }
    }

    /// Notes that all keys of a slot are gone at once. What is handed back is not needed any more.
    pub fn note_reset(&mut self, slot: Slot) -> Option<Changes> {
        if self.notes(slot) { self.changed_mut(slot).map(Changes::reset) } else { None }
    }

    /// Where changes of a slot are noted.
    #[cold]
    pub fn changed_mut(&mut self, slot: Slot) -> Option<&mut Changes> {
        self.exported_mut(slot).map(|exported| &mut exported.changed)
    }

    fn exported_mut(&mut self, slot: Slot) -> Option<&mut export::ExportSlot> {
        self.exports.get_mut(self.export_of.get(&slot)?)?.slots.get_mut(&slot)
    }

    /// Whether the slot was gained after that ownership.
    #[inline]
    pub fn is_gained_after(&self, slot: Slot, seen: u64) -> bool {
        !planted::is(Bug::ReturnForgotten)
            && seen < self.ownership
            && self.past.get(&slot).is_some_and(|past| past.gained > seen)
    }

    /// Notes that a slot is owned from its shard's birth on.
    pub fn note_founded(&mut self, slot: Slot, epoch: Epoch) {
        self.past_of(slot).own(epoch);
    }

    fn past_of(&mut self, slot: Slot) -> &mut Past {
        Arc::make_mut(&mut self.past).entry(slot).or_default()
    }
}

impl Keyspace {
    /// Applies a step.
    pub(super) fn apply_step(&mut self, step: &Step<'_>) {
        match *step {
            Step::ExportStart { to, revision, slots } => self.start_export(to, revision, slots),
            Step::ExportRound { number, round } => drop(self.next_round(number, round)),
            Step::Freeze { number, round } => self.freeze_export(number, round),
            Step::ExportEnd { number, how } => self.end_export(number, how),
            Step::ImportStart { id, slots } => self.start_import(id, slots),
            Step::ImportPiece { id, sequence, cursor, body } => drop(self.import_piece(id, sequence, cursor, body)),
            Step::ImportFinish { id, sequence, log_time, seals, body } => {
                self.finish_import(id, sequence, log_time, seals, body);
            }
            Step::ImportRefuse { slots } => self.refuse_imports(slots),
            Step::Closing => self.close(),
        }
    }

    /// How often slots came that were not served here: what a leader has seen when it proposes a client's entry.
    pub const fn ownership(&self) -> u64 {
        self.moves.ownership
    }

    /// Where a slot went that was given away; none for all others.
    pub fn whereabouts(&self, slot: Slot) -> Option<Whereabouts> {
        let (owner, epoch) = self.moves.past.get(&slot)?.gone?;
        Some(Whereabouts { slot, owner, epoch })
    }

    /// The moves of which this shard is the source.
    pub fn exports(&self) -> impl Iterator<Item = &Export> {
        self.moves.exports.values()
    }

    /// The one of this number.
    pub fn export(&self, number: u64) -> Option<&Export> {
        self.moves.exports.get(&number)
    }

    /// The one that a slot is in.
    pub fn export_of(&self, slot: Slot) -> Option<&Export> {
        self.export(*self.moves.export_of.get(&slot)?)
    }

    /// The moves of which this shard is the target.
    pub fn imports(&self) -> impl Iterator<Item = &Import> {
        self.moves.imports.values()
    }

    /// What the target knows of a move. All slots of one share their fate.
    pub fn import_state(&self, id: MoveId, slots: impl IntoIterator<Item = SlotEpoch>) -> ImportState {
        // One that runs has slots that were neither taken nor refused under its epochs.
        if let Some(import) = self.moves.imports.get(&id) {
            return ImportState::Importing { next: import.next, cursor: import.cursor.clone() };
        }
        let mut is_refused = false;
        for SlotEpoch { slot, epoch } in slots {
            let Some(past) = self.moves.past.get(&slot) else { continue };
            if past.taken >= epoch {
                return ImportState::Taken;
            }
            is_refused |= past.refused >= epoch;
        }
        if is_refused { ImportState::Refused } else { ImportState::Unknown }
    }

    /// What is remembered of each slot that was ever here, or was refused.
    pub fn past(&self) -> impl Iterator<Item = (Slot, &Past)> {
        self.moves.past.iter().map(|(slot, past)| (*slot, past))
    }

    /// Whether the shard takes no more slots.
    pub const fn is_closing(&self) -> bool {
        self.moves.is_closing
    }

    /// What the keys of an owned slot are and take: number and bytes.
    pub fn slot_usage_of(&self, slot: Slot) -> Option<(u64, u64)> {
        let sums = self.slot(slot)?.sums();
        Some((sums.keys, sums.held.bytes()))
    }

    /// The same of all owned slots.
    pub fn slot_usage(&self) -> impl Iterator<Item = (Slot, u64, u64)> {
        self.owned().iter().filter_map(|slot| self.slot_usage_of(slot).map(|(keys, bytes)| (slot, keys, bytes)))
    }

    /// Bytes of data that is not served: frozen, being imported, or what large values were that changed while they are copied.
    pub fn aside_bytes(&self) -> u64 {
        let frozen = self.moves.exports.values().flat_map(Export::frozen).map(|(_, data)| data.sums().held.bytes());
        let slots = self.moves.exports.values().flat_map(|export| export.slots.values());
        let bases = slots.map(|slot| slot.changed.held_bytes() + slot.sent.held_bytes());
        frozen.chain(bases).chain(self.moves.imports.values().map(Import::bytes)).sum()
    }
}
