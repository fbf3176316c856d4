//! What a cluster is made of, as validated types: ids, slots, `shards.toml`, the catalog. Pure: no IO, no clock.

mod acceptance;
pub mod address;
pub mod assignment;
pub mod balance;
pub mod catalog;
pub mod config;
pub mod decision;
mod founding;
pub mod ids;
mod moving;
pub mod plan;
mod registration;
mod reports;
pub mod slot;
pub mod slot_table;

pub use address::HostPort;
pub use assignment::{TargetRange, assign};
pub use catalog::{Catalog, CatalogError, NodeRecord, ReplicaRecord, ShardRecord, SlotRange};
pub use config::{ConfigError, NodeConfig, RedisConfig, RedisShard, ShardConfig, ShardsConfig, ShardsFile};
pub use decision::{CatalogCommand, CatalogOutcome};
pub use ids::{
    ClusterId, Epoch, Incarnation, LogIndex, LogTime, NodeName, ReplicaId, Revision, SessionId, ShardId, ShardName,
    Term, WriteId,
};
pub use moving::{MoveId, SlotEpoch, Whereabouts};
pub use slot::{SLOT_COUNT, Slot, hash_tag};
pub use slot_table::SlotTable;
