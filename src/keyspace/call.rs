//! What a command is handed: its arguments, the state, and where its reply goes.

use std::borrow::Cow;

use super::random::Random;
use super::record::Record;
use super::slot_data::Changed;
use super::store::{Keyspace, OtherType};
use super::value::{Collection, Text, Value};
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

/// The error that a client gets, code first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// A text of ours.
    Text(Cow<'static, str>),
    /// A text of ours, and then what the client sent.
    Quoting(&'static str, Vec<u8>),
}

impl CommandError {
    /// An error that ends with what the client sent: up to the first zero byte and without line ends, as in Redis.
    pub fn quoting(before: &'static str, quoted: &[u8]) -> Self {
        let mut quoted: Vec<u8> = quoted.iter().copied().take_while(|&byte| byte != 0).collect();
        while quoted.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
        Self::Quoting(before, quoted)
    }

    /// Appends the error.
    pub fn write(&self, reply: &mut ReplyWriter<'_>) {
        match self {
            Self::Text(text) => reply.error(text),
            Self::Quoting(before, quoted) => {
                let mut error = Vec::new();
                errors::write_quoting(&mut error, before, quoted, "");
                reply.raw(&error);
            }
        }
    }
}

impl From<&'static str> for CommandError {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<OtherType> for CommandError {
    fn from(_: OtherType) -> Self {
        errors::WRONG_TYPE.into()
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// A command that no shard carries out, or as what it is not: a read as a write.
pub const NOT_OF_A_SHARD: &str = "ERR this command is not one of a shard";

/// What a command returns: its reply is written, or it is this error and nothing else.
pub type CommandResult = Result<(), CommandError>;

/// A command that changes state. Its keys are owned, and none of them is expired.
#[derive(Debug)]
pub struct WriteCall<'a> {
    /// The state.
    pub keyspace: &'a mut Keyspace,
    /// The arguments.
    pub args: Args<'a>,
    /// The reply.
    pub reply: ReplyWriter<'a>,
    /// Random choices, the same on all replicas.
    pub random: Random,
}

impl WriteCall<'_> {
    /// The time that the command lives in.
    pub const fn now_ms(&self) -> u64 {
        self.keyspace.log_time.get()
    }

    /// The record of a key.
    pub fn find(&self, key: &[u8]) -> Option<&Record> {
        let record = self.keyspace.peek(key)?;
        record.touch(self.now_ms());
        Some(record)
    }

    /// The string that a key holds.
    pub fn text(&self, key: &[u8]) -> Result<Option<&Text>, CommandError> {
        self.find(key).map(text_of).transpose()
    }

    /// The collection that a key holds.
    pub fn collection<C: Collection>(&self, key: &[u8]) -> Result<Option<&C>, CommandError> {
        self.find(key).map(collection_of).transpose()
    }

    /// Changes the collection that a key holds (see [`Keyspace::edit_collection`]); another type is an error.
    pub fn edit<C: Collection, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut C) -> (Changed, R),
    ) -> Result<R, CommandError> {
        let mut change = Some(change);
        let mut once =
            |collection: &mut C| change.take().map(|change| change(collection)).expect("called once at most");
        if let Some(result) = self.keyspace.edit_present(key, &mut once)? {
            return Ok(result);
        }
        Ok(self.keyspace.edit_collection(key, once))
    }

    /// An error if a string of `length` bytes is too long.
    pub fn check_length(&self, length: u64) -> CommandResult {
        if length > u64::from(self.keyspace.limits.value_bytes_max) {
            return Err(errors::STRING_TOO_LONG.into());
        }
        Ok(())
    }

    /// An error if an argument from `position` on is too long to be stored.
    pub fn check_lengths(&self, position: usize) -> CommandResult {
        self.args.from(position).try_for_each(|bytes| self.check_length(bytes.len() as u64))
    }

    /// The argument at `position` as a string value to be stored.
    pub fn value(&self, position: usize) -> Result<Value, CommandError> {
        let bytes = self.args.get(position);
        self.check_length(bytes.len() as u64)?;
        Ok(Value::String(Text::encode(bytes)))
    }
}

/// A command that reads. Keys that are expired at `now_ms` are absent.
#[derive(Debug)]
pub struct ReadCall<'a> {
    /// The state.
    pub keyspace: &'a Keyspace,
    /// The arguments.
    pub args: Args<'a>,
    /// The reply.
    pub reply: ReplyWriter<'a>,
    /// The time that the command lives in: log time, or later where no answer depends on the difference.
    pub now_ms: u64,
    /// The randomness of the entry, for a read in the log: its reply is remembered, so all replicas must give the same.
    pub logged: Option<u64>,
}

impl<'a> ReadCall<'a> {
    /// The record of a key, without noting the access.
    pub fn peek(&self, key: &[u8]) -> Option<&'a Record> {
        self.keyspace.peek(key).filter(|record| !record.is_expired(self.now_ms))
    }

    /// The record of a key.
    pub fn find(&self, key: &[u8]) -> Option<&'a Record> {
        let record = self.peek(key)?;
        record.touch(self.now_ms);
        Some(record)
    }

    /// The string that a key holds.
    pub fn text(&self, key: &[u8]) -> Result<Option<&'a Text>, CommandError> {
        self.find(key).map(text_of).transpose()
    }

    /// The collection that a key holds.
    pub fn collection<C: Collection>(&self, key: &[u8]) -> Result<Option<&'a C>, CommandError> {
        self.find(key).map(collection_of).transpose()
    }

    /// Random choices: of the entry, or such that no two replicas need to make alike.
    pub fn random(&self) -> Random {
        Random::new(self.logged.unwrap_or_else(|| self.keyspace.draw()))
    }
}

/// The string of a record; any other type is an error.
pub fn text_of(record: &Record) -> Result<&Text, CommandError> {
    match &record.value {
        Value::String(text) => Ok(text),
        _ => Err(errors::WRONG_TYPE.into()),
    }
}

/// The collection of a record; any other type is an error.
pub fn collection_of<C: Collection>(record: &Record) -> Result<&C, CommandError> {
    C::of(&record.value).ok_or_else(|| errors::WRONG_TYPE.into())
}

/// An option's word in capitals, without allocation. Longer words are no option's, and become nothing.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    letters: [u8; WORD_BYTES_MAX],
    length: usize,
}

const WORD_BYTES_MAX: usize = 16;

impl Word {
    /// The word that an argument is.
    pub fn of(argument: &[u8]) -> Self {
        let mut letters = [0; WORD_BYTES_MAX];
        let length = if argument.len() <= WORD_BYTES_MAX { argument.len() } else { 0 };
        letters[..length].copy_from_slice(&argument[..length]);
        letters.make_ascii_uppercase();
        Self { letters, length }
    }

    /// Its letters.
    pub fn as_slice(&self) -> &[u8] {
        &self.letters[..self.length]
    }
}

/// The argument at `position` as an integer.
pub fn integer(args: Args<'_>, position: usize) -> Result<i64, CommandError> {
    parse_i64(args.get(position)).ok_or_else(|| errors::NOT_AN_INTEGER.into())
}
