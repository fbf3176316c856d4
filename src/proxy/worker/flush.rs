//! The last step of a turn: one write per socket that has something to send.
//!
//! A short write is not tried again in the turn: the socket is blocked until it has room. Clients are answered at once;
//! before bytes go to nodes the thread may pause for more of them (`moderation`), with one more look at the sockets.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use super::{Core, Worker, moderation};
use crate::control::os_reason;
use crate::control::routing::NodeIndex;
use crate::proxy::engine::LinkError;
use crate::proxy::outbox::{Outbox, SLICES_MAX};

/// Sockets whose send buffers are full.
#[derive(Debug, Default)]
pub struct Blocked {
    clients: Vec<u32>,
    nodes: Vec<NodeIndex>,
}

impl Blocked {
    const fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.nodes.is_empty()
    }
}

/// Flushes whenever something is due.
pub async fn run<C: Core>(worker: Rc<Worker<C>>) {
    loop {
        let mut polled = false;
        poll_fn(|context| worker.poll_due(context, &mut polled)).await;
        worker.flush_due.set(false);
        worker.settle();
        if worker.pause_is_worth_it() {
            poll_fn(|context| worker.flush_clients(context)).await;
            moderation::pause();
            tokio::task::yield_now().await;
            worker.flush_due.set(false);
            worker.settle();
        }
        poll_fn(|context| worker.flush_nodes(context)).await;
        poll_fn(|context| worker.flush_clients(context)).await;
        if worker.engine.borrow().is_unsettled() {
            // Room was made: go on after the others.
            worker.flush_due.set(true);
            tokio::task::yield_now().await;
        }
        worker.finish_if_drained();
    }
}

/// How a socket's flush ended.
enum Sent {
    /// All was sent.
    All,
    /// The socket has no room.
    Blocked,
    /// The connection is gone.
    Broken(std::io::Error),
}

impl<C: Core> Worker<C> {
    fn poll_due(&self, context: &mut Context<'_>, polled: &mut bool) -> Poll<()> {
        // A second poll means that somebody woke this task: a blocked socket, if nothing else is due.
        if self.flush_due.get() || (*polled && !self.blocked.borrow().is_empty()) {
            return Poll::Ready(());
        }
        *polled = true;
        *self.flush_waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    fn pause_is_worth_it(&self) -> bool {
        self.engine.borrow().has_dirty_nodes()
            && self.moderation.borrow_mut().is_worth_a_pause(self.clock.now(), self.stats.requests.get())
    }

    fn flush_nodes(self: &Rc<Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut nodes = self.engine.borrow_mut().dirty_nodes();
        nodes.append(&mut self.blocked.borrow_mut().nodes);
        for node in &nodes {
            match self.flush_node(*node, context) {
                Sent::All => {}
                Sent::Blocked => self.blocked.borrow_mut().nodes.push(*node),
                Sent::Broken(error) => {
                    super::links::disconnect(self, *node);
                    self.link_broke(*node, &LinkError::Socket(os_reason(&error)));
                }
            }
        }
        self.engine.borrow_mut().reuse_dirty_nodes(nodes);
        Poll::Ready(())
    }

    fn flush_node(&self, node: NodeIndex, context: &mut Context<'_>) -> Sent {
        let links = self.links.borrow();
        let Some(stream) = links.get(node.at()).and_then(|l| l.stream.as_ref()) else { return Sent::All };
        let mut engine = self.engine.borrow_mut();
        loop {
            match write_once(stream, engine.node_output(node), context) {
                Written::Nothing => return Sent::All,
                Written::Some(count) => engine.node_sent(node, count),
                Written::NoRoom => return Sent::Blocked,
                Written::Broken(error) => return Sent::Broken(error),
            }
        }
    }

    fn flush_clients(self: &Rc<Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut keys = self.engine.borrow_mut().dirty_clients();
        keys.append(&mut self.blocked.borrow_mut().clients);
        for key in &keys {
            match self.flush_client(*key, context) {
                Sent::All => {}
                Sent::Blocked => self.block_client(*key),
                Sent::Broken(_) => self.client_broke(*key),
            }
        }
        let mut engine = self.engine.borrow_mut();
        engine.reuse_dirty_clients(keys);
        Poll::Ready(())
    }

    fn flush_client(&self, key: u32, context: &mut Context<'_>) -> Sent {
        let mut clients = self.clients.borrow_mut();
        let Some(socket) = clients.get_mut(key as usize).and_then(Option::as_mut) else { return Sent::All };
        socket.blocked = false;
        let mut engine = self.engine.borrow_mut();
        loop {
            let Some(output) = engine.client_output(key) else { return Sent::All };
            match write_once(&socket.stream, output, context) {
                Written::Nothing => {
                    engine.client_sent(key, 0);
                    return Sent::All;
                }
                Written::Some(count) => engine.client_sent(key, count),
                Written::NoRoom => return Sent::Blocked,
                Written::Broken(error) => return Sent::Broken(error),
            }
        }
    }

    fn block_client(&self, key: u32) {
        if let Some(socket) = self.clients.borrow_mut()[key as usize].as_mut()
            && !std::mem::replace(&mut socket.blocked, true)
        {
            self.blocked.borrow_mut().clients.push(key);
        }
    }
}

/// How one write ended.
enum Written {
    /// There was nothing to send.
    Nothing,
    /// So many bytes were sent.
    Some(usize),
    /// The socket has no room; the flush is woken when it has.
    NoRoom,
    /// The connection is gone.
    Broken(std::io::Error),
}

fn write_once(stream: &TcpStream, outbox: &Outbox, context: &mut Context<'_>) -> Written {
    if outbox.is_empty() {
        return Written::Nothing;
    }
    loop {
        let result = match outbox.contiguous() {
            Some(bytes) => stream.try_write(bytes),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = outbox.slices(&mut slices);
                stream.try_write_vectored(&slices[..count])
            }
        };
        match result {
            Ok(count) => return Written::Some(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => match stream.poll_write_ready(context) {
                Poll::Pending => return Written::NoRoom,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Written::Broken(error),
            },
            Err(error) => return Written::Broken(error),
        }
    }
}
