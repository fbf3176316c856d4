//! Answers to requests that were not executed.

use super::{FrameError, Kind, put_message, u64_at};
use crate::topology::ReplicaId;

/// Why a replica did not answer a request. All but [`Unknown`](Self::Unknown) and
/// [`Forgotten`](Self::Forgotten) promise that nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusalReason {
    /// The request needs the leader, and this replica does not lead.
    NotLeader = 1,
    /// The shard does not own a slot of the request.
    NotOwner = 2,
    /// An earlier request of this (client, shard) generation was refused (R1).
    Superseded = 3,
    /// The replica is starting or installing a snapshot.
    Loading = 4,
    /// The replica has not applied the floor, or is not fresh enough for the level.
    Behind = 5,
    /// The answer depends on an expiry between log time and this follower's clock: only the leader can tell.
    ExpiryUnsettled = 6,
    /// The remaining time passed before the request was proposed or answered.
    DeadlinePassed = 7,
    /// The shard has as many unfinished writes as it may.
    Busy = 8,
    /// The write was overwritten by another leader's entry.
    Dropped = 9,
    /// The write may or may not take effect.
    Unknown = 10,
    /// This node has no replica of the shard.
    NoReplica = 11,
    /// The write is older than what the shard remembers: only its sender can tell whether it was answered.
    Forgotten = 12,
    /// The client was taken for gone while nobody held its request: it got nothing, and has to wait anew.
    Cancelled = 13,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::NotLeader,
        Self::NotOwner,
        Self::Superseded,
        Self::Loading,
        Self::Behind,
        Self::ExpiryUnsettled,
        Self::DeadlinePassed,
        Self::Busy,
        Self::Dropped,
        Self::Unknown,
        Self::NoReplica,
        Self::Forgotten,
        Self::Cancelled,
    ];

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::NotOwner => "not_owner",
            Self::Superseded => "superseded",
            Self::Loading => "loading",
            Self::Behind => "behind",
            Self::ExpiryUnsettled => "expiry_unsettled",
            Self::DeadlinePassed => "deadline_passed",
            Self::Busy => "busy",
            Self::Dropped => "dropped",
            Self::Unknown => "unknown",
            Self::NoReplica => "no_replica",
            Self::Forgotten => "forgotten",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The answer to a request that a replica did not execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The id of the request.
    pub id: u64,
    /// Why.
    pub reason: RefusalReason,
    /// The shard's leader as this replica knows it.
    pub leader: Option<ReplicaId>,
}

impl Refusal {
    /// Appends a whole frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Refusal, |out| {
            out.extend_from_slice(&self.id.to_le_bytes());
            out.extend_from_slice(&self.leader.map_or(0, ReplicaId::get).to_le_bytes());
            out.push(self.reason as u8);
        });
    }

    /// Reads a refusal's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed("refusal");
        let bytes: &[u8; 17] = payload.try_into().map_err(|_| malformed)?;
        let reason = RefusalReason::ALL.into_iter().find(|r| *r as u8 == bytes[16]).ok_or(malformed)?;
        Ok(Self { id: u64_at(bytes, 0), reason, leader: Some(ReplicaId(u64_at(bytes, 8))).filter(|r| r.0 != 0) })
    }
}
#[cfg(test)]
mod tests {
    use super::super::HEADER_BYTES;
    use super::*;

    #[test]
    fn refusals_read_back_what_they_wrote() {
        let refusal = Refusal { id: 9, reason: RefusalReason::Unknown, leader: Some(ReplicaId(8)) };
        let mut out = Vec::new();
        refusal.put(&mut out);
        assert_eq!(Refusal::decode(&out[HEADER_BYTES..]), Ok(refusal));
    }
}
