//! `INFO`: the facts of the process in Redis's sections and words, and a section of its own.
//!
//! Fields that have no meaning here are left out, except those that tools are known to read.

use std::fmt::{Display, Write};

use super::facts::Facts;
use super::{Call, REDIS_VERSION};

/// A section: its name, its heading, whether it is shown unasked, what writes it.
struct Section {
    name: &'static str,
    heading: &'static str,
    shown: Shown,
    write: fn(&mut Lines, &Facts),
}

/// When a section is shown without being named.
#[derive(PartialEq, Eq)]
enum Shown {
    Always,
    WithAll,
}

#[rustfmt::skip]
const SECTIONS: &[Section] = &[
    Section { name: "server", heading: "Server", shown: Shown::Always, write: server },
    Section { name: "clients", heading: "Clients", shown: Shown::Always, write: clients },
    Section { name: "memory", heading: "Memory", shown: Shown::Always, write: memory },
    Section { name: "persistence", heading: "Persistence", shown: Shown::Always, write: persistence },
    Section { name: "stats", heading: "Stats", shown: Shown::Always, write: stats },
    Section { name: "replication", heading: "Replication", shown: Shown::Always, write: replication },
    Section { name: "cpu", heading: "CPU", shown: Shown::Always, write: cpu },
    Section { name: "modules", heading: "Modules", shown: Shown::Always, write: |_, _| {} },
    Section { name: "commandstats", heading: "Commandstats", shown: Shown::WithAll, write: command_stats },
    Section { name: "errorstats", heading: "Errorstats", shown: Shown::Always, write: error_stats },
    Section { name: "latencystats", heading: "Latencystats", shown: Shown::WithAll, write: |_, _| {} },
    Section { name: "cluster", heading: "Cluster", shown: Shown::Always, write: |lines, _| lines.put("cluster_enabled", 0) },
    Section { name: "keyspace", heading: "Keyspace", shown: Shown::Always, write: keyspace },
    Section { name: "pontoon", heading: "Pontoon", shown: Shown::Always, write: pontoon },
];

/// The text so far.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("a String takes all text");
    }

    /// A number of bytes, and again for people.
    fn put_bytes(&mut self, name: &str, bytes: u64) {
        self.put(name, bytes);
        self.put(&format!("{name}_human"), human(bytes));
    }
}

impl Call<'_, '_> {
    pub(super) fn info(&mut self) {
        let args = self.args;
        let asked = |word: &str| args.from(1).any(|section| section.eq_ignore_ascii_case(word.as_bytes()));
        let all = asked("all") || asked("everything");
        let unasked = args.len() == 1 || asked("default");
        let mut facts = self.around.holder.facts();
        facts.last_save = self.last_save_of(&facts);
        facts.pontoon.push(("reads_of_this_connection".into(), self.session.reads().name().into()));
        let mut lines = Lines::default();
        for section in SECTIONS {
            let shown = all || unasked && section.shown == Shown::Always || asked(section.name);
            if shown {
                let separator = if lines.0.is_empty() { "" } else { "\r\n" };
                write!(lines.0, "{separator}# {}\r\n", section.heading).expect("a String takes all text");
                (section.write)(&mut lines, &facts);
                if section.name == "server" {
                    lines.put("server_time_usec", self.around.wall.get() * 1000);
                }
            }
        }
        self.reply.verbatim("txt", lines.0.as_bytes());
    }
}

fn server(lines: &mut Lines, facts: &Facts) {
    let uptime = facts.uptime.as_secs();
    lines.put("redis_version", REDIS_VERSION);
    lines.put("redis_git_sha1", "00000000");
    lines.put("redis_git_dirty", 0);
    lines.put("redis_mode", "standalone");
    lines.put("os", std::env::consts::OS);
    lines.put("arch_bits", usize::BITS);
    lines.put("process_id", facts.process_id);
    lines.put("run_id", &facts.run_id);
    lines.put("tcp_port", facts.port);
    lines.put("uptime_in_seconds", uptime);
    lines.put("uptime_in_days", uptime / 86400);
    lines.put("hz", 10);
    lines.put("configured_hz", 10);
    lines.put("executable", &facts.executable);
    lines.put("config_file", &facts.config_file);
}

fn clients(lines: &mut Lines, facts: &Facts) {
    lines.put("connected_clients", facts.clients);
    lines.put("cluster_connections", 0);
    lines.put("maxclients", facts.clients_max);
    lines.put("blocked_clients", facts.clients_held + facts.clients_blocked);
    lines.put("tracking_clients", 0);
}

fn memory(lines: &mut Lines, facts: &Facts) {
    lines.put_bytes("used_memory", facts.accounted_bytes.unwrap_or(facts.resident_bytes));
    lines.put_bytes("used_memory_rss", facts.resident_bytes);
    lines.put_bytes("used_memory_peak", facts.resident_bytes_peak);
    lines.put("used_memory_dataset", facts.data_bytes);
    lines.put_bytes("total_system_memory", facts.system_bytes);
    lines.put_bytes("maxmemory", facts.memory_limit_bytes);
    lines.put("maxmemory_policy", "noeviction");
    lines.put("mem_fragmentation_ratio", "1.00");
    lines.put("mem_allocator", "libc");
    lines.put("lazyfree_pending_objects", 0);
}

/// Every answered write is in the logs of a majority already: nothing is ever pending.
fn persistence(lines: &mut Lines, facts: &Facts) {
    lines.put("loading", 0);
    lines.put("async_loading", 0);
    lines.put("rdb_changes_since_last_save", 0);
    lines.put("rdb_bgsave_in_progress", 0);
    lines.put("rdb_last_save_time", facts.last_save);
    lines.put("rdb_last_bgsave_status", "ok");
    lines.put("aof_enabled", 1);
    lines.put("aof_rewrite_in_progress", 0);
    lines.put("aof_rewrite_scheduled", 0);
    lines.put("aof_last_bgrewrite_status", "ok");
    lines.put("aof_last_write_status", "ok");
}

fn stats(lines: &mut Lines, facts: &Facts) {
    lines.put("total_connections_received", facts.connections_received);
    lines.put("total_commands_processed", facts.commands_processed);
    lines.put("instantaneous_ops_per_sec", facts.commands_per_second);
    lines.put("total_net_input_bytes", facts.input_bytes);
    lines.put("total_net_output_bytes", facts.output_bytes);
    lines.put("rejected_connections", facts.connections_rejected);
    lines.put("expired_keys", facts.expired_keys);
    lines.put("evicted_keys", 0);
    lines.put("keyspace_hits", facts.keyspace_hits);
    lines.put("keyspace_misses", facts.keyspace_misses);
    lines.put("pubsub_channels", 0);
    lines.put("pubsub_patterns", 0);
    lines.put("migrate_cached_sockets", 0);
    lines.put("total_error_replies", facts.errors.iter().map(|(_, count)| count).sum::<u64>());
}

fn replication(lines: &mut Lines, facts: &Facts) {
    lines.put("role", "master");
    lines.put("connected_slaves", 0);
    lines.put("master_failover_state", "no-failover");
    lines.put("master_replid", &facts.run_id);
    lines.put("master_replid2", "0".repeat(40));
    lines.put("master_repl_offset", 0);
    lines.put("second_repl_offset", -1);
    lines.put("repl_backlog_active", 0);
}

fn cpu(lines: &mut Lines, facts: &Facts) {
    lines.put("used_cpu_sys", format_args!("{:.6}", facts.system_seconds));
    lines.put("used_cpu_user", format_args!("{:.6}", facts.user_seconds));
    lines.put("used_cpu_sys_children", "0.000000");
    lines.put("used_cpu_user_children", "0.000000");
}

fn command_stats(lines: &mut Lines, facts: &Facts) {
    for command in &facts.commands {
        let per_call = if command.calls == 0 { 0.0 } else { command.microseconds as f64 / command.calls as f64 };
        lines.put(
            &format!("cmdstat_{}", command.name),
            format_args!(
                "calls={},usec={},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
                command.calls, command.microseconds, command.rejected, command.failed
            ),
        );
    }
}

fn error_stats(lines: &mut Lines, facts: &Facts) {
    for (code, count) in &facts.errors {
        lines.put(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn keyspace(lines: &mut Lines, facts: &Facts) {
    if facts.keys > 0 {
        lines.put("db0", format_args!("keys={},expires={},avg_ttl=0", facts.keys, facts.keys_expiring));
    }
}

fn pontoon(lines: &mut Lines, facts: &Facts) {
    lines.put("pontoon_version", &facts.version);
    lines.put("pontoon_process", &facts.process);
    facts.pontoon.iter().for_each(|(name, value)| lines.put(name, value));
}

/// A number of bytes as Redis prints it for people.
fn human(bytes: u64) -> String {
    const UNITS: [(u64, char); 4] = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_people() {
        let shown = [0, 1023, 1024, 1_269_544, 25_276_502_016].map(human);
        assert_eq!(shown, ["0B", "1023B", "1.00K", "1.21M", "23.54G"]);
    }
}
