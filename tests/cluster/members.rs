//! Members follow the file: replicas and nodes come and go while clients write, the catalog's own too, and what is given up is
//! destroyed, no sooner and no later.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::failover::{check_all, under_load};
use crate::harness::{Cluster, until};
use crate::rebuild::wipe;

/// A `shards.toml` that grows with a story: nodes by number, shards with their nodes, and the catalog's.
pub struct File {
    version: u64,
    ports: Vec<u16>,
    pub nodes: Vec<usize>,
    pub shards: Vec<(&'static str, Vec<usize>)>,
    pub catalog: Option<Vec<usize>>,
}

impl File {
    /// The file that a cluster of all these nodes was started with.
    pub fn of(cluster: &Cluster, nodes: usize, shards: &[(&'static str, &[usize])]) -> Self {
        let text = fs::read_to_string(cluster.config()).unwrap();
        let addresses = text.lines().filter_map(|line| line.strip_prefix("addr = \"127.0.0.1:")?.strip_suffix('"'));
        let ports = addresses.map(|port| port.parse().unwrap()).collect();
        let shards = shards.iter().map(|(name, nodes)| (*name, nodes.to_vec())).collect();
        Self { version: 1, ports, nodes: (1..=nodes).collect(), shards, catalog: None }
    }

    /// Changes the file of the cluster, with a higher version.
    pub fn save(&mut self, cluster: &Cluster) {
        self.version += 1;
        self.save_as_it_is(cluster);
    }

    fn save_as_it_is(&self, cluster: &Cluster) {
        let temporary = cluster.dir.path().join("shards.toml.new");
        fs::write(&temporary, self.text()).unwrap();
        fs::rename(&temporary, cluster.config()).unwrap();
        fs::write(cluster.dir.path().join("operators.toml"), self.text()).unwrap();
    }

    fn text(&self) -> String {
        let list = |nodes: &[usize]| nodes.iter().map(|n| format!("\"n{n}\"")).collect::<Vec<_>>().join(", ");
        let mut text = format!("version = {}\n", self.version);
        if let Some(nodes) = &self.catalog {
            writeln!(text, "catalog = {{ nodes = [{}] }}", list(nodes)).unwrap();
        }
        for number in &self.nodes {
            writeln!(text, "[[node]]\nname = \"n{number}\"\naddr = \"127.0.0.1:{}\"", self.ports[number - 1]).unwrap();
        }
        for (name, nodes) in &self.shards {
            writeln!(text, "[[shard]]\nname = \"{name}\"\nnodes = [{}]", list(nodes)).unwrap();
        }
        text
    }

    /// Waits until the cluster is as the file says: these members vote, nobody else is there, nothing is left to do.
    pub fn await_done(&self, cluster: &Cluster) {
        until("the members are those of the file", || {
            let status = cluster.status();
            let mut done = status["version"] == self.version && status["changes"].as_array().is_some_and(Vec::is_empty);
            for (name, nodes) in &self.shards {
                let shard = status["shards"].as_array().unwrap().iter().find(|s| s["name"] == *name);
                done &= shard.is_some_and(|shard| are_members(shard, nodes));
            }
            if let Some(nodes) = &self.catalog {
                done &= are_members(&status["catalog"], nodes);
            }
            let alive: Vec<_> = status["nodes"].as_array().unwrap().iter().map(|node| node["name"].clone()).collect();
            done &= alive.len() == self.nodes.len();
            let logs = || self.nodes.iter().map(|n| cluster.log(&format!("n{n}"))).collect::<Vec<_>>().join("\n\n");
            if done { Ok(()) } else { Err(format!("{status}\n{}", logs())) }
        });
    }
}

fn are_members(group: &Value, nodes: &[usize]) -> bool {
    let mut found: Vec<String> = Vec::new();
    for replica in group["replicas"].as_array().unwrap() {
        let votes = replica["role"] == "leader" || replica["role"] == "follower";
        if !votes || replica["lag"] != 0 {
            return false;
        }
        found.push(replica["node"].as_str().unwrap().to_owned());
    }
    let mut wanted: Vec<String> = nodes.iter().map(|n| format!("n{n}")).collect();
    found.sort();
    wanted.sort();
    found == wanted && group["leader"].is_string()
}

/// What is in a node's data directory of replicas: names of states.
fn states(cluster: &Cluster, node: &str) -> Vec<String> {
    let names = fs::read_dir(cluster.data(node).join("snapshots")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_shard_grows_from_one_replica_to_three_and_five_and_shrinks_again_while_clients_write() {
    let mut cluster = Cluster::start(5, &[&[1]], &["--snapshot-entries", "300"]);
    let mut file = File::of(&cluster, 5, &[("a", &[1])]);
    let written = under_load(&mut cluster, |cluster| {
        for nodes in [&[1, 2, 3][..], &[1, 2, 3, 4, 5], &[5, 4, 3], &[4], &[1]] {
            file.shards[0].1 = nodes.to_vec();
            file.save(cluster);
            file.await_done(cluster);
        }
    });
    check_all(&cluster, &written);
    // What left is destroyed: shard 1 is on n1 alone.
    until("nothing is left of it elsewhere", || {
        let left: Vec<_> = ["n2", "n3", "n4", "n5"]
            .into_iter()
            .flat_map(|node| states(&cluster, node))
            .filter(|name| name.starts_with("0000000000000001-"))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert!(states(&cluster, "n1").iter().any(|name| name.starts_with("0000000000000001-")));
    // And does not come back with a restart.
    for node in ["n1", "n4"] {
        cluster.nodes.get_mut(node).unwrap().kill();
        cluster.start_node(node);
    }
    file.await_done(&cluster);
    check_all(&cluster, &written);
    cluster.end();
}

#[test]
fn a_node_is_replaced_and_leaves_the_cluster_with_nothing_in_its_hands() {
    let mut cluster = Cluster::start(4, &[&[1, 2, 3], &[2, 3, 1]], &["--snapshot-entries", "300"]);
    let mut file = File::of(&cluster, 4, &[("a", &[1, 2, 3]), ("b", &[2, 3, 1])]);
    let written = under_load(&mut cluster, |cluster| {
        // n1 goes out of every list and out of the file in one edit; it holds the catalog too.
        file.nodes = vec![2, 3, 4];
        file.shards = vec![("a", vec![4, 2, 3]), ("b", vec![2, 3, 4])];
        file.save(cluster);
        file.await_done(cluster);
        let log = cluster.log("n1");
        until("n1 ends", || cluster.nodes.get_mut("n1").unwrap().ended().ok_or_else(|| log.clone()));
        assert_eq!(cluster.nodes.get_mut("n1").unwrap().wait(), Some(0), "{}", cluster.log("n1"));
    });
    check_all(&cluster, &written);
    let log = cluster.log("n1");
    assert!(log.contains("node `n1` was removed from the cluster"), "{log}");
    assert_eq!(states(&cluster, "n1"), [""; 0]);
    // Its name comes back, first with the old directory, then with an empty one.
    file.nodes = vec![1, 2, 3, 4];
    file.save(&cluster);
    let Err(error) = cluster.try_start_node("n1") else { panic!("a directory that was given up acts again") };
    assert!(error.contains("was removed from the cluster"), "{error}");
    fs::remove_dir_all(cluster.data("n1")).unwrap();
    cluster.start_node("n1");
    file.shards = vec![("a", vec![1, 2, 3]), ("b", vec![2, 3, 1])];
    file.save(&cluster);
    file.await_done(&cluster);
    check_all(&cluster, &written);
    cluster.end();
}

#[test]
fn the_catalog_moves_to_other_nodes_and_the_cluster_goes_on() {
    let mut cluster = Cluster::start(5, &[&[3, 4, 5]], &[]);
    let mut file = File::of(&cluster, 5, &[("a", &[3, 4, 5])]);
    let written = under_load(&mut cluster, |cluster| {
        for nodes in [&[4][..], &[5, 2, 1], &[1, 2, 3, 4, 5], &[3, 4, 5]] {
            file.catalog = Some(nodes.to_vec());
            file.save(cluster);
            file.await_done(cluster);
        }
        // n1 and n2 hold nothing any more. One that was down meanwhile hears of all that happened.
        cluster.nodes.get_mut("n1").unwrap().kill();
        file.shards[0].1 = vec![3, 4];
        file.save(cluster);
        file.await_done(cluster);
        cluster.start_node("n1");
        file.shards[0].1 = vec![3, 4, 1];
        file.save(cluster);
        file.await_done(cluster);
    });
    check_all(&cluster, &written);
    cluster.end();
}

#[test]
fn a_disk_that_is_lost_while_members_change_is_made_up_for() {
    let mut cluster = Cluster::start(4, &[&[1, 2, 3]], &["--snapshot-entries", "100"]);
    let mut file = File::of(&cluster, 4, &[("a", &[1, 2, 3])]);
    let written = under_load(&mut cluster, |cluster| {
        for (nodes, lost) in [(&[1, 2, 4][..], "n4"), (&[3, 2, 4], "n2"), (&[3, 1, 4], "n1")] {
            file.shards[0].1 = nodes.to_vec();
            file.save(cluster);
            wipe(cluster, lost);
            cluster.start_node(lost);
            file.await_done(cluster);
        }
    });
    check_all(&cluster, &written);
    cluster.end();
}

/// What `pontoon plan` says of the operator's file.
fn plan(cluster: &Cluster) -> Value {
    let planned = cluster.run(&["plan", cluster.dir.path().join("operators.toml").to_str().unwrap(), "--json"]);
    assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
    serde_json::from_slice(&planned.stdout).unwrap()
}

#[test]
fn what_cannot_be_done_now_waits_with_the_reason_and_is_done_when_it_can() {
    let mut cluster = Cluster::start(4, &[&[1, 2, 3]], &[]);
    let mut file = File::of(&cluster, 4, &[("a", &[1, 2, 3])]);
    let told = |cluster: &Cluster, words: &str| {
        until(words, || {
            let logs: String = ["n1", "n2", "n3"].iter().map(|node| cluster.log(node)).collect();
            if logs.contains(words) { Ok(()) } else { Err(logs) }
        });
    };
    // A node that does not answer gets no replica, until it is started.
    cluster.nodes.get_mut("n4").unwrap().kill();
    file.shards[0].1 = vec![1, 2, 3, 4];
    file.save(&cluster);
    told(&cluster, "shard `a`: a replica is to be made on node `n4`, which cannot take it: connection refused");
    assert_eq!(cluster.status()["version"], 1);
    // A plan says so beforehand, and what it says of the rest is as ever.
    let planned = plan(&cluster);
    assert_eq!((&planned["outcome"]["outcome"], &planned["waits"][0]["shard"]), (&"accepted".into(), &"a".into()));
    let reason = planned["waits"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "a replica is to be made on node `n4`, which cannot take it: connection refused");
    cluster.start_node("n4");
    file.await_done(&cluster);
    assert_eq!(plan(&cluster)["waits"], serde_json::json!([]));
    // Two of four are no majority.
    for node in ["n3", "n4"] {
        cluster.nodes.get_mut(node).unwrap().kill();
    }
    file.shards[0].1 = vec![1, 2];
    file.save(&cluster);
    cluster.start_node("n3");
    file.await_done(&cluster);
    cluster.start_node("n4");
    // Of two, the one that would stay does not answer.
    cluster.nodes.get_mut("n2").unwrap().kill();
    file.shards[0].1 = vec![2];
    file.save(&cluster);
    told(&cluster, "(`n1`, `n2`) only `n1` answers, which is no majority");
    cluster.start_node("n2");
    file.await_done(&cluster);
    cluster.end();
}

#[test]
fn leaders_leave_a_node_and_come_back_without_an_error() {
    let mut cluster = Cluster::start(3, &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]], &[]);
    cluster.await_health();
    let leaders = |cluster: &Cluster| {
        let status = cluster.status();
        let groups = status["shards"].as_array().unwrap().iter().chain([&status["catalog"]]);
        groups.map(|group| group["leader"].as_str().unwrap_or("nobody").to_owned()).collect::<Vec<_>>()
    };
    let written = under_load(&mut cluster, |cluster| {
        for node in ["n1", "n2", "n3", "n1"] {
            let output = cluster.run(&["evict-leaders", node]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            until("no leader is left there", || {
                let leaders = leaders(cluster);
                if leaders.iter().all(|leader| leader != node && leader != "nobody") {
                    Ok(())
                } else {
                    Err(format!("{leaders:?}"))
                }
            });
            let output = cluster.run(&["evict-leaders", node, "--undo"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    });
    check_all(&cluster, &written);
    cluster.end();
}
