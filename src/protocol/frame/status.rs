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
    /// What of this node's statuses it has: the version of the last one; zero: nothing.
    pub known: u64,
}

impl Heartbeat {
    /// Appends a whole frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Heartbeat, |out| {
            out.extend_from_slice(&self.sequence.to_le_bytes());
            out.extend_from_slice(&self.revision.0.to_le_bytes());
            out.extend_from_slice(&self.known.to_le_bytes());
        });
    }

    /// Reads a heartbeat's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; 24] = payload.try_into().map_err(|_| FrameError::Malformed("heartbeat"))?;
        Ok(Self { sequence: u64_at(bytes, 0), revision: Revision(u64_at(bytes, 8)), known: u64_at(bytes, 16) })
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

/// How far one replica is, of which all else is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The shard.
    pub shard: ShardId,
    /// The highest index that the replica has applied.
    pub applied: LogIndex,
    /// The highest index that it knows to be committed.
    pub committed: LogIndex,
    /// Its log time.
    pub log_time: LogTime,
}

impl Progress {
    /// That of this replica.
    pub const fn of(status: &ReplicaStatus) -> Self {
        let ReplicaStatus { shard, applied, committed, log_time, .. } = *status;
        Self { shard, applied, committed, log_time }
    }
}

/// Sequence, revision, base, version, and how many whole lines there are.
const HEAD_BYTES: usize = 4 * 8 + 4;
const REPLICA_STATUS_BYTES: usize = 7 * 8 + 2;
const PROGRESS_BYTES: usize = 4 * 8;

/// The replicas of a node, or what has changed about them since an earlier status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// The sequence of the heartbeat that this answers; zero: pushed after a change.
    pub sequence: u64,
    /// The revision of the catalog that the node has.
    pub revision: Revision,
    /// What this builds on: whoever has that version or a later one has this version afterwards. Zero: on nothing, it names all replicas.
    pub base: u64,
    /// The version of what the node told.
    pub version: u64,
    /// The replicas that have changed, by shard.
    pub replicas: Vec<ReplicaStatus>,
    /// Those of which only that has changed how far they are.
    pub progress: Vec<Progress>,
}

impl NodeStatus {
    /// The most replicas that fit a status, which is never cut.
    pub const REPLICAS_MAX: usize = (PIECE_BYTES_MAX - HEAD_BYTES) / REPLICA_STATUS_BYTES;

    /// Appends a whole frame. Replicas beyond [`Self::REPLICAS_MAX`] are left out.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Status, |out| {
            let count = self.replicas.len().min(Self::REPLICAS_MAX);
            let head = [self.sequence, self.revision.0, self.base, self.version];
            head.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
            out.extend_from_slice(&(count as u32).to_le_bytes());
            for r in &self.replicas[..count] {
                let leader = r.leader.map_or(0, ReplicaId::get);
                let numbers = [r.shard.0, r.replica.0, r.term.0, leader, r.applied.0, r.committed.0, r.log_time.0];
                numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
                let flags = [r.readable, r.fresh, r.orphan, r.leases];
                let flags = (0..).zip(flags).map(|(bit, set)| u8::from(set) << bit).sum();
                out.extend_from_slice(&[r.role as u8, flags]);
            }
            for p in self.progress.iter().take(Self::REPLICAS_MAX - count) {
                let numbers = [p.shard.0, p.applied.0, p.committed.0, p.log_time.0];
                numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
            }
        });
    }

    /// Reads a status's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed("status");
        let (head, rest) = payload.split_first_chunk::<HEAD_BYTES>().ok_or(malformed)?;
        let count = u32::from_le_bytes([head[32], head[33], head[34], head[35]]) as usize;
        let (whole, progress) = rest.split_at_checked(count * REPLICA_STATUS_BYTES).ok_or(malformed)?;
        if progress.len() % PROGRESS_BYTES != 0 {
            return Err(malformed);
        }
        let replicas = whole.chunks_exact(REPLICA_STATUS_BYTES).map(|r| {
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
        let progress = progress.chunks_exact(PROGRESS_BYTES).map(|p| Progress {
            shard: ShardId(u64_at(p, 0)),
            applied: LogIndex(u64_at(p, 8)),
            committed: LogIndex(u64_at(p, 16)),
            log_time: LogTime(u64_at(p, 24)),
        });
        Ok(Self {
            sequence: u64_at(head, 0),
            revision: Revision(u64_at(head, 8)),
            base: u64_at(head, 16),
            version: u64_at(head, 24),
            replicas: replicas.collect::<Result<_, _>>()?,
            progress: progress.collect(),
        })
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
            base: 7,
            version: 8,
            progress: vec![Progress {
                shard: ShardId(9),
                applied: LogIndex(10),
                committed: LogIndex(11),
                log_time: LogTime(12),
            }],
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
        for cut in HEADER_BYTES..out.len() {
            // Without the lines of progress it is a whole status, too.
            let is_whole = cut == out.len() - PROGRESS_BYTES;
            assert_eq!(NodeStatus::decode(&out[HEADER_BYTES..cut]).is_ok(), is_whole, "cut at {cut}");
        }
        let heartbeat = Heartbeat { sequence: 1, revision: Revision(2), known: 3 };
        out.clear();
        heartbeat.put(&mut out);
        assert_eq!(Heartbeat::decode(&out[HEADER_BYTES..]), Ok(heartbeat));
    }
}
