//! Values into objects with their footers.

use super::super::value::{Hash, SortedSet, Value};
use super::{VERSION_OF_REDIS_4_0, VERSION_OF_VALKEY_9, form, length, seal};
use crate::protocol::numbers::parse_i64;

/// A field's expiry that is none.
const NO_EXPIRY: i64 = -1;

/// What DUMP returns of a value; fields that are expired at `now_ms` are left out.
pub fn dump(value: &Value, now_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.heap_bytes() + 64);
    let version = write_object(&mut out, value, now_ms);
    seal(&mut out, version);
    out
}

/// The version that the object is of.
fn write_object(out: &mut Vec<u8>, value: &Value, now_ms: u64) -> u16 {
    match value {
        Value::String(text) => {
            out.push(form::STRING);
            text.with_bytes(|bytes| write_string(out, bytes));
        }
        Value::List(list) => {
            out.push(form::LIST);
            write_strings(out, list.iter());
        }
        Value::Set(set) => {
            out.push(form::SET);
            write_strings(out, set.iter());
        }
        Value::SortedSet(set) => write_sorted_set(out, set),
        Value::Hash(hash) => return write_hash(out, hash, now_ms),
    }
    VERSION_OF_REDIS_4_0
}

fn write_hash(out: &mut Vec<u8>, hash: &Hash, now_ms: u64) -> u16 {
    let live = || hash.iter().filter(|field| !field.is_expired(now_ms));
    let expire = live().any(|field| field.expire_at.is_some());
    out.push(if expire { form::HASH_WITH_EXPIRIES } else { form::HASH });
    write_length(out, hash.live_len(now_ms) as u64);
    for field in live() {
        write_string(out, field.name);
        write_string(out, field.value);
        if expire {
            let ms = field.expire_at.map_or(NO_EXPIRY, |at| i64::try_from(at.get()).unwrap_or(i64::MAX));
            out.extend_from_slice(&ms.to_le_bytes());
        }
    }
    if expire { VERSION_OF_VALKEY_9 } else { VERSION_OF_REDIS_4_0 }
}

fn write_sorted_set(out: &mut Vec<u8>, set: &SortedSet) {
    out.push(form::SORTED_SET);
    write_length(out, set.len() as u64);
    // From the highest down, as Redis does: its list of scores grows fastest at the front.
    for (member, score) in set.iter().rev() {
        write_string(out, member);
        out.extend_from_slice(&score.to_le_bytes());
    }
}

fn write_strings<'a>(out: &mut Vec<u8>, strings: impl ExactSizeIterator<Item = &'a [u8]>) {
    write_length(out, strings.len() as u64);
    strings.for_each(|string| write_string(out, string));
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match parse_i64(bytes).and_then(|number| i32::try_from(number).ok()) {
        Some(number) => write_number(out, number),
        None => {
            write_length(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: i32) {
    if let Ok(number) = i8::try_from(number) {
        out.push(length::ENCODED_I8);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.push(length::ENCODED_I16);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.push(length::ENCODED_I32);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn write_length(out: &mut Vec<u8>, number: u64) {
    if number < 1 << length::SHORT_BITS {
        out.push(number as u8);
    } else if number < 1 << (length::SHORT_BITS + 8) {
        out.extend_from_slice(&(number as u16 | 1 << (length::SHORT_BITS + 8)).to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        out.push(length::BITS_32);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(length::BITS_64);
        out.extend_from_slice(&number.to_be_bytes());
    }
}
