//! What comes before the RESP bytes of requests and replies.

use super::{FrameError, u32_at, u64_at};
use crate::protocol::identity::{Blocking, IDENTITY_BYTES, Identity};
use crate::topology::{Epoch, LogIndex, ShardId, Slot};

/// The level that a read was asked at (DESIGN.md, P3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ReadLevel {
    /// One client connection sees its own answered writes and never goes back in time.
    #[default]
    Session = 0,
    /// Linearizable per key.
    Strong = 1,
    /// At most `max_staleness` behind.
    Any = 2,
}

impl ReadLevel {
    /// The level of this name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Session, Self::Strong, Self::Any].into_iter().find(|l| name.eq_ignore_ascii_case(l.name().as_bytes()))
    }

    /// The name that clients, flags and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Strong => "strong",
            Self::Any => "any",
        }
    }
}

/// What comes before the client's RESP bytes in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Chosen by the proxy, echoed by the answer; unique among the unanswered requests of the connection.
    pub id: u64,
    /// The shard that the proxy believes to own the slot.
    pub shard: ShardId,
    /// The client connection, unique for the life of the proxy connection.
    pub client: u64,
    /// Raised by the proxy after each refusal for (client, shard): R1.
    pub generation: u32,
    /// Whether the request changes data.
    pub write: bool,
    /// Whether the client speaks RESP3.
    pub resp3: bool,
    /// Whether the body is a [transaction](crate::protocol::transaction); such a request is a write.
    pub transaction: bool,
    /// Whether the body is a [split command](crate::protocol::split); such a request is a write with an identity.
    pub split: bool,
    /// Whether the body is a request over all keys, after the slots that it is wanted for.
    pub covers: bool,
    /// Whether the write was sent before and may have been taken; only with an identity.
    pub retried: bool,
    /// Whether earlier writes of the client to this shard are unanswered: the read must follow them.
    pub after_writes: bool,
    /// The level, for reads.
    pub level: ReadLevel,
    /// The slot of the first key; none for requests about a whole shard.
    pub slot: Option<Slot>,
    /// The slot's epoch as the proxy knows it; zero: not known.
    pub epoch: Epoch,
    /// How much longer the answer is of use, in milliseconds.
    pub remaining_ms: u32,
    /// The lowest applied index at which a `session` read may be answered.
    pub floor: LogIndex,
    /// The write's name for ever, where it has one.
    pub identity: Option<Identity>,
    /// What the request has to do with blocked clients; only with an identity.
    pub blocking: Option<Blocking>,
}

/// The length of an encoded [`RequestHead`] without an identity.
pub const REQUEST_HEAD_BYTES: usize = 8 * 5 + 4 + 4 + 2 + 1 + 1;
const NO_SLOT: u16 = u16::MAX;
/// Nobody counts that far, and what is next to a sequence is one as well.
const SEQUENCE_MAX: u64 = u64::MAX >> 1;
const FLAG_IDENTITY: u8 = 128;

impl RequestHead {
    /// Appends the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut head = [0; REQUEST_HEAD_BYTES];
        head[0..8].copy_from_slice(&self.id.to_le_bytes());
        head[8..16].copy_from_slice(&self.shard.0.to_le_bytes());
        head[16..24].copy_from_slice(&self.client.to_le_bytes());
        head[24..32].copy_from_slice(&self.epoch.0.to_le_bytes());
        head[32..40].copy_from_slice(&self.floor.0.to_le_bytes());
        head[40..44].copy_from_slice(&self.generation.to_le_bytes());
        head[44..48].copy_from_slice(&self.remaining_ms.to_le_bytes());
        head[48..50].copy_from_slice(&self.slot.map_or(NO_SLOT, Slot::number).to_le_bytes());
        head[50] = u8::from(self.write)
            | u8::from(self.resp3) << 1
            | u8::from(self.after_writes) << 2
            | u8::from(self.transaction) << 3
            | u8::from(self.split) << 4
            | u8::from(self.retried) << 5
            | u8::from(self.covers) << 6;
        head[50] |= if self.identity.is_some() { FLAG_IDENTITY } else { 0 };
        head[51] = self.level as u8 | Blocking::byte(self.blocking) << 4;
        out.extend_from_slice(&head);
        self.identity.iter().for_each(|identity| identity.encode(out));
    }

    /// How many bytes the head takes.
    pub const fn encoded_bytes(&self) -> usize {
        REQUEST_HEAD_BYTES + if self.identity.is_some() { IDENTITY_BYTES } else { 0 }
    }

    /// Splits a request's payload into head and RESP bytes.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let malformed = FrameError::Malformed("request");
        let (head, mut body) = payload.split_first_chunk::<REQUEST_HEAD_BYTES>().ok_or(malformed)?;
        let number = u16::from_le_bytes([head[48], head[49]]);
        let slot = if number == NO_SLOT { None } else { Some(Slot::new(number).ok_or(malformed)?) };
        let level = match head[51] & 0xf {
            0 => ReadLevel::Session,
            1 => ReadLevel::Strong,
            2 => ReadLevel::Any,
            _ => return Err(malformed),
        };
        let mut identity = None;
        if head[50] & FLAG_IDENTITY != 0 {
            let (bytes, rest) = body.split_first_chunk::<IDENTITY_BYTES>().ok_or(malformed)?;
            (identity, body) = (Some(Identity::decode(bytes)), rest);
        }
        let blocking = Blocking::from_byte(head[51] >> 4).map_err(|_| malformed)?;
        if blocking.is_some() && identity.is_none() {
            return Err(malformed);
        }
        if matches!(blocking, Some(Blocking::Cancel(_))) && slot.is_none() {
            return Err(malformed);
        }
        let decoded = Self {
            id: u64_at(head, 0),
            shard: ShardId(u64_at(head, 8)),
            client: u64_at(head, 16),
            epoch: Epoch(u64_at(head, 24)),
            floor: LogIndex(u64_at(head, 32)),
            generation: u32_at(head, 40),
            remaining_ms: u32_at(head, 44),
            slot,
            write: head[50] & 1 != 0,
            resp3: head[50] & 2 != 0,
            after_writes: head[50] & 4 != 0,
            transaction: head[50] & 8 != 0,
            split: head[50] & 16 != 0,
            retried: head[50] & 32 != 0,
            covers: head[50] & 64 != 0,
            level,
            identity,
            blocking,
        };
        if (decoded.transaction || decoded.split) && blocking.is_some() || decoded.transaction && decoded.split {
            return Err(malformed);
        }
        if (decoded.transaction || decoded.split || blocking.is_some()) && !decoded.write {
            return Err(malformed);
        }
        if decoded.covers && (decoded.transaction || decoded.split || blocking.is_some()) {
            return Err(malformed);
        }
        if (decoded.split || decoded.retried) && identity.is_none() {
            return Err(malformed);
        }
        if identity.is_some_and(|identity| identity.id.sequence.max(identity.low) > SEQUENCE_MAX) {
            return Err(malformed);
        }
        Ok((decoded, body))
    }
}

/// What comes before the RESP bytes in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// The id of the request.
    pub id: u64,
    /// The applied index at which the request was answered; it raises the client's floor for the shard.
    pub index: LogIndex,
}

/// The length of an encoded [`ReplyHead`].
pub const REPLY_HEAD_BYTES: usize = 16;

impl ReplyHead {
    /// Appends the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut head = [0; REPLY_HEAD_BYTES];
        head[0..8].copy_from_slice(&self.id.to_le_bytes());
        head[8..16].copy_from_slice(&self.index.0.to_le_bytes());
        out.extend_from_slice(&head);
    }

    /// Splits a reply's payload into head and RESP bytes.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let split = payload.split_first_chunk::<REPLY_HEAD_BYTES>();
        let (head, body) = split.ok_or(FrameError::Malformed("reply"))?;
        Ok((Self { id: u64_at(head, 0), index: LogIndex(u64_at(head, 8)) }, body))
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::identity::CancelHow;
    use crate::topology::{LogTime, SessionId, WriteId};

    #[test]
    fn heads_read_back_what_they_wrote() {
        let head = RequestHead {
            id: 1,
            shard: ShardId(2),
            client: 3,
            generation: 4,
            write: true,
            resp3: false,
            after_writes: true,
            transaction: true,
            split: false,
            covers: false,
            retried: false,
            level: ReadLevel::Any,
            slot: Slot::new(16383),
            epoch: Epoch(5),
            remaining_ms: 6,
            floor: LogIndex(7),
            identity: None,
            blocking: None,
        };
        let id = WriteId { session: SessionId(8), sequence: 9 };
        let identity = Identity { id, low: 9, born: LogTime(10) };
        let endless = Some(Identity { low: u64::MAX, ..identity });
        let identity = Some(identity);
        let named = RequestHead { identity, ..head };
        let cancel = Some(Blocking::Cancel(CancelHow::Gone));
        let blocks = RequestHead { blocking: cancel, transaction: false, ..named };
        let split = RequestHead { split: true, retried: true, transaction: false, ..named };
        let covers = RequestHead { covers: true, transaction: false, slot: None, ..named };
        for head in [head, named, blocks, split, covers] {
            let mut out = Vec::new();
            head.encode(&mut out);
            assert_eq!(out.len(), head.encoded_bytes());
            let cut = &out[..head.encoded_bytes() - 1];
            assert_eq!(RequestHead::decode(cut), Err(FrameError::Malformed("request")));
            out.extend_from_slice(b"body");
            assert_eq!(RequestHead::decode(&out), Ok((head, &b"body"[..])));
        }
        for (bad, why) in [
            (RequestHead { identity: None, ..blocks }, "the end of a wait without a name"),
            (RequestHead { slot: None, ..blocks }, "and without a slot"),
            (RequestHead { write: false, ..blocks }, "and as a read"),
            (RequestHead { transaction: true, ..blocks }, "and as a transaction"),
            (RequestHead { blocking: Some(Blocking::Wait), ..named }, "a transaction that blocks"),
            (RequestHead { write: false, ..head }, "a transaction that is no write"),
            (RequestHead { identity: None, ..split }, "a split command without a name"),
            (RequestHead { write: false, ..split }, "and as a read"),
            (RequestHead { transaction: true, ..split }, "and as a transaction"),
            (RequestHead { covers: true, ..head }, "a transaction over all keys"),
            (RequestHead { retried: true, ..head }, "a retry without a name"),
            (RequestHead { identity: endless, ..head }, "nobody counts that far"),
        ] {
            let mut out = Vec::new();
            bad.encode(&mut out);
            assert_eq!(RequestHead::decode(&out), Err(FrameError::Malformed("request")), "{why}");
        }
    }
}
