//! The packed tree: what every collection is made of.
//!
//! A counted B+ tree of small byte records whose copies are free. A copy shares all nodes; a write copies the nodes on
//! its path that a copy still shares, a few kilobytes, so that a collection of millions is frozen without a pause. Every
//! child is counted, so an item's rank is found, and an item found by rank, in logarithmic time. Items are packed in
//! leaves (`leaf`), so that small values cost little more than their bytes.
//!
//! A tree is a sequence: items go where the caller puts them ([`Packed::insert`]). A tree that is kept in order, by
//! prefix and then by the bytes of the first part, is also a map ([`Packed::search`], [`Packed::put`]).
//!
//! `PREFIX` is how many bytes the number before each item's parts takes (0 to 8), `PARTS` how many parts an item has.
//!
//! Invariants: no node but an empty root is empty; all leaves are equally deep; counts and `bytes` are sums over the
//! items. The shape of a tree depends on its history, so nothing that replicas compare may depend on it.

mod compare;
mod iter;
mod leaf;
mod overwrite;
#[cfg(test)]
mod tests;
mod unshared;

use std::ops::Range;
use std::sync::Arc;

pub use iter::Iter;
use leaf::Leaf;
pub use leaf::{Item, Part};

/// An inner node is split before it would have more children than this.
const CHILDREN_MAX: usize = 64;
/// What a tree costs beside its items, roughly.
const TREE_BYTES: u64 = 160;

/// A counted, copy-on-write sequence of packed items (see the module).
#[derive(Clone, Debug)]
pub struct Packed<const PREFIX: usize, const PARTS: usize> {
    root: Option<Node>,
    len: usize,
    bytes: u64,
}

impl<const PREFIX: usize, const PARTS: usize> Default for Packed<PREFIX, PARTS> {
    fn default() -> Self {
        Self { root: None, len: 0, bytes: 0 }
    }
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Arc<Leaf>),
    Inner(Arc<Vec<Child>>),
}

#[derive(Clone, Debug)]
struct Child {
    /// At most the prefix of its first item, and at least that of the last item before it.
    low: u64,
    count: usize,
    node: Node,
}

impl<const PREFIX: usize, const PARTS: usize> Packed<PREFIX, PARTS> {
    /// How many items there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it costs in memory, roughly; it depends on the items alone.
    pub const fn heap_bytes(&self) -> u64 {
        TREE_BYTES + self.bytes + self.bytes / 4 + 3 * self.len as u64
    }

    /// The item with this many items before it.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Item<'_, PREFIX>> {
        let (leaf, at) = self.leaf_of(index)?;
        Some(leaf.item(at))
    }

    /// The last item.
    pub fn last(&self) -> Option<Item<'_, PREFIX>> {
        self.get(self.len.checked_sub(1)?)
    }

    /// In a tree in order: the index of the wanted item, or the one at which it would have to be put.
    pub fn search(&self, prefix: u64, part: &[u8]) -> Result<usize, usize> {
        let Some(mut node) = self.root.as_ref() else { return Err(0) };
        let mut before = 0;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let (at, found) = leaf.search::<PREFIX>(prefix, part);
                    return if found { Ok(before + at) } else { Err(before + at) };
                }
                Node::Inner(children) => {
                    let child = child_of::<PREFIX>(children, prefix, part);
                    before += children[..child].iter().map(|c| c.count).sum::<usize>();
                    node = &children[child].node;
                }
            }
        }
    }

    /// In a tree in order: the wanted item.
    pub fn find(&self, prefix: u64, part: &[u8]) -> Option<Item<'_, PREFIX>> {
        let mut node = self.root.as_ref()?;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let (at, found) = leaf.search::<PREFIX>(prefix, part);
                    return found.then(|| leaf.item(at));
                }
                Node::Inner(children) => node = &children[child_of::<PREFIX>(children, prefix, part)].node,
            }
        }
    }

    /// Puts an item in at `index`, which is at most the length.
    pub fn insert(&mut self, index: usize, prefix: u64, parts: &[Part<'_>; PARTS]) {
        assert!(index <= self.len, "an item is put between others or at an end");
        self.len += 1;
        self.bytes += item_bytes::<PREFIX>(parts.iter().map(part_length));
        let Some(root) = &mut self.root else {
            self.root = Some(Node::Leaf(Arc::new(Leaf::of::<PREFIX>(prefix, parts))));
            return;
        };
        if let Some(sibling) = insert_into::<PREFIX, PARTS>(root, self.len - 1, index, prefix, parts) {
            let low = root.first_prefix::<PREFIX>();
            let first = Child { low, count: self.len - sibling.count, node: root.clone() };
            *root = Node::Inner(Arc::new(vec![first, sibling]));
        }
    }

    /// Adds an item behind all others.
    pub fn push(&mut self, prefix: u64, parts: &[Part<'_>; PARTS]) {
        self.insert(self.len, prefix, parts);
    }

    /// In a tree in order: puts an item in, or in the place of its equal. Whether it is new.
    pub fn put(&mut self, prefix: u64, parts: &[Part<'_>; PARTS]) -> bool {
        let first = match &parts[0] {
            Part::Bytes(bytes) => bytes,
            Part::Shared(bytes) => &bytes[..],
        };
        match self.search(prefix, first) {
            Ok(index) => {
                self.replace(index, prefix, parts);
                false
            }
            Err(index) => {
                self.insert(index, prefix, parts);
                true
            }
        }
    }

    /// Puts another item in the place of the one at `index`.
    pub fn replace(&mut self, index: usize, prefix: u64, parts: &[Part<'_>; PARTS]) {
        let old = self.get(index).expect("an item that is there is replaced");
        let old_bytes = bytes_of::<PREFIX, PARTS>(&old);
        // With another prefix the bounds of nodes might not hold.
        if old.prefix() == prefix {
            let (leaf, at) = self.leaf_mut(index);
            if leaf.replace::<PREFIX, PARTS>(at, prefix, parts) {
                self.bytes = self.bytes - old_bytes + item_bytes::<PREFIX>(parts.iter().map(part_length));
                return;
            }
        }
        self.remove(index);
        self.insert(index, prefix, parts);
    }

    /// Takes the item at `index` out.
    pub fn remove(&mut self, index: usize) {
        self.remove_range(index..index + 1);
    }

    /// In a tree in order: takes the wanted item out; false: there is none.
    pub fn remove_found(&mut self, prefix: u64, part: &[u8]) -> bool {
        let found = self.search(prefix, part);
        found.map(|index| self.remove(index)).is_ok()
    }

    /// Takes out the items of a range, which ends at most at the length.
    pub fn remove_range(&mut self, range: Range<usize>) {
        assert!(range.end <= self.len, "only items that are there are taken out");
        if range.is_empty() {
            return;
        }
        if range.len() == self.len {
            *self = Self::default();
            return;
        }
        let bytes_in = |range| -> u64 { self.range(range).map(|item| bytes_of::<PREFIX, PARTS>(&item)).sum() };
        // What stays may be quicker to sum up than what goes.
        self.bytes = if range.len() <= self.len / 2 {
            self.bytes - bytes_in(range.clone())
        } else {
            bytes_in(0..range.start) + bytes_in(range.end..self.len)
        };
        let root = self.root.as_mut().expect("a tree with items has a root");
        remove_from::<PREFIX, PARTS>(root, self.len, range.clone());
        self.len -= range.len();
        while let Node::Inner(children) = root
            && children.len() == 1
        {
            *root = children[0].node.clone();
        }
    }

    /// The items from `index` on.
    pub fn iter_from(&self, index: usize) -> Iter<'_, PREFIX, PARTS> {
        Iter::new(self, index..self.len)
    }

    /// The items of a range, from either end.
    pub fn range(&self, range: Range<usize>) -> Iter<'_, PREFIX, PARTS> {
        Iter::new(self, range.start..range.end.min(self.len))
    }

    /// All items.
    pub fn iter(&self) -> Iter<'_, PREFIX, PARTS> {
        self.iter_from(0)
    }

    /// The leaf that has the item at `index`, and its place there.
    fn leaf_of(&self, index: usize) -> Option<(&Leaf, usize)> {
        if index >= self.len {
            return None;
        }
        let mut node = self.root.as_ref()?;
        let (mut count, mut rest) = (self.len, index);
        loop {
            match node {
                Node::Leaf(leaf) => return Some((leaf, rest)),
                Node::Inner(children) => {
                    let child = &children[child_at(children, count, &mut rest)];
                    (node, count) = (&child.node, child.count);
                }
            }
        }
    }
}

impl Node {
    fn first_leaf(&self) -> &Leaf {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return leaf,
                Self::Inner(children) => node = &children[0].node,
            }
        }
    }

    fn first_prefix<const PREFIX: usize>(&self) -> u64 {
        self.first_leaf().first_prefix::<PREFIX>()
    }
}

/// The child that has the item with `rest` items before it, of `count` in all; `rest` becomes its index there. It is
/// looked for from the nearer end, so that queues do not walk over all children.
fn child_at(children: &[Child], count: usize, rest: &mut usize) -> usize {
    if *rest <= count / 2 {
        let mut child = 0;
        while *rest >= children[child].count {
            *rest -= children[child].count;
            child += 1;
        }
        return child;
    }
    let (mut child, mut after) = (children.len() - 1, count - *rest);
    while after > children[child].count {
        after -= children[child].count;
        child -= 1;
    }
    *rest = children[child].count - after;
    child
}

/// The child into which an item is put that is to have `rest` items before it, as for [`child_at`]. An item between two
/// children goes to the end of the first.
fn child_to_put(children: &[Child], count: usize, rest: &mut usize) -> usize {
    match rest.checked_sub(1) {
        None => 0,
        Some(before) => {
            *rest = before;
            let child = child_at(children, count, rest);
            *rest += 1;
            child
        }
    }
}

/// The child that has the wanted item, if any has.
fn child_of<const PREFIX: usize>(children: &[Child], prefix: u64, part: &[u8]) -> usize {
    let (mut first, mut end) =
        (children.partition_point(|child| child.low < prefix), children.partition_point(|child| child.low <= prefix));
    // Among children that may start with the same prefix, their first items decide.
    while first < end {
        let middle = usize::midpoint(first, end);
        let item = children[middle].node.first_leaf().item::<PREFIX>(0);
        if item.prefix().cmp(&prefix).then_with(|| item.part(0).cmp(part)).is_le() {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    first.saturating_sub(1)
}

/// Puts an item into a subtree; what did not fit into the node comes back as its new right neighbour.
fn insert_into<const PREFIX: usize, const PARTS: usize>(
    node: &mut Node,
    count: usize,
    index: usize,
    prefix: u64,
    parts: &[Part<'_>; PARTS],
) -> Option<Child> {
    match node {
        Node::Leaf(leaf) => {
            if leaf.has_room(parts) {
                Arc::make_mut(leaf).insert::<PREFIX>(index, prefix, parts);
                return None;
            }
            // At an end a new leaf begins, so that queues and ordered loads fill their leaves.
            let new = |leaf: Leaf| Child {
                low: leaf.first_prefix::<PREFIX>(),
                count: leaf.len(),
                node: Node::Leaf(Arc::new(leaf)),
            };
            if index == leaf.len() {
                return Some(new(Leaf::of::<PREFIX>(prefix, parts)));
            }
            if index == 0 {
                let single = Arc::new(Leaf::of::<PREFIX>(prefix, parts));
                let full = std::mem::replace(leaf, single);
                return Some(Child { low: full.first_prefix::<PREFIX>(), count: full.len(), node: Node::Leaf(full) });
            }
            let lower = Arc::make_mut(leaf);
            let middle = lower.middle();
            let mut upper = lower.split_off::<PREFIX, PARTS>(middle);
            match index.checked_sub(middle) {
                Some(index) if index > 0 => upper.insert::<PREFIX>(index, prefix, parts),
                _ => lower.insert::<PREFIX>(index, prefix, parts),
            }
            Some(new(upper))
        }
        Node::Inner(children) => {
            let children = Arc::make_mut(children);
            let mut rest = index;
            let at = child_to_put(children, count, &mut rest);
            let child = &mut children[at];
            child.count += 1;
            child.low = child.low.min(prefix);
            if let Some(sibling) = insert_into::<PREFIX, PARTS>(&mut child.node, child.count - 1, rest, prefix, parts) {
                child.count -= sibling.count;
                children.insert(at + 1, sibling);
            }
            (children.len() > CHILDREN_MAX).then(|| {
                let at = if index == 0 {
                    1
                } else if at + 2 == children.len() {
                    children.len() - 1
                } else {
                    children.len() / 2
                };
                let upper = children.split_off(at);
                let (low, count) = (upper[0].low, upper.iter().map(|c| c.count).sum());
                Child { low, count, node: Node::Inner(Arc::new(upper)) }
            })
        }
    }
}

/// Takes a range out of a subtree of `count` items that keeps at least one of them.
fn remove_from<const PREFIX: usize, const PARTS: usize>(node: &mut Node, count: usize, range: Range<usize>) {
    let children = match node {
        Node::Leaf(leaf) => return Arc::make_mut(leaf).remove_range::<PREFIX, PARTS>(range),
        Node::Inner(children) => Arc::make_mut(children),
    };
    let (mut start, mut left) = (range.start, range.len());
    let first = child_at(children, count, &mut start);
    let (mut at, mut emptied) = (first, 0..0);
    while left > 0 {
        let child = &mut children[at];
        let here = left.min(child.count - start);
        left -= here;
        if here == child.count {
            emptied = if emptied.is_empty() { at..at + 1 } else { emptied.start..at + 1 };
        } else {
            remove_from::<PREFIX, PARTS>(&mut child.node, child.count, start..start + here);
            child.count -= here;
            if PREFIX > 0 && start == 0 {
                // Too low a bound would send a search past the items that later come to the end of the child before.
                child.low = child.node.first_prefix::<PREFIX>();
            }
        }
        at += 1;
        start = 0;
    }
    at -= emptied.len();
    children.drain(emptied);
    // Where the range ended, and where it began.
    for at in [at, first + 1, first] {
        join_with_previous::<PREFIX, PARTS>(children, at);
    }
}

/// Joins a child with the one before it where one of them is sparse and both fit well into one.
fn join_with_previous<const PREFIX: usize, const PARTS: usize>(children: &mut Vec<Child>, at: usize) {
    if at == 0 || at >= children.len() {
        return;
    }
    let (head, tail) = children.split_at_mut(at);
    let (left, right) = (&mut head[at - 1], &tail[0]);
    match (&mut left.node, &right.node) {
        (Node::Leaf(a), Node::Leaf(b)) if (a.is_sparse() || b.is_sparse()) && a.has_room_for(b) => {
            Arc::make_mut(a).append::<PREFIX, PARTS>(b, 0);
        }
        (Node::Inner(a), Node::Inner(b))
            if a.len().min(b.len()) < CHILDREN_MAX / 4 && a.len() + b.len() <= CHILDREN_MAX / 4 * 3 =>
        {
            Arc::make_mut(a).extend(b.iter().cloned());
        }
        _ => return,
    }
    left.count += right.count;
    children.remove(at);
}

fn part_length(part: &Part<'_>) -> usize {
    match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::Shared(bytes) => bytes.len(),
    }
}

/// What an item counts for.
fn item_bytes<const PREFIX: usize>(lengths: impl Iterator<Item = usize>) -> u64 {
    PREFIX as u64 + lengths.map(|length| length as u64 + 1).sum::<u64>()
}

fn bytes_of<const PREFIX: usize, const PARTS: usize>(item: &Item<'_, PREFIX>) -> u64 {
    item_bytes::<PREFIX>(item.parts::<PARTS>().iter().map(|part| part.len()))
}
