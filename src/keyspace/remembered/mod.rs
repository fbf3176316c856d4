//! What became of writes that have a name, for as long as their senders may ask again (DESIGN.md, R9).
//!
//! A reply is kept until its session says that nobody asks for it again (`low`), until its session was silent for
//! [`SILENT_MS`] of log time, or until there are too many: then those of the session that was silent for longest go
//! first. A session's `low` is kept as long as the session, so that a frame that was on its way all the while is not
//! taken for a new one; after that its birth gives it away, whether or not the session was heard of again since: what
//! was born no later than a write of a forgotten session is not executed, and neither is what is older than [`BORN_MS`].
//! So that a session that is forgotten takes along no other's writes, no sender believes that it is much later than the
//! log says ([`NEWS_AHEAD_MS`]).
//!
//! What is dropped is dropped a little with each entry. Sessions lie on shelves that are shared with frozen copies, so
//! that the first change after a snapshot copies a small part.
//!
//! Invariants: `by_age` has exactly the sessions, `loaded` exactly those with replies; the sums agree with the sessions.
//! All of it is replicated state, and so is what is dropped with which entry: it may depend on nothing that a replica
//! has from its own past, such as how replies lie in memory.

mod reply;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::planted::{self, Bug};
use crate::protocol::identity::Identity;
use crate::topology::{LogTime, SessionId, Slot, WriteId};

pub use reply::{Answer, Kept, Reply};
use session::{Place, Session};

/// A write that was first sent longer ago is not executed; no request waits that long for its answer.
pub const BORN_MS: u64 = 60_000;
/// A session that was silent for longer is forgotten.
pub const SILENT_MS: u64 = 120_000;
/// Replies kept at most.
const REPLIES_MAX: usize = 1 << 20;
/// Bytes of replies kept at most, the newest reply aside.
const REPLIES_BYTES_MAX: u64 = 128 << 20;
/// Sessions known at most.
const SESSIONS_MAX: usize = 1 << 18;
/// What a session costs besides its replies.
const SESSION_BYTES: u64 = 256;
/// How exactly it is known when a session was last heard of.
const HEARD_STEP_MS: u64 = 1000;
/// How far ahead of what the log says a sender may be told that log time is: a leader tells its clock, within that bound.
pub const NEWS_AHEAD_MS: u64 = 25_000;
/// Silent sessions that one entry drops at most, or portions of their replies.
const DROPPED_PER_ENTRY_MAX: usize = 16;
/// Replies in a portion.
const PORTION_REPLIES: usize = 64;
const SHELVES: usize = 256;

type Shelf = BTreeMap<SessionId, Session>;

/// What is known of a write that comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was never executed.
    New,
    /// It was answered before.
    Answered(Answer),
    /// It is so old that nobody knows, or its sender has the answer: it is not executed.
    Forgotten,
}

/// How much there is of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RememberedUsage {
    /// Sessions.
    pub sessions: u64,
    /// Replies.
    pub replies: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// What is known of a session besides its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// The session.
    pub id: SessionId,
    /// Every sequence below is answered.
    pub low: u64,
    /// When it was last heard of.
    pub heard: LogTime,
    /// Its latest birth.
    pub born: LogTime,
}

/// All that is remembered.
#[derive(Debug)]
pub struct Remembered {
    shelves: Box<[Arc<Shelf>]>,
    by_age: BTreeSet<(LogTime, SessionId)>,
    loaded: BTreeSet<(LogTime, SessionId)>,
    usage: RememberedUsage,
    /// No forgotten session had a write that was born later.
    forgotten_until: LogTime,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            shelves: (0..SHELVES).map(|_| Arc::default()).collect(),
            by_age: BTreeSet::new(),
            loaded: BTreeSet::new(),
            usage: RememberedUsage::default(),
            forgotten_until: LogTime(0),
        }
    }
}

impl Remembered {
    /// How much there is.
    pub const fn usage(&self) -> RememberedUsage {
        self.usage
    }

    /// What is known of a write.
    pub fn judge(&self, identity: Identity, now: LogTime) -> Verdict {
        let id = identity.id;
        if let Some(session) = self.find(id.session) {
            if id.sequence < session.low {
                return Verdict::Forgotten;
            }
            if let Some(answer) = session.find(id.sequence).filter(|_| !planted::is(Bug::RepeatsExecuted)) {
                return Verdict::Answered(answer.clone());
            }
        }
        // The session may have been forgotten and heard of again: that it is there says nothing.
        let unknown = is_over(identity.born, BORN_MS, now) || identity.born <= self.forgotten_until;
        if unknown { Verdict::Forgotten } else { Verdict::New }
    }

    /// Takes note of what a session says of its other writes.
    pub fn hear(&mut self, identity: Identity, now: LogTime) {
        // A birth that is further ahead is no honest one, and is not to spoil those of others.
        let born = identity.born.min(LogTime(now.get().saturating_add(NEWS_AHEAD_MS)));
        self.change(identity.id.session, now, |session| {
            session.raise_low(identity.low);
            session.born = session.born.max(born);
        });
    }

    /// Whether there is an answer under this name.
    pub fn has(&self, id: WriteId) -> bool {
        self.find(id.session).is_some_and(|session| session.find(id.sequence).is_some())
    }

    /// Keeps an answer.
    pub fn keep(&mut self, id: WriteId, slot: Option<Slot>, answer: Answer, now: LogTime) {
        self.change(id.session, now, |session| session.keep(Kept { sequence: id.sequence, slot, answer }));
        self.evict();
    }

    fn evict(&mut self) {
        while self.usage.replies > 1
            && (self.usage.replies as usize > REPLIES_MAX || self.usage.bytes > REPLIES_BYTES_MAX)
        {
            let Some((heard, oldest)) = self.loaded.first().copied() else { break };
            self.change(oldest, heard, |session| {
                session.evict(1);
            });
        }
    }

    /// Whether something is to be dropped.
    pub fn has_old(&self, now: LogTime) -> bool {
        self.by_age.len() > SESSIONS_MAX
            || self.by_age.first().is_some_and(|(heard, _)| is_over(*heard, SILENT_MS, now))
    }

    /// Drops a little of what is too old or too much.
    pub fn drop_old(&mut self, now: LogTime) {
        for _ in 0..DROPPED_PER_ENTRY_MAX {
            if !self.has_old(now) {
                return;
            }
            let Some((heard, oldest)) = self.by_age.first().copied() else { return };
            let (mut has_more, mut born) = (false, LogTime(0));
            self.change(oldest, heard, |session| (has_more, born) = (session.evict(PORTION_REPLIES), session.born));
            if !has_more {
                self.forgotten_until = self.forgotten_until.max(born);
                self.remove(oldest);
            }
        }
    }

    /// Until when sessions were forgotten.
    pub const fn forgotten_until(&self) -> LogTime {
        self.forgotten_until
    }

    /// All answers in the order of their shelves, from the first after `after` on, each with its session.
    pub fn answers_after(&self, after: Option<WriteId>) -> impl Iterator<Item = (SessionState, &Kept)> {
        let sessions = self.sessions_from(after.map(|id| Bound::Included(id.session)));
        sessions.flat_map(move |(state, session)| {
            let from = after.filter(|id| id.session == state.id).map_or(0, |id| id.sequence.saturating_add(1));
            session.kept_from(from).map(move |kept| (state, kept))
        })
    }

    /// All sessions in the order of their shelves, from the first after `after` on.
    pub fn sessions_after(&self, after: Option<SessionId>) -> impl Iterator<Item = SessionState> {
        self.sessions_from(after.map(Bound::Excluded)).map(|(state, _)| state)
    }

    fn sessions_from(&self, from: Option<Bound<SessionId>>) -> impl Iterator<Item = (SessionState, &Session)> {
        let first = match from {
            Some(Bound::Included(id) | Bound::Excluded(id)) => shelf_of(id),
            Some(Bound::Unbounded) | None => 0,
        };
        (first..SHELVES).flat_map(move |shelf| {
            let start = from.filter(|_| shelf == first).unwrap_or(Bound::Unbounded);
            let sessions = self.shelves[shelf].range((start, Bound::Unbounded));
            sessions.map(|(id, session)| {
                let (low, heard, born) = (session.low, session.heard, session.born);
                (SessionState { id: *id, low, heard, born }, session)
            })
        })
    }

    /// Takes note of what another shard knows of a session.
    pub fn merge_session(&mut self, state: SessionState) {
        self.change(state.id, state.heard, |session| {
            session.raise_low(state.low);
            session.born = session.born.max(state.born);
        });
    }

    /// Keeps an answer that another shard gave, unless it is needed no more.
    pub fn merge_answer(&mut self, id: SessionId, kept: Kept) {
        let known = self.find(id).filter(|session| session.low <= kept.sequence);
        let Some(session) = known.filter(|session| session.find(kept.sequence).is_none()) else { return };
        let heard = session.heard;
        self.change(id, heard, |session| session.keep(kept));
        self.evict();
    }

    /// Takes note of until when another shard has forgotten sessions.
    pub fn merge_forgotten_until(&mut self, until: LogTime) {
        self.forgotten_until = self.forgotten_until.max(until);
    }

    /// A copy for other threads that costs next to nothing.
    pub fn freeze(&self) -> FrozenRemembered {
        FrozenRemembered { shelves: self.shelves.clone(), forgotten_until: self.forgotten_until }
    }

    /// Takes over a session without replies.
    pub fn load_session(&mut self, id: SessionId, low: u64, heard: LogTime, born: LogTime) {
        self.insert(id, Session::new(low, heard, born));
    }

    /// Takes over a reply of a session that was taken over before.
    ///
    /// # Errors
    /// It was not, or the reply does not fit it.
    pub fn load_reply(&mut self, id: SessionId, kept: Kept) -> Result<(), &'static str> {
        let session = self.find(id).ok_or("a reply without its session")?;
        if kept.sequence < session.low || session.find(kept.sequence).is_some() {
            return Err("a reply that its session does not have");
        }
        let heard = session.heard;
        self.change(id, heard, |session| session.keep(kept));
        Ok(())
    }

    /// Takes over until when sessions were forgotten.
    pub const fn load_forgotten_until(&mut self, until: LogTime) {
        self.forgotten_until = until;
    }

    fn find(&self, id: SessionId) -> Option<&Session> {
        self.shelves[shelf_of(id)].get(&id)
    }

    /// Changes a session, which is there afterwards, and keeps the books.
    fn change(&mut self, id: SessionId, now: LogTime, change: impl FnOnce(&mut Session)) {
        let shelf = Arc::make_mut(&mut self.shelves[shelf_of(id)]);
        let Some(session) = shelf.get_mut(&id) else {
            let mut session = Session::new(0, step_of(now), LogTime(0));
            change(&mut session);
            return self.insert(id, session);
        };
        let (heard, count, bytes) = (session.heard, session.len(), session.bytes());
        change(session);
        session.heard = heard.max(step_of(now));
        let after = (session.heard, session.len(), session.bytes());
        self.usage.replies = self.usage.replies - count as u64 + after.1 as u64;
        self.usage.bytes = self.usage.bytes - bytes + after.2;
        if after.0 != heard {
            self.by_age.remove(&(heard, id));
            self.by_age.insert((after.0, id));
        }
        if (after.0, after.1 > 0) != (heard, count > 0) {
            self.loaded.remove(&(heard, id));
            if after.1 > 0 {
                self.loaded.insert((after.0, id));
            }
        }
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.remove(id);
        self.usage.sessions += 1;
        self.usage.replies += session.len() as u64;
        self.usage.bytes += SESSION_BYTES + session.bytes();
        self.by_age.insert((session.heard, id));
        if session.len() > 0 {
            self.loaded.insert((session.heard, id));
        }
        Arc::make_mut(&mut self.shelves[shelf_of(id)]).insert(id, session);
    }

    fn remove(&mut self, id: SessionId) {
        let Some(session) = Arc::make_mut(&mut self.shelves[shelf_of(id)]).remove(&id) else { return };
        self.usage.sessions -= 1;
        self.usage.replies -= session.len() as u64;
        self.usage.bytes -= SESSION_BYTES + session.bytes();
        self.by_age.remove(&(session.heard, id));
        self.loaded.remove(&(session.heard, id));
    }
}

/// All that was remembered at one position of the log.
#[derive(Clone, Debug)]
pub struct FrozenRemembered {
    shelves: Box<[Arc<Shelf>]>,
    forgotten_until: LogTime,
}

/// A place in the order of what is remembered: of a session, or of the replies of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    shelf: usize,
    session: Option<SessionId>,
    place: Place,
}

/// The next thing in that order.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A session; its replies follow.
    Session(SessionId, &'a Session),
    /// A reply of the session before.
    Reply(SessionId, &'a Kept),
}

impl FrozenRemembered {
    /// Until when sessions were forgotten.
    pub const fn forgotten_until(&self) -> LogTime {
        self.forgotten_until
    }

    /// What comes after `cursor`, which moves on.
    pub fn next(&self, cursor: &mut Cursor) -> Option<Item<'_>> {
        loop {
            let shelf = self.shelves.get(cursor.shelf)?;
            if let Some(id) = cursor.session
                && let Some((kept, next)) = shelf.get(&id).and_then(|session| session.at(cursor.place))
            {
                cursor.place = next;
                return Some(Item::Reply(id, kept));
            }
            let start = cursor.session.map_or(Bound::Unbounded, Bound::Excluded);
            match shelf.range((start, Bound::Unbounded)).next() {
                Some((id, session)) => {
                    (cursor.session, cursor.place) = (Some(*id), Place::default());
                    return Some(Item::Session(*id, session));
                }
                None => *cursor = Cursor { shelf: cursor.shelf + 1, ..Cursor::default() },
            }
        }
    }
}

fn shelf_of(id: SessionId) -> usize {
    (id.0 ^ id.0 >> 64) as usize % SHELVES
}

fn is_over(since: LogTime, ms: u64, now: LogTime) -> bool {
    since.get().saturating_add(ms) < now.get()
}

const fn step_of(now: LogTime) -> LogTime {
    LogTime(now.get() / HEARD_STEP_MS * HEARD_STEP_MS)
}

#[cfg(test)]
mod tests;
