//! Connections to nodes: opened when the engine asks, read, closed.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::{Core, Worker};
use crate::control::os_reason;
use crate::control::routing::NodeIndex;
use crate::proxy::engine::LinkError;

/// A connection that is quiet for so long is probed, and then in this interval.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A connection whose other end acknowledges nothing for so long is closed.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// The socket to a node.
#[derive(Default)]
pub struct LinkSocket {
    pub(super) stream: Option<TcpStream>,
    task: Option<AbortHandle>,
}

/// Begins to open a connection.
pub fn connect<C: Core>(worker: &Rc<Worker<C>>, node: NodeIndex, addr: String) {
    let task = tokio::task::spawn_local(link(worker.clone(), node, addr));
    let mut links = worker.links.borrow_mut();
    if links.len() <= node.at() {
        links.resize_with(node.at() + 1, LinkSocket::default);
    }
    if let Some(before) = links[node.at()].task.replace(task.abort_handle()) {
        before.abort();
    }
}

/// Closes a connection, or stops opening it.
pub fn disconnect<C: Core>(worker: &Worker<C>, node: NodeIndex) {
    if let Some(link) = worker.links.borrow_mut().get_mut(node.at()) {
        let link = std::mem::take(link);
        if let Some(task) = link.task {
            task.abort();
        }
    }
}

async fn link<C: Core>(worker: Rc<Worker<C>>, node: NodeIndex, addr: String) {
    let opened = TcpStream::connect(&addr).await.and_then(|stream| prepare(&stream).map(|()| stream));
    let reason = match opened {
        Ok(stream) => {
            worker.links.borrow_mut()[node.at()].stream = Some(stream);
            {
                let mut engine = worker.engine.borrow_mut();
                engine.at(worker.clock.now());
                engine.node_connected(node);
            }
            worker.due();
            poll_fn(|context| worker.poll_link(node, context)).await
        }
        Err(error) => LinkError::Socket(os_reason(&error)),
    };
    worker.link_broke(node, &reason);
}

/// Has the other end's death noticed, also where nothing is sent for days.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

impl<C: Core> Worker<C> {
    fn poll_link(self: &Rc<Self>, node: NodeIndex, context: &mut Context<'_>) -> Poll<LinkError> {
        loop {
            let mut scratch = self.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            {
                let mut links = self.links.borrow_mut();
                let Some(stream) = links[node.at()].stream.as_mut() else { return Poll::Pending };
                match Pin::new(stream).poll_read(context, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                        return Poll::Ready(LinkError::Socket("closed by the node".to_owned()));
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(LinkError::Socket(os_reason(&error))),
                }
            }
            let mut engine = self.engine.borrow_mut();
            engine.at(self.clock.now());
            engine.node_data(node, buffer.filled());
            drop(engine);
            drop(scratch);
            self.due();
        }
    }

    /// The socket of a link failed by itself.
    pub(super) fn link_broke(&self, node: NodeIndex, reason: &LinkError) {
        self.links.borrow_mut()[node.at()].stream = None;
        let mut engine = self.engine.borrow_mut();
        engine.at(self.clock.now());
        engine.node_lost(node, reason);
        drop(engine);
        self.due();
    }
}
