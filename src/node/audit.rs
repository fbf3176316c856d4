//! The audit of ownership: a line for every change of who serves slots, as each replica applies it.
//!
//! `--log-level warn,pontoon=info,pontoon::audit=debug` turns it on. A line names shard, replica, the index of the entry and the slots with their
//! epochs: `slots lost` (from here on the shard does not serve them), `slots gained` (from here on it does), `slots kept` (served all
//! the time, under a later epoch). All replicas of a shard write the same line for an index, and again when they start over from an
//! older state; of a slot that the shard was founded with, or that came with a whole state, there is no line. What must be true of all
//! lines together: under an epoch a slot is gained by one shard, and lost by the one before it first.

use std::fmt::Write;

use super::machine::Machine;
use crate::keyspace::{Entry, Step};
use crate::topology::{Epoch, LogIndex, ReplicaId, ShardId, Slot, SlotEpoch};

/// What lines are logged under.
const TARGET: &str = "pontoon::audit";

/// The owned slots that an entry may change, as they were before it.
pub struct Before(Vec<(Slot, Option<Epoch>)>);

/// Looks at what an entry may change; nothing, if nobody wants to know.
pub fn before(machine: &Machine, entry: &[u8]) -> Option<Before> {
    let keyspace = machine.keyspace().filter(|_| Entry::is_move(entry) && is_wanted())?;
    let Ok(Entry::Move { step, .. }) = Entry::decode(entry) else { return None };
    let slots: Vec<SlotEpoch> = match step {
        Step::Freeze { number, .. } | Step::ExportEnd { number, .. } => keyspace.export(number)?.slots().collect(),
        Step::ImportFinish { id, .. } => keyspace.imports().find(|import| import.id == id)?.slots().collect(),
        _ => return None,
    };
    Some(Before(slots.into_iter().map(|known| (known.slot, keyspace.owns(known.slot))).collect()))
}

fn is_wanted() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

impl Before {
    /// Says what the entry changed.
    pub fn tell(self, machine: &Machine, (shard, replica): (ShardId, ReplicaId), index: LogIndex) {
        let Some(keyspace) = machine.keyspace() else { return };
        let [mut lost, mut gained, mut kept] = [const { Vec::new() }; 3];
        for (slot, before) in self.0 {
            match (before, keyspace.owns(slot)) {
                (Some(epoch), None) => lost.push((slot, epoch)),
                (None, Some(epoch)) => gained.push((slot, epoch)),
                (Some(before), Some(now)) if before != now => kept.push((slot, now)),
                _ => {}
            }
        }
        for (what, slots) in [("lost", lost), ("gained", gained), ("kept", kept)] {
            if !slots.is_empty() {
                tracing::debug!(target: TARGET, %shard, %replica, %index, slots = %Runs(&slots), "slots {what}");
            }
        }
    }
}

/// Slots in order with their epochs, as `7@3,9-12@4`.
struct Runs<'a>(&'a [(Slot, Epoch)]);

impl std::fmt::Display for Runs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let follows = |a: &(Slot, Epoch), b: &(Slot, Epoch)| a.0.number() + 1 == b.0.number() && a.1 == b.1;
        for (i, run) in self.0.chunk_by(follows).enumerate() {
            let ((first, epoch), (last, _)) = (run[0], run[run.len() - 1]);
            f.write_str(if i == 0 { "" } else { "," })?;
            write!(f, "{first}")?;
            if last != first {
                write!(f, "-{last}")?;
            }
            f.write_char('@')?;
            write!(f, "{epoch}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_of_one_epoch() {
        let slot = |number| Slot::new(number).unwrap();
        let slots = [(1, 2), (2, 2), (3, 3), (5, 3), (6, 3)].map(|(number, epoch)| (slot(number), Epoch(epoch)));
        assert_eq!(Runs(&slots).to_string(), "1-2@2,3@3,5-6@3");
    }
}
