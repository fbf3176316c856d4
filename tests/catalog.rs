//! The catalog's life: founded from a file, changed by commands, refused where it cannot follow, read back from bytes.

use std::collections::BTreeMap;

use pontoon::topology::{
    Catalog, CatalogCommand, CatalogOutcome, ClusterId, Epoch, Incarnation, LogIndex, NodeName, ReplicaId,
    ReplicaRecord, Revision, ShardId, ShardName, ShardsConfig, Slot, SlotRange, SlotTable,
};

/// Four nodes, two shards of weight 1 on three of them each.
fn file(version: u64) -> String {
    let mut text = format!("version = {version}\n");
    for i in 1..=4 {
        text += &format!("[[node]]\nname = \"n{i}\"\naddr = \"h{i}:7000\"\n");
    }
    text + "[[shard]]\nname = \"a\"\nnodes = [\"n1\", \"n2\", \"n3\"]\n[[shard]]\nname = \"b\"\nnodes = [\"n2\", \"n3\", \"n4\"]\n"
}

fn founded() -> Catalog {
    let config = ShardsConfig::parse(&file(1), "f").unwrap();
    let incarnations = BTreeMap::from([(NodeName::new("n1"), Incarnation(11))]);
    Catalog::found(ClusterId(7), 42, &config, &incarnations)
}

fn propose(catalog: &mut Catalog, text: &str) -> CatalogOutcome {
    let command = CatalogCommand::ProposeConfig { text: text.to_owned(), origin: "shards.toml".to_owned() };
    let before = catalog.clone();
    let foreseen = catalog.foresee(&command);
    let outcome = catalog.apply(&command);
    assert_eq!(foreseen, outcome);
    match &outcome {
        CatalogOutcome::Accepted { .. } => assert_eq!(catalog.revision, before.revision.next()),
        _ => assert_eq!(*catalog, before, "a refused command changes nothing"),
    }
    catalog.validate().unwrap();
    outcome
}

/// Proposes a later version of the file after some replacements.
fn edit(catalog: &mut Catalog, replacements: &[(&str, &str)]) {
    let version = catalog.version + 1;
    let mut text = file(version);
    for (from, to) in replacements {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    assert_eq!(propose(catalog, &text), CatalogOutcome::Accepted { version });
}

/// A command that changes the catalog, or not.
fn tell(catalog: &mut Catalog, command: &CatalogCommand) -> bool {
    let before = catalog.clone();
    let outcome = catalog.apply(command);
    catalog.validate().unwrap();
    let accepted = matches!(outcome, CatalogOutcome::Accepted { .. });
    assert_eq!(accepted, catalog.revision > before.revision);
    assert!(accepted || *catalog == before, "what changes nothing changes nothing");
    accepted
}

fn owners(shard: u64, ranges: &[(u16, u16, u64)]) -> CatalogCommand {
    let owner = ShardId(shard);
    let range =
        |(first, last, epoch): &(u16, u16, u64)| SlotRange { first: *first, last: *last, owner, epoch: Epoch(*epoch) };
    CatalogCommand::RecordOwners { shard: owner, owned: ranges.iter().map(range).collect() }
}

fn members(shard: u64, index: u64, revision: Revision, members: &[u64]) -> CatalogCommand {
    let members = members.iter().copied().map(ReplicaId).collect();
    CatalogCommand::RecordMembers { shard: ShardId(shard), index: LogIndex(index), revision, members }
}

fn ids(replicas: &[ReplicaRecord]) -> Vec<u64> {
    replicas.iter().map(|replica| replica.id.0).collect()
}

#[test]
fn a_new_cluster_has_all_slots_all_ids_and_a_catalog_of_one_voter() {
    let catalog = founded();
    catalog.validate().unwrap();
    assert_eq!((catalog.revision, catalog.version, catalog.seed), (Revision(1), 1, 42));
    let own = catalog.catalog_shard();
    assert_eq!((own.id, own.name.as_str(), own.replicas.len(), own.birth.len()), (ShardId::CATALOG, "catalog", 3, 1));
    assert_eq!((own.birth[0].id, own.birth[0].node.as_str()), (ReplicaId(1), "n1"));
    let shards: Vec<_> =
        catalog.data_shards().iter().map(|s| (s.id.0, s.name.as_str(), s.birth == s.replicas)).collect();
    assert_eq!(shards, [(1, "a", true), (2, "b", true)]);
    let ranges: Vec<_> = catalog.slots.iter().map(|r| (r.first, r.last, r.owner.0, r.epoch.0)).collect();
    assert_eq!(ranges, [(0, 8191, 1, 1), (8192, 16383, 2, 1)]);
    assert_eq!(catalog.shards[1].birth_slots, [catalog.slots[0]]);
    let targets: Vec<_> = catalog.targets.iter().map(|r| (r.first, r.last, r.shard.0)).collect();
    assert_eq!(targets, [(0, 8191, 1), (8192, 16383, 2)]);
    assert_eq!((catalog.next_shard, catalog.next_replica), (ShardId(3), ReplicaId(10)));
    assert_eq!(catalog.nodes[&NodeName::new("n1")].incarnation, Some(Incarnation(11)));
    assert_eq!(catalog.nodes[&NodeName::new("n2")].incarnation, None);
}

#[test]
fn slots_and_replicas_are_found() {
    let catalog = founded();
    let table = SlotTable::of(&catalog);
    for slot in Slot::all() {
        let owner = if slot.number() < 8192 { "a" } else { "b" };
        assert_eq!(catalog.owner(slot).name.as_str(), owner);
        assert_eq!(table.range(slot), catalog.range_of(slot));
    }
    assert_eq!(catalog.slot_count(ShardId(1)), 8192);
    assert_eq!(catalog.addr(&NodeName::new("n3")), Some("h3:7000"));
    let on_n1: Vec<_> = catalog.replicas_on(&NodeName::new("n1")).map(|(s, r)| (s.id.0, r.id.0)).collect();
    assert_eq!(on_n1, [(0, 1), (1, 4)]);
    assert!(catalog.shard_named(&ShardName::new("c")).is_none());
}

#[test]
fn a_shard_without_weight_is_born_without_slots() {
    let text = format!("{}[[shard]]\nname = \"c\"\nnodes = [\"n1\"]\nweight = 0\n", file(1));
    let config = ShardsConfig::parse(&text, "f").unwrap();
    let catalog = Catalog::found(ClusterId(7), 42, &config, &BTreeMap::new());
    catalog.validate().unwrap();
    assert_eq!((catalog.slots.len(), catalog.slot_count(ShardId(3))), (2, 0));
}

#[test]
fn the_highest_version_wins_and_a_second_meaning_is_a_conflict() {
    let mut catalog = founded();
    assert_eq!(propose(&mut catalog, &format!("# a comment\n{}", file(1))), CatalogOutcome::Same { version: 1 });
    let other = file(1).replace("h4:7000", "h4:7001");
    let reason = "node `n4` differs".to_owned();
    assert_eq!(propose(&mut catalog, &other), CatalogOutcome::Conflict { version: 1, reason });
    assert_eq!(propose(&mut catalog, &file(9)), CatalogOutcome::Accepted { version: 9 });
    assert_eq!(propose(&mut catalog, &file(8)), CatalogOutcome::Stale { version: 9 });
}

#[test]
fn an_edit_that_names_another_base_is_refused() {
    let mut catalog = founded();
    let based = |version: u64, base: u64| format!("base = {base}\n{}", file(version));
    assert_eq!(propose(&mut catalog, &based(3, 1)), CatalogOutcome::Accepted { version: 3 });
    let reason = "the edit was made from version 1, and the accepted version is 3".to_owned();
    assert_eq!(propose(&mut catalog, &based(4, 1)), CatalogOutcome::Refused { version: 3, reason });
    assert_eq!(propose(&mut catalog, &based(3, 1)), CatalogOutcome::Same { version: 3 }, "what was accepted stays so");
}

#[test]
fn addresses_zones_and_nodes_come_without_moving_anything_and_a_new_shard_gets_its_share() {
    let mut catalog = founded();
    let text =
        file(2).replace("\"h4:7000\"", "\"h4:7001\"\nzone = \"z\"") + "[[node]]\nname = \"n5\"\naddr = \"h5:1\"\n";
    let slots = catalog.slots.clone();
    assert_eq!(propose(&mut catalog, &text), CatalogOutcome::Accepted { version: 2 });
    let n4 = &catalog.nodes[&NodeName::new("n4")];
    assert_eq!((n4.addr.as_str(), n4.zone.as_deref()), ("h4:7001", Some("z")));
    assert_eq!(catalog.nodes[&NodeName::new("n1")].incarnation, Some(Incarnation(11)), "kept");
    assert_eq!(catalog.targets, founded().targets);
    let text = text.replace("version = 2", "version = 3") + "[[shard]]\nname = \"c\"\nnodes = [\"n5\"]\nweight = 2\n";
    assert_eq!(propose(&mut catalog, &text), CatalogOutcome::Accepted { version: 3 });
    let c = catalog.shard_named(&ShardName::new("c")).unwrap();
    assert_eq!((c.id, c.weight, c.birth.as_slice(), c.birth_slots.len()), (ShardId(3), 2, c.replicas.as_slice(), 0));
    assert_eq!(c.replicas[0].id, ReplicaId(10));
    assert_eq!(catalog.slots, slots, "until they have moved");
    let counts: Vec<_> = (1..=3).map(|id| catalog.target_count(ShardId(id))).collect();
    assert_eq!(counts, [4096, 4097, 8191], "within one of each share, with the fewest moves");
    let moved: u32 = [1, 2].iter().flat_map(|id| catalog.moves_wanted(ShardId(*id))).map(|run| run.slot_count()).sum();
    assert_eq!(moved, 8191);
    assert!(Slot::all().all(|slot| {
        let runs = catalog.moves_wanted(catalog.owner(slot).id);
        let run = runs.iter().find(|run| (run.first..=run.last).contains(&slot.number()));
        run.map_or(catalog.owner(slot).id, |run| run.shard) == catalog.target(slot)
    }));
    assert_eq!(catalog.config_text, text);
}

#[test]
fn a_node_in_front_of_the_file_does_not_move_the_catalog() {
    let mut catalog = founded();
    let text = file(2).replacen("[[node]]", "[[node]]\nname = \"n0\"\naddr = \"h0:1\"\n[[node]]", 1);
    assert_eq!(propose(&mut catalog, &text), CatalogOutcome::Accepted { version: 2 });
    assert_eq!(catalog.catalog_shard(), founded().catalog_shard());
}

#[test]
fn a_node_that_holds_nothing_leaves_at_once() {
    let mut catalog = founded();
    let fifth = "[[node]]\nname = \"n5\"\naddr = \"h5:1\"\n";
    assert_eq!(propose(&mut catalog, &(file(2) + fifth)), CatalogOutcome::Accepted { version: 2 });
    assert_eq!(propose(&mut catalog, &file(3)), CatalogOutcome::Accepted { version: 3 });
    assert!(catalog.addr(&NodeName::new("n5")).is_none());
}

#[test]
fn a_node_that_holds_replicas_is_kept_until_they_have_left() {
    let mut catalog = founded();
    // Of n1 everything goes: the catalog's replica too, as n1 is not among the first three nodes any more.
    edit(
        &mut catalog,
        &[("[[node]]\nname = \"n1\"\naddr = \"h1:7000\"\n", ""), ("\"n1\", \"n2\", \"n3\"", "\"n4\", \"n2\", \"n3\"")],
    );
    let n1 = NodeName::new("n1");
    let own = catalog.catalog_shard();
    assert_eq!((ids(&own.replicas), ids(&own.leaving)), (vec![2, 3, 11], vec![1]));
    assert_eq!((ids(&catalog.shards[1].replicas), ids(&catalog.shards[1].leaving)), (vec![10, 5, 6], vec![4]));
    assert!(catalog.nodes[&n1].leaving);
    assert_eq!(catalog.addr(&n1), Some("h1:7000"));
    let revision = catalog.revision;
    assert!(tell(&mut catalog, &members(0, 20, revision, &[2, 3, 11])));
    assert!(catalog.nodes.contains_key(&n1), "shard a is still there");
    assert!(!tell(&mut catalog, &members(1, 30, revision, &[4, 5, 6, 10])), "it has not left yet");
    assert!(!tell(&mut catalog, &members(1, 31, Revision(1), &[5, 6])), "by one who did not know that it was to leave");
    assert!(tell(&mut catalog, &members(1, 32, revision, &[5, 6, 10])));
    assert!(!catalog.nodes.contains_key(&n1));
    assert!(catalog.is_retired(Incarnation(11)), "its directory never acts again");
}

#[test]
fn a_replica_that_is_wanted_again_while_it_leaves_stays_and_later_is_a_new_one() {
    let mut catalog = founded();
    let away = [("\"n2\", \"n3\", \"n4\"", "\"n2\", \"n3\", \"n1\"")];
    edit(&mut catalog, &away);
    assert_eq!((ids(&catalog.shards[2].replicas), ids(&catalog.shards[2].leaving)), (vec![7, 8, 10], vec![9]));
    let first = catalog.revision;
    edit(&mut catalog, &[]);
    assert_eq!((ids(&catalog.shards[2].replicas), ids(&catalog.shards[2].leaving)), (vec![7, 8, 9], vec![10]));
    edit(&mut catalog, &away);
    // What was said of the first time says nothing of the second.
    assert!(!tell(&mut catalog, &members(2, 50, first, &[7, 8, 10])));
    let second = catalog.revision;
    assert!(tell(&mut catalog, &members(2, 60, second, &[7, 8, 10])));
    edit(&mut catalog, &[]);
    assert_eq!((ids(&catalog.shards[2].replicas), ids(&catalog.shards[2].leaving)), (vec![7, 8, 11], vec![10]));
}

#[test]
fn a_shard_that_is_removed_closes_and_its_name_is_free_at_once() {
    let b = "[[shard]]\nname = \"b\"\nnodes = [\"n2\", \"n3\", \"n4\"]\n";
    let mut catalog = founded();
    edit(&mut catalog, &[(b, "")]);
    assert!(catalog.shards[2].closing && catalog.shard_named(&ShardName::new("b")).is_none());
    assert_eq!(catalog.target_count(ShardId(1)), 16384);
    assert!(!tell(&mut catalog, &CatalogCommand::RetireShard { shard: ShardId(2) }), "it owns slots");
    edit(&mut catalog, &[]);
    let again = catalog.shard_named(&ShardName::new("b")).unwrap();
    assert_eq!((again.id, ids(&again.replicas)), (ShardId(3), vec![10, 11, 12]), "another shard");
    assert_eq!(catalog.target_count(ShardId(3)), 8192);
    assert!(tell(&mut catalog, &owners(3, &[(8192, 16383, 2)])));
    assert!(!tell(&mut catalog, &owners(2, &[(8192, 16383, 1)])), "a late report");
    assert!(tell(&mut catalog, &CatalogCommand::RetireShard { shard: ShardId(2) }));
    assert!(catalog.shard(ShardId(2)).is_none());
    for command in [CatalogCommand::RetireShard { shard: ShardId(2) }, owners(2, &[(0, 1, 9)])] {
        assert!(!tell(&mut catalog, &command), "what is gone is gone");
    }
    assert!(!tell(&mut catalog, &CatalogCommand::RetireShard { shard: ShardId(1) }), "it is not closing");
}

#[test]
fn owners_are_known_by_their_epochs() {
    let mut catalog = founded();
    assert!(tell(&mut catalog, &owners(2, &[(10, 11, 2), (12, 12, 4)])));
    assert!(!tell(&mut catalog, &owners(2, &[(10, 11, 2)])), "twice");
    assert!(tell(&mut catalog, &owners(1, &[(10, 12, 3)])), "the newer one counts");
    let ranges: Vec<_> = catalog.slots.iter().map(|r| (r.first, r.last, r.owner.0, r.epoch.0)).collect();
    assert_eq!(ranges, [(0, 9, 1, 1), (10, 11, 1, 3), (12, 12, 2, 4), (13, 8191, 1, 1), (8192, 16383, 2, 1)]);
    for nonsense in
        [owners(0, &[(0, 1, 5)]), owners(9, &[(0, 1, 5)]), owners(1, &[(5, 4, 5)]), owners(1, &[(5, 16384, 5)])]
    {
        assert!(!tell(&mut catalog, &nonsense));
    }
}

#[test]
fn leaders_leave_a_node_and_come_back() {
    let mut catalog = founded();
    let evict = |name: &str, evicted| CatalogCommand::EvictLeaders { node: NodeName::new(name), evicted };
    for (command, changes) in
        [(evict("n1", true), true), (evict("n1", true), false), (evict("n9", true), false), (evict("n1", false), true)]
    {
        assert_eq!(tell(&mut catalog, &command), changes, "{command:?}");
    }
}

#[test]
fn weights_may_be_written_larger_when_no_share_changes() {
    let mut catalog = founded();
    edit(&mut catalog, &[("[[shard]]\n", "[[shard]]\nweight = 2\n")]);
    assert_eq!((catalog.shards[1].weight, catalog.targets), (2, founded().targets));
}

#[test]
fn the_catalog_follows_the_file_and_without_a_word_stays_where_it_is() {
    let mut catalog = founded();
    edit(&mut catalog, &[("version = 2\n", "version = 2\ncatalog = { nodes = [\"n4\"] }\n")]);
    assert_eq!((ids(&catalog.shards[0].replicas), ids(&catalog.shards[0].leaving)), (vec![10], vec![1, 2, 3]));
    let revision = catalog.revision;
    assert!(tell(&mut catalog, &members(0, 9, revision, &[10])));
    edit(&mut catalog, &[]);
    assert_eq!((ids(&catalog.shards[0].replicas), ids(&catalog.shards[0].leaving)), (vec![10, 11, 12], vec![]));
}

#[test]
fn a_broken_proposal_is_refused_with_its_place() {
    let CatalogOutcome::Refused { reason, .. } = propose(&mut founded(), "version = 2\nnod = 1\n") else { panic!() };
    assert_eq!(reason, "shards.toml:1:1: at least one [[shard]] is needed");
}

#[test]
fn the_first_incarnation_of_a_node_keeps_its_name() {
    let mut catalog = founded();
    let mut register = |name: &str, incarnation| {
        catalog
            .apply(&CatalogCommand::RegisterNode { name: NodeName::new(name), incarnation: Incarnation(incarnation) })
    };
    assert_eq!(register("n2", 5), CatalogOutcome::Accepted { version: 1 });
    assert_eq!(register("n2", 5), CatalogOutcome::Same { version: 1 });
    let CatalogOutcome::Refused { reason, .. } = register("n2", 6) else { panic!("a second disk took the name") };
    assert!(reason.starts_with("node `n2` is known with incarnation 00000000000000000000000000000005"), "{reason}");
    let CatalogOutcome::Refused { reason, .. } = register("n9", 6) else { panic!("nobody knows n9") };
    assert_eq!(reason, "the accepted shards.toml has no node `n9`");
    assert_eq!(catalog.revision, Revision(2));
}

/// Three nodes that are known, the first of which comes back with another disk.
fn replaced(catalog: &mut Catalog, name: &str, old: u128, new: u128) -> CatalogOutcome {
    let (old, new) = (Incarnation(old), Incarnation(new));
    let before = catalog.clone();
    let outcome = catalog.apply(&CatalogCommand::ReplaceNode { name: NodeName::new(name), old, new });
    if !matches!(outcome, CatalogOutcome::Accepted { .. }) {
        assert_eq!(*catalog, before, "a refused command changes nothing");
    }
    catalog.validate().unwrap();
    outcome
}

fn replicas(catalog: &Catalog) -> Vec<Vec<u64>> {
    catalog.shards.iter().map(|shard| shard.replicas.iter().map(|r| r.id.0).collect()).collect()
}

#[test]
fn a_node_that_lost_its_disk_gets_new_replicas_and_its_past_never_returns() {
    let mut catalog = founded();
    assert_eq!(replicas(&catalog), [[1, 2, 3], [4, 5, 6], [7, 8, 9]]);
    let births: Vec<_> = catalog.shards.iter().map(|shard| shard.birth.clone()).collect();
    assert_eq!(replaced(&mut catalog, "n1", 11, 12), CatalogOutcome::Accepted { version: 1 });
    assert_eq!(replicas(&catalog), [[10, 2, 3], [11, 5, 6], [7, 8, 9]]);
    assert_eq!((catalog.revision, catalog.next_replica), (Revision(2), ReplicaId(12)));
    assert_eq!(catalog.nodes[&NodeName::new("n1")].incarnation, Some(Incarnation(12)));
    assert!(catalog.shards.iter().map(|shard| shard.birth.clone()).eq(births), "who a shard was formed of stays");
    let first = |shard: ShardId| catalog.shard(shard).unwrap().replica_on(&NodeName::new("n1")).unwrap().id;
    assert!(
        catalog.shards.iter().all(|s| s.birth.iter().all(|b| b.id != first(ShardId(0)) && b.id != first(ShardId(1))))
    );
    assert_eq!(Catalog::decode(&catalog.encode()).unwrap(), catalog);

    assert_eq!(replaced(&mut catalog, "n1", 11, 12), CatalogOutcome::Same { version: 1 }, "asked twice");
    for (old, new, why) in [
        (12, 11, "incarnation 0000000000000000000000000000000b was replaced by another and may never act again"),
        (11, 13, "no longer known with incarnation 0000000000000000000000000000000b"),
    ] {
        let CatalogOutcome::Refused { reason, .. } = replaced(&mut catalog, "n1", old, new) else { panic!("{why}") };
        assert!(reason.contains(why), "{reason}");
    }
    let command = CatalogCommand::RegisterNode { name: NodeName::new("n1"), incarnation: Incarnation(11) };
    let CatalogOutcome::Refused { reason, .. } = catalog.apply(&command) else { panic!("the old disk came back") };
    assert!(reason.contains("may never act again"), "{reason}");
    // A disk that is lost again before anything was copied to it.
    assert_eq!(replaced(&mut catalog, "n1", 12, 13), CatalogOutcome::Accepted { version: 1 });
    assert_eq!(replicas(&catalog), [[12, 2, 3], [13, 5, 6], [7, 8, 9]]);
    // Nobody was known yet: there is nothing to replace.
    let CatalogOutcome::Refused { .. } = replaced(&mut catalog, "n2", 0, 1) else { panic!("n2 has no past") };
    let CatalogOutcome::Refused { .. } = replaced(&mut catalog, "n9", 0, 1) else { panic!("nobody knows n9") };
}

#[test]
fn a_node_that_left_and_comes_back_under_its_name_is_another_one() {
    let mut catalog = founded();
    let with_fifth = |version| file(version) + "[[node]]\nname = \"n5\"\naddr = \"h5:1\"\n";
    let register = |incarnation| CatalogCommand::RegisterNode { name: NodeName::new("n5"), incarnation };
    propose(&mut catalog, &with_fifth(2));
    assert_eq!(catalog.apply(&register(Incarnation(5))), CatalogOutcome::Accepted { version: 2 });
    propose(&mut catalog, &file(3));
    propose(&mut catalog, &with_fifth(4));
    let CatalogOutcome::Refused { reason, .. } = catalog.apply(&register(Incarnation(5))) else { panic!() };
    assert!(reason.contains("may never act again"), "{reason}");
    assert_eq!(catalog.apply(&register(Incarnation(6))), CatalogOutcome::Accepted { version: 4 });
}

#[test]
fn commands_and_catalogs_are_read_back_from_their_json() {
    let catalog = founded();
    assert_eq!(Catalog::decode(&catalog.encode()).unwrap(), catalog);
    let command = CatalogCommand::ProposeConfig { text: file(2), origin: "n1:shards.toml".to_owned() };
    let json = serde_json::to_string(&command).unwrap();
    assert!(json.starts_with(r#"{"command":"propose_config","text":"version = 2\n"#), "{json}");
    assert_eq!(serde_json::from_str::<CatalogCommand>(&json).unwrap(), command);
}

#[test]
fn a_damaged_catalog_is_an_error_that_says_what_is_damaged() {
    let json = String::from_utf8(founded().encode()).unwrap();
    for (from, to, complaint) in [
        (r#""cluster":"00"#, r#""cluster":"0x"#, "32 hexadecimal digits"),
        (r#""version":1,"#, r#""version":2,"#, "version 2 with the text of version 1"),
        (r#""slots":[{"first":0,"#, r#""slots":[{"first":1,"#, "slots 1 to 8191 do not follow 0"),
        (
            r#""first":8192,"last":16383,"owner":2,"epoch":1}],"targets"#,
            r#""first":8192,"last":16382,"owner":2,"epoch":1}],"targets"#,
            "the slots end at 16383",
        ),
        (
            r#""last":16383,"owner":2,"epoch":1}],"targets"#,
            r#""last":16384,"owner":2,"epoch":1}],"targets"#,
            "do not follow",
        ),
        (
            r#""last":16383,"owner":2,"epoch":1}],"targets"#,
            r#""last":16383,"owner":9,"epoch":1}],"targets"#,
            "shard 9, which is not there",
        ),
        (
            r#""last":16383,"owner":2,"epoch":1}],"targets"#,
            r#""last":16383,"owner":0,"epoch":1}],"targets"#,
            "shard 0, which is not there",
        ),
        (r#""last":16383,"owner":2,"epoch":1}],"targets"#, r#""last":16383,"owner":2,"epoch":0}],"targets"#, "epoch 0"),
        (r#""targets":[{"first":0"#, r#""targets":[{"first":1"#, "targets 1 to 8191 do not follow 0"),
        (r#""last":16383,"shard":2}"#, r#""last":16382,"shard":2}"#, "the targets end at 16383"),
        (r#""last":16383,"shard":2}"#, r#""last":16383,"shard":0}"#, "shard 0, which takes none"),
        (r#""leaving_since":0"#, r#""closing":true,"leaving_since":0"#, "own group is closing"),
        (r#""next_shard":3"#, r#""next_shard":2"#, "shard 2 is out of order"),
        (r#""next_replica":10"#, r#""next_replica":9"#, "replica 9"),
        (r#""id":2,"name":"b""#, r#""id":1,"name":"b""#, "shard 1 is out of order"),
        (r#""id":2,"name":"b""#, r#""id":2,"name":"a""#, "shard 2 has the name"),
        (r#""name":"catalog""#, r#""name":"catalox""#, "own group is missing"),
        (r#"{"id":5,"node":"n2"}"#, r#"{"id":4,"node":"n2"}"#, "replica 4 of shard 1 is there twice"),
        (r#"{"id":5,"node":"n2"}"#, r#"{"id":5,"node":"n1"}"#, "replica 5 of shard 1 is on node"),
        (r#""n2":{"addr":"h2:7000""#, r#""n2":{"addr":"h2""#, "node n2"),
        (r#""n2":{"#, r#""n 2":{"#, "node \"n 2\""),
        (
            r#""next_replica":10"#,
            r#""next_replica":10,"retired":["0000000000000000000000000000000b"]"#,
            "node n1 has an incarnation that was retired",
        ),
    ] {
        assert!(json.contains(from), "{from} is not in {json}");
        let error = Catalog::decode(json.replace(from, to).as_bytes()).expect_err(to);
        assert!(error.to_string().contains(complaint), "{to}: {error}");
    }
    let end = json.find(r#","targets""#).unwrap()..json.find(r#","next_shard""#).unwrap();
    let mut of_a_release_that_moved_nothing = json.clone();
    of_a_release_that_moved_nothing.replace_range(end, "");
    assert_eq!(Catalog::decode(of_a_release_that_moved_nothing.as_bytes()).unwrap(), founded());
    let older_rules = json.replace(r#""config_text":"version"#, r#""config_text":"nersion"#);
    let mut catalog = Catalog::decode(older_rules.as_bytes()).expect("a release with other rules runs on");
    assert!(matches!(propose(&mut catalog, &file(1)), CatalogOutcome::Conflict { version: 1, .. }));
    for cut in 0..json.len() {
        assert!(Catalog::decode(&json.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
}
