//! Requests that are not answered yet, one record each, used again and again.
//!
//! A record keeps its request's bytes until it is answered, so that a read can be repeated and a request that was refused
//! can wait; from then on its buffer has the reply, until the replies before it have gone. Buffers stay with their records: the steady
//! path allocates nothing. Invariant: (key, serial) names one use of a record.

use bytes::Bytes;

use crate::frontend::transaction::Plan;
use crate::net::Moment;
use crate::proxy::engine::{FlightKey, Scatter};
use crate::proxy::metrics::CommandClass;
use crate::topology::Slot;

/// How many queues a shard has: by version of the protocol, and for requests that go on connections of clients' own.
pub const QUEUES: usize = 3;
/// The queue of those.
pub const OWN: usize = 2;
/// A record's buffer that grew past this is freed with its use.
const KEPT_BYTES_MAX: usize = 1024;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The record is not in use.
    Free,
    /// It waits for its shard to have a leader that can be reached.
    Waiting,
    /// It was put into a connection's output.
    Handed,
    /// Its parts are on their way.
    Scattered,
    /// The buffer holds the reply.
    Ready,
}

/// What is done with the answer.
#[derive(Debug)]
pub enum Job {
    /// The client reads it as it is.
    Plain,
    /// It is a part of the request in this record.
    Part(FlightKey),
    /// The parts' replies become one.
    Scatter(Box<Scatter>),
    /// Its cursor is tagged with the shard.
    Cursor,
    /// These keys are watched from now on.
    Watch(Vec<Box<[u8]>>),
    /// Replies of the proxy are put between those of the shard.
    Exec(Box<Plan>),
    /// The client's own connection waits for it.
    Block,
}

/// One request, or one part of one.
#[derive(Debug)]
pub struct Record {
    /// Which use of the record this is.
    pub serial: u32,
    /// How far it has come.
    pub state: State,
    /// What is done with the answer.
    pub job: Job,
    /// The client's place.
    pub client: u32,
    /// The next in the order of the client's replies.
    pub next: FlightKey,
    /// The shard that it is for.
    pub shard: usize,
    /// The slot of its first key, where it has keys.
    pub slot: Option<Slot>,
    /// The connection that it was put on.
    pub link: usize,
    /// Whether it changes data.
    pub write: bool,
    /// Whether a replica may answer it.
    pub any: bool,
    /// Whether the client speaks RESP3.
    pub resp3: bool,
    /// Whether it goes on a connection of the client's own.
    pub own: bool,
    /// Whether a server refused it, so that later requests of its client may have been taken before it.
    pub refused: bool,
    /// Whether the client wants no reply.
    pub muted: bool,
    /// For metrics.
    pub class: CommandClass,
    /// How many replies its bytes cause.
    pub replies: u32,
    /// Its place among all requests of the worker.
    pub sequence: u64,
    /// When it came.
    pub born: Moment,
    /// What it costs its client's limit of bytes in flight.
    pub cost_bytes: usize,
    /// The request, then the reply.
    pub bytes: Vec<u8>,
    /// The same where it is large.
    pub large: Option<Bytes>,
}

impl Record {
    /// Which of its shard's queues it waits in: what waits for one kind of connection holds up nothing else. The requests of a client
    /// are of one kind as long as any of them is unanswered.
    pub fn queue(&self) -> usize {
        if self.own { OWN } else { usize::from(self.resp3) }
    }

    /// The request's or the reply's bytes.
    pub fn body(&self) -> &[u8] {
        self.large.as_deref().unwrap_or(&self.bytes)
    }
}

/// All records of a worker.
#[derive(Debug, Default)]
pub struct Records {
    records: Vec<Record>,
    free: Vec<u32>,
    next_sequence: u64,
}

impl Records {
    /// A record in use, of a request that just came.
    #[inline]
    pub fn claim(&mut self, client: u32, born: Moment) -> FlightKey {
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.records.push(blank());
                self.records.len() as u32 - 1
            }
        };
        let record = &mut self.records[key as usize];
        record.serial = record.serial.wrapping_add(1);
        record.state = State::Waiting;
        record.client = client;
        record.next = FlightKey::NONE;
        record.own = false;
        record.any = false;
        record.refused = false;
        record.muted = false;
        record.replies = 1;
        record.sequence = self.next_sequence;
        record.born = born;
        record.cost_bytes = 0;
        self.next_sequence += 1;
        FlightKey(key)
    }

    /// Ends a use.
    #[inline]
    pub fn free(&mut self, key: FlightKey) {
        let record = &mut self.records[key.0 as usize];
        debug_assert_ne!(record.state, State::Free);
        record.state = State::Free;
        record.serial = record.serial.wrapping_add(1);
        if !matches!(record.job, Job::Plain) {
            record.job = Job::Plain;
        }
        if record.large.is_some() {
            record.large = None;
        }
        if record.bytes.capacity() > KEPT_BYTES_MAX {
            record.bytes = Vec::new();
        } else {
            record.bytes.clear();
        }
        self.free.push(key.0);
    }

    /// Whether this use of the record goes on.
    #[inline]
    pub fn is(&self, key: FlightKey, serial: u32) -> bool {
        self.records[key.0 as usize].serial == serial
    }

    /// How many are in use.
    pub const fn used(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// The records in use for which `matches` holds, with their serials.
    pub fn select(&self, matches: impl Fn(&Record) -> bool) -> Vec<(FlightKey, u32)> {
        let used = self.records.iter().enumerate().filter(|(_, r)| r.state != State::Free && matches(r));
        used.map(|(key, record)| (FlightKey(key as u32), record.serial)).collect()
    }
}

impl std::ops::Index<FlightKey> for Records {
    type Output = Record;
    #[inline]
    fn index(&self, key: FlightKey) -> &Record {
        &self.records[key.0 as usize]
    }
}

impl std::ops::IndexMut<FlightKey> for Records {
    #[inline]
    fn index_mut(&mut self, key: FlightKey) -> &mut Record {
        &mut self.records[key.0 as usize]
    }
}

const fn blank() -> Record {
    Record {
        serial: 0,
        state: State::Free,
        job: Job::Plain,
        client: 0,
        next: FlightKey::NONE,
        shard: 0,
        slot: None,
        link: 0,
        write: false,
        any: false,
        resp3: false,
        own: false,
        refused: false,
        muted: false,
        class: CommandClass::Read,
        replies: 1,
        sequence: 0,
        born: Moment::at(std::time::Duration::ZERO),
        cost_bytes: 0,
        bytes: Vec::new(),
        large: None,
    }
}
