//! When a replica stands for election: when its time without a leader is over, or at once, or not at all.

use raft::StateRole;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Group;

/// A replica's elections in a row may be put off by so many ticks more with each.
const PUT_OFF_TICKS: u64 = 4;
/// But not by more than so many times that.
const PUT_OFF_GROWS_MAX: u64 = 4;

/// The elections that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Elections {
    /// How often the replica stood since a leader was known.
    count: u64,
    /// For how many ticks the next time is put off.
    put_off_ticks: u64,
}

impl Group {
    /// Lets one tick of time pass.
    pub fn tick(&mut self) {
        self.quiet_ticks = self.quiet_ticks.saturating_sub(1);
        self.ask_the_others();
        // Until a snapshot is on disk the library looks for the entries before it when it stands for election.
        if self.installing.is_some() {
            return;
        }
        if self.stands_back && self.waits_for_others() || self.puts_election_off() {
            return;
        }
        // A group of one leads without asking anybody, so nothing orders its election after its own pending writes.
        if self.unpersisted.is_empty() || !self.votes_alone() || self.raw.raft.state == StateRole::Leader {
            self.raw.tick();
        }
    }

    /// Whether the next tick makes it stand for election.
    fn would_stand(&self) -> bool {
        let raft = &self.raw.raft;
        raft.state != StateRole::Leader && raft.election_elapsed + 1 >= raft.randomized_election_timeout()
    }

    /// Whether this tick would make it stand for election, as which it does not count then. Replicas that started while the
    /// catalog had them in different orders may all have the same time, and stand, vote for themselves and stand again in step.
    fn puts_election_off(&mut self) -> bool {
        if self.raw.raft.leader_id != raft::INVALID_ID {
            self.elections = Elections::default();
        }
        if !self.would_stand() {
            return false;
        }
        let elections = &mut self.elections;
        if let Some(left) = elections.put_off_ticks.checked_sub(1) {
            elections.put_off_ticks = left;
            return true;
        }
        elections.count += 1;
        let draw = xxh3_64_with_seed(&self.raw.raft.id.to_le_bytes(), elections.count);
        elections.put_off_ticks = draw % (PUT_OFF_TICKS * elections.count.min(PUT_OFF_GROWS_MAX));
        false
    }

    /// Whether this tick would make it stand for election. It votes for others as before.
    fn waits_for_others(&mut self) -> bool {
        let would_stand = self.would_stand();
        let raft = &mut self.raw.raft;
        if would_stand {
            raft.election_elapsed = raft.election_elapsed.max(self.lease_ticks);
            // As if it stood: whom it followed is gone, and whoever counts how long there is no leader is to know.
            raft.leader_id = raft::INVALID_ID;
        }
        would_stand
    }

    /// From now on it does not stand for election, or does again. Others may be elected, and it goes on if it leads.
    pub const fn stand_back(&mut self, stands_back: bool) {
        self.stands_back = stands_back;
    }

    /// From now on it does not take the leadership that another gives away, or does again. The other notices by a time-out, in
    /// which nobody leads.
    pub const fn decline(&mut self, declines: bool) {
        self.declines = declines;
    }

    /// Makes the election time run out after `ticks` more, because the leader is known to be gone.
    pub fn hurry_election(&mut self, ticks: usize) {
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader || self.quiet_ticks > 0 || self.keeps_leases {
            return;
        }
        let due = raft.randomized_election_timeout().saturating_sub(ticks);
        raft.election_elapsed = raft.election_elapsed.max(due).max(self.lease_ticks);
    }

    /// Stands for election now, unless it does, or is not to. Who has no state yet would win against nobody.
    pub fn campaign(&mut self) {
        let stands = matches!(self.raw.raft.state, StateRole::Leader | StateRole::Candidate);
        if self.unpersisted.is_empty() && self.votes() && !self.stands_back && !stands {
            // Refused while a change of members is unapplied; the election time will bring the next try.
            let _ = self.raw.campaign();
        }
    }
}
