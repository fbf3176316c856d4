//! What a look at the leaders of a large cluster costs: 100 hosts, 1,000 shards on three of them each.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon::topology::balance::{Candidate, LedShard, Placement, Situation, Weigh};

const HOSTS: usize = 100;
const SHARDS: usize = 1_000;

/// `crowd`: how many hosts have all the leaders.
fn cluster(crowd: usize) -> Situation {
    let candidate = |number: usize| Candidate {
        name: format!("n{number}"),
        host: format!("10.0.0.{number}"),
        zone: None,
        weight: 1,
        unfit: None,
    };
    let shard = |number: usize| {
        let mut members = vec![number % crowd, (number * 7 + 1) % HOSTS, (number * 13 + 2) % HOSTS];
        members.dedup();
        LedShard {
            name: format!("s{number}"),
            leader: Some(members[0]),
            heirs: members[1..].iter().copied().filter(|heir| *heir != members[0]).collect(),
            members,
            held: None,
            writes: (number as u64 * 7_919) % 5_000,
        }
    };
    Situation { candidates: (0..HOSTS).map(candidate).collect(), shards: (0..SHARDS).map(shard).collect() }
}

fn plans(criterion: &mut Criterion) {
    for (what, crowd) in [("leaders of 100 hosts on 1", 1), ("on 25", 25), ("on 100, nothing to do", 100)] {
        let situation = cluster(crowd);
        criterion.bench_function(what, |bencher| bencher.iter(|| Placement::of(black_box(&situation), Weigh::Leaders)));
    }
    let situation = cluster(25);
    criterion.bench_function("on 25, by writes", |bencher| {
        bencher.iter(|| Placement::of(black_box(&situation), Weigh::Writes));
    });
}

criterion_group!(benches, plans);
criterion_main!(benches);
