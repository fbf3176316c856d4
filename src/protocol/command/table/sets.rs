//! Commands on sets.

use super::*;

#[rustfmt::skip]
pub(super) const SETS: &[CommandSpec] = &[
    command(SAdd, "sadd", -3).flags(&[Write, DenyOom, Fast])
        .keys(&[key(1, &[Rw, Insert])]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(1)",
            "Adds members to a set."),
    command(SCard, "scard", 2).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro])]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(1)",
            "Returns how many members a set has."),
    command(SDiff, "sdiff", -2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access]).through(-1, 1)]).one_shard().categories(&[SetCategory])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Set, "1.0.0", "O(N)",
            "Returns the members of a set that others do not have."),
    command(SDiffStore, "sdiffstore", -3).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Update]), key(2, &[Ro, Access]).through(-1, 1)]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(N)",
            "Stores the members of a set that others do not have."),
    command(SInter, "sinter", -2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access]).through(-1, 1)]).one_shard().categories(&[SetCategory])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Set, "1.0.0", "O(N*M)",
            "Returns the members that all sets have."),
    command(SInterCard, "sintercard", -3).flags(&[Read, MovableKeys])
        .keys(&[counted_keys(1, &[Ro, Access])]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "7.0.0", "O(N*M)",
            "Returns how many members all sets have in common."),
    command(SInterStore, "sinterstore", -3).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Rw, Update]), key(2, &[Ro, Access]).through(-1, 1)]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(N*M)",
            "Stores the members that all sets have."),
    command(SIsMember, "sismember", 3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro])]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(1)",
            "Tells whether a member is in a set."),
    command(SMembers, "smembers", 2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SetCategory])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Set, "1.0.0", "O(N)",
            "Returns all members of a set."),
    command(SMIsMember, "smismember", -3).flags(&[Read, Fast])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "6.2.0", "O(N)",
            "Tells of several members whether they are in a set."),
    command(SMove, "smove", 4).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(1)",
            "Moves a member from one set to another."),
    command(SPop, "spop", -2).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Access, Delete])]).one_shard().categories(&[SetCategory])
        .tips(&["nondeterministic_output"])
        .docs(Group::Set, "1.0.0", "O(1)",
            "Takes random members from a set."),
    command(SRandMember, "srandmember", -2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SetCategory])
        .tips(&["nondeterministic_output"])
        .docs(Group::Set, "1.0.0", "O(1)",
            "Returns random members of a set."),
    command(SRem, "srem", -3).flags(&[Write, Fast])
        .keys(&[key(1, &[Rw, Delete])]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(N)",
            "Removes members from a set."),
    command(SScan, "sscan", -3).flags(&[Read])
        .keys(&[key(1, &[Ro, Access])]).one_shard().categories(&[SetCategory])
        .tips(&["nondeterministic_output"])
        .docs(Group::Set, "2.8.0", "O(1)",
            "Walks over the members of a set."),
    command(SUnion, "sunion", -2).flags(&[Read])
        .keys(&[key(1, &[Ro, Access]).through(-1, 1)]).one_shard().categories(&[SetCategory])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Set, "1.0.0", "O(N)",
            "Returns the members that any of the sets has."),
    command(SUnionStore, "sunionstore", -3).flags(&[Write, DenyOom])
        .keys(&[key(1, &[Ow, Update]), key(2, &[Ro, Access]).through(-1, 1)]).one_shard().categories(&[SetCategory])
        .docs(Group::Set, "1.0.0", "O(N)",
            "Stores the members that any of the sets has."),
];
