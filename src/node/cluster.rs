//! How a node follows what the cluster has agreed on: it hears the catalog, forms and joins the replicas that it is given,
//! and links to its peers.

use std::rc::Rc;
use std::time::Duration;

use super::home::HomeError;
use super::replica::Replica;
use super::server::{Node, Shared};
use super::{handshake, peer_link, removal};
use crate::control::operator::{Operator, Target};
use crate::protocol::control::{ControlReply, ControlRequest, Hello, PeerRole};
use crate::protocol::frame::{Assembler, Heartbeat, Kind, split_frame, split_numbered};
use crate::topology::{Catalog, CatalogOutcome, Incarnation, LogIndex, NodeName, ReplicaId, ShardId, ShardsConfig};

/// Between two heartbeats to a member of the catalog.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Before who is to lead a new shard stands again, and how often it does.
const STAND_AGAIN: Duration = Duration::from_millis(25);
const STANDS_MAX: u32 = 20;
/// Before a node that was refused asks again.
const REFUSED_RETRY: Duration = Duration::from_secs(1);
/// Heartbeats without an answer, or to a node that is no member of the catalog's group, after which another node is asked.
const SILENT_HEARTBEATS_MAX: u32 = 2;
/// Heartbeats without anything learned after which another node is asked: a member, too, may hear nothing.
const NOTHING_NEW_HEARTBEATS_MAX: u32 = 12;
/// The longest catalog.
const CATALOG_BYTES_MAX: usize = 64 << 20;

/// Acts on every revision of the catalog.
pub async fn follow(shared: Shared) {
    let changed = Rc::clone(&shared.borrow().catalog_changed);
    let mut told = None;
    loop {
        let Some(catalog) = shared.borrow().engine.catalog().cloned() else {
            changed.notified().await;
            continue;
        };
        let again = match act(&shared, &catalog).await {
            Ok(()) => None,
            Err(Hindrance::Busy) => Some(RETRY),
            Err(Hindrance::Unheard(error)) => {
                tracing::debug!("not registered yet: {error}");
                Some(RETRY)
            }
            Err(Hindrance::Refused(reason)) => {
                if told.as_ref() != Some(&reason) {
                    tracing::error!("the cluster refuses this node, which asks again: {reason}");
                }
                told = Some(reason);
                Some(REFUSED_RETRY)
            }
        };
        match again {
            Some(pause) => drop(tokio::time::timeout(pause, changed.notified()).await),
            None => changed.notified().await,
        }
    }
}

/// The node was removed: it ends when nothing of the cluster is here any more.
fn end_removed(shared: &Shared, catalog: &Catalog, removed: &HomeError) -> Result<(), Hindrance> {
    let node = &mut *shared.borrow_mut();
    if !removal::destroy_unlisted(node, catalog) {
        return Err(Hindrance::Busy);
    }
    if node.removals.is_empty() {
        node.leave(removed.to_string());
    }
    Ok(())
}

/// Why a node does not take part, or not yet wholly.
enum Hindrance {
    /// The catalog's leader was not reached.
    Unheard(String),
    /// It was, and says no.
    Refused(String),
    /// A replica that is to go has a state on its way to the disk.
    Busy,
}

/// Does what the present revision asks for.
async fn act(shared: &Shared, catalog: &Catalog) -> Result<(), Hindrance> {
    let (name, mine, retired) = {
        let node = shared.borrow();
        (node.name.clone(), node.home.incarnation(), node.home.check_not_retired(catalog))
    };
    match retired {
        Ok(()) => {}
        Err(removed @ HomeError::Removed { .. }) => return end_removed(shared, catalog, &removed),
        Err(error) => {
            shared.borrow_mut().fail(error.to_string());
            return Ok(());
        }
    }
    match catalog.nodes.get(&name).map(|record| record.incarnation) {
        None => Ok(()),
        Some(Some(known)) if known == mine => {
            let node = &mut *shared.borrow_mut();
            let all_go = removal::destroy_unlisted(node, catalog);
            for (shard, id) in take_replicas(node, catalog) {
                tokio::task::spawn_local(stand(Rc::clone(shared), shard, id));
            }
            let addr = |peer: &NodeName| catalog.addr(peer).map(|a| (peer.clone(), a.to_owned()));
            let peers = node.engine.peer_names().filter_map(addr).collect();
            node.links.fit(peers, shared);
            node.wake.notify_one();
            if all_go { Ok(()) } else { Err(Hindrance::Busy) }
        }
        Some(Some(known)) => {
            tracing::debug!(%known, %mine, "an empty data directory asks for the place of the one that was lost");
            register(catalog, name, mine).await
        }
        Some(None) => register(catalog, name, mine).await,
    }
}

/// Asks for the node's place. The answer is seen in the next revision.
async fn register(catalog: &Catalog, name: NodeName, incarnation: Incarnation) -> Result<(), Hindrance> {
    let operator = Operator { name: name.to_string(), cluster: Some(catalog.cluster) };
    let request = ControlRequest::Register { name, incarnation };
    match operator.ask_leader(&Target::of_catalog(catalog), &request).await {
        Ok(ControlReply::Decided(CatalogOutcome::Refused { reason, .. })) => Err(Hindrance::Refused(reason)),
        Ok(ControlReply::Decided(_)) => Ok(()),
        Ok(other) => Err(Hindrance::Unheard(format!("an answer to another question: {other:?}"))),
        Err(error) => Err(Hindrance::Unheard(error.to_string())),
    }
}

/// Takes the replicas that this node is given. Returns those that are to lead first.
fn take_replicas(node: &mut Node, catalog: &Catalog) -> Vec<(ShardId, ReplicaId)> {
    let name = node.name.clone();
    let mut first_of = Vec::new();
    for (shard, record) in catalog.replicas_on(&name) {
        if node.engine.replica(shard.id).is_some() || node.removals.is_under_way(shard.id) {
            continue;
        }
        let born_here = shard.birth.iter().any(|b| b.id == record.id);
        let made = if born_here && shard.id != ShardId::CATALOG {
            node.home.give_birth(catalog, shard, record.id)
        } else {
            node.home.newcomer(shard, record.id)
        };
        match made {
            Ok(replica) => {
                let has_nothing = replica.applied() == LogIndex(0);
                if has_nothing && shard.all_replicas().count() == 1 {
                    tracing::error!(
                        shard = %shard.name, slots = catalog.slot_count(shard.id),
                        "the shard is lost: its only replica was on the disk that this node lost; it is not formed again empty"
                    );
                }
                tracing::info!(shard = %shard.name, replica = %record.id, "replica {}", if born_here { "formed" } else { "joins" });
                // The first node of the list leads first; the others take over by their election time.
                if shard.birth.first().is_some_and(|b| b.id == record.id) {
                    first_of.push((shard.id, record.id));
                }
                node.engine.add_replica(replica);
            }
            Err(HomeError::OtherReplica { .. }) => removal::destroy_leftovers(node, &[shard.id]),
            Err(error) => {
                node.fail(format!("{error}{}", error.advice()));
                return Vec::new();
            }
        }
    }
    first_of
}

/// Stands for election until somebody leads: the other members may not be there yet, and do not answer then.
async fn stand(shared: Shared, shard: ShardId, id: ReplicaId) {
    for _ in 0..STANDS_MAX {
        {
            let node = &mut *shared.borrow_mut();
            // Another may have come in its place.
            let is_needed = |replica: &&mut Replica| replica.id == id && replica.group.leader().is_none();
            let Some(replica) = node.engine.replica_mut(shard).filter(is_needed) else { return };
            replica.group.campaign();
            node.wake.notify_one();
        }
        tokio::time::sleep(STAND_AGAIN).await;
    }
}

/// Hears the catalog from one of its members, as long as this node is not one itself that follows a leader. `config`: whom to ask before the
/// first catalog is known.
pub async fn hear(shared: Shared, config: ShardsConfig) {
    let mut turn = 0;
    loop {
        let targets = {
            let node = shared.borrow();
            // One that was removed from the group is told nothing any more, perhaps not even that; a voter then misses its leader. One that
            // failed takes nothing in.
            let hears = |r: &Replica| r.group.votes() && r.group.leader().is_some();
            let follows = |r: &Replica| r.failed.is_none() && r.machine.is_readable() && hears(r);
            let is_member = node.engine.replica(ShardId::CATALOG).is_some_and(follows);
            match (is_member, node.engine.catalog()) {
                (true, _) => Vec::new(),
                (false, Some(catalog)) => members_first(catalog),
                (false, None) => Target::of_config(&config),
            }
        };
        let others: Vec<_> = targets.into_iter().filter(|t| t.node != shared.borrow().name).collect();
        if !others.is_empty() {
            let target = &others[turn % others.len()];
            if let Err(error) = hear_from(&shared, target).await {
                tracing::debug!(node = %target.node, "the catalog is not heard: {error}");
            }
            turn += 1;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The nodes of the catalog's group, and then all others: the members may have changed while this node was away.
fn members_first(catalog: &Catalog) -> Vec<Target> {
    let keeps = |target: &Target| catalog.catalog_shard().any_replica_on(&target.node).is_some();
    let (mut targets, others): (Vec<_>, Vec<_>) = Target::of_catalog(catalog).into_iter().partition(keeps);
    targets.extend(others);
    targets
}

/// Ends when the other node falls silent, or has known no more than this one for a while: another may know more.
async fn hear_from(shared: &Shared, target: &Target) -> std::io::Result<()> {
    // As one who only wants to know: a node that lost its disk, or was replaced, learns it in this way.
    let hello = Hello { role: PeerRole::Operator, ..peer_link::hello(shared, Some(target.node.clone())) };
    let (stream, _, mut unread) = handshake::connect(&target.addr, &hello).await?;
    let mut assembler = Assembler::new(CATALOG_BYTES_MAX);
    let mut out = Vec::new();
    let revision = || shared.borrow().engine.revision();
    let (mut silent, mut nothing_new, mut known) = (0, 0, revision());
    while silent < SILENT_HEARTBEATS_MAX && nothing_new < NOTHING_NEW_HEARTBEATS_MAX {
        out.clear();
        Heartbeat { sequence: 1, revision: revision(), known: 0 }.put(&mut out);
        handshake::write_all(&stream, &out).await?;
        silent += 1;
        nothing_new = if revision() > known { 0 } else { nothing_new + 1 };
        known = revision();
        let pause = tokio::time::sleep(HEARTBEAT);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                ready = stream.readable() => ready?,
            }
            match stream.try_read_buf(&mut unread) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                other => other?,
            };
            let is_member = |catalog: &Catalog| catalog.catalog_shard().any_replica_on(&target.node).is_some();
            if shared.borrow().engine.catalog().is_some_and(|catalog| is_member(catalog)) {
                silent = 0;
            }
            let mut consumed = 0;
            while let Some(frame) = split_frame(&unread[consumed..]).map_err(std::io::Error::other)? {
                consumed += frame.consumed;
                let message = assembler.push(frame).map_err(std::io::Error::other)?;
                if let Some(m) = message.filter(|m| m.kind == Kind::Catalog) {
                    let (_, json) = split_numbered(m.payload).map_err(std::io::Error::other)?;
                    shared.borrow_mut().handle_catalog(json);
                }
            }
            unread.drain(..consumed);
        }
    }
    Ok(())
}
