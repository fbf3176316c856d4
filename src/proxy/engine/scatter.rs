//! Requests over several shards: how a request is cut into parts, and how the replies to them become one.
//!
//! Invariant: a part that failed makes the whole reply an error that names the shard, never a silent half.

use std::io::Write;

use super::covering::Cover;
use super::flight::FlightKey;
use crate::control::routing::ShardIndex;
use crate::protocol::command::Merge;
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::reply_scan::{integer, is_error, is_null, reply_end};
use crate::protocol::request::Args;
use crate::protocol::split::put_ordinal;
use crate::topology::{ShardName, Slot};

/// A request of which parts are on their way.
#[derive(Debug)]
pub struct Scatter {
    /// How the replies become one.
    pub merge: Merge,
    /// Whether the request changes data.
    pub write: bool,
    /// Parts not answered.
    pub missing: u32,
    /// The parts.
    pub parts: Vec<FlightKey>,
    /// The part that each key went to, in the order of the keys (interleaved replies only).
    pub part_of_key: Vec<u16>,
    /// Chooses one of several replies.
    pub coin: u64,
    /// For a command over all keys: which slots are left.
    pub cover: Option<Box<Cover>>,
    /// Whether the sum goes into the reply to `INFO`, and is not the reply.
    pub info: bool,
}

impl Scatter {
    /// A request of `parts` parts, none of them on its way yet.
    pub fn new(merge: Merge, write: bool, parts: usize, coin: u64) -> Self {
        let parts_list = Vec::with_capacity(parts);
        Self {
            merge,
            write,
            missing: parts as u32,
            parts: parts_list,
            part_of_key: Vec::new(),
            coin,
            cover: None,
            info: false,
        }
    }
}

/// One part of a request that is cut by shard.
#[derive(Debug)]
pub struct Part {
    /// Where it goes.
    pub shard: ShardIndex,
    /// The slot of its first key.
    pub slot: Slot,
    /// Whether it has keys of more slots.
    pub many: bool,
}

/// A request cut by shard.
#[derive(Debug, Default)]
pub struct Cut {
    /// The parts, in the order of their first keys.
    pub parts: Vec<Part>,
    /// The part that each key goes to.
    pub part_of_key: Vec<u16>,
    /// Arguments per key.
    pub step: usize,
    /// The slot of each key.
    slots: Vec<Slot>,
}

impl Cut {
    /// Cuts a request whose keys start at argument 1 and stand `step` apart. `owner` may not know a slot's owner.
    pub fn new(args: Args<'_>, step: usize, owner: impl Fn(Slot) -> Option<ShardIndex>) -> Option<Self> {
        let mut cut = Self { step, ..Self::default() };
        for position in (1..args.len()).step_by(step) {
            let slot = Slot::of_key(args.get(position));
            let shard = owner(slot)?;
            let part = match cut.parts.iter().position(|p| p.shard == shard) {
                Some(part) => part,
                None => {
                    cut.parts.push(Part { shard, slot, many: false });
                    cut.parts.len() - 1
                }
            };
            cut.parts[part].many |= cut.parts[part].slot != slot;
            cut.part_of_key.push(part as u16);
            cut.slots.push(slot);
        }
        Some(cut)
    }

    /// The slot of each key.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether all keys are in one slot.
    pub fn is_of_one_slot(&self) -> bool {
        self.slots.iter().all(|slot| *slot == self.slots[0])
    }

    /// Appends the request of one part.
    pub fn write_part(&self, args: Args<'_>, part: usize, out: &mut Vec<u8>) {
        let keys: Vec<usize> = self.keys_of(part).collect();
        self.write_request(args, &keys, out);
    }

    /// Appends the request of one part as a [split command](crate::protocol::split), cut further by slot. Returns how many
    /// pieces that makes; if it is one, it was appended as a request.
    pub fn write_split(&self, args: Args<'_>, part: usize, out: &mut Vec<u8>) -> u32 {
        let mut keys: Vec<usize> = self.keys_of(part).collect();
        // Stable: of a key that is there twice, the last value counts.
        keys.sort_by_key(|key| self.slots[*key]);
        let mut by_slot = keys.chunk_by(|one, other| self.slots[*one] == self.slots[*other]).enumerate().peekable();
        let mut count = 0;
        while let Some((ordinal, keys)) = by_slot.next() {
            if ordinal > 0 || by_slot.peek().is_some() {
                put_ordinal(out, ordinal as u32);
            }
            self.write_request(args, keys, out);
            count += 1;
        }
        count
    }

    fn keys_of(&self, part: usize) -> impl Iterator<Item = usize> {
        let keys = self.part_of_key.iter().enumerate();
        keys.filter(move |(_, of)| usize::from(**of) == part).map(|(key, _)| key)
    }

    fn write_request(&self, args: Args<'_>, keys: &[usize], out: &mut Vec<u8>) {
        let mut request = ReplyWriter::new(out, false);
        request.array(1 + keys.len() * self.step);
        request.bulk(args.name());
        for key in keys {
            let first = 1 + key * self.step;
            (first..first + self.step).for_each(|at| request.bulk(args.get(at)));
        }
    }
}

/// The reply to one part.
#[derive(Clone, Copy, Debug)]
pub struct PartReply<'a> {
    /// Who gave it.
    pub shard: &'a ShardName,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Appends the one reply that the parts' replies make. Returns whether it is an error.
pub fn merge_replies(scatter: &Scatter, parts: &[PartReply<'_>], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let merged = match failure(parts) {
        Some(failed) => Err(failed),
        None => merge(scatter, parts, out),
    };
    let Err(failed) = merged else { return false };
    out.truncate(start);
    write_failure(scatter, parts, failed, out);
    true
}

fn failure<'a>(parts: &[PartReply<'a>]) -> Option<Failed<'a>> {
    let failed = parts.iter().filter(|p| is_error(p.bytes));
    // An unknown outcome is said first: the others promise more.
    let unknown = |p: &&PartReply<'_>| p.bytes[1..].starts_with(errors::OUTCOME_UNKNOWN.as_bytes());
    let part = *failed.clone().find(unknown).or_else(|| failed.clone().next())?;
    let text = part.bytes[1..].strip_suffix(b"\r\n").unwrap_or(&part.bytes[1..]);
    Some(Failed { part, text, count: failed.count() })
}

struct Failed<'a> {
    part: PartReply<'a>,
    text: &'a [u8],
    count: usize,
}

impl<'a> Failed<'a> {
    const fn unexpected(part: PartReply<'a>) -> Self {
        Self { part, text: errors::UNEXPECTED_REPLY.as_bytes(), count: 1 }
    }
}

fn write_failure(scatter: &Scatter, parts: &[PartReply<'_>], failed: Failed<'_>, out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(failed.text);
    let mut line = errors::part_failed(failed.part.shard.as_str(), &text);
    if scatter.write && failed.count > 1 {
        line.push_str("; other parts failed as well");
    }
    if scatter.write && failed.count < parts.len() {
        line.push_str(if failed.count == 1 {
            "; the parts for other shards took effect"
        } else {
            ", and the rest took effect"
        });
    }
    ReplyWriter::new(out, false).error(&line);
}

fn merge<'a>(scatter: &Scatter, parts: &[PartReply<'a>], out: &mut Vec<u8>) -> Result<(), Failed<'a>> {
    match scatter.merge {
        Merge::AllOk => out.extend_from_slice(b"+OK\r\n"),
        Merge::Sum => {
            let mut sum = 0_i64;
            for part in parts {
                sum = sum.saturating_add(integer(part.bytes).ok_or(Failed::unexpected(*part))?);
            }
            ReplyWriter::new(out, false).integer(sum);
        }
        Merge::Concatenate => concatenate(parts, out)?,
        Merge::Interleave => interleave(&scatter.part_of_key, parts, out)?,
        Merge::AnyOne => {
            let values: Vec<_> = parts.iter().filter(|p| !is_null(p.bytes)).collect();
            let chosen = values.get(scatter.coin as usize % values.len().max(1)).copied().or(parts.first());
            out.extend_from_slice(chosen.map_or(b"$-1\r\n", |p| p.bytes));
        }
    }
    Ok(())
}

fn concatenate<'a>(parts: &[PartReply<'a>], out: &mut Vec<u8>) -> Result<(), Failed<'a>> {
    let mut total = 0;
    let mut bodies = Vec::with_capacity(parts.len());
    for part in parts {
        let (count, body) = number_line(part.bytes, b'*').ok_or(Failed::unexpected(*part))?;
        total += count.max(0);
        bodies.push(body);
    }
    write!(out, "*{total}\r\n").expect("a Vec takes all bytes");
    bodies.iter().for_each(|body| out.extend_from_slice(body));
    Ok(())
}

fn interleave<'a>(part_of_key: &[u16], parts: &[PartReply<'a>], out: &mut Vec<u8>) -> Result<(), Failed<'a>> {
    let mut rests = Vec::with_capacity(parts.len());
    for part in parts {
        rests.push(number_line(part.bytes, b'*').ok_or(Failed::unexpected(*part))?.1);
    }
    ReplyWriter::new(out, false).array(part_of_key.len());
    for part in part_of_key {
        let part = usize::from(*part);
        let end = reply_end(rests[part]).ok().flatten().ok_or(Failed::unexpected(parts[part]))?;
        let (value, rest) = rests[part].split_at(end);
        out.extend_from_slice(value);
        rests[part] = rest;
    }
    Ok(())
}

/// The number in a line that starts with `kind`, and what follows the line.
fn number_line(bytes: &[u8], kind: u8) -> Option<(i64, &[u8])> {
    let rest = bytes.strip_prefix(&[kind])?;
    let end = memchr::memchr(b'\r', rest)?;
    let number = parse_i64(&rest[..end])?;
    Some((number, rest.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scatter(merge: Merge, write: bool, part_of_key: &[u16]) -> Scatter {
        Scatter {
            merge,
            write,
            missing: 0,
            parts: Vec::new(),
            part_of_key: part_of_key.to_vec(),
            coin: 5,
            cover: None,
            info: false,
        }
    }

    fn merged(scatter: &Scatter, replies: &[&str]) -> String {
        let names: Vec<_> = (0..replies.len()).map(|i| ShardName::new(&format!("s{i}"))).collect();
        let parts: Vec<_> =
            names.iter().zip(replies).map(|(shard, r)| PartReply { shard, bytes: r.as_bytes() }).collect();
        let mut out = Vec::new();
        merge_replies(scatter, &parts, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_of_parts_become_one() {
        let interleaved = scatter(Merge::Interleave, false, &[0, 1, 0]);
        assert_eq!(
            merged(&interleaved, &["*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$3\r\nb\r\n\r\n"]),
            "*3\r\n$1\r\na\r\n$3\r\nb\r\n\r\n$-1\r\n"
        );
        assert_eq!(merged(&scatter(Merge::Sum, true, &[]), &[":2\r\n", ":40\r\n"]), ":42\r\n");
        assert_eq!(merged(&scatter(Merge::AllOk, true, &[]), &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(
            merged(&scatter(Merge::Concatenate, false, &[]), &["*1\r\n$1\r\na\r\n", "*0\r\n", "*1\r\n$1\r\nb\r\n"]),
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n"
        );
        assert_eq!(merged(&scatter(Merge::AnyOne, false, &[]), &["$-1\r\n", "$1\r\nx\r\n"]), "$1\r\nx\r\n");
        assert_eq!(merged(&scatter(Merge::AnyOne, false, &[]), &["$-1\r\n", "$-1\r\n"]), "$-1\r\n");
    }

    #[test]
    fn a_failed_part_fails_the_whole_and_is_named() {
        assert_eq!(
            merged(&scatter(Merge::AllOk, true, &[]), &["+OK\r\n", "-TIMEOUT gone\r\n"]),
            "-TIMEOUT the part of this request for shard s1 failed: gone; the parts for other shards took effect\r\n"
        );
        let (unsent, unknown) = (format!("-{}\r\n", errors::NOT_SENT), format!("-{}\r\n", errors::OUTCOME_UNKNOWN));
        let text = merged(&scatter(Merge::AllOk, true, &[]), &[&unsent, "+OK\r\n", &unknown]);
        assert!(text.starts_with("-TIMEOUT the part of this request for shard s2 failed: the outcome"), "{text}");
        assert!(text.ends_with("; other parts failed as well, and the rest took effect\r\n"), "{text}");
        assert_eq!(
            merged(&scatter(Merge::Interleave, false, &[0]), &["*1\r\n$9\r\nabc\r\n"]),
            "-ERR the part of this request for shard s0 failed: unexpected reply\r\n"
        );
    }
}
