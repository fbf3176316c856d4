//! Hashes: fields with values in hash order, and the order in which those fields expire that do.
//!
//! A field that is expired stays until it is removed; who reads says at which time, and then it is not there
//! ([`Hash::live`], [`Hash::live_len`]).
//!
//! Invariant: `expiries` has exactly one item for each field that has an expiry.

use super::super::packed::{Item, Packed, Part};
use super::super::record::ExpireAt;
use super::element_position;

/// Larger hashes are not a `listpack` (Redis's `hash-max-listpack-entries`).
const LISTPACK_ENTRIES_MAX: usize = 512;
/// Hashes with longer fields or values are not a `listpack` (Redis's `hash-max-listpack-value`).
const LISTPACK_VALUE_BYTES_MAX: usize = 64;

/// What `OBJECT ENCODING` says of a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HashEncoding {
    /// A small one.
    #[default]
    ListPack = 0,
    /// One that grew large.
    HashTable = 1,
}

impl HashEncoding {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListPack => "listpack",
            Self::HashTable => "hashtable",
        }
    }
}

/// A hash.
#[derive(Clone, Debug, Default)]
pub struct Hash {
    /// Field, value, expiry in eight big-endian bytes or none.
    fields: Packed<4, 3>,
    /// Expiry, and the position of the field in four big-endian bytes: fields that share both are there as often as
    /// they are in `fields`. Boxed, since few hashes have any.
    expiries: Option<Box<Packed<8, 1>>>,
    encoding: HashEncoding,
}

/// What a field that is set gets as its expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldExpiry {
    /// This one, or none.
    Is(Option<ExpireAt>),
    /// The one that it has.
    Kept,
}

/// A field as it is in a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What it holds.
    pub value: &'a [u8],
    /// When it expires, if it does.
    pub expire_at: Option<ExpireAt>,
}

impl<'a> Field<'a> {
    fn of(item: Item<'a, 4>) -> Self {
        let [name, value, expiry] = item.parts();
        let expire_at = expiry.try_into().ok().and_then(|bytes| ExpireAt::new(u64::from_be_bytes(bytes)));
        Self { name, value, expire_at }
    }

    /// Whether it is gone at `now_ms`.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expire_at.is_some_and(|at| at.get() <= now_ms)
    }
}

impl Hash {
    /// How many fields there are, those expired and not yet removed included.
    pub const fn len(&self) -> usize {
        self.fields.len()
    }

    /// How many fields there are at `now_ms`.
    pub fn live_len(&self, now_ms: u64) -> usize {
        self.len() - self.expired_len(now_ms)
    }

    /// How many fields are expired at `now_ms` and not removed yet.
    pub fn expired_len(&self, now_ms: u64) -> usize {
        self.expiries.as_ref().map_or(0, |expiries| due(expiries, now_ms))
    }

    /// What it costs in memory, roughly.
    pub fn heap_bytes(&self) -> u64 {
        self.fields.heap_bytes() + self.expiries.as_ref().map_or(0, |expiries| expiries.heap_bytes())
    }

    /// What of that is not also of an earlier or later state of it.
    pub fn unshared_bytes(&self, other: &Self) -> u64 {
        let expiries = match (&self.expiries, &other.expiries) {
            (Some(mine), Some(theirs)) => mine.unshared_bytes(theirs),
            (mine, _) => mine.as_ref().map_or(0, |expiries| expiries.heap_bytes()),
        };
        self.fields.unshared_bytes(&other.fields) + expiries
    }

    /// What `OBJECT ENCODING` says.
    pub const fn encoding(&self) -> HashEncoding {
        self.encoding
    }

    /// Gives it the encoding that another replica had.
    pub(super) const fn set_encoding(&mut self, encoding: HashEncoding) {
        self.encoding = encoding;
    }

    /// The field with this name, unless it is expired at `now_ms`.
    pub fn live(&self, name: &[u8], now_ms: u64) -> Option<Field<'_>> {
        self.get(name).filter(|field| !field.is_expired(now_ms))
    }

    /// The field with this name, expired or not.
    pub fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        self.fields.find(element_position(name), name).map(Field::of)
    }

    /// The field with this many before it in hash order, expired or not.
    pub fn nth(&self, index: usize) -> Option<Field<'_>> {
        self.fields.get(index).map(Field::of)
    }

    /// The fields that are not expired at `now_ms`, in hash order.
    pub fn iter_live(&self, now_ms: u64) -> impl Iterator<Item = Field<'_>> {
        self.iter().filter(move |field| !field.is_expired(now_ms))
    }

    /// All fields in hash order, expired or not.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator {
        self.fields.iter().map(Field::of)
    }

    /// The fields at or after `position` in hash order, each with its position (see [`element_position`]).
    pub fn iter_from_position(&self, position: u64) -> impl Iterator<Item = (u64, Field<'_>)> {
        let (Ok(index) | Err(index)) = self.fields.search(position, b"");
        self.fields.iter_from(index).map(|item| (item.prefix(), Field::of(item)))
    }

    /// The items in the order of their stream.
    pub(super) const fn tree(&self) -> &Packed<4, 3> {
        &self.fields
    }

    /// Sets a field, its expiry included; whether it is new.
    pub fn put(&mut self, name: &[u8], value: &[u8], expire_at: Option<ExpireAt>) -> bool {
        self.set(name, value, FieldExpiry::Is(expire_at), 0)
    }

    /// Sets a field; whether it is new at `now_ms`, which one that was expired is.
    pub fn set(&mut self, name: &[u8], value: &[u8], expiry: FieldExpiry, now_ms: u64) -> bool {
        if name.len().max(value.len()) > LISTPACK_VALUE_BYTES_MAX {
            self.encoding = HashEncoding::HashTable;
        }
        self.place(name, value.into(), expiry, now_ms)
    }

    /// Sets or takes away a field's expiry; false: no such field.
    pub fn set_expiry(&mut self, name: &[u8], expire_at: Option<ExpireAt>) -> bool {
        let Some(item) = self.fields.find(element_position(name), name) else { return false };
        let small;
        let value = match item.share(1) {
            Part::Bytes(bytes) => {
                small = bytes.to_vec();
                Part::Bytes(&small)
            }
            Part::Shared(bytes) => Part::Shared(bytes),
        };
        self.place(name, value, FieldExpiry::Is(expire_at), 0);
        true
    }

    /// A hash that is given so many fields at once is a large one, even if some are the same.
    pub const fn expect_fields(&mut self, count: usize) {
        if count > LISTPACK_ENTRIES_MAX {
            self.encoding = HashEncoding::HashTable;
        }
    }

    fn place(&mut self, name: &[u8], value: Part<'_>, expiry: FieldExpiry, now_ms: u64) -> bool {
        let position = element_position(name);
        let found = self.fields.search(position, name);
        let old = found.ok().and_then(|index| self.fields.get(index)).and_then(|item| Field::of(item).expire_at);
        let is_new = found.is_err() || old.is_some_and(|at| at.get() <= now_ms);
        let expire_at = match expiry {
            FieldExpiry::Is(expire_at) => expire_at,
            FieldExpiry::Kept => old.filter(|_| !is_new),
        };
        let bytes = expire_at.map(|at| at.get().to_be_bytes());
        let parts = [name.into(), value, bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]).into()];
        match found {
            Ok(index) => self.fields.replace(index, position, &parts),
            Err(index) => self.fields.insert(index, position, &parts),
        }
        if old != expire_at {
            old.into_iter().for_each(|at| self.forget_expiry(at, position));
            expire_at.into_iter().for_each(|at| self.note_expiry(at, position));
        }
        if self.len() > LISTPACK_ENTRIES_MAX || expire_at.is_some() {
            self.encoding = HashEncoding::HashTable;
        }
        is_new
    }

    /// Takes a field out; false: it is not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let position = element_position(name);
        let Ok(index) = self.fields.search(position, name) else { return false };
        let expiry = self.fields.get(index).and_then(|item| Field::of(item).expire_at);
        expiry.into_iter().for_each(|at| self.forget_expiry(at, position));
        self.fields.remove(index);
        true
    }

    /// Takes a field out, unless it is expired at `now_ms`; false: it is not there.
    pub fn remove_live(&mut self, name: &[u8], now_ms: u64) -> bool {
        self.live(name, now_ms).is_some() && self.remove(name)
    }

    /// When the first field expires.
    pub fn next_expiry(&self) -> Option<ExpireAt> {
        self.expiries.as_ref()?.get(0).and_then(|item| ExpireAt::new(item.prefix()))
    }

    /// Whether all fields are expired at `now_ms`.
    pub fn is_gone(&self, now_ms: u64) -> bool {
        self.expiries.as_ref().is_some_and(|expiries| {
            expiries.len() == self.len() && expiries.last().is_some_and(|item| item.prefix() <= now_ms)
        })
    }

    /// Whether a field expires after `after_ms` and at or before `until_ms`.
    pub fn expires_between(&self, after_ms: u64, until_ms: u64) -> bool {
        let Some(expiries) = &self.expiries else { return false };
        expiries.get(due(expiries, after_ms)).is_some_and(|item| item.prefix() <= until_ms)
    }

    /// Removes at most `fields_max` fields that are expired at `now_ms`, the longest due first; how many.
    pub fn remove_expired(&mut self, now_ms: u64, fields_max: usize) -> usize {
        let Some(expiries) = &mut self.expiries else { return 0 };
        let count = due(expiries, now_ms).min(fields_max);
        for item in expiries.range(0..count) {
            let place = item.part(0).try_into().map_or(0, u32::from_be_bytes).into();
            let index = index_of_expiry(&self.fields, place, item.prefix());
            self.fields.remove(index.expect("a field has the expiry that is noted"));
        }
        expiries.remove_range(0..count);
        if expiries.is_empty() {
            self.expiries = None;
        }
        count
    }

    fn note_expiry(&mut self, at: ExpireAt, position: u64) {
        let expiries = self.expiries.get_or_insert_default();
        let place = (position as u32).to_be_bytes();
        let (Ok(index) | Err(index)) = expiries.search(at.get(), &place);
        expiries.insert(index, at.get(), &[place[..].into()]);
    }

    fn forget_expiry(&mut self, at: ExpireAt, position: u64) {
        if let Some(expiries) = &mut self.expiries {
            expiries.remove_found(at.get(), &(position as u32).to_be_bytes());
            if expiries.is_empty() {
                self.expiries = None;
            }
        }
    }
}

/// How many of the expiries are at or before `now_ms`.
fn due(expiries: &Packed<8, 1>, now_ms: u64) -> usize {
    // The times end before the numbers do: Redis counts them with a sign.
    let (Ok(index) | Err(index)) = expiries.search(now_ms.saturating_add(1), b"");
    index
}

/// Where the first field of this position and expiry is.
fn index_of_expiry(fields: &Packed<4, 3>, position: u64, expire_at: u64) -> Option<usize> {
    let (Ok(first) | Err(first)) = fields.search(position, b"");
    let peers = fields.iter_from(first).take_while(|item| item.prefix() == position);
    let wanted = |item: Item<'_, 4>| Field::of(item).expire_at.is_some_and(|at| at.get() == expire_at);
    peers.map(wanted).position(|found| found).map(|behind| first + behind)
}
