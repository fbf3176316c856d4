//! `shards.toml` as validated types: what an operator wants the cluster to be (DESIGN.md, section 4), or which groups of
//! Redis servers are its shards ([`RedisConfig`]).
//!
//! Invariant: a [`ShardsConfig`] obeys every rule that one file alone can break. What depends on the cluster's present
//! state (versions, what may change now) is decided by the catalog when it applies a proposal.

mod balance;
pub mod edit;
mod error;
mod nearest;
mod parse;
mod redis;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use balance::BalanceConfig;
pub use error::{ConfigError, Place};
pub use redis::{Login, RedisConfig, RedisShard, Remapped, SERVERS_MAX, Secret, Sentinels, SlotRun, listed};

use super::{HostPort, NodeName, ShardName};

/// The largest file that is read.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The longest name of a node, shard or zone.
pub const NAME_BYTES_MAX: usize = 64;
/// The most nodes of a cluster.
pub const NODES_MAX: usize = 1024;
/// The most shards of a cluster.
pub const SHARDS_MAX: usize = 1024;
/// The most replicas of a shard, and of the catalog.
pub const REPLICAS_MAX: usize = 9;
/// The largest weight of a shard.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// The largest weight of a node.
pub const NODE_WEIGHT_MAX: u32 = 1_000;
/// The name that no shard may have, since the catalog's own group has it.
pub const CATALOG_NAME: &str = "catalog";
/// How many nodes hold the catalog where the file does not say.
const CATALOG_NODES_DEFAULT: usize = 3;

/// A valid `shards.toml` of either kind.
#[derive(Clone, Debug)]
pub enum ShardsFile {
    /// Shards on Pontoon's own nodes.
    Cluster(ShardsConfig),
    /// Shards that are groups of Redis servers.
    Redis(RedisConfig),
}

impl ShardsFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first broken rule by its place in the file.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        parse::parse(text, file)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// Like [`parse`](Self::parse), and where the bytes are too many or not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Self, ConfigError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ConfigError::too_large(file));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text, file),
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let place = Place::of(&valid, valid.len());
                Err(ConfigError::at(file, place, "the file is not UTF-8 text".to_owned()))
            }
        }
    }

    /// The version.
    pub const fn version(&self) -> u64 {
        match self {
            Self::Cluster(config) => config.version,
            Self::Redis(config) => config.version,
        }
    }

    /// The file of a cluster of nodes.
    ///
    /// # Errors
    /// It is one of Redis shards; the place is where it says so.
    pub fn cluster(self, file: &str) -> Result<ShardsConfig, ConfigError> {
        match self {
            Self::Cluster(config) => Ok(config),
            Self::Redis(redis) => Err(ConfigError::at(
                file,
                redis.kind_place,
                "the shards of this file are groups of Redis servers, which proxies follow by themselves: for them there \
                 are no nodes, nothing is created, and no data is moved"
                    .to_owned(),
            )),
        }
    }
}

impl From<ShardsConfig> for ShardsFile {
    fn from(config: ShardsConfig) -> Self {
        Self::Cluster(config)
    }
}

/// A valid `shards.toml` of a cluster of nodes.
#[derive(Clone, Debug)]
pub struct ShardsConfig {
    /// The file's text.
    pub text: Arc<str>,
    /// Raised with every edit; at least 1.
    pub version: u64,
    /// The version that the edit was made from, where the file says so; lower than `version`.
    pub base: Option<u64>,
    /// The nodes in the order of the file; at least one, names and addresses unique.
    pub nodes: Vec<NodeConfig>,
    /// The shards in the order of the file; at least one, names unique, one weight not 0.
    pub shards: Vec<ShardConfig>,
    /// The nodes of the catalog, where the file names them.
    pub catalog_nodes: Option<Vec<NodeName>>,
    /// Where leaders are to be.
    pub balance: BalanceConfig,
}

/// A `[[node]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its name.
    pub name: NodeName,
    /// Where it is reached.
    pub addr: HostPort,
    /// Its zone.
    pub zone: Option<String>,
    /// The machine that it runs on, where the file says so; else that is what its address says.
    pub host: Option<String>,
    /// Its share of the leaders; 0: it is to lead nothing.
    pub weight: u32,
}

/// A `[[shard]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Its label.
    pub name: ShardName,
    /// The nodes of its replicas; at least one, all known, each once.
    pub nodes: Vec<NodeName>,
    /// Its share of the slots.
    pub weight: u32,
}

impl ShardsConfig {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first broken rule by its place in the file, or that it is a file of Redis shards.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        ShardsFile::parse(text, file)?.cluster(file)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// Like [`parse`](Self::parse), and where the bytes are too many or not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Self, ConfigError> {
        ShardsFile::parse_bytes(bytes, file)?.cluster(file)
    }

    /// The node of this name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeConfig> {
        self.nodes.iter().find(|n| n.name == *name)
    }

    /// The shard of this name.
    pub fn shard(&self, name: &ShardName) -> Option<&ShardConfig> {
        self.shards.iter().find(|s| s.name == *name)
    }

    /// The nodes that hold the catalog: those that the file names, or its first three nodes (one, where there are fewer).
    pub fn catalog_members(&self) -> Vec<NodeName> {
        if let Some(named) = &self.catalog_nodes {
            return named.clone();
        }
        let count = if self.nodes.len() < CATALOG_NODES_DEFAULT { 1 } else { CATALOG_NODES_DEFAULT };
        self.nodes.iter().take(count).map(|n| n.name.clone()).collect()
    }

    /// Whether both files ask for the same cluster. Versions, order and comments do not count.
    pub fn same_meaning(&self, other: &Self) -> bool {
        self.difference(other).is_none()
    }

    /// The first thing that differs in meaning, for a message.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let ours: BTreeMap<_, _> = self.nodes.iter().map(|n| (&n.name, n)).collect();
        let theirs: BTreeMap<_, _> = other.nodes.iter().map(|n| (&n.name, n)).collect();
        if let Some(name) = first_difference(&ours, &theirs, |a, b| a == b) {
            return Some(format!("node `{name}` differs"));
        }
        let ours: BTreeMap<_, _> = self.shards.iter().map(|s| (&s.name, s)).collect();
        let theirs: BTreeMap<_, _> = other.shards.iter().map(|s| (&s.name, s)).collect();
        let same = |a: &&ShardConfig, b: &&ShardConfig| a.weight == b.weight && as_set(&a.nodes) == as_set(&b.nodes);
        if let Some(name) = first_difference(&ours, &theirs, same) {
            return Some(format!("shard `{name}` differs"));
        }
        if self.balance != other.balance {
            return Some("[balance] differs".to_owned());
        }
        let named =
            |config: &Self| config.catalog_nodes.as_deref().map(as_set).map(|s| s.into_iter().cloned().collect());
        let (a, b): (Option<BTreeSet<NodeName>>, _) = (named(self), named(other));
        let same_catalog = a == b || as_set(&self.catalog_members()) == as_set(&other.catalog_members());
        (!same_catalog).then(|| "the nodes of the catalog differ".to_owned())
    }
}

/// Whether `name` is one that a node, a shard or a zone may have; else the rule that it breaks.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    match name.len() {
        0 => Err("a name may not be empty"),
        length if length > NAME_BYTES_MAX => Err("a name has at most 64 characters"),
        _ if !name.bytes().all(known) => Err("a name has only the characters A-Z a-z 0-9 `_` `.` `-`"),
        _ => Ok(()),
    }
}

fn as_set(names: &[NodeName]) -> BTreeSet<&NodeName> {
    names.iter().collect()
}

fn first_difference<'a, K: Ord, V>(
    ours: &BTreeMap<&'a K, V>,
    theirs: &BTreeMap<&'a K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> Option<&'a K> {
    let changed = ours.iter().find(|(name, a)| theirs.get(*name).is_none_or(|b| !same(a, b)));
    changed.map(|(name, _)| *name).or_else(|| theirs.keys().find(|name| !ours.contains_key(*name)).copied())
}
