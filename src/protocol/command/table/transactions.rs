//! Commands that make several requests one.

use super::*;

#[rustfmt::skip]
pub(super) const TRANSACTIONS: &[CommandSpec] = &[
    command(Discard, "discard", 1).flags(&[NoScript, Loading, Stale, Fast, AllowBusy]).categories(&[Transaction])
        .docs(Group::Transactions, "2.0.0", "O(N), when N is the number of queued commands",
            "Drops the transaction and forgets the watched keys."),
    command(Exec, "exec", 1).flags(&[NoScript, Loading, Stale, SkipSlowLog]).categories(&[Transaction])
        .docs(Group::Transactions, "1.2.0", "Depends on commands in the transaction",
            "Carries out the queued commands, all or none, unless a watched key was changed."),
    command(Multi, "multi", 1).flags(&[NoScript, Loading, Stale, Fast, AllowBusy]).categories(&[Transaction])
        .docs(Group::Transactions, "1.2.0", "O(1)", "Starts a transaction."),
    command(Unwatch, "unwatch", 1).flags(&[NoScript, Loading, Stale, Fast, AllowBusy]).categories(&[Transaction])
        .docs(Group::Transactions, "2.2.0", "O(1)", "Forgets the watched keys."),
    command(Watch, "watch", -2).flags(&[NoScript, Loading, Stale, Fast, AllowBusy]).categories(&[Transaction])
        .keys(&[key(1, &[Ro]).through(-1, 1)]).one_shard()
        .docs(Group::Transactions, "2.2.0", "O(1) for every key.",
            "Lets the next transaction do nothing if a key is changed before it."),
];
