//! A client's requests: in from sockets, to the shards that own their keys, and back in order.

pub mod engine;
pub mod limits;
pub mod metrics;
pub mod outbox;
