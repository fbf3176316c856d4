//! Lists: elements in the order in which they were put, reached from both ends and by rank.
//!
//! The encoding is what Redis would use with `list-max-listpack-size -2`: a listpack until what is about to be added
//! would take it over its limit, and again from half of the limit down. Redis goes back only if the quicklist is of one
//! node; how it is cut into nodes is not followed here.
//!
//! Invariant: `listpack_bytes` is the sum of what the elements would take in a listpack.

use std::ops::Range;

use super::super::packed::Packed;
use crate::protocol::numbers::parse_i64;

/// Past this many bytes a list is a `quicklist`.
const LISTPACK_BYTES_MAX: u64 = 8 * 1024;
/// Where ranges to be removed lie closer than this on the average, a list is built anew.
const REMOVED_RANGES_DISTANCE: usize = 64;
/// What a listpack takes beside its elements.
const LISTPACK_FRAME_BYTES: u64 = 7;

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

/// What `OBJECT ENCODING` says of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ListEncoding {
    /// A small one.
    #[default]
    ListPack = 0,
    /// One that grew large.
    QuickList = 1,
}

impl ListEncoding {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListPack => "listpack",
            Self::QuickList => "quicklist",
        }
    }
}

/// A list.
#[derive(Clone, Debug, Default)]
pub struct List {
    elements: Packed<0, 1>,
    listpack_bytes: u64,
    encoding: ListEncoding,
}

impl List {
    /// How many elements there are.
    pub const fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// What it costs in memory, roughly.
    pub const fn heap_bytes(&self) -> u64 {
        self.elements.heap_bytes()
    }

    /// What `OBJECT ENCODING` says.
    pub const fn encoding(&self) -> ListEncoding {
        self.encoding
    }

    /// Gives it the encoding that another replica had.
    pub(super) const fn set_encoding(&mut self, encoding: ListEncoding) {
        self.encoding = encoding;
    }

    /// Gives it the encoding that a list built at once has in Redis: RESTORE's, SORT's.
    pub const fn settle_encoding(&mut self) {
        let bytes = LISTPACK_FRAME_BYTES + self.listpack_bytes;
        self.encoding = if bytes > LISTPACK_BYTES_MAX { ListEncoding::QuickList } else { ListEncoding::ListPack };
    }

    /// The element at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.elements.get(index).map(|item| item.part(0))
    }

    /// The element at one end.
    #[inline]
    pub fn at_end(&self, end: End) -> Option<&[u8]> {
        self.get(if end == End::Left { 0 } else { self.len().checked_sub(1)? })
    }

    /// The elements of a range, from either end.
    pub fn range(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.elements.range(range).map(|item| item.part(0))
    }

    /// All elements.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.range(0..self.len())
    }

    /// The items in the order of their stream.
    pub(super) const fn tree(&self) -> &Packed<0, 1> {
        &self.elements
    }

    /// Adds an element at one end.
    pub fn push(&mut self, end: End, element: &[u8]) {
        self.note_growth(element.len());
        self.push_as_is(end, element);
    }

    /// Adds elements at one end, the first one first.
    pub fn push_all<'a>(&mut self, end: End, elements: impl Iterator<Item = &'a [u8]> + Clone) {
        self.note_growth(elements.clone().map(<[u8]>::len).sum());
        elements.for_each(|element| self.push_as_is(end, element));
    }

    fn push_as_is(&mut self, end: End, element: &[u8]) {
        self.put_in(if end == End::Left { 0 } else { self.len() }, element);
    }

    /// Puts an element before the one at `index`.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.note_growth(element.len());
        self.put_in(index, element);
    }

    /// Puts another element in the place of the one at `index`, which is there.
    pub fn replace(&mut self, index: usize, element: &[u8]) {
        // As if the old one stayed, as in Redis.
        self.note_growth(element.len());
        self.listpack_bytes -= self.listpack_bytes_of(index..index + 1);
        self.listpack_bytes += listpack_entry_bytes(element);
        self.elements.replace(index, 0, &[element.into()]);
        self.note_shrinking();
    }

    /// Puts the element at one end to another end, or to the same.
    pub fn turn(&mut self, from: End, to: End) {
        let Some(element) = self.at_end(from).map(<[u8]>::to_vec) else { return };
        self.take_out(self.end_range(from, 1));
        self.push(to, &element);
        self.note_shrinking();
    }

    /// Takes out the elements of a range.
    pub fn remove_range(&mut self, range: Range<usize>) {
        self.take_out(range);
        self.note_shrinking();
    }

    /// Takes out the elements of many ranges, which are in order.
    pub fn remove_ranges(&mut self, ranges: &[Range<usize>]) {
        if ranges.is_empty() {
            return;
        }
        // Where most leaves lose something, they are filled anew.
        if ranges.len() > self.len() / REMOVED_RANGES_DISTANCE {
            self.keep_others(ranges);
        } else {
            ranges.iter().rev().for_each(|range| self.take_out(range.clone()));
        }
        self.note_shrinking();
    }

    fn keep_others(&mut self, gone: &[Range<usize>]) {
        let mut kept = Self { encoding: self.encoding, ..Self::default() };
        let ends = gone.iter().map(|range| range.end);
        let starts = gone.iter().map(|range| range.start).chain([self.len()]);
        for (start, end) in std::iter::once(0).chain(ends).zip(starts) {
            for item in self.elements.range(start..end) {
                kept.listpack_bytes += listpack_entry_bytes(item.part(0));
                kept.elements.push(0, &[item.share(0)]);
            }
        }
        *self = kept;
    }

    fn take_out(&mut self, range: Range<usize>) {
        // What stays may be quicker to sum up than what goes.
        self.listpack_bytes = if range.len() <= self.len() / 2 {
            self.listpack_bytes - self.listpack_bytes_of(range.clone())
        } else {
            self.listpack_bytes_of(0..range.start) + self.listpack_bytes_of(range.end..self.len())
        };
        self.elements.remove_range(range);
    }

    /// Takes out at most `count` elements at one end.
    pub fn remove_at_end(&mut self, end: End, count: usize) {
        let range = self.end_range(end, count);
        self.remove_range(range);
    }

    /// Where at most `count` elements at one end are.
    pub fn end_range(&self, end: End, count: usize) -> Range<usize> {
        let count = count.min(self.len());
        if end == End::Left { 0..count } else { self.len() - count..self.len() }
    }

    /// The addresses of the nodes of its tree.
    #[cfg(test)]
    pub fn nodes(&self) -> std::collections::BTreeSet<usize> {
        self.elements.nodes()
    }

    fn put_in(&mut self, index: usize, element: &[u8]) {
        self.listpack_bytes += listpack_entry_bytes(element);
        self.elements.insert(index, 0, &[element.into()]);
    }

    fn listpack_bytes_of(&self, range: Range<usize>) -> u64 {
        self.range(range).map(listpack_entry_bytes).sum()
    }

    /// Looks at the encoding before elements of this many bytes are added; Redis counts them bare.
    const fn note_growth(&mut self, added_bytes: usize) {
        if LISTPACK_FRAME_BYTES + self.listpack_bytes + added_bytes as u64 > LISTPACK_BYTES_MAX {
            self.encoding = ListEncoding::QuickList;
        }
    }

    /// Looks at the encoding after something was taken away. Well below the limit only, so that it does not flap.
    const fn note_shrinking(&mut self) {
        if LISTPACK_FRAME_BYTES + self.listpack_bytes <= LISTPACK_BYTES_MAX / 2 {
            self.encoding = ListEncoding::ListPack;
        }
    }
}

/// What an element takes in a listpack: its head, its bytes or those of the number that it is, and its length once more.
fn listpack_entry_bytes(element: &[u8]) -> u64 {
    let length = element.len() as u64;
    let number = if element.len() <= 20 { parse_i64(element) } else { None };
    let encoded = match number {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(-0x8000..=0x7fff) => 3,
        Some(-0x80_0000..=0x7f_ffff) => 4,
        Some(-0x8000_0000..=0x7fff_ffff) => 5,
        Some(_) => 9,
        None if length < 64 => 1 + length,
        None if length < 4096 => 2 + length,
        None => 5 + length,
    };
    let backwards = match encoded {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    encoded + backwards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_takes_what_a_listpack_gives_it() {
        for (element, bytes) in [
            ("0", 2),
            ("127", 2),
            ("128", 3),
            ("-1", 3),
            ("4096", 4),
            ("-32769", 5),
            ("8388608", 6),
            ("2147483648", 10),
            ("-9223372036854775808", 10),
            ("9223372036854775808", 21),
            ("01", 4),
            ("", 2),
        ] {
            assert_eq!(listpack_entry_bytes(element.as_bytes()), bytes, "{element:?}");
        }
        let lengths = [(63, 65), (64, 67), (125, 128), (126, 130), (4095, 4099), (4096, 4103), (20_000, 20_008)];
        for (length, bytes) in lengths {
            assert_eq!(listpack_entry_bytes(&vec![b'x'; length]), bytes, "{length}");
        }
    }

    #[test]
    fn the_encoding_follows_redis_there_and_back() {
        let mut list = List::default();
        (0..79).for_each(|_| list.push(End::Right, &[b'x'; 100]));
        list.push(End::Left, &[b'x'; 100]);
        assert_eq!((list.listpack_bytes, list.encoding()), (80 * 103, ListEncoding::QuickList));
        list.remove_at_end(End::Left, 40);
        assert_eq!(list.encoding(), ListEncoding::QuickList, "4127 bytes are above half of the limit");
        list.turn(End::Left, End::Right);
        assert_eq!(list.encoding(), ListEncoding::QuickList);
        list.replace(3, b"short");
        assert_eq!((list.listpack_bytes, list.encoding()), (39 * 103 + 7, ListEncoding::ListPack));
        list.set_encoding(ListEncoding::QuickList);
        list.settle_encoding();
        assert_eq!(list.encoding(), ListEncoding::ListPack, "what is built at once is as small as it can be");
        list.push(End::Right, &[b'x'; 9000]);
        list.settle_encoding();
        assert_eq!(list.encoding(), ListEncoding::QuickList);
        list.remove_ranges(&[0..10, 20..41]);
        assert_eq!((list.len(), list.encoding()), (10, ListEncoding::ListPack));
    }
}
