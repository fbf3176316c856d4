//! What leaders say to each other while slots move from one shard to another (DESIGN.md, section 10): frames of
//! [`Kind::Move`](super::frame::Kind::Move) on the links between nodes.
//!
//! Little endian: `u64 receiver's shard | u64 sender's shard | u64 sender's replica | u8 kind | u64 source | u64 number |`
//! and then
//!
//! | kind | to | rest |
//! | --- | --- | --- |
//! | 1 ask, 2 start | the target | slots |
//! | 3 piece | the target | `u8` whether requests wait for it, `u64 sequence`, `u32 length` and cursor, body |
//! | 4 finish | the target | `u64 sequence`, `u64 log time`, `u32 length` and seals, body |
//! | 5 refuse | the target | slots |
//! | 16 taken, 17 refused, 18 unknown | the source | `u8` whether the sender leads |
//! | 19 importing | the source | `u8` whether the sender leads, `u64 next`, `u32 length` and cursor |
//! | 20 not leader | the source | `u64` the leader's replica, or zero |
//!
//! where slots are `u16 count`, then `u16 slot | u64 epoch` each, in ascending order.
//!
//! Messages may be lost, come twice, late, or out of order with those of an earlier leader: they are judged where the entries
//! that they ask for are applied, and what is said of a move is read from applied state. What cannot be read is an error.

use crate::topology::{Epoch, LogTime, MoveId, ReplicaId, ShardId, Slot, SlotEpoch};

/// Slots that one move has at most.
pub const MOVE_SLOTS_MAX: usize = 64;
/// The longest cursor (a place in a slot, with a key of any length), and the longest seals.
pub const CURSOR_BYTES_MAX: usize = 128 * 1024;

/// What a shard knows of an attempt to bring slots to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportState {
    /// It owns the slots, or did: the attempt succeeded.
    Taken,
    /// It will never take them under these epochs.
    Refused,
    /// It takes pieces.
    Importing {
        /// The sequence of the next piece.
        next: u64,
        /// What came with the last one, for the source to go on from; empty before the first.
        cursor: Vec<u8>,
    },
    /// It has not heard of the attempt.
    Unknown,
}

/// What a slot must be like when all of it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSeal {
    /// Its version counter.
    pub version: u64,
    /// The version of its last removal.
    pub last_removal_version: u64,
    /// The digest of its contents.
    pub digest: u64,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveMessage<'a> {
    /// The shard of the receiver.
    pub to: ShardId,
    /// The shard of the sender.
    pub from: ShardId,
    /// The replica that sends it, so that its node can be answered.
    pub replica: ReplicaId,
    /// The attempt that it is about.
    pub id: MoveId,
    /// What it says.
    pub body: MoveBody<'a>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveBody<'a> {
    /// To any replica of the target: what do you know of this attempt?
    Ask {
        /// Its slots.
        slots: Vec<SlotEpoch>,
    },
    /// To the target's leader: log that it begins.
    Start {
        /// Its slots.
        slots: Vec<SlotEpoch>,
    },
    /// To the target's leader: log this piece.
    Piece {
        /// Whether requests wait for it.
        urgent: bool,
        /// Its number in the attempt.
        sequence: u64,
        /// Kept for the source.
        cursor: &'a [u8],
        /// Its contents.
        body: &'a [u8],
    },
    /// To the target's leader: log the last piece, which decides.
    Finish {
        /// Its number in the attempt.
        sequence: u64,
        /// The clock of the source.
        log_time: LogTime,
        /// What the slots must be like, in order: bytes of an entry, judged where that is applied.
        seals: &'a [u8],
        /// Its contents.
        body: &'a [u8],
    },
    /// To the target's leader: log that these are not wanted any more.
    Refuse {
        /// The slots.
        slots: Vec<SlotEpoch>,
    },
    /// To the source's leader: this is known of the attempt here.
    State {
        /// Whether the sender leads, so that what it does not know was not.
        leads: bool,
        /// What is known.
        state: ImportState,
    },
    /// To the source's leader: another one leads here.
    NotLeader {
        /// Which one.
        leader: Option<ReplicaId>,
    },
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message about a move: {0}")]
pub struct MalformedMove(&'static str);

const KIND_ASK: u8 = 1;
const KIND_START: u8 = 2;
const KIND_PIECE: u8 = 3;
const KIND_FINISH: u8 = 4;
const KIND_REFUSE: u8 = 5;
const KIND_TAKEN: u8 = 16;
const KIND_REFUSED: u8 = 17;
const KIND_UNKNOWN: u8 = 18;
const KIND_IMPORTING: u8 = 19;
const KIND_NOT_LEADER: u8 = 20;

impl<'a> MoveMessage<'a> {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        [self.to.0, self.from.0, self.replica.0].iter().for_each(|n| put(out, *n));
        out.push(self.body.kind());
        put(out, self.id.source.0);
        put(out, self.id.number);
        match &self.body {
            MoveBody::Ask { slots } | MoveBody::Start { slots } | MoveBody::Refuse { slots } => put_slots(out, slots),
            MoveBody::Piece { urgent, sequence, cursor, body } => {
                out.push(u8::from(*urgent));
                put(out, *sequence);
                put_short(out, cursor);
                out.extend_from_slice(body);
            }
            MoveBody::Finish { sequence, log_time, seals, body } => {
                put(out, *sequence);
                put(out, log_time.0);
                put_short(out, seals);
                out.extend_from_slice(body);
            }
            MoveBody::State { leads, state } => {
                out.push(u8::from(*leads));
                if let ImportState::Importing { next, cursor } = state {
                    put(out, *next);
                    put_short(out, cursor);
                }
            }
            MoveBody::NotLeader { leader } => put(out, leader.map_or(0, ReplicaId::get)),
        }
    }

    /// Reads one message that fills `bytes`.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, MalformedMove> {
        let mut rest = bytes;
        let (to, from) = (ShardId(take_u64(&mut rest)?), ShardId(take_u64(&mut rest)?));
        let replica = ReplicaId(take_u64(&mut rest)?);
        let [kind] = take(&mut rest)?;
        let id = MoveId { source: ShardId(take_u64(&mut rest)?), number: take_u64(&mut rest)? };
        let body = take_body(kind, &mut rest)?;
        if !rest.is_empty() {
            return Err(MalformedMove("longer than its kind needs"));
        }
        Ok(Self { to, from, replica, id, body })
    }
}

impl<'a> MoveBody<'a> {
    const fn kind(&self) -> u8 {
        match self {
            Self::Ask { .. } => KIND_ASK,
            Self::Start { .. } => KIND_START,
            Self::Piece { .. } => KIND_PIECE,
            Self::Finish { .. } => KIND_FINISH,
            Self::Refuse { .. } => KIND_REFUSE,
            Self::State { state: ImportState::Taken, .. } => KIND_TAKEN,
            Self::State { state: ImportState::Refused, .. } => KIND_REFUSED,
            Self::State { state: ImportState::Unknown, .. } => KIND_UNKNOWN,
            Self::State { state: ImportState::Importing { .. }, .. } => KIND_IMPORTING,
            Self::NotLeader { .. } => KIND_NOT_LEADER,
        }
    }

    /// Whether it is for the end that gives slots away.
    pub const fn is_for_source(&self) -> bool {
        matches!(self, Self::State { .. } | Self::NotLeader { .. })
    }
}

fn take_body<'a>(kind: u8, rest: &mut &'a [u8]) -> Result<MoveBody<'a>, MalformedMove> {
    Ok(match kind {
        KIND_ASK => MoveBody::Ask { slots: take_slots(rest)? },
        KIND_START => MoveBody::Start { slots: take_slots(rest)? },
        KIND_REFUSE => MoveBody::Refuse { slots: take_slots(rest)? },
        KIND_PIECE => {
            let (urgent, sequence, cursor) = (take_bool(rest)?, take_u64(rest)?, take_short(rest)?);
            MoveBody::Piece { urgent, sequence, cursor, body: std::mem::take(rest) }
        }
        KIND_FINISH => {
            let (sequence, log_time) = (take_u64(rest)?, LogTime(take_u64(rest)?));
            MoveBody::Finish { sequence, log_time, seals: take_short(rest)?, body: std::mem::take(rest) }
        }
        KIND_TAKEN => MoveBody::State { leads: take_bool(rest)?, state: ImportState::Taken },
        KIND_REFUSED => MoveBody::State { leads: take_bool(rest)?, state: ImportState::Refused },
        KIND_UNKNOWN => MoveBody::State { leads: take_bool(rest)?, state: ImportState::Unknown },
        KIND_IMPORTING => {
            let (leads, next, cursor) = (take_bool(rest)?, take_u64(rest)?, take_short(rest)?.to_vec());
            MoveBody::State { leads, state: ImportState::Importing { next, cursor } }
        }
        KIND_NOT_LEADER => MoveBody::NotLeader { leader: Some(ReplicaId(take_u64(rest)?)).filter(|r| r.0 != 0) },
        _ => return Err(MalformedMove("no such kind")),
    })
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_slots(out: &mut Vec<u8>, slots: &[SlotEpoch]) {
    out.extend_from_slice(&(slots.len() as u16).to_le_bytes());
    for SlotEpoch { slot, epoch } in slots {
        out.extend_from_slice(&slot.number().to_le_bytes());
        put(out, epoch.0);
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], MalformedMove> {
    let (head, tail) = rest.split_first_chunk().ok_or(MalformedMove("shorter than its kind needs"))?;
    *rest = tail;
    Ok(*head)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, MalformedMove> {
    take(rest).map(u64::from_le_bytes)
}

fn take_bool(rest: &mut &[u8]) -> Result<bool, MalformedMove> {
    match take(rest)? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(MalformedMove("neither yes nor no")),
    }
}

fn take_short<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedMove> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    if length > CURSOR_BYTES_MAX {
        return Err(MalformedMove("a part that is too long"));
    }
    let (head, tail) = rest.split_at_checked(length).ok_or(MalformedMove("shorter than its part"))?;
    *rest = tail;
    Ok(head)
}

fn take_count(rest: &mut &[u8]) -> Result<usize, MalformedMove> {
    let count = usize::from(u16::from_le_bytes(take(rest)?));
    if count > MOVE_SLOTS_MAX { Err(MalformedMove("more slots than a move has")) } else { Ok(count) }
}

fn take_slots(rest: &mut &[u8]) -> Result<Vec<SlotEpoch>, MalformedMove> {
    let mut slots: Vec<SlotEpoch> = Vec::new();
    for _ in 0..take_count(rest)? {
        let slot = Slot::new(u16::from_le_bytes(take(rest)?)).ok_or(MalformedMove("no such slot"))?;
        if slots.last().is_some_and(|before| before.slot >= slot) {
            return Err(MalformedMove("slots out of order"));
        }
        slots.push(SlotEpoch { slot, epoch: Epoch(take_u64(rest)?) });
    }
    if slots.is_empty() { Err(MalformedMove("no slots")) } else { Ok(slots) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slots() -> Vec<SlotEpoch> {
        let at = |number, epoch| SlotEpoch { slot: Slot::new(number).unwrap(), epoch: Epoch(epoch) };
        vec![at(0, 3), at(7, u64::MAX), at(16383, 2)]
    }

    fn examples() -> Vec<MoveMessage<'static>> {
        let state = |state| MoveBody::State { leads: true, state };
        let bodies = vec![
            MoveBody::Ask { slots: slots() },
            MoveBody::Start { slots: slots() },
            MoveBody::Refuse { slots: slots() },
            MoveBody::Piece { urgent: true, sequence: 9, cursor: b"here", body: b"data" },
            MoveBody::Piece { urgent: false, sequence: 0, cursor: b"", body: b"" },
            MoveBody::Finish { sequence: 10, log_time: LogTime(77), seals: b"seals", body: b"last" },
            state(ImportState::Taken),
            state(ImportState::Refused),
            state(ImportState::Unknown),
            state(ImportState::Importing { next: 4, cursor: b"there".to_vec() }),
            MoveBody::State { leads: false, state: ImportState::Unknown },
            MoveBody::NotLeader { leader: Some(ReplicaId(5)) },
            MoveBody::NotLeader { leader: None },
        ];
        let id = MoveId { source: ShardId(2), number: 41 };
        let message = |body| MoveMessage { to: ShardId(1), from: ShardId(2), replica: ReplicaId(3), id, body };
        bodies.into_iter().map(message).collect()
    }

    fn encoded(message: &MoveMessage<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    #[test]
    fn messages_read_back_what_they_wrote() {
        for message in examples() {
            assert_eq!(MoveMessage::decode(&encoded(&message)), Ok(message));
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_an_error() {
        for message in examples() {
            let bytes = encoded(&message);
            let has_body = matches!(message.body, MoveBody::Piece { .. } | MoveBody::Finish { .. });
            for length in 0..bytes.len() {
                if let Ok(other) = MoveMessage::decode(&bytes[..length]) {
                    assert!(has_body && other != message);
                }
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(MoveMessage::decode(&longer).is_ok(), has_body);
        }
    }

    #[test]
    fn slots_out_of_order_out_of_range_none_and_too_many_are_errors() {
        let ask = |slots| MoveMessage { body: MoveBody::Ask { slots }, ..examples().remove(0) };
        let mut turned = slots();
        turned.reverse();
        let twice = vec![slots()[0]; 2];
        let number = |number| SlotEpoch { slot: Slot::new(number).unwrap(), epoch: Epoch(1) };
        for bad in [Vec::new(), turned, twice, (0..=MOVE_SLOTS_MAX as u16).map(number).collect()] {
            assert!(MoveMessage::decode(&encoded(&ask(bad))).is_err());
        }
        assert!(MoveMessage::decode(&encoded(&ask((0..MOVE_SLOTS_MAX as u16).map(number).collect()))).is_ok());
        let mut bytes = encoded(&ask(vec![number(0)]));
        let at = bytes.len() - 10;
        bytes[at..at + 2].copy_from_slice(&16384_u16.to_le_bytes());
        assert!(MoveMessage::decode(&bytes).is_err());
    }

    fn any_slots() -> impl Strategy<Value = Vec<SlotEpoch>> {
        prop::collection::btree_map(0_u16..16384, any::<u64>(), 1..=MOVE_SLOTS_MAX).prop_map(|slots| {
            let item = |(slot, epoch)| Some(SlotEpoch { slot: Slot::new(slot)?, epoch: Epoch(epoch) });
            slots.into_iter().filter_map(item).collect()
        })
    }

    fn any_state() -> impl Strategy<Value = ImportState> {
        prop_oneof![
            Just(ImportState::Taken),
            Just(ImportState::Refused),
            Just(ImportState::Unknown),
            (any::<u64>(), prop::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(next, cursor)| ImportState::Importing { next, cursor }),
        ]
    }

    proptest! {
        #[test]
        fn every_message_reads_back_what_it_wrote(
            numbers in any::<[u64; 7]>(),
            slots in any_slots(),
            state in any_state(),
            parts in any::<[Vec<u8>; 2]>(),
            flag in any::<bool>(),
            kind in 0..7,
        ) {
            let [to, from, replica, source, number, sequence, last] = numbers;
            let [short, body] = &parts;
            let body = match kind {
                0 => MoveBody::Ask { slots },
                1 => MoveBody::Start { slots },
                2 => MoveBody::Refuse { slots },
                3 => MoveBody::Piece { urgent: flag, sequence, cursor: short, body },
                4 => MoveBody::Finish { sequence, log_time: LogTime(last), seals: short, body },
                5 => MoveBody::State { leads: flag, state },
                _ => MoveBody::NotLeader { leader: Some(ReplicaId(last)).filter(|leader| leader.0 != 0) },
            };
            let id = MoveId { source: ShardId(source), number };
            let message = MoveMessage { to: ShardId(to), from: ShardId(from), replica: ReplicaId(replica), id, body };
            let bytes = encoded(&message);
            prop_assert_eq!(MoveMessage::decode(&bytes), Ok(message));
        }

        #[test]
        fn whatever_comes_is_a_message_that_reads_back_or_an_error(
            example in 0_usize..13,
            changes in prop::collection::vec((0_usize..200, any::<u8>()), 0..4),
        ) {
            let mut bytes = encoded(&examples()[example]);
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Ok(message) = MoveMessage::decode(&bytes) {
                prop_assert_eq!(encoded(&message), bytes);
            }
        }
    }
}
