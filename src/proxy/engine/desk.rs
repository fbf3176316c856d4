//! Commands about the connection and the process, which the proxy answers by itself (`frontend`), and what follows
//! from them: a killed client, a pause, a list that other workers must help with.

use std::net::SocketAddr;

use super::client::Client;
use super::covering::Cover;
use super::flight::{FlightKey, Purpose};
use super::scatter::Scatter;
use super::{Engine, Order};
use crate::frontend::{Around, ClientView, Effect, Facts, Holder, Seat, SlowRequest, Transaction, answer, needs_views};
use crate::net::Moment;
use crate::protocol::command::{CommandId, CommandSpec, Merge, resolve};
use crate::protocol::request::{Args, Span, parse_array, write_array};
use crate::protocol::split;
use crate::proxy::metrics::CommandClass;
use crate::proxy::process::Process;

/// How long `INFO` waits for the shards to count their keys.
const COUNT_DEADLINE: std::time::Duration = std::time::Duration::from_millis(300);

/// What is around one request.
pub struct Asked<'a> {
    /// The process.
    pub process: &'a Process,
    /// How many keys there are.
    pub keys: u64,
    /// All connections, where the request is about them.
    pub clients: Vec<ClientView>,
}

impl Holder for Asked<'_> {
    fn facts(&self) -> Facts {
        Facts { keys: self.keys, ..self.process.facts() }
    }

    fn clients(&self) -> Vec<ClientView> {
        self.clients.clone()
    }
}

impl Engine {
    /// The connections of this worker.
    pub fn views(&self) -> Vec<ClientView> {
        self.real_clients().map(|(_, c)| c.session.view(&seat(c), self.now)).collect()
    }

    /// The connections of all other workers, for the client that asked for them.
    pub fn take_views(&mut self, key: u32, id: u64, views: Vec<ClientView>) {
        if self.clients.get(key as usize).is_some_and(|c| c.id == id) {
            self.views_for.retain(|(asked, _)| *asked != id);
            self.views_for.push((id, views));
            self.resumable.push((key, id));
        }
    }

    /// Whether the views that a client asked for are there.
    pub(super) fn has_views(&self, key: u32) -> bool {
        let id = self.clients[key as usize].id;
        self.views_for.iter().any(|(asked, _)| *asked == id)
    }

    /// Answers a command of the connection.
    pub(super) fn answer_here(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>) {
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        let effect = self.ask(key, spec, args, &mut reply);
        self.forget_views(key);
        self.reply_here(key, |out| out.extend_from_slice(&reply));
        self.reply = reply;
        self.carry_out(key, effect);
        self.weigh_transaction(key);
    }

    /// Answers one that was queued in a transaction.
    pub(super) fn answer_queued(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>, out: &mut Vec<u8>) {
        let effect = self.ask(key, spec, args, out);
        self.carry_out(key, effect);
    }

    fn ask(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>, out: &mut Vec<u8>) -> Effect {
        let clients = if needs_views(spec) { self.all_views(key, args) } else { Vec::new() };
        let effect = self.ask_frontend(key, spec, args, clients, 0, out);
        // It took less than the clock can tell.
        if self.desk.parameters.slow_from_microseconds() == Some(0) && !is_secret(spec, args) {
            self.keep_slow(key, args, 0);
        }
        effect
    }

    /// The connections of all workers, as far as they were asked; the one that asks as it is now.
    fn all_views(&self, key: u32, args: Args<'_>) -> Vec<ClientView> {
        let client = &self.clients[key as usize];
        let mut clients = self.views();
        clients.retain(|view| view.id != client.id);
        clients.push(client.session.view(&asking(client, args), self.now));
        let others = self.views_for.iter().filter(|(asked, _)| *asked == client.id);
        clients.extend(others.flat_map(|(_, views)| views.iter().cloned()));
        clients.sort_unstable_by_key(|c| c.id);
        clients
    }

    /// What other workers told of their connections is of yesterday.
    pub(super) fn forget_views(&mut self, key: u32) {
        let id = self.clients[key as usize].id;
        self.views_for.retain(|(asked, _)| *asked != id);
    }

    fn ask_frontend(
        &mut self,
        key: u32,
        spec: &'static CommandSpec,
        args: Args<'_>,
        clients: Vec<ClientView>,
        keys: u64,
        out: &mut Vec<u8>,
    ) -> Effect {
        let holder = Asked { process: &self.process, keys, clients };
        let client = &mut self.clients[key as usize];
        let seat = asking(client, args);
        let wall = self.wall_then.0.saturating_add(self.now.since(self.wall_read).as_millis() as u64);
        let around = Around {
            desk: &self.desk,
            holder: &holder,
            seat: &seat,
            now: self.now,
            wall: crate::topology::LogTime(wall),
        };
        answer(spec, args, &mut client.session, &around, out)
    }

    fn carry_out(&mut self, key: u32, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Close => {
                self.clients[key as usize].closing = true;
                self.mark_client(key);
            }
            Effect::Kill(ids) => {
                if ids.contains(&self.clients[key as usize].id) {
                    self.clients[key as usize].closing = true;
                    self.mark_client(key);
                }
                self.orders.push(Order::Kill(ids));
            }
            Effect::Pause { until, writes_only } => self.orders.push(Order::Pause(until, writes_only)),
            Effect::Unblock { id, how } => self.orders.push(Order::Unblock(id, how)),
            Effect::Unpause => self.orders.push(Order::Pause(self.now, false)),
            Effect::ResetStatistics => self.process.reset_statistics(),
        }
    }

    /// Closes the clients with these ids, but for those that are closing by themselves.
    pub fn kill(&mut self, ids: &[u64]) {
        let killed = self.real_clients().filter(|(_, c)| ids.contains(&c.id) && !c.closing);
        let killed: Vec<_> = killed.map(|(key, c)| (key, c.id)).collect();
        for (key, id) in killed {
            self.forget_client(key);
            self.orders.push(Order::CloseClient(key, id));
        }
    }

    /// Takes no requests until then, or only reads.
    pub const fn pause(&mut self, until: Moment, writes_only: bool) {
        self.paused_until = until;
        self.pause_writes_only = writes_only;
    }

    pub(super) fn is_paused(&self, key: u32, spec: &CommandSpec) -> bool {
        let is_write = || {
            let transaction = self.clients[key as usize].session.transaction();
            spec.is_write() || spec.id == CommandId::Exec && transaction.is_some_and(Transaction::writes)
        };
        self.now < self.paused_until && (!self.pause_writes_only || is_write())
    }

    /// Whether an `INFO` tells how many keys there are.
    pub(super) fn wants_keys(&self, spec: &CommandSpec, args: Args<'_>) -> bool {
        let sections = ["keyspace", "default", "all", "everything"];
        let wanted = args.len() == 1 || (1..args.len()).any(|at| sections.iter().any(|s| args.is(at, s)));
        spec.id == CommandId::Info && wanted && self.routing.owners().next().is_some()
    }

    /// Lets the shards count their keys first; [`Self::finish_info`] answers.
    pub(super) fn take_info(&mut self, key: u32, args: Args<'_>) {
        let count = crate::protocol::command::lookup(b"dbsize").expect("DBSIZE is a command");
        let deadline = self.now + COUNT_DEADLINE;
        let whole = self.claim(key, count);
        self.flights[whole].muted = false;
        self.flights[whole].bytes.extend_from_slice(args.bytes());
        let mut request = Vec::new();
        write_array(&mut request, std::iter::once(&b"DBSIZE"[..]));
        let cover = Some(Box::new(Cover::new(count, &request, deadline)));
        let scatter = Scatter { info: true, cover, ..Scatter::new(Merge::Sum, false, 0, 0) };
        self.enlist_scatter(key, whole, scatter, args.bytes().len());
        self.ask_owners(whole);
    }

    /// The shards counted their keys, as far as they could.
    pub(super) fn finish_info(&mut self, whole: FlightKey, keys: u64) -> Vec<u8> {
        let key = self.flights[whole].client;
        let request = std::mem::take(&mut self.flights[whole].bytes);
        let (mut spans, mut reply) = (Vec::new(), Vec::new());
        if parse_array(&request, &mut spans).is_ok()
            && let Ok(spec) = resolve(Args::new(&request, &spans))
        {
            let args = Args::new(&request, &spans);
            let effect = self.ask_frontend(key, spec, args, Vec::new(), keys, &mut reply);
            self.carry_out(key, effect);
        }
        reply
    }

    /// Keeps a request that took long. Its record still holds the request.
    pub(super) fn note_if_slow(&self, key: FlightKey) {
        let flight = &self.flights[key];
        let took = self.now.since(flight.born).as_micros() as u64;
        if self.desk.parameters.slow_from_microseconds().is_none_or(|slow| took < slow) {
            return;
        }
        if flight.transaction {
            // Its requests took their time together.
            let exec = (&b"EXEC"[..], [Span { start: 0, end: 4 }]);
            return self.keep_slow(flight.client, Args::new(exec.0, &exec.1), took);
        }
        // Waiting is not slowness.
        let is_counted = matches!(flight.class, CommandClass::Connection | CommandClass::Blocking)
            || matches!(flight.purpose, Purpose::Part(_));
        let (mut spans, mut joined) = (Vec::new(), Vec::new());
        let body = if flight.split.is_some() {
            split::join(flight.body(), &mut spans, &mut joined);
            &joined
        } else {
            flight.body()
        };
        if !is_counted && parse_array(body, &mut spans).is_ok() {
            self.keep_slow(flight.client, Args::new(body, &spans), took);
        }
    }

    fn keep_slow(&self, key: u32, args: Args<'_>, microseconds: u64) {
        let client = &self.clients[key as usize];
        let wall = self.wall_then.0.saturating_add(self.now.since(self.wall_read).as_millis() as u64);
        let request = SlowRequest {
            args,
            microseconds,
            wall: crate::topology::LogTime(wall),
            address: &text(client.address),
            name: client.session.name(),
        };
        self.desk.slow_log.push(request, self.desk.parameters.slow_log_entries());
    }
}

/// Whether a request may hold a password, which is not for the slow log.
pub fn is_secret(spec: &CommandSpec, args: Args<'_>) -> bool {
    let secrets = ["requirepass", "masterauth"];
    match spec.id {
        CommandId::Auth | CommandId::Hello => true,
        CommandId::Config => (2..args.len()).any(|at| secrets.iter().any(|secret| args.is(at, secret))),
        _ => false,
    }
}

/// The end of a client whose request is being answered: that is all of its input that counts.
fn asking(client: &Client, args: Args<'_>) -> Seat {
    Seat { input_bytes: args.bytes().len(), ..seat(client) }
}

/// The client's end of a connection.
fn seat(client: &Client) -> Seat {
    Seat {
        address: text(client.address),
        local_address: text(client.local_address),
        descriptor: 0,
        input_bytes: client.input.len(),
        output_bytes: client.output.waiting_bytes(),
        is_blocked: client.wait.is_some(),
    }
}

fn text(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "unknown:0".to_owned(), |a| a.to_string())
}
