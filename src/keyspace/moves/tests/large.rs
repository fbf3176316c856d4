//! Stories of large values that are written while they move: what is sent of them, and who may go on with it.

use super::super::super::snapshot::Loader;
use super::*;

const MEMBERS: usize = 6_000;

/// A value of each type of about a hundred kilobytes or more.
fn fill_large(keyspace: &mut Keyspace) {
    for first in (0..MEMBERS).step_by(500) {
        let all = |item: &dyn Fn(usize) -> String| {
            (first..first + 500).map(|number| format!(" {}", item(number))).collect::<String>()
        };
        apply(keyspace, 1000, &format!("SADD {{t}}set{}", all(&|n| format!("member:{n}"))));
        apply(keyspace, 1000, &format!("RPUSH {{t}}list{}", all(&|n| format!("element:{n}"))));
        apply(keyspace, 1000, &format!("HSET {{t}}hash{}", all(&|n| format!("field:{n} {n}"))));
        apply(keyspace, 1000, &format!("ZADD {{t}}zset{}", all(&|n| format!("{n} member:{n}"))));
    }
    let text: String = (0..100_000).map(|n: u32| char::from(b'a' + (n / 7 % 26) as u8)).collect();
    apply(keyspace, 1000, &format!("SET {{t}}text {text}"));
}

/// Each large value changes a little.
fn touch(keyspace: &mut Keyspace, round: usize) {
    for line in [
        format!("SADD {{t}}set new:{round}"),
        format!("SREM {{t}}set member:{}", round * 31),
        "LPOP {t}list".to_owned(),
        format!("RPUSH {{t}}list new:{round}"),
        format!("LSET {{t}}list {} other:{round}", 2000 + round * 13),
        format!("HSET {{t}}hash field:{} another new:{round} {round}", round * 17),
        format!("HPEXPIRE {{t}}hash 900000 FIELDS 1 field:{}", round * 5),
        format!("ZINCRBY {{t}}zset 3.5 member:{}", round * 7),
        format!("ZREM {{t}}zset member:{}", 3_000 + round),
        format!("APPEND {{t}}text more:{round}"),
        format!("SETRANGE {{t}}text {} other:{round}", round * 500),
        format!("SETBIT {{t}}text {} 1", round * 800),
    ] {
        apply(keyspace, 1000, &line);
    }
}

/// Sends what there is to send with many readers, each going on where the target is; how many bytes.
fn send_counted(
    source: &mut Keyspace,
    target: &mut Keyspace,
    (number, piece_bytes): (u64, usize),
    mut between: impl FnMut(&mut Keyspace),
) -> usize {
    let (id, slots) = (MoveId { source: SOURCE, number }, slots_of(source, number));
    let mut bytes = 0;
    loop {
        let (sequence, cursor) = next_of(target, id, &slots);
        let mut reader = ExportReader::resume(&cursor).unwrap();
        let piece = loop {
            let piece = source.read_export(number, &mut reader, piece_bytes).unwrap();
            if !piece.body.is_empty() || piece.next != Next::More {
                break piece;
            }
        };
        bytes += piece.body.len();
        if let Next::Finish(seals) = piece.next {
            let (log_time, seals) = (source.log_time(), Seals::encode(seals));
            let seals = Seals::decode(&seals).unwrap();
            log(target, Step::ImportFinish { id, sequence, log_time, seals, body: &piece.body });
            return bytes;
        }
        if !piece.body.is_empty() {
            log(target, Step::ImportPiece { id, sequence, cursor: &piece.cursor, body: &piece.body });
            between(source);
        }
        if piece.next == Next::RoundDone {
            return bytes;
        }
    }
}

/// The same state without anything in common in memory.
fn restored(keyspace: &Keyspace) -> Keyspace {
    let mut loader = Loader::new();
    keyspace.freeze().pieces(10_000).for_each(|piece| loader.push(&piece).unwrap());
    let back = loader.finish().unwrap();
    let index = crate::topology::LogIndex(1);
    assert_eq!(back.freeze().digest(index), keyspace.freeze().digest(index));
    assert!(back.aside_bytes() >= keyspace.aside_bytes());
    back
}

fn check_moved(source: &mut Keyspace, target: &mut Keyspace, number: u64, digest: Option<u64>) {
    let id = MoveId { source: SOURCE, number };
    assert_eq!(target.import_state(id, slots_of(source, number)), ImportState::Taken);
    assert_eq!(target.slot_digest(slot("t")), digest);
    end(source, number, ExportEndHow::Gone);
    assert_eq!((source.aside_bytes(), target.aside_bytes()), (0, 0));
    target.take_garbage();
    for line in ["SADD {t}set last", "LREM {t}list 1 element:4000", "HDEL {t}hash field:7", "APPEND {t}text x"] {
        apply(target, 1001, line);
    }
}

#[test]
fn large_values_that_are_written_all_the_time_are_sent_once_and_then_what_changes_of_them() {
    let (mut source, mut target) = pair();
    fill_large(&mut source);
    let number = export(&mut source, TARGET, &[slot("t")]);
    import(&source, &mut target, number);
    let mut writes = 0;
    let mut write = |source: &mut Keyspace| {
        writes += 1;
        touch(source, writes);
    };
    let whole = send_counted(&mut source, &mut target, (number, 8 * PIECE_BYTES), &mut write);
    assert!(whole > 500_000, "{whole}");
    round(&mut source, number);
    let first = send_counted(&mut source, &mut target, (number, 8 * PIECE_BYTES), &mut write);
    round(&mut source, number);
    let second = send_counted(&mut source, &mut target, (number, 8 * PIECE_BYTES), &mut write);
    let changed = source.changed(number, 100);
    assert!(changed.keys == 5 && changed.bytes < 60_000, "{changed:?}");
    freeze(&mut source, number);
    let digest = source.export(number).unwrap().frozen().next().map(|(_, data)| digest_of(data));
    let last = send_counted(&mut source, &mut target, (number, 8 * PIECE_BYTES), |_| ());
    assert!(first < whole / 3 && second < 60_000 && last < 30_000, "{whole}, {first}, {second}, {last}");
    check_moved(&mut source, &mut target, number, digest);
}

fn digest_of(data: &std::sync::Arc<super::super::super::slot_data::SlotData>) -> u64 {
    let mut keyspace = Keyspace::new(SEED);
    keyspace.install(slot("t"), (**data).clone());
    keyspace.slot_digest(slot("t")).unwrap()
}

#[test]
fn who_has_it_from_a_snapshot_goes_on_in_the_middle_of_a_patch() {
    let (mut source, mut target) = pair();
    fill_large(&mut source);
    let number = export(&mut source, TARGET, &[slot("t")]);
    import(&source, &mut target, number);
    (0..100).for_each(|round| touch(&mut source, round));
    send_counted(&mut source, &mut target, (number, 8 * PIECE_BYTES), |_| ());
    round(&mut source, number);
    let mut count = 0;
    let patched = send_counted(&mut source, &mut target, (number, 2000), |source| {
        count += 1;
        touch(source, 100 + count);
        if count % 2 == 0 {
            *source = restored(source);
        }
    });
    assert!(count > 3, "{count} pieces");
    target = restored(&target);
    freeze(&mut source, number);
    source = restored(&source);
    let digest = source.export(number).unwrap().frozen().next().map(|(_, data)| digest_of(data));
    send_counted(&mut source, &mut target, (number, 8 * PIECE_BYTES), |_| ());
    assert!(patched < 400_000, "{patched}");
    check_moved(&mut source, &mut target, number, digest);
}

#[test]
fn a_target_that_is_restored_in_the_middle_of_a_patch_goes_on() {
    let (mut source, mut target) = pair();
    fill_large(&mut source);
    let number = export(&mut source, TARGET, &[slot("t")]);
    let id = import(&source, &mut target, number);
    send(&source, &mut target, number, PIECE_BYTES);
    (0..60).for_each(|round| touch(&mut source, round));
    freeze(&mut source, number);
    let digest = source.export(number).unwrap().frozen().next().map(|(_, data)| digest_of(data));
    let slots = slots_of(&source, number);
    let mut restarts = 0;
    loop {
        let (sequence, cursor) = next_of(&target, id, &slots);
        let mut reader = ExportReader::resume(&cursor).unwrap();
        let piece = source.read_export(number, &mut reader, 700).unwrap();
        if let Next::Finish(_) = piece.next {
            break;
        }
        log(&mut target, Step::ImportPiece { id, sequence, cursor: &piece.cursor, body: &piece.body });
        if sequence % 5 == 0 {
            target = restored(&target);
            restarts += 1;
        }
    }
    assert!(restarts > 5, "{restarts}");
    send(&source, &mut target, number, PIECE_BYTES);
    check_moved(&mut source, &mut target, number, digest);
}
