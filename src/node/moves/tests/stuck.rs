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
const LIVE: ShardId = ShardId(3);
const SLOTS_EACH: u16 = 300;

/// A shard's state as far as a source asks for it: slots without keys, and the exports that it logged.
struct Shard {
    owned: BTreeSet<Slot>,
    exports: Vec<ExportView>,
    last: u64,
}

impl State for Shard {
    type Reader = ();

    fn exports(&self) -> Vec<ExportView> {
        self.exports.clone()
    }
    fn resume(&self, _cursor: &[u8]) -> Option<()> {
        Some(())
    }
    fn read(&self, number: u64, _reader: &mut (), _bytes_max: usize) -> Option<Cut> {
        let frozen = self.exports.iter().find(|export| export.number == number)?.frozen;
        let after = if frozen { After::Finish { seals: Vec::new(), log_time: LogTime(1) } } else { After::RoundDone };
        Some(Cut { body: Vec::new(), cursor: Vec::new(), after })
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

fn catalog() -> Catalog {
    let nodes: String = (1..=3).map(|n| format!("[[node]]\nname = 'n{n}'\naddr = 'h:{n}'\n")).collect();
    let shards: String = ["a", "b", "c"]
        .iter()
        .zip(1..)
        .map(|(name, n)| format!("[[shard]]\nname = '{name}'\nnodes = ['n{n}']\n"))
        .collect();
    let config = ShardsConfig::parse(&format!("version = 1\n{nodes}{shards}"), "test").unwrap();
    let mut catalog = Catalog::found(ClusterId(7), 1, &config, &BTreeMap::new());
    let target = |first, last, shard| TargetRange { first, last, shard };
    let (live, rest) = (SLOTS_EACH, 2 * SLOTS_EACH);
    catalog.targets = vec![target(0, live - 1, DEAD), target(live, rest - 1, LIVE), target(rest, 16383, A)];
    for range in &mut catalog.slots {
        (range.owner, range.epoch) = (A, Epoch(1));
    }
    catalog
}

/// What a target that has nothing to do answers at once.
fn answer(message: &MoveMessage<'_>) -> ImportState {
    match message.body {
        MoveBody::Finish { .. } => ImportState::Taken,
        _ => ImportState::Importing { next: 0, cursor: Vec::new() },
    }
}

#[test]
fn a_dead_shard_holds_up_no_other_and_is_named() {
    // It dies at once, or when slots are frozen for it.
    for dies_frozen in [false, true] {
        let catalog = catalog();
        let owned = (0..2 * SLOTS_EACH).filter_map(Slot::new).collect();
        let mut shard = Shard { owned, exports: Vec::new(), last: 0 };
        let mut source = Source::new(MoveOptions { parallel: 2, ..MoveOptions::default() });
        let bucket = Bucket::new(1 << 30);
        let replica = |shard| catalog.shard(shard).unwrap().all_replicas().next().unwrap().id;
        let me = (A, replica(A));
        let mut most = 0;
        for ms in (0..20_000).step_by(20) {
            let now = Moment::at(Duration::from_millis(10_000 + ms));
            let mut deeds = Vec::new();
            source.work(&Around { me, state: &shard, catalog: &catalog, now, bucket: &bucket }, &mut deeds);
            while let Some(deed) = deeds.pop() {
                match deed {
                    Deed::Log(step) => shard.log(step),
                    Deed::Send { message, .. } => {
                        let message = MoveMessage::decode(&message).unwrap();
                        let is_last = matches!(message.body, MoveBody::Finish { .. });
                        if message.to == DEAD && (!dies_frozen || is_last) {
                            continue;
                        }
                        let body = MoveBody::State { leads: true, state: answer(&message) };
                        let (to, from, replica) = (A, message.to, ReplicaId(replica(message.to).0));
                        let said = MoveMessage { to, from, replica, id: message.id, body };
                        let around = Around { me, state: &shard, catalog: &catalog, now, bucket: &bucket };
                        source.hear(&said, &around, &mut deeds);
                    }
                }
            }
            source.look(&Around { me, state: &shard, catalog: &catalog, now, bucket: &bucket });
            most = most.max(shard.exports.len());
        }
        let is_left = |slot: &u16| Slot::new(*slot).is_some_and(|slot| shard.owned.contains(&slot));
        assert_eq!((SLOTS_EACH..2 * SLOTS_EACH).filter(is_left).count(), 0, "all that can go has gone");
        assert!(shard.exports.iter().all(|export| export.to == DEAD) && !shard.exports.is_empty());
        assert!(most <= 4, "{most} at one time");
        let now = Moment::at(Duration::from_secs(30));
        let reports = source.report(&Around { me, state: &shard, catalog: &catalog, now, bucket: &bucket });
        let dead = reports.iter().find(|report| report.peer == DEAD).unwrap();
        let reason = &dead.stall.as_ref().unwrap().reason;
        assert!(reason.contains("other shard"), "{reason}");
        assert!(dead.copying + dead.frozen <= 2);
    }
}
