//! Slots move between two shards on three nodes while leaders change, messages are lost and the catalog changes its mind.

mod nodes;
mod stuck;

use std::collections::BTreeSet;

use crate::protocol::frame::RefusalReason;
use crate::topology::{Epoch, NodeName, Slot, Whereabouts};
use nodes::{A, Answer, B, NODES, Nodes};

fn slots_of(keys: &[(String, Slot)]) -> Vec<Slot> {
    let slots: BTreeSet<Slot> = keys.iter().map(|(_, slot)| *slot).collect();
    slots.into_iter().collect()
}

#[test]
fn slots_go_where_the_catalog_wants_them_with_all_that_is_in_them() {
    let mut nodes = Nodes::led();
    let keys = nodes.fill(300);
    let slots = slots_of(&keys);
    nodes.want(slots.clone(), B);
    nodes.until_served(B, &slots);
    nodes.check(B, &keys);
    let went = nodes.read(A, 0, &["GET", &keys[0].0]);
    assert_eq!(went, Answer::Elsewhere(Some(Whereabouts { slot: keys[0].1, owner: B, epoch: Epoch(2) })));
    assert_eq!(nodes.catalog.range_of(keys[0].1).owner, B);
    assert!((0..NODES).all(|node| nodes.keyspace(A, node).whereabouts(slots[0]).is_some()));
}

#[test]
fn slots_move_between_leaders_of_one_node() {
    let mut nodes = Nodes::led();
    nodes.lead(B, 0);
    let keys = nodes.fill(20);
    let slots = slots_of(&keys);
    nodes.want(slots.clone(), B);
    nodes.until_served(B, &slots);
    nodes.check(B, &keys);
}

#[test]
fn a_new_leader_on_either_side_goes_on_at_every_step() {
    for both in [false, true] {
        for shard in [A, B] {
            for step in (0..24).step_by(2) {
                let mut nodes = Nodes::led();
                let keys = nodes.fill(40);
                let slots = slots_of(&keys);
                nodes.want(slots.clone(), B);
                nodes.rounds_pass(step);
                nodes.isolate(nodes.leader(shard).unwrap());
                nodes.ticks(80);
                if both {
                    nodes.cut.clear();
                    let other = if shard == A { B } else { A };
                    nodes.isolate(nodes.leader(other).unwrap());
                    nodes.ticks(80);
                }
                nodes.cut.clear();
                nodes.until_served(B, &slots);
                nodes.ticks(80);
                nodes.check(B, &keys);
            }
        }
    }
}

#[test]
fn messages_are_lost_and_come_twice_and_late() {
    for seed in 1..30_u64 {
        let mut nodes = Nodes::led();
        nodes.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (nodes.lost, nodes.doubled) = (seed * 10, seed * 15);
        let keys = nodes.fill(60);
        let slots = slots_of(&keys);
        nodes.want(slots.clone(), B);
        nodes.until_served(B, &slots);
        nodes.check(B, &keys);
        assert_eq!(nodes.write(&["INCR", "{k0}n"]), ":1\r\n");
    }
}

#[test]
fn the_newest_edit_wins_however_often_the_catalog_changes_its_mind() {
    for step in 0..16 {
        let mut nodes = Nodes::led();
        (nodes.lost, nodes.doubled) = (50, 50);
        let keys = nodes.fill(40);
        let slots = slots_of(&keys);
        for turn in 0..4 {
            nodes.want(slots.clone(), if turn % 2 == 0 { B } else { A });
            nodes.rounds_pass(step);
            nodes.ticks(turn);
        }
        nodes.until_served(A, &slots);
        nodes.check(A, &keys);
        assert_eq!(nodes.write(&["INCR", "{k0}n"]), ":1\r\n");
        nodes.want(slots.clone(), B);
        nodes.until_served(B, &slots);
        nodes.check(B, &keys);
    }
}

#[test]
fn counters_count_each_increment_once_while_their_slots_go_to_and_fro() {
    let mut nodes = Nodes::led();
    (nodes.lost, nodes.doubled) = (100, 100);
    let keys: Vec<(String, Slot)> = nodes.fill(30);
    let slots = slots_of(&keys);
    for round in 1..=40_u32 {
        if round % 5 == 0 {
            nodes.want(slots.clone(), if (round / 5) % 2 == 1 { B } else { A });
        }
        if round % 7 == 0 {
            let shard = if round % 2 == 0 { A } else { B };
            let next = nodes.leader(shard).map_or(0, |leader| (leader + 1) % NODES);
            nodes.lead(shard, next);
        }
        for (key, _) in keys.iter().take(8) {
            assert_eq!(nodes.write(&["INCR", &format!("{{{key}}}n")]), format!(":{round}\r\n"), "{key}");
        }
    }
}

/// Lets rounds pass until the slot is frozen at the leader of `a`, and its decision is not made.
fn until_frozen(nodes: &mut Nodes, slot: Slot) -> usize {
    nodes.lost_once_frozen = Some(slot);
    for _ in 0..400 {
        let leader = nodes.leader(A).unwrap();
        if nodes.replica(A, leader).moving.is_frozen(slot) {
            return leader;
        }
        nodes.rounds_pass(1);
    }
    panic!("the slot is never frozen");
}

#[test]
fn r13_without_a_word_of_the_target_a_frozen_slot_stays_frozen_and_goes_on_later() {
    let mut nodes = Nodes::led();
    let keys = nodes.fill(10);
    let slots = slots_of(&keys);
    nodes.want(slots.clone(), B);
    let leader = until_frozen(&mut nodes, keys[0].1);
    let (key, held) = (keys[0].0.clone(), |nodes: &Nodes, id| nodes.told.held.contains(&id));
    let write = nodes.send(A, leader, &["SET", &key, "new"], Some(900), Epoch(0));
    let read = nodes.send(A, leader, &["GET", &key], None, Epoch(0));
    // The catalog wants them back: who decides is the target, which is not heard.
    nodes.want(slots.clone(), A);
    nodes.ticks(120);
    assert!(held(&nodes, write) && held(&nodes, read), "{:?}", nodes.told.answers.get(&write));
    assert!(nodes.keyspace(A, leader).owns(keys[0].1).is_none());
    let reports = nodes.replica(A, leader).moves(&nodes.catalog, nodes.now().0);
    assert!(reports.iter().any(|report| report.frozen > 0 && report.stall.is_some()), "{reports:?}");
    nodes.lost = 0;
    nodes.ticks(40);
    let went = Answer::Elsewhere(Some(Whereabouts { slot: keys[0].1, owner: B, epoch: Epoch(2) }));
    assert_eq!((&nodes.told.answers[&write], &nodes.told.answers[&read]), (&went, &went));
    nodes.until_served(A, &slots);
    nodes.check(A, &keys);
}

#[test]
fn r13_a_frozen_slot_comes_back_when_the_target_has_refused_it_and_requests_are_sent_here_again() {
    let mut nodes = Nodes::led();
    let keys = nodes.fill(10);
    let slots = slots_of(&keys);
    nodes.want(slots.clone(), B);
    let leader = until_frozen(&mut nodes, keys[0].1);
    let write = nodes.send(A, leader, &["SET", &keys[0].0, "new"], Some(900), Epoch(0));
    assert!(nodes.told.held.contains(&write));
    let export = nodes.keyspace(A, leader).exports().next().unwrap();
    let message = crate::protocol::moves::MoveMessage {
        to: B,
        from: A,
        replica: nodes.replica(A, leader).id,
        id: export.id(A),
        body: crate::protocol::moves::MoveBody::Refuse { slots: export.slots().collect() },
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let ((now, wall), target) = (nodes.now(), nodes.leader(B).unwrap());
    nodes.engines[target].peer_move(&bytes, now, wall, &mut nodes.told);
    nodes.exchange();
    assert!(nodes.told.held.contains(&write), "that it was refused has not been heard");
    nodes.lost = 0;
    nodes.want(slots.clone(), A);
    nodes.until_served(A, &slots);
    let here = Whereabouts { slot: keys[0].1, owner: A, epoch: Epoch(3) };
    let answer = &nodes.told.answers[&write];
    assert_eq!(answer, &Answer::Elsewhere(Some(here)));
    nodes.check(A, &keys);
}

#[test]
fn an_old_answer_that_knows_nothing_of_it_does_not_end_a_frozen_move() {
    let mut nodes = Nodes::led();
    let keys = nodes.fill(10);
    let slots = slots_of(&keys);
    nodes.want(slots.clone(), B);
    let leader = until_frozen(&mut nodes, keys[0].1);
    let export = nodes.keyspace(A, leader).exports().next().unwrap();
    let target = nodes.leader(B).unwrap();
    let message = crate::protocol::moves::MoveMessage {
        to: A,
        from: B,
        replica: nodes.replica(B, target).id,
        id: export.id(A),
        body: crate::protocol::moves::MoveBody::State {
            leads: true,
            state: crate::protocol::moves::ImportState::Unknown,
        },
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    nodes.lost = 0;
    for _ in 0..2 {
        let (now, wall) = nodes.now();
        nodes.engines[leader].peer_move(&bytes, now, wall, &mut nodes.told);
    }
    nodes.until_served(B, &slots);
    nodes.check(B, &keys);
    let epoch = nodes.keyspace(B, nodes.leader(B).unwrap()).owns(keys[0].1);
    assert_eq!(epoch, Some(Epoch(2)), "the first attempt is the one that succeeded");
}

#[test]
fn r1_what_was_refused_at_the_freeze_is_not_overtaken_when_the_slot_comes_back() {
    let mut nodes = Nodes::led();
    let keys = nodes.fill(4);
    let slots = slots_of(&keys);
    let key = keys[0].0.clone();
    nodes.want(slots.clone(), B);
    let leader = until_frozen(&mut nodes, keys[0].1);
    // Proposed before the freeze was seen, and applied behind it: as if the log had them in this order.
    let first = nodes.send(A, leader, &["APPEND", &key, "1"], Some(900), Epoch(0));
    let second = nodes.send(A, leader, &["APPEND", &key, "2"], Some(901), Epoch(0));
    nodes.lost = 0;
    nodes.ticks(40);
    let went = Answer::Elsewhere(Some(Whereabouts { slot: keys[0].1, owner: B, epoch: Epoch(2) }));
    assert_eq!((&nodes.told.answers[&first], &nodes.told.answers[&second]), (&went, &went), "in order");
}

#[test]
fn a_follower_that_is_behind_what_a_proxy_knows_does_not_answer() {
    let mut nodes = Nodes::led();
    let keys = nodes.fill(4);
    let slots = slots_of(&keys);
    nodes.want(slots.clone(), B);
    nodes.until_served(B, &slots);
    // Followers hear with a heartbeat that it is committed.
    nodes.ticks(4);
    nodes.isolate(2);
    nodes.want(slots.clone(), A);
    nodes.until_served(A, &slots);
    let epoch = nodes.keyspace(A, nodes.leader(A).unwrap()).owns(keys[0].1).unwrap();
    let ask = |nodes: &mut Nodes, node, epoch| {
        let id = nodes.send(A, node, &["GET", &keys[0].0], None, epoch);
        nodes.told.answers[&id].clone()
    };
    assert_eq!(ask(&mut nodes, 2, epoch), Answer::Refused(RefusalReason::Behind));
    let older = Epoch(epoch.0 - 1);
    assert!(matches!(ask(&mut nodes, 2, older), Answer::Elsewhere(Some(went)) if went.owner == B));
    nodes.cut.clear();
    nodes.ticks(80);
    assert!(matches!(ask(&mut nodes, 2, epoch), Answer::Reply(_)));
}

#[test]
fn writers_that_outrun_the_copy_wait_and_it_ends() {
    let mut nodes = Nodes::led();
    let value = "x".repeat(300_000);
    let slot = Slot::of_key(b"k0");
    assert!(slot.number() < 8192);
    for n in 0..4 {
        nodes.write(&["SET", &format!("{{k0}}{n}"), &value]);
    }
    nodes.want([slot], B);
    for turn in 0..4000_u64 {
        if nodes.serves(B, &[slot]) {
            return;
        }
        let Some(leader) = nodes.leader(A) else { continue };
        for n in 0..4 {
            nodes.send(A, leader, &["APPEND", &format!("{{k0}}{n}"), "y"], Some(10_000 + turn * 4 + n), Epoch(0));
        }
        nodes.now_ms += 5;
        nodes.round();
        if turn % 5 == 0 {
            let (now, wall) = nodes.now();
            nodes.engines.iter_mut().for_each(|engine| engine.tick(now, wall, &mut nodes.told));
        }
    }
    panic!("it never ends");
}

#[test]
fn leaders_that_are_to_leave_a_node_stay_where_their_shard_has_no_other() {
    let mut nodes = Nodes::led();
    let last = nodes.replica(A, 2).id;
    nodes.catalog.nodes.get_mut(&NodeName::new("n3")).unwrap().evicted = true;
    let record = nodes.catalog.shards.iter_mut().find(|shard| shard.id == A).unwrap();
    let (wanted, leaving) = record.replicas.drain(..).partition(|replica| replica.id == last);
    (record.replicas, record.leaving) = (wanted, leaving);
    nodes.spread();
    nodes.ticks(200);
    assert_eq!(nodes.leader(A), Some(2));
    assert_eq!(nodes.replica(A, 2).group.members().voters, [last]);
}

#[test]
fn r14_a_shard_that_is_closing_gives_all_away_and_may_retire_once_the_catalog_knows() {
    let mut nodes = Nodes::led();
    let keys = nodes.fill(5);
    nodes.catalog.shards.iter_mut().find(|shard| shard.id == A).unwrap().closing = true;
    nodes.want(Slot::all(), B);
    for _ in 0..4000 {
        let leader = nodes.leader(A).unwrap();
        if nodes.replica(A, leader).may_retire(&nodes.catalog) {
            assert!(nodes.keyspace(A, leader).is_closing() && nodes.keyspace(A, leader).owned().is_empty());
            assert_eq!(nodes.catalog.slot_count(B), 16384);
            return nodes.check(B, &keys);
        }
        nodes.tick();
    }
    panic!("it is never done");
}
