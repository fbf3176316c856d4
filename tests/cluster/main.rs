//! Real processes, real clients, real faults.

#![allow(clippy::disallowed_methods, reason = "black-box tests live in real time and on a real disk")]

mod harness;
mod transactions;

mod balance;
mod blocking;
mod commands;
mod dev;
mod disk;
mod failover;
mod files;
mod members;
mod memory;
mod once;
mod reads;
mod rebuild;
mod redis_cluster;
mod reshard;
mod values;
mod verify;
