//! `pontoon evict-leaders NODE`: leaders leave a node that somebody is about to work on, and stay away until that is undone.

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use super::args::EvictArgs;
use super::gather::{Gathered, gather};
use super::plan::catalog_of;
use super::{print, print_json};
use crate::control::config_file;
use crate::control::operator::{Operator, Target};
use crate::net::Clock;
use crate::protocol::control::{ControlReply, ControlRequest};
use crate::protocol::frame::Role;
use crate::topology::{Catalog, CatalogOutcome, NodeName, ShardName, ShardRecord};

/// How often the nodes are asked who leads.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Evicted {
    node: NodeName,
    evicted: bool,
    /// The shards that it leads still, and what hinders each.
    left: Vec<Hindrance>,
}

/// Why a leader does not leave.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Hindrance {
    shard: ShardName,
    reason: String,
}

pub async fn run(args: &EvictArgs) -> anyhow::Result<()> {
    let config = config_file::load(&args.config)?;
    let operator = Operator { name: "evict-leaders".to_owned(), cluster: None };
    let gathered = gather(&operator, &config).await;
    let catalog = catalog_of(&gathered)?;
    let (node, evicted) = (args.node.clone(), !args.undo);
    let request = ControlRequest::EvictLeaders { node: node.clone(), evicted };
    match operator.ask_leader(&Target::of_catalog(catalog), &request).await? {
        ControlReply::Decided(CatalogOutcome::Accepted { .. } | CatalogOutcome::Same { .. }) => {}
        ControlReply::Decided(CatalogOutcome::Refused { reason, .. } | CatalogOutcome::Unready { reason, .. }) => {
            bail!("refused: {reason}")
        }
        other => bail!("an answer to another question: {other:?}"),
    }
    let left = if evicted { wait(args, &operator, gathered).await } else { Vec::new() };
    let result = Evicted { node: node.clone(), evicted, left };
    if args.json {
        print_json(&result)?;
    }
    if let Some(first) = result.left.first() {
        let others =
            if result.left.len() > 1 { format!(", and {} more", result.left.len() - 1) } else { String::new() };
        bail!("node {node} leads shard {} still: {}{others}", first.shard, first.reason);
    }
    let done = if evicted { "leads no shard, and will not until `--undo`" } else { "may lead again" };
    if args.json { Ok(()) } else { print(&format!("node {node} {done}")) }
}

/// Waits until the node leads nothing; returns what it leads when the time is over.
async fn wait(args: &EvictArgs, operator: &Operator, first: Gathered) -> Vec<Hindrance> {
    let clock = Clock::system();
    let began = clock.now();
    let patience = Duration::from_millis(args.timeout_ms);
    let mut gathered = first;
    loop {
        let left =
            gathered.catalog.as_ref().map_or_else(Vec::new, |catalog| hindrances(catalog, &gathered, &args.node));
        if left.is_empty() || clock.now().since(began) >= patience {
            return left;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Ok(config) = config_file::load(&args.config) else { return left };
        gathered = gather(operator, &config).await;
    }
}

fn hindrances(catalog: &Catalog, gathered: &Gathered, node: &NodeName) -> Vec<Hindrance> {
    let led = catalog.shards.iter().filter(|shard| leads(gathered, shard, node));
    led.map(|shard| Hindrance { shard: shard.name.clone(), reason: reason(catalog, gathered, shard, node) }).collect()
}

/// Whether the replica on this node leads, as far as anybody knows.
fn leads(gathered: &Gathered, shard: &ShardRecord, node: &NodeName) -> bool {
    let leader = gathered.replicas(shard.id).filter(|(_, replica)| replica.role == Role::Leader);
    leader.max_by_key(|(_, replica)| replica.term).is_some_and(|(name, _)| name == node)
}

fn reason(catalog: &Catalog, gathered: &Gathered, shard: &ShardRecord, node: &NodeName) -> String {
    let evicted = |name: &NodeName| catalog.nodes.get(name).is_some_and(|record| record.evicted);
    let others: Vec<_> = shard.replicas.iter().filter(|replica| replica.node != *node).collect();
    if others.is_empty() {
        return "it has no other replica".to_owned();
    }
    if others.iter().all(|replica| evicted(&replica.node)) {
        return "leaders are to leave all nodes of its replicas".to_owned();
    }
    let committed = gathered.replicas(shard.id).map(|(_, replica)| replica.committed).max().unwrap_or_default();
    let told = |id| gathered.replicas(shard.id).find(|(_, told)| told.replica == id).map(|(_, told)| told);
    let able = others.iter().filter(|replica| !evicted(&replica.node)).filter_map(|replica| told(replica.id));
    match able.map(|replica| committed.get() - replica.applied.get().min(committed.get())).min() {
        None => "no other replica of it is alive".to_owned(),
        Some(0) => "its leader has not handed over yet".to_owned(),
        Some(lag) => format!("its other replicas are {lag} entries behind, or more"),
    }
}
