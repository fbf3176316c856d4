//! Writes that are turned away before they are logged, and those of which nobody knows what became.

use super::*;

/// The one slot that is not the shard's.
pub fn elsewhere() -> Slot {
    Slot::of_key(b"elsewhere")
}

#[test]
fn r1_a_write_for_a_slot_that_is_not_here_yet_is_turned_away_before_the_log() {
    let mut trio = Trio::led(ReadOptions::default(), true);
    let before = trio.replica(0).group.last_index();
    let id = trio.ask(0, &["SET", "elsewhere", "1"], |head| head.write = true);
    assert_eq!(trio.refusal(id), Some(RefusalReason::Behind));
    let here = trio.write(0, "1");
    trio.ticks(5);
    assert_eq!((trio.refusal(here), trio.replica(0).group.last_index()), (None, LogIndex(before.0 + 1)));
}

#[test]
fn r12_of_writes_that_wait_where_a_state_is_installed_nobody_knows_what_became() {
    let mut trio = Trio::led(second(), true);
    (1..3).for_each(|other| trio.separate(0, other));
    let (covered, behind) = (trio.write(0, "1"), trio.write(0, "2"));
    trio.exchange();
    assert_eq!(trio.replica(0).waiting().0, 2);
    let of_others = Term(trio.replica(0).group.term().0 + 1);
    let index = LogIndex(trio.replica(0).group.last_index().0 - 1);
    let point = SnapshotPoint { index, term: of_others, ..trio.replica(0).point() };
    let (now, wall) = (trio.now(), trio.wall());
    let (mut scratch, mut spans) = (Vec::new(), Vec::new());
    let mut turn = Turn { now, wall, answers: &mut trio.told, scratch: &mut scratch, spans: &mut spans, seed: 0 };
    let replica = trio.engines[0].replica_mut(SHARD).unwrap();
    replica.staged = Some((index, Machine::Data(Keyspace::new(1).into())));
    replica.installed(&point, &mut turn);
    assert_eq!(trio.refusal(covered), Some(RefusalReason::Unknown), "the state may have it");
    assert_eq!(trio.refusal(behind), Some(RefusalReason::Dropped), "a later term took its place");
}
