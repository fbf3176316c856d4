//! What is remembered of one session: its replies in the order of their sequences.
//!
//! A proxy's writes come nearly in order and are acknowledged in order, so this is a queue: new replies go to its end, those
//! below `low` leave at its front. It is cut into chunks that are shared with frozen copies, so that the first change
//! after a snapshot copies one chunk, whatever the length of the queue.
//!
//! Invariants: sequences rise from front to back, none is below `low`; no chunk is empty; `bytes` is the sum over the replies.

use std::collections::VecDeque;
use std::sync::Arc;

use super::reply::{Answer, Kept};
use crate::planted::{self, Bug};
use crate::topology::LogTime;

/// Replies in one chunk at most.
const CHUNK_REPLIES_MAX: usize = 64;

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Every sequence below is answered, or was given up: nobody asks for its reply, and none of them is executed.
    pub low: u64,
    /// When it was last heard of, to the second.
    pub heard: LogTime,
    /// None of its writes that came was born later.
    pub born: LogTime,
    chunks: VecDeque<Arc<VecDeque<Kept>>>,
    count: usize,
    bytes: u64,
}

/// A place among the replies of a session that does not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    chunk: usize,
    offset: usize,
}

impl Session {
    /// A session of which nothing is known but this.
    pub const fn new(low: u64, heard: LogTime, born: LogTime) -> Self {
        Self { low, heard, born, chunks: VecDeque::new(), count: 0, bytes: 0 }
    }

    /// How many replies there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Their bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The reply to a write.
    pub fn find(&self, sequence: u64) -> Option<&Answer> {
        let last = |chunk: &Arc<VecDeque<Kept>>| chunk.back().map_or(0, |kept| kept.sequence);
        let chunk = self.chunks.get(self.chunks.partition_point(|chunk| last(chunk) < sequence))?;
        let at = chunk.binary_search_by_key(&sequence, |kept| kept.sequence).ok()?;
        Some(&chunk[at].answer)
    }

    /// The replies of this sequence and all after it.
    pub fn kept_from(&self, sequence: u64) -> impl Iterator<Item = &Kept> {
        let last = |chunk: &Arc<VecDeque<Kept>>| chunk.back().map_or(0, |kept| kept.sequence);
        let first = self.chunks.partition_point(|chunk| last(chunk) < sequence);
        self.chunks.range(first..).flat_map(|chunk| chunk.iter()).skip_while(move |kept| kept.sequence < sequence)
    }

    /// Keeps a reply, which takes the place of one of the same sequence.
    pub fn keep(&mut self, kept: Kept) {
        self.count += 1;
        self.bytes += kept.bytes();
        match self.chunks.back_mut() {
            Some(last) if last.back().is_some_and(|newest| newest.sequence >= kept.sequence) => {
                return self.insert(kept);
            }
            Some(last) if last.len() < CHUNK_REPLIES_MAX => return Arc::make_mut(last).push_back(kept),
            _ => {}
        }
        self.chunks.push_back(Arc::new(VecDeque::from([kept])));
    }

    /// The rare case: a write that was sent again comes after later ones.
    fn insert(&mut self, kept: Kept) {
        let last = |chunk: &Arc<VecDeque<Kept>>| chunk.back().map_or(0, |kept| kept.sequence);
        let index = self.chunks.partition_point(|chunk| last(chunk) < kept.sequence);
        let chunk = Arc::make_mut(&mut self.chunks[index]);
        match chunk.binary_search_by_key(&kept.sequence, |other| other.sequence) {
            Ok(at) => {
                self.count -= 1;
                self.bytes -= chunk[at].bytes();
                chunk[at] = kept;
            }
            Err(at) => {
                chunk.insert(at, kept);
                if chunk.len() > 2 * CHUNK_REPLIES_MAX {
                    let upper = chunk.split_off(CHUNK_REPLIES_MAX);
                    self.chunks.insert(index + 1, Arc::new(upper));
                }
            }
        }
    }

    /// Drops the replies below `low`, which never falls.
    pub fn raise_low(&mut self, low: u64) {
        self.low = self.low.max(low);
        let low = self.low + u64::from(planted::is(Bug::LowTooFar));
        while self.first().is_some_and(|kept| kept.sequence < low) {
            self.drop_first();
        }
    }

    /// Drops the oldest replies, so many at most; returns whether there are more. Whoever asks for one of them is told that
    /// nobody knows.
    pub fn evict(&mut self, count_max: usize) -> bool {
        for _ in 0..count_max {
            let Some(sequence) = self.first().map(|kept| kept.sequence) else { break };
            self.raise_low(sequence + 1);
        }
        self.count > 0
    }

    fn first(&self) -> Option<&Kept> {
        self.chunks.front()?.front()
    }

    fn drop_first(&mut self) {
        let Some(chunk) = self.chunks.front_mut() else { return };
        // A chunk that is over as a whole need not be copied to be emptied.
        if chunk.len() == 1 || chunk.back().is_some_and(|kept| kept.sequence < self.low) {
            self.count -= chunk.len();
            self.bytes -= chunk.iter().map(Kept::bytes).sum::<u64>();
            self.chunks.pop_front();
        } else if let Some(kept) = Arc::make_mut(chunk).pop_front() {
            self.count -= 1;
            self.bytes -= kept.bytes();
        }
    }

    /// The reply at a place, and the place after it.
    pub fn at(&self, place: Place) -> Option<(&Kept, Place)> {
        let chunk = self.chunks.get(place.chunk)?;
        match chunk.get(place.offset) {
            Some(kept) => Some((kept, Place { offset: place.offset + 1, ..place })),
            None => self.at(Place { chunk: place.chunk + 1, offset: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::remembered::reply::Reply;

    fn kept(sequence: u64) -> Kept {
        Kept { sequence, slot: None, answer: Answer::Reply(Reply::new(&sequence.to_le_bytes())) }
    }

    fn sequences(session: &Session) -> Vec<u64> {
        let (mut found, mut place) = (Vec::new(), Place::default());
        while let Some((kept, next)) = session.at(place) {
            found.push(kept.sequence);
            place = next;
        }
        found
    }

    #[test]
    fn replies_stay_in_order_however_they_come_and_leave_from_below() {
        let mut session = Session::new(0, LogTime(0), LogTime(0));
        let mut model = std::collections::BTreeSet::new();
        let mut random = 7_u64;
        for step in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let sequence = if random >> 62 == 0 { session.low + (random >> 40) % 500 } else { 10 + step * 2 };
            if sequence >= session.low {
                session.keep(kept(sequence));
                model.insert(sequence);
            }
            if (random >> 20).is_multiple_of(50) {
                let low = session.low + (random >> 33) % 300;
                session.raise_low(low);
                model.retain(|sequence| *sequence >= low);
            }
            assert_eq!(session.len(), model.len());
            assert_eq!(session.find(sequence).is_some(), model.contains(&sequence));
            assert!(session.find(sequence + 1).is_some() == model.contains(&(sequence + 1)));
        }
        assert_eq!(sequences(&session), model.iter().copied().collect::<Vec<_>>());
        assert_eq!(session.bytes(), model.iter().map(|s| kept(*s).bytes()).sum::<u64>());
        session.evict(1);
        assert_eq!(Some(session.low), model.pop_first().map(|first| first + 1));
        while session.evict(7) {}
        assert_eq!((session.len(), session.bytes(), sequences(&session)), (0, 0, Vec::new()));
    }

    #[test]
    fn a_copy_does_not_follow_its_original() {
        let mut session = Session::new(0, LogTime(0), LogTime(0));
        (0..1000).for_each(|sequence| session.keep(kept(sequence)));
        let copy = session.clone();
        session.raise_low(500);
        (1000..1100).for_each(|sequence| session.keep(kept(sequence)));
        session.keep(kept(555));
        assert_eq!(sequences(&copy), (0..1000).collect::<Vec<_>>());
        assert_eq!(sequences(&session), (500..1100).collect::<Vec<_>>());
    }
}
