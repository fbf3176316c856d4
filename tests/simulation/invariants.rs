//! What must hold at every step, whatever the clients see: one leader in a term, one committed log, one state at one
//! index, of every shard; and nobody is a member again whom the catalog has dropped.

use std::collections::BTreeMap;

use pontoon::consensus::{Message, snapshot_point};
use pontoon::node::machine::{Machine, MachineLoader};
use pontoon::node::replica::Replica;
use pontoon::topology::{Epoch, LogIndex, ReplicaId, ShardId, Slot, Term};

use super::random::mixed;

/// States are compared at one in so many indexes, the same for all replicas: reading all of a state takes its time.
const COMPARED_ONE_IN: u64 = 4;

#[derive(Default)]
pub struct Invariants {
    leaders: BTreeMap<(ShardId, Term), usize>,
    /// Term and hash of what was applied at each index, by whoever came first.
    committed: BTreeMap<(ShardId, u64), (u64, u64)>,
    /// The state at the indexes at which some replica ended a turn.
    states: BTreeMap<(ShardId, u64), u64>,
    applied: BTreeMap<(ShardId, ReplicaId), (usize, u64)>,
    /// Who owned a slot under an epoch.
    owners: BTreeMap<(Slot, Epoch), ShardId>,
    /// The positions at which members were reported without those whom the catalog dropped.
    dropped: BTreeMap<ShardId, Vec<(ReplicaId, LogIndex)>>,
    /// The ownerships that were seen.
    pub ownerships: usize,
    pub snapshots: u64,
    pub states_sent: u64,
    pub states_installed: u64,
    /// Entries that were compared with what another replica, or an earlier life, applied.
    pub compared: u64,
}

impl Invariants {
    /// How many terms had a leader.
    pub fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    /// A node starts over from its disk.
    pub fn started(&mut self, node: usize) {
        self.applied.retain(|_, (of, _)| *of != node);
    }

    /// The catalog dropped a replica, as it was no member at this position. Its node destroys it.
    pub fn dropped(&mut self, shard: ShardId, replica: ReplicaId, at: LogIndex) {
        self.dropped.entry(shard).or_default().push((replica, at));
    }

    /// Looks at a replica after its turn. Returns a number that says what it saw.
    pub fn observe(&mut self, node: usize, now_us: u64, replica: &Replica) -> u64 {
        assert!(replica.failed.is_none(), "node {node} at {now_us} us: replica stopped: {:?}", replica.failed);
        let (shard, term) = (replica.shard, replica.group.term());
        if replica.group.leads() {
            let leader = *self.leaders.entry((shard, term)).or_insert(node);
            assert_eq!(leader, node, "at {now_us} us: two leaders of shard {shard} in term {term}");
        }
        let applied = replica.applied().0;
        let before = self.applied.insert((shard, replica.id), (node, applied)).map_or(0, |(_, before)| before);
        assert!(before <= applied, "node {node} at {now_us} us: applied went from {before} back to {applied}");
        if before != applied {
            self.note_owned(node, now_us, replica);
            let dropped = self.dropped.get(&shard).into_iter().flatten();
            for (id, _) in dropped.filter(|(_, at)| applied > at.0) {
                let again = replica.group.members().contains(*id);
                assert!(
                    !again,
                    "node {node} at {now_us} us: replica {id} of shard {shard} was dropped, and is a member at {applied}"
                );
            }
            self.compare_entries(node, before + 1..=applied, replica);
            if mixed(applied).is_multiple_of(COMPARED_ONE_IN) {
                self.compare_state(&format!("node {node} at {now_us} us"), shard, applied, &replica.machine);
            }
        }
        mixed(applied) ^ mixed(term.0 << 16 | shard.0 << 8 | node as u64)
    }

    /// A slot has one owner under an epoch, whoever looks and whenever.
    fn note_owned(&mut self, node: usize, now_us: u64, replica: &Replica) {
        let Some(keyspace) = replica.machine.keyspace() else { return };
        for slot in keyspace.owned().iter() {
            let Some(epoch) = keyspace.owns(slot) else { continue };
            let owner = *self.owners.entry((slot, epoch)).or_insert(replica.shard);
            assert_eq!(
                owner, replica.shard,
                "node {node} at {now_us} us: slot {slot} has two owners under epoch {epoch}"
            );
        }
        self.ownerships = self.owners.len();
    }

    fn compare_entries(&mut self, node: usize, indexes: std::ops::RangeInclusive<u64>, replica: &Replica) {
        let shard = replica.shard;
        for index in indexes {
            // What a snapshot brought, or was let go since, is covered by the state.
            let Some((term, data)) = replica.group.entry(LogIndex(index)) else { continue };
            let found = (term.0, hash(&data));
            match self.committed.get(&(shard, index)) {
                Some(known) => {
                    assert_eq!(*known, found, "node {node}: another entry of shard {shard} was committed at {index}");
                    self.compared += 1;
                }
                None => drop(self.committed.insert((shard, index), found)),
            }
        }
    }

    fn compare_state(&mut self, who: &str, shard: ShardId, index: u64, machine: &Machine) {
        let Machine::Data(keyspace) = machine else { return };
        let slots = keyspace.digest().into_iter().map(|s| s.digest ^ u64::from(s.slot.number()));
        let digest = slots.fold(mixed(keyspace.log_time().0), |sum, slot| mixed(sum.rotate_left(9) ^ slot));
        let known = *self.states.entry((shard, index)).or_insert(digest);
        assert_eq!(known, digest, "{who}: another state of shard {shard} at index {index}");
    }

    /// A state goes to another node: it must be the one of the index that its message names.
    pub fn state_leaves(&mut self, shard: ShardId, message: &Message, pieces: &[Vec<u8>]) {
        let point = snapshot_point(message).expect("a state's message");
        let mut loader = MachineLoader::new(shard);
        pieces.iter().for_each(|piece| loader.push(piece).expect("a piece of a state"));
        let machine = loader.finish().expect("a whole state");
        self.compare_state("a state that was sent", shard, point.index.0, &machine);
    }
}

fn hash(data: &[u8]) -> u64 {
    data.iter().fold(data.len() as u64, |sum, byte| mixed(sum.rotate_left(7) ^ u64::from(*byte)))
}

/// All of a state, to the last byte that a snapshot of it has.
pub fn whole(machine: &Machine) -> Vec<Vec<u8>> {
    machine.freeze().map_or(Vec::new(), |state| state.pieces().collect())
}
