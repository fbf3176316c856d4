//! Changes of members, as the entries of the library that they travel in.

use bytes::Bytes;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use super::MemberChange;
use crate::topology::{ReplicaId, Revision};

/// One change is a simple step, two at once are a joint one, and none at all ends it.
pub(super) fn conf_change(change: MemberChange, revision: Revision) -> ConfChangeV2 {
    let single = |kind, id: ReplicaId| {
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = id.0;
        single
    };
    let singles = match change {
        MemberChange::AddLearner(id) => vec![single(ConfChangeType::AddLearnerNode, id)],
        // Who votes already stays as it is.
        MemberChange::AddVoter(id) | MemberChange::Confirm(id) => vec![single(ConfChangeType::AddNode, id)],
        MemberChange::Remove(id) => vec![single(ConfChangeType::RemoveNode, id)],
        MemberChange::Exchange { add, remove } => {
            vec![single(ConfChangeType::AddNode, add), single(ConfChangeType::RemoveNode, remove)]
        }
        MemberChange::LeaveJoint => Vec::new(),
    };
    let is_joint = singles.len() > 1;
    let mut conf = ConfChangeV2::default();
    conf.set_changes(singles.into());
    conf.context = context(revision);
    if is_joint {
        conf.set_transition(ConfChangeTransition::Explicit);
    }
    conf
}

/// What says by which revision of the catalog a change was made.
pub(super) fn context(revision: Revision) -> Bytes {
    Bytes::copy_from_slice(&revision.0.to_le_bytes())
}

/// What [`context`] says; zero where it says nothing.
pub(super) fn revision(context: &[u8]) -> Revision {
    Revision(context.try_into().map_or(0, u64::from_le_bytes))
}

/// A committed change of members was encoded by a leader of this group; an empty one is what Raft makes of a second
/// change while one is pending.
pub(super) fn parsed<T: protobuf::Message>(data: &[u8]) -> T {
    let mut change = T::new();
    change.merge_from_bytes(data).expect("a committed change of members is well-formed");
    change
}
