//! The parameters that clients read and set by `CONFIG`, as far as they mean something to somebody.
//!
//! Three sorts. Those that this process follows (`slowlog-*`) change by `CONFIG SET`. Those that tell what it is (`port`,
//! `appendonly`, `maxmemory`) are set by whoever starts it and are refused, so that nobody is promised what is not done.
//! Those that only tune a Redis from inside are kept and told again. Changes are this process's and end with it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Anything; only whoever starts the process sets it.
    Fixed,
    /// Anything.
    Text,
    /// `yes` or `no`.
    Switch,
    /// An integer from a range.
    Number(i64, i64),
    /// A number of bytes.
    Bytes,
    /// One of these words.
    Words(&'static [&'static str]),
}

use Kind::{Bytes, Fixed, Number, Switch, Text, Words};

const COUNT: Kind = Number(0, i64::MAX);
const INT: Kind = Number(0, i32::MAX as i64);

/// The parameters with their values at the start.
#[rustfmt::skip]
const TABLE: &[(&str, &str, Kind)] = &[
    ("acllog-max-len", "128", COUNT), ("active-defrag-threshold-lower", "10", Number(0, 1000)),
    ("active-expire-effort", "1", Number(1, 10)), ("activedefrag", "no", Switch), ("activerehashing", "yes", Switch),
    ("aof-use-rdb-preamble", "yes", Switch), ("appendfilename", "appendonly.aof", Fixed),
    ("appendfsync", "always", Fixed), ("appendonly", "yes", Fixed), ("auto-aof-rewrite-min-size", "67108864", Bytes),
    ("auto-aof-rewrite-percentage", "100", INT), ("bind", "127.0.0.1", Fixed),
    ("busy-reply-threshold", "5000", COUNT),
    ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", Text),
    ("client-query-buffer-limit", "1073741824", Bytes), ("cluster-enabled", "no", Fixed), ("daemonize", "no", Fixed),
    ("databases", "1", Fixed), ("dbfilename", "dump.rdb", Fixed), ("dir", "", Fixed), ("dynamic-hz", "yes", Switch),
    ("enable-debug-command", "no", Fixed), ("hash-max-listpack-entries", "512", COUNT),
    ("hash-max-listpack-value", "64", COUNT), ("hash-max-ziplist-entries", "512", COUNT),
    ("hash-max-ziplist-value", "64", COUNT), ("hll-sparse-max-bytes", "3000", Bytes), ("hz", "10", INT),
    ("io-threads", "1", Fixed), ("latency-monitor-threshold", "0", COUNT), ("latency-tracking", "yes", Switch),
    ("lazyfree-lazy-eviction", "no", Switch), ("lazyfree-lazy-expire", "no", Switch),
    ("lazyfree-lazy-server-del", "no", Switch), ("lazyfree-lazy-user-del", "no", Switch),
    ("lazyfree-lazy-user-flush", "no", Switch), ("lfu-decay-time", "1", INT), ("lfu-log-factor", "10", INT),
    ("list-compress-depth", "0", INT), ("list-max-listpack-size", "-2", Number(i32::MIN as i64, i32::MAX as i64)),
    ("list-max-ziplist-size", "-2", Number(i32::MIN as i64, i32::MAX as i64)), ("logfile", "", Fixed),
    ("loglevel", "notice", Words(&["debug", "verbose", "notice", "warning", "nothing"])),
    ("lua-time-limit", "5000", COUNT), ("maxclients", "10000", Fixed), ("maxmemory", "0", Fixed),
    ("maxmemory-policy", "noeviction", Fixed), ("maxmemory-samples", "5", Number(1, i32::MAX as i64)),
    ("min-replicas-max-lag", "10", INT), ("min-replicas-to-write", "0", Fixed), ("notify-keyspace-events", "", Fixed),
    ("port", "6379", Fixed), ("proto-max-bulk-len", "67108864", Fixed), ("protected-mode", "no", Fixed),
    ("rdbcompression", "yes", Switch), ("repl-backlog-size", "1048576", Bytes), ("repl-timeout", "60", INT),
    ("replica-priority", "100", INT), ("replica-read-only", "yes", Switch),
    ("replica-serve-stale-data", "yes", Switch), ("requirepass", "", Fixed), ("save", "", Fixed),
    ("set-max-intset-entries", "512", COUNT), ("set-max-listpack-entries", "128", COUNT),
    ("set-max-listpack-value", "64", COUNT), (SLOW_LOG_MICROSECONDS, "10000", Number(-1, i64::MAX)),
    (SLOW_LOG_ENTRIES, "128", COUNT), ("stop-writes-on-bgsave-error", "yes", Switch),
    ("stream-node-max-bytes", "4096", Bytes), ("stream-node-max-entries", "100", COUNT),
    ("supervised", "no", Fixed), ("tcp-backlog", "511", Fixed), ("tcp-keepalive", "300", Fixed),
    ("timeout", "0", Fixed), ("tracking-table-max-keys", "1000000", COUNT), ("unixsocket", "", Fixed),
    ("zset-max-listpack-entries", "128", COUNT), ("zset-max-listpack-value", "64", COUNT),
    ("zset-max-ziplist-entries", "128", COUNT), ("zset-max-ziplist-value", "64", COUNT),
];

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
}

/// Why a value is not one for a parameter.
pub(super) struct Unfit(pub(super) String);

impl Default for Parameters {
    fn default() -> Self {
        Self {
            changed: Mutex::default(),
            slow_log_microseconds: AtomicI64::new(10_000),
            slow_log_entries: AtomicUsize::new(128),
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

    /// The value of each parameter that `wanted` chooses by its name.
    pub(super) fn values(&self, wanted: impl Fn(&str) -> bool) -> Vec<(&'static str, String)> {
        let changed = self.changed.lock().expect("no panic while holding the lock");
        let chosen = TABLE.iter().filter(|(name, ..)| wanted(name));
        chosen.map(|(name, value, _)| (*name, changed.get(name).cloned().unwrap_or_else(|| (*value).into()))).collect()
    }

    /// Keeps a value that [`check`] has passed.
    pub(super) fn put(&self, name: &'static str, value: String) {
        let number = value.parse::<i64>().ok();
        match (name, number) {
            (SLOW_LOG_MICROSECONDS, Some(number)) => self.slow_log_microseconds.store(number, Ordering::Relaxed),
            (SLOW_LOG_ENTRIES, Some(number)) => {
                let entries = usize::try_from(number).unwrap_or(0).min(SLOW_LOG_ENTRIES_MAX);
                self.slow_log_entries.store(entries, Ordering::Relaxed);
            }
            _ => {}
        }
        self.changed.lock().expect("no panic while holding the lock").insert(name, value);
    }
}

/// The parameter of this name, in whatever case.
pub(super) fn find(name: &[u8]) -> Option<(&'static str, Kind)> {
    let row = TABLE.iter().find(|(known, ..)| known.as_bytes().eq_ignore_ascii_case(name));
    row.map(|(name, _, kind)| (*name, *kind))
}

/// The value as it is kept and told.
pub(super) fn check(kind: Kind, value: &[u8]) -> Result<String, Unfit> {
    let text = String::from_utf8_lossy(value).into_owned();
    let unfit = |text: &str| Err(Unfit(text.into()));
    match kind {
        Fixed => unfit("can't set immutable config"),
        Text => Ok(text),
        Switch => match text.to_ascii_lowercase().as_str() {
            word @ ("yes" | "no") => Ok(word.into()),
            _ => unfit("argument must be 'yes' or 'no'"),
        },
        Number(low, high) => match crate::protocol::numbers::parse_i64(value) {
            None => unfit("argument couldn't be parsed into an integer"),
            Some(number) if (low..=high).contains(&number) => Ok(number.to_string()),
            Some(_) => Err(Unfit(format!("argument must be between {low} and {high} inclusive"))),
        },
        Bytes => match parse_bytes(&text) {
            Some(bytes) => Ok(bytes.to_string()),
            None => unfit("argument must be a memory value"),
        },
        Words(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
            Some(word) => Ok((*word).into()),
            None => Err(Unfit(format!("argument(s) must be one of the following: {}", words.join(", ")))),
        },
    }
}

/// A number of bytes with a unit: `k` is 1000, `kb` is 1024.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
