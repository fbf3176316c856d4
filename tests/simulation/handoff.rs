//! What can go wrong at each step of a handoff: every point of `failpoints`, and at it the crash of the source's leader, of the target's,
//! of both, of the proxies, and a cut between the two leaders; each before what was decided there has left the process, and after.
//!
//! A combination counts only if its point was reached with it. What must hold then is what must hold always (`judge`).

use std::collections::BTreeMap;

use pontoon::failpoints::{self, Point};
use pontoon::topology::ShardId;

use super::clients::Clients;
use super::faults::Fault;
use super::random::Random;
use super::setting::{Limits, Setting};
use super::streams::Host;
use super::world::{Block, Due, World};
use super::{judge, step};

/// When slots begin to move, and how long their point may take to come.
const EDIT_US: u64 = 1_500_000;
const REACHED_WITHIN_US: u64 = 4_000_000;
/// How long things go on after the blow.
const AFTERMATH_US: u64 = 2_500_000;
/// Seeds that are tried until a point is reached.
const TRIES: u64 = 100;

const SOURCE: ShardId = ShardId(1);
const TARGET: ShardId = ShardId(2);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    SourceLeader,
    TargetLeader,
    Both,
    Proxies,
    Cut,
}

const BLOWS: [Blow; 5] = [Blow::SourceLeader, Blow::TargetLeader, Blow::Both, Blow::Proxies, Blow::Cut];

/// What makes slots move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// All slots of the first shard are to be at the second.
    Move,
    /// The same, and while they are copied they are wanted back.
    Back,
    /// The same, and the target does not hear of it.
    BackUnheard,
    /// While they are copied their target is removed.
    TargetRemoved,
    /// Slots are frozen, the target does not hear of it, and is removed.
    TargetRemovedUnheard,
    /// The first shard is removed.
    SourceRemoved,
}

const POINTS: [(Point, Story); 22] = [
    (Point::ExportStartLogged, Story::Move),
    (Point::StartSent, Story::Move),
    (Point::ImportStartLogged, Story::Move),
    (Point::PieceSent, Story::Move),
    (Point::PieceLogged, Story::Move),
    (Point::RoundLogged, Story::Move),
    (Point::FreezeProposed, Story::Move),
    (Point::FreezeLogged, Story::Move),
    (Point::FinishSent, Story::Move),
    (Point::FinishProposed, Story::Move),
    (Point::FinishLogged, Story::Move),
    (Point::TakenHeard, Story::Move),
    (Point::GoneProposed, Story::Move),
    (Point::GoneLogged, Story::Move),
    (Point::UndoProposed, Story::BackUnheard),
    (Point::UndoLogged, Story::BackUnheard),
    (Point::RefuseSent, Story::BackUnheard),
    (Point::RefuseLogged, Story::Back),
    (Point::ClosingLogged, Story::TargetRemoved),
    (Point::RefusedHeard, Story::TargetRemovedUnheard),
    (Point::UndoRefusedLogged, Story::TargetRemovedUnheard),
    (Point::RetireReported, Story::SourceRemoved),
];

/// What a run waits for.
pub struct Trap {
    point: Point,
    blow: Blow,
    /// Whether what was decided at the point has left the process by then.
    late: bool,
    /// Which points were passed, by whom last.
    reached: BTreeMap<Point, usize>,
    /// Passed in the turn that is under way.
    sprung: bool,
    armed: bool,
    struck_us: Option<u64>,
}

impl World {
    /// A node had its turn; `left`: what it decided has left it. Returns whether it lives.
    pub fn pass_points(&mut self, node: usize, left: bool) -> bool {
        let passed = failpoints::take();
        let Some(trap) = self.trap.as_mut() else { return true };
        for point in passed {
            trap.reached.insert(point, node);
            trap.sprung |= trap.armed && trap.struck_us.is_none() && point == trap.point;
        }
        if trap.sprung && trap.late == left {
            trap.sprung = false;
            trap.struck_us = Some(self.now_us);
            let blow = trap.blow;
            self.strike_at(node, blow);
        }
        self.members[node].running.is_some()
    }

    fn strike_at(&mut self, node: usize, blow: Blow) {
        // Who passed the point leads one of the two, and may lead no more when the other is looked for.
        let (source, target) = (self.leader(SOURCE).unwrap_or(node), self.leader(TARGET).unwrap_or(node));
        self.tell(|| format!("struck at node {node}: {blow:?}, source's leader {source}, target's {target}"));
        match blow {
            Blow::SourceLeader => self.crash(source),
            Blow::TargetLeader => self.crash(target),
            Blow::Both => [source, target].into_iter().for_each(|node| self.crash(node)),
            Blow::Proxies => {
                for proxy in 0..self.proxies.len() {
                    self.end_proxy(proxy);
                    let back = self.random.within(10_000, 1_000_000);
                    self.schedule(back, Due::Undo(Fault::ProxyDown { proxy }));
                }
            }
            Blow::Cut => {
                // A leader that leads both is cut from one who follows.
                let other = if source == target { (source + 1) % self.members.len() } else { target };
                self.cut_apart(source, other);
            }
        }
    }

    fn crash(&mut self, node: usize) {
        if self.members[node].running.is_some() {
            let power = self.random.per_mille(500);
            self.end(node, power);
            // Often nobody else is elected by then.
            let back = self.random.within(50_000, 1_500_000);
            self.schedule(back, Due::Undo(Fault::Down { node }));
        }
    }

    fn cut_leaders_apart(&mut self) {
        if let (Some(source), Some(target)) = (self.leader(SOURCE), self.leader(TARGET)) {
            self.cut_apart(source, target);
        }
    }

    fn cut_apart(&mut self, one: usize, other: usize) {
        let block = if self.random.per_mille(500) { Block::Lose } else { Block::Hold };
        self.part(Host::Node(one), Host::Node(other), block);
        self.part(Host::Node(other), Host::Node(one), block);
        self.partitions += 1;
        let long = self.random.within(300_000, 2_000_000);
        self.schedule(long, Due::Undo(Fault::Parted { number: self.partitions }));
    }
}

/// One run. Returns whether its point was reached.
fn run(seed: u64, point: Point, story: Story, blow: Blow, late: bool) -> bool {
    let mut random = Random::new(seed);
    let mut setting = Setting::of_two_shards(3 + (seed % 3) as usize);
    setting.limits = Limits { leases_per_mille: random.within(0, 1) * 1000, ..setting.limits };
    let mut world = World::new(random, &setting);
    failpoints::take();
    let (reached, sprung, armed, struck_us) = (BTreeMap::new(), false, false, None);
    world.trap = Some(Trap { point, blow, late, reached, sprung, armed, struck_us });
    (0..setting.nodes).for_each(|node| world.start(node));
    (0..setting.proxies).for_each(|proxy| world.start_proxy(proxy));
    let mut clients = Clients::new(&mut world, setting.clients, setting.think_max_us);
    while world.now_us < EDIT_US {
        step(&mut world, &mut clients, None);
    }
    trap(&mut world).armed = true;
    trap(&mut world).reached.clear();
    tell(&mut world, &mut clients, story);
    let over = world.now_us + REACHED_WITHIN_US;
    while trap(&mut world).struck_us.is_none() && world.now_us < over {
        step(&mut world, &mut clients, None);
    }
    let Some(struck_us) = trap(&mut world).struck_us else { return false };
    while world.now_us < struck_us + AFTERMATH_US {
        step(&mut world, &mut clients, None);
    }
    judge(&mut world, &mut clients);
    true
}

fn trap(world: &mut World) -> &mut Trap {
    world.trap.as_mut().expect("set for the whole run")
}

/// Does what the story is about. Its point may be reached before that is over.
fn tell(world: &mut World, clients: &mut Clients, story: Story) {
    match story {
        Story::Move | Story::Back | Story::BackUnheard | Story::TargetRemoved | Story::TargetRemovedUnheard => {
            world.propose(|draft| draft.weigh(&[0, 1]));
        }
        Story::SourceRemoved => world.propose(|draft| draft.remove("s0")),
    }
    match story {
        Story::Move | Story::SourceRemoved => {}
        Story::Back => {
            await_point(world, clients, Point::PieceSent);
            world.propose(|draft| draft.weigh(&[1, 0]));
        }
        Story::BackUnheard => {
            await_point(world, clients, Point::PieceSent);
            world.cut_leaders_apart();
            world.propose(|draft| draft.weigh(&[1, 0]));
        }
        Story::TargetRemoved => {
            await_point(world, clients, Point::PieceSent);
            world.propose(|draft| draft.remove("s1"));
        }
        Story::TargetRemovedUnheard => {
            await_point(world, clients, Point::FreezeProposed);
            world.cut_leaders_apart();
            world.propose(|draft| draft.remove("s1"));
        }
    }
}

fn await_point(world: &mut World, clients: &mut Clients, point: Point) {
    let over = world.now_us + REACHED_WITHIN_US;
    while !trap(world).reached.contains_key(&point) && trap(world).struck_us.is_none() && world.now_us < over {
        step(world, clients, None);
    }
}

/// All blows at one point; how many seeds it took to reach it with each.
fn at_point(point: Point, story: Story) -> u64 {
    let mut seeds = 0;
    for (number, blow) in (0..).zip(BLOWS) {
        // Whether others hear of what was decided matters if a leader dies of it.
        let both_leaders_live = matches!(blow, Blow::Proxies | Blow::Cut);
        for late in [false, true].into_iter().skip(usize::from(both_leaders_live)) {
            let first = 1_000 * (point as u64 + 1) + 100 * number + 50 * u64::from(late);
            let mut tries = first..first + TRIES;
            let told = |seed| eprintln!("{point:?}, {blow:?}, late {late}, seed {seed}");
            let reached = tries.find(|seed| {
                seeds += 1;
                let result = std::panic::catch_unwind(|| run(*seed, point, story, blow, late));
                result.unwrap_or_else(|broken| {
                    told(*seed);
                    std::panic::resume_unwind(broken)
                })
            });
            assert!(reached.is_some(), "{point:?} is never reached, to be struck by {blow:?}");
        }
    }
    seeds
}

/// `PONTOON_POINT=FreezeLogged`: that one alone.
#[test]
fn handoff_survives_every_blow_at_every_point() {
    let only = std::env::var("PONTOON_POINT").ok();
    let points: Vec<_> = POINTS
        .into_iter()
        .filter(|(point, _)| only.as_ref().is_none_or(|only| *only == format!("{point:?}")))
        .collect();
    assert!(!points.is_empty(), "no such point");
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some((point, story)) = points.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let seeds = at_point(*point, *story);
            println!("{point:?}: all blows in {seeds} runs");
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
}
