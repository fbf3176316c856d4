//! Tests of what a table routes.

use std::collections::BTreeMap;

use super::*;
use crate::topology::ShardsConfig;

/// Two shards on three nodes; shard `a` has replicas 4, 5, 6 on them and shard `b` has 7, 8, 9.
pub(crate) const FILE: &str = "version = 1
[[node]]
name = 'n1'
addr = '127.0.0.1:1'
zone = 'x'
[[node]]
name = 'n2'
addr = '127.0.0.1:2'
zone = 'y'
[[node]]
name = 'n3'
addr = '127.0.0.1:3'
zone = 'y'
[[shard]]
name = 'a'
nodes = ['n1', 'n2', 'n3']
[[shard]]
name = 'b'
nodes = ['n1', 'n2', 'n3']
";
const A: ShardIndex = ShardIndex(0);

fn catalog() -> Catalog {
    Catalog::found(ClusterId(7), 1, &ShardsConfig::parse(FILE, "test").unwrap(), &BTreeMap::new())
}

/// All nodes up, nothing heard from them. Shard `a` has the replicas 4, 5, 6.
fn table(zone: Option<&str>) -> RoutingTable {
    let mut table = RoutingTable::new(zone.map(str::to_owned));
    table.adopt(&catalog());
    (0..3).for_each(|n| table.node_mut(NodeIndex(n)).up = true);
    table
}

fn says(node: u32, role: Role, term: u64, leader: u64, applied: u64) -> [ReplicaStatus; 1] {
    let replica = ReplicaStatus {
        shard: ShardId(1),
        replica: ReplicaId(u64::from(node) + 4),
        role,
        readable: true,
        fresh: true,
        orphan: false,
        leases: false,
        term: Term(term),
        leader: Some(ReplicaId(leader)).filter(|l| l.0 > 0),
        applied: LogIndex(applied),
        committed: LogIndex(applied),
        log_time: LogTime(0),
    };
    [replica]
}

fn hear(table: &mut RoutingTable, node: u32, role: Role, term: u64, leader: u64) -> bool {
    table.merge_status(NodeIndex(node), &says(node, role, term, leader, 10))
}

#[test]
fn slots_lead_to_their_owners_and_an_older_catalog_changes_nothing() {
    let mut table = table(None);
    assert_eq!(table.owner(Slot::new(0).unwrap()), Some(A));
    assert_eq!(table.owner(Slot::new(16383).unwrap()), Some(ShardIndex(1)));
    assert_eq!(table.shard(A).slots, 8192);
    assert!(table.adopt(&catalog()).is_empty());
    let mut other = catalog();
    (other.cluster, other.revision) = (ClusterId(8), Revision(9));
    assert!(table.adopt(&other).is_empty());
    assert_eq!((table.cluster(), table.revision()), (Some(ClusterId(7)), Revision(1)));
}

#[test]
fn nodes_come_move_and_go_and_keep_their_places() {
    let mut table = table(None);
    let mut newer = catalog();
    newer.revision = Revision(2);
    newer.nodes.get_mut(&NodeName::new("n2")).unwrap().addr = "127.0.0.1:22".to_owned();
    let mut record = newer.nodes.remove(&NodeName::new("n3")).unwrap();
    record.addr = "127.0.0.1:4".to_owned();
    newer.nodes.insert(NodeName::new("n4"), record.clone());
    let changes = table.adopt(&newer);
    let expected =
        [NodeChange::Moved(NodeIndex(1)), NodeChange::Added(NodeIndex(3)), NodeChange::Removed(NodeIndex(2))];
    assert_eq!(changes, expected);
    newer.revision = Revision(3);
    newer.nodes.insert(NodeName::new("n3"), record);
    assert_eq!(table.adopt(&newer), [NodeChange::Added(NodeIndex(2))]);
}

#[test]
fn a_leader_is_believed_by_term() {
    let mut table = table(None);
    assert_eq!(table.leader_node(A), None);
    assert!(hear(&mut table, 1, Role::Follower, 3, 4), "a follower names the leader");
    assert_eq!(table.leader_node(A), Some(NodeIndex(0)));
    hear(&mut table, 0, Role::Leader, 3, 4);
    hear(&mut table, 2, Role::Leader, 2, 6);
    assert_eq!(table.leader_node(A), Some(NodeIndex(0)), "the leader of an older term is no news");
    assert!(hear(&mut table, 2, Role::Follower, 4, 0), "an election began");
    assert_eq!(table.leader_node(A), None);
    hear(&mut table, 0, Role::Leader, 3, 4);
    assert_eq!(table.leader_node(A), None, "the deposed one does not know yet");
    hear(&mut table, 2, Role::Leader, 4, 6);
    assert_eq!(table.leader_node(A), Some(NodeIndex(2)));
    hear(&mut table, 2, Role::Follower, 4, 0);
    assert_eq!(table.leader_node(A), None, "it stepped down in its term");
}

#[test]
fn a_hint_counts_only_against_the_believed_leader() {
    let mut table = table(None);
    hear(&mut table, 0, Role::Leader, 3, 4);
    table.merge_hint(A, NodeIndex(1), Some(ReplicaId(6)));
    assert_eq!(table.leader_node(A), Some(NodeIndex(0)));
    table.merge_hint(A, NodeIndex(0), Some(ReplicaId(6)));
    assert_eq!(table.leader_node(A), Some(NodeIndex(2)));
    table.merge_hint(A, NodeIndex(2), None);
    assert_eq!(table.leader_node(A), None);
    // What nodes said before is to be merged again after each of these, and not after what they say every time.
    let doubts = table.doubts();
    hear(&mut table, 0, Role::Leader, 3, 4);
    hear(&mut table, 0, Role::Leader, 3, 4);
    assert_eq!((doubts, table.doubts()), (3, 3), "a catalog and two hints");
    hear(&mut table, 0, Role::Follower, 3, 0);
    assert_eq!(table.doubts(), 4, "nobody leads");
}

fn readers(table: &RoutingTable, level: ReadLevel, floor: u64) -> Vec<u32> {
    let coins = (0..64_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut found: Vec<_> = coins.filter_map(|c| table.reader(A, level, LogIndex(floor), c)).map(|n| n.0).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn reads_go_where_the_level_can_be_kept() {
    let mut table = table(None);
    table.merge_status(NodeIndex(0), &says(0, Role::Leader, 3, 4, 50_000));
    table.merge_status(NodeIndex(1), &says(1, Role::Follower, 3, 4, 49_000));
    table.merge_status(NodeIndex(2), &says(2, Role::Follower, 3, 4, 10));
    assert_eq!(readers(&table, ReadLevel::Strong, 0), [0], "a leader that has time asks one question for all");
    table.node_mut(NodeIndex(0)).in_flight = STRONG_TOGETHER_MAX;
    table.node_mut(NodeIndex(1)).in_flight = STRONG_TOGETHER_MAX;
    assert_eq!(readers(&table, ReadLevel::Strong, 0), [0, 1], "one that lags far would wait long");
    assert_eq!(readers(&table, ReadLevel::Any, 0), [0, 1, 2]);
    assert_eq!(readers(&table, ReadLevel::Session, 0), [0, 1], "one that lags far is spared");
    assert_eq!(readers(&table, ReadLevel::Session, 49_500), [0]);
    let mut leased = says(0, Role::Leader, 3, 4, 50_000);
    leased[0].leases = true;
    table.merge_status(NodeIndex(0), &leased);
    assert_eq!(readers(&table, ReadLevel::Strong, 0), [0], "a leader with a lease asks nobody");
    table.merge_applied(A, NodeIndex(1), LogIndex(49_500));
    assert_eq!(readers(&table, ReadLevel::Session, 49_500), [0, 1]);
    table.node_mut(NodeIndex(0)).up = false;
    assert_eq!(readers(&table, ReadLevel::Session, 49_500), [1]);
    assert_eq!(readers(&table, ReadLevel::Strong, 0), [1], "its leader may be out of this proxy's reach alone");
    table.merge_status(NodeIndex(1), &says(1, Role::Follower, 3, 0, 49_500));
    assert_eq!(readers(&table, ReadLevel::Strong, 0), [] as [u32; 0], "it knows no leader to ask");
    let mut loading = says(1, Role::Follower, 3, 4, 49_000);
    (loading[0].readable, loading[0].fresh) = (false, false);
    table.merge_status(NodeIndex(1), &loading);
    assert_eq!(readers(&table, ReadLevel::Any, 0), [2]);
}

#[test]
fn orphans_are_read_at_level_any_where_nobody_else_is_fresh() {
    let mut table = table(None);
    let orphan = |node| {
        let mut status = says(node, Role::Follower, 4, 0, 10);
        (status[0].fresh, status[0].orphan) = (false, true);
        status
    };
    table.merge_status(NodeIndex(1), &orphan(1));
    table.merge_status(NodeIndex(2), &says(2, Role::Follower, 4, 0, 10));
    assert_eq!(readers(&table, ReadLevel::Any, 0), [2]);
    table.merge_status(NodeIndex(2), &orphan(2));
    assert_eq!(readers(&table, ReadLevel::Any, 0), [1, 2]);
    assert_eq!(readers(&table, ReadLevel::Strong, 0), [] as [u32; 0]);
    table.merge_status(NodeIndex(0), &says(0, Role::Leader, 5, 4, 10));
    assert_eq!(readers(&table, ReadLevel::Any, 0), [0]);
}

#[test]
fn the_own_zone_comes_first_and_the_less_loaded_of_two() {
    let mut near = table(Some("y"));
    let mut far = table(Some("elsewhere"));
    for table in [&mut near, &mut far] {
        hear(table, 0, Role::Leader, 3, 4);
        hear(table, 1, Role::Follower, 3, 4);
        hear(table, 2, Role::Follower, 3, 4);
    }
    assert_eq!(readers(&near, ReadLevel::Any, 0), [1, 2]);
    assert_eq!(readers(&far, ReadLevel::Any, 0), [0, 1, 2]);
    assert_eq!(readers(&near, ReadLevel::Strong, 0), [1, 2]);
    near.node_mut(NodeIndex(1)).in_flight = 5;
    assert_eq!(readers(&near, ReadLevel::Any, 0), [2]);
    near.node_mut(NodeIndex(1)).up = false;
    near.node_mut(NodeIndex(2)).up = false;
    assert_eq!(readers(&near, ReadLevel::Any, 0), [0]);
}
