//! `pontoon node`: one node, until it is told to stop or cannot keep its promises.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use super::args::NodeArgs;
use super::signals;
use crate::control::config_file;
use crate::node::engine::EngineOptions;
use crate::node::replica::ReadOptions;
use crate::node::{self, NodeOptions};
use crate::storage::LogOptions;
use crate::storage::disk::BLOCK_BYTES;

pub async fn run(args: &NodeArgs) -> Result<()> {
    let config = config_file::load(&args.config)?;
    let defaults = EngineOptions::default();
    let engine = EngineOptions {
        snapshot_entries: args.snapshot_entries.unwrap_or(defaults.snapshot_entries),
        snapshot_bytes: args.snapshot_bytes.unwrap_or(defaults.snapshot_bytes),
        memory_bytes_max: args.max_memory,
        clock_off_max: Duration::from_millis(args.clock_off_max_ms),
        moves: args.moves.options(),
        reads: ReadOptions {
            max_staleness: Duration::from_millis(args.reads.max_staleness_ms),
            lease: args.reads.read_lease,
            orphan_reads: args.reads.orphan_reads,
        },
        ..defaults
    };
    let mut handle = node::start(NodeOptions {
        name: args.name.clone(),
        data: args.data.clone(),
        listen: args.listen,
        admin_listen: args.admin_listen,
        config,
        config_path: Some(args.config.clone()),
        engine,
        log: LogOptions {
            // Whole blocks, or it could not be written past the cache.
            segment_bytes: args
                .log_segment_bytes
                .unwrap_or(LogOptions::default().segment_bytes)
                .next_multiple_of(BLOCK_BYTES as u64),
            ..LogOptions::default()
        },
    })?;
    let _ = writeln!(std::io::stdout(), "node {} listens on {}", handle.name, handle.address);
    if let Some(address) = handle.admin_address {
        let _ = writeln!(std::io::stdout(), "metrics on http://{address}/metrics");
    }
    tokio::select! {
        () = signals::stop() => handle.stop(),
        ended = handle.ended() => ended?,
    }
    Ok(())
}
