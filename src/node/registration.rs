//! Who acts under a node's name: a node asks the catalog for its place, and the catalog's leader sees to it that nobody
//! else has it.
//!
//! A first incarnation is simply recorded. Another one takes over only when it is the one that answers at the name's
//! address in the catalog: so an empty directory that is started beside a living node, under its name but elsewhere, changes
//! nothing, and one whose node is out of reach waits. What the old one may still do does no harm: its replicas are
//! voters until their groups have replaced them, and it is told that it is retired as soon as it hears the catalog.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::answers::{Answers, Ticket};
use super::server::{Node, Shared};
use crate::control::operator::{Operator, Target};
use crate::protocol::control::{ControlReply, ControlRequest};
use crate::protocol::frame::RefusalReason;
use crate::topology::{Catalog, CatalogCommand, CatalogOutcome, Incarnation, LogIndex, NodeName, ReplicaId, ShardId};

/// Replacements that may be looked into at once; who asks beyond that is told to ask again.
const LOOKED_INTO_MAX: usize = 64;

/// A directory that asks for the place of another.
struct Claim {
    ticket: Ticket,
    name: NodeName,
    addr: String,
    old: Incarnation,
    new: Incarnation,
}

/// Claims that nobody has looked into yet.
#[derive(Default)]
pub struct Claims {
    waiting: Vec<Claim>,
    looked_into: usize,
}

/// Takes a node's request for its place.
pub fn take(node: &mut Node, ticket: Ticket, name: NodeName, incarnation: Incarnation) {
    let leads = node.engine.replica(ShardId::CATALOG).is_some_and(|replica| replica.group.leads_surely());
    let catalog = node.engine.catalog().cloned();
    let record = catalog.as_deref().and_then(|catalog| catalog.nodes.get(&name));
    let replaces = match (record, record.and_then(|record| record.incarnation)) {
        (Some(record), Some(old)) if leads && is_claim(catalog.as_deref(), old, incarnation) => Some((record, old)),
        _ => None,
    };
    let Some((record, old)) = replaces else {
        return propose(node, ticket, &CatalogCommand::RegisterNode { name, incarnation });
    };
    let claims = &mut node.claims;
    if claims.waiting.len() + claims.looked_into >= LOOKED_INTO_MAX {
        return node.connections.refuse(ticket, RefusalReason::Busy, None);
    }
    claims.waiting.push(Claim { ticket, name, addr: record.addr.clone(), old, new: incarnation });
}

/// A retired one is refused by the catalog itself.
fn is_claim(catalog: Option<&Catalog>, old: Incarnation, new: Incarnation) -> bool {
    old != new && catalog.is_some_and(|catalog| !catalog.is_retired(new))
}

/// Looks into what was taken: asks who answers at the name's address.
pub fn work(node: &mut Node, shared: &Shared) {
    for claim in std::mem::take(&mut node.claims.waiting) {
        node.claims.looked_into += 1;
        let operator = Operator { name: node.name.to_string(), cluster: node.home.cluster() };
        let shared = Rc::clone(shared);
        spawn_local(async move {
            let target = Target { node: claim.name.clone(), addr: claim.addr.clone() };
            let found = match operator.ask(&target, &ControlRequest::Identify).await {
                Ok(ControlReply::Identity(welcome)) => Ok(welcome.incarnation),
                Ok(_) => Err("it answers another question".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            let node = &mut *shared.borrow_mut();
            node.claims.looked_into -= 1;
            decide(node, claim, found);
            node.wake.notify_one();
        });
    }
}

fn decide(node: &mut Node, claim: Claim, found: Result<Incarnation, String>) {
    match judge(&claim, found) {
        Ok(()) => {
            tracing::warn!(
                node = %claim.name, old = %claim.old, new = %claim.new,
                "the node came back with another data directory: its replicas are made anew"
            );
            let Claim { ticket, name, old, new, .. } = claim;
            propose(node, ticket, &CatalogCommand::ReplaceNode { name, old, new });
        }
        Err(reason) => {
            tracing::debug!(node = %claim.name, "another data directory is not taken for the node's: {reason}");
            let version = node.engine.catalog().map_or(0, |catalog| catalog.version);
            let reply = ControlReply::Decided(CatalogOutcome::Refused { version, reason });
            let json = serde_json::to_vec(&reply).expect("an answer is plain data");
            node.connections.reply(claim.ticket, LogIndex(0), &json);
        }
    }
}

/// Whether the new directory may take the place of the old one, by who answers at the name's address.
fn judge(claim: &Claim, found: Result<Incarnation, String>) -> Result<(), String> {
    let Claim { name, addr, old, new, .. } = claim;
    match found {
        Ok(found) if found == *new => Ok(()),
        Ok(found) if found == *old => {
            Err(format!("node `{name}` lives: {addr} is answered by incarnation {old}, and {new} asks for its place"))
        }
        Ok(found) => {
            Err(format!("node `{name}`: {addr} is answered by incarnation {found}, and {new} asks for its place"))
        }
        Err(error) => Err(format!("nobody knows whether incarnation {old} is gone: {error}")),
    }
}

/// Gives a command to the catalog's group.
pub fn propose(node: &mut Node, ticket: Ticket, command: &CatalogCommand) {
    propose_all(node, ticket, std::slice::from_ref(command));
}

/// Gives commands to the catalog's group, at least one.
pub fn propose_all(node: &mut Node, ticket: Ticket, commands: &[CatalogCommand]) {
    let (now, wall) = (node.clock.now(), node.clock.wall());
    match node.engine.replica(ShardId::CATALOG) {
        Some(_) => node.engine.catalog_commands(commands, ticket, now, wall, &mut node.connections),
        None => {
            let member = first_member(node);
            node.connections.refuse(ticket, RefusalReason::NoReplica, member);
        }
    }
}

/// Whom to ask where this node is no member of the catalog's group: the leader is one of the members, and the first one knows more.
pub fn first_member(node: &Node) -> Option<ReplicaId> {
    node.engine.catalog().and_then(|catalog| catalog.catalog_shard().replicas.first().map(|replica| replica.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_to_whoever_answers_at_its_address() {
        let ticket = Ticket {
            connection: 0,
            connection_generation: 0,
            id: 0,
            client: 0,
            generation: 0,
            shard: ShardId::CATALOG,
        };
        let (old, new) = (Incarnation(1), Incarnation(2));
        let claim = Claim { ticket, name: NodeName::new("n1"), addr: "h1:1".to_owned(), old, new };
        assert_eq!(judge(&claim, Ok(new)), Ok(()));
        let reason = |found| judge(&claim, found).unwrap_err();
        assert!(reason(Ok(old)).starts_with("node `n1` lives: h1:1 is answered by incarnation 0000"));
        assert!(reason(Ok(Incarnation(3))).contains("is answered by incarnation 00000000000000000000000000000003"));
        // It may hang, or be cut off from the leader alone.
        assert!(reason(Err("node `n1` at h1:1: no answer within 5 s".to_owned())).contains("nobody knows whether"));
    }
}
