//! Lists: elements in the order in which they were put, reached from both ends and by rank.

use super::super::packed::{Iter, Packed};

/// Past this many bytes of elements a list is a `quicklist` (Redis's `list-max-listpack-size -2`).
const LISTPACK_BYTES_MAX: u64 = 8 * 1024;

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
    encoding: ListEncoding,
}

impl List {
    /// How many elements there are.
    pub const fn len(&self) -> usize {
        self.elements.len()
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

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.elements.get(index).map(|item| item.part(0))
    }

    /// The elements of a range, from either end.
    pub fn range(&self, range: std::ops::Range<usize>) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.elements.range(range).map(|item| item.part(0))
    }

    /// All elements.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.range(0..self.len())
    }

    /// The items from `index` on, for streaming.
    pub(super) fn items(&self, index: usize) -> Iter<'_, 0, 1> {
        self.elements.iter_from(index)
    }

    /// Adds an element at one end.
    pub fn push(&mut self, end: End, element: &[u8]) {
        self.insert(if end == End::Left { 0 } else { self.len() }, element);
    }

    /// Puts an element before the one at `index`.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.elements.insert(index, 0, &[element.into()]);
        self.note_growth();
    }

    /// Puts another element in the place of the one at `index`.
    pub fn replace(&mut self, index: usize, element: &[u8]) {
        self.elements.replace(index, 0, &[element.into()]);
        self.note_growth();
    }

    /// Takes out the elements of a range.
    pub fn remove_range(&mut self, range: std::ops::Range<usize>) {
        self.elements.remove_range(range);
        // As in Redis, only well below the limit, so that one at the limit does not flap.
        if self.heap_bytes() <= LISTPACK_BYTES_MAX / 2 {
            self.encoding = ListEncoding::ListPack;
        }
    }

    fn note_growth(&mut self) {
        if self.heap_bytes() > LISTPACK_BYTES_MAX {
            self.encoding = ListEncoding::QuickList;
        }
    }
}
