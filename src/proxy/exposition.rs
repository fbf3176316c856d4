//! The proxy's metrics as Prometheus text: the workers' figures, summed when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{BUCKETS_US, CommandClass, Figure, Outcome, WorkerStats};
use super::process::Process;
use crate::control::admin::Exposed;
use crate::protocol::frame::RefusalReason;

/// A process as machines see it; shared with the collector that is made for each look.
#[derive(Debug)]
pub struct Shown(pub Arc<Process>);

impl Exposed for Shown {
    fn metrics(&self) -> String {
        text(&self.0)
    }

    fn not_ready(&self) -> Option<String> {
        (!self.0.is_ready()).then(|| "a shard has no leader that can be reached".to_owned())
    }
}

/// All metrics in the text format.
fn text(process: &Arc<Process>) -> String {
    let mut registry = Registry::with_prefix("pontoon_proxy");
    registry.register_collector(Box::new(Exposition(process.clone())));
    let mut text = String::new();
    // Only a writer that fails makes an error, and a String does not.
    encode(&mut text, &registry).expect("a String takes all text");
    text
}

#[derive(Debug)]
struct Exposition(Arc<Process>);

type Labels = Vec<(&'static str, String)>;

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.gauges(&mut encoder)?;
        self.counters(&mut encoder)?;
        self.nodes(&mut encoder)?;
        self.latencies(&mut encoder)
    }
}

impl Exposition {
    fn sum(&self, figure: fn(&WorkerStats) -> &Figure) -> u64 {
        self.0.workers.iter().map(|w| figure(w).get()).sum()
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let gauges: [(&str, &str, u64); 11] = [
            ("connections", "Open client connections", self.sum(|w| &w.connections)),
            ("requests_in_flight", "Requests that are not answered yet", self.sum(|w| &w.in_flight)),
            ("requests_parked", "Requests that wait for a node", self.sum(|w| &w.waiting)),
            (
                "clients_blocked",
                "Clients that wait for an answer to a blocking command",
                self.sum(|w| &w.clients_blocked),
            ),
            ("clients_stalled", "Clients that are not read because of a limit", self.sum(|w| &w.stalled)),
            ("write_names_open", "Writes from the oldest unanswered one on", self.sum(|w| &w.names_open)),
            ("transaction_bytes", "Bytes that clients watch and queued", self.sum(|w| &w.transaction_bytes)),
            (
                "catalog_revision",
                "Revision of the catalog; version of the file where shards are groups of Redis servers",
                self.0.workers.iter().map(|w| w.revision.get()).max().unwrap_or(0),
            ),
            (
                "config_refused",
                "Whether the file is another one than what is accepted, or followed where shards are groups of Redis servers",
                u64::from(self.0.is_file_refused()),
            ),
            ("workers", "Threads that serve clients", self.0.workers.len() as u64),
            ("ready", "Whether every shard has a leader that can be reached", u64::from(self.0.is_ready())),
        ];
        for (name, help, value) in gauges {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let counters: [(&str, &str, u64); 13] = [
            ("connections_taken", "Client connections accepted", self.sum(|w| &w.connections_taken)),
            (
                "connections_rejected",
                "Client connections refused because of a limit",
                self.sum(|w| &w.connections_rejected),
            ),
            ("client_requests", "Requests of clients", self.sum(|w| &w.requests)),
            ("answered_here", "Requests that needed no shard", self.sum(|w| &w.answered_here)),
            ("cross_slot", "Requests refused because their keys are of several shards", self.sum(|w| &w.cross_slot)),
            ("rerouted_requests", "Requests that followed their slots to another shard", self.sum(|w| &w.reroutes)),
            (
                "slot_moves_learned",
                "Refusals that told first where a slot had moved to",
                self.sum(|w| &w.moves_learned),
            ),
            ("transactions", "Transactions that were to be carried out", self.sum(|w| &w.transactions)),
            (
                "transactions_aborted",
                "Transactions that did nothing: a watched key changed, or a request could not be queued",
                self.sum(|w| &w.transactions_aborted),
            ),
            (
                "leader_changes",
                "Servers of groups of Redis servers found to lead that did not before",
                self.sum(|w| &w.leader_changes),
            ),
            (
                "repeated_requests",
                "Requests sent to a Redis server again that surely were not carried out, or were reads",
                self.sum(|w| &w.repeats),
            ),
            ("received_bytes", "Bytes from clients", self.sum(|w| &w.bytes_in)),
            ("sent_bytes", "Bytes to clients", self.sum(|w| &w.bytes_out)),
        ];
        for (name, help, value) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        let retries = RefusalReason::ALL.iter().map(|reason| {
            let count = self.0.workers.iter().map(|w| w.retries(*reason).get()).sum();
            (vec![("reason", reason.name().to_owned())], count)
        });
        family(encoder, "refusals", "Requests that a replica refused", retries.collect())?;
        let mut reads: BTreeMap<Labels, u64> = BTreeMap::new();
        for stats in self.0.workers.iter().flat_map(|w| w.reads()) {
            let labels = vec![("shard", stats.shard.to_string()), ("node", stats.node.to_string())];
            *reads.entry(labels).or_default() += stats.reads.get();
        }
        family(encoder, "replica_reads", "Reads by the replica that answered", reads)
    }

    fn nodes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (mut failures, mut up, mut in_flight) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut round_trips: BTreeMap<Labels, f64> = BTreeMap::new();
        for stats in self.0.workers.iter().flat_map(|w| w.nodes()) {
            let labels: Labels = vec![("node", stats.name.to_string())];
            *failures.entry(labels.clone()).or_default() += stats.failures.get();
            *up.entry(labels.clone()).or_insert(0) += stats.up.get();
            *in_flight.entry(labels.clone()).or_insert(0) += stats.in_flight.get();
            let slowest = round_trips.entry(labels).or_default();
            *slowest = slowest.max(stats.round_trip_us.get() as f64 / 1e6);
        }
        family(encoder, "node_connection_failures", "Connections to nodes lost or not made", failures)?;
        gauge_family(encoder, "node_connections", "Usable connections to nodes", &up)?;
        gauge_family(encoder, "node_requests_in_flight", "Requests that a node has not answered", &in_flight)?;
        gauge_family(encoder, "node_heartbeat_seconds", "Last round trip of a heartbeat", &round_trips)
    }

    fn latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut sums: BTreeMap<Labels, ([u64; BUCKETS_US.len() + 1], u64)> = BTreeMap::new();
        for shard in self.0.workers.iter().flat_map(|w| w.shards()) {
            for (class, outcome) in CommandClass::ALL.into_iter().flat_map(|c| Outcome::ALL.map(|o| (c, o))) {
                let (buckets, sum_us) = shard.latencies(class, outcome).read();
                if buckets.iter().all(|b| *b == 0) {
                    continue;
                }
                let labels = vec![
                    ("class", class.name().to_owned()),
                    ("shard", shard.name.to_string()),
                    ("outcome", outcome.name().to_owned()),
                ];
                let entry = sums.entry(labels).or_default();
                entry.0.iter_mut().zip(buckets).for_each(|(sum, bucket)| *sum += bucket);
                entry.1 += sum_us;
            }
        }
        let help = "From a request's arrival to its answer";
        let mut metric = encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
        let bounds = BUCKETS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]);
        for (labels, (buckets, sum_us)) in &sums {
            let buckets: Vec<_> = bounds.clone().zip(buckets.iter().copied()).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let mut metric = metric.encode_family(labels)?;
            metric.encode_histogram::<NoLabelSet>(*sum_us as f64 / 1e6, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: BTreeMap<Labels, u64>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in &values {
        metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
    }
    Ok(())
}

fn gauge_family<T: prometheus_client::encoding::EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &BTreeMap<Labels, T>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        metric.encode_family(labels)?.encode_gauge(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frontend::Facts;
    use crate::net::Clock;
    use crate::topology::ShardName;

    #[test]
    fn workers_are_summed_and_buckets_accumulate() {
        let workers = vec![Arc::new(WorkerStats::default()), Arc::new(WorkerStats::default())];
        for worker in &workers {
            worker.connections.set(3);
            worker.retries(RefusalReason::NotLeader).add(2);
            let shard = worker.add_shard(ShardName::new("a"));
            shard.latencies(CommandClass::Read, Outcome::Ok).record(Duration::from_micros(150));
        }
        let text = text(&Arc::new(Process::new(workers, Facts::default(), Clock::system())));
        for line in [
            "pontoon_proxy_connections 6",
            "pontoon_proxy_refusals_total{reason=\"not_leader\"} 4",
            "pontoon_proxy_request_duration_seconds_bucket{le=\"0.0001\",class=\"read\",shard=\"a\",outcome=\"ok\"} 0",
            "pontoon_proxy_request_duration_seconds_bucket{le=\"0.0002\",class=\"read\",shard=\"a\",outcome=\"ok\"} 2",
            "pontoon_proxy_request_duration_seconds_count{class=\"read\",shard=\"a\",outcome=\"ok\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
