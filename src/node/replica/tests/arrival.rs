//! Writes that are turned away before they are logged.

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
