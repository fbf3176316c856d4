//! A remembered reply. Most are a few bytes long and take no memory of their own.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::topology::Slot;

/// Replies up to this length lie in their record.
const SHORT_BYTES_MAX: usize = 22;
/// What a record counts for, and what a longer reply does besides its bytes. Which replies are dropped depends on it, so it
/// is the same for every build.
const KEPT_BYTES: usize = 48;
const LONG_BYTES: usize = 16;

/// A reply's bytes.
#[derive(Clone)]
pub struct Reply(Form);

#[derive(Clone)]
enum Form {
    Short { length: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Arc<[u8]>),
}

impl Reply {
    /// A copy of these bytes.
    pub fn new(reply: &[u8]) -> Self {
        if reply.len() > SHORT_BYTES_MAX {
            return Self(Form::Long(reply.into()));
        }
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes[..reply.len()].copy_from_slice(reply);
        Self(Form::Short { length: reply.len() as u8, bytes })
    }
}

impl Deref for Reply {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Short { length, bytes } => &bytes[..usize::from(*length)],
            Form::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Reply {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Reply {}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.escape_ascii().to_string())
    }
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was executed, and this is its reply.
    Reply(Reply),
    /// A blocking command whose client was not there any more: it got nothing.
    Gone,
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The write, within its session.
    pub sequence: u64,
    /// The slot that it belongs to, and moves with; none where the write was about no key.
    pub slot: Option<Slot>,
    /// The answer.
    pub answer: Answer,
}

impl Kept {
    /// What it takes in memory, roughly.
    pub fn bytes(&self) -> u64 {
        let long = match &self.answer {
            Answer::Reply(reply) if reply.len() > SHORT_BYTES_MAX => reply.len() + LONG_BYTES,
            Answer::Reply(_) | Answer::Gone => 0,
        };
        (KEPT_BYTES + long) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_every_length_read_back() {
        for length in [0, 1, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 5000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (one, other) = (Reply::new(&bytes), Reply::new(&bytes));
            assert!(*one == *bytes && one == other);
        }
        assert!(size_of::<Kept>() <= KEPT_BYTES, "a million of them may be kept");
    }
}
