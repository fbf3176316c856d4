//! Identities that cannot be mixed up: every number that names something has a type of its own.
//!
//! Ids are given out by the catalog and never used again (DESIGN.md, section 1). Zero is never a valid id, except
//! [`ShardId::CATALOG`], which is the group that gives the others out.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The value as a plain number, for wire and disk formats.
            pub const fn get(self) -> u64 {
                self.0
            }
            /// The following value.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// One Raft group: a shard, or the catalog.
    ShardId
}
number! {
    /// One member of one shard, for as long as it is a member; the Raft peer id.
    ReplicaId
}
number! {
    /// The ownership of one slot: fresh for every change of owner and every attempt at one. Zero: never owned.
    Epoch
}
number! {
    /// A Raft term.
    Term
}
number! {
    /// A position in a shard's log.
    LogIndex
}
number! {
    /// The number of changes that the catalog has applied.
    Revision
}
number! {
    /// A shard's clock: milliseconds since the Unix epoch, carried by its log entries (DESIGN.md, R8).
    LogTime
}

impl ShardId {
    /// Shard 0: the Raft group that holds the catalog and owns no slots.
    pub const CATALOG: Self = Self(0);
}

/// Names one write of one session for ever, however often it is sent (DESIGN.md, R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    /// Who sends it.
    pub session: SessionId,
    /// Its number among the writes of the session.
    pub sequence: u64,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let well_formed = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                let value = u128::from_str_radix(text, 16).ok().filter(|_| well_formed);
                value.map(Self).ok_or_else(|| InvalidId(text.chars().take(64).collect()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id! {
    /// One cluster, drawn at `pontoon init`.
    ClusterId
}
random_id! {
    /// One sender of writes, drawn when it starts; a write is named for ever by (session, sequence).
    SessionId
}
random_id! {
    /// One life of a node's data directory, drawn when the directory is made.
    Incarnation
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id of 32 hexadecimal digits")]
pub struct InvalidId(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a name as it was validated by the configuration, or as a peer sent it.
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// The name of a node in `shards.toml`.
    NodeName
}
name! {
    /// The name of a shard in `shards.toml`: a label, free to be used again for another shard.
    ShardName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_read_back_what_they_print() {
        let id = ClusterId(0xfeed);
        assert_eq!(id.to_string().parse::<ClusterId>().unwrap(), id);
        for bad in ["", "feed", "+0000000000000000000000000000000", "g0000000000000000000000000000000"] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad}");
        }
    }
}
