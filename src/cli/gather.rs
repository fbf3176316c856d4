//! Asks every node of a cluster at once for what `status`, `where` and `init` tell about it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::outlook::Usage;
use crate::control::operator::{Operator, OperatorError, Target};
use crate::protocol::control::{ControlReply, ControlRequest, NodeReport, ReplicaReport};
use crate::protocol::frame::Role;
use crate::topology::{Catalog, NodeName, ShardId, ShardsConfig};

/// A node that has not told everything by then counts as not alive.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);

/// What one node told, or why it did not.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The node.
    pub target: Target,
    /// Its report.
    pub report: Result<NodeReport, String>,
}

/// What the nodes told.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The newest catalog that any of them has.
    pub catalog: Option<Catalog>,
    /// One answer of each node of that catalog; of the file, where there is none.
    pub answers: Vec<Answer>,
}

impl Gathered {
    /// Whether no node answered.
    pub fn is_silent(&self) -> bool {
        self.answers.iter().all(|answer| answer.report.is_err())
    }

    /// What was told of the replicas of a shard, with their nodes.
    pub fn replicas(&self, shard: ShardId) -> impl Iterator<Item = (&NodeName, &ReplicaReport)> {
        let told = self.answers.iter().filter_map(|answer| Some((&answer.target.node, answer.report.as_ref().ok()?)));
        let all = told.flat_map(|(node, report)| report.replicas.iter().map(move |replica| (node, replica)));
        all.filter(move |(_, replica)| replica.shard == shard)
    }

    /// The leader of a shard with the highest term that told, with its node.
    pub fn leader(&self, shard: ShardId) -> Option<(&NodeName, &ReplicaReport)> {
        self.replicas(shard).filter(|(_, replica)| replica.role == Role::Leader).max_by_key(|(_, replica)| replica.term)
    }

    /// Asks the leaders of these shards what each of their slots holds. Who does not answer is left out.
    pub async fn usage(&self, operator: &Operator, shards: impl Iterator<Item = ShardId>) -> Usage {
        let mut usage = Usage::new();
        for shard in shards {
            let leader = self.leader(shard).map(|(node, _)| node);
            let target = self.answers.iter().map(|answer| &answer.target).find(|target| Some(&target.node) == leader);
            let (Some(target), false) = (target, usage.contains_key(&shard)) else { continue };
            if let Ok(ControlReply::SlotUsage(slots)) = operator.ask(target, &ControlRequest::SlotUsage { shard }).await
            {
                usage.insert(shard, slots);
            }
        }
        usage
    }

    /// The reason of the first node that did not answer.
    pub fn first_problem(&self) -> Option<&str> {
        self.answers.iter().find_map(|answer| answer.report.as_ref().err()).map(String::as_str)
    }
}

/// Asks the nodes of the file, then those that only the catalog knows.
pub async fn gather(operator: &Operator, config: &ShardsConfig) -> Gathered {
    let (mut answers, mut catalog) = ask(operator, Target::of_config(config)).await;
    if let Some(known) = &catalog {
        let targets = Target::of_catalog(known);
        let asked = |target: &Target| answers.iter().any(|answer| answer.target == *target);
        let (later, newer) = ask(operator, targets.iter().filter(|t| !asked(t)).cloned().collect()).await;
        answers.extend(later);
        answers.retain(|answer| targets.contains(&answer.target));
        answers.sort_by(|a, b| a.target.node.cmp(&b.target.node));
        catalog = newest(catalog, newer);
    }
    Gathered { catalog, answers }
}

async fn ask(operator: &Operator, targets: Vec<Target>) -> (Vec<Answer>, Option<Catalog>) {
    let mut tasks = JoinSet::new();
    for (i, target) in targets.iter().enumerate() {
        let (operator, target) = (operator.clone(), target.clone());
        tasks.spawn(async move { (i, timeout(NODE_TIMEOUT, ask_node(&operator, &target)).await) });
    }
    let silent = |target| Answer { target, report: Err("no answer within 1 s".to_owned()) };
    let mut answers: Vec<Answer> = targets.into_iter().map(silent).collect();
    let mut catalog = None;
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((i, Ok(Ok((report, told))))) => {
                answers[i].report = Ok(report);
                catalog = newest(catalog, told);
            }
            Ok((i, Ok(Err(error)))) => answers[i].report = Err(error.reason().to_owned()),
            Ok((_, Err(_))) | Err(_) => {}
        }
    }
    (answers, catalog)
}

async fn ask_node(operator: &Operator, target: &Target) -> Result<(NodeReport, Option<Catalog>), OperatorError> {
    let mut connection = operator.connect(target).await?;
    let ControlReply::Status(report) = connection.ask(&ControlRequest::Status).await? else {
        return Err(target.refused("an answer to another question"));
    };
    let ControlReply::Catalog(catalog) = connection.ask(&ControlRequest::Catalog).await? else {
        return Err(target.refused("an answer to another question"));
    };
    Ok((report, catalog.map(|catalog| *catalog)))
}

fn newest(one: Option<Catalog>, other: Option<Catalog>) -> Option<Catalog> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.revision > one.revision { other } else { one }),
        (one, other) => one.or(other),
    }
}
