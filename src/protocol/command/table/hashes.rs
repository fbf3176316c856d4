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
    // Of Valkey.
    command(HExpire, "hexpire", -6).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Sets after how many seconds fields of a hash expire."),
    command(HExpireAt, "hexpireat", -6).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Sets at which second fields of a hash expire."),
    command(HExpireTime, "hexpiretime", -5).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Returns at which second fields of a hash expire."),
    command(HGetDel, "hgetdel", -5).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.1.0", "O(N)",
            "Returns the values of fields of a hash and removes them."),
    command(HGetEx, "hgetex", -5).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Returns the values of fields of a hash and sets or removes their expiry."),
    command(HPersist, "hpersist", -5).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Removes the expiry of fields of a hash."),
    command(HPExpire, "hpexpire", -6).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Sets after how many milliseconds fields of a hash expire."),
    command(HPExpireAt, "hpexpireat", -6).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Sets at which millisecond fields of a hash expire."),
    command(HPExpireTime, "hpexpiretime", -5).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Returns at which millisecond fields of a hash expire."),
    command(HPTtl, "hpttl", -5).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Returns after how many milliseconds fields of a hash expire."),
    command(HSetEx, "hsetex", -6).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Sets fields of a hash with an expiry."),
    command(HTtl, "httl", -5).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Hash])
        .docs(Group::Hash, "9.0.0", "O(N)",
            "Returns after how many seconds fields of a hash expire."),
];
