//! Every error text that a client may see, to the letter Redis 7.2's where Redis has it.
//!
//! A text is an error code and a sentence, without the leading `-` and the line's end ([`ReplyWriter::error`] adds
//! them). Where a text quotes what the client sent, the bytes are the client's own, so those are written whole.
//!
//! [`ReplyWriter::error`]: super::reply::ReplyWriter::error

use super::request::Args;

/// A value that is not a string where a string is needed.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// Arguments in no known order.
pub const SYNTAX: &str = "ERR syntax error";
/// An argument or a value that should be an integer.
pub const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
/// An integer that should fit into 32 bits.
pub const NOT_AN_INT32: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
/// An integer that is too small or too large for its purpose.
pub const OUT_OF_RANGE: &str = "ERR value is out of range";
/// An integer that must fit 32 bits.
pub const NOT_32_BITS: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
/// An integer that must not be negative.
pub const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";
/// A count whose magnitude must be one too.
pub const COUNT_OUT_OF_RANGE: &str =
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
/// A number of keys below one.
pub const NUMKEYS_NOT_POSITIVE: &str = "ERR numkeys should be greater than 0";
/// More keys than there are arguments.
pub const NUMKEYS_TOO_MANY: &str = "ERR Number of keys can't be greater than number of args";
/// LIMIT below zero.
pub const LIMIT_NEGATIVE: &str = "ERR LIMIT can't be negative";
/// An argument or a value that should be a number.
pub const NOT_A_FLOAT: &str = "ERR value is not a valid float";
/// A key that must exist.
pub const NO_SUCH_KEY: &str = "ERR no such key";
/// SORT BY with a pattern that may name keys of other slots.
pub const SORT_BY_SLOTS: &str = "ERR BY option of SORT denied in cluster mode when keys formed by the pattern may be in \
    different slots.";
/// SORT GET with a pattern that may name keys of other slots.
pub const SORT_GET_SLOTS: &str = "ERR GET option of SORT denied in cluster mode when keys formed by the pattern may be \
    in different slots.";
/// SORT by number of what is none.
pub const SORT_SCORES: &str = "ERR One or more scores can't be converted into double";
/// COPY onto itself.
pub const SAME_OBJECT: &str = "ERR source and destination objects are the same";
/// A value that would grow over its limit.
pub const STRING_TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
/// SETRANGE before the start.
pub const OFFSET_OUT_OF_RANGE: &str = "ERR offset is out of range";
/// INCR past 64 bits.
pub const INCREMENT_OVERFLOW: &str = "ERR increment or decrement would overflow";
/// DECRBY by the one number that has no opposite.
pub const DECREMENT_OVERFLOW: &str = "ERR decrement would overflow";
/// INCRBYFLOAT past all numbers.
pub const INCREMENT_NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
/// A bit's position.
pub const BIT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
/// SETBIT to something else than 0 or 1.
pub const BIT_VALUE: &str = "ERR bit is not an integer or out of range";
/// BITPOS of something else than 0 or 1.
pub const BIT_ARGUMENT: &str = "ERR The bit argument must be 1 or 0.";
/// BITFIELD with an unknown type.
pub const BITFIELD_TYPE: &str =
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
/// BITFIELD OVERFLOW with an unknown word.
pub const BITFIELD_OVERFLOW: &str = "ERR Invalid OVERFLOW type specified";
/// BITFIELD_RO with SET, INCRBY or OVERFLOW.
pub const BITFIELD_READ_ONLY: &str = "ERR BITFIELD_RO only supports the GET subcommand";
/// BITOP NOT of several keys.
pub const BITOP_NOT: &str = "ERR BITOP NOT must be called with a single source key.";
/// LCS LEN IDX.
pub const LCS_LENGTH_AND_INDEXES: &str = "ERR If you want both the length and indexes, please just use IDX.";
/// LCS of something else than strings.
pub const LCS_NOT_STRINGS: &str = "ERR The specified keys must contain string values";
/// LCS of strings that are too long together.
pub const LCS_TOO_LONG: &str = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
/// EXPIRE NX with another condition.
pub const EXPIRE_NX: &str = "ERR NX and XX, GT or LT options at the same time are not compatible";
/// EXPIRE GT LT.
pub const EXPIRE_GT_LT: &str = "ERR GT and LT options at the same time are not compatible";
/// OBJECT FREQ.
pub const NO_LFU: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
    Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
/// SCAN with a cursor that is no number.
pub const INVALID_CURSOR: &str = "ERR invalid cursor";
/// SELECT, COPY or SWAPDB of a database that is not there.
pub const DB_INDEX: &str = "ERR DB index is out of range";
/// SWAPDB with a first argument that is no number.
pub const SWAPDB_FIRST: &str = "ERR invalid first DB index";
/// SWAPDB with a second argument that is no number.
pub const SWAPDB_SECOND: &str = "ERR invalid second DB index";
/// The keys of a command that cannot be split are of several shards.
pub const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// A write that would need more memory than there is.
pub const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// Any CLUSTER subcommand.
pub const CLUSTER_DISABLED: &str = "ERR This instance has cluster support disabled";
/// DEBUG.
pub const DEBUG_NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
    \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration \
    file, and then restart the server.";
/// AUTH with a password, where none is configured.
pub const AUTH_WITHOUT_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default \
    user. Are you sure your configuration is correct?";
/// HELLO with a version that is not 2 or 3.
pub const NO_PROTOCOL: &str = "NOPROTO unsupported protocol version";
/// HELLO with a version that is no number.
pub const PROTOCOL_NOT_A_NUMBER: &str = "ERR Protocol version is not an integer or out of range";
/// CLIENT SETNAME.
pub const CLIENT_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
/// CLIENT KILL of one who is not there.
pub const NO_SUCH_CLIENT: &str = "ERR No such client";
/// CLIENT READS with an unknown word.
pub const READ_LEVEL: &str = "ERR unknown read level: it is one of strong, session, any";

/// MULTI inside MULTI.
pub const NESTED_MULTI: &str = "ERR MULTI calls can not be nested";
/// WATCH inside MULTI.
pub const WATCH_IN_MULTI: &str = "ERR WATCH inside MULTI is not allowed";
/// EXEC outside of MULTI.
pub const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
/// DISCARD outside of MULTI.
pub const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
/// A command that cannot be part of a transaction.
pub const NOT_IN_MULTI: &str = "ERR Command not allowed inside a transaction";
/// EXEC of a transaction of which a command could not be queued.
pub const EXEC_ABORT: &str = "EXECABORT Transaction discarded because of previous errors.";

// Pontoon's own. `TIMEOUT` says that a request may have been done, `UNAVAILABLE` that it surely was not.

/// A write was sent and its answer did not come in time.
pub const OUTCOME_UNKNOWN: &str = "TIMEOUT the outcome of this write is unknown: it was sent, and its shard did not \
    answer in time; it may or may not have been applied";
/// A read was sent and its answer did not come in time.
pub const READ_TIMED_OUT: &str = "TIMEOUT this read was not answered in time";
/// A read of level `any` that no replica could answer.
pub const NOT_FRESH: &str = "UNAVAILABLE this read was not answered in time: its shard has no reachable leader, and no \
    reachable replica is sure to be as fresh as its node's --max-staleness-ms demands";
/// A read that needed a leader.
pub const NO_LEADER_TO_READ: &str = "UNAVAILABLE this read was not answered in time: its shard had no reachable leader \
    that could confirm what is newest";
/// A request waited for a leader or for room and was never sent.
pub const NOT_SENT: &str = "UNAVAILABLE this request was not sent: its shard had no reachable leader in time; nothing \
    was changed";
/// [`NOT_SENT`], with what is known of the servers that it waited for.
pub fn not_sent(reason: &str) -> String {
    if reason.is_empty() { NOT_SENT.to_owned() } else { format!("{NOT_SENT} ({reason})") }
}
/// A command that a server knows, whose keys cannot be told from its arguments.
pub fn keys_unknown(name: &str) -> String {
    format!(
        "ERR the keys of '{name}' cannot be told from its arguments, so that no shard of several is known to have them"
    )
}
/// A command that a server knows, without keys.
pub fn keyless_for_one_shard(name: &str) -> String {
    format!("ERR '{name}' names no keys, so that no shard of several is the one that it is for")
}
/// A command that a server knows, which concerns its connection or is an operator's.
pub fn not_through_proxy(name: &str) -> String {
    format!("ERR '{name}' is not for clients of a proxy: ask the servers themselves")
}
/// SHUTDOWN.
pub const SHUTDOWN_REFUSED: &str = "ERR SHUTDOWN is not for clients: an operator stops the process by its signal";
/// A request's arrival at a process that is stopping.
pub const SHUTTING_DOWN: &str = "UNAVAILABLE this server is shutting down; nothing was changed";
/// More waiting requests than there is room for.
pub const OVERLOADED: &str = "UNAVAILABLE too many requests are waiting for this shard; nothing was changed";
/// A request for a slot that no shard is known to own.
pub const NO_OWNER: &str = "UNAVAILABLE the slot of this key has no known owner yet; nothing was changed";
/// EXEC after a WATCH that was answered by an error.
pub const EXEC_UNGUARDED: &str = "EXECABORT Transaction discarded because of: a WATCH before it failed, so that nobody \
    guards its keys";
/// A transaction that would take more memory than the process has for all of them.
pub const TRANSACTIONS_FULL: &str = "UNAVAILABLE too many bytes are queued in transactions of this proxy; nothing was \
    changed";
/// A node's reply that makes no sense here.
pub const UNEXPECTED_REPLY: &str = "ERR unexpected reply";
/// A blocking command's time-out.
pub const TIMEOUT_NOT_A_FLOAT: &str = "ERR timeout is not a float or out of range";
/// A blocking command's time-out below zero.
pub const TIMEOUT_NEGATIVE: &str = "ERR timeout is negative";
/// A blocking command's time-out past all time.
pub const TIMEOUT_OUT_OF_RANGE: &str = "ERR timeout is out of range";
/// What a client gets that another one unblocked.
pub const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
/// More blocked clients than a shard keeps.
pub const TOO_MANY_BLOCKED: &str = "ERR too many clients are blocked in this shard";
/// A blocking command on a node's own port.
pub const BLOCKING_NEEDS_A_PROXY: &str = "ERR blocking commands need a proxy: a node's own port does not wait";
/// One connection too many.
pub const TOO_MANY_CLIENTS: &str = "ERR max number of clients reached";

/// The wrong number of arguments for a command, named as the table names it.
pub fn wrong_arity(command: &str) -> String {
    format!("ERR wrong number of arguments for '{command}' command")
}

/// A time to live that is zero, negative or too large.
pub fn invalid_expire(command: &str) -> String {
    format!("ERR invalid expire time in '{command}' command")
}

/// A key, or a part of a request, that is larger than the limit.
pub fn too_large(what: &str, bytes_max: usize) -> String {
    format!("ERR {what} is larger than the limit of {bytes_max} bytes")
}

/// A part of a request that was split failed; the others may have been done.
pub fn part_failed(shard: &str, error: &str) -> String {
    let (code, text) = error.split_once(' ').unwrap_or(("ERR", error));
    format!("{code} the part of this request for shard {shard} failed: {text}")
}

/// A command over all keys that `left` slots were not asked for in time, as they were on their way from shard to shard.
pub fn not_covered(write: bool, left: usize) -> String {
    let all = "of the 16384 slots could not be asked in time, since nobody served them";
    if write {
        format!("TIMEOUT {left} {all}; nothing was changed in them, and the command took effect in the others")
    } else {
        format!("TIMEOUT {left} {all}")
    }
}

/// EXEC of a transaction that cannot be carried out; `error` is why.
pub fn exec_abort(error: &str) -> String {
    format!("EXECABORT Transaction discarded because of: {error}")
}

/// A command about all keys, in a transaction of a cluster with several shards.
pub fn every_shard_in_multi(command: &str) -> String {
    format!("CROSSSLOT '{command}' concerns every shard and cannot be part of a transaction, which is of one shard")
}

/// A redirect, shown to clients who talk to a node without a proxy.
pub fn moved(slot: u16, owner: &str) -> String {
    format!("MOVED {slot} {owner}")
}

/// Appends the error for a command that is not in the table.
pub fn write_unknown_command(out: &mut Vec<u8>, args: Args<'_>) {
    // The quoted arguments together take 128 bytes or a little more, as in Redis.
    const QUOTED_BYTES_MAX: usize = 128;
    let mut quoted = Vec::new();
    for arg in args.from(1) {
        let Some(room @ 1..) = QUOTED_BYTES_MAX.checked_sub(quoted.len()) else { break };
        quoted.push(b'\'');
        quoted.extend_from_slice(c_string(arg, room));
        quoted.extend_from_slice(b"' ");
    }
    let name = c_string(args.name(), QUOTED_BYTES_MAX);
    write_error(out, &[b"ERR unknown command '", name, b"', with args beginning with: ", &quoted]);
}

/// Appends the error for a subcommand that is not in the table.
pub fn write_unknown_subcommand(out: &mut Vec<u8>, args: Args<'_>) {
    let container = args.name().to_ascii_uppercase();
    let subcommand = c_string(args.get(1), 128);
    write_error(out, &[b"ERR unknown subcommand '", subcommand, b"'. Try ", &container, b" HELP."]);
}

/// Appends the error for a subcommand whose arguments are not as it needs them.
pub fn write_subcommand_syntax(out: &mut Vec<u8>, args: Args<'_>) {
    let container = args.name().to_ascii_uppercase();
    let subcommand = c_string(args.get(1), 128);
    write_error(
        out,
        &[b"ERR unknown subcommand or wrong number of arguments for '", subcommand, b"'. Try ", &container, b" HELP."],
    );
}

/// Appends an error that quotes the client: `before`, the quoted bytes, `after`.
pub fn write_quoting(out: &mut Vec<u8>, before: &str, quoted: &[u8], after: &str) {
    write_error(out, &[before.as_bytes(), quoted, after.as_bytes()]);
}

fn write_error(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.push(b'-');
    let start = out.len();
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out[start..].iter_mut().filter(|b| matches!(b, b'\r' | b'\n')).for_each(|b| *b = b' ');
    out.extend_from_slice(b"\r\n");
}

/// What C's `%.*s` prints: up to the first zero byte, at most `bytes_max`.
fn c_string(bytes: &[u8], bytes_max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(bytes_max)];
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::{parse_array, write_array};

    fn with_request(words: &[&[u8]], write: fn(&mut Vec<u8>, Args<'_>)) -> String {
        let (mut bytes, mut spans, mut out) = (Vec::new(), Vec::new(), Vec::new());
        write_array(&mut bytes, words.iter().copied());
        parse_array(&bytes, &mut spans).unwrap();
        write(&mut out, Args::new(&bytes, &spans));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn unknown_commands_are_quoted_as_redis_does() {
        let unknown = |words: &[&[u8]]| with_request(words, write_unknown_command);
        assert_eq!(unknown(&[b"foo"]), "-ERR unknown command 'foo', with args beginning with: \r\n");
        assert_eq!(
            unknown(&[b"fo\r\no", b"a", b"b\nc"]),
            "-ERR unknown command 'fo  o', with args beginning with: 'a' 'b c' \r\n"
        );
        assert_eq!(unknown(&[b"f\0oo", b"a\0b"]), "-ERR unknown command 'f', with args beginning with: 'a' \r\n");
        let long = [b'x'; 200];
        let (x128, x123) = ("x".repeat(128), "x".repeat(123));
        assert_eq!(
            unknown(&[&long, b"ab", &long, b"never"]),
            format!("-ERR unknown command '{x128}', with args beginning with: 'ab' '{x123}' \r\n")
        );
    }

    #[test]
    fn unknown_subcommands_name_the_help() {
        assert_eq!(
            with_request(&[b"clIent", b"x"], write_unknown_subcommand),
            "-ERR unknown subcommand 'x'. Try CLIENT HELP.\r\n"
        );
        assert_eq!(
            with_request(&[b"client", b"KILL"], write_subcommand_syntax),
            "-ERR unknown subcommand or wrong number of arguments for 'KILL'. Try CLIENT HELP.\r\n"
        );
    }

    #[test]
    fn a_failed_part_keeps_its_code() {
        assert_eq!(
            part_failed("a", "TIMEOUT too slow"),
            "TIMEOUT the part of this request for shard a failed: too slow"
        );
    }
}
