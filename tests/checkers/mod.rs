//! What histories of clients' operations say about the promises (DESIGN.md, section 2): pure, history in, verdict out.
//!
//! One history is of one key (for the bank: one group of keys). A checker proves nothing by silence: a history without
//! a last read, a search that gives up, a reply of the wrong form are violations too. `tests/known_bad.rs` shows each
//! checker histories that are known to be good or bad.

#![allow(dead_code, reason = "included by several test programs, none of which needs all")]

pub mod append;
pub mod bank;
pub mod counter;
mod extents;
pub mod fleeting;
pub mod history;
pub mod queue;
pub mod register;
mod search;
pub mod set;
