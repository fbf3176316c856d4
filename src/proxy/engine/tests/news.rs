//! Who is asked for a newer catalog, and who is given one.

use super::*;

/// What a node that stands still is given after at the latest, with the chance of these tests' seed.
const GIVEN_MS: u64 = 2_100;

impl World {
    /// All nodes say which revision they have.
    fn have(&mut self, revisions: [u64; 3]) {
        for (node, revision) in revisions.into_iter().enumerate() {
            let status = NodeStatus { revision: Revision(revision), ..self.status(node, 10) };
            self.feed(node, |out| status.put(out));
        }
        self.turn();
    }

    /// The same again and again, for so long.
    fn have_for(&mut self, ms: u64, revisions: [u64; 3]) {
        for _ in 0..ms / 100 {
            self.tick(100);
            self.have(revisions);
        }
    }

    /// The nodes that were asked since the last time, with the revision that was told.
    fn asked(&mut self) -> Vec<(usize, u64)> {
        let nodes = self.nodes.iter_mut().enumerate();
        nodes.flat_map(|(at, node)| std::mem::take(&mut node.asked).into_iter().map(move |r| (at, r.0))).collect()
    }

    /// The nodes that were given catalogs since the last time, with the revisions.
    fn given(&mut self) -> Vec<(usize, u64)> {
        let nodes = self.nodes.iter_mut().enumerate();
        nodes.flat_map(|(at, node)| std::mem::take(&mut node.given).into_iter().map(move |r| (at, r.0))).collect()
    }
}

#[test]
fn nobody_is_asked_for_what_is_known_and_one_alone_for_what_is_newer() {
    let mut w = World::new();
    w.asked();
    w.have_for(1_000, [1, 1, 1]);
    assert_eq!(w.asked(), []);
    // At once, and not the others, though they say the same a moment later.
    w.have([1, 2, 2]);
    assert_eq!(w.asked(), [(1, 1)]);
    w.have_for(100, [2, 2, 2]);
    assert_eq!(w.asked(), []);
    // It does not answer: another one is asked, not sooner than it takes a large catalog to come.
    w.have_for(100, [2, 1, 1]);
    assert_eq!(w.asked(), [(0, 1)]);
    w.change_catalog(|_| {});
    w.have_for(1_000, [2, 2, 2]);
    assert_eq!(w.asked(), []);
}

#[test]
fn a_node_that_was_asked_and_is_gone_holds_up_nobody() {
    let mut w = World::new();
    w.asked();
    w.engine.compare_revisions(NodeIndex(1), &NodeStatus { revision: Revision(2), ..NodeStatus::default() });
    w.cut(1);
    w.asked();
    w.tick(200);
    w.have([2, 1, 1]);
    assert_eq!(w.asked(), [(0, 1)]);
}

#[test]
fn a_node_that_stands_still_is_given_the_newer_one_once_and_one_that_moves_on_is_not() {
    let mut w = World::new();
    w.change_catalog(|_| {});
    assert_eq!(w.given(), []);
    w.have_for(1_900, [1, 2, 1]);
    assert_eq!(w.given(), [], "nodes ask by themselves");
    // Node 2 has heard of it meanwhile.
    w.have_for(400, [1, 2, 2]);
    assert_eq!(w.given(), [(0, 2)]);
    w.have_for(2 * GIVEN_MS, [1, 2, 2]);
    assert_eq!(w.given(), [], "it is on its way");
    // Over another connection it may not have come.
    w.cut(0);
    w.mend(0);
    w.have_for(GIVEN_MS + 300, [1, 2, 2]);
    assert_eq!(w.given(), [(0, 2)]);
}

#[test]
fn who_is_behind_and_goes_on_is_given_time_at_each_revision() {
    let mut w = World::new();
    (0..3).for_each(|_| w.change_catalog(|_| {}));
    for revision in 1..4 {
        w.have_for(1_900, [revision, 4, 4]);
    }
    assert_eq!(w.given(), []);
    w.have_for(GIVEN_MS, [3, 4, 4]);
    assert_eq!(w.given(), [(0, 4)]);
}
