//! Starting and ending a node.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

use super::balance;
use super::cluster;
use super::connections::Connections;
use super::engine::{Engine, EngineOptions};
use super::figures::Figures;
use super::home::{Home, HomeError};
use super::log_thread::{LogWriter, Written};
use super::marks::Marks;
use super::peer_link::Links;
use super::registration::Claims;
use super::removal::{self, Removals};
use super::reports;
use super::server::{self, Node, Shared};
use super::vetting::Vetting;
use crate::control::admin;
use crate::control::reload::{FileTrouble, Reload};
use crate::frontend::{Desk, Parameters};
use crate::net::{Clock, Entropy};
use crate::storage::{Disk, LogOptions, SegmentLog, StorageError};
use crate::topology::{NodeName, ShardsConfig};

/// How often a data directory that is in use is tried again, and how long after.
const IN_USE_TRIES_MAX: u32 = 20;
const IN_USE_PAUSE: Duration = Duration::from_millis(100);

/// No lease lasts for so long.
const LEASES_OVER: Duration = Duration::from_secs(2);

/// What a node needs to start.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its name in `shards.toml`.
    pub name: NodeName,
    /// Its data directory.
    pub data: PathBuf,
    /// Where it listens, when that is not its address in `shards.toml`.
    pub listen: Option<SocketAddr>,
    /// Where metrics are served.
    pub admin_listen: Option<SocketAddr>,
    /// `shards.toml` as it was read.
    pub config: ShardsConfig,
    /// Where `shards.toml` is, to watch it; none: it is not watched.
    pub config_path: Option<PathBuf>,
    /// When states are written and how much of the log stays in memory.
    pub engine: EngineOptions,
    /// How the log is laid out on disk; its salt is drawn anew at every start.
    pub log: LogOptions,
}

/// Why a node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory.
    #[error("{0}{advice}", advice = .0.advice())]
    Home(HomeError),
    /// The name is not in the file.
    #[error("`{0}` is not a node of shards.toml")]
    UnknownName(NodeName),
    /// The address.
    #[error("node `{name}` cannot listen on {addr}: {error}")]
    Listen {
        /// The node.
        name: NodeName,
        /// Its address.
        addr: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The node stopped by itself, to keep what it promised.
    #[error("{0}")]
    Stopped(String),
}

impl From<HomeError> for NodeError {
    // Not as its source, which would be told a second time.
    fn from(error: HomeError) -> Self {
        Self::Home(error)
    }
}

/// A running node.
pub struct NodeHandle {
    /// Its name.
    pub name: NodeName,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where metrics are served.
    pub admin_address: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<Result<(), NodeError>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl NodeHandle {
    /// Waits until the node ends by itself, which it does only to keep a promise, or when it was removed from the cluster.
    pub async fn ended(&mut self) -> Result<(), NodeError> {
        match self.ended.as_mut() {
            Some(ended) => ended
                .await
                .unwrap_or_else(|_| Err(NodeError::Stopped(format!("node `{}` ended in a panic", self.name)))),
            None => Ok(()),
        }
    }

    /// Ends the node. What it has acknowledged is on disk.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the node's thread was reported by itself.
            let _ = thread.join();
        }
    }
}

/// Where a node listens, and where it serves metrics.
type Addresses = (SocketAddr, Option<SocketAddr>);

/// Starts a node on a thread of its own. When this returns, it has its data and listens.
///
/// # Errors
/// It cannot: the data directory, the address.
pub fn start(options: NodeOptions) -> Result<NodeHandle, NodeError> {
    let (ready_sender, ready) = std_mpsc::channel();
    let (stop_sender, stop) = oneshot::channel();
    let (ended_sender, ended) = oneshot::channel();
    let name = options.name.clone();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the operating system gives an epoll descriptor");
        let local = LocalSet::new();
        let result = local.block_on(&runtime, run(options, &ready_sender, stop));
        // Nobody may be waiting any more.
        let _ = ended_sender.send(result);
    };
    let thread = thread::Builder::new().name(format!("node-{name}")).spawn(work);
    let thread = thread.expect("the operating system starts a thread");
    match ready.recv() {
        Ok(Ok((address, admin_address))) => {
            let (stop, ended, thread) = (Some(stop_sender), Some(ended), Some(thread));
            Ok(NodeHandle { name, address, admin_address, stop, ended, thread })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(NodeError::Stopped(format!("node `{name}` ended while it started"))),
    }
}

async fn run(
    options: NodeOptions,
    ready: &std_mpsc::Sender<Result<Addresses, NodeError>>,
    stop: oneshot::Receiver<()>,
) -> Result<(), NodeError> {
    let (shared, listener, admin) = match open(&options).await {
        Ok(opened) => opened,
        Err(error) => {
            drop(ready.send(Err(error)));
            return Ok(());
        }
    };
    let ended = Rc::clone(&shared.borrow().ended);
    let address = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    spawn_local(server::run_turns(Rc::clone(&shared)));
    let admin_address = admin.as_ref().and_then(|a| a.local_addr().ok());
    if let Some(admin) = admin {
        let figures = Arc::clone(&shared.borrow().figures);
        tokio::spawn(admin::serve(admin, figures));
    }
    spawn_local(server::accept(Rc::clone(&shared), listener));
    spawn_local(forget_leases(Rc::clone(&shared)));
    spawn_local(cluster::follow(Rc::clone(&shared)));
    spawn_local(reports::report(Rc::clone(&shared)));
    spawn_local(balance::spread(Rc::clone(&shared)));
    spawn_local(cluster::hear(Rc::clone(&shared), options.config.clone()));
    if let Some(path) = options.config_path {
        let (name, node) = (format!("node {}", options.name), Rc::clone(&shared));
        let catalog = move || node.borrow().engine.catalog().cloned();
        match Reload::start(&path, options.config, &name, catalog) {
            Ok(reload) => {
                shared.borrow_mut().file_trouble = reload.trouble();
                drop(spawn_local(reload.run()));
            }
            Err(error) => tracing::error!(file = %path.display(), "the file cannot be watched: {error}"),
        }
    }
    drop(ready.send(Ok((address, admin_address))));
    tokio::select! {
        _ = stop => Ok(()),
        () = ended.notified() => {
            match shared.borrow().fatal.clone() {
                Some(reason) => Err(NodeError::Stopped(reason)),
                None => Ok(()),
            }
        }
    }
}

async fn open(options: &NodeOptions) -> Result<(Shared, TcpListener, Option<TcpListener>), NodeError> {
    let name = &options.name;
    let record = options.config.nodes.iter().find(|n| n.name == *name);
    let record = record.ok_or_else(|| NodeError::UnknownName(name.clone()))?;
    let addr = options.listen.map_or_else(|| record.addr.to_string(), |addr| addr.to_string());
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let (mut home, log) = open_home(options, &entropy).await?;
    let listen = |error| NodeError::Listen { name: name.clone(), addr: addr.clone(), error };
    let listener = TcpListener::bind(&addr).await.map_err(listen)?;
    let admin = match options.admin_listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| NodeError::Listen {
            name: name.clone(),
            addr: address.to_string(),
            error,
        })?),
        None => None,
    };
    if options.engine.reads.lease {
        home.keep_leases()?;
    }
    let catalog = home.catalog()?;
    if let Some(catalog) = catalog.as_ref() {
        home.check_not_retired(catalog)?;
    }
    let replicas = home.restore_all(catalog.as_ref())?;
    let leftovers = catalog.as_ref().map_or_else(|| Ok(Vec::new()), |catalog| home.leftovers(catalog))?;
    let mut engine = Engine::new(name.clone(), options.engine, entropy.next());
    if let Some(catalog) = catalog {
        engine.adopt_catalog(Arc::new(catalog));
    }
    replicas.into_iter().for_each(|replica| engine.add_replica(replica));
    let figures = Arc::new(Figures::default());
    let (log, returned) = start_log(name, log, &clock, &figures);
    let mut node = Node {
        engine,
        connections: Connections::default(),
        links: Links::default(),
        home,
        clock,
        name: name.clone(),
        log,
        figures,
        desk: Rc::new(Desk {
            parameters: Parameters::with(&[("maxmemory", options.engine.memory_bytes_max.to_string())]),
            ..Desk::default()
        }),
        clients: 0,
        wake: Rc::new(Notify::new()),
        marks: Marks::default(),
        claims: Claims::default(),
        vetting: Vetting::default(),
        removals: Removals::default(),
        file_trouble: FileTrouble::default(),
        farewell: None,
        fatal: None,
        ended: Rc::new(Notify::new()),
        catalog_changed: Rc::new(Notify::new()),
    };
    removal::destroy_leftovers(&mut node, &leftovers);
    let shared = Rc::new(RefCell::new(node));
    spawn_local(take_back(Rc::clone(&shared), returned));
    Ok((shared, listener, admin))
}

/// Opens the data directory. A process that was killed a moment ago may still be holding it.
async fn open_home(options: &NodeOptions, entropy: &Entropy) -> Result<(Home, SegmentLog), HomeError> {
    let mut patience = IN_USE_TRIES_MAX;
    loop {
        match Home::open_with(&Disk::system(), &options.data, &options.name, entropy, options.log.clone()) {
            Err(HomeError::Storage(StorageError::InUse { .. })) if patience > 0 => patience -= 1,
            other => return other,
        }
        tokio::time::sleep(IN_USE_PAUSE).await;
    }
}

/// A node that kept leases until its last start and keeps none now goes on as others do, once they have run out.
async fn forget_leases(shared: Shared) {
    if !shared.borrow().home.kept_leases_once() {
        return;
    }
    tokio::time::sleep(LEASES_OVER).await;
    if let Err(error) = shared.borrow().home.forget_leases() {
        tracing::warn!("the next start will wait for leases that nobody holds: {error}");
    }
}

fn start_log(
    name: &NodeName,
    log: SegmentLog,
    clock: &Clock,
    figures: &Arc<Figures>,
) -> (LogWriter, mpsc::UnboundedReceiver<Written>) {
    // At most one batch is on its way, so the channel holds at most one.
    let (done, returned) = mpsc::unbounded_channel();
    let give_back = move |written| drop(done.send(written));
    (LogWriter::start(name.as_str(), log, clock.clone(), Arc::clone(figures), give_back), returned)
}

async fn take_back(shared: Shared, mut returned: mpsc::UnboundedReceiver<Written>) {
    while let Some(written) = returned.recv().await {
        let node = &mut *shared.borrow_mut();
        node.batch_written(written);
        node.wake.notify_one();
    }
}
