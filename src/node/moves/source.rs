//! The giving end: what the leader of a shard does so that its slots get where the catalog wants them.

mod attempt;
mod contact;

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::pace::Bucket;
use super::plan::Plan;
use super::progress::{Stall, Tally};
use super::{Deed, MoveOptions, SlotUsage, State, Step};
use crate::net::Moment;
use crate::protocol::control::{MoveDirection, MovesReport};
use crate::protocol::moves::{MoveBody, MoveMessage};
use crate::topology::{Catalog, ReplicaId, ShardId, Slot, Whereabouts};
use attempt::Attempt;
use contact::Contact;

/// Bytes that one turn reads of the state at most, so that requests do not wait for long.
const TURN_BYTES_MAX: usize = 64 * 1024;
/// Batches whose requests wait at one time.
const FROZEN_MAX: usize = 2;
/// The same, with those that a target which fell silent has left frozen.
const FROZEN_IN_ALL_MAX: usize = 2 * FROZEN_MAX;
/// How long after an entry was proposed it is proposed again: it was lost, or does not commit.
const LOG_AGAIN: Duration = Duration::from_secs(1);

/// What a source sees around it.
pub struct Around<'a, S> {
    /// Its shard, and the replica that leads it.
    pub me: (ShardId, ReplicaId),
    /// The applied state.
    pub state: &'a S,
    /// Rises with every step of a move that is applied to it.
    pub steps: u64,
    /// The newest catalog.
    pub catalog: &'a Catalog,
    /// The moment.
    pub now: Moment,
    /// What the node may send.
    pub bucket: &'a Bucket,
}

/// The moves of a shard's slots to others, while this replica leads it.
pub struct Source<R> {
    options: MoveOptions,
    plan: Plan,
    /// As of how many steps the state was followed: between them the exports are what they are.
    followed: Option<u64>,
    attempts: BTreeMap<u64, Attempt<R>>,
    contacts: BTreeMap<ShardId, Contact>,
    /// Batches whose beginning was proposed.
    starting: Vec<(ShardId, Vec<Slot>, Moment)>,
    progress: BTreeMap<ShardId, Progress>,
    idle_since: Moment,
    moved: Moved,
    /// Whether something changed since no batch was found to begin with.
    may_start: bool,
    /// The shards that did not go on when that was looked at.
    stuck_before: BTreeSet<ShardId>,
}

impl<R: Default> Default for Source<R> {
    fn default() -> Self {
        Self::new(MoveOptions::default())
    }
}

/// What has gone from a shard while one replica led it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// Slots.
    pub slots: u64,
    /// Keys of these.
    pub keys: u64,
    /// Bytes that were sent.
    pub bytes: u64,
}

/// What there is to say of the moves to one shard.
#[derive(Default)]
struct Progress {
    tally: Tally,
    stall: Stall,
}

impl<R: Default> Source<R> {
    /// Nothing is under way.
    pub fn new(options: MoveOptions) -> Self {
        Self {
            options,
            plan: Plan::default(),
            followed: None,
            attempts: BTreeMap::new(),
            contacts: BTreeMap::new(),
            starting: Vec::new(),
            progress: BTreeMap::new(),
            idle_since: Moment::default(),
            moved: Moved::default(),
            may_start: true,
            stuck_before: BTreeSet::new(),
        }
    }

    /// This replica does not lead any more, or does anew: nothing that was found out counts.
    pub fn forget(&mut self) {
        *self = Self { moved: self.moved, ..Self::new(self.options) };
    }

    /// What has gone since the start.
    pub const fn moved(&self) -> Moved {
        self.moved
    }

    /// Does what there is to do.
    pub fn work<S: State<Reader = R>>(&mut self, around: &Around<'_, S>, deeds: &mut Vec<Deed>) {
        self.may_start |= self.plan.follow(around.me.0, around.catalog);
        if self.followed.replace(around.steps) != Some(around.steps) {
            self.follow_state(around);
        }
        self.starting.retain(|(_, _, at)| around.now.since(*at) < LOG_AGAIN);
        let mut bytes = TURN_BYTES_MAX;
        let stuck = self.stuck(around.now);
        let all = self.attempts.values().filter(|attempt| attempt.is_frozen());
        let (left, going): (Vec<_>, Vec<_>) = all.partition(|attempt| stuck.contains(&attempt.to()));
        let (left, mut frozen) = (left.len(), going.len());
        let mut order: Vec<u64> = self.attempts.keys().copied().collect();
        // What requests wait for goes first.
        order.sort_by_key(|number| (!self.attempts[number].is_frozen(), *number));
        for number in order {
            let Some(attempt) = self.attempts.get_mut(&number) else { continue };
            let contact = self.contacts.entry(attempt.to()).or_default();
            let may_freeze = !stuck.contains(&attempt.to()) && frozen < FROZEN_MAX && frozen + left < FROZEN_IN_ALL_MAX;
            frozen += usize::from(attempt.work(around, contact, may_freeze, &mut bytes, deeds));
        }
        self.start(around, &stuck, deeds);
    }

    /// Takes what a replica of another shard says.
    pub fn hear<S: State<Reader = R>>(
        &mut self,
        message: &MoveMessage<'_>,
        around: &Around<'_, S>,
        deeds: &mut Vec<Deed>,
    ) {
        let contact = self.contacts.entry(message.from).or_default();
        match &message.body {
            MoveBody::NotLeader { leader } => contact.not_leader(message.replica, *leader, around.now),
            MoveBody::State { leads, state } => {
                if *leads {
                    contact.leads(message.replica, around.now);
                }
                let attempt = self.attempts.get_mut(&message.id.number);
                if let Some(attempt) = attempt.filter(|a| a.to() == message.from && message.id.source == around.me.0) {
                    attempt.hear(*leads, state, around, contact, deeds);
                }
            }
            _ => {}
        }
    }

    /// Where a slot is known to have gone, though this shard's log does not say it yet.
    pub fn taken(&self, slot: Slot) -> Option<Whereabouts> {
        self.attempts.values().find_map(|attempt| attempt.taken(slot))
    }

    /// Whether any slot is known to have gone in that way.
    pub fn has_taken(&self) -> bool {
        self.attempts.values().any(Attempt::is_taken)
    }

    /// Whether a write of so many bytes to a slot may be taken now; not, if it outruns the copy of the slot.
    pub fn admits(&mut self, slot: Slot, bytes: usize, now: Moment) -> bool {
        let mut slowing = self.attempts.values_mut().filter(|attempt| attempt.slows());
        slowing.find(|attempt| attempt.has(slot)).is_none_or(|attempt| attempt.admit(bytes, now))
    }

    /// Whether some writes have to wait.
    pub fn slows(&self) -> bool {
        self.attempts.values().any(Attempt::slows)
    }

    /// Whether nothing is under way or wanted.
    pub fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.starting.is_empty() && self.progress.values().all(|p| !p.tally.is_running())
    }

    /// Batches that are copied and batches whose requests wait.
    pub fn phases(&self) -> (usize, usize) {
        let frozen = self.attempts.values().filter(|attempt| attempt.is_frozen()).count();
        (self.attempts.len() - frozen, frozen)
    }

    fn follow_state<S: State<Reader = R>>(&mut self, around: &Around<'_, S>) {
        let exports = around.state.exports();
        let is_listed = |number: &u64| exports.iter().any(|view| view.number == *number);
        let ended: Vec<u64> = self.attempts.keys().copied().filter(|number| !is_listed(number)).collect();
        let ended: Vec<_> = ended.iter().filter_map(|number| self.attempts.remove(number)).collect();
        for view in exports {
            self.starting.retain(|(_, slots, _)| !view.slots.iter().any(|s| slots.contains(&s.slot)));
            match self.attempts.entry(view.number) {
                Occupied(mut known) => known.get_mut().follow(view, around.now),
                Vacant(place) => {
                    place.insert(Attempt::new(view, around));
                }
            }
        }
        for mut ended in ended {
            self.may_start = true;
            let progress = self.progress.entry(ended.to()).or_default();
            let sent = ended.take_sent();
            progress.tally.bytes += sent;
            self.moved.bytes += sent;
            // A slot that is still here was given up.
            if !ended.slots().any(|slot| around.state.owns(slot).is_some()) {
                progress.tally.moved(ended.slots().count(), ended.usage());
                self.moved.slots += ended.slots().count() as u64;
                self.moved.keys += ended.usage().keys;
            }
        }
    }

    /// The shards that do not go on with what they are given: they take no places of others, and get no more.
    fn stuck(&self, now: Moment) -> BTreeSet<ShardId> {
        self.attempts.values().filter(|attempt| attempt.stands_still(now)).map(Attempt::to).collect()
    }

    fn start<S: State<Reader = R>>(
        &mut self,
        around: &Around<'_, S>,
        stuck: &BTreeSet<ShardId>,
        deeds: &mut Vec<Deed>,
    ) {
        if *stuck != self.stuck_before {
            (self.stuck_before, self.may_start) = (stuck.clone(), true);
        }
        let is_free = |to: &ShardId| !stuck.contains(to);
        let going = self.attempts.values().filter(|attempt| is_free(&attempt.to())).count();
        while self.may_start
            && going + self.starting.iter().filter(|(to, ..)| is_free(to)).count() < self.options.parallel
        {
            let mut under_way: BTreeMap<ShardId, usize> = BTreeMap::new();
            let targets = self.attempts.values().map(Attempt::to).chain(self.starting.iter().map(|s| s.0));
            targets.for_each(|to| *under_way.entry(to).or_default() += 1);
            let is_busy = |slot| {
                self.attempts.values().any(|attempt| attempt.has(slot))
                    || self.starting.iter().any(|(_, slots, _)| slots.contains(&slot))
            };
            let Some((to, slots)) = self.plan.next_batch(around.state, is_busy, is_free, &under_way) else {
                self.may_start = false;
                return;
            };
            deeds.push(Deed::Log(Step::ExportStart { to, revision: self.plan.revision(), slots: slots.clone() }));
            self.starting.push((to, slots, around.now));
        }
    }

    /// Once in a while: counts, and tells of beginnings, ends and stalls.
    pub fn look<S: State<Reader = R>>(&mut self, around: &Around<'_, S>) {
        self.may_start = true;
        let mut left: BTreeMap<ShardId, u32> = BTreeMap::new();
        self.plan.left(around.state).for_each(|wanted| *left.entry(wanted.to).or_default() += 1);
        for attempt in self.attempts.values() {
            left.entry(attempt.to()).or_default();
        }
        for to in left.keys() {
            self.progress.entry(*to).or_default();
        }
        if self.attempts.values().any(|attempt| around.now.since(attempt.moved_at()) < LOG_AGAIN) {
            self.idle_since = around.now;
        }
        let name = |shard: ShardId| {
            around.catalog.shard(shard).map_or_else(|| shard.to_string(), |record| record.name.to_string())
        };
        for (to, progress) in &mut self.progress {
            let runs = left.contains_key(to);
            let sent: u64 = self.attempts.values_mut().filter(|a| a.to() == *to).map(Attempt::take_sent).sum();
            progress.tally.bytes += sent;
            self.moved.bytes += sent;
            progress.tally.sample(around.now);
            if runs && !progress.tally.is_running() {
                progress.tally.begin(around.now);
                self.idle_since = around.now;
                tracing::info!(shard = %name(around.me.0), to = %name(*to), slots = left[to], "slots begin to move");
            } else if !runs && progress.tally.is_running() {
                let Tally { slots, keys, bytes, .. } = progress.tally;
                let took = progress.tally.end(around.now).unwrap_or_default();
                tracing::info!(shard = %name(around.me.0), to = %name(*to), slots, keys, bytes, ?took, "slots have moved");
            }
            let of_attempts =
                self.attempts.values().filter(|a| a.to() == *to).filter_map(|a| a.stall(around, self.contacts.get(to)));
            let stall = of_attempts.min_by_key(|(_, since)| *since);
            let waits = runs && self.attempts.is_empty() && self.starting.is_empty();
            let stall = stall.or_else(|| {
                waits.then_some((
                    "the catalog has not heard yet under which epochs this shard owns the slots",
                    self.idle_since,
                ))
            });
            if progress.stall.note(stall, around.now) {
                let reason = progress.stall.reason().unwrap_or_default();
                tracing::warn!(shard = %name(around.me.0), to = %name(*to), slots = left.get(to), "slots do not move: {reason}");
            }
        }
        self.progress.retain(|to, progress| left.contains_key(to) || progress.tally.slots > 0);
    }

    /// What there is to say to people.
    pub fn report<S: State<Reader = R>>(&self, around: &Around<'_, S>) -> Vec<MovesReport> {
        let of_target = |(to, progress): (&ShardId, &Progress)| {
            let left = self.plan.left(around.state).filter(|wanted| wanted.to == *to).count();
            let attempts = || self.attempts.values().filter(|attempt| attempt.to() == *to);
            let frozen = attempts().filter(|attempt| attempt.is_frozen()).count() as u32;
            let under_way: usize = attempts().filter(|attempt| attempt.is_frozen()).map(|a| a.slots().count()).sum();
            let slots_left = (left + under_way) as u32;
            let tally = &progress.tally;
            MovesReport {
                peer: *to,
                name: around.catalog.shard(*to).map_or_else(|| unnamed(*to), |record| record.name.clone()),
                direction: MoveDirection::Out,
                slots_left,
                slots_done: tally.slots,
                keys_moved: tally.keys,
                bytes_moved: tally.bytes,
                keys_per_second: tally.keys_per_second(),
                bytes_per_second: tally.bytes_per_second(),
                eta_ms: tally.eta(slots_left, around.now).map(|eta| eta.as_millis() as u64),
                copying: attempts().count() as u32 - frozen,
                frozen,
                stall: progress.stall.report(around.now),
            }
        };
        let runs = |(_, progress): &(&ShardId, &Progress)| progress.tally.is_running();
        self.progress.iter().filter(runs).map(of_target).collect()
    }
}

/// The label of a shard that is not in the catalog any more.
pub(super) fn unnamed(shard: ShardId) -> crate::topology::ShardName {
    crate::topology::ShardName::new(&shard.to_string())
}

fn usage_of<S: State>(state: &S, slots: impl Iterator<Item = Slot>) -> SlotUsage {
    slots
        .map(|slot| state.usage(slot))
        .fold(SlotUsage::default(), |sum, slot| SlotUsage { keys: sum.keys + slot.keys, bytes: sum.bytes + slot.bytes })
}
