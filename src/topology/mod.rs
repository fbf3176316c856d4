//! What a cluster is made of, as validated types: ids, slots, `shards.toml`, the catalog. Pure: no IO, no clock.

pub mod catalog;
pub mod decision;
pub mod ids;
pub mod slot;

pub use catalog::{Catalog, NodeRecord, ReplicaRecord, ShardRecord, SlotRange};
pub use decision::{CatalogCommand, CatalogOutcome};
pub use ids::{
    ClusterId, Epoch, Incarnation, LogIndex, LogTime, NodeName, ReplicaId, Revision, ShardId, ShardName, Term,
};
pub use slot::{SLOT_COUNT, Slot};
