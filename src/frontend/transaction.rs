//! One client's transaction, from its first `WATCH` or its `MULTI` until it is sent or dropped.
//!
//! The holder of the connection asks [`next_step`] before it carries a request out, and does what it says. Commands of
//! shards and commands of the connection may be queued side by side: the shard answers its own with one array, and
//! [`Plan`] says where in the reply the others go, which the holder carries out when the shard has answered.
//!
//! Invariants: all slots of a transaction, those of watched keys included, were one shard's when it was put together; a
//! broken transaction holds no requests; a transaction after a failed `WATCH` is never sent.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Session;
use crate::protocol::command::{CommandError, CommandId, CommandSpec, Flag, Group, Route};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::reply_scan::{array_elements, integer, is_error, is_null};
use crate::protocol::request::Args;
use crate::protocol::transaction::put;
use crate::topology::Slot;

/// What a queued request or a watched key takes besides its bytes.
const ITEM_BYTES: usize = 48;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not about transactions: carry it out.
    Ordinary,
    /// It is answered by `OK`.
    Ok,
    /// It is answered by this error.
    Error(&'static str),
    /// Ask the shard of its keys for their versions, and tell [`Transaction::watched_at`]. No request of the client is to be
    /// taken before the answer: what it reads from now on may not be older than what it watches.
    Watch,
    /// Put it into the transaction.
    Queue,
    /// Send the transaction.
    Exec,
}

/// Says what becomes of a request, and does what concerns the session alone.
pub fn next_step(spec: &CommandSpec, session: &mut Session) -> Step {
    if session.in_multi() { step_in_multi(spec, session) } else { step_outside(spec, session) }
}

fn step_outside(spec: &CommandSpec, session: &mut Session) -> Step {
    match spec.id {
        _ if spec.group != Group::Transactions => return Step::Ordinary,
        CommandId::Multi => session.transaction_mut().queue = Some(Queue::default()),
        CommandId::Unwatch => session.drop_transaction(),
        CommandId::Watch => return Step::Watch,
        CommandId::Exec => return Step::Error(errors::EXEC_WITHOUT_MULTI),
        _ => return Step::Error(errors::DISCARD_WITHOUT_MULTI),
    }
    Step::Ok
}

fn step_in_multi(spec: &CommandSpec, session: &mut Session) -> Step {
    match spec.id {
        CommandId::Quit | CommandId::Reset => Step::Ordinary,
        CommandId::Multi => Step::Error(errors::NESTED_MULTI),
        CommandId::Watch => Step::Error(errors::WATCH_IN_MULTI),
        CommandId::Discard => {
            session.drop_transaction();
            Step::Ok
        }
        CommandId::Exec => match session.transaction_mut().refusal() {
            None => Step::Exec,
            Some(error) => {
                session.drop_transaction();
                Step::Error(error)
            }
        },
        // As any that is refused before it is looked at.
        CommandId::Debug => broken(session, errors::DEBUG_NOT_ALLOWED),
        // The reply to a transaction has a place for each reply.
        _ if spec.name == "client|reply" || spec.flags.has(Flag::NoMulti) => broken(session, errors::NOT_IN_MULTI),
        _ => Step::Queue,
    }
}

fn broken(session: &mut Session, error: &'static str) -> Step {
    session.break_transaction();
    Step::Error(error)
}

/// Appends the error for a request that the command table does not know; it breaks the transaction that it is in.
pub fn complain(error: CommandError, args: Args<'_>, session: &mut Session, out: &mut Vec<u8>) {
    if let CommandError::WrongArity(CommandSpec { id: CommandId::Exec, name, .. }) = error {
        session.drop_transaction();
        let text = errors::wrong_arity(name);
        let text = errors::exec_abort(text.trim_start_matches("ERR "));
        return ReplyWriter::new(out, false).error(&text);
    }
    session.break_transaction();
    error.write(args, out);
}

/// What is done with an answer that a client's later requests wait for.
#[derive(Debug)]
pub enum Awaited {
    /// Nothing: it is the answer that the client reads.
    Nothing,
    /// The versions of these keys are noted: [`Transaction::watched_at`].
    Watch(Vec<Box<[u8]>>),
    /// Replies are put between those of the shard: [`Plan::merge`].
    Exec(Plan),
}

/// Why requests cannot be of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// Their slots are of several shards.
    SeveralShards,
    /// The owner of a slot is not known.
    NoOwner,
}

/// What a client watches and what it queued.
#[derive(Debug, Default)]
pub struct Transaction {
    watched: BTreeMap<Box<[u8]>, u64>,
    watch_failed: bool,
    queue: Option<Queue>,
    bytes: usize,
    slots: Vec<Slot>,
    first_queued: Option<Slot>,
    /// Whether a queued request is about all keys, so that all slots are its shard's or it cannot be.
    is_about_all: bool,
}

#[derive(Debug, Default)]
struct Queue {
    broken: bool,
    writes: bool,
    count: usize,
    requests: Vec<u8>,
    plan: Plan,
}

/// Which of the queued requests are the shard's, and what the others are.
#[derive(Debug, Default)]
pub struct Plan {
    /// For each request: where it lies in `bytes`, or none if the shard answers it. Empty if all are the shard's.
    places: Vec<Option<Range<u32>>>,
    bytes: Vec<u8>,
}

impl Transaction {
    /// Whether `MULTI` was said.
    pub(super) const fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// How many requests are queued, as `CLIENT LIST` tells it.
    pub(super) fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.count)
    }

    /// How many keys are watched.
    pub(super) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// Whether reads must be able to tell what was watched (R3).
    pub(super) fn is_watching(&self) -> bool {
        !self.watched.is_empty() || self.watch_failed
    }

    /// What it takes of the memory.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it would take with one more request or watched key of this length.
    pub const fn bytes_with(&self, length: usize) -> usize {
        self.bytes + length + ITEM_BYTES
    }

    /// Whether a queued request changes data.
    pub fn writes(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.writes)
    }

    /// Whether the shard has something to judge or to do.
    pub fn concerns_shard(&self) -> bool {
        let queued = self.queue.as_ref().is_some_and(|queue| !queue.requests.is_empty());
        queued || !self.watched.is_empty()
    }

    fn refusal(&self) -> Option<&'static str> {
        if self.queue.as_ref().is_none_or(|queue| queue.broken) {
            return Some(errors::EXEC_ABORT);
        }
        self.watch_failed.then_some(errors::EXEC_UNGUARDED)
    }

    /// Makes sure that `EXEC` does nothing. What was queued is dropped at once.
    pub(super) fn make_broken(&mut self) {
        if let Some(queue) = &mut self.queue {
            let count = queue.count;
            *queue = Queue { broken: true, count, ..Queue::default() };
            self.is_about_all = false;
            self.bytes = self.watched.keys().map(|key| key.len() + ITEM_BYTES).sum();
        }
    }

    /// Notes the versions of keys; those that are watched already stay as they are.
    fn watch<'a>(&mut self, versions: impl Iterator<Item = (&'a [u8], u64)>) {
        for (key, version) in versions {
            if !self.watched.contains_key(key) {
                self.bytes = self.bytes_with(key.len());
                self.watched.insert(key.into(), version);
                self.note_slot(Slot::of_key(key));
            }
        }
    }

    /// Takes what the shard answered to `WATCH` of these keys, and appends what the client reads.
    pub fn watched_at(&mut self, keys: &[Box<[u8]>], answer: &[u8], out: &mut Vec<u8>) {
        let mut spans = Vec::new();
        let counted = array_elements(answer, &mut spans).ok().flatten();
        let versions = spans.iter().map_while(|s| integer(&answer[s.start as usize..s.end as usize]));
        let versions: Vec<u64> = versions.map(|version| version as u64).collect();
        let mut reply = ReplyWriter::new(out, false);
        if counted == Some(keys.len()) && versions.len() == keys.len() {
            self.watch(keys.iter().map(|key| &**key).zip(versions));
            return reply.ok();
        }
        self.watch_failed();
        if is_error(answer) { reply.raw(answer) } else { reply.error(errors::UNEXPECTED_REPLY) }
    }

    /// A `WATCH` was answered by an error: nobody guards its keys.
    pub const fn watch_failed(&mut self) {
        self.watch_failed = true;
    }

    /// The one shard of this request and of all that is in the transaction; none if neither has keys.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn shard_with<S: Copy + PartialEq>(
        &self,
        slots: impl Iterator<Item = Slot>,
        owner: impl Fn(Slot) -> Option<S>,
    ) -> Result<Option<S>, Misplaced> {
        let mut shard = None;
        for slot in slots.chain(self.slots()) {
            let owner = owner(slot).ok_or(Misplaced::NoOwner)?;
            if *shard.get_or_insert(owner) != owner {
                return Err(Misplaced::SeveralShards);
            }
        }
        Ok(shard)
    }

    /// The queued requests that the holder of the connection will carry out.
    pub fn here(&self) -> impl Iterator<Item = &[u8]> {
        self.queue.iter().flat_map(|queue| queue.plan.here())
    }

    /// The slot that stands for all: of the first key that the shard gets to see, to which the record of its outcome belongs.
    pub fn first_slot(&self) -> Option<Slot> {
        let of_key = self.watched.keys().next().map(|key| Slot::of_key(key)).or(self.first_queued);
        of_key.or_else(|| Slot::all().next().filter(|_| self.is_about_all))
    }

    /// All slots that it is about, in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        let all = Slot::all().filter(|_| self.is_about_all);
        self.slots.iter().copied().filter(|_| !self.is_about_all).chain(all)
    }

    /// Queues a request whose slots are of the transaction's shard. A broken transaction only counts it.
    pub fn queue(&mut self, spec: &CommandSpec, args: Args<'_>, slots: impl Iterator<Item = Slot>) {
        let bytes = self.bytes_with(args.bytes().len());
        let Some(queue) = &mut self.queue else { return };
        queue.count += 1;
        if queue.broken {
            return;
        }
        queue.writes |= spec.is_write();
        self.is_about_all |= matches!(spec.route, Route::EveryShard(_));
        if spec.route == Route::Connection {
            queue.plan.add_here(queue.count - 1, args.bytes());
        } else {
            queue.plan.add_shards();
            queue.requests.extend_from_slice(args.bytes());
        }
        self.bytes = bytes;
        slots.for_each(|slot| {
            self.first_queued.get_or_insert(slot);
            self.note_slot(slot);
        });
    }

    fn note_slot(&mut self, slot: Slot) {
        if let Err(at) = self.slots.binary_search(&slot) {
            self.slots.insert(at, slot);
        }
    }

    /// Appends what the shard gets, and returns what the holder keeps.
    pub fn send(self, out: &mut Vec<u8>) -> Plan {
        let queue = self.queue.unwrap_or_default();
        put(out, self.watched.iter().map(|(key, version)| (&**key, *version)), &queue.requests);
        queue.plan
    }
}

impl Plan {
    fn add_here(&mut self, requests_before: usize, request: &[u8]) {
        self.places.resize(requests_before, None);
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(request);
        self.places.push(Some(start..self.bytes.len() as u32));
    }

    fn add_shards(&mut self) {
        if !self.places.is_empty() {
            self.places.push(None);
        }
    }

    /// Whether every request is the shard's, so that its reply is the whole reply.
    pub const fn is_shards_alone(&self) -> bool {
        self.places.is_empty()
    }

    fn here(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().flatten().map(|place| &self.bytes[place.start as usize..place.end as usize])
    }

    /// Appends the reply to the whole. `answer` is the shard's; `carry_out` answers each of the other requests in its
    /// place, and is called only if the shard carried out its own.
    pub fn merge(&self, answer: &[u8], carry_out: impl FnMut(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
        if self.is_shards_alone() || is_error(answer) || is_null(answer) {
            return out.extend_from_slice(answer);
        }
        let mut elements = Vec::new();
        let counted = array_elements(answer, &mut elements).ok().flatten();
        if counted != Some(self.places.iter().filter(|place| place.is_none()).count()) {
            return ReplyWriter::new(out, false).error(errors::UNEXPECTED_REPLY);
        }
        self.interleave(elements.iter().map(|s| &answer[s.start as usize..s.end as usize]), carry_out, out);
    }

    fn interleave<'a>(
        &self,
        mut replies: impl Iterator<Item = &'a [u8]>,
        mut carry_out: impl FnMut(&[u8], &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        ReplyWriter::new(out, false).array(self.places.len());
        for place in &self.places {
            match place {
                Some(place) => carry_out(&self.bytes[place.start as usize..place.end as usize], out),
                None => out.extend_from_slice(replies.next().unwrap_or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Moment;
    use crate::protocol::command::resolve;
    use crate::protocol::frame::ReadLevel;
    use crate::protocol::request::{Span, parse_array, write_array};
    use crate::protocol::transaction::split;

    fn session() -> Session {
        Session::new(1, ReadLevel::Any, Moment::default())
    }

    fn parsed(line: &str) -> (Vec<u8>, Vec<Span>) {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        write_array(&mut bytes, words.into_iter());
        parse_array(&bytes, &mut spans).unwrap();
        (bytes, spans)
    }

    fn step(session: &mut Session, line: &str) -> Step {
        let (bytes, spans) = parsed(line);
        let args = Args::new(&bytes, &spans);
        let spec = resolve(args).unwrap();
        let step = next_step(spec, session);
        if step == Step::Queue {
            let slots = spec.key_positions(args).map(|at| Slot::of_key(args.get(at)));
            session.transaction_mut().queue(spec, args, slots);
        }
        step
    }

    fn complaint(session: &mut Session, line: &str) -> String {
        let (bytes, spans) = parsed(line);
        let args = Args::new(&bytes, &spans);
        let mut out = Vec::new();
        complain(resolve(args).unwrap_err(), args, session, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_redis_answers_inside_and_outside_of_multi() {
        let mut s = session();
        assert_eq!(step(&mut s, "EXEC"), Step::Error(errors::EXEC_WITHOUT_MULTI));
        assert_eq!(step(&mut s, "DISCARD"), Step::Error(errors::DISCARD_WITHOUT_MULTI));
        assert_eq!((step(&mut s, "UNWATCH"), step(&mut s, "GET k")), (Step::Ok, Step::Ordinary));
        assert_eq!(step(&mut s, "MULTI"), Step::Ok);
        assert_eq!(step(&mut s, "MULTI"), Step::Error(errors::NESTED_MULTI));
        assert_eq!(step(&mut s, "WATCH k"), Step::Error(errors::WATCH_IN_MULTI));
        assert_eq!((step(&mut s, "UNWATCH"), step(&mut s, "PING")), (Step::Queue, Step::Queue));
        assert_eq!(step(&mut s, "EXEC"), Step::Exec, "neither error breaks it");
        assert_eq!((step(&mut s, "RESET"), step(&mut s, "QUIT")), (Step::Ordinary, Step::Ordinary));
        assert_eq!((step(&mut s, "DISCARD"), s.in_multi()), (Step::Ok, false));
    }

    #[test]
    fn a_request_that_cannot_be_queued_breaks_the_transaction() {
        let abort = Step::Error(errors::EXEC_ABORT);
        for line in ["NOSUCH", "GET", "MULTI x", "WATCH", "CONFIG NOSUCH"] {
            let mut s = session();
            step(&mut s, "MULTI");
            step(&mut s, "SET k v");
            assert!(complaint(&mut s, line).starts_with("-ERR "));
            assert_eq!(step(&mut s, "SET k v"), Step::Queue);
            assert_eq!(s.transaction().unwrap().bytes(), 0, "it holds nothing any more");
            assert_eq!((step(&mut s, "EXEC"), s.in_multi()), (abort, false), "{line}");
        }
        let mut s = session();
        for line in ["CLIENT REPLY OFF", "SAVE", "SHUTDOWN NOW", "DEBUG SLEEP 0"] {
            step(&mut s, "MULTI");
            assert!(matches!(step(&mut s, line), Step::Error(_)), "{line}");
            assert_eq!(step(&mut s, "EXEC"), abort);
        }
        step(&mut s, "MULTI");
        let text = "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n";
        assert_eq!((complaint(&mut s, "EXEC x").as_str(), s.in_multi()), (text, false));
        assert_eq!(complaint(&mut s, "EXEC x"), text);
        complaint(&mut s, "GET");
        assert!(s.transaction().is_none(), "outside of MULTI there is nothing to break");
    }

    #[test]
    fn what_is_watched_first_counts_and_is_forgotten_with_the_transaction() {
        let mut s = session();
        assert_eq!((step(&mut s, "WATCH a b"), s.reads_now()), (Step::Watch, ReadLevel::Any));
        let keys = [&b"a"[..], b"b"].map(Box::from);
        let mut out = Vec::new();
        s.transaction_mut().watched_at(&keys, b"*2\r\n:1\r\n:2\r\n", &mut out);
        s.transaction_mut().watched_at(&keys[..1], b"*1\r\n:9\r\n", &mut out);
        assert_eq!(out, b"+OK\r\n+OK\r\n");
        assert_eq!((s.reads_now(), s.reads()), (ReadLevel::Session, ReadLevel::Any));
        step(&mut s, "MULTI");
        assert_eq!(step(&mut s, "EXEC"), Step::Exec);
        let mut sent = Vec::new();
        s.take_transaction().send(&mut sent);
        let mut spans = Vec::new();
        let watched: Vec<_> = split(&sent, &mut spans).unwrap().watched().collect();
        assert_eq!(watched, [(&b"a"[..], 1), (b"b", 2)]);
        assert_eq!(s.reads_now(), ReadLevel::Any);
        for end in ["UNWATCH", "DISCARD"] {
            s.transaction_mut().watch_failed();
            if end == "DISCARD" {
                step(&mut s, "MULTI");
            }
            assert_eq!((step(&mut s, end), s.transaction().is_none()), (Step::Ok, true));
        }
        for (answer, reply) in [
            (&b"-TIMEOUT x\r\n"[..], "-TIMEOUT x\r\n"),
            (b"*1\r\n:1\r\n", "-ERR unexpected reply\r\n"),
            (b"*2\r\n:1\r\n+1\r\n", "-ERR unexpected reply\r\n"),
        ] {
            out.clear();
            s.transaction_mut().watched_at(&keys, answer, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), reply);
            step(&mut s, "MULTI");
            assert_eq!(step(&mut s, "EXEC"), Step::Error(errors::EXEC_UNGUARDED));
        }
    }

    #[test]
    fn replies_of_both_kinds_come_in_the_order_of_the_requests() {
        let mut s = session();
        step(&mut s, "MULTI");
        ["GET a", "PING", "GET b", "ECHO x", "GET a"]
            .iter()
            .for_each(|line| assert_eq!(step(&mut s, line), Step::Queue));
        let mut sent = Vec::new();
        let plan = s.take_transaction().send(&mut sent);
        assert_eq!(split(&sent, &mut Vec::new()).unwrap().count(), 3);
        assert_eq!(plan.here().count(), 2);
        let carry_out = |request: &[u8], out: &mut Vec<u8>| out.push(request[8]);
        let mut out = Vec::new();
        plan.merge(b"*3\r\n:1\r\n:2\r\n:3\r\n", carry_out, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "*5\r\n:1\r\nP:2\r\nE:3\r\n");
        for (answer, reply) in [
            (&b"*-1\r\n"[..], "*-1\r\n"),
            (b"-TIMEOUT x\r\n", "-TIMEOUT x\r\n"),
            (b"*2\r\n:1\r\n:2\r\n", "-ERR unexpected reply\r\n"),
        ] {
            out.clear();
            plan.merge(answer, |_, _| panic!("the shard did not do its part"), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), reply);
        }
    }

    #[test]
    fn slots_of_several_shards_are_found() {
        let mut s = session();
        s.transaction_mut().watch([(&b"a"[..], 1)].into_iter());
        let transaction = s.transaction().unwrap();
        let (a, b) = (Slot::of_key(b"a"), Slot::of_key(b"b"));
        let owner = |slot| if slot == a { Some(1) } else { Some(2) };
        assert_eq!(transaction.shard_with([a].into_iter(), owner), Ok(Some(1)));
        assert_eq!(transaction.shard_with([b].into_iter(), owner), Err(Misplaced::SeveralShards));
        assert_eq!(transaction.shard_with([].into_iter(), |_| None::<u8>), Err(Misplaced::NoOwner));
        assert_eq!(Transaction::default().shard_with([].into_iter(), owner), Ok(None));
    }
}
