//! What a directory holds comes back whole, or is an error: after a crash, with files missing, under other replicas.

use super::*;
use crate::storage::SimulatedDisk;
use crate::topology::ShardsConfig;

fn open(disk: &SimulatedDisk) -> Result<(Home, SegmentLog), HomeError> {
    Home::open(&disk.disk(), Path::new("/data"), &NodeName::new("n1"), &Entropy::seeded(1))
}

/// The catalog of a cluster in which `n1` has the only replica of a shard, which was formed elsewhere.
fn catalog_of_a_newcomer() -> Catalog {
    let file = "version = 1\n[[node]]\nname = 'n1'\naddr = '127.0.0.1:1'\n[[shard]]\nname = 'a'\nnodes = ['n1']\n";
    let config = ShardsConfig::parse(file, "test").unwrap();
    let (name, [old, new]) = (NodeName::new("n1"), [1, 2].map(Incarnation));
    let mut catalog = Catalog::found(ClusterId(7), 1, &config, &BTreeMap::from([(name.clone(), old)]));
    catalog.apply(&crate::topology::CatalogCommand::ReplaceNode { name, old, new });
    catalog
}

/// A replica that was sent its state at index 9 and has three entries after it.
fn sent_a_state(disk: &SimulatedDisk) -> (Catalog, ShardId) {
    let catalog = catalog_of_a_newcomer();
    let shard = catalog.data_shards()[0].clone();
    let (mut home, mut log) = open(disk).unwrap();
    home.keep_catalog(&catalog).unwrap();
    let members = crate::consensus::Members::of_voters([shard.replicas[0].id]);
    let point = SnapshotPoint { index: LogIndex(9), term: Term(6), members };
    let state = Machine::Data(Keyspace::new(catalog.seed).into()).freeze().unwrap();
    drop(home.snapshots().write(shard.id, shard.replicas[0].id, &point, state.pieces()).unwrap());
    let mut batch = crate::storage::WriteBatch::default();
    batch.reset(shard.id.0, 9, 6);
    (10..13).for_each(|index| batch.entry(shard.id.0, index, 6, 0, b""));
    log.write(&mut batch).and_then(|()| log.sync()).unwrap();
    (catalog, shard.id)
}

fn restored(disk: &SimulatedDisk, catalog: &Catalog) -> Result<Vec<LogIndex>, HomeError> {
    let (mut home, _log) = open(disk)?;
    Ok(home.restore_all(Some(catalog))?.iter().map(|replica| replica.group.last_index()).collect())
}

#[test]
fn a_replica_that_was_sent_its_state_never_comes_back_with_less() {
    let disk = SimulatedDisk::new(1);
    let (catalog, shard) = sent_a_state(&disk);
    assert_eq!(restored(&disk, &catalog).unwrap(), [LogIndex(12)]);

    // An older state in the place of its own: the entries up to 9 are in neither.
    let (home, log) = open(&disk).unwrap();
    let snapshots = home.snapshots();
    snapshots.remove_all(shard).unwrap();
    let point = SnapshotPoint { index: LogIndex(7), term: Term(6), ..SnapshotPoint::default() };
    let id = catalog.data_shards()[0].replicas[0].id;
    drop(snapshots.write(shard, id, &point, std::iter::empty()).unwrap());
    drop((home, log));
    let error = restored(&disk, &catalog).unwrap_err();
    assert!(matches!(error, HomeError::State { .. } | HomeError::Restore { .. }), "{error}");

    // No state at all.
    snapshots.remove_all(shard).unwrap();
    let error = restored(&disk, &catalog).unwrap_err();
    assert!(matches!(error, HomeError::Lost { .. }), "{error}");
}

#[test]
fn a_log_that_is_gone_is_noticed_on_a_node_that_formed_no_shard() {
    let disk = SimulatedDisk::new(1);
    let (catalog, _) = sent_a_state(&disk);
    let names = disk.disk().list_dir(Path::new("/data/log")).unwrap().unwrap();
    names.iter().for_each(|name| disk.disk().remove(&Path::new("/data/log").join(name)).unwrap());
    for _ in 0..2 {
        let error = restored(&disk, &catalog).unwrap_err();
        assert!(matches!(error, HomeError::LogLost(_)), "{error}");
    }
}

#[test]
fn a_replica_is_no_newcomer_again_because_the_catalog_was_missing_at_the_start() {
    let disk = SimulatedDisk::new(1);
    let (catalog, _) = sent_a_state(&disk);
    let shard = &catalog.data_shards()[0];
    let join = || {
        let (mut home, _log) = open(&disk).unwrap();
        assert!(home.restore_all(None).unwrap().is_empty());
        home.newcomer(shard, shard.replicas[0].id).map(|replica| replica.group.last_index())
    };
    assert_eq!(join().unwrap(), LogIndex(12));
    let snapshots = open(&disk).unwrap().0.snapshots();
    snapshots.remove_all(shard.id).unwrap();
    assert!(matches!(join(), Err(HomeError::Lost { .. })));
}

#[test]
fn the_state_of_an_earlier_replica_is_not_taken_for_that_of_a_later_one() {
    let disk = SimulatedDisk::new(1);
    let (mut catalog, _) = sent_a_state(&disk);
    let (name, [old, new]) = (NodeName::new("n1"), [2, 3].map(Incarnation));
    catalog.apply(&crate::topology::CatalogCommand::ReplaceNode { name, old, new });
    let (mut home, _log) = open(&disk).unwrap();
    assert!(home.restore_all(Some(&catalog)).unwrap().is_empty());
    let shard = &catalog.data_shards()[0];
    assert_eq!(home.leftovers(&catalog).unwrap(), [shard.id]);
    let error = home.newcomer(shard, shard.replicas[0].id).map(drop).unwrap_err();
    assert!(matches!(error, HomeError::OtherReplica { .. }), "{error}");
    destroy(&mut home, shard.id).unwrap();
    assert!(home.leftovers(&catalog).unwrap().is_empty());
    let newcomer = home.newcomer(shard, shard.replicas[0].id).unwrap();
    assert_eq!(newcomer.group.last_index(), LogIndex(0));
}

fn destroy(home: &mut Home, shard: ShardId) -> Result<(), HomeError> {
    home.snapshots().remove_all(shard)?;
    home.end_removal(shard)
}

/// Forms two shards and gives one up; the machine stops at the nth operation of that. Whether it did.
fn given_up(nth: u64) -> (SimulatedDisk, Catalog, bool) {
    let file =
        |version, shards: &str| format!("version = {version}\n[[node]]\nname = 'n1'\naddr = '127.0.0.1:1'\n{shards}");
    let (a, b) = ("[[shard]]\nname = 'a'\nnodes = ['n1']\n", "[[shard]]\nname = 'b'\nnodes = ['n1']\nweight = 0\n");
    let config = ShardsConfig::parse(&file(1, &format!("{a}{b}")), "test").unwrap();
    let mut catalog = Catalog::found(ClusterId(7), 1, &config, &BTreeMap::new());
    let disk = SimulatedDisk::new(nth);
    let (mut home, mut log) = open(&disk).unwrap();
    home.keep_catalog(&catalog).unwrap();
    for shard in catalog.data_shards() {
        home.give_birth(&catalog, shard, shard.replicas[0].id).unwrap();
        let mut batch = crate::storage::WriteBatch::default();
        batch.reset(shard.id.0, 5, 5);
        batch.entry(shard.id.0, 6, 5, 0, b"");
        log.write(&mut batch).and_then(|()| log.sync()).unwrap();
    }
    let propose = crate::topology::CatalogCommand::ProposeConfig { text: file(2, a), origin: String::new() };
    catalog.apply(&propose);
    catalog.apply(&crate::topology::CatalogCommand::RetireShard { shard: ShardId(2) });
    assert!(catalog.shard(ShardId(2)).is_none());
    disk.stop(nth);
    let mut give_up = || {
        home.keep_catalog(&catalog).ok()?;
        let mut batch = crate::storage::WriteBatch::default();
        batch.forget(2);
        log.write(&mut batch).and_then(|()| log.sync()).ok()?;
        destroy(&mut home, ShardId(2)).ok()
    };
    let done = give_up().is_some();
    drop((home, log));
    disk.crash();
    (disk, catalog, done)
}

#[test]
fn r16_a_replica_that_is_given_up_never_comes_back_and_its_remains_go_whenever_the_machine_stops() {
    for nth in 1.. {
        let (disk, newest, done) = given_up(nth);
        let (mut home, mut log) = open(&disk).unwrap();
        let kept = home.catalog().unwrap().unwrap();
        let replicas = home.restore_all(Some(&kept)).unwrap();
        let expected: Vec<_> = kept.data_shards().iter().map(|shard| shard.id).collect();
        let found: Vec<_> = replicas.iter().map(|r| (r.shard, r.group.last_index())).collect();
        assert_eq!(found, expected.iter().map(|id| (*id, LogIndex(6))).collect::<Vec<_>>(), "stopped at {nth}");
        let leftovers = home.leftovers(&newest).unwrap();
        assert!(!done || leftovers.is_empty());
        for shard in leftovers {
            assert_eq!(shard, ShardId(2));
            let mut batch = crate::storage::WriteBatch::default();
            batch.forget(2);
            log.write(&mut batch).and_then(|()| log.sync()).unwrap();
            destroy(&mut home, shard).unwrap();
        }
        drop((home, log));
        let (mut home, _log) = open(&disk).unwrap();
        assert_eq!(home.restore_all(Some(&newest)).unwrap().len(), 1);
        assert!(home.leftovers(&newest).unwrap().is_empty());
        if done {
            return assert!(nth > 5);
        }
    }
}

#[test]
fn a_crash_while_the_cluster_is_created_leaves_all_of_it_or_nothing() {
    let file = "version = 1\n[[node]]\nname = 'n1'\naddr = '127.0.0.1:1'\n[[shard]]\nname = 'a'\nnodes = ['n1']\n";
    let config = ShardsConfig::parse(file, "test").unwrap();
    let catalog = |id| Catalog::found(ClusterId(id), 1, &config, &BTreeMap::new());
    let open = |disk: &SimulatedDisk| {
        Home::open(&disk.disk(), Path::new("/data"), &NodeName::new("n1"), &Entropy::seeded(1)).unwrap()
    };
    let (mut unfounded, mut founded) = (0, 0);
    for nth in 1.. {
        let disk = SimulatedDisk::new(nth);
        let opened = open(&disk);
        disk.stop(nth);
        let (mut home, log) = opened;
        let created = home.found(catalog(7)).is_ok();
        drop((home, log));
        disk.crash();
        let (mut home, _log) = open(&disk);
        let replicas = home.restore_all(None).unwrap();
        match replicas.first().and_then(|r| r.catalog()) {
            Some(found) => assert_eq!(found.cluster, ClusterId(7)),
            None => assert!(!created && home.found(catalog(8)).is_ok(), "stopped at operation {nth}"),
        }
        *(if replicas.is_empty() { &mut unfounded } else { &mut founded }) += 1;
        assert!(replicas.is_empty() || home.found(catalog(9)).is_err(), "created twice");
        if created {
            break;
        }
    }
    assert!(unfounded > 3 && founded > 0, "{unfounded} {founded}");
}

#[test]
fn only_what_a_start_needs_of_the_catalog_is_written_again() {
    let disk = SimulatedDisk::new(1);
    let (mut home, _log) = open(&disk).unwrap();
    let mut catalog = catalog_of_a_newcomer();
    home.keep_catalog(&catalog).unwrap();
    catalog.slots[0].epoch = crate::topology::Epoch(9);
    catalog.revision = catalog.revision.next();
    disk.fail_sync(1);
    home.keep_catalog(&catalog).expect("nothing is written");
    catalog.version += 1;
    assert!(home.keep_catalog(&catalog).is_err(), "this is");
}
