//! What names a write for ever, and what a blocking command asks of its shard: the same bytes in frames and log entries.
//!
//! A write with an identity may be sent again, through broken connections and leader changes, until somebody says what
//! became of it: the shard executes it once and gives the same reply every time (DESIGN.md, R9).

use crate::topology::{LogTime, SessionId, WriteId};

/// A write's name, and what its sender says of its others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub id: WriteId,
    /// Every sequence of the session below this one is answered: nobody asks for its reply again.
    pub low: u64,
    /// The shard's log time as the sender knew it when the write was first sent; never refreshed.
    pub born: LogTime,
}

/// The length of an encoded [`Identity`].
pub const IDENTITY_BYTES: usize = 16 + 3 * 8;

impl Identity {
    /// Appends the identity, little endian: session, sequence, low, born.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.session.0.to_le_bytes());
        out.extend_from_slice(&self.id.sequence.to_le_bytes());
        out.extend_from_slice(&self.low.to_le_bytes());
        out.extend_from_slice(&self.born.get().to_le_bytes());
    }

    /// Reads an identity; any bytes are one.
    pub fn decode(bytes: &[u8; IDENTITY_BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let session = u128::from_le_bytes(bytes[..16].try_into().expect("sixteen bytes"));
        let id = WriteId { session: SessionId(session), sequence: number(16) };
        Self { id, low: number(24), born: LogTime(number(32)) }
    }
}

/// Why a blocked client waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CancelHow {
    /// Its time is over, or `CLIENT UNBLOCK` says so: it gets the nil of its command.
    Timeout = 1,
    /// `CLIENT UNBLOCK ERROR`: it gets that error.
    Unblocked = 2,
    /// It is gone, and so is whoever would take its answer.
    Gone = 3,
}

impl CancelHow {
    /// The reason of this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Timeout, Self::Unblocked, Self::Gone].into_iter().find(|how| *how as u8 == byte)
    }
}

/// What a request is to the shard that keeps the blocked clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// A blocking command: it is answered when there is something for it.
    Wait,
    /// The end of the wait of this identity. Its own reply says nothing: the waiting request gets what became of it.
    Cancel(CancelHow),
}

impl Blocking {
    /// The number in frames; zero is a request that does not block.
    pub const fn byte(this: Option<Self>) -> u8 {
        match this {
            None => 0,
            Some(Self::Wait) => 8,
            Some(Self::Cancel(how)) => how as u8,
        }
    }

    /// What a number in a frame stands for.
    ///
    /// # Errors
    /// The number, where it stands for nothing.
    pub fn from_byte(byte: u8) -> Result<Option<Self>, u8> {
        match byte {
            0 => Ok(None),
            8 => Ok(Some(Self::Wait)),
            other => CancelHow::from_byte(other).map(|how| Some(Self::Cancel(how))).ok_or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let id = WriteId { session: SessionId(u128::MAX - 1), sequence: 7 };
        let identity = Identity { id, low: 5, born: LogTime(9) };
        let mut out = Vec::new();
        identity.encode(&mut out);
        assert_eq!(Identity::decode(&out.try_into().unwrap()), identity);
        let acts = [CancelHow::Timeout, CancelHow::Unblocked, CancelHow::Gone].map(|how| Some(Blocking::Cancel(how)));
        for act in acts.into_iter().chain([None, Some(Blocking::Wait)]) {
            assert_eq!(Blocking::from_byte(Blocking::byte(act)), Ok(act));
        }
        assert_eq!(Blocking::from_byte(15), Err(15));
    }
}
