//! Hashes: fields with values in hash order, and the order in which those fields expire that do.
//!
//! Invariant: `expiries` has exactly the fields that have an expiry, each under it.

use super::super::packed::{Item, Iter, Packed};
use super::super::record::ExpireAt;
use super::element_position;

/// Larger hashes are not a `listpack` (Redis's `hash-max-listpack-entries`).
const LISTPACK_ENTRIES_MAX: usize = 128;
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
    /// Expiry, field. Boxed, since few hashes have any.
    expiries: Option<Box<Packed<8, 1>>>,
    encoding: HashEncoding,
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

    /// How many fields there are at `now_ms`. Costs a step for each one that is expired and not yet removed.
    pub fn live_len(&self, now_ms: u64) -> usize {
        self.len() - self.expired(now_ms).count()
    }

    /// What it costs in memory, roughly.
    pub fn heap_bytes(&self) -> u64 {
        self.fields.heap_bytes() + self.expiries.as_ref().map_or(0, |expiries| expiries.heap_bytes())
    }

    /// What `OBJECT ENCODING` says.
    pub const fn encoding(&self) -> HashEncoding {
        self.encoding
    }

    /// Gives it the encoding that another replica had.
    pub(super) const fn set_encoding(&mut self, encoding: HashEncoding) {
        self.encoding = encoding;
    }

    /// The field with this name, expired or not.
    pub fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        self.fields.find(element_position(name), name).map(Field::of)
    }

    /// The field with this many before it in hash order, expired or not.
    pub fn nth(&self, index: usize) -> Option<Field<'_>> {
        self.fields.get(index).map(Field::of)
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

    /// The items from `index` on, for streaming.
    pub(super) fn items(&self, index: usize) -> Iter<'_, 4, 3> {
        self.fields.iter_from(index)
    }

    /// Sets a field, its expiry included; whether it is new.
    pub fn put(&mut self, name: &[u8], value: &[u8], expire_at: Option<ExpireAt>) -> bool {
        let position = element_position(name);
        let expiry = expire_at.map(|at| at.get().to_be_bytes());
        let parts = [name.into(), value.into(), expiry.as_ref().map_or(&[][..], |bytes| &bytes[..]).into()];
        let new = match self.fields.search(position, name) {
            Ok(index) => {
                let old = self.fields.get(index).and_then(|item| Field::of(item).expire_at);
                if old != expire_at {
                    old.into_iter().for_each(|at| self.forget_expiry(at, name));
                }
                self.fields.replace(index, position, &parts);
                false
            }
            Err(index) => {
                self.fields.insert(index, position, &parts);
                true
            }
        };
        if let Some(at) = expire_at {
            self.expiries.get_or_insert_default().put(at.get(), &[name.into()]);
        }
        if self.len() > LISTPACK_ENTRIES_MAX || name.len().max(value.len()) > LISTPACK_VALUE_BYTES_MAX {
            self.encoding = HashEncoding::HashTable;
        }
        new
    }

    /// Sets or takes away a field's expiry; false: no such field.
    pub fn set_expiry(&mut self, name: &[u8], expire_at: Option<ExpireAt>) -> bool {
        let Some(value) = self.get(name).map(|field| field.value.to_vec()) else { return false };
        self.put(name, &value, expire_at);
        true
    }

    /// Takes a field out; false: it is not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let position = element_position(name);
        let Ok(index) = self.fields.search(position, name) else { return false };
        let expiry = self.fields.get(index).and_then(|item| Field::of(item).expire_at);
        expiry.into_iter().for_each(|at| self.forget_expiry(at, name));
        self.fields.remove(index);
        true
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

    /// The names of the fields that are expired at `now_ms`, the longest due first.
    pub fn expired(&self, now_ms: u64) -> impl Iterator<Item = &[u8]> {
        let expiries = self.expiries.iter().flat_map(|expiries| expiries.iter());
        expiries.take_while(move |item| item.prefix() <= now_ms).map(|item| item.part(0))
    }

    /// Removes at most `fields_max` fields that are expired at `now_ms`; how many.
    pub fn remove_expired(&mut self, now_ms: u64, fields_max: usize) -> usize {
        let names: Vec<Vec<u8>> = self.expired(now_ms).take(fields_max).map(<[u8]>::to_vec).collect();
        names.iter().filter(|name| self.remove(name)).count()
    }

    fn forget_expiry(&mut self, at: ExpireAt, name: &[u8]) {
        if let Some(expiries) = &mut self.expiries {
            expiries.remove_found(at.get(), name);
            if expiries.is_empty() {
                self.expiries = None;
            }
        }
    }
}
