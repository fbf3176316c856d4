//! Replicas that the cluster has given up are destroyed, and only those (DESIGN.md, R16): the catalog has the very (shard, replica)
//! neither among the wanted nor among the leaving ones. A node that was removed ends when nothing is left.
//!
//! The copy of the catalog that says so is on disk before anything goes (`Node::catalog_is`); the rest of the order is `home::removal`'s.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot::error::RecvError;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::background;
use super::home::HomeError;
use super::server::{Node, Shared};
use crate::storage::StorageError;
use crate::topology::{Catalog, ShardId};

/// Where a full disk is in the way, it is tried again so often.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is being destroyed on a node.
#[derive(Debug, Default)]
pub struct Removals {
    under_way: BTreeSet<ShardId>,
}

impl Removals {
    /// Whether what was here of a shard is still going: no replica of it may come meanwhile.
    pub fn is_under_way(&self, shard: ShardId) -> bool {
        self.under_way.contains(&shard)
    }

    /// Whether nothing is going.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}

/// Starts to destroy the replicas that this catalog does not list. `false`: some cannot go yet; ask again.
pub fn destroy_unlisted(node: &mut Node, catalog: &Catalog) -> bool {
    let listed = |shard, id| catalog.shard(shard).is_some_and(|record| record.all_replicas().any(|r| r.id == id));
    let gone = node.engine.replicas().filter(|replica| !listed(replica.shard, replica.id));
    let gone: Vec<_> = gone.map(|replica| (replica.shard, replica.id)).collect();
    let (now, wall) = (node.clock.now(), node.clock.wall());
    let mut all_go = true;
    for (shard, id) in gone {
        if !node.engine.remove_replica(shard, now, wall, &mut node.connections) {
            all_go = false;
            continue;
        }
        tracing::info!(%shard, replica = %id, "the replica is no member of its shard any more: its data is destroyed");
        node.removals.under_way.insert(shard);
    }
    node.wake.notify_one();
    all_go
}

/// Destroys what a crash, or an older release, left of replicas that are not here any more.
pub fn destroy_leftovers(node: &mut Node, shards: &[ShardId]) {
    let here = |shard: &ShardId| node.engine.replica(*shard).is_some();
    let gone: Vec<ShardId> = shards.iter().copied().filter(|shard| !here(shard)).collect();
    for shard in gone {
        tracing::info!(%shard, "what is left of a replica that is gone is destroyed");
        node.removals.under_way.insert(shard);
        node.engine.forget_log(shard);
    }
    node.wake.notify_one();
}

/// The log has forgotten a shard: the rest may go. Its states may be large, and the node goes on meanwhile.
pub fn finish(node: &Node, shared: &Shared, shard: ShardId) {
    let (snapshots, shared) = (node.home.snapshots(), Rc::clone(shared));
    spawn_local(async move {
        loop {
            let states = snapshots.clone();
            let removed = background::spawn("removal", move || states.remove_all(shard)).await;
            if shared.borrow_mut().end_removal(shard, removed) {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    });
}

impl Node {
    /// `false`: the disk is full, and it must be tried again.
    fn end_removal(&mut self, shard: ShardId, removed: Result<Result<(), StorageError>, RecvError>) -> bool {
        let removed = match removed {
            Ok(removed) => removed.map_err(HomeError::from),
            Err(error) => {
                self.fail(format!("the thread that removes states ended: {error}"));
                return true;
            }
        };
        match removed.and_then(|()| self.home.end_removal(shard)) {
            Ok(()) => {
                self.removals.under_way.remove(&shard);
                // Another replica of the shard may come now, or the node may end.
                self.catalog_changed.notify_one();
            }
            Err(HomeError::Storage(error)) if error.is_out_of_space() => {
                tracing::warn!(%shard, "what is left of a replica is not destroyed yet, make room on the disk: {error}");
                return false;
            }
            Err(error) => self.fail(format!("{error}{}", error.advice())),
        }
        true
    }
}
