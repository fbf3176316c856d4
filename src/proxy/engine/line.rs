//! The requests of one client to one shard, in order (R1).
//!
//! A line is a list of unanswered requests: first those that one node has (handed over or refused by it), then those
//! that wait. Three rules keep a client's order without knowing what its commands mean:
//! - while a node has requests of a line, later ones go to the same node or wait;
//! - a refusal closes the line: nothing more is handed over until every handed request came back, answered or refused;
//!   then what is left is handed over again in order, under the next generation;
//! - a read behind unanswered writes goes to the leader and says so, and so do the reads behind it; reads behind an
//!   unanswered `strong` one are as strong, and writes wait for it: it has no place in the log that would order them.
//!
//! The last rule holds for a `strong` read at a follower as it does at the leader. It never misses its client's own writes:
//! unanswered ones keep it at the leader, answered ones are committed before its index is asked for. It never sees a
//! later write of its client: that one is not sent before the read is answered. And of several `strong` reads at one
//! follower none shows less than the one before: a later question has no earlier index, and the refusal of one takes
//! along those behind it.
//!
//! The floor outlives the requests: it is what the client has seen of the shard. Of a slot that came to the shard later it
//! says nothing: the slot may have come, gone and come again, and the client have seen it elsewhere in between. So the
//! first read of a slot after the news that it is here is `strong`, at level `session` too, and raises the floor past
//! whatever was known to anybody when it was sent.

use super::flight::{Flight, FlightKey, Flights, State};
use crate::control::routing::{NodeIndex, ShardIndex};
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::protocol::frame::ReadLevel;
use crate::topology::LogIndex;

/// The requests of one client to one shard.
#[derive(Debug)]
pub struct Line {
    /// The shard.
    pub shard: ShardIndex,
    /// What the client has seen of the shard.
    pub floor: LogIndex,
    /// Up to which change of the routing table the floor shows what became of the shard's slots: a slot that came here since may
    /// have gone on, been written to, and a replica that is behind does not know.
    pub confirmed_at: u64,
    /// Named by frames; raised after a refusal.
    pub generation: u32,
    /// The node that has the handed requests.
    pub node: NodeIndex,
    /// Requests handed over and not come back.
    pub handed: u32,
    /// Writes among them.
    pub handed_writes: u32,
    /// Reads among them that follow writes.
    pub handed_after_writes: u32,
    /// Reads among them that are `strong`.
    pub handed_strong: u32,
    /// Whether a refusal closed it.
    pub closed: bool,
    /// Whether a slot of its requests has moved: nothing is handed over before the handed ones are back, then they are sorted.
    pub astray: bool,
    /// Whether it is on the engine's list of lines that wait for a change.
    pub listed: bool,
    /// Refusals since the last reply.
    pub refusals: u32,
    /// Nothing is handed over before.
    pub not_before: Moment,
    first: FlightKey,
    last: FlightKey,
    first_waiting: FlightKey,
}

impl Line {
    /// An empty line.
    pub fn new(shard: ShardIndex, generation: u32, confirmed_at: u64) -> Self {
        Self {
            shard,
            floor: LogIndex(0),
            confirmed_at,
            generation,
            node: NodeIndex(0),
            handed: 0,
            handed_writes: 0,
            handed_after_writes: 0,
            handed_strong: 0,
            closed: false,
            astray: false,
            listed: false,
            refusals: 0,
            not_before: Moment::default(),
            first: FlightKey::NONE,
            last: FlightKey::NONE,
            first_waiting: FlightKey::NONE,
        }
    }

    /// Adds a waiting request at the end.
    pub fn append(&mut self, flights: &mut Flights, key: FlightKey) {
        let flight = &mut flights[key];
        flight.state = State::Waiting;
        flight.previous_in_line = self.last;
        flight.next_in_line = FlightKey::NONE;
        match self.last.some() {
            Some(last) => flights[last].next_in_line = key,
            None => self.first = key,
        }
        self.last = key;
        if self.first_waiting.some().is_none() {
            self.first_waiting = key;
        }
    }

    /// Adds a waiting request: at the end, or before all that wait if all else of its client waits for it.
    pub fn put(&mut self, flights: &mut Flights, key: FlightKey) {
        match self.first_waiting.some() {
            Some(next) if flights[key].holds => self.insert_before(flights, key, next),
            _ => self.append(flights, key),
        }
    }

    /// Puts the waiting requests before all others for which all else of their client waits. Those before them were refused
    /// since, and are about other slots.
    pub fn bring_forward(&mut self, flights: &mut Flights) {
        let (mut next, mut found) = (self.first_waiting.some(), Vec::new());
        while let Some(key) = next {
            next = flights[key].next_in_line.some();
            found.extend(Some(key).filter(|key| flights[*key].holds));
        }
        for key in found.into_iter().rev() {
            self.remove(flights, key);
            self.put(flights, key);
        }
    }

    /// Adds a waiting request in front of another one.
    pub fn insert_before(&mut self, flights: &mut Flights, key: FlightKey, next: FlightKey) {
        let previous = flights[next].previous_in_line;
        flights[next].previous_in_line = key;
        let flight = &mut flights[key];
        (flight.state, flight.previous_in_line, flight.next_in_line) = (State::Waiting, previous, next);
        match previous.some() {
            Some(previous) => flights[previous].next_in_line = key,
            None => self.first = key,
        }
        if self.first_waiting == next {
            self.first_waiting = key;
        }
    }

    /// The next request to hand over.
    pub const fn waiting(&self) -> Option<FlightKey> {
        self.first_waiting.some()
    }

    /// The first request, of whatever state.
    pub const fn first(&self) -> Option<FlightKey> {
        self.first.some()
    }

    /// Notes that the next request was handed to `node`, a read at this level.
    pub fn hand(&mut self, flights: &mut Flights, key: FlightKey, node: NodeIndex, level: ReadLevel) {
        debug_assert_eq!(self.first_waiting, key);
        let flight = &mut flights[key];
        self.first_waiting = flight.next_in_line;
        flight.state = State::Handed;
        flight.node = node;
        flight.after_writes = !flight.write && self.handed_writes + self.handed_after_writes > 0;
        flight.strong = !flight.write && (level == ReadLevel::Strong || self.handed_strong > 0);
        self.node = node;
        self.handed += 1;
        self.handed_writes += u32::from(flight.write);
        self.handed_after_writes += u32::from(flight.after_writes);
        self.handed_strong += u32::from(flight.strong);
    }

    /// Takes a request out, whatever its state.
    pub fn remove(&mut self, flights: &mut Flights, key: FlightKey) {
        let flight = &flights[key];
        let (previous, next) = (flight.previous_in_line, flight.next_in_line);
        if flight.state == State::Handed {
            self.came_back(flight);
        }
        match previous.some() {
            Some(previous) => flights[previous].next_in_line = next,
            None => self.first = next,
        }
        match next.some() {
            Some(next) => flights[next].previous_in_line = previous,
            None => self.last = previous,
        }
        if self.first_waiting == key {
            self.first_waiting = next;
        }
    }

    /// Notes that a handed request was refused; it stays in its place and the line is closed.
    pub fn refuse(&mut self, flights: &mut Flights, key: FlightKey) {
        let flight = &mut flights[key];
        debug_assert_eq!(flight.state, State::Handed);
        flight.state = State::Refused;
        self.came_back(flight);
        self.closed = true;
    }

    fn came_back(&mut self, flight: &Flight) {
        self.handed -= 1;
        self.handed_writes -= u32::from(flight.write);
        self.handed_after_writes -= u32::from(flight.after_writes);
        self.handed_strong -= u32::from(flight.strong);
    }

    /// Opens a closed line of which every handed request came back: what is left waits again. Returns how many of
    /// them were not waiting before.
    pub fn reopen(&mut self, flights: &mut Flights, generation: u32) -> usize {
        debug_assert!(self.closed && self.handed == 0);
        self.closed = false;
        self.generation = generation;
        let mut refused = 0;
        let mut at = self.first;
        while at != self.first_waiting {
            flights[at].state = State::Waiting;
            refused += 1;
            at = flights[at].next_in_line;
        }
        self.first_waiting = self.first;
        if let Some(first) = self.first().filter(|_| refused > 1 && planted::is(Bug::RetriesReordered)) {
            self.remove(flights, first);
            self.append(flights, first);
        }
        refused
    }
}
