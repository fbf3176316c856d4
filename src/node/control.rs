//! What operators' commands and other nodes ask of this one (`protocol::control`).

use std::sync::Arc;

use super::home::HomeError;
use super::server::Node;
use super::{registration, vetting};
use crate::protocol::control::{
    ControlReply, ControlRequest, NodeReport, ProxyReport, ReplicaReport, SlotUsage, TypeReport, Welcome,
};
use crate::protocol::frame::{FrameError, Kind, put_numbered, split_numbered};
use crate::protocol::verification::{MarkDigests, MarkId};
use crate::topology::{Catalog, CatalogCommand, LogIndex, ShardId, ShardName};

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
            keeps_leases: node.home.keeps_leases(),
        }),
        Ok(ControlRequest::Status) => ControlReply::Status(report(node)),
        Ok(ControlRequest::Leaders) => ControlReply::Leaders(node.engine.leaders_report()),
        Ok(ControlRequest::GiveLeadership { shard, to, term, reason }) => {
            let given = node.engine.give_leadership(shard, to, term, &reason);
            node.wake.notify_one();
            given.map_or_else(ControlReply::Error, |()| ControlReply::Done)
        }
        Ok(ControlRequest::Catalog) => ControlReply::Catalog(node.engine.catalog().map(|c| Box::new((**c).clone()))),
        Ok(ControlRequest::Init { catalog }) => match init(node, *catalog) {
            Ok(()) => ControlReply::Initialized,
            Err(error) => ControlReply::Error(error.to_string()),
        },
        Ok(ControlRequest::Propose { text, origin }) => {
            let ticket = node.connections.ticket(key, id, 0, 0, ShardId::CATALOG);
            vetting::take(node, ticket, text, origin);
            return Ok(());
        }
        Ok(ControlRequest::Foresee { text }) => {
            let ticket = node.connections.ticket(key, id, 0, 0, ShardId::CATALOG);
            vetting::foresee(node, ticket, &text);
            return Ok(());
        }
        Ok(ControlRequest::EvictLeaders { node: name, evicted }) => {
            let ticket = node.connections.ticket(key, id, 0, 0, ShardId::CATALOG);
            registration::propose(node, ticket, &CatalogCommand::EvictLeaders { node: name, evicted });
            return Ok(());
        }
        Ok(ControlRequest::Report { commands }) if commands.is_empty() || !commands.iter().all(is_report) => {
            ControlReply::Error("a report has other commands in it, or none".to_owned())
        }
        Ok(ControlRequest::Report { commands }) => {
            let ticket = node.connections.ticket(key, id, 0, 0, ShardId::CATALOG);
            registration::propose_all(node, ticket, &commands);
            return Ok(());
        }
        Ok(ControlRequest::SlotUsage { shard }) => slot_usage(node, shard),
        Ok(ControlRequest::Register { name, incarnation }) => {
            let ticket = node.connections.ticket(key, id, 0, 0, ShardId::CATALOG);
            registration::take(node, ticket, name, incarnation);
            return Ok(());
        }
        Ok(ControlRequest::Mark { shard, id: mark }) => {
            let ticket = node.connections.ticket(key, id, 0, 0, shard);
            let (now, wall) = (node.clock.now(), node.clock.wall());
            node.engine.log_mark((shard, mark), ticket, now, wall, &mut node.connections);
            return Ok(());
        }
        Ok(ControlRequest::Digests { shard, id: mark, index }) => match digests(node, shard, mark, index) {
            Digests::Here(json) => {
                put(node, key, id, &json);
                return Ok(());
            }
            Digests::Not(reply) => *reply,
        },
        Ok(ControlRequest::SlotKeys { shard, id: mark, slot, from }) => {
            let ticket = node.connections.ticket(key, id, 0, 0, shard);
            if node.marks.list(shard, mark, slot, from, ticket) {
                return Ok(());
            }
            ControlReply::Error("nothing is kept of this mark any more".to_owned())
        }
        Ok(ControlRequest::EndVerification { shard, id: mark, verdict }) => {
            if node.marks.let_go(shard, mark)
                && let Some(replica) = node.engine.replica_mut(shard)
            {
                replica.verifications = (replica.verifications.0 + 1, Some(verdict));
            }
            ControlReply::Done
        }
    };
    put(node, key, id, &serde_json::to_vec(&reply).expect("an answer is plain data"));
    Ok(())
}

fn put(node: &mut Node, key: usize, id: u64, json: &[u8]) {
    if let Some(connection) = node.connections.get_dirty(key) {
        put_numbered(&mut connection.outlet.out, Kind::ControlReply, id, json);
    }
}

/// What there is to say of a mark.
enum Digests {
    /// The answer, as JSON.
    Here(Arc<[u8]>),
    /// Why not.
    Not(Box<ControlReply>),
}

fn digests(node: &Node, shard: ShardId, mark: MarkId, index: LogIndex) -> Digests {
    let Some(replica) = node.engine.replica(shard) else {
        return Digests::Not(Box::new(ControlReply::Error("it has no replica of the shard".to_owned())));
    };
    if let Some(reason) = &replica.failed {
        return Digests::Not(Box::new(ControlReply::Error(format!("the replica stopped: {reason}"))));
    }
    let applied = replica.applied();
    Digests::Not(Box::new(ControlReply::Digests(match node.marks.digests(shard, mark) {
        Some(Some(json)) => return Digests::Here(json),
        None if applied >= index => MarkDigests::Passed,
        Some(None) | None => MarkDigests::Pending { applied },
    })))
}

const fn is_report(command: &CatalogCommand) -> bool {
    matches!(
        command,
        CatalogCommand::RecordOwners { .. } | CatalogCommand::RecordMembers { .. } | CatalogCommand::RetireShard { .. }
    )
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

fn slot_usage(node: &Node, shard: ShardId) -> ControlReply {
    let Some(keyspace) = node.engine.replica(shard).and_then(|replica| replica.machine.keyspace()) else {
        return ControlReply::Error("it has no replica of the shard".to_owned());
    };
    let held = keyspace.slot_usage().filter(|(_, keys, _)| *keys > 0);
    ControlReply::SlotUsage(held.map(|(slot, keys, bytes)| SlotUsage { slot, keys, bytes }).collect())
}

fn report(node: &Node) -> NodeReport {
    let catalog = node.engine.catalog();
    let now = node.clock.now();
    let replicas = node.engine.replicas().map(|replica| {
        let status = replica.status(now, node.clock.wall());
        let record = catalog.and_then(|c| c.shard(replica.shard));
        let usage = replica.machine.usage();
        let types = usage.by_type.iter().filter(|(_, held)| held.keys > 0);
        let types =
            types.map(|(kind, held)| (kind.name().to_owned(), TypeReport { keys: held.keys, bytes: held.bytes }));
        ReplicaReport {
            shard: replica.shard,
            name: record.map_or_else(|| ShardName::new(&replica.shard.to_string()), |r| r.name.clone()),
            replica: replica.id,
            role: status.role,
            term: status.term,
            leader: status.leader,
            applied: status.applied,
            committed: status.committed,
            keys: usage.keys,
            bytes: usage.bytes,
            types: types.collect(),
            clients_blocked: replica.machine.keyspace().map_or(0, |keyspace| keyspace.waiter_count()),
            slots: replica.machine.slots(),
            readable: status.readable,
            voters: replica.group.members().all_voters().collect(),
            change: catalog.and_then(|c| replica.describe_change(c)),
            failed: replica.failed.clone(),
            orphan: status.orphan,
            moves: catalog.map_or_else(Vec::new, |catalog| replica.moves(catalog, now)),
        }
    });
    NodeReport {
        node: node.name.clone(),
        cluster: node.home.cluster(),
        incarnation: Some(node.home.incarnation()),
        revision: node.engine.revision(),
        version: catalog.map_or(0, |c| c.version),
        replicas: replicas.collect(),
        memory_bytes: node.engine.memory().used_bytes(),
        memory_limit_bytes: node.engine.memory().limit_bytes(),
        clock_off_ms: node.engine.clocks().off_ms(),
        clock_is_far: node.engine.clocks().is_far(),
        move_bytes_per_second: node.engine.move_options().bytes_per_second,
        file_trouble: node.file_trouble.reason(catalog.map_or(0, |c| c.version)),
        leaders: node.engine.leaders_report(),
        proxies: proxies(node),
    }
}

fn proxies(node: &Node) -> Vec<ProxyReport> {
    let told = node.connections.proxy_reports().into_iter().map(|(key, report)| {
        let from = node.connections.peek(key).and_then(|connection| connection.outlet.stream.peer_addr().ok());
        ProxyReport { from: from.map(|address| address.ip().to_string()), ..report.clone() }
    });
    told.collect()
}
