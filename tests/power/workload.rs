//! What clients write before a power cut, what they were told, and whether it is there afterwards.
//!
//! A client's commands are decided by their numbers, which are never used twice, and go out in a pipeline. All but MSET touch
//! one hash tag, so one shard, which executes a client's commands in their order: after a cut it must hold what the
//! first so many commands leave, no fewer than were acknowledged and no more than were sent. That one rule sees what
//! is missing, what is there twice and what is out of order. MSET goes to two shards, each of which may be ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::checkers::history::Reply;
use crate::resp::{Answer, Connection};

/// Commands that a client has under way.
const WINDOW: u64 = 16;
/// Keys that a client writes with SET and DEL.
const KEYS: u64 = 40;
/// How long an answer may take: machines may be emulated, on a loaded host.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Set(u64),
    Delete(u64),
    Push,
    Count,
    /// MULTI with a push and a count.
    Both,
    /// MSET of two keys.
    Pair,
}

impl Command {
    fn of(number: u64) -> Self {
        match number % 16 {
            0..=5 | 15 => Self::Set(number * 7 % KEYS),
            6 | 7 => Self::Push,
            8 | 9 => Self::Count,
            10 | 11 => Self::Both,
            12 | 13 => Self::Pair,
            _ => Self::Delete(number * 11 % KEYS),
        }
    }
}

/// The value that a command writes: its number, and something to fill the log with.
fn value(number: u64) -> String {
    let length = if number % 16 == 15 { 12_000 } else { 60 + number * 37 % 900 };
    format!("{number}.{}", "x".repeat(length as usize))
}

/// The command that wrote a value; none where no command writes such a value.
fn writer_of(text: &[u8]) -> Option<u64> {
    let dot = text.iter().position(|byte| *byte == b'.')?;
    let number = std::str::from_utf8(&text[..dot]).ok()?.parse().ok()?;
    (value(number).as_bytes() == text).then_some(number)
}

/// What a client's hash tag holds: values by the number of the command that wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    list: Vec<u64>,
    count: i64,
    keys: BTreeMap<u64, u64>,
}

impl State {
    /// Executes a command; returns what it answers.
    fn execute(&mut self, number: u64) -> Reply {
        match Command::of(number) {
            Command::Set(key) => drop(self.keys.insert(key, number)),
            Command::Pair => {}
            Command::Delete(key) => return Reply::Number(self.keys.remove(&key).is_some().into()),
            Command::Push => return self.push(number),
            Command::Count => return self.increment(),
            Command::Both => return Reply::List(vec![self.push(number), self.increment()]),
        }
        Reply::text("OK")
    }

    fn push(&mut self, number: u64) -> Reply {
        self.list.push(number);
        Reply::Number(self.list.len() as i64)
    }

    fn increment(&mut self) -> Reply {
        self.count += 1;
        Reply::Number(self.count)
    }
}

/// All that a client finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    state: State,
    /// The keys of MSET.
    pair: [Option<u64>; 2],
}

/// What is wrong after a cut.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub missing: u64,
    pub doubled: u64,
    /// Neither, and yet nothing that the commands can have left.
    pub wrong: Vec<String>,
}

/// Between the clients and who cuts the power.
#[derive(Debug, Default)]
pub struct Moment {
    /// Answers of all clients.
    pub answers: AtomicU64,
    /// From now on connections may break.
    pub is_cut: AtomicBool,
}

/// A client: all that it sent since it last knew what was there.
#[derive(Debug)]
pub struct Client {
    name: usize,
    known: Found,
    /// The first command since.
    first: u64,
    sent: u64,
    /// For each acknowledged command the length of the log of writes when its answer came.
    acknowledged: Vec<u64>,
}

impl Client {
    pub fn new(name: usize) -> Self {
        Self { name, known: Found::default(), first: 1, sent: 0, acknowledged: Vec::new() }
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// The length of the log of writes when the first answer came.
    pub fn first_acknowledged(&self) -> Option<u64> {
        self.acknowledged.first().copied()
    }

    /// Writes until the connection breaks, which it may when it `is_cut`. Anything but the expected answers is an error.
    pub fn write(&mut self, address: &str, log: &Path, moment: &Moment) -> Result<(), String> {
        let mut expected = self.known.state.clone();
        let broke = |error: io::Error, what| {
            let fine = moment.is_cut.load(Ordering::SeqCst);
            if fine { Ok(()) } else { Err(format!("{what} while the machine was up: {error}")) }
        };
        let mut connection = match patiently(|| Connection::open(address, PATIENCE), &moment.is_cut) {
            Ok(connection) => connection,
            Err(error) => return broke(error, "no connection"),
        };
        loop {
            while self.sent - self.acknowledged() < WINDOW {
                self.sent += 1;
                if let Err(error) = self.send(&mut connection, self.first + self.sent - 1) {
                    return broke(error, "a broken connection");
                }
            }
            let number = self.first + self.acknowledged();
            let queued = if Command::of(number) == Command::Both { 3 } else { 0 };
            let replies: Result<Vec<Answer>, _> = (0..=queued).map(|_| connection.receive()).collect();
            let expected = expected.execute(number);
            match replies {
                Err(error) => return broke(error, "a broken connection"),
                Ok(replies) if replies.last() == Some(&Answer::Reply(expected.clone())) => {
                    let length = std::fs::metadata(log).map_err(|error| error.to_string())?.len();
                    self.acknowledged.push(length);
                    moment.answers.fetch_add(1, Ordering::Relaxed);
                }
                Ok(replies) => {
                    let command = Command::of(number);
                    return Err(format!("client {}: {command:?} got {replies:?}, not {expected:?}", self.name));
                }
            }
        }
    }

    fn send(&self, connection: &mut Connection, number: u64) -> io::Result<()> {
        let (value, digits) = (value(number), number.to_string());
        let [list, count, left, right] = self.names();
        match Command::of(number) {
            Command::Set(key) => connection.send(&[&["SET", &self.key(key), &value]]),
            Command::Delete(key) => connection.send(&[&["DEL", &self.key(key)]]),
            Command::Push => connection.send(&[&["RPUSH", &list, &digits]]),
            Command::Count => connection.send(&[&["INCR", &count]]),
            Command::Both => connection.send(&[&["MULTI"], &["RPUSH", &list, &digits], &["INCR", &count], &["EXEC"]]),
            Command::Pair => connection.send(&[&["MSET", &left, &value, &right, &value]]),
        }
    }

    fn key(&self, key: u64) -> String {
        format!("{{client{}}}:{key}", self.name)
    }

    /// The list, the counter and the keys of MSET.
    fn names(&self) -> [String; 4] {
        let name = self.name;
        [format!("{{client{name}}}:l"), format!("{{client{name}}}:c"), format!("left{name}"), format!("right{name}")]
    }

    /// Reads all that the client may have written.
    pub fn look(&self, connection: &mut Connection) -> Result<Found, String> {
        let mut ask = |words: &[&str]| match connection.ask(words) {
            Ok(Answer::Reply(reply)) => Ok(reply),
            other => Err(format!("{words:?}: {other:?}")),
        };
        ask(&["CLIENT", "READS", "strong"])?;
        let [list, count, left, right] = self.names();
        let mut found = Found::default();
        let elements = ask(&["LRANGE", &list, "0", "-1"])?;
        found.state.list = elements.values().ok_or_else(|| format!("a list of {elements:?}"))?;
        found.state.count = ask(&["GET", &count])?.number().unwrap_or(0);
        let mut written = |key: &str| match ask(&["GET", key])? {
            Reply::Text(text) => {
                let shown = || String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
                writer_of(&text).map(Some).ok_or_else(|| format!("{key} holds what nobody wrote: {}", shown()))
            }
            _ => Ok(None),
        };
        for key in 0..KEYS {
            if let Some(number) = written(&self.key(key))? {
                found.state.keys.insert(key, number);
            }
        }
        found.pair = [written(&left)?, written(&right)?];
        Ok(found)
    }

    /// Judges what was found after a cut where the log of writes had this length.
    pub fn judge(&self, found: &Found, log_length: u64) -> Verdict {
        let acknowledged = self.acknowledged.partition_point(|length| *length <= log_length) as u64;
        let (sure, all) = (self.first + acknowledged, self.first + self.sent);
        let mut verdict = Verdict::default();
        let mut oldest = self.known.state.clone();
        (self.first..sure).for_each(|number| drop(oldest.execute(number)));
        let mut state = oldest.clone();
        let mut fits = state == found.state;
        // Values that a key may have.
        let mut values: BTreeSet<(u64, Option<u64>)> = (0..KEYS).map(|k| (k, state.keys.get(&k).copied())).collect();
        for number in sure..all {
            state.execute(number);
            fits |= state == found.state;
            if let Command::Set(key) | Command::Delete(key) = Command::of(number) {
                values.insert((key, state.keys.get(&key).copied()));
            }
        }
        if !fits {
            let there: BTreeSet<u64> = found.state.list.iter().copied().collect();
            verdict.missing += oldest.list.iter().filter(|number| !there.contains(number)).count() as u64;
            verdict.missing += (oldest.count - found.state.count).max(0) as u64;
            verdict.missing +=
                (0..KEYS).filter(|k| !values.contains(&(*k, found.state.keys.get(k).copied()))).count() as u64;
            verdict.doubled += (found.state.list.len() - there.len()) as u64;
            verdict.doubled += (found.state.count - state.count).max(0) as u64;
            if verdict.missing + verdict.doubled == 0 {
                verdict.wrong.push(format!("client {}: not the state after any of its commands", self.name));
            }
        }
        let is_pair = |number: &u64| Command::of(*number) == Command::Pair;
        let newest = (self.first..sure).rev().find(is_pair);
        for (seen, before) in found.pair.iter().zip(self.known.pair) {
            let later = seen.is_some_and(|number| (sure..all).contains(&number) && is_pair(&number));
            verdict.missing += u64::from(!later && *seen != newest.or(before));
        }
        verdict
    }

    /// Goes on from what was found; numbers of commands that were lost are not used again.
    pub fn go_on(&mut self, found: Found) {
        self.first += self.sent;
        (self.known, self.sent, self.acknowledged) = (found, 0, Vec::new());
    }
}

/// Tries again until the machine is cut: a busy one may not answer at once.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>, is_cut: &AtomicBool) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(_) if !is_cut.load(Ordering::SeqCst) && began.elapsed() < PATIENCE => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that sent 48 commands, of which 40 were acknowledged, each at its own number as the log's length.
    fn client() -> Client {
        Client { sent: 48, acknowledged: (1..=40).collect(), ..Client::new(0) }
    }

    fn found_after(commands: u64) -> Found {
        let mut found = Found::default();
        (1..=commands).for_each(|number| drop(found.state.execute(number)));
        found.pair = [(1..=commands).rev().find(|number| Command::of(*number) == Command::Pair); 2];
        found
    }

    fn sums(found: &Found, log_length: u64) -> (u64, u64, usize) {
        let verdict = client().judge(found, log_length);
        (verdict.missing, verdict.doubled, verdict.wrong.len())
    }

    #[test]
    fn all_that_was_acknowledged_at_the_cut_and_perhaps_more() {
        (40..=48).for_each(|commands| assert_eq!(sums(&found_after(commands), u64::MAX), (0, 0, 0), "{commands}"));
        assert_eq!(sums(&found_after(20), 20), (0, 0, 0));
        assert!(sums(&found_after(20), 28).0 > 0);
        assert!(sums(&found_after(0), 1).0 > 0);
        assert_eq!(sums(&Found::default(), 0), (0, 0, 0));
    }

    #[test]
    fn every_loss_and_every_double_is_seen() {
        for commands in 0..40 {
            assert!(sums(&found_after(commands), u64::MAX).0 > 0, "{commands}");
        }
        let with = |change: fn(&mut Found)| {
            let mut found = found_after(40);
            change(&mut found);
            sums(&found, u64::MAX)
        };
        assert_eq!(with(|f| f.state.list.push(38)), (0, 1, 0));
        assert_eq!(with(|f| f.state.list.retain(|number| *number != 10)), (1, 0, 0));
        assert_eq!(with(|f| f.state.list.swap(0, 1)), (0, 0, 1));
        assert_eq!(with(|f| f.state.count += 9), (0, 6, 0));
        assert_eq!(with(|f| f.state.count -= 1), (1, 0, 0));
        assert_eq!(with(|f| f.state.keys.retain(|key, _| *key != 7)), (1, 0, 0));
        assert_eq!(with(|f| f.pair[1] = Some(12)), (1, 0, 0));
        assert_eq!(with(|f| f.pair[1] = None), (1, 0, 0));
    }

    #[test]
    fn a_value_tells_who_wrote_it() {
        assert_eq!(writer_of(value(31).as_bytes()), Some(31));
        assert_eq!(writer_of(&value(31).as_bytes()[..50]), None);
        assert_eq!(writer_of(b""), None);
    }
}
