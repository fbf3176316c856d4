//! A process's file and the catalog: what is edited arrives there, and nothing else does.

#![allow(clippy::disallowed_methods, reason = "an editor writes here, not Pontoon")]

mod fake_cluster;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::FakeCluster;
use pontoon::control::config_file;
use pontoon::control::reload::{Reload, Standing, standing};
use pontoon::topology::{Catalog, CatalogOutcome, ClusterId, ShardsConfig};

const DEADLINE: Duration = Duration::from_secs(20);

fn file(version: u64, zone: &str, nodes: &[SocketAddr]) -> String {
    let mut text = format!("version = {version}\n");
    for (i, addr) in nodes.iter().enumerate() {
        text += &format!("[[node]]\nname = \"n{}\"\naddr = \"{addr}\"\nzone = \"{zone}\"\n", i + 1);
    }
    text + "[[shard]]\nname = \"a\"\nnodes = [\"n1\"]\n"
}

fn catalog(text: &str) -> Catalog {
    Catalog::found(ClusterId(1), 0, &ShardsConfig::parse(text, "f").unwrap(), &BTreeMap::new())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{what}");
}

fn follow(path: &Path, name: &str, cluster: &FakeCluster) {
    let shared = cluster.clone();
    let catalog = move || shared.0.lock().unwrap().catalog.clone().map(Arc::new);
    let reload = Reload::start(path, config_file::load(path).unwrap(), name, catalog).unwrap();
    tokio::spawn(reload.run());
}

#[test]
fn only_a_higher_version_needs_a_decision() {
    let nodes = ["127.0.0.1:7001".parse().unwrap()];
    let catalog = catalog(&file(5, "z", &nodes));
    let standing = |version, zone| standing(&catalog, &ShardsConfig::parse(&file(version, zone, &nodes), "f").unwrap());
    let decided = Standing::Decided;
    assert_eq!(standing(6, "y"), Standing::Propose);
    assert_eq!(standing(5, "z"), decided(CatalogOutcome::Same { version: 5 }));
    assert_eq!(standing(4, "z"), decided(CatalogOutcome::Stale { version: 5 }));
    let reason = "node `n1` differs".to_owned();
    assert_eq!(standing(5, "y"), decided(CatalogOutcome::Conflict { version: 5, reason }));
}

#[tokio::test]
async fn edits_reach_the_catalog_through_any_node_and_broken_ones_do_not() {
    let (cluster, nodes) = FakeCluster::start(2);
    // The first that is asked, n1, knows who leads.
    cluster.0.lock().unwrap().leader = Some("n2");
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("shards.toml");
    std::fs::write(&path, file(1, "z", &nodes)).unwrap();
    cluster.0.lock().unwrap().catalog = Some(catalog(&file(1, "z", &nodes)));
    follow(&path, "p1", &cluster);
    std::fs::write(&path, file(2, "y", &nodes)).unwrap();
    until("version 2", || cluster.version() == 2).await;
    std::fs::write(&path, "version = 3\n[[node]\n").unwrap();
    std::fs::write(&path, file(1, "old", &nodes)).unwrap();
    std::fs::write(&path, file(4, "x", &nodes)).unwrap();
    until("version 4", || cluster.version() == 4).await;
    assert_eq!(cluster.0.lock().unwrap().proposals, 2);
}

#[tokio::test]
async fn a_file_that_was_edited_before_the_start_is_proposed_once_there_is_a_cluster() {
    let (cluster, nodes) = FakeCluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("shards.toml");
    std::fs::write(&path, file(7, "z", &nodes)).unwrap();
    follow(&path, "n1", &cluster);
    tokio::task::yield_now().await;
    cluster.0.lock().unwrap().catalog = Some(catalog(&file(1, "z", &nodes)));
    until("version 7", || cluster.version() == 7).await;
}
