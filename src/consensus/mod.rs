//! Our face of the Raft library (`raft` 0.7, TiKV's raft-rs): nothing outside this folder names it.
//!
//! A [`Group`] is one replica's membership in one Raft group: a pure state machine without clock, disk or sockets.
//! The caller feeds it ticks, messages, proposals and reads, and takes [`Effects`] out of it in this order:
//!
//! 1. [`Group::collect`] fills [`Effects`]: messages to send now, entries and state to write, committed entries to
//!    apply, answered reads.
//! 2. The caller writes entries and state to its log and syncs. Until then [`Group::collect`] may be called again; what
//!    it yields must be written after the earlier part.
//! 3. [`Group::persisted`] with the number of the newest part that is on disk. Only then may the messages of
//!    [`Held`] parts up to that number be sent: they acknowledge or vote.
//!
//! Invariants: a group starts from a snapshot at [`BIRTH_INDEX`] with its members (so that an empty newcomer is always
//! sent a snapshot, RAFT.md trap 6); only the leader proposes (trap 1); reads use `ReadOnlyOption::Safe` (trap 4) and a
//! context is never used twice (trap 3).
//!
//! Deliberately absent: clocks, and so leases themselves ([`Reign`] is what they rest on); any knowledge of what entries mean.

mod change;
mod codec;
mod group;
mod log_window;
mod membership;

pub use codec::{CodecError, decode_message, encode_message};
pub use group::{
    Committed, Effects, Group, GroupOptions, Held, ProposeError, ReadAnswer, Reign, RestoreError, Restored,
};
pub use log_window::LogEntry;
pub use membership::{Progress, Situation, Standstill, Step, left_to_do, next_step};

use raft::eraftpb::Snapshot;

use crate::topology::{LogIndex, ReplicaId, Revision, Term};

/// A message between replicas of a group; opaque but for [`snapshot_point`], encoded by [`encode_message`].
pub type Message = raft::eraftpb::Message;

/// The index of the snapshot that every group starts from.
pub const BIRTH_INDEX: LogIndex = LogIndex(5);
/// The term of that snapshot.
pub const BIRTH_TERM: Term = Term(5);

/// The members of a group at some index.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Members {
    /// Those who vote.
    pub voters: Vec<ReplicaId>,
    /// Those who receive the log and do not vote.
    pub learners: Vec<ReplicaId>,
    /// While a joint change is under way: the voters before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters_outgoing: Vec<ReplicaId>,
    /// While a joint change is under way: voters that will be learners after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners_next: Vec<ReplicaId>,
    /// Whether the joint change ends by itself.
    #[serde(default)]
    pub auto_leave: bool,
    /// The revision of the catalog by which they were last changed. Who knows an older one must change nothing: it may
    /// bring back a replica that the cluster has given up since.
    #[serde(default)]
    pub revision: Revision,
}

impl Members {
    /// A group of these voters.
    pub fn of_voters(voters: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether `replica` is a member of any kind.
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.all().any(|member| member == replica)
    }

    /// All who vote, each once; while a joint change is under way, those before and after it.
    pub fn all_voters(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let before = self.voters_outgoing.iter().filter(|id| !self.voters.contains(id));
        self.voters.iter().chain(before).copied()
    }

    /// All members; one may come twice while a joint change is under way.
    pub fn all(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next].into_iter().flatten().copied()
    }

    fn to_conf_state(&self) -> raft::eraftpb::ConfState {
        let ids = |replicas: &[ReplicaId]| replicas.iter().map(|r| r.0).collect::<Vec<_>>();
        let mut conf = raft::eraftpb::ConfState::default();
        conf.set_voters(ids(&self.voters));
        conf.set_learners(ids(&self.learners));
        conf.set_voters_outgoing(ids(&self.voters_outgoing));
        conf.set_learners_next(ids(&self.learners_next));
        conf.set_auto_leave(self.auto_leave);
        conf
    }

    /// In the order of ids, so that all replicas see the same order: the library's own is that of a hash set.
    fn of_conf_state(conf: &raft::eraftpb::ConfState, revision: Revision) -> Self {
        let ids = |numbers: &[u64]| {
            let mut ids: Vec<_> = numbers.iter().copied().map(ReplicaId).collect();
            ids.sort_unstable();
            ids
        };
        Self {
            voters: ids(conf.get_voters()),
            learners: ids(conf.get_learners()),
            voters_outgoing: ids(conf.get_voters_outgoing()),
            learners_next: ids(conf.get_learners_next()),
            auto_leave: conf.get_auto_leave(),
            revision,
        }
    }
}

/// Where a snapshot stands in the log, and who the members are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SnapshotPoint {
    /// The index that the snapshot includes.
    pub index: LogIndex,
    /// The term of that index.
    pub term: Term,
    /// The members there.
    pub members: Members,
}

impl SnapshotPoint {
    /// The point that a new group of these voters starts from.
    pub fn birth(voters: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self { index: BIRTH_INDEX, term: BIRTH_TERM, members: Members::of_voters(voters) }
    }

    /// Of the library's metadata; what it knows nothing of is in the data.
    fn of_snapshot(snapshot: &Snapshot) -> Self {
        let meta = snapshot.get_metadata();
        let members = Members::of_conf_state(meta.get_conf_state(), change::revision(snapshot.get_data()));
        Self { index: LogIndex(meta.index), term: Term(meta.term), members }
    }

    fn to_snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.set_data(change::context(self.members.revision));
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (self.index.0, self.term.0);
        *meta.mut_conf_state() = self.members.to_conf_state();
        snapshot
    }
}

/// What a replica must never forget: its term, its vote, and a lower bound of the committed index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The highest term seen.
    pub term: Term,
    /// Whom it voted for in that term; zero: nobody.
    pub vote: ReplicaId,
    /// The highest index known to be committed.
    pub commit: LogIndex,
}

impl HardState {
    /// The length of the encoded form.
    pub const BYTES: usize = 24;

    /// The form that goes into the log.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.term.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.vote.0.to_le_bytes());
        out[16..].copy_from_slice(&self.commit.0.to_le_bytes());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Some(Self { term: Term(number(0)), vote: ReplicaId(number(8)), commit: LogIndex(number(16)) })
    }
}

/// A step towards other members. One at a time; the next only when this one is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A newcomer that receives the log.
    AddLearner(ReplicaId),
    /// A learner that has caught up, or a newcomer, votes.
    AddVoter(ReplicaId),
    /// A member leaves.
    Remove(ReplicaId),
    /// A learner that has caught up votes in the place of a voter: by joint consensus, which is then left by
    /// [`MemberChange::LeaveJoint`].
    Exchange {
        /// The learner.
        add: ReplicaId,
        /// The voter.
        remove: ReplicaId,
    },
    /// Ends a joint change: the voters before it count no more.
    LeaveJoint,
    /// All stay, this voter too: only the revision that they are known to go by is another.
    Confirm(ReplicaId),
}

impl std::fmt::Display for MemberChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddLearner(id) => write!(f, "replica {id} joins as a learner"),
            Self::AddVoter(id) => write!(f, "replica {id} votes"),
            Self::Remove(id) => write!(f, "replica {id} leaves"),
            Self::Exchange { add, remove } => write!(f, "replica {add} votes in the place of {remove}"),
            Self::LeaveJoint => write!(f, "the joint change ends"),
            Self::Confirm(_) => write!(f, "all stay who are there"),
        }
    }
}

/// Whether a message carries a snapshot point, so that the caller must send the state along.
pub fn snapshot_point(message: &Message) -> Option<SnapshotPoint> {
    (message.get_msg_type() == raft::eraftpb::MessageType::MsgSnapshot)
        .then(|| SnapshotPoint::of_snapshot(message.get_snapshot()))
}

/// The message of a leader that sends a state along.
#[cfg(test)]
pub fn snapshot_message(from: ReplicaId, to: ReplicaId, point: &SnapshotPoint) -> Message {
    let mut message = Message { from: from.0, to: to.0, term: point.term.0, ..Message::default() };
    message.set_msg_type(raft::eraftpb::MessageType::MsgSnapshot);
    message.set_snapshot(point.to_snapshot());
    message
}
