//! When a shard's state is written to disk: one at a time.
//!
//! The shards of a node share a log, so they come due together, and so do those of all nodes whose shards are the same.
//! Written all at once they would take the processors and the disk from the requests; one after the other they take what
//! the requests leave (see `background.rs`), and the log grows a little further meanwhile.

use std::collections::{BTreeMap, VecDeque};

use super::{Engine, Event};
use crate::consensus::SnapshotPoint;
use crate::planted::{self, Bug};
use crate::topology::ShardId;

/// For so long after one that could not be written for want of space, no snapshot of that shard is tried.
const PAUSE_TICKS: u64 = 400;

/// Which states are to be written, and which is.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// In the order in which they came due.
    due: VecDeque<ShardId>,
    writing: Option<ShardId>,
    /// Until which tick no snapshot of a shard is tried.
    pauses: BTreeMap<ShardId, u64>,
}

impl Snapshots {
    /// Whether the state of this shard is on its way to the disk.
    pub(super) fn is_writing(&self, shard: ShardId) -> bool {
        self.writing == Some(shard)
    }

    /// The replica is gone.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.due.retain(|due| *due != shard);
        self.pauses.remove(&shard);
    }
}

impl Engine {
    /// Writes the state of a shard as a snapshot when its turn comes, if it is not due already.
    pub fn snapshot(&mut self, shard: ShardId) {
        let waits = self.snapshots.is_writing(shard) || self.snapshots.due.contains(&shard);
        if waits || self.snapshots.pauses.get(&shard).is_some_and(|until| self.ticks < *until) {
            return;
        }
        self.snapshots.due.push_back(shard);
        self.write_next_snapshot();
    }

    /// A snapshot of a shard is durable: its log need not go back further.
    pub fn snapshot_written(&mut self, shard: ShardId, point: &SnapshotPoint, bytes: u64) {
        if let Some(replica) = self.replicas.get_mut(&shard) {
            replica.snapshots_written += 1;
            replica.snapshot_bytes = bytes;
            self.batch.compact(shard.0, point.index.0, point.term.0);
        }
        self.snapshots.writing = None;
        self.write_next_snapshot();
    }

    /// Writing a snapshot failed for want of space; it may be tried again after a while.
    pub fn snapshot_failed(&mut self, shard: ShardId) {
        if let Some(replica) = self.replicas.get_mut(&shard) {
            replica.snapshots_failed += 1;
            self.snapshots.pauses.insert(shard, self.ticks + PAUSE_TICKS);
        }
        self.snapshots.writing = None;
        self.write_next_snapshot();
    }

    fn write_next_snapshot(&mut self) {
        while self.snapshots.writing.is_none()
            && let Some(shard) = self.snapshots.due.pop_front()
        {
            let Some(replica) = self.replicas.get_mut(&shard) else { continue };
            // One that is receiving a state is about to have a newer one on disk.
            if replica.receiving || replica.failed.is_some() {
                continue;
            }
            let Some(state) = replica.machine.freeze() else { continue };
            (replica.applied_bytes, replica.applied_entries) = (0, 0);
            let point = replica.point();
            self.snapshots.pauses.remove(&shard);
            self.snapshots.writing = Some(shard);
            if planted::is(Bug::CompactedBeforeSnapshot) {
                self.batch.compact(shard.0, point.index.0, point.term.0);
            }
            self.events.push(Event::WriteSnapshot { shard, point, state });
        }
    }
}
