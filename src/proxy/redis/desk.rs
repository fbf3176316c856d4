//! Commands about the connection and the process, which the proxy answers by itself (`frontend`), and what follows
//! from them: a killed client, a pause, a list that other workers must help with.

use std::net::SocketAddr;
use std::time::Duration;

use super::Engine;
use super::client::Client;
use super::record::Job;
use crate::frontend::{Around, ClientView, Effect, Seat, SlowRequest, Transaction, answer, needs_views};
use crate::net::Moment;
use crate::protocol::command::{CommandId, CommandSpec, Merge, resolve};
use crate::protocol::request::{Args, parse_array, write_array};
use crate::proxy::engine::{Asked, FlightKey, Order, is_secret};
use crate::proxy::metrics::CommandClass;
use crate::topology::LogTime;

impl Engine {
    /// The connections of this worker.
    pub fn views(&self) -> Vec<ClientView> {
        self.clients.iter().map(|(_, c)| c.session.view(&seat(c), self.now)).collect()
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
        let effect = self.ask_here(key, spec, args, &mut reply);
        self.forget_views(key);
        self.reply_here(key, |out| out.extend_from_slice(&reply));
        self.reply = reply;
        self.carry_out(key, effect);
        self.weigh_transaction(key);
    }

    /// Answers one that was queued in a transaction.
    pub(super) fn answer_queued(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>, out: &mut Vec<u8>) {
        let effect = self.ask_here(key, spec, args, out);
        self.carry_out(key, effect);
    }

    fn ask_here(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>, out: &mut Vec<u8>) -> Effect {
        let clients = if needs_views(spec) { self.all_views(key, args) } else { Vec::new() };
        let effect = self.ask_frontend(key, spec, args, clients, 0, out);
        // The threshold may have been what changed, and it took less than the clock can tell.
        self.slow_from = self.desk.parameters.slow_from_microseconds().map(Duration::from_micros);
        if self.slow_from == Some(Duration::ZERO) && !is_secret(spec, args) {
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

    fn wall(&self) -> LogTime {
        LogTime(self.wall_then.0.saturating_add(self.now.since(self.wall_read).as_millis() as u64))
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
        let wall = self.wall();
        let holder = Asked { process: &self.process, keys, clients };
        let client = &mut self.clients[key as usize];
        let seat = asking(client, args);
        let around = Around { desk: &self.desk, holder: &holder, seat: &seat, now: self.now, wall };
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
        let killed = self.clients.iter().filter(|(_, c)| ids.contains(&c.id) && !c.closing);
        let killed: Vec<_> = killed.map(|(key, c)| (key as u32, c.id)).collect();
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
        !self.pause_writes_only || is_write()
    }

    /// Whether an `INFO` tells how many keys there are.
    pub(super) fn wants_keys(&self, spec: &CommandSpec, args: Args<'_>) -> bool {
        let sections = ["keyspace", "default", "all", "everything"];
        let wanted = args.len() == 1 || (1..args.len()).any(|at| sections.iter().any(|s| args.is(at, s)));
        spec.id == CommandId::Info && wanted && self.is_ready()
    }

    /// Lets the shards count their keys first; [`Self::finish_info`] answers.
    pub(super) fn take_info(&mut self, key: u32, args: Args<'_>) {
        let count = crate::protocol::command::lookup(b"dbsize").expect("DBSIZE is a command");
        let mut request = Vec::new();
        write_array(&mut request, std::iter::once(&b"DBSIZE"[..]));
        let whole = self.scatter_to_all(key, count, &request, Merge::Sum, 0, true);
        self.records[whole].bytes.extend_from_slice(args.bytes());
    }

    /// The shards counted their keys, as far as they could.
    pub(super) fn finish_info(&mut self, whole: FlightKey, keys: u64, out: &mut Vec<u8>) {
        let key = self.records[whole].client;
        let request = std::mem::take(&mut self.records[whole].bytes);
        let mut spans = Vec::new();
        if parse_array(&request, &mut spans).is_ok()
            && let Ok(spec) = resolve(Args::new(&request, &spans))
        {
            // Whether it wants a reply was asked when it came.
            let effect = self.ask_frontend(key, spec, Args::new(&request, &spans), Vec::new(), keys, out);
            self.carry_out(key, effect);
        }
    }

    /// Keeps a request that took long. Its record still holds the request.
    #[cold]
    pub(super) fn note_slow(&self, key: FlightKey, took: Duration) {
        let record = &self.records[key];
        // Waiting is not slowness, and parts are no requests.
        if record.class == CommandClass::Blocking || matches!(record.job, Job::Part(_)) {
            return;
        }
        let mut spans = Vec::new();
        let whole = matches!(record.job, Job::Exec(_));
        let exec = b"*1\r\n$4\r\nEXEC\r\n";
        let body = if whole { &exec[..] } else { record.body() };
        if parse_array(body, &mut spans).is_ok() {
            self.keep_slow(record.client, Args::new(body, &spans), took.as_micros() as u64);
        }
    }

    fn keep_slow(&self, key: u32, args: Args<'_>, microseconds: u64) {
        let client = &self.clients[key as usize];
        let request = SlowRequest {
            args,
            microseconds,
            wall: self.wall(),
            address: &text(client.address),
            name: client.session.name(),
        };
        self.desk.slow_log.push(request, self.desk.parameters.slow_log_entries());
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
        is_blocked: client.blocked,
    }
}

fn text(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "unknown:0".to_owned(), |a| a.to_string())
}
