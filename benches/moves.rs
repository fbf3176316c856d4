//! How fast slots go from one shard's state to another's, and the longest that any one step of it takes: a million keys of
//! 100 bytes, 60 in each slot, 64 slots at a time; a set of a million members; a string of 64 MiB.

use std::time::{Duration, Instant};

use pontoon::keyspace::{Entry, ExportEndHow, ExportReader, Keyspace, Next, Seals, SlotEpochs, SlotList, Step};
use pontoon::protocol::request::write_array;
use pontoon::topology::{Epoch, LogTime, MoveId, Revision, ShardId, Slot};

const KEYS: u64 = 1_000_000;
const BATCH_SLOTS: usize = 64;
const PIECE_BYTES: usize = 128 * 1024;
const MEMBERS: u64 = 1_000_000;
const STRING_BYTES: usize = 64 * 1024 * 1024;

/// How long a kind of step took: all of them, and the longest.
#[derive(Clone, Copy, Default)]
struct Took {
    sum: Duration,
    longest: Duration,
}

impl Took {
    #[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn time<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        (self.sum, self.longest) = (self.sum + took, self.longest.max(took));
        result
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8.1} ms in all, {:6.3} ms the longest", ms(self.sum), ms(self.longest))
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// What each step took.
#[derive(Default)]
struct Figures {
    start: Took,
    read: Took,
    piece: Took,
    freeze: Took,
    finish: Took,
    gone: Took,
}

fn write(keyspace: &mut Keyspace, words: &[&[u8]]) {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    write_array(&mut request, words.iter().copied());
    let entry = Entry::Write { seen: 0, time: LogTime(1), seed: 0, resp3: false, identity: None, request: &request };
    keyspace.apply(&entry, &mut out).expect("a good entry");
}

fn log(keyspace: &mut Keyspace, took: &mut Took, step: Step<'_>) {
    let mut bytes = Vec::new();
    Entry::Move { time: LogTime(1), step }.encode(&mut bytes);
    took.time(|| {
        let entry = Entry::decode(&bytes).expect("our own bytes");
        keyspace.apply(&entry, &mut Vec::new()).expect("a good entry");
    });
    drop(keyspace.take_garbage());
}

fn move_slots(source: &mut Keyspace, target: &mut Keyspace, slots: &[Slot], figures: &mut Figures) {
    let slots = SlotList::encode(slots.iter().copied());
    let (to, slots) = (ShardId(2), SlotList::decode(&slots).expect("our own bytes"));
    log(source, &mut figures.start, Step::ExportStart { to, revision: Revision(1), slots });
    let export = source.exports().last().expect("it has begun");
    let (number, id) = (export.number, export.id(ShardId(1)));
    let slots = SlotEpochs::encode(export.slots());
    log(
        target,
        &mut figures.start,
        Step::ImportStart { id, slots: SlotEpochs::decode(&slots).expect("our own bytes") },
    );
    let (mut reader, mut sequence) = (ExportReader::default(), 0);
    send(source, target, (id, &mut sequence, &mut reader), figures);
    log(source, &mut figures.freeze, Step::Freeze { number, round: 1 });
    send(source, target, (id, &mut sequence, &mut reader), figures);
    log(source, &mut figures.gone, Step::ExportEnd { number, how: ExportEndHow::Gone });
}

fn send(
    source: &Keyspace,
    target: &mut Keyspace,
    (id, sequence, reader): (MoveId, &mut u64, &mut ExportReader),
    figures: &mut Figures,
) {
    loop {
        let piece = figures.read.time(|| source.read_export(id.number, reader, PIECE_BYTES)).expect("it runs");
        match piece.next {
            Next::Finish(seals) => {
                let (seals, log_time) = (Seals::encode(seals), LogTime(1));
                let seals = Seals::decode(&seals).expect("our own bytes");
                let step = Step::ImportFinish { id, sequence: *sequence, log_time, seals, body: &piece.body };
                return log(target, &mut figures.finish, step);
            }
            _ if piece.body.is_empty() => {}
            _ => {
                let step = Step::ImportPiece { id, sequence: *sequence, cursor: &piece.cursor, body: &piece.body };
                log(target, &mut figures.piece, step);
                *sequence += 1;
            }
        }
        if piece.next == Next::RoundDone {
            return;
        }
    }
}

fn report(what: &str, keys: u64, figures: &Figures) {
    println!("{what}");
    let each = [
        ("start, both ends", figures.start),
        ("read at the source", figures.read),
        ("piece at the target", figures.piece),
        ("freeze", figures.freeze),
        ("finish", figures.finish),
        ("gone", figures.gone),
    ];
    each.iter().for_each(|(name, took)| println!("  {name:20} {took}"));
    let rate = |took: Duration| keys as f64 / took.as_secs_f64() / 1e6;
    let target = figures.piece.sum + figures.finish.sum;
    println!("  applied at the target: {:.2} million a second; read: {:.2}", rate(target), rate(figures.read.sum));
}

fn main() {
    let mut source = Keyspace::new(7);
    Slot::all().for_each(|slot| source.own(slot, Epoch(1)));
    (0..KEYS).for_each(|number| write(&mut source, &[b"SET", format!("key:{number:012}").as_bytes(), &[b'v'; 100]]));
    for member in 0..MEMBERS / 100 {
        let members: Vec<String> = (member * 100..(member + 1) * 100).map(|m| format!("member:{m:09}")).collect();
        let mut words: Vec<&[u8]> = vec![b"SADD", b"{set}"];
        words.extend(members.iter().map(String::as_bytes));
        write(&mut source, &words);
    }
    write(&mut source, &[b"SET", b"{string}", &vec![b'x'; STRING_BYTES]]);
    let mut target = Keyspace::new(7);
    let large = ["set", "string"].map(|tag| Slot::of_key(tag.as_bytes()));
    let mut figures = Figures::default();
    let small: Vec<Slot> = Slot::all().filter(|slot| !large.contains(slot)).collect();
    small.chunks(BATCH_SLOTS).for_each(|slots| move_slots(&mut source, &mut target, slots, &mut figures));
    report("a million keys of 100 bytes", KEYS, &figures);
    for (slot, what, items) in [(large[0], "a set of a million members", MEMBERS), (large[1], "a string of 64 MiB", 1)]
    {
        let mut figures = Figures::default();
        move_slots(&mut source, &mut target, &[slot], &mut figures);
        report(what, items, &figures);
    }
    assert_eq!((source.usage().keys, target.usage().keys), (0, KEYS + 2));
}
