//! The parameters that clients read and set by `CONFIG`: Redis's own, with what they are at the start.
//!
//! `slowlog-*` are followed. What else a Redis lets its clients set is checked as there, kept and told again, so that
//! applications and test suites that set parameters work, though most have nothing to tune here. Not even kept is what
//! would make somebody believe in a protection that is not there (`requirepass`), what a process cannot change while it
//! runs (`port`, `bind`), and what a Redis refuses too. Changes are this process's and end with it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::parameter_kind::Kind::{self, *};

const COUNT: Kind = Number(0, i64::MAX);
const INT: Kind = Number(0, i32::MAX as i64);
const PORT: Kind = Number(0, u16::MAX as i64);

/// The parameters with their values at the start.
#[rustfmt::skip]
const TABLE: &[(&str, &str, Kind)] = &[
    ("acl-pubsub-default", "resetchannels", Words(&["allchannels", "resetchannels"])), ("acllog-max-len", "128", COUNT),
    ("active-defrag-cycle-max", "25", Number(1, 99)), ("active-defrag-cycle-min", "1", Number(1, 99)),
    ("active-defrag-ignore-bytes", "104857600", Bytes(1)), ("active-defrag-max-scan-fields", "1000", Number(1, i64::MAX)),
    ("active-defrag-threshold-lower", "10", Number(0, 1000)), ("active-defrag-threshold-upper", "100", Number(0, 1000)),
    ("active-expire-effort", "1", Number(1, 10)), ("activedefrag", "no", Switch), ("activerehashing", "yes", Switch),
    ("aof-load-truncated", "yes", Switch), ("aof-timestamp-enabled", "no", Switch),
    ("aof-use-rdb-preamble", "yes", Switch), ("appendfilename", "appendonly.aof", Fixed),
    ("appendfsync", "always", Words(&["everysec", "always", "no"])), ("appendonly", "yes", Switch),
    ("auto-aof-rewrite-min-size", "67108864", Bytes(0)), ("auto-aof-rewrite-percentage", "100", INT),
    ("bind", "127.0.0.1", Address), ("bind-source-addr", "", Text), ("busy-reply-threshold", "5000", COUNT),
    ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", OutputLimits),
    ("client-query-buffer-limit", "1073741824", Bytes(1 << 20)), ("cluster-announce-bus-port", "0", PORT),
    ("cluster-announce-port", "0", PORT), ("cluster-announce-tls-port", "0", PORT), ("cluster-enabled", "no", Fixed),
    ("cluster-node-timeout", "15000", COUNT), ("crash-log-enabled", "yes", Switch), ("daemonize", "no", Fixed),
    ("databases", "1", Fixed), ("dbfilename", "dump.rdb", Protected), ("dir", "", Protected),
    ("dynamic-hz", "yes", Switch), ("enable-debug-command", "no", Fixed), ("hash-max-listpack-entries", "512", COUNT),
    ("hash-max-listpack-value", "64", Bytes(0)), ("hll-sparse-max-bytes", "3000", Bytes(0)), ("hz", "10", INT),
    ("io-threads", "1", Fixed), ("jemalloc-bg-thread", "yes", Switch),
    ("key-load-delay", "0", Number(i32::MIN as i64, i32::MAX as i64)), ("latency-monitor-threshold", "0", COUNT),
    ("latency-tracking", "yes", Switch), ("latency-tracking-info-percentiles", "50 99 99.9", Percentiles),
    ("lazyfree-lazy-eviction", "no", Switch), ("lazyfree-lazy-expire", "no", Switch),
    ("lazyfree-lazy-server-del", "no", Switch), ("lazyfree-lazy-user-del", "no", Switch),
    ("lazyfree-lazy-user-flush", "no", Switch), ("lfu-decay-time", "1", INT), ("lfu-log-factor", "10", INT),
    ("list-compress-depth", "0", INT), ("list-max-listpack-size", "-2", Number(i32::MIN as i64, i32::MAX as i64)),
    ("logfile", "", Fixed), ("loglevel", "notice", Words(&["debug", "verbose", "notice", "warning", "nothing"])),
    ("maxclients", "10000", Number(1, u32::MAX as i64)), (MEMORY_LIMIT, "0", Bytes(0)),
    ("maxmemory-clients", "0", BytesOrPercent), ("maxmemory-eviction-tenacity", "10", Number(0, 100)),
    ("maxmemory-policy", "noeviction", Words(&["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
        "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"])),
    ("maxmemory-samples", "5", Number(1, i32::MAX as i64)), ("min-replicas-max-lag", "10", INT),
    ("min-replicas-to-write", "0", INT), ("no-appendfsync-on-rewrite", "no", Switch),
    ("notify-keyspace-events", "", Events), ("port", "6379", Listening),
    ("proto-max-bulk-len", "67108864", Bytes(1 << 20)), ("protected-mode", "no", Switch),
    ("rdb-key-save-delay", "0", Number(i32::MIN as i64, i32::MAX as i64)), ("rdbcompression", "yes", Switch),
    ("repl-backlog-size", "1048576", Bytes(1)), ("repl-backlog-ttl", "3600", COUNT),
    ("repl-diskless-load", "disabled", Words(&["disabled", "on-empty-db", "swapdb"])),
    ("repl-diskless-sync", "yes", Switch), ("repl-diskless-sync-delay", "5", INT),
    ("repl-ping-replica-period", "10", Number(1, i32::MAX as i64)), ("repl-timeout", "60", Number(1, i32::MAX as i64)),
    ("replica-announced", "yes", Switch), ("replica-priority", "100", INT), ("replica-read-only", "yes", Switch),
    ("replica-serve-stale-data", "yes", Switch), ("replicaof", "", Fixed), ("requirepass", "", Fixed), ("save", "", SavePoints),
    ("set-max-intset-entries", "512", COUNT), ("set-max-listpack-entries", "128", COUNT),
    ("set-max-listpack-value", "64", COUNT), ("shutdown-timeout", "10", INT),
    (SLOW_LOG_MICROSECONDS, "10000", Number(-1, i64::MAX)), (SLOW_LOG_ENTRIES, "128", COUNT),
    ("stop-writes-on-bgsave-error", "yes", Switch), ("stream-node-max-bytes", "4096", Bytes(0)),
    ("stream-node-max-entries", "100", COUNT), ("supervised", "no", Fixed), ("tcp-backlog", "511", Fixed),
    ("tcp-keepalive", "300", INT), ("timeout", "0", INT), ("tracking-table-max-keys", "1000000", COUNT),
    ("unixsocket", "", Fixed), ("zset-max-listpack-entries", "128", COUNT), ("zset-max-listpack-value", "64", Bytes(0)),
];

/// Older names, and the parameters that they stand for.
#[rustfmt::skip]
const ALIASES: &[(&str, &str)] = &[
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"), ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("list-max-ziplist-size", "list-max-listpack-size"), ("lua-time-limit", "busy-reply-threshold"),
    ("min-slaves-max-lag", "min-replicas-max-lag"), ("min-slaves-to-write", "min-replicas-to-write"),
    ("repl-ping-slave-period", "repl-ping-replica-period"), ("slave-priority", "replica-priority"),
    ("slave-read-only", "replica-read-only"), ("slave-serve-stale-data", "replica-serve-stale-data"),
    ("slaveof", "replicaof"), ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
];

/// Not found by a pattern, as in Redis.
const HIDDEN: &[&str] = &["key-load-delay", "rdb-key-save-delay"];

const MEMORY_LIMIT: &str = "maxmemory";
const SLOW_LOG_MICROSECONDS: &str = "slowlog-log-slower-than";
const SLOW_LOG_ENTRIES: &str = "slowlog-max-len";
/// More slow requests are never kept, whatever `slowlog-max-len` says.
const SLOW_LOG_ENTRIES_MAX: usize = 10_000;

/// The parameters of a process.
#[derive(Debug)]
pub struct Parameters {
    changed: Mutex<HashMap<&'static str, String>>,
    slow_log_microseconds: AtomicI64,
    slow_log_entries: AtomicUsize,
    memory_limit_bytes: AtomicU64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            changed: Mutex::default(),
            slow_log_microseconds: AtomicI64::new(10_000),
            slow_log_entries: AtomicUsize::new(128),
            memory_limit_bytes: AtomicU64::new(0),
        }
    }
}

impl Parameters {
    /// The parameters, where some have other values than by default: `port`, `bind`, `dir`, `maxclients` and the like.
    ///
    /// # Panics
    /// When there is no parameter of a name.
    pub fn with(values: &[(&str, String)]) -> Self {
        let parameters = Self::default();
        for (name, value) in values {
            let (name, _) = find(name.as_bytes()).unwrap_or_else(|| panic!("`{name}` is not a parameter"));
            parameters.put(name, value.clone());
        }
        parameters
    }

    /// From how many microseconds on a request is slow; `None` when none is.
    pub fn slow_from_microseconds(&self) -> Option<u64> {
        u64::try_from(self.slow_log_microseconds.load(Ordering::Relaxed)).ok()
    }

    /// How many slow requests are kept.
    pub fn slow_log_entries(&self) -> usize {
        self.slow_log_entries.load(Ordering::Relaxed)
    }

    /// The value of `maxmemory`; zero: no limit.
    pub fn memory_limit_bytes(&self) -> u64 {
        self.memory_limit_bytes.load(Ordering::Relaxed)
    }

    /// The value of each parameter that `wanted` chooses by its name, older names included.
    pub(super) fn values(&self, wanted: impl Fn(&str) -> bool) -> Vec<(&'static str, String)> {
        let changed = self.changed.lock().expect("no panic while holding the lock");
        let names = TABLE.iter().map(|(name, value, _)| (*name, *name, *value));
        let aliases = ALIASES.iter().filter_map(|(alias, name)| {
            let (_, value, _) = TABLE.iter().find(|(known, ..)| known == name)?;
            Some((*alias, *name, *value))
        });
        let chosen = names.chain(aliases).filter(|(shown, ..)| wanted(shown));
        chosen.map(|(shown, name, value)| (shown, changed.get(name).cloned().unwrap_or_else(|| value.into()))).collect()
    }

    /// The value of the parameter of this name.
    pub(super) fn value(&self, name: &str) -> String {
        self.values(|known| known == name).pop().map(|(_, value)| value).unwrap_or_default()
    }

    /// Keeps a value that fits, as [`Kind::fit`] wrote it.
    pub(super) fn put(&self, name: &'static str, value: String) {
        let number = value.parse::<i64>().ok();
        match (name, number) {
            (SLOW_LOG_MICROSECONDS, Some(number)) => self.slow_log_microseconds.store(number, Ordering::Relaxed),
            (SLOW_LOG_ENTRIES, Some(number)) => {
                let entries = usize::try_from(number).unwrap_or(0).min(SLOW_LOG_ENTRIES_MAX);
                self.slow_log_entries.store(entries, Ordering::Relaxed);
            }
            (MEMORY_LIMIT, _) => self.memory_limit_bytes.store(value.parse().unwrap_or(0), Ordering::Relaxed),
            _ => {}
        }
        self.changed.lock().expect("no panic while holding the lock").insert(name, value);
    }
}

/// The parameter of this name or alias, in whatever case.
pub(super) fn find(name: &[u8]) -> Option<(&'static str, Kind)> {
    let is_asked = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
    let alias = ALIASES.iter().find(|(alias, _)| is_asked(alias));
    let row = TABLE.iter().find(|(known, ..)| alias.map_or_else(|| is_asked(known), |(_, name)| name == known));
    row.map(|(name, _, kind)| (*name, *kind))
}

/// Whether only a request that names it sees it.
pub(super) fn is_hidden(name: &str) -> bool {
    HIDDEN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_may_be_set_to_what_it_is() {
        for (name, value, kind) in TABLE.iter().filter(|(.., kind)| !matches!(kind, Fixed | Protected)) {
            let fitted = kind.fit(value.as_bytes(), value);
            assert_eq!(fitted.map_err(|unfit| unfit.0), Ok((*value).to_owned()), "{name}");
        }
    }

    #[test]
    fn every_older_name_stands_for_a_parameter() {
        for (alias, name) in ALIASES {
            assert_eq!(find(alias.as_bytes()).map(|(found, _)| found), Some(*name));
        }
    }
}
