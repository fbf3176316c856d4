//! Taking a [patch](super::patch): what the target of a move does to a value that it has in an earlier state.
//!
//! Invariant: every operation is checked against the value; one that does not fit it is an error, never a panic.

use std::sync::Arc;

use super::patch::{END, HEADER_BYTES};
use super::stream::{expiry_of, item, string_of};
use super::{End, Value};

/// Strings up to this length are made anew when they are done, in the form that fits their length.
const SHORT_BYTES_MAX: u64 = 4096;

/// A value on its way from an earlier state to a later one.
#[derive(Clone, Debug)]
pub struct Patcher {
    value: Value,
    /// Form and size of the later state.
    form: u8,
    size: u64,
    /// Items of the later state that are there.
    at: usize,
    /// Items that the operation at hand has still to insert.
    left: u32,
    is_over: bool,
    /// Bytes of an operation or an item that is not all there yet. Shared with frozen copies.
    rest: Arc<Vec<u8>>,
}

/// Where a [`Patcher`] is: what another has to know to go on with the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patching {
    /// Form and size of the later state.
    pub form: u8,
    /// See `form`.
    pub size: u64,
    /// Items of the later state that are there.
    pub at: u64,
    /// Items that the operation at hand has still to insert.
    pub left: u32,
}

impl Patcher {
    /// Begins with the earlier state; form and size are those of the later one.
    pub fn new(value: Value, form: u8, size: u64) -> Self {
        Self { value, form, size, at: 0, left: 0, is_over: false, rest: Arc::default() }
    }

    /// Goes on where another was.
    ///
    /// # Errors
    /// Nobody can have been there.
    pub fn resume(value: Value, place: Patching) -> Result<Self, &'static str> {
        let Patching { form, size, at, left } = place;
        let at = usize::try_from(at).ok().filter(|at| *at as u64 <= value.stream_size());
        let at = at.ok_or("a patch beyond the end of its value")?;
        Ok(Self { value, form, size, at, left, is_over: false, rest: Arc::default() })
    }

    /// Where it is.
    pub const fn place(&self) -> Patching {
        Patching { form: self.form, size: self.size, at: self.at as u64, left: self.left }
    }

    /// What it has come to so far, and the bytes of what is not all there.
    pub fn so_far(&self) -> (&Value, &[u8]) {
        (&self.value, &self.rest)
    }

    /// Whether all of the patch is there.
    pub const fn is_complete(&self) -> bool {
        self.is_over
    }

    /// What it takes in memory, roughly.
    pub fn heap_bytes(&self) -> u64 {
        self.value.heap_bytes() as u64 + self.rest.len() as u64
    }

    /// What there is, to be freed.
    pub fn into_unfinished(self) -> Value {
        self.value
    }

    /// Takes as much of `bytes` as belongs to the patch; what is left.
    ///
    /// # Errors
    /// It does not fit the value.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let before = self.rest.len();
        let mut all = Arc::unwrap_or_clone(std::mem::take(&mut self.rest));
        let taken = if before == 0 {
            self.take(bytes)?
        } else {
            all.extend_from_slice(bytes);
            self.take(&all)?
        };
        if self.is_over {
            return Ok(&bytes[taken - before..]);
        }
        if before == 0 {
            all.extend_from_slice(&bytes[taken..]);
        } else {
            all.drain(..taken);
        }
        self.rest = Arc::new(all);
        Ok(&[])
    }

    /// The later state.
    ///
    /// # Errors
    /// It is not of the size or the form that it was to have.
    pub fn finish(mut self) -> Result<Value, &'static str> {
        if !self.is_over || self.value.stream_size() != self.size {
            return Err("a patched value of another size");
        }
        self.value.take_form(self.form)?;
        if let Value::String(text) = &self.value
            && (self.size <= SHORT_BYTES_MAX || self.value.stream_form() != self.form)
        {
            return text.with_bytes(|bytes| string_of(self.form, bytes));
        }
        Ok(self.value)
    }

    /// Executes what is all there; how many bytes that was.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut taken = 0;
        loop {
            while self.left > 0 {
                let Some(length) = self.insert(&bytes[taken..])? else { return Ok(taken) };
                taken += length;
            }
            let Some(header) = bytes[taken..].first_chunk::<HEADER_BYTES>() else { return Ok(taken) };
            let number = |range: std::ops::Range<usize>| {
                header[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
            };
            let (keep, drop, insert) = (number(0..8), number(8..12), number(12..16) as u32);
            if insert == END {
                self.is_over = true;
                return Ok(taken + HEADER_BYTES);
            }
            let (size, at) = (self.value.stream_size(), self.at as u64);
            if keep > size - at || drop > size - at - keep {
                return Err("a patch of more than there is");
            }
            if let Value::String(_) = self.value
                && bytes.len() - taken - HEADER_BYTES < insert as usize
            {
                return Ok(taken);
            }
            taken += HEADER_BYTES;
            self.at += keep as usize;
            if let Value::String(text) = &mut self.value {
                let (at, added) = (self.at, &bytes[taken..taken + insert as usize]);
                text.edit(|whole| drop_in(whole, at, drop as usize, added));
                self.at += added.len();
                taken += added.len();
            } else {
                self.drop_items(drop as usize)?;
                self.left = insert;
            }
        }
    }

    fn drop_items(&mut self, count: usize) -> Result<(), &'static str> {
        const GONE: &str = "a patch of what is not there";
        let at = self.at;
        match &mut self.value {
            Value::String(_) => {}
            Value::List(list) => Arc::make_mut(list).remove_range(at..at + count),
            Value::Set(set) => {
                let set = Arc::make_mut(set);
                for _ in 0..count {
                    let member = set.nth(at).ok_or(GONE)?.to_vec();
                    set.remove(&member);
                }
            }
            Value::Hash(hash) => {
                let hash = Arc::make_mut(hash);
                for _ in 0..count {
                    let name = hash.nth(at).ok_or(GONE)?.name.to_vec();
                    hash.remove(&name);
                }
            }
            Value::SortedSet(set) => {
                let set = Arc::make_mut(set);
                for _ in 0..count {
                    let member = set.tree().get(at).ok_or(GONE)?.part(0).to_vec();
                    set.remove(&member);
                }
            }
        }
        Ok(())
    }

    /// Inserts the item that `bytes` begins with, if it is all there; its length.
    fn insert(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        const WRONG: &str = "an item that has no place there";
        let at = self.at;
        let (length, is_there) = match &mut self.value {
            Value::String(_) => return Err(WRONG),
            Value::List(list) => {
                let Some(([element], length)) = item(bytes) else { return Ok(None) };
                let list = Arc::make_mut(list);
                if at == list.len() {
                    list.push(End::Right, element);
                } else {
                    list.insert(at, element);
                }
                (length, true)
            }
            Value::Set(set) => {
                let Some(([member], length)) = item(bytes) else { return Ok(None) };
                let set = Arc::make_mut(set);
                (length, set.insert(member) && set.nth(at) == Some(member))
            }
            Value::Hash(hash) => {
                let Some(([name, value, expiry], length)) = item(bytes) else { return Ok(None) };
                let hash = Arc::make_mut(hash);
                let is_new = hash.put(name, value, expiry_of(expiry)?);
                (length, is_new && hash.nth(at).is_some_and(|field| field.name == name))
            }
            Value::SortedSet(set) => {
                let Some(([member, score], length)) = item(bytes) else { return Ok(None) };
                let score = score.try_into().map(f64::from_le_bytes).ok().filter(|score| !score.is_nan());
                let set = Arc::make_mut(set);
                let is_new = set.put(member, score.ok_or("a score that is no number")?);
                (length, is_new && set.tree().get(at).is_some_and(|item| item.part(0) == member))
            }
        };
        if !is_there {
            return Err(WRONG);
        }
        self.at += 1;
        self.left -= 1;
        Ok(Some(length))
    }
}

/// Puts `added` in the place of `count` bytes at `at`.
fn drop_in(whole: &mut Vec<u8>, at: usize, count: usize, added: &[u8]) {
    if count == added.len() {
        whole[at..at + count].copy_from_slice(added);
    } else {
        whole.splice(at..at + count, added.iter().copied());
    }
}
