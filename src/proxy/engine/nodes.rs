//! The node side: handshake, heartbeats, statuses, catalogs, and the frames that answer requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{error, info, warn};

use super::flight::{FlightKey, State};
use super::link::{FRAME_BYTES_MAX, Stage};
use super::{Engine, Order};
use crate::control::health::Due;
use crate::control::routing::{NodeChange, NodeIndex, Standing};
use crate::protocol::control::{Hello, PeerRole, Welcome};
use crate::protocol::frame::{
    FrameError, Heartbeat, Kind, NodeStatus, PREAMBLE, RawFrame, Refusal, ReplyHead, put_message, split_frame,
    split_numbered,
};
use crate::proxy::metrics::ShardStats;
use crate::proxy::outbox::{COPY_BYTES_MAX, Outbox};
use crate::topology::{Catalog, CatalogError, NodeName, Revision};

/// What a node that is short of time at least gets done of a large request. It is silent meanwhile.
const WORK_BYTES_PER_MS: usize = 16 * 1024;

/// Why a node connection was given up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// What it sent makes no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It sent a catalog that cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It said who it is in a way that cannot be read.
    #[error("malformed handshake: {0}")]
    Handshake(serde_json::Error),
    /// It closed the connection and said why.
    #[error("refused: {0}")]
    Goodbye(String),
    /// It belongs to another cluster.
    #[error("it belongs to cluster {theirs}, this proxy to {ours}")]
    WrongCluster {
        /// The node's.
        theirs: String,
        /// The proxy's.
        ours: String,
    },
    /// Another node answered at the address.
    #[error("node {0} answered at its address")]
    WrongNode(NodeName),
    /// A frame that a node may not send to a proxy, or not yet.
    #[error("unexpected {0:?} frame")]
    Unexpected(Kind),
    /// It was silent for too long.
    #[error("no sign of life")]
    Silent,
    /// The connection broke or could not be made.
    #[error("{0}")]
    Socket(String),
    /// The catalog says that it is somewhere else, or no longer there.
    #[error("its address changed or it was removed")]
    Moved,
}

impl Engine {
    /// Nodes to begin with, from a file: name, address, zone. Of no effect once a catalog is known.
    pub fn seed_nodes(&mut self, nodes: impl IntoIterator<Item = (NodeName, String, Option<String>)>) {
        let changes = self.routing.seed(nodes);
        self.follow(changes);
    }

    /// Takes over a catalog that came some other way than from a node.
    pub fn learn_catalog(&mut self, catalog: &Arc<Catalog>) {
        let known = self.routing.cluster();
        if known.is_some_and(|c| c != catalog.cluster) || catalog.revision <= self.routing.revision() {
            return;
        }
        let json = catalog.encode();
        let changes = self.routing.adopt(catalog);
        self.catalog = Some((catalog.clone(), json));
        self.count_new_shards();
        self.follow(changes);
        self.recheck = true;
        self.resumable.append(&mut self.postponed);
        self.orders.push(Order::CatalogLearned(catalog.clone()));
    }

    /// Has figures for every shard; those of which nothing but the id is known are not shown.
    pub(super) fn count_new_shards(&mut self) {
        for (at, shard) in self.routing.shards().iter().enumerate() {
            if at == self.shard_stats.len() {
                self.shard_stats.push(Arc::new(ShardStats::new(shard.name.clone())));
                self.read_stats.push(Vec::new());
                self.shown.push(false);
            }
            if shard.standing != Standing::Rumoured && !std::mem::replace(&mut self.shown[at], true) {
                self.shard_stats[at] = self.stats.add_shard(shard.name.clone());
            }
        }
    }

    fn follow(&mut self, changes: Vec<NodeChange>) {
        for change in changes {
            match change {
                NodeChange::Added(node) if node.at() == self.links.len() => self.new_link(node),
                NodeChange::Moved(node) | NodeChange::Removed(node)
                    if self
                        .handed_to(node)
                        .iter()
                        .any(|key| self.flights[*key].write && !self.flights[*key].is_idle()) =>
                {
                    // An edit must cause no error (P5): what the node has is answered over the old connection. Reads
                    // and blocked clients alone are asked again.
                    self.links[node.at()].leaving = true;
                    self.routing.node_mut(node).up = false;
                }
                NodeChange::Added(node) | NodeChange::Moved(node) | NodeChange::Removed(node) => self.leave(node),
            }
        }
    }

    fn leave(&mut self, node: NodeIndex) {
        self.give_up_link(node, &LinkError::Moved);
        self.links[node.at()].health.moved(self.now);
    }

    /// A connection to a node was made: says who we are.
    pub fn node_connected(&mut self, node: NodeIndex) {
        let hello = Hello {
            role: PeerRole::Proxy,
            cluster: self.routing.cluster(),
            name: self.settings.name.clone(),
            incarnation: None,
            to: Some(self.routing.node(node).name.clone()),
        };
        let hello = serde_json::to_vec(&hello).expect("a Hello can be written as JSON");
        let link = &mut self.links[node.at()];
        link.reset();
        link.stage = Stage::Greeting;
        link.outbox.put(&PREAMBLE);
        link.outbox.put_with(|out| put_message(out, Kind::Hello, |out| out.extend_from_slice(&hello)));
        self.mark_node(node);
    }

    /// A connection to a node broke or could not be made.
    pub fn node_lost(&mut self, node: NodeIndex, reason: &LinkError) {
        let jitter = self.coin.toss();
        let link = &mut self.links[node.at()];
        let was_up = link.stage == Stage::Open;
        self.node_stats[node.at()].failures.add(1);
        self.node_stats[node.at()].up.set(0);
        let name = &self.routing.node(node).name;
        match reason {
            LinkError::WrongCluster { .. } | LinkError::WrongNode(_) | LinkError::Goodbye(_) if !link.complained => {
                link.complained = true;
                error!(node = %name, %reason, "node connection not used");
            }
            _ if was_up && !matches!(reason, LinkError::Moved) => warn!(node = %name, %reason, "node connection lost"),
            _ => {}
        }
        self.routing.node_mut(node).up = false;
        if was_up {
            self.recall(node);
        }
        let link = &mut self.links[node.at()];
        link.reset();
        link.health.disconnected(self.now, jitter);
    }

    fn give_up_link(&mut self, node: NodeIndex, reason: &LinkError) {
        self.node_lost(node, reason);
        self.orders.push(Order::Disconnect(node));
    }

    /// Bytes from a node. After an error the connection is closed; the engine counts it as lost already.
    pub fn node_data(&mut self, node: NodeIndex, bytes: &[u8]) {
        if self.links[node.at()].stage == Stage::Closed {
            return;
        }
        self.links[node.at()].health.heard(self.now);
        let mut kept = self.links[node.at()].take_input();
        let taken = if kept.is_empty() {
            self.take_frames(node, bytes)
        } else {
            kept.extend_from_slice(bytes);
            self.take_frames(node, &kept)
        };
        match taken {
            Ok(taken) => {
                let rest = if kept.is_empty() {
                    bytes[taken..].to_vec()
                } else {
                    kept.drain(..taken);
                    kept
                };
                debug_assert!(rest.len() < FRAME_BYTES_MAX);
                self.links[node.at()].keep_input(rest);
            }
            Err(reason) => self.give_up_link(node, &reason),
        }
    }

    fn take_frames(&mut self, node: NodeIndex, buffer: &[u8]) -> Result<usize, LinkError> {
        let mut taken = 0;
        while let Some(frame) = split_frame(&buffer[taken..])? {
            taken += frame.consumed;
            self.take_frame(node, frame)?;
        }
        Ok(taken)
    }

    fn take_frame(&mut self, node: NodeIndex, frame: RawFrame<'_>) -> Result<(), LinkError> {
        let link = &mut self.links[node.at()];
        if frame.kind.is_urgent() || (!frame.more && !link.is_cut()) {
            return self.take_message(node, frame.kind, frame.payload, None);
        }
        let Some(whole) = link.gather(frame, self.settings.limits.reply_bytes_max)? else { return Ok(()) };
        self.take_message(node, frame.kind, &whole, Some(&whole))
    }

    fn take_message(
        &mut self,
        node: NodeIndex,
        kind: Kind,
        payload: &[u8],
        whole: Option<&Bytes>,
    ) -> Result<(), LinkError> {
        let open = self.links[node.at()].stage == Stage::Open;
        match kind {
            Kind::Reply if open => {
                let (head, body) = ReplyHead::decode(payload)?;
                let large = match whole {
                    Some(whole) => Some(whole.slice(payload.len() - body.len()..)),
                    None if body.len() > COPY_BYTES_MAX => Some(Bytes::copy_from_slice(body)),
                    None => None,
                };
                self.take_reply(node, head, body, large);
            }
            Kind::Refusal if open => self.take_refusal(node, Refusal::decode(payload)?),
            Kind::Status if open => self.take_status(node, &NodeStatus::decode(payload)?),
            Kind::Catalog if open => self.take_catalog(node, payload)?,
            Kind::Welcome => self.take_welcome(node, payload)?,
            Kind::Goodbye => {
                return Err(LinkError::Goodbye(String::from_utf8_lossy(payload).chars().take(300).collect()));
            }
            other => return Err(LinkError::Unexpected(other)),
        }
        Ok(())
    }

    fn take_welcome(&mut self, node: NodeIndex, payload: &[u8]) -> Result<(), LinkError> {
        let welcome: Welcome = serde_json::from_slice(payload).map_err(LinkError::Handshake)?;
        if let (Some(theirs), Some(ours)) = (welcome.cluster, self.routing.cluster())
            && theirs != ours
        {
            return Err(LinkError::WrongCluster { theirs: theirs.to_string(), ours: ours.to_string() });
        }
        if welcome.node != self.routing.node(node).name {
            return Err(LinkError::WrongNode(welcome.node));
        }
        let link = &mut self.links[node.at()];
        if link.stage != Stage::Greeting {
            return Err(LinkError::Unexpected(Kind::Welcome));
        }
        link.stage = Stage::Open;
        link.complained = false;
        if link.health.failures() > 0 {
            info!(node = %welcome.node, failures = link.health.failures(), "node connection is back");
        }
        link.health.connected(self.now);
        self.routing.node_mut(node).up = true;
        self.node_stats[node.at()].up.set(1);
        self.recheck = true;
        self.introduce(node);
        self.tick_node(node);
        Ok(())
    }

    fn take_status(&mut self, node: NodeIndex, status: &NodeStatus) {
        let link = &mut self.links[node.at()];
        link.health.answered(status.sequence, self.now);
        if let Some(round_trip) = link.health.round_trip() {
            self.node_stats[node.at()].round_trip_us.set(round_trip.as_micros() as u64);
        }
        self.compare_revisions(node, status);
        let (link, doubts) = (&mut self.links[node.at()], self.routing.doubts());
        if !link.told.take(status) {
            // The next heartbeat asks for everything.
            return;
        }
        // What is not told again is as it was told before, and the table may have come to believe something else.
        self.recheck |= if link.merged_at.replace(doubts) == Some(doubts) {
            self.routing.merge_status(node, link.told.lines_of(status))
        } else {
            self.routing.merge_status(node, link.told.lines())
        };
    }

    fn take_catalog(&mut self, node: NodeIndex, payload: &[u8]) -> Result<(), LinkError> {
        let (revision, json) = split_numbered(payload)?;
        if Revision(revision) <= self.routing.revision() {
            return Ok(());
        }
        let catalog = Catalog::decode(json)?;
        if let Some(ours) = self.routing.cluster().filter(|c| *c != catalog.cluster) {
            return Err(LinkError::WrongCluster { theirs: catalog.cluster.to_string(), ours: ours.to_string() });
        }
        tracing::debug!(node = %self.routing.node(node).name, revision, "learned a catalog");
        self.learn_catalog(&Arc::new(catalog));
        Ok(())
    }

    /// Asks a node for news before it is due.
    pub(super) fn ask_at_once(&mut self, node: NodeIndex) {
        self.links[node.at()].health.hurry(self.now);
        self.tick_node(node);
    }

    pub(super) fn tick_nodes(&mut self) {
        for index in 0..self.links.len() as u32 {
            self.tick_node(NodeIndex(index));
        }
    }

    fn tick_node(&mut self, node: NodeIndex) {
        if self.links[node.at()].leaving && self.routing.node(node).in_flight == 0 {
            self.leave(node);
        }
        if !self.routing.node(node).listed && !self.links[node.at()].leaving {
            return;
        }
        let due = self.links[node.at()].health.due(self.now);
        match due {
            Due::Nothing => {}
            Due::Connect => self.orders.push(Order::Connect(node, self.routing.node(node).addr.clone())),
            Due::GiveUp if self.is_at_work(node) => {}
            Due::GiveUp => self.give_up_link(node, &LinkError::Silent),
            Due::Heartbeat(sequence) => {
                let mut frame = Vec::with_capacity(40);
                let (revision, known) = (self.revision_to_tell(node), self.links[node.at()].told.version());
                Heartbeat { sequence, revision, known }.put(&mut frame);
                self.links[node.at()].outbox.put_urgent(&frame);
                self.mark_node(node);
            }
        }
    }

    fn handed_to(&self, node: NodeIndex) -> Vec<FlightKey> {
        self.flights.select(|f| f.state == State::Handed && f.node == node)
    }

    /// Whether a silent node may be busy with the large requests that it has.
    fn is_at_work(&self, node: NodeIndex) -> bool {
        let bytes: usize = self.handed_to(node).into_iter().map(|key| self.flights[key].body().len()).sum();
        self.links[node.at()].health.overdue(self.now) < Duration::from_millis((bytes / WORK_BYTES_PER_MS) as u64)
    }

    pub(super) fn mark_node(&mut self, node: NodeIndex) {
        let link = &mut self.links[node.at()];
        if !link.dirty {
            link.dirty = true;
            self.dirty_nodes.push(node);
        }
    }

    /// What is to be sent to a node.
    pub fn node_output(&self, node: NodeIndex) -> &Outbox {
        &self.links[node.at()].outbox
    }

    /// Notes that bytes were sent to a node.
    pub fn node_sent(&mut self, node: NodeIndex, count: usize) {
        self.links[node.at()].outbox.advance(count);
    }
}
