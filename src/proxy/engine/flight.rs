//! Requests that are not answered yet, and replies that wait for their turn: one record each, used again and again.
//!
//! A record's buffer holds the request until it is answered (so that it can be sent again) and the reply from then on
//! (until the replies before it have gone to the client). Buffers stay with their records, so that the steady path
//! allocates nothing. Invariant: an id names one use of a record; after [`Flights::free`] it names nothing.

use bytes::Bytes;

use super::names::Names;
use super::scatter::Scatter;
use crate::control::routing::{NodeIndex, ShardIndex};
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::protocol::command::Merge;
use crate::protocol::frame::{ReadLevel, RefusalReason};
use crate::protocol::identity::{Blocking, Identity};
use crate::protocol::split::{next_part, put_ordinal};
use crate::proxy::metrics::CommandClass;
use crate::topology::{LogTime, SessionId, Slot, WriteId};

/// A record's buffer that grew past this is freed with its use.
const KEPT_BYTES_MAX: usize = 1024;

/// A record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightKey(pub u32);

impl FlightKey {
    /// No record: the end of a list.
    pub const NONE: Self = Self(u32::MAX);

    /// The record, if there is one.
    pub const fn some(self) -> Option<Self> {
        if self.0 == u32::MAX { None } else { Some(self) }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The record is not in use.
    Free,
    /// It waits for a node to be sent to.
    Waiting,
    /// It was put into a node's output.
    Handed,
    /// The node refused it; it waits until its line is collected.
    Refused,
    /// Its parts are on their way.
    Scattered,
    /// The buffer holds the reply.
    Ready,
}

/// What the answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's request, in the order of its replies.
    Whole,
    /// A part of the request in this record.
    Part(FlightKey),
    /// Nothing: only that it is carried out.
    Nobody,
}

/// One request, or one part of one.
#[derive(Debug)]
pub struct Flight {
    serial: u32,
    /// How far it has come.
    pub state: State,
    /// What the answer is for.
    pub purpose: Purpose,
    /// The client's place.
    pub client: u32,
    /// The next in the order of the client's replies.
    pub next_in_order: FlightKey,
    /// The next of its line.
    pub next_in_line: FlightKey,
    /// The one before it in its line.
    pub previous_in_line: FlightKey,
    /// The shard that it is for.
    pub shard: ShardIndex,
    /// The slot of its first key.
    pub slot: Option<Slot>,
    /// Whether it has keys of more slots.
    pub many: bool,
    /// The node that it was handed to.
    pub node: NodeIndex,
    /// How many changes of the routing table there were then.
    pub handed_at: u64,
    /// Where its frame begins in that node's output.
    pub position: u64,
    /// Whether it changes data.
    pub write: bool,
    /// Whether its bytes begin with the slots that they are about.
    pub covers: bool,
    /// Whether nobody wants its reply: it finds out where its slot is.
    pub probe: bool,
    /// Whether its bytes are a transaction.
    pub transaction: bool,
    /// If its bytes are a split command, how the replies to the parts become one.
    pub split: Option<Merge>,
    /// How many parts that has.
    pub parts: u32,
    /// Whether those are not all that the name was taken for, so that there are gaps between their numbers.
    pub recut: bool,
    /// Whether the client speaks RESP3.
    pub resp3: bool,
    /// The level, for reads.
    pub level: ReadLevel,
    /// Whether it was handed over as a read that follows unanswered writes.
    pub after_writes: bool,
    /// Whether it was handed over as a `strong` read.
    pub strong: bool,
    /// Whether all else of its client waits for its answer.
    pub holds: bool,
    /// Whether a follower refused it, so that only the leader is asked from now on.
    pub leader_only: bool,
    /// Whether the client wants no reply.
    pub muted: bool,
    /// Its name for ever, where it has one: it may be sent again.
    pub identity: Option<Identity>,
    /// What it has to do with blocked clients.
    pub blocking: Option<Blocking>,
    /// How often it was handed over under its name.
    pub hands: u8,
    /// Whether it was sent and nobody said what became of it: it may have taken effect.
    pub maybe_taken: bool,
    /// For metrics.
    pub class: CommandClass,
    /// The last refusal.
    pub refused: Option<RefusalReason>,
    /// When it came.
    pub born: Moment,
    /// When it is given up.
    pub deadline: Moment,
    /// What it costs its client's limit of bytes in flight.
    pub cost_bytes: usize,
    /// The request, then the reply.
    pub bytes: Vec<u8>,
    /// The same where it is large.
    pub large: Option<Bytes>,
    /// The parts, where it was split.
    pub scatter: Option<Box<Scatter>>,
}

impl Flight {
    /// Gives a write that is handed over its name, if it has none. When it was born, in log time, is known only then.
    pub fn name(&mut self, session: SessionId, names: &mut Names, log_time: LogTime) {
        if !self.write {
            return;
        }
        let identity = match &mut self.identity {
            Some(identity) => identity,
            None => {
                let id = WriteId { session, sequence: names.take(self.parts.max(1) as usize) };
                self.hands = 0;
                self.identity.insert(Identity { id, low: 0, born: LogTime(0) })
            }
        };
        if self.blocking.is_none() {
            identity.low = names.low();
        }
        if self.hands == 0 {
            identity.born = log_time;
        }
        self.hands = self.hands.saturating_add(1);
    }

    /// Numbers the parts from zero on, for another name; their numbers of before.
    pub fn renumber(&mut self) -> Vec<u32> {
        let (mut rest, mut spans, mut ordinals, mut body) = (self.body(), Vec::new(), Vec::new(), Vec::new());
        while let Some(part) = next_part(&mut rest, &mut spans) {
            put_ordinal(&mut body, ordinals.len() as u32);
            body.extend_from_slice(part.request);
            ordinals.push(part.ordinal);
        }
        self.recut = false;
        if self.large.is_some() {
            self.large = Some(Bytes::from(body));
        } else {
            self.bytes = body;
        }
        ordinals
    }

    /// How many names it takes, if it has one of the worker's.
    pub fn names(&self) -> usize {
        match self.identity {
            Some(_) if self.blocking.is_none() => self.parts.max(1) as usize,
            _ => 0,
        }
    }

    /// Whether its node has no work with it: a blocked client may wait there for days, and is asked for again.
    pub fn is_idle(&self) -> bool {
        self.blocking == Some(Blocking::Wait)
    }

    /// Whether it was handed over as one that only a leader answers.
    pub fn needs_leader(&self) -> bool {
        self.write || self.after_writes || self.leader_only
    }

    /// The request's or the reply's bytes.
    pub fn body(&self) -> &[u8] {
        self.large.as_deref().unwrap_or(&self.bytes)
    }
}

/// All records of a worker.
#[derive(Debug, Default)]
pub struct Flights {
    records: Vec<Flight>,
    free: Vec<u32>,
}

impl Flights {
    /// A record in use, its fields those of a request that just came.
    pub fn claim(&mut self, client: u32, born: Moment, deadline: Moment) -> FlightKey {
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.records.push(blank());
                self.records.len() as u32 - 1
            }
        };
        let flight = &mut self.records[key as usize];
        flight.serial = flight.serial.wrapping_add(1);
        flight.state = State::Waiting;
        flight.purpose = Purpose::Whole;
        flight.client = client;
        flight.next_in_order = FlightKey::NONE;
        flight.next_in_line = FlightKey::NONE;
        flight.previous_in_line = FlightKey::NONE;
        flight.slot = None;
        flight.many = false;
        flight.write = false;
        flight.covers = false;
        flight.probe = false;
        flight.transaction = false;
        flight.split = None;
        flight.parts = 0;
        flight.recut = false;
        flight.leader_only = false;
        flight.holds = false;
        flight.muted = false;
        flight.identity = None;
        flight.blocking = None;
        flight.hands = 0;
        flight.maybe_taken = false;
        flight.refused = None;
        flight.born = born;
        flight.deadline = deadline;
        flight.cost_bytes = 0;
        FlightKey(key)
    }

    /// Ends a use.
    pub fn free(&mut self, key: FlightKey) {
        let flight = &mut self.records[key.0 as usize];
        debug_assert_ne!(flight.state, State::Free);
        flight.state = State::Free;
        flight.large = None;
        if flight.bytes.capacity() > KEPT_BYTES_MAX {
            flight.bytes = Vec::new()
        } else {
            flight.bytes.clear()
        }
        self.free.push(key.0);
    }

    /// The id of this use, for frames.
    pub fn id(&self, key: FlightKey) -> u64 {
        u64::from(self[key].serial) << 32 | u64::from(key.0)
    }

    /// Lets the id name nothing any more, though the use goes on: an answer to what was sent under it comes too late.
    pub fn change_id(&mut self, key: FlightKey) {
        self[key].serial = self[key].serial.wrapping_add(1);
    }

    /// The record that an id names, if it still does.
    pub fn find(&self, id: u64) -> Option<FlightKey> {
        let key = id as u32;
        let flight = self.records.get(key as usize)?;
        let is_named = u64::from(flight.serial) == id >> 32 || planted::is(Bug::RepliesSwapped);
        (flight.state != State::Free && is_named).then_some(FlightKey(key))
    }

    /// How many are in use.
    pub const fn used(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// The records in use for which `matches` holds.
    pub fn select(&self, matches: impl Fn(&Flight) -> bool) -> Vec<FlightKey> {
        let used = self.records.iter().enumerate().filter(|(_, f)| f.state != State::Free && matches(f));
        used.map(|(key, _)| FlightKey(key as u32)).collect()
    }
}

impl std::ops::Index<FlightKey> for Flights {
    type Output = Flight;
    fn index(&self, key: FlightKey) -> &Flight {
        &self.records[key.0 as usize]
    }
}

impl std::ops::IndexMut<FlightKey> for Flights {
    fn index_mut(&mut self, key: FlightKey) -> &mut Flight {
        &mut self.records[key.0 as usize]
    }
}

fn blank() -> Flight {
    Flight {
        serial: 0,
        state: State::Free,
        purpose: Purpose::Whole,
        client: 0,
        next_in_order: FlightKey::NONE,
        next_in_line: FlightKey::NONE,
        previous_in_line: FlightKey::NONE,
        shard: ShardIndex(0),
        slot: None,
        many: false,
        node: NodeIndex(0),
        handed_at: 0,
        position: 0,
        write: false,
        covers: false,
        probe: false,
        transaction: false,
        split: None,
        parts: 0,
        recut: false,
        resp3: false,
        level: ReadLevel::Session,
        after_writes: false,
        strong: false,
        leader_only: false,
        holds: false,
        muted: false,
        identity: None,
        blocking: None,
        hands: 0,
        maybe_taken: false,
        class: CommandClass::Read,
        refused: None,
        born: Moment::default(),
        deadline: Moment::default(),
        cost_bytes: 0,
        bytes: Vec::new(),
        large: None,
        scatter: None,
    }
}
