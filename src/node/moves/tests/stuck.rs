//! A shard that does not answer takes no places of those that do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::source::{Around, Source};
use super::super::{After, Bucket, Cut, Deed, End, ExportView, MoveOptions, SlotUsage, State, Step};
use crate::net::Moment;
use crate::protocol::moves::{ImportState, MoveBody, MoveMessage};
use crate::topology::assignment::TargetRange;
use crate::topology::{Catalog, ClusterId, Epoch, LogTime, MoveId, ReplicaId, ShardId, ShardsConfig, Slot, SlotEpoch};

const A: ShardId = ShardId(1);
const DEAD: ShardId = ShardId(2);
const SLOTS_EACH: u16 = 300;

/// A shard's state as far as a source asks for it: slots that are copied in one piece, and the exports that it logged.
struct Shard {
    owned: BTreeSet<Slot>,
    exports: Vec<ExportView>,
    last: u64,
    piece_bytes: usize,
}

impl State for Shard {
    /// Whether it has read everything.
    type Reader = bool;

    fn exports(&self) -> Vec<ExportView> {
        self.exports.clone()
    }
    fn resume(&self, _cursor: &[u8]) -> Option<bool> {
        Some(true)
    }
    fn read(&self, number: u64, is_read: &mut bool, _bytes_max: usize) -> Option<Cut> {
        let frozen = self.exports.iter().find(|export| export.number == number)?.frozen;
        let after = if frozen { After::Finish { seals: Vec::new(), log_time: LogTime(1) } } else { After::RoundDone };
        let body = vec![0; if std::mem::replace(is_read, true) { 0 } else { self.piece_bytes }];
        Some(Cut { body, cursor: Vec::new(), after })
    }
    fn changed(&self, _number: u64) -> SlotUsage {
        SlotUsage::default()
    }
    fn owns(&self, slot: Slot) -> Option<Epoch> {
        self.owned.contains(&slot).then_some(Epoch(1))
    }
    fn usage(&self, _slot: Slot) -> SlotUsage {
        SlotUsage::default()
    }
    fn imports(&self) -> Vec<(MoveId, Vec<SlotEpoch>)> {
        Vec::new()
    }
    fn import_state(&self, _id: MoveId, _slots: &[SlotEpoch]) -> ImportState {
        ImportState::Unknown
    }
}

impl Shard {
    /// One that is to give that many others their slots, which come first.
    fn that_gives_to(others: u16) -> Self {
        let owned = (0..others * SLOTS_EACH).filter_map(Slot::new).collect();
        Self { owned, exports: Vec::new(), last: 0, piece_bytes: 0 }
    }

    fn frozen(&self) -> usize {
        self.exports.iter().filter(|export| export.frozen).count()
    }

    fn log(&mut self, step: Step) {
        match step {
            Step::ExportStart { to, revision, slots } => {
                self.last += 1;
                let slots = slots.into_iter().map(|slot| SlotEpoch { slot, epoch: Epoch(2) }).collect();
                let (number, frozen, round) = (self.last, false, 0);
                self.exports.push(ExportView { number, to, revision, slots, frozen, round });
            }
            Step::Freeze { number, round } => {
                let export = self.exports.iter_mut().find(|export| export.number == number).unwrap();
                (export.frozen, export.round) = (true, round);
                export.slots.iter().for_each(|at| assert!(self.owned.remove(&at.slot)));
            }
            Step::ExportEnd { number, how: End::Gone } => self.exports.retain(|export| export.number != number),
            other => panic!("{other:?}"),
        }
    }
}

/// Shard A has everything, and the next `others` shards are to have some slots each.
fn catalog(others: u16) -> Catalog {
    let numbers = || 1..=u64::from(others) + 1;
    let nodes: String = numbers().map(|n| format!("[[node]]\nname = 'n{n}'\naddr = 'h:{n}'\n")).collect();
    let shards: String = numbers().map(|n| format!("[[shard]]\nname = 's{n}'\nnodes = ['n{n}']\n")).collect();
    let config = ShardsConfig::parse(&format!("version = 1\n{nodes}{shards}"), "test").unwrap();
    let mut catalog = Catalog::found(ClusterId(7), 1, &config, &BTreeMap::new());
    let target = |first, last, shard| TargetRange { first, last, shard };
    let of_other = |n: u16| target(n * SLOTS_EACH, (n + 1) * SLOTS_EACH - 1, ShardId(u64::from(n) + 2));
    catalog.targets = (0..others).map(of_other).chain([target(others * SLOTS_EACH, 16383, A)]).collect();
    for range in &mut catalog.slots {
        (range.owner, range.epoch) = (A, Epoch(1));
    }
    catalog
}

/// What a target that has nothing to do answers at once.
fn answer(message: &MoveMessage<'_>) -> ImportState {
    let next = match message.body {
        MoveBody::Finish { .. } => return ImportState::Taken,
        MoveBody::Piece { sequence, .. } => sequence + 1,
        _ => 0,
    };
    ImportState::Importing { next, cursor: Vec::new() }
}

/// Lets a shard give its slots away for a while, with two batches at a time. `hears`: whether a message is answered; `look`: at the
/// shard, after each step.
fn give_away(
    shard: &mut Shard,
    catalog: &Catalog,
    bytes_per_second: u64,
    hears: impl Fn(&MoveMessage<'_>) -> bool,
    mut look: impl FnMut(&Shard),
) -> Source<bool> {
    let mut source = Source::new(MoveOptions { parallel: 2, ..MoveOptions::default() });
    let bucket = &Bucket::new(bytes_per_second);
    let replica = |shard| catalog.shard(shard).unwrap().all_replicas().next().unwrap().id;
    let me = (A, replica(A));
    for ms in (0..20_000).step_by(20) {
        let steps = ms;
        let now = Moment::at(Duration::from_millis(10_000 + ms));
        let mut deeds = Vec::new();
        source.work(&Around { me, state: &*shard, steps, catalog, now, bucket }, &mut deeds);
        while let Some(deed) = deeds.pop() {
            match deed {
                Deed::Log(step) => shard.log(step),
                Deed::Send { message, .. } => {
                    let message = MoveMessage::decode(&message).unwrap();
                    if !hears(&message) {
                        continue;
                    }
                    let body = MoveBody::State { leads: true, state: answer(&message) };
                    let (to, from, replica) = (A, message.to, ReplicaId(replica(message.to).0));
                    let said = MoveMessage { to, from, replica, id: message.id, body };
                    source.hear(&said, &Around { me, state: &*shard, steps, catalog, now, bucket }, &mut deeds);
                }
            }
        }
        source.look(&Around { me, state: &*shard, steps, catalog, now, bucket });
        look(shard);
    }
    source
}

#[test]
fn a_dead_shard_holds_up_no_other_and_is_named() {
    // It dies at once, or when slots are frozen for it.
    for dies_frozen in [false, true] {
        let (catalog, mut shard, mut most) = (catalog(2), Shard::that_gives_to(2), 0);
        let is_last = |message: &MoveMessage<'_>| matches!(message.body, MoveBody::Finish { .. });
        let hears = |message: &MoveMessage<'_>| message.to != DEAD || dies_frozen && !is_last(message);
        let source = give_away(&mut shard, &catalog, 1 << 30, hears, |shard| most = most.max(shard.exports.len()));
        let is_left = |slot: &u16| Slot::new(*slot).is_some_and(|slot| shard.owned.contains(&slot));
        assert_eq!((SLOTS_EACH..2 * SLOTS_EACH).filter(is_left).count(), 0, "all that can go has gone");
        assert!(shard.exports.iter().all(|export| export.to == DEAD) && !shard.exports.is_empty());
        assert!(most <= 4, "{most} at one time");
        let (me, now, bucket) = ((A, ReplicaId(1)), Moment::at(Duration::from_secs(30)), Bucket::new(1));
        let reports = source.report(&Around { me, state: &shard, steps: 0, catalog: &catalog, now, bucket: &bucket });
        let dead = reports.iter().find(|report| report.peer == DEAD).unwrap();
        let reason = &dead.stall.as_ref().unwrap().reason;
        assert!(reason.contains("other shard"), "{reason}");
        assert!(dead.copying + dead.frozen <= 2);
    }
}

#[test]
fn shards_that_die_one_after_the_other_do_not_leave_more_and_more_slots_frozen() {
    let (catalog, mut shard, mut most) = (catalog(6), Shard::that_gives_to(6), 0);
    let hears = |message: &MoveMessage<'_>| !matches!(message.body, MoveBody::Finish { .. });
    give_away(&mut shard, &catalog, 1 << 30, hears, |shard| most = most.max(shard.frozen()));
    assert!((2..=4).contains(&most), "{most}");
}

#[test]
fn a_shard_that_waits_for_its_share_of_the_rate_is_not_taken_for_dead() {
    let (catalog, mut shard, mut most) = (catalog(2), Shard::that_gives_to(2), 0);
    // A piece in two seconds.
    shard.piece_bytes = 32 * 1024;
    let alive = |_: &MoveMessage<'_>| true;
    let source = give_away(&mut shard, &catalog, 16 * 1024, alive, |shard| most = most.max(shard.exports.len()));
    assert!(source.moved().slots > u64::from(SLOTS_EACH), "they do go: {}", source.moved().slots);
    assert_eq!(most, 2, "more than were to go at one time");
}
