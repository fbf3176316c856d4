//! A shard node: replicas of any number of shards on one data directory and one address.
//!
//! ```text
//!   proxies, clients, operators          other nodes            log thread       snapshot threads
//!            |   ^                          |   ^                  |   ^              |   ^
//!   frames / RESP answers            Raft messages            batches synced      states written, sent
//!            v   |                          v   |                  v   |              v   |
//!   +---------------------------- one thread, one turn after the other ------------------------------+
//!   |  server (sockets, ticks) -> engine (all groups) -> replica (waiting requests) -> machine (state)  |
//!   +---------------------------------------------------------------------------------------------------+
//! ```
//!
//! [`engine::Engine`] is free of sockets, files and clocks; `server` is the shell around it. One thread owns all of it,
//! so nothing on the way of a request takes a lock; the disk has a thread of its own, and large states are written, sent and
//! received by short-lived threads that work on copy-on-write copies.

mod admission;
pub mod answers;
mod audit;
mod background;
pub mod balance;
mod blocked;
mod board;
mod cluster;
pub mod connections;
mod control;
mod crowding;
pub mod engine;
mod figures;
pub mod gate;
mod handshake;
pub mod home;
mod leader_time;
mod lease;
mod log_thread;
pub mod machine;
pub mod marks;
mod members;
pub mod memory;
pub mod moves;
mod peer_link;
mod points;
mod pulse;
mod reads;
mod registration;
mod removal;
pub mod replica;
pub mod reports;
mod resp;
mod run;
mod server;
mod transfer;
mod vetting;

pub use run::{NodeError, NodeHandle, NodeOptions, start};
