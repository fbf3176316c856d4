//! Commands on keys, whatever they hold.

use super::*;

#[rustfmt::skip]
pub(super) const KEYS: &[CommandSpec] = &[
    command(Copy, "copy", -3).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ro, Access]), key(2, &[Ow, Update])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "6.2.0", "O(N)", "Copies the value of a key to another key of the same shard."),
    command(DbSize, "dbsize", 1).flags(&[Read, Fast]).every_shard(Merge::Sum).categories(&[Keyspace])
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .docs(Group::Server, "1.0.0", "O(1)", "Returns the number of keys."),
    command(Del, "del", -2).flags(&[Write])
        .keys(&[key(1, &[Rm, Delete]).through(-1, 1)]).split(Merge::Sum).categories(&[Keyspace])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(Group::Generic, "1.0.0", "O(N)", "Deletes keys."),
    command(Exists, "exists", -2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro]).through(-1, 1)]).split(Merge::Sum).categories(&[Keyspace])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(Group::Generic, "1.0.0", "O(N) where N is the number of keys to check.",
            "Counts how many of the keys exist."),
    command(Expire, "expire", -3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "1.0.0", "O(1)", "Sets the time to live of a key in seconds."),
    command(ExpireAt, "expireat", -3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "1.2.0", "O(1)", "Sets when a key expires, as Unix time in seconds."),
    command(ExpireTime, "expiretime", 2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "7.0.0", "O(1)", "Returns when a key expires, as Unix time in seconds."),
    command(FlushAll, "flushall", -1).flags(&[Write]).every_shard(Merge::AllOk).categories(&[Keyspace, Dangerous])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs(Group::Server, "1.0.0", "O(N)", "Deletes all keys."),
    command(FlushDb, "flushdb", -1).flags(&[Write]).every_shard(Merge::AllOk).categories(&[Keyspace, Dangerous])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs(Group::Server, "1.0.0", "O(N)", "Deletes all keys."),
    command(Keys, "keys", 2).flags(&[Read]).every_shard(Merge::Concatenate).categories(&[Keyspace, Dangerous])
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .docs(Group::Generic, "1.0.0", "O(N)", "Returns all keys that match a pattern."),
    command(Object, "object", -2)
        .docs(Group::Generic, "2.2.3", "Depends on subcommand.", "Looks at the object that a key holds.")
        .subcommands(&[
            command(Object, "object|encoding", 3).flags(&[Read])
                .keys(&[key(2, &[Ro])]).one_shard().categories(&[Keyspace])
                .tips(&["nondeterministic_output"])
                .docs(Group::Generic, "2.2.3", "O(1)", "Returns how a value is stored."),
            command(Object, "object|freq", 3).flags(&[Read]).keys(&[key(2, &[Ro])]).one_shard().categories(&[Keyspace])
                .tips(&["nondeterministic_output"])
                .docs(Group::Generic, "4.0.0", "O(1)", "Returns how often a key is used."),
            command(Object, "object|help", 2).flags(&[Loading, Stale]).categories(&[Keyspace])
                .docs(Group::Generic, "6.2.0", "O(1)", "Lists the subcommands."),
            command(Object, "object|idletime", 3).flags(&[Read])
                .keys(&[key(2, &[Ro])]).one_shard().categories(&[Keyspace])
                .tips(&["nondeterministic_output"])
                .docs(Group::Generic, "2.2.3", "O(1)", "Returns for how long a key was not used."),
            command(Object, "object|refcount", 3).flags(&[Read])
                .keys(&[key(2, &[Ro])]).one_shard().categories(&[Keyspace])
                .tips(&["nondeterministic_output"])
                .docs(Group::Generic, "2.2.3", "O(1)", "Returns the number of references to a value."),
        ]),
    command(Persist, "persist", 2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "2.2.0", "O(1)", "Removes the time to live of a key."),
    command(PExpire, "pexpire", -3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "2.6.0", "O(1)", "Sets the time to live of a key in milliseconds."),
    command(PExpireAt, "pexpireat", -3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "2.6.0", "O(1)", "Sets when a key expires, as Unix time in milliseconds."),
    command(PExpireTime, "pexpiretime", 2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "7.0.0", "O(1)", "Returns when a key expires, as Unix time in milliseconds."),
    command(PTtl, "pttl", 2).flags(&[Read, Fast]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Keyspace])
        .tips(&["nondeterministic_output"])
        .docs(Group::Generic, "2.6.0", "O(1)", "Returns the time to live of a key in milliseconds."),
    command(RandomKey, "randomkey", 1).flags(&[Read]).every_shard(Merge::AnyOne).categories(&[Keyspace])
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .docs(Group::Generic, "1.0.0", "O(1)", "Returns one of the keys."),
    command(Rename, "rename", 3).flags(&[Write])
        .keys(&[key(1, &[Rw, Access, Delete]), key(2, &[Ow, Update])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "1.0.0", "O(1)", "Renames a key within its shard, over whatever had the new name."),
    command(RenameNx, "renamenx", 3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete]), key(2, &[Ow, Insert])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "1.0.0", "O(1)", "Renames a key within its shard, if the new name is free."),
    command(Scan, "scan", -2).flags(&[Read]).cursor().categories(&[Keyspace])
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .docs(Group::Generic, "2.8.0", "O(1)", "Goes over all keys, some at a time."),
    command(SwapDb, "swapdb", 3).flags(&[Write, Fast]).categories(&[Keyspace, Dangerous])
        .docs(Group::Server, "4.0.0", "O(N)", "Exchanges two databases; there is only number 0."),
    command(Touch, "touch", -2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro]).through(-1, 1)]).split(Merge::Sum).categories(&[Keyspace])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(Group::Generic, "3.2.1", "O(N)", "Counts how many of the keys exist and marks them as used."),
    command(Ttl, "ttl", 2).flags(&[Read, Fast]).keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Keyspace])
        .tips(&["nondeterministic_output"])
        .docs(Group::Generic, "1.0.0", "O(1)", "Returns the time to live of a key in seconds."),
    command(Type, "type", 2).flags(&[Read, Fast]).keys(&[key(1, &[Ro])]).one_shard().categories(&[Keyspace])
        .docs(Group::Generic, "1.0.0", "O(1)", "Returns the type of the value of a key."),
    command(Unlink, "unlink", -2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rm, Delete]).through(-1, 1)]).split(Merge::Sum).categories(&[Keyspace])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(Group::Generic, "4.0.0", "O(1)", "Deletes keys and frees their memory later."),
    command(Dump, "dump", 2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[Keyspace])
        .tips(&["nondeterministic_output"])
        .docs(Group::Generic, "2.6.0", "O(1)",
            "Returns what a key holds in the form of an RDB file."),
    command(Restore, "restore", -4).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Update])]).one_shard().categories(&[Keyspace, Dangerous])
        .docs(Group::Generic, "2.6.0", "O(1)",
            "Makes a key from what DUMP returned."),
    command(Sort, "sort", -2).flags(&[Write, DenyOom, MovableKeys])
        .keys(&[key(1, &[Ro, Access]), key(1, &[Ro, Access]).at(KeyPlace::Unknown)
            .note("For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort"), key(1, &[Ow, Update]).at(KeyPlace::SortStore)
            .note("For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array")]).one_shard().categories(&[SetCategory, SortedSet, List, Dangerous])
        .docs(Group::Generic, "1.0.0", "O(N+M*log(M))",
            "Sorts the elements of a list, a set or a sorted set; may store the result."),
    command(SortRo, "sort_ro", -2).flags(&[Read, MovableKeys])
        .keys(&[key(1, &[Ro, Access]), key(1, &[Ro, Access]).at(KeyPlace::Unknown)
            .note("For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort")]).one_shard().categories(&[SetCategory, SortedSet, List, Dangerous])
        .docs(Group::Generic, "7.0.0", "O(N+M*log(M))",
            "Sorts the elements of a list, a set or a sorted set."),
];
