//! The edits of `pontoon reshard` as types.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::{host_port, name, node_name};
use crate::topology::config::edit::Edit;
use crate::topology::{HostPort, NodeConfig, NodeName, ShardConfig, ShardName};

/// `pontoon reshard`.
#[derive(Clone, Debug, Args)]
pub struct ReshardArgs {
    /// What to change
    #[command(subcommand)]
    pub action: ReshardAction,
    /// How
    #[command(flatten)]
    pub options: ReshardOptions,
}

/// How a file is edited.
#[derive(Clone, Debug, Args)]
pub struct ReshardOptions {
    /// The cluster's file: it is edited in place
    #[arg(long, global = true, env = "PONTOON_CONFIG", default_value = "shards.toml")]
    pub config: PathBuf,
    /// Do not ask
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// Only show what would change
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Edit the file without asking the cluster, which follows when a process sees the file
    #[arg(long, global = true)]
    pub offline: bool,
    /// Then show the progress until all has moved
    #[arg(long, global = true)]
    pub watch: bool,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to change.
#[derive(Clone, Debug, Subcommand)]
pub enum ReshardAction {
    /// Add a shard, which takes its share of the slots
    AddShard {
        /// Its name
        #[arg(value_parser = shard_name)]
        name: ShardName,
        /// The nodes of its replicas, like n1,n2,n3
        #[arg(long, required = true, value_delimiter = ',', value_parser = node_name)]
        nodes: Vec<NodeName>,
        /// Its share of the slots
        #[arg(long, default_value_t = 1)]
        weight: u32,
    },
    /// Remove a shard; its slots go to the others
    RemoveShard {
        /// Its name
        #[arg(value_parser = shard_name)]
        name: ShardName,
    },
    /// Change a shard's share of the slots; 0 drains it
    SetWeight {
        /// Its name
        #[arg(value_parser = shard_name)]
        name: ShardName,
        /// Its share
        weight: u32,
    },
    /// Change the nodes of a shard's replicas, or those of the catalog
    SetNodes {
        /// Its name; `catalog` for the catalog
        #[arg(value_parser = shard_name)]
        name: ShardName,
        /// The nodes, like n1,n2,n3
        #[arg(required = true, value_delimiter = ',', value_parser = node_name)]
        nodes: Vec<NodeName>,
    },
    /// Add a node; shards use it when they name it
    AddNode {
        /// Its name
        #[arg(value_parser = node_name)]
        name: NodeName,
        /// Where it is reached: host:port
        #[arg(value_parser = host_port)]
        addr: HostPort,
        /// Where it stands
        #[arg(long)]
        zone: Option<String>,
        /// The machine that it runs on, when that is not what the address says: leaders are spread over machines
        #[arg(long)]
        host: Option<String>,
        /// Its share of the leaders; 0: it is to lead nothing
        #[arg(long, default_value_t = 1)]
        weight: u32,
    },
    /// Remove a node; its replicas go to the nodes that have the fewest
    RemoveNode {
        /// Its name
        #[arg(value_parser = node_name)]
        name: NodeName,
        /// Let shards have one replica less where no other node is free
        #[arg(long)]
        shrink: bool,
    },
    /// Put one node in the place of another
    ReplaceNode {
        /// The node that goes
        #[arg(value_parser = node_name)]
        old: NodeName,
        /// The node that comes
        #[arg(value_parser = node_name)]
        new: NodeName,
        /// Where it is reached, when the file does not have it yet: host:port
        #[arg(long, value_parser = host_port)]
        addr: Option<HostPort>,
        /// Where it stands, when the file does not have it yet and that is another zone than the old one's
        #[arg(long, requires = "addr")]
        zone: Option<String>,
    },
    /// Print the accepted file
    Show,
}

impl ReshardAction {
    /// The edit that it means, if it means one.
    pub fn edit(&self) -> Option<Edit> {
        Some(match self.clone() {
            Self::AddShard { name, nodes, weight } => Edit::AddShard(ShardConfig { name, nodes, weight }),
            Self::RemoveShard { name } => Edit::RemoveShard(name),
            Self::SetWeight { name, weight } => Edit::SetWeight(name, weight),
            Self::SetNodes { name, nodes } => Edit::SetNodes(name, nodes),
            Self::AddNode { name, addr, zone, host, weight } => {
                Edit::AddNode(NodeConfig { name, addr, zone, host, weight })
            }
            Self::RemoveNode { name, shrink } => Edit::RemoveNode { name, shrink },
            Self::ReplaceNode { old, new, addr, zone } => Edit::ReplaceNode { old, new, addr, zone },
            Self::Show => return None,
        })
    }
}

fn shard_name(text: &str) -> Result<ShardName, String> {
    name(text).map(ShardName::new)
}
