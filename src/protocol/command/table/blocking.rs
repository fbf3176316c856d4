//! Commands whose clients may have to wait.

use super::Category::Blocking as Blocks;
use super::*;

#[rustfmt::skip]
pub(super) const BLOCKING: &[CommandSpec] = &[
    command(BLMove, "blmove", 6).flags(&[Write, DenyOom, Blocking])
        .keys(&[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])]).one_shard().categories(&[List, Blocks])
        .docs(Group::List, "6.2.0", "O(1)",
            "Moves an element from one list to another and returns it, waiting for one if need be."),
    command(BLMPop, "blmpop", -5).flags(&[Write, Blocking, MovableKeys])
        .keys(&[counted_keys(2, &[Rw, Access, Delete])]).one_shard().categories(&[List, Blocks])
        .docs(Group::List, "7.0.0", "O(N+M)",
            "Takes elements from the first list that is not empty, waiting for one if need be."),
    command(BLPop, "blpop", -3).flags(&[Write, Blocking])
        .keys(&[key(1, &[Rw, Access, Delete]).through(-2, 1)]).one_shard().categories(&[List, Blocks])
        .docs(Group::List, "2.0.0", "O(N) where N is the number of provided keys.",
            "Takes the first element off a list, waiting for one if need be."),
    command(BRPop, "brpop", -3).flags(&[Write, Blocking])
        .keys(&[key(1, &[Rw, Access, Delete]).through(-2, 1)]).one_shard().categories(&[List, Blocks])
        .docs(Group::List, "2.0.0", "O(N) where N is the number of provided keys.",
            "Takes the last element off a list, waiting for one if need be."),
    command(BRPopLPush, "brpoplpush", 4).flags(&[Write, DenyOom, Blocking])
        .keys(&[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])]).one_shard().categories(&[List, Blocks])
        .docs(Group::List, "2.2.0", "O(1)",
            "Moves the last element of a list to the head of another and returns it, waiting for one if need be.")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    command(BZMPop, "bzmpop", -5).flags(&[Write, Blocking, MovableKeys])
        .keys(&[counted_keys(2, &[Rw, Access, Delete])]).one_shard().categories(&[SortedSet, Blocks])
        .docs(Group::SortedSet, "7.0.0", "O(K) + O(M*log(N))",
            "Takes members from the first sorted set that is not empty, waiting for one if need be."),
    command(BZPopMax, "bzpopmax", -3).flags(&[Write, Fast, Blocking])
        .keys(&[key(1, &[Rw, Access, Delete]).through(-2, 1)]).one_shard().categories(&[SortedSet, Blocks])
        .docs(Group::SortedSet, "5.0.0", "O(log(N)) with N being the number of elements in the sorted set.",
            "Takes the member with the highest score off a sorted set, waiting for one if need be."),
    command(BZPopMin, "bzpopmin", -3).flags(&[Write, Fast, Blocking])
        .keys(&[key(1, &[Rw, Access, Delete]).through(-2, 1)]).one_shard().categories(&[SortedSet, Blocks])
        .docs(Group::SortedSet, "5.0.0", "O(log(N)) with N being the number of elements in the sorted set.",
            "Takes the member with the lowest score off a sorted set, waiting for one if need be."),
];
