//! Plain RESP on a node's port: for looking at one node, and for clients that want no proxy between. Redirects are shown,
//! nothing is retried, a request is of one shard.
//!
//! [`RespReader`] finds requests in what a client sends and belongs to the task that reads its socket; [`RespClient`] keeps
//! its answers in order and belongs to the connection.

mod transactions;
pub use transactions::answered;

use std::collections::VecDeque;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use self::transactions::Waiting;
use super::answers::Ticket;
use super::connections::Dialect;
use super::server::Node;
use crate::frontend::transaction::{self, Awaited};
use crate::frontend::{self, Around, ClientView, Desk, Effect, Facts, Holder, Seat, Session};
use crate::net::{Clock, Moment};
use crate::protocol::command::{CommandSpec, Route, resolve};
use crate::protocol::errors;
use crate::protocol::frame::{ReadLevel, RefusalReason, RequestHead};
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Form, Limits, Parsed, RequestParser, Span};
use crate::topology::{Catalog, Epoch, LogIndex, LogTime, ShardId, Slot};

/// How long a request may wait for its answer, in milliseconds.
const PATIENCE_MS: u32 = 10_000;

struct Pending {
    reply: Option<Vec<u8>>,
    wanted: bool,
    write: bool,
    slot: u16,
}

/// The answers that a client waits for, in the order of its requests.
#[derive(Default)]
pub struct RespClient {
    pending: VecDeque<Pending>,
    first_id: u64,
    unanswered_writes: usize,
    /// The highest index that answered, of each shard: indexes of different shards say nothing of each other.
    floors: Vec<(ShardId, LogIndex)>,
    waiting: Option<Waiting>,
    answered: Rc<Notify>,
}

impl RespClient {
    fn expect(&mut self, wanted: bool, write: bool, slot: u16) -> u64 {
        self.pending.push_back(Pending { reply: None, wanted, write, slot });
        self.unanswered_writes += usize::from(write);
        self.first_id + self.pending.len() as u64 - 1
    }

    fn floor(&self, shard: ShardId) -> LogIndex {
        self.floors.iter().find(|(s, _)| *s == shard).map_or(LogIndex(0), |(_, floor)| *floor)
    }

    /// An answer came; it and those it held up go to `out`.
    pub fn complete(&mut self, ticket: Ticket, index: LogIndex, reply: &[u8], out: &mut Vec<u8>) {
        match self.floors.iter_mut().find(|(shard, _)| *shard == ticket.shard) {
            Some((_, floor)) => *floor = (*floor).max(index),
            None => self.floors.push((ticket.shard, index)),
        }
        self.answer(ticket.id, reply, out);
    }

    /// No answer came. `leader`: the address to go to.
    pub fn refuse(&mut self, ticket: Ticket, reason: RefusalReason, leader: Option<String>, out: &mut Vec<u8>) {
        let Some(pending) = ticket.id.checked_sub(self.first_id).and_then(|at| self.pending.get(at as usize)) else {
            return;
        };
        let text = match (reason, leader) {
            (
                RefusalReason::NotLeader
                | RefusalReason::NotOwner
                | RefusalReason::NoReplica
                | RefusalReason::Behind
                | RefusalReason::ExpiryUnsettled,
                Some(addr),
            ) => errors::moved(pending.slot, &addr),
            (RefusalReason::Unknown, _) => errors::OUTCOME_UNKNOWN.to_owned(),
            (RefusalReason::Busy, _) => errors::OVERLOADED.to_owned(),
            _ if pending.write => errors::NOT_SENT.to_owned(),
            _ => errors::READ_TIMED_OUT.to_owned(),
        };
        let mut error = Vec::new();
        ReplyWriter::new(&mut error, false).error(&text);
        self.answer(ticket.id, &error, out);
    }

    fn answer(&mut self, id: u64, reply: &[u8], out: &mut Vec<u8>) {
        if let Some(waiting) = self.waiting.as_mut().filter(|waiting| waiting.id == id) {
            waiting.answer = Some(reply.to_vec());
            return self.answered.notify_one();
        }
        let Some(position) = id.checked_sub(self.first_id) else { return };
        let Some(pending) = self.pending.get_mut(position as usize) else { return };
        self.unanswered_writes -= usize::from(pending.write);
        if position > 0 {
            pending.reply = Some(reply.to_vec());
            return;
        }
        if pending.wanted {
            out.extend_from_slice(reply);
        }
        self.pending.pop_front();
        self.first_id += 1;
        while let Some(ready) = self.pending.front_mut().and_then(|p| p.reply.take()) {
            let done = self.pending.pop_front().expect("just seen");
            self.first_id += 1;
            if done.wanted {
                out.extend_from_slice(&ready);
            }
        }
    }
}

/// A request on its way to a replica here.
struct Sent<'a> {
    bytes: &'a [u8],
    write: bool,
    transaction: bool,
    level: ReadLevel,
    /// What is done with its answer, if the client's next request waits for it.
    awaited: Option<Awaited>,
}

/// Where a request goes: the shard, and the first slot.
type Place = (ShardId, Option<Slot>);

/// What a client sends.
pub struct RespReader {
    parser: RequestParser,
    session: Session,
    spans: Vec<Span>,
    side: Vec<u8>,
    seat: Seat,
    desk: Rc<Desk>,
    clock: Clock,
    /// The clocks, as they were when what is being taken came.
    at: (Moment, LogTime),
    /// Whether the next request waits for an answer.
    waits: bool,
}

impl RespReader {
    /// A client that has sent nothing yet.
    pub fn new(node: &Node, stream: &TcpStream, id: u64) -> Self {
        let address =
            |addr: std::io::Result<std::net::SocketAddr>| addr.map_or_else(|_| String::new(), |a| a.to_string());
        let seat = Seat {
            address: address(stream.peer_addr()),
            local_address: address(stream.local_addr()),
            ..Seat::default()
        };
        Self {
            parser: RequestParser::default(),
            session: Session::new(id, ReadLevel::Session, node.clock.now()),
            spans: Vec::new(),
            side: Vec::new(),
            seat,
            desk: Rc::clone(&node.desk),
            clock: node.clock.clone(),
            at: (node.clock.now(), node.clock.wall()),
            waits: false,
        }
    }

    /// Takes what has come. Returns how much of it is done with.
    pub fn take(&mut self, node: &mut Node, key: usize, bytes: &[u8]) -> usize {
        let limits = Limits::default();
        // One look at the clocks for all that came together.
        self.at = (self.clock.now(), self.clock.wall());
        let mut consumed = 0;
        let (mut spans, mut side) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.side));
        while self.may_go_on(node, key) {
            let rest = &bytes[consumed..];
            match self.parser.parse(rest, &limits, &mut spans, &mut side) {
                Ok(Parsed::Request { consumed: length, form }) => {
                    let request = match form {
                        Form::InPlace => &rest[..length],
                        Form::Rewritten => &side[..],
                    };
                    consumed += length;
                    self.request(node, key, request, &spans);
                }
                Ok(Parsed::Empty { consumed: length }) => consumed += length,
                Ok(Parsed::Incomplete { .. }) => break,
                Err(error) => {
                    let mut reply = Vec::new();
                    error.write(&mut reply);
                    answer_here(node, key, true, &reply);
                    close(node, key);
                    break;
                }
            }
            if node.connections.get(key).is_none_or(|c| c.closing) {
                break;
            }
        }
        (self.spans, self.side) = (spans, side);
        consumed
    }

    fn request(&mut self, node: &mut Node, key: usize, request: &[u8], spans: &[Span]) {
        let args = Args::new(request, spans);
        let mut reply = Vec::new();
        let spec = match resolve(args) {
            Ok(spec) => spec,
            Err(error) => {
                transaction::complain(error, args, &mut self.session, &mut reply);
                let wanted = self.session.starts_request();
                return answer_here(node, key, wanted, &reply);
            }
        };
        self.session.note(spec, self.at.0);
        if self.take_of_transaction(node, key, spec, args) {
            return;
        }
        if spec.route == Route::Connection {
            return self.connection_command(node, key, spec, args);
        }
        let placed =
            if spec.is_blocking() { Err(errors::BLOCKING_NEEDS_A_PROXY.to_owned()) } else { place(node, spec, args) };
        match placed {
            Ok(place) => {
                let (write, level) = (spec.is_write(), self.session.reads_now());
                let sent = Sent { bytes: request, write, transaction: false, level, awaited: None };
                self.forward(node, key, sent, place);
            }
            Err(text) => {
                ReplyWriter::new(&mut reply, false).error(&text);
                let wanted = self.session.starts_request();
                answer_here(node, key, wanted, &reply);
            }
        }
    }

    fn connection_command(&mut self, node: &mut Node, key: usize, spec: &'static CommandSpec, args: Args<'_>) {
        let mut reply = Vec::new();
        let effect = self.ask_frontend(node, spec, args, &mut reply);
        answer_here(node, key, true, &reply);
        self.carry_out(node, key, effect);
    }

    fn ask_frontend(&mut self, node: &Node, spec: &'static CommandSpec, args: Args<'_>, out: &mut Vec<u8>) -> Effect {
        let (now, wall) = self.at;
        let clients = if frontend::needs_views(spec) { vec![self.session.view(&self.seat, now)] } else { Vec::new() };
        let view = NodeView { node, clients };
        let around = Around { desk: &self.desk, holder: &view, seat: &self.seat, now, wall };
        frontend::answer(spec, args, &mut self.session, &around, out)
    }

    fn carry_out(&self, node: &mut Node, key: usize, effect: Effect) {
        node.engine.memory().limit(self.desk.parameters.memory_limit_bytes());
        match effect {
            Effect::Close => close(node, key),
            Effect::Kill(ids) if ids.contains(&self.session.id()) => close(node, key),
            Effect::Kill(_)
            | Effect::None
            | Effect::Pause { .. }
            | Effect::Unblock { .. }
            | Effect::Unpause
            | Effect::ResetStatistics => {}
        }
    }

    /// Gives a request to its shard's replica here.
    fn forward(&mut self, node: &mut Node, key: usize, sent: Sent<'_>, place: Place) {
        let (shard, slot) = place;
        let wanted = self.session.starts_request();
        let Some(Dialect::Resp(client)) = node.connections.get(key).map(|c| &mut c.dialect) else { return };
        let id = client.expect(wanted, sent.write, slot.map_or(0, Slot::number));
        let head = RequestHead {
            id,
            shard,
            client: 0,
            generation: 0,
            write: sent.write,
            resp3: self.session.resp3(),
            after_writes: !sent.write && client.unanswered_writes > 0,
            transaction: sent.transaction,
            split: false,
            covers: false,
            retried: false,
            level: sent.level,
            slot,
            epoch: Epoch(0),
            remaining_ms: PATIENCE_MS,
            floor: client.floor(shard),
            identity: None,
            blocking: None,
        };
        self.waits = sent.awaited.is_some();
        client.waiting = sent.awaited.map(|awaited| Waiting { id, awaited, answer: None });
        let ticket = node.connections.ticket(key, id, 0, 0, shard);
        let (now, wall) = self.at;
        node.engine.request(&head, sent.bytes, ticket, now, wall, &mut node.connections);
    }
}

/// An answer that needs no shard, in its place.
fn answer_here(node: &mut Node, key: usize, wanted: bool, reply: &[u8]) {
    let Some(connection) = node.connections.get_dirty(key) else { return };
    if let Dialect::Resp(client) = &mut connection.dialect {
        let id = client.expect(wanted, false, 0);
        client.answer(id, reply, &mut connection.outlet.out);
    }
}

fn close(node: &mut Node, key: usize) {
    if let Some(connection) = node.connections.get_dirty(key) {
        connection.closing = true;
    }
}

/// The shard of a request, and its first slot.
fn place(node: &Node, spec: &CommandSpec, args: Args<'_>) -> Result<Place, String> {
    let catalog = node.engine.catalog().ok_or_else(|| errors::NO_OWNER.to_owned())?;
    match spec.route {
        Route::Cursor => {
            let cursor = crate::protocol::numbers::parse_i64(args.get(1)).unwrap_or(0);
            let slot = Slot::new((cursor >> 48) as u16).ok_or_else(|| errors::INVALID_CURSOR.to_owned())?;
            Ok((catalog.owner(slot).id, Some(slot)))
        }
        Route::EveryShard(_) => match catalog.data_shards() {
            [only] => Ok((only.id, None)),
            _ => Err("ERR this command concerns every shard: ask a proxy".to_owned()),
        },
        _ => place_of_keys(catalog, spec, args),
    }
}

fn place_of_keys(catalog: &Catalog, spec: &CommandSpec, args: Args<'_>) -> Result<Place, String> {
    let mut slots = spec.key_positions(args).map(|position| Slot::of_key(args.get(position)));
    let Some(first) = slots.next() else { return Err(errors::SYNTAX.to_owned()) };
    let shard = catalog.owner(first).id;
    if slots.any(|slot| catalog.owner(slot).id != shard) {
        return Err(errors::CROSS_SLOT.to_owned());
    }
    Ok((shard, Some(first)))
}

/// A node, as the connection commands see it.
struct NodeView<'a> {
    node: &'a Node,
    clients: Vec<ClientView>,
}

impl Holder for NodeView<'_> {
    fn facts(&self) -> Facts {
        let usage = self.node.engine.replicas().map(|r| r.machine.usage());
        let (keys, expiring, bytes) = usage.fold((0, 0, 0), |(k, e, b), u| (k + u.keys, e + u.expires, b + u.bytes));
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: "node".to_owned(),
            process_id: std::process::id(),
            uptime: self.node.clock.now().since(crate::net::Moment::default()),
            clients: self.node.connections.len() as u64,
            data_bytes: bytes,
            accounted_bytes: Some(self.node.engine.memory().used_bytes()),
            memory_limit_bytes: self.node.engine.memory().limit_bytes(),
            keys,
            keys_expiring: expiring,
            ..Facts::default()
        }
    }

    fn clients(&self) -> Vec<ClientView> {
        self.clients.clone()
    }
}
