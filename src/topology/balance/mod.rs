//! Which leaders should change hands so that no host leads more than its fair share (DESIGN.md, section 11): pure.
//!
//! A leader can only go to another member of its shard. So leaders move inside an **island**: hosts that are joined by shards, maybe
//! through others. The **fair share** of a host is its part of the island's leaders, by weight, rounded up. What is sought is the
//! least number of transfers after which no host leads more than that: the cheapest maximum flow from the hosts that lead too much
//! to those that lead too little, where each shard lets one leader through, for a cost of one. Its paths are the chains
//! A -> B -> C by which a host gives to one that it shares no shard with. Where everything is fair nothing flows: ties stay.
//!
//! Not every share can be reached: what only A and B have, C cannot lead. Who cannot give enough away after all that flows, with
//! all to whom it could give in turn, is a group of hosts that has to lead these leaders whatever is done; they are divided
//! evenly over that group (`shares`), which is the least that the most burdened host can have.
//!
//! Who is **unfit** takes no leaders, and one that leaders are to leave gives all away. A shard that is *held* (its slots
//! or members are moving) keeps its leader, and counts where it is.
//!
//! Used for shards of Pontoon and for masters of a Redis Cluster alike. Leaders may be weighed by what is written to their shards
//! ([`Weigh::Writes`], `weighed`).

mod flow;
mod shares;
#[cfg(test)]
mod tests;
mod weighed;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use shares::Network;

/// A process that may lead: a node, or an instance of a Redis Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// The machine that it runs on: what the leaders are spread over.
    pub host: String,
    /// Its zone.
    pub zone: Option<String>,
    /// The share of its host beside others; the largest of a host's candidates counts. Zero: it is to lead nothing.
    pub weight: u32,
    /// Why it takes no leaders, if it takes none.
    pub unfit: Option<Unfit>,
}

/// Why a candidate takes no leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    /// It does not answer.
    Silent,
    /// Some of its replicas do not have what they should: it keeps what it leads, and takes no more.
    CatchingUp,
    /// An operator wants leaders to leave it.
    Evicted,
    /// Its clock is wrong.
    WrongClock,
    /// It is being removed.
    Leaving,
}

impl Unfit {
    /// In words, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Silent => "does not answer",
            Self::CatchingUp => "is catching up",
            Self::Evicted => "leaders are to leave it",
            Self::WrongClock => "its clock is wrong",
            Self::Leaving => "is being removed",
        }
    }
}

impl Candidate {
    /// Whether it may lead what it leads.
    fn keeps(&self) -> bool {
        self.weight > 0 && matches!(self.unfit, None | Some(Unfit::Silent | Unfit::CatchingUp))
    }

    /// Whether it may lead more.
    fn takes(&self) -> bool {
        self.weight > 0 && self.unfit.is_none()
    }
}

/// A shard and who could lead it. Numbers are those of [`Situation::candidates`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedShard {
    /// Its name.
    pub name: String,
    /// Who leads it; none: nobody, and it is left out.
    pub leader: Option<usize>,
    /// All who have it, dead or alive: they make the islands.
    pub members: Vec<usize>,
    /// Who could take it over now, in the leader's eyes: voters that live and are in step.
    pub heirs: Vec<usize>,
    /// Why its leader stays, if it has to.
    pub held: Option<String>,
    /// Writes per second.
    pub writes: u64,
}

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Who may lead.
    pub candidates: Vec<Candidate>,
    /// What is led.
    pub shards: Vec<LedShard>,
}

/// What is spread evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weigh {
    /// Leaders, by number.
    #[default]
    Leaders,
    /// What is written to them.
    Writes,
}

impl Weigh {
    /// Its word in `shards.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leaders => "leaders",
            Self::Writes => "writes",
        }
    }
}

/// One change of hands. Numbers are those of the [`Situation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The shard.
    pub shard: usize,
    /// The candidate that leads it.
    pub from: usize,
    /// The one that is to.
    pub to: usize,
}

/// Hosts that can give each other leaders, maybe through others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Island {
    /// Its hosts by name.
    pub hosts: Vec<HostShare>,
    /// How many shards it has.
    pub shards: usize,
    /// How many leaders hosts have beyond their shares.
    pub excess: u64,
    /// How many transfers end that.
    pub transfers: usize,
}

/// A host in its island.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostShare {
    /// Its name.
    pub host: String,
    /// The zones of its candidates.
    pub zones: Vec<String>,
    /// Its candidates.
    pub nodes: Vec<String>,
    /// Why those of them that take no leaders take none.
    pub unfit: BTreeMap<String, Unfit>,
    /// What it may lead at most.
    pub share: u64,
    /// What it leads.
    pub leaders: u64,
    /// What it leads after the transfers.
    pub leaders_after: u64,
    /// Writes per second to what it leads.
    pub writes: u64,
    /// The same after the transfers.
    pub writes_after: u64,
}

/// What should be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The islands by their first hosts.
    pub islands: Vec<Island>,
    /// The transfers, in an order in which no host takes more than it has to on the way.
    pub transfers: Vec<Transfer>,
}

impl Placement {
    /// The fewest transfers after which no host leads more than its share.
    pub fn of(situation: &Situation, weigh: Weigh) -> Self {
        let hosts = Hosts::of(&situation.candidates);
        let mut placement = Self::default();
        for island in hosts.islands(situation) {
            let mut network = Network::new(situation, &hosts, &island.shards);
            let wanted = match weigh {
                Weigh::Writes if weighed::is_written(situation, &island.shards) => weighed::assign(&network, situation),
                Weigh::Writes | Weigh::Leaders => network.assign(),
            };
            let transfers = network.in_order(&wanted, situation, &hosts);
            placement.islands.push(island.describe(situation, &hosts, &network, &transfers));
            placement.transfers.extend(transfers);
        }
        placement
    }

    /// Why a transfer is made, in words.
    pub fn reason(&self, situation: &Situation, transfer: Transfer) -> String {
        let name = |number: usize| situation.candidates[number].host.as_str();
        let (from, to) = (name(transfer.from), name(transfer.to));
        let hosts = || self.islands.iter().flat_map(|island| &island.hosts);
        let Some(giver) = hosts().find(|host| host.host == from) else { return "leaders are spread evenly".to_owned() };
        if giver.leaders > giver.share {
            let (leaders, share) = (giver.leaders, giver.share);
            return format!("host {from} leads {leaders} shards, and its share is {share}; host {to} has room");
        }
        match hosts().find(|host| host.leaders > host.share && host.host != from) {
            Some(crowded) => {
                format!("host {from} makes room for a leader of host {}, which leads too much", crowded.host)
            }
            None => format!("more is written to the leaders of host {from} than to those of host {to}"),
        }
    }

    /// How many leaders hosts have beyond their shares.
    pub fn excess(&self) -> u64 {
        self.islands.iter().map(|island| island.excess).sum()
    }
}

/// The hosts by name, and which candidate is where.
struct Hosts {
    names: Vec<String>,
    of_candidate: Vec<usize>,
}

/// The hosts and shards of an island, by number.
struct IslandParts {
    hosts: Vec<usize>,
    shards: Vec<usize>,
}

impl Hosts {
    fn of(candidates: &[Candidate]) -> Self {
        let mut names: Vec<String> = candidates.iter().map(|candidate| candidate.host.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let number = |candidate: &Candidate| names.binary_search(&candidate.host).expect("just listed");
        Self { of_candidate: candidates.iter().map(number).collect(), names }
    }

    fn islands(&self, situation: &Situation) -> Vec<IslandParts> {
        let mut joined: Vec<usize> = (0..self.names.len()).collect();
        for shard in &situation.shards {
            let Some(first) = shard.members.first().map(|member| root(&mut joined, self.of_candidate[*member])) else {
                continue;
            };
            for member in &shard.members {
                let other = root(&mut joined, self.of_candidate[*member]);
                joined[other] = first;
            }
        }
        let mut islands: BTreeMap<usize, IslandParts> = BTreeMap::new();
        let mut firsts: BTreeMap<usize, usize> = BTreeMap::new();
        for host in 0..self.names.len() {
            let first = *firsts.entry(root(&mut joined, host)).or_insert(host);
            let island = islands.entry(first).or_insert_with(|| IslandParts { hosts: Vec::new(), shards: Vec::new() });
            island.hosts.push(host);
        }
        for (number, shard) in situation.shards.iter().enumerate() {
            let Some(member) = shard.members.first() else { continue };
            let first = firsts[&root(&mut joined, self.of_candidate[*member])];
            islands.get_mut(&first).expect("every host is in one").shards.push(number);
        }
        islands.into_values().collect()
    }
}

fn root(joined: &mut [usize], mut host: usize) -> usize {
    while joined[host] != host {
        joined[host] = joined[joined[host]];
        host = joined[host];
    }
    host
}

impl IslandParts {
    fn describe(&self, situation: &Situation, hosts: &Hosts, network: &Network, transfers: &[Transfer]) -> Island {
        let new_leader = |shard: usize| transfers.iter().find(|t| t.shard == shard).map(|t| t.to);
        let mut shown: BTreeMap<usize, HostShare> = BTreeMap::new();
        for host in &self.hosts {
            let here = |(number, _): &(usize, &Candidate)| hosts.of_candidate[*number] == *host;
            let candidates: Vec<&Candidate> =
                situation.candidates.iter().enumerate().filter(here).map(|(_, candidate)| candidate).collect();
            let mut zones: Vec<String> = candidates.iter().filter_map(|candidate| candidate.zone.clone()).collect();
            zones.sort_unstable();
            zones.dedup();
            let unfit = candidates.iter().filter_map(|candidate| Some((candidate.name.clone(), candidate.unfit?)));
            let share = HostShare {
                host: hosts.names[*host].clone(),
                zones,
                nodes: candidates.iter().map(|candidate| candidate.name.clone()).collect(),
                unfit: unfit.collect(),
                share: network.share(*host),
                leaders: 0,
                leaders_after: 0,
                writes: 0,
                writes_after: 0,
            };
            shown.insert(*host, share);
        }
        for number in &self.shards {
            let shard = &situation.shards[*number];
            let Some(leader) = shard.leader else { continue };
            let before = shown.get_mut(&hosts.of_candidate[leader]).expect("a host of the island");
            (before.leaders, before.writes) = (before.leaders + 1, before.writes + shard.writes);
            let leader = new_leader(*number).unwrap_or(leader);
            let after = shown.get_mut(&hosts.of_candidate[leader]).expect("a host of the island");
            (after.leaders_after, after.writes_after) = (after.leaders_after + 1, after.writes_after + shard.writes);
        }
        let hosts: Vec<HostShare> = shown.into_values().collect();
        let excess = hosts.iter().map(|host| host.leaders.saturating_sub(host.share)).sum();
        Island { hosts, shards: self.shards.len(), excess, transfers: transfers.len() }
    }
}
