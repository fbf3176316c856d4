//! States at marks (`pontoon verify`): kept for as long as an operator compares them, and read by a thread that nobody waits
//! for.
//!
//! A replica that applies a mark freezes its state, which is cheap; everything that reads keys, and the freeing of a frozen
//! state, is done one piece of work after the other on another thread. A frozen state makes writes copy what they change,
//! so it is let go of when the operator is done, or after `KEPT`.
//!
//! Invariant: at most `KEPT_PER_SHARD_MAX` states are kept of a shard; the oldest goes first.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::answers::{Answers, Ticket};
use super::server::{Node, Shared};
use crate::keyspace::Frozen;
use crate::net::Moment;
use crate::protocol::control::ControlReply;
use crate::protocol::verification::{MarkDigests, MarkId};
use crate::topology::{LogIndex, ShardId, Slot};

/// How long a state is kept at most.
const KEPT: Duration = Duration::from_secs(60);
/// How many states of one shard are kept.
const KEPT_PER_SHARD_MAX: usize = 2;
/// Keys in one answer to a question for the keys of a slot.
const LISTED_KEYS_MAX: usize = 10_000;
/// The `nice` value of the thread that reads states.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// A state as it was just after a mark.
#[derive(Debug)]
pub struct Marked {
    /// The mark.
    pub id: MarkId,
    /// Where it stands.
    pub index: LogIndex,
    /// The state.
    pub state: Frozen,
}

#[derive(Debug)]
struct Kept {
    shard: ShardId,
    id: MarkId,
    since: Moment,
    state: Arc<Frozen>,
    /// The answer to who asks for the digests, once they are known.
    json: Option<Arc<[u8]>>,
}

enum Work {
    Digest { shard: ShardId, id: MarkId, index: LogIndex, state: Arc<Frozen> },
    List { state: Arc<Frozen>, slot: Slot, from: u64, ticket: Ticket },
    Free(Arc<Frozen>),
}

enum Done {
    Digested { shard: ShardId, id: MarkId, json: Arc<[u8]> },
    Listed { ticket: Ticket, json: Vec<u8> },
    Freed,
}

/// The states at marks of one node.
#[derive(Default)]
pub struct Marks {
    kept: Vec<Kept>,
    work: VecDeque<Work>,
    working: bool,
}

impl Marks {
    /// Takes the state of a replica at a mark, to be read.
    pub fn keep(&mut self, shard: ShardId, marked: Marked, now: Moment) {
        let Marked { id, index, state } = marked;
        let state = Arc::new(state);
        self.work.push_back(Work::Digest { shard, id, index, state: Arc::clone(&state) });
        self.kept.push(Kept { shard, id, since: now, state, json: None });
        if self.kept.iter().filter(|kept| kept.shard == shard).count() > KEPT_PER_SHARD_MAX
            && let Some(oldest) = self.kept.iter().position(|kept| kept.shard == shard)
        {
            self.free(oldest);
        }
    }

    /// The answer that carries the digests. `None`: nothing is kept of this mark; `Some(None)`: they are being made.
    pub fn digests(&self, shard: ShardId, id: MarkId) -> Option<Option<Arc<[u8]>>> {
        self.find(shard, id).map(|kept| kept.json.clone())
    }

    /// Answers `ticket` with the keys of a slot. `false`: nothing is kept of this mark, and nobody will answer.
    pub fn list(&mut self, shard: ShardId, id: MarkId, slot: Slot, from: u64, ticket: Ticket) -> bool {
        let Some(state) = self.find(shard, id).map(|kept| Arc::clone(&kept.state)) else { return false };
        self.work.push_back(Work::List { state, slot, from, ticket });
        true
    }

    /// Lets go of what is kept of a mark. Returns whether there was anything.
    pub fn let_go(&mut self, shard: ShardId, id: MarkId) -> bool {
        let found = self.kept.iter().position(|kept| (kept.shard, kept.id) == (shard, id));
        found.map(|position| self.free(position)).is_some()
    }

    /// Lets go of what nobody came back for.
    pub fn let_go_of_old(&mut self, now: Moment) {
        while let Some(old) = self.kept.iter().position(|kept| now.since(kept.since) > KEPT) {
            self.free(old);
        }
    }

    fn find(&self, shard: ShardId, id: MarkId) -> Option<&Kept> {
        self.kept.iter().find(|kept| (kept.shard, kept.id) == (shard, id))
    }

    fn free(&mut self, position: usize) {
        let kept = self.kept.remove(position);
        self.work.push_back(Work::Free(kept.state));
    }

    /// The next piece of work; none: the worker ends.
    fn next(&mut self) -> Option<Work> {
        let work = self.work.pop_front();
        self.working = work.is_some();
        work
    }

    fn done(&mut self, done: Done, answers: &mut dyn Answers) {
        match done {
            Done::Digested { shard, id, json } => {
                let kept = self.kept.iter_mut().find(|kept| (kept.shard, kept.id) == (shard, id));
                kept.into_iter().for_each(|kept| kept.json = Some(Arc::clone(&json)));
            }
            Done::Listed { ticket, json } => answers.reply(ticket, LogIndex(0), &json),
            Done::Freed => {}
        }
    }
}

impl Work {
    /// On another thread.
    fn run(self) -> Done {
        let json = |reply: &ControlReply| serde_json::to_vec(reply).expect("an answer is plain data");
        match self {
            Self::Digest { shard, id, index, state } => {
                let digests = MarkDigests::Ready(Box::new(state.digest(index)));
                Done::Digested { shard, id, json: json(&ControlReply::Digests(digests)).into() }
            }
            Self::List { state, slot, from, ticket } => {
                let keys = state.slot_keys(slot, from, LISTED_KEYS_MAX);
                Done::Listed { ticket, json: json(&ControlReply::SlotKeys(keys)) }
            }
            Self::Free(state) => {
                drop(state);
                Done::Freed
            }
        }
    }
}

/// Sees that the work is done, if there is any.
pub fn work(node: &mut Node, shared: &Shared) {
    if std::mem::replace(&mut node.marks.working, true) {
        return;
    }
    let Some(mut work) = node.marks.next() else { return };
    let shared = Rc::clone(shared);
    spawn_local(async move {
        loop {
            let done = on_a_thread(work).await;
            let node = &mut *shared.borrow_mut();
            match done {
                Some(done) => node.marks.done(done, &mut node.connections),
                None => tracing::error!("a marked state was not read: its thread did not start, or ended"),
            }
            node.wake.notify_one();
            match node.marks.next() {
                Some(next) => work = next,
                None => return,
            }
        }
    });
}

/// A thread of its own, so that it can stand back: where processors are few, reading a state must not hold up the node.
async fn on_a_thread(work: Work) -> Option<Done> {
    let (sender, done) = oneshot::channel();
    let run = move || {
        stand_back();
        // Nobody waits any more when the node is ending.
        drop(sender.send(work.run()));
    };
    thread::Builder::new().name("marks".to_owned()).spawn(run).ok()?;
    done.await.ok()
}

/// Lets the other threads of the machine go first; only Linux has priorities of single threads.
fn stand_back() {
    #[cfg(target_os = "linux")]
    // SAFETY: setpriority takes numbers alone; 0 is the calling thread. That it may fail is no harm.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}
