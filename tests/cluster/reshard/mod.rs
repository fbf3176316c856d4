//! `shards.toml` is edited under load, and the cluster follows: slots move, shards come and go, and no client notices.

mod large;
mod load;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use load::{fill, is_filled, under_load};
use redis::cmd;
use serde_json::Value;

use crate::harness::{Cluster, Process, connect, free_ports, until, verify};

const ALL: &[usize] = &[1, 2, 3];
/// How long a rebalancing may take under load, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(150);

/// The file of a cluster as it is edited: weights by name, on three nodes each.
#[derive(Clone)]
struct Shape {
    nodes: String,
    version: u64,
    shards: Vec<(&'static str, u32)>,
}

impl Shape {
    fn of(cluster: &Cluster, shards: &[(&'static str, u32)]) -> Self {
        let text = std::fs::read_to_string(cluster.config()).unwrap();
        let nodes = text.split_once("[[node]]").unwrap().1.split("[[shard]]").next().unwrap();
        Self { nodes: format!("[[node]]{nodes}"), version: 1, shards: shards.to_vec() }
    }

    fn next(&mut self, shards: &[(&'static str, u32)]) -> String {
        self.version += 1;
        self.shards = shards.to_vec();
        self.text()
    }

    fn text(&self) -> String {
        let mut text = format!("version = {}\n{}", self.version, self.nodes);
        for (name, weight) in &self.shards {
            writeln!(text, "[[shard]]\nname = \"{name}\"\nweight = {weight}\nnodes = [\"n1\", \"n2\", \"n3\"]")
                .unwrap();
        }
        text
    }
}

/// Replaces a file as editors do.
fn put(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

/// Waits until nothing is on its way any more, at this version.
fn settle(cluster: &Cluster, version: u64) -> Value {
    let began = Instant::now();
    loop {
        let status = cluster.status();
        let progress = &status["progress"];
        let none = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
        if status["version"] == version
            && progress["slots_left"] == 0
            && [&progress["closing"], &progress["leaving"], &status["changes"]].into_iter().all(none)
        {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "not settled: {}", said(&status));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn said(status: &Value) -> String {
    format!("version {}, {}, changes {}", status["version"], status["progress"], status["changes"])
}

/// Every shard has its share to within one slot, and there are no others.
fn balanced(status: &Value, shards: &[(&str, u32)]) {
    let sum: u32 = shards.iter().map(|(_, weight)| weight).sum();
    let found = status["shards"].as_array().unwrap();
    assert_eq!(found.len(), shards.len(), "{}", status["shards"]);
    for (name, weight) in shards {
        let shard = found.iter().find(|shard| shard["name"] == *name).unwrap();
        let share = 16384.0 * f64::from(*weight) / f64::from(sum);
        let slots = shard["slots"].as_f64().unwrap();
        assert!((slots - share).abs() <= 1.0, "shard {name} has {slots} slots of {share}");
        assert_eq!(shard["voters"], shard["replicas_wanted"], "{shard}");
    }
}

#[test]
fn shards_come_change_and_go_under_load_and_nobody_notices() {
    let mut cluster = Cluster::start(3, &[ALL, ALL], &["--snapshot-entries", "2000"]);
    cluster.start_proxy(&[]);
    let first = [("a", 1), ("b", 1)];
    let mut shape = Shape::of(&cluster, &first);
    under_load(&mut cluster, |cluster| {
        for shards in [&[("a", 1), ("b", 1), ("c", 1)][..], &[("a", 1), ("b", 5), ("c", 2)], &[("b", 1), ("c", 1)]] {
            put(&cluster.config(), &shape.next(shards));
            balanced(&settle(cluster, shape.version), shards);
        }
    });
    cluster.end();
}

#[test]
fn operators_commands_do_it_too() {
    let cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    fill(&mut connection, "key", 1_000, 0);
    let run = |args: &[&str]| {
        let output = cluster.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let file = cluster.dir.path().join("operators.toml");
    std::fs::write(&file, format!("# ours\n{}", std::fs::read_to_string(&file).unwrap())).unwrap();
    let dry = run(&["reshard", "add-shard", "b", "--nodes", "n1,n2,n3", "--dry-run"]);
    assert!(dry.contains("slots a -> b: 8191 with"), "{dry}");
    run(&["reshard", "add-shard", "b", "--nodes", "n1,n2,n3", "--yes", "--watch"]);
    balanced(&cluster.status(), &[("a", 1), ("b", 1)]);
    run(&["reshard", "set-weight", "a", "3", "--yes", "--watch"]);
    balanced(&cluster.status(), &[("a", 3), ("b", 1)]);
    let watched = run(&["status", "--watch", "--until-settled"]);
    assert!(watched.contains("version 3: nothing is on its way"), "{watched}");
    run(&["reshard", "remove-shard", "b", "--yes", "--watch"]);
    balanced(&cluster.status(), &[("a", 3)]);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("# ours\nversion = 4\n"));
    assert!(is_filled(&mut connection, "key", 1_000, 0));
    cluster.end();
}

#[test]
fn edits_back_and_forth_during_a_move_end_in_what_the_last_one_says() {
    let mut cluster = Cluster::start(3, &[ALL, ALL], &[]);
    cluster.start_proxy(&[]);
    let mut shape = Shape::of(&cluster, &[("a", 1), ("b", 1)]);
    let last = [("a", 2), ("c", 1)];
    under_load(&mut cluster, |cluster| {
        let shapes: [&[(&str, u32)]; 4] =
            [&[("a", 1), ("b", 1), ("c", 1)], &[("a", 1), ("b", 1)], &[("a", 1), ("b", 9)], &[("b", 1), ("c", 3)]];
        for round in 0..150 {
            put(&cluster.config(), &shape.next(shapes[round % shapes.len()]));
            std::thread::sleep(Duration::from_millis(20));
        }
        put(&cluster.config(), &shape.next(&last));
        balanced(&settle(cluster, shape.version), &last);
    });
    cluster.end();
}

#[test]
fn files_that_are_wrong_or_old_or_in_conflict_change_nothing_during_a_move() {
    let mut cluster = Cluster::start(3, &[ALL, ALL], &["--move-bytes-per-second", "200000"]);
    let other = cluster.dir.path().join("other.toml");
    std::fs::copy(cluster.config(), &other).unwrap();
    cluster.start_proxy_with(&other, &[]);
    let mut shape = Shape::of(&cluster, &[("a", 1), ("b", 1)]);
    let wanted = [("a", 1), ("b", 1), ("c", 1)];
    under_load(&mut cluster, |cluster| {
        let text = shape.next(&wanted);
        put(&cluster.config(), &text);
        let logged = |log: &str, what: &str| {
            until(what, || if cluster.log(log).contains(what) { Ok(()) } else { Err(cluster.log(log)) });
        };
        until("the edit", || if cluster.status()["version"] == 2 { Ok(()) } else { Err(String::new()) });
        // The same version with another meaning, on another machine.
        put(&other, &text.replace("weight = 1", "weight = 7"));
        logged("proxy1", "has the accepted version and another meaning");
        // Half of a file, and one that is older.
        std::fs::write(cluster.config(), &text[..text.len() / 2]).unwrap();
        logged("n1", "rejected");
        put(&cluster.config(), &text.replace("version = 2", "version = 1"));
        logged("n1", "is older than what is accepted");
        put(&cluster.config(), &text.replace("version = 2", "version = 3").replace("weight = 1", "weight = 0"));
        logged("n1", "every shard has weight 0");
        let mut conflicting = cluster.status();
        assert_eq!(conflicting["version"].take(), 2);
        put(&cluster.config(), &text);
        balanced(&settle(cluster, 2), &wanted);
    });
    cluster.end();
}

#[test]
fn nodes_die_every_few_seconds_while_slots_move() {
    let mut cluster =
        Cluster::start(3, &[ALL, ALL], &["--snapshot-entries", "1000", "--move-bytes-per-second", "100000"]);
    cluster.start_proxy(&[]);
    let mut shape = Shape::of(&cluster, &[("a", 1), ("b", 1)]);
    under_load(&mut cluster, |cluster| {
        let shapes: [&[(&'static str, u32)]; 2] = [&[("a", 1), ("b", 1), ("c", 1)], &[("b", 2), ("c", 1)]];
        for shards in shapes {
            put(&cluster.config(), &shape.next(shards));
            for name in ["n1", "n2", "n3"] {
                std::thread::sleep(Duration::from_millis(2_500));
                cluster.nodes.get_mut(name).unwrap().kill();
                std::thread::sleep(Duration::from_millis(500));
                cluster.start_node(name);
            }
            balanced(&settle(cluster, shape.version), shards);
        }
    });
    cluster.end();
}

#[test]
fn a_large_value_and_a_large_set_move_in_pieces_while_they_are_written() {
    let mut cluster = Cluster::start(3, &[ALL], &["--snapshot-entries", "20000"]);
    let shape = Shape::of(&cluster, &[("a", 1)]);
    large::story(&mut cluster, shape);
    cluster.end();
}

#[test]
fn a_proxy_that_stood_still_and_one_with_an_old_file_find_everything() {
    let mut cluster = Cluster::start(3, &[ALL, ALL], &[]);
    let old = cluster.dir.path().join("old.toml");
    std::fs::copy(cluster.config(), &old).unwrap();
    let mut shape = Shape::of(&cluster, &[("a", 1), ("b", 1)]);
    cluster.start_proxy(&[]);
    let mut sleeper = cluster.connect_to(1);
    cmd("SET").arg("before").arg(1).query::<()>(&mut sleeper).unwrap();
    cluster.proxies[1].signal("STOP");
    let mut c = cluster.connect();
    for (round, shards) in (0..).zip([&[("c", 1)][..], &[("a", 1), ("c", 1)], &[("d", 1), ("b", 2)]]) {
        put(&cluster.config(), &shape.next(shards));
        balanced(&settle(&cluster, shape.version), shards);
        fill(&mut c, "key", 500, round);
    }
    cluster.proxies[1].signal("CONT");
    cluster.start_proxy_with(&old, &[]);
    for mut c in [sleeper, cluster.connect_to(1), cluster.connect_to(2)] {
        cmd("CLIENT").arg("READS").arg("strong").query::<()>(&mut c).unwrap();
        assert!(is_filled(&mut c, "key", 500, 2));
        fill(&mut c, "key", 500, 2);
    }
    cluster.end();
}

#[test]
fn leaders_leave_a_node_and_come_back_without_an_error() {
    let mut cluster = Cluster::start(3, &[ALL, &[2, 3, 1], &[3, 1, 2]], &[]);
    cluster.start_proxy(&[]);
    under_load(&mut cluster, |cluster| {
        for node in ["n1", "n2", "n3"] {
            let evicted = cluster.run(&["evict-leaders", node]);
            assert!(evicted.status.success(), "{}", String::from_utf8_lossy(&evicted.stderr));
            let status = cluster.status();
            let groups = status["shards"].as_array().unwrap().iter().chain([&status["catalog"]]);
            let leaders: Vec<&Value> = groups.map(|shard| &shard["leader"]).collect();
            assert!(leaders.iter().all(|leader| **leader != node), "{leaders:?}");
            let undone = cluster.run(&["evict-leaders", node, "--undo"]);
            assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
        }
    });
    cluster.end();
}

#[test]
fn a_development_cluster_follows_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (data, listen) = (dir.path().join("data"), format!("127.0.0.1:{}", free_ports(1)[0]));
    let log = dir.path().join("log");
    let process = Process::start(&["dev", "--data", data.to_str().unwrap(), "--listen", &listen], &log).unwrap();
    let mut c = connect(&process.address);
    fill(&mut c, "key", 1_000, 0);
    let file = data.join("shards.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let nodes: Vec<&str> = text.lines().filter(|line| line.starts_with("nodes = ")).take(1).collect();
    put(
        &file,
        &(text.replace("version = 1", "version = 2") + &format!("\n[[shard]]\nname = \"extra\"\n{}\n", nodes[0])),
    );
    let settled = std::process::Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .args(["status", "--watch", "--until-settled", "--interval-ms", "100", "--config", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(settled.status.success(), "{settled:?}");
    until("the new shard's slots", || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pontoon"))
            .args(["status", "--json", "--config", file.to_str().unwrap()])
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let slots: Vec<&Value> = status["shards"].as_array().unwrap().iter().map(|shard| &shard["slots"]).collect();
        if slots.len() == 3 && slots.iter().all(|slots| slots.as_u64().unwrap().abs_diff(5461) <= 1) {
            Ok(())
        } else {
            Err(said(&status))
        }
    });
    assert!(is_filled(&mut c, "key", 1_000, 0));
    verify(&file);
}
