//! Commands on lists.

use super::*;

#[rustfmt::skip]
pub(super) const LISTS: &[CommandSpec] = &[
    command(LIndex, "lindex", 3).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(N)",
            "Returns the element at an index of a list."),
    command(LInsert, "linsert", 5).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[List])
        .docs(Group::List, "2.2.0", "O(N)",
            "Puts an element before or after another one of a list."),
    command(LLen, "llen", 2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(1)",
            "Returns the length of a list."),
    command(LMove, "lmove", 5).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])]).one_shard().categories(&[List])
        .docs(Group::List, "6.2.0", "O(1)",
            "Takes an element from one end of a list and puts it at an end of another one."),
    command(LMPop, "lmpop", -4).flags(&[Write, MovableKeys])
        .keys(&[counted_keys(1, &[Rw, Access, Delete])]).one_shard().categories(&[List])
        .docs(Group::List, "7.0.0", "O(N+M)",
            "Takes elements from the first list that is not empty."),
    command(LPop, "lpop", -2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(N)",
            "Takes elements from the head of a list."),
    command(LPos, "lpos", -3).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[List])
        .docs(Group::List, "6.0.6", "O(N)",
            "Returns where elements of a value are in a list."),
    command(LPush, "lpush", -3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(1)",
            "Puts elements at the head of a list."),
    command(LPushX, "lpushx", -3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[List])
        .docs(Group::List, "2.2.0", "O(1)",
            "Puts elements at the head of a list that exists."),
    command(LRange, "lrange", 4).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(S+N)",
            "Returns a range of elements of a list."),
    command(LRem, "lrem", 4).flags(&[Write])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(N+M)",
            "Removes elements of a value from a list."),
    command(LSet, "lset", 4).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Rw, Update])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(N)",
            "Replaces the element at an index of a list."),
    command(LTrim, "ltrim", 4).flags(&[Write])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(N)",
            "Keeps a range of elements of a list and removes the others."),
    command(RPop, "rpop", -2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(N)",
            "Takes elements from the tail of a list."),
    command(RPopLPush, "rpoplpush", 3).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])]).one_shard().categories(&[List])
        .docs(Group::List, "1.2.0", "O(1)",
            "Takes the last element of a list and puts it at the head of another one.")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    command(RPush, "rpush", -3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[List])
        .docs(Group::List, "1.0.0", "O(1)",
            "Puts elements at the tail of a list."),
    command(RPushX, "rpushx", -3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[List])
        .docs(Group::List, "2.2.0", "O(1)",
            "Puts elements at the tail of a list that exists."),
];
