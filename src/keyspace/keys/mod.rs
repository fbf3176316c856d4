//! Commands about keys, whatever they hold.

mod dump;
mod expire;
mod inspect;
mod rename;
mod scan;
mod sort;
mod whole;

pub use dump::{dump_key, restore};
pub use expire::{
    Conditions, EXPIRE, EXPIREAT, EXPIRETIME, PEXPIRE, PEXPIREAT, PEXPIRETIME, PTTL, TTL, expire, persist, ttl,
};
pub use inspect::{del, exists, memory, object, type_of};
pub use rename::{copy, rename, renamenx};
pub use scan::{scan, scan_number, scan_slot};
pub use sort::{sort, sort_ro};
pub use whole::{check_flush, dbsize, flush, keys, keys_of, random_key_of, randomkey};
