//! A leader's lease: for how long a leader may answer `strong` reads without asking whether it still leads.
//!
//! Whoever confirmed a leader's question heard it after the question left, and votes for nobody else for an election time.
//! Any majority that elects another has one of these in it; so until then there is no other leader. Why nothing shortens
//! that time, where all nodes of a shard keep leases:
//! - The lease counts from the moment before the question left, and is 0.7 of the shortest election time: clocks that run
//!   at rates up to a quarter apart are allowed for, clocks that stop (a suspended machine) are not.
//! - A leadership that is given away, a change of members and a change of the term end the [`Reign`], and with it the lease.
//! - A voter that restarts votes for nobody for an election time, and so does a node that kept leases until its last start.
//! - No follower stands early because its leader's node refuses connections.
//! - A follower that hears its leader takes no higher term from late answers to votes and the like
//!   (`Group::step`), which would free it to vote.
//!
//! A pause of the process only makes the lease run out; all the same it ends where the node's turns had a gap, or where the
//! wall clock says that more time went by.

use std::time::Duration;

use super::reads::Confirmed;
use crate::consensus::Reign;
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::topology::LogTime;

/// Between two ticks of the node; more is a gap.
const TICKS_APART_MAX: Duration = Duration::from_millis(100);
/// How far the two clocks may drift apart in that time: more is a machine that was asleep, or a wall clock that was set.
const WALL_DRIFT_MAX: Duration = Duration::from_millis(100);

/// A replica's lease; it has one while it leads and was heard.
#[derive(Debug)]
pub struct Lease {
    span: Duration,
    allowed: bool,
    given: Option<(Reign, Moment)>,
    ticked: Option<(Moment, LogTime)>,
    /// Questions from before do not count.
    not_before: Moment,
}

impl Lease {
    /// `election`: the shortest time for which whoever hears a leader votes for nobody else.
    pub fn new(election: Duration) -> Self {
        let (span, not_before) = (election * 7 / 10, Moment::default());
        Self { span, allowed: false, given: None, ticked: None, not_before }
    }

    /// A tick of the node. `allowed`: all voters' nodes keep leases.
    pub fn tick(&mut self, allowed: bool, now: Moment, wall: LogTime) {
        let steady = self.ticked.is_some_and(|(then, wall_then)| {
            let (monotonic, walls) = (now.since(then), Duration::from_millis(wall.0.abs_diff(wall_then.0)));
            now >= then
                && wall >= wall_then
                && monotonic <= TICKS_APART_MAX
                && walls.abs_diff(monotonic) <= WALL_DRIFT_MAX
        });
        if !steady || !allowed {
            self.given = None;
            self.not_before = now;
        }
        self.allowed = allowed;
        self.ticked = Some((now, wall));
    }

    /// Whether a lease would be given and kept, so that it is worth while to read here.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// A question was answered.
    pub fn confirmed(&mut self, confirmed: Confirmed) {
        if let Some(reign) = confirmed.reign.filter(|_| self.allowed && confirmed.asked >= self.not_before) {
            self.given = Some((reign, confirmed.asked));
        }
    }

    /// Whether nobody else can have been elected by `now`. `reign`: what the replica leads as.
    pub fn holds(&self, reign: Option<Reign>, now: Moment) -> bool {
        let runs = self.ticked.is_some_and(|(then, _)| now >= then && now.since(then) <= TICKS_APART_MAX);
        let is_held =
            |(given, asked): (Reign, Moment)| Some(given) == reign && now >= asked && now.since(asked) < self.span;
        self.allowed && runs && self.given.is_some_and(is_held)
            || self.given.is_some() && planted::is(Bug::LeaseForEver)
    }

    /// Whether it is time to ask again, lest it run out.
    pub fn is_half_spent(&self, now: Moment) -> bool {
        self.given.is_none_or(|(_, asked)| now.since(asked) > self.span / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{LogIndex, Term};

    const REIGN: Reign = Reign { term: Term(7), members_at: LogIndex(3) };

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    /// A lease of 70 ms from a question asked at 1000, on a node that ticks every 25 ms.
    fn held() -> Lease {
        let mut lease = Lease::new(Duration::from_millis(100));
        for ms in [950, 975, 1000] {
            lease.tick(true, at(ms), LogTime(5000 + ms));
        }
        lease.confirmed(Confirmed { asked: at(1000), reign: Some(REIGN) });
        lease
    }

    #[test]
    fn it_lasts_for_seven_tenths_of_an_election_from_the_question() {
        let lease = held();
        assert!(lease.holds(Some(REIGN), at(1000)) && lease.holds(Some(REIGN), at(1069)));
        assert!(!lease.holds(Some(REIGN), at(1070)));
        assert!(!lease.holds(Some(REIGN), at(999)), "a clock that went back says nothing");
        assert!(!lease.is_half_spent(at(1035)) && lease.is_half_spent(at(1036)));
    }

    #[test]
    fn another_reign_ends_it() {
        let others = [None, Some(Reign { term: Term(8), ..REIGN }), Some(Reign { members_at: LogIndex(4), ..REIGN })];
        let lease = held();
        assert!(others.into_iter().all(|other| !lease.holds(other, at(1001))));
        let mut lease = Lease::new(Duration::from_millis(100));
        lease.tick(true, at(1000), LogTime(0));
        lease.confirmed(Confirmed { asked: at(1000), reign: None });
        assert!(!lease.holds(Some(REIGN), at(1001)), "it asked as a follower, or while it gave its leadership away");
    }

    #[test]
    fn a_gap_between_ticks_ends_it_and_the_questions_before_it() {
        let mut lease = held();
        lease.span = Duration::from_secs(10);
        assert!(!lease.holds(Some(REIGN), at(1101)), "the gap is seen before the next tick, too");
        lease.tick(true, at(1101), LogTime(6101));
        lease.confirmed(Confirmed { asked: at(1100), reign: Some(REIGN) });
        assert!(!lease.holds(Some(REIGN), at(1101)));
        lease.confirmed(Confirmed { asked: at(1101), reign: Some(REIGN) });
        assert!(lease.holds(Some(REIGN), at(1102)));
    }

    #[test]
    fn a_wall_clock_that_jumped_ends_it() {
        for wall in [6025 + 101, 5999] {
            let mut lease = held();
            lease.tick(true, at(1025), LogTime(wall));
            assert!(!lease.holds(Some(REIGN), at(1026)), "{wall}");
        }
        let mut lease = held();
        lease.tick(true, at(1025), LogTime(6030));
        assert!(lease.holds(Some(REIGN), at(1026)));
    }

    #[test]
    fn one_voter_that_does_not_keep_leases_is_enough_to_have_none() {
        let mut lease = held();
        lease.tick(false, at(1010), LogTime(6010));
        assert!(!lease.holds(Some(REIGN), at(1011)));
        lease.tick(true, at(1020), LogTime(6020));
        assert!(!lease.holds(Some(REIGN), at(1021)), "nor does what was given before come back");
    }
}
