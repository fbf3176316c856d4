//! What a node has told a proxy of its replicas, over one connection: a copy of the node's board, kept by what changes.
//!
//! Invariant: the copy is the node's board of one version, but for leaders' clocks, or it is of version zero and everything is asked for.

use std::collections::BTreeMap;

use crate::protocol::frame::{NodeStatus, ReplicaStatus};
use crate::topology::ShardId;

/// A node's lines.
#[derive(Debug, Default)]
pub struct Told {
    version: u64,
    lines: BTreeMap<ShardId, ReplicaStatus>,
}

impl Told {
    /// The version of the node's board that is here; zero: none.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Takes over what a status says. Whether it could: one that builds on what is not here is not taken, and nothing of what is here is
    /// relied on from then on.
    pub fn take(&mut self, status: &NodeStatus) -> bool {
        if status.base == 0 {
            self.lines.clear();
        } else if status.base > self.version {
            self.version = 0;
            return false;
        }
        for line in &status.replicas {
            self.lines.insert(line.shard, *line);
        }
        for progress in &status.progress {
            let Some(line) = self.lines.get_mut(&progress.shard) else {
                self.version = 0;
                return false;
            };
            (line.applied, line.committed, line.log_time) = (progress.applied, progress.committed, progress.log_time);
        }
        self.version = status.version;
        true
    }

    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &ReplicaStatus> {
        self.lines.values()
    }

    /// Those that a status was about.
    pub fn lines_of(&self, status: &NodeStatus) -> impl Iterator<Item = &ReplicaStatus> {
        let shards = status.replicas.iter().map(|line| line.shard).chain(status.progress.iter().map(|line| line.shard));
        shards.filter_map(|shard| self.lines.get(&shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::Progress;
    use crate::topology::{LogIndex, LogTime};

    #[test]
    fn what_builds_on_something_else_is_not_taken_and_all_is_asked_for() {
        let progress = |shard| Progress {
            shard: ShardId(shard),
            applied: LogIndex(1),
            committed: LogIndex(1),
            log_time: LogTime(1),
        };
        let mut told = Told::default();
        assert!(told.take(&NodeStatus { version: 5, ..NodeStatus::default() }));
        assert!(told.take(&NodeStatus { base: 4, version: 6, ..NodeStatus::default() }), "some of it again");
        assert_eq!(told.version(), 6);
        assert!(!told.take(&NodeStatus { base: 7, version: 8, ..NodeStatus::default() }));
        assert_eq!(told.version(), 0);
        assert!(told.take(&NodeStatus { version: 9, ..NodeStatus::default() }));
        let of_nobody = NodeStatus { base: 9, version: 10, progress: vec![progress(3)], ..NodeStatus::default() };
        assert!(!told.take(&of_nobody));
        assert_eq!((told.version(), told.lines().count()), (0, 0));
    }
}
