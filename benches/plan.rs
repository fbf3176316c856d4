//! What an edit of a large cluster costs the catalog and `pontoon plan`: 1,000 shards over 16384 slots, in whole runs and scattered.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon::topology::plan::Plan;
use pontoon::topology::{Catalog, ClusterId, Epoch, SLOT_COUNT, ShardId, ShardsConfig, SlotRange, TargetRange, assign};

const SHARDS: u64 = 1_000;

fn file(version: u64, shards: std::ops::Range<u64>) -> ShardsConfig {
    let mut text = format!("version = {version}\n");
    for node in 0..30 {
        writeln!(text, "[[node]]\nname = \"n{node}\"\naddr = \"10.0.0.{node}:7001\"").expect("a String takes all text");
    }
    for shard in shards {
        let nodes: Vec<String> = (0..3).map(|i| format!("n{}", (shard + i * 7) % 30)).collect();
        writeln!(text, "[[shard]]\nname = \"s{shard}\"\nnodes = {nodes:?}").expect("a String takes all text");
    }
    ShardsConfig::parse(&text, "shards.toml").expect("it is valid")
}

/// Every slot on its own.
fn scattered(shards: u64) -> Vec<SlotRange> {
    let range = |slot: u16| SlotRange {
        first: slot,
        last: slot,
        owner: ShardId(1 + u64::from(slot).wrapping_mul(7_919) % shards),
        epoch: Epoch(1),
    };
    (0..SLOT_COUNT as u16).map(range).collect()
}

fn plans(criterion: &mut Criterion) {
    let weights: Vec<(ShardId, u32)> = (1..=SHARDS).map(|shard| (ShardId(shard), 1 + shard as u32 % 3)).collect();
    let actual = scattered(SHARDS + 20);
    criterion.bench_function("assign, 1000 shards, 16384 runs", |bencher| {
        bencher.iter(|| assign(black_box(&actual), black_box(&weights)));
    });
    let mut catalog = Catalog::found(ClusterId(1), 2, &file(1, 0..SHARDS - 10), &BTreeMap::new());
    let wanted = file(2, 10..SHARDS);
    criterion.bench_function("plan, 990 shards, 10 come and 10 go", |bencher| {
        bencher.iter(|| Plan::of(black_box(&catalog), black_box(&wanted)));
    });
    catalog.slots = scattered(SHARDS - 10);
    catalog.targets =
        catalog.slots.iter().map(|run| TargetRange { first: run.first, last: run.last, shard: run.owner }).collect();
    criterion.bench_function("the same, every slot apart", |bencher| {
        bencher.iter(|| Plan::of(black_box(&catalog), black_box(&wanted)));
    });
}

criterion_group!(benches, plans);
criterion_main!(benches);
