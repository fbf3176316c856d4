//! Shards that are groups of real Redis servers: what clients read through a proxy, through failovers and edits of the file.
//!
//! Needs `redis-server` in the PATH. Every server and proxy is a process of its own, on a free port, and ends with its test.

#![allow(clippy::disallowed_methods, reason = "an editor writes here, not Pontoon")]

mod commands;
mod edits;
mod failover;
mod ground;
mod operators;
