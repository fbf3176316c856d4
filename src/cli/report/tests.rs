//! Tests of what reports say.

use serde_json::json;

use super::*;
use crate::cli::gather::Answer;
use crate::control::operator::Target;
use crate::protocol::control::{LeadersReport, MoveDirection, MovesReport, StallReport};
use crate::topology::{CatalogCommand, Incarnation, LogIndex, ReplicaId, ShardsConfig};

fn catalog() -> Catalog {
    let node = |i: u32| format!("[[node]]\nname = \"n{i}\"\naddr = \"h{i}:1\"\n");
    let shard = "[[shard]]\nname = \"a\"\nnodes = [\"n1\", \"n2\", \"n3\"]\n";
    let text = format!("version = 4\n{}{}{}{shard}", node(1), node(2), node(3));
    let config = ShardsConfig::parse(&text, "f").unwrap();
    Catalog::found(ClusterId(1), 2, &config, &BTreeMap::new())
}

/// What a node tells of its replica of shard `a`.
fn told(catalog: &Catalog, node: &str, role: Role, term: u64, applied: u64, committed: u64) -> Answer {
    let (shard, name) = (&catalog.data_shards()[0], NodeName::new(node));
    let replica = ReplicaReport {
        shard: shard.id,
        name: shard.name.clone(),
        replica: shard.replica_on(&name).unwrap().id,
        role,
        term: Term(term),
        leader: Some(ReplicaId(1)),
        applied: LogIndex(applied),
        committed: LogIndex(committed),
        keys: applied,
        bytes: applied * 10,
        types: BTreeMap::from([("string".to_owned(), TypeReport { keys: applied, bytes: applied * 10 })]),
        clients_blocked: 0,
        slots: 16384,
        readable: true,
        voters: shard.replicas.iter().map(|r| r.id).collect(),
        change: None,
        failed: None,
        orphan: false,
        moves: Vec::new(),
    };
    let (cluster, revision) = (Some(catalog.cluster), catalog.revision);
    let report = NodeReport {
        node: name.clone(),
        cluster,
        incarnation: Some(Incarnation(u128::from(node.as_bytes()[1]))),
        revision,
        version: 4,
        replicas: vec![replica],
        memory_bytes: 1000,
        memory_limit_bytes: 999,
        clock_off_ms: 0,
        clock_is_far: false,
        move_bytes_per_second: 0,
        file_trouble: None,
        leaders: LeadersReport::default(),
        proxies: Vec::new(),
    };
    Answer { target: Target { node: name, addr: format!("h{}:1", &node[1..]) }, report: Ok(report) }
}

fn dead(node: &str) -> Answer {
    let target = Target { node: NodeName::new(node), addr: format!("h{}:1", &node[1..]) };
    Answer { target, report: Err("connection refused".to_owned()) }
}

/// The leader that was, the leader that is, and a dead node.
fn gathered() -> Gathered {
    let catalog = catalog();
    let answers = vec![
        told(&catalog, "n1", Role::Leader, 3, 90, 90),
        told(&catalog, "n2", Role::Leader, 5, 100, 101),
        dead("n3"),
    ];
    Gathered { catalog: Some(catalog), answers }
}

#[test]
fn json_has_the_documented_fields() {
    let report = serde_json::to_value(StatusReport::of(&gathered())).unwrap();
    assert_eq!((&report["version"], &report["revision"]), (&json!(4), &json!(1)));
    let n3 = json!({"name": "n3", "addr": "h3:1", "zone": null, "alive": false, "problem": "connection refused", "memory_bytes": null, "memory_limit_bytes": null});
    assert_eq!(report["nodes"][2], n3);
    let replicas = json!([
        {"node": "n1", "role": "leader", "applied": 90, "lag": 11, "alive": true, "orphan": false, "leaving": false},
        {"node": "n2", "role": "leader", "applied": 100, "lag": 1, "alive": true, "orphan": false, "leaving": false},
        {"node": "n3", "role": null, "applied": null, "lag": null, "alive": false, "orphan": false, "leaving": false},
    ]);
    let shard = json!({"name": "a", "id": 1, "closing": false, "leader": "n2", "term": 5, "slots": 16384, "slots_wanted": 16384, "keys": 100, "bytes": 1000, "types": {"string": {"keys": 100, "bytes": 1000}}, "clients_blocked": 0, "lost": false, "voters": 3, "replicas_wanted": 3, "replicas": replicas});
    assert_eq!(report["shards"], json!([shard]));
    assert_eq!(report["catalog"]["leader"], json!(null));
}

#[test]
fn a_node_with_a_wrong_clock_is_told_of() {
    let mut gathered = gathered();
    let report = gathered.answers[0].report.as_mut().unwrap();
    (report.clock_off_ms, report.clock_is_far) = (-60_000, true);
    let table = StatusReport::of(&gathered).table();
    assert!(table.contains("yes, but its clock is 60000 ms behind the others: it leads no shard"), "{table}");
}

#[test]
fn the_table_shows_what_is_down_and_who_leads() {
    let table = StatusReport::of(&gathered()).table();
    let expected = "\
cluster 00000000000000000000000000000001, version 4, revision 1

NODE  ADDRESS  ZONE  MEMORY             ALIVE
n1    h1:1     -     1000 of 999: full  yes
n2    h2:1     -     1000 of 999: full  yes
n3    h3:1     -     -                  no: connection refused

SHARD    SLOTS  KEYS  BYTES  LEADER  TERM  VOTERS  REPLICAS (LAG)                          TYPES (KEYS, BYTES)
catalog  0      0     0      none    0     ? of 3  n1 down, n2 down, n3 down
a        16384  100   1000   n2      5     3 of 3  n1 leader (11), n2 leader (1), n3 down  string (100, 1000)

HOST  ISLAND  LEADERS  SHARE  WRITES/S  NODES
h1    1       0        0      0         n1
h2    1       0        0      0         n2
h3    1       0        0      0         n3 (does not answer)
";
    assert_eq!(table, expected);
}

#[test]
fn a_node_that_lost_its_disk_is_followed_until_it_votes() {
    let (mut catalog, n3) = (catalog(), NodeName::new("n3"));
    let [old, new] = [7, u128::from(b'3')].map(Incarnation);
    catalog.nodes.get_mut(&n3).unwrap().incarnation = Some(old);
    let answers = |catalog: &Catalog, applied| {
        let leader = told(catalog, "n1", Role::Leader, 3, 90, 90);
        vec![leader, told(catalog, "n3", Role::Learner, 3, applied, applied)]
    };
    let mut gathered = Gathered { answers: answers(&catalog, 5), catalog: Some(catalog.clone()) };
    gathered.answers[1].report.as_mut().unwrap().replicas.clear();
    let text = StatusReport::of(&gathered).table();
    assert!(text.contains("yes, but its data directory is another one than the cluster knows"), "{text}");
    let voters: Vec<_> = catalog.data_shards()[0].replicas.iter().map(|r| r.id).collect();
    catalog.apply(&CatalogCommand::ReplaceNode { name: n3, old, new });
    for (applied, what) in [(0, "joins, and waits for the state"), (40, "joins: has 40 of 90 entries")] {
        let mut gathered = Gathered { answers: answers(&catalog, applied), catalog: Some(catalog.clone()) };
        gathered.answers[0].report.as_mut().unwrap().replicas[0].voters = voters.clone();
        let text = StatusReport::of(&gathered).table();
        let expected =
            format!("\nshard a: replica 8 on n3 {what}\nshard a: replica 6 leaves when its successor votes\n");
        assert!(text.ends_with(&expected), "{text}");
    }
    let gathered = Gathered { answers: answers(&catalog, 90), catalog: Some(catalog) };
    assert_eq!(StatusReport::of(&gathered).changes, []);
}

/// The same cluster with a shard `b`, which gets half of the slots; of these, 100 have moved.
fn resharded() -> Gathered {
    let mut gathered = gathered();
    let catalog = gathered.catalog.as_mut().unwrap();
    let text = catalog.config_text.replace("version = 4", "version = 5");
    let text = format!("{text}[[shard]]\nname = \"b\"\nnodes = [\"n1\", \"n2\", \"n3\"]\n");
    catalog.apply(&CatalogCommand::ProposeConfig { text, origin: "f".to_owned() });
    let moves = MovesReport {
        peer: crate::topology::ShardId(2),
        name: ShardName::new("b"),
        direction: MoveDirection::Out,
        slots_left: 8091,
        slots_done: 100,
        keys_moved: 600,
        bytes_moved: 9000,
        keys_per_second: 300,
        bytes_per_second: 4500,
        eta_ms: Some(162_000),
        copying: 2,
        frozen: 1,
        stall: Some(StallReport { reason: "shard b has no leader".to_owned(), for_ms: 1500 }),
    };
    gathered.answers[1].report.as_mut().unwrap().replicas[0].moves = vec![moves];
    gathered
}

#[test]
fn slots_on_their_way_are_told_with_speed_and_stalls() {
    let gathered = resharded();
    let report = StatusReport::of(&gathered);
    let table = report.table();
    for line in [
        "\na        16384 -> 8193 ",
        "\n0 of 8191 slots have moved, 300 keys/s, 4.4 KiB/s, 2 min 42 s to go\n",
        "\nslots a -> b: 0 moved, 8191 left, 2 batches copied now, 1 handed over, 300 keys/s, 4.4 KiB/s, 2 min 42 s to go; \
         stalled for 2 s: shard b has no leader\n",
    ] {
        assert!(table.contains(line), "{line} is not in {table}");
    }
    assert!(!report.is_settled() && StatusReport::of(&self::gathered()).is_settled());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["progress"]["moves"][0]["stall"], json!({"reason": "shard b has no leader", "for_ms": 1500}));
}

#[test]
fn what_leaves_or_is_kept_away_is_told() {
    let mut gathered = gathered();
    let catalog = gathered.catalog.as_mut().unwrap();
    let text = catalog.config_text.replace("version = 4", "version = 5");
    let text = text.replace("[[node]]\nname = \"n3\"\naddr = \"h3:1\"\n", "").replace(", \"n3\"", "");
    catalog.apply(&CatalogCommand::ProposeConfig { text, origin: "f".to_owned() });
    catalog.apply(&CatalogCommand::EvictLeaders { node: NodeName::new("n2"), evicted: true });
    gathered.answers[0].report.as_mut().unwrap().file_trouble = Some("version 5 is refused: so it is".to_owned());
    let (name, run_id, from) = ("proxy".to_owned(), "77".to_owned(), Some("10.0.0.9".to_owned()));
    let proxy = ProxyReport { name, run_id, from, port: 6379, file_trouble: Some("so it is too".to_owned()) };
    for answer in gathered.answers.iter_mut().filter_map(|answer| answer.report.as_mut().ok()) {
        answer.proxies = vec![proxy.clone()];
    }
    let table = StatusReport::of(&gathered).table();
    for line in [
        "3 of 2  n1 leader (11), n2 leader (1), n3 down leaving",
        "\nnode n3 goes when its replicas have left: catalog, a\n",
        "\nleaders are evicted from node n2, which leads still: a\n",
        "\nshard a: replica 6 on n3 leaves\n",
        "\nthe file of node n1: version 5 is refused: so it is\nthe file of proxy at 10.0.0.9, port 6379: so it is too\n",
    ] {
        assert!(table.contains(line), "{line} is not in {table}");
    }
}

#[test]
fn a_shard_is_lost_when_nobody_is_left_who_was_there_when_it_was_formed_or_has_anything() {
    let mut catalog = catalog();
    let nodes = ["n1", "n2", "n3"];
    let lost = |catalog: &Catalog, applied| {
        let answers = nodes.map(|node| told(catalog, node, Role::Learner, 0, applied, 0)).to_vec();
        StatusReport::of(&Gathered { catalog: Some(catalog.clone()), answers }).shards[0].lost
    };
    for node in nodes {
        assert!(!lost(&catalog, 0), "one that was there may only start");
        let name = NodeName::new(node);
        let (old, new) = (Incarnation(1), Incarnation(u128::from(node.as_bytes()[1])));
        catalog.nodes.get_mut(&name).unwrap().incarnation = Some(old);
        catalog.apply(&CatalogCommand::ReplaceNode { name, old, new });
    }
    assert!(!lost(&catalog, 1) && lost(&catalog, 0));
    let answers = vec![told(&catalog, "n1", Role::Learner, 0, 0, 0), dead("n2"), dead("n3")];
    assert!(!StatusReport::of(&Gathered { catalog: Some(catalog), answers }).shards[0].lost, "n2 may have it");
}

#[test]
fn a_replica_that_stopped_says_why() {
    let mut gathered = gathered();
    let report = gathered.answers[1].report.as_mut().unwrap();
    report.replicas[0].failed = Some("index 9: an entry cannot be understood".to_owned());
    let text = StatusReport::of(&gathered).table();
    assert!(text.ends_with("\nshard a: the replica on n2 stopped: index 9: an entry cannot be understood\n"), "{text}");
}

#[test]
fn without_a_catalog_or_an_answer_that_is_what_is_said() {
    let mut silent = Gathered { catalog: None, answers: vec![dead("n1")] };
    assert!(StatusReport::of(&silent).table().starts_with("no node answered\n"));
    silent.answers.push(told(&catalog(), "n2", Role::Follower, 1, 1, 1));
    assert!(StatusReport::of(&silent).table().starts_with("no cluster yet"));
}

#[test]
fn a_shard_without_a_leader_is_leaderless_and_shows_its_most_advanced_replica() {
    let catalog = catalog();
    let answers = vec![told(&catalog, "n1", Role::Follower, 6, 7, 9), told(&catalog, "n2", Role::Follower, 5, 8, 8)];
    let report = StatusReport::of(&Gathered { catalog: Some(catalog), answers });
    assert_eq!(report.leaderless(), [&ShardName::new("catalog"), &ShardName::new("a")]);
    assert_eq!((report.shards[0].keys, report.shards[0].term), (8, Term(6)));
}

#[test]
fn a_replica_that_is_read_without_a_leader_is_shown_as_an_orphan() {
    let mut gathered = gathered();
    gathered.answers[0] = told(gathered.catalog.as_ref().unwrap(), "n1", Role::Follower, 7, 90, 90);
    gathered.answers[0].report.as_mut().unwrap().replicas[0].orphan = true;
    let report = StatusReport::of(&gathered);
    assert_eq!(report.shards[0].replicas[0].text(), "n1 orphan (11)");
}

#[test]
fn a_key_is_where_its_slots_owner_is() {
    let gathered = gathered();
    let place = KeyPlace::of(&gathered, gathered.catalog.as_ref().unwrap(), b"{123456789}x");
    assert_eq!(
        place.text(),
        "slot      14630\nshard     a\nleader    n2 at h2:1\nreplicas  n1 leader (11), n2 leader (1), n3 down\n"
    );
    assert_eq!(serde_json::to_value(&place).unwrap()["addr"], json!("h2:1"));
}
