//! The internal protocol between a proxy and a node, between nodes, and between an operator's command and a node.
//!
//! A connection starts with [`PREAMBLE`] (a byte no RESP client starts with, so one port serves both), then frames in
//! both directions: `u32 length | u8 kind | u8 flags | payload`, little endian, the length counting what follows it.
//! A message larger than [`PIECE_BYTES_MAX`] is cut into frames of the same kind, all but the last with
//! [`FLAG_MORE`]; only [urgent](Kind::is_urgent) frames may come between them, so that a large value never delays a
//! heartbeat. The first frames are `Hello` and `Welcome`, or `Goodbye` with the reason.
//!
//! Invariants: memory follows the bytes received, never a claimed length; an unknown kind, a short payload or an
//! oversized message is an error that ends the connection.
//!
//! Deliberately absent: any meaning. Who may send what when is decided by the two ends.

use crate::topology::{Epoch, LogIndex, LogTime, ReplicaId, Revision, ShardId, Slot, Term};

/// The first bytes of a connection that speaks this protocol, format version last.
pub const PREAMBLE: [u8; 8] = *b"\0PONTOO\x01";
/// The longest payload of one frame; longer messages are cut.
pub const PIECE_BYTES_MAX: usize = 256 * 1024;
/// `u32 length | u8 kind | u8 flags`.
pub const HEADER_BYTES: usize = 6;
/// The flag of a frame whose message goes on in the next frame of its kind.
pub const FLAG_MORE: u8 = 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Connecting end: who it is, JSON [`Hello`](super::control::Hello).
    Hello = 1,
    /// Accepting end: who it is, JSON [`Welcome`](super::control::Welcome).
    Welcome = 2,
    /// Either end, last frame: the reason for closing, UTF-8 text.
    Goodbye = 3,
    /// Proxy to node: [`RequestHead`], then one RESP array.
    Request = 16,
    /// Node to proxy: [`ReplyHead`], then one RESP value.
    Reply = 17,
    /// Node to proxy: [`Refusal`].
    Refusal = 18,
    /// Proxy to node: [`Heartbeat`].
    Heartbeat = 32,
    /// Node to proxy, in answer to a heartbeat or at once after a change: [`NodeStatus`].
    Status = 33,
    /// Whoever knows the newer catalog: `u64 revision`, then the catalog as JSON.
    Catalog = 34,
    /// Node to node: one message of one Raft group (`consensus::codec`).
    Raft = 48,
    /// Node to node on a connection of its own: a piece of a snapshot, whose first piece says what it is.
    Snapshot = 49,
    /// Operator or node to node: `u64 id`, then a JSON request.
    Control = 64,
    /// Its answer: `u64 id`, then JSON.
    ControlReply = 65,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Goodbye,
            16 => Self::Request,
            17 => Self::Reply,
            18 => Self::Refusal,
            32 => Self::Heartbeat,
            33 => Self::Status,
            34 => Self::Catalog,
            48 => Self::Raft,
            49 => Self::Snapshot,
            64 => Self::Control,
            65 => Self::ControlReply,
            _ => return None,
        })
    }

    /// Whether a frame of this kind may come between the pieces of another message. Urgent messages are never cut.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Heartbeat | Self::Status | Self::Goodbye)
    }
}

/// Why bytes are not a frame. Each ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first bytes are not [`PREAMBLE`].
    #[error("not a Pontoon connection, or one of another format version")]
    Preamble,
    /// A kind that this version does not know.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A frame longer than a piece may be.
    #[error("frame of {0} bytes, more than a piece may have")]
    Oversized(usize),
    /// A piece of one message between the pieces of another.
    #[error("a message was cut by another one")]
    Interleaved,
    /// A message longer than the receiver allows.
    #[error("message of more than {0} bytes")]
    MessageTooLong(usize),
    /// A payload shorter than its kind needs, or with a field out of its range.
    #[error("malformed {0} frame")]
    Malformed(&'static str),
}

/// One frame as it lies in a receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Whether the message goes on in the next frame of this kind.
    pub more: bool,
    /// The payload.
    pub payload: &'a [u8],
    /// How many bytes the frame takes in the buffer.
    pub consumed: usize,
}

/// Cuts the first frame off `buffer`; `None`: not all of it is there yet.
///
/// # Errors
/// [`FrameError::Kind`] and [`FrameError::Oversized`] as soon as the header shows it.
pub fn split_frame(buffer: &[u8]) -> Result<Option<RawFrame<'_>>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = Kind::from_byte(header[4]).ok_or(FrameError::Kind(header[4]))?;
    if !(2..=PIECE_BYTES_MAX + 2).contains(&length) {
        return Err(FrameError::Oversized(length));
    }
    let consumed = 4 + length;
    Ok(buffer.get(HEADER_BYTES..consumed).map(|payload| RawFrame {
        kind,
        more: header[5] & FLAG_MORE != 0,
        payload,
        consumed,
    }))
}

/// One whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// The payload, of all its pieces.
    pub payload: &'a [u8],
}

/// Puts messages together from frames; one per direction of a connection.
#[derive(Debug)]
pub struct Assembler {
    bytes_max: usize,
    cut: Option<Kind>,
    pieces: Vec<u8>,
}

impl Assembler {
    /// `bytes_max`: the longest message that is accepted.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, cut: None, pieces: Vec::new() }
    }

    /// Takes the next frame; returns the message that it completes. A message in one frame is not copied.
    ///
    /// # Errors
    /// [`FrameError::Interleaved`] or [`FrameError::MessageTooLong`].
    pub fn push<'a>(&'a mut self, frame: RawFrame<'a>) -> Result<Option<Message<'a>>, FrameError> {
        let whole = Message { kind: frame.kind, payload: frame.payload };
        if frame.kind.is_urgent() {
            return if frame.more { Err(FrameError::Interleaved) } else { Ok(Some(whole)) };
        }
        match self.cut {
            None if !frame.more => return Ok(Some(whole)),
            Some(kind) if kind != frame.kind => return Err(FrameError::Interleaved),
            None => self.pieces = Vec::new(),
            Some(_) => {}
        }
        if self.pieces.len() + frame.payload.len() > self.bytes_max {
            return Err(FrameError::MessageTooLong(self.bytes_max));
        }
        self.pieces.extend_from_slice(frame.payload);
        self.cut = frame.more.then_some(frame.kind);
        Ok((!frame.more).then_some(Message { kind: frame.kind, payload: &self.pieces }))
    }

    /// Gives the memory of a large message back once it was handled.
    pub fn release(&mut self) {
        if self.cut.is_none() && self.pieces.capacity() > 0 {
            self.pieces = Vec::new();
        }
    }
}

/// Appends one message to `out`, cut into pieces where it is long. `write` appends the payload.
///
/// Urgent messages must fit one frame; that is the caller's invariant.
pub fn put_message(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind as u8, 0]);
    write(out);
    let payload_bytes = out.len() - start - HEADER_BYTES;
    if payload_bytes <= PIECE_BYTES_MAX {
        let length = (payload_bytes + 2) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        return;
    }
    assert!(!kind.is_urgent(), "urgent messages are never cut");
    // The last piece moves first, each to make room for the headers before it: no second buffer for a large value.
    let pieces = payload_bytes.div_ceil(PIECE_BYTES_MAX);
    out.resize(out.len() + (pieces - 1) * HEADER_BYTES, 0);
    for piece in (0..pieces).rev() {
        let from = start + HEADER_BYTES + piece * PIECE_BYTES_MAX;
        let to = from + piece * HEADER_BYTES;
        let length = PIECE_BYTES_MAX.min(payload_bytes - piece * PIECE_BYTES_MAX);
        out.copy_within(from..from + length, to);
        let header = &mut out[to - HEADER_BYTES..to];
        header[..4].copy_from_slice(&((length + 2) as u32).to_le_bytes());
        header[4] = kind as u8;
        header[5] = if piece + 1 < pieces { FLAG_MORE } else { 0 };
    }
}

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
}

/// The length of an encoded [`RequestHead`].
pub const REQUEST_HEAD_BYTES: usize = 8 * 5 + 4 + 4 + 2 + 1 + 1;
const NO_SLOT: u16 = u16::MAX;

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
        head[50] = u8::from(self.write) | u8::from(self.resp3) << 1 | u8::from(self.after_writes) << 2;
        head[51] = self.level as u8;
        out.extend_from_slice(&head);
    }

    /// Splits a request's payload into head and RESP bytes.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let malformed = FrameError::Malformed("request");
        let (head, body) = payload.split_first_chunk::<REQUEST_HEAD_BYTES>().ok_or(malformed)?;
        let number = u16::from_le_bytes([head[48], head[49]]);
        let slot = if number == NO_SLOT { None } else { Some(Slot::new(number).ok_or(malformed)?) };
        let level = match head[51] {
            0 => ReadLevel::Session,
            1 => ReadLevel::Strong,
            2 => ReadLevel::Any,
            _ => return Err(malformed),
        };
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
            level,
        };
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

/// Why a replica did not answer a request. All but [`Unknown`](Self::Unknown) promise that nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusalReason {
    /// The request needs the leader, and this replica does not lead.
    NotLeader = 1,
    /// The shard does not own a slot of the request.
    NotOwner = 2,
    /// An earlier request of this (client, shard) generation was refused (R1).
    Superseded = 3,
    /// The replica is starting or installing a snapshot.
    Loading = 4,
    /// The replica has not applied the floor, or is not fresh enough for the level.
    Behind = 5,
    /// The answer depends on an expiry between log time and this follower's clock: only the leader can tell.
    ExpiryUnsettled = 6,
    /// The remaining time passed before the request was proposed or answered.
    DeadlinePassed = 7,
    /// The shard has as many unfinished writes as it may.
    Busy = 8,
    /// The write was overwritten by another leader's entry.
    Dropped = 9,
    /// The write may or may not take effect.
    Unknown = 10,
    /// This node has no replica of the shard.
    NoReplica = 11,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::NotLeader,
        Self::NotOwner,
        Self::Superseded,
        Self::Loading,
        Self::Behind,
        Self::ExpiryUnsettled,
        Self::DeadlinePassed,
        Self::Busy,
        Self::Dropped,
        Self::Unknown,
        Self::NoReplica,
    ];

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::NotOwner => "not_owner",
            Self::Superseded => "superseded",
            Self::Loading => "loading",
            Self::Behind => "behind",
            Self::ExpiryUnsettled => "expiry_unsettled",
            Self::DeadlinePassed => "deadline_passed",
            Self::Busy => "busy",
            Self::Dropped => "dropped",
            Self::Unknown => "unknown",
            Self::NoReplica => "no_replica",
        }
    }
}

/// The answer to a request that a replica did not execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The id of the request.
    pub id: u64,
    /// Why.
    pub reason: RefusalReason,
    /// The shard's leader as this replica knows it.
    pub leader: Option<ReplicaId>,
}

impl Refusal {
    /// Appends a whole frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Refusal, |out| {
            out.extend_from_slice(&self.id.to_le_bytes());
            out.extend_from_slice(&self.leader.map_or(0, ReplicaId::get).to_le_bytes());
            out.push(self.reason as u8);
        });
    }

    /// Reads a refusal's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed("refusal");
        let bytes: &[u8; 17] = payload.try_into().map_err(|_| malformed)?;
        let reason = RefusalReason::ALL.into_iter().find(|r| *r as u8 == bytes[16]).ok_or(malformed)?;
        Ok(Self { id: u64_at(bytes, 0), reason, leader: Some(ReplicaId(u64_at(bytes, 8))).filter(|r| r.0 != 0) })
    }
}

/// A proxy's sign of life and question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Echoed by the answer: the proxy measures the round trip by it.
    pub sequence: u64,
    /// The revision of the catalog that the proxy has.
    pub revision: Revision,
}

impl Heartbeat {
    /// Appends a whole frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Heartbeat, |out| {
            out.extend_from_slice(&self.sequence.to_le_bytes());
            out.extend_from_slice(&self.revision.0.to_le_bytes());
        });
    }

    /// Reads a heartbeat's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; 16] = payload.try_into().map_err(|_| FrameError::Malformed("heartbeat"))?;
        Ok(Self { sequence: u64_at(bytes, 0), revision: Revision(u64_at(bytes, 8)) })
    }
}

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Votes and follows (candidates included).
    Follower = 0,
    /// Leads, and has committed an entry of its term.
    Leader = 1,
    /// Receives the log and does not vote.
    Learner = 2,
}

impl Role {
    /// The name in `status`, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Learner => "learner",
        }
    }
}

/// One replica in a node's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The shard.
    pub shard: ShardId,
    /// The replica on the answering node.
    pub replica: ReplicaId,
    /// What it is.
    pub role: Role,
    /// Whether it may be read: neither starting nor installing a snapshot.
    pub readable: bool,
    /// Whether it can answer reads of level `any` now.
    pub fresh: bool,
    /// Its term.
    pub term: Term,
    /// The leader as it knows it.
    pub leader: Option<ReplicaId>,
    /// The highest index that it has applied.
    pub applied: LogIndex,
    /// The highest index that it knows to be committed.
    pub committed: LogIndex,
    /// Its log time.
    pub log_time: LogTime,
    /// The revision of its slot ownership: raised by each change of a slot's owner.
    pub ownership: Revision,
}

const REPLICA_STATUS_BYTES: usize = 8 * 8 + 2;

/// All replicas of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// The sequence of the heartbeat that this answers; zero: pushed after a change.
    pub sequence: u64,
    /// The revision of the catalog that the node has.
    pub revision: Revision,
    /// Its replicas, by shard.
    pub replicas: Vec<ReplicaStatus>,
}

impl NodeStatus {
    /// The most replicas that fit a status, which is never cut.
    pub const REPLICAS_MAX: usize = (PIECE_BYTES_MAX - 16) / REPLICA_STATUS_BYTES;

    /// Appends a whole frame. Replicas beyond [`Self::REPLICAS_MAX`] are left out.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_message(out, Kind::Status, |out| {
            out.extend_from_slice(&self.sequence.to_le_bytes());
            out.extend_from_slice(&self.revision.0.to_le_bytes());
            for r in self.replicas.iter().take(Self::REPLICAS_MAX) {
                let leader = r.leader.map_or(0, ReplicaId::get);
                let numbers =
                    [r.shard.0, r.replica.0, r.term.0, leader, r.applied.0, r.committed.0, r.log_time.0, r.ownership.0];
                numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
                out.extend_from_slice(&[r.role as u8, u8::from(r.readable) | u8::from(r.fresh) << 1]);
            }
        });
    }

    /// Reads a status's payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed("status");
        let (head, rest) = payload.split_first_chunk::<16>().ok_or(malformed)?;
        if rest.len() % REPLICA_STATUS_BYTES != 0 {
            return Err(malformed);
        }
        let replicas = rest.chunks_exact(REPLICA_STATUS_BYTES).map(|r| {
            Ok(ReplicaStatus {
                shard: ShardId(u64_at(r, 0)),
                replica: ReplicaId(u64_at(r, 8)),
                term: Term(u64_at(r, 16)),
                leader: Some(ReplicaId(u64_at(r, 24))).filter(|r| r.0 != 0),
                applied: LogIndex(u64_at(r, 32)),
                committed: LogIndex(u64_at(r, 40)),
                log_time: LogTime(u64_at(r, 48)),
                ownership: Revision(u64_at(r, 56)),
                role: match r[64] {
                    0 => Role::Follower,
                    1 => Role::Leader,
                    2 => Role::Learner,
                    _ => return Err(malformed),
                },
                readable: r[65] & 1 != 0,
                fresh: r[65] & 2 != 0,
            })
        });
        let replicas = replicas.collect::<Result<_, _>>()?;
        Ok(Self { sequence: u64_at(head, 0), revision: Revision(u64_at(head, 8)), replicas })
    }
}

/// Appends a message of the form `u64 number | body`: `Catalog` (revision), `Control` and `ControlReply` (id).
pub fn put_numbered(out: &mut Vec<u8>, kind: Kind, number: u64, body: &[u8]) {
    put_message(out, kind, |out| {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(body);
    });
}

/// Splits the payload of a message of the form `u64 number | body`.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn split_numbered(payload: &[u8]) -> Result<(u64, &[u8]), FrameError> {
    let (number, body) = payload.split_first_chunk::<8>().ok_or(FrameError::Malformed("numbered"))?;
    Ok((u64::from_le_bytes(*number), body))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bytes: &[u8]) -> Result<Vec<(Kind, Vec<u8>)>, FrameError> {
        let mut assembler = Assembler::new(1 << 20);
        let (mut rest, mut found) = (bytes, Vec::new());
        while let Some(frame) = split_frame(rest)? {
            rest = &rest[frame.consumed..];
            found.extend(assembler.push(frame)?.map(|m| (m.kind, m.payload.to_vec())));
        }
        Ok(found)
    }

    #[test]
    fn a_long_message_is_cut_and_a_heartbeat_may_come_between() {
        let long: Vec<u8> = (0..PIECE_BYTES_MAX * 2 + 5).map(|at| (at / 3) as u8).collect();
        let mut out = Vec::new();
        put_message(&mut out, Kind::Reply, |out| out.extend_from_slice(&long));
        let first = split_frame(&out).unwrap().unwrap().consumed;
        let mut mixed = out[..first].to_vec();
        let heartbeat = Heartbeat { sequence: 3, revision: Revision(4) };
        heartbeat.put(&mut mixed);
        mixed.extend_from_slice(&out[first..]);
        let found = messages(&mixed).unwrap();
        assert_eq!(found.iter().map(|(k, _)| *k).collect::<Vec<_>>(), [Kind::Heartbeat, Kind::Reply]);
        assert_eq!(Heartbeat::decode(&found[0].1), Ok(heartbeat));
        assert_eq!(found[1].1, long);
        let mut wrong = out[..first].to_vec();
        put_message(&mut wrong, Kind::Raft, |_| ());
        assert_eq!(messages(&wrong), Err(FrameError::Interleaved));
    }

    #[test]
    fn a_message_over_the_limit_and_an_unknown_kind_are_errors() {
        let mut out = Vec::new();
        put_message(&mut out, Kind::Request, |out| out.resize(out.len() + (1 << 20) + 1, 0));
        assert_eq!(messages(&out), Err(FrameError::MessageTooLong(1 << 20)));
        assert_eq!(messages(&[9, 0, 0, 0, 200, 0]), Err(FrameError::Kind(200)));
        assert_eq!(messages(&[255, 255, 255, 255, 16, 0]), Err(FrameError::Oversized(u32::MAX as usize)));
    }

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
            level: ReadLevel::Any,
            slot: Slot::new(16383),
            epoch: Epoch(5),
            remaining_ms: 6,
            floor: LogIndex(7),
        };
        let mut out = Vec::new();
        head.encode(&mut out);
        out.extend_from_slice(b"body");
        assert_eq!(RequestHead::decode(&out), Ok((head, &b"body"[..])));
        assert_eq!(RequestHead::decode(&out[..20]), Err(FrameError::Malformed("request")));
        let status = NodeStatus {
            sequence: 1,
            revision: Revision(2),
            replicas: vec![ReplicaStatus {
                shard: ShardId(1),
                replica: ReplicaId(2),
                role: Role::Learner,
                readable: false,
                fresh: true,
                term: Term(3),
                leader: None,
                applied: LogIndex(4),
                committed: LogIndex(5),
                log_time: LogTime(6),
                ownership: Revision(7),
            }],
        };
        let mut out = Vec::new();
        status.put(&mut out);
        assert_eq!(NodeStatus::decode(&out[HEADER_BYTES..]), Ok(status));
        let refusal = Refusal { id: 9, reason: RefusalReason::Unknown, leader: Some(ReplicaId(8)) };
        let mut out = Vec::new();
        refusal.put(&mut out);
        assert_eq!(Refusal::decode(&out[HEADER_BYTES..]), Ok(refusal));
    }
}
