//! Values in the form that DUMP and RESTORE exchange with Redis and Valkey: one object as an RDB file has it, then a
//! footer of version and checksum. Pure: bytes in, values out, and the other way.
//!
//! Written are the plain forms alone (strings, lists, sets, hashes, sorted sets with binary scores), which every server
//! since Redis 4.0 reads; a hash with field expiries has no form but Valkey's. Read is all that Redis 2.2 to 7.2 and
//! Valkey 9.1 write for these types, the packed forms included (`listpack`, `ziplist`, `zipmap`, `intset`), and strings
//! compressed by LZF.
//!
//! Invariants: no bytes make the decoder panic; memory follows the bytes received, but for compressed strings, whose sum
//! is at most [`EXPANDED_BYTES_MAX`]; what says the same thing twice, or more than it has to, is an error.
//!
//! Deliberately absent: streams, modules and the forms of Redis 7.4 and later; whole files.

mod crc64;
mod element;
mod input;
mod intset;
mod listpack;
mod lzf;
mod read;
mod write;
mod ziplist;
mod zipmap;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use crc64::crc64;
pub use read::decode;
pub use write::dump;

/// The newest version of Redis's format that is read; the versions after it were never Valkey's.
const VERSION_OF_REDIS_7_2: u16 = 11;
/// The version of Valkey 9, which is none of Redis.
const VERSION_OF_VALKEY_9: u16 = 80;
/// The version with all forms that are written here but Valkey's: the lower, the more servers read it.
const VERSION_OF_REDIS_4_0: u16 = 8;
const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;

/// What all compressed strings of one value may come to. They grow to nearly a hundred times of what was received.
pub const EXPANDED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdbError {
    /// Of a version that is not known, or damaged on the way.
    #[error("the footer is of an unknown version or does not fit the bytes")]
    Footer,
    /// Not an object of a type that is known here, whole and without contradiction.
    #[error("no value: {0}")]
    Malformed(&'static str),
    /// A string in it is longer than a value may be, or all of it more than is expanded at once.
    #[error("a value that is too large")]
    TooLarge,
}

/// The numbers of the objects' forms.
mod form {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const SORTED_SET_TEXT: u8 = 3;
    pub const HASH: u8 = 4;
    pub const SORTED_SET: u8 = 5;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const SET_LISTPACK: u8 = 20;
    pub const HASH_WITH_EXPIRIES: u8 = 22;
}

/// The first bits of a length, and what they announce.
mod length {
    pub const SHORT_BITS: u32 = 6;
    pub const BITS_32: u8 = 0x80;
    pub const BITS_64: u8 = 0x81;
    pub const ENCODED_I8: u8 = 0xc0;
    pub const ENCODED_I16: u8 = 0xc1;
    pub const ENCODED_I32: u8 = 0xc2;
    pub const ENCODED_LZF: u8 = 0xc3;
}

/// Ends an object with its footer.
pub fn seal(object: &mut Vec<u8>, version: u16) {
    object.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64(object);
    object.extend_from_slice(&checksum.to_le_bytes());
}

/// The object before a footer that fits.
///
/// # Errors
/// The footer does not fit, or is of a version that is not known.
pub fn unseal(payload: &[u8]) -> Result<&[u8], RdbError> {
    let (sealed, checksum) = payload.split_last_chunk::<CHECKSUM_BYTES>().ok_or(RdbError::Footer)?;
    let (object, version) = sealed.split_last_chunk::<VERSION_BYTES>().ok_or(RdbError::Footer)?;
    let version = u16::from_le_bytes(*version);
    let known = version <= VERSION_OF_REDIS_7_2 || version == VERSION_OF_VALKEY_9;
    if known && crc64(sealed) == u64::from_le_bytes(*checksum) { Ok(object) } else { Err(RdbError::Footer) }
}
