//! Where leaders are not wanted: on a node whose clock is wrong (`clocks`), and on one that an operator is about to work on
//! (`pontoon evict-leaders`). And how one is asked to give way, so that leaders are spread evenly (`node::balance`).
//!
//! Where it is not wanted a replica hands over what it leads, and does not stand for election, as long as its shard has a leader: after
//! [`LEADERLESS_MAX`] without one, one in the wrong place will do. A leader that nobody could follow stays. Who is asked to give way
//! does so only if nothing else is going on with its shard, and only to one who is in step.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Engine;
use crate::net::Moment;
use crate::node::pulse::Reigning;
use crate::node::replica::Replica;
use crate::protocol::control::{LeaderReport, LeadersReport};
use crate::topology::{Catalog, NodeName, ReplicaId, ShardId, Term};

/// How long a shard may be without a leader before one in the wrong place will do.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);

/// Why a leader gave its leadership away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandOver {
    /// Leaders are spread evenly.
    Balance,
    /// An operator wants leaders to leave the node.
    Eviction,
    /// The node's clock is wrong.
    Clock,
}

impl HandOver {
    /// Its label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Eviction => "eviction",
            Self::Clock => "clock",
        }
    }
}

/// How often a leader gave its leadership away since the start, by reason.
pub type HandOvers = BTreeMap<HandOver, u64>;

impl Engine {
    /// Who is not wanted as a leader here stands back, and hands over what it leads.
    pub(super) fn place_leaders(&mut self, now: Moment) {
        let catalog = self.catalog.as_deref();
        let is_evicted = |node: &NodeName| catalog.and_then(|c| c.nodes.get(node)).is_some_and(|record| record.evicted);
        let (is_far, evicted) = (self.clocks.is_far(), is_evicted(&self.node));
        for replica in self.replicas.values_mut() {
            replica.feel_pulse(now);
            // The catalog has no log time.
            let is_wrong = is_far && replica.shard != ShardId::CATALOG;
            let spares = replica.misses_leader(now);
            replica.group.stand_back((evicted || is_wrong) && !spares);
            // Who gives the leadership away to an evicted node knows more than this one.
            replica.group.decline(is_wrong && !spares);
            if !evicted {
                continue;
            }
            let homes = &self.homes;
            let stays = |id: &ReplicaId| stays(catalog, replica.shard, *id);
            let welcome = |id: &ReplicaId| stays(id) && homes.get(id).is_some_and(|node| !is_evicted(node));
            let able: Vec<ReplicaId> = replica.group.members().voters.iter().copied().filter(welcome).collect();
            if let Some(to) = replica.group.hand_over(&able) {
                replica.count_hand_over(HandOver::Eviction);
                tracing::info!(shard = %replica.shard, replica = %to, "gets the leadership, as leaders are to leave this node");
            }
        }
    }

    /// Who leads here, and who could take over.
    pub fn leaders_report(&self) -> LeadersReport {
        let replicas = self.replicas().filter(|replica| replica.shard != ShardId::CATALOG);
        let leading = replicas.filter(|replica| replica.group.leads_surely() && replica.failed.is_none());
        let report = |replica: &Replica| LeaderReport {
            shard: replica.shard,
            replica: replica.id,
            term: replica.group.term(),
            heirs: replica.pulse.knows().then(|| replica.heirs().collect()),
            held: replica.holds_leader(self.catalog.as_deref()),
            writes_per_second: replica.pulse.writes_per_second(),
        };
        LeadersReport { clock_is_far: self.clocks.is_far(), leading: leading.map(report).collect() }
    }

    /// Gives the leadership of a shard to another voter, if it is this node's to give in this term. It is seen in the heartbeats whether
    /// that came about.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn give_leadership(&mut self, shard: ShardId, to: ReplicaId, term: Term, why: &str) -> Result<(), String> {
        let (catalog, node) = (self.catalog.clone(), self.homes.get(&to).cloned());
        let Some(replica) = self.replicas.get_mut(&shard) else {
            return Err("it has no replica of the shard".to_owned());
        };
        if !replica.group.leads_surely() || replica.group.term() != term {
            return Err(format!("it does not lead the shard in term {term}"));
        }
        if let Some(reason) = replica.holds_leader(catalog.as_deref()) {
            return Err(reason);
        }
        if !replica.heirs().any(|heir| heir == to) {
            return Err(format!("replica {to} is no voter that is in step"));
        }
        replica.group.transfer(to);
        if replica.group.leads() {
            return Err(format!("the group does not take replica {to} for its next leader"));
        }
        replica.count_hand_over(HandOver::Balance);
        let to_node = node.map_or_else(|| "?".to_owned(), |node| node.to_string());
        tracing::info!(%shard, replica = %to, node = to_node, "gets the leadership: {why}");
        self.mark(shard);
        Ok(())
    }
}

/// Whether a replica is not about to leave its group: one that is would give the leadership back, without end.
pub(super) fn stays(catalog: Option<&Catalog>, shard: ShardId, id: ReplicaId) -> bool {
    let record = catalog.and_then(|catalog| catalog.shard(shard));
    record.is_none_or(|record| record.replicas.iter().any(|replica| replica.id == id))
}

impl Replica {
    /// Whether the shard has been without a leader for so long that one in the wrong place will do.
    fn misses_leader(&self, now: Moment) -> bool {
        self.leaderless_since().is_some_and(|since| now.since(since) >= LEADERLESS_MAX)
    }

    /// Notes that it began to give its leadership away.
    pub(super) fn count_hand_over(&mut self, why: HandOver) {
        *self.handed_over.entry(why).or_default() += 1;
    }

    fn feel_pulse(&mut self, now: Moment) {
        let followers = self.group.matched();
        let (term, committed) = (self.group.term(), self.group.committed());
        let reigning = Reigning { term, committed, followers: &followers };
        self.pulse.look(now, self.group.applied().index, Some(reigning).filter(|_| self.group.leads_surely()));
    }

    /// The voters that could take over now.
    fn heirs(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let voters = &self.group.members().voters;
        self.pulse.in_step().filter(move |id| *id != self.id && voters.contains(id))
    }

    /// Why the leader is to stay where it is, if it is: its shard is in the middle of something that would begin anew.
    fn holds_leader(&self, catalog: Option<&Catalog>) -> Option<String> {
        let Some(catalog) = catalog else { return Some("the catalog is not known".to_owned()) };
        if let Some(change) = self.describe_change(catalog).or_else(|| self.group.changes_members().then(String::new)) {
            return Some(format!("its members are changing{}{change}", if change.is_empty() { "" } else { ": " }));
        }
        let [copying, frozen, coming, held] = self.move_phases();
        (copying + frozen + coming + held > 0 || self.slots_left(Some(catalog)) > 0)
            .then(|| "its slots are moving".to_owned())
    }
}
