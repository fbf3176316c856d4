//! DUMP and RESTORE: a value to and from another server (see `rdb`).

use super::super::call::{CommandError, CommandResult, ReadCall, Word, WriteCall, integer};
use super::super::rdb::{RdbError, decode, dump, unseal};
use super::super::record::ExpireAt;
use super::super::value::Value;
use crate::protocol::errors;
use crate::protocol::request::Args;

const BUSY_KEY: &str = "BUSYKEY Target key name already exists.";
const INVALID_TTL: &str = "ERR Invalid TTL value, must be >= 0";
const INVALID_IDLE_TIME: &str = "ERR Invalid IDLETIME value, must be >= 0";
const INVALID_FREQUENCY: &str = "ERR Invalid FREQ value, must be >= 0 and <= 255";
const BAD_FOOTER: &str = "ERR DUMP payload version or checksum are wrong";
const BAD_FORMAT: &str = "ERR Bad data format";

/// DUMP.
pub fn dump_key(call: &mut ReadCall<'_>) -> CommandResult {
    match call.find(call.args.get(1)) {
        Some(record) => call.reply.bulk(&dump(&record.value, call.now_ms)),
        None => call.reply.null(),
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<i64>,
    has_frequency: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut position = 4;
        while position < args.len() {
            let has_more = position + 1 < args.len();
            match Word::of(args.get(position)).as_slice() {
                b"REPLACE" => options.replace = true,
                b"ABSTTL" => options.absolute = true,
                b"IDLETIME" if has_more && !options.has_frequency => {
                    position += 1;
                    let seconds = integer(args, position)?;
                    if seconds < 0 {
                        return Err(INVALID_IDLE_TIME.into());
                    }
                    options.idle_seconds = Some(seconds);
                }
                // Frequencies are not kept: what was asked for is checked, and that is all.
                b"FREQ" if has_more && options.idle_seconds.is_none() => {
                    position += 1;
                    if !(0..=255).contains(&integer(args, position)?) {
                        return Err(INVALID_FREQUENCY.into());
                    }
                    options.has_frequency = true;
                }
                _ => return Err(errors::SYNTAX.into()),
            }
            position += 1;
        }
        Ok(options)
    }
}

/// RESTORE. What the bytes are is judged here, where the entry is applied, so that all replicas judge alike.
pub fn restore(call: &mut WriteCall<'_>) -> CommandResult {
    let options = Options::parse(call.args)?;
    let (key, now_ms) = (call.args.get(1), call.now_ms());
    if !options.replace && call.find(key).is_some() {
        return Err(BUSY_KEY.into());
    }
    let ttl = u64::try_from(integer(call.args, 2)?).map_err(|_| INVALID_TTL)?;
    let expire_at = match ttl {
        0 => None,
        // Neither number is above the half of its range; their sum may be.
        ttl => ExpireAt::new(if options.absolute { ttl } else { now_ms + ttl }),
    };
    if expire_at.is_some_and(|at| i64::try_from(at.get()).is_err()) {
        return Err(errors::invalid_expire("restore").into());
    }
    let string_bytes_max = call.keyspace.limits.value_bytes_max as usize;
    let value = unseal(call.args.get(3)).and_then(|object| decode(object, string_bytes_max)).map_err(text_of)?;
    let left = live(value, now_ms).filter(|_| expire_at.is_none_or(|at| at.get() > now_ms));
    match left {
        Some(value) => {
            call.keyspace.put(key, value, expire_at);
            if let (Some(idle), Some(record)) = (options.idle_seconds, call.keyspace.peek(key)) {
                record.touch(now_ms.saturating_sub((idle as u64).saturating_mul(1000)));
            }
        }
        None => drop(call.keyspace.remove(key)),
    }
    call.reply.ok();
    Ok(())
}

/// A value without the fields that are expired; none: nothing is left of it.
fn live(mut value: Value, now_ms: u64) -> Option<Value> {
    if value.is_gone(now_ms) {
        return None;
    }
    if let Value::Hash(hash) = &mut value
        && hash.next_expiry().is_some_and(|at| at.get() <= now_ms)
    {
        std::sync::Arc::make_mut(hash).remove_expired(now_ms, usize::MAX);
    }
    Some(value)
}

fn text_of(error: RdbError) -> CommandError {
    match error {
        RdbError::Footer => BAD_FOOTER.into(),
        RdbError::Malformed(_) => BAD_FORMAT.into(),
        RdbError::TooLarge => errors::STRING_TOO_LONG.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::rdb::seal;
    use crate::keyspace::tests::{apply, read, whole};
    use crate::keyspace::{Entry, Keyspace};
    use crate::protocol::request::write_array;
    use crate::topology::LogTime;

    fn restore(keyspace: &mut Keyspace, time: u64, ttl: &str, object: &[u8], options: &str) -> String {
        let (mut payload, mut request, mut out) = (object.to_vec(), Vec::new(), Vec::new());
        seal(&mut payload, 11);
        let mut words = vec![&b"RESTORE"[..], b"k", ttl.as_bytes(), &payload];
        words.extend(options.split_whitespace().map(str::as_bytes));
        write_array(&mut request, words.into_iter());
        let entry =
            Entry::Write { seen: 0, time: LogTime(time), seed: 0, resp3: false, identity: None, request: &request };
        keyspace.apply(&entry, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_comes_with_its_expiry_and_its_age() {
        let mut keyspace = whole();
        let time = 100_000_000;
        assert_eq!(restore(&mut keyspace, time, "500", b"\0\x01a", ""), "+OK\r\n");
        assert_eq!(read(&keyspace, time, "PTTL k"), ":500\r\n");
        assert_eq!(restore(&mut keyspace, time, "0", b"\0\x01b", ""), format!("-{BUSY_KEY}\r\n"));
        assert_eq!(read(&keyspace, time, "PTTL k"), ":500\r\n");
        assert_eq!(restore(&mut keyspace, time, "100000700", b"\0\x01b", "replace absttl idletime 1000"), "+OK\r\n");
        assert_eq!(read(&keyspace, time, "OBJECT IDLETIME k"), ":1000\r\n");
        assert_eq!(read(&keyspace, time, "PTTL k"), ":700\r\n");
        assert_eq!(read(&keyspace, time, "GET k"), "$1\r\nb\r\n");
        assert_eq!(read(&keyspace, time, "OBJECT IDLETIME k"), ":0\r\n");
    }

    #[test]
    fn what_has_expired_on_the_way_replaces_and_is_gone() {
        let mut keyspace = whole();
        apply(&mut keyspace, 1000, "SET k v");
        assert_eq!(restore(&mut keyspace, 1000, "1000", b"\0\x01b", "ABSTTL REPLACE"), "+OK\r\n");
        assert_eq!(read(&keyspace, 1000, "EXISTS k"), ":0\r\n");
        // Fields at 500 and never; then the first alone.
        let fields = b"\x16\x02\x01a\x01v\xf4\x01\0\0\0\0\0\0\x01b\x01v\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(restore(&mut keyspace, 1000, "0", fields, ""), "+OK\r\n");
        assert_eq!(keyspace.next_expiry(), None, "no timer for a field that is not there");
        assert_eq!(read(&keyspace, 1000, "EXISTS k"), ":1\r\n");
        let field = b"\x16\x01\x01a\x01v\xf4\x01\0\0\0\0\0\0";
        assert_eq!(restore(&mut keyspace, 1000, "0", field, "REPLACE"), "+OK\r\n");
        assert_eq!(read(&keyspace, 1000, "EXISTS k"), ":0\r\n");
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut keyspace = whole();
        apply(&mut keyspace, 1000, "SET k v");
        let version = keyspace.version_of(b"k");
        for (ttl, object, options, error) in [
            ("0", &b"\0\x01a"[..], "", BUSY_KEY),
            ("x", b"\0\x01a", "", BUSY_KEY),
            ("x", b"", "REPLACE", errors::NOT_AN_INTEGER),
            ("-1", b"", "REPLACE", INVALID_TTL),
            ("9223372036854775807", b"\0\x01a", "REPLACE", "ERR invalid expire time in 'restore' command"),
            ("0", b"\0\x02a", "REPLACE", BAD_FORMAT),
            ("0", b"\0\x01a", "REPLACE foo", errors::SYNTAX),
            ("0", b"\0\x01a", "REPLACE IDLETIME", errors::SYNTAX),
            ("0", b"\0\x01a", "REPLACE IDLETIME -1", INVALID_IDLE_TIME),
            ("0", b"\0\x01a", "REPLACE FREQ 256", INVALID_FREQUENCY),
            ("0", b"\0\x01a", "REPLACE FREQ 1 IDLETIME 1", errors::SYNTAX),
        ] {
            assert_eq!(restore(&mut keyspace, 1000, ttl, object, options), format!("-{error}\r\n"));
        }
        assert_eq!(apply(&mut keyspace, 1000, "RESTORE k 0 tooshort REPLACE"), format!("-{BAD_FOOTER}\r\n"));
        assert_eq!(keyspace.version_of(b"k"), version);
    }
}
