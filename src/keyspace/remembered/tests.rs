//! What is remembered, for how long, and that what is dropped is never taken for new.

use super::*;

fn identity(session: u128, sequence: u64, low: u64, born: u64) -> Identity {
    Identity { id: WriteId { session: SessionId(session), sequence }, low, born: LogTime(born) }
}

fn keep(remembered: &mut Remembered, session: u128, sequence: u64, reply: &[u8], now: u64) {
    let id = WriteId { session: SessionId(session), sequence };
    remembered.keep(id, Some(Slot::of_key(b"k")), Answer::Reply(Reply::new(reply)), LogTime(now));
}

fn answered(reply: &[u8]) -> Verdict {
    Verdict::Answered(Answer::Reply(Reply::new(reply)))
}

#[test]
fn a_reply_is_kept_until_its_session_has_it() {
    let mut remembered = Remembered::default();
    for sequence in 1..=3 {
        let identity = identity(1, sequence, 1, 100);
        remembered.hear(identity, LogTime(100));
        assert_eq!(remembered.judge(identity, LogTime(100)), Verdict::New);
        keep(&mut remembered, 1, sequence, b":1\r\n", 100);
        assert_eq!(remembered.judge(identity, LogTime(100)), answered(b":1\r\n"));
    }
    keep(&mut remembered, 2, 1, b"+OK\r\n", 100);
    remembered.hear(identity(1, 4, 3, 100), LogTime(101));
    assert_eq!(remembered.usage().replies, 2, "the third, and that of another session");
    for (sequence, verdict) in [(2, Verdict::Forgotten), (3, answered(b":1\r\n")), (4, Verdict::New)] {
        assert_eq!(remembered.judge(identity(1, sequence, 1, 100), LogTime(101)), verdict);
    }
    remembered.hear(identity(1, 2, 1, 100), LogTime(102));
    assert_eq!(remembered.judge(identity(1, 2, 1, 100), LogTime(102)), Verdict::Forgotten, "low never falls");
}

#[test]
fn a_session_that_is_silent_leaves_nothing_and_its_late_frames_give_themselves_away() {
    let mut remembered = Remembered::default();
    for sequence in 0..5000 {
        remembered.hear(identity(1, sequence, 0, 1000), LogTime(1000));
        keep(&mut remembered, 1, sequence, b":1\r\n", 1000);
    }
    let end = LogTime(1000 + SILENT_MS);
    assert!(!remembered.has_old(end));
    let mut entries = 0;
    let later = LogTime(end.get() + 1);
    while remembered.has_old(later) {
        for sequence in [0, 4999] {
            assert_ne!(remembered.judge(identity(1, sequence, 0, 1000), later), Verdict::New);
        }
        remembered.drop_old(later);
        entries += 1;
    }
    assert!((2..100).contains(&entries), "a little with each entry: {entries}");
    assert_eq!(remembered.usage(), RememberedUsage::default());
    assert!(remembered.by_age.is_empty() && remembered.loaded.is_empty());
    assert_eq!(remembered.judge(identity(1, 1, 0, 1000), later), Verdict::Forgotten);
}

#[test]
fn a_write_is_refused_long_before_its_record_could_be_gone() {
    let mut remembered = Remembered::default();
    let late = identity(1, 1, 0, 10_000);
    assert_eq!(remembered.judge(late, LogTime(10_000 + BORN_MS)), Verdict::New);
    assert_eq!(remembered.judge(late, LogTime(10_001 + BORN_MS)), Verdict::Forgotten);
    remembered.hear(identity(1, 7, 0, 20_000), LogTime(10_000 + BORN_MS));
    assert_eq!(remembered.judge(late, LogTime(10_001 + BORN_MS)), Verdict::Forgotten, "of a known session as well");
    const { assert!(BORN_MS + 2 * NEWS_AHEAD_MS < SILENT_MS) };
}

#[test]
fn there_are_never_too_many_replies_and_what_had_to_go_is_not_executed_again() {
    let mut remembered = Remembered::default();
    keep(&mut remembered, 9, 1, b"+OK\r\n", 5_000);
    for sequence in 0..REPLIES_MAX as u64 + 9 {
        keep(&mut remembered, 1, sequence, b"+OK\r\n", 100_000);
    }
    assert_eq!(remembered.usage().replies, REPLIES_MAX as u64);
    let judged = |remembered: &Remembered, session, sequence| {
        remembered.judge(identity(session, sequence, 0, 100_000), LogTime(100_000))
    };
    assert_eq!(judged(&remembered, 9, 1), Verdict::Forgotten, "the session that was silent for longest went first");
    assert_eq!(judged(&remembered, 1, 9), answered(b"+OK\r\n"));
    assert_eq!(judged(&remembered, 1, 8), Verdict::Forgotten);
    let large = vec![b'x'; 1 << 20];
    for sequence in 0..300 {
        keep(&mut remembered, 2, sequence, &large, 200_000);
    }
    let usage = remembered.usage();
    assert!(usage.bytes <= REPLIES_BYTES_MAX && usage.replies >= 100, "{usage:?}");
    let huge = vec![b'x'; REPLIES_BYTES_MAX as usize + 1];
    keep(&mut remembered, 3, 1, &huge, 300_000);
    assert_eq!((remembered.usage().replies, remembered.has(WriteId { session: SessionId(3), sequence: 1 })), (1, true));
}

#[test]
fn there_are_never_too_many_sessions_and_those_that_had_to_go_are_not_taken_for_new_ones() {
    let mut remembered = Remembered::default();
    for session in 0..SESSIONS_MAX as u128 + 100 {
        let now = 1_000_000 + session as u64;
        remembered.hear(identity(session, 1, 0, now), LogTime(now));
        keep(&mut remembered, session, 1, b"+OK\r\n", now);
        remembered.drop_old(LogTime(now));
    }
    let now = LogTime(1_000_000 + SESSIONS_MAX as u64 + 100);
    assert!(remembered.usage().sessions <= SESSIONS_MAX as u64);
    assert_eq!(remembered.judge(identity(3, 1, 0, 1_000_003), now), Verdict::Forgotten);
    assert_eq!(remembered.judge(identity(u128::MAX, 1, 0, now.get()), now), Verdict::New, "a new one is one");
}

#[test]
fn a_frozen_copy_stays_and_what_is_loaded_from_it_is_the_same() {
    let mut remembered = Remembered::default();
    for number in 0..3000_u64 {
        let session = u128::from(number % 7) << 64 | u128::from(number % 300);
        keep(
            &mut remembered,
            session,
            number,
            format!(":{number}\r\n").repeat(1 + number as usize % 5).as_bytes(),
            number,
        );
    }
    remembered.load_forgotten_until(LogTime(77));
    let frozen = remembered.freeze();
    let usage = remembered.usage();
    for number in 0..300_u32 {
        remembered.hear(identity(u128::from(number), 9000, 8000, 9000), LogTime(9000));
    }
    let (mut loaded, mut cursor) = (Remembered::default(), Cursor::default());
    loaded.load_forgotten_until(frozen.forgotten_until());
    while let Some(item) = frozen.next(&mut cursor) {
        match item {
            Item::Session(id, session) => loaded.load_session(id, session.low, session.heard, session.born),
            Item::Reply(id, kept) => loaded.load_reply(id, kept.clone()).unwrap(),
        }
    }
    assert_eq!((loaded.usage(), loaded.forgotten_until), (usage, LogTime(77)));
    let (mut one, mut other) = (Cursor::default(), Cursor::default());
    let again = loaded.freeze();
    loop {
        let items = (frozen.next(&mut one), again.next(&mut other));
        match items {
            (None, None) => break,
            (Some(Item::Session(id, a)), Some(Item::Session(other, b))) => {
                assert_eq!((id, a.low, a.heard, a.born, a.len()), (other, b.low, b.heard, b.born, b.len()));
            }
            (Some(Item::Reply(id, a)), Some(Item::Reply(other, b))) => assert_eq!((id, a), (other, b)),
            other => panic!("{other:?}"),
        }
    }
}
