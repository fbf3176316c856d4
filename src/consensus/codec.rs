//! Raft messages as bytes. Ours instead of protobuf's: hostile bytes can at most fail, never recurse (RUSTSEC-2024-0437),
//! and the entries of a received message share one buffer.
//!
//! Format, little endian: fixed fields, then `u8` snapshot presence with index, term, members and data, then `u32` count of
//! entries, each `u8 kind | u64 term | u64 index | u32 length | data`.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};

/// Bytes that are not a Raft message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed Raft message: {0}")]
pub struct CodecError(&'static str);

/// The lists of a [`ConfState`] are never longer than this.
const MEMBERS_MAX: usize = 1024;

/// Appends `message`.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    out.push(message.get_msg_type() as u8);
    for number in [
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.request_snapshot,
        message.reject_hint,
        message.priority as u64,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(message.reject));
    put_bytes(out, &message.context);
    out.push(u8::from(message.has_snapshot()));
    if message.has_snapshot() {
        let meta = message.get_snapshot().get_metadata();
        out.extend_from_slice(&meta.index.to_le_bytes());
        out.extend_from_slice(&meta.term.to_le_bytes());
        put_members(out, meta.get_conf_state());
        put_bytes(out, message.get_snapshot().get_data());
    }
    out.extend_from_slice(&(message.entries.len() as u32).to_le_bytes());
    for entry in message.entries.iter() {
        out.push(entry.get_entry_type() as u8);
        out.extend_from_slice(&entry.term.to_le_bytes());
        out.extend_from_slice(&entry.index.to_le_bytes());
        put_bytes(out, &entry.data);
    }
}

/// Reads one message that fills `bytes`. Entries share the buffer.
///
/// # Errors
/// [`CodecError`] when anything is missing, out of range or left over.
pub fn decode_message(bytes: Bytes) -> Result<Message, CodecError> {
    let mut reader = Reader { bytes };
    let mut message = Message::default();
    message.set_msg_type(message_type(reader.u8()?)?);
    message.to = reader.u64()?;
    message.from = reader.u64()?;
    message.term = reader.u64()?;
    message.log_term = reader.u64()?;
    message.index = reader.u64()?;
    message.commit = reader.u64()?;
    message.commit_term = reader.u64()?;
    message.request_snapshot = reader.u64()?;
    message.reject_hint = reader.u64()?;
    message.priority = reader.u64()? as i64;
    message.reject = reader.flag()?;
    message.context = reader.blob()?;
    if reader.flag()? {
        let meta = message.mut_snapshot().mut_metadata();
        meta.index = reader.u64()?;
        meta.term = reader.u64()?;
        *meta.mut_conf_state() = reader.members()?;
        message.mut_snapshot().set_data(reader.blob()?);
    }
    for _ in 0..reader.u32()? {
        let mut entry = Entry::default();
        entry.set_entry_type(entry_type(reader.u8()?).ok_or(CodecError("entry kind"))?);
        entry.term = reader.u64()?;
        entry.index = reader.u64()?;
        entry.data = reader.blob()?;
        message.entries.push(entry);
    }
    if reader.bytes.is_empty() { Ok(message) } else { Err(CodecError("bytes left over")) }
}

/// The entry kind of this number.
pub(super) fn entry_type(number: u8) -> Option<EntryType> {
    [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2]
        .into_iter()
        .find(|kind| *kind as u8 == number)
}

/// Only what replicas send each other; local messages from the wire are malformed.
fn message_type(number: u8) -> Result<MessageType, CodecError> {
    use MessageType::{
        MsgAppend, MsgAppendResponse, MsgHeartbeat, MsgHeartbeatResponse, MsgReadIndex, MsgReadIndexResp,
        MsgRequestPreVote, MsgRequestPreVoteResponse, MsgRequestVote, MsgRequestVoteResponse, MsgSnapshot,
        MsgTimeoutNow,
    };
    [
        MsgAppend,
        MsgAppendResponse,
        MsgRequestVote,
        MsgRequestVoteResponse,
        MsgSnapshot,
        MsgHeartbeat,
        MsgHeartbeatResponse,
        MsgTimeoutNow,
        MsgReadIndex,
        MsgReadIndexResp,
        MsgRequestPreVote,
        MsgRequestPreVoteResponse,
    ]
    .into_iter()
    .find(|kind| *kind as u8 == number)
    .ok_or(CodecError("message kind"))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_members(out: &mut Vec<u8>, conf: &ConfState) {
    for list in [conf.get_voters(), conf.get_learners(), conf.get_voters_outgoing(), conf.get_learners_next()] {
        out.extend_from_slice(&(list.len() as u32).to_le_bytes());
        list.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
    }
    out.push(u8::from(conf.get_auto_leave()));
}

struct Reader {
    bytes: Bytes,
}

impl Reader {
    fn take(&mut self, length: usize) -> Result<Bytes, CodecError> {
        if self.bytes.len() < length { Err(CodecError("cut short")) } else { Ok(self.bytes.split_to(length)) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let found = *self.bytes.first_chunk::<N>().ok_or(CodecError("cut short"))?;
        let _ = self.bytes.split_to(N);
        Ok(found)
    }

    fn u8(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError("flag")),
        }
    }

    fn blob(&mut self) -> Result<Bytes, CodecError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn members(&mut self) -> Result<ConfState, CodecError> {
        let mut conf = ConfState::default();
        conf.set_voters(self.ids()?);
        conf.set_learners(self.ids()?);
        conf.set_voters_outgoing(self.ids()?);
        conf.set_learners_next(self.ids()?);
        conf.set_auto_leave(self.flag()?);
        Ok(conf)
    }

    fn ids(&mut self) -> Result<Vec<u64>, CodecError> {
        let count = self.u32()? as usize;
        if count > MEMBERS_MAX {
            return Err(CodecError("too many members"));
        }
        (0..count).map(|_| self.u64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Members, SnapshotPoint, snapshot_point};
    use super::*;
    use crate::topology::{LogIndex, ReplicaId, Revision, Term};

    fn sample() -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.to, message.from, message.term, message.index, message.commit) = (1, 2, 3, 4, 5);
        message.reject = true;
        message.context = Bytes::from_static(b"context");
        let meta = message.mut_snapshot().mut_metadata();
        (meta.index, meta.term) = (7, 8);
        meta.mut_conf_state().set_voters(vec![1, 2, 3]);
        message.mut_snapshot().set_data(Bytes::from_static(b"data"));
        for index in 0..3 {
            let mut entry = Entry::default();
            (entry.term, entry.index) = (3, index);
            entry.data = Bytes::from(vec![index as u8; 10]);
            message.entries.push(entry);
        }
        message
    }

    #[test]
    fn a_message_reads_back_and_every_cut_is_an_error() {
        let mut bytes = Vec::new();
        encode_message(&sample(), &mut bytes);
        assert_eq!(decode_message(Bytes::from(bytes.clone())).unwrap(), sample());
        for length in 0..bytes.len() {
            assert!(decode_message(Bytes::copy_from_slice(&bytes[..length])).is_err(), "{length}");
        }
        bytes.push(0);
        assert_eq!(decode_message(Bytes::from(bytes)), Err(CodecError("bytes left over")));
    }

    #[test]
    fn a_snapshot_tells_by_which_catalog_its_members_are() {
        let members = Members { revision: Revision(9), ..Members::of_voters([ReplicaId(1), ReplicaId(2)]) };
        let point = SnapshotPoint { index: LogIndex(7), term: Term(8), members };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(point.to_snapshot());
        let mut bytes = Vec::new();
        encode_message(&message, &mut bytes);
        assert_eq!(snapshot_point(&decode_message(bytes.into()).unwrap()), Some(point));
    }

    #[test]
    fn local_messages_do_not_come_over_the_wire() {
        let mut message = sample();
        message.set_msg_type(MessageType::MsgHup);
        let mut bytes = Vec::new();
        encode_message(&message, &mut bytes);
        assert_eq!(decode_message(Bytes::from(bytes)), Err(CodecError("message kind")));
    }
}
