//! A command over several slots of one shard, on its way there and in the log: the command for the keys of each slot, so
//! that each is a write with a name of its own and can go another way when its slot has moved (DESIGN.md, R10).
//!
//! Little endian, one after the other to the end: `u32 ordinal | one canonical RESP array`. The sequence of a part is that
//! of the frame plus its ordinal. The answer is as many replies, in the same order.

use super::command::Merge;
use super::reply::ReplyWriter;
use super::reply_scan::{integer, is_error, reply_end};
use super::request::{Span, parse_first};

const ORDINAL_BYTES: usize = 4;
/// More parts than there are slots make no sense.
const PARTS_MAX: u32 = crate::topology::SLOT_COUNT as u32;

/// Bytes that are no split command, or no answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed split command")]
pub struct Malformed;

/// The command for the keys of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which of the whole command's parts it is.
    pub ordinal: u32,
    /// The command.
    pub request: &'a [u8],
}

/// Begins a part; its request follows.
pub fn put_ordinal(out: &mut Vec<u8>, ordinal: u32) {
    out.extend_from_slice(&ordinal.to_le_bytes());
}

/// Whether `body` is a split command to its last byte, with parts in order. `spans` is room to work in.
///
/// # Errors
/// It is none.
pub fn check(body: &[u8], spans: &mut Vec<Span>) -> Result<(), Malformed> {
    let (mut rest, mut before) = (body, None);
    while !rest.is_empty() {
        let part = next_part(&mut rest, spans).ok_or(Malformed)?;
        if before.is_some_and(|before| before >= part.ordinal) || part.ordinal >= PARTS_MAX {
            return Err(Malformed);
        }
        before = Some(part.ordinal);
    }
    before.map(|_| ()).ok_or(Malformed)
}

/// Cuts the first part off `rest` and replaces `spans` by where its arguments lie in its request.
pub fn next_part<'a>(rest: &mut &'a [u8], spans: &mut Vec<Span>) -> Option<Part<'a>> {
    let (ordinal, body) = rest.split_first_chunk::<ORDINAL_BYTES>()?;
    let end = parse_first(body, spans).ok()?;
    let (request, after) = body.split_at(end);
    *rest = after;
    Some(Part { ordinal: u32::from_le_bytes(*ordinal), request })
}

/// How many parts a well-formed split command has.
pub fn count(body: &[u8], spans: &mut Vec<Span>) -> usize {
    let mut rest = body;
    std::iter::from_fn(|| next_part(&mut rest, spans).map(|_| ())).count()
}

/// Appends the one reply that the replies to the parts make. The first error is the whole's.
///
/// # Errors
/// They are not replies to a command that is put together like this.
pub fn merge(replies: &[u8], merge: Merge, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (mut rest, mut sum) = (replies, 0_i64);
    while !rest.is_empty() {
        let end = reply_end(rest).ok().flatten().ok_or(Malformed)?;
        let (reply, after) = rest.split_at(end);
        if is_error(reply) {
            out.extend_from_slice(reply);
            return Ok(());
        }
        if merge == Merge::Sum {
            sum = sum.saturating_add(integer(reply).ok_or(Malformed)?);
        }
        rest = after;
    }
    match merge {
        Merge::AllOk => out.extend_from_slice(b"+OK\r\n"),
        Merge::Sum => ReplyWriter::new(out, false).integer(sum),
        Merge::Concatenate | Merge::Interleave | Merge::AnyOne => return Err(Malformed),
    }
    Ok(())
}

/// Appends the whole command as its client might have sent it, for whoever reads logs.
pub fn join(body: &[u8], spans: &mut Vec<Span>, out: &mut Vec<u8>) {
    let (mut rest, mut arguments, mut name): (_, Vec<&[u8]>, &[u8]) = (body, Vec::new(), b"");
    while let Some(Part { request, .. }) = next_part(&mut rest, spans) {
        name = &request[spans[0].start as usize..spans[0].end as usize];
        arguments.extend(spans[1..].iter().map(|span| &request[span.start as usize..span.end as usize]));
    }
    let mut request = ReplyWriter::new(out, false);
    request.array(1 + arguments.len());
    request.bulk(name);
    arguments.into_iter().for_each(|argument| request.bulk(argument));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::write_array;

    fn body(parts: &[(u32, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (ordinal, line) in parts {
            put_ordinal(&mut body, *ordinal);
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            write_array(&mut body, words.into_iter());
        }
        body
    }

    #[test]
    fn parts_read_back_and_join() {
        let (body, mut spans) = (body(&[(0, "DEL a b"), (3, "DEL c")]), Vec::new());
        assert_eq!(check(&body, &mut spans), Ok(()));
        assert_eq!(count(&body, &mut spans), 2);
        let mut rest = &body[..];
        assert_eq!(next_part(&mut rest, &mut spans).map(|part| part.ordinal), Some(0));
        assert_eq!(next_part(&mut rest, &mut spans).map(|part| part.ordinal), Some(3));
        assert_eq!(next_part(&mut rest, &mut spans), None);
        let mut whole = Vec::new();
        join(&body, &mut spans, &mut whole);
        assert_eq!(whole, b"*4\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    }

    #[test]
    fn what_is_no_split_command_is_found() {
        let good = body(&[(0, "DEL a"), (1, "DEL b")]);
        for bad in [
            Vec::new(),
            good[..good.len() - 1].to_vec(),
            good[..4].to_vec(),
            body(&[(1, "DEL a"), (1, "DEL b")]),
            body(&[(PARTS_MAX, "DEL a")]),
            [&good[..], b"x"].concat(),
        ] {
            assert_eq!(check(&bad, &mut Vec::new()), Err(Malformed), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn replies_become_one() {
        let merged = |replies: &[u8], how| {
            let mut out = Vec::new();
            merge(replies, how, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(merged(b":1\r\n:0\r\n:4\r\n", Merge::Sum).unwrap(), ":5\r\n");
        assert_eq!(merged(b"+OK\r\n+OK\r\n", Merge::AllOk).unwrap(), "+OK\r\n");
        assert_eq!(merged(b"+OK\r\n-ERR x\r\n+OK\r\n", Merge::AllOk).unwrap(), "-ERR x\r\n");
        for bad in [&b"+OK\r\n"[..], b":1", b":1\r\nx"] {
            assert_eq!(merged(bad, Merge::Sum), Err(Malformed));
        }
    }
}
