//! The command table: what each command is called, how many arguments it takes, where its keys are and who answers it.
//!
//! One table serves routing, `COMMAND` and apply. A command that is not in it does not exist.

/// Which command; apply and the connection commands dispatch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum CommandId {
    // Strings.
    Append, BitCount, BitField, BitFieldRo, BitOp, BitPos, Decr, DecrBy, Get, GetBit, GetDel, GetEx, GetRange, GetSet,
    Incr, IncrBy, IncrByFloat, Lcs, MGet, MSet, MSetNx, PSetEx, Set, SetBit, SetEx, SetNx, SetRange, StrLen, SubStr,
    // Keys.
    Copy, DbSize, Del, Exists, Expire, ExpireAt, ExpireTime, FlushAll, FlushDb, Keys, Object, Persist, PExpire,
    PExpireAt, PExpireTime, PTtl, RandomKey, Rename, RenameNx, Scan, Touch, Ttl, Type, Unlink,
    // Connection and server.
    Auth, Client, Cluster, Command, Config, Debug, Echo, Hello, Info, LastSave, Latency, Lolwut, Memory, Ping, Quit,
    ReadOnly, ReadWrite, Reset, Role, Select, SlowLog, SwapDb, Time, Wait,
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
