//! Operations as clients remember them, and what is wrong with them.
//!
//! Times are of one clock, in any unit. The operations of a session (a connection) stand in a history in the order in
//! which they were sent: that order is part of what is judged.

use std::fmt::{self, Debug, Display};

/// The end of what never ended.
pub const NEVER: u64 = u64::MAX;

/// Of an outcome that is shown to somebody.
const OUTCOME_CHARS_MAX: usize = 200;

/// What was answered.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Number(i64),
    Text(Vec<u8>),
    List(Vec<Reply>),
}

impl Reply {
    pub fn text(text: impl Display) -> Self {
        Self::Text(text.to_string().into_bytes())
    }

    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// A unique value or a count; both are positive.
    pub fn value(&self) -> Option<u64> {
        self.number().and_then(|n| u64::try_from(n).ok())
    }

    pub fn values(&self) -> Option<Vec<u64>> {
        self.list()?.iter().map(Self::value).collect()
    }

    pub fn list(&self) -> Option<&[Reply]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }
}

impl Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{}", String::from_utf8_lossy(text)),
            Self::List(list) => f.debug_list().entries(list).finish(),
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(Reply),
    /// Promised to have changed nothing, now or later.
    NotApplied,
    /// May take effect at any time after its start, or never.
    Unknown,
}

/// What a read promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Linearizable.
    Strong,
    /// Sees what its session has seen and written.
    Session,
    /// Is at most so much behind.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<A> {
    pub session: u64,
    pub start: u64,
    /// When the outcome was known, or the client gave up.
    pub end: u64,
    /// Of reads; writes are strong.
    pub level: Level,
    /// A read misses nothing that had ended before this moment.
    pub must_see: u64,
    pub action: A,
    pub outcome: Outcome,
}

impl<A> Operation<A> {
    pub fn strong(session: u64, start: u64, end: u64, action: A, outcome: Outcome) -> Self {
        Self { session, start, end, level: Level::Strong, must_see: start, action, outcome }
    }

    /// A read of a level; `staleness_max`: how far behind `any` may be.
    pub fn at_level(self, level: Level, staleness_max: u64) -> Self {
        let must_see = match level {
            Level::Strong => self.start,
            Level::Session => 0,
            Level::Any => self.start.saturating_sub(staleness_max),
        };
        Self { level, must_see, ..self }
    }

    pub fn reply(&self) -> Option<&Reply> {
        if let Outcome::Done(reply) = &self.outcome { Some(reply) } else { None }
    }

    pub fn is_refused(&self) -> bool {
        self.outcome == Outcome::NotApplied
    }

    /// The end of its possible effect.
    pub fn effect_end(&self) -> u64 {
        if self.outcome == Outcome::Unknown { NEVER } else { self.end }
    }

    pub fn map<B>(&self, action: B, outcome: Outcome) -> Operation<B> {
        let Self { session, start, end, level, must_see, .. } = *self;
        Operation { session, start, end, level, must_see, action, outcome }
    }
}

impl<A: Debug> Display for Operation<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, start, end, level, action, outcome, .. } = self;
        let level = if *level == Level::Strong { String::new() } else { format!(" ({level:?})") };
        let mut outcome = format!("{outcome:?}");
        if outcome.chars().count() > OUTCOME_CHARS_MAX {
            outcome = outcome.chars().take(OUTCOME_CHARS_MAX).chain("...".chars()).collect();
        }
        write!(f, "[{start}..{end}] session {session}: {action:?}{level} -> {outcome}")
    }
}

/// A rule that a history breaks, and the operations that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub story: Vec<String>,
}

impl Violation {
    pub fn of<A: Debug>(rule: &'static str, operations: &[&Operation<A>]) -> Self {
        Self { rule, story: operations.iter().map(ToString::to_string).collect() }
    }

    /// With one more line.
    pub fn and(mut self, line: impl Display) -> Self {
        self.story.push(line.to_string());
        self
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        self.story.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

pub type Verdict = Result<(), Violation>;

/// A reply that has nothing of what the command answers: perhaps that of another request.
pub const WRONG_FORM: &str = "a reply has the form of another command's";
pub const NO_LAST_READ: &str = "no strong read was answered after all else: nothing can be said";

/// The strong read that began after all else had ended.
pub fn last_read<A>(history: &[Operation<A>], is_read: impl Fn(&A) -> bool) -> Result<&Operation<A>, Violation> {
    let nothing = || Violation { rule: NO_LAST_READ, story: Vec::new() };
    let last = history.iter().max_by_key(|o| o.start).ok_or_else(nothing)?;
    let after_all = history.iter().all(|o| std::ptr::eq(o, last) || o.end == NEVER || o.end < last.start);
    let fits = is_read(&last.action) && last.level == Level::Strong && last.reply().is_some();
    if after_all && fits { Ok(last) } else { Err(nothing()) }
}
