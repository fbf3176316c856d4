//! What clients do, and what they remember of it.
//!
//! Every value is unique. A client whose operation ends without a known outcome goes on as somebody else, on a new
//! connection. Keys are used up and replaced, so that no key's history grows beyond what a search can judge.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::resp::{Answer, Connection};
use crate::checkers::append::Append;
use crate::checkers::bank::Bank;
use crate::checkers::counter::Counter;
use crate::checkers::history::{Level, Operation, Outcome, Reply};
use crate::checkers::queue::Queue;
use crate::checkers::register::Register;
use crate::checkers::set::Set;

pub const CLIENTS: u64 = 16;
/// No more than these use a register: the search is exponential in those at once.
const REGISTER_CLIENTS: u64 = 8;
/// Longer than any proxy takes to answer.
const PATIENCE: Duration = Duration::from_secs(20);
const THINK_MAX_MS: u64 = 16;
pub const ACCOUNTS: usize = 4;

/// Operations after which a kind's keys are new ones, and keys at a time.
struct Rotation {
    operations: u64,
    keys: u64,
}

const APPENDS: Rotation = Rotation { operations: 250, keys: 4 };
const REGISTERS: Rotation = Rotation { operations: 150, keys: 4 };
const COUNTERS: Rotation = Rotation { operations: 500, keys: 2 };
const SETS: Rotation = Rotation { operations: 200, keys: 2 };
const QUEUES: Rotation = Rotation { operations: 300, keys: 2 };
const BANKS: Rotation = Rotation { operations: 200, keys: 2 };

impl Rotation {
    /// The key of a kind's next operation.
    fn next(&self, used: &AtomicU64) -> u64 {
        let number = used.fetch_add(1, Ordering::Relaxed);
        number / (self.operations * self.keys) * self.keys + number % self.keys
    }
}

/// What was done to keys of one kind, by key.
pub type Record<A> = Vec<(u64, Operation<A>)>;

/// All that clients did.
#[derive(Default)]
pub struct Memory {
    pub appends: Record<Append>,
    pub registers: Record<Register>,
    pub counters: Record<Counter>,
    pub sets: Record<Set>,
    pub banks: Record<Bank>,
    pub queues: Record<Queue>,
    /// Answers that nobody may get.
    pub complaints: Vec<String>,
}

impl Memory {
    pub fn add(&mut self, other: Self) {
        self.appends.extend(other.appends);
        self.registers.extend(other.registers);
        self.counters.extend(other.counters);
        self.sets.extend(other.sets);
        self.banks.extend(other.banks);
        self.queues.extend(other.queues);
        self.complaints.extend(other.complaints);
    }
}

/// What all clients of a run share.
pub struct Shared {
    pub began: Instant,
    pub proxies: Vec<String>,
    /// How far behind reads of level `any` may be.
    staleness_max_us: u64,
    pub stop: AtomicBool,
    pub memory: Mutex<Memory>,
    next_session: AtomicU64,
    next_value: AtomicU64,
    used: [AtomicU64; 6],
}

impl Shared {
    pub fn new(proxies: Vec<String>, staleness_max: Duration) -> Self {
        Self {
            began: Instant::now(),
            proxies,
            staleness_max_us: staleness_max.as_micros() as u64,
            stop: AtomicBool::new(false),
            memory: Mutex::default(),
            next_session: AtomicU64::new(1),
            next_value: AtomicU64::new(1),
            used: Default::default(),
        }
    }

    pub fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }
}

/// A client, for as long as the run takes.
pub fn run(shared: &Shared, seed: u64, number: u64) {
    let mut client = Client {
        shared,
        number,
        random: StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) + number),
        memory: Memory::default(),
        connected: None,
        added: Vec::new(),
        look_back: None,
    };
    while !shared.stop.load(Ordering::Relaxed) {
        client.act();
        if client.look_back.is_none() {
            std::thread::sleep(Duration::from_millis(client.random.random_range(0..=THINK_MAX_MS)));
        }
    }
    shared.memory.lock().unwrap().add(client.memory);
}

struct Connected {
    connection: Connection,
    session: u64,
    level: Level,
    operations_left: u64,
}

struct Client<'a> {
    shared: &'a Shared,
    number: u64,
    random: StdRng,
    memory: Memory,
    connected: Option<Connected>,
    /// Members that this session added, with their sets.
    added: Vec<(u64, u64)>,
    look_back: Option<(Kind, u64)>,
}

/// Kinds of keys.
#[derive(Clone, Copy)]
enum Kind {
    List,
    Register,
    Counter,
    Set,
    Bank,
    Queue,
}

impl Client<'_> {
    fn act(&mut self) {
        let look_back = self.look_back.take();
        let done = self.connected().and_then(|()| match (look_back, self.random.random_range(0..100)) {
            (Some((kind, key)), _) => self.read(kind, key),
            (_, 0..40) => self.append(),
            (_, 40..58) if self.number < REGISTER_CLIENTS => self.register(),
            (_, 40..68) => self.counter(),
            (_, 68..80) => self.set(),
            (_, 80..88) => self.queue(),
            _ => self.bank(),
        });
        let left = self.connected.as_mut().map_or(0, |c| {
            c.operations_left = c.operations_left.saturating_sub(1);
            c.operations_left
        });
        if done.is_err() || left == 0 {
            self.connected = None;
            self.look_back = None;
            self.added.clear();
        }
        if done.is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn connected(&mut self) -> io::Result<()> {
        if self.connected.is_some() {
            return Ok(());
        }
        let proxy = self.random.random_range(0..self.shared.proxies.len());
        let mut connection = Connection::open(&self.shared.proxies[proxy], PATIENCE)?;
        let (level, word) = match self.random.random_range(0..10) {
            0..5 => (Level::Strong, "strong"),
            5..8 => (Level::Session, "session"),
            _ => (Level::Any, "any"),
        };
        connection.ask(&["CLIENT", "READS", word])?;
        let session = self.shared.next_session.fetch_add(1, Ordering::Relaxed);
        let operations_left = self.random.random_range(50..300);
        self.connected = Some(Connected { connection, session, level, operations_left });
        Ok(())
    }

    fn value(&self) -> u64 {
        self.shared.next_value.fetch_add(1, Ordering::Relaxed)
    }

    fn key(&self, rotation: &Rotation, kind: Kind) -> u64 {
        rotation.next(&self.shared.used[kind as usize])
    }

    /// Sends commands together; remembers each with its outcome. An error: this session is over.
    fn perform<A: Copy + std::fmt::Debug>(
        &mut self,
        requests: &[Request<'_, A>],
        record: impl Fn(&mut Memory) -> &mut Record<A>,
    ) -> io::Result<()> {
        let Some(connected) = &mut self.connected else { return Err(io::ErrorKind::NotConnected.into()) };
        let start = self.shared.now_us();
        let commands: Vec<&[&str]> = requests.iter().flat_map(|r| r.commands.iter().copied()).collect();
        let mut failed = connected.connection.send(&commands).err();
        for request in requests {
            let mut answer = None;
            for _ in request.commands {
                match failed.is_none().then(|| connected.connection.receive()) {
                    Some(Ok(received)) => answer = Some(received),
                    Some(Err(error)) => (failed, answer) = (Some(error), None),
                    None => answer = None,
                }
            }
            if let Some(error) = failed.as_ref().filter(|e| e.kind() == io::ErrorKind::InvalidData) {
                self.memory.complaints.push(format!("{:?}: {error}", request.action));
            }
            let end = self.shared.now_us();
            let outcome = match answer {
                Some(Answer::Reply(reply)) => Outcome::Done(reply),
                Some(Answer::Error(error)) if surely_not_applied(&error) => Outcome::NotApplied,
                Some(Answer::Error(error)) => {
                    if !error.starts_with("TIMEOUT ") {
                        self.memory.complaints.push(format!("{:?}: {error}", request.action));
                    }
                    failed = failed.or(Some(io::ErrorKind::TimedOut.into()));
                    Outcome::Unknown
                }
                None => Outcome::Unknown,
            };
            let operation = Operation::strong(connected.session, start, end, request.action, outcome);
            let level = if request.read { connected.level } else { Level::Strong };
            let operation = operation.at_level(level, self.shared.staleness_max_us);
            record(&mut self.memory).push((request.key, operation));
        }
        failed.map_or(Ok(()), Err)
    }

    fn append(&mut self) -> io::Result<()> {
        let (key, value) = (self.key(&APPENDS, Kind::List), self.value());
        let (name, text) = (format!("list{key}"), value.to_string());
        let push: &[&[&str]] = &[&["RPUSH", &name, &text]];
        let read: &[&[&str]] = &[&["LRANGE", &name, "0", "-1"]];
        let push = Request { key, action: Append::Push(value), commands: push, read: false };
        let read = Request { key, action: Append::Read, commands: read, read: true };
        match self.random.random_range(0..10) {
            0..6 => self.perform(&[push], |m| &mut m.appends)?,
            6..8 => return self.read(Kind::List, key),
            _ => self.perform(&[push, read], |m| &mut m.appends)?,
        }
        self.perhaps_look_back(Kind::List, key);
        Ok(())
    }

    fn register(&mut self) -> io::Result<()> {
        let (key, value) = (self.key(&REGISTERS, Kind::Register), self.value());
        let (name, text) = (format!("register{key}"), value.to_string());
        let (action, command): (_, &[&str]) = match self.random.random_range(0..20) {
            0..2 => return self.set_two_registers(key, value),
            2..6 => (Register::Set(value), &["SET", &name, &text]),
            6..9 => (Register::Exchange(value), &["GETSET", &name, &text]),
            9..12 => (Register::SetIfAbsent(value), &["SET", &name, &text, "NX"]),
            // Weak reads say less where there are deletions.
            12..14 if key % 2 == 0 => (Register::Delete, &["DEL", &name]),
            _ => return self.read(Kind::Register, key),
        };
        self.perform(&[Request { key, action, commands: &[command], read: false }], |m| &mut m.registers)?;
        self.perhaps_look_back(Kind::Register, key);
        Ok(())
    }

    /// One command for keys that may be of two shards. What is told of it is true of each of them.
    fn set_two_registers(&mut self, key: u64, value: u64) -> io::Result<()> {
        let (other_key, other_value) = (key ^ 1, self.value());
        let names = [key, other_key].map(|key| format!("register{key}"));
        let texts = [value, other_value].map(|value| value.to_string());
        let commands: &[&[&str]] = &[&["MSET", &names[0], &texts[0], &names[1], &texts[1]]];
        let request = Request { key, action: Register::Set(value), commands, read: false };
        let done = self.perform(&[request], |m| &mut m.registers);
        if let Some((_, first)) = self.memory.registers.last_mut().filter(|(_, o)| o.action == Register::Set(value)) {
            // An error is that of a part; the other one may have been done.
            if first.is_refused() {
                first.outcome = Outcome::Unknown;
            }
            let second = first.map(Register::Set(other_value), first.outcome.clone());
            self.memory.registers.push((other_key, second));
        }
        done
    }

    fn queue(&mut self) -> io::Result<()> {
        let (key, value) = (self.key(&QUEUES, Kind::Queue), self.value());
        let (name, text) = (format!("queue{key}"), value.to_string());
        let (action, command): (_, &[&str]) = match self.random.random_range(0..10) {
            0..5 => (Queue::Push(value), &["RPUSH", &name, &text]),
            5..8 => (Queue::Take, &["BLPOP", &name, "0.3"]),
            _ => (Queue::Take, &["LPOP", &name]),
        };
        let done = self.perform(&[Request { key, action, commands: &[command], read: false }], |m| &mut m.queues);
        // BLPOP tells the key too.
        if let Some((_, Operation { outcome: Outcome::Done(reply), .. })) = self.memory.queues.last_mut()
            && let Some([_, taken]) = reply.list()
            && action == Queue::Take
        {
            *reply = taken.clone();
        }
        self.perhaps_look_back(Kind::Queue, key);
        done
    }

    fn counter(&mut self) -> io::Result<()> {
        let key = self.key(&COUNTERS, Kind::Counter);
        if self.random.random_range(0..10) < 3 {
            return self.read(Kind::Counter, key);
        }
        let name = format!("counter{key}");
        let commands: &[&[&str]] = &[&["INCR", &name]];
        let request = Request { key, action: Counter::Increment, commands, read: false };
        self.perform(&[request], |m| &mut m.counters)?;
        self.perhaps_look_back(Kind::Counter, key);
        Ok(())
    }

    fn set(&mut self) -> io::Result<()> {
        let (mut key, mut value) = (self.key(&SETS, Kind::Set), self.value());
        let choice = self.random.random_range(0..10);
        let own = if choice >= 8 { self.added.pop() } else { None };
        let action = if let Some(own) = own {
            (key, value) = own;
            Set::Remove(value)
        } else if choice < 3 {
            return self.read(Kind::Set, key);
        } else {
            Set::Add(value)
        };
        let (name, text) = (format!("set{key}"), value.to_string());
        let commands: &[&[&str]] = &[&[if own.is_some() { "SREM" } else { "SADD" }, &name, &text]];
        self.perform(&[Request { key, action, commands, read: false }], |m| &mut m.sets)?;
        if own.is_none() && key % 2 == 0 {
            self.added.push((key, value));
        }
        self.perhaps_look_back(Kind::Set, key);
        Ok(())
    }

    /// Often the next thing, and without thinking, is to read what was written: then a stale answer shows.
    fn perhaps_look_back(&mut self, kind: Kind, key: u64) {
        self.look_back = self.random.random_bool(0.4).then_some((kind, key));
    }

    fn read(&mut self, kind: Kind, key: u64) -> io::Result<()> {
        match kind {
            Kind::List => {
                let commands: &[&[&str]] = &[&["LRANGE", &format!("list{key}"), "0", "-1"]];
                self.perform(&[Request { key, action: Append::Read, commands, read: true }], |m| &mut m.appends)
            }
            Kind::Register => {
                let commands: &[&[&str]] = &[&["GET", &format!("register{key}")]];
                self.perform(&[Request { key, action: Register::Get, commands, read: true }], |m| &mut m.registers)
            }
            Kind::Counter => {
                let commands: &[&[&str]] = &[&["GET", &format!("counter{key}")]];
                self.perform(&[Request { key, action: Counter::Read, commands, read: true }], |m| &mut m.counters)
            }
            Kind::Set => {
                let commands: &[&[&str]] = &[&["SMEMBERS", &format!("set{key}")]];
                self.perform(&[Request { key, action: Set::Read, commands, read: true }], |m| &mut m.sets)
            }
            Kind::Queue => {
                let commands: &[&[&str]] = &[&["LRANGE", &format!("queue{key}"), "0", "-1"]];
                self.perform(&[Request { key, action: Queue::Read, commands, read: true }], |m| &mut m.queues)
            }
            Kind::Bank => {
                let commands = bank_read(key);
                let words: Vec<Vec<&str>> = commands.iter().map(|c| c.iter().map(String::as_str).collect()).collect();
                let words: Vec<&[&str]> = words.iter().map(Vec::as_slice).collect();
                // A transaction is an entry of the log, whatever the level.
                let request = Request { key, action: Bank::Read, commands: &words, read: false };
                self.perform(&[request], |m| &mut m.banks)
            }
        }
    }

    fn bank(&mut self) -> io::Result<()> {
        let (key, id) = (self.key(&BANKS, Kind::Bank), self.value());
        if self.random.random_range(0..10) < 3 {
            return self.read(Kind::Bank, key);
        }
        let account = |number: usize| format!("{{bank{key}}}:{number}");
        let log = format!("{{bank{key}}}:log");
        let from = self.random.random_range(0..ACCOUNTS);
        let to = (from + self.random.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let amount: i64 = self.random.random_range(1..100);
        // A read of level `any` may show what was before the watch.
        let is_any = self.connected.as_ref().is_some_and(|c| c.level == Level::Any);
        let guard = if !is_any && self.random.random_bool(0.4) { Some(self.watch(&account(from))?) } else { None };
        let (from_key, to_key, sum, id_text) = (account(from), account(to), amount.to_string(), id.to_string());
        let commands: &[&[&str]] = &[
            &["MULTI"],
            &["DECRBY", &from_key, &sum],
            &["INCRBY", &to_key, &sum],
            &["RPUSH", &log, &id_text],
            &["EXEC"],
        ];
        let action = Bank::Transfer { id, from, to, amount, guard };
        self.perform(&[Request { key, action, commands, read: false }], |m| &mut m.banks)
    }

    /// Watches an account; returns its balance.
    fn watch(&mut self, account: &str) -> io::Result<i64> {
        let Some(connected) = &mut self.connected else { return Err(io::ErrorKind::NotConnected.into()) };
        let watched = connected.connection.ask(&["WATCH", account])?;
        let balance = connected.connection.ask(&["GET", account])?;
        match (watched, balance) {
            (Answer::Reply(_), Answer::Reply(Reply::Nil)) => Ok(0),
            (Answer::Reply(_), Answer::Reply(reply)) => reply.number().ok_or(io::ErrorKind::InvalidData.into()),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// The transaction that reads all accounts and the log.
pub fn bank_read(key: u64) -> Vec<Vec<String>> {
    let mut accounts = vec!["MGET".to_owned()];
    accounts.extend((0..ACCOUNTS).map(|number| format!("{{bank{key}}}:{number}")));
    let log = ["LRANGE", &format!("{{bank{key}}}:log"), "0", "-1"].map(str::to_owned).to_vec();
    vec![vec!["MULTI".to_owned()], accounts, log, vec!["EXEC".to_owned()]]
}

/// One operation: commands of which the last one's answer counts.
struct Request<'a, A> {
    key: u64,
    action: A,
    commands: &'a [&'a [&'a str]],
    read: bool,
}

/// The errors that promise it; anything else than them and `TIMEOUT` is nothing that a client may see.
fn surely_not_applied(error: &str) -> bool {
    error.starts_with("UNAVAILABLE ") || error.starts_with("EXECABORT ")
}
