//! Commands on strings and on the bits in them.

use super::*;

#[rustfmt::skip]
pub(super) const STRINGS: &[CommandSpec] = &[
    command(Append, "append", 3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[String])
        .docs(Group::String, "2.0.0", "O(1)", "Appends to a string, which is made when absent."),
    command(BitCount, "bitcount", -2).flags(&[Read]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Bitmap])
        .docs(Group::Bitmap, "2.6.0", "O(N)", "Counts the bits that are set in a string."),
    command(BitField, "bitfield", -2).flags(&[Write, DenyOom]).keys(&[key(1, &[Rw, Update, Access, VariableFlags])
        .note("This command allows both access and modification of the key")]).one_shard().categories(&[Bitmap])
        .docs(Group::Bitmap, "3.2.0", "O(1) for each subcommand specified",
            "Reads and changes integers of any width inside a string."),
    command(BitFieldRo, "bitfield_ro", -2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Bitmap])
        .docs(Group::Bitmap, "6.0.0", "O(1) for each subcommand specified",
            "Reads integers of any width inside a string."),
    command(BitOp, "bitop", -4).flags(&[Write, DenyOom])
        .keys(&[key(2, &[Ow, Update]), key(3, &[Ro, Access]).through(-1, 1)]).one_shard().categories(&[Bitmap])
        .docs(Group::Bitmap, "2.6.0", "O(N)", "Combines strings bit by bit and stores the result."),
    command(BitPos, "bitpos", -3).flags(&[Read]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Bitmap])
        .docs(Group::Bitmap, "2.8.7", "O(N)", "Finds the first bit that is set or clear."),
    command(Decr, "decr", 2).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Subtracts one from an integer."),
    command(DecrBy, "decrby", 3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Subtracts a number from an integer."),
    command(Get, "get", 2).flags(&[Read, Fast]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Returns the value of a key."),
    command(GetBit, "getbit", 3).flags(&[Read, Fast]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Bitmap])
        .docs(Group::Bitmap, "2.2.0", "O(1)", "Returns one bit of a string."),
    command(GetDel, "getdel", 2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete])]).one_shard().categories(&[String])
        .docs(Group::String, "6.2.0", "O(1)", "Returns the value of a key and deletes the key."),
    command(GetEx, "getex", -2).flags(&[Write, Fast]).keys(&[key(1, &[Rw, Access, Update])
        .note("RW and UPDATE because it changes the TTL")]).one_shard().categories(&[String])
        .docs(Group::String, "6.2.0", "O(1)", "Returns the value of a key and may set when it expires."),
    command(GetRange, "getrange", 4).flags(&[Read]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[String])
        .docs(Group::String, "2.4.0", "O(N)", "Returns a part of a string."),
    command(GetSet, "getset", 3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Returns the value of a key and gives it a new one.")
        .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    command(Incr, "incr", 2).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Adds one to an integer."),
    command(IncrBy, "incrby", 3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Adds a number to an integer."),
    command(IncrByFloat, "incrbyfloat", 3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "2.6.0", "O(1)", "Adds a number to a floating point value."),
    command(Lcs, "lcs", -3).flags(&[Read])
        .keys(&[key(1, &[Ro, Access]).through(1, 1)]).one_shard().categories(&[String])
        .docs(Group::String, "7.0.0", "O(N*M)", "Finds the longest common subsequence of two strings."),
    command(MGet, "mget", -2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access]).through(-1, 1)]).split(Merge::Interleave).categories(&[String])
        .tips(&["request_policy:multi_shard"])
        .docs(Group::String, "1.0.0", "O(N) where N is the number of keys to retrieve.",
            "Returns the values of several keys."),
    command(MSet, "mset", -3).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Update]).through(-1, 2)]).split(Merge::AllOk).categories(&[String])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .docs(Group::String, "1.0.1", "O(N) where N is the number of keys to set.",
            "Sets several keys; at once for those of one slot."),
    command(MSetNx, "msetnx", -3).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Insert]).through(-1, 2)]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.1", "O(N) where N is the number of keys to set.",
            "Sets several keys of one shard, if none of them exists."),
    command(PSetEx, "psetex", 4).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "2.6.0", "O(1)", "Sets a key and its time to live in milliseconds.")
        .deprecated("2.6.12", "`SET` with the `PX` argument"),
    command(Set, "set", -3).flags(&[Write, DenyOom]).keys(&[key(1, &[Rw, Access, Update, VariableFlags])
        .note("RW and ACCESS due to the optional `GET` argument")]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Sets a key, whatever it held before."),
    command(SetBit, "setbit", 4).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[Bitmap])
        .docs(Group::Bitmap, "2.2.0", "O(1)", "Sets or clears one bit of a string."),
    command(SetEx, "setex", 4).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "2.0.0", "O(1)", "Sets a key and its time to live in seconds.")
        .deprecated("2.6.12", "`SET` with the `EX` argument"),
    command(SetNx, "setnx", 3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Ow, Insert])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(1)", "Sets a key if it does not exist.")
        .deprecated("2.6.12", "`SET` with the `NX` argument"),
    command(SetRange, "setrange", 4).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[String])
        .docs(Group::String, "2.2.0", "O(1)", "Overwrites a part of a string."),
    command(StrLen, "strlen", 2).flags(&[Read, Fast]).keys(&[key(1, &[Ro])]).one_shard().categories(&[String])
        .docs(Group::String, "2.2.0", "O(1)", "Returns the length of a string."),
    command(SubStr, "substr", 4).flags(&[Read]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[String])
        .docs(Group::String, "1.0.0", "O(N)", "Returns a part of a string.").deprecated("2.0.0", "`GETRANGE`"),
];
