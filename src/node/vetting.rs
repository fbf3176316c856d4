//! What the catalog's leader asks around before it proposes a file: whether the nodes that the change needs answer.
//!
//! The catalog's log decides by what is in the catalog alone. That a node is dead is not in it, so it is asked here, by the one who
//! proposes: a replica is not promised to a node that does not answer, and members are not changed in a way that leaves no
//! majority of those that there are or are to be. Such a file is not refused for good: whoever proposed it asks again
//! (`control::reload`), and when the node is started it is accepted. Nothing of this is needed for safety, which the
//! groups' own rules keep (`consensus::next_step`): it spares the cluster changes that would stand still half-way.
//!
//! `pontoon plan` is told the same beforehand, by the same inquiry ([`foresee`]), of which then nothing is proposed.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::answers::{Answers, Ticket};
use super::registration;
use super::server::{Node, Shared};
use crate::control::operator::{Operator, Target};
use crate::protocol::control::{ControlReply, ControlRequest, Hindrance};
use crate::protocol::frame::RefusalReason;
use crate::topology::{
    Catalog, CatalogCommand, CatalogOutcome, LogIndex, NodeName, ReplicaRecord, ShardId, ShardName, ShardsConfig,
};

/// Files that may be looked into at once; who proposes more is told to come again.
const LOOKED_INTO_MAX: usize = 16;
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file whose nodes are to be asked.
struct Inquiry {
    ticket: Ticket,
    purpose: Purpose,
    changes: Vec<Change>,
    asked: Vec<Target>,
}

/// Why nodes are asked.
enum Purpose {
    /// The file is about to be proposed.
    Propose(CatalogCommand),
    /// Somebody only wants to know.
    Foresee,
}

/// Files that nobody has looked into yet.
#[derive(Default)]
pub struct Vetting {
    waiting: Vec<Inquiry>,
    looked_into: usize,
}

/// What a file changes of the members of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    shard: ShardName,
    /// The nodes of the replicas that it has; none of a new shard.
    present: Vec<NodeName>,
    /// Those that it is to have; none of one that closes.
    wanted: Vec<NodeName>,
}

/// Takes a file that somebody proposes.
pub fn take(node: &mut Node, ticket: Ticket, text: String, origin: String) {
    let inquiry = inquiry(node, &text, &origin);
    let command = CatalogCommand::ProposeConfig { text, origin };
    // What changes nothing, or is refused, is for the catalog to say.
    match inquiry {
        Some((changes, asked)) if !changes.is_empty() => {
            begin(node, Inquiry { ticket, purpose: Purpose::Propose(command), changes, asked });
        }
        _ => registration::propose(node, ticket, &command),
    }
}

/// Takes a file of which somebody wants to know what it would wait for.
pub fn foresee(node: &mut Node, ticket: Ticket, text: &str) {
    let Some(replica) = node.engine.replica(ShardId::CATALOG) else {
        return node.connections.refuse(ticket, RefusalReason::NoReplica, registration::first_member(node));
    };
    if !replica.group.leads_surely() {
        let leader = replica.group.leader();
        return node.connections.refuse(ticket, RefusalReason::NotLeader, leader);
    }
    match inquiry(node, text, "plan") {
        Some((changes, asked)) if !changes.is_empty() => {
            begin(node, Inquiry { ticket, purpose: Purpose::Foresee, changes, asked });
        }
        _ => answer(node, ticket, &ControlReply::Foreseen(Vec::new())),
    }
}

/// What the file changes of members, and whom to ask about it; none: this node does not lead the catalog, or that would not accept it.
fn inquiry(node: &Node, text: &str, origin: &str) -> Option<(Vec<Change>, Vec<Target>)> {
    let config = ShardsConfig::parse(text, origin).ok()?;
    let leads = node.engine.replica(ShardId::CATALOG).is_some_and(|replica| replica.group.leads_surely());
    let catalog = node.engine.catalog().filter(|_| leads)?;
    let after = catalog.after(&config)?;
    let changes = changes(catalog, &after);
    let asked: BTreeSet<&NodeName> = changes.iter().flat_map(|c| c.present.iter().chain(&c.wanted)).collect();
    // At its new address, where the file gives it one.
    let addr = |name: &NodeName| after.addr(name).or_else(|| catalog.addr(name)).map(str::to_owned);
    let asked = asked.into_iter().filter_map(|name| Some(Target { node: name.clone(), addr: addr(name)? })).collect();
    Some((changes, asked))
}

fn begin(node: &mut Node, inquiry: Inquiry) {
    if node.vetting.waiting.len() + node.vetting.looked_into >= LOOKED_INTO_MAX {
        return node.connections.refuse(inquiry.ticket, RefusalReason::Busy, None);
    }
    node.vetting.waiting.push(inquiry);
    node.wake.notify_one();
}

/// Looks into what was taken.
pub fn work(node: &mut Node, shared: &Shared) {
    for inquiry in std::mem::take(&mut node.vetting.waiting) {
        node.vetting.looked_into += 1;
        let operator = Operator { name: node.name.to_string(), cluster: node.home.cluster() };
        let shared = Rc::clone(shared);
        spawn_local(async move {
            let asking = operator.ask_all_within(&inquiry.asked, &ControlRequest::Identify, PATIENCE);
            let answers = asking.await;
            let node = &mut *shared.borrow_mut();
            node.vetting.looked_into -= 1;
            let problem = |(target, answer): (&Target, Result<ControlReply, _>)| {
                problem(node.engine.catalog().map(AsRef::as_ref), answer).map(|problem| (target.node.clone(), problem))
            };
            let silent: BTreeMap<NodeName, String> = inquiry.asked.iter().zip(answers).filter_map(problem).collect();
            decide(node, inquiry, &silent);
            node.wake.notify_one();
        });
    }
}

/// Why a node cannot be counted on, by what it answered.
fn problem(
    catalog: Option<&Catalog>,
    answer: Result<ControlReply, crate::control::operator::OperatorError>,
) -> Option<String> {
    match answer {
        Ok(ControlReply::Identity(welcome)) => {
            let is_retired = catalog.is_some_and(|catalog| catalog.is_retired(welcome.incarnation));
            is_retired.then(|| "its data directory was given up and may never act again: empty it".to_owned())
        }
        Ok(_) => Some("it answers another question".to_owned()),
        Err(error) => Some(error.reason().to_owned()),
    }
}

fn decide(node: &mut Node, inquiry: Inquiry, silent: &BTreeMap<NodeName, String>) {
    let mut hindrances = inquiry.changes.iter().filter_map(|change| change.hindrance(silent));
    let command = match inquiry.purpose {
        Purpose::Propose(command) => command,
        Purpose::Foresee => {
            let all = hindrances.collect();
            return answer(node, inquiry.ticket, &ControlReply::Foreseen(all));
        }
    };
    let Some(hindrance) = hindrances.next() else {
        return registration::propose(node, inquiry.ticket, &command);
    };
    let reason = hindrance.to_string();
    tracing::warn!("a change of shards.toml waits: {reason}");
    let version = node.engine.catalog().map_or(0, |catalog| catalog.version);
    answer(node, inquiry.ticket, &ControlReply::Decided(CatalogOutcome::Unready { version, reason }));
}

fn answer(node: &mut Node, ticket: Ticket, reply: &ControlReply) {
    let json = serde_json::to_vec(reply).expect("an answer is plain data");
    node.connections.reply(ticket, LogIndex(0), &json);
}

/// The shards whose members change from one catalog to the other.
fn changes(before: &Catalog, after: &Catalog) -> Vec<Change> {
    let nodes = |replicas: &[ReplicaRecord]| replicas.iter().map(|replica| replica.node.clone()).collect();
    let mut changes = Vec::new();
    for shard in &after.shards {
        let change = |present, wanted| Change { shard: shard.name.clone(), present, wanted };
        match before.shard(shard.id) {
            None => changes.push(change(Vec::new(), nodes(&shard.replicas))),
            // Its slots go, and it must be able to give them.
            Some(known) if shard.closing && !known.closing && before.slot_count(shard.id) > 0 => {
                changes.push(change(nodes(&known.replicas), Vec::new()));
            }
            Some(known) => {
                let wanted: BTreeSet<_> = shard.replicas.iter().map(|replica| replica.id).collect();
                if known.replicas.iter().map(|replica| replica.id).collect::<BTreeSet<_>>() != wanted {
                    changes.push(change(nodes(&known.replicas), nodes(&shard.replicas)));
                }
            }
        }
    }
    changes
}

impl Change {
    /// Why it cannot be done, while these nodes do not answer, for these reasons.
    fn hindrance(&self, silent: &BTreeMap<NodeName, String>) -> Option<Hindrance> {
        self.reason(silent).map(|reason| Hindrance { shard: self.shard.clone(), reason })
    }

    fn reason(&self, silent: &BTreeMap<NodeName, String>) -> Option<String> {
        let Self { present, wanted, .. } = self;
        if let Some(minority) = minority(present, silent) {
            let what = if wanted.is_empty() { "it cannot give its slots away" } else { "its members cannot change" };
            return Some(format!("of the nodes that it has {minority}: {what} before one more is back"));
        }
        let added = wanted.iter().filter(|node| !present.contains(node));
        if let Some((node, problem)) = added.filter_map(|node| Some((node, silent.get(node)?))).next() {
            return Some(format!("a replica is to be made on node `{node}`, which cannot take it: {problem}"));
        }
        let minority = minority(wanted, silent)?;
        Some(format!("of the nodes that it is to have {minority}: it would be without a leader"))
    }
}

/// Who answers of these nodes, where that is no majority.
fn minority(nodes: &[NodeName], silent: &BTreeMap<NodeName, String>) -> Option<String> {
    let (dead, alive): (Vec<&NodeName>, Vec<&NodeName>) = nodes.iter().partition(|node| silent.contains_key(*node));
    if nodes.is_empty() || alive.len() * 2 > nodes.len() {
        return None;
    }
    let list = |nodes: &[&NodeName]| nodes.iter().map(|node| format!("`{node}`")).collect::<Vec<_>>().join(", ");
    let answers = match alive.as_slice() {
        [] => "none answers".to_owned(),
        [one] => format!("only `{one}` answers"),
        some => format!("only {} answer", list(some)),
    };
    let reasons: Vec<String> = dead.iter().map(|node| format!("`{node}`: {}", silent[*node])).collect();
    Some(format!(
        "({}) {answers}, which is no majority ({})",
        list(&nodes.iter().collect::<Vec<_>>()),
        reasons.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ClusterId;

    fn file(version: u64, shards: &[(&str, &[u32])]) -> String {
        let mut text = format!("version = {version}\n");
        for number in 1..=5 {
            text += &format!("[[node]]\nname = \"n{number}\"\naddr = \"h{number}:1\"\n");
        }
        for (name, nodes) in shards {
            let nodes: Vec<_> = nodes.iter().map(|number| format!("\"n{number}\"")).collect();
            text += &format!("[[shard]]\nname = \"{name}\"\nnodes = [{}]\n", nodes.join(", "));
        }
        text
    }

    /// Why an edit of a cluster of shards a (on n1, n2, n3) and b (on n1) waits while these nodes are dead.
    fn hindrances(shards: &[(&str, &[u32])], dead: &[u32]) -> Vec<String> {
        let config = |version, shards| ShardsConfig::parse(&file(version, shards), "f").unwrap();
        let before = Catalog::found(ClusterId(1), 0, &config(1, &[("a", &[1, 2, 3]), ("b", &[1])]), &BTreeMap::new());
        let after = before.after(&config(2, shards)).unwrap();
        let silent = dead.iter().map(|n| (NodeName::new(&format!("n{n}")), "gone".to_owned())).collect();
        changes(&before, &after).iter().filter_map(|change| Some(change.hindrance(&silent)?.to_string())).collect()
    }

    #[test]
    fn a_change_waits_for_the_nodes_that_it_needs_and_for_no_others() {
        let b: (&str, &[u32]) = ("b", &[1]);
        for (shards, dead, expected) in [
            (&[("a", &[1, 2, 3][..]), b][..], &[1, 2, 3, 4, 5][..], None),
            (&[("a", &[1, 2, 4]), b], &[3, 5], None),
            (&[("a", &[1, 2]), b], &[3], None),
            (
                &[("a", &[1, 3]), b],
                &[3],
                Some(
                    "shard `a`: of the nodes that it is to have (`n1`, `n3`) only `n1` answers, which is no majority (`n3`: gone): it would be without a leader",
                ),
            ),
            (
                &[("a", &[1]), b],
                &[2, 3],
                Some(
                    "shard `a`: of the nodes that it has (`n1`, `n2`, `n3`) only `n1` answers, which is no majority (`n2`: gone; `n3`: gone): its members cannot change before one more is back",
                ),
            ),
            (
                &[("a", &[1, 2, 4]), b],
                &[4],
                Some("shard `a`: a replica is to be made on node `n4`, which cannot take it: gone"),
            ),
            (
                &[("a", &[1, 2, 3, 4, 5]), b],
                &[5],
                Some("shard `a`: a replica is to be made on node `n5`, which cannot take it: gone"),
            ),
            (
                &[("a", &[1, 2, 3]), b, ("c", &[4])],
                &[4],
                Some("shard `c`: a replica is to be made on node `n4`, which cannot take it: gone"),
            ),
            (
                &[("b", &[1])],
                &[1, 2],
                Some(
                    "shard `a`: of the nodes that it has (`n1`, `n2`, `n3`) only `n3` answers, which is no majority (`n1`: gone; `n2`: gone): it cannot give its slots away before one more is back",
                ),
            ),
            (&[("a", &[1, 2, 3])], &[2, 3, 4], None),
        ] {
            let hindrances = hindrances(shards, dead);
            assert_eq!(hindrances.first().map(String::as_str), expected, "{shards:?} with {dead:?} dead");
        }
    }

    #[test]
    fn all_that_wait_are_named_and_no_others() {
        let waiting = hindrances(&[("a", &[1, 2, 4]), ("b", &[1, 5]), ("c", &[4]), ("d", &[2])], &[4]);
        let shards: Vec<_> =
            waiting.iter().filter_map(|reason| reason.split(": a replica is to be made").next()).collect();
        assert_eq!(shards, ["shard `a`", "shard `c`"]);
    }
}
