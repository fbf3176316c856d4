//! Clients' sockets: accepted, read, closed.
//!
//! A client's task owns nothing but two numbers, so that an idle connection costs little more than its registration;
//! its socket is in the worker, and what it sent is read into the one buffer that all share.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::{Core, Worker};
use crate::frontend::Session;
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;

/// How long no connection is accepted after the process ran out of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Reads of one client in one turn, so that a fast sender cannot hold the others up.
const READS_PER_TURN: u32 = 4;

/// A client's socket.
pub struct ClientSocket {
    /// Never used again by this worker.
    id: u64,
    pub(super) stream: TcpStream,
    /// Wakes its task: to read again, or to end.
    waker: Option<Waker>,
    /// Whether the flush waits for room in its send buffer.
    pub(super) blocked: bool,
}

/// Takes connections until it is aborted.
pub async fn accept<C: Core>(worker: Rc<Worker<C>>, listener: TcpListener) {
    let mut exhausted = false;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                exhausted = false;
                worker.take_client(stream, address);
            }
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) =>
            {
                if !std::mem::replace(&mut exhausted, true) {
                    tracing::error!(%error, "no more connections can be accepted for now");
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            // The client was gone before it was accepted.
            Err(error) => tracing::debug!(%error, "a connection was not accepted"),
        }
    }
}

impl<C: Core> Worker<C> {
    fn take_client(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            return tracing::debug!(%error, "a connection broke while it was accepted");
        }
        if self.engine.borrow().client_count() >= self.connections_max {
            self.stats.connections_rejected.add(1);
            let mut reply = Vec::new();
            ReplyWriter::new(&mut reply, false).error(errors::TOO_MANY_CLIENTS);
            // A courtesy: whether it arrives or not, the connection is closed.
            let _ = stream.try_write(&reply);
            return;
        }
        let id = self.next_client.get();
        self.next_client.set(id + self.client_step);
        let now = self.clock.now();
        let local = stream.local_addr().ok();
        let mut engine = self.engine.borrow_mut();
        engine.at(now);
        let key = engine.client_opened(Session::new(id, self.reads, now), Some(address), local);
        let mut clients = self.clients.borrow_mut();
        if clients.len() <= key as usize {
            clients.resize_with(key as usize + 1, || None);
        }
        // The one whose place this was may not have been closed yet: its task ends with its socket.
        if let Some(waker) = clients[key as usize].take().and_then(|s| s.waker) {
            waker.wake();
        }
        clients[key as usize] = Some(ClientSocket { id, stream, waker: None, blocked: false });
        tokio::task::spawn_local(ClientTask { worker: self.clone(), key, id });
    }

    /// Closes a client's socket, unless its place is another's by now; the engine has forgotten the client.
    pub(super) fn close_client(&self, key: u32, id: u64) {
        let socket = self.clients.borrow_mut()[key as usize].take_if(|s| s.id == id);
        if let Some(waker) = socket.and_then(|s| s.waker) {
            waker.wake();
        }
    }

    /// Lets a client's task read again.
    pub(super) fn wake_client(&self, key: u32) {
        if let Some(waker) = self.clients.borrow().get(key as usize).and_then(|s| s.as_ref()?.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    fn poll_client(self: &Rc<Self>, key: u32, id: u64, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            let mut scratch = self.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            {
                let mut clients = self.clients.borrow_mut();
                let socket = clients.get_mut(key as usize).and_then(Option::as_mut).filter(|s| s.id == id);
                let Some(socket) = socket else { return Poll::Ready(()) };
                if socket.waker.is_none() {
                    socket.waker = Some(context.waker().clone());
                }
                if !self.engine.borrow().wants_input(key) {
                    return Poll::Pending;
                }
                match Pin::new(&mut socket.stream).poll_read(context, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => continue,
                    Poll::Ready(Err(_)) => {
                        drop(clients);
                        self.client_broke(key);
                        return Poll::Ready(());
                    }
                }
            }
            let bytes = buffer.filled();
            let mut engine = self.engine.borrow_mut();
            engine.at(self.clock.now());
            if bytes.is_empty() {
                engine.client_ended(key);
            } else {
                engine.client_data(key, bytes);
            }
            drop(engine);
            self.due();
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// A client's socket failed by itself.
    pub(super) fn client_broke(&self, key: u32) {
        self.engine.borrow_mut().client_broke(key);
        let socket = self.clients.borrow_mut()[key as usize].take();
        if let Some(waker) = socket.and_then(|s| s.waker) {
            waker.wake();
        }
    }
}

struct ClientTask<C> {
    worker: Rc<Worker<C>>,
    key: u32,
    id: u64,
}

impl<C: Core> Future for ClientTask<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.worker.poll_client(self.key, self.id, context)
    }
}
