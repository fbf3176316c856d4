//! Connections to the nodes that share a shard with this one: one ordered stream to each carries the messages of all
//! groups.
//!
//! A link that breaks is made again at once. When that is refused, nobody listens there any more: the followers of the
//! leaders that lived there need not wait for their election time ([`Engine::peer_lost`]).

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use super::connections::Outlet;
use super::engine::Engine;
use super::handshake;
use super::server::Shared;
use crate::protocol::control::{Hello, PeerRole};
use crate::topology::NodeName;

/// The pause before the first try to connect again, doubled with each failure.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Failures in a row after which a node is worth a line in the log; about half a second.
const FAILURES_TOLD: u32 = 6;
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// The links of a node.
#[derive(Default)]
pub struct Links {
    links: HashMap<NodeName, Link>,
}

struct Link {
    addr: String,
    outlet: Option<Outlet>,
    task: JoinHandle<()>,
}

impl Links {
    /// Makes the links fit the peers and their addresses. What is sent to a node that has none any more is dropped.
    pub fn fit(&mut self, wanted: Vec<(NodeName, String)>, shared: &Shared) {
        self.links.retain(|node, link| {
            let stays = wanted.iter().any(|(name, _)| name == node);
            if !stays {
                link.task.abort();
            }
            stays
        });
        for (node, addr) in wanted {
            if self.links.get(&node).is_some_and(|link| link.addr == addr) {
                continue;
            }
            let task = spawn_local(keep(Rc::clone(shared), node.clone(), addr.clone()));
            if let Some(old) = self.links.insert(node, Link { addr, outlet: None, task }) {
                old.task.abort();
            }
        }
    }

    /// Sends what the engine has for each peer.
    pub fn flush(&mut self, engine: &mut Engine, shared: &Shared) {
        for (node, outbox) in engine.peers_mut().filter(|(_, outbox)| !outbox.frames.is_empty()) {
            let Some(outlet) = self.links.get_mut(node).and_then(|link| link.outlet.as_mut()) else { continue };
            if outlet.waits {
                continue;
            }
            if outlet.out.is_empty() {
                std::mem::swap(&mut outlet.out, &mut outbox.frames);
            } else {
                outlet.out.append(&mut outbox.frames);
            }
            flush_link(node, outlet, shared);
        }
    }
}

fn flush_link(node: &NodeName, outlet: &mut Outlet, shared: &Shared) {
    // An error shows at the reading end, which makes the link again.
    if outlet.waits || outlet.flush().unwrap_or(true) {
        return;
    }
    outlet.waits = true;
    let (shared, stream, node) = (Rc::clone(shared), Rc::clone(&outlet.stream), node.clone());
    spawn_local(async move {
        let _ = stream.writable().await;
        let borrowed = &mut *shared.borrow_mut();
        let outlet = borrowed.links.links.get_mut(&node).and_then(|link| link.outlet.as_mut());
        if let Some(outlet) = outlet.filter(|o| Rc::ptr_eq(&o.stream, &stream)) {
            outlet.waits = false;
            flush_link(&node, outlet, &shared);
            borrowed.wake.notify_one();
        }
    });
}

/// Keeps the link to one node for ever.
async fn keep(shared: Shared, node: NodeName, addr: String) {
    let mut backoff = BACKOFF_MIN;
    let mut failures = 0;
    loop {
        let hello = hello(&shared, Some(node.clone()));
        match handshake::connect(&addr, &hello).await {
            Ok((stream, welcome, _)) => {
                backoff = BACKOFF_MIN;
                if failures >= FAILURES_TOLD {
                    tracing::info!(%node, "connected again");
                }
                failures = 0;
                up(&shared, &node, &stream, welcome.keeps_leases);
                handshake::closed(&stream).await;
                down(&shared, &node, false);
                continue;
            }
            Err(error) => {
                let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                down(&shared, &node, refused);
                failures += 1;
                if failures == FAILURES_TOLD {
                    tracing::info!(%node, addr, "no connection: {error}");
                }
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn up(shared: &Shared, node: &NodeName, stream: &Rc<TcpStream>, keeps_leases: bool) {
    let borrowed = &mut *shared.borrow_mut();
    if let Some(link) = borrowed.links.links.get_mut(node) {
        link.outlet = Some(Outlet::new(Rc::clone(stream)));
        borrowed.engine.peer_connected(node);
        borrowed.engine.peer_keeps_leases(node, keeps_leases);
    }
    borrowed.wake.notify_one();
}

fn down(shared: &Shared, node: &NodeName, refused: bool) {
    let borrowed = &mut *shared.borrow_mut();
    if let Some(link) = borrowed.links.links.get_mut(node) {
        link.outlet = None;
    }
    borrowed.engine.peer_lost(node, refused);
    borrowed.wake.notify_one();
}

/// How this node introduces itself.
pub fn hello(shared: &Shared, to: Option<NodeName>) -> Hello {
    let node = shared.borrow();
    Hello {
        role: PeerRole::Node,
        cluster: node.home.cluster(),
        name: node.name.to_string(),
        incarnation: Some(node.home.incarnation()),
        to,
    }
}
