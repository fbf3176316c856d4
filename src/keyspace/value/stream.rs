//! Values as streams of bytes, cut anywhere: what snapshots and slot moves ship.
//!
//! A string is its bytes. A collection is its items, each part of an item as `u32 length | bytes`, little endian: a
//! list's elements; a set's members; a hash's fields, each with its value and its expiry in eight big-endian bytes or
//! none; a sorted set's members, each with its score in eight bytes. The `form` says which, and with which encoding; the
//! `size` says how many bytes or items there are.
//!
//! Invariant: memory follows the bytes received, never a claimed size; what cannot be is an error, never a panic.

use std::sync::Arc;

use super::{
    Collection, Encoding, Hash, HashEncoding, List, ListEncoding, Set, SetEncoding, SortedSet, SortedSetEncoding, Text,
    Value,
};
use crate::keyspace::record::ExpireAt;

const FORM_INTEGER: u8 = 0;
const FORM_PLAIN: u8 = 1;
const FORM_RAW: u8 = 2;
const FORM_LIST: u8 = 0x10;
const FORM_SET: u8 = 0x20;
const FORM_HASH: u8 = 0x30;
const FORM_SORTED_SET: u8 = 0x40;
const LENGTH_BYTES: usize = 4;

/// Where a stream goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamPlace {
    /// Items written.
    item: usize,
    /// Bytes written of the next item, or of a string.
    byte: usize,
}

impl StreamPlace {
    /// Items written, and bytes of the next one.
    pub const fn parts(self) -> (u64, u64) {
        (self.item as u64, self.byte as u64)
    }

    /// The place of these parts.
    pub fn of_parts(item: u64, byte: u64) -> Option<Self> {
        Some(Self { item: usize::try_from(item).ok()?, byte: usize::try_from(byte).ok()? })
    }
}

impl Value {
    /// What kind of stream it is.
    pub fn stream_form(&self) -> u8 {
        match self {
            Self::String(text) => match text.encoding() {
                Encoding::Int => FORM_INTEGER,
                Encoding::Embstr => FORM_PLAIN,
                Encoding::Raw => FORM_RAW,
            },
            Self::List(list) => FORM_LIST | list.encoding() as u8,
            Self::Set(set) => FORM_SET | set.encoding() as u8,
            Self::Hash(hash) => FORM_HASH | hash.encoding() as u8,
            Self::SortedSet(set) => FORM_SORTED_SET | set.encoding() as u8,
        }
    }

    /// A value of a form's type that has nothing: what no key holds, but a patch may pass through.
    ///
    /// # Errors
    /// There is no such form.
    pub fn without_items(form: u8) -> Result<Self, &'static str> {
        let mut value = match form & 0xf0 {
            0 => Self::String(Text::raw(Vec::new())),
            FORM_LIST => List::default().into_value(),
            FORM_SET => Set::default().into_value(),
            FORM_HASH => Hash::default().into_value(),
            FORM_SORTED_SET => SortedSet::default().into_value(),
            _ => return Err("a value of unknown form"),
        };
        // As the replicas have it that came here without a restart.
        value.take_form(form)?;
        Ok(value)
    }

    /// Takes the encoding that a form of its type names; a string has the one that it was made with.
    ///
    /// # Errors
    /// The form is of another type, or names an encoding that there is not.
    pub(super) fn take_form(&mut self, form: u8) -> Result<(), &'static str> {
        let low = form & 0x0f;
        match (self, form & 0xf0) {
            (Self::String(_), 0) if form <= FORM_RAW => {}
            (Self::List(list), FORM_LIST) => {
                Arc::make_mut(list).set_encoding(word(&[ListEncoding::ListPack, ListEncoding::QuickList], low)?);
            }
            (Self::Set(set), FORM_SET) => {
                let words = [SetEncoding::IntSet, SetEncoding::ListPack, SetEncoding::HashTable];
                Arc::make_mut(set).set_encoding(word(&words, low)?);
            }
            (Self::Hash(hash), FORM_HASH) => {
                Arc::make_mut(hash).set_encoding(word(&[HashEncoding::ListPack, HashEncoding::HashTable], low)?);
            }
            (Self::SortedSet(set), FORM_SORTED_SET) => {
                let words = [SortedSetEncoding::ListPack, SortedSetEncoding::SkipList];
                Arc::make_mut(set).set_encoding(word(&words, low)?);
            }
            _ => return Err("a value of a form of another type"),
        }
        Ok(())
    }

    /// A string whose stream is all there, and what follows it; none if it is no string or not all there.
    pub fn from_short_stream(form: u8, size: u64, bytes: &[u8]) -> Option<(Result<Self, &'static str>, &[u8])> {
        if form > FORM_RAW {
            return None;
        }
        let (text, rest) = bytes.split_at_checked(usize::try_from(size).ok()?)?;
        Some((string_of(form, text), rest))
    }

    /// How many bytes (strings) or items (collections) the stream has.
    pub fn stream_size(&self) -> u64 {
        match self {
            Self::String(text) => text.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Set(set) => set.len() as u64,
            Self::Hash(hash) => hash.len() as u64,
            Self::SortedSet(set) => set.len() as u64,
        }
    }

    /// Appends the stream from `from` on, at least one byte if there is any and at most about `room`; where it goes on,
    /// if it does.
    pub fn write_stream(&self, from: StreamPlace, room: usize, out: &mut Vec<u8>) -> Option<StreamPlace> {
        let mut pen = Pen { place: from, end: out.len() + room.max(1), out };
        let unfinished = match self {
            Self::String(text) => text.with_bytes(|bytes| !pen.write(&mut { from.byte }, bytes)),
            Self::List(list) => !list.tree().iter_from(from.item).all(|item| pen.item(item.parts::<1>())),
            Self::Set(set) => !set.tree().iter_from(from.item).all(|item| pen.item(item.parts::<1>())),
            Self::Hash(hash) => !hash.tree().iter_from(from.item).all(|item| pen.item(item.parts::<3>())),
            Self::SortedSet(set) => !set.tree().iter_from(from.item).all(|item| pen.item(item.parts::<2>())),
        };
        unfinished.then_some(pen.place)
    }
}

/// Writes until there is no room.
struct Pen<'a> {
    place: StreamPlace,
    end: usize,
    out: &'a mut Vec<u8>,
}

impl Pen<'_> {
    /// Writes one item, or what is left of it; whether all of it was written.
    pub(super) fn item<const PARTS: usize>(&mut self, parts: [&[u8]; PARTS]) -> bool {
        let mut skip = self.place.byte;
        for part in parts {
            if !self.write(&mut skip, &(part.len() as u32).to_le_bytes()) || !self.write(&mut skip, part) {
                return false;
            }
        }
        self.place = StreamPlace { item: self.place.item + 1, byte: 0 };
        true
    }

    /// Writes the bytes that are not written yet; whether there was room for all.
    fn write(&mut self, skip: &mut usize, bytes: &[u8]) -> bool {
        let left = &bytes[(*skip).min(bytes.len())..];
        *skip = skip.saturating_sub(bytes.len());
        let fits = left.len().min(self.end.saturating_sub(self.out.len()));
        self.out.extend_from_slice(&left[..fits]);
        self.place.byte += fits;
        fits == left.len()
    }
}

/// A value from its stream.
#[derive(Clone, Debug)]
pub struct ValueBuilder {
    form: u8,
    /// Bytes or items of the whole.
    size: u64,
    /// Bytes or items that are still to come.
    missing: u64,
    /// Bytes of an item that is not all there yet, or of a string. Shared with frozen copies.
    rest: Arc<Vec<u8>>,
    parts: Parts,
}

#[derive(Clone, Debug)]
enum Parts {
    String,
    List(List),
    Set(Set),
    Hash(Hash),
    SortedSet(SortedSet),
}

impl ValueBuilder {
    /// A builder for a stream of this form and size.
    ///
    /// # Errors
    /// There is no such form, or a collection without items.
    pub fn new(form: u8, size: u64) -> Result<Self, &'static str> {
        let parts = match form & 0xf0 {
            0 if form <= FORM_RAW => Parts::String,
            FORM_LIST => Parts::List(List::default()),
            FORM_SET => Parts::Set(Set::default()),
            FORM_HASH => Parts::Hash(Hash::default()),
            FORM_SORTED_SET => Parts::SortedSet(SortedSet::default()),
            _ => return Err("a value of unknown form"),
        };
        if size == 0 && !matches!(parts, Parts::String) {
            return Err("a collection without items");
        }
        Ok(Self { form, size, missing: size, rest: Arc::default(), parts })
    }

    /// Whether all is there.
    pub const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes as much of `bytes` as belongs to the value; what is left.
    ///
    /// # Errors
    /// An item that cannot be.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        if let Parts::String = self.parts {
            let there = usize::try_from(self.missing).unwrap_or(usize::MAX).min(bytes.len());
            Arc::make_mut(&mut self.rest).extend_from_slice(&bytes[..there]);
            self.missing -= there as u64;
            return Ok(&bytes[there..]);
        }
        if self.rest.is_empty() {
            let taken = self.take_items(bytes)?;
            if self.missing > 0 {
                Arc::make_mut(&mut self.rest).extend_from_slice(&bytes[taken..]);
                return Ok(&[]);
            }
            return Ok(&bytes[taken..]);
        }
        let before = self.rest.len();
        let mut all = Arc::unwrap_or_clone(std::mem::take(&mut self.rest));
        all.extend_from_slice(bytes);
        let taken = self.take_items(&all)?;
        if self.missing > 0 {
            all.drain(..taken);
            self.rest = Arc::new(all);
            return Ok(&[]);
        }
        Ok(&bytes[taken - before..])
    }

    /// The value.
    ///
    /// # Errors
    /// Something is missing, or the form says what the items are not.
    pub fn finish(self) -> Result<Value, &'static str> {
        if !self.is_complete() {
            return Err("a value that is not all there");
        }
        let mut value = match self.parts {
            Parts::String if self.form == FORM_RAW => Value::String(Text::raw(Arc::unwrap_or_clone(self.rest))),
            Parts::String => string_of(self.form, &self.rest)?,
            Parts::List(list) => list.into_value(),
            Parts::Set(set) => set.into_value(),
            Parts::Hash(hash) => hash.into_value(),
            Parts::SortedSet(set) => set.into_value(),
        };
        value.take_form(self.form)?;
        Ok(value)
    }

    /// What kind of stream it is.
    pub const fn form(&self) -> u8 {
        self.form
    }

    /// How many bytes or items the whole has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What there is so far: the items of a collection, if there are any, and the bytes after them.
    pub fn so_far(&self) -> (Option<Value>, &[u8]) {
        let items = match &self.parts {
            Parts::String => None,
            Parts::List(list) => Some(list.clone().into_value()),
            Parts::Set(set) => Some(set.clone().into_value()),
            Parts::Hash(hash) => Some(hash.clone().into_value()),
            Parts::SortedSet(set) => Some(set.clone().into_value()),
        };
        (items.filter(|_| self.missing < self.size), &self.rest)
    }

    /// What it takes in memory so far, roughly.
    pub fn heap_bytes(&self) -> u64 {
        let items = match &self.parts {
            Parts::String => 0,
            Parts::List(list) => list.heap_bytes(),
            Parts::Set(set) => set.heap_bytes(),
            Parts::Hash(hash) => hash.heap_bytes(),
            Parts::SortedSet(set) => set.heap_bytes(),
        };
        items + self.rest.len() as u64
    }

    /// What there is of a collection, to be freed.
    pub fn into_unfinished(self) -> Option<Value> {
        match self.parts {
            Parts::String => Some(Value::String(Text::raw(Arc::unwrap_or_clone(self.rest)))),
            Parts::List(list) => Some(list.into_value()),
            Parts::Set(set) => Some(set.into_value()),
            Parts::Hash(hash) => Some(hash.into_value()),
            Parts::SortedSet(set) => Some(set.into_value()),
        }
    }

    /// Adds the whole items that `bytes` starts with; how many bytes they are.
    fn take_items(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        const TWICE: &str = "an item that is there twice";
        let mut taken = 0;
        while self.missing > 0 {
            let rest = &bytes[taken..];
            let length = match &mut self.parts {
                Parts::String => return Ok(taken),
                Parts::List(list) => {
                    let Some(([element], length)) = item(rest) else { break };
                    list.push(super::End::Right, element);
                    length
                }
                Parts::Set(set) => {
                    let Some(([member], length)) = item(rest) else { break };
                    if !set.insert(member) {
                        return Err(TWICE);
                    }
                    length
                }
                Parts::Hash(hash) => {
                    let Some(([name, value, expiry], length)) = item(rest) else { break };
                    if !hash.put(name, value, expiry_of(expiry)?) {
                        return Err(TWICE);
                    }
                    length
                }
                Parts::SortedSet(set) => {
                    let Some(([member, score], length)) = item(rest) else { break };
                    let score = score.try_into().map(f64::from_le_bytes).ok().filter(|score| !score.is_nan());
                    if !set.put(member, score.ok_or("a score that is no number")?) {
                        return Err(TWICE);
                    }
                    length
                }
            };
            taken += length;
            self.missing -= 1;
        }
        Ok(taken)
    }
}

pub(super) fn string_of(form: u8, bytes: &[u8]) -> Result<Value, &'static str> {
    Ok(Value::String(match form {
        FORM_INTEGER => {
            let text = Text::encode(bytes);
            text.stored_integer().map(|_| text).ok_or("a number that is none")?
        }
        FORM_PLAIN => Text::plain(bytes),
        _ => Text::raw(bytes.to_vec()),
    }))
}

pub(super) fn expiry_of(bytes: &[u8]) -> Result<Option<ExpireAt>, &'static str> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let at = bytes.try_into().ok().and_then(|bytes| ExpireAt::new(u64::from_be_bytes(bytes)));
    at.map(Some).ok_or("an expiry that is none")
}

fn word<T: Copy>(words: &[T], number: u8) -> Result<T, &'static str> {
    words.get(usize::from(number)).copied().ok_or("a collection of unknown encoding")
}

/// The item that `bytes` starts with, if it is all there, and its length.
pub(super) fn item<const PARTS: usize>(bytes: &[u8]) -> Option<([&[u8]; PARTS], usize)> {
    let mut parts = [&[][..]; PARTS];
    let mut at = 0;
    for part in &mut parts {
        let length = bytes.get(at..)?.first_chunk::<LENGTH_BYTES>()?;
        at += LENGTH_BYTES;
        *part = bytes.get(at..at.checked_add(u32::from_le_bytes(*length) as usize)?)?;
        at += part.len();
    }
    Some((parts, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Value> {
        let (mut list, mut set) = (List::default(), Set::default());
        let (mut hash, mut sorted) = (Hash::default(), SortedSet::default());
        for number in 0..300_u32 {
            let name = format!("item:{number}");
            let value = vec![b'v'; number as usize * 3];
            list.push(super::super::End::Left, &value);
            set.insert(&[name.as_bytes(), &value].concat());
            hash.put(name.as_bytes(), &value, ExpireAt::new(u64::from(number % 3) * 100));
            sorted.put(name.as_bytes(), f64::from(number % 7) - 3.5);
        }
        let mut integers = Set::default();
        integers.insert(b"12");
        vec![
            Value::String(Text::encode(b"12")),
            Value::String(Text::encode(b"")),
            Value::String(Text::raw(vec![b'x'; 5000])),
            list.into_value(),
            set.into_value(),
            integers.into_value(),
            hash.into_value(),
            sorted.into_value(),
        ]
    }

    fn pieces(value: &Value, room: usize) -> Vec<Vec<u8>> {
        let (mut place, mut pieces) = (Some(StreamPlace::default()), Vec::new());
        while let Some(from) = place {
            let mut piece = Vec::new();
            place = value.write_stream(from, room, &mut piece);
            assert!(piece.len() <= room);
            pieces.push(piece);
        }
        pieces
    }

    #[test]
    fn every_value_comes_back_from_pieces_of_any_size() {
        for value in examples() {
            let whole = pieces(&value, usize::MAX / 2).concat();
            for room in [1, 3, 100, 4096] {
                let pieces = pieces(&value, room);
                assert_eq!(pieces.concat(), whole);
                let mut builder = ValueBuilder::new(value.stream_form(), value.stream_size()).unwrap();
                pieces.iter().for_each(|piece| assert_eq!(builder.push(piece), Ok(&[][..])));
                let back = builder.finish().unwrap();
                assert_eq!(back.stream_form(), value.stream_form());
                assert_eq!(self::pieces(&back, usize::MAX / 2).concat(), whole);
                assert_eq!(back.heap_bytes(), value.heap_bytes());
                assert_eq!(back.next_field_expiry(), value.next_field_expiry());
            }
        }
    }

    #[test]
    fn what_follows_a_value_is_left() {
        for value in examples() {
            let mut whole = pieces(&value, usize::MAX / 2).concat();
            whole.extend_from_slice(b"next");
            let cut = whole.len() / 2;
            let mut builder = ValueBuilder::new(value.stream_form(), value.stream_size()).unwrap();
            let left = builder.push(&whole[..cut]).unwrap().len();
            assert_eq!(builder.push(&whole[cut - left..]).unwrap(), b"next");
            builder.finish().unwrap();
        }
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        assert!(ValueBuilder::new(3, 1).is_err());
        assert!(ValueBuilder::new(0x50, 1).is_err());
        assert!(ValueBuilder::new(FORM_LIST, 0).is_err());
        let build = |form, size, bytes: &[u8]| {
            let mut builder = ValueBuilder::new(form, size)?;
            builder.push(bytes)?;
            builder.finish()
        };
        let one = b"\x01\0\0\0a";
        assert!(build(FORM_SET | 2, 1, one).is_ok());
        assert!(build(FORM_SET | 3, 1, one).is_err(), "no such encoding");
        assert!(build(FORM_SET, 2, &[&one[..], one].concat()).is_err(), "twice");
        assert!(build(FORM_SET, 2, one).is_err(), "short");
        assert!(build(FORM_SORTED_SET, 1, &[&one[..], one].concat()).is_err(), "no score");
        assert!(build(FORM_SORTED_SET, 1, &[one, &b"\x08\0\0\0\0\0\0\0\0\0\xf8\x7f"[..]].concat()).is_err(), "NaN");
        assert!(build(FORM_HASH, 1, &[&one[..], one, one].concat()).is_err(), "no expiry");
        assert!(build(FORM_INTEGER, 1, b"a").is_err());
    }
}
