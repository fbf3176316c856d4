//! Answers to requests that were not executed.

use super::{FrameError, Kind, put_message, u64_at};
use crate::topology::{Epoch, ReplicaId, ShardId, Slot, Whereabouts};

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
    /// Where a slot of the request is by now, with [`RefusalReason::NotOwner`] if the shard knows.
    pub moved: Option<Whereabouts>,
}

const SHORT_BYTES: usize = 17;
const LONG_BYTES: usize = SHORT_BYTES + 18;

impl Refusal {
    /// Appends a whole frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Refusal, |out| {
            out.extend_from_slice(&self.id.to_le_bytes());
            out.extend_from_slice(&self.leader.map_or(0, ReplicaId::get).to_le_bytes());
            out.push(self.reason as u8);
            if let Some(Whereabouts { slot, owner, epoch }) = self.moved {
                out.extend_from_slice(&owner.0.to_le_bytes());
                out.extend_from_slice(&epoch.0.to_le_bytes());
                out.extend_from_slice(&slot.number().to_le_bytes());
            }
        });
    }

    /// Reads a refusal's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed("refusal");
        let moved = match payload.len() {
            SHORT_BYTES => None,
            LONG_BYTES => {
                let slot = Slot::new(u16::from_le_bytes([payload[33], payload[34]])).ok_or(malformed)?;
                Some(Whereabouts { slot, owner: ShardId(u64_at(payload, 17)), epoch: Epoch(u64_at(payload, 25)) })
            }
            _ => return Err(malformed),
        };
        let reason = RefusalReason::ALL.into_iter().find(|r| *r as u8 == payload[16]).ok_or(malformed)?;
        let leader = Some(ReplicaId(u64_at(payload, 8))).filter(|r| r.0 != 0);
        Ok(Self { id: u64_at(payload, 0), reason, leader, moved })
    }
}
#[cfg(test)]
mod tests {
    use super::super::HEADER_BYTES;
    use super::*;

    #[test]
    fn refusals_read_back_what_they_wrote() {
        let short = Refusal { id: 9, reason: RefusalReason::Unknown, leader: Some(ReplicaId(8)), moved: None };
        let moved = Whereabouts { slot: Slot::of_key(b"k"), owner: ShardId(3), epoch: Epoch(4) };
        let long = Refusal { reason: RefusalReason::NotOwner, moved: Some(moved), ..short };
        for refusal in [short, long] {
            let mut out = Vec::new();
            refusal.put(&mut out);
            assert_eq!(Refusal::decode(&out[HEADER_BYTES..]), Ok(refusal));
            assert!(Refusal::decode(&out[HEADER_BYTES..out.len() - 1]).is_err());
        }
    }
}
