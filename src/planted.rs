//! Bugs that can be planted, to see that the suite catches them. Without the feature `planted`, which nothing but
//! `tests/planted/run` asks for, [`is`] is the constant `false`, and no release has anything of them.
//!
//! Each is one condition at the place where the rule that it breaks is kept. The environment variable `PONTOON_PLANTED`
//! names the one that a process has; one at a time, for as long as it lives.

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Messages that acknowledge or vote leave when their batch is handed to the disk.
    AcknowledgedBeforeSync,
    /// Term and vote are written with the next entries only.
    VoteNotSynced,
    /// A `SET` is answered when it is proposed.
    AnsweredBeforeMajority,
    /// A `strong` read is answered at once by whoever believes that it leads.
    StrongReadUnasked,
    /// A `strong` read joins a question that has left already.
    QuestionJoinedLate,
    /// A lease that was given once is held, whatever the clock says and whoever leads.
    LeaseForEver,
    /// A `session` read is answered by a replica that is behind the client's floor.
    SessionBelowFloor,
    /// An `any` read is answered however old the state is.
    AnyHoweverOld,
    /// A write that comes again is executed again.
    RepeatsExecuted,
    /// Replies that may be asked for again are in no snapshot.
    RepliesNotInSnapshots,
    /// The reply to the lowest write that may be asked for again is dropped.
    LowTooFar,
    /// The reply to an earlier request is given to whoever has its place now.
    RepliesSwapped,
    /// A node takes what comes after a request that it refused (R1).
    RefusalsForgotten,
    /// What was refused is sent again in another order.
    RetriesReordered,
    /// A write that may have been taken is called one that surely was not.
    UnknownCalledNotSent,
    /// Reads judge expiry by the clock of their node.
    ExpiryByOwnClock,
    /// A snapshot that takes the place of a log says of the writes waiting there that they were dropped (R12).
    DroppedBySnapshot,
    /// The log is compacted before the snapshot that stands for it is on disk.
    CompactedBeforeSnapshot,
    /// All that follows a damaged batch is cut from the log as if it were torn.
    DamageCut,
    /// The last batches are cut from the log when it is opened, whether they are valid or not.
    TailCutTooFar,
    /// Replies that may be asked for again stay where their slot was.
    RepliesStayBehind,
    /// A slot that comes back takes writes that were sent before others were refused.
    ReturnForgotten,
    /// A replica reads a slot though it holds it as it was before it went away and came back.
    EpochNotCompared,
}

/// All of them, with their names.
#[cfg(feature = "planted")]
pub const ALL: [(Bug, &str); 23] = [
    (Bug::AcknowledgedBeforeSync, "acknowledged-before-sync"),
    (Bug::VoteNotSynced, "vote-not-synced"),
    (Bug::AnsweredBeforeMajority, "answered-before-majority"),
    (Bug::StrongReadUnasked, "strong-read-unasked"),
    (Bug::QuestionJoinedLate, "question-joined-late"),
    (Bug::LeaseForEver, "lease-for-ever"),
    (Bug::SessionBelowFloor, "session-below-floor"),
    (Bug::AnyHoweverOld, "any-however-old"),
    (Bug::RepeatsExecuted, "repeats-executed"),
    (Bug::RepliesNotInSnapshots, "replies-not-in-snapshots"),
    (Bug::LowTooFar, "low-too-far"),
    (Bug::RepliesSwapped, "replies-swapped"),
    (Bug::RefusalsForgotten, "refusals-forgotten"),
    (Bug::RetriesReordered, "retries-reordered"),
    (Bug::UnknownCalledNotSent, "unknown-called-not-sent"),
    (Bug::ExpiryByOwnClock, "expiry-by-own-clock"),
    (Bug::DroppedBySnapshot, "dropped-by-snapshot"),
    (Bug::CompactedBeforeSnapshot, "compacted-before-snapshot"),
    (Bug::DamageCut, "damage-cut"),
    (Bug::TailCutTooFar, "tail-cut-too-far"),
    (Bug::RepliesStayBehind, "replies-stay-behind"),
    (Bug::ReturnForgotten, "return-forgotten"),
    (Bug::EpochNotCompared, "epoch-not-compared"),
];

/// Whether this one is planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

/// Whether this one is planted.
///
/// # Panics
/// The variable names none: a check that passed would mean nothing.
#[cfg(feature = "planted")]
pub fn is(bug: Bug) -> bool {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<Bug>> = LazyLock::new(|| {
        let name = std::env::var("PONTOON_PLANTED").ok()?;
        let found = ALL.iter().find(|(_, known)| *known == name);
        Some(found.unwrap_or_else(|| panic!("no bug is called `{name}`; there are {ALL:?}")).0)
    });
    *CHOSEN == Some(bug)
}
