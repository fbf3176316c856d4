//! `pontoon balance --redis-cluster HOST:PORT`: the masters of a real Redis Cluster are spread over its hosts.
//!
//! A master can only swap with one of its replicas, by `CLUSTER FAILOVER` at the replica: the master stops its clients, the replica
//! catches up and is elected, the master follows it. One after the other, each when the one before is over for everybody; what is
//! left is planned anew from what the instances say then. The first that does not come to its end stops it all.

mod line;
mod view;

use std::time::Duration;

use tokio::task::JoinSet;

use super::conclude;
use super::view::{BalanceView, Outcome, TransferView};
use crate::cli::args::BalanceArgs;
use crate::cli::print;
use crate::net::Clock;
use crate::topology::HostPort;
use crate::topology::balance::{Placement, Situation, Transfer, Weigh};
use line::{Line, Login};
use view::{ClusterView, Told, parse_nodes, parse_replication};

/// Between two looks at how a failover goes on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// After that a replica has given a failover up that did not come about.
const ASK_AGAIN: Duration = Duration::from_secs(6);

/// Spreads masters.
pub async fn run(args: &BalanceArgs, seed: &HostPort) -> anyhow::Result<()> {
    let login = Login { username: args.username.clone(), password: args.password.clone() };
    let timeout = Duration::from_millis(args.timeout_ms);
    let failover = Failovers { seed: seed.to_string(), login, timeout, clock: Clock::system() };
    let plan = failover.look().await.map_err(anyhow::Error::msg)?;
    let mut shown = BalanceView::of(&plan.situation, &plan.placement, Weigh::Leaders);
    if !args.json {
        print(&shown.text())?;
    }
    let stopped = if args.dry_run || plan.placement.transfers.is_empty() {
        None
    } else {
        shown.transfers.clear();
        failover.carry_out(plan, &mut shown.transfers, args.json).await?
    };
    conclude(args, &shown, stopped, "masters")
}

/// A look, and what follows from it.
struct Plan {
    situation: Situation,
    ids: Vec<String>,
    placement: Placement,
}

struct Failovers {
    seed: String,
    login: Login,
    timeout: Duration,
    clock: Clock,
}

impl Failovers {
    async fn look(&self) -> Result<Plan, String> {
        let view = self.view().await?;
        let (situation, ids) = view.situation();
        let placement = Placement::of(&situation, Weigh::Leaders);
        Ok(Plan { situation, ids, placement })
    }

    /// Asks the instance that the operator named who there is, and then all of them.
    async fn view(&self) -> Result<ClusterView, String> {
        let first = ask(&self.seed, &self.login).await.map_err(|error| format!("{}: {error}", self.seed))?;
        let mut tasks = JoinSet::new();
        for instance in &first.nodes {
            let (addr, login) = (instance.addr(), self.login.clone());
            tasks.spawn(async move { ask(&addr, &login).await });
        }
        let mut told = vec![first];
        while let Some(joined) = tasks.join_next().await {
            // Who does not answer is shown as that.
            told.extend(joined.ok().and_then(Result::ok));
        }
        Ok(ClusterView::of(told))
    }

    /// One failover after the other. Returns why it stopped before the end, if it did.
    async fn carry_out(
        &self,
        mut plan: Plan,
        done: &mut Vec<TransferView>,
        is_quiet: bool,
    ) -> anyhow::Result<Option<String>> {
        let planned = plan.placement.transfers.len();
        while let Some(transfer) = plan.placement.transfers.first().copied() {
            // More than were planned would mean that somebody undoes them.
            if done.len() >= planned {
                return Ok(Some("masters change hands that nobody asked for: is somebody else at it?".to_owned()));
            }
            let began = self.clock.now();
            let mut shown = TransferView::planned(&plan.situation, transfer);
            let failed = self.fail_over(&plan, transfer).await.err();
            shown.took_ms = Some(self.clock.now().since(began).as_millis() as u64);
            shown.outcome = failed.clone().map_or(Outcome::Done, Outcome::Failed);
            if !is_quiet {
                print(&shown.text())?;
            }
            done.push(shown.clone());
            if let Some(reason) = failed {
                return Ok(Some(format!("the failover of {} to {}: {reason}", shown.from, shown.to)));
            }
            plan = self.look().await.map_err(anyhow::Error::msg)?;
        }
        Ok(None)
    }

    /// Swaps a master with its replica, and waits until that is over for everybody.
    async fn fail_over(&self, plan: &Plan, transfer: Transfer) -> Result<(), String> {
        let (old, new) = (&plan.ids[transfer.from], &plan.ids[transfer.to]);
        let mut line = Line::open(&plan.situation.candidates[transfer.to].name, &self.login).await?;
        line.ask(&["CLUSTER", "FAILOVER"]).await?;
        let began = self.clock.now();
        let mut asked = began;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if self.clock.now().since(asked) >= ASK_AGAIN {
                // Voters that had a vote to give just now refuse the next one, and the replica gives up. One that is master says so.
                asked = self.clock.now();
                let again = Line::open(&plan.situation.candidates[transfer.to].name, &self.login).await;
                if let Ok(mut line) = again {
                    let _ = line.ask(&["CLUSTER", "FAILOVER"]).await;
                }
            }
            let missing = match self.view().await {
                Ok(view) => view.missing(old, new),
                Err(error) => Some(error),
            };
            match missing {
                None => return Ok(()),
                Some(reason) if self.clock.now().since(began) >= self.timeout => {
                    return Err(format!("{reason} after {} ms", self.timeout.as_millis()));
                }
                Some(_) => {}
            }
        }
    }
}

/// What one instance has to say.
async fn ask(addr: &str, login: &Login) -> Result<Told, String> {
    let mut line = Line::open(addr, login).await?;
    let nodes = parse_nodes(&line.ask(&["CLUSTER", "NODES"]).await?, addr)?;
    let replication = parse_replication(&line.ask(&["INFO", "replication"]).await?);
    Ok(Told { nodes, replication })
}
