//! The steps of a slot's move as log entries: what each says, and its bytes.
//!
//! Little endian, after the head that all entries have:
//!
//! | kind | payload |
//! | --- | --- |
//! | 32 export start | `u64 target shard`, `u64 revision`, `u16 slot` each |
//! | 33 export round | `u64 number`, `u32 round` |
//! | 34 freeze | `u64 number`, `u32 round` |
//! | 35 export end | `u64 number`, `u8 how` |
//! | 36 import start | move, `u16 slot`, `u64 epoch` each |
//! | 37 import piece | move, `u64 sequence`, `u32 cursor length`, cursor, body |
//! | 38 import finish | move, `u64 sequence`, `u64 log time`, `u32 slots`, seals, body |
//! | 39 import refuse | `u16 slot`, `u64 epoch` each |
//! | 40 closing | |
//!
//! A move is `u64 source shard | u64 number`, a seal `u64 version | u64 last removal version | u64 digest`.

use super::super::error::EntryError;
use crate::protocol::moves::SlotSeal;
use crate::topology::{Epoch, LogTime, MoveId, Revision, ShardId, Slot, SlotEpoch};

/// The first kind of entry that is a step.
pub const KIND_FIRST: u8 = 32;
/// The last.
pub const KIND_LAST: u8 = 40;

const TOO_SHORT: EntryError = EntryError::Malformed("a step of a move shorter than its kind needs");
const TOO_LONG: EntryError = EntryError::Malformed("a step of a move longer than its kind needs");

/// One step, at its source (`Export..`, `Freeze`) or at its target (`Import..`). One that does not fit the state does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Source: these slots, as far as they are plainly owned, are to be given to a shard. They get the next number.
    ExportStart {
        /// The target.
        to: ShardId,
        /// The catalog's revision that wants it so.
        revision: Revision,
        /// The slots.
        slots: SlotList<'a>,
    },
    /// Source: the target has everything of the round before; what changed since it began is the next.
    ExportRound {
        /// The export.
        number: u64,
        /// The round that begins: the one before plus one.
        round: u32,
    },
    /// Source: as a round, the last one: from here on the slots are not served.
    Freeze {
        /// The export.
        number: u64,
        /// The round that begins.
        round: u32,
    },
    /// Source: it is over.
    ExportEnd {
        /// The export.
        number: u64,
        /// With what.
        how: ExportEndHow,
    },
    /// Target: an import begins, with nothing.
    ImportStart {
        /// The attempt.
        id: MoveId,
        /// Its slots, in order, with the epochs of the attempt.
        slots: SlotEpochs<'a>,
    },
    /// Target: some of the data.
    ImportPiece {
        /// The attempt.
        id: MoveId,
        /// Its place among the pieces, from zero.
        sequence: u64,
        /// Where the source goes on.
        cursor: &'a [u8],
        /// The data (`piece`).
        body: &'a [u8],
    },
    /// Target: the last of the data, and the decision.
    ImportFinish {
        /// The attempt.
        id: MoveId,
        /// Its place among the pieces.
        sequence: u64,
        /// The source's clock.
        log_time: LogTime,
        /// What each slot must have come to, in the order of the slots.
        seals: Seals<'a>,
        /// The data.
        body: &'a [u8],
    },
    /// Target: these attempts are refused for ever.
    ImportRefuse {
        /// The slots with the epochs of the attempts.
        slots: SlotEpochs<'a>,
    },
    /// Target: no more imports, for the shard is to be removed.
    Closing,
}

/// How an export ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExportEndHow {
    /// The target has the slots.
    Gone = 1,
    /// It is given up before it was frozen.
    Undo = 2,
    /// The target's log has its refusal.
    UndoRefused = 3,
}

impl ExportEndHow {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Gone, Self::Undo, Self::UndoRefused].into_iter().find(|how| *how as u8 == byte)
    }
}

macro_rules! list {
    ($(#[$doc:meta])* $name:ident of $item:ty, $size:literal, $read:expr, $write:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a>(&'a [u8]);

        impl<'a> $name<'a> {
            /// The bytes of these items, to be given to [`Self::decode`].
            pub fn encode(items: impl IntoIterator<Item = $item>) -> Vec<u8> {
                let write: fn($item, &mut Vec<u8>) = $write;
                let mut out = Vec::new();
                items.into_iter().for_each(|item| write(item, &mut out));
                out
            }

            /// Takes what [`Self::encode`] gave.
            ///
            /// # Errors
            /// It did not.
            pub fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
                let read: fn(&[u8; $size]) -> Option<$item> = $read;
                let (items, rest) = bytes.as_chunks::<$size>();
                if rest.is_empty() && items.iter().all(|item| read(item).is_some()) {
                    Ok(Self(bytes))
                } else {
                    Err(EntryError::Malformed("a list of slots that is none"))
                }
            }

            /// The items.
            pub fn iter(self) -> impl ExactSizeIterator<Item = $item> + Clone + use<'a> {
                let read: fn(&[u8; $size]) -> Option<$item> = $read;
                self.0.as_chunks::<$size>().0.iter().map(move |item| read(item).expect("checked when it was decoded"))
            }

            /// Its bytes.
            pub const fn bytes(self) -> &'a [u8] {
                self.0
            }
        }
    };
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn slot_of(bytes: &[u8]) -> Option<Slot> {
    Slot::new(u16::from_le_bytes(bytes.try_into().expect("two bytes")))
}

list!(
    /// Some slots.
    SlotList of Slot, 2, |item| slot_of(item), |slot, out| out.extend_from_slice(&slot.number().to_le_bytes())
);
list!(
    /// Some slots with epochs.
    SlotEpochs of SlotEpoch, 10,
    |item| slot_of(&item[..2]).map(|slot| SlotEpoch { slot, epoch: Epoch(number(&item[2..])) }),
    |item, out| {
        out.extend_from_slice(&item.slot.number().to_le_bytes());
        out.extend_from_slice(&item.epoch.get().to_le_bytes());
    }
);
list!(
    /// What each of some slots must have come to.
    Seals of SlotSeal, 24,
    |item| Some(SlotSeal { version: number(&item[..8]), last_removal_version: number(&item[8..16]), digest: number(&item[16..]) }),
    |seal, out| {
        [seal.version, seal.last_removal_version, seal.digest].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    }
);

impl<'a> Step<'a> {
    /// The kind of entry that it is.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::ExportStart { .. } => KIND_FIRST,
            Self::ExportRound { .. } => 33,
            Self::Freeze { .. } => 34,
            Self::ExportEnd { .. } => 35,
            Self::ImportStart { .. } => 36,
            Self::ImportPiece { .. } => 37,
            Self::ImportFinish { .. } => 38,
            Self::ImportRefuse { .. } => 39,
            Self::Closing => KIND_LAST,
        }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::ExportStart { to, revision, slots } => {
                put(out, &[to.get(), revision.get()]);
                out.extend_from_slice(slots.0);
            }
            Self::ExportRound { number, round } | Self::Freeze { number, round } => {
                put(out, &[number]);
                out.extend_from_slice(&round.to_le_bytes());
            }
            Self::ExportEnd { number, how } => {
                put(out, &[number]);
                out.push(how as u8);
            }
            Self::ImportStart { id, slots } => {
                put(out, &[id.source.get(), id.number]);
                out.extend_from_slice(slots.0);
            }
            Self::ImportPiece { id, sequence, cursor, body } => {
                put(out, &[id.source.get(), id.number, sequence]);
                out.extend_from_slice(&(cursor.len() as u32).to_le_bytes());
                out.extend_from_slice(cursor);
                out.extend_from_slice(body);
            }
            Self::ImportFinish { id, sequence, log_time, seals, body } => {
                put(out, &[id.source.get(), id.number, sequence, log_time.get()]);
                out.extend_from_slice(&(seals.iter().len() as u32).to_le_bytes());
                out.extend_from_slice(seals.0);
                out.extend_from_slice(body);
            }
            Self::ImportRefuse { slots } => out.extend_from_slice(slots.0),
            Self::Closing => {}
        }
    }

    /// Reads the payload of a kind between `KIND_FIRST` and `KIND_LAST`.
    ///
    /// # Errors
    /// It is not of this kind.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, EntryError> {
        let mut bytes = Reader(payload);
        let step = match kind {
            KIND_FIRST => Self::ExportStart {
                to: ShardId(bytes.u64()?),
                revision: Revision(bytes.u64()?),
                slots: SlotList::decode(bytes.rest())?,
            },
            33 => Self::ExportRound { number: bytes.u64()?, round: bytes.u32()? },
            34 => Self::Freeze { number: bytes.u64()?, round: bytes.u32()? },
            35 => {
                let (number, [how]) = (bytes.u64()?, bytes.array()?);
                let how = ExportEndHow::from_byte(how).ok_or(EntryError::Malformed("no such end of an export"))?;
                Self::ExportEnd { number, how }
            }
            36 => Self::ImportStart { id: bytes.id()?, slots: SlotEpochs::decode(bytes.rest())? },
            37 => {
                let (id, sequence, length) = (bytes.id()?, bytes.u64()?, bytes.u32()? as usize);
                Self::ImportPiece { id, sequence, cursor: bytes.take(length)?, body: bytes.rest() }
            }
            38 => {
                let (id, sequence, log_time) = (bytes.id()?, bytes.u64()?, LogTime(bytes.u64()?));
                let seals = (bytes.u32()? as usize).checked_mul(size_of::<[u64; 3]>()).ok_or(TOO_SHORT)?;
                let seals = Seals::decode(bytes.take(seals)?)?;
                Self::ImportFinish { id, sequence, log_time, seals, body: bytes.rest() }
            }
            39 => Self::ImportRefuse { slots: SlotEpochs::decode(bytes.rest())? },
            KIND_LAST => Self::Closing,
            kind => return Err(EntryError::Kind(kind)),
        };
        if bytes.0.is_empty() { Ok(step) } else { Err(TOO_LONG) }
    }
}

fn put(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], EntryError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, EntryError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, EntryError> {
        self.array().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Result<MoveId, EntryError> {
        Ok(MoveId { source: ShardId(self.u64()?), number: self.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_examples(check: impl Fn(Step<'_>)) {
        let slots = SlotList::encode([3, 16383].map(|number| Slot::new(number).unwrap()));
        let epochs = SlotEpochs::encode([SlotEpoch { slot: Slot::new(7).unwrap(), epoch: Epoch(u64::MAX) }]);
        let seals = Seals::encode([SlotSeal { version: 1, last_removal_version: 2, digest: 3 }; 2]);
        let (slots, epochs) = (SlotList::decode(&slots).unwrap(), SlotEpochs::decode(&epochs).unwrap());
        let (seals, id) = (Seals::decode(&seals).unwrap(), MoveId { source: ShardId(4), number: 9 });
        check(Step::ExportStart { to: ShardId(2), revision: Revision(8), slots });
        check(Step::ExportRound { number: 1, round: 2 });
        check(Step::Freeze { number: 1, round: u32::MAX });
        check(Step::ExportEnd { number: 1, how: ExportEndHow::Gone });
        check(Step::ExportEnd { number: 1, how: ExportEndHow::UndoRefused });
        check(Step::ImportStart { id, slots: epochs });
        check(Step::ImportPiece { id, sequence: 5, cursor: b"here", body: b"data" });
        check(Step::ImportFinish { id, sequence: 5, log_time: LogTime(77), seals, body: b"data" });
        check(Step::ImportRefuse { slots: epochs });
        check(Step::Closing);
    }

    #[test]
    fn what_is_written_reads_back_and_what_is_cut_does_not() {
        with_examples(|step| {
            let mut payload = Vec::new();
            step.encode(&mut payload);
            assert_eq!(Step::decode(step.kind(), &payload), Ok(step));
            for cut in 0..payload.len() {
                assert_ne!(Step::decode(step.kind(), &payload[..cut]), Ok(step), "cut at {cut}");
            }
        });
        assert!(Step::decode(41, &[]).is_err() && Step::decode(KIND_LAST, &[0]).is_err());
        assert!(Step::decode(35, &[0, 0, 0, 0, 0, 0, 0, 0, 4]).is_err());
        assert!(SlotList::decode(&[0xff, 0xff]).is_err() && SlotEpochs::decode(&[0; 11]).is_err());
    }
}
