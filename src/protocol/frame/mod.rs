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

mod head;
mod pieces;
mod refusal;
mod status;

pub use head::{REPLY_HEAD_BYTES, REQUEST_HEAD_BYTES, ReadLevel, ReplyHead, RequestHead};
pub use pieces::{Assembler, Message, RawFrame, put_message, put_numbered, split_frame, split_numbered};
pub use refusal::{Refusal, RefusalReason};
pub use status::{Heartbeat, NodeStatus, Progress, ReplicaStatus, Role};

/// The first bytes of a connection that speaks this protocol, format version last.
pub const PREAMBLE: [u8; 8] = *b"\0PONTOO\x03";
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
    /// Proxy to node: [`RequestHead`], then one RESP array or one [transaction](super::transaction).
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
    /// Proxy to node, after the welcome and whenever it changes: what it is, JSON [`ProxyReport`](super::control::ProxyReport).
    Proxy = 35,
    /// Node to node: one message of one Raft group (`consensus::codec`).
    Raft = 48,
    /// Node to node on a connection of its own: a piece of a snapshot, whose first piece says what it is.
    Snapshot = 49,
    /// Node to node: `u64 milliseconds` that its wall clock shows, then its name.
    Clock = 50,
    /// Node to node: one message about slots that move ([`moves`](super::moves)).
    Move = 51,
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
            35 => Self::Proxy,
            48 => Self::Raft,
            49 => Self::Snapshot,
            50 => Self::Clock,
            51 => Self::Move,
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

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}
