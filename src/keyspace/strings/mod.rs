//! String commands, one file per family. Replies and the order of their checks are those of Redis 7.2.

mod basic;
mod counter;
mod lcs;
mod options;
mod range;

pub use basic::{get, getdel, getex, getset, mget, mset, msetnx, set, setex, setnx};
pub use counter::{decrby, incr, incrby, incrbyfloat};
pub use lcs::lcs;
pub use options::{ExpiryOption, GivenTime, Unit};
pub use range::{append, getrange, setrange, strlen};
