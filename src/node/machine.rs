//! The state machine of a group: a data shard's keyspace, or the catalog.

use std::sync::Arc;

use crate::keyspace::{Applied, Entry, Frozen, Garbage, Keyspace, Loader, Read, ReadAt, Served, Usage};
use crate::protocol::control::ControlReply;
use crate::protocol::coverage::SlotRuns;
use crate::protocol::frame::RefusalReason;
use crate::protocol::request::Args;
use crate::protocol::verification::MarkId;
use crate::topology::{Catalog, CatalogCommand, LogTime, ShardId, Slot, WriteId};

/// Bytes of one piece of a snapshot.
const PIECE_BYTES: usize = 128 * 1024;

/// What a group's log is about.
pub enum Machine {
    /// A newcomer that has not received any state.
    Empty,
    /// A data shard.
    Data(Box<Keyspace>),
    /// Shard 0.
    Catalog(Arc<Catalog>),
}

/// What an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply was written.
    Reply,
    /// It was executed before; the reply that it got then was written.
    Repeated,
    /// The reply comes with a later entry, under this name.
    Waits(WriteId),
    /// Nothing was changed.
    Refused(RefusalReason),
    /// This slot is not served here; nothing was changed.
    NotOwner(Slot),
    /// A step of a slot's move: there is nobody to answer.
    Moved,
    /// There is nobody to answer.
    Nothing,
    /// The state as it is now is to be compared with that of the other replicas.
    Mark(MarkId),
}

/// State that cannot be read or an entry that cannot be understood: the replica must stop.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// An entry of a format that this version does not know, or damaged.
    #[error("an entry cannot be understood: {0}")]
    Entry(String),
    /// A snapshot that cannot be read.
    #[error("a snapshot cannot be read: {0}")]
    Snapshot(String),
}

impl Machine {
    /// Applies one entry; the reply is appended to `out`.
    ///
    /// # Errors
    /// The entry cannot be understood; nothing was changed.
    pub fn apply(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Outcome, MachineError> {
        let unreadable = |e: &dyn std::fmt::Display| MachineError::Entry(e.to_string());
        match self {
            Self::Empty => Err(MachineError::Entry("there is no state to apply it to".to_owned())),
            Self::Data(keyspace) => {
                let entry = Entry::decode(data).map_err(|e| unreadable(&e))?;
                let is_step = matches!(entry, Entry::Move { .. });
                match keyspace.apply(&entry, out).map_err(|e| unreadable(&e))? {
                    Applied::Reply => Ok(Outcome::Reply),
                    Applied::Repeated => Ok(Outcome::Repeated),
                    Applied::NotOwner(slot) => Ok(Outcome::NotOwner(slot)),
                    Applied::Nothing if is_step => Ok(Outcome::Moved),
                    Applied::Nothing => Ok(Outcome::Nothing),
                    Applied::Mark(id) => Ok(Outcome::Mark(id)),
                    Applied::Waits(id) => Ok(Outcome::Waits(id)),
                    Applied::Forgotten => Ok(Outcome::Refused(RefusalReason::Forgotten)),
                    Applied::Cancelled => Ok(Outcome::Refused(RefusalReason::Cancelled)),
                }
            }
            Self::Catalog(catalog) => {
                let command: CatalogCommand = serde_json::from_slice(data).map_err(|e| unreadable(&e))?;
                let outcome = Arc::make_mut(catalog).apply(&command);
                serde_json::to_writer(out, &ControlReply::Decided(outcome)).map_err(|e| unreadable(&e))?;
                Ok(Outcome::Reply)
            }
        }
    }

    /// Fetches from memory what entries that are about to be applied will change.
    pub fn look_ahead<'a>(&self, entries: impl Iterator<Item = &'a [u8]>) {
        if let Self::Data(keyspace) = self {
            keyspace.look_ahead(entries);
        }
    }

    /// Executes a read of a data shard. `wanted`: the slots that a request over all keys is for.
    pub fn read(&self, wanted: Option<&SlotRuns>, args: Args<'_>, at: ReadAt, out: &mut Vec<u8>) -> Option<Read> {
        match (self, wanted) {
            (Self::Data(keyspace), None) => Some(keyspace.read(args, at, out)),
            (Self::Data(keyspace), Some(wanted)) => Some(keyspace.read_covering(wanted, args, at, out)),
            (Self::Empty | Self::Catalog(_), _) => None,
        }
    }

    /// What blocked clients got by the entries applied since the last call.
    pub fn take_served(&mut self) -> Vec<Served> {
        match self {
            Self::Data(keyspace) => keyspace.take_served(),
            Self::Empty | Self::Catalog(_) => Vec::new(),
        }
    }

    /// Blocked clients that were let go by the entries applied since the last call, with a slot of each that is elsewhere.
    pub fn take_parted(&mut self) -> Vec<(WriteId, Slot)> {
        match self {
            Self::Data(keyspace) => keyspace.take_parted(),
            Self::Empty | Self::Catalog(_) => Vec::new(),
        }
    }

    /// The data shard's state, if this is one.
    pub const fn keyspace(&self) -> Option<&Keyspace> {
        match self {
            Self::Data(keyspace) => Some(keyspace),
            Self::Empty | Self::Catalog(_) => None,
        }
    }

    /// What it takes in memory, roughly: data that is served and what is remembered of writes.
    pub fn bytes(&self) -> u64 {
        self.usage().bytes + self.keyspace().map_or(0, |keyspace| keyspace.remembered_usage().bytes)
    }

    /// What data takes that is not served. Costs a look at each slot that moves.
    pub fn aside_bytes(&self) -> u64 {
        self.keyspace().map_or(0, Keyspace::aside_bytes)
    }

    /// Its clock; zero for the catalog, which has none.
    pub fn log_time(&self) -> LogTime {
        match self {
            Self::Data(keyspace) => keyspace.log_time(),
            Self::Empty | Self::Catalog(_) => LogTime(0),
        }
    }

    /// What was dropped from the state and is expensive to free.
    pub fn take_garbage(&mut self) -> Option<Garbage> {
        match self {
            Self::Data(keyspace) => keyspace.take_garbage(),
            Self::Empty | Self::Catalog(_) => None,
        }
    }

    /// How much data there is; none in the catalog.
    pub fn usage(&self) -> Usage {
        match self {
            Self::Data(keyspace) => keyspace.usage(),
            Self::Empty | Self::Catalog(_) => Usage::default(),
        }
    }

    /// How many slots it owns.
    pub fn slots(&self) -> u32 {
        match self {
            Self::Data(keyspace) => Slot::all().filter(|slot| keyspace.owns(*slot).is_some()).count() as u32,
            Self::Empty | Self::Catalog(_) => 0,
        }
    }

    /// Whether there is any state.
    pub const fn is_readable(&self) -> bool {
        !matches!(self, Self::Empty)
    }

    /// The state as it is now, to be written elsewhere while this one goes on. `None`: there is none.
    pub fn freeze(&self) -> Option<FrozenMachine> {
        match self {
            Self::Empty => None,
            Self::Data(keyspace) => Some(FrozenMachine::Data(keyspace.freeze())),
            Self::Catalog(catalog) => Some(FrozenMachine::Catalog(Arc::clone(catalog))),
        }
    }
}

/// A state at one index, readable from another thread.
pub enum FrozenMachine {
    /// A data shard's.
    Data(Frozen),
    /// The catalog's.
    Catalog(Arc<Catalog>),
}

impl FrozenMachine {
    /// The state in pieces of bounded size.
    pub fn pieces(self) -> Box<dyn Iterator<Item = Vec<u8>> + Send> {
        match self {
            Self::Data(frozen) => Box::new(frozen.pieces(PIECE_BYTES)),
            Self::Catalog(catalog) => {
                let json = serde_json::to_vec(&*catalog).expect("a catalog is plain data");
                let pieces: Vec<Vec<u8>> = json.chunks(PIECE_BYTES).map(<[u8]>::to_vec).collect();
                Box::new(pieces.into_iter())
            }
        }
    }
}

/// Puts a state together from pieces.
pub enum MachineLoader {
    /// A data shard's.
    Data(Box<Loader>),
    /// The catalog's.
    Catalog(Vec<u8>),
}

impl MachineLoader {
    /// For the state of this group.
    pub fn new(shard: ShardId) -> Self {
        if shard == ShardId::CATALOG { Self::Catalog(Vec::new()) } else { Self::Data(Box::new(Loader::new())) }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The pieces are damaged or of an unknown format.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), MachineError> {
        match self {
            Self::Data(loader) => loader.push(piece).map_err(|e| MachineError::Snapshot(e.to_string())),
            Self::Catalog(json) => {
                json.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// The whole state.
    ///
    /// # Errors
    /// Pieces are damaged or missing.
    pub fn finish(self) -> Result<Machine, MachineError> {
        match self {
            Self::Data(loader) => {
                let keyspace = loader.finish().map_err(|e| MachineError::Snapshot(e.to_string()))?;
                Ok(Machine::Data(Box::new(keyspace)))
            }
            Self::Catalog(json) => {
                let catalog = Catalog::decode(&json).map_err(|e| MachineError::Snapshot(e.to_string()))?;
                Ok(Machine::Catalog(Arc::new(catalog)))
            }
        }
    }
}
