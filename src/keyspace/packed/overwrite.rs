//! Changes of an item where it lies: nothing in its leaf moves.

use std::sync::Arc;

use super::leaf::Leaf;
use super::{Node, Packed, child_at};

impl<const PREFIX: usize, const PARTS: usize> Packed<PREFIX, PARTS> {
    /// Puts other bytes in the place of a part, which is as long as they are, and short.
    pub fn overwrite(&mut self, index: usize, part: usize, bytes: &[u8]) {
        let (leaf, at) = self.leaf_mut(index);
        leaf.overwrite::<PREFIX>(at, part, bytes);
    }

    /// In a tree in order: gives an item another prefix if it stays where it is, between two others of its leaf. False:
    /// it would have to move, or may have to, and is as it was.
    pub fn change_prefix(&mut self, index: usize, prefix: u64) -> bool {
        let Some((leaf, at)) = self.leaf_of(index) else { return false };
        if at == 0 || at + 1 == leaf.len() {
            return false;
        }
        let part = leaf.item::<PREFIX>(at).part(0);
        let other = |at: usize| {
            let item = leaf.item::<PREFIX>(at);
            item.prefix().cmp(&prefix).then_with(|| item.part(0).cmp(part))
        };
        let stays = other(at - 1).is_lt() && other(at + 1).is_gt();
        if stays {
            let (leaf, at) = self.leaf_mut(index);
            leaf.set_prefix::<PREFIX>(at, prefix);
        }
        stays
    }

    /// The leaf that has the item at `index`, to be changed, and its place there.
    pub(super) fn leaf_mut(&mut self, index: usize) -> (&mut Leaf, usize) {
        let mut node = self.root.as_mut().expect("a tree with items has a root");
        let (mut count, mut rest) = (self.len, index);
        loop {
            match node {
                Node::Leaf(leaf) => return (Arc::make_mut(leaf), rest),
                Node::Inner(children) => {
                    let children = Arc::make_mut(children);
                    let at = child_at(children, count, &mut rest);
                    count = children[at].count;
                    node = &mut children[at].node;
                }
            }
        }
    }
}
