//! When the cluster spreads its leaders by itself, and how fast: pure. Looks at the leaders go in, orders come out.
//!
//! - **Calm.** Nothing is ordered before who leads what, and who may, has been the same for [`CALM`]: elections, evictions, nodes
//!   that come back and those who hand over what they lead for reasons of their own are over by then. Only what was ordered here
//!   may change meanwhile. A node that comes and goes never lets it become calm, and nothing flaps.
//! - **Pace.** At most `UNDER_WAY_MAX` transfers at a time, and the plan is made anew for the next ones.
//! - **Who does not take it** is left alone for a while, for twice as long with each time.
//! - Where leaders are weighed by writes, the wish must last for `WISHED`: rates go up and down.
//!
//! Nothing is remembered that matters: whoever leads the catalog's group next looks and waits for calm itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::leaders::Leaders;
use crate::net::Moment;
use crate::topology::balance::{Placement, Unfit, Weigh};
use crate::topology::{Catalog, NodeName, ReplicaId, ShardId, Term};

/// How long nothing must have changed.
pub const CALM: Duration = Duration::from_secs(2);
/// How long writes must ask for transfers.
const WISHED: Duration = Duration::from_secs(10);
/// Transfers at a time.
const UNDER_WAY_MAX: usize = 2;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long who did not take a leadership is left alone after the first time, and at most.
const SHUNNED: Duration = Duration::from_secs(30);
const SHUNNED_MAX: Duration = Duration::from_secs(600);

/// A leader is to give way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The shard.
    pub shard: ShardId,
    /// The node that leads it.
    pub from: NodeName,
    /// The term that it leads in.
    pub term: Term,
    /// The node that is to.
    pub to: NodeName,
    /// Its replica.
    pub replica: ReplicaId,
    /// Why.
    pub reason: String,
}

/// What came of the orders, and what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Leaders beyond the shares of their hosts, at the last look.
    pub imbalance: u64,
    /// The transfers that would end that.
    pub wanted: u64,
    /// Transfers that took effect.
    pub done: u64,
    /// Transfers that did not.
    pub failed: u64,
}

/// Spreads leaders.
#[derive(Debug, Default)]
pub struct Spreader {
    sight: Option<Sight>,
    calm_since: Moment,
    wished_since: Option<Moment>,
    under_way: BTreeMap<ShardId, (Order, Moment)>,
    shunned: BTreeMap<(ShardId, NodeName), Shunned>,
    tally: Tally,
}

/// What must stay the same.
#[derive(Debug, PartialEq, Eq)]
struct Sight {
    leaders: BTreeMap<ShardId, Option<NodeName>>,
    nodes: BTreeMap<NodeName, Option<Unfit>>,
}

#[derive(Clone, Copy, Debug)]
struct Shunned {
    until: Moment,
    times: u32,
}

impl Spreader {
    /// One look. Returns what is to be done now.
    pub fn look(&mut self, catalog: &Catalog, leaders: &Leaders, now: Moment) -> Vec<Order> {
        self.conclude(leaders, now);
        let sight = self.sight_of(leaders);
        if self.sight.as_ref() != Some(&sight) {
            (self.calm_since, self.wished_since) = (now, None);
            self.sight = Some(sight);
        }
        let weigh = catalog.balance.weigh;
        let expected = self.expected(leaders, now);
        let placement = Placement::of(&expected.situation, weigh);
        (self.tally.imbalance, self.tally.wanted) = (placement.excess(), placement.transfers.len() as u64);
        if placement.transfers.is_empty() && self.under_way.is_empty() {
            self.wished_since = None;
            return Vec::new();
        }
        let wished_since = *self.wished_since.get_or_insert(now);
        let needs = if weigh == Weigh::Writes { WISHED } else { Duration::ZERO };
        if now.since(self.calm_since) < CALM || now.since(wished_since) < needs {
            return Vec::new();
        }
        let room = UNDER_WAY_MAX.saturating_sub(self.under_way.len());
        let mut orders = Vec::new();
        for transfer in placement.transfers.iter().take(room) {
            let Some((replica, leader)) = expected.place(catalog, transfer.shard, transfer.to) else { continue };
            let order = Order {
                shard: expected.shards[transfer.shard],
                from: expected.nodes[transfer.from].clone(),
                term: leader.term,
                to: expected.nodes[transfer.to].clone(),
                replica,
                reason: placement.reason(&expected.situation, *transfer),
            };
            self.under_way.insert(order.shard, (order.clone(), now));
            orders.push(order);
        }
        orders
    }

    /// An order was not taken: something goes on that was not seen.
    pub fn refused(&mut self, shard: ShardId, now: Moment) {
        if let Some((order, _)) = self.under_way.remove(&shard) {
            self.tally.failed += 1;
            self.calm_since = now;
            self.shun(order, now);
        }
    }

    /// Whether transfers are under way.
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// What came of it.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Sees what became of what is under way.
    fn conclude(&mut self, leaders: &Leaders, now: Moment) {
        let leader_of = |shard: ShardId| {
            let number = leaders.shards.iter().position(|other| *other == shard)?;
            leaders.situation.shards[number].leader.map(|leader| &leaders.nodes[leader])
        };
        let is_over = |shard: ShardId, order: &Order, began: Moment| {
            leader_of(shard) == Some(&order.to) || now.since(began) > PATIENCE
        };
        let (over, goes_on): (BTreeMap<_, _>, _) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(shard, (order, began))| is_over(*shard, order, *began));
        self.under_way = goes_on;
        for (shard, (order, _)) in over {
            if leader_of(shard) == Some(&order.to) {
                self.tally.done += 1;
                self.shunned.remove(&(shard, order.to.clone()));
                if let Some(sight) = &mut self.sight {
                    sight.leaders.insert(shard, Some(order.to));
                }
                continue;
            }
            self.tally.failed += 1;
            self.shun(order, now);
        }
    }

    fn shun(&mut self, order: Order, now: Moment) {
        let place = (order.shard, order.to);
        let times = self.shunned.get(&place).map_or(0, |shunned| shunned.times);
        let pause = (SHUNNED * 2_u32.saturating_pow(times)).min(SHUNNED_MAX);
        tracing::warn!(shard = %place.0, node = %place.1, "does not take the leadership: it is left alone for {} s", pause.as_secs());
        self.shunned.insert(place, Shunned { until: now + pause, times: (times + 1).min(16) });
    }

    /// What is seen. What is under way is as it was before: it changes because it is to.
    fn sight_of(&self, leaders: &Leaders) -> Sight {
        let led = leaders.shards.iter().zip(&leaders.situation.shards).map(|(shard, led)| {
            let known = self.sight.as_ref().and_then(|sight| sight.leaders.get(shard));
            match known.filter(|_| self.under_way.contains_key(shard)) {
                Some(before) => (*shard, before.clone()),
                None => (*shard, led.leader.map(|leader| leaders.nodes[leader].clone())),
            }
        });
        let nodes = leaders.nodes.iter().zip(&leaders.situation.candidates);
        Sight { leaders: led.collect(), nodes: nodes.map(|(name, node)| (name.clone(), node.unfit)).collect() }
    }

    /// The leaders as they will be when all that is under way has come about, without those who are left alone.
    fn expected(&self, leaders: &Leaders, now: Moment) -> Leaders {
        let mut expected = leaders.clone();
        for (number, shard) in expected.shards.iter().enumerate() {
            let led = &mut expected.situation.shards[number];
            if let Some((order, _)) = self.under_way.get(shard) {
                led.leader = expected.nodes.iter().position(|node| *node == order.to);
                led.held = Some("it is changing hands".to_owned());
            }
            led.heirs.retain(|heir| {
                let shunned = self.shunned.get(&(*shard, expected.nodes[*heir].clone()));
                shunned.is_none_or(|shunned| now >= shunned.until)
            });
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::control::{LeaderReport, LeadersReport};
    use crate::topology::{ClusterId, ShardsConfig};

    const NODES: [&str; 3] = ["n1", "n2", "n3"];

    /// A cluster that does what it is told a moment later.
    struct World {
        catalog: Catalog,
        /// Who leads each shard, and the term.
        leaders: Vec<(usize, u64)>,
        dead: Vec<usize>,
        behind: Vec<usize>,
        spreader: Spreader,
        now_ms: u64,
        /// Who does not take a leadership.
        declines: Option<usize>,
        transfers: Vec<String>,
    }

    impl World {
        fn new(shards: usize, balance: &str) -> Self {
            let nodes = NODES.map(|n| format!("[[node]]\nname = \"{n}\"\naddr = \"{n}:1\"\n")).concat();
            let shard = |n| format!("[[shard]]\nname = \"s{n}\"\nnodes = {NODES:?}\n");
            let text = format!("version = 1\n{nodes}{}{balance}", (0..shards).map(shard).collect::<String>());
            let config = ShardsConfig::parse(&text, "f").unwrap();
            let catalog = Catalog::found(ClusterId(1), 2, &config, &BTreeMap::new());
            Self {
                catalog,
                leaders: vec![(0, 6); shards],
                dead: Vec::new(),
                behind: Vec::new(),
                spreader: Spreader::default(),
                now_ms: 0,
                declines: None,
                transfers: Vec::new(),
            }
        }

        fn seen(&self) -> Leaders {
            let id = |shard: usize, node: usize| self.catalog.data_shards()[shard].replicas[node].id;
            let mut told: BTreeMap<NodeName, LeadersReport> = BTreeMap::new();
            for (node, name) in NODES.iter().enumerate().filter(|(node, _)| !self.dead.contains(node)) {
                let mine = self.leaders.iter().enumerate().filter(|(_, (leader, _))| *leader == node);
                let leading = mine.map(|(shard, (_, term))| LeaderReport {
                    shard: self.catalog.data_shards()[shard].id,
                    replica: id(shard, node),
                    term: Term(*term),
                    heirs: Some(
                        (0..3)
                            .filter(|n| *n != node && !self.dead.contains(n) && !self.behind.contains(n))
                            .map(|n| id(shard, n))
                            .collect(),
                    ),
                    held: None,
                    writes_per_second: 100 * (shard as u64 % 2),
                });
                told.insert(NodeName::new(name), LeadersReport { clock_is_far: false, leading: leading.collect() });
            }
            Leaders::of(&self.catalog, &told)
        }

        /// Looks each quarter of a second for so long.
        fn pass(&mut self, ms: u64) {
            for _ in 0..ms / 250 {
                self.now_ms += 250;
                let leaders = self.seen();
                for order in self.spreader.look(&self.catalog, &leaders, self.now()) {
                    let shard = self.catalog.data_shards().iter().position(|shard| shard.id == order.shard).unwrap();
                    let to = NODES.iter().position(|n| *n == order.to.as_str()).unwrap();
                    assert_eq!(
                        (NODES[self.leaders[shard].0], self.leaders[shard].1),
                        (order.from.as_str(), order.term.0)
                    );
                    assert!(!self.dead.contains(&to) && !self.behind.contains(&to));
                    self.transfers.push(format!("s{shard} {}-{}", order.from, order.to));
                    if self.declines != Some(to) {
                        self.leaders[shard] = (to, self.leaders[shard].1 + 1);
                    }
                }
            }
        }

        fn now(&self) -> Moment {
            Moment::at(Duration::from_millis(self.now_ms))
        }

        fn counts(&self) -> [usize; 3] {
            [0, 1, 2].map(|node| self.leaders.iter().filter(|(leader, _)| *leader == node).count())
        }

        /// A node dies, and the next one is elected everywhere.
        fn kill(&mut self, node: usize) {
            self.dead.push(node);
            let next = (0..3).find(|n| !self.dead.contains(n)).unwrap();
            self.leaders.iter_mut().filter(|(leader, _)| *leader == node).for_each(|led| *led = (next, led.1 + 1));
        }
    }

    #[test]
    fn thirty_leaders_on_one_host_are_spread_by_twenty_transfers_after_a_calm_while() {
        let mut world = World::new(30, "");
        world.pass(2_000);
        assert_eq!(world.transfers, [] as [&str; 0], "not yet calm for long enough");
        world.pass(6_000);
        assert_eq!((world.transfers.len(), world.counts()), (20, [10, 10, 10]));
        world.pass(60_000);
        assert_eq!(world.transfers.len(), 20);
        assert_eq!(world.spreader.tally(), Tally { imbalance: 0, wanted: 0, done: 20, failed: 0 });
    }

    #[test]
    fn a_node_dies_and_comes_back_ten_times_and_each_time_the_fewest_change_hands() {
        let mut world = World::new(30, "");
        world.pass(10_000);
        world.transfers.clear();
        for round in 0..10 {
            let node = round % 3;
            world.kill(node);
            let excess = world.counts().iter().map(|count| count.saturating_sub(15)).sum::<usize>();
            world.pass(10_000);
            assert_eq!(world.transfers.len(), excess, "round {round}: {:?}", world.transfers);
            world.transfers.clear();
            world.dead.clear();
            world.behind.push(node);
            world.pass(20_000);
            assert_eq!(world.transfers, [] as [&str; 0], "it is catching up");
            world.behind.clear();
            world.pass(10_000);
            assert_eq!((world.transfers.len(), world.counts()), (10, [10, 10, 10]), "round {round}");
            world.transfers.clear();
        }
    }

    #[test]
    fn a_node_that_flaps_gets_nothing() {
        let mut world = World::new(30, "");
        for _ in 0..20 {
            world.dead = vec![2];
            world.pass(1_000);
            world.dead.clear();
            world.pass(1_000);
        }
        assert_eq!(world.transfers, [] as [&str; 0]);
    }

    #[test]
    fn who_does_not_take_it_is_left_alone_for_longer_and_longer() {
        let mut world = World::new(3, "");
        world.declines = Some(2);
        world.pass(300_000);
        let tried = world.transfers.iter().filter(|transfer| transfer.ends_with("n3")).count();
        assert!((3..=12).contains(&tried), "{:?}", world.transfers);
        assert_eq!(world.counts(), [2, 1, 0]);
        world.declines = None;
        world.pass(700_000);
        assert_eq!(world.counts(), [1, 1, 1]);
    }

    #[test]
    fn after_a_refusal_it_is_calm_first_and_another_takes_it() {
        let mut world = World::new(2, "");
        world.pass(2_000);
        let leaders = world.seen();
        let orders = world.spreader.look(&world.catalog, &leaders, Moment::at(Duration::from_millis(2_250)));
        assert_eq!(orders.len(), 1);
        assert_eq!(orders[0].reason, "host n1 leads 2 shards, and its share is 1; host n2 has room");
        world.now_ms = 2_250;
        world.spreader.refused(orders[0].shard, world.now());
        world.pass(1_750);
        assert_eq!(world.transfers, [] as [&str; 0]);
        world.pass(1_000);
        assert_eq!(world.transfers, ["s0 n1-n3"]);
    }

    #[test]
    fn by_writes_the_wish_must_last() {
        // Every second shard is written to.
        let mut world = World::new(4, "[balance]\nweigh = \"writes\"\n");
        world.pass(10_000);
        assert_eq!(world.transfers, [] as [&str; 0]);
        world.pass(3_000);
        assert!(!world.transfers.is_empty());
        let busy: Vec<usize> = [1, 3].map(|shard: usize| world.leaders[shard].0).to_vec();
        assert_ne!(busy[0], busy[1]);
        let made = world.transfers.len();
        world.pass(60_000);
        assert_eq!(world.transfers.len(), made);
    }
}
