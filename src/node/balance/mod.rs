//! The cluster spreads its leaders over hosts by itself: the node that leads the catalog's group asks all nodes what they lead, and
//! tells leaders to give way. When and how fast is `spreader`'s to say, where to `topology::balance`'s.
//!
//! There is one such node at a time, or, around an election, two for a moment: an order names the term of the leader that it is
//! for, so the second of two changes nothing. A leader looks for itself whether it may give way (`engine::leaders`).

pub mod spreader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::server::{Node, Shared};
use crate::control::leaders::Leaders;
use crate::control::operator::{Operator, OperatorConnection, OperatorError, Target};
use crate::protocol::control::{ControlReply, ControlRequest, LeadersReport};
use crate::topology::{Catalog, NodeName, ShardId};
use spreader::{Order, Spreader, Tally};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks while leaders are changing hands.
const LOOK_BUSY: Duration = Duration::from_millis(100);
/// A node that has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What machines are told of it.
#[derive(Debug, Default)]
pub struct BalanceFigures {
    conducts: AtomicU64,
    imbalance: AtomicU64,
    wanted: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
}

impl BalanceFigures {
    fn publish(&self, tally: Option<Tally>) {
        self.conducts.store(u64::from(tally.is_some()), Ordering::Relaxed);
        let tally = tally.unwrap_or_default();
        for (figure, value) in [
            (&self.imbalance, tally.imbalance),
            (&self.wanted, tally.wanted),
            (&self.done, tally.done),
            (&self.failed, tally.failed),
        ] {
            figure.store(value, Ordering::Relaxed);
        }
    }

    /// Name, help and value of each gauge.
    pub fn gauges(&self) -> [(&'static str, &'static str, u64); 5] {
        let value = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        [
            (
                "balance_conducts",
                "Whether this node spreads the cluster's leaders; only one does",
                value(&self.conducts),
            ),
            ("balance_imbalance", "Leaders beyond the shares of their hosts", value(&self.imbalance)),
            ("balance_transfers_wanted", "Transfers that would end that", value(&self.wanted)),
            ("balance_transfers_done", "Transfers that took effect since this node began", value(&self.done)),
            ("balance_transfers_failed", "Transfers that did not", value(&self.failed)),
        ]
    }
}

/// Spreads leaders for ever, as long as it is this node's to do.
pub async fn spread(shared: Shared) {
    let (mut spreader, mut lines) = (Spreader::default(), Lines::default());
    loop {
        tokio::time::sleep(if spreader.is_busy() { LOOK_BUSY } else { LOOK }).await;
        let figures = Arc::clone(&shared.borrow().figures);
        let Some(catalog) = conducts(&shared.borrow()) else {
            // Whoever does it next waits for calm itself.
            (spreader, lines) = (Spreader::default(), Lines::default());
            figures.balance.publish(None);
            continue;
        };
        let operator = Operator { name: shared.borrow().name.to_string(), cluster: Some(catalog.cluster) };
        let told = lines.ask_all(&operator, &catalog).await;
        let now = shared.borrow().clock.now();
        // It may lead the catalog no more, or there may be another file by now.
        if conducts(&shared.borrow()).is_none_or(|newer| newer.balance != catalog.balance) {
            continue;
        }
        let leaders = Leaders::of(&catalog, &told);
        for order in spreader.look(&catalog, &leaders, now) {
            let name =
                catalog.shard(order.shard).map_or_else(|| order.shard.to_string(), |shard| shard.name.to_string());
            let (shard, from, to) = (name.as_str(), &order.from, &order.to);
            tracing::info!(shard, %from, %to, "the leadership is to change hands: {}", order.reason);
            if let Err(reason) = lines.give(&operator, &catalog, &order).await {
                tracing::info!(shard, %from, %to, "it does not: {reason}");
                let now = shared.borrow().clock.now();
                spreader.refused(order.shard, now);
            }
        }
        figures.balance.publish(Some(spreader.tally()));
    }
}

/// The catalog, if this node leads its group and there is something to spread leaders over.
fn conducts(node: &Node) -> Option<Arc<Catalog>> {
    let leads = node.engine.replica(ShardId::CATALOG).is_some_and(|replica| replica.group.leads_surely());
    let catalog = node.engine.catalog().filter(|catalog| leads && catalog.balance.auto)?;
    let mut hosts = catalog.nodes.values().map(crate::topology::NodeRecord::host);
    let first = hosts.next()?;
    hosts.any(|host| host != first).then(|| Arc::clone(catalog))
}

/// Connections to the nodes, kept while they hold.
#[derive(Default)]
struct Lines(BTreeMap<NodeName, (Target, OperatorConnection)>);

impl Lines {
    async fn ask_all(&mut self, operator: &Operator, catalog: &Catalog) -> BTreeMap<NodeName, LeadersReport> {
        let mut tasks = JoinSet::new();
        for target in Target::of_catalog(catalog) {
            let (operator, line) = (operator.clone(), self.take(&target));
            tasks.spawn(async move {
                let asked = ask(&operator, &target, line, &ControlRequest::Leaders);
                (timeout(PATIENCE, asked).await, target)
            });
        }
        let mut told = BTreeMap::new();
        while let Some(joined) = tasks.join_next().await {
            if let Ok((Ok(Ok((ControlReply::Leaders(report), line))), target)) = joined {
                told.insert(target.node.clone(), report);
                self.0.insert(target.node.clone(), (target, line));
            }
        }
        told
    }

    async fn give(&mut self, operator: &Operator, catalog: &Catalog, order: &Order) -> Result<(), String> {
        let Order { shard, replica, term, .. } = *order;
        let targets = Target::of_catalog(catalog);
        let target = targets.into_iter().find(|target| target.node == order.from).ok_or("there is no such node")?;
        let request = ControlRequest::GiveLeadership { shard, to: replica, term, reason: order.reason.clone() };
        let line = self.take(&target);
        match timeout(PATIENCE, ask(operator, &target, line, &request)).await {
            Ok(Ok((ControlReply::Done, line))) => {
                self.0.insert(target.node.clone(), (target, line));
                Ok(())
            }
            Ok(Ok((other, _))) => Err(format!("an answer to another question: {other:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    fn take(&mut self, target: &Target) -> Option<OperatorConnection> {
        self.0.remove(&target.node).filter(|(known, _)| known == target).map(|(_, line)| line)
    }
}

async fn ask(
    operator: &Operator,
    target: &Target,
    line: Option<OperatorConnection>,
    request: &ControlRequest,
) -> Result<(ControlReply, OperatorConnection), OperatorError> {
    let mut line = match line {
        Some(line) => line,
        None => operator.connect(target).await?,
    };
    let reply = line.ask(request).await?;
    Ok((reply, line))
}
