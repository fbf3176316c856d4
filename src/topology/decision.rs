//! What the catalog decides: the commands of its log and their outcomes.
//!
//! [`Catalog::apply`] is the catalog's state machine. It reads nothing but the command and the catalog, so all replicas
//! decide alike, and it changes the catalog only when it answers [`Accepted`](CatalogOutcome::Accepted).
//! The rules of `config` are part of that: replicas of different releases must judge a text alike, so stricter rules
//! need a command of their own.
//!
//! Deliberately absent: moving slots and replicas. A file that needs either is refused with that reason, whole.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Catalog, Incarnation, NodeName, NodeRecord, ShardConfig, ShardRecord, ShardsConfig};

/// An entry of the catalog's log, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum CatalogCommand {
    /// Accept this `shards.toml`.
    ProposeConfig {
        /// The file's text.
        text: String,
        /// Where it comes from, for logs.
        origin: String,
    },
    /// Record the incarnation of a node's data directory, the first under its name.
    RegisterNode {
        /// The node's name.
        name: NodeName,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// A node lost its disk: another incarnation acts under its name from here on, with a new replica of each shard.
    /// Whether the old one is really gone is for the proposer to find out.
    ReplaceNode {
        /// The node's name.
        name: NodeName,
        /// The incarnation that is gone.
        old: Incarnation,
        /// The incarnation of the empty directory.
        new: Incarnation,
    },
}

/// What became of a [`CatalogCommand`]. `version` is that of the accepted `shards.toml` afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CatalogOutcome {
    /// The catalog changed.
    Accepted {
        /// The accepted version.
        version: u64,
    },
    /// It is so already.
    Same {
        /// The accepted version.
        version: u64,
    },
    /// The file's version is lower than the accepted one.
    Stale {
        /// The accepted version.
        version: u64,
    },
    /// The file has the accepted version and another meaning.
    Conflict {
        /// The accepted version.
        version: u64,
        /// What differs.
        reason: String,
    },
    /// It cannot be done; nothing changed.
    Refused {
        /// The accepted version.
        version: u64,
        /// Why.
        reason: String,
    },
}

impl CatalogOutcome {
    /// The accepted version.
    pub const fn version(&self) -> u64 {
        match self {
            Self::Accepted { version }
            | Self::Same { version }
            | Self::Stale { version }
            | Self::Conflict { version, .. }
            | Self::Refused { version, .. } => *version,
        }
    }
}

const NOT_YET: &str = "which this version cannot do yet";

impl Catalog {
    /// Applies a command of the catalog's log.
    pub fn apply(&mut self, command: &CatalogCommand) -> CatalogOutcome {
        match command {
            CatalogCommand::ProposeConfig { text, origin } => self.apply_config(text, origin),
            CatalogCommand::RegisterNode { name, incarnation } => self.apply_register(name, *incarnation),
            CatalogCommand::ReplaceNode { name, old, new } => self.apply_replace(name, *old, *new),
        }
    }

    /// What [`apply`](Self::apply) would answer, without a change: spares the log a proposal that would be refused.
    pub fn foresee(&self, command: &CatalogCommand) -> CatalogOutcome {
        self.clone().apply(command)
    }

    fn apply_config(&mut self, text: &str, origin: &str) -> CatalogOutcome {
        let version = self.version;
        let refused = |reason| CatalogOutcome::Refused { version, reason };
        let wanted = match ShardsConfig::parse(text, origin) {
            Ok(wanted) => wanted,
            Err(error) => return refused(error.to_string()),
        };
        if wanted.version < version {
            return CatalogOutcome::Stale { version };
        }
        if wanted.version == version {
            return match self.conflict(&wanted) {
                None => CatalogOutcome::Same { version },
                Some(reason) => CatalogOutcome::Conflict { version, reason },
            };
        }
        if let Some(base) = wanted.base.filter(|base| *base != version) {
            return refused(format!("the edit was made from version {base}, and the accepted version is {version}"));
        }
        if let Some(reason) = self.cannot_do(&wanted) {
            return refused(reason);
        }
        self.accept(&wanted);
        CatalogOutcome::Accepted { version: self.version }
    }

    /// In what a file of the accepted version differs from the accepted one.
    pub fn conflict(&self, file: &ShardsConfig) -> Option<String> {
        match self.accepted() {
            Some(accepted) => accepted.difference(file),
            None if *self.config_text == *file.text => None,
            None => Some("the accepted text cannot be read by this release".to_owned()),
        }
    }

    /// The first thing that the file asks for and that cannot be done.
    fn cannot_do(&self, wanted: &ShardsConfig) -> Option<String> {
        let removed_shard = self.data_shards().iter().find(|s| wanted.shard(&s.name).is_none());
        if let Some(shard) = removed_shard {
            let slots = self.slot_count(shard.id);
            let moved = if slots > 0 { format!("moves its {slots} slots") } else { "removes its replicas".to_owned() };
            return Some(format!("shard `{}`: removing it {moved}, {NOT_YET}", shard.name));
        }
        for (shard, config) in self.kept(wanted) {
            if nodes_of(shard) != config.nodes.iter().collect() {
                return Some(format!("shard `{}`: changing its nodes moves replicas, {NOT_YET}", shard.name));
            }
        }
        let catalog = self.catalog_shard();
        if wanted.catalog_nodes.as_ref().is_some_and(|named| nodes_of(catalog) != named.iter().collect()) {
            return Some(format!("the catalog: changing its nodes moves replicas, {NOT_YET}"));
        }
        self.removed_node_in_use(wanted).or_else(|| self.moved_by_weight(wanted))
    }

    fn removed_node_in_use(&self, wanted: &ShardsConfig) -> Option<String> {
        let removed = self.nodes.keys().filter(|name| wanted.node(name).is_none());
        let mut in_use = removed.filter_map(|name| self.replicas_on(name).next().map(|(shard, _)| (name, shard)));
        let (name, shard) = in_use.next()?;
        let what = if shard.id == self.catalog_shard().id {
            "the catalog".to_owned()
        } else {
            format!("shard `{}`", shard.name)
        };
        Some(format!("node `{name}`: it holds a replica of {what}, and removing it moves that, {NOT_YET}"))
    }

    /// Shards that own slots keep their shares among each other; what the others weigh moves nothing yet.
    fn moved_by_weight(&self, wanted: &ShardsConfig) -> Option<String> {
        let owning: Vec<_> = self.kept(wanted).filter(|(shard, _)| self.slot_count(shard.id) > 0).collect();
        let old_sum: u128 = owning.iter().map(|(shard, _)| u128::from(shard.weight)).sum();
        let new_sum: u128 = owning.iter().map(|(_, config)| u128::from(config.weight)).sum();
        let moves = |(shard, config): &&(&ShardRecord, &ShardConfig)| {
            config.weight == 0 || u128::from(shard.weight) * new_sum != u128::from(config.weight) * old_sum
        };
        let changed = |(shard, config): &&(&ShardRecord, &ShardConfig)| shard.weight != config.weight;
        let (shard, config) = owning.iter().filter(changed).find(moves)?;
        let (name, old, new) = (&shard.name, shard.weight, config.weight);
        Some(format!("shard `{name}`: changing its weight from {old} to {new} moves slots, {NOT_YET}"))
    }

    /// The shards that are there now and in the file.
    fn kept<'a>(&'a self, wanted: &'a ShardsConfig) -> impl Iterator<Item = (&'a ShardRecord, &'a ShardConfig)> {
        self.data_shards().iter().filter_map(|shard| wanted.shard(&shard.name).map(|config| (shard, config)))
    }

    /// Makes the catalog what the file says. New shards start empty, whatever they weigh.
    fn accept(&mut self, wanted: &ShardsConfig) {
        let removed = self.nodes.iter().filter(|(name, _)| wanted.node(name).is_none());
        // Should the name come back, it must not meet its past.
        self.retired.extend(removed.filter_map(|(_, record)| record.incarnation));
        self.nodes.retain(|name, _| wanted.node(name).is_some());
        for node in &wanted.nodes {
            let incarnation = self.nodes.get(&node.name).and_then(|record| record.incarnation);
            let record = NodeRecord { addr: node.addr.to_string(), zone: node.zone.clone(), incarnation };
            self.nodes.insert(node.name.clone(), record);
        }
        for config in &wanted.shards {
            match self.shards.iter_mut().find(|shard| shard.name == config.name) {
                Some(shard) => shard.weight = config.weight,
                None => self.add_shard(config.name.clone(), config.weight, &config.nodes),
            }
        }
        self.version = wanted.version;
        self.config_text = wanted.text.to_string();
        self.revision = self.revision.next();
    }
}

fn nodes_of(shard: &ShardRecord) -> BTreeSet<&NodeName> {
    shard.replicas.iter().map(|replica| &replica.node).collect()
}
