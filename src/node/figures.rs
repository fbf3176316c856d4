//! What a node tells machines about itself: Prometheus text, made when somebody asks from what the node's thread last
//! published.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, counter::Counter};
use prometheus_client::registry::Registry;

use super::balance::BalanceFigures;
use super::engine::{Engine, HandOvers};
use super::log_thread::{SYNC_BUCKETS, SyncTimes};
use crate::control::admin::Exposed;
use crate::keyspace::{Holdings, Keyspace};
use crate::protocol::frame::Role;
use crate::protocol::verification::Verdict;
use crate::topology::LogTime;

type Labels = Vec<(&'static str, String)>;

/// A node's figures: one writer, any readers.
#[derive(Debug, Default)]
pub struct Figures {
    /// The log's thread counts here.
    pub sync_times: SyncTimes,
    /// What comes of spreading leaders, where this node does it.
    pub balance: BalanceFigures,
    published: ArcSwap<Published>,
}

#[derive(Debug, Default)]
struct Published {
    revision: u64,
    connections: usize,
    memory_bytes: u64,
    memory_limit_bytes: u64,
    clock_off_ms: u64,
    clock_is_far: bool,
    config_refused: bool,
    moves_rate: u64,
    replicas: Vec<PublishedReplica>,
}

#[derive(Debug)]
struct PublishedReplica {
    shard: String,
    leads: bool,
    readable: bool,
    has_leader: bool,
    orphan: bool,
    handed_over: HandOvers,
    gauges: Vec<(&'static str, &'static str, u64)>,
    counters: Vec<(&'static str, &'static str, u64)>,
    held: Holdings,
}

impl Figures {
    /// Publishes the present state of the node; whether its file is another one than what is accepted.
    pub fn publish(&self, engine: &Engine, connections: usize, config_refused: bool, now: crate::net::Moment) {
        let catalog = engine.catalog();
        let replicas = engine.replicas().map(|replica| {
            let status = replica.status(now, LogTime(0));
            let shard = catalog.and_then(|c| c.shard(replica.shard));
            let (usage, (writes, reads)) = (replica.machine.usage(), replica.waiting());
            let waiters = replica.machine.keyspace().map_or(0, Keyspace::waiter_count);
            let remembered = replica.machine.keyspace().map(Keyspace::remembered_usage).unwrap_or_default();
            PublishedReplica {
                shard: shard.map_or_else(|| replica.shard.to_string(), |s| s.name.to_string()),
                leads: status.role == Role::Leader,
                readable: status.readable,
                held: usage.by_type,
                has_leader: status.leader.is_some(),
                orphan: status.orphan,
                handed_over: replica.handed_over.clone(),
                gauges: vec![
                    ("term", "Raft term", status.term.0),
                    ("committed_index", "Highest log index known to be committed", status.committed.0),
                    ("applied_index", "Highest log index in the state", status.applied.0),
                    (
                        "apply_lag",
                        "Committed entries that are not applied",
                        status.committed.0.saturating_sub(status.applied.0),
                    ),
                    ("votes", "Whether the replica is a voter; one that is made anew is not yet", u64::from(replica.group.votes())),
                    ("keys", "Keys", usage.keys),
                    ("data_bytes", "Bytes of keys and values", usage.bytes),
                    ("log_window_bytes", "Bytes of log entries in memory", replica.group.window_bytes() as u64),
                    ("writes_waiting", "Writes that wait for their entries", writes as u64),
                    ("reads_waiting", "Reads that wait for an index", reads as u64),
                    (
                        "last_verification",
                        "How the last comparison of the replicas ended: 0 none yet, 1 identical, 2 different, 3 incomplete",
                        replica.verifications.1.map_or(0, verdict_number),
                    ),
                    ("clients_blocked", "Clients that wait for a key", waiters),
                    ("clients_held", "Requests of blocked clients that this leader holds", replica.blocked() as u64),
                    ("moves_copying", "Batches of slots that are copied from here to other shards", replica.move_phases()[0]),
                    ("moves_frozen", "Batches of slots whose requests wait to hear who serves them", replica.move_phases()[1]),
                    ("moves_coming", "Batches of slots that come from other shards", replica.move_phases()[2]),
                    ("requests_held", "Requests that wait to hear who serves their slots", replica.move_phases()[3]),
                    ("move_slots_left", "Slots that are to move from here", replica.slots_left(catalog.map(|c| &**c))),
                    ("sessions_remembered", "Proxy workers and blocked clients whose writes are remembered", remembered.sessions),
                    ("replies_remembered", "Replies to writes that may come again", remembered.replies),
                    ("replies_remembered_bytes", "Bytes of those sessions and replies", remembered.bytes),
                ],
                counters: vec![
                    ("reads", "Reads answered", replica.counts.reads),
                    ("writes", "Writes answered", replica.counts.writes),
                    ("writes_repeated", "Of these, writes that had been executed before", replica.counts.repeated),
                    ("refusals", "Requests refused", replica.counts.refusals),
                    ("lease_reads", "Reads at level strong that were answered by a lease", replica.counts.lease_reads),
                    (
                        "orphan_reads",
                        "Reads at level any that were answered from a state of unknown age, without a leader",
                        replica.counts.orphan_reads,
                    ),
                    (
                        "writes_out_of_memory",
                        "Writes answered with an error because the node's memory was full",
                        replica.counts.out_of_memory,
                    ),
                    ("moved_slots", "Slots that have gone to other shards while this replica led", replica.moving.moved().slots),
                    ("moved_keys", "Their keys", replica.moving.moved().keys),
                    ("moved_bytes", "Bytes sent for them, changes included", replica.moving.moved().bytes),
                    ("snapshots_written", "Snapshots written to disk", replica.snapshots_written),
                    ("snapshots_failed", "Snapshots for which the disk had no space", replica.snapshots_failed),
                    ("verifications", "Comparisons with the other replicas", replica.verifications.0),
                ],
            }
        });
        let replicas = replicas.collect();
        let memory = engine.memory();
        self.published.store(Arc::new(Published {
            revision: engine.revision().0,
            connections,
            memory_bytes: memory.used_bytes(),
            memory_limit_bytes: memory.limit_bytes(),
            clock_off_ms: engine.clocks().off_ms().unsigned_abs(),
            clock_is_far: engine.clocks().is_far(),
            config_refused,
            moves_rate: engine.moves_rate(),
            replicas,
        }));
    }
}

impl Exposed for Figures {
    fn metrics(&self) -> String {
        let published = self.published.load();
        let mut root = Registry::default();
        by_type(root.sub_registry_with_prefix("pontoon_shard"), &published.replicas);
        let registry = root.sub_registry_with_prefix("pontoon_node");
        gauge(registry, "catalog_revision", "Revision of the catalog", published.revision);
        gauge(registry, "connections", "Open connections of proxies, nodes, clients", published.connections as u64);
        let used = "Bytes of data and of entries on their way, which count against the limit";
        gauge(registry, "memory_used_bytes", used, published.memory_bytes);
        gauge(registry, "memory_limit_bytes", "The limit; 0: none", published.memory_limit_bytes);
        let off = "How far the node's clock is off the median of those that it hears of";
        gauge(registry, "clock_off_milliseconds", off, published.clock_off_ms);
        let far = "Whether that is so far that the node leads no shard";
        gauge(registry, "clock_is_far_off", far, u64::from(published.clock_is_far));
        let refused = "Whether the file that the node watches is another one than what is accepted";
        gauge(registry, "config_refused", refused, u64::from(published.config_refused));
        let rate = "Bytes per second that leaders here may send of slots that move; less than asked for while nodes or clients wait";
        gauge(registry, "moves_rate_bytes", rate, published.moves_rate);
        for (name, help, value) in self.balance.gauges() {
            gauge(registry, name, help, value);
        }
        let mut gauges = Vec::new();
        let mut counters = Vec::new();
        let given = ("leaderships_given", "Leaderships that a leader here gave away", 0);
        for replica in &published.replicas {
            counters.extend(replica.handed_over.iter().map(|(why, count)| {
                let labels: Labels = vec![("shard", replica.shard.clone()), ("reason", why.name().to_owned())];
                ((given.0, given.1, *count), labels)
            }));
            let labels: Labels = vec![("shard", replica.shard.clone())];
            let flags = [
                ("leads", "Whether the replica leads its shard", u64::from(replica.leads)),
                ("readable", "Whether the replica can be read", u64::from(replica.readable)),
                ("orphan", "Whether it has no leader and answers level any all the same", u64::from(replica.orphan)),
            ];
            gauges.extend(replica.gauges.iter().chain(&flags).map(|g| (*g, labels.clone())));
            counters.extend(replica.counters.iter().map(|c| (*c, labels.clone())));
        }
        families(registry, gauges, |family: &Family<Labels, Gauge>, labels, value| {
            family.get_or_create(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        });
        families(registry, counters, |family: &Family<Labels, Counter>, labels, value| {
            family.get_or_create(labels).inc_by(value);
        });
        registry.register_collector(Box::new(SyncHistogram(self.sync_times.read())));
        let mut text = String::new();
        // Only a writer that fails makes an error, and a String does not.
        encode(&mut text, &root).expect("a String takes all text");
        text
    }

    fn not_ready(&self) -> Option<String> {
        let published = self.published.load();
        let stuck = published.replicas.iter().find(|r| !r.readable || !r.has_leader);
        match stuck {
            _ if published.revision == 0 => Some("the node belongs to no cluster yet".to_owned()),
            Some(replica) => Some(format!("the replica of shard {} has no leader or no state", replica.shard)),
            None => None,
        }
    }
}

const fn verdict_number(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Identical => 1,
        Verdict::Different => 2,
        Verdict::Incomplete => 3,
    }
}

/// Every replica tells of its shard; the leader's figures are the shard's.
fn by_type(registry: &mut Registry, replicas: &[PublishedReplica]) {
    let mut gauges = Vec::new();
    for replica in replicas {
        for (kind, held) in replica.held.iter() {
            let labels: Labels = vec![("shard", replica.shard.clone()), ("type", kind.name().to_owned())];
            gauges.push((("keys", "Keys by type, as this node's replica has them", held.keys), labels.clone()));
            gauges.push((
                ("bytes", "Bytes of keys and values by type, as this node's replica has them", held.bytes),
                labels,
            ));
        }
    }
    families(registry, gauges, |family: &Family<Labels, Gauge>, labels, value| {
        family.get_or_create(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
    });
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

/// Registers one family for each name, in the order of the names.
fn families<M>(
    registry: &mut Registry,
    values: Vec<((&'static str, &'static str, u64), Labels)>,
    set: impl Fn(&Family<Labels, M>, &Labels, u64),
) where
    M: prometheus_client::encoding::EncodeMetric
        + prometheus_client::metrics::TypedMetric
        + Default
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let mut made: std::collections::BTreeMap<&str, Family<Labels, M>> = std::collections::BTreeMap::new();
    for ((name, help, value), labels) in values {
        let family = made.entry(name).or_insert_with(|| {
            let family = Family::<Labels, M>::default();
            registry.register(name, help, family.clone());
            family
        });
        set(family, &labels, value);
    }
}

/// The times of the log's batches at one moment.
#[derive(Debug)]
struct SyncHistogram((Vec<u64>, f64));

impl Collector for SyncHistogram {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let (buckets, sum) = &self.0;
        let help = "From a batch's arrival at the log's thread to its being on disk";
        let mut metric = encoder.encode_descriptor("log_sync_seconds", help, None, MetricType::Histogram)?;
        let bounds = SYNC_BUCKETS.iter().map(std::time::Duration::as_secs_f64).chain([f64::MAX]);
        let pairs: Vec<_> = bounds.zip(buckets.iter().copied()).collect();
        metric.encode_histogram::<NoLabelSet>(*sum, buckets.iter().sum(), &pairs, None)
    }
}

impl SyncTimes {
    fn read(&self) -> (Vec<u64>, f64) {
        let buckets = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        (buckets, self.sum_us.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::ValueType;

    #[test]
    fn keys_and_bytes_are_told_by_shard_and_type() {
        let mut held = Holdings::default();
        held.add(ValueType::String, 70);
        held.add(ValueType::Hash, 500);
        held.add(ValueType::Hash, 600);
        let replica = PublishedReplica {
            shard: "a".to_owned(),
            leads: true,
            readable: true,
            has_leader: true,
            orphan: false,
            handed_over: HandOvers::default(),
            gauges: vec![("term", "", 1)],
            counters: vec![("reads", "", 1)],
            held,
        };
        let mut root = Registry::default();
        by_type(root.sub_registry_with_prefix("pontoon_shard"), &[replica]);
        let mut text = String::new();
        encode(&mut text, &root).unwrap();
        for line in [
            "pontoon_shard_keys{shard=\"a\",type=\"string\"} 1",
            "pontoon_shard_keys{shard=\"a\",type=\"hash\"} 2",
            "pontoon_shard_bytes{shard=\"a\",type=\"hash\"} 1100",
            "pontoon_shard_bytes{shard=\"a\",type=\"zset\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
