//! Our side: the keyspace as a node drives it, a write through an entry's bytes, a read at the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pontoon::keyspace::{Applied, Entry, Keyspace, Read, ReadAt};
use pontoon::protocol::command::lookup;
use pontoon::protocol::request::{Args, parse_array, write_array};
use pontoon::protocol::transaction::put;
use pontoon::topology::{Epoch, LogTime, Slot};

pub struct Replay {
    keyspace: Keyspace,
}

/// The wall clock that Redis has too.
#[allow(clippy::disallowed_methods, reason = "the oracle runs by the same clock")]
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

impl Replay {
    pub fn new() -> Self {
        let mut keyspace = Keyspace::new(0x5eed);
        Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
        Self { keyspace }
    }

    /// The reply to one command; `logged`: even if it is a read.
    pub fn run(&mut self, command: &[Vec<u8>], resp3: bool, logged: bool) -> Vec<u8> {
        let (mut request, mut out) = (Vec::new(), Vec::new());
        write_array(&mut request, command.iter().map(Vec::as_slice));
        let time = LogTime(wall_ms());
        if logged || lookup(&command[0]).is_none_or(|spec| spec.is_write()) {
            let applied =
                self.apply(Entry::Write { seen: 0, time, seed: 1, resp3, identity: None, request: &request }, &mut out);
            assert_eq!(applied, Applied::Reply);
            return out;
        }
        let mut spans = Vec::new();
        parse_array(&request, &mut spans).expect("a request of our own making");
        let at = ReadAt { clock: time, resp3 };
        loop {
            match self.keyspace.read(Args::new(&request, &spans), at, &mut out) {
                Read::Answered => return out,
                Read::Unsettled => drop(self.apply(Entry::Tick { time }, &mut out)),
                Read::NotOwner(slot) => panic!("slot {slot} is owned"),
            }
        }
    }

    /// The reply to a transaction.
    pub fn exec(&mut self, watched: &[(&[u8], u64)], commands: &[Vec<Vec<u8>>], resp3: bool) -> Vec<u8> {
        let (mut requests, mut body, mut out) = (Vec::new(), Vec::new(), Vec::new());
        commands.iter().for_each(|command| write_array(&mut requests, command.iter().map(Vec::as_slice)));
        put(&mut body, watched.iter().copied(), &requests);
        let entry = Entry::Exec { seen: 0, time: LogTime(wall_ms()), seed: 1, resp3, identity: None, body: &body };
        assert_eq!(self.apply(entry, &mut out), Applied::Reply);
        out
    }

    /// The version of a key, at the clock.
    pub fn version_of(&mut self, key: &[u8]) -> u64 {
        self.apply(Entry::Tick { time: LogTime(wall_ms()) }, &mut Vec::new());
        self.keyspace.version_of(key).expect("every slot is owned")
    }

    /// Whether there is no such key.
    pub fn is_absent(&mut self, key: &[u8]) -> bool {
        self.run(&[b"EXISTS".to_vec(), key.to_vec()], false, false) == b":0\r\n"
    }

    fn apply(&mut self, entry: Entry<'_>, out: &mut Vec<u8>) -> Applied {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        let entry = Entry::decode(&bytes).expect("an entry of our own making");
        self.keyspace.apply(&entry, out).expect("the entry is well formed")
    }
}
