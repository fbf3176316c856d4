//! What became of writes that have a name, for as long as their senders may ask again (DESIGN.md, R9).
//!
//! A reply is kept until its session says that it has it (`low`), or until it is [`REMEMBERED_MS`] of log time old, or
//! until there are too many: then the oldest goes first. A session's `low` is kept as long, so that a frame that was on
//! its way all the while is not taken for a new one; older ones give themselves away by the time of their birth.
//!
//! Invariants: `by_age` has exactly the replies, `sessions_by_age` exactly the sessions; `bytes` is the sum over the
//! replies. All of it is replicated state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::protocol::identity::Identity;
use crate::topology::{LogTime, SessionId, Slot, WriteId};

/// How long a reply that nobody acknowledges is kept; longer than any request waits for its answer.
pub const REMEMBERED_MS: u64 = 120_000;
/// Replies kept at most.
const REPLIES_MAX: usize = 65_536;
/// Bytes of replies kept at most.
const REPLIES_BYTES_MAX: u64 = 64 << 20;
/// Sessions known at most.
const SESSIONS_MAX: usize = 262_144;
/// What a reply costs besides its bytes.
const REPLY_BYTES: u64 = 160;

/// What became of a blocked client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This reply.
    Reply(Arc<[u8]>),
    /// Nobody was there any more: it got nothing.
    Gone,
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The slot that it belongs to, and moves with.
    pub slot: Slot,
    /// The log time at which it was given.
    pub at: LogTime,
    /// The answer.
    pub answer: Answer,
}

/// What is known of a write that comes in.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It was never seen.
    New,
    /// It was answered before.
    Answered(&'a Answer),
    /// It is so old that nobody knows, or its sender has the answer.
    Forgotten,
}

/// The replies that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    replies: BTreeMap<WriteId, Kept>,
    by_age: BTreeSet<(LogTime, WriteId)>,
    sessions: BTreeMap<SessionId, (u64, LogTime)>,
    sessions_by_age: BTreeSet<(LogTime, SessionId)>,
    bytes: u64,
}

impl Remembered {
    /// How many replies there are, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.replies.len(), self.bytes)
    }

    /// Takes note of what a session says of its other writes.
    pub fn hear(&mut self, identity: Identity, now: LogTime) {
        let session = identity.id.session;
        let known = self.sessions.get(&session).copied();
        let low = known.map_or(identity.low, |(low, _)| low.max(identity.low));
        self.set_session(session, low, now);
        if known.is_none_or(|(before, _)| before < low) {
            let from = WriteId { session, sequence: 0 };
            let done: Vec<_> =
                self.replies.range(from..WriteId { session, sequence: low }).map(|(id, _)| *id).collect();
            done.into_iter().for_each(|id| self.forget(id));
        }
    }

    /// What is known of a write.
    pub fn judge(&self, identity: Identity, now: LogTime) -> Verdict<'_> {
        let id = identity.id;
        if self.sessions.get(&id.session).is_some_and(|(low, _)| id.sequence < *low) {
            return Verdict::Forgotten;
        }
        match self.replies.get(&id) {
            Some(kept) => Verdict::Answered(&kept.answer),
            None if is_old(identity.born, now) => Verdict::Forgotten,
            None => Verdict::New,
        }
    }

    /// Whether there is an answer under this name.
    pub fn has(&self, id: WriteId) -> bool {
        self.replies.contains_key(&id)
    }

    /// Keeps an answer.
    pub fn keep(&mut self, id: WriteId, slot: Slot, answer: Answer, now: LogTime) {
        self.forget(id);
        self.load(id, Kept { slot, at: now, answer });
        while self.replies.len() > REPLIES_MAX || self.bytes > REPLIES_BYTES_MAX {
            let Some((_, oldest)) = self.by_age.first().copied() else { break };
            self.forget(oldest);
            // Whoever asks for it all the same is told that nobody knows: it is not executed again.
            let low = self.sessions.get(&oldest.session).map_or(0, |(low, _)| *low);
            self.set_session(oldest.session, low.max(oldest.sequence + 1), now);
        }
    }

    /// Whether something is too old to be kept on.
    pub fn has_old(&self, now: LogTime) -> bool {
        self.by_age.first().is_some_and(|(at, _)| is_old(*at, now))
            || self.sessions_by_age.first().is_some_and(|(at, _)| is_old(*at, now))
    }

    /// Drops what is too old.
    pub fn drop_old(&mut self, now: LogTime) {
        while let Some((_, id)) = self.by_age.first().copied().filter(|(at, _)| is_old(*at, now)) {
            self.forget(id);
        }
        while let Some((at, session)) = self.sessions_by_age.first().copied().filter(|(at, _)| is_old(*at, now)) {
            self.sessions_by_age.remove(&(at, session));
            self.sessions.remove(&session);
        }
    }

    /// The first reply by name, or the one after this.
    pub fn reply_after(&self, before: Option<WriteId>) -> Option<(WriteId, &Kept)> {
        let start = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.replies.range((start, Bound::Unbounded)).next().map(|(id, kept)| (*id, kept))
    }

    /// The first session, or the one after this: the lowest sequence that may be asked for, and when it was last heard of.
    pub fn session_after(&self, before: Option<SessionId>) -> Option<(SessionId, u64, LogTime)> {
        let start = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((start, Bound::Unbounded)).next().map(|(session, (low, at))| (*session, *low, *at))
    }

    /// Takes over a reply.
    pub fn load(&mut self, id: WriteId, kept: Kept) {
        self.bytes += bytes_of(&kept);
        self.by_age.insert((kept.at, id));
        self.replies.insert(id, kept);
    }

    /// Takes over a session.
    pub fn set_session(&mut self, session: SessionId, low: u64, at: LogTime) {
        if let Some((_, before)) = self.sessions.insert(session, (low, at)) {
            self.sessions_by_age.remove(&(before, session));
        }
        self.sessions_by_age.insert((at, session));
        if self.sessions.len() > SESSIONS_MAX
            && let Some((_, oldest)) = self.sessions_by_age.pop_first()
        {
            self.sessions.remove(&oldest);
        }
    }

    fn forget(&mut self, id: WriteId) {
        if let Some(kept) = self.replies.remove(&id) {
            self.by_age.remove(&(kept.at, id));
            self.bytes -= bytes_of(&kept);
        }
    }
}

fn is_old(at: LogTime, now: LogTime) -> bool {
    at.get().saturating_add(REMEMBERED_MS) < now.get()
}

fn bytes_of(kept: &Kept) -> u64 {
    match &kept.answer {
        Answer::Reply(bytes) => REPLY_BYTES + bytes.len() as u64,
        Answer::Gone => REPLY_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(session: u128, sequence: u64, low: u64, born: u64) -> Identity {
        Identity { id: WriteId { session: SessionId(session), sequence }, low, born: LogTime(born) }
    }

    fn slot() -> Slot {
        Slot::of_key(b"k")
    }

    #[test]
    fn a_reply_is_kept_until_its_session_has_it() {
        let mut remembered = Remembered::default();
        let answer = Answer::Reply(Arc::from(&b":1\r\n"[..]));
        for sequence in 1..=3 {
            let identity = identity(1, sequence, 1, 100);
            remembered.hear(identity, LogTime(100));
            assert_eq!(remembered.judge(identity, LogTime(100)), Verdict::New);
            remembered.keep(identity.id, slot(), answer.clone(), LogTime(100));
            assert_eq!(remembered.judge(identity, LogTime(100)), Verdict::Answered(&answer));
        }
        remembered.keep(identity(2, 1, 1, 100).id, slot(), Answer::Gone, LogTime(100));
        remembered.hear(identity(1, 4, 3, 100), LogTime(101));
        assert_eq!(remembered.size().0, 2, "the third, and that of another session");
        for (sequence, verdict) in [(2, Verdict::Forgotten), (3, Verdict::Answered(&answer)), (4, Verdict::New)] {
            assert_eq!(remembered.judge(identity(1, sequence, 1, 100), LogTime(101)), verdict);
        }
        remembered.hear(identity(1, 2, 1, 100), LogTime(102));
        assert_eq!(remembered.judge(identity(1, 2, 1, 100), LogTime(102)), Verdict::Forgotten, "low never falls");
    }

    #[test]
    fn what_nobody_acknowledges_is_dropped_by_age_and_late_frames_give_themselves_away() {
        let mut remembered = Remembered::default();
        let first = identity(1, 1, 1, 1000);
        remembered.hear(first, LogTime(1000));
        remembered.keep(first.id, slot(), Answer::Gone, LogTime(1000));
        let end = LogTime(1000 + REMEMBERED_MS);
        assert!(!remembered.has_old(end));
        let later = LogTime(end.get() + 1);
        assert!(remembered.has_old(later));
        remembered.drop_old(later);
        assert!(remembered.sessions.is_empty() && remembered.replies.is_empty());
        assert_eq!((remembered.size(), remembered.judge(first, later)), ((0, 0), Verdict::Forgotten));
    }

    #[test]
    fn there_are_never_too_many() {
        let mut remembered = Remembered::default();
        for sequence in 0..REPLIES_MAX as u64 + 10 {
            let at = LogTime(sequence);
            remembered.keep(identity(1, sequence, 0, 0).id, slot(), Answer::Gone, at);
        }
        assert_eq!(remembered.size().0, REPLIES_MAX);
        assert_eq!(remembered.reply_after(None).map(|(id, _)| id.sequence), Some(10), "the oldest went first");
        assert_eq!(remembered.judge(identity(1, 9, 0, 0), LogTime(9)), Verdict::Forgotten, "and is not executed again");
        let large: Arc<[u8]> = vec![0; 1 << 20].into();
        for sequence in 0..100 {
            let at = LogTime(REPLIES_MAX as u64 + 100);
            remembered.keep(identity(2, sequence, 0, 0).id, slot(), Answer::Reply(large.clone()), at);
        }
        assert!(remembered.size().1 <= REPLIES_BYTES_MAX && remembered.size().0 >= 63);
    }
}
