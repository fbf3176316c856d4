//! What `pontoon balance` prints: islands with their hosts, and each transfer with what became of it.

use serde::Serialize;

use crate::cli::gather::Gathered;
use crate::cli::report::rows_aligned;
use crate::control::leaders::Leaders;
use crate::topology::Catalog;
use crate::topology::balance::{Candidate, HostShare, Island, Placement, Situation, Transfer, Weigh};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct BalanceView {
    /// What counts.
    pub weigh: Weigh,
    /// Where leaders were, and where the transfers leave them.
    pub islands: Vec<Island>,
    /// The transfers.
    pub transfers: Vec<TransferView>,
    /// The shards whose leaders have to stay, and why.
    pub held: Vec<HeldView>,
}

/// A leader that has to stay.
#[derive(Debug, Serialize)]
pub struct HeldView {
    shard: String,
    reason: String,
}

/// A transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TransferView {
    /// The shard.
    pub shard: String,
    /// Who leads it.
    pub from: String,
    /// Its host.
    pub from_host: String,
    /// Who is to lead it.
    pub to: String,
    /// Its host.
    pub to_host: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long that took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// What became of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not begun.
    Planned,
    /// It took effect.
    Done,
    /// It did not, and why.
    Failed(String),
}

impl TransferView {
    /// A transfer that has not begun.
    pub fn planned(situation: &Situation, transfer: Transfer) -> Self {
        let place = |number: usize| {
            let Candidate { name, host, .. } = &situation.candidates[number];
            (name.clone(), host.clone())
        };
        let ((from, from_host), (to, to_host)) = (place(transfer.from), place(transfer.to));
        let shard = situation.shards[transfer.shard].name.clone();
        Self { shard, from, from_host, to, to_host, outcome: Outcome::Planned, took_ms: None }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Self { shard, from, from_host, to, to_host, outcome, took_ms } = self;
        let place = |name: &str, host: &str| if name == host { name.to_owned() } else { format!("{name} on {host}") };
        let what = format!("shard {shard}: {} -> {}", place(from, from_host), place(to, to_host));
        match (outcome, took_ms) {
            (Outcome::Done, Some(ms)) => format!("{what}, in {ms} ms"),
            (Outcome::Planned | Outcome::Done, _) => what,
            (Outcome::Failed(reason), _) => format!("{what}: {reason}"),
        }
    }
}

impl BalanceView {
    /// A plan.
    pub fn of(situation: &Situation, placement: &Placement, weigh: Weigh) -> Self {
        let held = situation.shards.iter().filter_map(|shard| {
            let reason = shard.held.clone().filter(|_| shard.leader.is_some())?;
            Some(HeldView { shard: shard.name.clone(), reason })
        });
        Self {
            weigh,
            held: held.collect(),
            islands: placement.islands.clone(),
            transfers: placement.transfers.iter().map(|transfer| TransferView::planned(situation, *transfer)).collect(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = islands(&self.islands);
        for held in &self.held {
            lines.push(format!("shard {} keeps its leader for now: {}", held.shard, held.reason));
        }
        match self.transfers.len() {
            0 => lines.push("no transfer would spread the leaders better".to_owned()),
            count => {
                lines.push(format!("{count} transfer{}:", if count == 1 { "" } else { "s" }));
                lines.extend(self.transfers.iter().map(|transfer| format!("  {}", transfer.text())));
            }
        }
        lines.join("\n")
    }
}

/// Who leads how much, for `status`.
#[derive(Debug, Default, Serialize)]
pub struct HostLeaders {
    /// The islands with their hosts.
    pub islands: Vec<Island>,
    /// How many leaders hosts have beyond their shares.
    pub imbalance: u64,
    /// How many transfers would end that.
    pub transfers: usize,
    /// Whether the cluster sees to that by itself.
    pub auto: bool,
}

impl HostLeaders {
    /// What the nodes told.
    pub fn of(catalog: &Catalog, gathered: &Gathered) -> Self {
        let told = gathered.answers.iter().filter_map(|answer| {
            let report = answer.report.as_ref().ok()?;
            Some((report.node.clone(), report.leaders.clone()))
        });
        let leaders = Leaders::of(catalog, &told.collect());
        let placement = Placement::of(&leaders.situation, catalog.balance.weigh);
        let (imbalance, transfers) = (placement.excess(), placement.transfers.len());
        Self { islands: placement.islands, imbalance, transfers, auto: catalog.balance.auto }
    }

    /// A table, where there is more than one host.
    pub fn lines(&self) -> Vec<String> {
        let hosts =
            || self.islands.iter().enumerate().flat_map(|(n, island)| island.hosts.iter().map(move |h| (n + 1, h)));
        if hosts().count() < 2 {
            return Vec::new();
        }
        let mut rows = vec![["HOST", "ISLAND", "LEADERS", "SHARE", "WRITES/S", "NODES"].map(str::to_owned).to_vec()];
        rows.extend(hosts().map(|(island, host)| {
            let numbers = [island as u64, host.leaders, host.share, host.writes].map(|number| number.to_string());
            [host.host.clone()].into_iter().chain(numbers).chain([nodes(host)]).collect()
        }));
        let mut lines = rows_aligned(&rows);
        if self.transfers > 0 {
            let how =
                if self.auto { "the cluster makes them once it has been calm" } else { "`pontoon balance` makes them" };
            let (imbalance, transfers) = (self.imbalance, self.transfers);
            lines.push(format!(
                "leaders beyond the shares of their hosts: {imbalance}; transfers that end that: {transfers}; {how}"
            ));
        }
        lines
    }
}

/// A table for each island.
fn islands(islands: &[Island]) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, island) in islands.iter().enumerate() {
        if number > 0 {
            lines.push(String::new());
        }
        let (hosts, shards) = (island.hosts.len(), island.shards);
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        lines.push(format!("island {}: {hosts} host{}, {shards} shard{}", number + 1, plural(hosts), plural(shards)));
        let mut rows = vec![
            ["HOST", "ZONE", "LEADERS", "AFTER", "SHARE", "WRITES/S", "AFTER", "NODES"].map(str::to_owned).to_vec(),
        ];
        rows.extend(island.hosts.iter().map(row));
        lines.extend(rows_aligned(&rows));
        lines.push(String::new());
    }
    lines
}

fn row(host: &HostShare) -> Vec<String> {
    let zones = if host.zones.is_empty() { "-".to_owned() } else { host.zones.join(", ") };
    let numbers = [host.leaders, host.leaders_after, host.share, host.writes, host.writes_after];
    let numbers = numbers.iter().map(ToString::to_string);
    [host.host.clone(), zones].into_iter().chain(numbers).chain([nodes(host)]).collect()
}

fn nodes(host: &HostShare) -> String {
    let node = |name: &String| match host.unfit.get(name) {
        Some(unfit) => format!("{name} ({})", unfit.text()),
        None => name.clone(),
    };
    host.nodes.iter().map(node).collect::<Vec<_>>().join(", ")
}
