//! Members change by what a leader knows of the catalog, which may be old.

use super::*;
use crate::topology::{CatalogCommand, CatalogOutcome};

/// The catalog after an edit that leaves a shard on these nodes.
fn edited(catalog: &Catalog, version: u64, nodes: &str) -> Arc<Catalog> {
    let known: String = (1..=3).map(|n| format!("[[node]]\nname = 'n{n}'\naddr = 'h:{n}'\n")).collect();
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
