//! How a replica takes part in moving slots: it shows its state to the movers, logs what they want, and holds the requests for
//! slots that are decided about elsewhere.
//!
//! Invariant: a request for a frozen slot is answered when it is known who serves the slot; by nobody's guess before that.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::{Replica, Turn};
use crate::keyspace::{
    Entry, ExportEndHow, ExportReader, Keyspace, Next, Phase, Seals, SlotEpochs, SlotList, Step as Logged,
};
use crate::net::Moment;
use crate::node::answers::Ticket;
use crate::node::machine::Machine;
use crate::node::moves::{
    After, Bucket, Cut, Deed, End, ExportView, Held, HeldRequest, MoveOptions, Moved, SlotUsage, Source, SourceAround,
    State, Step, Target, TargetAround,
};
use crate::node::points;
use crate::protocol::control::MovesReport;
use crate::protocol::frame::RefusalReason;
use crate::protocol::moves::{ImportState, MoveMessage};
use crate::topology::{Catalog, Epoch, MoveId, ReplicaId, Revision, ShardId, Slot, SlotEpoch, SlotRange, Whereabouts};

/// Changed keys that are counted of one export.
const CHANGED_KEYS_MAX: usize = 100_000;
/// How often the node is told how much it holds, until what is not served is summed up anew though no step of a move was applied.
const ASIDE_AGAIN: u32 = 64;
/// After so many steps too: each brings a piece at most, and all slots of all moves are looked at.
const ASIDE_STEPS: u64 = 16;
/// After that long, what was proposed and has not come is proposed again.
const LOG_AGAIN: Duration = Duration::from_secs(1);

/// The moves that a replica takes part in.
#[derive(Default)]
pub struct Moving {
    source: Source<ExportReader>,
    target: Target,
    held: Held,
    /// The slots that are decided about elsewhere, as of the last step that was applied.
    frozen: BTreeSet<Slot>,
    /// Steps applied since the start, and states installed.
    steps: u64,
    /// How many slots were gained, as of the last of them.
    ownership: u64,
    /// When the end of taking slots was proposed.
    closing: Option<Moment>,
    /// The catalog and the step as of which all that is owned was known.
    reported: Cell<Option<(Revision, u64)>>,
    /// What data takes that is not served, as of which step, and how often it was said since.
    aside: (u64, u64, u32),
    deeds: Vec<Deed>,
}

/// What is to be sent, and to which replica.
pub type Letter = (ReplicaId, Vec<u8>);

impl Moving {
    /// Takes note of how slots are to be moved.
    pub fn configure(&mut self, options: MoveOptions) {
        self.source = Source::new(options);
    }

    /// Whether the slot is decided about elsewhere.
    pub fn is_frozen(&self, slot: Slot) -> bool {
        !self.frozen.is_empty() && self.frozen.contains(&slot)
    }

    /// Whether any slot is.
    pub fn has_frozen(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Whether a write may be taken now, or outruns the copy of its slot.
    pub fn admits(&mut self, slot: Slot, bytes: usize, now: Moment) -> bool {
        !self.source.slows() || self.source.admits(slot, bytes, now)
    }

    /// What data takes that is not served, as of the last slots that came or went; what pieces and clients' writes change is seen somewhat
    /// later.
    pub fn aside_bytes(&mut self, machine: &Machine) -> u64 {
        let (bytes, as_of, said) = &mut self.aside;
        *said += 1;
        if self.steps - *as_of >= ASIDE_STEPS || *said >= ASIDE_AGAIN {
            (*bytes, *as_of, *said) = (machine.aside_bytes(), self.steps, 0);
        }
        *bytes
    }

    /// What was found out as leader, or before, does not count any more.
    pub fn leadership_changed(&mut self) {
        self.source.forget();
        self.target.forget();
        self.closing = None;
    }

    /// What has gone from here while this replica led.
    pub const fn moved(&self) -> Moved {
        self.source.moved()
    }

    /// Requests that wait until it is known who serves their slots.
    pub const fn held(&self) -> usize {
        self.held.len()
    }
}

impl Replica {
    /// Whether what a proxy knows of a slot is newer than this state: an answer from here might be older than what its client
    /// has seen.
    pub(super) fn is_behind(&self, at: SlotEpoch) -> bool {
        let Some(keyspace) = self.machine.keyspace() else { return false };
        let known = keyspace.owns(at.slot).or_else(|| self.whereabouts(at.slot).map(|w| w.epoch));
        // While the slot is frozen its epoch here is not told, and requests wait anyway.
        !self.moving.is_frozen(at.slot) && known.is_none_or(|known| known < at.epoch)
    }

    /// Where a slot is that is not served here.
    pub(in crate::node) fn whereabouts(&self, slot: Slot) -> Option<Whereabouts> {
        let keyspace = self.machine.keyspace()?;
        self.moving.source.taken(slot).or_else(|| keyspace.whereabouts(slot))
    }

    /// Answers a request that was not executed because a slot of it is not served here: says where the slot is, or lets it
    /// wait until that is decided.
    pub(super) fn answer_elsewhere(&mut self, ticket: Ticket, slot: Slot, deadline: Moment, turn: &mut Turn<'_>) {
        let Some(keyspace) = self.machine.keyspace() else {
            return self.refuse(ticket, RefusalReason::Loading, turn);
        };
        if let Some(epoch) = keyspace.owns(slot) {
            // It came back after the entry was proposed.
            let here = Whereabouts { slot, owner: self.shard, epoch };
            return self.redirect(ticket, Some(here), turn);
        }
        let went = self.moving.source.taken(slot);
        if went.is_none() && self.moving.is_frozen(slot) {
            if self.leading.is_none() {
                return self.refuse(ticket, RefusalReason::NotLeader, turn);
            }
            if !self.moving.held.hold(HeldRequest { ticket, slot, deadline }) {
                return self.refuse(ticket, RefusalReason::Busy, turn);
            }
            return turn.answers.hold_line(ticket);
        }
        let went = went.or_else(|| keyspace.whereabouts(slot));
        self.redirect(ticket, went, turn);
    }

    pub(in crate::node) fn redirect(&mut self, ticket: Ticket, went: Option<Whereabouts>, turn: &mut Turn<'_>) {
        self.counts.refusals += 1;
        turn.answers.redirect(ticket, went);
    }

    /// Sees which slots are frozen. Returns whether others were gained.
    pub(in crate::node) fn look_at_slots(&mut self) -> bool {
        let Some(keyspace) = self.machine.keyspace() else { return false };
        self.moving.steps += 1;
        let frozen = keyspace.exports().filter(|export| export.phase == Phase::Frozen);
        self.moving.frozen = frozen.flat_map(|export| export.slots().map(|s| s.slot)).collect();
        let ownership = keyspace.ownership();
        let changed = std::mem::replace(&mut self.moving.ownership, ownership) != ownership;
        if changed {
            // What was not served is, or is not here any more.
            self.moving.aside.2 = ASIDE_AGAIN;
        }
        changed
    }

    /// A step of a move was applied, or a whole state came.
    pub(super) fn step_applied(&mut self, turn: &mut Turn<'_>) {
        if self.look_at_slots() && self.leading.is_some() {
            // Who waits for keys of the slots that came has to be asked for here.
            self.await_blocked(turn.now);
        }
        self.release_decided(turn);
    }

    /// Answers the requests that waited for slots of which it is known by now who serves them.
    fn release_decided(&mut self, turn: &mut Turn<'_>) {
        if self.moving.held.is_empty() {
            return;
        }
        let Some(keyspace) = self.machine.keyspace() else { return };
        let (shard, source, frozen) = (self.shard, &self.moving.source, &self.moving.frozen);
        let fate = |slot: Slot| {
            if let Some(epoch) = keyspace.owns(slot) {
                return Some(Some(Whereabouts { slot, owner: shard, epoch }));
            }
            let taken = source.taken(slot);
            let is_open = taken.is_none() && frozen.contains(&slot);
            (!is_open).then(|| taken.or_else(|| keyspace.whereabouts(slot)))
        };
        for (request, went) in self.moving.held.release(fate) {
            self.redirect(request.ticket, went, turn);
        }
    }

    /// Lets go of all requests that wait: another leader knows more.
    pub(super) fn release_held(&mut self, turn: &mut Turn<'_>) {
        for request in self.moving.held.take() {
            self.refuse(request.ticket, RefusalReason::NotLeader, turn);
        }
    }

    pub(super) fn expire_held(&mut self, turn: &mut Turn<'_>) {
        for request in self.moving.held.expired(turn.now) {
            self.refuse(request.ticket, RefusalReason::DeadlinePassed, turn);
        }
    }

    /// As leader: drives the moves that this shard takes part in. Returns what is to be sent.
    pub fn drive_moves(&mut self, catalog: &Catalog, bucket: &Bucket, turn: &mut Turn<'_>) -> Vec<Letter> {
        let Some(keyspace) = self.machine.keyspace().filter(|_| self.leading.is_some() && self.group.leads()) else {
            return Vec::new();
        };
        let state = View(keyspace);
        let (me, now, moving) = ((self.shard, self.id), turn.now, &mut self.moving);
        let mut deeds = std::mem::take(&mut moving.deeds);
        let taken_before = moving.source.has_taken();
        let around = SourceAround { me, state: &state, steps: moving.steps, catalog, now, bucket };
        moving.source.work(&around, &mut deeds);
        let around = TargetAround { me, leads: true, leader: Some(self.id), state: &state, now };
        moving.target.work(&around, &mut deeds);
        let closes = catalog.shard(self.shard).is_some_and(|record| record.closing) && !keyspace.is_closing();
        if closes && moving.closing.is_none_or(|at| now.since(at) >= LOG_AGAIN) {
            moving.closing = Some(now);
            self.log_step(Logged::Closing, turn);
        }
        if taken_before || self.moving.source.has_taken() {
            self.release_decided(turn);
        }
        self.carry_out_deeds(deeds, turn)
    }

    /// Takes what a replica of another shard says about a move. Returns what is to be sent.
    pub fn hear_of_move(
        &mut self,
        message: &MoveMessage<'_>,
        catalog: &Catalog,
        bucket: &Bucket,
        turn: &mut Turn<'_>,
    ) -> Vec<Letter> {
        let Some(keyspace) = self.machine.keyspace() else { return Vec::new() };
        let state = View(keyspace);
        let (me, now, moving) = ((self.shard, self.id), turn.now, &mut self.moving);
        let mut deeds = std::mem::take(&mut moving.deeds);
        let leads = self.leading.is_some() && self.group.leads_surely();
        if !message.body.is_for_source() {
            let leader = self.group.leader();
            moving.target.hear(message, &TargetAround { me, leads, leader, state: &state, now }, &mut deeds);
        } else if leads {
            points::heard(message);
            moving.source.hear(
                message,
                &SourceAround { me, state: &state, steps: moving.steps, catalog, now, bucket },
                &mut deeds,
            );
        }
        self.carry_out_deeds(deeds, turn)
    }

    /// Once in a while, as leader: counts, and tells of beginnings, ends and stalls.
    pub fn look_at_moves(&mut self, catalog: &Catalog, bucket: &Bucket, turn: &mut Turn<'_>) -> Vec<Letter> {
        let Some(keyspace) = self.machine.keyspace().filter(|_| self.leading.is_some()) else { return Vec::new() };
        let state = View(keyspace);
        let (me, now, moving) = ((self.shard, self.id), turn.now, &mut self.moving);
        let mut deeds = std::mem::take(&mut moving.deeds);
        moving.source.look(&SourceAround { me, state: &state, steps: moving.steps, catalog, now, bucket });
        let around = TargetAround { me, leads: true, leader: Some(self.id), state: &state, now };
        moving.target.look(&around, catalog, &mut deeds);
        self.carry_out_deeds(deeds, turn)
    }

    /// What there is to say of the moves, to people.
    pub fn moves(&self, catalog: &Catalog, now: Moment) -> Vec<MovesReport> {
        let Some(keyspace) = self.machine.keyspace().filter(|_| self.leading.is_some()) else { return Vec::new() };
        let (me, state, bucket) = ((self.shard, self.id), View(keyspace), Bucket::new(0));
        let around = SourceAround { me, state: &state, steps: self.moving.steps, catalog, now, bucket: &bucket };
        let mut reports = self.moving.source.report(&around);
        let around = TargetAround { me, leads: true, leader: Some(self.id), state: &state, now };
        reports.extend(self.moving.target.report(&around, catalog));
        reports
    }

    /// As leader: slots that are to move from here.
    pub fn slots_left(&self, catalog: Option<&Catalog>) -> u64 {
        let Some(keyspace) = self.machine.keyspace().filter(|_| self.leading.is_some()) else { return 0 };
        let wanted = catalog.map(|catalog| catalog.moves_wanted(self.shard)).unwrap_or_default();
        let slots = wanted.iter().flat_map(|range| (range.first..=range.last).filter_map(Slot::new));
        slots.filter(|slot| keyspace.owns(*slot).is_some()).count() as u64
    }

    /// Batches that are copied from here, batches from here whose requests wait, batches that come, requests that wait.
    pub fn move_phases(&self) -> [u64; 4] {
        let (copying, frozen) = self.moving.source.phases();
        let coming = self.machine.keyspace().map_or(0, |keyspace| keyspace.imports().count());
        [copying, frozen, coming, self.moving.held()].map(|count| count as u64)
    }

    /// The shards that slots move to from here, or come from.
    pub fn moves_with(&self) -> impl Iterator<Item = ShardId> + '_ {
        let keyspace = self.machine.keyspace().into_iter();
        keyspace.flat_map(|k| k.exports().map(|export| export.to).chain(k.imports().map(|import| import.id.source)))
    }

    /// The slots that are owned here under epochs of which the catalog does not know yet.
    pub fn unreported_slots(&self, catalog: &Catalog) -> Vec<SlotRange> {
        let now = Some((catalog.revision, self.moving.steps));
        let Some(keyspace) = self.machine.keyspace().filter(|_| self.moving.reported.get() != now) else {
            return Vec::new();
        };
        let mut unreported: Vec<SlotRange> = Vec::new();
        for slot in keyspace.owned().iter() {
            let Some(epoch) = keyspace.owns(slot).filter(|epoch| *epoch > catalog.range_of(slot).epoch) else {
                continue;
            };
            match unreported.last_mut() {
                Some(range) if range.epoch == epoch && range.last + 1 == slot.number() => range.last = slot.number(),
                _ => {
                    let (first, last) = (slot.number(), slot.number());
                    unreported.push(SlotRange { first, last, owner: self.shard, epoch });
                }
            }
        }
        if unreported.is_empty() {
            self.moving.reported.set(now);
        }
        unreported
    }

    /// Whether nothing of the shard is needed any more: it takes no slots, has none, gives none away, and the catalog knows of
    /// every slot that it gave away who has it since (R14).
    pub fn may_retire(&self, catalog: &Catalog) -> bool {
        let Some(keyspace) = self.machine.keyspace().filter(|_| self.leading.is_some()) else { return false };
        let is_known = |slot: Slot, epoch: Epoch| catalog.range_of(slot).epoch >= epoch;
        keyspace.is_closing()
            && keyspace.owned().is_empty()
            && keyspace.exports().next().is_none()
            && keyspace.imports().next().is_none()
            && keyspace.past().all(|(slot, past)| past.gone.is_none_or(|(_, epoch)| is_known(slot, epoch)))
    }

    fn log_step(&mut self, step: Logged<'_>, turn: &Turn<'_>) {
        let Some(leading) = self.leading else { return };
        let time = leading.at(turn.now, turn.wall, self.machine.log_time());
        self.propose_own(&Entry::Move { time, step }, turn.now);
    }

    fn carry_out_deeds(&mut self, mut deeds: Vec<Deed>, turn: &mut Turn<'_>) -> Vec<Letter> {
        let mut letters = Vec::new();
        for deed in deeds.drain(..) {
            points::decided(&deed);
            match deed {
                Deed::Send { to, message } => letters.push((to, message)),
                Deed::Log(step) => self.log_wanted(step, turn),
            }
        }
        self.moving.deeds = deeds;
        letters
    }

    /// Proposes a step. One that came from another shard and makes no sense is dropped.
    fn log_wanted(&mut self, step: Step, turn: &Turn<'_>) {
        match step {
            Step::ExportStart { to, revision, slots } => {
                let slots = SlotList::encode(slots);
                if let Ok(slots) = SlotList::decode(&slots) {
                    self.log_step(Logged::ExportStart { to, revision, slots }, turn);
                }
            }
            Step::ExportRound { number, round } => self.log_step(Logged::ExportRound { number, round }, turn),
            Step::Freeze { number, round } => self.log_step(Logged::Freeze { number, round }, turn),
            Step::ExportEnd { number, how } => {
                let how = match how {
                    End::Gone => ExportEndHow::Gone,
                    End::Undo => ExportEndHow::Undo,
                    End::UndoRefused => ExportEndHow::UndoRefused,
                };
                self.log_step(Logged::ExportEnd { number, how }, turn);
            }
            Step::ImportStart { id, slots } => {
                let slots = SlotEpochs::encode(slots);
                if let Ok(slots) = SlotEpochs::decode(&slots) {
                    self.log_step(Logged::ImportStart { id, slots }, turn);
                }
            }
            Step::ImportPiece { id, sequence, cursor, body } => {
                self.log_step(Logged::ImportPiece { id, sequence, cursor: &cursor, body: &body }, turn);
            }
            Step::ImportFinish { id, sequence, log_time, seals, body } => match Seals::decode(&seals) {
                Ok(seals) => {
                    self.log_step(Logged::ImportFinish { id, sequence, log_time, seals, body: &body }, turn);
                }
                Err(error) => tracing::warn!(shard = %self.shard, %id, "the end of a move is dropped: {error}"),
            },
            Step::ImportRefuse { slots } => {
                let slots = SlotEpochs::encode(slots);
                if let Ok(slots) = SlotEpochs::decode(&slots) {
                    self.log_step(Logged::ImportRefuse { slots }, turn);
                }
            }
        }
    }
}

/// A keyspace, as movers see it.
struct View<'a>(&'a Keyspace);

impl State for View<'_> {
    type Reader = ExportReader;

    fn exports(&self) -> Vec<ExportView> {
        let view = |export: &crate::keyspace::Export| ExportView {
            number: export.number,
            to: export.to,
            revision: export.revision,
            slots: export.slots().collect(),
            frozen: export.phase == Phase::Frozen,
            round: export.round,
        };
        self.0.exports().map(view).collect()
    }

    fn imports(&self) -> Vec<(MoveId, Vec<SlotEpoch>)> {
        self.0.imports().map(|import| (import.id, import.slots().collect())).collect()
    }

    fn resume(&self, cursor: &[u8]) -> Option<ExportReader> {
        ExportReader::resume(cursor).ok()
    }

    fn read(&self, number: u64, reader: &mut ExportReader, bytes_max: usize) -> Option<Cut> {
        let piece = self.0.read_export(number, reader, bytes_max)?;
        let after = match piece.next {
            Next::More => After::More,
            Next::RoundDone => After::RoundDone,
            Next::Finish(seals) => After::Finish { seals: Seals::encode(seals), log_time: self.0.log_time() },
        };
        Some(Cut { body: piece.body, cursor: piece.cursor, after })
    }

    fn changed(&self, number: u64) -> SlotUsage {
        let changed = self.0.changed(number, CHANGED_KEYS_MAX);
        SlotUsage { keys: changed.keys, bytes: changed.bytes }
    }

    fn owns(&self, slot: Slot) -> Option<Epoch> {
        self.0.owns(slot)
    }

    fn usage(&self, slot: Slot) -> SlotUsage {
        let (keys, bytes) = self.0.slot_usage_of(slot).unwrap_or_default();
        SlotUsage { keys, bytes }
    }

    fn import_state(&self, id: MoveId, slots: &[SlotEpoch]) -> ImportState {
        self.0.import_state(id, slots.iter().copied())
    }
}
