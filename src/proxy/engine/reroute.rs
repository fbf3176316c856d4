//! Requests follow their slots, in their order (DESIGN.md, P4, P5, R1).
//!
//! What has to hold: all unanswered requests of a client for one slot are in one line, whatever becomes of the slot. So a
//! request joins the line in which others for its slot are, though the slot has moved on (they are *strays*); and when a
//! line has strays, nothing more of it is handed over until every handed request is back, answered or refused. Then all
//! that is left and belongs elsewhere goes, in order, to the ends of the lines where it belongs.
//!
//! Waiting for those that are handed over closes these interleavings: of two writes to a slot that moves the first is still on
//! its way to the old owner and may be executed there, or be refused, when the second would be at the new one; a slot
//! goes and comes back, and the first is refused by an old leader whose successor has taken the second.
//!
//! None of this costs the requests of slots that stay anything but the comparison of two numbers: how many changes the
//! table has seen, and how many when the client's lines were last looked through.

use super::Engine;
use super::flight::{Flight, FlightKey, State};
use super::touched::slots_of;
use crate::control::routing::{Heard, NodeIndex, ShardIndex, Standing};
use crate::protocol::command::{Route, resolve};
use crate::protocol::errors;
use crate::protocol::frame::Refusal;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, parse_array};
use crate::proxy::metrics::Outcome;
use crate::topology::{Slot, Whereabouts};

/// Where a request belongs that waits.
enum Place {
    /// To this shard, as it is.
    Shard(ShardIndex),
    /// Its keys are of several shards by now, and it can be cut.
    Pieces,
    /// They are, and it cannot. Since it may have been executed before, the shard that has its record is asked for that.
    Record(ShardIndex),
    /// They are, and it cannot.
    Parted,
}

impl Engine {
    /// A refusal came that says where a slot is. Returns whether the request can be handed over elsewhere at once.
    pub(super) fn learn_whereabouts(&mut self, key: FlightKey, refusal: &Refusal) -> bool {
        let moved = refusal.moved;
        let learned = moved.is_some_and(|moved| self.merge_whereabouts(moved));
        let flight = &mut self.flights[key];
        let record = flight.slot;
        if flight.many && flight.split.is_none() && moved.is_none_or(|moved| Some(moved.slot) != record) {
            // The shard of its record has looked for that before it asked who has the other slots (R10). That it does not
            // know where a slot is says the same: it never had it, and it had that of the record, or would not have been asked.
            flight.maybe_taken = false;
        }
        let (shard, handed_at) = (flight.shard, flight.handed_at);
        let is_news = |slot: Slot| {
            self.routing.owner(slot).is_some_and(|owner| owner != shard) || self.routing.changed_at(slot) > handed_at
        };
        learned || record.is_some_and(is_news) || moved.is_some_and(|moved| is_news(moved.slot))
    }

    fn merge_whereabouts(&mut self, moved: Whereabouts) -> bool {
        let heard = self.routing.merge_whereabouts(moved);
        if heard == Heard::Known {
            return false;
        }
        self.stats.moves_learned.add(1);
        self.recheck = true;
        self.count_new_shards();
        if heard == Heard::Rumour {
            (0..self.links.len() as u32).for_each(|node| self.ask_at_once(NodeIndex(node)));
        }
        true
    }

    /// Whether one of these slots has requests of the client in a line that is not its owner's.
    pub(super) fn has_strays_of(&mut self, client_key: u32, mut slots: impl Iterator<Item = Slot>) -> bool {
        if !self.may_be_astray(client_key) {
            return false;
        }
        self.look_through(client_key);
        let strays = &self.clients[client_key as usize].strays;
        slots.any(|slot| strays.binary_search_by_key(&slot, |(slot, _)| *slot).is_ok())
    }

    /// Whether requests of a client may be in other lines than those of their owners.
    pub(super) fn may_be_astray(&self, client_key: u32) -> bool {
        let client = &self.clients[client_key as usize];
        client.settled_at != self.routing.changes() || !client.strays.is_empty()
    }

    /// The line that a request for one slot joins: that with the earlier ones, or its owner's.
    pub(super) fn line_of_slot(&mut self, client_key: u32, slot: Slot) -> Option<ShardIndex> {
        self.look_through(client_key);
        let strays = &self.clients[client_key as usize].strays;
        match strays.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) => Some(strays[at].1),
            Err(_) => self.routing.owner(slot),
        }
    }

    /// Finds the strays among a client's requests, if anything has changed since it was last done.
    fn look_through(&mut self, client_key: u32) {
        let changes = self.routing.changes();
        let client = &mut self.clients[client_key as usize];
        if client.settled_at == changes {
            return;
        }
        client.settled_at = changes;
        client.strays.clear();
        let (mut spans, mut slots) = (Vec::new(), Vec::new());
        for line in &mut client.lines {
            line.astray = false;
            let is_retired = self.routing.shard(line.shard).standing == Standing::Retired;
            let mut next = line.first();
            while let Some(flight) = next.map(|key| &self.flights[key]) {
                next = flight.next_in_line.some();
                slots_of(flight, &mut spans, &mut slots);
                line.astray |= is_retired && slots.is_empty();
                for slot in &slots {
                    let is_handed = flight.state == State::Handed;
                    line.astray |= is_handed && flight.handed_at < self.routing.changed_at(*slot);
                    if self.routing.owner(*slot) != Some(line.shard) {
                        line.astray = true;
                        client.strays.push((*slot, line.shard));
                    }
                }
            }
        }
        client.strays.sort_unstable();
        client.strays.dedup();
        if client.held > 0 {
            client.settled_at = u64::MAX;
        }
    }

    /// Brings the requests of a client's line where they belong, if they are not and none is handed over. Returns the line's
    /// place if something of it can be handed over now.
    pub(super) fn sort_out(&mut self, client_key: u32, at: usize) -> Option<usize> {
        self.look_through(client_key);
        let client = &mut self.clients[client_key as usize];
        if client.held > 0 {
            client.lines[at].bring_forward(&mut self.flights);
        }
        let (id, line) = (client.id, &client.lines[at]);
        if !line.astray {
            return Some(at);
        }
        if line.handed > 0 || line.closed {
            return None;
        }
        let shard = line.shard;
        for shard in self.sort_line(client_key, shard) {
            let client = self.clients.get_mut(client_key as usize).filter(|c| c.id == id)?;
            let at = client.line_at(shard);
            self.dispatch(client_key, at);
        }
        let client = self.clients.get_mut(client_key as usize).filter(|c| c.id == id)?;
        Some(client.line_at(shard))
    }

    /// Sorts a line of which nothing is handed over. Returns the lines that got something.
    fn sort_line(&mut self, client_key: u32, shard: ShardIndex) -> Vec<ShardIndex> {
        self.hold_if_unsure(client_key, shard);
        let client = &mut self.clients[client_key as usize];
        let is_held = client.held > 0;
        client.strays.retain(|(_, line)| *line != shard || is_held);
        let at = client.line_at(shard);
        let line = &mut client.lines[at];
        line.astray = false;
        let (mut next, mut lines, mut parted) = (line.first(), Vec::new(), Vec::new());
        while let Some(key) = next.filter(|key| !is_held || self.flights[*key].holds) {
            next = self.flights[key].next_in_line.some();
            match self.place_of(key) {
                Place::Shard(to) | Place::Record(to) => self.move_to(key, to, &mut lines),
                Place::Pieces => self.cut_again(key, &mut lines),
                Place::Parted => parted.push(self.flights.id(key)),
            }
        }
        for id in parted {
            // One answer may close the client.
            if let Some(key) = self.flights.find(id) {
                self.answer_parted(key);
            }
        }
        lines.sort_unstable();
        lines.dedup();
        lines.retain(|line| *line != shard);
        lines
    }

    /// If it has to be asked whether one of a line's requests was executed, they go one after the other from the first on, and
    /// nothing else of their client is handed over, moved or taken: what comes later may be about any of their slots, and
    /// those go different ways.
    fn hold_if_unsure(&mut self, client_key: u32, shard: ShardIndex) {
        let client = &mut self.clients[client_key as usize];
        let at = client.line_at(shard);
        let Some(first) = client.lines[at].first().filter(|_| client.held == 0) else { return };
        let (mut next, mut is_unsure) = (Some(first), false);
        while let Some(key) = next {
            next = self.flights[key].next_in_line.some();
            is_unsure |= self.flights[key].many && matches!(self.place_of(key), Place::Record(_));
        }
        if is_unsure {
            self.hold(first);
        }
    }

    /// All else of its client waits until this request is answered.
    pub(super) fn hold(&mut self, key: FlightKey) {
        self.flights[key].holds = true;
        let client = &mut self.clients[self.flights[key].client as usize];
        client.held += 1;
        client.settled_at = u64::MAX;
    }

    /// Such a request has its answer, or is many by now.
    pub(super) fn release(&mut self, key: FlightKey) {
        self.flights[key].holds = false;
        let client_key = self.flights[key].client;
        let client = &mut self.clients[client_key as usize];
        client.held -= 1;
        client.settled_at = u64::MAX;
        for line in client.lines.iter_mut().filter(|line| line.waiting().is_some() && !line.listed) {
            line.listed = true;
            self.listed.push((client_key, client.id, line.shard));
        }
        self.recheck = true;
    }

    fn place_of(&self, key: FlightKey) -> Place {
        let flight = &self.flights[key];
        let mut slots = Vec::new();
        slots_of(flight, &mut Vec::new(), &mut slots);
        let Some(record) = slots.first().copied() else { return Place::Shard(self.any_place(flight)) };
        let owner = |slot: Slot| self.routing.owner(slot).unwrap_or(flight.shard);
        let first = owner(record);
        if slots.iter().all(|slot| owner(*slot) == first) {
            Place::Shard(first)
        } else if is_cut(flight) {
            Place::Pieces
        } else if flight.write && flight.maybe_taken {
            Place::Record(first)
        } else {
            Place::Parted
        }
    }

    /// A request without slots stays where it is as long as there is anybody.
    fn any_place(&self, flight: &Flight) -> ShardIndex {
        let is_there = self.routing.shard(flight.shard).standing != Standing::Retired;
        if is_there { flight.shard } else { self.routing.owners().next().unwrap_or(flight.shard) }
    }

    /// Moves a waiting request to the end of another line.
    pub(super) fn move_to(&mut self, key: FlightKey, to: ShardIndex, lines: &mut Vec<ShardIndex>) {
        let flight = &mut self.flights[key];
        let (client_key, from) = (flight.client, flight.shard);
        if from == to {
            return;
        }
        (flight.shard, flight.leader_only) = (to, false);
        let client = &mut self.clients[client_key as usize];
        let at = client.line_at(from);
        client.lines[at].remove(&mut self.flights, key);
        let at = client.line_at(to);
        client.lines[at].put(&mut self.flights, key);
        lines.push(to);
        self.stats.reroutes.add(1);
    }

    /// Answers a request whose keys are of several shards by now.
    fn answer_parted(&mut self, key: FlightKey) {
        self.stats.cross_slot.add(1);
        // Should it wait at one of them, it would be served for nobody.
        let gone = self.given_up_wait(key);
        let flight = &self.flights[key];
        let is_transaction = flight.transaction;
        let stats = &self.shard_stats[flight.shard.at()];
        stats.latencies(flight.class, Outcome::Error).record(self.now.since(flight.born));
        self.leave_line(key);
        self.give_back_name(key);
        let mut reply = Vec::new();
        let mut writer = ReplyWriter::new(&mut reply, false);
        if is_transaction {
            writer.error(&errors::exec_abort(errors::CROSS_SLOT))
        } else {
            writer.error(errors::CROSS_SLOT)
        }
        self.finish(key, &reply, None);
        gone.into_iter().for_each(|gone| self.tell_gone(gone));
    }
}

/// Whether a request is one of those that are cut by the shards of their keys.
fn is_cut(flight: &Flight) -> bool {
    if flight.transaction || flight.split.is_some() {
        return flight.split.is_some();
    }
    let mut spans = Vec::new();
    let is_split = |args: Args<'_>| resolve(args).is_ok_and(|spec| matches!(spec.route, Route::Split(_)));
    parse_array(flight.body(), &mut spans).is_ok() && is_split(Args::new(flight.body(), &spans))
}
