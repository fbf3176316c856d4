//! The command line as types: every flag, its default and its environment variable.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::reshard::args::ReshardArgs;
use crate::frontend::parse_bytes;
use crate::protocol::frame::ReadLevel;
use crate::topology::balance::Weigh;
use crate::topology::config::check_name;
use crate::topology::{HostPort, NodeName};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused, invalid or not possible now (the reason is on standard error); 2 wrong command line";

const VERIFY_EXIT_CODES: &str =
    "Exit codes: 0 all replicas are identical; 1 there are differences; 2 not all replicas could be compared";

/// Many Raft groups that look like one Redis.
#[derive(Debug, Parser)]
#[command(name = "pontoon", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cluster in this process, to try it out
    Dev(DevArgs),
    /// Run one node of a cluster
    Node(NodeArgs),
    /// Create the cluster of a shards.toml, once
    Init(InitArgs),
    /// Serve Redis clients: one stateless proxy
    Proxy(ProxyArgs),
    /// Show the nodes and shards of a cluster
    Status(StatusArgs),
    /// Validate a shards.toml
    Check(CheckArgs),
    /// Show where a key lives
    Where(WhereArgs),
    /// Compare the replicas of every shard
    Verify(VerifyArgs),
    /// Show what a shards.toml would change
    Plan(PlanArgs),
    /// Edit the shards.toml in place: add, remove and resize shards and nodes
    Reshard(ReshardArgs),
    /// Let leaders leave a node, for maintenance
    EvictLeaders(EvictArgs),
    /// Spread leaders evenly over hosts, with the fewest transfers
    Balance(BalanceArgs),
}

/// How to log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LoggingArgs {
    /// The form of log lines on standard error
    #[arg(long, global = true, env = "PONTOON_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// error, warn, info, debug or trace; or filters, like `pontoon::proxy=debug,info`
    #[arg(long, global = true, env = "PONTOON_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `pontoon dev`: a whole cluster in one process.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// How many shards
    #[arg(long, env = "PONTOON_SHARDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: u16,
    /// How many nodes, each with a replica of every shard
    #[arg(long, env = "PONTOON_REPLICAS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub replicas: u16,
    /// Where Redis clients connect
    #[arg(long, env = "PONTOON_LISTEN", default_value = "127.0.0.1:6379", value_parser = listen_address)]
    pub listen: SocketAddr,
    /// Where metrics and health are served
    #[arg(long, env = "PONTOON_ADMIN_LISTEN", value_parser = listen_address)]
    pub admin_listen: Option<SocketAddr>,
    /// Where everything is kept
    #[arg(long, env = "PONTOON_DATA", default_value = "./pontoon-data")]
    pub data: PathBuf,
    /// The level of reads, unless a connection asks for another
    #[arg(long, env = "PONTOON_READS", default_value = "session", value_parser = read_level)]
    pub reads: ReadLevel,
    /// Memory of each node's data, like 512mb or 4gb, above which writes that add are refused; 0: no limit
    #[arg(long, env = "PONTOON_MAX_MEMORY", value_name = "BYTES", default_value = "0", value_parser = bytes)]
    pub max_memory: u64,
    #[command(flatten)]
    pub moves: MoveArgs,
}

/// `pontoon node`: one node.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Which node of the file this is
    #[arg(long, env = "PONTOON_NAME", value_parser = node_name)]
    pub name: NodeName,
    /// Where its logs and snapshots are kept
    #[arg(long, env = "PONTOON_DATA")]
    pub data: PathBuf,
    /// Where it listens, when that is not its address in the file
    #[arg(long, env = "PONTOON_LISTEN", value_parser = listen_address)]
    pub listen: Option<SocketAddr>,
    /// Where metrics and health are served
    #[arg(long, env = "PONTOON_ADMIN_LISTEN", value_parser = listen_address)]
    pub admin_listen: Option<SocketAddr>,
    /// Entries after which a shard's state is written as a snapshot, however small they are
    #[arg(long, env = "PONTOON_SNAPSHOT_ENTRIES", value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_entries: Option<u64>,
    /// Bytes of entries after which it is written, where the last snapshot was smaller
    #[arg(long, env = "PONTOON_SNAPSHOT_BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_bytes: Option<u64>,
    /// Bytes of one file of the log, rounded up to multiples of 4096; at least three of them are on disk once snapshots have freed the first
    #[arg(long, env = "PONTOON_LOG_SEGMENT_BYTES", value_parser = clap::value_parser!(u64).range(1 << 16..=1 << 32))]
    pub log_segment_bytes: Option<u64>,
    /// Memory of the node's data, like 512mb or 4gb, above which writes that add are refused; 0: no limit
    #[arg(long, env = "PONTOON_MAX_MEMORY", value_name = "BYTES", default_value = "0", value_parser = bytes)]
    pub max_memory: u64,
    /// How far the node's clock may be off the median of the clocks of the nodes that it shares shards with, in milliseconds,
    /// before it hands over what it leads: a leader's clock decides when keys expire. 0: however far
    #[arg(long, env = "PONTOON_CLOCK_OFF_MAX_MS", default_value_t = 5_000)]
    pub clock_off_max_ms: u64,
    #[command(flatten)]
    pub moves: MoveArgs,
    #[command(flatten)]
    pub reads: NodeReadArgs,
}

/// How slots are moved to other shards.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Moving slots")]
pub struct MoveArgs {
    /// Bytes per second, like 64mb, that the node's leaders send to other shards; 8 MiB unless told otherwise, which is 60,000 keys
    /// of 100 bytes; less at first, while clients wait longer than before, and while the node, or who takes them, is late
    #[arg(long, env = "PONTOON_MOVE_BYTES_PER_SECOND", value_name = "BYTES", value_parser = rate)]
    pub move_bytes_per_second: Option<u64>,
    /// Batches of slots (of up to 2 MiB, or one larger slot) that a shard moves away at one time; 2 unless told otherwise
    #[arg(long, env = "PONTOON_MOVE_PARALLEL", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub move_parallel: Option<u16>,
}

impl MoveArgs {
    /// What was asked for, or the defaults.
    pub fn options(self) -> crate::node::moves::MoveOptions {
        let defaults = crate::node::moves::MoveOptions::default();
        crate::node::moves::MoveOptions {
            bytes_per_second: self.move_bytes_per_second.unwrap_or(defaults.bytes_per_second),
            parallel: self.move_parallel.map_or(defaults.parallel, usize::from),
        }
    }
}

/// How a node's replicas are read.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Reads")]
pub struct NodeReadArgs {
    /// How far reads of level `any` may be behind, in milliseconds; a replica that cannot keep it refuses them. Small
    /// values cost more: each replica asks its leader five times in it, at most once a second and 40 times a second
    #[arg(long, env = "PONTOON_MAX_STALENESS_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(200..=600_000))]
    pub max_staleness_ms: u64,
    /// Let leaders answer reads of level `strong` without asking a majority first, for 0.3 s after one confirmed them. To be
    /// given to all nodes, and of effect in the shards all of whose nodes have it. It rests on the nodes' monotonic clocks:
    /// they must run at rates that differ by less than a quarter, and must not stop while other nodes run on (a virtual
    /// machine that is paused, suspended or moved may answer a stale read when it wakes). Who cannot promise that leaves it
    /// out. It also makes the death of a leader cost up to a second, since nobody stands for election early
    #[arg(long, env = "PONTOON_READ_LEASE")]
    pub read_lease: bool,
    /// Where a shard has lost its majority, answer reads of level `any` all the same, however old the data: after two
    /// seconds without a leader, once --max-staleness-ms cannot be kept any more
    #[arg(long, env = "PONTOON_ORPHAN_READS")]
    pub orphan_reads: bool,
}

/// `pontoon proxy`: one stateless proxy.
#[derive(Clone, Debug, Args)]
pub struct ProxyArgs {
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Its name in logs and in the nodes' logs
    #[arg(long, env = "PONTOON_NAME")]
    pub name: Option<String>,
    /// Where Redis clients connect
    #[arg(long, env = "PONTOON_LISTEN", default_value = "127.0.0.1:6379", value_parser = listen_address)]
    pub listen: SocketAddr,
    /// Where metrics and health are served
    #[arg(long, env = "PONTOON_ADMIN_LISTEN", value_parser = listen_address)]
    pub admin_listen: Option<SocketAddr>,
    /// The zone whose replicas are read first
    #[arg(long, env = "PONTOON_ZONE")]
    pub zone: Option<String>,
    /// How long a request may wait for its answer, in milliseconds: writes are asked for again until then
    #[arg(long, env = "PONTOON_DEADLINE_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    pub deadline_ms: u64,
    /// A node that says nothing for so many milliseconds is given up
    #[arg(long, env = "PONTOON_SILENCE_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub silence_ms: u64,
    /// How many threads serve clients; as many as there are processors when not given
    #[arg(long, env = "PONTOON_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// The level of reads, unless a connection asks for another: strong, session or any
    #[arg(long, env = "PONTOON_READS", default_value = "session", value_parser = read_level)]
    pub reads: ReadLevel,
}

/// `pontoon init`.
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `pontoon status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Print the result as JSON; with --watch, a line each time
    #[arg(long)]
    pub json: bool,
    /// Show what moves, again and again, with a progress bar on a terminal
    #[arg(long)]
    pub watch: bool,
    /// With --watch: end when no slot, replica, shard or node is on its way any more
    #[arg(long, requires = "watch")]
    pub until_settled: bool,
    /// With --watch: milliseconds between two looks
    #[arg(long, env = "PONTOON_INTERVAL_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..))]
    pub interval_ms: u64,
}

/// `pontoon plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The file
    #[arg(default_value = "shards.toml")]
    pub file: PathBuf,
    /// The file whose nodes are asked, when those of FILE are not yet in the cluster
    #[arg(long, env = "PONTOON_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `pontoon evict-leaders`.
#[derive(Clone, Debug, Args)]
pub struct EvictArgs {
    /// The node
    #[arg(value_parser = node_name)]
    pub node: NodeName,
    /// Leaders may come back
    #[arg(long)]
    pub undo: bool,
    /// How long to wait until no leader is there, in milliseconds; they go on leaving after that
    #[arg(long, env = "PONTOON_TIMEOUT_MS", default_value_t = 30_000)]
    pub timeout_ms: u64,
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `pontoon balance`.
#[derive(Clone, Debug, Args)]
pub struct BalanceArgs {
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Only show where leaders are and which transfers would even them out
    #[arg(long)]
    pub dry_run: bool,
    /// What counts, when that is not what the file says: leaders (how many) or writes (what is written to them)
    #[arg(long, value_parser = weigh)]
    pub weigh: Option<Weigh>,
    /// Spread the masters of a Redis Cluster instead: any of its instances
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port, conflicts_with = "weigh")]
    pub redis_cluster: Option<HostPort>,
    /// Who logs in at the instances of a Redis Cluster, when that is not its default user
    #[arg(long, env = "PONTOON_REDIS_USERNAME")]
    pub username: Option<String>,
    /// The password for that
    #[arg(long, env = "PONTOON_REDIS_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// How long one transfer may take, in milliseconds
    #[arg(long, env = "PONTOON_TIMEOUT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `pontoon check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The file
    #[arg(default_value = "shards.toml")]
    pub file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `pontoon where`.
#[derive(Clone, Debug, Args)]
pub struct WhereArgs {
    /// The key, taken byte for byte
    pub key: OsString,
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `pontoon verify`.
#[derive(Clone, Debug, Args)]
#[command(after_help = VERIFY_EXIT_CODES)]
pub struct VerifyArgs {
    /// The cluster's file
    #[arg(long, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// How long replicas that lag are waited for, in milliseconds
    #[arg(long, env = "PONTOON_TIMEOUT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
}

/// An address to listen on: unlike a node's address it may be `0.0.0.0`, and its port may be 0.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let form = || "an address is `host:port`, like `127.0.0.1:6379` or `[::]:6379`".to_owned();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(form)
}

/// As in `maxmemory` of a redis.conf.
fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "a number of bytes is like 1000000, 512mb or 4gb".to_owned())
}

/// A number of bytes above zero.
fn rate(text: &str) -> Result<u64, String> {
    bytes(text).and_then(|rate| if rate > 0 { Ok(rate) } else { Err("nothing would ever move".to_owned()) })
}

/// A name of the kind that nodes and shards have.
pub fn name(text: &str) -> Result<&str, String> {
    check_name(text).map(|()| text).map_err(str::to_owned)
}

/// The name of a node.
pub fn node_name(text: &str) -> Result<NodeName, String> {
    name(text).map(NodeName::new)
}

/// The address of a node.
pub fn host_port(text: &str) -> Result<HostPort, String> {
    text.parse().map_err(|error: crate::topology::address::InvalidAddress| error.to_string())
}

fn weigh(text: &str) -> Result<Weigh, String> {
    let found = [Weigh::Leaders, Weigh::Writes].into_iter().find(|weigh| weigh.name() == text);
    found.ok_or_else(|| "it is leaders or writes".to_owned())
}

fn read_level(text: &str) -> Result<ReadLevel, String> {
    ReadLevel::from_name(text.as_bytes()).ok_or_else(|| "a level is strong, session or any".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        CommandLine::command().debug_assert();
        DevArgs::augment_args(clap::Command::new("dev")).debug_assert();
        NodeArgs::augment_args(clap::Command::new("node")).debug_assert();
        ProxyArgs::augment_args(clap::Command::new("proxy")).debug_assert();
    }

    #[test]
    fn addresses_names_and_levels_are_read_or_refused() {
        assert_eq!(listen_address("[::1]:0").unwrap().to_string(), "[::1]:0");
        assert!(listen_address("localhost:6379").unwrap().ip().is_loopback());
        assert!(listen_address("6379").is_err());
        assert!(node_name("n 1").is_err());
        assert_eq!((bytes("512MB"), bytes("4g"), bytes("0")), (Ok(512 << 20), Ok(4_000_000_000), Ok(0)));
        assert!(bytes("much").is_err() && bytes("-1").is_err());
        assert_eq!(read_level("STRONG"), Ok(ReadLevel::Strong));
        assert!(read_level("eventual").is_err());
    }
}
