//! The rules of moves, each with what it closes (DESIGN.md, R5, R13, R14, R15), and those who wait.

use super::*;
use crate::keyspace::snapshot::Loader;
use crate::keyspace::{Answer, ReadAt, Served};
use crate::protocol::coverage::{self, SlotRuns};
use crate::protocol::identity::CancelHow;
use crate::protocol::request::{Args, parse_array};

fn request(line: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_array(&mut request, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
    request
}

fn seen(keyspace: &mut Keyspace, seen: u64, line: &str) -> (Applied, String) {
    let (request, mut out, time) = (request(line), Vec::new(), keyspace.log_time());
    let entry = Entry::Write { time, seed: 0, resp3: false, identity: None, seen, request: &request };
    let applied = keyspace.apply(&entry, &mut out).unwrap();
    (applied, String::from_utf8(out).unwrap())
}

fn state(source: &Keyspace, target: &Keyspace, number: u64) -> ImportState {
    target.import_state(MoveId { source: SOURCE, number }, slots_of(source, number))
}

fn refuse(source: &Keyspace, target: &mut Keyspace, number: u64) {
    let slots = SlotEpochs::encode(slots_of(source, number));
    log(target, Step::ImportRefuse { slots: SlotEpochs::decode(&slots).unwrap() });
}

#[test]
fn r5_a_write_behind_a_freeze_changes_nothing_and_none_overtakes_it_when_the_slot_comes_back() {
    let (mut source, mut target) = pair();
    apply(&mut source, 1000, "RPUSH {t}l 1");
    let number = export(&mut source, TARGET, &[slot("t")]);
    import(&source, &mut target, number);
    // Two writes of a client; its leader proposed them before the freeze was applied.
    let before = source.ownership();
    freeze(&mut source, number);
    let digest = source.freeze().digest(crate::topology::LogIndex(1));
    assert_eq!(seen(&mut source, before, "RPUSH {t}l 2"), (Applied::NotOwner(slot("t")), String::new()));
    assert_eq!(source.freeze().digest(crate::topology::LogIndex(1)), digest, "no trace");
    refuse(&source, &mut target, number);
    end(&mut source, number, ExportEndHow::UndoRefused);
    assert_eq!(source.owns(slot("t")), Some(Epoch(3)));
    assert_eq!(seen(&mut source, before, "RPUSH {t}l 3").0, Applied::NotOwner(slot("t")), "it would overtake");
    assert_eq!(seen(&mut source, before, "RPUSH {u}l 3").0, Applied::Reply, "other slots never went");
    let now = source.ownership();
    assert_eq!(seen(&mut source, now, "RPUSH {t}l 2").1, ":2\r\n");
    assert_eq!(seen(&mut source, now, "RPUSH {t}l 3").1, ":3\r\n");
}

#[test]
fn r5_a_slot_that_was_gained_refuses_what_was_proposed_before() {
    let (mut source, mut target) = pair();
    let before = target.ownership();
    move_slots(&mut source, &mut target, &[slot("t")]);
    assert_eq!(seen(&mut target, before, "SET {t}k v").0, Applied::NotOwner(slot("t")));
    let now = target.ownership();
    assert_eq!(seen(&mut target, now, "SET {t}k v").0, Applied::Reply);
}

#[test]
fn r13_silence_never_unfreezes_and_a_late_piece_of_an_undone_move_does_nothing() {
    let (mut source, mut target) = pair();
    apply(&mut source, 1000, "SET {t}k old");
    let number = export(&mut source, TARGET, &[slot("t")]);
    let id = import(&source, &mut target, number);
    send(&source, &mut target, number, 4096);
    freeze(&mut source, number);
    end(&mut source, number, ExportEndHow::Undo);
    assert_eq!(source.owns(slot("t")), None, "only the target's refusal undoes what is frozen");
    // The last entry is on its way when the target refuses.
    let mut reader = ExportReader::resume(&next_of(&target, id, &slots_of(&source, number)).1).unwrap();
    let piece = source.read_export(number, &mut reader, 4096).unwrap();
    let Next::Finish(seals) = piece.next else { panic!("{piece:?}") };
    refuse(&source, &mut target, number);
    assert_eq!(state(&source, &target, number), ImportState::Refused);
    end(&mut source, number, ExportEndHow::UndoRefused);
    apply(&mut source, 1001, "SET {t}k new");
    let (log_time, seals) = (LogTime(1000), Seals::encode(seals));
    let seals = Seals::decode(&seals).unwrap();
    log(&mut target, Step::ImportFinish { id, sequence: 1, log_time, seals, body: &piece.body });
    assert_eq!((target.owns(slot("t")), source.owns(slot("t"))), (None, Some(Epoch(3))));
    // The next attempt has an epoch of its own, and a late start of the first does not touch it.
    let second = export(&mut source, TARGET, &[slot("t")]);
    assert_eq!(slots_of(&source, second), [SlotEpoch { slot: slot("t"), epoch: Epoch(4) }]);
    import(&source, &mut target, second);
    let late = SlotEpochs::encode([SlotEpoch { slot: slot("t"), epoch: Epoch(2) }]);
    log(&mut target, Step::ImportStart { id, slots: SlotEpochs::decode(&late).unwrap() });
    log(&mut target, Step::ImportRefuse { slots: SlotEpochs::decode(&late).unwrap() });
    send(&source, &mut target, second, 4096);
    freeze(&mut source, second);
    send(&source, &mut target, second, 4096);
    assert_eq!(state(&source, &target, second), ImportState::Taken);
    end(&mut source, second, ExportEndHow::UndoRefused);
    assert_eq!(source.owns(slot("t")), Some(Epoch(5)), "a leader says that only when it is so");
}

#[test]
fn r13_a_copy_that_is_not_what_it_must_be_is_refused() {
    let (mut source, mut target) = pair();
    for number in 0..50 {
        apply(&mut source, 1000, &format!("SET {{t}}{number} v"));
    }
    let number = export(&mut source, TARGET, &[slot("t")]);
    let id = import(&source, &mut target, number);
    let mut reader = ExportReader::default();
    let piece = source.read_export(number, &mut reader, 500).unwrap();
    // The piece is lost, and yet the target is told that it came.
    log(&mut target, Step::ImportPiece { id, sequence: 0, cursor: &piece.cursor, body: &[0; 8] });
    send(&source, &mut target, number, 4096);
    freeze(&mut source, number);
    send(&source, &mut target, number, 4096);
    assert_eq!(state(&source, &target, number), ImportState::Refused);
    assert_eq!((target.owns(slot("t")), target.imports().count(), target.aside_bytes()), (None, 0, 0));
    end(&mut source, number, ExportEndHow::UndoRefused);
    assert_eq!(read(&source, 1000, "DBSIZE"), ":50\r\n");
}

#[test]
fn r14_a_shard_that_closes_takes_nothing_from_there_on() {
    let (mut source, mut target) = pair();
    apply(&mut source, 1000, "SET {t}k v");
    let (running, late) = (export(&mut source, TARGET, &[slot("t")]), export(&mut source, TARGET, &[slot("u")]));
    import(&source, &mut target, running);
    send(&source, &mut target, running, 4096);
    freeze(&mut source, running);
    log(&mut target, Step::Closing);
    assert!(target.is_closing());
    import(&source, &mut target, late);
    for number in [running, late] {
        assert_eq!(state(&source, &target, number), ImportState::Refused);
        end(&mut source, number, ExportEndHow::UndoRefused);
    }
    assert_eq!(target.owned().len(), 0);
    assert_eq!(read(&source, 1000, "GET {t}k"), "$1\r\nv\r\n");
}

fn cover(keyspace: &mut Keyspace, sequence: u64, slots: &SlotRuns, line: &str) -> (Applied, SlotRuns, String) {
    let (mut body, mut out, time) = (Vec::new(), Vec::new(), keyspace.log_time());
    coverage::put(&mut body, slots);
    body.extend_from_slice(&request(line));
    let identity = Some(Identity { id: WriteId { session: SessionId(9), sequence }, low: 1, born: time });
    let seen = keyspace.ownership();
    let applied = keyspace.apply(&Entry::Cover { time, seed: 0, resp3: false, identity, seen, body: &body }, &mut out);
    let (covered, reply) = coverage::split(&out).unwrap();
    (applied.unwrap(), covered, String::from_utf8(reply.to_vec()).unwrap())
}

fn read_covering(keyspace: &Keyspace, slots: &SlotRuns, line: &str) -> (SlotRuns, String) {
    let (bytes, mut spans, mut out) = (request(line), Vec::new(), Vec::new());
    parse_array(&bytes, &mut spans).unwrap();
    let at = ReadAt { clock: keyspace.log_time(), resp3: false };
    assert_eq!(keyspace.read_covering(slots, Args::new(&bytes, &spans), at, &mut out), Read::Answered);
    let (covered, reply) = coverage::split(&out).unwrap();
    (covered, String::from_utf8(reply.to_vec()).unwrap())
}

#[test]
fn r15_each_slot_is_covered_once_while_it_moves() {
    let (mut source, mut target) = pair();
    for line in ["SET {t}k v", "SET {u}k v", "SET {u}l v", "SET {x}k v"] {
        apply(&mut source, 1000, line);
    }
    let number = export(&mut source, TARGET, &[slot("t")]);
    import(&source, &mut target, number);
    send(&source, &mut target, number, 4096);
    freeze(&mut source, number);
    // Nobody answers for the frozen slot, neither here nor there.
    let (at_source, reply) = read_covering(&source, &SlotRuns::all(), "DBSIZE");
    assert_eq!((at_source.len(), at_source.contains(slot("t")), reply.as_str()), (16383, false, ":3\r\n"));
    let rest = SlotRuns::of([slot("t")]);
    assert_eq!(read_covering(&target, &rest, "DBSIZE"), (SlotRuns::default(), ":0\r\n".to_owned()));
    let (applied, covered, reply) = cover(&mut source, 1, &SlotRuns::all(), "FLUSHALL");
    assert_eq!((applied, covered.len(), reply.as_str()), (Applied::Reply, 16383, "+OK\r\n"));
    apply(&mut source, 1000, "SET {u}after v");
    send(&source, &mut target, number, 4096);
    end(&mut source, number, ExportEndHow::Gone);
    assert_eq!(read_covering(&target, &rest, "DBSIZE"), (rest.clone(), ":1\r\n".to_owned()));
    assert_eq!(read_covering(&target, &SlotRuns::all(), "KEYS *"), (rest.clone(), "*1\r\n$4\r\n{t}k\r\n".to_owned()));
    assert_eq!(cover(&mut target, 2, &rest, "FLUSHALL").1, rest);
    assert_eq!(read(&target, 1000, "DBSIZE"), ":0\r\n");
    // Sent again under its name it flushes nothing that came after it.
    let (applied, covered, _) = cover(&mut source, 1, &SlotRuns::all(), "FLUSHALL");
    assert_eq!((applied, covered.len()), (Applied::Repeated, 16383));
    assert_eq!(read(&source, 1000, "EXISTS {u}after"), ":1\r\n");
    let some = SlotRuns::of([slot("x"), slot("u")].into_iter().collect::<std::collections::BTreeSet<_>>());
    assert_eq!(read_covering(&source, &some, "DBSIZE").1, ":1\r\n");
    assert!(read_covering(&source, &some, "GET a").1.starts_with('-'));
}

#[test]
fn r15_the_record_of_a_flush_moves_with_the_first_slot_that_it_was_wanted_for() {
    let (mut source, mut target) = pair();
    let first = slot("t").min(slot("u"));
    let both = SlotRuns::of([first, slot("t").max(slot("u"))]);
    apply(&mut source, 1000, "SET {t}k v");
    assert_eq!(cover(&mut source, 1, &both, "FLUSHALL").0, Applied::Reply);
    apply(&mut source, 1000, "SET {t}after v");
    apply(&mut source, 1000, "SET {u}after v");
    let number = export(&mut source, TARGET, &both.slots().collect::<Vec<_>>());
    import(&source, &mut target, number);
    send(&source, &mut target, number, 4096);
    freeze(&mut source, number);
    send(&source, &mut target, number, 4096);
    end(&mut source, number, ExportEndHow::Gone);
    // Its leader died before it had answered; it is asked for where the slot is now.
    let (applied, covered, reply) = cover(&mut target, 1, &both, "FLUSHALL");
    assert_eq!((applied, covered, reply.as_str()), (Applied::Repeated, both.clone(), "+OK\r\n"));
    assert_eq!(read(&target, 1000, "DBSIZE"), ":2\r\n");
    // Where the slot is no more nobody flushes anything.
    let (mut body, mut out, time) = (Vec::new(), Vec::new(), source.log_time());
    coverage::put(&mut body, &both);
    body.extend_from_slice(&request("FLUSHALL"));
    let identity = Some(Identity { id: WriteId { session: SessionId(9), sequence: 2 }, low: 1, born: time });
    let seen = source.ownership();
    let again = Entry::Cover { time, seed: 0, resp3: false, identity, seen, body: &body };
    assert_eq!(source.apply(&again, &mut out).unwrap(), Applied::NotOwner(first));
}

fn id(sequence: u64) -> WriteId {
    WriteId { session: SessionId(3), sequence }
}

fn block(keyspace: &mut Keyspace, sequence: u64, line: &str) -> Applied {
    let (request, time, seen) = (request(line), keyspace.log_time(), keyspace.ownership());
    let identity = Identity { id: id(sequence), low: 1, born: time };
    let entry = Entry::Block { time, seed: 0, resp3: false, identity, seen, request: &request };
    keyspace.apply(&entry, &mut Vec::new()).unwrap()
}

fn served(keyspace: &mut Keyspace) -> Vec<(u64, String)> {
    let text = |answer| match answer {
        Answer::Reply(reply) => String::from_utf8(reply.to_vec()).unwrap(),
        Answer::Gone => "gone".to_owned(),
    };
    keyspace.take_served().into_iter().map(|Served { id, answer }| (id.sequence, text(answer))).collect()
}

#[test]
fn blocked_clients_move_with_their_slot_in_their_order() {
    let (mut source, mut target) = pair();
    tick(&mut source, 1000);
    for (sequence, line) in
        [(1, "BLPOP {t}q 0"), (2, "BLPOP {t}q {t}r 0"), (3, "BLPOP {t}q {u}q 0"), (4, "BLPOP {u}q 0")]
    {
        assert_eq!(block(&mut source, sequence, line), Applied::Waits(id(sequence)));
    }
    let number = export(&mut source, TARGET, &[slot("t")]);
    import(&source, &mut target, number);
    send(&source, &mut target, number, 4096);
    freeze(&mut source, number);
    assert_eq!(source.take_parted(), [(id(3), slot("t"))], "its keys are in two shards from here on");
    let cancel = |keyspace: &mut Keyspace, sequence| {
        let (time, how) = (keyspace.log_time(), CancelHow::Timeout);
        let identity = Identity { id: id(sequence), low: 1, born: time };
        let entry = Entry::Cancel { time, how, resp3: false, slot: slot("t"), identity };
        keyspace.apply(&entry, &mut Vec::new()).unwrap()
    };
    assert_eq!(cancel(&mut source, 1), Applied::NotOwner(slot("t")), "it is on its way");
    send(&source, &mut target, number, 4096);
    end(&mut source, number, ExportEndHow::Gone);
    assert_eq!(source.take_parted(), [(id(1), slot("t")), (id(2), slot("t"))]);
    assert_eq!((source.waiter_count(), target.waiter_count()), (1, 2));
    // Asked again at the new owner, the second keeps its place.
    assert_eq!(block(&mut target, 2, "BLPOP {t}q {t}r 0"), Applied::Waits(id(2)));
    let now = target.ownership();
    seen(&mut target, now, "RPUSH {t}q a b");
    let popped = |element| format!("*2\r\n$4\r\n{{t}}q\r\n$1\r\n{element}\r\n");
    assert_eq!(served(&mut target), [(1, popped("a")), (2, popped("b"))]);
}

#[test]
fn a_blocked_client_that_puts_into_a_slot_that_left_asks_again_when_there_is_something() {
    let (mut source, mut target) = pair();
    tick(&mut source, 1000);
    assert_eq!(block(&mut source, 1, "BLMOVE {u}q {t}q LEFT LEFT 0"), Applied::Waits(id(1)));
    move_slots(&mut source, &mut target, &[slot("t")]);
    assert_eq!((source.take_parted(), source.waiter_count()), (vec![], 1));
    apply(&mut source, 1000, "RPUSH {u}q a");
    assert_eq!((source.take_parted(), source.waiter_count()), (vec![(id(1), slot("t"))], 0));
    assert_eq!(read(&source, 1000, "LLEN {u}q"), ":1\r\n");
    assert_eq!(block(&mut source, 1, "BLMOVE {u}q {t}q LEFT LEFT 0"), Applied::NotOwner(slot("t")));
}

#[test]
fn a_snapshot_in_the_middle_of_a_large_value_goes_on_where_it_was() {
    let (mut source, mut target) = pair();
    fill(&mut source);
    let number = export(&mut source, TARGET, &[slot("t"), slot("u")]);
    let id = import(&source, &mut target, number);
    let (mut sequence, mut reader) = (0, ExportReader::default());
    loop {
        let piece = source.read_export(number, &mut reader, 500).unwrap();
        log(&mut target, Step::ImportPiece { id, sequence, cursor: &piece.cursor, body: &piece.body });
        sequence += 1;
        let mut loader = Loader::new();
        target.freeze().pieces(2000).for_each(|piece| loader.push(&piece).unwrap());
        let restored = loader.finish().unwrap();
        let index = crate::topology::LogIndex(1);
        assert_eq!(restored.freeze().digest(index), target.freeze().digest(index));
        // Now and then the one that was restored goes on.
        if sequence % 3 == 0 {
            target = restored;
        }
        if piece.next == Next::RoundDone {
            break;
        }
    }
    assert!(sequence > 100);
    let digests = [slot("t"), slot("u")].map(|slot| source.slot_digest(slot));
    freeze(&mut source, number);
    send(&source, &mut target, number, 500);
    assert_eq!([slot("t"), slot("u")].map(|slot| target.slot_digest(slot)), digests);
}

#[test]
fn r9_pieces_that_two_leaders_of_a_source_cut_differently_are_not_mixed() {
    let (mut source, mut target) = pair();
    (0..200).for_each(|number| drop(apply(&mut source, 1000, &format!("SET {{t}}{number} {number:050}"))));
    let number = export(&mut source, TARGET, &[slot("t")]);
    let (id, slots) = (import(&source, &mut target, number), slots_of(&source, number));
    let (mut old, mut new) = (ExportReader::default(), ExportReader::default());
    let first = source.read_export(number, &mut old, 1000).unwrap();
    // The next leader did not see that one arrive, and cuts larger pieces.
    source.read_export(number, &mut new, 3000).unwrap();
    let second = source.read_export(number, &mut new, 3000).unwrap();
    let piece = |sequence, piece: &Piece| (sequence, piece.cursor.clone(), piece.body.clone());
    for (sequence, cursor, body) in [piece(0, &first), piece(1, &second)] {
        log(&mut target, Step::ImportPiece { id, sequence, cursor: &cursor, body: &body });
    }
    assert_eq!(next_of(&target, id, &slots), (1, first.cursor), "the second would leave out what is between them");
    send(&source, &mut target, number, 3000);
    freeze(&mut source, number);
    send(&source, &mut target, number, 3000);
    assert_eq!(state(&source, &target, number), ImportState::Taken);
    assert_eq!(target.slot_usage_of(slot("t")).map(|usage| usage.0), Some(200));
}
