//! What clients do, and what they remember of it.
//!
//! A client has one request on its way, or a write with a read behind it; it goes to whoever it believes to lead, or for
//! reads to anybody, and follows what refusals tell. It never repeats a write: each has a value of its own.

use pontoon::protocol::frame::{ReadLevel, RefusalReason, RequestHead};
use pontoon::topology::{Epoch, LogIndex, ReplicaId, Slot};

use super::member::SHARD;
use super::world::{Answer, Due, Happening, World};

/// Keys by what is done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// SET and GET.
    Register,
    /// INCR and GET.
    Counter,
    /// APPEND and GET: every value stays, in the order of the log.
    List,
}

pub fn keys() -> Vec<(String, KeyKind)> {
    let named = |prefix: &str, count: usize, kind| (0..count).map(move |i| (format!("{prefix}{i}"), kind)).collect();
    let all: [Vec<_>; 3] =
        [named("r", 4, KeyKind::Register), named("c", 2, KeyKind::Counter), named("l", 3, KeyKind::List)];
    all.concat()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Waiting,
    /// The reply's payload; none for nil.
    Done(Option<Vec<u8>>),
    /// Promised to have changed nothing.
    NotApplied,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub client: usize,
    pub key: usize,
    pub write: bool,
    pub level: ReadLevel,
    /// The unanswered write of the same client and key that this read follows.
    pub follows: Option<u64>,
    pub node: usize,
    /// When the node's process started; a later start is possible before the request arrives.
    pub node_started_us: u64,
    pub start_us: u64,
    pub end_us: u64,
    pub outcome: Outcome,
}

struct Client {
    believed_leader: usize,
    floor: LogIndex,
    waiting: usize,
}

pub struct Clients {
    keys: Vec<(String, KeyKind)>,
    clients: Vec<Client>,
    /// By id, from one on.
    pub operations: Vec<Operation>,
    think_max_us: u64,
    pub stopped: bool,
}

impl Clients {
    pub fn new(world: &mut World, keys: Vec<(String, KeyKind)>, count: usize) -> Self {
        let clients = (0..count).map(|_| Client { believed_leader: 0, floor: LogIndex(0), waiting: 0 }).collect();
        (0..count).for_each(|client| world.schedule(200_000, Due::Client { client }));
        let think_max_us = world.random.within(10_000, 120_000);
        Self { keys, clients, operations: Vec::new(), think_max_us, stopped: false }
    }

    /// Whether anything is unanswered.
    pub fn idle(&self) -> bool {
        self.clients.iter().all(|c| c.waiting == 0)
    }

    /// A client does the next thing.
    pub fn act(&mut self, world: &mut World, client: usize) {
        if self.stopped || self.clients[client].waiting > 0 {
            return;
        }
        let key = world.random.below(self.keys.len());
        let write = world.random.per_mille(550);
        let level = match world.random.below(20) {
            0..10 => ReadLevel::Strong,
            10..16 => ReadLevel::Session,
            _ => ReadLevel::Any,
        };
        let leader = self.clients[client].believed_leader;
        let anybody = world.random.below(world.members.len());
        let to_leader = write || (level == ReadLevel::Strong && world.random.per_mille(500));
        let node = if to_leader { leader } else { anybody };
        let first = self.send(world, client, key, write, level, node, None);
        if write && level != ReadLevel::Any && world.random.per_mille(150) {
            self.send(world, client, key, false, level, node, Some(first));
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call site")]
    fn send(
        &mut self,
        world: &mut World,
        client: usize,
        key: usize,
        write: bool,
        level: ReadLevel,
        node: usize,
        follows: Option<u64>,
    ) -> u64 {
        let (start_us, node_started_us) = (world.now_us, world.members[node].started_us);
        let end_us = u64::MAX;
        let outcome = Outcome::Waiting;
        self.operations.push(Operation {
            client,
            key,
            write,
            level,
            follows,
            node,
            node_started_us,
            start_us,
            end_us,
            outcome,
        });
        let id = self.operations.len() as u64;
        let (name, kind) = &self.keys[key];
        let value = match kind {
            KeyKind::List => format!("{id},"),
            _ => id.to_string(),
        };
        let body = match (write, kind) {
            (false, _) => command(&["GET", name]),
            (true, KeyKind::Register) => command(&["SET", name, &value]),
            (true, KeyKind::Counter) => command(&["INCR", name]),
            (true, KeyKind::List) => command(&["APPEND", name, &value]),
        };
        let remaining_ms = world.random.within(200, 2_500) as u32;
        let head = RequestHead {
            id,
            shard: SHARD,
            client: client as u64,
            generation: 0,
            write,
            resp3: false,
            transaction: false,
            after_writes: follows.is_some(),
            level,
            slot: Some(Slot::of_key(name.as_bytes())),
            epoch: Epoch(0),
            remaining_ms,
            floor: self.clients[client].floor,
            identity: None,
            blocking: None,
        };
        self.clients[client].waiting += 1;
        // A read that follows a write comes on the same connection, right behind it.
        let delay = if follows.is_some() { 2_001 } else { world.random.within(100, 2_000) };
        world.send_to(node, delay, Happening::Request { head, body });
        world.schedule(u64::from(remaining_ms) * 1000 + 500_000, Due::GiveUp { operation: id });
        id
    }

    /// The client waits no longer.
    pub fn give_up(&mut self, world: &mut World, operation: u64) {
        if self.operations[operation as usize - 1].outcome == Outcome::Waiting {
            self.end(world, operation, Outcome::Unknown);
        }
    }

    /// An answer reaches its client.
    pub fn answered(&mut self, world: &mut World, operation: u64, answer: Answer) {
        let found = &self.operations[operation as usize - 1];
        world.note(operation ^ matches!(answer, Answer::Reply { .. }) as u64);
        if found.outcome != Outcome::Waiting {
            return;
        }
        let (client, node) = (found.client, found.node);
        match answer {
            Answer::Reply { index, reply } => {
                let client = &mut self.clients[client];
                client.floor = client.floor.max(index);
                self.end(world, operation, Outcome::Done(payload(&reply)));
            }
            Answer::NotThere => {
                self.clients[client].believed_leader = world.random.below(world.members.len());
                self.end(world, operation, Outcome::NotApplied);
            }
            Answer::Refused { reason, leader } => {
                let named = leader.and_then(|id| node_of(world, id)).filter(|named| *named != node);
                let next = named.unwrap_or_else(|| world.random.below(world.members.len()));
                self.clients[client].believed_leader = next;
                let outcome = if reason == RefusalReason::Unknown { Outcome::Unknown } else { Outcome::NotApplied };
                self.end(world, operation, outcome);
            }
        }
    }

    fn end(&mut self, world: &mut World, operation: u64, outcome: Outcome) {
        let found = &mut self.operations[operation as usize - 1];
        found.end_us = world.now_us;
        found.outcome = outcome;
        let client = found.client;
        self.clients[client].waiting -= 1;
        if self.clients[client].waiting == 0 {
            let think = world.random.within(500, self.think_max_us);
            world.schedule(think, Due::Client { client });
        }
    }
}

fn node_of(world: &World, id: ReplicaId) -> Option<usize> {
    world.catalog.shard(SHARD)?.replicas.iter().position(|r| r.id == id)
}

/// A request as a client writes it.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| out += &format!("${}\r\n{word}\r\n", word.len()));
    out.into_bytes()
}

/// What a reply holds; none for nil. An error reply is never expected.
pub fn payload(reply: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(reply).expect("text");
    let lines: Vec<&str> = text.split("\r\n").collect();
    match lines[0].split_at(1) {
        ("+" | ":", rest) => Some(rest.as_bytes().to_vec()),
        ("$", "-1") => None,
        ("$", _) => Some(lines[1].as_bytes().to_vec()),
        _ => panic!("unexpected reply {text:?}"),
    }
}
