//! Walking a packed tree, leaf by leaf, from either end.

use std::ops::Range;

use super::Packed;
use super::leaf::{Item, Leaf};

/// The items of a range (see [`Packed::range`]).
#[derive(Clone, Debug)]
pub struct Iter<'a, const PREFIX: usize, const PARTS: usize> {
    tree: &'a Packed<PREFIX, PARTS>,
    range: Range<usize>,
    front: Option<(&'a Leaf, usize)>,
    back: Option<(&'a Leaf, usize)>,
}

impl<'a, const PREFIX: usize, const PARTS: usize> Iter<'a, PREFIX, PARTS> {
    pub(super) const fn new(tree: &'a Packed<PREFIX, PARTS>, range: Range<usize>) -> Self {
        Self { tree, range, front: None, back: None }
    }
}

impl<'a, const PREFIX: usize, const PARTS: usize> Iterator for Iter<'a, PREFIX, PARTS> {
    type Item = Item<'a, PREFIX>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let (leaf, at) = match self.front {
            Some((leaf, at)) if at < leaf.len() => (leaf, at),
            _ => self.tree.leaf_of(self.range.start)?,
        };
        self.range.start += 1;
        self.front = Some((leaf, at + 1));
        Some(leaf.item(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.range.len(), Some(self.range.len()))
    }

    fn nth(&mut self, count: usize) -> Option<Self::Item> {
        if count > 0 {
            self.range.start = self.range.start.saturating_add(count).min(self.range.end);
            self.front = None;
        }
        self.next()
    }
}

impl<const PREFIX: usize, const PARTS: usize> DoubleEndedIterator for Iter<'_, PREFIX, PARTS> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let (leaf, at) = match self.back {
            Some((leaf, at)) if at > 0 => (leaf, at - 1),
            _ => self.tree.leaf_of(self.range.end - 1)?,
        };
        self.range.end -= 1;
        self.back = Some((leaf, at));
        Some(leaf.item(at))
    }
}

impl<const PREFIX: usize, const PARTS: usize> ExactSizeIterator for Iter<'_, PREFIX, PARTS> {}
