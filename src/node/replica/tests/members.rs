//! Members change by what a leader knows of the catalog, which may be old.

use super::*;
use crate::consensus::{MemberChange, Members, snapshot_message};
use crate::node::reports;
use crate::topology::{CatalogCommand, CatalogOutcome, Revision};

/// The catalog after an edit that leaves a shard on these nodes.
fn edited(catalog: &Catalog, version: u64, nodes: &str) -> Arc<Catalog> {
    let known: String = (1..=4).map(|n| format!("[[node]]\nname = 'n{n}'\naddr = 'h:{n}'\n")).collect();
    let text = format!("version = {version}\n{known}[[shard]]\nname = 'a'\nnodes = [{nodes}]\n");
    let mut catalog = catalog.clone();
    let outcome = catalog.apply(&CatalogCommand::ProposeConfig { text, origin: "test".to_owned() });
    assert!(matches!(outcome, CatalogOutcome::Accepted { .. }), "{outcome:?}");
    Arc::new(catalog)
}

#[test]
fn r16_a_leader_with_an_old_catalog_brings_nobody_back_who_was_given_up() {
    let mut trio = Trio::led(second(), true);
    let two = edited(&trio.catalog, 2, "'n1', 'n2'");
    trio.engines[0].adopt_catalog(Arc::clone(&two));
    trio.ticks(60);
    let voters = |trio: &Trio, node: usize| trio.replica(node).group.members().voters.len();
    assert_eq!((voters(&trio, 0), voters(&trio, 1)), (2, 2));

    let to = trio.replica(1).id;
    trio.engines[0].replica_mut(SHARD).unwrap().group.transfer(to);
    trio.ticks(200);
    assert_eq!(trio.leaders(), [1]);
    let members = trio.replica(1).group.members().clone();
    assert_eq!((members.voters.len(), members.learners.len()), (2, 0), "it has heard of no edit");
    assert_eq!(members.revision, two.revision);

    // Nor does it after a start from a snapshot, or as a newcomer to whom one was sent.
    let point = trio.replica(1).point();
    assert_eq!(point.members.revision, two.revision);
    trio.engines[1].adopt_catalog(edited(&two, 3, "'n2'"));
    trio.ticks(200);
    assert_eq!(voters(&trio, 1), 1, "of what it knows it makes use");
}

#[test]
fn r16_who_never_was_a_member_is_reported_gone_once_no_leader_can_bring_it_in() {
    let mut trio = Trio::led(second(), true);
    let wider = edited(&trio.catalog, 2, "'n1', 'n2', 'n3', 'n4'");
    let back = edited(&wider, 3, "'n1', 'n2', 'n3'");
    trio.engines[0].adopt_catalog(Arc::clone(&back));
    trio.engines[1].adopt_catalog(wider);
    let due = |trio: &Trio| reports::due(trio.replica(0), &back);
    assert_eq!(due(&trio), [], "another leader might still make it a member");
    trio.ticks(60);
    let members = trio.replica(0).group.members().clone();
    assert_eq!((members.voters.len(), members.learners.len(), members.revision), (3, 0, back.revision));
    assert!(matches!(due(&trio)[..], [CatalogCommand::RecordMembers { .. }]), "{:?}", due(&trio));

    let last = trio.replica(0).group.last_index();
    trio.ticks(60);
    assert_eq!(trio.replica(0).group.last_index(), last, "once is enough");
    let to = trio.replica(1).id;
    trio.engines[0].replica_mut(SHARD).unwrap().group.transfer(to);
    trio.ticks(200);
    assert_eq!(trio.leaders(), [1]);
    assert_eq!(trio.replica(1).group.members(), &members, "it has not heard that it was taken back");
}

/// Someone of whom no catalog here knows, and a revision that is newer than all of them.
const NEWER: (ReplicaId, Revision) = (ReplicaId(99), Revision(100));

#[test]
fn a_catalog_that_comes_as_a_state_is_what_the_node_knows() {
    let mut trio = Trio::new(second(), true);
    let (now, wall) = (trio.now(), trio.wall());
    let catalog = Arc::clone(&trio.catalog);
    let voters: Vec<_> = catalog.catalog_shard().birth.iter().map(|replica| replica.id).collect();
    let me = catalog.catalog_shard().replica_on(&name(0)).unwrap().id;
    let options = GroupOptions {
        heartbeat_ticks: 2,
        lease_ticks: LEASE_TICKS,
        election_ticks: 24,
        append_bytes_max: 1 << 20,
        appends_in_flight_max: 256,
        uncommitted_bytes_max: 1 << 20,
        committed_bytes_max: 1 << 20,
        quiet_ticks: 0,
        keeps_leases: false,
        boot_nonce: 1,
    };
    let restored = Restored { start: SnapshotPoint::birth(voters.iter().copied()), ..Restored::default() };
    let group = Group::restore(me, options, restored).unwrap();
    let engine = &mut trio.engines[0];
    engine.add_replica(Replica::new(ShardId::CATALOG, me, group, Machine::Catalog(Arc::clone(&catalog)), 0));

    let newer = edited(&edited(&catalog, 2, "'n1', 'n2'"), 3, "'n1', 'n3'");
    let members = Members::of_voters(voters.into_iter().chain([NEWER.0]));
    let point = SnapshotPoint { index: LogIndex(50), term: Term(9), members };
    let message = snapshot_message(NEWER.0, me, &point);
    engine.snapshot_received(ShardId::CATALOG, message, Machine::Catalog(Arc::clone(&newer)), 1);
    engine.turn(now, wall, &mut trio.told);
    assert_eq!(engine.replica(ShardId::CATALOG).unwrap().state_index, point.index);
    assert_eq!(engine.revision(), newer.revision);
}

fn change(trio: &mut Trio, node: usize, change: MemberChange, by: Revision) {
    trio.engines[node].replica_mut(SHARD).unwrap().group.propose_members(change, by).unwrap();
    trio.exchange();
}

#[test]
fn what_needs_no_catalog_waits_for_none() {
    // The voter that goes is a follower, or the leader.
    for goes in [2, 0] {
        let mut trio = Trio::led(second(), true);
        let (add, by) = NEWER;
        let remove = trio.replica(goes).id;
        change(&mut trio, 0, MemberChange::Exchange { add, remove }, by);
        assert_eq!(trio.replica(0).group.members().voters_outgoing.len(), 3);
        trio.ticks(300);
        let [leader] = trio.leaders()[..] else { panic!("{:?}", trio.leaders()) };
        assert_ne!(leader, goes);
        let group = &trio.replica(leader).group;
        assert!(group.members().voters_outgoing.is_empty() && group.members_are_settled());
        let members = group.members();
        assert!(members.contains(add) && !members.contains(remove) && members.revision == by, "{members:?}");
    }
}

#[test]
fn a_member_of_whom_the_catalog_does_not_know_is_left_alone_though_no_revision_is_named() {
    let mut trio = Trio::led(second(), true);
    change(&mut trio, 0, MemberChange::AddLearner(NEWER.0), Revision(0));
    trio.ticks(60);
    assert_eq!(trio.replica(0).group.members().learners, [NEWER.0], "an earlier release named none");
}
