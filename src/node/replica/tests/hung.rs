//! A leader that stood still while others elected another: nothing that it hears next tells it so.

use super::*;

impl Trio {
    /// Ticks of the others alone.
    fn ticks_without(&mut self, hung: usize, count: usize) {
        for _ in 0..count {
            self.now_ms += TICK.as_millis() as u64;
            let (now, wall) = (self.now(), self.wall());
            for node in (0..3).filter(|node| *node != hung) {
                self.engines[node].tick(now, wall, &mut self.told);
            }
            self.exchange();
        }
    }
}

#[test]
fn a_leader_that_was_replaced_unawares_answers_no_strong_read_alone() {
    for reads in [second(), leases()] {
        let mut trio = Trio::led(reads, true);
        let write = trio.write(0, "old");
        trio.exchange();
        assert!(trio.reply(write).is_some());
        (1..3).for_each(|other| trio.separate(0, other));
        trio.ticks_without(0, 80);
        assert_eq!(trio.leaders(), [0, 1], "or else this test would prove nothing");
        let write = trio.write(1, "new");
        trio.exchange();
        assert_eq!(trio.reply(write), Some("+OK\r\n"));

        let read = trio.read(0, ReadLevel::Strong);
        trio.exchange();
        assert_eq!(trio.reply(read), None);
        trio.cut.clear();
        trio.ticks(10);
        assert_ne!(trio.reply(read), Some("$3\r\nold\r\n"));
        assert!(trio.reply(read).is_some() || trio.refusal(read).is_some());
    }
}
