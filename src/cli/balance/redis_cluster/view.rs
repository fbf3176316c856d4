//! What the instances of a Redis Cluster say of it: `CLUSTER NODES` and `INFO replication`, as plain data. Pure.
//!
//! Each instance is believed about itself, as others hear of its changes later. One that does not answer is what the
//! others say it was.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::balance::{Candidate, LedShard, Situation, Unfit};

/// A replica that lacks more bytes than that is not in step.
const LAG_BYTES_MAX: u64 = 1 << 20;

/// One line of `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its address without the port.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `myself`, `master`, `slave`, `fail` and the like.
    pub flags: BTreeSet<String>,
    /// Whom it follows.
    pub master: Option<String>,
    /// Its slots, as they are written.
    pub slots: Vec<String>,
    /// Whether slots are on their way from it or to it.
    pub moves_slots: bool,
}

impl Instance {
    /// `host:port`, as it is connected to.
    pub fn addr(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.is("master")
    }
}

/// The lines of `CLUSTER NODES` as an instance at this address gives them.
///
/// # Errors
/// A line that is not one.
pub fn parse_nodes(text: &str, asked: &str) -> Result<Vec<Instance>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let instances =
        lines.map(|line| parse_line(line, asked).ok_or_else(|| format!("not a line of CLUSTER NODES: {line}")));
    let mut instances = instances.collect::<Result<Vec<_>, _>>()?;
    // Who is only being met, or whose address is lost, cannot be talked to.
    instances.retain(|instance| !instance.is("handshake") && !instance.is("noaddr"));
    Ok(instances)
}

fn parse_line(line: &str, asked: &str) -> Option<Instance> {
    let mut words = line.split_whitespace();
    let (id, addr, flags, master) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let mut slots: Vec<String> = words.skip(4).map(str::to_owned).collect();
    let count = slots.len();
    slots.retain(|slot| !slot.starts_with('['));
    let addr = addr.split(['@', ',']).next()?;
    let (host, port) = addr.rsplit_once(':')?;
    let (asked, _) = asked.rsplit_once(':')?;
    // One that has not been met yet does not know its own address.
    let host = if host.is_empty() { asked.trim_matches(['[', ']']) } else { host };
    Some(Instance {
        id: id.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok()?,
        flags: flags.split(',').map(|flag| flag.trim_end_matches('?').to_owned()).collect(),
        master: Some(master.to_owned()).filter(|master| master != "-"),
        moves_slots: slots.len() < count,
        slots,
    })
}

/// What an instance says of its own replication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// Whether it follows its master now: connected, and nothing is being sent as a whole.
    pub follows: bool,
    /// How many bytes it has of what its master wrote, or, as master, what it wrote.
    pub offset: u64,
}

/// Reads `INFO replication`.
pub fn parse_replication(text: &str) -> Replication {
    let field = |name: &str| text.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
    let number = |name: &str| field(name).and_then(|value| value.parse().ok());
    Replication {
        follows: field("master_link_status") == Some("up") && field("master_sync_in_progress") == Some("0"),
        offset: number("slave_repl_offset").or_else(|| number("master_repl_offset")).unwrap_or(0),
    }
}

/// What one instance told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Everybody, as it knows them.
    pub nodes: Vec<Instance>,
    /// Its replication.
    pub replication: Replication,
}

impl Told {
    fn myself(&self) -> Option<&Instance> {
        self.nodes.iter().find(|instance| instance.is("myself"))
    }
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// The instances by id, each as it sees itself, or as others do.
    pub instances: BTreeMap<String, Instance>,
    /// What those told that answered, by id.
    pub told: BTreeMap<String, Told>,
}

impl ClusterView {
    /// Puts together what the instances told.
    pub fn of(told: Vec<Told>) -> Self {
        let mut view = Self::default();
        for nodes in told.iter().flat_map(|told| &told.nodes) {
            view.instances.entry(nodes.id.clone()).or_insert_with(|| nodes.clone());
        }
        for told in told {
            if let Some(myself) = told.myself().cloned() {
                view.instances.insert(myself.id.clone(), myself.clone());
                view.told.insert(myself.id, told);
            }
        }
        view
    }

    /// What plans are made of. The ids of its candidates come beside it.
    pub fn situation(&self) -> (Situation, Vec<String>) {
        let ids: Vec<String> = self.instances.keys().cloned().collect();
        let number = |id: &str| ids.binary_search_by(|other| other.as_str().cmp(id)).ok();
        let mut situation = Situation::default();
        for instance in self.instances.values() {
            let is_well = self.told.contains_key(&instance.id) && !instance.is("fail");
            situation.candidates.push(Candidate {
                name: instance.addr(),
                host: instance.host.clone(),
                zone: None,
                weight: 1,
                unfit: (!is_well).then_some(Unfit::Silent),
            });
        }
        for master in self.instances.values().filter(|instance| instance.leads() && !instance.slots.is_empty()) {
            let replicas: Vec<&Instance> = self
                .instances
                .values()
                .filter(|other| !other.leads() && other.master.as_ref() == Some(&master.id))
                .collect();
            let in_step = replicas.iter().filter(|replica| self.is_in_step(&replica.id, &master.id));
            let is_alive = self.told.contains_key(&master.id) && !master.is("fail");
            let members = replicas.iter().map(|replica| replica.id.as_str()).chain([master.id.as_str()]);
            situation.shards.push(LedShard {
                name: master.slots.join(","),
                // A dead one is replaced by the cluster, not by an operator.
                leader: number(&master.id).filter(|_| is_alive),
                members: members.filter_map(number).collect(),
                heirs: in_step.filter_map(|replica| number(&replica.id)).collect(),
                held: master.moves_slots.then(|| "its slots are moving".to_owned()),
                writes: 0,
            });
        }
        (situation, ids)
    }

    /// Whether a replica follows this master and has nearly all that it wrote.
    fn is_in_step(&self, replica: &str, master: &str) -> bool {
        let (Some(replica), Some(master)) = (self.told.get(replica), self.told.get(master)) else { return false };
        let lacks = master.replication.offset.saturating_sub(replica.replication.offset);
        replica.replication.follows && lacks <= LAG_BYTES_MAX
    }

    /// What is still missing until `new` has taken over from `old`, and that follows it; nothing: it is done.
    pub fn missing(&self, old: &str, new: &str) -> Option<String> {
        let name = |id: &str| self.instances.get(id).map_or_else(|| id.to_owned(), Instance::addr);
        let Some(leader) = self.told.get(new).and_then(Told::myself) else {
            return Some(format!("{} does not answer", name(new)));
        };
        if !leader.leads() || leader.slots.is_empty() {
            return Some(format!("{} is not the master", name(new)));
        }
        let Some(follower) = self.told.get(old).and_then(Told::myself) else {
            return Some(format!("{}, which was the master, does not answer", name(old)));
        };
        if follower.leads() || follower.master.as_deref() != Some(new) {
            return Some(format!("{}, which was the master, does not follow {}", name(old), name(new)));
        }
        let knows = |told: &Told| {
            let leads = |id: &str| told.nodes.iter().any(|node| node.id == id && node.leads());
            leads(new) && !leads(old)
        };
        let sees_otherwise = self.told.iter().find(|(_, told)| !knows(told));
        if let Some((other, _)) = sees_otherwise {
            return Some(format!("{} has not heard of it", name(other)));
        }
        (!self.is_in_step(old, new)).then(|| format!("{}, which was the master, is not in step yet", name(old)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::balance::{Placement, Weigh};

    /// Three masters on two hosts, as the second one tells it.
    const NODES: &str = "\
aaaa 127.0.0.1:7000@17000 master - 0 1426238316232 2 connected 0-5460
bbbb :7001@17001,name,shard-id=f1 myself,master - 0 0 1 connected 5461-10922 [10922->-aaaa] 12000
cccc 127.0.0.2:7002@17002 slave aaaa 0 1426238317741 3 connected
dddd 127.0.0.2:7003@17003,host.example slave,fail? bbbb 0 1 3 disconnected
eeee :0@0 master,noaddr - 1 1 0 disconnected
ffff 127.0.0.9:7009@17009 handshake - 0 0 0 connected
";

    #[test]
    fn nodes_are_read_as_redis_writes_them() {
        let nodes = parse_nodes(NODES, "127.0.0.1:7001").unwrap();
        let lines: Vec<_> =
            nodes.iter().map(|n| format!("{} {} {:?} {}", n.id, n.addr(), n.master, n.slots.join(","))).collect();
        assert_eq!(
            lines,
            [
                "aaaa 127.0.0.1:7000 None 0-5460",
                "bbbb 127.0.0.1:7001 None 5461-10922,12000",
                "cccc 127.0.0.2:7002 Some(\"aaaa\") ",
                "dddd 127.0.0.2:7003 Some(\"bbbb\") "
            ]
        );
        assert!(nodes[1].moves_slots && nodes[3].is("fail") && !nodes[3].leads());
        let v6 = parse_nodes("aaaa ::1:7000@17000 myself,master - 0 0 2 connected", "[::1]:7000").unwrap();
        assert_eq!(v6[0].addr(), "[::1]:7000");
        assert!(parse_nodes("<html>", "h:1").is_err() && parse_nodes("a b:x c d 0 0 0 up", "h:1").is_err());
    }

    #[test]
    fn a_replica_follows_that_is_connected_and_has_been_sent_all() {
        let replica = "# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:70\r\nmaster_repl_offset:71\r\n";
        assert_eq!(parse_replication(replica), Replication { follows: true, offset: 70 });
        let syncing = replica.replace("progress:0", "progress:1");
        assert!(!parse_replication(&syncing).follows);
        assert_eq!(
            parse_replication("role:master\r\nmaster_repl_offset:90\r\n"),
            Replication { follows: false, offset: 90 }
        );
    }

    /// A line for an instance, on host `127.0.0.N`.
    fn line(id: &str, host: u8, myself: &str, master: Option<&str>, slots: &str) -> String {
        let role = if master.is_some() { "slave" } else { "master" };
        let me = if id == myself { "myself," } else { "" };
        format!("{id} 127.0.0.{host}:7000@17000 {me}{role} {} 0 0 1 connected {slots}\n", master.unwrap_or("-"))
    }

    /// All instances tell the same of these (id, host, master, slots).
    fn told(instances: &[(&str, u8, Option<&str>, &str)]) -> Vec<Told> {
        let tell = |(id, _, master, _): &(&str, u8, Option<&str>, &str)| {
            let lines = instances.iter().map(|(other, host, master, slots)| line(other, *host, id, *master, slots));
            let nodes = parse_nodes(&lines.collect::<String>(), "h:1").unwrap();
            Told { nodes, replication: Replication { follows: master.is_some(), offset: 100 } }
        };
        instances.iter().map(tell).collect()
    }

    #[test]
    fn masters_are_leaders_and_replicas_in_step_their_heirs() {
        let before = [("a", 1, None, "0-9"), ("b", 1, None, "10-19"), ("c", 2, Some("a"), ""), ("d", 2, Some("b"), "")];
        let mut all = told(&before);
        let (situation, ids) = ClusterView::of(all.clone()).situation();
        assert_eq!((ids.len(), situation.shards[0].heirs.as_slice()), (4, &[2][..]));
        assert_eq!(Placement::of(&situation, Weigh::Leaders).transfers.len(), 1);
        // One that lacks much is no heir, and one that is silent neither.
        all[0].replication.offset += LAG_BYTES_MAX + 1;
        all.pop();
        let (situation, _) = ClusterView::of(all).situation();
        assert!(situation.shards.iter().all(|shard| shard.heirs.is_empty()));
        assert_eq!(situation.candidates[3].unfit, Some(Unfit::Silent));
    }

    #[test]
    fn a_failover_is_over_when_all_know_of_it_and_the_old_master_follows() {
        let before = told(&[("a", 1, None, "0-9"), ("c", 2, Some("a"), ""), ("x", 3, None, "10-19")]);
        let after = told(&[("a", 1, Some("c"), ""), ("c", 2, None, "0-9"), ("x", 3, None, "10-19")]);
        let missing = |told: Vec<Told>| ClusterView::of(told).missing("a", "c");
        assert_eq!(missing(before.clone()).unwrap(), "127.0.0.2:7000 is not the master");
        assert_eq!(missing(after.clone()), None);
        let mixed = |numbers: [usize; 3]| (0..3).map(|n| [&before, &after][numbers[n]][n].clone()).collect::<Vec<_>>();
        assert!(missing(mixed([0, 1, 1])).unwrap().contains("does not follow"));
        assert!(missing(mixed([1, 1, 0])).unwrap().contains("127.0.0.3:7000 has not heard of it"));
        let mut syncing = after.clone();
        syncing[0].replication.follows = false;
        assert!(missing(syncing).unwrap().contains("is not in step yet"));
        assert!(missing(after[1..].to_vec()).unwrap().contains("does not answer"));
    }
}
