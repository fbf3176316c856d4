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
