//! What a tree takes in memory beside another one that has much in common with it: a copy that was made when they were the same.
//!
//! Both are walked down level by level, and what both have is left out with all that is below it; so this costs as much as there are
//! nodes that differ. All leaves are equally deep, and a node that is in both is under nodes of equal height.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Node, Packed, TREE_BYTES};

impl<const PREFIX: usize, const PARTS: usize> Packed<PREFIX, PARTS> {
    /// The bytes of this tree that are not the other's too, roughly, as [`heap_bytes`](Self::heap_bytes) counts them.
    pub fn unshared_bytes(&self, other: &Self) -> u64 {
        let (Some(mine), Some(theirs)) = (&self.root, &other.root) else { return self.heap_bytes() };
        let (mut mine, mut theirs, mut bytes) = (vec![mine], vec![theirs], TREE_BYTES);
        let (height, other_height) = (mine[0].height(), theirs[0].height());
        (other_height..height).for_each(|_| mine = children(&mine));
        (height..other_height).for_each(|_| theirs = children(&theirs));
        while !mine.is_empty() {
            let places = |nodes: &[&Node]| nodes.iter().map(|node| node.place()).collect::<BTreeSet<_>>();
            let (here, there) = (places(&mine), places(&theirs));
            mine.retain(|node| !there.contains(&node.place()));
            theirs.retain(|node| !here.contains(&node.place()));
            bytes += mine.iter().map(|node| node.own_bytes()).sum::<u64>();
            (mine, theirs) = (children(&mine), children(&theirs));
        }
        bytes.min(self.heap_bytes())
    }
}

fn children<'a>(nodes: &[&'a Node]) -> Vec<&'a Node> {
    let below = |node: &&'a Node| match node {
        Node::Leaf(_) => &[][..],
        Node::Inner(children) => children,
    };
    nodes.iter().flat_map(below).map(|child| &child.node).collect()
}

impl Node {
    fn height(&self) -> usize {
        let (mut node, mut height) = (self, 0);
        while let Self::Inner(children) = node {
            (node, height) = (&children[0].node, height + 1);
        }
        height
    }

    /// What tells it from all other nodes that there are now.
    fn place(&self) -> usize {
        match self {
            Self::Leaf(leaf) => Arc::as_ptr(leaf) as usize,
            Self::Inner(children) => Arc::as_ptr(children) as usize,
        }
    }

    fn own_bytes(&self) -> u64 {
        match self {
            Self::Leaf(leaf) => leaf.own_bytes(),
            // As for a whole tree, they are in the quarter that is added to the leaves.
            Self::Inner(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;

    const ITEMS: usize = 50_000;

    fn tree() -> Packed<4, 1> {
        let mut tree = Packed::default();
        (0..ITEMS).for_each(|n| tree.push(n as u64, &[Part::Bytes(format!("item {n:020}").as_bytes())]));
        tree
    }

    #[test]
    fn a_copy_takes_what_was_changed_since() {
        let base = tree();
        let whole = base.heap_bytes();
        let mut tree = base.clone();
        assert_eq!(base.unshared_bytes(&tree), TREE_BYTES);
        tree.replace(7_000, 7_000, &[Part::Bytes(b"another")]);
        let one = base.unshared_bytes(&tree);
        assert!((500..8_000).contains(&one), "{one}");
        // Again in the same leaf: nothing more.
        tree.replace(7_000, 7_000, &[Part::Bytes(b"yet another")]);
        assert_eq!(base.unshared_bytes(&tree), one);
        (0..100).for_each(|n| tree.replace(n * 500, n as u64 * 500, &[Part::Bytes(b"another")]));
        let many = base.unshared_bytes(&tree);
        assert!((one * 50..one * 150).contains(&many), "{many}");
        // What is put in or taken out at one end leaves the rest where it is.
        let mut tree = base.clone();
        tree.remove_range(0..1000);
        (0..3000).for_each(|n| tree.insert(0, 0, &[Part::Bytes(format!("new {n}").as_bytes())]));
        let gone = base.unshared_bytes(&tree);
        assert!((whole / 60..whole / 25).contains(&gone), "{gone} of {whole}");
    }

    #[test]
    fn trees_of_other_heights_and_those_that_have_nothing_in_common_are_counted_too() {
        let base = tree();
        let mut few = base.clone();
        few.remove_range(0..ITEMS - 20);
        let both = (base.unshared_bytes(&few), few.unshared_bytes(&base));
        assert!(both.0 > base.heap_bytes() * 9 / 10 && both.1 < 4_000, "{both:?}");
        let strange = (base.unshared_bytes(&tree()), base.heap_bytes());
        assert!(strange.0 > strange.1 * 9 / 10 && strange.0 <= strange.1, "{strange:?}");
        assert_eq!(base.unshared_bytes(&Packed::default()), base.heap_bytes());
    }
}
