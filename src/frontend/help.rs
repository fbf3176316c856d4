//! The texts of `HELP`: pairs of a subcommand with its arguments and what it does.

use super::Call;

type Help = &'static [(&'static str, &'static str)];

pub(super) const CLIENT: Help = &[
    ("CACHING (YES|NO)", "Follow the keys of the next command, when tracking is on."),
    ("GETNAME", "Return the name of this connection."),
    ("GETREDIR", "Return the client that gets the invalidations of this one."),
    ("ID", "Return the id of this connection."),
    ("INFO", "Describe this connection."),
    ("KILL <ip:port>", "Close the connection from this address."),
    (
        "KILL <option> <value> [<option> <value> [...]]",
        "Close connections. Options: ID, TYPE, ADDR, LADDR, USER, SKIPME (YES|NO).",
    ),
    ("LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)|ID <id> [...]]", "Describe connections."),
    ("NO-EVICT (ON|OFF)", "Keep this connection when clients use too much memory."),
    ("NO-TOUCH (ON|OFF)", "Do not mark keys as used."),
    ("PAUSE <timeout> [WRITE|ALL]", "Hold back all commands, or only writes, for milliseconds."),
    ("READS [STRONG|SESSION|ANY]", "Return or choose what the reads of this connection promise."),
    ("REPLY (ON|OFF|SKIP)", "Choose which replies this connection gets."),
    ("SETINFO (LIB-NAME|LIB-VER) <value>", "Say which library the client uses."),
    ("SETNAME <name>", "Name this connection."),
    ("TRACKING (ON|OFF)", "Switch client-side caching; it can only be off."),
    ("TRACKINGINFO", "Describe the state of client-side caching."),
    ("UNBLOCK <id> [TIMEOUT|ERROR]", "Unblock a client that waits in a blocking command."),
    ("UNPAUSE", "End a pause."),
];

pub(super) const COMMAND: Help = &[
    ("(no subcommand)", "Describe all commands."),
    ("COUNT", "Return the number of commands."),
    ("DOCS [<command> ...]", "Return the documentation of commands; of all, if none is named."),
    ("GETKEYS <full command>", "Return the keys of a request."),
    ("GETKEYSANDFLAGS <full command>", "Return the keys of a request, and what is done to them."),
    ("INFO [<command> ...]", "Describe commands; all, if none is named."),
    ("LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]", "Return the names of commands."),
];

pub(super) const CONFIG: Help = &[
    ("GET <pattern> [<pattern> ...]", "Return the parameters that match, with their values."),
    ("RESETSTAT", "Set the statistics of INFO back to zero."),
    ("REWRITE", "Rewrite the configuration file; there is none."),
    ("SET <parameter> <value> [<parameter> <value> ...]", "Change parameters of this process."),
];

pub(super) const LATENCY: Help = &[
    ("DOCTOR", "Explain latency spikes."),
    ("GRAPH <event>", "Draw the latency spikes of an event."),
    ("HISTOGRAM [<command> ...]", "Return how long commands took."),
    ("HISTORY <event>", "Return the latency spikes of an event."),
    ("LATEST", "Return the latest latency spike of every event."),
    ("RESET [<event> ...]", "Forget latency spikes."),
];

pub(super) const MEMORY: Help = &[
    ("DOCTOR", "Explain memory problems."),
    ("MALLOC-STATS", "Return the statistics of the allocator."),
    ("PURGE", "Give unused memory back."),
    ("STATS", "Return what memory is used for."),
    ("USAGE <key> [SAMPLES <count>]", "Estimate the memory of a key and its value."),
];

pub(super) const OBJECT: Help = &[
    ("ENCODING <key>", "Return how the value of a key is stored."),
    ("FREQ <key>", "Return how often a key is used."),
    ("IDLETIME <key>", "Return for how many seconds a key was not used."),
    ("REFCOUNT <key>", "Return the number of references to the value of a key."),
];

pub(super) const SLOW_LOG: Help = &[
    ("GET [<count>]", "Return the latest slow requests (default 10, -1 for all)."),
    ("LEN", "Return how many slow requests are kept."),
    ("RESET", "Forget the slow requests."),
];

impl Call<'_, '_> {
    /// Answers `HELP` in Redis's form.
    pub(super) fn help(&mut self, help: Help) {
        let command = self.args.name().to_ascii_uppercase();
        let command = String::from_utf8_lossy(&command).into_owned();
        self.reply.array(1 + 2 * help.len() + 2);
        self.reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        for (usage, text) in help {
            self.reply.simple(usage);
            self.reply.simple(&format!("    {text}"));
        }
        self.reply.simple("HELP");
        self.reply.simple("    Print this help.");
    }
}
