//! What operators' commands and other nodes ask of this one (`protocol::control`).

use super::answers::Answers;
use super::home::HomeError;
use super::server::Node;
use crate::protocol::control::{ControlReply, ControlRequest, NodeReport, ReplicaReport, Welcome};
use crate::protocol::frame::{FrameError, Kind, RefusalReason, put_numbered, split_numbered};
use crate::topology::{Catalog, CatalogCommand, ShardId, ShardName};

/// Answers one question, at once or when the catalog's group has decided.
///
/// # Errors
/// The frame is malformed.
pub fn handle(node: &mut Node, key: usize, payload: &[u8]) -> Result<(), FrameError> {
    let (id, json) = split_numbered(payload)?;
    let reply = match serde_json::from_slice(json) {
        Err(error) => ControlReply::Error(format!("not understood: {error}")),
        Ok(ControlRequest::Identify) => ControlReply::Identity(Welcome {
            cluster: node.home.cluster(),
            node: node.name.clone(),
            incarnation: node.home.incarnation(),
        }),
        Ok(ControlRequest::Status) => ControlReply::Status(report(node)),
        Ok(ControlRequest::Catalog) => ControlReply::Catalog(node.engine.catalog().map(|c| Box::new((**c).clone()))),
        Ok(ControlRequest::Init { catalog }) => match init(node, *catalog) {
            Ok(()) => ControlReply::Initialized,
            Err(error) => ControlReply::Error(error.to_string()),
        },
        Ok(ControlRequest::Propose { text, origin }) => {
            propose(node, key, id, &CatalogCommand::ProposeConfig { text, origin });
            return Ok(());
        }
        Ok(ControlRequest::Register { name, incarnation }) => {
            propose(node, key, id, &CatalogCommand::RegisterNode { name, incarnation });
            return Ok(());
        }
    };
    if let Some(connection) = node.connections.get_dirty(key) {
        let json = serde_json::to_vec(&reply).expect("an answer is plain data");
        put_numbered(&mut connection.outlet.out, Kind::ControlReply, id, &json);
    }
    Ok(())
}

fn propose(node: &mut Node, key: usize, id: u64, command: &CatalogCommand) {
    let ticket = node.connections.ticket(key, id, 0, 0, ShardId::CATALOG);
    let (now, wall) = (node.clock.now(), node.clock.wall());
    match node.engine.replica(ShardId::CATALOG) {
        Some(_) => node.engine.catalog_command(command, ticket, now, wall, &mut node.connections),
        None => {
            // The leader is one of the catalog's members, and this node is not: the first member knows more.
            let member = node.engine.catalog().and_then(|c| c.catalog_shard().replicas.first().map(|r| r.id));
            node.connections.refuse(ticket, RefusalReason::NoReplica, member);
        }
    }
}

/// Forms the catalog of a new cluster on this node: one atomic act, durable when it returns.
fn init(node: &mut Node, catalog: Catalog) -> Result<(), HomeError> {
    let replica = node.home.found(catalog)?;
    node.engine.add_replica(replica);
    if let Some(replica) = node.engine.replica_mut(ShardId::CATALOG) {
        replica.group.campaign();
    }
    node.wake.notify_one();
    Ok(())
}

fn report(node: &Node) -> NodeReport {
    let catalog = node.engine.catalog();
    let now = node.clock.now();
    let replicas = node.engine.replicas().map(|replica| {
        let status = replica.status(now);
        let record = catalog.and_then(|c| c.shard(replica.shard));
        let (keys, bytes) = replica.machine.usage();
        ReplicaReport {
            shard: replica.shard,
            name: record.map_or_else(|| ShardName::new(&replica.shard.to_string()), |r| r.name.clone()),
            replica: replica.id,
            role: status.role,
            term: status.term,
            leader: status.leader,
            applied: status.applied,
            committed: status.committed,
            keys,
            bytes,
            slots: replica.machine.slots(),
            readable: status.readable,
        }
    });
    NodeReport {
        node: node.name.clone(),
        cluster: node.home.cluster(),
        revision: node.engine.revision(),
        version: catalog.map_or(0, |c| c.version),
        replicas: replicas.collect(),
    }
}
