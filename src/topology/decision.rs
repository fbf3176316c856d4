//! What the catalog decides: the commands of its log and their outcomes.

use serde::{Deserialize, Serialize};

use super::{Incarnation, NodeName};

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
    /// Record the incarnation of a node's data directory.
    RegisterNode {
        /// The node's name.
        name: NodeName,
        /// Its incarnation.
        incarnation: Incarnation,
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
