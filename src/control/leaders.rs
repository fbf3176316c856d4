//! Who leads where, put together of what the nodes told: what `topology::balance` plans by.
//!
//! A leader is believed with the highest term. A node that does not answer leads nothing as far as anybody knows, and takes nothing. One that
//! has a replica which is not in step takes no leaders at all: it has just come back, or it is slow, and either way has enough to do.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::control::{LeaderReport, LeadersReport};
use crate::topology::balance::{Candidate, LedShard, Situation, Unfit};
use crate::topology::{Catalog, NodeName, NodeRecord, ReplicaId, ShardId, ShardRecord};

/// A cluster's leaders at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaders {
    /// What plans are made of.
    pub situation: Situation,
    /// The node of each candidate.
    pub nodes: Vec<NodeName>,
    /// The group of each shard.
    pub shards: Vec<ShardId>,
    /// What is known of the leader of each shard.
    pub told: Vec<Option<LeaderReport>>,
}

impl Leaders {
    /// Puts together what the nodes told; those that are not among them do not answer.
    pub fn of(catalog: &Catalog, told: &BTreeMap<NodeName, LeadersReport>) -> Self {
        let mut leaders = Self::default();
        let mut numbers: BTreeMap<&NodeName, usize> = BTreeMap::new();
        for (number, (name, record)) in catalog.nodes.iter().enumerate() {
            numbers.insert(name, number);
            leaders.nodes.push(name.clone());
            leaders.situation.candidates.push(candidate(name, record, told.get(name)));
        }
        let moves = |shard: &ShardRecord| {
            let wanted = catalog.moves_wanted(shard.id);
            let id = shard.id;
            wanted.into_iter().flat_map(move |range| [range.shard, id])
        };
        let moving: BTreeSet<ShardId> = catalog.data_shards().iter().flat_map(moves).collect();
        let mut behind: BTreeSet<usize> = BTreeSet::new();
        for shard in catalog.data_shards() {
            let leader = believed(shard, told);
            let home = |id: ReplicaId| {
                shard
                    .all_replicas()
                    .find(|replica| replica.id == id)
                    .and_then(|replica| numbers.get(&replica.node).copied())
            };
            let members: Vec<usize> = shard.all_replicas().filter_map(|replica| home(replica.id)).collect();
            let known = leader.and_then(|leader| leader.heirs.as_ref());
            let heirs: Vec<usize> = known.into_iter().flatten().filter_map(|id| home(*id)).collect();
            let led_by = leader.and_then(|leader| home(leader.replica));
            if led_by.is_some() && known.is_some() {
                let wanted = shard.replicas.iter().filter_map(|replica| home(replica.id));
                behind.extend(wanted.filter(|node| Some(*node) != led_by && !heirs.contains(node)));
            }
            leaders.situation.shards.push(LedShard {
                name: shard.name.to_string(),
                leader: led_by,
                members,
                heirs,
                held: held(shard, leader, &moving),
                writes: leader.map_or(0, |leader| leader.writes_per_second),
            });
            leaders.shards.push(shard.id);
            leaders.told.push(leader.cloned());
        }
        for node in behind {
            let unfit = &mut leaders.situation.candidates[node].unfit;
            *unfit = unfit.or(Some(Unfit::CatchingUp));
        }
        leaders
    }

    /// Whether some leader has just been elected, so that it is soon known better who could take over.
    pub fn has_new(&self) -> bool {
        self.told.iter().flatten().any(|leader| leader.heirs.is_none())
    }

    /// The replica of a shard on a node, and the term that its leader leads in: what a transfer is asked for with.
    pub fn place(&self, catalog: &Catalog, shard: usize, node: usize) -> Option<(ReplicaId, &LeaderReport)> {
        let record = catalog.shard(self.shards[shard])?;
        Some((record.replica_on(&self.nodes[node])?.id, self.told[shard].as_ref()?))
    }
}

fn candidate(name: &NodeName, record: &NodeRecord, told: Option<&LeadersReport>) -> Candidate {
    let unfit = match told {
        _ if record.evicted => Some(Unfit::Evicted),
        _ if record.leaving => Some(Unfit::Leaving),
        None => Some(Unfit::Silent),
        Some(report) if report.clock_is_far => Some(Unfit::WrongClock),
        Some(_) => None,
    };
    Candidate { name: name.to_string(), host: record.host(), zone: record.zone.clone(), weight: record.weight, unfit }
}

fn believed<'a>(shard: &ShardRecord, told: &'a BTreeMap<NodeName, LeadersReport>) -> Option<&'a LeaderReport> {
    let leaders = told.values().flat_map(|report| &report.leading).filter(|leader| leader.shard == shard.id);
    leaders.max_by_key(|leader| leader.term)
}

fn held(shard: &ShardRecord, leader: Option<&LeaderReport>, moving: &BTreeSet<ShardId>) -> Option<String> {
    let told = leader.and_then(|leader| leader.held.clone());
    let known = (shard.closing || moving.contains(&shard.id)).then(|| "its slots are moving".to_owned());
    let changes = (!shard.leaving.is_empty()).then(|| "its members are changing".to_owned());
    let is_new = leader.is_some_and(|leader| leader.heirs.is_none()).then(|| "its leader is new".to_owned());
    told.or(known).or(changes).or(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::balance::{Placement, Weigh};
    use crate::topology::{CatalogCommand, ClusterId, ShardsConfig, Term};

    fn file(version: u64, weights: [u32; 2]) -> ShardsConfig {
        let nodes: String = (1..=3).map(|n| format!("[[node]]\nname = \"n{n}\"\naddr = \"h{n}:1\"\n")).collect();
        let shard = |name: &str, weight| {
            format!("[[shard]]\nname = \"{name}\"\nnodes = [\"n1\", \"n2\", \"n3\"]\nweight = {weight}\n")
        };
        let text = format!("version = {version}\n{nodes}{}{}", shard("a", weights[0]), shard("b", weights[1]));
        ShardsConfig::parse(&text, "f").unwrap()
    }

    fn catalog() -> Catalog {
        Catalog::found(ClusterId(1), 2, &file(1, [1, 1]), &BTreeMap::new())
    }

    fn leads(catalog: &Catalog, shard: usize, node: &str, term: u64, heirs: &[&str]) -> LeaderReport {
        let record = &catalog.data_shards()[shard];
        let id = |node: &str| record.replica_on(&NodeName::new(node)).unwrap().id;
        LeaderReport {
            shard: record.id,
            replica: id(node),
            term: Term(term),
            heirs: Some(heirs.iter().map(|node| id(node)).collect()),
            held: None,
            writes_per_second: 7,
        }
    }

    fn told(leading: Vec<(&str, Vec<LeaderReport>)>) -> BTreeMap<NodeName, LeadersReport> {
        let report = |leading| LeadersReport { clock_is_far: false, leading };
        leading.into_iter().map(|(node, leading)| (NodeName::new(node), report(leading))).collect()
    }

    #[test]
    fn the_leader_of_the_highest_term_is_believed_and_moves_are_planned_by_it() {
        let catalog = catalog();
        let all = ["n1", "n2", "n3"];
        let mut leading = vec![
            ("n1", vec![leads(&catalog, 0, "n1", 5, &all[1..]), leads(&catalog, 1, "n1", 7, &all[1..])]),
            ("n2", vec![leads(&catalog, 0, "n2", 4, &[])]),
            ("n3", Vec::new()),
        ];
        let leaders = Leaders::of(&catalog, &told(leading.clone()));
        assert_eq!(leaders.situation.shards[0].leader, Some(0));
        assert!(leaders.situation.candidates.iter().all(|candidate| candidate.unfit.is_none()));
        let placement = Placement::of(&leaders.situation, Weigh::Leaders);
        let transfer = placement.transfers[0];
        let (to, leader) = leaders.place(&catalog, transfer.shard, transfer.to).unwrap();
        assert_eq!((placement.transfers.len(), to, leader.term), (1, ReplicaId(5), Term(5)));
        // n3 has not caught up with b: it gets nothing, and who is silent neither.
        leading[0].1[1].heirs.as_mut().unwrap().pop();
        leading.remove(1);
        let leaders = Leaders::of(&catalog, &told(leading));
        let unfit: Vec<_> = leaders.situation.candidates.iter().map(|candidate| candidate.unfit).collect();
        assert_eq!(unfit, [None, Some(Unfit::Silent), Some(Unfit::CatchingUp)]);
        assert_eq!(Placement::of(&leaders.situation, Weigh::Leaders).transfers, []);
    }

    #[test]
    fn what_is_in_the_middle_of_something_is_held() {
        let mut catalog = catalog();
        let all = ["n2", "n3"];
        let leading = vec![("n1", vec![leads(&catalog, 0, "n1", 5, &all), leads(&catalog, 1, "n1", 7, &all)])];
        let held = |catalog: &Catalog| {
            let leaders = Leaders::of(catalog, &told(leading.clone()));
            leaders.situation.shards.iter().map(|shard| shard.held.clone()).collect::<Vec<_>>()
        };
        assert_eq!(held(&catalog), [None, None]);
        let text = file(2, [3, 1]).text.to_string();
        catalog.apply(&CatalogCommand::ProposeConfig { text, origin: "f".to_owned() });
        assert_eq!(held(&catalog), [(); 2].map(|()| Some("its slots are moving".to_owned())));
    }
}
