//! Frames and messages: where a frame ends, how long messages are cut and put together again.

use super::{FLAG_MORE, FrameError, HEADER_BYTES, Kind, PIECE_BYTES_MAX};

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
#[cfg(test)]
mod tests {
    use super::super::Heartbeat;
    use super::*;
    use crate::topology::Revision;

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
        let heartbeat = Heartbeat { sequence: 3, revision: Revision(4), known: 5 };
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
}
