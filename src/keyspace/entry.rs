//! What a data shard's log says. Little endian: `u8 format version | u8 kind | u64 log time | payload`.
//!
//! | kind | payload |
//! | --- | --- |
//! | 1 write | `u64 seed`, `u8 flags` (1: RESP3, 2: with an identity, 4: with what was seen), identity, `u64 seen`, the request as one RESP array |
//! | 2 tick | |
//! | 3 sweep | `u16 slot`, `u32 keys at most` |
//! | 4 exec | as 1, a [transaction](crate::protocol::transaction) instead of the request |
//! | 5 split | as 1, always with an identity, a [split command](crate::protocol::split) instead of the request |
//! | 6 reject | `u8 transaction`, identity, for each part `u32 ordinal`, `u16 slot` |
//! | 8 block | as 1, always with an identity |
//! | 9 cancel | `u8 how`, `u8 flags`, `u16 slot`, identity |
//! | 10 cover | as 1, a [wish for slots and a request](crate::protocol::coverage) instead of the request |
//! | 16 mark | `u64 id` |
//! | 32 to 40 | [steps of moves](super::moves::Step) |
//!
//! A client's entry says which [ownership](super::Keyspace::ownership) its leader had seen when it proposed it: what slots
//! were gained after that refuse it, so that it overtakes nothing that was refused earlier.
//!
//! Entries outlive the program that wrote them: a version or kind that is not known is an error that stops the
//! replica, never something to skip.

use super::error::EntryError;
use super::moves::{KIND_FIRST, KIND_LAST, Step};
use crate::protocol::identity::{CancelHow, IDENTITY_BYTES, Identity};
use crate::protocol::verification::MarkId;
use crate::topology::{LogTime, Slot};

/// The version of the format, the first byte of every entry.
pub const ENTRY_FORMAT_VERSION: u8 = 1;

const KIND_WRITE: u8 = 1;
const KIND_TICK: u8 = 2;
const KIND_SWEEP: u8 = 3;
const KIND_EXEC: u8 = 4;
const KIND_SPLIT: u8 = 5;
const KIND_REJECT: u8 = 6;
const KIND_MARK: u8 = 16;
const KIND_BLOCK: u8 = 8;
const KIND_CANCEL: u8 = 9;
const KIND_COVER: u8 = 10;
const FLAG_RESP3: u8 = 1;
const FLAG_IDENTITY: u8 = 2;
const FLAG_SEEN: u8 = 4;

/// One entry of a data shard's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A client's request.
    Write {
        /// The leader's proposal for log time.
        time: LogTime,
        /// The randomness that the request may use.
        seed: u64,
        /// Whether the client speaks RESP3.
        resp3: bool,
        /// The request's name, under which it is executed once; none where its sender does not ask again.
        identity: Option<Identity>,
        /// The ownership that the leader had seen.
        seen: u64,
        /// The request as one RESP array.
        request: &'a [u8],
    },
    /// A client's request over several slots: a write for each.
    Split {
        /// The leader's proposal for log time.
        time: LogTime,
        /// The randomness that the requests may use.
        seed: u64,
        /// Whether the client speaks RESP3.
        resp3: bool,
        /// The name of the part with ordinal zero; the others follow from it.
        identity: Identity,
        /// The ownership that the leader had seen.
        seen: u64,
        /// The parts, as a [split command](crate::protocol::split).
        body: &'a [u8],
    },
    /// A client's transaction: all or nothing.
    Exec {
        /// The leader's proposal for log time.
        time: LogTime,
        /// The randomness that the requests may use.
        seed: u64,
        /// Whether the client speaks RESP3.
        resp3: bool,
        /// The transaction's name, under which it is executed once; none where its sender does not ask again.
        identity: Option<Identity>,
        /// The ownership that the leader had seen.
        seen: u64,
        /// What is watched and the requests, as a [transaction](crate::protocol::transaction).
        body: &'a [u8],
    },
    /// A client's request that is not executed for want of memory, which the leader decides and apply never judges
    /// (DESIGN.md, R6). Its name gets the error as its answer: come again, it is not executed behind what followed it.
    Reject {
        /// The leader's proposal for log time.
        time: LogTime,
        /// Whether it is a transaction.
        transaction: bool,
        /// The request's name, or that of the part with ordinal zero.
        identity: Identity,
        /// Of each part the ordinal and the slot, as [`put_rejected`] writes them.
        parts: &'a [u8],
    },
    /// Nothing but the time, so that reads may see keys expire.
    Tick {
        /// The leader's proposal for log time.
        time: LogTime,
    },
    /// Expired keys of a slot are to be removed.
    Sweep {
        /// The leader's proposal for log time.
        time: LogTime,
        /// The slot.
        slot: Slot,
        /// How many keys at most.
        keys_max: u32,
    },
    /// Nothing but a place in the log, at which all replicas freeze their state so that it can be compared.
    Mark {
        /// The leader's proposal for log time.
        time: LogTime,
        /// Who asked.
        id: MarkId,
    },
    /// A blocking command: executed now, or when there is something for it.
    Block {
        /// The leader's proposal for log time.
        time: LogTime,
        /// The randomness that the request may use now.
        seed: u64,
        /// Whether the client speaks RESP3.
        resp3: bool,
        /// The request's name, under which it is executed once.
        identity: Identity,
        /// The ownership that the leader had seen.
        seen: u64,
        /// The request as one RESP array.
        request: &'a [u8],
    },
    /// A client's request over all keys, for the slots of a set.
    Cover {
        /// The leader's proposal for log time.
        time: LogTime,
        /// The randomness that the request may use.
        seed: u64,
        /// Whether the client speaks RESP3.
        resp3: bool,
        /// The request's name, under which it is executed once; none where its sender does not ask again.
        identity: Option<Identity>,
        /// The ownership that the leader had seen.
        seen: u64,
        /// The slots and the request, as a [wish](crate::protocol::coverage).
        body: &'a [u8],
    },
    /// A step of a slot's move.
    Move {
        /// The leader's proposal for log time.
        time: LogTime,
        /// The step.
        step: Step<'a>,
    },
    /// A blocked client waits no longer.
    Cancel {
        /// The leader's proposal for log time.
        time: LogTime,
        /// Why.
        how: CancelHow,
        /// Whether the client speaks RESP3.
        resp3: bool,
        /// The slot of the request's first key.
        slot: Slot,
        /// The name of the request that waits.
        identity: Identity,
    },
}

impl<'a> Entry<'a> {
    /// The leader's proposal for log time.
    pub const fn time(&self) -> LogTime {
        match self {
            Self::Write { time, .. }
            | Self::Exec { time, .. }
            | Self::Split { time, .. }
            | Self::Reject { time, .. }
            | Self::Tick { time }
            | Self::Sweep { time, .. }
            | Self::Block { time, .. }
            | Self::Cancel { time, .. }
            | Self::Cover { time, .. }
            | Self::Move { time, .. }
            | Self::Mark { time, .. } => *time,
        }
    }

    /// The bytes of the client's request, or of all requests that it is.
    pub const fn request_bytes(&self) -> usize {
        match self {
            Self::Write { request, .. } | Self::Block { request, .. } => request.len(),
            Self::Exec { body, .. } | Self::Split { body, .. } => body.len(),
            _ => 0,
        }
    }

    /// The ownership that the leader had seen; all there is, where no client asks.
    pub const fn seen(&self) -> u64 {
        match self {
            Self::Write { seen, .. }
            | Self::Exec { seen, .. }
            | Self::Split { seen, .. }
            | Self::Block { seen, .. }
            | Self::Cover { seen, .. } => *seen,
            Self::Tick { .. }
            | Self::Sweep { .. }
            | Self::Reject { .. }
            | Self::Cancel { .. }
            | Self::Move { .. }
            | Self::Mark { .. } => u64::MAX,
        }
    }

    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Write { .. } => KIND_WRITE,
            Self::Exec { .. } => KIND_EXEC,
            Self::Split { .. } => KIND_SPLIT,
            Self::Reject { .. } => KIND_REJECT,
            Self::Tick { .. } => KIND_TICK,
            Self::Sweep { .. } => KIND_SWEEP,
            Self::Mark { .. } => KIND_MARK,
            Self::Block { .. } => KIND_BLOCK,
            Self::Cancel { .. } => KIND_CANCEL,
            Self::Cover { .. } => KIND_COVER,
            Self::Move { step, .. } => step.kind(),
        };
        out.extend_from_slice(&[ENTRY_FORMAT_VERSION, kind]);
        out.extend_from_slice(&self.time().get().to_le_bytes());
        match self {
            Self::Write { seed, resp3, identity, seen, request: bytes, .. }
            | Self::Exec { seed, resp3, identity, seen, body: bytes, .. }
            | Self::Cover { seed, resp3, identity, seen, body: bytes, .. } => {
                put_named(out, *seed, *resp3, identity.as_ref(), *seen, bytes);
            }
            Self::Split { seed, resp3, identity, seen, body: bytes, .. }
            | Self::Block { seed, resp3, identity, seen, request: bytes, .. } => {
                put_named(out, *seed, *resp3, Some(identity), *seen, bytes);
            }
            Self::Reject { transaction, identity, parts, .. } => {
                out.push(u8::from(*transaction));
                identity.encode(out);
                out.extend_from_slice(parts);
            }
            Self::Move { step, .. } => step.encode(out),
            Self::Tick { .. } => {}
            Self::Sweep { slot, keys_max, .. } => {
                out.extend_from_slice(&slot.number().to_le_bytes());
                out.extend_from_slice(&keys_max.to_le_bytes());
            }
            Self::Mark { id, .. } => out.extend_from_slice(&id.0.to_le_bytes()),
            Self::Cancel { how, resp3, slot, identity, .. } => {
                out.extend_from_slice(&[*how as u8, if *resp3 { FLAG_RESP3 } else { 0 }]);
                out.extend_from_slice(&slot.number().to_le_bytes());
                identity.encode(out);
            }
        }
    }

    /// Whether these are the bytes of a step of a slot's move, if of an entry at all.
    pub fn is_move(bytes: &[u8]) -> bool {
        bytes.get(1).is_some_and(|kind| (KIND_FIRST..=KIND_LAST).contains(kind))
    }

    /// Reads one entry that fills `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let [version, kind, rest @ ..] = bytes else { return Err(EntryError::Malformed("shorter than its head")) };
        if *version != ENTRY_FORMAT_VERSION {
            return Err(EntryError::Version(*version));
        }
        let (time, rest) = take(rest)?;
        let time = LogTime(u64::from_le_bytes(time));
        match *kind {
            KIND_WRITE | KIND_EXEC | KIND_SPLIT | KIND_BLOCK | KIND_COVER => {
                let (seed, rest) = take(rest)?;
                let ([flags], rest) = take(rest)?;
                if flags & !(FLAG_RESP3 | FLAG_IDENTITY | FLAG_SEEN) != 0 {
                    return Err(EntryError::Malformed("unknown flags"));
                }
                let (identity, rest) = take_identity(rest, flags)?;
                let (seen, bytes) = take_seen(rest, flags)?;
                let (seed, resp3) = (u64::from_le_bytes(seed), flags & FLAG_RESP3 != 0);
                let named = identity.ok_or(EntryError::Malformed("a write that needs a name and has none"));
                Ok(match *kind {
                    KIND_EXEC => Self::Exec { time, seed, resp3, identity, seen, body: bytes },
                    KIND_SPLIT => Self::Split { time, seed, resp3, identity: named?, seen, body: bytes },
                    KIND_BLOCK => Self::Block { time, seed, resp3, identity: named?, seen, request: bytes },
                    KIND_COVER => Self::Cover { time, seed, resp3, identity, seen, body: bytes },
                    _ => Self::Write { time, seed, resp3, identity, seen, request: bytes },
                })
            }
            KIND_REJECT => {
                let ([transaction], rest) = take(rest)?;
                let (identity, parts) = take::<IDENTITY_BYTES>(rest)?;
                if transaction > 1 || rejected(parts).any(|part| part.is_none()) {
                    return Err(EntryError::Malformed("a rejection of nothing"));
                }
                let identity = Identity::decode(&identity);
                Ok(Self::Reject { time, transaction: transaction == 1, identity, parts })
            }
            KIND_FIRST..=KIND_LAST => Ok(Self::Move { time, step: Step::decode(*kind, rest)? }),
            KIND_TICK => end(rest, Self::Tick { time }),
            KIND_SWEEP => {
                let (number, rest) = take(rest)?;
                let (keys_max, rest) = take(rest)?;
                let slot = Slot::new(u16::from_le_bytes(number)).ok_or(EntryError::Malformed("no such slot"))?;
                end(rest, Self::Sweep { time, slot, keys_max: u32::from_le_bytes(keys_max) })
            }
            KIND_MARK => {
                let (id, rest) = take(rest)?;
                end(rest, Self::Mark { time, id: MarkId(u64::from_le_bytes(id)) })
            }
            KIND_CANCEL => {
                let ([how], rest) = take(rest)?;
                let how = CancelHow::from_byte(how).ok_or(EntryError::Malformed("no such reason to cancel"))?;
                let (resp3, rest) = take_resp3(rest)?;
                let (number, rest) = take(rest)?;
                let slot = Slot::new(u16::from_le_bytes(number)).ok_or(EntryError::Malformed("no such slot"))?;
                let (identity, rest) = take::<IDENTITY_BYTES>(rest)?;
                end(rest, Self::Cancel { time, how, resp3, slot, identity: Identity::decode(&identity) })
            }
            kind => Err(EntryError::Kind(kind)),
        }
    }
}

/// Appends one part of what is rejected.
pub fn put_rejected(out: &mut Vec<u8>, ordinal: u32, slot: Slot) {
    out.extend_from_slice(&ordinal.to_le_bytes());
    out.extend_from_slice(&slot.number().to_le_bytes());
}

/// The parts of what is rejected; none: bytes that are no part.
pub(super) fn rejected(parts: &[u8]) -> impl Iterator<Item = Option<(u32, Slot)>> {
    parts.chunks(6).map(|part| {
        let [a, b, c, d, e, f]: [u8; 6] = part.try_into().ok()?;
        Some((u32::from_le_bytes([a, b, c, d]), Slot::new(u16::from_le_bytes([e, f]))?))
    })
}

fn put_named(out: &mut Vec<u8>, seed: u64, resp3: bool, identity: Option<&Identity>, seen: u64, bytes: &[u8]) {
    let flag = |flag, is_set| if is_set { flag } else { 0 };
    out.extend_from_slice(&seed.to_le_bytes());
    out.push(flag(FLAG_RESP3, resp3) | flag(FLAG_IDENTITY, identity.is_some()) | flag(FLAG_SEEN, seen > 0));
    identity.into_iter().for_each(|identity| identity.encode(out));
    if seen > 0 {
        out.extend_from_slice(&seen.to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

fn take_identity(bytes: &[u8], flags: u8) -> Result<(Option<Identity>, &[u8]), EntryError> {
    if flags & FLAG_IDENTITY == 0 {
        return Ok((None, bytes));
    }
    let (identity, rest) = take::<IDENTITY_BYTES>(bytes)?;
    Ok((Some(Identity::decode(&identity)), rest))
}

/// A leader that has seen no slot come says nothing.
fn take_seen(bytes: &[u8], flags: u8) -> Result<(u64, &[u8]), EntryError> {
    if flags & FLAG_SEEN == 0 {
        return Ok((0, bytes));
    }
    let (seen, rest) = take(bytes)?;
    match u64::from_le_bytes(seen) {
        0 => Err(EntryError::Malformed("seen nothing, and said so")),
        seen => Ok((seen, rest)),
    }
}

fn take_resp3(bytes: &[u8]) -> Result<(bool, &[u8]), EntryError> {
    let ([flags], rest) = take(bytes)?;
    if flags & !FLAG_RESP3 != 0 { Err(EntryError::Malformed("unknown flags")) } else { Ok((flags == FLAG_RESP3, rest)) }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), EntryError> {
    let (head, rest) = bytes.split_first_chunk().ok_or(EntryError::Malformed("shorter than its kind needs"))?;
    Ok((*head, rest))
}

fn end<'a>(rest: &[u8], entry: Entry<'a>) -> Result<Entry<'a>, EntryError> {
    if rest.is_empty() { Ok(entry) } else { Err(EntryError::Malformed("longer than its kind needs")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{SessionId, WriteId};

    fn examples() -> [Entry<'static>; 15] {
        let id = WriteId { session: SessionId(77), sequence: 3 };
        let identity = Identity { id, low: 2, born: LogTime(5) };
        let (time, slot) = (LogTime(0x0102_0304), Slot::of_key(b"k"));
        [
            Entry::Write { seen: 0, time, seed: 9, resp3: true, identity: None, request: b"*1\r\n$4\r\nINCR\r\n" },
            Entry::Write {
                seen: 0,
                time,
                seed: 9,
                resp3: true,
                identity: Some(identity),
                request: b"*1\r\n$4\r\nINCR\r\n",
            },
            Entry::Write { seen: 0, time, seed: u64::MAX, resp3: false, identity: None, request: b"" },
            Entry::Exec { seen: 0, time, seed: 1, resp3: true, identity: None, body: b"\0\0\0\0*1\r\n$4\r\nINCR\r\n" },
            Entry::Exec { seen: 0, time, seed: 1, resp3: false, identity: Some(identity), body: b"" },
            Entry::Split { seen: 0, time, seed: 1, resp3: true, identity, body: b"\0\0\0\0*1\r\n$4\r\nINCR\r\n" },
            Entry::Write {
                seen: 7,
                time,
                seed: 9,
                resp3: true,
                identity: Some(identity),
                request: b"*1\r\n$4\r\nINCR\r\n",
            },
            Entry::Cover { seen: 1, time, seed: 1, resp3: true, identity: None, body: b"\0\0*1\r\n$8\r\nFLUSHALL\r\n" },
            Entry::Move { time, step: Step::Freeze { number: 3, round: 9 } },
            Entry::Reject { time, transaction: true, identity, parts: b"\x02\0\0\0\x09\0" },
            Entry::Tick { time },
            Entry::Sweep { time, slot, keys_max: 100 },
            Entry::Mark { time, id: MarkId(u64::MAX - 1) },
            Entry::Block { seen: 0, time, seed: 4, resp3: true, identity, request: b"*0\r\n" },
            Entry::Cancel { time, how: CancelHow::Unblocked, resp3: false, slot, identity },
        ]
    }

    #[test]
    fn entries_read_back_what_was_written() {
        for entry in examples() {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(Entry::decode(&bytes), Ok(entry));
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let mut bytes = Vec::new();
        Entry::Write { seen: 0, time: LogTime(1), seed: 2, resp3: true, identity: None, request: b"*0" }
            .encode(&mut bytes);
        assert_eq!(bytes, b"\x01\x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01*0");
        bytes.clear();
        Entry::Mark { time: LogTime(1), id: MarkId(2) }.encode(&mut bytes);
        assert_eq!(bytes, b"\x01\x10\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        bytes.clear();
        Entry::Exec { seen: 0, time: LogTime(1), seed: 2, resp3: false, identity: None, body: b"\0\0\0\0" }
            .encode(&mut bytes);
        assert_eq!(bytes, b"\x01\x04\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn bad_entries_are_errors() {
        for entry in examples() {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            for cut in 0..bytes.len().min(19) {
                assert!(Entry::decode(&bytes[..cut]).is_err(), "{entry:?} cut at {cut}");
            }
        }
        assert_eq!(Entry::decode(&[2, 1, 0]), Err(EntryError::Version(2)));
        assert_eq!(Entry::decode(&[1, 99, 0, 0, 0, 0, 0, 0, 0, 0]), Err(EntryError::Kind(99)));
        assert!(Entry::decode(&[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(Entry::decode(&[1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(Entry::decode(&[1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 0, 0, 0]).is_err());
    }
}
