//! The requests of blocked clients that a leader holds: whom to answer once the state says what became of them.
//!
//! Who waits is in the state, on every replica; this is only the way back. When leadership goes, all are refused and their
//! proxies ask the next leader under the same names. A client whose request nobody holds for a while is taken for gone,
//! and the leader logs the end of its wait: no element is popped for nobody for long.
//!
//! Invariant: every name here waits in the state. One that has no ticket, or whose ticket nobody awaits, has a moment from
//! which on it counts as gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answers::Ticket;
use super::machine::Outcome;
use super::replica::{Replica, Turn};
use crate::keyspace::{Answer, Entry, Keyspace, Served};
use crate::net::Moment;
use crate::protocol::frame::{RefusalReason, RequestHead};
use crate::protocol::identity::{CancelHow, Identity};
use crate::topology::{LogIndex, LogTime, WriteId};

/// How long a blocked client may be without a connection before it is taken for gone.
const LOST_MAX: Duration = Duration::from_secs(1);
/// How long after an election its proxy may take to find the new leader.
const ELECTION_GRACE: Duration = Duration::from_secs(10);
/// How many waits are ended in one go.
const GONE_MAX: usize = 1024;

/// Who holds the requests of blocked clients.
#[derive(Debug, Default)]
pub struct Blocked {
    requests: BTreeMap<WriteId, Request>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    ticket: Option<Ticket>,
    gone_at: Option<Moment>,
}

impl Blocked {
    /// How many requests are known of.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// A request waits. Returns the ticket that it had before: it was sent again.
    pub fn hold(&mut self, id: WriteId, ticket: Ticket) -> Option<Ticket> {
        let held = Request { ticket: Some(ticket), gone_at: None };
        self.requests.insert(id, held).and_then(|before| before.ticket)
    }

    /// A request waits that nobody here may have asked for.
    pub fn without_ticket(&mut self, id: WriteId, now: Moment) {
        self.requests.entry(id).or_insert(Request { ticket: None, gone_at: Some(now + ELECTION_GRACE) });
    }

    /// The request has its answer.
    pub fn end(&mut self, id: WriteId) -> Option<Ticket> {
        self.requests.remove(&id)?.ticket
    }

    /// This replica leads from now on: all who wait have to be asked for again.
    pub fn lead(&mut self, waiters: impl Iterator<Item = WriteId>, now: Moment) {
        waiters.for_each(|id| self.without_ticket(id, now));
    }

    /// This replica does not lead any more.
    pub fn release(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.requests).into_values().filter_map(|request| request.ticket).collect()
    }

    /// Those who are taken for gone now. They stay until the end of their wait is logged.
    pub fn gone(&mut self, now: Moment, is_awaited: impl Fn(Ticket) -> bool) -> Vec<WriteId> {
        let mut gone = Vec::new();
        for (id, request) in &mut self.requests {
            match (request.ticket.is_some_and(&is_awaited), request.gone_at) {
                (true, _) => request.gone_at = None,
                (false, None) => request.gone_at = Some(now + LOST_MAX),
                (false, Some(at)) if at <= now && gone.len() < GONE_MAX => {
                    gone.push(*id);
                    // Should that be lost, it is said again.
                    request.gone_at = Some(now + LOST_MAX);
                }
                (false, Some(_)) => {}
            }
        }
        gone
    }
}

impl Replica {
    /// Requests of blocked clients that are held here.
    pub fn blocked(&self) -> usize {
        self.blocked.len()
    }

    /// Whether a request has a name that the state knows: it is asked for again, and gets what it got or waits on.
    pub(super) fn was_taken(&self, head: &RequestHead) -> bool {
        let keyspace = self.machine.keyspace();
        head.identity.is_some_and(|identity| keyspace.is_some_and(|keyspace| keyspace.knows_write(identity.id)))
    }

    /// Whether a write is of so long ago that it would not be executed at `time`.
    pub(super) fn is_forgotten(&self, head: &RequestHead, time: LogTime) -> bool {
        let keyspace = self.machine.keyspace();
        head.identity.is_some_and(|identity| keyspace.is_some_and(|keyspace| keyspace.would_refuse(identity, time)))
    }

    /// Answers the blocked clients that the last entry served or let go.
    pub(super) fn answer_blocked(&mut self, index: LogIndex, outcome: Outcome, turn: &mut Turn<'_>) {
        if let Outcome::Waits(id) = outcome
            && self.leading.is_some()
        {
            self.blocked.without_ticket(id, turn.now);
        }
        for Served { id, answer } in self.machine.take_served() {
            match (self.blocked.end(id), answer) {
                (Some(ticket), Answer::Reply(reply)) => {
                    self.counts.writes += 1;
                    turn.answers.reply(ticket, index, &reply);
                }
                (Some(ticket), Answer::Gone) => self.refuse(ticket, RefusalReason::Cancelled, turn),
                (None, _) => {}
            }
        }
    }

    /// Answers the blocked clients that the last entry let go: they ask whoever serves their slots, under the same names.
    pub(super) fn answer_parted(&mut self, turn: &mut Turn<'_>) {
        for (id, slot) in self.machine.take_parted() {
            if let Some(ticket) = self.blocked.end(id) {
                self.redirect(ticket, self.whereabouts(slot), turn);
            }
        }
    }

    /// A client's request waits from now on.
    pub(super) fn hold_blocked(&mut self, id: WriteId, ticket: Ticket, turn: &mut Turn<'_>) {
        if self.leading.is_none() {
            // The next leader knows who waits; the proxy asks it.
            return self.refuse(ticket, RefusalReason::NotLeader, turn);
        }
        if let Some(before) = self.blocked.hold(id, ticket) {
            self.refuse(before, RefusalReason::Superseded, turn);
        }
    }

    /// This replica leads from now on: who waits has to be asked for again.
    pub(super) fn await_blocked(&mut self, now: Moment) {
        let waiters = self.machine.keyspace().into_iter().flat_map(Keyspace::waiters).map(|(id, _)| id);
        self.blocked.lead(waiters, now);
    }

    /// Refuses what is held for blocked clients: another leader knows of them.
    pub fn release_blocked(&mut self, turn: &mut Turn<'_>) {
        for ticket in self.blocked.release() {
            self.refuse(ticket, RefusalReason::NotLeader, turn);
        }
    }

    /// As leader: ends the waits of clients that are gone.
    pub fn cancel_gone(&mut self, turn: &Turn<'_>) {
        let (Some(leading), Some(keyspace)) = (self.leading, self.machine.keyspace()) else { return };
        if self.is_full() {
            return;
        }
        let time = leading.at(turn.now, turn.wall, keyspace.log_time());
        let born = keyspace.log_time();
        let gone = self.blocked.gone(turn.now, |ticket| turn.answers.is_awaited(ticket, turn.now));
        let slots: Vec<_> = gone.into_iter().filter_map(|id| Some((id, keyspace.waiter_slot(id)?))).collect();
        for (id, slot) in slots {
            let identity = Identity { id, low: 0, born };
            self.propose_own(&Entry::Cancel { time, how: CancelHow::Gone, resp3: false, slot, identity }, turn.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{SessionId, ShardId};

    fn ticket(id: u64) -> Ticket {
        Ticket { connection: 0, connection_generation: 0, id, client: 0, generation: 0, shard: ShardId(1) }
    }

    fn name(sequence: u64) -> WriteId {
        WriteId { session: SessionId(1), sequence }
    }

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn a_client_that_comes_back_in_time_is_not_gone() {
        let mut blocked = Blocked::default();
        for id in 1..=4 {
            assert_eq!(blocked.hold(name(id), ticket(id)), None);
        }
        let lost = |ticket: Ticket| ticket.id >= 3;
        assert_eq!(blocked.gone(at(100), lost), []);
        assert_eq!(blocked.gone(at(1099), lost), []);
        assert_eq!(blocked.hold(name(2), ticket(20)), Some(ticket(2)), "sent again over another connection");
        assert_eq!(blocked.gone(at(1100), lost), [name(1)]);
        assert_eq!(blocked.gone(at(1101), lost), [], "said once");
        assert_eq!(blocked.gone(at(2100), lost), [name(1)], "and again while nothing came of it");
        assert_eq!(blocked.gone(at(2101), |_| true), [], "it was only silent");
        assert_eq!(blocked.gone(at(9999), |_| true), []);
        assert_eq!((blocked.end(name(1)), blocked.end(name(1))), (Some(ticket(1)), None));
        assert_eq!(blocked.len(), 3);
    }

    #[test]
    fn after_an_election_everybody_has_more_time() {
        let mut blocked = Blocked::default();
        blocked.hold(name(1), ticket(1));
        assert_eq!(blocked.release(), [ticket(1)]);
        blocked.lead([name(1), name(2)].into_iter(), at(1000));
        blocked.hold(name(2), ticket(2));
        blocked.without_ticket(name(2), at(2000));
        assert_eq!(blocked.gone(at(10_999), |_| true), []);
        assert_eq!(blocked.gone(at(11_000), |_| true), [name(1)]);
    }
}
