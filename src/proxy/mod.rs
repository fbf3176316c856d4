//! A client's requests: in from sockets, to the shards that own their keys, and back in order.
//!
//! [`engine`] decides and is free of IO, [`redis`] where shards are groups of Redis servers; `worker` is a thread that gives
//! either of them sockets; [`start()`] runs as many as asked
//! for and what they share: the file's watcher, metrics, the end. `ARCHITECTURE.md` has the measured reasons.

mod core;
pub mod engine;
mod exposition;
pub mod limits;
pub mod metrics;
pub mod outbox;
pub mod process;
pub mod redis;
mod start;
mod worker;

pub use start::{Proxy, ProxyError, ProxyOptions, start};
