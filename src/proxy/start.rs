//! A proxy as a whole: its port, its workers, the thread that watches the file and serves metrics, its end.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use super::core::{Core, Course};
use super::engine::{Settings, Shared};
use super::exposition::Shown;
use super::limits::WorkerLimits;
use super::metrics::WorkerStats;
use super::process::Process;
use super::worker::{self, Mail, Postbox, WorkerOptions, postbox};
use super::{engine, redis};
use crate::control::admin;
use crate::control::follow::Follow;
use crate::control::health::HealthTimes;
use crate::control::os_reason;
use crate::control::reload::Reload;
use crate::frontend::{Desk, Facts, Parameters};
use crate::net::{Clock, Entropy};
use crate::protocol::frame::ReadLevel;
use crate::protocol::request::Limits;
use crate::topology::{Catalog, SessionId, ShardsFile};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long clients get for what they asked, once the proxy is told to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether the workers ended.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// What a proxy is started with.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// A label for the nodes' logs.
    pub name: String,
    /// The path of `shards.toml`.
    pub config: PathBuf,
    /// The file as it was read.
    pub file: ShardsFile,
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where metrics are served.
    pub admin_listen: Option<SocketAddr>,
    /// How many threads serve clients; at least one.
    pub workers: usize,
    /// How connections read until they choose.
    pub reads: ReadLevel,
    /// Reads prefer replicas in this zone.
    pub zone: Option<String>,
    /// What `INFO` calls the process: `proxy` or `dev`.
    pub process: String,
    /// Bounds on each worker.
    pub limits: WorkerLimits,
    /// How nodes are judged.
    pub health: HealthTimes,
    /// The clock.
    pub clock: Clock,
    /// Where seeds come from.
    pub entropy: Entropy,
}

impl ProxyOptions {
    /// The defaults for a file: one worker per processor, reads at `session`.
    pub fn new(config: PathBuf, file: impl Into<ShardsFile>, listen: SocketAddr) -> Self {
        Self {
            name: "proxy".to_owned(),
            config,
            file: file.into(),
            listen,
            admin_listen: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            reads: ReadLevel::Session,
            zone: None,
            process: "proxy".to_owned(),
            limits: WorkerLimits::default(),
            health: HealthTimes::default(),
            clock: Clock::system(),
            entropy: Entropy::system(),
        }
    }
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Its port cannot be had.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The file cannot be watched.
    #[error("cannot watch {file}: {reason}")]
    Watch {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// A thread or a signal handler cannot be had.
    #[error("the operating system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// A running proxy. Dropped, it stops following its file and serving metrics, while its workers go on until the process ends:
/// [`Proxy::drain`] ends them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    process: Arc<Process>,
    mail: Vec<Postbox>,
    workers: Vec<JoinHandle<()>>,
    /// Ends the thread beside the workers when it is dropped.
    _supervised: oneshot::Sender<()>,
}

impl Proxy {
    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are served.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Whether every shard has a leader that can be reached.
    pub fn is_ready(&self) -> bool {
        self.process.is_ready()
    }

    /// Stops accepting, answers what was asked, closes. Takes 5 s at most; returns whether all was answered.
    pub async fn drain(self) -> bool {
        self.tell_all(|| Mail::Drain);
        let began = self.process.clock().now();
        while self.workers.iter().any(|w| !w.is_finished()) {
            if self.process.clock().now().since(began) >= DRAIN_MAX {
                tracing::warn!("clients were disconnected before their requests were answered");
                self.tell_all(|| Mail::Stop);
                return false;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        true
    }

    fn tell_all(&self, letter: impl Fn() -> Mail) {
        // A worker that ended already needs not be told.
        for mail in &self.mail {
            mail.send(letter());
        }
    }
}

/// Starts a proxy on threads of its own and returns when it listens.
///
/// # Errors
/// [`ProxyError`].
pub fn start(options: ProxyOptions) -> Result<Proxy, ProxyError> {
    raise_descriptor_limit();
    let (address, listeners) = listen(options.listen, options.workers.max(1))?;
    let admin = options.admin_listen.map(|address| {
        let listener = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
        listener.map_err(|error| refused(address, &error))
    });
    let admin = admin.transpose()?;
    let admin_address = admin.as_ref().and_then(|l| l.local_addr().ok());
    let count = listeners.len();
    let stats: Vec<_> = (0..count).map(|_| Arc::new(WorkerStats::default())).collect();
    let process = Arc::new(Process::new(stats.clone(), facts(&options, address), options.clock.clone()));
    let desk = Arc::new(Desk { parameters: parameters(&options, address, count), ..Desk::default() });
    let catalog = Arc::new(ArcSwapOption::empty());
    let boxes = (0..count).map(|_| postbox()).collect::<std::io::Result<Vec<_>>>()?;
    let (mail, inboxes): (Vec<_>, Vec<_>) = boxes.into_iter().unzip();
    let reload = follower(&options, &process, &catalog, &mail)?;
    let supervised = supervise(admin, process.clone(), reload)?;
    let mut workers = Vec::new();
    for (number, ((listener, inbox), stats)) in listeners.into_iter().zip(inboxes).zip(stats).enumerate() {
        let worker = WorkerOptions {
            number,
            settings: settings(&options, count),
            listener,
            clock: options.clock.clone(),
            shared: Shared { stats, process: process.clone(), desk: desk.clone() },
            catalog: catalog.clone(),
            mail: inbox,
            peers: mail.clone(),
            reads: options.reads,
        };
        workers.push(match options.file {
            ShardsFile::Cluster(_) => spawn_worker::<engine::Engine>(worker),
            ShardsFile::Redis(_) => spawn_worker::<redis::Engine>(worker),
        }?);
    }
    let proxy = Proxy { address, admin_address, process, mail, workers, _supervised: supervised };
    if let ShardsFile::Cluster(config) = &options.file {
        let nodes = config.nodes.iter().map(|n| (n.name.clone(), n.addr.to_string(), n.zone.clone()));
        let nodes: Vec<_> = nodes.collect();
        proxy.tell_all(|| Mail::Course(Course::Seeds(nodes.clone())));
    }
    Ok(proxy)
}

fn spawn_worker<C: Core>(options: WorkerOptions) -> std::io::Result<JoinHandle<()>> {
    let name = format!("pontoon-proxy-{}", options.number);
    std::thread::Builder::new().name(name).spawn(move || {
        if let Err(error) = worker::run::<C>(options) {
            tracing::error!(%error, "a worker cannot run");
        }
    })
}

/// What follows the file for as long as the proxy runs.
type Follower = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Edits of a cluster's file are proposed to its catalog; those of a file of Redis shards are told to the workers.
fn follower(
    options: &ProxyOptions,
    process: &Arc<Process>,
    catalog: &Arc<ArcSwapOption<Catalog>>,
    workers: &[Postbox],
) -> Result<Follower, ProxyError> {
    let file = options.config.display().to_string();
    let unwatched = |error: std::io::Error| ProxyError::Watch { file, reason: os_reason(&error) };
    match &options.file {
        ShardsFile::Cluster(config) => {
            let catalog = catalog.clone();
            let reload = Reload::start(&options.config, config.clone(), &options.name, move || catalog.load_full());
            let reload = reload.map_err(unwatched)?;
            process.set_file_trouble(reload.trouble());
            Ok(Box::pin(reload.run()))
        }
        ShardsFile::Redis(config) => {
            let (process, workers) = (process.clone(), workers.to_vec());
            let follow = Follow::start(&options.config, Arc::new(config.clone()), move |followed| {
                process.set_followed(followed.clone());
                // A worker that ended needs no file.
                for worker in &workers {
                    worker.send(Mail::Course(Course::Redis(followed.config.clone())));
                }
            });
            Ok(Box::pin(follow.map_err(unwatched)?.run()))
        }
    }
}

/// One thread for what is neither hot nor urgent: the file and the metrics.
fn supervise(
    admin: Option<TcpListener>,
    process: Arc<Process>,
    follower: Follower,
) -> Result<oneshot::Sender<()>, ProxyError> {
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = {
        let _entered = runtime.enter();
        admin.map(tokio::net::TcpListener::from_std).transpose()?
    };
    std::thread::Builder::new().name("pontoon-proxy".to_owned()).spawn(move || {
        runtime.block_on(async move {
            if let Some(admin) = admin {
                tokio::spawn(admin::serve(admin, Arc::new(Shown(process))));
            }
            tokio::spawn(follower);
            // Ends with the proxy, whether it says so or is dropped.
            let _ = ended.await;
        });
    })?;
    Ok(end)
}

fn settings(options: &ProxyOptions, workers: usize) -> Settings {
    Settings {
        limits: options.limits,
        request_limits: Limits::default(),
        health: options.health,
        zone: options.zone.clone(),
        name: options.name.clone(),
        workers,
        seed: options.entropy.next(),
        session: SessionId(options.entropy.next_u128()),
    }
}

fn facts(options: &ProxyOptions, address: SocketAddr) -> Facts {
    let digits = format!("{:032x}{:016x}", options.entropy.next_u128(), options.entropy.next());
    Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: options.process.clone(),
        run_id: digits[..40].to_owned(),
        process_id: std::process::id(),
        port: address.port(),
        executable: std::env::current_exe().map(|p| p.display().to_string()).unwrap_or_default(),
        config_file: options.config.display().to_string(),
        clients_max: (options.limits.connections_max * options.workers) as u64,
        ..Facts::default()
    }
}

fn parameters(options: &ProxyOptions, address: SocketAddr, workers: usize) -> Parameters {
    Parameters::with(&[
        ("port", address.port().to_string()),
        ("bind", address.ip().to_string()),
        ("maxclients", (options.limits.connections_max * workers).to_string()),
    ])
}

/// As many sockets of one port as there are workers; the kernel spreads connections over them.
fn listen(address: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<TcpListener>), ProxyError> {
    // Sockets that share a port share it with another proxy too; a first one that does not share finds that out.
    let first = bind(address, false).map_err(|error| refused(address, &error))?;
    let address = first.local_addr().map_err(|error| refused(address, &error))?;
    drop(first);
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| bind(address, true)).collect();
    Ok((address, listeners.map_err(|error| refused(address, &error))?))
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn refused(address: SocketAddr, error: &std::io::Error) -> ProxyError {
    ProxyError::Listen { address, reason: os_reason(error) }
}

/// Lets the process have as many descriptors as it may: each client is one.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read and write the struct that they are given.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    if !raised {
        tracing::debug!("the limit of file descriptors stays as it is");
    }
}
