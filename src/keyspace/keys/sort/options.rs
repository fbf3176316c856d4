//! The options of SORT, and the patterns that name other keys.
//!
//! Invariant: every key that a pattern can form is in the slot of the sorted key, so it is owned whenever that is, moves
//! with it, and what SORT does follows from the state of one slot.

use super::super::super::call::{CommandError, Word, integer};
use crate::protocol::errors;
use crate::protocol::request::Args;
use crate::topology::{Slot, hash_tag};

/// What a client wants of SORT.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// From the largest to the smallest.
    pub descending: bool,
    /// By bytes, not by number.
    pub alpha: bool,
    /// Not at all: the order of the key.
    pub unsorted: bool,
    /// By other keys.
    pub by: Option<Pattern<'a>>,
    /// What to return of each element; itself if empty.
    pub get: Vec<Get<'a>>,
    /// The position of the key to store to.
    pub store: Option<usize>,
    limit: Option<(i64, i64)>,
}

impl<'a> Options<'a> {
    /// Reads the arguments; only SORT may store.
    pub fn parse(args: Args<'a>, may_store: bool) -> Result<Self, CommandError> {
        let slot = Slot::of_key(args.get(1));
        let (mut options, mut at) = (Self::default(), 2);
        while at < args.len() {
            let left = args.len() - at - 1;
            match Word::of(args.get(at)).as_slice() {
                b"ASC" => options.descending = false,
                b"DESC" => options.descending = true,
                b"ALPHA" => options.alpha = true,
                b"LIMIT" if left >= 2 => {
                    options.limit = Some((integer(args, at + 1)?, integer(args, at + 2)?));
                    at += 2;
                }
                b"STORE" if left >= 1 && may_store => {
                    options.store = Some(at + 1);
                    at += 1;
                }
                b"BY" if left >= 1 => {
                    at += 1;
                    match Pattern::parse(args.get(at)) {
                        Some(pattern) if pattern.slot() != Some(slot) => return Err(errors::SORT_BY_SLOTS.into()),
                        Some(pattern) => options.by = Some(pattern),
                        // As in Redis, one constant is enough, whatever else is said.
                        None => options.unsorted = true,
                    }
                }
                b"GET" if left >= 1 => {
                    at += 1;
                    let get = Get::parse(args.get(at));
                    if let Get::Of(pattern) = &get
                        && pattern.slot() != Some(slot)
                    {
                        return Err(errors::SORT_GET_SLOTS.into());
                    }
                    options.get.push(get);
                }
                _ => return Err(errors::SYNTAX.into()),
            }
            at += 1;
        }
        Ok(options)
    }

    /// Which of `count` elements are wanted.
    pub fn range(&self, count: usize) -> std::ops::Range<usize> {
        let Some((start, wanted)) = self.limit else { return 0..count };
        let start = usize::try_from(start).unwrap_or(0).min(count);
        let wanted = usize::try_from(wanted).unwrap_or(count);
        start..start.saturating_add(wanted).min(count)
    }
}

/// What to return of an element.
#[derive(Debug)]
pub enum Get<'a> {
    /// Itself.
    Element,
    /// What another key holds.
    Of(Pattern<'a>),
    /// A constant, which Redis takes for nothing.
    Nothing,
}

impl<'a> Get<'a> {
    fn parse(text: &'a [u8]) -> Self {
        match until_zero(text) {
            b"#" => Self::Element,
            _ => Pattern::parse(text).map_or(Self::Nothing, Self::Of),
        }
    }
}

/// The name of another key, with a place for the element, and maybe the field of a hash.
#[derive(Debug)]
pub struct Pattern<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// The field of the hash that the key is.
    pub field: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    /// None: there is no place for the element.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let visible = until_zero(text);
        let star = memchr::memchr(b'*', visible)?;
        let (before, rest) = (&text[..star], &text[star + 1..]);
        let arrow = visible[star + 1..].windows(2).position(|pair| pair == b"->");
        // An arrow at the end is a part of the name.
        match arrow.filter(|arrow| star + 1 + arrow + 2 < visible.len()) {
            Some(arrow) => Some(Self { before, after: &rest[..arrow], field: Some(&rest[arrow + 2..]) }),
            None => Some(Self { before, after: rest, field: None }),
        }
    }

    /// The slot of all keys that it can form, if its hash tag names one whatever the element is.
    fn slot(&self) -> Option<Slot> {
        (hash_tag(self.before).len() < self.before.len()).then(|| Slot::of_key(self.before))
    }

    /// The key for an element, in the room given.
    pub fn key<'k>(&self, element: &[u8], room: &'k mut Vec<u8>) -> &'k [u8] {
        room.clear();
        [self.before, element, self.after].into_iter().for_each(|part| room.extend_from_slice(part));
        room
    }
}

/// What C sees of a string.
fn until_zero(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_a_key_and_maybe_a_field() {
        let parts = |text: &'static str| {
            let pattern = Pattern::parse(text.as_bytes())?;
            let key = String::from_utf8(pattern.key(b"E", &mut Vec::new()).to_vec()).unwrap();
            Some((key, pattern.field.map(|field| String::from_utf8(field.to_vec()).unwrap())))
        };
        let of = |key: &str, field: Option<&str>| Some((key.to_owned(), field.map(str::to_owned)));
        assert_eq!(parts("w_*"), of("w_E", None));
        assert_eq!(parts("*"), of("E", None));
        assert_eq!(parts("a*b*c"), of("aEb*c", None));
        assert_eq!(parts("h_*->f"), of("h_E", Some("f")));
        assert_eq!(parts("h_*x->f->g"), of("h_Ex", Some("f->g")));
        assert_eq!(parts("h_*->"), of("h_E->", None));
        assert_eq!(parts("h->*"), of("h->E", None));
        assert_eq!(parts("constant"), None);
        assert_eq!(parts("zero\0*"), None);
    }

    #[test]
    fn a_pattern_has_a_slot_if_a_tag_is_closed_before_the_element() {
        let slot = |text: &str| Pattern::parse(text.as_bytes()).unwrap().slot();
        let tagged = Some(Slot::of_key(b"t"));
        for (text, expected) in [
            ("{t}w_*", tagged),
            ("a{t}*->f", tagged),
            ("{t}{*}", tagged),
            ("w_*", None),
            ("*{t}", None),
            ("{*}", None),
            ("{t*}", None),
            ("{}{t}*", None),
            ("t*", None),
        ] {
            assert_eq!(slot(text), expected, "{text}");
        }
    }

    #[test]
    fn a_limit_is_cut_to_what_is_there() {
        let range = |start, count| Options { limit: Some((start, count)), ..Options::default() }.range(5);
        assert_eq!(Options::default().range(5), 0..5);
        assert_eq!((range(1, 2), range(-3, 2), range(3, 100)), (1..3, 0..2, 3..5));
        assert_eq!((range(2, -1), range(5, 1), range(9, -1), range(2, 0)), (2..5, 5..5, 5..5, 2..2));
        assert_eq!(range(i64::MAX, i64::MAX), 5..5);
    }
}
