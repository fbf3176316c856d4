//! Pontoon: many Raft groups that look like one Redis. `ARCHITECTURE.md` is the guided tour.
//!
//! Folders from the top layer to the ground; each may import only from those below it (held by `tests/layers.rs`); from `planted` and `failpoints` all.

pub mod cli;
pub mod consensus;
pub mod control;
pub mod failpoints;
pub mod frontend;
pub mod keyspace;
pub mod net;
pub mod node;
pub mod planted;
pub mod protocol;
pub mod proxy;
pub mod storage;
pub mod topology;

/// Tests and benches of this crate get it too: they measure what runs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
