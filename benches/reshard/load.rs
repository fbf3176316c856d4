//! Clients that send reads and writes at a steady rate and know what they must find: one request at a time each, over a proxy or
//! as a client of Redis Cluster that follows redirects.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pontoon::protocol::request::write_array;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

/// How many clients there are.
pub const CLIENTS: usize = 50;
pub const KEYS: usize = 1_000_000;
const VALUE_BYTES: usize = 100;
/// Keys that are written or read at once outside of what is measured.
const BATCH: usize = 250;

/// How a key's server is found.
#[derive(Clone)]
pub enum Route {
    /// One address has all keys.
    One(u16),
    /// These servers of a Redis Cluster, by the port of each slot.
    Cluster(Rc<RefCell<Vec<u16>>>),
}

impl Route {
    fn port(&self, key: &str) -> u16 {
        match self {
            Self::One(port) => *port,
            Self::Cluster(ports) => ports.borrow()[crc16(key.as_bytes())],
        }
    }

    fn learn(&self, key: &str, port: u16) {
        if let Self::Cluster(ports) = self {
            ports.borrow_mut()[crc16(key.as_bytes())] = port;
        }
    }
}

/// CRC16/XMODEM modulo 16384, as Redis Cluster has it; Pontoon's slots are others.
fn crc16(key: &[u8]) -> usize {
    let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let crc = key.iter().fold(0_u16, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), step));
    usize::from(crc) % 16384
}

pub fn key(number: usize) -> String {
    format!("key:{number:07}")
}

fn value(number: usize, version: u32) -> String {
    format!("{:x<VALUE_BYTES$}", format!("{number}:{version}:"))
}

fn command(args: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    write_array(&mut out, args.iter().map(|arg| arg.as_bytes()));
    out
}

/// An answer: text, or an error's text.
type Answer = Result<Option<String>, String>;

#[derive(Default)]
struct Connections(HashMap<u16, (TcpStream, Vec<u8>)>);

impl Connections {
    async fn at(&mut self, port: u16) -> &mut (TcpStream, Vec<u8>) {
        match self.0.entry(port) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a server listens");
                stream.set_nodelay(true).expect("it is a TCP socket");
                entry.insert((stream, Vec::new()))
            }
        }
    }

    /// Sends, and waits for so many answers.
    async fn ask(&mut self, port: u16, bytes: &[u8], count: usize) -> Vec<Answer> {
        let (stream, buffer) = self.at(port).await;
        stream.write_all(bytes).await.expect("the server takes requests");
        let (mut answers, mut from) = (Vec::with_capacity(count), 0);
        while answers.len() < count {
            match parse(&buffer[from..]) {
                Some((answer, length)) => {
                    answers.push(answer);
                    from += length;
                }
                None => assert!(stream.read_buf(buffer).await.expect("the server answers") > 0, "closed by the server"),
            }
        }
        buffer.drain(..from);
        answers
    }

    /// One request, wherever its key is; redirects are followed, as good clients do.
    async fn request(&mut self, route: &Route, key: &str, args: &[&str]) -> Answer {
        let bytes = command(args);
        let (mut port, mut asking) = (route.port(key), false);
        loop {
            let answer = if asking {
                let both = [command(&["ASKING"]), bytes.clone()].concat();
                self.ask(port, &both, 2).await.pop().expect("two answers")
            } else {
                self.ask(port, &bytes, 1).await.pop().expect("one answer")
            };
            let Err(error) = &answer else { return answer };
            let words: Vec<&str> = error.split(' ').collect();
            let (kind, address) = (words[0], words.get(2).copied().unwrap_or_default());
            asking = kind == "ASK";
            if !asking && kind != "MOVED" {
                return answer;
            }
            port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a redirect names a port");
            if !asking {
                route.learn(key, port);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[1..end]).into_owned();
    match bytes[0] {
        b'$' if line == "-1" => Some((Ok(None), end + 2)),
        b'$' => {
            let length: usize = line.parse().expect("a length");
            let text = bytes.get(end + 2..end + 2 + length + 2)?;
            Some((Ok(Some(String::from_utf8_lossy(&text[..length]).into_owned())), end + 2 + length + 2))
        }
        b'-' => Some((Err(line), end + 2)),
        _ => Some((Ok(Some(line)), end + 2)),
    }
}

/// A request that was answered: when, after the beginning, and how long that took.
#[derive(Clone, Copy)]
pub struct Sample {
    pub at: Duration,
    pub took: Duration,
}

/// What clients did.
#[derive(Default)]
pub struct Outcome {
    pub samples: Vec<Sample>,
    pub errors: Vec<String>,
}

/// Runs something on a thread of its own event loop.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    LocalSet::new().block_on(&runtime, work)
}

/// Sets all keys.
pub async fn fill(route: &Route) {
    let mut connections = Connections::default();
    for first in (0..KEYS).step_by(BATCH) {
        let mut batches: HashMap<u16, (Vec<u8>, usize)> = HashMap::new();
        for number in first..first + BATCH {
            let key = key(number);
            let batch = batches.entry(route.port(&key)).or_default();
            batch.0.extend(command(&["SET", &key, &value(number, 0)]));
            batch.1 += 1;
        }
        for (port, (bytes, count)) in batches {
            let answers = connections.ask(port, &bytes, count).await;
            assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
        }
    }
}

/// Reads all keys; returns how many do not hold what was written last.
pub async fn wrong_keys(route: &Route, versions: &[u32]) -> usize {
    let (mut connections, mut wrong) = (Connections::default(), 0);
    for first in (0..KEYS).step_by(BATCH) {
        let mut batches: HashMap<u16, (Vec<u8>, Vec<usize>)> = HashMap::new();
        for number in first..first + BATCH {
            let batch = batches.entry(route.port(&key(number))).or_default();
            batch.0.extend(command(&["GET", &key(number)]));
            batch.1.push(number);
        }
        for (port, (bytes, numbers)) in batches {
            let answers = connections.ask(port, &bytes, numbers.len()).await;
            for (number, mut answer) in numbers.into_iter().zip(answers) {
                if answer.is_err() {
                    // Moved since this server was last heard of.
                    let key = key(number);
                    answer = connections.request(route, &key, &["GET", &key]).await;
                }
                wrong += usize::from(answer != Ok(Some(value(number, versions[number]))));
            }
        }
    }
    wrong
}

/// What clients do.
#[derive(Clone)]
pub struct Aim {
    /// Requests a second of all together; none: as many as get answers.
    pub rate: Option<f64>,
    /// The keys that are asked for.
    pub numbers: Arc<[usize]>,
    /// Whether half of the requests are reads.
    pub reads: bool,
}

impl Aim {
    /// Reads and writes of all keys.
    pub fn at_all(rate: Option<f64>) -> Self {
        Self { rate, numbers: (0..KEYS).collect(), reads: true }
    }
}

/// All clients, until told to stop.
pub async fn drive(route: &Route, aim: &Aim, began: Instant, stop: &AtomicBool, versions: &mut [u32]) -> Outcome {
    let (outcome, shared) = (Rc::new(RefCell::new(Outcome::default())), Rc::new(RefCell::new(versions.to_vec())));
    let over = Rc::new(std::cell::Cell::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client {
                number,
                route: route.clone(),
                aim: aim.clone(),
                pause: aim.rate.map(|rate| Duration::from_secs_f64(CLIENTS as f64 / rate)),
                versions: Rc::clone(&shared),
                outcome: Rc::clone(&outcome),
                over: Rc::clone(&over),
                began,
            };
            spawn_local(client.run())
        })
        .collect();
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    over.set(true);
    for client in clients {
        client.await.expect("a client ends");
    }
    versions.copy_from_slice(&shared.borrow());
    Rc::try_unwrap(outcome).ok().expect("all clients have ended").into_inner()
}

struct Client {
    number: usize,
    route: Route,
    aim: Aim,
    pause: Option<Duration>,
    versions: Rc<RefCell<Vec<u32>>>,
    outcome: Rc<RefCell<Outcome>>,
    over: Rc<std::cell::Cell<bool>>,
    began: Instant,
}

impl Client {
    async fn run(self) {
        let mut connections = Connections::default();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(self.number as u64 + 1);
        let mut next = Instant::now() + self.pause.unwrap_or_default().mul_f64(self.number as f64 / CLIENTS as f64);
        while !self.over.get() {
            let late = Instant::now() > next;
            if self.pause.is_some() && !late {
                tokio::time::sleep_until(next.into()).await;
            }
            // A request that had to wait for the one before it has waited since it was due.
            let due = if self.pause.is_some() && late { next } else { Instant::now() };
            next += self.pause.unwrap_or_default();
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let numbers = &self.aim.numbers;
            let own = numbers[(random >> 8) as usize % (numbers.len() / CLIENTS) * CLIENTS + self.number];
            if random & 1 == 0 || !self.aim.reads {
                self.write(&mut connections, own).await
            } else {
                self.read(&mut connections, own).await
            }
            let now = Instant::now();
            let sample = Sample { at: now - self.began, took: now - due };
            self.outcome.borrow_mut().samples.push(sample);
        }
    }

    async fn write(&self, connections: &mut Connections, number: usize) {
        let (key, version) = (key(number), self.versions.borrow()[number] + 1);
        match connections.request(&self.route, &key, &["SET", &key, &value(number, version)]).await {
            Ok(_) => self.versions.borrow_mut()[number] = version,
            Err(error) => self.outcome.borrow_mut().errors.push(error),
        }
    }

    async fn read(&self, connections: &mut Connections, number: usize) {
        let (key, version) = (key(number), self.versions.borrow()[number]);
        match connections.request(&self.route, &key, &["GET", &key]).await {
            Ok(Some(found)) if found == value(number, version) => {}
            Ok(found) => {
                self.outcome.borrow_mut().errors.push(format!("{key}: {found:?} instead of version {version}"))
            }
            Err(error) => self.outcome.borrow_mut().errors.push(error),
        }
    }
}
