//! One client connection: what is left of its input, the order of its replies, the connection that is its own.
//!
//! Idle, it owns no buffers: input and output take theirs from the worker's pool and give them back when empty.

use std::net::SocketAddr;

use super::record::Records;
use crate::frontend::Session;
use crate::net::Moment;
use crate::protocol::request::RequestParser;
use crate::proxy::engine::FlightKey;
use crate::proxy::outbox::Outbox;

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
    /// Requests, parts included, that wait for a leader.
    pub waiting: u32,
    /// Of these, the ones that a server refused.
    pub refused: u32,
    /// Bytes of the requests not answered.
    pub in_flight_bytes: usize,
    /// Whether its next request is taken only when all before it are answered.
    pub draining: bool,
    /// The request whose answer must come before more of its requests are taken.
    pub awaited: Option<FlightKey>,
    /// The connection to a server that is its own, while it watches or waits.
    pub own: Option<usize>,
    /// Whether keys are watched on that.
    pub watching: bool,
    /// Whether what it watched is another group's by now, so that `EXEC` does nothing.
    pub watch_moved: bool,
    /// What its transaction was last seen to take.
    pub transaction_bytes: usize,
    /// Whether it is on the list of clients with replies to send.
    pub dirty: bool,
    /// Whether a limit keeps it from being read.
    pub stalled: bool,
    /// Since when it waits in a blocking command.
    pub blocked: bool,
    /// Whether it is to be closed when all is answered and sent.
    pub closing: bool,
    /// When it last read something, or had nothing to read.
    pub progress: Moment,
}

impl Client {
    /// A client that just came.
    pub fn new(session: Session, now: Moment) -> Self {
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
            waiting: 0,
            refused: 0,
            in_flight_bytes: 0,
            draining: false,
            awaited: None,
            own: None,
            watching: false,
            watch_moved: false,
            transaction_bytes: 0,
            dirty: false,
            stalled: false,
            blocked: false,
            closing: false,
            progress: now,
        }
    }

    /// Puts a request at the end of the order of replies.
    #[inline]
    pub fn enlist(&mut self, records: &mut Records, key: FlightKey) {
        match self.last.some() {
            Some(last) => records[last].next = key,
            None => self.first = key,
        }
        self.last = key;
        self.in_flight += 1;
        self.in_flight_bytes += records[key].cost_bytes;
    }

    /// Takes the oldest request out of the order of replies.
    #[inline]
    pub fn dismiss_first(&mut self, records: &Records) {
        let record = &records[self.first];
        self.in_flight -= 1;
        self.in_flight_bytes -= record.cost_bytes;
        self.first = record.next;
        if self.first.some().is_none() {
            self.last = FlightKey::NONE;
        }
    }

    /// Whether nothing is left to answer.
    #[inline]
    pub const fn is_answered(&self) -> bool {
        self.first.some().is_none()
    }

    /// Whether nothing is left to answer or to send.
    pub const fn is_done(&self) -> bool {
        self.is_answered() && self.output.is_empty()
    }
}
