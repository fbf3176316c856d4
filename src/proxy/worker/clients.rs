//! Clients' sockets: accepted, read, closed.
//!
//! What a client sent is read into the one buffer that all share, and an idle one is a descriptor and four flags.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::inflow::{Inflow, Inflowing};
use super::{Core, Socket, Worker};
use crate::frontend::Session;
use crate::net::readiness::Ready;
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;

/// How long no connection is accepted after the process ran out of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are accepted in one turn, so that a crowd that arrives does not hold up those that are there.
const ACCEPTED_PER_TURN_MAX: u32 = 64;
/// Reads of one client in one turn, so that a fast sender cannot hold the others up.
const READS_PER_TURN_MAX: u32 = 4;

/// A client's socket.
pub struct ClientSocket {
    /// Never used again by this worker.
    id: u64,
    pub(super) stream: TcpStream,
    pub(super) inflow: Inflow,
    /// Whether its send buffer is full.
    pub(super) blocked: bool,
}

impl<C: Core> Worker<C> {
    /// Takes the connections that wait.
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTED_PER_TURN_MAX {
            let Some(accepted) = self.listener.as_ref().map(std::net::TcpListener::accept) else { return };
            match accepted {
                Ok((stream, address)) => {
                    self.exhausted_until = None;
                    self.take_client(stream, address);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Whoever waited for a descriptor has gone.
                    self.exhausted_until = None;
                    return;
                }
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
                    ) =>
                {
                    if self.exhausted_until.replace(self.now + EXHAUSTED_PAUSE).is_none() {
                        tracing::error!(%error, "no more connections can be accepted for now");
                    }
                    return;
                }
                // The client was gone before it was accepted.
                Err(error) => tracing::debug!(%error, "a connection was not accepted"),
            }
        }
        self.again.push(Socket::Listener);
    }

    /// Tries again what failed for want of descriptors: nobody tells when there are some.
    pub(super) fn accept_after_exhaustion(&mut self) {
        if self.exhausted_until.is_some_and(|until| self.now >= until) {
            self.accept();
        }
    }

    fn take_client(&mut self, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)) {
            return tracing::debug!(%error, "a connection broke while it was accepted");
        }
        if self.engine.client_count() >= self.connections_max {
            self.stats.connections_rejected.add(1);
            let mut reply = Vec::new();
            ReplyWriter::new(&mut reply, false).error(errors::TOO_MANY_CLIENTS);
            // A courtesy: whether it arrives or not, the connection is closed.
            let _ = crate::net::readiness::send(&stream, &reply);
            return;
        }
        let id = self.next_client;
        self.next_client += self.client_step;
        let local = stream.local_addr().ok();
        let key = self.engine.client_opened(Session::new(id, self.reads, self.now), Some(address), local);
        if self.clients.len() <= key as usize {
            self.clients.resize_with(key as usize + 1, || None);
        }
        // What it sent already is told now. The one whose place this was may not have been closed yet.
        if let Err(error) = self.readiness.watch(&stream, Socket::Client(key).token()) {
            tracing::error!(%error, "a connection cannot be waited for");
            self.clients[key as usize] = None;
            return self.engine.client_broke(key);
        }
        self.clients[key as usize] = Some(ClientSocket { id, stream, inflow: Inflow::default(), blocked: false });
    }

    /// Closes a client's socket, unless its place is another's by now; the engine has forgotten the client.
    pub(super) fn close_client(&mut self, key: u32, id: u64) {
        drop(self.clients[key as usize].take_if(|socket| socket.id == id));
    }

    #[inline]
    pub(super) fn client_ready(&mut self, key: u32, ready: Ready) {
        // What happened to a socket that was closed meanwhile may be told of the next one in its place: that finds nothing then.
        let Some(socket) = self.clients.get_mut(key as usize).and_then(Option::as_mut) else { return };
        if ready.writable && socket.blocked {
            socket.blocked = false;
            self.unblocked.clients.push(key);
        }
        if ready.readable {
            socket.inflow.told(ready);
            self.read_client(key);
        }
    }

    #[inline]
    pub(super) fn read_client(&mut self, key: u32) {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(socket) = self.clients.get_mut(key as usize).and_then(Option::as_mut) else { return };
            if !socket.inflow.is_readable() || !self.engine.wants_input(key) {
                return;
            }
            match socket.inflow.read(&socket.stream, &mut self.scratch) {
                Inflowing::Bytes(count) => {
                    self.client_reads += 1;
                    self.engine.client_data(key, &self.scratch[..count]);
                }
                Inflowing::Nothing => return,
                Inflowing::End => return self.engine.client_ended(key),
                Inflowing::Broken(_) => return self.client_broke(key),
            }
        }
        if self.clients[key as usize].as_ref().is_some_and(|socket| socket.inflow.is_readable()) {
            self.again.push(Socket::Client(key));
        }
    }

    /// A client's socket failed by itself.
    pub(super) fn client_broke(&mut self, key: u32) {
        self.engine.client_broke(key);
        self.clients[key as usize] = None;
    }
}
