//! One node connection: bytes in and out, frames put together.
//!
//! Messages that come in pieces are gathered here (a reply goes to its client only when it is whole, so that a
//! connection lost in its middle costs a retry and not the client's connection); memory follows the bytes received.

use bytes::Bytes;

use crate::control::health::Health;
use crate::control::told::Told;
use crate::net::Moment;
use crate::protocol::frame::{
    FLAG_MORE, FrameError, HEADER_BYTES, Kind, PIECE_BYTES_MAX, RawFrame, RequestHead, put_message,
};
use crate::proxy::outbox::{COPY_BYTES_MAX, Outbox};
use crate::topology::Revision;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    Closed,
    /// Who we are was put; the node has not said who it is.
    Greeting,
    /// Requests may be sent.
    Open,
}

/// One node connection.
#[derive(Debug)]
pub struct Link {
    /// How far it has come.
    pub stage: Stage,
    /// Whether the node is there.
    pub health: Health,
    /// Bytes to send.
    pub outbox: Outbox,
    /// Whether it is on the list of links with bytes to send.
    pub dirty: bool,
    /// The revision of the catalog that was sent over it.
    pub offered: Revision,
    /// The older revision that the node has, and since when.
    pub stands_at: Option<(Revision, Moment)>,
    /// What the node told of its replicas.
    pub told: Told,
    /// The doubts of the routing table when all of that was merged into it.
    pub merged_at: Option<u64>,
    /// Whether it is closed as soon as what the node has is answered: the catalog knows another address, or none.
    pub leaving: bool,
    /// Whether a refused handshake was logged since the last success.
    pub complained: bool,
    input: Vec<u8>,
    cut: Option<(Kind, Vec<u8>)>,
}

impl Link {
    /// A node that was never spoken to.
    pub fn new(health: Health) -> Self {
        Self {
            stage: Stage::Closed,
            health,
            outbox: Outbox::default(),
            dirty: false,
            offered: Revision(0),
            stands_at: None,
            told: Told::default(),
            merged_at: None,
            leaving: false,
            complained: false,
            input: Vec::new(),
            cut: None,
        }
    }

    /// Forgets the connection.
    pub fn reset(&mut self) {
        self.stage = Stage::Closed;
        self.leaving = false;
        self.outbox.clear();
        self.offered = Revision(0);
        self.stands_at = None;
        self.told = Told::default();
        self.merged_at = None;
        self.input = Vec::new();
        self.cut = None;
    }

    /// Bytes of a frame of which not all has come.
    pub fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Keeps the bytes of a frame of which not all has come.
    pub fn keep_input(&mut self, bytes: Vec<u8>) {
        self.input = bytes;
    }

    /// Puts a request.
    pub fn put_request(&mut self, head: &RequestHead, body: &[u8], large: Option<&Bytes>) {
        match large {
            Some(large) if large.len() > COPY_BYTES_MAX => self.put_large(head, large),
            _ => self.outbox.put_with(|out| {
                put_message(out, Kind::Request, |out| {
                    head.encode(out);
                    out.extend_from_slice(body);
                });
            }),
        }
    }

    fn put_large(&mut self, head: &RequestHead, body: &Bytes) {
        let mut at = 0;
        let mut room = PIECE_BYTES_MAX - head.encoded_bytes();
        loop {
            let end = body.len().min(at + room);
            let more = end < body.len();
            let head_bytes = if at == 0 { head.encoded_bytes() } else { 0 };
            self.outbox.put_with(|out| {
                let length = (2 + head_bytes + end - at) as u32;
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&[Kind::Request as u8, if more { FLAG_MORE } else { 0 }]);
                if at == 0 {
                    head.encode(out);
                }
            });
            self.outbox.put_shared(body.slice(at..end));
            if !more {
                return;
            }
            at = end;
            room = PIECE_BYTES_MAX;
        }
    }

    /// Takes a frame of a message that is cut into pieces; returns the message when it is whole.
    ///
    /// # Errors
    /// [`FrameError::Interleaved`] or [`FrameError::MessageTooLong`].
    pub fn gather(&mut self, frame: RawFrame<'_>, bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
        let (kind, pieces) = self.cut.get_or_insert_with(|| (frame.kind, Vec::new()));
        if *kind != frame.kind {
            return Err(FrameError::Interleaved);
        }
        if pieces.len() + frame.payload.len() > bytes_max {
            return Err(FrameError::MessageTooLong(bytes_max));
        }
        pieces.extend_from_slice(frame.payload);
        if frame.more { Ok(None) } else { Ok(self.cut.take().map(|(_, pieces)| Bytes::from(pieces))) }
    }

    /// Whether a message is half received.
    pub const fn is_cut(&self) -> bool {
        self.cut.is_some()
    }
}

/// A frame's header takes this much of a buffer.
pub const FRAME_BYTES_MAX: usize = PIECE_BYTES_MAX + HEADER_BYTES;
