//! Reads that wait: for a confirmed index (`strong`), or for an index to be applied.
//!
//! Invariants: a batch of `strong` reads holds only requests that came before its question left (RELIABILITY.md, B1); a
//! question that stays without an answer is asked again under a new context; every read leaves by its deadline.

use std::collections::VecDeque;
use std::time::Duration;

use super::answers::Ticket;
use crate::net::Moment;
use crate::topology::LogIndex;

/// How long an unanswered question stands before it is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Questions on their way at one time; each costs a round of heartbeats.
const QUESTIONS_MAX: usize = 2;

/// A read that could not be answered at once.
#[derive(Debug)]
pub struct WaitingRead {
    /// Whom to answer.
    pub ticket: Ticket,
    /// The RESP bytes.
    pub request: Vec<u8>,
    /// Whether the client speaks RESP3.
    pub resp3: bool,
    /// Whether it follows writes of its client that this leader took: of no use once it does not lead.
    pub after_writes: bool,
    /// The lowest index to answer at.
    pub floor: LogIndex,
    /// When the answer is of no use any more.
    pub deadline: Moment,
}

#[derive(Debug)]
struct Question {
    context: u64,
    asked: Moment,
    reads: Vec<WaitingRead>,
}

/// The waiting reads of one replica.
#[derive(Debug, Default)]
pub struct Reads {
    unasked: Vec<WaitingRead>,
    questions: VecDeque<Question>,
    applied: VecDeque<(LogIndex, WaitingRead)>,
    next_context: u64,
    probe_wanted: bool,
}

impl Reads {
    /// Takes a read that needs a confirmed index.
    pub fn ask(&mut self, read: WaitingRead) {
        self.unasked.push(read);
    }

    /// Wants a confirmed index for its own sake, to know how fresh this replica is.
    pub fn probe(&mut self) {
        self.probe_wanted = true;
    }

    /// Takes a read that waits until `index` is applied, and is answered before anything after it is. Of those that
    /// wait for the same index, the first comes first.
    pub fn wait_for(&mut self, index: LogIndex, read: WaitingRead) {
        let place = self.applied.partition_point(|(other, _)| *other <= index);
        self.applied.insert(place, (index, read));
    }

    /// The context of the next question to ask, if one is due.
    pub fn next_question(&mut self, now: Moment) -> Option<u64> {
        if self.questions.front().is_some_and(|q| now.since(q.asked) >= RETRY_AFTER) {
            let stale = self.questions.drain(..).flat_map(|q| q.reads);
            self.unasked = stale.chain(std::mem::take(&mut self.unasked)).collect();
            self.probe_wanted = true;
        }
        let wanted = !self.unasked.is_empty() || self.probe_wanted;
        if !wanted || self.questions.len() >= QUESTIONS_MAX {
            return None;
        }
        self.probe_wanted = false;
        self.next_context += 1;
        let reads = std::mem::take(&mut self.unasked);
        self.questions.push_back(Question { context: self.next_context, asked: now, reads });
        Some(self.next_context)
    }

    /// The question of this context was answered: its reads wait for `index` now. Returns when it was asked.
    pub fn confirmed(&mut self, context: u64, index: LogIndex) -> Option<Moment> {
        let position = self.questions.iter().position(|q| q.context == context)?;
        // Answers come in order, so an earlier question that is still open was lost; a later index serves it as well.
        let mut asked = None;
        for question in self.questions.drain(..=position).collect::<Vec<_>>() {
            asked = Some(question.asked);
            for read in question.reads {
                self.wait_for(index.max(read.floor), read);
            }
        }
        asked
    }

    /// The next read that may be answered at `applied`.
    pub fn pop_ready(&mut self, applied: LogIndex) -> Option<WaitingRead> {
        self.applied.front().is_some_and(|(index, _)| *index <= applied).then(|| self.applied.pop_front())?.map(|r| r.1)
    }

    /// Takes out the reads that `gone` names.
    pub fn remove(&mut self, mut gone: impl FnMut(&WaitingRead) -> bool) -> Vec<WaitingRead> {
        let mut removed: Vec<WaitingRead> = self.unasked.extract_if(.., |r| gone(r)).collect();
        for question in &mut self.questions {
            removed.extend(question.reads.extract_if(.., |r| gone(r)));
        }
        let (out, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.applied).into_iter().partition(|(_, r)| gone(r));
        self.applied = stay.into();
        removed.extend(out.into_iter().map(|(_, read)| read));
        removed
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.unasked.len() + self.applied.len() + self.questions.iter().map(|q| q.reads.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ShardId;

    fn read(id: u64) -> WaitingRead {
        let ticket =
            Ticket { connection: 0, connection_generation: 0, id, client: 0, generation: 0, shard: ShardId(1) };
        let deadline = Moment::at(Duration::from_secs(1));
        WaitingRead { ticket, request: Vec::new(), resp3: false, after_writes: false, floor: LogIndex(0), deadline }
    }

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn a_read_that_comes_after_the_question_left_needs_another_one() {
        let mut reads = Reads::default();
        reads.ask(read(1));
        let first = reads.next_question(at(0)).unwrap();
        reads.ask(read(2));
        assert_eq!(reads.confirmed(first, LogIndex(7)), Some(at(0)));
        assert_eq!(reads.pop_ready(LogIndex(6)).map(|r| r.ticket.id), None);
        assert_eq!(reads.pop_ready(LogIndex(7)).map(|r| r.ticket.id), Some(1));
        assert_eq!(reads.pop_ready(LogIndex(7)).map(|r| r.ticket.id), None);
        assert!(reads.next_question(at(1)).is_some());
    }

    #[test]
    fn a_read_is_ready_at_its_own_index_whoever_came_before() {
        let mut reads = Reads::default();
        for (index, id) in [(12, 1), (10, 2), (12, 3), (10, 4)] {
            reads.wait_for(LogIndex(index), read(id));
        }
        let mut ready =
            |applied| std::iter::from_fn(|| reads.pop_ready(LogIndex(applied))).map(|r| r.ticket.id).collect();
        let (at_ten, at_twelve): (Vec<u64>, Vec<u64>) = (ready(10), ready(12));
        assert_eq!((at_ten, at_twelve), (vec![2, 4], vec![1, 3]));
    }

    #[test]
    fn an_unanswered_question_is_asked_again_under_a_new_context() {
        let mut reads = Reads::default();
        reads.ask(read(1));
        let first = reads.next_question(at(0)).unwrap();
        assert_eq!(reads.next_question(at(50)), None);
        let second = reads.next_question(at(100)).unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.confirmed(first, LogIndex(7)), None, "the old answer is of no use");
        assert_eq!(reads.confirmed(second, LogIndex(8)), Some(at(100)));
        assert_eq!(reads.pop_ready(LogIndex(8)).map(|r| r.ticket.id), Some(1));
        assert_eq!(reads.len(), 0);
    }
}
