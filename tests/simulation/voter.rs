//! A voter between two sides that do not hear each other loses its power after each vote that it gives. A vote that it had not
//! synced would be given twice in one term.
//!
//! The side that has the vote is not heard by the voter any more: what a new leader sends would be written with the term, and hide
//! that the vote was not.

use bytes::Bytes;
use pontoon::consensus::decode_message;
use pontoon::protocol::frame::{Kind, split_frame};
use pontoon::topology::ShardId;

use super::faults::Fault;
use super::streams::Host;
use super::world::{Block, Due, World};

/// Votes after which the power stays.
const VOTES: usize = 3;
/// A vote is on its way for no longer.
const ARRIVED_US: u64 = 3_000;

/// Who loses its power.
pub struct Voter {
    node: usize,
    shard: ShardId,
    sides: [Vec<usize>; 2],
    votes_left: usize,
}

impl World {
    /// The present leader, if there is one, is the voter, so that there is an election.
    pub fn stand_between(&mut self) {
        let shards = self.shards();
        let shard = shards[self.random.below(shards.len())];
        let homes = self.homes(shard);
        let node = self.leader(shard).unwrap_or_else(|| homes[self.random.below(homes.len())]);
        let others: Vec<usize> = homes.into_iter().filter(|home| *home != node).collect();
        if others.len() < 2 || self.members[node].running.is_none() {
            return;
        }
        let (one, other) = others.split_at(others.len() / 2);
        for a in one {
            for b in other {
                self.part(Host::Node(*a), Host::Node(*b), Block::Lose);
                self.part(Host::Node(*b), Host::Node(*a), Block::Lose);
            }
        }
        self.voter = Some(Voter { node, shard, sides: [one.to_vec(), other.to_vec()], votes_left: VOTES });
        self.partitions += 1;
        let long = self.random.within(2_000_000, 4_000_000);
        self.schedule(long, Due::Undo(Fault::Parted { number: self.partitions }));
        self.lose_power_shortly(node);
    }

    /// Looks at a frame that leaves a node for another.
    pub fn note_vote(&mut self, from: usize, to: usize, frame: &[u8]) {
        let Some(voter) = self.voter.as_mut().filter(|voter| voter.node == from && voter.votes_left > 0) else {
            return;
        };
        let Ok(Some(frame)) = split_frame(frame) else { return };
        let is_vote = frame.kind == Kind::Raft && gives_vote(frame.payload, voter.shard);
        let Some(side) = voter.sides.iter().find(|side| is_vote && side.contains(&to)).cloned() else { return };
        voter.votes_left -= 1;
        for deaf_to in side {
            self.part(Host::Node(deaf_to), Host::Node(from), Block::Lose);
        }
        self.tell(|| format!("node {from} votes for node {to}, and loses its power"));
        self.schedule(ARRIVED_US, Due::Undo(Fault::Falls { node: from }));
    }

    /// The power goes, and comes back before an election is over.
    pub fn lose_power_shortly(&mut self, node: usize) {
        if self.members[node].running.is_some() {
            self.end(node, true);
            let back = self.random.within(5_000, 60_000);
            self.schedule(back, Due::Undo(Fault::Down { node }));
        }
    }
}

/// Whether a message of a group says that its sender votes for whoever gets it; not that it would.
fn gives_vote(payload: &[u8], of: ShardId) -> bool {
    let Some((shard, bytes)) = payload.split_first_chunk::<8>() else { return false };
    let Ok(message) = decode_message(Bytes::copy_from_slice(bytes)) else { return false };
    u64::from_le_bytes(*shard) == of.0
        && format!("{:?}", message.msg_type) == "MsgRequestVoteResponse"
        && !message.reject
}
