//! What clients do, and what they remember of it.
//!
//! A client has one connection to some proxy, sends a few requests at once, waits for all answers, and thinks. It never
//! repeats a write. When its connection ends, what was not answered may have been done or not, and it goes to some proxy
//! anew: another session.

use std::collections::{BTreeSet, VecDeque};

use super::checkers::history::{Level, NEVER, Outcome};
use super::random::Random;
use super::replies;
use super::streams::{Host, Parcel, StreamId};
use super::workload::{self, Action, Keys, Mood, Wish, command};
use super::world::{Due, World};

/// How much later than its deadline a request may be answered: the node's own deadline, the way back, ticks.
const GRACE_US: u64 = 2_500_000;
/// Whether a client may send a write of a key right behind a read of it. Not yet: a leader that falls between two writes of
/// a client refuses the read between them, while both writes may be committed; asked again, the read shows the second.
const READS_KEEP_THEIR_PLACE: bool = false;
/// How many requests go out at once at most.
const PIPELINE_MAX: u64 = 6;

#[derive(Clone, Debug)]
pub struct Operation {
    /// The connection that it went over, counted over all clients.
    pub session: u64,
    pub keys: Vec<usize>,
    pub action: Action,
    pub level: Level,
    pub start_us: u64,
    pub end_us: u64,
    /// None while it waits.
    pub outcome: Option<Outcome>,
    proxy: usize,
}

struct Connection {
    stream: StreamId,
    proxy: usize,
    session: u64,
    level: Level,
    input: Vec<u8>,
    /// The operations under way, and how many replies to each are missing.
    waiting: VecDeque<(Option<u64>, usize)>,
    mood: Mood,
    /// Members of sets that were added here.
    added: Vec<(usize, u64)>,
}

pub struct Clients {
    pub keys: Keys,
    clients: Vec<Option<Connection>>,
    /// By id, from one on.
    pub operations: Vec<Operation>,
    sessions: u64,
    think_max_us: u64,
    /// Places whose keys no write has reached yet since this moment; none: nobody looks.
    wanted: Option<(u64, BTreeSet<usize>)>,
    pub stopped: bool,
}

impl Clients {
    pub fn new(world: &mut World, count: usize, think_max_us: u64) -> Self {
        (0..count).for_each(|client| world.schedule(200_000, Due::Client { client }));
        Self {
            keys: Keys::new(&mut world.random),
            clients: (0..count).map(|_| None).collect(),
            operations: Vec::new(),
            sessions: 0,
            think_max_us,
            wanted: None,
            stopped: false,
        }
    }

    /// Whether nothing is unanswered.
    pub fn idle(&self) -> bool {
        self.clients.iter().flatten().all(|connection| connection.waiting.is_empty())
    }

    /// From now on every key must take a write.
    pub fn want_all(&mut self, now_us: u64) {
        self.wanted = Some((now_us, (0..self.keys.places()).collect()));
    }

    /// Tags whose keys have taken none yet.
    pub fn still_wanted(&self) -> Vec<&str> {
        let names = workload::tags().count();
        let wanted = self.wanted.iter().flat_map(|(_, wanted)| wanted.iter());
        wanted.filter(|place| **place < names).map(|place| self.keys.all[*place].name.as_str()).collect()
    }

    /// A client does the next thing.
    pub fn act(&mut self, world: &mut World, client: usize) {
        let waits = self.clients[client].as_ref().is_some_and(|connection| !connection.waiting.is_empty());
        if self.stopped || waits {
            return;
        }
        if self.clients[client].is_none() && !self.connect(world, client) {
            let again = world.random.within(5_000, 100_000);
            return world.schedule(again, Due::Client { client });
        }
        let count = if world.random.per_mille(250) { world.random.within(2, PIPELINE_MAX) } else { 1 };
        let mut bytes = Vec::new();
        let mut read = BTreeSet::new();
        for _ in 0..count {
            let wait = self.ask(world, client, &mut bytes, &mut read);
            // Nothing that is sent behind it would be looked at.
            if wait {
                break;
            }
        }
        let connection = self.clients[client].as_ref().expect("connected");
        world.send_bytes(connection.stream, 0, bytes);
    }

    fn connect(&mut self, world: &mut World, client: usize) -> bool {
        let proxy = world.random.below(world.proxies.len());
        if world.proxies[proxy].running.is_none() {
            return false;
        }
        let stream = world.open_stream(Host::Client(client), Host::Proxy(proxy));
        let level = match world.random.below(10) {
            0..4 => Level::Strong,
            4..8 => Level::Session,
            _ => Level::Any,
        };
        self.sessions += 1;
        world.send_bytes(stream, 0, command(&["CLIENT", "READS", workload::level_name(level)]));
        self.clients[client] = Some(Connection {
            stream,
            proxy,
            session: self.sessions,
            level,
            input: Vec::new(),
            waiting: [(None, 1)].into(),
            // Who writes waits for a majority, and does not see what goes on without one.
            mood: if world.random.per_mille(300) { Mood::Read } else { Mood::Mixed },
            added: Vec::new(),
        });
        true
    }

    /// Appends one operation's requests. Returns whether it is one that may wait for long. `read`: the groups of keys that
    /// were read by what is appended to.
    fn ask(&mut self, world: &mut World, client: usize, bytes: &mut Vec<u8>, read: &mut BTreeSet<usize>) -> bool {
        let connection = self.clients[client].as_mut().expect("connected");
        let id = self.operations.len() as u64 + 1;
        let place = self.wanted.as_ref().and_then(|(_, wanted)| pick(&mut world.random, wanted));
        let (place, mood) = match place {
            Some(place) => (place, Mood::Write),
            None => (self.keys.any_place(&mut world.random, connection.mood), connection.mood),
        };
        let group = self.keys.group(place);
        if !READS_KEEP_THEIR_PLACE && read.contains(&group) {
            return false;
        }
        let Wish { keys, action } = self.keys.wish(&mut world.random, place, id, &mut connection.added, mood);
        if !action.is_write() {
            read.insert(group);
        }
        let session = connection.session;
        world.tell(|| format!("client {client} session {session} operation {id}: {action:?} of {keys:?}"));
        let names: Vec<&str> = keys.iter().map(|key| self.keys.all[*key].name.as_str()).collect();
        let (request, replies) = action.requests(&names);
        bytes.extend(request);
        connection.waiting.push_back((Some(id), replies));
        let patience = action.waits_ms() * 1000 + world.deadline_us + GRACE_US;
        world.schedule(patience, Due::Patience { operation: id });
        let waits = action.waits_ms() > 0;
        self.operations.push(Operation {
            session: connection.session,
            keys,
            level: if action.is_write() { Level::Strong } else { connection.level },
            action,
            start_us: world.now_us,
            end_us: NEVER,
            outcome: None,
            proxy: connection.proxy,
        });
        waits
    }

    /// Something comes over a client's connection.
    pub fn hear(&mut self, world: &mut World, client: usize, stream: StreamId, parcel: Parcel) {
        let Some(connection) = self.clients[client].as_mut().filter(|c| c.stream == stream) else { return };
        let Parcel::Bytes(bytes) = parcel else { return self.lose(world, client) };
        connection.input.extend_from_slice(&bytes);
        let mut used = 0;
        let mut answered = Vec::new();
        while let Some((answer, length)) = replies::parse(&connection.input[used..]) {
            used += length;
            let (id, missing) = connection.waiting.front_mut().expect("a reply that nobody waits for");
            *missing -= 1;
            if *missing == 0 {
                answered.push((*id, answer));
                connection.waiting.pop_front();
            }
        }
        connection.input.drain(..used);
        let done = connection.waiting.is_empty() && used > 0;
        for (id, answer) in answered {
            let Some(id) = id else { continue };
            let operation = &self.operations[id as usize - 1];
            // Until then a proxy asks again: its writes have names. A log whose time jumps forgets them early.
            let is_early = workload::says_unknown(&answer)
                && world.now_us < operation.start_us + world.deadline_us
                && world.clocks_true_until_us == NEVER;
            assert!(!is_early, "at {} us: an unknown outcome before the deadline: {operation:?}", world.now_us);
            let outcome = workload::outcome(&operation.action, answer);
            self.end(world, id, outcome);
        }
        if done {
            let think = world.random.within(500, self.think_max_us);
            world.schedule(think, Due::Client { client });
        }
    }

    /// A client closes its connection, whatever it waits for.
    pub fn leave(&mut self, world: &mut World, client: usize) {
        if let Some(connection) = &self.clients[client] {
            world.close_end(connection.stream, 0);
            self.lose(world, client);
        }
    }

    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// A client's connection is gone.
    fn lose(&mut self, world: &mut World, client: usize) {
        let Some(connection) = self.clients[client].take() else { return };
        for (id, _) in connection.waiting {
            id.into_iter().for_each(|id| self.end(world, id, Outcome::Unknown));
        }
        let again = world.random.within(5_000, 100_000);
        world.schedule(again, Due::Client { client });
    }

    /// Looks whether an operation was answered in time. Only a proxy that could do nothing is excused.
    pub fn look_after(&mut self, world: &mut World, id: u64) {
        let operation = &self.operations[id as usize - 1];
        let proxy = &world.proxies[operation.proxy];
        if operation.outcome.is_some() {
            return;
        }
        let excused = proxy.paused || proxy.hindered_us > operation.start_us;
        assert!(excused, "at {} us: operation {id} was never answered: {operation:?}", world.now_us);
        let again = if proxy.paused { GRACE_US } else { world.deadline_us + GRACE_US };
        let second = world.now_us > operation.start_us + 4 * (world.deadline_us + GRACE_US) + 20_000_000;
        assert!(!second, "at {} us: operation {id} was never answered: {operation:?}", world.now_us);
        world.schedule(again, Due::Patience { operation: id });
    }

    fn end(&mut self, world: &mut World, id: u64, outcome: Outcome) {
        world.note(id ^ u64::from(matches!(outcome, Outcome::Done(_))));
        let operation = &mut self.operations[id as usize - 1];
        world.tell(|| format!("operation {id} ends: {outcome:?}"));
        operation.end_us = world.now_us;
        let done = matches!(outcome, Outcome::Done(_));
        operation.outcome = Some(outcome);
        if let Some((since_us, wanted)) = self.wanted.as_mut()
            && done
            && operation.action.is_write()
            && operation.start_us > *since_us
        {
            wanted.retain(|place| !operation.keys.iter().any(|key| self.keys.all[*key].place == *place));
        }
    }
}

fn pick(random: &mut Random, places: &BTreeSet<usize>) -> Option<usize> {
    if places.is_empty() { None } else { places.iter().nth(random.below(places.len())).copied() }
}
