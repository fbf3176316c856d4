//! One client connection: what is left of its input, the order of its replies, its lines.
//!
//! Idle, it owns no buffers: input and output take theirs from the worker's pool and give them back when empty.

use std::net::SocketAddr;

use super::blocked::Wait;
use super::flight::{FlightKey, Flights};
use super::line::Line;
use crate::control::routing::ShardIndex;
use crate::frontend::Session;
use crate::frontend::transaction::Awaited;
use crate::net::Moment;
use crate::protocol::request::RequestParser;
use crate::proxy::outbox::Outbox;
use crate::topology::Slot;

/// One client connection.
#[derive(Debug)]
pub struct Client {
    /// Never used again while the proxy runs.
    pub id: u64,
    /// What the client said about itself.
    pub session: Session,
    /// Its end of the connection.
    pub address: Option<SocketAddr>,
    /// Our end of it.
    pub local_address: Option<SocketAddr>,
    /// Where to go on in a request that is half read.
    pub parser: RequestParser,
    /// Bytes that are not parsed yet.
    pub input: Vec<u8>,
    /// Parsing is of no use before `input` is this long.
    pub input_wanted: usize,
    /// Replies to send.
    pub output: Outbox,
    /// The oldest unanswered request.
    pub first: FlightKey,
    /// The newest unanswered request.
    pub last: FlightKey,
    /// Requests not answered.
    pub in_flight: u32,
    /// Their bytes.
    pub in_flight_bytes: usize,
    /// Requests, parts included, that wait for a node.
    pub waiting: u32,
    /// Its requests by shard, in the order of shards.
    pub lines: Vec<Line>,
    /// The highest generation that one of its lines had.
    pub generation: u32,
    /// How many changes of the routing table there were when it came: what it saw, it saw later.
    pub born_at: u64,
    /// How many there were when its lines were last looked through.
    pub settled_at: u64,
    /// Slots that have moved while requests for them were unanswered, and in whose line those are; by slot.
    pub strays: Vec<(Slot, ShardIndex)>,
    /// Requests that must be answered before anything else is handed over.
    pub held: u32,
    /// The request whose answer must come before more of its requests are taken.
    pub awaited: Option<(FlightKey, Awaited)>,
    /// What its transaction was last seen to take.
    pub transaction_bytes: usize,
    /// Whether it is on the list of clients with replies to send.
    pub dirty: bool,
    /// Whether a limit keeps it from being read.
    pub stalled: bool,
    /// What it waits for, while it is blocked.
    pub wait: Option<Box<Wait>>,
    /// Requests on their way that end a wait; one may outlive the wait.
    pub cancels: u32,
    /// The sequence of its last blocking command.
    pub sequence: u64,
    /// Since when it waits for a catalog: the deadlines of what came meanwhile are counted from then.
    pub uncharted_since: Option<Moment>,
    /// Whether it is to be closed when all is answered and sent.
    pub closing: bool,
    /// When it last read something, or had nothing to read.
    pub progress: Moment,
}

impl Client {
    /// A client that just came.
    pub fn new(session: Session, born_at: u64, now: Moment) -> Self {
        Self {
            id: session.id(),
            session,
            address: None,
            local_address: None,
            parser: RequestParser::default(),
            input: Vec::new(),
            input_wanted: 0,
            output: Outbox::default(),
            first: FlightKey::NONE,
            last: FlightKey::NONE,
            in_flight: 0,
            in_flight_bytes: 0,
            waiting: 0,
            lines: Vec::new(),
            generation: 0,
            born_at,
            settled_at: born_at,
            strays: Vec::new(),
            held: 0,
            awaited: None,
            transaction_bytes: 0,
            dirty: false,
            stalled: false,
            wait: None,
            cancels: 0,
            sequence: 0,
            uncharted_since: None,
            closing: false,
            progress: now,
        }
    }

    /// Puts a request at the end of the order of replies.
    pub fn enlist(&mut self, flights: &mut Flights, key: FlightKey) {
        match self.last.some() {
            Some(last) => flights[last].next_in_order = key,
            None => self.first = key,
        }
        self.last = key;
        self.in_flight += 1;
        self.in_flight_bytes += flights[key].cost_bytes;
    }

    /// Takes the oldest request out of the order of replies.
    pub fn dismiss_first(&mut self, flights: &Flights) {
        let flight = &flights[self.first];
        self.in_flight -= 1;
        self.in_flight_bytes -= flight.cost_bytes;
        self.first = flight.next_in_order;
        if self.first.some().is_none() {
            self.last = FlightKey::NONE;
        }
    }

    /// The place of its line for a shard, which is made if need be.
    pub fn line_at(&mut self, shard: ShardIndex) -> usize {
        match self.lines.binary_search_by_key(&shard, |l| l.shard) {
            Ok(at) => at,
            Err(at) => {
                self.lines.insert(at, Line::new(shard, self.generation, self.born_at));
                at
            }
        }
    }

    /// Whether nothing is left to answer or to send.
    pub fn is_done(&self) -> bool {
        self.first.some().is_none() && self.output.is_empty()
    }
}
