//! What the catalog decides: the commands of its log and their outcomes.
//!
//! [`Catalog::apply`] is the catalog's state machine. It reads nothing but the command and the catalog, so all replicas
//! decide alike, and it changes the catalog only when it answers [`Accepted`](CatalogOutcome::Accepted).
//! The rules of `config` are part of that: replicas of different releases must judge a text alike, so stricter rules
//! need a command of their own.
//!
//! What can only be known from outside, as whether a node answers, is asked before a command is proposed, by the catalog's leader.

use serde::{Deserialize, Serialize};

use super::{Catalog, Incarnation, LogIndex, NodeName, ReplicaId, Revision, ShardId, ShardsConfig, SlotRange};

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
    /// A shard owns these slots under these epochs. What is known already, or newer, stays.
    RecordOwners {
        /// The shard.
        shard: ShardId,
        /// What it owns.
        owned: Vec<SlotRange>,
    },
    /// These are the members of a shard's group, with no change of them under way.
    RecordMembers {
        /// The shard.
        shard: ShardId,
        /// The position of its log at which that is so. A lower one than was heard of before says nothing.
        index: LogIndex,
        /// The revision of the catalog that the leader went by.
        revision: Revision,
        /// All members: voters and learners.
        members: Vec<ReplicaId>,
    },
    /// A closing shard owns nothing and never will again, and the catalog knows all that it ever gave away: its
    /// record goes, and so do its replicas.
    RetireShard {
        /// The shard.
        shard: ShardId,
    },
    /// Leaders are to leave a node, or may come back to it.
    EvictLeaders {
        /// The node.
        node: NodeName,
        /// Whether they are to leave.
        evicted: bool,
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
    /// It cannot be done as things are now, as some node does not answer; whoever proposed it should ask again. The log never
    /// says so, only the catalog's leader, before it proposes.
    Unready {
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
            | Self::Refused { version, .. }
            | Self::Unready { version, .. } => *version,
        }
    }
}

impl Catalog {
    /// Applies a command of the catalog's log.
    pub fn apply(&mut self, command: &CatalogCommand) -> CatalogOutcome {
        match command {
            CatalogCommand::ProposeConfig { text, origin } => self.apply_config(text, origin),
            CatalogCommand::RegisterNode { name, incarnation } => self.apply_register(name, *incarnation),
            CatalogCommand::ReplaceNode { name, old, new } => self.apply_replace(name, *old, *new),
            CatalogCommand::RecordOwners { shard, owned } => self.apply_owners(*shard, owned),
            CatalogCommand::RecordMembers { shard, index, revision, members } => {
                self.apply_members(*shard, *index, *revision, members)
            }
            CatalogCommand::RetireShard { shard } => self.apply_retire(*shard),
            CatalogCommand::EvictLeaders { node, evicted } => self.apply_evict(node, *evicted),
        }
    }

    /// What [`apply`](Self::apply) would answer, without a change: spares the log a proposal that would be refused.
    pub fn foresee(&self, command: &CatalogCommand) -> CatalogOutcome {
        self.clone().apply(command)
    }

    /// The catalog as it will be when this file is accepted; none where the file is not one that would change it.
    pub fn after(&self, wanted: &ShardsConfig) -> Option<Self> {
        let mut after = self.clone();
        let outcome = after.apply_config(&wanted.text, "shards.toml");
        matches!(outcome, CatalogOutcome::Accepted { .. }).then_some(after)
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
}
