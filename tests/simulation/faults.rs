//! What goes wrong, when, and for how long.

use super::world::{Block, Due, FAIR, Weather, World};

/// Something that was broken and will be repaired.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Down { node: usize },
    Paused { node: usize },
    SlowDisk { node: usize },
    Parted,
    BadWeather,
}

/// Which faults a run may have: some runs are about one thing, most about everything.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub pause_min_us: u64,
    pub pause_max_us: u64,
    chances: [usize; 10],
}

impl Plan {
    pub fn of(world: &mut World) -> Self {
        let mut chances = [3, 2, 1, 3, 3, 2, 1, 2, 2, 2];
        if world.random.per_mille(400) {
            // One kind of fault again and again finds what a mixture hides.
            let only = world.random.below(chances.len());
            chances[only] = 30;
        }
        let (pause_min_us, pause_max_us) =
            if world.random.per_mille(500) { (20_000, 300_000) } else { (100_000, 1_500_000) };
        Self { pause_min_us, pause_max_us, chances }
    }
}

/// Breaks something, and plans the next time.
pub fn strike(world: &mut World, plan: &Plan) {
    let next = world.random.within(plan.pause_min_us, plan.pause_max_us);
    world.schedule(next, Due::NextFault);
    let mut draw = world.random.below(plan.chances.iter().sum());
    let kind = plan.chances.iter().position(|chance| {
        let hit = draw < *chance;
        draw = draw.saturating_sub(*chance);
        hit
    });
    let node = victim(world);
    match kind.expect("the draw is below the sum") {
        0 => down(world, node, true),
        1 => down(world, node, false),
        2 => all_down(world),
        3 => pause(world, node),
        4 => part(world, node),
        5 => slow_disk(world, node),
        6 => bad_weather(world),
        7 => step_clock(world, node),
        8 => stop_disk_soon(world, node),
        _ => nudge(world, node),
    }
}

/// Repairs what one fault broke.
pub fn undo(world: &mut World, fault: Fault) {
    match fault {
        Fault::Down { node } if world.members[node].running.is_none() => world.start(node),
        Fault::Down { .. } => {}
        Fault::Paused { node } => world.resume(node),
        Fault::SlowDisk { node } => world.members[node].sync_extra_us = 0,
        Fault::BadWeather => world.weather = FAIR,
        Fault::Parted => {
            for from in 0..world.members.len() {
                (0..world.members.len()).for_each(|to| world.open(from, to));
            }
        }
    }
}

/// Repairs everything.
pub fn heal(world: &mut World) {
    undo(world, Fault::Parted);
    undo(world, Fault::BadWeather);
    for node in 0..world.members.len() {
        undo(world, Fault::SlowDisk { node });
        undo(world, Fault::Paused { node });
        undo(world, Fault::Down { node });
    }
}

/// Every other time the leader.
fn victim(world: &mut World) -> usize {
    let leader = world.leader().filter(|_| world.random.per_mille(500));
    leader.unwrap_or_else(|| world.random.below(world.members.len()))
}

fn down(world: &mut World, node: usize, power: bool) {
    if world.members[node].running.is_some() {
        world.end(node, power);
        let back = world.random.within(50_000, 2_000_000);
        world.schedule(back, Due::Undo(Fault::Down { node }));
    }
}

fn all_down(world: &mut World) {
    (0..world.members.len()).for_each(|node| down(world, node, true));
}

fn pause(world: &mut World, node: usize) {
    world.pause(node);
    let long = world.random.within(100_000, 3_000_000);
    world.schedule(long, Due::Undo(Fault::Paused { node }));
}

fn part(world: &mut World, node: usize) {
    let count = world.members.len();
    let block = if world.random.per_mille(500) { Block::Lose } else { Block::Hold };
    let other = world.random.below(count);
    let shape = world.random.below(5);
    for from in 0..count {
        for to in (0..count).filter(|to| *to != from) {
            let parted = match shape {
                0 => (from == node) != (to == node),
                1 => from == node,
                2 => to == node,
                // Two that still hear each other, and nobody else.
                3 => ([node, other].contains(&from)) != ([node, other].contains(&to)),
                // One link alone: the others still bridge it.
                _ => [from, to] == [node, other] || [from, to] == [other, node],
            };
            if parted {
                world.links[from][to].block = block;
            }
        }
    }
    let most = if world.random.per_mille(100) { 8_000_000 } else { 2_500_000 };
    let long = world.random.within(50_000, most);
    world.schedule(long, Due::Undo(Fault::Parted));
}

fn slow_disk(world: &mut World, node: usize) {
    world.members[node].sync_extra_us = world.random.within(2_000, 500_000);
    let long = world.random.within(200_000, 3_000_000);
    world.schedule(long, Due::Undo(Fault::SlowDisk { node }));
}

fn bad_weather(world: &mut World) {
    let delay_max_us = world.random.within(2_000, 60_000);
    let loss_per_mille = world.random.within(0, 200);
    world.weather = Weather { delay_min_us: 100, delay_max_us, loss_per_mille };
    let long = world.random.within(200_000, 2_000_000);
    world.schedule(long, Due::Undo(Fault::BadWeather));
}

fn step_clock(world: &mut World, node: usize) {
    let step_ms = world.random.within(0, 120_000) as i64 - 60_000;
    world.members[node].wall_offset_ms += step_ms;
}

/// The power goes in the middle of some write to come.
fn stop_disk_soon(world: &mut World, node: usize) {
    if world.members[node].running.is_some() {
        let nth = world.random.within(1, 25);
        world.members[node].disk.stop(nth);
    }
}

/// Things that are no faults and disturb all the same.
fn nudge(world: &mut World, node: usize) {
    match world.random.below(3) {
        0 => {
            let other = world.random.below(world.members.len());
            if other != node {
                world.reconnect(node, other);
            }
        }
        1 => world.snapshot(node),
        _ => {
            let target = world.random.below(world.members.len());
            world.transfer(node, target);
        }
    }
}
