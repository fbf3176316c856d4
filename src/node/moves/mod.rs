//! Moving slots from shard to shard (DESIGN.md, section 10): what the leaders of both ends do, step by step.
//!
//! ```text
//!   source's leader                                   target's leader
//!   logs ExportStart          --- Start --->          logs ImportStart
//!   reads its state           --- Piece --->          logs each as it comes, in order
//!   logs ExportRound while    <-- State ----          says what it has applied
//!   much changes meanwhile
//!   logs Freeze: requests are held from here on
//!   reads what is left        --- Finish -->          logs ImportFinish: the decision
//!   redirects what it held    <-- Taken ----
//!   logs ExportEnd: gone
//! ```
//!
//! [`Source`] and [`Target`] are pure: state, messages and moments come in, [`Deed`]s come out. All that decides is in the logs of the
//! two shards and is judged where it is applied. What is in here may be lost with its process or its leadership at any
//! moment: the next leader asks the target what it has, and goes on there.
//!
//! Invariants:
//! - Of a move that was frozen only the target's applied state says how it ends. Silence ends nothing.
//! - A piece that may have been taken is sent again with the same bytes, as long as this leader leads.
//! - What a target has proposed it does not propose again before it knows what became of it, or has waited for long.

mod held;
mod pace;
mod plan;
mod progress;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod waits;

use crate::protocol::moves::{ImportState, MoveBody, MoveMessage};
use crate::topology::{Epoch, LogTime, MoveId, ReplicaId, Revision, ShardId, Slot, SlotEpoch};

pub use held::{Held, HeldRequest};
pub use pace::Bucket;
pub use progress::Tally;
pub use source::{Around as SourceAround, Moved, Source};
pub use target::{Around as TargetAround, Target};
pub use waits::Waits;

/// Bytes of a piece, roughly.
pub const PIECE_BYTES: usize = 16 * 1024;

/// How slots are moved.
#[derive(Clone, Copy, Debug)]
pub struct MoveOptions {
    /// Bytes that a node's leaders send to other shards in a second.
    pub bytes_per_second: u64,
    /// Batches of slots that a leader moves at one time.
    pub parallel: usize,
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self { bytes_per_second: 8 << 20, parallel: 2 }
    }
}

/// What a mover reads of its shard's applied state.
pub trait State {
    /// How far an export was read.
    type Reader: Default;

    /// The exports that have not ended, by number.
    fn exports(&self) -> Vec<ExportView>;
    /// A reader that goes on at a cursor that a target has; none: it is not of this shard's making.
    fn resume(&self, cursor: &[u8]) -> Option<Self::Reader>;
    /// The next piece; none while the round of the reader is not applied here.
    fn read(&self, number: u64, reader: &mut Self::Reader, bytes_max: usize) -> Option<Cut>;
    /// What changed since the round began, as much as is worth counting.
    fn changed(&self, number: u64) -> SlotUsage;
    /// The epoch under which a slot is served.
    fn owns(&self, slot: Slot) -> Option<Epoch>;
    /// Keys and bytes of a slot.
    fn usage(&self, slot: Slot) -> SlotUsage;
    /// The imports that have not ended.
    fn imports(&self) -> Vec<(MoveId, Vec<SlotEpoch>)>;
    /// What is known of an attempt to bring slots here.
    fn import_state(&self, id: MoveId, slots: &[SlotEpoch]) -> ImportState;
}

/// An export as the state has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportView {
    /// Its number.
    pub number: u64,
    /// To which shard.
    pub to: ShardId,
    /// By which revision of the catalog.
    pub revision: Revision,
    /// The slots with the epochs of the attempt.
    pub slots: Vec<SlotEpoch>,
    /// Whether it is decided elsewhere.
    pub frozen: bool,
    /// How often changes were gathered anew.
    pub round: u32,
}

/// How much a slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotUsage {
    /// Keys.
    pub keys: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A piece of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The data; may be nothing.
    pub body: Vec<u8>,
    /// Where it ends.
    pub cursor: Vec<u8>,
    /// What comes then.
    pub after: After,
}

/// What comes after a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// More.
    More,
    /// Nothing before the next round.
    RoundDone,
    /// Nothing: it is to be sent as the decision.
    Finish {
        /// What the slots must be like, encoded.
        seals: Vec<u8>,
        /// The clock here.
        log_time: LogTime,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Put this into the log of the own shard.
    Log(Step),
    /// Send this to a replica of another shard.
    Send {
        /// The replica.
        to: ReplicaId,
        /// An encoded [`MoveMessage`].
        message: Vec<u8>,
    },
}

/// An entry for the own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Slots begin to be copied.
    ExportStart {
        /// To this shard.
        to: ShardId,
        /// By this revision.
        revision: Revision,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// Changes are gathered anew.
    ExportRound {
        /// The export.
        number: u64,
        /// The round that begins.
        round: u32,
    },
    /// The slots are not served any more.
    Freeze {
        /// The export.
        number: u64,
        /// The round that begins, the last one.
        round: u32,
    },
    /// An export is over.
    ExportEnd {
        /// The export.
        number: u64,
        /// How.
        how: End,
    },
    /// Slots begin to come.
    ImportStart {
        /// The attempt.
        id: MoveId,
        /// The slots.
        slots: Vec<SlotEpoch>,
    },
    /// A piece of them.
    ImportPiece {
        /// The attempt.
        id: MoveId,
        /// The piece's number.
        sequence: u64,
        /// Kept for the source.
        cursor: Vec<u8>,
        /// The data.
        body: Vec<u8>,
    },
    /// The last piece, and the decision.
    ImportFinish {
        /// The attempt.
        id: MoveId,
        /// The piece's number.
        sequence: u64,
        /// The source's clock.
        log_time: LogTime,
        /// What the slots must be like, encoded.
        seals: Vec<u8>,
        /// The data.
        body: Vec<u8>,
    },
    /// These are not taken.
    ImportRefuse {
        /// The slots.
        slots: Vec<SlotEpoch>,
    },
}

/// How an export ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The slots have gone.
    Gone,
    /// They stay, before anything was frozen.
    Undo,
    /// They stay, for the target has refused them.
    UndoRefused,
}

/// An encoded message.
pub(super) fn encoded(to: ShardId, from: (ShardId, ReplicaId), id: MoveId, body: MoveBody<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    MoveMessage { to, from: from.0, replica: from.1, id, body }.encode(&mut out);
    out
}
