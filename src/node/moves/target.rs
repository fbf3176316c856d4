//! The taking end: what the leader of a shard logs of what others send it, and what any replica says of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::pace::{Quickest, in_log_bytes_max};
use super::progress::{Stall, Tally};
use super::source::unnamed;
use super::{Deed, State, Step, encoded};
use crate::net::Moment;
use crate::protocol::control::{MoveDirection, MovesReport, StallReport};
use crate::protocol::moves::{ImportState, MoveBody, MoveMessage};
use crate::topology::{Catalog, MoveId, ReplicaId, ShardId, Slot, SlotEpoch};

/// Bytes of pieces that wait for that; more are dropped, and come again.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// How long after it was proposed a step is taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// After that long without a word of its source an import is given up; the source, should it come back, gets a refusal and begins anew.
const ABANDONED_AFTER: Duration = Duration::from_secs(300);
/// After that long without a word of a source its slots have come.
const QUIET: Duration = Duration::from_secs(3);
/// How long after the last word of its source a move is forgotten here (its state is not).
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// What a target sees around it.
pub struct Around<'a, S> {
    /// Its shard, and this replica of it.
    pub me: (ShardId, ReplicaId),
    /// Whether this replica leads, surely; who does, otherwise.
    pub leads: bool,
    /// The leader, as far as it is known.
    pub leader: Option<ReplicaId>,
    /// The applied state.
    pub state: &'a S,
    /// The moment.
    pub now: Moment,
}

/// The moves of other shards' slots to this one, as one replica hears of them.
#[derive(Default)]
pub struct Target {
    incoming: BTreeMap<MoveId, Incoming>,
    /// Pieces that are not proposed yet; those that requests wait for first.
    waiting: VecDeque<(MoveId, Proposal)>,
    waiting_bytes: usize,
    /// When a running import was first seen.
    found: BTreeMap<MoveId, Moment>,
    /// Moves by source, for people.
    tallies: BTreeMap<ShardId, Tally>,
    /// The least time from a piece's proposal until it was applied.
    quickest: Quickest,
}

struct Incoming {
    slots: Vec<SlotEpoch>,
    /// Who asks.
    source: (ShardId, ReplicaId),
    heard: Moment,
    told: Option<ImportState>,
    /// The sequence after the highest piece that waits or was proposed.
    taken: u64,
    /// Pieces that were proposed and not applied: sequence, bytes, and when.
    proposed: VecDeque<(u64, usize, Moment)>,
    /// When its beginning was proposed, and when its refusal.
    decided: [Option<Moment>; 2],
}

struct Proposal {
    urgent: bool,
    sequence: u64,
    bytes: usize,
    step: Step,
}

impl Target {
    /// This replica leads no more, or does anew: what was proposed may be lost.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether there is nothing to look after.
    pub fn is_idle(&self) -> bool {
        self.incoming.is_empty()
    }

    /// Takes what the leader of another shard says.
    pub fn hear<S: State>(&mut self, message: &MoveMessage<'_>, around: &Around<'_, S>, deeds: &mut Vec<Deed>) {
        let (id, from) = (message.id, (message.from, message.replica));
        // Moves are named by their source.
        if id.source != message.from {
            return;
        }
        if !around.leads && !matches!(message.body, MoveBody::Ask { .. }) {
            let body = MoveBody::NotLeader { leader: around.leader };
            deeds.push(Deed::Send { to: from.1, message: encoded(from.0, around.me, id, body) });
            return;
        }
        match &message.body {
            MoveBody::Ask { slots } => {
                self.note(id, from, slots, around.now);
                self.tell(id, around, true, deeds);
            }
            MoveBody::Start { slots } => {
                self.note(id, from, slots, around.now);
                self.decide(id, around, Step::ImportStart { id, slots: slots.clone() }, deeds);
            }
            MoveBody::Refuse { slots } => {
                self.note(id, from, slots, around.now);
                self.decide(id, around, Step::ImportRefuse { slots: slots.clone() }, deeds);
            }
            MoveBody::Piece { urgent, sequence, cursor, body } => {
                let step =
                    || Step::ImportPiece { id, sequence: *sequence, cursor: cursor.to_vec(), body: body.to_vec() };
                self.take(id, from, *urgent, *sequence, body.len(), step, around, deeds);
            }
            MoveBody::Finish { sequence, log_time, seals, body } => {
                let step = || Step::ImportFinish {
                    id,
                    sequence: *sequence,
                    log_time: *log_time,
                    seals: seals.to_vec(),
                    body: body.to_vec(),
                };
                self.take(id, from, true, *sequence, body.len(), step, around, deeds);
            }
            MoveBody::State { .. } | MoveBody::NotLeader { .. } => {}
        }
    }

    fn note(&mut self, id: MoveId, source: (ShardId, ReplicaId), slots: &[SlotEpoch], now: Moment) {
        let incoming = self.incoming.entry(id).or_insert_with(|| Incoming {
            slots: slots.to_vec(),
            source,
            heard: now,
            told: None,
            taken: 0,
            proposed: VecDeque::new(),
            decided: [None; 2],
        });
        (incoming.source, incoming.heard) = (source, now);
    }

    /// Proposes that a move begins, or is refused, unless that was decided.
    fn decide<S: State>(&mut self, id: MoveId, around: &Around<'_, S>, step: Step, deeds: &mut Vec<Deed>) {
        let Some(incoming) = self.incoming.get_mut(&id) else { return };
        let is_open = match around.state.import_state(id, &incoming.slots) {
            ImportState::Unknown => true,
            ImportState::Importing { .. } => matches!(step, Step::ImportRefuse { .. }),
            ImportState::Taken | ImportState::Refused => false,
        };
        if !is_open {
            return self.tell(id, around, true, deeds);
        }
        let decided = &mut incoming.decided[usize::from(matches!(step, Step::ImportRefuse { .. }))];
        if decided.is_none_or(|at| around.now.since(at) >= LOST_AFTER) {
            *decided = Some(around.now);
            deeds.push(Deed::Log(step));
        }
    }

    /// Takes a piece, if it is the next.
    #[expect(clippy::too_many_arguments, reason = "what a piece is, and who sends it where")]
    fn take<S: State>(
        &mut self,
        id: MoveId,
        source: (ShardId, ReplicaId),
        urgent: bool,
        sequence: u64,
        bytes: usize,
        step: impl FnOnce() -> Step,
        around: &Around<'_, S>,
        deeds: &mut Vec<Deed>,
    ) {
        // Of one whose slots are not known nothing can be said: its source asks soon.
        let Some(incoming) = self.incoming.get_mut(&id) else { return };
        (incoming.source, incoming.heard) = (source, around.now);
        let ImportState::Importing { next, .. } = around.state.import_state(id, &incoming.slots) else {
            return self.tell(id, around, true, deeds);
        };
        let is_lost = incoming.proposed.front().is_some_and(|(_, _, at)| around.now.since(*at) >= LOST_AFTER);
        if is_lost || incoming.taken < next {
            incoming.proposed.clear();
            self.waiting.retain(|(other, _)| *other != id);
            incoming.taken = next;
        }
        if sequence < incoming.taken {
            // It is on its way into the log; what comes of it is told.
            return if sequence < next {
                self.tell(id, around, true, deeds)
            };
        }
        if sequence > incoming.taken || self.waiting_bytes + bytes > WAITING_BYTES_MAX {
            return;
        }
        incoming.taken += 1;
        let proposal = Proposal { urgent, sequence, bytes, step: step() };
        // Pieces of one move keep their order, since none that is not urgent follows one that is.
        let place =
            if urgent { self.waiting.partition_point(|(_, waiting)| waiting.urgent) } else { self.waiting.len() };
        self.waiting.insert(place, (id, proposal));
        self.waiting_bytes += bytes;
    }

    /// Proposes what there is room for and tells the sources what has changed.
    pub fn work<S: State>(&mut self, around: &Around<'_, S>, deeds: &mut Vec<Deed>) {
        if self.incoming.is_empty() {
            return;
        }
        let is_open = |incoming: &Incoming| !matches!(incoming.told, Some(ImportState::Taken | ImportState::Refused));
        let open: Vec<MoveId> = self.incoming.iter().filter(|(_, i)| is_open(i)).map(|(id, _)| *id).collect();
        for id in &open {
            self.tell(*id, around, false, deeds);
        }
        self.waiting_bytes = self.waiting.iter().map(|(_, proposal)| proposal.bytes).sum();
        // What was lost takes no room, though its source may never send it again.
        let in_log = self.incoming.values().flat_map(|incoming| &incoming.proposed);
        let in_log = in_log.filter(|(_, _, at)| around.now.since(*at) < LOST_AFTER);
        let mut proposed: usize = in_log.map(|(_, bytes, _)| bytes).sum();
        let bytes_max = in_log_bytes_max(self.quickest.least());
        let has_room = |proposal: &Proposal, proposed: usize| proposal.urgent || proposed < bytes_max;
        while self.waiting.front().is_some_and(|(_, proposal)| has_room(proposal, proposed)) {
            let Some((id, proposal)) = self.waiting.pop_front() else { break };
            proposed += proposal.bytes;
            self.waiting_bytes -= proposal.bytes;
            let Some(incoming) = self.incoming.get_mut(&id) else { continue };
            incoming.proposed.push_back((proposal.sequence, proposal.bytes, around.now));
            let tally = self.tallies.entry(id.source).or_default();
            tally.begin(around.now);
            tally.bytes += proposal.bytes as u64;
            deeds.push(Deed::Log(proposal.step));
        }
        let is_old = |incoming: &Incoming| around.now.since(incoming.heard) >= FORGET_AFTER;
        self.incoming.retain(|_, incoming| !is_old(incoming));
    }

    /// Once in a while: counts, and drops imports that nobody goes on with.
    pub fn look<S: State>(&mut self, around: &Around<'_, S>, catalog: &Catalog, deeds: &mut Vec<Deed>) {
        let imports = around.state.imports();
        self.found.retain(|id, _| imports.iter().any(|(running, _)| running == id));
        for (id, slots) in imports {
            let found = *self.found.entry(id).or_insert(around.now);
            let heard = self.incoming.get(&id).map_or(found, |incoming| incoming.heard.max(found));
            // The epochs of a slot only rise: what the catalog knows of is later than this attempt.
            let is_over = slots.iter().any(|s| catalog.range_of(s.slot).epoch > s.epoch);
            if is_over || around.now.since(heard) >= ABANDONED_AFTER {
                deeds.push(Deed::Log(Step::ImportRefuse { slots }));
            }
        }
        let name =
            |shard: ShardId| catalog.shard(shard).map_or_else(|| shard.to_string(), |record| record.name.to_string());
        for (source, tally) in &mut self.tallies {
            tally.sample(around.now);
            let comes = |incoming: &Incoming| incoming.source.0 == *source && around.now.since(incoming.heard) < QUIET;
            if tally.is_running() && !self.incoming.values().any(comes) {
                let (slots, keys, bytes) = (tally.slots, tally.keys, tally.bytes);
                tally.end(around.now);
                tracing::info!(shard = %name(around.me.0), from = %name(*source), slots, keys, bytes, "slots have come");
            }
        }
    }

    /// What there is to say to people.
    pub fn report<S: State>(&self, around: &Around<'_, S>, catalog: &Catalog) -> Vec<MovesReport> {
        let mut left: BTreeMap<ShardId, u32> = BTreeMap::new();
        for target in catalog.targets.iter().filter(|target| target.shard == around.me.0) {
            for slot in (target.first..=target.last).filter_map(Slot::new) {
                if around.state.owns(slot).is_none() {
                    *left.entry(catalog.range_of(slot).owner).or_default() += 1;
                }
            }
        }
        let running = self.tallies.iter().filter(|(_, tally)| tally.is_running());
        let of_source = |(source, tally): (&ShardId, &Tally)| {
            let slots_left = left.get(source).copied().unwrap_or_default();
            MovesReport {
                peer: *source,
                name: catalog.shard(*source).map_or_else(|| unnamed(*source), |record| record.name.clone()),
                direction: MoveDirection::In,
                slots_left,
                slots_done: tally.slots,
                keys_moved: tally.keys,
                bytes_moved: tally.bytes,
                keys_per_second: tally.keys_per_second(),
                bytes_per_second: tally.bytes_per_second(),
                eta_ms: tally.eta(slots_left, around.now).map(|eta| eta.as_millis() as u64),
                copying: around.state.imports().iter().filter(|(id, _)| id.source == *source).count() as u32,
                frozen: 0,
                stall: self.stall(*source, around.now),
            }
        };
        running.map(of_source).collect()
    }

    /// Why nothing comes of a shard from which slots are coming, and since when.
    fn stall(&self, source: ShardId, now: Moment) -> Option<StallReport> {
        let moves = || self.incoming.values().filter(|incoming| incoming.source.0 == source);
        let proposed = moves().filter_map(|incoming| incoming.proposed.front().map(|(_, _, at)| *at)).min();
        let begun = moves().filter_map(|incoming| incoming.decided[0].filter(|_| incoming.told.is_none())).min();
        let heard = moves().map(|incoming| incoming.heard).max();
        let mut stall = Stall::default();
        let uncommitted = proposed.into_iter().chain(begun).min().filter(|at| now.since(*at) >= LOST_AFTER / 2);
        let reason = match (uncommitted, heard) {
            (Some(since), _) => Some(("this shard does not commit what it is sent: it has no majority", since)),
            (None, Some(heard)) => Some(("nothing comes from the other shard", heard)),
            (None, None) => None,
        };
        stall.note(reason, now);
        stall.report(now)
    }

    /// Tells a source what is known of its move, if that is news or was asked for.
    fn tell<S: State>(&mut self, id: MoveId, around: &Around<'_, S>, asked: bool, deeds: &mut Vec<Deed>) {
        let Some(incoming) = self.incoming.get_mut(&id) else { return };
        let state = around.state.import_state(id, &incoming.slots);
        if let ImportState::Importing { next, .. } = &state {
            while let Some((_, _, at)) = incoming.proposed.front().filter(|(sequence, ..)| sequence < next) {
                self.quickest.note(around.now.since(*at), around.now);
                incoming.proposed.pop_front();
            }
        } else if state != ImportState::Unknown {
            incoming.proposed.clear();
        }
        let is_news = incoming.told.as_ref() != Some(&state);
        let tells = asked || is_news && around.leads && state != ImportState::Unknown;
        if !tells {
            return;
        }
        if is_news && state == ImportState::Taken {
            let (slots, tally) = (&incoming.slots, self.tallies.entry(id.source).or_default());
            let keys = slots.iter().map(|s| around.state.usage(s.slot).keys).sum();
            tally.moved(slots.len(), super::SlotUsage { keys, bytes: 0 });
        }
        incoming.told = Some(state.clone());
        let (to, leads) = (incoming.source, around.leads);
        let message = encoded(to.0, around.me, id, MoveBody::State { leads, state });
        deeds.push(Deed::Send { to: to.1, message });
    }
}
