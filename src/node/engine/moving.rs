//! Slots that move between the shards of this node and others: who talks to whom, and over which links.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Engine, PEER_BYTES_MAX, Replica, Turn};
use crate::net::Moment;
use crate::node::answers::Answers;
use crate::node::engine::Event;
use crate::node::moves::MoveOptions;
use crate::node::replica::Letter;
use crate::protocol::frame::{Kind, put_message};
use crate::protocol::moves::MoveMessage;
use crate::topology::{LogTime, NodeName, ShardId};

/// Bytes that may wait for a peer before nothing of a move is added: what keeps groups alive goes over the same link.
const MOVE_BYTES_MAX: usize = PEER_BYTES_MAX / 16;
/// Messages about moves between two leaders of this node that are handled in one go.
const LETTERS_MAX: usize = 64;
/// Ticks between two looks at how moves go on.
pub(super) const LOOK_TICKS: u64 = 10;

impl Engine {
    /// How this node moves slots.
    pub const fn move_options(&self) -> MoveOptions {
        self.options.moves
    }

    /// What its leaders may send in a second as things are, in bytes.
    pub fn moves_rate(&self) -> u64 {
        self.bucket.rate()
    }

    /// A tick came so late: there is less to send for a node that is late or whose clients wait.
    pub(super) fn pace_moves(&mut self, late: Duration, now: Moment) {
        let clients_wait = self.waits.tick(self.slots_move || self.bucket.is_used(now));
        self.bucket.tick(late, clients_wait, now);
    }

    /// Takes one message about a move from another node.
    pub fn peer_move(&mut self, payload: &[u8], now: Moment, wall: LogTime, answers: &mut dyn Answers) {
        let message = match MoveMessage::decode(payload) {
            Ok(message) => message,
            Err(error) => return tracing::warn!("message dropped: {error}"),
        };
        let (shard, Some(catalog)) = (message.to, self.catalog.clone()) else { return };
        let Some(replica) = self.replicas.get_mut(&shard).filter(|r| r.failed.is_none()) else { return };
        let (scratch, spans) = (&mut self.scratch, &mut self.spans);
        let mut turn = Turn { now, wall, answers, scratch, spans, seed: 0 };
        let letters = replica.hear_of_move(&message, &catalog, &self.bucket, &mut turn);
        self.post(letters);
        self.mark(shard);
    }

    /// Lets the leaders of one node talk to each other. Returns whether they did.
    pub(super) fn deliver_letters(&mut self, now: Moment, wall: LogTime, answers: &mut dyn Answers) -> bool {
        let count = self.letters.len().min(LETTERS_MAX);
        for _ in 0..count {
            let Some(letter) = self.letters.pop_front() else { break };
            self.peer_move(&letter, now, wall, answers);
        }
        count > 0
    }

    /// Lets a replica do its part, if it leads.
    pub(super) fn drive_moves(&mut self, replica: &mut Replica, turn: &mut Turn<'_>) {
        if replica.shard == ShardId::CATALOG || replica.failed.is_some() {
            return;
        }
        let Some(catalog) = &self.catalog else { return };
        let letters = replica.drive_moves(catalog, &self.bucket, turn);
        self.post(letters);
    }

    /// Once in a while: counts, and makes sure that there are links to those whom slots are moved with.
    pub(super) fn look_at_moves(&mut self, now: Moment, wall: LogTime, answers: &mut dyn Answers) {
        let Some(catalog) = self.catalog.clone() else { return };
        let shards: Vec<ShardId> = self.replicas.keys().copied().filter(|shard| *shard != ShardId::CATALOG).collect();
        for shard in shards {
            let Some(replica) = self.replicas.get_mut(&shard).filter(|r| r.failed.is_none()) else { continue };
            let (scratch, spans) = (&mut self.scratch, &mut self.spans);
            let mut turn = Turn { now, wall, answers: &mut *answers, scratch, spans, seed: 0 };
            let letters = replica.look_at_moves(&catalog, &self.bucket, &mut turn);
            self.post(letters);
        }
        self.meet_movers();
    }

    /// Makes the nodes known with whose shards slots are exchanged, by the catalog's will or by what is under way.
    pub(super) fn meet_movers(&mut self) {
        let Some(catalog) = &self.catalog else { return };
        let is_here =
            |shard: ShardId| catalog.shard(shard).is_some_and(|record| record.replica_on(&self.node).is_some());
        let mut others: BTreeSet<ShardId> = self.replicas().flat_map(Replica::moves_with).collect();
        self.slots_move = !others.is_empty();
        for shard in catalog.data_shards() {
            for wanted in catalog.moves_wanted(shard.id) {
                if is_here(shard.id) || is_here(wanted.shard) {
                    others.extend([shard.id, wanted.shard]);
                }
            }
        }
        let records = others.iter().filter_map(|shard| catalog.shard(*shard));
        let nodes = records.flat_map(|record| record.all_replicas()).map(|replica| &replica.node);
        let strangers: Vec<NodeName> =
            nodes.filter(|node| **node != self.node && !self.peers.contains_key(*node)).cloned().collect();
        if !strangers.is_empty() {
            self.peers.extend(strangers.into_iter().map(|node| (node, super::PeerOutbox::default())));
            self.events.push(Event::PeersChanged);
        }
    }

    fn post(&mut self, letters: Vec<Letter>) {
        for (to, letter) in letters {
            let Some(node) = self.homes.get(&to) else { continue };
            if *node == self.node {
                self.letters.push_back(letter);
                continue;
            }
            let Some(outbox) = self.peers.get_mut(node) else { continue };
            if outbox.connected && outbox.frames.len() <= MOVE_BYTES_MAX {
                put_message(&mut outbox.frames, Kind::Move, |out| out.extend_from_slice(&letter));
            }
        }
    }
}
