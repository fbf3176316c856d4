//! Commands about the server; `MEMORY USAGE` alone goes to a shard.

use super::*;

#[rustfmt::skip]
pub(super) const SERVER: &[CommandSpec] = &[
    command(Cluster, "cluster", -2)
        .docs(Group::Cluster, "3.0.0", "Depends on subcommand.", "Redis Cluster, which this is not."),
    command(Command, "command", -1).flags(&[Loading, Stale]).categories(&[Connection])
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Server, "2.8.13", "O(N)", "Describes all commands.")
        .subcommands(&[
            command(Command, "command|count", 2).flags(&[Loading, Stale]).categories(&[Connection])
                .docs(Group::Server, "2.8.13", "O(1)", "Returns the number of commands."),
            command(Command, "command|docs", -2).flags(&[Loading, Stale]).categories(&[Connection])
                .tips(&["nondeterministic_output_order"])
                .docs(Group::Server, "7.0.0", "O(N)", "Returns the documentation of commands."),
            command(Command, "command|getkeys", -3).flags(&[Loading, Stale]).categories(&[Connection])
                .docs(Group::Server, "2.8.13", "O(N)", "Returns the keys of a request."),
            command(Command, "command|getkeysandflags", -3).flags(&[Loading, Stale]).categories(&[Connection])
                .docs(Group::Server, "7.0.0", "O(N)", "Returns the keys of a request and what is done to them."),
            command(Command, "command|help", 2).flags(&[Loading, Stale]).categories(&[Connection])
                .docs(Group::Server, "5.0.0", "O(1)", "Lists the subcommands."),
            command(Command, "command|info", -2).flags(&[Loading, Stale]).categories(&[Connection])
                .tips(&["nondeterministic_output_order"])
                .docs(Group::Server, "2.8.13", "O(N)", "Describes commands."),
            command(Command, "command|list", -2).flags(&[Loading, Stale]).categories(&[Connection])
                .tips(&["nondeterministic_output_order"])
                .docs(Group::Server, "7.0.0", "O(N)", "Returns the names of commands."),
        ]),
    command(Config, "config", -2)
        .docs(Group::Server, "2.0.0", "Depends on subcommand.", "Reads and changes parameters.")
        .subcommands(&[
            command(Config, "config|get", -3).flags(&[Admin, NoScript, Loading, Stale])
                .docs(Group::Server, "2.0.0", "O(N)", "Returns the values of parameters."),
            command(Config, "config|help", 2).flags(&[Loading, Stale])
                .docs(Group::Server, "5.0.0", "O(1)", "Lists the subcommands."),
            command(Config, "config|resetstat", 2).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs(Group::Server, "2.0.0", "O(1)", "Sets the statistics back to zero."),
            command(Config, "config|rewrite", 2).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs(Group::Server, "2.8.0", "O(1)",
                    "Writes the parameters to the configuration file; there is none."),
            command(Config, "config|set", -4).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs(Group::Server, "2.0.0", "O(N)", "Changes parameters of this process."),
        ]),
    command(Debug, "debug", -2).flags(&[Admin, NoScript, Loading, Stale])
        .docs(Group::Server, "1.0.0", "Depends on subcommand.", "Commands for debugging, which are switched off."),
    command(Function, "function", -2)
        .docs(Group::Scripting, "7.0.0", "Depends on subcommand.", "Functions of scripts, of which there are none.")
        .subcommands(&[
            command(Function, "function|flush", -2).flags(&[Write, NoScript]).categories(&[Category::Scripting])
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .docs(Group::Scripting, "7.0.0", "O(N)", "Deletes all functions, of which there are none."),
        ]),
    command(Info, "info", -1).flags(&[Loading, Stale]).categories(&[Dangerous])
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .docs(Group::Server, "1.0.0", "O(1)", "Describes the server."),
    command(LastSave, "lastsave", 1).flags(&[Loading, Stale, Fast]).categories(&[Category::Admin, Dangerous])
        .tips(&["nondeterministic_output"])
        .docs(Group::Server, "1.0.0", "O(1)", "Returns the time of the last save."),
    command(Latency, "latency", -2)
        .docs(Group::Server, "2.8.13", "Depends on subcommand.", "Looks at latency spikes.")
        .subcommands(&[
            command(Latency, "latency|doctor", 2).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
                .docs(Group::Server, "2.8.13", "O(1)", "Explains latency spikes."),
            command(Latency, "latency|graph", 3).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
                .docs(Group::Server, "2.8.13", "O(1)", "Draws the latency spikes of an event."),
            command(Latency, "latency|help", 2).flags(&[Loading, Stale])
                .docs(Group::Server, "2.8.13", "O(1)", "Lists the subcommands."),
            command(Latency, "latency|histogram", -2).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
                .docs(Group::Server, "7.0.0", "O(N)", "Returns how long commands took."),
            command(Latency, "latency|history", 3).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
                .docs(Group::Server, "2.8.13", "O(1)", "Returns the latency spikes of an event."),
            command(Latency, "latency|latest", 2).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
                .docs(Group::Server, "2.8.13", "O(1)", "Returns the latest latency spike of every event."),
            command(Latency, "latency|reset", -2).flags(&[Admin, NoScript, Loading, Stale])
                .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
                .docs(Group::Server, "2.8.13", "O(1)", "Forgets latency spikes."),
        ]),
    command(Lolwut, "lolwut", -1).flags(&[Read, Fast]).docs(Group::Server, "5.0.0", "", "Shows art and the version."),
    command(Memory, "memory", -2)
        .docs(Group::Server, "4.0.0", "Depends on subcommand.", "Looks at memory.")
        .subcommands(&[
            command(Memory, "memory|doctor", 2)
                .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
                .docs(Group::Server, "4.0.0", "O(1)", "Explains memory problems."),
            command(Memory, "memory|help", 2).flags(&[Loading, Stale])
                .docs(Group::Server, "4.0.0", "O(1)", "Lists the subcommands."),
            command(Memory, "memory|malloc-stats", 2)
                .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
                .docs(Group::Server, "4.0.0", "O(N)", "Returns the statistics of the allocator."),
            command(Memory, "memory|purge", 2)
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .docs(Group::Server, "4.0.0", "O(N)", "Gives unused memory back."),
            command(Memory, "memory|stats", 2)
                .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
                .docs(Group::Server, "4.0.0", "O(1)", "Returns what memory is used for."),
            command(Memory, "memory|usage", -3).flags(&[Read]).keys(&[key(2, &[Ro])]).one_shard()
                .docs(Group::Server, "4.0.0", "O(N) where N is the number of samples.",
                    "Estimates the memory of a key."),
        ]),
    command(Role, "role", 1).flags(&[NoScript, Loading, Stale, Fast]).categories(&[Category::Admin, Dangerous])
        .docs(Group::Server, "2.8.12", "O(1)", "Returns the role in replication."),
    command(Save, "save", 1).flags(&[Admin, NoScript, NoAsyncLoading, NoMulti])
        .docs(Group::Server, "1.0.0", "O(1)", "Says that all acknowledged writes are on disk, as they always are."),
    command(Shutdown, "shutdown", -1).flags(&[Admin, NoScript, Loading, Stale, NoMulti, AllowBusy])
        .docs(Group::Server, "1.0.0", "O(1)", "Is refused: an operator stops a process by its signal."),
    command(SlowLog, "slowlog", -2)
        .docs(Group::Server, "2.2.12", "Depends on subcommand.", "Looks at the log of slow commands.")
        .subcommands(&[
            command(SlowLog, "slowlog|get", -2).flags(&[Admin, Loading, Stale])
                .tips(&["request_policy:all_nodes", "nondeterministic_output"])
                .docs(Group::Server, "2.2.12", "O(N) where N is the number of entries returned",
                    "Returns slow commands."),
            command(SlowLog, "slowlog|help", 2).flags(&[Loading, Stale])
                .docs(Group::Server, "6.2.0", "O(1)", "Lists the subcommands."),
            command(SlowLog, "slowlog|len", 2).flags(&[Admin, Loading, Stale])
                .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
                .docs(Group::Server, "2.2.12", "O(1)", "Returns the number of slow commands that are kept."),
            command(SlowLog, "slowlog|reset", 2).flags(&[Admin, Loading, Stale])
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs(Group::Server, "2.2.12", "O(N)", "Forgets the slow commands."),
        ]),
    command(Time, "time", 1).flags(&[Loading, Stale, Fast])
        .tips(&["nondeterministic_output"])
        .docs(Group::Server, "2.6.0", "O(1)", "Returns the time of the server."),
];
