//! The sockets of a node: what is to be written to each, and what each speaks.
//!
//! A reply is appended to its connection's buffer; one write per socket and turn sends what has gathered. A connection
//! whose buffer is long is not read until it drained ([`Outlet::is_clogged`]). What a socket is matters to nothing but its
//! [flush](Outlet::flush): a simulation has sockets of its own.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::net::TcpStream;

use super::answers::{Answers, Ticket};
use super::board::Board;
use super::resp::RespClient;
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::protocol::control::{ControlReply, ProxyReport};
use crate::protocol::frame::{Kind, Refusal, RefusalReason, ReplyHead, put_message, put_numbered};
use crate::topology::{Catalog, LogIndex, NodeName, ReplicaId, Revision, ShardId, Whereabouts};

/// Unsent bytes above which a connection is not read any more.
const OUTLET_BYTES_MAX: usize = 64 << 20;
/// How long a refusal is remembered at least.
const REFUSED_KEPT: Duration = Duration::from_secs(60);
/// A proxy that was silent for this long does not answer its clients: heartbeats come ten times a second.
const SILENT_MAX: Duration = Duration::from_secs(5);
/// A buffer that grew beyond this is given back once it is empty.
const KEEP_BYTES_MAX: usize = 1 << 20;

/// A socket and what waits to be written to it.
#[derive(Debug)]
pub struct Outlet<S = Rc<TcpStream>> {
    /// The socket.
    pub stream: S,
    /// What waits; the first [`written`](Self::flush) bytes are sent.
    pub out: Vec<u8>,
    written: usize,
    /// Whether somebody waits for the socket to take more.
    pub waits: bool,
}

impl<S> Outlet<S> {
    /// Nothing waits.
    pub const fn new(stream: S) -> Self {
        Self { stream, out: Vec::new(), written: 0, waits: false }
    }

    /// How much is unsent.
    pub const fn unsent_bytes(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether so much is unsent that no more should be asked for.
    pub const fn is_clogged(&self) -> bool {
        self.unsent_bytes() > OUTLET_BYTES_MAX
    }
}

impl Outlet {
    /// Sends what the socket takes. `true`: all of it.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.try_write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.written += sent,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.written = 0;
        if self.out.capacity() > KEEP_BYTES_MAX {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(true)
    }
}

/// The highest refused generation of each (client, shard) of a proxy (R1), for as long as frames of it may be on their
/// way: a proxy gives up a request long before.
#[derive(Default)]
pub struct Refused {
    young: HashMap<(u64, ShardId), u32>,
    old: HashMap<(u64, ShardId), u32>,
    aged: Moment,
    /// When the proxy last gave a sign of life.
    heard: Moment,
}

impl Refused {
    /// A frame of this generation was refused.
    pub fn note(&mut self, client: u64, shard: ShardId, generation: u32) {
        let highest = self.young.entry((client, shard)).or_insert(generation);
        *highest = generation.max(*highest);
    }

    /// Whether a frame of this generation may be taken.
    pub fn admits(&mut self, client: u64, shard: ShardId, generation: u32) -> bool {
        if self.young.is_empty() && self.old.is_empty() || planted::is(Bug::RefusalsForgotten) {
            return true;
        }
        let key = (client, shard);
        match self.young.get(&key).max(self.old.get(&key)) {
            None => true,
            Some(refused) if generation <= *refused => false,
            Some(_) => {
                self.young.remove(&key);
                self.old.remove(&key);
                true
            }
        }
    }

    /// Whether a frame of this generation, or of a later one, was refused.
    pub fn is_refused(&self, client: u64, shard: ShardId, generation: u32) -> bool {
        let of = |known: &HashMap<(u64, ShardId), u32>| known.get(&(client, shard)).is_some_and(|g| generation <= *g);
        let knows = !(self.young.is_empty() && self.old.is_empty());
        knows && !planted::is(Bug::RefusalsForgotten) && (of(&self.young) || of(&self.old))
    }

    /// Takes a sign of life.
    pub const fn hear(&mut self, now: Moment) {
        self.heard = now;
    }

    /// Forgets what was refused long ago, so that clients that never came back do not stay for ever.
    pub fn age(&mut self, now: Moment) {
        if now.since(self.aged) >= REFUSED_KEPT {
            self.aged = now;
            self.old = std::mem::take(&mut self.young);
        }
    }
}

/// What a connection speaks.
pub enum Dialect {
    /// A proxy's requests and heartbeats.
    Proxy(Refused),
    /// A node's messages, or an operator's questions.
    Control,
    /// Plain RESP.
    Resp(Box<RespClient>),
}

/// An accepted connection.
pub struct Connection<S = Rc<TcpStream>> {
    generation: u32,
    /// What waits to be written.
    pub outlet: Outlet<S>,
    /// What it speaks.
    pub dialect: Dialect,
    /// Whether it is to be closed once everything is written.
    pub closing: bool,
    /// The revision of the catalog that was sent over it.
    pub told: Revision,
    /// The version of the board that was told over it.
    pub board_told: u64,
    /// What the proxy at the other end said of itself.
    pub proxy: Option<ProxyReport>,
    dirty: bool,
}

/// All accepted connections.
pub struct Connections<S = Rc<TcpStream>> {
    slab: Slab<Connection<S>>,
    generation: u32,
    dirty: Vec<usize>,
    /// What proxies are told of the replicas.
    pub board: Board,
    /// For redirects.
    pub catalog: Option<Arc<Catalog>>,
    /// The catalog that was sent last, as bytes.
    encoded: Option<(Revision, Arc<[u8]>)>,
}

impl<S> Default for Connections<S> {
    fn default() -> Self {
        Self {
            slab: Slab::new(),
            generation: 0,
            dirty: Vec::new(),
            board: Board::default(),
            catalog: None,
            encoded: None,
        }
    }
}

impl<S> Connections<S> {
    /// Takes a connection; returns its place.
    pub fn insert(&mut self, stream: S, dialect: Dialect) -> usize {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let outlet = Outlet::new(stream);
        let (closing, told, board_told, proxy, dirty) = (false, Revision(0), 0, None, false);
        self.slab.insert(Connection { generation, outlet, dialect, closing, told, board_told, proxy, dirty })
    }

    /// A catalog as it is sent, with its revision: made once for all who want it.
    pub fn encoded(&mut self, catalog: &Catalog) -> (Revision, Arc<[u8]>) {
        match &self.encoded {
            Some((revision, json)) if *revision == catalog.revision => (*revision, Arc::clone(json)),
            _ => self.encoded.insert((catalog.revision, catalog.encode().into())).clone(),
        }
    }

    /// Forgets a connection.
    pub fn remove(&mut self, key: usize) {
        self.slab.try_remove(key);
    }

    /// The connection at a place.
    pub fn get(&mut self, key: usize) -> Option<&mut Connection<S>> {
        self.slab.get_mut(key)
    }

    /// The connection at a place, to look at.
    pub fn peek(&self, key: usize) -> Option<&Connection<S>> {
        self.slab.get(key)
    }

    /// The connection at a place, which will be flushed at the end of the turn.
    pub fn get_dirty(&mut self, key: usize) -> Option<&mut Connection<S>> {
        let connection = self.slab.get_mut(key)?;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(key);
        }
        Some(connection)
    }

    /// How many connections were written to since [`Self::take_dirty`].
    pub const fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// The connections that were written to since the last call.
    pub fn take_dirty(&mut self) -> Vec<usize> {
        for key in &self.dirty {
            if let Some(connection) = self.slab.get_mut(*key) {
                connection.dirty = false;
            }
        }
        std::mem::take(&mut self.dirty)
    }

    /// The places of all proxies.
    pub fn proxies(&self) -> Vec<usize> {
        self.slab.iter().filter(|(_, c)| matches!(c.dialect, Dialect::Proxy(_))).map(|(key, _)| key).collect()
    }

    /// What the proxies say of themselves, one line for each process, with the place of a connection of it.
    pub fn proxy_reports(&self) -> Vec<(usize, &ProxyReport)> {
        let mut found: Vec<(usize, &ProxyReport)> =
            self.slab.iter().filter_map(|(key, connection)| Some((key, connection.proxy.as_ref()?))).collect();
        found.sort_by(|(_, a), (_, b)| (&a.name, &a.run_id).cmp(&(&b.name, &b.run_id)));
        found.dedup_by(|(_, later), (_, first)| later.run_id == first.run_id);
        found
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The ticket of a request on the connection at a place.
    pub fn ticket(&self, key: usize, id: u64, client: u64, generation: u32, shard: ShardId) -> Ticket {
        let connection_generation = self.slab.get(key).map_or(0, |c| c.generation);
        Ticket { connection: key as u32, connection_generation, id, client, generation, shard }
    }

    fn holder(&mut self, ticket: Ticket) -> Option<&mut Connection<S>> {
        let key = ticket.connection as usize;
        if self.slab.get(key)?.generation != ticket.connection_generation {
            return None;
        }
        self.get_dirty(key)
    }

    fn leader_of(&self, replica: Option<ReplicaId>) -> Option<(NodeName, String)> {
        let catalog = self.catalog.as_ref()?;
        let node = &catalog.shards.iter().find_map(|s| s.replica(replica?))?.node;
        Some((node.clone(), catalog.addr(node)?.to_owned()))
    }
}

impl<S> Answers for Connections<S> {
    fn reply(&mut self, ticket: Ticket, index: LogIndex, reply: &[u8]) {
        let Some(connection) = self.holder(ticket) else { return };
        match &mut connection.dialect {
            // What came after a refused request was not carried out in its client's order: it is asked for again, and a
            // write then gets this answer (R1).
            Dialect::Proxy(refused) if refused.is_refused(ticket.client, ticket.shard, ticket.generation) => {
                let reason = RefusalReason::Unknown;
                Refusal { id: ticket.id, reason, leader: None, moved: None }.put(&mut connection.outlet.out);
            }
            Dialect::Proxy(_) => put_message(&mut connection.outlet.out, Kind::Reply, |out| {
                ReplyHead { id: ticket.id, index }.encode(out);
                out.extend_from_slice(reply);
            }),
            Dialect::Control => put_numbered(&mut connection.outlet.out, Kind::ControlReply, ticket.id, reply),
            Dialect::Resp(client) => client.complete(ticket, index, reply, &mut connection.outlet.out),
        }
    }

    fn refuse(&mut self, ticket: Ticket, reason: RefusalReason, leader: Option<ReplicaId>) {
        let home = self.leader_of(leader);
        let Some(connection) = self.holder(ticket) else { return };
        let out = &mut connection.outlet.out;
        match &mut connection.dialect {
            Dialect::Proxy(refused) => {
                refused.note(ticket.client, ticket.shard, ticket.generation);
                Refusal { id: ticket.id, reason, leader, moved: None }.put(out);
            }
            Dialect::Control => {
                let reply = match reason {
                    RefusalReason::NotLeader | RefusalReason::NoReplica => {
                        ControlReply::NotLeader { leader: home.map(|(node, _)| node) }
                    }
                    other => ControlReply::Error(format!("no decision: {}", other.name())),
                };
                let json = serde_json::to_vec(&reply).expect("an answer is plain data");
                put_numbered(out, Kind::ControlReply, ticket.id, &json);
            }
            Dialect::Resp(client) => client.refuse(ticket, reason, home.map(|(_, addr)| addr), out),
        }
    }

    fn redirect(&mut self, ticket: Ticket, moved: Option<Whereabouts>) {
        let reason = RefusalReason::NotOwner;
        let Some(connection) = self.holder(ticket) else { return };
        match &mut connection.dialect {
            Dialect::Proxy(refused) => {
                refused.note(ticket.client, ticket.shard, ticket.generation);
                Refusal { id: ticket.id, reason, leader: None, moved }.put(&mut connection.outlet.out);
            }
            Dialect::Control | Dialect::Resp(_) => self.refuse(ticket, reason, None),
        }
    }

    fn hold_line(&mut self, ticket: Ticket) {
        if let Some(Connection { dialect: Dialect::Proxy(refused), .. }) = self.holder(ticket) {
            refused.note(ticket.client, ticket.shard, ticket.generation);
        }
    }

    fn is_awaited(&self, ticket: Ticket, now: Moment) -> bool {
        let connection = self.slab.get(ticket.connection as usize);
        connection.is_some_and(|c| {
            let is_silent = matches!(&c.dialect, Dialect::Proxy(proxy) if now.since(proxy.heard) > SILENT_MAX);
            c.generation == ticket.connection_generation && !c.closing && !is_silent
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_an_answer_to_what_came_after_a_refused_request_is_refused_too() {
        let mut connections: Connections<()> = Connections::default();
        let key = connections.insert((), Dialect::Proxy(Refused::default()));
        let kinds = |connections: &mut Connections<()>| {
            let out = std::mem::take(&mut connections.get(key).unwrap().outlet.out);
            crate::protocol::frame::split_frame(&out).unwrap().unwrap().kind
        };
        let shard = ShardId(1);
        let ticket = |connections: &Connections<()>, id, client, generation| {
            connections.ticket(key, id, client, generation, shard)
        };
        let (write, read) = (ticket(&connections, 1, 7, 0), ticket(&connections, 2, 7, 0));
        connections.refuse(write, RefusalReason::NotOwner, None);
        assert_eq!(kinds(&mut connections), Kind::Refusal);
        connections.reply(read, LogIndex(9), b"$-1\r\n");
        assert_eq!(kinds(&mut connections), Kind::Refusal, "it does not see the write that came before it");
        for (client, generation) in [(7, 1), (8, 0)] {
            let other = ticket(&connections, 3, client, generation);
            connections.reply(other, LogIndex(9), b"$-1\r\n");
            assert_eq!(kinds(&mut connections), Kind::Reply);
        }
    }

    #[test]
    fn a_refused_generation_stays_refused_whatever_an_earlier_one_says_later() {
        let (mut refused, shard) = (Refused::default(), ShardId(1));
        assert!(refused.admits(7, shard, 1));
        refused.note(7, shard, 2);
        refused.note(7, shard, 1);
        assert!(!refused.admits(7, shard, 2) && refused.admits(8, shard, 0) && refused.admits(7, ShardId(2), 0));
        let at = |seconds| Moment::at(Duration::from_secs(seconds));
        refused.age(at(60));
        assert!(!refused.admits(7, shard, 2), "its frames may still be on their way");
        refused.age(at(61));
        assert!(!refused.admits(7, shard, 2));
        assert!(refused.admits(7, shard, 3) && refused.admits(7, shard, 2), "the next generation ends it");
        refused.note(7, shard, 3);
        refused.age(at(120));
        refused.age(at(180));
        assert!(refused.young.is_empty() && refused.old.is_empty());
    }
}
