//! Leaders are spread over hosts, by the command and by the cluster itself: with the fewest transfers, and nobody who writes hears of it.

use serde_json::Value;

use crate::failover::{check_all, under_load};
use crate::harness::{Cluster, config_text, free_ports, until};

/// A file whose nodes run on hosts of their own: `h1` for `n1`, and so on.
fn file(nodes: usize, shards: &[&[usize]], auto: bool) -> String {
    let text = config_text(1, &free_ports(nodes), shards);
    let mut number = 0;
    let mut lines = Vec::new();
    for line in text.lines() {
        lines.push(line.to_owned());
        if line.starts_with("addr") {
            number += 1;
            lines.push(format!("host = \"h{number}\""));
        }
    }
    format!("{}\n[balance]\nauto = {auto}\n", lines.join("\n"))
}

/// How many leaders each host has.
fn leaders(status: &Value) -> Vec<u64> {
    let islands = status["balance"]["islands"].as_array().unwrap();
    let hosts = islands.iter().flat_map(|island| island["hosts"].as_array().unwrap());
    hosts.map(|host| host["leaders"].as_u64().unwrap()).collect()
}

fn await_leaders(cluster: &Cluster, wanted: &[u64]) {
    until("leaders where they are wanted", || {
        let found = leaders(&cluster.status());
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

fn balance(cluster: &Cluster, args: &[&str]) -> Value {
    let output = cluster.run(&[&["balance", "--json"], args].concat());
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {errors}"))
}

#[test]
fn the_command_spreads_leaders_with_the_fewest_transfers_and_no_client_notices() {
    const SHARDS: usize = 12;
    let shards = vec![&[1, 2, 3][..]; SHARDS];
    let mut cluster = Cluster::start_with(3, &file(3, &shards, false), &[]);
    cluster.await_health();
    // Each group's first node leads first.
    await_leaders(&cluster, &[12, 0, 0]);
    let written = under_load(&mut cluster, |cluster| {
        let plan = balance(cluster, &["--dry-run"]);
        assert_eq!(plan["transfers"].as_array().unwrap().len(), 8, "{plan}");
        assert_eq!(leaders(&cluster.status()), [12, 0, 0], "nothing was done");
        let done = balance(cluster, &[]);
        let transfers = done["transfers"].as_array().unwrap();
        assert!(transfers.len() == 8 && transfers.iter().all(|transfer| transfer["outcome"] == "done"), "{done}");
        await_leaders(cluster, &[4, 4, 4]);
        let status = cluster.status();
        assert_eq!((&status["balance"]["imbalance"], &status["balance"]["transfers"]), (&0.into(), &0.into()));
        assert_eq!(balance(cluster, &[])["transfers"], Value::Array(Vec::new()), "what is even stays");
    });
    check_all(&cluster, &written);
    cluster.end();
}

/// How many leaders gave way so that leaders are spread, since the cluster was started.
fn transfers(cluster: &Cluster) -> usize {
    let logs = ["n1", "n2", "n3"].map(|node| cluster.log(node));
    logs.iter().map(|log| log.matches("gets the leadership: host").count()).sum()
}

/// Waits until the cluster sees nothing more to do, for a while.
fn await_calm(cluster: &Cluster) -> Vec<u64> {
    let mut fair = 0;
    until("leaders that are spread", || {
        let status = cluster.status();
        let shards = status["shards"].as_array().unwrap();
        let is_fair = status["balance"]["transfers"] == 0 && shards.iter().all(|shard| shard["leader"].is_string());
        fair = if is_fair { fair + 1 } else { 0 };
        if fair >= 20 { Ok(leaders(&status)) } else { Err(status["balance"].to_string()) }
    })
}

#[test]
fn the_cluster_spreads_its_leaders_by_itself_also_when_nodes_die_and_come_back() {
    const SHARDS: usize = 9;
    let shards = vec![&[1, 2, 3][..]; SHARDS];
    let mut cluster = Cluster::start_with(3, &file(3, &shards, true), &[]);
    let written = under_load(&mut cluster, |cluster| {
        await_leaders(cluster, &[3, 3, 3]);
        assert_eq!(transfers(cluster), 6);
        for node in ["n2", "n1"] {
            let before = transfers(cluster);
            cluster.nodes.get_mut(node).unwrap().kill();
            // By its followers' elections, which nobody plans.
            let elected = until("other leaders", || {
                let status = cluster.status();
                let found = leaders(&status);
                let all_lead =
                    status["shards"].as_array().unwrap().iter().all(|s| s["leader"].is_string() && s["leader"] != node);
                if all_lead { Ok(found) } else { Err(format!("{found:?}")) }
            });
            let fewest: u64 = elected.iter().map(|count| count.saturating_sub(5)).sum();
            assert!(await_calm(cluster).iter().all(|count| *count <= 5));
            let made = transfers(cluster) - before;
            assert_eq!(made as u64, fewest, "{elected:?}");
            cluster.start_node(node);
            await_leaders(cluster, &[3, 3, 3]);
            assert_eq!(transfers(cluster) - before - made, 3, "after {node} came back");
        }
    });
    check_all(&cluster, &written);
    cluster.end();
}

#[test]
fn an_evicted_node_stays_empty_and_gets_its_share_when_it_may() {
    let shards = vec![&[1, 2, 3][..]; 6];
    let mut cluster = Cluster::start_with(3, &file(3, &shards, true), &[]);
    let written = under_load(&mut cluster, |cluster| {
        await_leaders(cluster, &[2, 2, 2]);
        let output = cluster.run(&["evict-leaders", "n1"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found = await_calm(cluster);
        assert_eq!(found, [0, 3, 3]);
        let output = cluster.run(&["evict-leaders", "n1", "--undo"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        await_leaders(cluster, &[2, 2, 2]);
    });
    check_all(&cluster, &written);
    cluster.end();
}
