//! What a value became since an earlier state of it, as a stream of bytes that may be cut anywhere: so a large value that changes
//! while its slot moves is not sent whole again.
//!
//! A patch is a run of operations, little endian: `u64 keep | u32 drop | u32 insert` and then the inserted items in the form that they
//! have in a value's [stream](super::stream). Each goes on where the one before it ended: so many items (of a string: bytes) are as
//! they were, so many are gone, and so many are new. `u32::MAX` inserted items: it is over, and the rest is as it was. The
//! items are those of the stream, in its order, for all types.
//!
//! Collections share what was not changed with their copies, so what is the same is passed over leaf by leaf; strings are
//! compared in blocks. Where a collection shares nothing with its earlier state (that came with a snapshot), keyed items are
//! still found by their order; a list may then be sent whole from the first difference on.
//!
//! Invariants: a place is where the earlier and the later state are with each other, so that whoever has both goes on with it,
//! whatever their trees look like; who applies a patch has the earlier state, to the bit.

use super::super::packed::{Item, Packed};
use super::Value;

/// What an operation takes before the items that it inserts.
pub(super) const HEADER_BYTES: usize = 16;
/// In the place of a count: there is no more.
pub(super) const END: u32 = u32::MAX;
/// Items that one operation drops at most.
const DROPPED_MAX: usize = 4096;
/// The end of a gap is looked at for items that are the same, if it has no more than so many.
const GAP_ITEMS_MAX: usize = 1024;
/// Bytes of strings that are compared at once, at first and where they differ.
const STRETCH_BYTES: usize = 64 * 1024;
const BLOCK_BYTES: usize = 256;
/// Bytes of strings that count as one item.
const VISIT_BYTES: usize = 1024;

/// Where a patch goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchPlace {
    /// Items of the earlier state that are behind it.
    pub base: u64,
    /// Items of the later state that are behind it.
    pub item: u64,
    /// Bytes that were written of the next item.
    pub byte: u64,
}

impl Value {
    /// Appends more of the patch that makes this value of `base`, at least one byte and at most about `room`, and with about as
    /// many looks at items as `visits` allows; where it goes on, if it does. None at once: they are of different types.
    pub fn write_patch(
        &self,
        base: &Self,
        from: PatchPlace,
        room: usize,
        visits: &mut usize,
        out: &mut Vec<u8>,
    ) -> Option<PatchPlace> {
        let mut pen = Pen { place: from, end: out.len() + room.max(1), visits, out };
        let is_over = match (self, base) {
            (Self::String(new), Self::String(base)) => {
                new.with_bytes(|new| base.with_bytes(|base| pen.write_string(new, base)))
            }
            (Self::List(new), Self::List(base)) => pen.write_items(new.tree(), base.tree()),
            (Self::Set(new), Self::Set(base)) => pen.write_items(new.tree(), base.tree()),
            (Self::Hash(new), Self::Hash(base)) => pen.write_items(new.tree(), base.tree()),
            (Self::SortedSet(new), Self::SortedSet(base)) => pen.write_items(new.tree(), base.tree()),
            _ => true,
        };
        if is_over {
            pen.operation(0, 0, END);
        }
        (!is_over).then_some(pen.place)
    }
}

struct Pen<'a> {
    place: PatchPlace,
    end: usize,
    visits: &'a mut usize,
    out: &'a mut Vec<u8>,
}

impl Pen<'_> {
    const fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }

    fn operation(&mut self, keep: usize, drop: usize, insert: u32) {
        self.out.extend_from_slice(&(keep as u64).to_le_bytes());
        self.out.extend_from_slice(&(drop as u32).to_le_bytes());
        self.out.extend_from_slice(&insert.to_le_bytes());
    }

    /// Whether all is written.
    fn write_string(&mut self, new: &[u8], base: &[u8]) -> bool {
        let common = new.len().min(base.len());
        let mut kept = 0;
        loop {
            let at = self.place.item as usize;
            if *self.visits == 0 || self.room() == 0 {
                if kept > 0 {
                    self.operation(kept, 0, 0);
                }
                return false;
            }
            if at >= common {
                let (drop, added) = (base.len().saturating_sub(self.place.base as usize), &new[at.min(new.len())..]);
                if drop == 0 && added.is_empty() {
                    return true;
                }
                let drop = drop.min(END as usize - 1);
                self.put_bytes(kept, drop, added);
                kept = 0;
                continue;
            }
            let stretch = at..common.min(at + STRETCH_BYTES);
            *self.visits = self.visits.saturating_sub(stretch.len().div_ceil(VISIT_BYTES));
            let same = same_blocks(&new[stretch.clone()], &base[stretch.clone()]);
            kept += same;
            self.place.item += same as u64;
            self.place.base += same as u64;
            let changed = at + same..stretch.end;
            if changed.is_empty() {
                continue;
            }
            let differing = changed.len().min(different_blocks(&new[changed.clone()], &base[changed.clone()]));
            let fits = differing.min(self.room().max(1));
            self.put_bytes(kept, fits, &new[changed.start..changed.start + fits]);
            kept = 0;
        }
    }

    /// Replaces `drop` bytes by as many of `added` as there is room for.
    fn put_bytes(&mut self, kept: usize, drop: usize, added: &[u8]) {
        let added = &added[..added.len().min(self.room().max(1)).min(END as usize - 1)];
        self.operation(kept, drop, added.len() as u32);
        self.out.extend_from_slice(added);
        self.place.base += drop as u64;
        self.place.item += added.len() as u64;
    }

    /// Whether all is written.
    fn write_items<const PREFIX: usize, const PARTS: usize>(
        &mut self,
        new: &Packed<PREFIX, PARTS>,
        base: &Packed<PREFIX, PARTS>,
    ) -> bool {
        if self.place.byte > 0
            && let Some(item) = new.get(self.place.item as usize)
            && !self.put_item(&item.parts::<PARTS>())
        {
            return false;
        }
        let mut kept = 0;
        loop {
            let same = new.same_from(self.place.item as usize, base, self.place.base as usize, self.visits);
            kept += same;
            self.place.item += same as u64;
            self.place.base += same as u64;
            let (at, base_at) = (self.place.item as usize, self.place.base as usize);
            if at >= new.len() && base_at >= base.len() {
                return true;
            }
            if *self.visits == 0 || self.room() == 0 {
                if kept > 0 {
                    self.operation(kept, 0, 0);
                }
                return false;
            }
            let (dropped, inserted) =
                if PREFIX > 0 { keyed_gap(new, at, base, base_at) } else { gap(new, at, base, base_at, self.visits) };
            let dropped = dropped.min(DROPPED_MAX);
            *self.visits = self.visits.saturating_sub(dropped + 1);
            self.place.base += dropped as u64;
            if !self.put_items(kept, dropped, new, inserted) {
                return false;
            }
            kept = 0;
        }
    }

    /// Writes one operation, with as many of the next `count` items as there is room for; false: the last of them was cut.
    fn put_items<const PREFIX: usize, const PARTS: usize>(
        &mut self,
        kept: usize,
        dropped: usize,
        new: &Packed<PREFIX, PARTS>,
        count: usize,
    ) -> bool {
        let header = self.out.len();
        self.operation(kept, dropped, 0);
        let mut written = 0_u32;
        let mut is_whole = true;
        for item in new.iter_from(self.place.item as usize).take(count) {
            // At least a byte of the first.
            if written > 0 && (self.room() == 0 || *self.visits == 0) {
                break;
            }
            *self.visits = self.visits.saturating_sub(1);
            written += 1;
            is_whole = self.put_item(&item.parts::<PARTS>());
            if !is_whole {
                break;
            }
        }
        self.out[header + HEADER_BYTES - 4..header + HEADER_BYTES].copy_from_slice(&written.to_le_bytes());
        is_whole
    }

    /// Writes what is left of an item; whether all of it is written.
    fn put_item<const PARTS: usize>(&mut self, parts: &[&[u8]; PARTS]) -> bool {
        let mut skip = self.place.byte as usize;
        let mut room = self.room().max(1);
        for part in parts {
            for bytes in [&(part.len() as u32).to_le_bytes()[..], part] {
                let left = &bytes[skip.min(bytes.len())..];
                skip = skip.saturating_sub(bytes.len());
                let fits = left.len().min(room);
                self.out.extend_from_slice(&left[..fits]);
                room -= fits;
                self.place.byte += fits as u64;
                if fits < left.len() {
                    return false;
                }
            }
        }
        (self.place.item, self.place.byte) = (self.place.item + 1, 0);
        true
    }
}

/// How many bytes at the beginning are the same, in whole blocks.
fn same_blocks(one: &[u8], other: &[u8]) -> usize {
    if one == other {
        return one.len();
    }
    let blocks = one.chunks(BLOCK_BYTES).zip(other.chunks(BLOCK_BYTES));
    blocks.take_while(|(one, other)| one == other).map(|(one, _)| one.len()).sum()
}

/// How many bytes at the beginning are of blocks that differ.
fn different_blocks(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks(BLOCK_BYTES).zip(other.chunks(BLOCK_BYTES));
    blocks.take_while(|(one, other)| one != other).map(|(one, _)| one.len()).sum()
}

/// Of items in order, where they differ: how many are gone there, and how many are new.
fn keyed_gap<const PREFIX: usize, const PARTS: usize>(
    new: &Packed<PREFIX, PARTS>,
    at: usize,
    base: &Packed<PREFIX, PARTS>,
    base_at: usize,
) -> (usize, usize) {
    fn key<'a, const PREFIX: usize>(item: &Item<'a, PREFIX>) -> (u64, &'a [u8]) {
        (item.prefix(), item.part(0))
    }
    match (new.get(at), base.get(base_at)) {
        (Some(mine), Some(theirs)) if key(&mine) == key(&theirs) => (1, 1),
        (Some(mine), Some(theirs)) if key(&theirs) < key(&mine) => {
            let bound = key(&mine);
            (base.iter_from(base_at).take(DROPPED_MAX).take_while(|item| key(item) < bound).count(), 0)
        }
        (Some(_), Some(theirs)) => {
            let bound = key(&theirs);
            (0, new.iter_from(at).take(GAP_ITEMS_MAX).take_while(|item| key(item) < bound).count())
        }
        (None, _) => (base.len() - base_at, 0),
        (_, None) => (0, new.len() - at),
    }
}

/// The same of items that have no order of their own: all up to where both go on alike, or as many as are worth looking at at once.
fn gap<const PREFIX: usize, const PARTS: usize>(
    new: &Packed<PREFIX, PARTS>,
    at: usize,
    base: &Packed<PREFIX, PARTS>,
    base_at: usize,
    visits: &mut usize,
) -> (usize, usize) {
    let (end, base_end) = new.next_shared(at, base, base_at, visits);
    let (inserted, dropped) = (end - at, base_end - base_at);
    if inserted.max(dropped) > GAP_ITEMS_MAX {
        return (dropped, inserted);
    }
    let tails = new.range(at..end).rev().zip(base.range(base_at..base_end).rev());
    let same = tails.take_while(|(mine, theirs)| mine.parts::<PARTS>() == theirs.parts::<PARTS>()).count();
    *visits = visits.saturating_sub(same);
    (dropped - same, inserted - same)
}

#[cfg(test)]
mod tests;
