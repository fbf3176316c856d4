//! The last step of a turn: one write per socket that has something to send.
//!
//! A short write is not tried again in the turn: the socket is blocked until it has room. Clients are answered at once;
//! before bytes go to nodes the thread may pause for more of them (`moderation`), with one more look at the sockets.

use std::io::{ErrorKind, IoSlice, Write};
use std::net::TcpStream;

use super::{Core, Worker};
use crate::control::os_reason;
use crate::control::routing::NodeIndex;
use crate::net::readiness::send;
use crate::proxy::engine::LinkError;
use crate::proxy::outbox::{Outbox, SLICES_MAX};

/// Sockets whose send buffers were full and have room again.
#[derive(Debug, Default)]
pub struct Unblocked {
    pub(super) clients: Vec<u32>,
    pub(super) nodes: Vec<NodeIndex>,
}

impl<C: Core> Worker<C> {
    pub(super) fn flush_nodes(&mut self) {
        let mut nodes = self.engine.dirty_nodes();
        nodes.append(&mut self.unblocked.nodes);
        for node in &nodes {
            if let Err(error) = self.flush_node(*node) {
                self.link_broke(*node, &LinkError::Socket(os_reason(&error)));
            }
        }
        self.engine.reuse_dirty_nodes(nodes);
    }

    fn flush_node(&mut self, node: NodeIndex) -> std::io::Result<()> {
        let Some(link) = self.links.get_mut(node.at()).filter(|link| link.open && !link.blocked) else { return Ok(()) };
        let Some(stream) = &mut link.stream else { return Ok(()) };
        while !link.blocked {
            let output = self.engine.node_output(node);
            if output.is_empty() {
                break;
            }
            let (sent, is_full) = write_once(stream, output)?;
            link.blocked = is_full;
            if sent > 0 {
                self.engine.node_sent(node, sent);
            }
        }
        Ok(())
    }

    pub(super) fn flush_clients(&mut self) {
        let mut keys = self.engine.dirty_clients();
        keys.append(&mut self.unblocked.clients);
        for key in &keys {
            if self.flush_client(*key).is_err() {
                self.client_broke(*key);
            }
        }
        self.engine.reuse_dirty_clients(keys);
    }

    #[inline]
    fn flush_client(&mut self, key: u32) -> std::io::Result<()> {
        let Some(socket) = self.clients.get_mut(key as usize).and_then(Option::as_mut) else { return Ok(()) };
        let mut sent_any = false;
        while !socket.blocked {
            let Some(output) = self.engine.client_output(key) else { return Ok(()) };
            if output.is_empty() {
                // It may only have waited for this to be closed.
                if !sent_any {
                    self.engine.client_sent(key, 0);
                }
                break;
            }
            let (sent, is_full) = write_once(&mut socket.stream, output)?;
            (socket.blocked, sent_any) = (is_full, true);
            // A socket that took nothing is no sign that its client reads.
            if sent > 0 {
                self.engine.client_sent(key, sent);
            }
        }
        Ok(())
    }
}

/// Writes once: how many bytes were sent, and whether the socket is full now and will be told when it is not.
#[inline]
fn write_once(stream: &mut TcpStream, outbox: &Outbox) -> std::io::Result<(usize, bool)> {
    loop {
        let (length, result) = match outbox.contiguous() {
            Some(bytes) => (bytes.len(), send(stream, bytes)),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = outbox.slices(&mut slices);
                let slices = &slices[..count];
                (slices.iter().map(|slice| slice.len()).sum(), stream.write_vectored(slices))
            }
        };
        match result {
            Ok(sent) => return Ok((sent, sent < length)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((0, true)),
            Err(error) => return Err(error),
        }
    }
}
