//! How long requests waited: a histogram that is exact to less than a hundredth, of any number of them.

use std::time::Duration;

/// A power of two is cut in as many pieces.
const PIECES_LOG2: u32 = 7;
const PIECES: u64 = 1 << PIECES_LOG2;

#[derive(Clone, Default)]
pub struct Waits {
    counts: Vec<u32>,
    pub count: u64,
    pub longest: Duration,
}

fn place(nanos: u64) -> usize {
    let shift = (63 - nanos.max(1).leading_zeros()).saturating_sub(PIECES_LOG2);
    (u64::from(shift) * PIECES + (nanos >> shift)) as usize
}

fn nanos_at(place: usize) -> u64 {
    let shift = (place as u64 / PIECES).saturating_sub(1);
    (place as u64 - shift * PIECES) << shift
}

impl Waits {
    pub fn add(&mut self, wait: Duration) {
        let place = place(wait.as_nanos() as u64);
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.count += 1;
        self.longest = self.longest.max(wait);
    }

    /// What so many of them (0.99: all but a hundredth) did not exceed.
    pub fn at(&self, part: f64) -> Duration {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted.max(1) {
                return Duration::from_nanos(nanos_at(place));
            }
        }
        self.longest
    }
}
