//! Commands on hashes.

use super::*;

#[rustfmt::skip]
pub(super) const HASHES: &[CommandSpec] = &[
    command(HDel, "hdel", -3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(N)",
            "Removes fields from a hash."),
    command(HExists, "hexists", 3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(1)",
            "Tells whether a field is in a hash."),
    command(HGet, "hget", 3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(1)",
            "Returns the value of a field of a hash."),
    command(HGetAll, "hgetall", 2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Hash, "2.0.0", "O(N)",
            "Returns all fields of a hash with their values."),
    command(HIncrBy, "hincrby", 4).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(1)",
            "Adds a number to an integer in a field of a hash."),
    command(HIncrByFloat, "hincrbyfloat", 4).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.6.0", "O(1)",
            "Adds a number to a floating point value in a field of a hash."),
    command(HKeys, "hkeys", 2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Hash, "2.0.0", "O(N)",
            "Returns all fields of a hash."),
    command(HLen, "hlen", 2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(1)",
            "Returns how many fields a hash has."),
    command(HMGet, "hmget", -3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(N)",
            "Returns the values of several fields of a hash."),
    command(HMSet, "hmset", -4).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(N)",
            "Sets fields of a hash.")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    command(HRandField, "hrandfield", -2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .tips(&["nondeterministic_output"])
        .docs(Group::Hash, "6.2.0", "O(N)",
            "Returns random fields of a hash."),
    command(HScan, "hscan", -3).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .tips(&["nondeterministic_output"])
        .docs(Group::Hash, "2.8.0", "O(1)",
            "Walks over the fields of a hash."),
    command(HSet, "hset", -4).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(1)",
            "Sets fields of a hash; returns how many are new."),
    command(HSetNx, "hsetnx", 4).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "2.0.0", "O(1)",
            "Sets a field of a hash if it does not exist."),
    command(HStrLen, "hstrlen", 3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "3.2.0", "O(1)",
            "Returns the length of the value of a field of a hash."),
    command(HVals, "hvals", 2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Hash, "2.0.0", "O(N)",
            "Returns all values of a hash."),
];
