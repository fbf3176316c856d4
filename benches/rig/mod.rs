//! What measurements of real processes share: starting and stopping them, and a Pontoon cluster of three nodes.

#![allow(dead_code, reason = "each measurement takes what it needs")]

pub mod cluster;
pub mod processes;
