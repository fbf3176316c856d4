//! One connection to a server: bytes on their way, and the answers that are due, first in, first out.
//!
//! Invariant: every reply that comes belongs to the front of `due`; after a break nothing is matched any more.

use std::collections::VecDeque;

use crate::net::Moment;
use crate::protocol::reply_scan::ReplyScan;
use crate::proxy::engine::FlightKey;
use crate::proxy::outbox::Outbox;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is being opened.
    Opening,
    /// It is open, and we say who we are.
    Greeting,
    /// Requests may be sent.
    Open,
    /// It is given up, and closed with the next orders.
    Closed,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The requests of all clients.
    Shared,
    /// Those of one client, or of none while it is idle.
    Own(Option<u32>),
    /// Asking a sentinel.
    Sentinel,
}

/// What a reply is the answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A request, unless it was given up meanwhile.
    Request(FlightKey, u32),
    /// `AUTH`.
    Auth,
    /// `HELLO 3`.
    Hello,
    /// `CLIENT ID`.
    Id,
    /// `ROLE`, or what a sentinel is asked; since when it is out.
    Role(Moment),
    /// What a server knows of a command; the number of the question.
    Layout(u32),
    /// A sign of life; since when it is out.
    Alive(Moment),
    /// Something whose answer does not matter.
    Nothing,
}

/// An answer that is due.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// To what.
    pub due: Due,
    /// Replies that it still takes.
    pub replies: u32,
    /// Where its bytes end in the output.
    pub end: u64,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    /// The server that it leads to.
    pub server: usize,
    /// What it is for.
    pub usage: Use,
    /// Whether it speaks RESP3.
    pub resp3: bool,
    /// How far it has come.
    pub stage: Stage,
    /// Bytes to send.
    pub outbox: Outbox,
    /// Answers that are due.
    pub due: VecDeque<Expected>,
    /// Bytes of a reply of which not all has come.
    pub input: Vec<u8>,
    /// How far that was looked through.
    pub scan: ReplyScan,
    /// Whether it is on the list of connections with bytes to send.
    pub dirty: bool,
    /// Whether nothing more is put on it until all is answered: its server may lead no more.
    pub draining: bool,
    /// Whether it is closed when all is answered: the file has its server no more.
    pub leaving: bool,
    /// The error by which a transaction on it could not be queued, if its code says that all may be repeated.
    pub queue_error: Option<Vec<u8>>,
    /// Whether the server said before a transaction that it leads no more.
    pub demoted: bool,
    /// What the server calls it.
    pub remote_id: i64,
    /// Requests that go on it when it is open.
    pub pending: Vec<FlightKey>,
    /// When it was begun.
    pub began: Moment,
    /// When something was last heard.
    pub heard: Moment,
}

impl Link {
    /// A connection that is being opened.
    pub fn new(server: usize, usage: Use, resp3: bool, now: Moment) -> Self {
        Self {
            server,
            usage,
            resp3,
            stage: Stage::Opening,
            outbox: Outbox::default(),
            due: VecDeque::new(),
            input: Vec::new(),
            scan: ReplyScan::default(),
            dirty: false,
            draining: false,
            leaving: false,
            queue_error: None,
            demoted: false,
            remote_id: 0,
            pending: Vec::new(),
            began: now,
            heard: now,
        }
    }

    /// Puts bytes whose answer is due.
    #[inline]
    pub fn put(&mut self, bytes: &[u8], due: Due, replies: u32) {
        self.outbox.put(bytes);
        self.due.push_back(Expected { due, replies, end: self.outbox.position() });
    }

    /// Whether requests may be put on it.
    pub fn is_usable(&self) -> bool {
        self.stage == Stage::Open && !self.draining && !self.leaving
    }
}
