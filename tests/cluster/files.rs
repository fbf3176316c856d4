//! `shards.toml` is edited while everything runs.

use std::fs;

use crate::harness::{Cluster, free_ports, until};

const ALL: &[usize] = &[1, 2, 3];

fn await_version(cluster: &Cluster, version: u64) {
    until("the new version", || {
        let status = cluster.status();
        if status["version"] == version { Ok(()) } else { Err(status.to_string()) }
    });
}

fn set(connection: &mut redis::Connection) {
    redis::cmd("SET").arg("k").arg("v").query::<String>(connection).unwrap();
}

#[test]
fn edits_take_effect_without_dropping_a_connection() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    set(&mut connection);
    let first = fs::read_to_string(cluster.config()).unwrap();

    // A zone, by rename as editors do.
    let second = first.replace("version = 1", "version = 2").replace("name = \"n1\"", "name = \"n1\"\nzone = \"z\"");
    fs::write(cluster.dir.path().join("new"), &second).unwrap();
    fs::rename(cluster.dir.path().join("new"), cluster.config()).unwrap();
    await_version(&cluster, 2);
    set(&mut connection);

    // A node and a shard, in place.
    let port = free_ports(1)[0];
    let third = second.replace("version = 2", "version = 3")
        + &format!(
            "[[node]]\nname = \"n4\"\naddr = \"127.0.0.1:{port}\"\n[[shard]]\nname = \"b\"\nnodes = [\"n4\", \"n1\"]\n"
        );
    fs::write(cluster.config(), &third).unwrap();
    cluster.start_node("n4");
    await_version(&cluster, 3);
    cluster.await_health();
    until("the new shard's share", || {
        let shard = cluster.shard("b");
        let is_half = shard["slots"].as_u64().is_some_and(|slots| (8191..=8193).contains(&slots));
        if is_half { Ok(()) } else { Err(shard.to_string()) }
    });
    set(&mut connection);

    // Gone and back.
    fs::remove_file(cluster.config()).unwrap();
    set(&mut connection);
    fs::write(cluster.config(), third.replace("version = 3", "version = 4")).unwrap();
    await_version(&cluster, 4);
    set(&mut connection);
    cluster.end();
}

#[test]
fn a_node_moves_to_another_address() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    set(&mut connection);
    let old = cluster.nodes["n3"].address.clone();
    let new = format!("127.0.0.1:{}", free_ports(1)[0]);
    cluster.nodes.get_mut("n3").unwrap().kill();
    let text = fs::read_to_string(cluster.config()).unwrap();
    fs::write(cluster.config(), text.replace("version = 1", "version = 2").replace(&old, &new)).unwrap();
    await_version(&cluster, 2);
    cluster.start_node("n3");
    cluster.await_health();
    set(&mut connection);
    cluster.end();
}

#[test]
fn what_cannot_be_is_told_and_changes_nothing() {
    let cluster = Cluster::start(3, &[ALL, ALL], &[]);
    let mut connection = cluster.connect();
    let first = fs::read_to_string(cluster.config()).unwrap();
    let logged = |what: &str| {
        until(what, || {
            let logs: String = ["n1", "n2", "n3", "proxy0"].iter().map(|p| cluster.log(p)).collect();
            if logs.contains(what) { Ok(()) } else { Err(logs) }
        });
        assert_eq!(cluster.status()["version"], 1);
    };
    fs::write(cluster.config(), first.replace("version = 1", "version = 2\ncolour = 7")).unwrap();
    logged("shards.toml:2:");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pontoon")).arg("check").arg(cluster.config()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("shards.toml:2:"));

    let port = free_ports(1)[0];
    let node = format!("[[node]]\nname = \"n4\"\naddr = \"127.0.0.1:{port}\"\n");
    let nowhere =
        first.replace("version = 1", "version = 3").replace("[\"n1\", \"n2\", \"n3\"]", "[\"n1\", \"n2\", \"n4\"]");
    fs::write(cluster.config(), format!("{nowhere}{node}")).unwrap();
    logged("on node `n4`, which cannot take it");
    set(&mut connection);

    let again = cluster.run(&["init"]);
    assert_eq!(again.status.code(), Some(1), "a second init");
    cluster.end();
}

#[test]
fn a_file_of_a_proxy_that_has_no_effect_is_told_of_until_it_is_mended() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let first = fs::read_to_string(cluster.config()).unwrap();
    let own = cluster.dir.path().join("of_the_proxy.toml");
    fs::write(&own, &first).unwrap();
    cluster.start_proxy_with(&own, &[]);
    let told = |cluster: &Cluster, words: &str| {
        until(words, || {
            let status = cluster.status();
            let told = status["files"].as_array().unwrap().iter().find(|file| file["proxy"].is_string());
            let reason = told.map_or("", |file| file["reason"].as_str().unwrap());
            // Both proxies are there, each once, though all three nodes hear of them.
            let both = status["proxies"].as_array().unwrap().len() == 2;
            if both && reason.contains(words) && reason.is_empty() == words.is_empty() {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    };
    told(&cluster, "");
    let zoned = first.replace("name = \"n1\"", "name = \"n1\"\nzone = \"z\"");
    fs::write(&own, &zoned).unwrap();
    told(&cluster, "version 1 is in conflict with the accepted file of this version: node `n1` differs");
    // A higher version goes over both.
    fs::write(cluster.config(), first.replace("version = 1", "version = 2")).unwrap();
    await_version(&cluster, 2);
    told(&cluster, "");
    fs::write(&own, &first).unwrap();
    told(&cluster, "version 1 was written when 2 was accepted");
    fs::write(&own, first.replace("version = 1", "version = 2")).unwrap();
    told(&cluster, "");
    cluster.end();
}
