//! A run of items, packed: what the tree's leaves are.
//!
//! An item is `PREFIX` big-endian bytes and then its parts, each a varint of `length << 1` and that many bytes; a part
//! longer than [`INLINE_BYTES_MAX`] lies in `large`, and the varint is `place << 1 | 1`. So a leaf is copied cheaply
//! whatever its items hold, and a large part is never copied at all.
//!
//! Invariant: every place in `large` is used by exactly one part of one item, or empty.

use std::sync::Arc;

/// A leaf is split before it would hold more items than this.
pub const LEAF_ITEMS_MAX: usize = 128;
/// A leaf is split before its items would take more bytes than this.
pub const LEAF_BYTES_MAX: usize = 2048;
/// Longer parts lie outside of the leaf, shared by all copies of it.
pub const INLINE_BYTES_MAX: usize = 256;

/// One part of an item on its way into a tree. A large one that is in a tree already is shared.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    /// Bytes to be copied.
    Bytes(&'a [u8]),
    /// Bytes that are shared.
    Shared(Arc<[u8]>),
}

impl<'a> From<&'a [u8]> for Part<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> Part<'a> {
    /// A part that goes into several trees: large bytes are copied once, here.
    pub fn to_share(bytes: &'a [u8]) -> Self {
        if bytes.len() > INLINE_BYTES_MAX { Self::Shared(bytes.into()) } else { Self::Bytes(bytes) }
    }
}

/// A packed run of items (see the module).
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    bytes: Vec<u8>,
    /// Where each item ends.
    ends: Vec<u16>,
    large: Vec<Option<Arc<[u8]>>>,
}

/// One item where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a, const PREFIX: usize> {
    bytes: &'a [u8],
    large: &'a [Option<Arc<[u8]>>],
}

impl<'a, const PREFIX: usize> Item<'a, PREFIX> {
    /// The number before the parts.
    pub fn prefix(&self) -> u64 {
        prefix_of::<PREFIX>(self.bytes)
    }

    /// The part with this number. Later parts cost the reading of the lengths before them.
    #[inline]
    pub fn part(&self, number: usize) -> &'a [u8] {
        let mut at = PREFIX;
        for _ in 0..number {
            at = self.part_at(at).1;
        }
        self.part_at(at).0
    }

    /// All parts.
    #[inline]
    pub fn parts<const PARTS: usize>(&self) -> [&'a [u8]; PARTS] {
        let mut at = PREFIX;
        std::array::from_fn(|_| {
            let (part, next) = self.part_at(at);
            at = next;
            part
        })
    }

    /// The part with this number, to be put into another tree without a copy of a large one.
    pub fn share(&self, number: usize) -> Part<'a> {
        let mut at = PREFIX;
        for _ in 0..number {
            at = self.part_at(at).1;
        }
        match read_varint(self.bytes, at).0 {
            head if head & 1 == 1 => Part::Shared(self.large_at(head >> 1)),
            _ => Part::Bytes(self.part_at(at).0),
        }
    }

    fn large_at(&self, place: usize) -> Arc<[u8]> {
        Arc::clone(self.large[place].as_ref().expect("an item's places are filled"))
    }

    #[inline]
    fn part_at(&self, at: usize) -> (&'a [u8], usize) {
        let (head, at) = read_varint(self.bytes, at);
        if head & 1 == 0 {
            let end = at + (head >> 1);
            return (&self.bytes[at..end], end);
        }
        (self.large[head >> 1].as_deref().expect("an item's places are filled"), at)
    }
}

impl Leaf {
    /// What it takes, but for large parts that other leaves have too; roughly, as a tree counts its bytes.
    pub fn own_bytes(&self) -> u64 {
        let large = self.large.iter().flatten().filter(|part| Arc::strong_count(part) == 1);
        let bytes = self.bytes.len() as u64 + large.map(|part| part.len() as u64).sum::<u64>();
        bytes + bytes / 4 + 3 * self.len() as u64
    }

    /// A leaf of one item.
    pub fn of<const PREFIX: usize>(prefix: u64, parts: &[Part<'_>]) -> Self {
        let mut leaf = Self::default();
        leaf.insert::<PREFIX>(0, prefix, parts);
        leaf
    }

    /// How many items there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it should look for a neighbour to join.
    pub const fn is_sparse(&self) -> bool {
        self.ends.len() < LEAF_ITEMS_MAX / 4 && self.bytes.len() < LEAF_BYTES_MAX / 4
    }

    /// Whether another leaf's items would fit well beside its own.
    pub const fn has_room_for(&self, other: &Self) -> bool {
        self.len() + other.len() <= LEAF_ITEMS_MAX / 4 * 3
            && self.bytes.len() + other.bytes.len() <= LEAF_BYTES_MAX / 4 * 3
    }

    /// Whether an item with these parts fits.
    pub fn has_room(&self, parts: &[Part<'_>]) -> bool {
        let bytes: usize = parts.iter().map(inline_bytes).sum();
        self.len() < LEAF_ITEMS_MAX && self.bytes.len() + bytes < LEAF_BYTES_MAX
    }

    /// The item at `at`.
    #[inline]
    pub fn item<const PREFIX: usize>(&self, at: usize) -> Item<'_, PREFIX> {
        Item { bytes: &self.bytes[self.start(at)..usize::from(self.ends[at])], large: &self.large }
    }

    /// The prefix of the first item.
    pub fn first_prefix<const PREFIX: usize>(&self) -> u64 {
        prefix_of::<PREFIX>(&self.bytes)
    }

    /// The place of the first item that is at or after the wanted one, and whether it is the wanted one.
    pub fn search<const PREFIX: usize>(&self, prefix: u64, part: &[u8]) -> (usize, bool) {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let item = self.item::<PREFIX>(middle);
            match item.prefix().cmp(&prefix).then_with(|| item.part(0).cmp(part)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return (middle, true),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        (low, false)
    }

    /// Puts an item in at `at`. The caller has made sure that it fits.
    pub fn insert<const PREFIX: usize>(&mut self, at: usize, prefix: u64, parts: &[Part<'_>]) {
        let start = self.start(at);
        let before = self.bytes.len();
        make_room(&mut self.bytes, PREFIX + parts.iter().map(inline_bytes).sum::<usize>());
        self.bytes.extend_from_slice(&prefix.to_be_bytes()[8 - PREFIX..]);
        for part in parts {
            self.write_part(part);
        }
        let added = self.bytes.len() - before;
        // The item was written at the end; now it takes its place.
        self.bytes[start..].rotate_right(added);
        make_room(&mut self.ends, 1);
        self.ends.insert(at, (start + added) as u16);
        self.ends[at + 1..].iter_mut().for_each(|end| *end += added as u16);
    }

    /// Puts other bytes in the place of a part, which is as long as they are.
    pub fn overwrite<const PREFIX: usize>(&mut self, at: usize, part: usize, bytes: &[u8]) {
        let mut from = self.start(at) + PREFIX;
        for _ in 0..part {
            let (head, next) = read_varint(&self.bytes, from);
            from = if head & 1 == 1 { next } else { next + (head >> 1) };
        }
        let (head, start) = read_varint(&self.bytes, from);
        assert!(head == bytes.len() << 1, "a part is overwritten by one of its length");
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Gives an item another prefix.
    pub fn set_prefix<const PREFIX: usize>(&mut self, at: usize, prefix: u64) {
        let start = self.start(at);
        self.bytes[start..start + PREFIX].copy_from_slice(&prefix.to_be_bytes()[8 - PREFIX..]);
    }

    /// Puts another item in the place of the one at `at`; false: it does not fit, and nothing happened.
    pub fn replace<const PREFIX: usize, const PARTS: usize>(
        &mut self,
        at: usize,
        prefix: u64,
        parts: &[Part<'_>],
    ) -> bool {
        let kept = self.bytes.len() - (usize::from(self.ends[at]) - self.start(at));
        if kept + PREFIX + parts.iter().map(inline_bytes).sum::<usize>() >= LEAF_BYTES_MAX {
            return false;
        }
        self.remove_range::<PREFIX, PARTS>(at..at + 1);
        self.insert::<PREFIX>(at, prefix, parts);
        true
    }

    /// Takes out the items of a range.
    pub fn remove_range<const PREFIX: usize, const PARTS: usize>(&mut self, range: std::ops::Range<usize>) {
        range.clone().for_each(|at| self.drop_large::<PREFIX, PARTS>(at));
        let (start, end) = (self.start(range.start), self.start(range.end));
        self.bytes.drain(start..end);
        self.ends.drain(range.clone());
        self.ends[range.start..].iter_mut().for_each(|other| *other -= (end - start) as u16);
    }

    /// Gives the upper part of the items, from `at` on, to a new leaf.
    pub fn split_off<const PREFIX: usize, const PARTS: usize>(&mut self, at: usize) -> Self {
        let mut upper = Self::default();
        upper.append::<PREFIX, PARTS>(self, at);
        (at..self.len()).for_each(|at| self.drop_large::<PREFIX, PARTS>(at));
        self.bytes.truncate(self.start(at));
        self.bytes.shrink_to_fit();
        self.ends.truncate(at);
        self.ends.shrink_to_fit();
        upper
    }

    /// Adds copies of another leaf's items, from `from` on.
    pub fn append<const PREFIX: usize, const PARTS: usize>(&mut self, other: &Self, from: usize) {
        let (start, shift) = (other.start(from), self.bytes.len());
        if other.large.is_empty() {
            self.bytes.reserve_exact(other.bytes.len() - start);
            self.ends.reserve_exact(other.len() - from);
            self.bytes.extend_from_slice(&other.bytes[start..]);
            self.ends.extend(other.ends[from..].iter().map(|&end| (usize::from(end) - start + shift) as u16));
            return;
        }
        for at in from..other.len() {
            let item = other.item::<PREFIX>(at);
            let parts: [Part<'_>; PARTS] = std::array::from_fn(|number| item.share(number));
            self.insert::<PREFIX>(self.len(), item.prefix(), &parts);
        }
    }

    /// Where to split: the first item past half of the bytes; neither end.
    pub fn middle(&self) -> usize {
        let half = self.bytes.len() / 2;
        self.ends.partition_point(|&end| usize::from(end) <= half).clamp(1, self.len() - 1)
    }

    #[inline]
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]))
    }

    fn write_part(&mut self, part: &Part<'_>) {
        match part {
            Part::Bytes(bytes) if bytes.len() <= INLINE_BYTES_MAX => {
                write_varint(&mut self.bytes, bytes.len() << 1);
                self.bytes.extend_from_slice(bytes);
            }
            Part::Bytes(bytes) => self.write_large((*bytes).into()),
            Part::Shared(bytes) => self.write_large(Arc::clone(bytes)),
        }
    }

    fn write_large(&mut self, bytes: Arc<[u8]>) {
        let place = self.large.iter().position(Option::is_none).unwrap_or(self.large.len());
        if place == self.large.len() {
            self.large.push(None);
        }
        self.large[place] = Some(bytes);
        write_varint(&mut self.bytes, place << 1 | 1);
    }

    fn drop_large<const PREFIX: usize, const PARTS: usize>(&mut self, at: usize) {
        if self.large.is_empty() {
            return;
        }
        let mut from = self.start(at) + PREFIX;
        for _ in 0..PARTS {
            let (head, next) = read_varint(&self.bytes, from);
            from = if head & 1 == 1 {
                self.large[head >> 1] = None;
                next
            } else {
                next + (head >> 1)
            };
        }
        while self.large.pop_if(|place| place.is_none()).is_some() {}
    }
}

/// How many bytes a part takes in a leaf, at most.
fn inline_bytes(part: &Part<'_>) -> usize {
    match part {
        Part::Bytes(bytes) if bytes.len() <= INLINE_BYTES_MAX => bytes.len() + 1 + usize::from(bytes.len() >= 64),
        _ => 2,
    }
}

fn prefix_of<const PREFIX: usize>(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number[8 - PREFIX..].copy_from_slice(&bytes[..PREFIX]);
    u64::from_be_bytes(number)
}

/// Numbers up to 2 * [`INLINE_BYTES_MAX`], low seven bits first.
fn write_varint(out: &mut Vec<u8>, number: usize) {
    if number < 0x80 {
        out.push(number as u8);
    } else {
        out.extend_from_slice(&[number as u8 | 0x80, (number >> 7) as u8]);
    }
}

#[inline]
fn read_varint(bytes: &[u8], at: usize) -> (usize, usize) {
    match usize::from(bytes[at]) {
        low @ 0..0x80 => (low, at + 1),
        low => (low & 0x7f | usize::from(bytes[at + 1]) << 7, at + 2),
    }
}

/// Grows by an eighth, not by doubling: most memory of a node is in these vectors.
fn make_room<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more.max(items.len() / 8));
    }
}
