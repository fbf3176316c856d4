//! `pontoon init`: creates the cluster of a `shards.toml`, once.
//!
//! All nodes are asked first, so that a node of another cluster or under another name is found before anything
//! exists. Then one node makes the catalog durable: that is the act. All that follows is ordinary reconciliation, which
//! this command only watches.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::time::timeout;

use super::args::InitArgs;
use super::gather::gather;
use super::membership::MemberInTransit;
use super::report::StatusReport;
use super::{print, print_json};
use crate::control::config_file;
use crate::control::operator::{Operator, Target};
use crate::net::Entropy;
use crate::protocol::control::{ControlReply, ControlRequest, Welcome};
use crate::topology::{Catalog, ClusterId, Incarnation, NodeName, ShardsConfig};

/// How long the shards may take to elect their leaders, and the catalog to have all its replicas.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(30);
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// What `--json` prints.
#[derive(Serialize)]
struct Created {
    cluster: ClusterId,
    version: u64,
    nodes: usize,
    shards: usize,
}

pub async fn run(args: &InitArgs) -> anyhow::Result<()> {
    let config = config_file::load(&args.config)?;
    let incarnations = identify(&config).await?;
    let cluster = found(&config, &incarnations).await?;
    let created = Created { cluster, version: config.version, nodes: config.nodes.len(), shards: config.shards.len() };
    if args.json {
        return print_json(&created);
    }
    let Created { cluster, version, nodes, shards } = created;
    print(&format!("created cluster {cluster}: version {version}, {nodes} nodes, {shards} shards, all with a leader"))
}

/// Creates the cluster of these nodes, unless one of them belongs to one already; then only waits for its leaders.
pub async fn found_if_new(config: &ShardsConfig) -> anyhow::Result<()> {
    for answer in operator().ask_all(&Target::of_config(config), &ControlRequest::Identify).await {
        if let ControlReply::Identity(Welcome { cluster: Some(cluster), .. }) = answer? {
            return await_leaders(config, cluster, false).await;
        }
    }
    let incarnations = identify(config).await?;
    found(config, &incarnations).await.map(drop)
}

async fn found(config: &ShardsConfig, incarnations: &BTreeMap<NodeName, Incarnation>) -> anyhow::Result<ClusterId> {
    let entropy = Entropy::system();
    let catalog = Catalog::found(ClusterId(entropy.next_u128()), entropy.next(), config, incarnations);
    create(config, &catalog).await?;
    await_leaders(config, catalog.cluster, true).await?;
    Ok(catalog.cluster)
}

/// The incarnations of all nodes, none of which belongs to a cluster.
async fn identify(config: &ShardsConfig) -> anyhow::Result<BTreeMap<NodeName, Incarnation>> {
    let targets = Target::of_config(config);
    let mut incarnations = BTreeMap::new();
    for answer in operator().ask_all(&targets, &ControlRequest::Identify).await {
        let ControlReply::Identity(identity) = answer.context("all nodes must run before the cluster is created")?
        else {
            bail!("a node answered another question");
        };
        if let Some(cluster) = identity.cluster {
            bail!("node `{}` belongs to cluster {cluster} already: a cluster is created only once", identity.node);
        }
        incarnations.insert(identity.node, identity.incarnation);
    }
    Ok(incarnations)
}

/// The one act: the first node of the catalog forms it.
async fn create(config: &ShardsConfig, catalog: &Catalog) -> anyhow::Result<()> {
    let first = &catalog.catalog_shard().birth[0].node;
    let targets = Target::of_config(config);
    let target =
        targets.iter().find(|target| target.node == *first).context("the catalog's first node is in the file")?;
    let request = ControlRequest::Init { catalog: Box::new(catalog.clone()) };
    match operator().ask(target, &request).await? {
        ControlReply::Initialized => Ok(()),
        other => bail!("node `{first}` answered another question: {other:?}"),
    }
}

async fn await_leaders(config: &ShardsConfig, cluster: ClusterId, and_voters: bool) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    match timeout(LEADERS_TIMEOUT, watch_leaders(config, and_voters, &mut missing)).await {
        Ok(()) => Ok(()),
        Err(_) => bail!(
            "cluster {cluster} is there, but after {} s it lacks: {}; `pontoon status` shows more",
            LEADERS_TIMEOUT.as_secs(),
            missing.join(", ")
        ),
    }
}

/// Waits until all shards have a leader, a new cluster's also all their voters, and tells what is missing whenever that changes.
async fn watch_leaders(config: &ShardsConfig, and_voters: bool, missing: &mut Vec<String>) {
    // Without a cluster: some nodes have not heard of it yet.
    let operator = operator();
    loop {
        let report = StatusReport::of(&gather(&operator, config).await);
        let leaderless = report.leaderless();
        let mut now: Vec<String> = leaderless.iter().map(|name| format!("a leader of {name}")).collect();
        if report.cluster.is_none() {
            now.push("the catalog".to_owned());
        }
        // It is born on one node: until the others vote too, all that the cluster knows is on one disk.
        now.extend(report.changes.iter().filter(|_| and_voters).map(MemberInTransit::text));
        if now.is_empty() {
            return;
        }
        if now != *missing {
            let _ = writeln!(std::io::stderr(), "waiting for: {}", now.join(", "));
            *missing = now;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

fn operator() -> Operator {
    Operator { name: "init".to_owned(), cluster: None }
}
