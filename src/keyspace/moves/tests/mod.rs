//! Stories of moves: two shards, and the steps that their leaders would log.

mod large;
mod rules;
mod world;

use super::super::tests::{SEED, apply, read, tick, try_apply, try_read, whole};
use super::super::{Applied, Entry, Keyspace, Read};
use super::*;
use crate::protocol::identity::Identity;
use crate::protocol::request::write_array;
use crate::topology::{LogTime, Revision, SessionId, ShardId, WriteId};

pub const SOURCE: ShardId = ShardId(1);
pub const TARGET: ShardId = ShardId(2);
const PIECE_BYTES: usize = 4096;

/// Logs a step.
pub fn log(keyspace: &mut Keyspace, step: Step<'_>) {
    let time = keyspace.log_time();
    let mut bytes = Vec::new();
    Entry::Move { time, step }.encode(&mut bytes);
    let applied = keyspace.apply(&Entry::decode(&bytes).unwrap(), &mut Vec::new());
    assert_eq!(applied, Ok(Applied::Nothing));
}

pub fn export(source: &mut Keyspace, to: ShardId, slots: &[Slot]) -> u64 {
    let slots = SlotList::encode(slots.iter().copied());
    log(source, Step::ExportStart { to, revision: Revision(1), slots: SlotList::decode(&slots).unwrap() });
    source.exports().last().unwrap().number
}

pub fn slots_of(source: &Keyspace, number: u64) -> Vec<SlotEpoch> {
    source.export(number).unwrap().slots().collect()
}

/// Logs at the target that an export begins there.
pub fn import(source: &Keyspace, target: &mut Keyspace, number: u64) -> MoveId {
    let (id, slots) = (MoveId { source: SOURCE, number }, SlotEpochs::encode(slots_of(source, number)));
    log(target, Step::ImportStart { id, slots: SlotEpochs::decode(&slots).unwrap() });
    id
}

fn next_of(target: &Keyspace, id: MoveId, slots: &[SlotEpoch]) -> (u64, Vec<u8>) {
    match target.import_state(id, slots.iter().copied()) {
        ImportState::Importing { next, cursor } => (next, cursor),
        other => panic!("{other:?}"),
    }
}

/// Sends all that there is in this round, or after the freeze all that there is.
pub fn send(source: &Keyspace, target: &mut Keyspace, number: u64, piece_bytes: usize) {
    let (id, slots) = (MoveId { source: SOURCE, number }, slots_of(source, number));
    let (mut sequence, cursor) = next_of(target, id, &slots);
    let mut reader = ExportReader::resume(&cursor).unwrap();
    loop {
        let Piece { body, cursor, next } = source.read_export(number, &mut reader, piece_bytes).unwrap();
        if let Next::Finish(seals) = next {
            let (log_time, seals) = (source.log_time(), Seals::encode(seals));
            let seals = Seals::decode(&seals).unwrap();
            return log(target, Step::ImportFinish { id, sequence, log_time, seals, body: &body });
        }
        if !body.is_empty() {
            log(target, Step::ImportPiece { id, sequence, cursor: &cursor, body: &body });
            sequence += 1;
        }
        if next == Next::RoundDone {
            return;
        }
    }
}

pub fn round(source: &mut Keyspace, number: u64) {
    let round = source.export(number).unwrap().round + 1;
    log(source, Step::ExportRound { number, round });
}

pub fn freeze(source: &mut Keyspace, number: u64) {
    let round = source.export(number).unwrap().round + 1;
    log(source, Step::Freeze { number, round });
}

pub fn end(source: &mut Keyspace, number: u64, how: ExportEndHow) {
    log(source, Step::ExportEnd { number, how });
}

/// A whole move without an accident.
pub fn move_slots(source: &mut Keyspace, target: &mut Keyspace, slots: &[Slot]) -> MoveId {
    let number = export(source, TARGET, slots);
    let id = import(source, target, number);
    send(source, target, number, PIECE_BYTES);
    freeze(source, number);
    send(source, target, number, PIECE_BYTES);
    end(source, number, ExportEndHow::Gone);
    id
}

fn slot(tag: &str) -> Slot {
    Slot::of_key(tag.as_bytes())
}

/// A source that owns all slots, and a target that owns none.
fn pair() -> (Keyspace, Keyspace) {
    (whole(), Keyspace::new(SEED))
}

fn fill(keyspace: &mut Keyspace) {
    for number in 0..300 {
        apply(keyspace, 1000, &format!("SET {{t}}{number} {}", "v".repeat(number)));
        apply(keyspace, 1000, &format!("RPUSH {{t}}list {number}"));
        apply(keyspace, 1000, &format!("SADD {{t}}set {}{number}", "m".repeat(number)));
        apply(keyspace, 1000, &format!("HSET {{t}}hash {number} {number}"));
        apply(keyspace, 1000, &format!("ZADD {{t}}zset {number} m{number}"));
    }
    apply(keyspace, 1000, "SET {t}timed v PX 5000");
    apply(keyspace, 1000, "SET {u}other v");
    apply(keyspace, 1000, &format!("SET {{t}}large {}", "x".repeat(50_000)));
}

#[test]
fn a_moved_slot_is_at_the_target_what_it_was_at_the_source() {
    let (mut source, mut target) = pair();
    fill(&mut source);
    apply(&mut source, 1000, "DEL {t}7");
    let slots = [slot("t"), slot("u")];
    let digests = slots.map(|slot| source.slot_digest(slot));
    let id = move_slots(&mut source, &mut target, &slots);
    assert_eq!(slots.map(|slot| target.slot_digest(slot)), digests);
    let epoch = Epoch(2);
    for slot in slots {
        assert_eq!((target.owns(slot), source.owns(slot)), (Some(epoch), None));
        assert_eq!(source.whereabouts(slot), Some(Whereabouts { slot, owner: TARGET, epoch }));
        assert_eq!(target.import_state(id, [SlotEpoch { slot, epoch }]), ImportState::Taken);
    }
    assert_eq!(try_read(&source, 1000, "GET {t}1").0, Read::NotOwner(slot("t")));
    assert_eq!(read(&target, 1000, "GET {t}1"), "$1\r\nv\r\n");
    assert_eq!(target.log_time(), LogTime(1000));
    assert_eq!((source.usage().keys, source.aside_bytes(), target.aside_bytes()), (0, 0, 0));
    assert_eq!(target.next_expiry(), Some(LogTime(6000)));
    tick(&mut target, 6000);
    assert_eq!(read(&target, 6000, "GET {t}timed"), "$-1\r\n");
}

#[test]
fn what_changes_during_the_copy_is_sent_in_rounds() {
    let (mut source, mut target) = pair();
    fill(&mut source);
    let number = export(&mut source, TARGET, &[slot("t"), slot("u")]);
    import(&source, &mut target, number);
    send(&source, &mut target, number, 1000);
    for line in [
        "SET {t}1 changed",
        "DEL {t}2",
        "RENAME {t}3 {t}4",
        "APPEND {t}5 x",
        "EXPIRE {t}6 100",
        "PERSIST {t}timed",
        "SADD {t}set new",
        "DEL {t}list",
        "HDEL {t}hash 3",
        "ZPOPMIN {t}zset",
        "SET {u}new v",
        "GETDEL {t}8",
    ] {
        apply(&mut source, 1100, line);
    }
    assert!(source.changed(number, 1000).keys >= 13 && source.changed(number, 5).keys == 5);
    round(&mut source, number);
    assert_eq!(source.changed(number, 1000), Changed::default());
    send(&source, &mut target, number, 1000);
    apply(&mut source, 1200, "FLUSHALL");
    apply(&mut source, 1200, "SET {t}after v PX 10");
    tick(&mut source, 1300);
    log(&mut source, Step::Closing);
    source.apply(&Entry::Sweep { time: LogTime(1300), slot: slot("t"), keys_max: 9 }, &mut Vec::new()).unwrap();
    apply(&mut source, 1300, "SET {t}last v");
    let digests = [source.slot_digest(slot("t")), source.slot_digest(slot("u"))];
    freeze(&mut source, number);
    assert_eq!(try_apply(&mut source, 1300, "GET {t}last").0, Applied::NotOwner(slot("t")));
    assert!(source.due_sweeps(LogTime(u64::MAX), 9).is_empty());
    send(&source, &mut target, number, 1000);
    assert_eq!([target.slot_digest(slot("t")), target.slot_digest(slot("u"))], digests);
    end(&mut source, number, ExportEndHow::Gone);
    assert_eq!((source.usage().keys, target.usage().keys), (0, 1));
}

#[test]
fn a_large_value_goes_in_pieces_and_another_leader_goes_on_in_the_middle() {
    let (mut source, mut target) = pair();
    fill(&mut source);
    let number = export(&mut source, TARGET, &[slot("t")]);
    let id = import(&source, &mut target, number);
    let (mut sequence, mut cursor) = (0, Vec::new());
    for step in 0.. {
        // Each piece by a leader of its own.
        let mut reader = ExportReader::resume(&cursor).unwrap();
        let piece = source.read_export(number, &mut reader, 700).unwrap();
        assert!(piece.body.len() <= 1200, "{}", piece.body.len());
        log(&mut target, Step::ImportPiece { id, sequence, cursor: &piece.cursor, body: &piece.body });
        (sequence, cursor) = (sequence + 1, piece.cursor);
        match step {
            40 => drop(apply(&mut source, 1001, "APPEND {t}large more")),
            50 => drop(apply(&mut source, 1001, "SADD {t}set more")),
            60 => drop(apply(&mut source, 1001, "DEL {t}zset")),
            _ => {}
        }
        if piece.next == Next::RoundDone {
            break;
        }
    }
    freeze(&mut source, number);
    let digest = source.export(number).unwrap().frozen().next().map(|(_, data)| data.sums().keys);
    send(&source, &mut target, number, 700);
    assert_eq!(target.slot_usage_of(slot("t")).map(|(keys, _)| keys), digest);
    assert_eq!(read(&target, 1001, "STRLEN {t}large"), ":50004\r\n");
}

fn named(keyspace: &mut Keyspace, sequence: u64, low: u64, line: &str) -> (Applied, String) {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    write_array(&mut request, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
    let identity = Identity { id: WriteId { session: SessionId(5), sequence }, low, born: LogTime(1000) };
    let (time, seen) = (LogTime(1000), keyspace.ownership());
    let entry = Entry::Write { time, seed: 0, resp3: false, identity: Some(identity), seen, request: &request };
    let applied = keyspace.apply(&entry, &mut out).unwrap();
    (applied, String::from_utf8(out).unwrap())
}

#[test]
fn r9_moved_records_answer_at_the_target_and_low_comes_with_them() {
    let (mut source, mut target) = pair();
    for sequence in 1..=4 {
        assert_eq!(named(&mut source, sequence, 1, "INCR {t}n"), (Applied::Reply, format!(":{sequence}\r\n")));
    }
    named(&mut source, 5, 1, "INCR {elsewhere}n");
    named(&mut source, 6, 3, "INCR {t}n");
    move_slots(&mut source, &mut target, &[slot("t")]);
    assert_eq!(named(&mut target, 4, 1, "INCR {t}n"), (Applied::Repeated, ":4\r\n".to_owned()));
    assert_eq!(named(&mut target, 2, 1, "INCR {t}n").0, Applied::Forgotten, "below low, which came along");
    assert_eq!(named(&mut target, 7, 1, "INCR {t}n"), (Applied::Reply, ":6\r\n".to_owned()));
    assert_eq!(named(&mut source, 4, 1, "INCR {t}n").0, Applied::NotOwner(slot("t")));
    assert_eq!(named(&mut source, 5, 1, "INCR {elsewhere}n").0, Applied::Repeated);
}

/// Seeds in the ordinary run; `PONTOON_MOVES_SEEDS` asks for more.
const SEEDS: u64 = 40;

#[test]
fn whatever_happens_to_moves_no_key_is_lost_doubled_or_changed() {
    let seeds = std::env::var("PONTOON_MOVES_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let (mut finished, mut undone) = (0, 0);
    for seed in 0..seeds {
        let mut world = world::World::new(seed, 2 + seed % 3);
        let run = std::panic::AssertUnwindSafe(|| {
            (0..1200).for_each(|_| world.step());
            world.settle();
            (world.finished, world.undone)
        });
        let ended = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
        (finished, undone) = (finished + ended.0, undone + ended.1);
    }
    assert!(finished > 5 * seeds && undone > seeds, "{finished} moves ended well, {undone} were undone");
}
