//! One worker: a thread with its own listener, its own connections to every node, and an engine ([`Core`]) that decides.
//!
//! Shared nothing: one loop over all sockets of the thread, so nothing is locked and no request crosses a channel. A turn is:
//! sockets that became readable are drained into the engine (`clients`, `links`), then one flush (`flush`) sends what all of them
//! produced with one write per socket. There is no runtime here: a task per connection cost more than the engine does.

mod clients;
mod flush;
mod inflow;
mod links;
mod mail;
mod moderation;
mod names;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::core::Core;
use super::engine::{LinkError, Order, Settings, Shared};
use super::metrics::WorkerStats;
use crate::control::routing::NodeIndex;
use crate::frontend::ClientView;
use crate::net::readiness::{Readiness, Ready};
use crate::net::{Clock, Moment};
use crate::protocol::frame::ReadLevel;
use crate::topology::Catalog;
use clients::ClientSocket;
use links::LinkSocket;
pub use mail::{Inbox, Mail, Postbox, postbox};
use moderation::{Came, Moderation};
use names::Names;

/// Bytes that one read takes at most.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Between two ticks while something waits for a moment.
const TICK_SOON: Duration = Duration::from_millis(2);
/// Between two ticks otherwise.
const TICK: Duration = Duration::from_millis(20);

/// What a worker is made with.
#[derive(Debug)]
pub struct WorkerOptions {
    /// Its number, from 0.
    pub number: usize,
    /// What its engine is made with.
    pub settings: Settings,
    /// Where its clients come in; one of several sockets of one port. It does not block.
    pub listener: TcpListener,
    /// The clock.
    pub clock: Clock,
    /// What it shares with the rest of its process.
    pub shared: Shared,
    /// Where the newest catalog is published.
    pub catalog: Arc<ArcSwapOption<Catalog>>,
    /// What it is told.
    pub mail: Inbox,
    /// How to tell the workers, itself included, in the order of their numbers.
    pub peers: Vec<Postbox>,
    /// How clients' connections start out.
    pub reads: ReadLevel,
}

/// What a socket is called where it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Socket {
    Client(u32),
    Link(NodeIndex),
    Listener,
    Bell,
}

impl Socket {
    const KIND_SHIFT: u32 = 32;

    const fn token(self) -> u64 {
        match self {
            Self::Client(key) => key as u64,
            Self::Link(NodeIndex(node)) => 1 << Self::KIND_SHIFT | node as u64,
            Self::Listener => 2 << Self::KIND_SHIFT,
            Self::Bell => 3 << Self::KIND_SHIFT,
        }
    }

    const fn of(token: u64) -> Self {
        let place = token as u32;
        match token >> Self::KIND_SHIFT {
            0 => Self::Client(place),
            1 => Self::Link(NodeIndex(place)),
            2 => Self::Listener,
            _ => Self::Bell,
        }
    }
}

/// One worker.
struct Worker<C> {
    engine: C,
    readiness: Readiness,
    clients: Vec<Option<ClientSocket>>,
    links: Vec<LinkSocket>,
    /// Attempts to connect that failed at once, until the engine is told: the node, the attempt, why.
    failed_links: Vec<(NodeIndex, u64, LinkError)>,
    names: Names,
    /// Sockets that are read in the next turn, whatever becomes ready.
    again: Vec<Socket>,
    /// Sockets that take bytes again.
    unblocked: flush::Unblocked,
    scratch: Box<[u8]>,
    clock: Clock,
    /// The clock, since sockets were looked at last.
    now: Moment,
    ticked: Moment,
    stats: Arc<WorkerStats>,
    catalog: Arc<ArcSwapOption<Catalog>>,
    moderation: Moderation,
    /// Reads of clients that brought something.
    client_reads: u64,
    listener: Option<TcpListener>,
    /// Whether the process ran out of descriptors, and when it is tried again.
    exhausted_until: Option<Moment>,
    mail: Inbox,
    next_client: u64,
    client_step: u64,
    next_attempt: u64,
    connections_max: usize,
    reads: ReadLevel,
    number: usize,
    peers: Vec<Postbox>,
    /// Clients that wait for other workers' connections: id, how many are missing, what came.
    collections: Vec<(u64, usize, Vec<ClientView>)>,
    draining: bool,
    done: bool,
}

/// Runs a worker on this thread until it is drained.
///
/// # Errors
/// When its sockets cannot be waited for.
pub fn run<C: Core>(options: WorkerOptions) -> std::io::Result<()> {
    moderation::sharpen_timers();
    let mut worker = Worker::<C>::new(options)?;
    while !worker.done {
        worker.turn()?;
    }
    Ok(())
}

impl<C: Core> Worker<C> {
    fn new(options: WorkerOptions) -> std::io::Result<Self> {
        let readiness = Readiness::new()?;
        readiness.watch(&options.listener, Socket::Listener.token())?;
        readiness.watch(&*options.mail.bell, Socket::Bell.token())?;
        let now = options.clock.now();
        Ok(Self {
            readiness,
            clients: Vec::new(),
            links: Vec::new(),
            failed_links: Vec::new(),
            names: Names::default(),
            again: Vec::new(),
            unblocked: flush::Unblocked::default(),
            scratch: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            now,
            ticked: now,
            clock: options.clock,
            stats: options.shared.stats.clone(),
            catalog: options.catalog,
            moderation: Moderation::new(now),
            client_reads: 0,
            listener: Some(options.listener),
            exhausted_until: None,
            mail: options.mail,
            next_client: options.number as u64 + 1,
            client_step: options.settings.workers as u64,
            next_attempt: 0,
            connections_max: options.settings.limits.connections_max,
            reads: options.reads,
            number: options.number,
            peers: options.peers,
            collections: Vec::new(),
            draining: false,
            done: false,
            engine: C::make(options.settings, options.shared, now),
        })
    }

    fn turn(&mut self) -> std::io::Result<()> {
        self.look(self.patience())?;
        self.settle();
        if self.engine.has_dirty_nodes() {
            if let Some(pause) = self.moderation.pause(self.now, self.came()) {
                self.flush_clients();
                moderation::sleep(pause);
                self.look(Duration::ZERO)?;
                self.settle();
            }
            self.moderation.sent_on(self.came());
        }
        self.flush_nodes();
        self.flush_clients();
        self.done |= self.draining && self.engine.is_drained();
        Ok(())
    }

    fn came(&self) -> Came {
        let clients = self.engine.client_count() as u64;
        Came { requests: self.stats.requests.get(), reads: self.client_reads, clients }
    }

    /// How long nothing is to be done.
    fn patience(&self) -> Duration {
        if self.engine.is_unsettled() || self.engine.has_dirty_nodes() || !self.again.is_empty() {
            return Duration::ZERO;
        }
        self.next_tick().since(self.now)
    }

    fn next_tick(&self) -> Moment {
        self.ticked + if self.engine.is_waiting() { TICK_SOON } else { TICK }
    }

    /// Waits for sockets, so long at most, and takes in what came.
    fn look(&mut self, at_most: Duration) -> std::io::Result<()> {
        let mut again = std::mem::take(&mut self.again);
        // Once each: what is told of a socket while it is due again would else give it one turn more every time.
        again.sort_unstable();
        again.dedup();
        let count = self.readiness.wait(at_most)?;
        self.now = self.clock.now();
        self.engine.at(self.now);
        for at in 0..count {
            self.became_ready(self.readiness.ready(at));
        }
        for socket in again {
            self.read(socket);
        }
        if self.now >= self.next_tick() {
            self.ticked = self.now;
            self.engine.tick(self.now, self.clock.wall());
            self.accept_after_exhaustion();
            if self.names.is_waiting() {
                self.look_up_names();
                self.report_failed_links();
            }
        }
        Ok(())
    }

    #[inline]
    fn became_ready(&mut self, ready: Ready) {
        match Socket::of(ready.token) {
            Socket::Client(key) => self.client_ready(key, ready),
            Socket::Link(node) => self.link_ready(node, ready),
            Socket::Listener => self.accept(),
            Socket::Bell => self.read_mail(),
        }
    }

    fn read(&mut self, socket: Socket) {
        match socket {
            Socket::Client(key) => self.read_client(key),
            Socket::Link(node) => self.read_link(node),
            Socket::Listener => self.accept(),
            Socket::Bell => self.read_mail(),
        }
    }

    /// Catches the engine up and does what it asks for.
    fn settle(&mut self) {
        self.engine.settle();
        if self.engine.has_orders() {
            self.carry_out_orders();
        }
    }

    fn carry_out_orders(&mut self) {
        for order in self.engine.take_orders() {
            match order {
                Order::Connect(node, addr) => self.connect(node, addr),
                Order::Disconnect(node) => self.disconnect(node),
                Order::CloseClient(key, id) => self.close_client(key, id),
                Order::ResumeClient(key) => self.again.push(Socket::Client(key)),
                Order::CatalogLearned(catalog) => self.publish(&catalog),
                Order::CollectViews(key, id) => self.ask_for_views(key, id),
                Order::Kill(ids) => self.tell_all(|| Mail::Kill(ids.clone())),
                Order::Unblock(id, how) => self.tell_all(|| Mail::Unblock(id, how)),
                Order::Pause(until, writes_only) => self.tell_all(|| Mail::Pause(until, writes_only)),
            }
        }
        self.report_failed_links();
    }

    fn read_mail(&mut self) {
        while let Ok(letter) = self.mail.letters.try_recv() {
            match letter {
                Mail::Course(course) => self.engine.set_course(course),
                Mail::ListViews(to, key, id) => {
                    // A worker that ended has no client that waits.
                    self.peers[to].send(Mail::Views(key, id, self.engine.views()));
                }
                Mail::Views(key, id, views) => self.collect(key, id, views),
                Mail::Resolved(node, attempt, found) => self.looked_up(node, attempt, found),
                Mail::Kill(ids) => self.engine.kill(&ids),
                Mail::Pause(until, writes_only) => self.engine.pause(until, writes_only),
                Mail::Unblock(id, how) => self.engine.unblock(id, how),
                Mail::Drain => self.drain(),
                Mail::Stop => self.done = true,
            }
        }
    }

    fn tell_all(&self, letter: impl Fn() -> Mail) {
        // A worker that ended has nothing to do with it any more.
        for peer in &self.peers {
            peer.send(letter());
        }
    }

    fn ask_for_views(&mut self, key: u32, id: u64) {
        let others = self.peers.iter().enumerate().filter(|(number, _)| *number != self.number);
        let asked = others.filter(|(_, peer)| peer.send(Mail::ListViews(self.number, key, id))).count();
        self.collections.push((id, asked + 1, Vec::new()));
        self.collect(key, id, Vec::new());
    }

    fn collect(&mut self, key: u32, id: u64, views: Vec<ClientView>) {
        let Some(at) = self.collections.iter().position(|(client, ..)| *client == id) else { return };
        self.collections[at].1 -= 1;
        self.collections[at].2.extend(views);
        if self.collections[at].1 == 0 {
            let (_, _, views) = self.collections.swap_remove(at);
            self.engine.take_views(key, id, views);
        }
    }

    fn publish(&self, catalog: &Arc<Catalog>) {
        self.catalog.rcu(|known| match known {
            Some(known) if known.revision >= catalog.revision => Some(known.clone()),
            _ => Some(catalog.clone()),
        });
    }

    fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.listener = None;
            self.engine.drain();
        }
    }
}
