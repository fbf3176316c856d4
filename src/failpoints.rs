//! Named points of a handoff of slots, at which tests let things go wrong. Without the feature `failpoints`, which nothing but
//! tests asks for, [`reached`] does nothing, and no release has anything of them.
//!
//! A point is passed where it is decided, on the thread that decides, before anything of that turn has left the process: what is told
//! to others or handed to the disk leaves after the turn. So a test that ends the process when it hears of a point, before or after it
//! let the turn's output go, has all that a crash at that point can leave behind.

/// A step of a handoff; the leader passes it, of the shard that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Source: the entry by which slots begin to be copied is applied.
    ExportStartLogged,
    /// Source: the target's leader is told to begin.
    StartSent,
    /// Target: the beginning is applied.
    ImportStartLogged,
    /// Source: a piece leaves.
    PieceSent,
    /// Target: a piece is applied.
    PieceLogged,
    /// Source: what changed meanwhile is sent in another round.
    RoundLogged,
    /// Source: the freeze is proposed.
    FreezeProposed,
    /// Source: the slots are served no more.
    FreezeLogged,
    /// Source: the last piece leaves.
    FinishSent,
    /// Target: the decision is proposed.
    FinishProposed,
    /// Target: the slots are served from here on.
    FinishLogged,
    /// Source: the target says that it has the slots.
    TakenHeard,
    /// Source: the end is proposed.
    GoneProposed,
    /// Source: the slots are given away.
    GoneLogged,
    /// Source: that the slots stay, before they were frozen, is proposed.
    UndoProposed,
    /// Source: they stay.
    UndoLogged,
    /// Source: the target is told that an attempt is not wanted any more.
    RefuseSent,
    /// Target: the attempt is refused for ever.
    RefuseLogged,
    /// Source: the target says that it refused.
    RefusedHeard,
    /// Source: the slots stay, for the target refused them.
    UndoRefusedLogged,
    /// Target: the shard takes no more slots.
    ClosingLogged,
    /// The catalog is told that a shard is not needed any more.
    RetireReported,
}

/// A point is passed.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn reached(_: Point) {}

#[cfg(feature = "failpoints")]
thread_local! {
    static REACHED: std::cell::RefCell<Vec<Point>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A point is passed.
#[cfg(feature = "failpoints")]
pub fn reached(point: Point) {
    REACHED.with_borrow_mut(|reached| reached.push(point));
}

/// The points that this thread has passed since it was asked last.
#[cfg(feature = "failpoints")]
pub fn take() -> Vec<Point> {
    REACHED.take()
}
