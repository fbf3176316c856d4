//! From a line to a node: which replica a request is handed to, when it waits, when it is given up.

use std::time::Duration;

use super::Engine;
use super::answer::failure_text;
use super::coin::Coin;
use super::flight::{Flight, FlightKey, State};
use super::line::Line;
use crate::control::routing::{NodeIndex, RoutingTable, ShardIndex};
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::protocol::frame::{ReadLevel, Refusal, RefusalReason, RequestHead};
use crate::protocol::reply::ReplyWriter;
use crate::proxy::metrics::Outcome;
use crate::topology::{Epoch, LogTime};

/// How often overdue requests are looked for.
pub const DEADLINE_SCAN: Duration = Duration::from_millis(100);
/// A node answers by the deadline itself; past this much more the proxy answers in its place.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// The first pause after a refusal that a new target does not cure; doubled by each further one.
pub const REFUSAL_PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest pause between two tries.
const REFUSAL_PAUSE_MAX: Duration = Duration::from_millis(32);

impl Engine {
    /// Hands over what can be handed over of a client's line.
    pub(super) fn dispatch(&mut self, client_key: u32, at: usize) {
        let client = &self.clients[client_key as usize];
        if client.settled_at == self.routing.changes() && !client.lines[at].astray {
            return self.hand_over(client_key, at);
        }
        if let Some(at) = self.sort_out(client_key, at) {
            self.hand_over(client_key, at);
        }
    }

    fn hand_over(&mut self, client_key: u32, at: usize) {
        let client = &mut self.clients[client_key as usize];
        let line = &mut client.lines[at];
        while let Some(key) = line.waiting() {
            if line.closed {
                return;
            }
            let flight = &self.flights[key];
            if client.held > 0 && !flight.holds {
                return;
            }
            if flight.write && line.handed_strong > 0 {
                return;
            }
            let level = level_of(&self.routing, line, flight);
            let target = if line.not_before > self.now {
                None
            } else {
                target(&self.routing, line, flight, level, &mut self.coin)
            };
            let target =
                target.filter(|n| self.links[n.at()].outbox.waiting_bytes() < self.settings.limits.link_bytes_max);
            let Some(node) = target else {
                if line.handed == 0 && !line.listed {
                    line.listed = true;
                    self.listed.push((client_key, client.id, line.shard));
                }
                return;
            };
            if line.handed > 0 && node != line.node {
                return;
            }
            line.hand(&mut self.flights, key, node, level);
            self.flights[key].handed_at = self.routing.changes();
            client.waiting -= 1;
            self.waiting -= 1;
            self.waiting_bytes -= self.flights[key].cost_bytes;
            let log_time = self.routing.shard(line.shard).log_time;
            self.flights[key].name(self.settings.session, &mut self.names, log_time);
            let head = head(self.flights.id(key), client.id, &self.flights[key], line, &self.routing, self.now);
            let flight = &mut self.flights[key];
            flight.refused = None;
            let link = &mut self.links[node.at()];
            link.put_request(&head, &flight.bytes, flight.large.as_ref());
            flight.position = link.outbox.position();
            self.routing.node_mut(node).in_flight += u32::from(!flight.is_idle());
            if !link.dirty {
                link.dirty = true;
                self.dirty_nodes.push(node);
            }
        }
    }

    /// Looks at every line that waits for a node or a moment.
    pub(super) fn go_on_with_lines(&mut self) {
        for (client_key, id, shard) in std::mem::take(&mut self.listed) {
            let Some(client) = self.clients.get_mut(client_key as usize).filter(|c| c.id == id) else { continue };
            let at = client.line_at(shard);
            client.lines[at].listed = false;
            self.dispatch(client_key, at);
        }
    }

    /// A node did not execute a request.
    pub(super) fn take_refusal(&mut self, node: NodeIndex, refusal: Refusal) {
        let Some(key) = self.flights.find(refusal.id).filter(|k| self.is_handed_to(*k, node)) else { return };
        self.came_back(key);
        self.stats.retries(refusal.reason).add(1);
        let flight = &mut self.flights[key];
        flight.refused = Some(refusal.reason);
        let (client_key, shard, write) = (flight.client, flight.shard, flight.write);
        flight.maybe_taken |= write && refusal.reason == RefusalReason::Unknown;
        let mut goes_on = false;
        match refusal.reason {
            RefusalReason::NotOwner => {
                goes_on = self.learn_whereabouts(key, &refusal);
                // One that has not heard of it yet: the leader has.
                self.flights[key].leader_only |= !goes_on;
            }
            RefusalReason::NotLeader => self.routing.merge_hint(shard, node, refusal.leader),
            RefusalReason::Behind
            | RefusalReason::ExpiryUnsettled
            | RefusalReason::Loading
            | RefusalReason::NoReplica => {
                flight.leader_only = true;
            }
            _ => {}
        }
        let client = &mut self.clients[client_key as usize];
        let at = client.line_at(shard);
        let line = &mut client.lines[at];
        line.refuse(&mut self.flights, key);
        if refusal.reason != RefusalReason::Superseded && !goes_on {
            line.refusals += 1;
            let pause = pause_after(refusal.reason, line.refusals, write);
            line.not_before = line.not_before.max(self.now + pause);
        }
        let flight = &self.flights[key];
        let outcome = match refusal.reason {
            reason if flight.blocking.is_some() => self.take_refused_name(key, reason).then_some(Outcome::Unknown),
            RefusalReason::DeadlinePassed | RefusalReason::Forgotten if flight.maybe_taken => Some(Outcome::Unknown),
            RefusalReason::DeadlinePassed => Some(Outcome::TimedOut),
            // Another name will do, or none: that is seen when all that was handed over with it is back.
            _ => None,
        };
        if let Some(outcome) = outcome {
            self.give_up(key, outcome);
        }
        self.reopen_line(client_key, shard);
    }

    /// The connection to a node is gone: what it had waits again, in order. Writes are asked for again by name.
    pub(super) fn recall(&mut self, node: NodeIndex) {
        let sent = self.links[node.at()].outbox.sent_position();
        self.recall_those(|f| f.node == node, |f| f.position <= sent);
        self.routing.node_mut(node).in_flight = 0;
    }

    /// Recalls what only a leader can answer from nodes that lead no more. They may know nothing about it for long: a leader
    /// that is cut off from its shard is not cut off from us.
    pub(super) fn follow_leaders(&mut self) {
        for (at, shard) in self.routing.shards().iter().enumerate() {
            if self.leaders.len() <= at {
                self.leaders.push(None);
            }
            let leader = shard.leader.and_then(|leader| shard.replica(leader)).map(|replica| replica.node);
            let before = self.leaders[at];
            if leader.is_none() || before == leader {
                continue;
            }
            self.leaders[at] = leader;
            self.deposed.extend(before.map(|before| (ShardIndex(at as u32), before)));
        }
        while let Some((shard, node)) = self.deposed.pop() {
            // What has not left yet will leave.
            self.recall_those(|f| f.shard == shard && f.node == node && f.needs_leader(), |_| true);
        }
    }

    /// Takes back requests that were handed over, of which some may have been taken, and with them those behind them in their
    /// lines: answered before them, a later read would show its client less than an earlier one (R1).
    pub(super) fn recall_those(&mut self, which: impl Fn(&Flight) -> bool, taken: impl Fn(&Flight) -> bool) {
        let mut lines: Vec<(u32, ShardIndex)> = Vec::new();
        let mut recalled = Vec::new();
        for first in self.flights.select(|f| f.state == State::Handed && which(f)) {
            let mut next = Some(first);
            while let Some(key) = next.filter(|key| self.flights[*key].state != State::Waiting) {
                next = self.flights[key].next_in_line.some();
                recalled.push(key);
            }
        }
        for key in recalled {
            // Behind several of them, or back already.
            if self.flights[key].state != State::Handed {
                continue;
            }
            self.came_back(key);
            self.flights.change_id(key);
            let flight = &mut self.flights[key];
            let (client_key, shard) = (flight.client, flight.shard);
            flight.maybe_taken |= flight.write && taken(flight);
            let client = &mut self.clients[client_key as usize];
            let at = client.line_at(shard);
            client.lines[at].refuse(&mut self.flights, key);
            lines.push((client_key, shard));
        }
        lines.sort_unstable();
        lines.dedup();
        lines.into_iter().for_each(|(client_key, shard)| self.reopen_line(client_key, shard));
    }

    /// If every request of a closed line came back, what is left of it is handed over again.
    pub(super) fn reopen_line(&mut self, client_key: u32, shard: ShardIndex) {
        self.rename_forgotten(client_key, shard);
        // A client that was closed by one of its answers is gone.
        let Some(client) = self.clients.get_mut(client_key as usize) else { return };
        let at = client.line_at(shard);
        let line = &mut client.lines[at];
        if line.closed && line.handed == 0 {
            client.generation += 1;
            let mut bytes = 0;
            let mut next = line.first();
            while let Some(key) = next.filter(|k| self.flights[*k].state == State::Refused) {
                bytes += self.flights[key].cost_bytes;
                next = self.flights[key].next_in_line.some();
            }
            let refused = line.reopen(&mut self.flights, client.generation);
            client.waiting += refused as u32;
            self.waiting += refused;
            self.waiting_bytes += bytes;
        }
        self.dispatch(client_key, at);
    }

    /// What was never taken, and of whose name the shard is sure that it was long ago, gets another name. Not if a later write
    /// of the client may have been taken, which it would then follow (R1): that nothing was changed is all that can be said.
    fn rename_forgotten(&mut self, client_key: u32, shard: ShardIndex) {
        let Some(client) = self.clients.get_mut(client_key as usize) else { return };
        let at = client.line_at(shard);
        let line = &client.lines[at];
        if !line.closed || line.handed > 0 {
            return;
        }
        let (mut forgotten, mut given_up, mut next) = (Vec::new(), Vec::new(), line.first());
        while let Some(key) = next.filter(|key| self.flights[*key].state == State::Refused) {
            let flight = &self.flights[key];
            next = flight.next_in_line.some();
            if flight.maybe_taken && flight.write {
                given_up.append(&mut forgotten);
            } else if flight.refused == Some(RefusalReason::Forgotten) && flight.blocking.is_none() {
                forgotten.push(key);
            }
        }
        forgotten.into_iter().for_each(|key| self.give_back_name(key));
        let given_up: Vec<u64> = given_up.into_iter().map(|key| self.flights.id(key)).collect();
        for id in given_up {
            // One answer may close the client.
            if let Some(key) = self.flights.find(id) {
                self.give_up(key, Outcome::TimedOut);
            }
        }
    }

    /// Takes a request out of its line and answers it with an error.
    pub(super) fn give_up(&mut self, key: FlightKey, outcome: Outcome) {
        let flight = &self.flights[key];
        let text = failure_text(outcome, flight, self.routing.leader_node(flight.shard).is_some());
        self.leave_line(key);
        let mut reply = Vec::new();
        ReplyWriter::new(&mut reply, false).error(text);
        self.count_answer(key, outcome);
        self.give_back_name(key);
        self.finish(key, &reply, None);
    }

    /// Nobody asks for a write under its name again.
    pub(super) fn give_back_name(&mut self, key: FlightKey) {
        let flight = &mut self.flights[key];
        let names = flight.names();
        let Some(identity) = flight.identity.take_if(|_| names > 0) else { return };
        if !flight.recut {
            return self.names.give_back(identity.id.sequence, names);
        }
        for ordinal in flight.renumber() {
            self.names.give_back(identity.id.sequence + u64::from(ordinal), 1);
        }
    }

    /// Takes a request out of its line, whatever its state.
    pub(super) fn leave_line(&mut self, key: FlightKey) {
        let flight = &self.flights[key];
        let (client_key, shard, state, cost) = (flight.client, flight.shard, flight.state, flight.cost_bytes);
        let client = &mut self.clients[client_key as usize];
        if state == State::Waiting {
            client.waiting -= 1;
            self.waiting -= 1;
            self.waiting_bytes -= cost;
        }
        let at = client.line_at(shard);
        client.lines[at].remove(&mut self.flights, key);
    }

    /// Answers what is overdue.
    pub(super) fn expire_flights(&mut self) {
        let now = self.now;
        let overdue = self.flights.select(|f| match f.state {
            State::Waiting | State::Refused => now >= f.deadline,
            State::Handed => now >= f.deadline + ANSWER_GRACE,
            State::Free | State::Scattered | State::Ready => false,
        });
        let overdue: Vec<u64> = overdue.into_iter().map(|key| self.flights.id(key)).collect();
        for id in overdue {
            // The request that ends a wait goes with the wait, and both are overdue at once.
            let Some(key) = self.flights.find(id) else { continue };
            let flight = &self.flights[key];
            let (client_key, shard) = (flight.client, flight.shard);
            let handed = flight.state == State::Handed;
            // What was handed over and has not left yet will leave.
            let taken = handed || flight.maybe_taken || flight.blocking.is_some() && flight.hands > 0;
            let taken = taken && !planted::is(Bug::UnknownCalledNotSent);
            let outcome = if taken && flight.write { Outcome::Unknown } else { Outcome::TimedOut };
            if handed {
                self.came_back(key);
            }
            let gone = self.given_up_wait(key);
            self.give_up(key, outcome);
            self.reopen_line(client_key, shard);
            gone.into_iter().for_each(|gone| self.tell_gone(gone));
        }
    }

    pub(super) fn is_handed_to(&self, key: FlightKey, node: NodeIndex) -> bool {
        let flight = &self.flights[key];
        flight.state == State::Handed && flight.node == node
    }

    /// A handed request is at its node no more.
    pub(super) fn came_back(&mut self, key: FlightKey) {
        let flight = &self.flights[key];
        let node = self.routing.node_mut(flight.node);
        node.in_flight = node.in_flight.saturating_sub(u32::from(!flight.is_idle()));
    }
}

/// The node that the next request of a line goes to, if there is one now.
fn target(
    routing: &RoutingTable,
    line: &Line,
    flight: &Flight,
    level: ReadLevel,
    coin: &mut Coin,
) -> Option<NodeIndex> {
    if flight.write && routing.shard(line.shard).log_time == LogTime(0) {
        // Nobody could say when it was born, and the shard would take it for a very late one.
        return None;
    }
    if flight.write || line.handed_writes > 0 {
        return routing.leader_node(line.shard);
    }
    if flight.leader_only {
        let leader = routing.leader_node(line.shard);
        // Without a leader another one may be fresh again, or be read all the same.
        if leader.is_some() || level != ReadLevel::Any {
            return leader;
        }
    }
    if line.handed == 0 {
        return routing.reader(line.shard, level, line.floor, coin.toss());
    }
    // The node that has the line's requests answers them in order, so it never takes the client back in time.
    Some(line.node).filter(|n| routing.node(*n).up)
}

/// The level that a read needs. The floor says nothing of a slot that came to the shard later: the client may have seen it
/// elsewhere, under an ownership that this shard's slower replicas have not heard of.
fn level_of(routing: &RoutingTable, line: &Line, flight: &Flight) -> ReadLevel {
    let came_since = |slot| routing.changed_at(slot) > line.confirmed_at;
    let is_sure =
        line.confirmed_at >= routing.shard(line.shard).gained_at || !flight.many && !flight.slot.is_none_or(came_since);
    if flight.level == ReadLevel::Session && !is_sure { ReadLevel::Strong } else { flight.level }
}

fn head(id: u64, client: u64, flight: &Flight, line: &Line, routing: &RoutingTable, now: Moment) -> RequestHead {
    RequestHead {
        id,
        shard: routing.shard(line.shard).id,
        client,
        generation: line.generation,
        write: flight.write,
        resp3: flight.resp3,
        after_writes: flight.after_writes,
        transaction: flight.transaction,
        split: flight.split.is_some(),
        covers: flight.covers,
        retried: flight.maybe_taken,
        level: if flight.strong { ReadLevel::Strong } else { flight.level },
        slot: flight.slot,
        epoch: flight.slot.map_or(Epoch(0), |s| routing.epoch(s)),
        remaining_ms: u32::try_from(flight.deadline.since(now).as_millis()).unwrap_or(u32::MAX),
        floor: line.floor,
        identity: flight.identity,
        blocking: flight.blocking,
    }
}

/// How long to wait before the line goes on: not at all where another replica is asked.
fn pause_after(reason: RefusalReason, refusals: u32, write: bool) -> Duration {
    let cured_elsewhere = matches!(
        reason,
        RefusalReason::NotLeader | RefusalReason::Behind | RefusalReason::ExpiryUnsettled | RefusalReason::Dropped
    );
    if refusals == 1 && (cured_elsewhere || (!write && reason != RefusalReason::NotOwner)) {
        return Duration::ZERO;
    }
    REFUSAL_PAUSE_MIN.saturating_mul(1 << refusals.min(8)).min(REFUSAL_PAUSE_MAX)
}
