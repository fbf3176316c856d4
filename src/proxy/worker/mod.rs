//! One worker: a thread with its own listener, its own connections to every node, and an engine ([`Core`]) that decides.
//!
//! Shared nothing: tasks of one thread take turns on one [`Worker`], so nothing is locked and no request crosses a
//! channel. A turn is: sockets that became readable are drained into the engine (`clients`, `links`), then one flush
//! (`flush`), which is last in the run queue, sends what all of them produced with one write per socket.

mod clients;
mod flush;
mod links;
mod moderation;

use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, LocalSet};

use super::core::{Core, Course};
use super::engine::{Order, Settings, Shared};
use super::metrics::WorkerStats;
use crate::frontend::ClientView;
use crate::net::{Clock, Moment};
use crate::protocol::frame::ReadLevel;
use crate::protocol::identity::CancelHow;
use crate::topology::Catalog;
use clients::ClientSocket;
use links::LinkSocket;
use moderation::Moderation;

/// Bytes that one read takes at most.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Between two ticks while something waits for a moment.
const TICK_SOON: Duration = Duration::from_millis(2);
/// Between two ticks otherwise.
const TICK: Duration = Duration::from_millis(20);

/// What a worker is told by the rest of its process.
#[derive(Debug)]
pub enum Mail {
    /// Where to begin, or what to follow now.
    Course(Course),
    /// Tell the worker with this number your connections, for its client (place and id).
    ListViews(usize, u32, u64),
    /// The connections of another worker, for a client (place and id).
    Views(u32, u64, Vec<ClientView>),
    /// Close the clients with these ids.
    Kill(Vec<u64>),
    /// Take no requests until then, or only reads.
    Pause(Moment, bool),
    /// End the wait of the client with this id.
    Unblock(u64, CancelHow),
    /// Stop accepting, answer what was asked, close.
    Drain,
    /// End now.
    Stop,
}

/// What a worker is made with.
#[derive(Debug)]
pub struct WorkerOptions {
    /// Its number, from 0.
    pub number: usize,
    /// What its engine is made with.
    pub settings: Settings,
    /// Where its clients come in; one of several sockets of one port.
    pub listener: TcpListener,
    /// The clock.
    pub clock: Clock,
    /// What it shares with the rest of its process.
    pub shared: Shared,
    /// Where the newest catalog is published.
    pub catalog: Arc<ArcSwapOption<Catalog>>,
    /// What it is told.
    pub mail: mpsc::UnboundedReceiver<Mail>,
    /// How to tell the workers, itself included, in the order of their numbers.
    pub peers: Vec<mpsc::UnboundedSender<Mail>>,
    /// How clients' connections start out.
    pub reads: ReadLevel,
}

/// One worker.
struct Worker<C> {
    engine: RefCell<C>,
    clients: RefCell<Vec<Option<ClientSocket>>>,
    links: RefCell<Vec<LinkSocket>>,
    scratch: RefCell<Box<[u8]>>,
    clock: Clock,
    stats: Arc<WorkerStats>,
    catalog: Arc<ArcSwapOption<Catalog>>,
    moderation: RefCell<Moderation>,
    /// Whether the flush has something to do, and how to wake it.
    flush_due: Cell<bool>,
    flush_waker: RefCell<Option<Waker>>,
    blocked: RefCell<flush::Blocked>,
    accepting: RefCell<Option<AbortHandle>>,
    next_client: Cell<u64>,
    client_step: u64,
    connections_max: usize,
    reads: ReadLevel,
    number: usize,
    peers: Vec<mpsc::UnboundedSender<Mail>>,
    /// Clients that wait for other workers' connections: id, how many are missing, what came.
    collections: RefCell<Vec<(u64, usize, Vec<ClientView>)>>,
    draining: Cell<bool>,
    done: watch::Sender<bool>,
}

/// Runs a worker on this thread until it is drained.
///
/// # Errors
/// When the thread's runtime or listener cannot be set up.
pub fn run<C: Core>(options: WorkerOptions) -> std::io::Result<()> {
    moderation::sharpen_timers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, work::<C>(options))
}

async fn work<C: Core>(options: WorkerOptions) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(options.listener)?;
    let now = options.clock.now();
    let (done, mut finished) = watch::channel(false);
    let workers = options.settings.workers;
    let connections_max = options.settings.limits.connections_max;
    let worker = Rc::new(Worker {
        stats: options.shared.stats.clone(),
        engine: RefCell::new(C::make(options.settings, options.shared, now)),
        clients: RefCell::default(),
        links: RefCell::default(),
        scratch: RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice()),
        clock: options.clock,
        catalog: options.catalog,
        moderation: RefCell::new(Moderation::new(now)),
        flush_due: Cell::new(false),
        flush_waker: RefCell::default(),
        blocked: RefCell::default(),
        accepting: RefCell::default(),
        next_client: Cell::new(options.number as u64 + 1),
        client_step: workers as u64,
        connections_max,
        reads: options.reads,
        number: options.number,
        peers: options.peers,
        collections: RefCell::default(),
        draining: Cell::new(false),
        done,
    });
    let accepting = tokio::task::spawn_local(clients::accept(worker.clone(), listener));
    *worker.accepting.borrow_mut() = Some(accepting.abort_handle());
    tokio::task::spawn_local(flush::run(worker.clone()));
    tokio::task::spawn_local(tick(worker.clone()));
    tokio::task::spawn_local(read_mail(worker, options.mail));
    // The sender lives in the worker, which its own tasks keep.
    let _ = finished.wait_for(|done| *done).await;
    Ok(())
}

async fn tick<C: Core>(worker: Rc<Worker<C>>) {
    loop {
        let soon = worker.engine.borrow().is_waiting();
        tokio::time::sleep(if soon { TICK_SOON } else { TICK }).await;
        worker.engine.borrow_mut().tick(worker.clock.now(), worker.clock.wall());
        worker.carry_out_orders();
        worker.due();
        worker.finish_if_drained();
    }
}

async fn read_mail<C: Core>(worker: Rc<Worker<C>>, mut mail: mpsc::UnboundedReceiver<Mail>) {
    while let Some(letter) = mail.recv().await {
        match letter {
            Mail::Course(course) => worker.engine.borrow_mut().set_course(course),
            Mail::ListViews(to, key, id) => {
                let views = worker.engine.borrow().views();
                // A worker that ended has no client that waits.
                let _ = worker.peers[to].send(Mail::Views(key, id, views));
            }
            Mail::Views(key, id, views) => worker.collect(key, id, views),
            Mail::Kill(ids) => worker.engine.borrow_mut().kill(&ids),
            Mail::Pause(until, writes_only) => worker.engine.borrow_mut().pause(until, writes_only),
            Mail::Unblock(id, how) => worker.engine.borrow_mut().unblock(id, how),
            Mail::Drain => worker.drain(),
            Mail::Stop => drop(worker.done.send_replace(true)),
        }
        worker.carry_out_orders();
        worker.due();
    }
}

impl<C: Core> Worker<C> {
    /// Lets the flush run after all that is ready now.
    fn due(&self) {
        if !self.flush_due.replace(true)
            && let Some(waker) = self.flush_waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Catches the engine up and does what it asks for.
    fn settle(self: &Rc<Self>) {
        self.engine.borrow_mut().settle();
        self.carry_out_orders();
    }

    fn carry_out_orders(self: &Rc<Self>) {
        if !self.engine.borrow().has_orders() {
            return;
        }
        let orders = self.engine.borrow_mut().take_orders();
        for order in orders {
            match order {
                Order::Connect(node, addr) => links::connect(self, node, addr),
                Order::Disconnect(node) => links::disconnect(self, node),
                Order::CloseClient(key, id) => self.close_client(key, id),
                Order::ResumeClient(key) => self.wake_client(key),
                Order::CatalogLearned(catalog) => self.publish(&catalog),
                Order::CollectViews(key, id) => self.ask_for_views(key, id),
                Order::Kill(ids) => self.tell_all(|| Mail::Kill(ids.clone())),
                Order::Unblock(id, how) => self.tell_all(|| Mail::Unblock(id, how)),
                Order::Pause(until, writes_only) => self.tell_all(|| Mail::Pause(until, writes_only)),
            }
        }
    }

    fn tell_all(&self, letter: impl Fn() -> Mail) {
        // A worker that ended has nothing to do with it any more.
        self.peers.iter().for_each(|peer| drop(peer.send(letter())));
    }

    fn ask_for_views(&self, key: u32, id: u64) {
        let others = self.peers.iter().enumerate().filter(|(number, _)| *number != self.number);
        let asked = others.filter(|(_, peer)| peer.send(Mail::ListViews(self.number, key, id)).is_ok()).count();
        self.collections.borrow_mut().push((id, asked + 1, Vec::new()));
        self.collect(key, id, Vec::new());
    }

    fn collect(&self, key: u32, id: u64, views: Vec<ClientView>) {
        let mut collections = self.collections.borrow_mut();
        let Some(at) = collections.iter().position(|(client, ..)| *client == id) else { return };
        collections[at].1 -= 1;
        collections[at].2.extend(views);
        if collections[at].1 == 0 {
            let (_, _, views) = collections.swap_remove(at);
            self.engine.borrow_mut().take_views(key, id, views);
        }
    }

    fn publish(&self, catalog: &Arc<Catalog>) {
        self.catalog.rcu(|known| match known {
            Some(known) if known.revision >= catalog.revision => Some(known.clone()),
            _ => Some(catalog.clone()),
        });
    }

    fn drain(self: &Rc<Self>) {
        if self.draining.replace(true) {
            return;
        }
        if let Some(accepting) = self.accepting.borrow_mut().take() {
            accepting.abort();
        }
        self.engine.borrow_mut().drain();
        self.carry_out_orders();
        self.due();
        self.finish_if_drained();
    }

    fn finish_if_drained(&self) {
        if self.draining.get() && self.engine.borrow().is_drained() {
            self.done.send_replace(true);
        }
    }
}
