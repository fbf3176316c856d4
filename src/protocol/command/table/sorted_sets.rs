//! Commands on sorted sets.

use super::*;

#[rustfmt::skip]
pub(super) const SORTED_SETS: &[CommandSpec] = &[
    command(ZAdd, "zadd", -4).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(log(N))",
            "Adds members to a sorted set or changes their scores."),
    command(ZCard, "zcard", 2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(1)",
            "Returns how many members a sorted set has."),
    command(ZCount, "zcount", 4).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.0.0", "O(log(N))",
            "Returns how many members have scores in a range."),
    command(ZDiff, "zdiff", -3).flags(&[Read, MovableKeys])
        .keys(&[counted_keys(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "6.2.0", "O(L + (N-K)log(N))",
            "Returns the members of a sorted set that others do not have."),
    command(ZDiffStore, "zdiffstore", -4).flags(&[Write, DenyOom, MovableKeys])
        .keys(&[key(1, &[Ow, Update]), counted_keys(2, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "6.2.0", "O(L + (N-K)log(N))",
            "Stores the members of a sorted set that others do not have."),
    command(ZIncrBy, "zincrby", 4).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Access, Update])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(log(N))",
            "Adds a number to the score of a member of a sorted set."),
    command(ZInter, "zinter", -3).flags(&[Read, MovableKeys])
        .keys(&[counted_keys(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "6.2.0", "O(N*K)",
            "Returns the members that all sorted sets have."),
    command(ZInterCard, "zintercard", -3).flags(&[Read, MovableKeys])
        .keys(&[counted_keys(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "7.0.0", "O(N*K)",
            "Returns how many members all sorted sets have in common."),
    command(ZInterStore, "zinterstore", -4).flags(&[Write, DenyOom, MovableKeys])
        .keys(&[key(1, &[Ow, Update]), counted_keys(2, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.0.0", "O(N*K)",
            "Stores the members that all sorted sets have."),
    command(ZLexCount, "zlexcount", 4).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.8.9", "O(log(N))",
            "Returns how many members of a sorted set are in a lexicographical range."),
    command(ZMPop, "zmpop", -4).flags(&[Write, MovableKeys])
        .keys(&[counted_keys(1, &[Rw, Access, Delete])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "7.0.0", "O(K)",
            "Takes the members with the lowest or highest scores from the first sorted set that is not empty."),
    command(ZMScore, "zmscore", -3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "6.2.0", "O(N)",
            "Returns the scores of several members of a sorted set."),
    command(ZPopMax, "zpopmax", -2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "5.0.0", "O(log(N)*M)",
            "Takes the members with the highest scores from a sorted set."),
    command(ZPopMin, "zpopmin", -2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "5.0.0", "O(log(N)*M)",
            "Takes the members with the lowest scores from a sorted set."),
    command(ZRandMember, "zrandmember", -2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .tips(&["nondeterministic_output"])
        .docs(Group::SortedSet, "6.2.0", "O(N)",
            "Returns random members of a sorted set."),
    command(ZRange, "zrange", -4).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(log(N)+M)",
            "Returns a range of members of a sorted set."),
    command(ZRangeByLex, "zrangebylex", -4).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.8.9", "O(log(N)+M)",
            "Returns the members of a sorted set in a lexicographical range.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    command(ZRangeByScore, "zrangebyscore", -4).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.0.5", "O(log(N)+M)",
            "Returns the members of a sorted set with scores in a range.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    command(ZRangeStore, "zrangestore", -5).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Update]), key(2, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "6.2.0", "O(log(N)+M)",
            "Stores a range of members of a sorted set."),
    command(ZRank, "zrank", -3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.0.0", "O(log(N))",
            "Returns the rank of a member of a sorted set, lowest score first."),
    command(ZRem, "zrem", -3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(M*log(N))",
            "Removes members from a sorted set."),
    command(ZRemRangeByLex, "zremrangebylex", 4).flags(&[Write])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.8.9", "O(log(N)+M)",
            "Removes the members of a sorted set in a lexicographical range."),
    command(ZRemRangeByRank, "zremrangebyrank", 4).flags(&[Write])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.0.0", "O(log(N)+M)",
            "Removes the members of a sorted set in a range of ranks."),
    command(ZRemRangeByScore, "zremrangebyscore", 4).flags(&[Write])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(log(N)+M)",
            "Removes the members of a sorted set with scores in a range."),
    command(ZRevRange, "zrevrange", -4).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(log(N)+M)",
            "Returns a range of members of a sorted set, highest score first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    command(ZRevRangeByLex, "zrevrangebylex", -4).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.8.9", "O(log(N)+M)",
            "Returns the members of a sorted set in a lexicographical range, last first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    command(ZRevRangeByScore, "zrevrangebyscore", -4).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.2.0", "O(log(N)+M)",
            "Returns the members of a sorted set with scores in a range, highest first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    command(ZRevRank, "zrevrank", -3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.0.0", "O(log(N))",
            "Returns the rank of a member of a sorted set, highest score first."),
    command(ZScan, "zscan", -3).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .tips(&["nondeterministic_output"])
        .docs(Group::SortedSet, "2.8.0", "O(1)",
            "Walks over the members of a sorted set."),
    command(ZScore, "zscore", 3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "1.2.0", "O(1)",
            "Returns the score of a member of a sorted set."),
    command(ZUnion, "zunion", -3).flags(&[Read, MovableKeys])
        .keys(&[counted_keys(1, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "6.2.0", "O(N)",
            "Returns the members that any of the sorted sets has."),
    command(ZUnionStore, "zunionstore", -4).flags(&[Write, DenyOom, MovableKeys])
        .keys(&[key(1, &[Ow, Update]), counted_keys(2, &[Ro, Access])]).one_shard().categories(&[SortedSet])
        .docs(Group::SortedSet, "2.0.0", "O(N)",
            "Stores the members that any of the sorted sets has."),
];
