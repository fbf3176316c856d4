//! From the members that a group has to the members that it should have: which step is next.
//!
//! [`next_step`] is pure, and the same for data shards and for the catalog's own group, for a replica that replaces one
//! whose disk is lost and for one more or one less. It is asked again after each step, by whoever leads by then, so
//! nothing of a half-done change is remembered anywhere but in the group itself.
//!
//! Invariants:
//! - A newcomer votes only when it has nearly everything that is committed: it learns first (RELIABILITY.md, B9).
//! - A voter that is to go leaves in the same joint change in which its successor comes, so that the number of voters never
//!   falls below what it was; without a successor it leaves only when all others vote.
//! - No step is taken after which those who were just heard of would be no majority of the voters.
//! - The leader gives its leadership away before it leaves.

use super::{MemberChange, Members};
use crate::topology::{LogIndex, ReplicaId};

/// A learner that lacks no more entries than this may vote: it has them before a quorum could miss it.
const VOTER_LAG_ENTRIES_MAX: u64 = 256;

/// What the leader knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The member.
    pub id: ReplicaId,
    /// How far its log is known to match the leader's.
    pub matched: LogIndex,
    /// Whether it was heard of lately.
    pub active: bool,
}

/// What a leader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Propose this change.
    Change(MemberChange),
    /// Give the leadership to this voter, who goes on.
    Transfer(ReplicaId),
}

/// The situation of a leader.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The leader.
    pub me: ReplicaId,
    /// Who the members are at the applied index, where no change is under way.
    pub members: &'a Members,
    /// What is known of them.
    pub progress: &'a [Progress],
    /// The highest index that is committed.
    pub committed: LogIndex,
}

/// The next safe step towards voters that are exactly `wanted`; none: they are, or nothing is safe now.
pub fn next_step(now: &Situation<'_>, wanted: &[ReplicaId]) -> Option<Step> {
    if wanted.is_empty() {
        return None;
    }
    let members = now.members;
    if !members.voters.contains(&now.me) {
        // Somebody else began a change that takes this leader out, and it was committed under this one.
        return now.successor(&members.voters).map(Step::Transfer);
    }
    if !members.voters_outgoing.is_empty() {
        return Some(Step::Change(MemberChange::LeaveJoint));
    }
    // Somebody who should have become a voter and is wanted no more.
    if let Some(stale) = members.learners.iter().find(|id| !wanted.contains(id)) {
        return Some(Step::Change(MemberChange::Remove(*stale)));
    }
    if let Some(missing) = wanted.iter().find(|id| !members.contains(**id)) {
        return Some(Step::Change(MemberChange::AddLearner(*missing)));
    }
    let mut learners = wanted.iter().filter(|id| members.learners.contains(id));
    let surplus = now.first_to_go(wanted);
    match learners.clone().find(|id| now.may_vote(**id)) {
        Some(add) => now.promote(*add, surplus),
        None if learners.next().is_some() => None,
        None => now.dismiss(surplus?, wanted),
    }
}

/// What stands between a group and the voters that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// The change is done, but after a restart of all those who were members before might still be needed.
    Untold,
    /// A joint change is under way.
    Joint,
    /// The replica is to be added.
    Comes(ReplicaId),
    /// A learner is not heard of.
    Silent(ReplicaId),
    /// A learner has nothing yet: it is sent the state.
    Empty(ReplicaId),
    /// A learner has this much of what is committed.
    Learns {
        /// The learner.
        replica: ReplicaId,
        /// What it has.
        matched: LogIndex,
        /// What is committed.
        committed: LogIndex,
    },
    /// A voter or learner is to go.
    Leaves(ReplicaId),
    /// A voter that is to stay is not heard of; without it there would be no majority after the next step.
    Missed(ReplicaId),
}

/// Everything that is left to do until the voters are exactly `wanted`, for people; nothing: they are.
pub fn left_to_do(now: &Situation<'_>, wanted: &[ReplicaId]) -> Vec<Standstill> {
    let (members, mut left) = (now.members, Vec::new());
    if !members.voters_outgoing.is_empty() {
        left.push(Standstill::Joint);
    }
    for id in wanted.iter().filter(|id| !members.voters.contains(id)) {
        let progress = now.progress.iter().find(|p| p.id == *id).filter(|_| members.learners.contains(id));
        left.push(match progress {
            None => Standstill::Comes(*id),
            Some(p) if !p.active => Standstill::Silent(*id),
            Some(p) if p.matched == LogIndex(0) => Standstill::Empty(*id),
            Some(p) => Standstill::Learns { replica: *id, matched: p.matched, committed: now.committed },
        });
    }
    let surplus = members.voters.iter().chain(&members.learners).filter(|id| !wanted.contains(id));
    left.extend(surplus.map(|id| Standstill::Leaves(*id)));
    if !left.is_empty() && next_step(now, wanted).is_none() {
        let missed = members.voters.iter().filter(|id| wanted.contains(id) && !now.is_active(**id));
        left.extend(missed.map(|id| Standstill::Missed(*id)));
    }
    left
}

impl Situation<'_> {
    /// A learner that has caught up votes, in the place of a voter that is to go, if there is one.
    fn promote(&self, add: ReplicaId, surplus: Option<ReplicaId>) -> Option<Step> {
        let mut voters = self.members.voters.clone();
        voters.push(add);
        let change = match surplus {
            Some(remove) if remove != self.me => {
                voters.retain(|id| *id != remove);
                MemberChange::Exchange { add, remove }
            }
            // Who leads can only be replaced when somebody else leads; with one more voter, somebody can.
            _ => MemberChange::AddVoter(add),
        };
        self.is_majority_active(&voters).then_some(Step::Change(change))
    }

    fn dismiss(&self, surplus: ReplicaId, wanted: &[ReplicaId]) -> Option<Step> {
        if surplus == self.me {
            return self.successor(wanted).map(Step::Transfer);
        }
        let left: Vec<_> = self.members.voters.iter().copied().filter(|id| *id != surplus).collect();
        self.is_majority_active(&left).then_some(Step::Change(MemberChange::Remove(surplus)))
    }

    /// The voter that is wanted no more and is missed least: one that is silent, and the leader last.
    fn first_to_go(&self, wanted: &[ReplicaId]) -> Option<ReplicaId> {
        let surplus = self.members.voters.iter().filter(|id| !wanted.contains(id));
        surplus.copied().min_by_key(|id| (*id == self.me, self.is_active(*id), *id))
    }

    /// Who of these should lead next: a voter that lives and has most.
    pub(super) fn successor(&self, among: &[ReplicaId]) -> Option<ReplicaId> {
        let able =
            |p: &&Progress| p.active && p.id != self.me && among.contains(&p.id) && self.members.voters.contains(&p.id);
        self.progress.iter().filter(able).max_by_key(|p| (p.matched, std::cmp::Reverse(p.id))).map(|p| p.id)
    }

    fn may_vote(&self, learner: ReplicaId) -> bool {
        let caught_up = |p: &Progress| p.active && p.matched.0 + VOTER_LAG_ENTRIES_MAX >= self.committed.0;
        // Nothing matched: it has no state yet, however short the log is.
        self.progress.iter().any(|p| p.id == learner && p.matched > LogIndex(0) && caught_up(p))
    }

    fn is_active(&self, id: ReplicaId) -> bool {
        id == self.me || self.progress.iter().any(|p| p.id == id && p.active)
    }

    fn is_majority_active(&self, voters: &[ReplicaId]) -> bool {
        voters.iter().filter(|id| self.is_active(**id)).count() * 2 > voters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: u64 = 1000;

    fn ids(numbers: &[u64]) -> Vec<ReplicaId> {
        numbers.iter().copied().map(ReplicaId).collect()
    }

    /// A group that carries out what it is told at once: replicas that live have everything, others nothing.
    struct World {
        me: u64,
        members: Members,
        dead: Vec<ReplicaId>,
        empty: Vec<ReplicaId>,
    }

    impl World {
        fn new(voters: &[u64], dead: &[u64]) -> Self {
            Self { me: voters[0], members: Members::of_voters(ids(voters)), dead: ids(dead), empty: Vec::new() }
        }

        fn step(&self, wanted: &[u64]) -> Option<Step> {
            let progress: Vec<_> = self.members.all().map(|id| self.progress(id)).collect();
            let (me, committed) = (ReplicaId(self.me), LogIndex(COMMITTED));
            next_step(&Situation { me, members: &self.members, progress: &progress, committed }, &ids(wanted))
        }

        fn progress(&self, id: ReplicaId) -> Progress {
            let active = !self.dead.contains(&id);
            let matched = if active && !self.empty.contains(&id) { COMMITTED } else { 0 };
            Progress { id, matched: LogIndex(matched), active }
        }

        fn take(&mut self, step: Step) {
            let members = &mut self.members;
            match step {
                Step::Transfer(to) => self.me = to.0,
                Step::Change(MemberChange::AddLearner(id)) => members.learners.push(id),
                Step::Change(MemberChange::AddVoter(id)) => {
                    members.learners.retain(|l| *l != id);
                    members.voters.push(id);
                }
                Step::Change(MemberChange::Remove(id)) => {
                    members.learners.retain(|l| *l != id);
                    members.voters.retain(|v| *v != id);
                }
                Step::Change(MemberChange::Exchange { add, remove }) => {
                    assert!(members.learners.contains(&add) && members.voters.contains(&remove));
                    members.voters_outgoing = members.voters.clone();
                    members.learners.retain(|l| *l != add);
                    members.voters.retain(|v| *v != remove);
                    members.voters.push(add);
                }
                Step::Change(MemberChange::LeaveJoint) => members.voters_outgoing.clear(),
                Step::Change(MemberChange::Confirm(_)) => {}
            }
        }

        /// Takes steps until none is left; what they were, in short.
        fn story(&mut self, wanted: &[u64]) -> String {
            let mut told = Vec::new();
            while let Some(step) = self.step(wanted) {
                assert!(told.len() < 100, "no end: {told:?}");
                let before = self.members.voters.len();
                told.push(match step {
                    Step::Transfer(to) => format!("lead {to}"),
                    Step::Change(MemberChange::AddLearner(id)) => format!("learn {id}"),
                    Step::Change(MemberChange::AddVoter(id)) => format!("vote {id}"),
                    Step::Change(MemberChange::Remove(id)) => format!("remove {id}"),
                    Step::Change(MemberChange::Exchange { add, remove }) => format!("{add} for {remove}"),
                    Step::Change(MemberChange::LeaveJoint) => "leave".to_owned(),
                    Step::Change(MemberChange::Confirm(id)) => unreachable!("{id} stays: no step"),
                });
                self.take(step);
                assert!(self.members.voters.len() + 1 >= before);
                let alive = self.members.voters.iter().filter(|id| !self.dead.contains(id)).count();
                assert!(alive * 2 > self.members.voters.len(), "no majority after {told:?}");
                assert!(self.members.voters.contains(&ReplicaId(self.me)), "the leader left: {told:?}");
            }
            told.join(", ")
        }
    }

    #[test]
    fn a_replica_that_replaces_a_lost_one_learns_and_takes_its_place() {
        let mut world = World::new(&[1, 2, 3], &[3]);
        assert_eq!(world.story(&[1, 2, 9]), "learn 9, 9 for 3, leave");
        assert_eq!(world.members, Members::of_voters(ids(&[1, 2, 9])));
        assert_eq!(world.story(&[1, 2, 9]), "");
    }

    #[test]
    fn nobody_votes_who_is_silent_or_has_nothing() {
        let mut world = World::new(&[1, 2, 3], &[3, 9]);
        assert_eq!(world.story(&[1, 2, 9]), "learn 9", "silent");
        (world.dead, world.empty) = (ids(&[3]), ids(&[9]));
        assert_eq!(world.story(&[1, 2, 9]), "", "without the state");
        world.empty.clear();
        assert_eq!(world.story(&[1, 2, 9]), "9 for 3, leave");
        // A log shorter than the lag that is let pass.
        let members = Members { learners: ids(&[9]), ..Members::of_voters(ids(&[1])) };
        let progress = [Progress { id: ReplicaId(9), matched: LogIndex(0), active: true }];
        let now = Situation { me: ReplicaId(1), members: &members, progress: &progress, committed: LogIndex(7) };
        assert_eq!(next_step(&now, &ids(&[1, 9])), None);
    }

    #[test]
    fn a_disk_that_is_lost_twice_leaves_no_learner_behind() {
        let mut world = World::new(&[1, 2, 3], &[3, 9]);
        world.story(&[1, 2, 9]);
        assert_eq!(world.story(&[1, 2, 10]), "remove 9, learn 10, 10 for 3, leave");
    }

    #[test]
    fn a_group_grows_one_by_one_and_shrinks_one_by_one() {
        let mut world = World::new(&[1], &[]);
        assert_eq!(world.story(&[1, 2, 3]), "learn 2, learn 3, vote 2, vote 3");
        assert_eq!(world.story(&[1, 2, 3, 4, 5]), "learn 4, learn 5, vote 4, vote 5");
        assert_eq!(world.story(&[2, 4, 5]), "remove 3, lead 2, remove 1");
    }

    #[test]
    fn a_group_moves_to_other_nodes_without_ever_being_smaller() {
        let mut world = World::new(&[1, 2, 3], &[]);
        assert_eq!(
            world.story(&[4, 5, 6]),
            "learn 4, learn 5, learn 6, 4 for 2, leave, 5 for 3, leave, vote 6, lead 4, remove 1"
        );
        let mut alone = World::new(&[1], &[]);
        assert_eq!(alone.story(&[7]), "learn 7, vote 7, lead 7, remove 1");
    }

    #[test]
    fn what_would_leave_no_majority_is_not_done() {
        // Of three, one is dead; to remove one that lives would leave one of two.
        let world = World::new(&[1, 2, 3], &[3]);
        assert_eq!(world.step(&[1, 3]), None);
        assert_eq!(world.step(&[1, 2]), Some(Step::Change(MemberChange::Remove(ReplicaId(3)))));
        assert_eq!(world.step(&[]), None, "nothing is known of what is wanted");
        // Two died, and nobody could say so: such a leader would not lead for long, and changes nothing meanwhile.
        let world = World::new(&[1, 2, 3], &[2, 3]);
        assert_eq!(world.step(&[1, 2]), None);
    }

    #[test]
    fn a_leader_that_somebody_else_took_out_gives_way_whatever_is_wanted_by_now() {
        let mut world = World::new(&[1, 2, 3], &[]);
        world.me = 4;
        assert_eq!(world.step(&[1, 2, 3, 4]), Some(Step::Transfer(ReplicaId(1))));
    }

    #[test]
    fn a_joint_change_that_somebody_else_began_is_ended_by_one_who_stays() {
        let mut world = World::new(&[1, 2, 3], &[]);
        world.members.voters_outgoing = ids(&[1, 2, 4]);
        assert_eq!(world.step(&[7, 8]), Some(Step::Change(MemberChange::LeaveJoint)), "before anything else");
        world.me = 4;
        assert_eq!(world.step(&[1, 2, 3]), Some(Step::Transfer(ReplicaId(1))));
        world.dead = ids(&[1, 2, 3]);
        assert_eq!(world.step(&[1, 2, 3]), None);
    }
}
