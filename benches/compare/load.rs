//! The load: one thread, one loop over all connections, the same for every protocol.
//!
//! *Closed*: each client sends a batch of requests and the next one when all are answered, as redis-benchmark does; it shows what a
//! system can do. *Open*: requests are sent at fixed times whatever has been answered, and each has waited since it was due, so
//! that a stall counts for all requests that it held up (no coordinated omission).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::poll::{Poll, Ready};
use crate::speech::{Heard, Speaker};
use crate::waits::Waits;

const SCRATCH_BYTES: usize = 256 * 1024;
/// How long an answer to a greeting, or to the last requests of an open load, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits that are kept one by one.
const SLOW: Duration = Duration::from_millis(2);
const SLOW_COUNT_MAX: usize = 1 << 20;
/// A wait that nothing is expected to end.
const LONG: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
pub enum Pace {
    /// Batches of so many requests.
    Closed { depth: usize },
    /// So many requests a second by all clients together.
    Open { per_second: f64 },
}

#[derive(Clone, Copy)]
pub enum Span {
    /// Answers count after a while only.
    Time { warm: Duration, measured: Duration },
    /// Until so many requests are answered.
    Requests(u64),
}

/// Clients, and what they do.
pub struct Load<'a> {
    /// Clients are dealt out over these.
    pub ports: &'a [u16],
    pub clients: usize,
    pub pace: Pace,
    pub span: Span,
    pub speaker: &'a dyn Fn(usize) -> Box<dyn Speaker>,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    pub answered: u64,
    pub failed: u64,
    pub first_error: Option<String>,
    pub time: Duration,
    /// The processor time of what is measured, meanwhile.
    pub cpu: Duration,
    /// How much of their time the processors of the load were busy, where that was asked.
    pub load_busy: Option<f64>,
    pub waits: Waits,
    /// Those that waited longer than `SLOW`: when they were answered, and how long they waited.
    pub slow: Vec<(Instant, Duration)>,
}

struct Connection {
    stream: TcpStream,
    speaker: Box<dyn Speaker>,
    /// An answer's beginning.
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// When the requests without an answer were sent, or were due.
    sent: VecDeque<Instant>,
    wants_writable: bool,
}

impl Connection {
    fn open(port: u16, speaker: Box<dyn Speaker>) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (output, answers) = speaker.greeting();
        let (input, sent) = (Vec::new(), VecDeque::new());
        let mut connection = Self { stream, speaker, input, output, written: 0, sent, wants_writable: false };
        connection.sent.extend(std::iter::repeat_n(Instant::now(), answers));
        connection.stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        connection.write()?;
        let (mut scratch, mut error) = (vec![0; 4096], None);
        while !connection.sent.is_empty() && error.is_none() {
            connection.read(&mut scratch, |_, bad| error = bad)?;
        }
        connection.stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        error.map_or(Ok(connection), Err)
    }

    fn request(&mut self, due: Instant) {
        self.speaker.request(&mut self.output);
        self.sent.push_back(due);
    }

    /// Writes what the socket takes; returns whether that was all.
    fn write(&mut self) -> Result<bool, String> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("write: {error}")),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads what is there and tells of each answer when its request was sent, and why it is no success.
    fn read(&mut self, scratch: &mut [u8], mut each: impl FnMut(Instant, Option<String>)) -> Result<(), String> {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err("closed by the server".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("read: {error}")),
            };
            let was_partial = !self.input.is_empty();
            if was_partial {
                self.input.extend_from_slice(&scratch[..count]);
            }
            let bytes = if was_partial { &self.input[..] } else { &scratch[..count] };
            let mut at = 0;
            loop {
                match self.speaker.hear(&bytes[at..], &mut self.output)? {
                    Heard::Part => break,
                    Heard::Other(length) => at += length,
                    Heard::Answer { length, error } => {
                        at += length;
                        each(self.sent.pop_front().ok_or("an answer to nothing")?, error);
                    }
                }
            }
            if was_partial {
                self.input.drain(..at);
            } else {
                self.input.extend_from_slice(&scratch[at..count]);
            }
            if count < scratch.len() {
                return Ok(());
            }
        }
    }
}

struct Driver {
    connections: Vec<Connection>,
    poll: Poll,
    ready: Vec<Ready>,
    scratch: Vec<u8>,
    outcome: Outcome,
    /// Answers to requests from before do not count.
    counts_from: Option<Instant>,
}

impl Driver {
    fn connect(load: &Load<'_>) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| error.to_string())?;
        let mut connections = Vec::with_capacity(load.clients);
        for client in 0..load.clients {
            let port = load.ports[client % load.ports.len()];
            let connection = Connection::open(port, (load.speaker)(client))?;
            poll.add(&connection.stream, client).map_err(|error| error.to_string())?;
            connections.push(connection);
        }
        let (ready, scratch, outcome) = (Vec::new(), vec![0; SCRATCH_BYTES], Outcome::default());
        Ok(Self { connections, poll, ready, scratch, outcome, counts_from: None })
    }

    fn flush(&mut self, client: usize) -> Result<(), String> {
        let connection = &mut self.connections[client];
        let wanted = !connection.write()?;
        if wanted != connection.wants_writable {
            connection.wants_writable = wanted;
            self.poll.want_writable(&connection.stream, client, wanted).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Waits for sockets and takes their answers; a client without an unanswered request then sends `next_batch` of them.
    fn turn(&mut self, at_most: Duration, next_batch: usize) -> Result<(), String> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(at_most, &mut ready).map_err(|error| error.to_string())?;
        for Ready { token, writable } in ready.iter().copied() {
            if writable {
                self.flush(token)?;
            }
            let (outcome, counts_from) = (&mut self.outcome, self.counts_from);
            let connection = &mut self.connections[token];
            connection.read(&mut self.scratch, |sent, error| {
                let counts = counts_from.is_some_and(|from| sent >= from);
                match error {
                    Some(error) => {
                        outcome.failed += 1;
                        outcome.first_error.get_or_insert(error);
                    }
                    None if counts => {
                        outcome.answered += 1;
                        let now = Instant::now();
                        let wait = now - sent;
                        outcome.waits.add(wait);
                        if wait > SLOW && outcome.slow.len() < SLOW_COUNT_MAX {
                            outcome.slow.push((now, wait));
                        }
                    }
                    None => {}
                }
            })?;
            if connection.sent.is_empty() && next_batch > 0 {
                let now = Instant::now();
                (0..next_batch).for_each(|_| connection.request(now));
            }
            if !connection.output.is_empty() {
                self.flush(token)?;
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// As many batches as it takes.
    fn closed(&mut self, depth: usize, span: Span, probe: &dyn Fn() -> Duration) -> Result<(), String> {
        let began = Instant::now();
        for client in 0..self.connections.len() {
            (0..depth).for_each(|_| self.connections[client].request(began));
            self.flush(client)?;
        }
        if let Span::Time { warm, .. } = span {
            while began.elapsed() < warm {
                self.turn(LONG, depth)?;
            }
        }
        let (began, cpu) = (Instant::now(), probe());
        // Whatever is answered from now on counts, so that a rate is right; requests were sent a moment before at most.
        self.counts_from = Some(began.checked_sub(PATIENCE).unwrap_or(began));
        self.outcome = Outcome::default();
        loop {
            let over = match span {
                Span::Time { measured, .. } => began.elapsed() >= measured,
                Span::Requests(count) => self.outcome.answered + self.outcome.failed >= count,
            };
            if over {
                break;
            }
            self.turn(LONG, depth)?;
        }
        self.outcome.cpu = probe().saturating_sub(cpu);
        self.outcome.time = began.elapsed();
        Ok(())
    }

    /// Requests at their times, then a wait for the last answers; those that never come have waited until then.
    fn open(&mut self, per_second: f64, span: Span, probe: &dyn Fn() -> Duration) -> Result<(), String> {
        let Span::Time { warm, measured } = span else { return Err("an open load ends by time".to_owned()) };
        let (began, gap) = (Instant::now(), 1.0 / per_second);
        let due = |number: u64| began + Duration::from_secs_f64(gap * number as f64);
        let (first, end) = (began + warm, began + warm + measured);
        self.counts_from = Some(first);
        let (mut next, mut cpu) = (0_u64, None);
        while due(next) < end {
            let now = Instant::now();
            if now >= first && cpu.is_none() {
                cpu = Some(probe());
            }
            while due(next) <= now && due(next) < end {
                let client = (next % self.connections.len() as u64) as usize;
                self.connections[client].request(due(next));
                self.flush(client)?;
                next += 1;
            }
            self.turn(due(next).saturating_duration_since(Instant::now()).min(LONG), 0)?;
        }
        self.outcome.cpu = probe().saturating_sub(cpu.unwrap_or_default());
        self.outcome.time = measured;
        let waiting = |driver: &Self| driver.connections.iter().any(|connection| !connection.sent.is_empty());
        while waiting(self) && end.elapsed() < PATIENCE {
            self.turn(LONG, 0)?;
        }
        for sent in self.connections.iter().flat_map(|connection| &connection.sent).filter(|sent| **sent >= first) {
            self.outcome.waits.add(sent.elapsed());
        }
        Ok(())
    }
}

/// Runs a load. `probe` tells the processor time of what is measured.
pub fn drive(load: &Load<'_>, probe: &dyn Fn() -> Duration) -> Result<Outcome, String> {
    let mut driver = Driver::connect(load)?;
    match load.pace {
        Pace::Closed { depth } => driver.closed(depth, load.span, probe)?,
        Pace::Open { per_second } => driver.open(per_second, load.span, probe)?,
    }
    Ok(driver.outcome)
}

/// How long it takes after `harm` until somebody acknowledges a request sent afterwards: each of the ports is asked anew every so
/// often, whatever became of the requests before.
pub fn first_success(
    ports: &[u16],
    speaker: &dyn Fn(usize) -> Box<dyn Speaker>,
    every: Duration,
    patience: Duration,
    harm: impl FnOnce(),
) -> Result<Duration, String> {
    let pace = Pace::Open { per_second: 1.0 };
    let span = Span::Requests(0);
    let mut driver = Driver::connect(&Load { ports, clients: ports.len(), pace, span, speaker })?;
    // They are known to work before.
    driver.counts_from = Some(Instant::now());
    for client in 0..ports.len() {
        driver.connections[client].request(Instant::now());
        driver.flush(client)?;
    }
    let asked = Instant::now();
    while driver.outcome.answered < ports.len() as u64 {
        driver.turn(LONG, 0)?;
        if asked.elapsed() > PATIENCE {
            return Err(driver.outcome.first_error.unwrap_or_else(|| "no answer before anything happened".to_owned()));
        }
    }
    driver.outcome = Outcome::default();
    let began = Instant::now();
    harm();
    let mut next = Instant::now();
    while driver.outcome.answered == 0 && began.elapsed() < patience {
        if Instant::now() >= next {
            next += every;
            for client in 0..ports.len() {
                driver.connections[client].request(Instant::now());
                driver.flush(client)?;
            }
        }
        driver.turn(next.saturating_duration_since(Instant::now()), 0)?;
    }
    if driver.outcome.answered == 0 { Err("nothing was acknowledged any more".to_owned()) } else { Ok(began.elapsed()) }
}
