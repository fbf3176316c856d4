//! Real processes, real clients, real faults.

mod harness;

mod commands;
mod dev;
mod failover;
mod files;
