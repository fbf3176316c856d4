//! What proxies are told of a node's replicas, and how little of it is said again.
//!
//! Every proxy hears of every replica, so what is told ten times a second is told a hundred thousand times in a large cluster. The board
//! has a line for each replica as it was told last, under the version of the board with which that changed. A proxy's heartbeat says
//! which version it has, and is answered with what has changed since:
//!
//! - what decides where requests go (role, term, leader, whether and how the replica may be read): the whole line;
//! - how far the replica is (applied and committed index): these alone;
//! - a leader's clock, by which proxies date writes: with either of these, and otherwise once in [`LOG_TIME_STEP_MS`].
//!
//! Invariants: whoever has a version, and takes over what is told since that version, has every line as the board has it, but for a
//! leader's clock, which is less than [`LOG_TIME_STEP_MS`] behind; a version is never used for two states.
//!
//! Nothing that is promised hangs on any of this: replicas judge reads and writes by themselves when they execute them. An old line
//! costs a refusal. A birth that is too early makes a late copy of a write too old sooner, by no more than the clock was behind.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::net::Moment;
use crate::protocol::frame::{NodeStatus, Progress, ReplicaStatus, Role};
use crate::topology::{LogIndex, LogTime, Revision, ShardId};

/// How far a leader's clock may go before it is told though nothing else has changed.
pub const LOG_TIME_STEP_MS: u64 = 1_000;
/// How long the lines answer heartbeats before the replicas are looked at again: proxies by the hundred ask at the same time.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The lines.
#[derive(Debug, Default)]
pub struct Board {
    version: u64,
    /// How often the replicas were looked at.
    looks: u64,
    /// Who has an older one is told everything: a line has gone since.
    whole_since: u64,
    looked: Option<Moment>,
    lines: BTreeMap<ShardId, Line>,
}

#[derive(Debug)]
struct Line {
    told: ReplicaStatus,
    /// The version with which it changed where requests go.
    changed: u64,
    /// The one with which it was further than before.
    progressed: u64,
    /// The look at which it was there.
    seen: u64,
}

impl Board {
    /// Whether the replicas are to be looked at again.
    pub fn is_old(&self, now: Moment) -> bool {
        self.looked.is_none_or(|looked| now.since(looked) >= LOOK_AGAIN)
    }

    /// Takes over how all replicas are.
    pub fn look(&mut self, replicas: impl IntoIterator<Item = ReplicaStatus>, now: Moment) {
        self.looked = Some(now);
        self.looks += 1;
        let (next, mut is_new) = (self.version + 1, false);
        for status in replicas {
            let new = Line { told: status, changed: 0, progressed: 0, seen: 0 };
            let line = self.lines.entry(status.shard).or_insert(new);
            line.seen = self.looks;
            if line.changed == 0 || standing(&line.told) != standing(&status) {
                (line.changed, line.progressed, line.told) = (next, next, status);
            } else if is_further(&line.told, &status) {
                (line.progressed, line.told) = (next, status);
            } else {
                continue;
            }
            is_new = true;
        }
        let count = self.lines.len();
        self.lines.retain(|_, line| line.seen == self.looks);
        if self.lines.len() < count {
            // That one went is told by a list that it is not on.
            (self.whole_since, is_new) = (next, true);
        }
        if is_new {
            self.version = next;
        }
    }

    /// What has changed since a version; zero: everything.
    pub fn tell(&self, sequence: u64, revision: Revision, since: u64) -> NodeStatus {
        let base = if since > self.version || since < self.whole_since { 0 } else { since };
        let changed = self.lines.values().filter(|line| line.changed > base);
        let further = self.lines.values().filter(|line| line.changed <= base && line.progressed > base);
        NodeStatus {
            sequence,
            revision,
            base,
            version: self.version,
            replicas: changed.map(|line| line.told).collect(),
            progress: further.map(|line| Progress::of(&line.told)).collect(),
        }
    }
}

/// What of a replica decides where requests go.
const fn standing(status: &ReplicaStatus) -> ReplicaStatus {
    ReplicaStatus { applied: LogIndex(0), committed: LogIndex(0), log_time: LogTime(0), ..*status }
}

fn is_further(told: &ReplicaStatus, now: &ReplicaStatus) -> bool {
    let clock = || now.log_time < told.log_time || now.log_time.0 >= told.log_time.0 + LOG_TIME_STEP_MS;
    (told.applied, told.committed) != (now.applied, now.committed) || (now.role == Role::Leader && clock())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::control::told::Told;
    use crate::topology::{ReplicaId, Term};

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn replica(shard: u64) -> ReplicaStatus {
        ReplicaStatus {
            shard: ShardId(shard),
            replica: ReplicaId(shard),
            role: Role::Leader,
            readable: true,
            fresh: true,
            orphan: false,
            leases: false,
            term: Term(1),
            leader: Some(ReplicaId(shard)),
            applied: LogIndex(10),
            committed: LogIndex(10),
            log_time: LogTime(1_000),
        }
    }

    #[test]
    fn what_stands_still_is_told_once_and_what_goes_on_is_told_briefly() {
        let mut board = Board::default();
        let mut replicas = [replica(1), replica(2)];
        let sizes = |status: &NodeStatus| (status.replicas.len(), status.progress.len());
        board.look(replicas, at(0));
        let first = board.tell(1, Revision(1), 0);
        assert_eq!((first.base, sizes(&first)), (0, (2, 0)));
        board.look(replicas, at(20));
        assert_eq!(sizes(&board.tell(2, Revision(1), first.version)), (0, 0));
        replicas[0].applied = LogIndex(11);
        board.look(replicas, at(40));
        let second = board.tell(3, Revision(1), first.version);
        assert_eq!((second.base, sizes(&second), second.progress[0].shard), (first.version, (0, 1), ShardId(1)));
        replicas[1].fresh = false;
        board.look(replicas, at(60));
        assert_eq!(sizes(&board.tell(4, Revision(1), second.version)), (1, 0));
        assert_eq!(sizes(&board.tell(4, Revision(1), first.version)), (1, 1), "one that missed an answer");
        // Of a version that this board never had, and of one from before a replica went, everything is told.
        assert_eq!(sizes(&board.tell(4, Revision(1), 77)), (2, 0));
        let before = board.tell(4, Revision(1), 0).version;
        board.look([replicas[0]], at(80));
        let whole = board.tell(5, Revision(1), before);
        assert_eq!((whole.base, sizes(&whole)), (0, (1, 0)));
        assert_eq!(sizes(&board.tell(6, Revision(1), whole.version)), (0, 0));
    }

    #[test]
    fn a_leaders_clock_alone_is_told_in_steps_and_a_followers_not_at_all() {
        let mut board = Board::default();
        let (mut leader, mut follower) = (replica(1), replica(2));
        follower.role = Role::Follower;
        let mut told = (0, 0);
        let mut version = 0;
        for ms in (0..10_000).step_by(20) {
            leader.log_time = LogTime(5_000 + ms);
            follower.log_time = LogTime(5_000 + ms);
            board.look([leader, follower], at(ms));
            let status = board.tell(1, Revision(1), version);
            told = (told.0 + status.replicas.len(), told.1 + status.progress.len());
            version = status.version;
        }
        assert_eq!(told, (2, 9), "ten seconds");
        // A leader that has committed nothing for long says that it has no clock.
        leader.log_time = LogTime(0);
        board.look([leader, follower], at(10_000));
        assert_eq!(board.tell(1, Revision(1), version).progress.len(), 1);
    }

    #[test]
    fn replicas_are_looked_at_once_for_all_that_ask_together() {
        let mut board = Board::default();
        assert!(board.is_old(at(0)));
        board.look([replica(1)], at(0));
        assert!(!board.is_old(at(9)) && board.is_old(at(10)));
    }

    /// Random replicas, and a proxy that hears of them by pushes and answers that are on their way for random times.
    fn story(seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut board = Board::default();
        let mut replicas: BTreeMap<u64, ReplicaStatus> = (1..=6).map(|shard| (shard, replica(shard))).collect();
        let (mut told, mut sent, mut under_way) = (Told::default(), 0, VecDeque::new());
        for step in 0..400_u64 {
            let shard = 1 + random.random_range(0..6);
            match random.random_range(0..8) {
                0 => drop(replicas.remove(&shard)),
                1 => drop(replicas.entry(shard).or_insert(replica(shard))),
                kind => {
                    if let Some(status) = replicas.get_mut(&shard) {
                        match kind {
                            2 => status.term = status.term.next(),
                            3 => status.role = [Role::Leader, Role::Follower, Role::Learner][random.random_range(0..3)],
                            4 => status.fresh = !status.fresh,
                            5 => status.log_time.0 += random.random_range(0..2 * LOG_TIME_STEP_MS),
                            _ => status.applied.0 += 1,
                        }
                    }
                }
            }
            board.look(replicas.values().copied(), at(step * 20));
            match random.random_range(0..6) {
                // Pushed, as a change of leaders is.
                0 => under_way.push_back(board.tell(0, Revision(1), sent)),
                // A heartbeat says what the proxy has, though more is on its way to it.
                1 | 2 => under_way.push_back(board.tell(step, Revision(1), told.version())),
                // The connection breaks.
                3 if random.random_range(0..8) == 0 => {
                    (sent, told) = (0, Told::default());
                    under_way.clear();
                }
                _ => under_way.pop_front().iter().for_each(|status| assert!(told.take(status), "seed {seed}")),
            }
            sent = under_way.back().map_or(sent, |status| status.version);
        }
        under_way.iter().for_each(|status| assert!(told.take(status), "seed {seed}"));
        assert!(told.take(&board.tell(1, Revision(1), told.version())), "seed {seed}");
        let here: Vec<ReplicaStatus> = told.lines().copied().collect();
        assert_eq!(here.len(), replicas.len(), "seed {seed}");
        for (here, there) in here.iter().zip(replicas.values()) {
            assert_eq!(standing(here), standing(there), "seed {seed}");
            assert_eq!((here.applied, here.committed), (there.applied, there.committed), "seed {seed}");
            let behind = there.log_time.0.wrapping_sub(here.log_time.0);
            assert!(there.role != Role::Leader || behind < LOG_TIME_STEP_MS, "seed {seed}");
        }
    }

    #[test]
    fn a_proxy_knows_what_the_board_says_whatever_it_missed() {
        (0..300).for_each(story);
    }
}
