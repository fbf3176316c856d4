//! Commands over all keys go per slot (DESIGN.md, R15): a part says which slots it is wanted for, its answer which of them it
//! covered. Whoever asks repeats with the rest until every slot was covered once.
//!
//! A wish and an answer look alike, little endian: `u16 count`, as often `u16 first slot | u16 last slot`; then the request as
//! one RESP array, or the reply.
//!
//! Invariant: runs ascend and do not touch.

use crate::topology::Slot;

const COUNT_BYTES: usize = 2;
const RUN_BYTES: usize = 4;

/// Bytes that begin with no runs of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed slots of a command over all keys")]
pub struct Malformed;

/// A set of slots, as runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotRuns(Vec<(Slot, Slot)>);

impl SlotRuns {
    /// All slots.
    pub fn all() -> Self {
        Self::of(Slot::all())
    }

    /// These slots, which ascend.
    pub fn of(slots: impl IntoIterator<Item = Slot>) -> Self {
        let mut runs: Vec<(Slot, Slot)> = Vec::new();
        for slot in slots {
            match runs.last_mut() {
                Some((_, last)) if last.number() + 1 >= slot.number() => *last = slot,
                _ => runs.push((slot, slot)),
            }
        }
        Self(runs)
    }

    /// The slots in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.0.iter().flat_map(|(first, last)| (first.number()..=last.number()).filter_map(Slot::new))
    }

    /// First and last slot of each run.
    pub fn runs(&self) -> &[(Slot, Slot)] {
        &self.0
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| last.index() - first.index() + 1).sum()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the slot is among them.
    pub fn contains(&self, slot: Slot) -> bool {
        let run = self.0.get(self.0.partition_point(|(_, last)| *last < slot));
        run.is_some_and(|(first, _)| *first <= slot)
    }
}

/// Begins a wish or an answer; the request or the reply follows.
pub fn put(out: &mut Vec<u8>, slots: &SlotRuns) {
    out.extend_from_slice(&(slots.0.len() as u16).to_le_bytes());
    for (first, last) in &slots.0 {
        out.extend_from_slice(&first.number().to_le_bytes());
        out.extend_from_slice(&last.number().to_le_bytes());
    }
}

/// The slots, and the request or the reply.
///
/// # Errors
/// There are no slots.
pub fn split(bytes: &[u8]) -> Result<(SlotRuns, &[u8]), Malformed> {
    let (count, rest) = bytes.split_first_chunk::<COUNT_BYTES>().ok_or(Malformed)?;
    let length = usize::from(u16::from_le_bytes(*count)) * RUN_BYTES;
    let (runs, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
    let (mut read, mut from) = (Vec::new(), 0);
    for run in runs.as_chunks::<RUN_BYTES>().0 {
        let first = Slot::new(u16::from_le_bytes([run[0], run[1]])).ok_or(Malformed)?;
        let last = Slot::new(u16::from_le_bytes([run[2], run[3]])).ok_or(Malformed)?;
        if first.number() < from || last < first {
            return Err(Malformed);
        }
        from = last.number() + 2;
        read.push((first, last));
    }
    Ok((SlotRuns(read), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(numbers: &[u16]) -> Vec<Slot> {
        numbers.iter().map(|number| Slot::new(*number).unwrap()).collect()
    }

    #[test]
    fn what_is_written_reads_back() {
        for numbers in [&[][..], &[0], &[0, 1, 2, 5, 7, 8, 16383]] {
            let (slots, mut out) = (slots(numbers), Vec::new());
            let runs = SlotRuns::of(slots.iter().copied());
            put(&mut out, &runs);
            out.extend_from_slice(b"rest");
            assert_eq!(split(&out), Ok((runs.clone(), &b"rest"[..])));
            assert_eq!((runs.slots().collect::<Vec<_>>(), runs.len()), (slots.clone(), slots.len()));
            assert!(Slot::all().all(|slot| runs.contains(slot) == slots.contains(&slot)));
        }
        assert_eq!((SlotRuns::all().len(), SlotRuns::all().runs().len()), (16384, 1));
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for bytes in [&[][..], &[1], &[1, 0, 0, 0], &[1, 0, 2, 0, 1, 0], &[1, 0, 0, 0, 0, 0x40]] {
            assert_eq!(split(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(split(&[2, 0, 1, 0, 2, 0, 3, 0, 3, 0]), Err(Malformed), "runs that touch");
    }
}
