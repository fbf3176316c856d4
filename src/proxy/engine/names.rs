//! The names of this worker's writes: the worker is a session, each write has the next number of it.
//!
//! A write keeps its name however often it is handed over, so that its shard executes it once. What is answered, or given
//! up for good, needs its name no more: [`Names::low`] is the lowest that is still needed, and goes out with every write,
//! so that shards forget what is below (DESIGN.md, R9).
//!
//! Invariant: `open` starts with a name that is needed, or is empty.

use std::collections::VecDeque;

/// Numbers given out, and which of them are needed.
#[derive(Debug)]
pub struct Names {
    low: u64,
    /// Whether each number from `low` on is needed.
    open: VecDeque<bool>,
}

impl Names {
    /// Of a session that has not begun.
    pub const fn new() -> Self {
        Self { low: 1, open: VecDeque::new() }
    }

    /// As many numbers in a row; returns the first.
    pub fn take(&mut self, count: usize) -> u64 {
        let first = self.low + self.open.len() as u64;
        self.open.extend(std::iter::repeat_n(true, count));
        first
    }

    /// These numbers are needed no more.
    pub fn give_back(&mut self, first: u64, count: usize) {
        for number in first..first + count as u64 {
            if let Some(open) = number.checked_sub(self.low).and_then(|at| self.open.get_mut(at as usize)) {
                *open = false;
            }
        }
        while self.open.front() == Some(&false) {
            self.open.pop_front();
            self.low += 1;
        }
    }

    /// The lowest number that is needed, or the next one.
    pub const fn low(&self) -> u64 {
        self.low
    }

    /// How many numbers lie between that and the newest.
    pub fn span(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_is_the_lowest_that_is_needed() {
        let mut names = Names::new();
        assert_eq!((names.take(1), names.take(3), names.take(1), names.low()), (1, 2, 5, 1));
        names.give_back(2, 3);
        assert_eq!((names.low(), names.span()), (1, 5));
        names.give_back(1, 1);
        assert_eq!((names.low(), names.span()), (5, 1));
        names.give_back(5, 1);
        assert_eq!((names.low(), names.span(), names.take(2)), (6, 0, 6));
        names.give_back(5, 1);
        assert_eq!(names.low(), 6, "given back twice");
    }
}
