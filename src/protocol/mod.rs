//! Bytes and their meaning, without IO: RESP, the proxy-node frames, the command table, the texts of errors.

pub mod command;
pub mod control;
pub mod coverage;
pub mod errors;
pub mod frame;
pub mod glob;
pub mod identity;
pub mod moves;
pub mod numbers;
pub mod reply;
pub mod reply_scan;
pub mod request;
pub mod split;
pub mod transaction;
pub mod verification;
