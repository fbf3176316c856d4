//! Connections to nodes: opened when the engine asks, read, closed.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};

use super::inflow::{Inflow, Inflowing};
use super::names::LookUp;
use super::{Core, Socket, Worker};
use crate::control::os_reason;
use crate::control::routing::NodeIndex;
use crate::net::readiness::Ready;
use crate::proxy::engine::LinkError;

/// Reads of one node in one turn, so that it cannot hold the others up.
const READS_PER_TURN_MAX: u32 = 16;

/// A connection that is quiet for so long is probed, and then in this interval.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A connection whose other end acknowledges nothing for so long is closed.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// The socket to a node.
#[derive(Default)]
pub struct LinkSocket {
    pub(super) stream: Option<TcpStream>,
    /// Which attempt to connect it is about.
    attempt: u64,
    /// Whether it is connected.
    pub(super) open: bool,
    /// Addresses that were not tried yet, the next one last.
    untried: Vec<SocketAddr>,
    inflow: Inflow,
    /// Whether its send buffer is full.
    pub(super) blocked: bool,
}

impl<C: Core> Worker<C> {
    /// Begins to open a connection. Whether that failed at once tells [`Self::report_failed_links`].
    pub(super) fn connect(&mut self, node: NodeIndex, addr: String) {
        if self.links.len() <= node.at() {
            self.links.resize_with(node.at() + 1, LinkSocket::default);
        }
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        self.links[node.at()] = LinkSocket { attempt, ..LinkSocket::default() };
        if let Ok(addr) = addr.parse() {
            return self.resolved(node, attempt, Ok(vec![addr]));
        }
        self.names.want(LookUp { node, attempt, name: addr });
        self.look_up_names();
    }

    /// Has names looked up, as many as may be now.
    pub(super) fn look_up_names(&mut self) {
        while let Some(look_up) = self.names.next(self.now) {
            let (node, attempt) = (look_up.node, look_up.attempt);
            if let Err(error) = look_up.begin(self.peers[self.number].clone()) {
                self.names.ended(attempt);
                self.resolved(node, attempt, Err(error));
            }
        }
    }

    /// A name was looked up.
    pub(super) fn looked_up(&mut self, node: NodeIndex, attempt: u64, found: std::io::Result<Vec<SocketAddr>>) {
        self.names.ended(attempt);
        self.resolved(node, attempt, found);
        self.look_up_names();
        self.report_failed_links();
    }

    /// Closes a connection, or stops opening it.
    pub(super) fn disconnect(&mut self, node: NodeIndex) {
        self.names.forget(node);
        if let Some(link) = self.links.get_mut(node.at()) {
            *link = LinkSocket { attempt: u64::MAX, ..LinkSocket::default() };
        }
    }

    /// It is known where to connect to.
    fn resolved(&mut self, node: NodeIndex, attempt: u64, found: std::io::Result<Vec<SocketAddr>>) {
        let link = &mut self.links[node.at()];
        if link.attempt != attempt {
            return;
        }
        match found {
            Ok(mut addrs) => {
                addrs.reverse();
                link.untried = addrs;
                self.try_next(node, Error::new(ErrorKind::NotFound, "the name leads nowhere"));
            }
            Err(error) => self.failed_links.push((node, attempt, LinkError::Socket(os_reason(&error)))),
        }
    }

    /// Tries the addresses that are left, the last of which failed so.
    fn try_next(&mut self, node: NodeIndex, mut failed: Error) {
        while let Some(addr) = self.links[node.at()].untried.pop() {
            let begun = begin(addr).and_then(|stream| {
                self.readiness.watch(&stream, Socket::Link(node).token())?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => return self.links[node.at()].stream = Some(stream),
                Err(error) => failed = error,
            }
        }
        let attempt = self.links[node.at()].attempt;
        self.failed_links.push((node, attempt, LinkError::Socket(os_reason(&failed))));
    }

    /// Tells the engine of attempts that failed at once. Not where they fail: that may be amid orders, and what the engine makes of a
    /// loss must not come between them. An order that was still to come may have taken the place from such an attempt.
    pub(super) fn report_failed_links(&mut self) {
        for (node, attempt, reason) in std::mem::take(&mut self.failed_links) {
            if self.links[node.at()].attempt == attempt {
                self.link_broke(node, &reason);
            }
        }
    }

    pub(super) fn link_ready(&mut self, node: NodeIndex, ready: Ready) {
        let Some(link) = self.links.get_mut(node.at()) else { return };
        let Some(stream) = &link.stream else { return };
        if !link.open {
            match connected(stream) {
                Ok(true) => {
                    link.open = true;
                    link.untried = Vec::new();
                    self.engine.node_connected(node);
                }
                Ok(false) => return,
                Err(error) => {
                    link.stream = None;
                    self.try_next(node, error);
                    return self.report_failed_links();
                }
            }
        }
        let link = &mut self.links[node.at()];
        if ready.writable && link.blocked {
            link.blocked = false;
            self.unblocked.nodes.push(node);
        }
        if ready.readable {
            link.inflow.told(ready);
            self.read_link(node);
        }
    }

    pub(super) fn read_link(&mut self, node: NodeIndex) {
        for _ in 0..READS_PER_TURN_MAX {
            let link = &mut self.links[node.at()];
            let Some(stream) = link.stream.as_ref().filter(|_| link.inflow.is_readable()) else { return };
            match link.inflow.read(stream, &mut self.scratch) {
                Inflowing::Bytes(count) => self.engine.node_data(node, &self.scratch[..count]),
                Inflowing::Nothing => return,
                Inflowing::End => return self.link_broke(node, &LinkError::Socket("closed by the node".to_owned())),
                Inflowing::Broken(error) => return self.link_broke(node, &LinkError::Socket(os_reason(&error))),
            }
        }
        if self.links[node.at()].inflow.is_readable() {
            self.again.push(Socket::Link(node));
        }
    }

    /// The socket of a link failed by itself.
    pub(super) fn link_broke(&mut self, node: NodeIndex, reason: &LinkError) {
        self.disconnect(node);
        self.engine.node_lost(node, reason);
    }
}

/// Begins to connect; the socket is told writable when that is decided.
fn begin(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Has the other end's death noticed, also where nothing is sent for days.
fn watch_over(stream: &TcpStream) -> std::io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

/// Whether a connection stands, or is still being made.
fn connected(stream: &TcpStream) -> std::io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => watch_over(stream).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
