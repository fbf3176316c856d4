//! What a replica knows of its group from looking at it again and again: how much is written to it, and, as its leader, which
//! followers are in step, so that one of them could take over now.
//!
//! A follower is in step that has, at one look, what was committed at the look before, and was heard of. The library forgets at times
//! whom it heard of, to count again; so who was in step counts as that for [`IN_STEP`]. Writes are counted where they are applied, so
//! that a new leader knows the rate as well as the old one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::net::Moment;
use crate::topology::{LogIndex, ReplicaId, Term};

/// How long a follower counts as in step after it was seen to be.
const IN_STEP: Duration = Duration::from_millis(700);
/// The time over which writes are averaged.
const AVERAGED: Duration = Duration::from_secs(10);

/// What a replica remembers between two looks.
#[derive(Debug, Default)]
pub struct Pulse {
    looked: Option<Moment>,
    applied: LogIndex,
    writes_per_second: f64,
    /// The reign that followers were looked at in, and what was committed then.
    reign: Option<(Term, LogIndex)>,
    /// Whether it was looked at twice: only then does it mean something who is in step.
    knows: bool,
    in_step: BTreeMap<ReplicaId, Moment>,
}

/// A leader's view of its group.
#[derive(Clone, Copy, Debug)]
pub struct Reigning<'a> {
    /// Its term.
    pub term: Term,
    /// What is committed.
    pub committed: LogIndex,
    /// The followers: how far their logs match, and whether they were heard of.
    pub followers: &'a [(ReplicaId, LogIndex, bool)],
}

impl Pulse {
    /// One look.
    pub fn look(&mut self, now: Moment, applied: LogIndex, reigning: Option<Reigning<'_>>) {
        if let Some(before) = self.looked.replace(now) {
            let (passed, count) = (now.since(before).as_secs_f64(), applied.0.saturating_sub(self.applied.0) as f64);
            // A state that was sent from elsewhere is no burst of writes: what it jumps over is averaged like them, and forgotten.
            let part = (passed / AVERAGED.as_secs_f64()).min(1.0);
            if passed > 0.0 {
                self.writes_per_second += (count / passed - self.writes_per_second) * part;
            }
        }
        self.applied = applied;
        let Some(Reigning { term, committed, followers }) = reigning else {
            (self.reign, self.knows) = (None, false);
            return self.in_step.clear();
        };
        match self.reign.replace((term, committed)) {
            Some((before, has)) if before == term => {
                let in_step = followers.iter().filter(|(_, matched, is_heard)| *is_heard && *matched >= has);
                self.in_step.extend(in_step.map(|(id, ..)| (*id, now)));
                self.knows = true;
            }
            _ => {
                self.knows = false;
                self.in_step.clear();
            }
        }
        self.in_step.retain(|_, seen| now.since(*seen) <= IN_STEP);
    }

    /// The followers that have everything, or nearly.
    pub fn in_step(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.in_step.keys().copied()
    }

    /// Whether it leads for long enough to know that.
    pub const fn knows(&self) -> bool {
        self.knows
    }

    /// Entries applied per second, on average.
    pub const fn writes_per_second(&self) -> u64 {
        self.writes_per_second as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Term = Term(3);

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn look(pulse: &mut Pulse, ms: u64, term: Term, committed: u64, followers: &[(u64, u64, bool)]) -> Vec<u64> {
        let followers: Vec<_> =
            followers.iter().map(|(id, matched, heard)| (ReplicaId(*id), LogIndex(*matched), *heard)).collect();
        let reigning = Reigning { term, committed: LogIndex(committed), followers: &followers };
        pulse.look(at(ms), LogIndex(committed), Some(reigning));
        pulse.in_step().map(|id| id.0).collect()
    }

    #[test]
    fn who_had_it_at_the_look_before_is_in_step_for_a_while() {
        let mut pulse = Pulse::default();
        assert_eq!(
            look(&mut pulse, 0, TERM, 100, &[(1, 100, true), (2, 10, true)]),
            [] as [u64; 0],
            "one look says nothing"
        );
        assert!(!pulse.knows());
        assert_eq!(look(&mut pulse, 100, TERM, 200, &[(1, 150, true), (2, 60, true)]), [1]);
        assert!(pulse.knows());
        assert_eq!(look(&mut pulse, 200, TERM, 200, &[(1, 200, false), (2, 200, true)]), [1, 2]);
        assert_eq!(look(&mut pulse, 900, TERM, 300, &[(1, 300, false), (2, 210, true)]), [2], "silent for long");
        assert_eq!(
            look(&mut pulse, 1_000, Term(4), 300, &[(1, 300, true), (2, 300, true)]),
            [] as [u64; 0],
            "another reign"
        );
        pulse.look(at(1_100), LogIndex(300), None);
        assert!(pulse.in_step().count() == 0 && !pulse.knows());
    }

    #[test]
    fn writes_are_averaged() {
        let mut pulse = Pulse::default();
        (0..600_u64).for_each(|n| pulse.look(at(n * 100), LogIndex(n * 50), None));
        assert!((450..=500).contains(&pulse.writes_per_second()), "{}", pulse.writes_per_second());
        (600..1_200_u64).for_each(|n| pulse.look(at(n * 100), LogIndex(600 * 50), None));
        assert!(pulse.writes_per_second() < 10);
    }
}
