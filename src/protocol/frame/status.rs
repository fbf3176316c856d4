//! Signs of life: a proxy's heartbeat, and how a node's replicas are.

use super::{FrameError, Kind, PIECE_BYTES_MAX, put_message, u64_at};
use crate::topology::{LogIndex, LogTime, ReplicaId, Revision, ShardId, Term};

/// A proxy's sign of life and question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Echoed by the answer: the proxy measures the round trip by it.
    pub sequence: u64,
    /// The revision of the catalog that the proxy has.
    pub revision: Revision,
}

impl Heartbeat {
    /// Appends a whole frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Heartbeat, |out| {
            out.extend_from_slice(&self.sequence.to_le_bytes());
            out.extend_from_slice(&self.revision.0.to_le_bytes());
        });
    }

    /// Reads a heartbeat's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; 16] = payload.try_into().map_err(|_| FrameError::Malformed("heartbeat"))?;
        Ok(Self { sequence: u64_at(bytes, 0), revision: Revision(u64_at(bytes, 8)) })
    }
}

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Votes and follows (candidates included).
    Follower = 0,
    /// Leads, and has committed an entry of its term.
    Leader = 1,
    /// Receives the log and does not vote.
    Learner = 2,
}

impl Role {
    /// The name in `status`, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Learner => "learner",
        }
    }
}

/// One replica in a node's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The shard.
    pub shard: ShardId,
    /// The replica on the answering node.
    pub replica: ReplicaId,
    /// What it is.
    pub role: Role,
    /// Whether it may be read: neither starting nor installing a snapshot.
    pub readable: bool,
    /// Whether it can answer reads of level `any` now.
    pub fresh: bool,
    /// Whether it answers them though it knows no leader and may be of any age.
    pub orphan: bool,
    /// Whether it answers `strong` reads without asking others.
    pub leases: bool,
    /// Its term.
    pub term: Term,
    /// The leader as it knows it.
    pub leader: Option<ReplicaId>,
    /// The highest index that it has applied.
    pub applied: LogIndex,
    /// The highest index that it knows to be committed.
    pub committed: LogIndex,
    /// Its log time.
    pub log_time: LogTime,
}

const REPLICA_STATUS_BYTES: usize = 7 * 8 + 2;

/// All replicas of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// The sequence of the heartbeat that this answers; zero: pushed after a change.
    pub sequence: u64,
    /// The revision of the catalog that the node has.
    pub revision: Revision,
    /// Its replicas, by shard.
    pub replicas: Vec<ReplicaStatus>,
}

impl NodeStatus {
    /// The most replicas that fit a status, which is never cut.
    pub const REPLICAS_MAX: usize = (PIECE_BYTES_MAX - 16) / REPLICA_STATUS_BYTES;

    /// Appends a whole frame. Replicas beyond [`Self::REPLICAS_MAX`] are left out.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Status, |out| {
            out.extend_from_slice(&self.sequence.to_le_bytes());
            out.extend_from_slice(&self.revision.0.to_le_bytes());
            for r in self.replicas.iter().take(Self::REPLICAS_MAX) {
                let leader = r.leader.map_or(0, ReplicaId::get);
                let numbers = [r.shard.0, r.replica.0, r.term.0, leader, r.applied.0, r.committed.0, r.log_time.0];
                numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
                let flags = [r.readable, r.fresh, r.orphan, r.leases];
                let flags = (0..).zip(flags).map(|(bit, set)| u8::from(set) << bit).sum();
                out.extend_from_slice(&[r.role as u8, flags]);
            }
        });
    }

    /// Reads a status's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed("status");
        let (head, rest) = payload.split_first_chunk::<16>().ok_or(malformed)?;
        if rest.len() % REPLICA_STATUS_BYTES != 0 {
            return Err(malformed);
        }
        let replicas = rest.chunks_exact(REPLICA_STATUS_BYTES).map(|r| {
            Ok(ReplicaStatus {
                shard: ShardId(u64_at(r, 0)),
                replica: ReplicaId(u64_at(r, 8)),
                term: Term(u64_at(r, 16)),
                leader: Some(ReplicaId(u64_at(r, 24))).filter(|r| r.0 != 0),
                applied: LogIndex(u64_at(r, 32)),
                committed: LogIndex(u64_at(r, 40)),
                log_time: LogTime(u64_at(r, 48)),
                role: match r[56] {
                    0 => Role::Follower,
                    1 => Role::Leader,
                    2 => Role::Learner,
                    _ => return Err(malformed),
                },
                readable: r[57] & 1 != 0,
                fresh: r[57] & 2 != 0,
                orphan: r[57] & 4 != 0,
                leases: r[57] & 8 != 0,
            })
        });
        let replicas = replicas.collect::<Result<_, _>>()?;
        Ok(Self { sequence: u64_at(head, 0), revision: Revision(u64_at(head, 8)), replicas })
    }
}
#[cfg(test)]
mod tests {
    use super::super::HEADER_BYTES;
    use super::*;

    #[test]
    fn statuses_read_back_what_they_wrote() {
        let status = NodeStatus {
            sequence: 1,
            revision: Revision(2),
            replicas: vec![ReplicaStatus {
                shard: ShardId(1),
                replica: ReplicaId(2),
                role: Role::Learner,
                readable: false,
                fresh: true,
                orphan: true,
                leases: false,
                term: Term(3),
                leader: None,
                applied: LogIndex(4),
                committed: LogIndex(5),
                log_time: LogTime(6),
            }],
        };
        let mut out = Vec::new();
        status.put(&mut out);
        assert_eq!(NodeStatus::decode(&out[HEADER_BYTES..]), Ok(status));
    }
}
