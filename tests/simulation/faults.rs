//! What goes wrong, when, and for how long.

use std::collections::BTreeMap;

use pontoon::control::leaders::Leaders;
use pontoon::topology::balance::{Placement, Weigh};

use super::clients::Clients;
use super::edits::Edit;
use super::random::Random;
use super::streams::Host;
use super::world::{Block, Due, FAIR, Weather, World};

/// Something that was broken and will be repaired.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Down {
        node: usize,
    },
    Paused {
        node: usize,
    },
    SlowDisk {
        node: usize,
    },
    FullDisk {
        node: usize,
    },
    TightMemory {
        node: usize,
    },
    /// To be ended, after what it sent has arrived.
    Falls {
        node: usize,
    },
    ProxyDown {
        proxy: usize,
    },
    ProxyPaused {
        proxy: usize,
    },
    /// If no other came after it.
    Parted {
        number: u64,
    },
    BadWeather,
    Deaf {
        node: usize,
    },
    /// An edit that is taken back.
    Regretted,
    LedTooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    PowerCut,
    Kill,
    PowerCutOfAll,
    VoterBetween,
    Pause,
    Partition,
    Minority,
    SlowDisk,
    BadWeather,
    ClockStep,
    ClockRate,
    TornWrite,
    FullDisk,
    FailedWrite,
    FailedSync,
    TightMemory,
    ProxyKill,
    ProxyPause,
    BrokenLink,
    LateBytes,
    ClientGone,
    Reconnect,
    Snapshot,
    Transfer,
    Spread,
    Members,
    Regretted,
    Weights,
    Shards,
}

/// How many leaders are asked to give way at once, as by the node that conducts it.
const GIVING_WAY_MAX: usize = 2;

/// Every kind, its name, and how often it comes in a mixture.
const KINDS: [(Kind, &str, usize); 29] = [
    (Kind::PowerCut, "power cut", 3),
    (Kind::Kill, "kill", 2),
    (Kind::PowerCutOfAll, "power cut of all", 1),
    (Kind::VoterBetween, "voter between candidates", 2),
    (Kind::Pause, "pause", 3),
    (Kind::Partition, "partition", 3),
    (Kind::Minority, "minority with clients", 9),
    (Kind::SlowDisk, "slow disk", 2),
    (Kind::BadWeather, "bad weather", 1),
    (Kind::ClockStep, "clock step", 2),
    (Kind::ClockRate, "clock rate", 1),
    (Kind::TornWrite, "torn write", 2),
    (Kind::FullDisk, "full disk", 1),
    (Kind::FailedWrite, "failed write", 1),
    (Kind::FailedSync, "failed sync", 1),
    (Kind::TightMemory, "tight memory", 1),
    (Kind::ProxyKill, "proxy kill", 2),
    (Kind::ProxyPause, "proxy pause", 2),
    (Kind::BrokenLink, "broken link", 3),
    (Kind::LateBytes, "late bytes", 3),
    (Kind::ClientGone, "client gone", 2),
    (Kind::Reconnect, "reconnect of peers", 1),
    (Kind::Snapshot, "snapshot", 1),
    (Kind::Transfer, "leader transfer", 2),
    (Kind::Spread, "leaders spread", 2),
    (Kind::Members, "members edited", 3),
    (Kind::Regretted, "members edited and back", 3),
    (Kind::Weights, "weights edited", 4),
    (Kind::Shards, "shards edited", 3),
];

/// Which faults a run may have: some runs are about one thing, most about everything.
#[derive(Clone, Debug)]
pub struct Plan {
    pause_min_us: u64,
    pause_max_us: u64,
    chances: Vec<usize>,
}

impl Plan {
    pub fn of(random: &mut Random) -> Self {
        let mut chances: Vec<usize> = KINDS.iter().map(|(.., chance)| *chance).collect();
        if random.per_mille(400) {
            // One kind of fault again and again finds what a mixture hides.
            let only = random.below(chances.len());
            chances[only] = 60;
        }
        if random.per_mille(500) {
            // While all clocks agree, it is known when a key expires.
            for (chance, (kind, ..)) in chances.iter_mut().zip(KINDS) {
                if matches!(kind, Kind::ClockStep | Kind::ClockRate) {
                    *chance = 0;
                }
            }
        }
        let (pause_min_us, pause_max_us) = if random.per_mille(500) { (20_000, 300_000) } else { (100_000, 1_500_000) };
        Self { pause_min_us, pause_max_us, chances }
    }
}

/// Breaks something, and plans the next time.
pub fn strike(world: &mut World, clients: &mut Clients, plan: &Plan) {
    let next = world.random.within(plan.pause_min_us, plan.pause_max_us);
    world.schedule(next, Due::NextFault);
    let mut draw = world.random.below(plan.chances.iter().sum());
    let found = plan.chances.iter().position(|chance| {
        let hit = draw < *chance;
        draw = draw.saturating_sub(*chance);
        hit
    });
    let (kind, name, _) = KINDS[found.expect("the draw is below the sum")];
    world.count(name);
    let node = victim(world);
    world.tell(|| format!("fault: {name}, node {node}"));
    match kind {
        Kind::PowerCut => down(world, node, true),
        Kind::Kill => down(world, node, false),
        Kind::PowerCutOfAll => (0..world.members.len()).for_each(|node| down(world, node, true)),
        Kind::VoterBetween => world.stand_between(),
        Kind::Pause => pause(world, node),
        Kind::Partition => part(world, node),
        Kind::Minority => cut_off(world),
        Kind::SlowDisk => slow_disk(world, node),
        Kind::BadWeather => bad_weather(world),
        Kind::ClockStep => step_clock(world, node),
        Kind::ClockRate => bend_clock(world, node),
        Kind::TornWrite | Kind::FullDisk | Kind::FailedWrite | Kind::FailedSync => spoil_disk(world, node, kind),
        Kind::TightMemory => tighten_memory(world, node),
        Kind::ProxyKill => kill_proxy(world),
        Kind::ProxyPause => pause_proxy(world),
        Kind::BrokenLink | Kind::LateBytes => {
            let proxy = world.random.below(world.proxies.len());
            world.break_streams(Host::Proxy(proxy), Host::Node(node), kind == Kind::LateBytes);
        }
        Kind::ClientGone => {
            let client = world.random.below(clients.count());
            clients.leave(world, client);
        }
        Kind::Reconnect => {
            let other = world.random.below(world.members.len());
            if other != node {
                world.reconnect(node, other);
            }
        }
        Kind::Snapshot => {
            let shards = world.shards();
            let shard = shards[world.random.below(shards.len())];
            world.snapshot(node, shard);
        }
        Kind::Transfer => transfer(world),
        Kind::Spread => spread(world),
        Kind::Members => world.edit(Edit::Members),
        Kind::Regretted => regret(world),
        Kind::Weights => world.edit(Edit::Weights),
        Kind::Shards => world.edit(Edit::Shards),
    }
}

/// Repairs what one fault broke.
pub fn undo(world: &mut World, fault: Fault) {
    world.tell(|| format!("undone: {fault:?}"));
    match fault {
        Fault::Down { node } if world.members[node].running.is_none() => world.start(node),
        Fault::Down { .. } => {}
        Fault::Falls { node } => world.lose_power_shortly(node),
        Fault::Paused { node } => world.resume(node),
        Fault::SlowDisk { node } => world.members[node].sync_extra_us = 0,
        Fault::FullDisk { node } => world.members[node].disk.limit_bytes(None),
        Fault::TightMemory { node } => {
            if let Some(running) = &world.members[node].running {
                running.engine.memory().limit(0);
            }
        }
        Fault::ProxyDown { proxy } if world.proxies[proxy].running.is_none() => world.start_proxy(proxy),
        Fault::ProxyDown { .. } => {}
        Fault::ProxyPaused { proxy } => world.resume_proxy(proxy),
        Fault::BadWeather => world.weather = FAIR,
        Fault::Deaf { node } => drop(world.deaf.remove(&node)),
        Fault::Regretted => world.edit(Edit::TakenBack),
        Fault::LedTooLong => transfer(world),
        Fault::Parted { number } if number == world.partitions => world.join_all(),
        Fault::Parted { .. } => {}
    }
}

/// Repairs everything.
pub fn heal(world: &mut World) {
    world.voter = None;
    world.join_all();
    undo(world, Fault::BadWeather);
    for node in 0..world.members.len() {
        world.members[node].disk.mend();
        // A shard whose one wanted replica is on a node with a wrong clock would not follow the file until this.
        world.members[node].clock.wall_offset_ms = 0;
        undo(world, Fault::SlowDisk { node });
        undo(world, Fault::FullDisk { node });
        undo(world, Fault::Deaf { node });
        undo(world, Fault::Paused { node });
        undo(world, Fault::TightMemory { node });
        undo(world, Fault::Down { node });
    }
    for proxy in 0..world.proxies.len() {
        undo(world, Fault::ProxyPaused { proxy });
        undo(world, Fault::ProxyDown { proxy });
    }
}

/// More often than not a leader.
fn victim(world: &mut World) -> usize {
    let shards = world.shards();
    let shard = shards[world.random.below(shards.len())];
    let leader = world.leader(shard).filter(|_| world.random.per_mille(600));
    leader.unwrap_or_else(|| world.random.below(world.members.len()))
}

/// Plans the end of a fault.
fn until(world: &mut World, low_us: u64, high_us: u64, fault: Fault) {
    let long = world.random.within(low_us, high_us);
    world.schedule(long, Due::Undo(fault));
}

fn down(world: &mut World, node: usize, power: bool) {
    if world.members[node].running.is_some() {
        world.end(node, power);
        until(world, 50_000, 2_000_000, Fault::Down { node });
    }
}

fn pause(world: &mut World, node: usize) {
    world.members[node].paused = world.members[node].running.is_some();
    let most = if world.random.per_mille(200) { 5_000_000 } else { 2_000_000 };
    until(world, 100_000, most, Fault::Paused { node });
}

/// Nodes and proxies stand on either side.
fn part(world: &mut World, node: usize) {
    let nodes: Vec<Host> = (0..world.members.len()).map(Host::Node).collect();
    let proxies = (0..world.proxies.len()).map(Host::Proxy);
    let hosts: Vec<Host> = nodes.iter().copied().chain(proxies).collect();
    let block = if world.random.per_mille(500) { Block::Lose } else { Block::Hold };
    let one = Host::Node(node);
    let other = nodes[world.random.below(nodes.len())];
    let proxy = Host::Proxy(world.random.below(world.proxies.len()));
    // With the proxies, the clients of a minority's side reach nobody else.
    let with_proxies = world.random.per_mille(500);
    let shape = world.random.below(6);
    for from in &hosts {
        for to in &hosts {
            let side = |host: &Host, side: &[Host]| side.contains(host);
            let crosses = |sides: &[Host]| side(from, sides) != side(to, sides);
            let concerns_proxy = [from, to].iter().any(|host| matches!(host, Host::Proxy(_)));
            let parted = match shape {
                0 => crosses(&[one]) && (with_proxies || !concerns_proxy),
                1 => *from == one && (with_proxies || !concerns_proxy),
                2 => *to == one && (with_proxies || !concerns_proxy),
                // Two nodes and a proxy that still hear each other, and nobody else.
                3 => crosses(&[one, other, proxy]),
                // One link alone: the others still bridge it.
                4 => [*from, *to] == [one, other] || [*from, *to] == [other, one],
                // A proxy and one node.
                _ => [*from, *to] == [one, proxy] || (with_proxies && [*from, *to] == [proxy, one]),
            };
            if parted {
                world.part(*from, *to, block);
            }
        }
    }
    let most = if world.random.per_mille(100) { 8_000_000 } else { 2_500_000 };
    world.partitions += 1;
    until(world, 50_000, most, Fault::Parted { number: world.partitions });
}

/// A leader and the clients of one proxy reach nobody else, for as long as it takes until another leads.
fn cut_off(world: &mut World) {
    let shards = world.shards();
    let shard = shards[world.random.below(shards.len())];
    let Some(leader) = world.leader(shard) else { return };
    let inside = [Host::Node(leader), Host::Proxy(world.random.below(world.proxies.len()))];
    let nodes = (0..world.members.len()).map(Host::Node);
    let hosts: Vec<Host> = nodes.chain((0..world.proxies.len()).map(Host::Proxy)).collect();
    let block = if world.random.per_mille(500) { Block::Lose } else { Block::Hold };
    for outside in hosts.into_iter().filter(|host| !inside.contains(host)) {
        for host in inside {
            world.part(host, outside, block);
            world.part(outside, host, block);
        }
    }
    world.partitions += 1;
    until(world, 800_000, 2_500_000, Fault::Parted { number: world.partitions });
}

fn slow_disk(world: &mut World, node: usize) {
    world.members[node].sync_extra_us = world.random.within(2_000, 500_000);
    until(world, 200_000, 3_000_000, Fault::SlowDisk { node });
}

fn bad_weather(world: &mut World) {
    let delay_max_us = world.random.within(2_000, 60_000);
    let loss_per_mille = world.random.within(0, 200);
    world.weather = Weather { delay_min_us: 100, delay_max_us, loss_per_mille };
    until(world, 200_000, 2_000_000, Fault::BadWeather);
}

fn step_clock(world: &mut World, node: usize) {
    let step_ms = world.random.within(0, 120_000) as i64 - 60_000;
    world.members[node].clock.wall_offset_ms += step_ms;
    world.clocks_true_until_us = world.clocks_true_until_us.min(world.now_us);
}

/// A machine's clock runs a few percent too fast or too slow, from now on.
fn bend_clock(world: &mut World, node: usize) {
    let rate = world.random.within(950, 1_050);
    let now_us = world.now_us;
    world.members[node].clock.run_at(now_us, rate);
    let proxy = world.random.below(world.proxies.len());
    world.proxies[proxy].clock.run_at(now_us, rate);
    world.clocks_true_until_us = world.clocks_true_until_us.min(now_us);
}

/// Something to come goes wrong on a disk.
fn spoil_disk(world: &mut World, node: usize, kind: Kind) {
    if world.members[node].running.is_none() {
        return;
    }
    let nth = world.random.within(1, 25);
    let disk = &world.members[node].disk;
    match kind {
        // The power goes in the middle of it.
        Kind::TornWrite => disk.stop(nth),
        Kind::FailedWrite => disk.fail_write(nth),
        Kind::FailedSync => disk.fail_sync(nth),
        _ => {
            disk.limit_bytes(Some(disk.used_bytes() + nth * 1000));
            until(world, 100_000, 3_000_000, Fault::FullDisk { node });
        }
    }
}

fn tighten_memory(world: &mut World, node: usize) {
    if let Some(running) = &world.members[node].running {
        let memory = running.engine.memory();
        memory.limit(memory.used_bytes() + 200);
        until(world, 100_000, 3_000_000, Fault::TightMemory { node });
    }
}

fn kill_proxy(world: &mut World) {
    let proxy = world.random.below(world.proxies.len());
    if world.proxies[proxy].running.is_some() {
        world.end_proxy(proxy);
        until(world, 10_000, 1_500_000, Fault::ProxyDown { proxy });
    }
}

fn pause_proxy(world: &mut World) {
    let proxy = world.random.below(world.proxies.len());
    world.proxies[proxy].paused = world.proxies[proxy].running.is_some();
    until(world, 100_000, 3_000_000, Fault::ProxyPaused { proxy });
}

/// An edit of members is taken back a moment later. Some nodes hear of it and then of nothing, some of nothing at all; meanwhile
/// others may come to lead.
fn regret(world: &mut World) {
    world.edit(Edit::Regretted);
    for node in 0..world.members.len() {
        let listens = world.members[node].running.is_some() && !world.members[node].paused;
        if listens && world.random.per_mille(600) {
            world.hear_at_once(node);
        }
        if world.random.per_mille(600) {
            world.deaf.insert(node);
            until(world, 200_000, 3_000_000, Fault::Deaf { node });
        }
    }
    let most = if world.random.per_mille(700) { 10_000 } else { 300_000 };
    until(world, 0, most, Fault::Regretted);
    until(world, 300_000, 1_500_000, Fault::LedTooLong);
}

/// The leader of a shard gives its leadership to another replica.
pub fn transfer(world: &mut World) {
    for shard in world.shards() {
        let homes = world.homes(shard);
        let target = homes[world.random.below(homes.len())];
        if let Some(leader) = world.leader(shard).filter(|leader| *leader != target) {
            world.transfer(shard, leader, target);
        }
    }
}

/// Leaders are asked to give way until they are spread over the hosts, as the node that leads the catalog plans it (`node::balance`); not
/// as patiently. What is planned is old when it arrives: meanwhile others may lead, or be in step no more.
fn spread(world: &mut World) {
    let told = world.members.iter().filter(|member| !member.paused);
    let told = told.filter_map(|member| Some((member.name.clone(), member.running.as_ref()?.engine.leaders_report())));
    let told: BTreeMap<_, _> = told.collect();
    let catalog = std::sync::Arc::clone(&world.catalog);
    let leaders = Leaders::of(&catalog, &told);
    let planned = Placement::of(&leaders.situation, Weigh::Leaders).transfers;
    for transfer in planned.into_iter().take(GIVING_WAY_MAX) {
        let from = world.members.iter().position(|member| member.name == leaders.nodes[transfer.from]);
        if let (Some(from), Some((to, leader))) = (from, leaders.place(&catalog, transfer.shard, transfer.to)) {
            world.give_way(from, leader.shard, to, leader.term);
        }
    }
}
