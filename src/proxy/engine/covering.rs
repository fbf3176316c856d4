//! Commands over all keys: DBSIZE, KEYS, RANDOMKEY, FLUSHALL, FLUSHDB, and the count that INFO tells (DESIGN.md, R15).
//!
//! Each shard gets the slots that it is believed to own and says which of them it covered. What it did not is frozen there or
//! has moved: a `strong` read of each such slot is sent after it, which waits where the slot is decided about and follows
//! it to its owner as any request does; then the owners are asked for what is left, until every slot was covered once. RANDOMKEY is
//! done when anybody has a key. What is not covered in time is an error, which says that it is not all.
//!
//! The part of a flush goes where the first of its slots is, as any write does, and its record moves with that slot: whatever becomes of
//! the shard that has it, it is known once.
//!
//! Invariant: nothing of its client is taken before such a command is answered, and one that changes data is taken when all
//! before it is answered: it is about every slot, and reaches some of them late.

use super::Engine;
use super::flight::{FlightKey, Purpose};
use super::request::Taken;
use super::scatter::Scatter;
use crate::control::routing::ShardIndex;
use crate::frontend::transaction::Awaited;
use crate::net::Moment;
use crate::protocol::command::{CommandSpec, Merge, lookup};
use crate::protocol::coverage::{self, SlotRuns};
use crate::protocol::frame::ReadLevel;
use crate::protocol::reply_scan::{is_error, is_null};
use crate::protocol::request::{Args, write_array};
use crate::topology::{SLOT_COUNT, Slot};

/// Slots of which it is asked at one time where they are.
const PROBES_MAX: usize = 256;

/// What is left of a command over all keys.
#[derive(Debug)]
pub struct Cover {
    spec: &'static CommandSpec,
    request: Vec<u8>,
    deadline: Moment,
    /// Whether each slot has to be covered yet.
    left: Box<[bool]>,
    left_count: usize,
    /// Whether the parts on their way are there to find out where slots are.
    probes: bool,
}

impl Cover {
    /// A command that nobody was asked for yet.
    pub fn new(spec: &'static CommandSpec, request: &[u8], deadline: Moment) -> Self {
        let left = vec![true; SLOT_COUNT].into_boxed_slice();
        Self { spec, request: request.to_vec(), deadline, left, left_count: SLOT_COUNT, probes: false }
    }

    /// How many slots nobody has covered.
    pub const fn left_count(&self) -> usize {
        self.left_count
    }

    fn note(&mut self, covered: &SlotRuns) {
        for slot in covered.slots() {
            self.left_count -= usize::from(std::mem::take(&mut self.left[slot.index()]));
        }
    }
}

impl Engine {
    /// Takes a command over all keys.
    pub(super) fn take_covering(
        &mut self,
        key: u32,
        spec: &'static CommandSpec,
        args: Args<'_>,
        merge: Merge,
    ) -> Taken {
        if !self.routing.is_charted() {
            return self.no_owner(key);
        }
        if spec.is_write() && self.clients[key as usize].first.some().is_some() {
            return Taken::Later;
        }
        if self.has_strays_of(key, Slot::all()) {
            return self.postpone(key);
        }
        let whole = self.claim(key, spec);
        let deadline = self.flights[whole].deadline;
        let coin = if merge == Merge::AnyOne { self.coin.toss() } else { 0 };
        let mut scatter = Scatter::new(merge, spec.is_write(), 0, coin);
        scatter.cover = Some(Box::new(Cover::new(spec, args.bytes(), deadline)));
        self.enlist_scatter(key, whole, scatter, args.bytes().len());
        self.clients[key as usize].awaited = Some((whole, Awaited::Nothing));
        self.ask_owners(whole);
        Taken::Yes
    }

    /// Asks the owners of all slots that are left.
    pub(super) fn ask_owners(&mut self, whole: FlightKey) {
        let Some(cover) = self.cover_of(whole) else { return };
        cover.probes = false;
        let (spec, deadline, request) = (cover.spec, cover.deadline, cover.request.clone());
        let left = Slot::all().filter(|slot| cover.left[slot.index()]).collect::<Vec<_>>();
        let mut shards: Vec<(ShardIndex, Vec<Slot>)> = Vec::new();
        for slot in left {
            let Some(owner) = self.routing.owner(slot) else { continue };
            match shards.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, slots)) => slots.push(slot),
                None => shards.push((owner, vec![slot])),
            }
        }
        let parts = shards.into_iter().map(|(shard, slots)| {
            let mut body = Vec::new();
            let record = slots.first().copied().filter(|_| spec.is_write());
            coverage::put(&mut body, &SlotRuns::of(slots));
            body.extend_from_slice(&request);
            (shard, record, body)
        });
        let parts = parts.collect();
        self.launch_parts(whole, spec, deadline, parts, true);
    }

    /// Asks where the slots are that nobody covered.
    fn ask_where(&mut self, whole: FlightKey) {
        let Some(cover) = self.cover_of(whole) else { return };
        cover.probes = true;
        let deadline = cover.deadline;
        let left = Slot::all().filter(|slot| cover.left[slot.index()]).take(PROBES_MAX).collect::<Vec<_>>();
        let parts = left.into_iter().filter_map(|slot| {
            let cursor = (u64::from(slot.number()) << 48).to_string();
            let mut body = Vec::new();
            write_array(&mut body, [&b"SCAN"[..], cursor.as_bytes(), b"COUNT", b"1"].into_iter());
            Some((self.routing.owner(slot)?, Some(slot), body))
        });
        let parts = parts.collect();
        let spec = lookup(b"scan").expect("SCAN is a command");
        self.launch_parts(whole, spec, deadline, parts, false);
    }

    fn launch_parts(
        &mut self,
        whole: FlightKey,
        spec: &'static CommandSpec,
        deadline: Moment,
        parts: Vec<(ShardIndex, Option<Slot>, Vec<u8>)>,
        covers: bool,
    ) {
        let client_key = self.flights[whole].client;
        if let Some(scatter) = self.flights[whole].scatter.as_mut() {
            scatter.missing += parts.len() as u32;
        }
        let mut launched = Vec::with_capacity(parts.len());
        for (shard, slot, body) in parts {
            let part = self.claim_part(client_key, spec, whole);
            let flight = &mut self.flights[part];
            (flight.deadline, flight.covers, flight.probe, flight.bytes) = (deadline, covers, !covers, body);
            if flight.probe {
                flight.level = ReadLevel::Strong;
            }
            launched.push((part, shard, slot));
        }
        launched.into_iter().for_each(|(part, shard, slot)| self.launch(part, shard, slot));
    }

    fn cover_of(&mut self, whole: FlightKey) -> Option<&mut Cover> {
        self.flights[whole].scatter.as_mut()?.cover.as_deref_mut()
    }

    /// A shard answered a part: notes what it covered. None: it makes no sense.
    pub(super) fn note_covered(&mut self, part: FlightKey, answer: &[u8]) -> Option<()> {
        let (covered, _) = coverage::split(answer).ok()?;
        if let Purpose::Part(whole) = self.flights[part].purpose
            && let Some(cover) = self.cover_of(whole)
        {
            cover.note(&covered);
        }
        Some(())
    }

    /// All parts of a command over all keys are answered. Returns whether there is more to be asked.
    pub(super) fn asks_on(&mut self, whole: FlightKey) -> bool {
        let now = self.now;
        let Some(scatter) = self.flights[whole].scatter.as_mut() else { return false };
        let Some(cover) = scatter.cover.as_deref() else { return false };
        let (left_count, probed, deadline) = (cover.left_count, cover.probes, cover.deadline);
        let merge = scatter.merge;
        let parts = scatter.parts.clone();
        let failed = parts.iter().any(|part| is_error(self.flights[*part].body()));
        let is_found = merge == Merge::AnyOne
            && parts.iter().any(|part| !self.flights[*part].probe && !is_null(self.flights[*part].body()));
        if failed || is_found || left_count == 0 || now >= deadline {
            return false;
        }
        if probed {
            self.ask_owners(whole);
        } else {
            self.ask_where(whole);
        }
        self.flights[whole].scatter.as_ref().is_some_and(|scatter| scatter.missing > 0)
    }
}
