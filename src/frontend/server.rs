//! Commands about the server that are answered from little: time, role, memory, latency.

use super::{Call, REDIS_VERSION, help};
use crate::protocol::errors;

impl Call<'_, '_> {
    pub(super) fn time(&mut self) {
        let wall_ms = self.around.wall.get();
        self.reply.array(2);
        self.reply.bulk((wall_ms / 1000).to_string().as_bytes());
        self.reply.bulk((wall_ms % 1000 * 1000).to_string().as_bytes());
    }

    /// Whoever answers stands for the whole cluster, which takes writes: a master. Its replicas are not for clients.
    pub(super) fn role(&mut self) {
        self.reply.array(3);
        self.reply.bulk(b"master");
        self.reply.integer(0);
        self.reply.array(0);
    }

    pub(super) fn last_save(&mut self) {
        let last_save = self.last_save_of(&self.around.holder.facts());
        self.reply.integer(last_save as i64);
    }

    /// A process that knows of no snapshot tells when it started, as Redis does: clients take 0 for no answer.
    pub(super) fn last_save_of(&self, facts: &super::Facts) -> u64 {
        let started = (self.around.wall.get() / 1000).saturating_sub(facts.uptime.as_secs());
        facts.last_save.max(started)
    }

    pub(super) fn debug(&mut self) {
        self.reply.error(errors::DEBUG_NOT_ALLOWED);
    }

    pub(super) fn cluster(&mut self) {
        self.reply.error(errors::CLUSTER_DISABLED);
    }

    /// There are no functions, so that none are left: test suites start like this.
    pub(super) fn function_flush(&mut self) {
        let args = self.args;
        match args.len() {
            2 => self.reply.ok(),
            3 if args.is(2, "sync") || args.is(2, "async") => self.reply.ok(),
            3 => self.reply.error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
            _ => self.subcommand_syntax(),
        }
    }

    pub(super) fn lolwut(&mut self) {
        let art = format!(
            "      __________________________\n     /_________________________/|\n~~~~(o)~~~~(o)~~~~(o)~~~~(o)~~~~~~\n\
             ~ ~~ ~~ ~ ~~ ~ ~~~ ~ ~~ ~ ~~ ~ ~ ~\nRedis ver. {REDIS_VERSION}\n"
        );
        self.reply.verbatim("txt", art.as_bytes());
    }

    pub(super) fn memory(&mut self) {
        match self.spec.own_name() {
            "doctor" => self.reply.verbatim("txt", b"No memory problem is known: see MEMORY STATS and INFO memory.\n"),
            "help" => self.help(help::MEMORY),
            "malloc-stats" => self.reply.bulk(b"Stats not supported for the current allocator"),
            "purge" => self.reply.ok(),
            "stats" => self.memory_stats(),
            _ => self.subcommand_syntax(),
        }
    }

    fn memory_stats(&mut self) {
        let facts = self.around.holder.facts();
        let rows = [
            ("peak.allocated", facts.resident_bytes_peak),
            ("total.allocated", facts.resident_bytes),
            ("startup.allocated", 0),
            ("replication.backlog", 0),
            ("clients.slaves", 0),
            ("clients.normal", 0),
            ("cluster.links", 0),
            ("aof.buffer", 0),
            ("lua.caches", 0),
            ("functions.caches", 0),
            ("overhead.total", facts.resident_bytes.saturating_sub(facts.data_bytes)),
            ("keys.count", facts.keys),
            ("keys.bytes-per-key", facts.data_bytes.checked_div(facts.keys).unwrap_or(0)),
            ("dataset.bytes", facts.data_bytes),
            ("allocator.allocated", facts.resident_bytes),
            ("allocator.active", facts.resident_bytes),
            ("allocator.resident", facts.resident_bytes),
        ];
        self.reply.map(rows.len());
        for (name, number) in rows {
            self.reply.bulk(name.as_bytes());
            self.reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// No events are kept here: latency is in the metrics.
    pub(super) fn latency(&mut self) {
        match self.spec.own_name() {
            "doctor" => self.reply.verbatim(
                "txt",
                b"No latency events are kept by this server: its metrics have a histogram of every class of command.\n",
            ),
            "graph" => self.error_quoting("ERR No samples available for event '", self.args.get(2), "'"),
            "help" => self.help(help::LATENCY),
            "histogram" => self.reply.map(0),
            "history" | "latest" => self.reply.array(0),
            "reset" => self.reply.integer(0),
            _ => self.subcommand_syntax(),
        }
    }
}
