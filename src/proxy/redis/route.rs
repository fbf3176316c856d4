//! Where a request goes: onto the lane of its shard, to a replica, onto its client's own connection, or to wait.
//!
//! Invariant: requests of one client for the leader of one shard are put on its lanes in the order in which they came. What waits,
//! waits in one queue per shard, and nothing is put on a lane while that queue has something.

use std::borrow::Cow;

use super::link::{Due, Expected, Stage, Use};
use super::record::{Job, OWN, QUEUES, State};
use super::{Engine, NO_LINK};
use crate::control::routing::NodeIndex;
use crate::protocol::errors;
use crate::proxy::engine::{FlightKey, LinkError};
use crate::proxy::metrics::Outcome;

/// Idle connections of clients' own that a server keeps, by version of the protocol.
const IDLE_LINKS_MAX: usize = 16;

impl Engine {
    /// Sends a request on its way.
    #[inline]
    pub(super) fn dispatch(&mut self, key: FlightKey) {
        let record = &self.records[key];
        let shard = &self.shards[record.shard];
        if record.any && !shard.replicas.is_empty() {
            return self.dispatch_to_replica(key);
        }
        if record.own {
            return self.dispatch_own(key);
        }
        let lane = shard.lanes[usize::from(record.resp3)];
        if lane == NO_LINK || !shard.parked[record.queue()].is_empty() {
            return self.park(key);
        }
        if self.links[lane].outbox.waiting_bytes() > self.settings.limits.link_bytes_max {
            return self.park(key);
        }
        self.hand(lane, key);
    }

    /// Puts a request on a connection.
    #[inline]
    pub(super) fn hand(&mut self, lane: usize, key: FlightKey) {
        let record = &mut self.records[key];
        record.state = State::Handed;
        record.link = lane;
        let link = &mut self.links[lane];
        match &record.large {
            Some(large) => link.outbox.put_shared(large.clone()),
            None => link.outbox.put(&record.bytes),
        }
        let due = Due::Request(key, record.serial);
        link.due.push_back(Expected { due, replies: record.replies, end: link.outbox.position() });
        if !link.dirty {
            link.dirty = true;
            self.dirty_links.push(NodeIndex(lane as u32));
        }
    }

    pub(super) fn mark_link(&mut self, lane: usize) {
        let link = &mut self.links[lane];
        if !link.dirty {
            link.dirty = true;
            self.dirty_links.push(NodeIndex(lane as u32));
        }
    }

    fn dispatch_to_replica(&mut self, key: FlightKey) {
        let record = &self.records[key];
        let resp3 = record.resp3;
        let replicas = &self.shards[record.shard].replicas;
        let server = replicas[(self.coin.toss() % replicas.len() as u64) as usize];
        match self.lane_of(server, resp3) {
            Some(lane) => self.hand(lane, key),
            None => {
                self.want_lane(server, resp3);
                self.records[key].any = false;
                self.dispatch(key);
            }
        }
    }

    /// Has a connection opened for this version of the protocol, if there is none.
    fn want_lane(&mut self, server: usize, resp3: bool) {
        let it = &self.servers[server];
        if !self.may_open(server, resp3) {
            return;
        }
        if resp3 && !it.resp2_only && it.lanes[1] == NO_LINK && self.lane_of(server, false).is_some() {
            self.open_lane(server, true);
        }
    }

    /// Lets a request wait for its shard's leader.
    pub(super) fn park(&mut self, key: FlightKey) {
        let record = &mut self.records[key];
        record.state = State::Waiting;
        let (shard, resp3, client, cost) = (record.shard, record.resp3, record.client, record.body().len());
        self.shards[shard].parked[record.queue()].push(key);
        self.clients[client as usize].waiting += 1;
        self.waiting += 1;
        self.waiting_bytes += cost;
        if let Some(leader) = self.shards[shard].leader {
            // One that only lacks room goes on with a tick.
            self.want_lane(leader, resp3);
        }
    }

    /// A request waits no longer, and is in no queue any more.
    fn unpark(&mut self, key: FlightKey) {
        let record = &mut self.records[key];
        let (client, cost) = (record.client, record.body().len());
        let client = &mut self.clients[client as usize];
        client.waiting -= 1;
        client.refused -= u32::from(std::mem::take(&mut record.refused));
        self.waiting -= 1;
        self.waiting_bytes -= cost;
    }

    /// Takes a waiting request out of its queue.
    pub(super) fn withdraw(&mut self, key: FlightKey) {
        let record = &self.records[key];
        self.shards[record.shard].parked[record.queue()].retain(|other| *other != key);
        self.unpark(key);
    }

    /// What waited goes on, in the order in which it came.
    pub(super) fn release_parked(&mut self, shard: usize) {
        for queue in 0..QUEUES {
            let mut parked = std::mem::take(&mut self.shards[shard].parked[queue]);
            parked.sort_unstable_by_key(|key| self.records[*key].sequence);
            let mut parked = parked.into_iter();
            for key in parked.by_ref() {
                self.unpark(key);
                self.dispatch(key);
                // On connections of their own they do not wait for each other.
                if queue != OWN && !self.shards[shard].parked[queue].is_empty() {
                    break;
                }
            }
            // One that has to wait on stands before all others.
            self.shards[shard].parked[queue].extend(parked);
        }
    }

    /// What a connection that is gone had: reads are repeated, writes that a server may have are of unknown outcome.
    pub(super) fn settle_lost(&mut self, key: usize) {
        let link = &mut self.links[key];
        let (due, pending) = (std::mem::take(&mut link.due), std::mem::take(&mut link.pending));
        let (sent, usage, server) = (link.outbox.sent_position(), link.usage, link.server);
        link.outbox.clear();
        link.input = Vec::new();
        if let Use::Own(Some(client)) = usage {
            self.lose_own(client, key);
        }
        for expected in due {
            if let Due::Layout(number) = expected.due {
                self.forget_layout(number);
            }
            let Due::Request(request, serial) = expected.due else { continue };
            if !self.records.is(request, serial) {
                continue;
            }
            let record = &mut self.records[request];
            let may_be_done = record.write && expected.end <= sent;
            let guarded = record.own && !matches!(record.job, Job::Block);
            if may_be_done || guarded {
                self.give_up(request, if may_be_done { Outcome::Unknown } else { Outcome::TimedOut });
            } else {
                self.repeat(request, server);
            }
        }
        for request in pending {
            self.park(request);
        }
    }

    /// Sends a request on its way again that surely was not carried out, or is a read.
    pub(super) fn repeat(&mut self, key: FlightKey, server: usize) {
        self.stats.repeats.add(1);
        if self.records[key].any {
            self.mark_unfit(server);
            let shard = self.records[key].shard;
            self.shards[shard].replicas =
                self.shards[shard].replicas.iter().copied().filter(|it| *it != server).collect();
            return self.dispatch(key);
        }
        self.park(key);
        self.recheck = true;
    }

    /// A server refused a request, and may refuse what comes after it: it waits, before all that came later.
    pub(super) fn park_refused(&mut self, key: FlightKey) {
        let client = self.records[key].client;
        self.park(key);
        self.records[key].refused = true;
        self.clients[client as usize].refused += 1;
    }

    /// Whether this is a read that was answered before a write that its client sent ahead of it, and that was refused: it is
    /// read again behind that.
    pub(super) fn is_stale(&self, key: FlightKey) -> bool {
        let record = &self.records[key];
        let ahead = |other: &FlightKey| {
            let other = &self.records[*other];
            other.client == record.client && other.refused && other.sequence < record.sequence
        };
        !record.write && !record.any && !record.own && self.shards[record.shard].parked.iter().flatten().any(ahead)
    }

    /// A request of a client was carried out after another one of it had been refused. That one is not asked for again: it would be
    /// carried out after what came later.
    pub(super) fn forsake_refused(&mut self, client: u32, shard: usize, sequence: u64) {
        let parked = self.shards[shard].parked.iter().flatten().copied();
        let overtaken = parked.filter(|key| {
            let record = &self.records[*key];
            record.client == client && record.refused && record.sequence < sequence
        });
        for key in overtaken.collect::<Vec<_>>() {
            self.withdraw(key);
            self.give_up(key, Outcome::TimedOut);
        }
    }

    /// Ends a request without an answer. It is in no queue any more; what comes for it later is not its answer.
    pub(super) fn give_up(&mut self, key: FlightKey, outcome: Outcome) {
        let record = &self.records[key];
        let handed = record.state == State::Handed;
        let text = match outcome {
            Outcome::Unknown => errors::OUTCOME_UNKNOWN.into(),
            _ if handed && !record.write => errors::READ_TIMED_OUT.into(),
            _ => Cow::from(self.not_sent(key)),
        };
        self.count_answer(key, outcome);
        let reply = format!("-{text}\r\n");
        self.answer(key, reply.as_bytes(), None);
    }

    /// Gives up what waited for too long.
    pub(super) fn expire_requests(&mut self) {
        let deadline = self.settings.limits.request_deadline;
        let overdue = self.records.select(|record| {
            let waits = matches!(record.state, State::Waiting | State::Handed);
            let blocks = record.state == State::Handed && matches!(record.job, Job::Block);
            waits && !blocks && self.now.since(record.born) >= deadline
        });
        for (key, serial) in overdue {
            if !self.records.is(key, serial) {
                continue;
            }
            let record = &self.records[key];
            let (own, client) = (record.own, record.client);
            let outcome = match record.state {
                State::Handed if record.write => Outcome::Unknown,
                _ => Outcome::TimedOut,
            };
            if record.state == State::Waiting {
                self.withdraw_anywhere(key);
            }
            self.give_up(key, outcome);
            if own && let Some(link) = self.clients.get(client as usize).and_then(|client| client.own) {
                self.give_up_link(link, &LinkError::Silent);
            }
        }
    }

    /// Takes a request that waits out of whatever it waits in.
    pub(super) fn withdraw_anywhere(&mut self, key: FlightKey) {
        let record = &self.records[key];
        let own = self.clients[record.client as usize].own.filter(|_| record.own);
        match own.and_then(|own| self.links.get_mut(own)) {
            Some(link) if link.pending.contains(&key) => link.pending.retain(|other| *other != key),
            _ => self.withdraw(key),
        }
    }

    /// Puts a request on its client's own connection, which is opened if need be.
    fn dispatch_own(&mut self, key: FlightKey) {
        let record = &self.records[key];
        let (shard, client, resp3) = (record.shard, record.client, record.resp3);
        let Some(leader) = self.shards[shard].leader.filter(|leader| self.lane_of(*leader, false).is_some()) else {
            return self.park(key);
        };
        if matches!(record.job, Job::Exec(_)) {
            return self.dispatch_guarded(key, leader);
        }
        let own = self.clients[client as usize].own.filter(|own| {
            self.links.get(*own).is_some_and(|link| link.server == leader && link.stage != Stage::Closed)
        });
        let own = match own {
            Some(own) => own,
            None => {
                let resp3 = resp3 && !self.servers[leader].resp2_only;
                // What was watched on another connection is guarded no more.
                if let Some(other) = self.clients[client as usize].own {
                    self.give_up_link(other, &LinkError::Moved);
                }
                let idle = self.servers[leader].idle[usize::from(resp3)].pop();
                if idle.is_none() && !self.may_open(leader, resp3) {
                    return self.park(key);
                }
                let own = idle.unwrap_or_else(|| self.open_link(leader, Use::Own(Some(client)), resp3));
                self.links[own].usage = Use::Own(Some(client));
                self.clients[client as usize].own = Some(own);
                own
            }
        };
        if self.links[own].stage == Stage::Open {
            self.hand(own, key);
        } else {
            self.links[own].pending.push(key);
        }
    }

    /// A transaction goes where its keys are watched, if that is where its group is led, or nowhere.
    fn dispatch_guarded(&mut self, key: FlightKey, leader: usize) {
        let own = self.clients[self.records[key].client as usize].own;
        match own.and_then(|own| self.links.get(own)) {
            Some(link) if link.server == leader && link.stage == Stage::Open => self.hand(own.unwrap_or(NO_LINK), key),
            _ => {
                let error = format!("-{}\r\n", errors::EXEC_UNGUARDED);
                self.answer(key, error.as_bytes(), None);
                if let Some(own) = own {
                    self.give_up_link(own, &LinkError::Moved);
                }
            }
        }
    }

    /// A client needs its own connection no longer.
    pub(super) fn release_own(&mut self, client: u32) {
        let client = &mut self.clients[client as usize];
        let Some(own) = client.own.take() else { return };
        let watched = std::mem::take(&mut client.watching);
        let Some(link) = self.links.get_mut(own) else { return };
        let idle = &mut self.servers[link.server].idle[usize::from(link.resp3)];
        if link.is_usable() && link.due.is_empty() && idle.len() < IDLE_LINKS_MAX {
            link.usage = Use::Own(None);
            idle.push(own);
            if watched {
                link.put(b"*1\r\n$7\r\nUNWATCH\r\n", Due::Nothing, 1);
                self.mark_link(own);
            }
        } else {
            self.give_up_link(own, &LinkError::Moved);
        }
    }

    /// The connection of a client's own is gone: nobody guards what it watches.
    fn lose_own(&mut self, key: u32, link: usize) {
        let Some(client) = self.clients.get_mut(key as usize).filter(|client| client.own == Some(link)) else { return };
        client.own = None;
        if std::mem::take(&mut client.watching) {
            client.session.transaction_mut().watch_failed();
        }
    }

    /// A server leads no more: clients' own connections to it are of no use.
    pub(super) fn close_own_links(&mut self, server: Option<usize>) {
        let Some(server) = server else { return };
        let own = self.links.iter().filter(|(_, link)| link.server == server && matches!(link.usage, Use::Own(_)));
        for key in own.map(|(key, _)| key).collect::<Vec<_>>() {
            self.give_up_link(key, &LinkError::Moved);
        }
    }
}
