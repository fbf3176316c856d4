//! The command table: what each command is called, how many arguments it takes, where its keys are and who answers it.
//!
//! One table serves routing, `COMMAND` and apply. A command that is not in it does not exist.

mod blocking;
pub mod flags;
mod keys;
mod lookup;
mod table;

pub use blocking::blocking_timeout;
pub use flags::{Category, Flag, KeyFlag};
pub use keys::{KeyPlace, KeyPositions, KeySpec, stream_options};
pub use lookup::{CommandError, all, lookup, lookup_full, resolve, resolve_with_foreign};

use crate::protocol::request::Args;

/// Which command; apply and the connection commands dispatch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum CommandId {
    // Strings.
    Append, BitCount, BitField, BitFieldRo, BitOp, BitPos, Decr, DecrBy, Get, GetBit, GetDel, GetEx, GetRange, GetSet,
    Incr, IncrBy, IncrByFloat, Lcs, MGet, MSet, MSetNx, PSetEx, Set, SetBit, SetEx, SetNx, SetRange, StrLen, SubStr,
    // Lists.
    LIndex, LInsert, LLen, LMove, LMPop, LPop, LPos, LPush, LPushX, LRange, LRem, LSet, LTrim, RPop, RPopLPush, RPush, RPushX,
    // Sets.
    SAdd, SCard, SDiff, SDiffStore, SInter, SInterCard, SInterStore, SIsMember, SMembers, SMIsMember, SMove, SPop,
    SRandMember, SRem, SScan, SUnion, SUnionStore,
    // Hashes.
    HDel, HExists, HGet, HGetAll, HIncrBy, HIncrByFloat, HKeys, HLen, HMGet, HMSet, HRandField, HScan, HSet, HSetNx,
    HStrLen, HVals,
    // Hashes whose fields expire.
    HExpire, HExpireAt, HExpireTime, HGetDel, HGetEx, HPersist, HPExpire, HPExpireAt, HPExpireTime, HPTtl, HSetEx, HTtl,
    // Sorted sets.
    ZAdd, ZCard, ZCount, ZDiff, ZDiffStore, ZIncrBy, ZInter, ZInterCard, ZInterStore, ZLexCount, ZMPop, ZMScore, ZPopMax,
    ZPopMin, ZRandMember, ZRange, ZRangeByLex, ZRangeByScore, ZRangeStore, ZRank, ZRem, ZRemRangeByLex, ZRemRangeByRank,
    ZRemRangeByScore, ZRevRange, ZRevRangeByLex, ZRevRangeByScore, ZRevRank, ZScan, ZScore, ZUnion, ZUnionStore,
    // Of several types.
    Dump, Restore, Sort, SortRo,
    // Keys.
    Copy, DbSize, Del, Exists, Expire, ExpireAt, ExpireTime, FlushAll, FlushDb, Keys, Object, Persist, PExpire,
    PExpireAt, PExpireTime, PTtl, RandomKey, Rename, RenameNx, Scan, SwapDb, Touch, Ttl, Type, Unlink,
    // Blocking.
    BLMove, BLMPop, BLPop, BRPop, BRPopLPush, BZMPop, BZPopMax, BZPopMin,
    // Transactions.
    Discard, Exec, Multi, Unwatch, Watch,
    // Connection and server.
    Auth, Client, Cluster, Command, Config, Debug, Echo, Function, Hello, Info, LastSave, Latency, Lolwut, Memory, Ping, Quit,
    ReadOnly, ReadWrite, Reset, Role, Save, Select, Shutdown, SlowLog, Time, Wait,
    // What only Redis servers know.
    Foreign,
}

/// Who answers a command, and how it is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Whoever holds the client's connection.
    Connection,
    /// One shard, which owns all keys of the command.
    OneShard,
    /// The shards of its keys, each its part; the proxy merges the replies.
    Split(Merge),
    /// Every shard; the proxy merges the replies.
    EveryShard(Merge),
    /// The shard of the slot that the cursor names.
    Cursor,
}

/// How the replies to the parts of one request become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Arrays, one value per key, back in the order of the keys (MGET).
    Interleave,
    /// `+OK` from all (MSET, FLUSHALL).
    AllOk,
    /// The sum of integers (DEL, EXISTS, DBSIZE).
    Sum,
    /// Arrays one after the other (KEYS).
    Concatenate,
    /// One of the non-null replies (RANDOMKEY).
    AnyOne,
}

/// One command, or one subcommand of a command.
#[derive(Debug)]
pub struct CommandSpec {
    /// Which command; a subcommand has that of its container.
    pub id: CommandId,
    /// In lower case; a subcommand's is `container|subcommand`.
    pub name: &'static str,
    /// How many arguments, the name included; at least so many if negative.
    pub arity: i8,
    /// What is said of it.
    pub flags: flags::Flags,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Who answers it.
    pub route: Route,
    /// Its categories in access control.
    pub categories: flags::Categories,
    /// Hints for clients that route.
    pub tips: &'static [&'static str],
    /// The chapter of the documentation.
    pub group: Group,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// Its cost.
    pub complexity: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Since which Redis version one should use what instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Its subcommands, if it is a container.
    pub subcommands: &'static [CommandSpec],
}

impl CommandSpec {
    /// Whether it changes data, so that it goes through the log.
    pub const fn is_write(&self) -> bool {
        self.flags.has(Flag::Write)
    }

    /// The last part of the name: `get` of `config|get`.
    pub fn own_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, own)| own)
    }

    /// The subcommand with this name, in whatever case; the command itself, if it has none.
    pub fn subcommand(&'static self, name: &[u8]) -> Option<&'static Self> {
        if self.subcommands.is_empty() {
            return Some(self);
        }
        self.subcommands.iter().find(|subcommand| subcommand.own_name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether a request of `count` arguments, the name included, has the right number of them.
    pub const fn accepts(&self, count: usize) -> bool {
        if self.arity >= 0 { count == self.arity as usize } else { count >= self.arity.unsigned_abs() as usize }
    }

    /// First key, last key and step, as `COMMAND` once told where keys are: runs alone, those that follow each other as one.
    pub fn key_range(&self) -> (i64, i64, i64) {
        let mut range = (0, 0, 0);
        for spec in self.keys {
            let KeyPlace::Run { first, last, step } = spec.place else { continue };
            let end = if last < 0 { last.into() } else { i64::from(first) + i64::from(last) };
            if range.2 == 0 {
                range = (first.into(), end, step.into());
            } else if range.1 == i64::from(first) - 1 {
                range.1 = end;
            }
        }
        range
    }

    /// The distance of one key to the next, in commands whose keys are one run.
    pub fn key_step(&self) -> usize {
        match self.keys.first().map(|spec| spec.place) {
            Some(KeyPlace::Run { step, .. }) => step.into(),
            _ => 1,
        }
    }

    /// Where the keys are in a request, in order. Positions are never past the end.
    pub const fn key_positions<'a>(&self, args: Args<'a>) -> KeyPositions<'a> {
        KeyPositions::new(self.keys, args)
    }
}

/// The chapter of the documentation that a command is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words are Redis's")]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Hash,
    List,
    Scripting,
    Server,
    Set,
    SortedSet,
    String,
    Transactions,
}

impl Group {
    /// The word in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Cluster => "cluster",
            Self::Connection => "connection",
            Self::Generic => "generic",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::String => "string",
            Self::Transactions => "transactions",
        }
    }
}
