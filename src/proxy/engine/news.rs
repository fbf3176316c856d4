//! Which node is asked for the newest catalog, and which is given it.
//!
//! Each node says with its status which revision it has, and each knows the newest soon. A catalog of a large cluster is long, so a
//! proxy has it from one node only: heartbeats say that nothing is wanted, until a status names a newer revision; then that node alone
//! is asked, and for a while no other. Nodes ask the catalog's members by themselves: only one that has stood still for long is given
//! what it lacks.

use std::time::Duration;

use super::Engine;
use crate::control::routing::NodeIndex;
use crate::net::Moment;
use crate::protocol::frame::{Kind, NodeStatus, put_numbered};
use crate::topology::Revision;

/// Between two catalogs, at least: of slots that moved meanwhile refusals tell, of new shards nobody else.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a node may stand at an older revision before it is given the newer; and how much longer by chance, so that not all give it.
const STANDS_STILL: Duration = Duration::from_secs(2);
const CHANCE_MS: u64 = 4_000;
/// A revision than which there is none newer: nothing is wanted.
const NOTHING_WANTED: Revision = Revision(u64::MAX);

/// What is known of catalogs that are not here yet.
#[derive(Debug, Default)]
pub struct News {
    asked: Option<Moment>,
    /// Whose next heartbeat asks.
    asks: Option<NodeIndex>,
}

impl Engine {
    /// What the heartbeat to a node says of the catalog here.
    pub(super) fn revision_to_tell(&mut self, node: NodeIndex) -> Revision {
        match self.news.asks.take_if(|asks| *asks == node) {
            Some(_) => self.routing.revision(),
            None => NOTHING_WANTED,
        }
    }

    /// Sees which revision a node has.
    pub(super) fn compare_revisions(&mut self, node: NodeIndex, status: &NodeStatus) {
        if status.revision > self.routing.revision() {
            if self.news.asked.is_none_or(|asked| self.now.since(asked) >= ASK_AGAIN) {
                self.news = News { asked: Some(self.now), asks: Some(node) };
                self.ask_at_once(node);
            }
            return;
        }
        let patience = STANDS_STILL + Duration::from_millis(self.settings.seed % CHANCE_MS);
        let (now, link) = (self.now, &mut self.links[node.at()]);
        if status.revision == self.routing.revision() {
            link.stands_at = None;
            return;
        }
        if link.stands_at.is_none_or(|(revision, _)| revision != status.revision) {
            link.stands_at = Some((status.revision, now));
        }
        let stands_still = link.stands_at.is_some_and(|(_, since)| now.since(since) >= patience);
        if let Some((catalog, json)) = &self.catalog
            && stands_still
            && status.revision < catalog.revision
            && link.offered < catalog.revision
        {
            link.offered = catalog.revision;
            link.outbox.put_with(|out| put_numbered(out, Kind::Catalog, catalog.revision.0, json));
            self.mark_node(node);
        }
    }
}
