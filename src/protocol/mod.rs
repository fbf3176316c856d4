//! Bytes and their meaning, without IO: RESP, the proxy-node frames, the command table, the texts of errors.

pub mod command;
pub mod control;
pub mod frame;
pub mod reply;
pub mod request;
