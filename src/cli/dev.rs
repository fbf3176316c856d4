//! `pontoon dev`: a whole cluster in one process. Real nodes on threads of their own, real Raft over loopback, one proxy;
//! everything is kept in one directory, with the `shards.toml` it uses, which is watched.
//!
//! The directory decides: started again, it is the same cluster. What the command line says of shards and replicas counts
//! only for a new one.

use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::task::Poll;

use anyhow::{Context, Result, bail};

use super::args::DevArgs;
use super::{init, print, signals};
use crate::control::config_file;
use crate::net::Entropy;
use crate::node::engine::EngineOptions;
use crate::node::{self, NodeHandle, NodeOptions};
use crate::proxy::{self, ProxyOptions};
use crate::storage::{Disk, DiskLock, LogOptions, StorageError};
use crate::topology::ShardsConfig;

/// The file that a running process holds.
const LOCK_FILE: &str = "LOCK";
const CONFIG_FILE: &str = "shards.toml";
/// Where free ports for the nodes are looked for: below those that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 17_000..32_000;

pub async fn run(args: &DevArgs) -> Result<()> {
    // Before anything is made: the one thing that most often stands in the way.
    drop(TcpListener::bind(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?);
    let (_lock, path) = open(args)?;
    let config = config_file::load(&path)?;
    let mut nodes = start_nodes(&config, &path, args)?;
    init::found_if_new(&config).await?;
    let proxy = start_proxy(&config, &path, args)?;
    announce(&config, &path, proxy.address(), args)?;
    let ended = stop_or_end(&mut nodes).await;
    tracing::info!("stopping: open requests are answered");
    proxy.drain().await;
    nodes.into_iter().for_each(NodeHandle::stop);
    ended
}

/// Waits for a signal to stop, or for the end of the last node. A node that ends by itself leaves the others serve what
/// they can; why it did is what the command ends with.
async fn stop_or_end(nodes: &mut [NodeHandle]) -> Result<()> {
    let mut ends: Vec<_> = nodes.iter_mut().map(|node| Box::pin(node.ended())).collect();
    let mut stop = Box::pin(signals::stop());
    let mut first_error = None;
    poll_fn(|context| {
        ends.retain_mut(|end| match end.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(ended) => {
                first_error = first_error.take().or(ended.err());
                false
            }
        });
        match stop.as_mut().poll(context) {
            Poll::Pending if !ends.is_empty() => Poll::Pending,
            _ => Poll::Ready(first_error.take().map_or(Ok(()), |error| Err(error.into()))),
        }
    })
    .await
}

/// Takes the directory, or makes it. Returns the lock and the path of its `shards.toml`.
fn open(args: &DevArgs) -> Result<(DiskLock, PathBuf)> {
    let (dir, disk) = (&args.data, Disk::system());
    let config = dir.join(CONFIG_FILE);
    let names = disk.list_dir(dir)?.unwrap_or_default();
    if !names.is_empty() && !names.iter().any(|n| n == LOCK_FILE) {
        bail!("{}: the directory has other files in it, and is left as it is", dir.display());
    }
    disk.create_dir(dir)?;
    let lock = disk.lock(&dir.join(LOCK_FILE)).map_err(|error| match error {
        StorageError::InUse { .. } => StorageError::InUse { path: dir.clone() },
        error => error,
    })?;
    if !names.iter().any(|n| n == CONFIG_FILE) {
        let temporary = dir.join("shards.toml.new");
        let file = disk.create(&temporary)?;
        file.write_at(0, new_config(args)?.as_bytes())?;
        file.sync()?;
        disk.rename(&temporary, &config)?;
        disk.sync_dir(dir)?;
    }
    Ok((lock, config))
}

/// A `shards.toml` of nodes on free ports; each shard's list starts at another node, so that leaders are spread.
fn new_config(args: &DevArgs) -> Result<String> {
    let mut text = String::from(
        "# Written by `pontoon dev`, and watched: an edit takes effect when it is saved. Raise the version with every edit.\n\
         version = 1\n",
    );
    let names: Vec<String> = (1..=args.replicas).map(|number| format!("n{number}")).collect();
    let ports = free_ports(names.len())?;
    for (name, port) in names.iter().zip(ports) {
        write!(text, "\n[[node]]\nname = \"{name}\"\naddr = \"127.0.0.1:{port}\"\n")?;
    }
    for shard in 0..usize::from(args.shards) {
        let nodes = (0..names.len()).map(|place| format!("\"{}\"", names[(shard + place) % names.len()]));
        let nodes: Vec<_> = nodes.collect();
        write!(text, "\n[[shard]]\nname = \"{}\"\nnodes = [{}]\n", shard_name(shard), nodes.join(", "))?;
    }
    Ok(text)
}

/// `a` to `z`, then `s26` and so on.
fn shard_name(number: usize) -> String {
    match u8::try_from(number) {
        Ok(letter) if letter < 26 => char::from(b'a' + letter).to_string(),
        _ => format!("s{number}"),
    }
}

/// Free ports from a random place on, so that clusters that never met do not meet later.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let start = (Entropy::system().next() % PORTS.len() as u64) as usize;
    let order = PORTS.cycle().skip(start).take(PORTS.len());
    let free = order.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let found: Vec<u16> = free.take(count).collect();
    if found.len() < count {
        bail!("no {count} free ports between {} and {} for the nodes", PORTS.start, PORTS.end);
    }
    Ok(found)
}

fn start_nodes(config: &ShardsConfig, path: &Path, args: &DevArgs) -> Result<Vec<NodeHandle>> {
    let mut nodes = Vec::new();
    for record in &config.nodes {
        let options = NodeOptions {
            name: record.name.clone(),
            data: args.data.join(record.name.as_str()),
            listen: None,
            admin_listen: None,
            config: config.clone(),
            config_path: Some(path.to_path_buf()),
            engine: EngineOptions {
                memory_bytes_max: args.max_memory,
                moves: args.moves.options(),
                ..EngineOptions::default()
            },
            log: LogOptions::default(),
        };
        nodes.push(node::start(options)?);
    }
    Ok(nodes)
}

fn start_proxy(config: &ShardsConfig, path: &Path, args: &DevArgs) -> Result<proxy::Proxy> {
    let mut options = ProxyOptions::new(path.to_path_buf(), config.clone(), args.listen);
    options.process = "dev".to_owned();
    options.admin_listen = args.admin_listen;
    options.reads = args.reads;
    options.workers = 1;
    Ok(proxy::start(options)?)
}

fn announce(config: &ShardsConfig, path: &Path, address: SocketAddr, args: &DevArgs) -> Result<()> {
    let mut text = String::new();
    writeln!(
        text,
        "Pontoon is up: {} shards over {} nodes, kept in {}",
        config.shards.len(),
        config.nodes.len(),
        args.data.display()
    )?;
    for record in &config.nodes {
        writeln!(text, "  node {}   {}", record.name, record.addr)?;
    }
    writeln!(text, "  redis     {address}")?;
    writeln!(text, "  config    {} (edit it: it is watched)", path.display())?;
    writeln!(text, "Try:  redis-cli -p {} set hello world", address.port())?;
    print(&text)?;
    std::io::stdout().flush()?;
    Ok(())
}
