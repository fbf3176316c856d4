//! What comes from other nodes about slots that move: messages, and the pieces and patches that a target takes into its log.
//!
//! The first byte chooses. Messages: any bytes; what is one is written as the bytes that it was read from. Steps: any bytes as a step in
//! the log. Pieces: a whole move of values of every type, with remembered replies, a blocked client and rounds of patches, in
//! which the input changes bytes, leaves pieces out, sends them twice or replaces them. Nothing may panic; whatever the target has
//! come to can be read, and is what a snapshot of it brings back.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pontoon::keyspace::{Entry, ExportReader, Keyspace, Loader, Next, Seals, SlotEpochs, SlotList, Step};
use pontoon::protocol::identity::Identity;
use pontoon::protocol::moves::MoveMessage;
use pontoon::protocol::request::write_array;
use pontoon::topology::{
    Epoch, LogIndex, LogTime, MoveId, Revision, SessionId, ShardId, Slot, WriteId,
};

const SEED: u64 = 7;
/// Smaller values are never patched.
const LARGE_ITEMS: usize = 5_000;

#[derive(Clone)]
struct Sent {
    cursor: Vec<u8>,
    body: Vec<u8>,
    /// Of the last one: what the slot has to come to.
    seals: Option<Vec<u8>>,
}

/// A move as its source tells it.
struct Story {
    id: MoveId,
    slots: Vec<u8>,
    sent: Vec<Sent>,
}

fn apply(keyspace: &mut Keyspace, entry: &Entry<'_>) -> Vec<u8> {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    entry.encode(&mut bytes);
    let entry = Entry::decode(&bytes).expect("our own bytes");
    keyspace.apply(&entry, &mut out).expect("a good entry");
    out
}

fn request(line: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_array(&mut request, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
    request
}

fn write(keyspace: &mut Keyspace, sequence: u64, line: &str) -> Vec<u8> {
    let (time, request) = (LogTime(1000), request(line));
    let identity = Identity { id: WriteId { session: SessionId(5), sequence }, low: 1, born: time };
    let identity = Some(identity).filter(|_| sequence > 0);
    apply(keyspace, &Entry::Write { seen: 0, time, seed: 1, resp3: false, identity, request: &request })
}

fn step(keyspace: &mut Keyspace, step: Step<'_>) {
    apply(keyspace, &Entry::Move { time: LogTime(1000), step });
}

/// Puts values of each type into the slot, of so many items.
fn fill(source: &mut Keyspace, items: usize) {
    for first in (0..items).step_by(100) {
        let all = |item: &dyn Fn(usize) -> String| -> String {
            (first..items.min(first + 100)).map(|n| format!(" {}", item(n))).collect()
        };
        write(source, 0, &format!("SADD {{t}}set{}", all(&|n| format!("member:{n:010}"))));
        write(source, 0, &format!("RPUSH {{t}}list{}", all(&|n| format!("element:{n:010}"))));
        write(source, 0, &format!("HSET {{t}}hash{}", all(&|n| format!("field:{n:010} {n}"))));
        write(source, 0, &format!("ZADD {{t}}zset{}", all(&|n| format!("{n}.5 member:{n:010}"))));
    }
    write(source, 0, &format!("SET {{t}}text {}", "text".repeat(items * 5)));
    write(source, 0, "SET {t}number 12 PX 100000");
    write(source, 0, "HPEXPIRE {t}hash 5000 FIELDS 1 field:0000000001");
}

fn touch(source: &mut Keyspace, round: u64) {
    for (sequence, line) in (1..).zip([
        format!("SADD {{t}}set new:{round}"),
        "SREM {t}set member:0000000003".to_owned(),
        format!("LSET {{t}}list 2 other:{round}"),
        "LPOP {t}list".to_owned(),
        format!("HSET {{t}}hash field:0000000002 other:{round}"),
        "ZINCRBY {t}zset 3.5 member:0000000002".to_owned(),
        format!("SETRANGE {{t}}text 10 other:{round}"),
        "INCR {t}number".to_owned(),
    ]) {
        write(source, round * 100 + sequence, &line);
    }
}

fn story(items: usize, piece_bytes: usize) -> Story {
    let mut source = Keyspace::new(SEED);
    Slot::all().for_each(|slot| source.own(slot, Epoch(1)));
    fill(&mut source, items);
    let (blocks, time) = (request("BLPOP {t}empty 0"), LogTime(1000));
    let identity = Identity { id: WriteId { session: SessionId(6), sequence: 1 }, low: 1, born: time };
    apply(&mut source, &Entry::Block { time, seed: 1, resp3: false, identity, seen: 0, request: &blocks });
    let slots = SlotList::encode([Slot::of_key(b"{t}")]);
    let slots = SlotList::decode(&slots).expect("our own bytes");
    step(&mut source, Step::ExportStart { to: ShardId(2), revision: Revision(1), slots });
    let export = source.exports().last().expect("it has begun");
    let (number, id, slots) = (export.number, export.id(ShardId(1)), SlotEpochs::encode(export.slots()));
    let (mut reader, mut sent) = (ExportReader::default(), Vec::new());
    for round in 1..=3 {
        while let Some(piece) = read(&source, number, &mut reader, piece_bytes) {
            sent.push(piece);
        }
        touch(&mut source, round);
        let last = Step::Freeze { number, round: round as u32 };
        step(&mut source, if round == 3 { last } else { Step::ExportRound { number, round: round as u32 } });
    }
    while sent.last().is_none_or(|piece: &Sent| piece.seals.is_none()) {
        sent.extend(read(&source, number, &mut reader, piece_bytes));
    }
    Story { id, slots, sent }
}

/// The next piece that has anything in it; none: the round is over.
fn read(source: &Keyspace, number: u64, reader: &mut ExportReader, piece_bytes: usize) -> Option<Sent> {
    loop {
        let piece = source.read_export(number, reader, piece_bytes).expect("it runs");
        let (cursor, body) = (piece.cursor, piece.body);
        match piece.next {
            Next::Finish(seals) => return Some(Sent { cursor, body, seals: Some(Seals::encode(seals)) }),
            _ if !body.is_empty() => return Some(Sent { cursor, body, seals: None }),
            Next::RoundDone => return None,
            Next::More => {}
        }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// Changes what is sent as the input says.
fn damage(sent: &mut Vec<Sent>, input: &mut Input<'_>) -> Option<()> {
    let (at, kind) = (input.byte()? % sent.len(), input.byte()?);
    let (place, count) = (input.byte()? << 8 | input.byte()?, input.byte()?);
    let bytes = input.bytes(count);
    let piece = &mut sent[at];
    let target = if kind & 8 == 0 { &mut piece.body } else { &mut piece.cursor };
    let place = place % (target.len() + 1);
    let end = target.len().min(place + bytes.len().max(1));
    match kind & 7 {
        0 | 1 => drop(target.splice(place..end, bytes.iter().copied())),
        2 => drop(target.splice(place..place, bytes.iter().copied())),
        3 => drop(target.drain(place..end)),
        // The mark of the cursor before it stays, so that the rest is read.
        4 | 5 => drop(target.splice(target.len().min(8).., bytes.iter().copied())),
        6 if sent.len() > 1 => drop(sent.remove(at)),
        _ => sent.insert(at, sent[at].clone()),
    }
    Some(())
}

fn restored(keyspace: &Keyspace) -> Keyspace {
    let mut loader = Loader::new();
    keyspace.freeze().pieces(10_000).for_each(|piece| loader.push(&piece).expect("what was written is read"));
    let back = loader.finish().expect("all of it is there");
    assert_eq!(back.freeze().digest(LogIndex(1)), keyspace.freeze().digest(LogIndex(1)));
    back
}

fn take(story: &Story, input: &mut Input<'_>) {
    let mut target = Keyspace::new(SEED);
    let slots = SlotEpochs::decode(&story.slots).expect("our own bytes");
    step(&mut target, Step::ImportStart { id: story.id, slots });
    let mut sent = story.sent.clone();
    let restart = input.byte().unwrap_or(0);
    while damage(&mut sent, input).is_some() {}
    for (sequence, piece) in (0..).zip(&sent) {
        if sequence as usize == restart {
            target = restored(&target);
        }
        let (id, body) = (story.id, &piece.body);
        match &piece.seals {
            None => step(&mut target, Step::ImportPiece { id, sequence, cursor: &piece.cursor, body }),
            Some(seals) => {
                let (log_time, seals) = (LogTime(1000), Seals::decode(seals).expect("our own bytes"));
                step(&mut target, Step::ImportFinish { id, sequence, log_time, seals, body });
            }
        }
    }
    for line in [
        "SMEMBERS {t}set",
        "LRANGE {t}list 0 -1",
        "HGETALL {t}hash",
        "ZRANGE {t}zset 0 -1 WITHSCORES",
        "GET {t}text",
        "SADD {t}set last",
        "LREM {t}list 1 x",
        "HDEL {t}hash x",
        "ZADD {t}zset 7 last",
        "APPEND {t}text x",
        "RPUSH {t}empty x",
    ] {
        write(&mut target, 0, line);
    }
    restored(&target);
    drop(target.take_garbage());
}

fn stories() -> &'static [Story; 2] {
    static STORIES: OnceLock<[Story; 2]> = OnceLock::new();
    STORIES.get_or_init(|| {
        let stories = [story(20, 256), story(LARGE_ITEMS, 16 * 1024)];
        // Undamaged, each of them arrives.
        for story in &stories {
            let mut target = Keyspace::new(SEED);
            let slots = SlotEpochs::decode(&story.slots).expect("our own bytes");
            step(&mut target, Step::ImportStart { id: story.id, slots });
            for (sequence, piece) in (0..).zip(&story.sent) {
                let (id, body, cursor) = (story.id, &piece.body, &piece.cursor);
                match &piece.seals {
                    None => step(&mut target, Step::ImportPiece { id, sequence, cursor, body }),
                    Some(seals) => {
                        let (log_time, seals) = (LogTime(1000), Seals::decode(seals).expect("our own bytes"));
                        step(&mut target, Step::ImportFinish { id, sequence, log_time, seals, body });
                    }
                }
            }
            assert_eq!(target.owned().len(), 1, "an undamaged move arrives");
        }
        stories
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 8 {
        0 => {
            let Ok(message) = MoveMessage::decode(bytes) else { return };
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, bytes);
        }
        1 => {
            let Ok(entry @ Entry::Move { .. }) = Entry::decode(bytes) else { return };
            let mut target = Keyspace::new(SEED);
            Slot::all().take(8000).for_each(|slot| target.own(slot, Epoch(1)));
            let _ = target.apply(&entry, &mut Vec::new());
            let _ = target.apply(&entry, &mut Vec::new());
        }
        7 => take(&stories()[1], &mut Input(bytes)),
        _ => take(&stories()[0], &mut Input(bytes)),
    }
});
