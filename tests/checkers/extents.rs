//! The rules about order for what only grows: how much of it an answer shows says which writes it has seen.
//!
//! O(n log n): the furthest that was seen before a moment is a prefix maximum over the ends.

use std::collections::HashMap;

use super::history::{Level, Operation};

/// An operation with a place in the order of writes. An unknown write has one when a read showed it.
pub struct Extent<'a, A> {
    pub operation: &'a Operation<A>,
    pub write: bool,
    /// How many writes are in what it shows; a write counts itself.
    pub extent: u64,
}

impl<A> Extent<'_, A> {
    /// Whether others must not go back behind it, in real time.
    fn is_firm(&self) -> bool {
        self.operation.reply().is_some() && (self.write || self.operation.level == Level::Strong)
    }
}

/// A rule, what shows more, and what shows less though it comes later.
pub struct Regression<'a, A> {
    pub rule: &'static str,
    pub before: &'a Operation<A>,
    pub after: &'a Operation<A>,
}

const WRITES: &str = "a write has its place before what had ended when it began";
const WRITES_OF_SESSION: &str = "the writes of a session are in another order than it sent them";
const STRONG: &str = "a strong read misses what had ended when it began";
const SESSION: &str = "a session goes back in time";
const STALE: &str = "a read is further behind than its level permits";

/// Judges extents that stand in the order of their sending.
pub fn check<'a, A>(extents: &[Extent<'a, A>]) -> Result<(), Regression<'a, A>> {
    let furthest = Furthest::of(extents);
    let mut sessions: HashMap<u64, usize> = HashMap::new();
    for (i, this) in extents.iter().enumerate() {
        let operation = this.operation;
        let least = |other: usize| extents[other].extent + u64::from(this.write);
        let since = if this.write { operation.start } else { operation.must_see };
        let fail = |rule, other: usize| {
            let before = extents[other].operation;
            Err(Regression { rule, before, after: operation })
        };
        if let Some(other) = furthest.before(since).filter(|other| this.extent < least(*other)) {
            let rule = match operation.level {
                _ if this.write => WRITES,
                Level::Strong => STRONG,
                _ => STALE,
            };
            return fail(rule, other);
        }
        if operation.reply().is_none() {
            continue;
        }
        let own = sessions.get(&operation.session).copied();
        let bound = this.write || operation.level != Level::Any;
        if let Some(other) = own.filter(|other| bound && this.extent < least(*other)) {
            return fail(if this.write { WRITES_OF_SESSION } else { SESSION }, other);
        }
        if own.is_none_or(|other| extents[other].extent < this.extent) {
            sessions.insert(operation.session, i);
        }
    }
    Ok(())
}

/// The firm extents by their end, each with the furthest up to there.
struct Furthest {
    ends: Vec<u64>,
    furthest: Vec<usize>,
}

impl Furthest {
    fn of<A>(extents: &[Extent<'_, A>]) -> Self {
        let mut firm: Vec<usize> = (0..extents.len()).filter(|i| extents[*i].is_firm()).collect();
        firm.sort_by_key(|i| extents[*i].operation.end);
        let ends = firm.iter().map(|i| extents[*i].operation.end).collect();
        let mut furthest: Vec<usize> = Vec::with_capacity(firm.len());
        for i in firm {
            let best = furthest.last().copied().filter(|best| extents[*best].extent >= extents[i].extent);
            furthest.push(best.unwrap_or(i));
        }
        Self { ends, furthest }
    }

    fn before(&self, moment: u64) -> Option<usize> {
        let count = self.ends.partition_point(|end| *end < moment);
        count.checked_sub(1).map(|last| self.furthest[last])
    }
}
