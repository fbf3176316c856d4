//! The shell around the engine: one thread, one tokio runtime, all sockets of the node.
//!
//! Tasks read sockets and feed the engine; nothing is written meanwhile. A turn runs when all that were readable have been
//! read: the engine does its work, its batch goes to the log thread, and each socket gets one write.

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::connections::{Connections, Dialect};
use super::control;
use super::engine::{Engine, Event, TICK};
use super::figures::Figures;
use super::home::Home;
use super::log_thread::{LogWriter, Written};
use super::marks::{self, Marks};
use super::peer_link::Links;
use super::registration::{self, Claims};
use super::removal::{self, Removals};
use super::resp::{self, RespReader};
use super::vetting::{self, Vetting};
use super::{gate, handshake, transfer};
use crate::control::reload::FileTrouble;
use crate::frontend::Desk;
use crate::net::{Clock, Moment};
use crate::protocol::frame::{
    Assembler, FrameError, Heartbeat, Kind, Message, put_message, split_frame, split_numbered,
};
use crate::storage::WriteBatch;
use crate::topology::{Catalog, NodeName, ShardId};

/// Ticks between two publications of the figures.
const PUBLISH_TICKS: u64 = 10;
/// Bytes that one read takes off a socket.
const READ_BYTES: usize = 256 * 1024;
/// How long a connection that is being closed may take to read what was written to it.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);
/// So many connections at most are written to before other nodes are: to more it takes as long as a follower needs to write a batch.
const CLIENTS_FIRST_MAX: usize = 4;
/// The longest message that a node takes: the largest value and room for its command.
const MESSAGE_BYTES_MAX: usize = 600 << 20;

/// A node, as its tasks share it.
pub struct Node {
    /// The replicas.
    pub engine: Engine,
    /// Accepted connections.
    pub connections: Connections,
    /// Connections to other nodes.
    pub links: Links,
    /// The data directory.
    pub home: Home,
    /// Time.
    pub clock: Clock,
    /// Who this is.
    pub name: NodeName,
    /// Where batches for the log go.
    pub log: LogWriter,
    /// What machines are told.
    pub figures: Arc<Figures>,
    /// What plain RESP clients share.
    pub desk: Rc<Desk>,
    /// Plain RESP clients since the start.
    pub clients: u64,
    /// Wakes the turn.
    pub wake: Rc<Notify>,
    /// States that operators compare.
    pub marks: Marks,
    /// Data directories that ask for the places of others.
    pub claims: Claims,
    /// Files that are about to be proposed.
    pub vetting: Vetting,
    /// What is being destroyed.
    pub removals: Removals,
    /// Why its file is not what is accepted.
    pub file_trouble: FileTrouble,
    /// Set when the node ends because the cluster does not have it any more: what there is to say.
    pub farewell: Option<String>,
    /// Set when the node must end: why.
    pub fatal: Option<String>,
    /// Wakes whoever waits for `fatal`.
    pub ended: Rc<Notify>,
    /// Wakes the task that follows the catalog.
    pub catalog_changed: Rc<Notify>,
}

/// The handle that tasks hold.
pub type Shared = Rc<RefCell<Node>>;

impl Node {
    /// Ends the node: what it promised cannot be kept.
    pub fn fail(&mut self, reason: String) {
        tracing::error!("node stopped: {reason}");
        self.fatal.get_or_insert(reason);
        self.ended.notify_one();
    }

    /// Ends the node, which has nothing to do any more.
    pub fn leave(&mut self, farewell: String) {
        tracing::warn!("{farewell}");
        self.farewell.get_or_insert(farewell);
        self.ended.notify_one();
    }

    /// One turn.
    fn turn(&mut self, shared: &Shared) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        self.engine.spare_messages(self.log.is_crowded());
        self.engine.turn(now, wall, &mut self.connections);
        self.submit(shared, now);
        let now = self.clock.now();
        self.handle_events(shared, now);
        marks::work(self, shared);
        registration::work(self, shared);
        vetting::work(self, shared);
        self.send(shared);
    }

    /// Has the gathered batch written, if none is under way.
    fn submit(&mut self, shared: &Shared, now: Moment) {
        let requests = self.engine.requests_since_batch();
        let Some(batch) = self.engine.take_batch() else { return };
        if !self.log.is_quick_for(&batch, requests) {
            return self.hand_over(batch);
        }
        // Others work on what they are sent while this node writes.
        self.handle_events(shared, now);
        self.send(shared);
        let written = self.log.write(batch);
        self.batch_written(written);
        self.engine.turn(self.clock.now(), self.clock.wall(), &mut self.connections);
        if let Some(next) = self.engine.take_batch() {
            self.hand_over(next);
        }
    }

    fn hand_over(&mut self, batch: WriteBatch) {
        if !self.log.hand_over(batch) {
            self.fail("the log's thread has ended".to_owned());
        }
    }

    /// Takes a batch back that was written.
    pub fn batch_written(&mut self, written: Written) {
        self.log.note(&written);
        if let Err(error) = written.result {
            return self.fail(format!("{error}{}", error.advice()));
        }
        for group in written.pinned_by {
            self.engine.snapshot(ShardId(group));
        }
        self.engine.batch_written(written.batch);
    }

    fn send(&mut self, shared: &Shared) {
        // What is sent wakes who gets it, and a follower that hears of a commit may take the processor before its client does.
        if self.connections.dirty_count() <= CLIENTS_FIRST_MAX {
            self.flush(shared);
        }
        self.links.flush(&mut self.engine, shared);
        self.flush(shared);
    }

    fn flush(&mut self, shared: &Shared) {
        for key in self.connections.take_dirty() {
            self.flush_one(key, shared);
        }
    }

    fn flush_one(&mut self, key: usize, shared: &Shared) {
        let Some(connection) = self.connections.get(key) else { return };
        match connection.outlet.flush() {
            Ok(true) if connection.closing => handshake::shut_down(&connection.outlet.stream),
            Ok(true) | Err(_) => {}
            Ok(false) if connection.outlet.waits => {}
            Ok(false) => {
                connection.outlet.waits = true;
                let (shared, stream) = (Rc::clone(shared), Rc::clone(&connection.outlet.stream));
                spawn_local(async move {
                    let _ = stream.writable().await;
                    let node = &mut *shared.borrow_mut();
                    if let Some(connection) =
                        node.connections.get(key).filter(|c| Rc::ptr_eq(&c.outlet.stream, &stream))
                    {
                        connection.outlet.waits = false;
                        node.flush_one(key, &shared);
                    }
                });
            }
        }
    }

    fn handle_events(&mut self, shared: &Shared, now: Moment) {
        for event in self.engine.take_events() {
            match event {
                Event::SendSnapshot { shard, to, node, message, state } => {
                    transfer::send(self, shared, shard, to, &node, message, state);
                }
                Event::WriteSnapshot { shard, point, state } => {
                    transfer::write(self, shared, shard, point, state);
                }
                Event::Marked { shard, marked } => self.marks.keep(shard, marked, now),
                Event::Garbage(garbage) => drop(tokio::task::spawn_blocking(move || drop(garbage))),
                Event::CatalogChanged(catalog) => self.catalog_is(catalog),
                Event::PeersChanged => self.catalog_changed.notify_one(),
                Event::LogForgotten(shard) => removal::finish(self, shared, shard),
                Event::StatusChanged => gate::push_status(&self.engine, &mut self.connections, now, self.clock.wall()),
            }
        }
    }

    fn catalog_is(&mut self, catalog: Arc<Catalog>) {
        self.connections.catalog = Some(Arc::clone(&catalog));
        if let Err(error) = self.home.keep_catalog(&catalog) {
            self.fail(format!("{error}{}", error.advice()));
        }
        self.catalog_changed.notify_one();
        gate::push_status(&self.engine, &mut self.connections, self.clock.now(), self.clock.wall());
    }

    /// Handles one message of a connection.
    fn handle(&mut self, key: usize, message: Message<'_>) -> Result<(), FrameError> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        match message.kind {
            Kind::Request => {
                gate::take_request(&mut self.engine, &mut self.connections, key, message.payload, now, wall)?;
            }
            Kind::Heartbeat => {
                let heartbeat = Heartbeat::decode(message.payload)?;
                gate::take_heartbeat(&self.engine, &mut self.connections, key, heartbeat, now, wall);
            }
            Kind::Proxy => gate::take_report(&mut self.connections, key, message.payload)?,
            Kind::Raft => self.engine.peer_message(message.payload),
            Kind::Clock => self.engine.peer_clock(message.payload, now, wall),
            Kind::Move => self.engine.peer_move(message.payload, now, wall, &mut self.connections),
            Kind::Control => control::handle(self, key, message.payload)?,
            Kind::Catalog => self.handle_catalog(split_numbered(message.payload)?.1),
            _ => return Err(FrameError::Malformed("out-of-place")),
        }
        Ok(())
    }

    /// Takes a catalog that somebody else knows.
    pub fn handle_catalog(&mut self, json: &[u8]) {
        match Catalog::decode(json) {
            Ok(catalog) if self.home.cluster().is_some_and(|mine| mine != catalog.cluster) => {
                tracing::error!(other = %catalog.cluster, "a catalog of another cluster was offered and refused");
            }
            // A node that belongs to no cluster joins one that names it, not whichever it hears of first.
            Ok(catalog) if self.home.cluster().is_none() && !catalog.nodes.contains_key(&self.name) => {
                tracing::warn!(cluster = %catalog.cluster, "a catalog that does not name this node was offered and refused");
            }
            Ok(catalog) => self.engine.adopt_catalog(catalog.into()),
            Err(error) => tracing::warn!("a catalog was offered that cannot be read: {error}"),
        }
        self.wake.notify_one();
    }

    /// Closes a connection with the reason, once that is sent.
    pub fn goodbye(&mut self, key: usize, reason: &str) {
        if let Some(connection) = self.connections.get_dirty(key) {
            put_message(&mut connection.outlet.out, Kind::Goodbye, |out| out.extend_from_slice(reason.as_bytes()));
            connection.closing = true;
        }
        self.wake.notify_one();
    }
}

/// Runs turns and ticks until the node ends.
pub async fn run_turns(shared: Shared) {
    let wake = Rc::clone(&shared.borrow().wake);
    let mut ticks = tokio::time::interval(TICK);
    let mut ticked = 0_u64;
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = wake.notified() => {}
            _ = ticks.tick() => {
                let node = &mut *shared.borrow_mut();
                let (now, wall) = (node.clock.now(), node.clock.wall());
                node.engine.tick(now, wall, &mut node.connections);
                node.log.look_around(now);
                ticked += 1;
                if ticked % PUBLISH_TICKS == 1 {
                    node.marks.let_go_of_old(now);
                    let refused = node.file_trouble.reason(node.engine.catalog().map_or(0, |c| c.version)).is_some();
                    node.figures.publish(&node.engine, node.connections.len(), refused, now);
                }
            }
        }
        let node = &mut *shared.borrow_mut();
        node.turn(&shared);
    }
}

/// Accepts connections for ever. When the process has no file descriptors left, it waits and goes on.
pub async fn accept(shared: Shared, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                spawn_local(serve(Rc::clone(&shared), Rc::new(stream)));
            }
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(shared: Shared, stream: Rc<TcpStream>) {
    let Ok(first) = handshake::first_byte(&stream).await else { return };
    if first == 0 {
        serve_frames(&shared, stream).await;
    } else {
        serve_resp(&shared, stream).await;
    }
}

async fn serve_resp(shared: &Shared, stream: Rc<TcpStream>) {
    let (key, mut reader) = {
        let node = &mut *shared.borrow_mut();
        node.clients += 1;
        let reader = RespReader::new(node, &stream, node.clients);
        (node.connections.insert(Rc::clone(&stream), Dialect::Resp(Box::default())), reader)
    };
    let mut take = |node: &mut Node, bytes: &[u8]| Ok(ControlFlow::Continue(reader.take(node, key, bytes)));
    let _ = read_until(shared, &stream, key, &mut Vec::new(), &mut take).await;
    let closing = shared.borrow_mut().connections.get(key).is_some_and(|c| c.closing);
    if closing {
        // The last replies are on their way; the client closes when it has read them.
        let _ = tokio::time::timeout(LINGER, handshake::closed(&stream)).await;
    }
    shared.borrow_mut().connections.remove(key);
}

async fn serve_frames(shared: &Shared, stream: Rc<TcpStream>) {
    let (dialect, rest) = match handshake::accept(shared, &stream).await {
        Ok(handshake::Accepted { dialect, rest }) => (dialect, rest),
        Err(error) => return tracing::debug!("handshake: {error}"),
    };
    let key = shared.borrow_mut().connections.insert(Rc::clone(&stream), dialect);
    let mut assembler = Assembler::new(MESSAGE_BYTES_MAX);
    let mut handed_over = None;
    let mut take = |node: &mut Node, bytes: &[u8]| {
        let mut consumed = 0;
        while handed_over.is_none() {
            let frame = match split_frame(&bytes[consumed..]) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Err(error.to_string()),
            };
            consumed += frame.consumed;
            let handled = match assembler.push(frame) {
                Ok(Some(message)) if message.kind == Kind::Snapshot => {
                    handed_over = Some(message.payload.to_vec());
                    Ok(())
                }
                Ok(Some(message)) => node.handle(key, message),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            handled.map_err(|e| e.to_string())?;
            assembler.release();
        }
        Ok(if handed_over.is_some() { ControlFlow::Break(consumed) } else { ControlFlow::Continue(consumed) })
    };
    let mut tail = rest;
    let ended = read_until(shared, &stream, key, &mut tail, &mut take).await;
    if let Some(header) = handed_over {
        transfer::receive(shared, &stream, &header, tail).await;
    } else if let Err(error) = ended
        && error.kind() == io::ErrorKind::InvalidData
    {
        tracing::warn!("connection closed: {error}");
        shared.borrow_mut().goodbye(key, &error.to_string());
        let drained = Rc::clone(&stream);
        let _ = tokio::time::timeout(LINGER, handshake::closed(&drained)).await;
    }
    shared.borrow_mut().connections.remove(key);
}

/// How much of what came is done with, and whether there is more to take.
type Taken = Result<ControlFlow<usize, usize>, String>;

/// Reads a socket to its end, giving `take` all that is unconsumed, what is in `tail` first. Ends early when `take` wants
/// that, or when the connection is to be closed; `tail` is what is left.
async fn read_until(
    shared: &Shared,
    stream: &TcpStream,
    key: usize,
    tail: &mut Vec<u8>,
    take: &mut impl FnMut(&mut Node, &[u8]) -> Taken,
) -> io::Result<()> {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    }
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let take_tail = |tail: &mut Vec<u8>, take: &mut dyn FnMut(&mut Node, &[u8]) -> Taken| {
        let node = &mut *shared.borrow_mut();
        let taken = take(node, tail).map_err(invalid)?;
        let (ControlFlow::Continue(consumed) | ControlFlow::Break(consumed)) = taken;
        tail.drain(..consumed);
        node.wake.notify_one();
        io::Result::Ok(taken.is_break() || node.connections.get(key).is_none_or(|c| c.closing))
    };
    if !tail.is_empty() && take_tail(tail, take)? {
        return Ok(());
    }
    loop {
        stream.readable().await?;
        let done = SCRATCH.with_borrow_mut(|scratch| {
            let count = match stream.try_read(scratch) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            };
            let node = &mut *shared.borrow_mut();
            let taken = if tail.is_empty() {
                let taken = take(node, &scratch[..count]).map_err(invalid)?;
                let (ControlFlow::Continue(consumed) | ControlFlow::Break(consumed)) = taken;
                tail.extend_from_slice(&scratch[consumed..count]);
                taken
            } else {
                tail.extend_from_slice(&scratch[..count]);
                let taken = take(node, tail).map_err(invalid)?;
                let (ControlFlow::Continue(consumed) | ControlFlow::Break(consumed)) = taken;
                tail.drain(..consumed);
                taken
            };
            if count < scratch.len() {
                // All there was. To be told so by another look costs as much as to read.
                let _ = stream.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
            }
            if tail.is_empty() && tail.capacity() > READ_BYTES {
                *tail = Vec::new();
            }
            node.wake.notify_one();
            Ok(taken.is_break() || node.connections.get(key).is_none_or(|c| c.closing))
        })?;
        if done {
            return Ok(());
        }
        await_room(shared, key).await;
        while let Some(answered) = awaited_answer(shared, key) {
            answered.notified().await;
            if take_tail(tail, take)? {
                return Ok(());
            }
        }
    }
}

/// What wakes the task when the answer is there that its client's next requests wait for, if they do.
fn awaited_answer(shared: &Shared, key: usize) -> Option<Rc<Notify>> {
    resp::answered(&mut shared.borrow_mut().connections, key)
}

/// Waits while so much is unsent that the connection should not ask for more.
async fn await_room(shared: &Shared, key: usize) {
    loop {
        let stream = match shared.borrow_mut().connections.get(key) {
            Some(connection) if connection.outlet.is_clogged() => Rc::clone(&connection.outlet.stream),
            _ => return,
        };
        if stream.writable().await.is_err() {
            return;
        }
        let node = &mut *shared.borrow_mut();
        node.flush_one(key, shared);
    }
}
