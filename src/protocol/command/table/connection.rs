//! Commands about the connection that they come on.

use super::*;

#[rustfmt::skip]
pub(super) const CONNECTION: &[CommandSpec] = &[
    command(Auth, "auth", -2).flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy]).categories(&[Connection])
        .docs(Group::Connection, "1.0.0", "O(N)", "Authenticates the connection."),
    command(Client, "client", -2)
        .docs(Group::Connection, "2.4.0", "Depends on subcommand.", "Looks at client connections and sets them up.")
        .subcommands(&[
            command(Client, "client|caching", 3).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "6.0.0", "O(1)", "Tells the server to track the keys of the next request."),
            command(Client, "client|getname", 2).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "2.6.9", "O(1)", "Returns the name of the connection."),
            command(Client, "client|getredir", 2).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "6.0.0", "O(1)",
                    "Returns the client that gets the invalidations of this one."),
            command(Client, "client|help", 2).flags(&[Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "5.0.0", "O(1)", "Lists the subcommands."),
            command(Client, "client|id", 2).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "5.0.0", "O(1)", "Returns the id of the connection."),
            command(Client, "client|info", 2).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .tips(&["nondeterministic_output"])
                .docs(Group::Connection, "6.2.0", "O(1)", "Describes the connection."),
            command(Client, "client|kill", -3).flags(&[Admin, NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "2.4.0", "O(N) where N is the number of client connections",
                    "Closes connections."),
            command(Client, "client|list", -2).flags(&[Admin, NoScript, Loading, Stale]).categories(&[Connection])
                .tips(&["nondeterministic_output"])
                .docs(Group::Connection, "2.4.0", "O(N) where N is the number of client connections",
                    "Describes all connections."),
            command(Client, "client|no-evict", 3).flags(&[Admin, NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "7.0.0", "O(1)", "Keeps the connection from being closed for its memory."),
            command(Client, "client|no-touch", 3).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "7.2.0", "O(1)",
                    "Keeps the commands of the connection from marking keys as used."),
            command(Client, "client|pause", -3).flags(&[Admin, NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "3.0.0", "O(1)", "Holds back the commands of all connections."),
            command(Client, "client|reads", -2).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "7.2.0", "O(1)",
                    "Returns or chooses what the reads of the connection promise: strong, session or any."),
            command(Client, "client|reply", 3).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "3.2.0", "O(1)", "Switches replies off and on."),
            command(Client, "client|setinfo", 4).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs(Group::Connection, "7.2.0", "O(1)", "Says which library the client uses."),
            command(Client, "client|setname", 3).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs(Group::Connection, "2.6.9", "O(1)", "Names the connection."),
            command(Client, "client|tracking", -3).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "6.0.0", "O(1)", "Switches client-side caching on and off."),
            command(Client, "client|trackinginfo", 2).flags(&[NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "6.2.0", "O(1)", "Describes the state of client-side caching."),
            command(Client, "client|unblock", -3).flags(&[Admin, NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "5.0.0", "O(log N)",
                    "Unblocks a connection that waits in a blocking command."),
            command(Client, "client|unpause", 2).flags(&[Admin, NoScript, Loading, Stale]).categories(&[Connection])
                .docs(Group::Connection, "6.2.0", "O(N) Where N is the number of paused clients", "Ends a pause."),
        ]),
    command(Echo, "echo", 2).flags(&[Loading, Stale, Fast]).categories(&[Connection])
        .docs(Group::Connection, "1.0.0", "O(1)", "Returns its argument."),
    command(Hello, "hello", -1).flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy]).categories(&[Connection])
        .docs(Group::Connection, "6.0.0", "O(1)", "Switches the version of the protocol and describes the server."),
    command(Ping, "ping", -1).flags(&[Fast]).categories(&[Connection])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs(Group::Connection, "1.0.0", "O(1)", "Returns PONG or its argument."),
    command(Quit, "quit", -1).flags(&[AllowBusy, NoScript, Loading, Stale, Fast, NoAuth]).categories(&[Connection])
        .docs(Group::Connection, "1.0.0", "O(1)", "Closes the connection.")
        .deprecated("7.2.0", "just closing the connection"),
    command(ReadOnly, "readonly", 1).flags(&[Fast, Loading, Stale]).categories(&[Connection])
        .docs(Group::Cluster, "3.0.0", "O(1)", "Reads of the connection may be stale: CLIENT READS any."),
    command(ReadWrite, "readwrite", 1).flags(&[Fast, Loading, Stale]).categories(&[Connection])
        .docs(Group::Cluster, "3.0.0", "O(1)", "Reads of the connection are linearizable: CLIENT READS strong."),
    command(Reset, "reset", 1).flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy]).categories(&[Connection])
        .docs(Group::Connection, "6.2.0", "O(1)", "Brings the connection back to how it started."),
    command(Select, "select", 2).flags(&[Loading, Stale, Fast]).categories(&[Connection])
        .docs(Group::Connection, "1.0.0", "O(1)", "Selects a database; there is only number 0."),
    command(Wait, "wait", 3).categories(&[Connection])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .docs(Group::Generic, "3.0.0", "O(1)", "Says on how many replicas the writes of the connection are."),
];
