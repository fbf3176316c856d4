//! Bytes on their way to one socket: small ones are copied into one buffer, large ones wait as they are.
//!
//! Copying is cheaper than a gathering write below some kilobytes, and dearer above; so a socket sees a queue of large
//! segments, then one growing buffer. Invariant: bytes leave in the order in which they were put, except
//! [urgent](Outbox::put_urgent) ones, which go before the first frame that has not begun.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// From this length on bytes are not copied.
pub const COPY_BYTES_MAX: usize = 16 * 1024;
/// A buffer that grew past this is freed when it is empty, not kept.
pub const KEPT_BYTES_MAX: usize = 64 * 1024;
/// The most segments that one gathering write takes.
pub const SLICES_MAX: usize = 32;

/// A queue of bytes for one socket.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Segment>,
    tail: Vec<u8>,
    tail_sent: usize,
    waiting: usize,
    put: u64,
    sent: u64,
}

#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    starts_frame: bool,
    begun: bool,
    counted: bool,
}

impl Outbox {
    /// Nothing to send, in a buffer that was used before.
    pub fn reusing(buffer: Vec<u8>) -> Self {
        Self { tail: buffer, ..Self::default() }
    }

    /// Whether all was sent.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many bytes wait.
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// The position of the next byte that is put, counted from the start of the connection, urgent ones left out.
    pub const fn position(&self) -> u64 {
        self.put
    }

    /// The position of the next byte that is sent.
    pub const fn sent_position(&self) -> u64 {
        self.sent
    }

    /// Lets `write` append to the buffer.
    #[inline]
    pub fn put_with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.tail.len();
        let result = write(&mut self.tail);
        let grown = self.tail.len() - before;
        self.waiting += grown;
        self.put += grown as u64;
        result
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.put_with(|tail| tail.extend_from_slice(bytes));
    }

    /// Appends bytes without copying them. They go on with the frame that was begun before them.
    pub fn put_shared(&mut self, bytes: Bytes) {
        self.seal_tail();
        self.waiting += bytes.len();
        self.put += bytes.len() as u64;
        self.queue.push_back(Segment { bytes, starts_frame: false, begun: false, counted: true });
    }

    /// Puts a whole frame before all frames that have not begun.
    pub fn put_urgent(&mut self, frame: &[u8]) {
        let place = self.queue.iter().position(|s| s.starts_frame && !s.begun);
        match place {
            Some(place) => {
                self.waiting += frame.len();
                let bytes = Bytes::copy_from_slice(frame);
                self.queue.insert(place, Segment { bytes, starts_frame: true, begun: false, counted: false });
            }
            None => {
                self.put(frame);
            }
        }
    }

    fn seal_tail(&mut self) {
        if self.tail_sent < self.tail.len() {
            let mut bytes = Bytes::from(std::mem::take(&mut self.tail));
            let begun = self.tail_sent > 0;
            bytes.advance(self.tail_sent);
            self.queue.push_back(Segment { bytes, starts_frame: true, begun, counted: true });
        }
        self.tail.clear();
        self.tail_sent = 0;
    }

    /// What to send next, as one buffer if it is one.
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.queue.is_empty().then(|| &self.tail[self.tail_sent..])
    }

    /// What to send next, in order; returns how many slices were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let tail = &self.tail[self.tail_sent..];
        let parts = self.queue.iter().map(|s| &s.bytes[..]).chain((!tail.is_empty()).then_some(tail));
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        count
    }

    /// Notes that `count` bytes were sent.
    pub fn advance(&mut self, mut count: usize) {
        self.waiting -= count;
        while count > 0 {
            let Some(first) = self.queue.front_mut() else { break };
            let step = count.min(first.bytes.len());
            first.bytes.advance(step);
            first.begun = true;
            count -= step;
            if first.counted {
                self.sent += step as u64;
            }
            if first.bytes.is_empty() {
                self.queue.pop_front();
            }
        }
        self.tail_sent += count;
        self.sent += count as u64;
        if self.tail_sent == self.tail.len() {
            self.tail_sent = 0;
            if self.tail.capacity() > KEPT_BYTES_MAX { self.tail = Vec::new() } else { self.tail.clear() }
        } else if self.tail_sent > KEPT_BYTES_MAX && self.tail_sent > self.tail.len() / 2 {
            self.tail.drain(..self.tail_sent);
            self.tail_sent = 0;
        }
    }

    /// Forgets all that waits, for a connection that is gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The buffer, for another's use, when nothing waits.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        debug_assert!(self.is_empty());
        std::mem::take(&mut self.tail)
    }

    /// Whether there is a buffer to take.
    pub fn has_buffer(&self) -> bool {
        self.tail.capacity() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = outbox.slices(&mut slices);
            let joined: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).take(step).collect();
            outbox.advance(joined.len());
            all.extend(joined);
        }
        all
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_size_of_the_writes() {
        for step in [1, 2, 3, 7, 100] {
            let mut outbox = Outbox::default();
            outbox.put(b"abc");
            outbox.put_shared(Bytes::from_static(b"DEFG"));
            outbox.put(b"hi");
            outbox.put_shared(Bytes::from_static(b"JK"));
            assert_eq!(outbox.position(), 11);
            assert_eq!(drain(&mut outbox, step), b"abcDEFGhiJK");
            assert_eq!(outbox.sent_position(), 11);
        }
    }

    #[test]
    fn an_urgent_frame_overtakes_frames_that_have_not_begun_only() {
        let mut outbox = Outbox::default();
        outbox.put(b"1h");
        outbox.put_shared(Bytes::from_static(b"1body"));
        outbox.put(b"2h");
        outbox.put_shared(Bytes::from_static(b"2body"));
        outbox.advance(1);
        outbox.put_urgent(b"!");
        assert_eq!(drain(&mut outbox, 3), b"h1body!2h2body");
        assert_eq!(outbox.sent_position(), outbox.position());
    }
}
