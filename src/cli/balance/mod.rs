//! `pontoon balance`: spreads leaders evenly over hosts, with the fewest transfers (`topology::balance`).
//!
//! After each transfer the nodes are asked anew, and what is left is planned anew: what an optimal plan leaves to do is
//! optimal too, so nothing is done twice, whoever else acts meanwhile.

mod redis_cluster;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;

use super::args::BalanceArgs;
use super::gather::gather;
use super::plan::catalog_of;
use super::{print, print_json};
use crate::control::config_file;
use crate::control::leaders::Leaders;
use crate::control::operator::{Operator, Target};
use crate::net::{Clock, Moment};
use crate::protocol::control::{ControlReply, ControlRequest, LeadersReport};
use crate::topology::balance::{Placement, Transfer, Weigh};
use crate::topology::{Catalog, NodeName};
use view::{BalanceView, Outcome, TransferView};

pub use view::HostLeaders;

/// How often the nodes are asked whether a transfer took effect.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Before a look that may show more: a leader that has just been elected does not know yet who could take over.
const NEWS_INTERVAL: Duration = Duration::from_millis(100);
/// How long a node may take to answer.
const NODE_PATIENCE: Duration = Duration::from_secs(1);
/// Refusals in a row after which something is wrong that does not pass.
const REFUSALS_MAX: u32 = 5;

pub async fn run(args: &BalanceArgs) -> anyhow::Result<()> {
    if let Some(seed) = &args.redis_cluster {
        return redis_cluster::run(args, seed).await;
    }
    let config = config_file::load(&args.config)?;
    let operator = Operator { name: "balance".to_owned(), cluster: None };
    let gathered = gather(&operator, &config).await;
    let catalog = catalog_of(&gathered)?.clone();
    let weigh = args.weigh.unwrap_or(catalog.balance.weigh);
    let hands =
        Hands { operator, catalog, weigh, timeout: Duration::from_millis(args.timeout_ms), clock: Clock::system() };
    let (leaders, placement) = hands.look_known().await;
    let mut view = BalanceView::of(&leaders.situation, &placement, weigh);
    if !args.json {
        print(&view.text())?;
    }
    let failed = if args.dry_run || placement.transfers.is_empty() {
        None
    } else {
        view.transfers.clear();
        hands.carry_out((leaders, placement), &mut view.transfers, args.json).await?
    };
    conclude(args, &view, failed, "leaders")
}

/// Says what came of it. `what` was spread, unless it stopped for a reason.
fn conclude(args: &BalanceArgs, view: &BalanceView, stopped: Option<String>, what: &str) -> anyhow::Result<()> {
    if args.json {
        print_json(view)?;
    }
    match stopped {
        Some(reason) => bail!("stopped: {reason}"),
        None if args.dry_run || args.json || view.transfers.is_empty() => Ok(()),
        None => print(&format!("{} done: {what} are spread", view.transfers.len())),
    }
}

/// What it takes to look and to act.
struct Hands {
    operator: Operator,
    catalog: Catalog,
    weigh: Weigh,
    timeout: Duration,
    clock: Clock,
}

impl Hands {
    async fn look(&self) -> (Leaders, Placement) {
        let targets = Target::of_catalog(&self.catalog);
        let answers = self.operator.ask_all_within(&targets, &ControlRequest::Leaders, NODE_PATIENCE).await;
        let told = targets.into_iter().zip(answers).filter_map(|(target, answer)| match answer {
            Ok(ControlReply::Leaders(report)) => Some((target.node, report)),
            _ => None,
        });
        let told: BTreeMap<NodeName, LeadersReport> = told.collect();
        let leaders = Leaders::of(&self.catalog, &told);
        let placement = Placement::of(&leaders.situation, self.weigh);
        (leaders, placement)
    }

    /// The same, and where there is nothing to do although not all is known yet, again.
    async fn look_known(&self) -> (Leaders, Placement) {
        let began = self.clock.now();
        loop {
            let (leaders, placement) = self.look().await;
            if !placement.transfers.is_empty() || !leaders.has_new() || self.is_over(began) {
                return (leaders, placement);
            }
            tokio::time::sleep(NEWS_INTERVAL).await;
        }
    }

    fn is_over(&self, began: Moment) -> bool {
        self.clock.now().since(began) >= self.timeout
    }

    /// One transfer after the other. Returns why it stopped before the end, if it did.
    async fn carry_out(
        &self,
        (mut leaders, mut placement): (Leaders, Placement),
        done: &mut Vec<TransferView>,
        is_quiet: bool,
    ) -> anyhow::Result<Option<String>> {
        let mut refusals = 0;
        while let Some(transfer) = placement.transfers.first() {
            let began = self.clock.now();
            let mut shown = TransferView::planned(&leaders.situation, *transfer);
            let failed = match self.ask(&leaders, *transfer, &placement).await {
                Ok(()) => self.wait(transfer.shard, transfer.to).await.err(),
                Err(refused) if refusals < REFUSALS_MAX => {
                    // Something has changed since the look: another one shows what is left.
                    tracing::debug!("{}: {refused}", shown.text());
                    refusals += 1;
                    tokio::time::sleep(NEWS_INTERVAL).await;
                    (leaders, placement) = self.look_known().await;
                    continue;
                }
                Err(refused) => Some(refused),
            };
            refusals = 0;
            shown.took_ms = Some(self.clock.now().since(began).as_millis() as u64);
            shown.outcome = failed.clone().map_or(Outcome::Done, Outcome::Failed);
            if !is_quiet {
                print(&shown.text())?;
            }
            done.push(shown.clone());
            if let Some(reason) = failed {
                return Ok(Some(format!("shard {}: {reason}", shown.shard)));
            }
            (leaders, placement) = self.look_known().await;
        }
        Ok(None)
    }

    /// Asks the leader to give way.
    async fn ask(&self, leaders: &Leaders, transfer: Transfer, placement: &Placement) -> Result<(), String> {
        let (from, shard) = (&leaders.nodes[transfer.from], leaders.shards[transfer.shard]);
        let (to, leader) =
            leaders.place(&self.catalog, transfer.shard, transfer.to).ok_or("the node has no replica of it")?;
        let targets = Target::of_catalog(&self.catalog);
        let target = targets.iter().find(|target| target.node == *from).ok_or("its leader's node is not known")?;
        let reason = placement.reason(&leaders.situation, transfer);
        let request = ControlRequest::GiveLeadership { shard, to, term: leader.term, reason };
        match self.operator.ask(target, &request).await {
            Ok(ControlReply::Done) => Ok(()),
            Ok(other) => Err(format!("an answer to another question: {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits until the candidate leads.
    async fn wait(&self, shard: usize, to: usize) -> Result<(), String> {
        let began = self.clock.now();
        loop {
            let (leaders, _) = self.look().await;
            if leaders.situation.shards[shard].leader == Some(to) {
                return Ok(());
            }
            if self.is_over(began) {
                return Err(format!(
                    "node {} does not lead it after {} ms",
                    leaders.nodes[to],
                    self.timeout.as_millis()
                ));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
