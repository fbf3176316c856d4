//! Reads that wait: for a confirmed index (`strong`), or for an index to be applied.
//!
//! Invariants:
//! - A batch of `strong` reads holds only requests that came before its question left (RELIABILITY.md, B1).
//! - No context is used twice, in this life of the process or another. So an answer, however late, is that of a leader
//!   whom a majority heard after its question left: the index serves every read that came before, and none that came after.
//! - A question that stays without an answer is asked again under a new context; the old answer still counts, or else no
//!   read would be answered where a round trip takes longer than the patience.
//! - Every read leaves by its deadline.

use std::collections::VecDeque;
use std::time::Duration;

use super::answers::Ticket;
use crate::consensus::Reign;
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::topology::{LogIndex, SlotEpoch};

/// How long an unanswered question stands before it is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Questions younger than that on their way at one time; each costs a round of heartbeats.
const YOUNG_QUESTIONS_MAX: usize = 2;
/// Questions whose answers are still of use; beyond that, the reads of the oldest wait for the answer to the next.
const QUESTIONS_MAX: usize = 64;

/// A read that could not be answered at once.
#[derive(Debug)]
pub struct WaitingRead {
    /// Whom to answer.
    pub ticket: Ticket,
    /// The RESP bytes.
    pub request: Vec<u8>,
    /// Whether the client speaks RESP3.
    pub resp3: bool,
    /// Whether it is about all keys, and the slots that it is for come first.
    pub covers: bool,
    /// The slot of its first key, under the epoch that its proxy knows, where it knows one.
    pub at: Option<SlotEpoch>,
    /// Whether it follows writes of its client that this leader took: of no use once it does not lead.
    pub after_writes: bool,
    /// The lowest index to answer at.
    pub floor: LogIndex,
    /// When it came.
    pub came: Moment,
    /// When the answer is of no use any more.
    pub deadline: Moment,
}

#[derive(Debug)]
struct Question {
    context: u64,
    asked: Moment,
    /// As what kind of leader, if as one.
    reign: Option<Reign>,
    reads: Vec<WaitingRead>,
}

/// An answered question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// When it was asked.
    pub asked: Moment,
    /// What this replica was then, if it led.
    pub reign: Option<Reign>,
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
        match self.questions.back_mut().filter(|_| planted::is(Bug::QuestionJoinedLate)) {
            Some(question) => question.reads.push(read),
            None => self.unasked.push(read),
        }
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

    /// Lets contexts begin at a random number: a replica that is made anew in the same process must not be told what was
    /// an answer to the one before it.
    pub fn begin_at(&mut self, context: u64) {
        self.next_context = context;
    }

    /// The context of the next question to ask, if one is due. `reign`: what this replica is now, if it leads.
    pub fn next_question(&mut self, now: Moment, reign: Option<Reign>) -> Option<u64> {
        let is_young = |question: &&Question| now.since(question.asked) < RETRY_AFTER;
        let young = self.questions.iter().rev().take(YOUNG_QUESTIONS_MAX).take_while(is_young).count();
        let wanted = !self.unasked.is_empty() || self.probe_wanted;
        let again = young == 0 && !self.questions.is_empty();
        if !again && (!wanted || young >= YOUNG_QUESTIONS_MAX) {
            return None;
        }
        if self.questions.len() >= QUESTIONS_MAX
            && let Some(oldest) = self.questions.pop_front()
        {
            self.questions[0].reads.splice(0..0, oldest.reads);
        }
        self.probe_wanted = false;
        self.next_context = self.next_context.wrapping_add(1);
        let reads = std::mem::take(&mut self.unasked);
        self.questions.push_back(Question { context: self.next_context, asked: now, reign, reads });
        Some(self.next_context)
    }

    /// The question of this context was answered: its reads, and those of all questions before it, wait for `index` now.
    pub fn confirmed(&mut self, context: u64, index: LogIndex) -> Option<Confirmed> {
        let position = self.questions.iter().position(|q| q.context == context)?;
        let answered = &self.questions[position];
        let confirmed = Confirmed { asked: answered.asked, reign: answered.reign };
        for question in self.questions.drain(..=position).collect::<Vec<_>>() {
            for read in question.reads {
                self.wait_for(index.max(read.floor), read);
            }
        }
        Some(confirmed)
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

    /// Whether some of them follow writes.
    pub fn follow_writes(&self) -> bool {
        let asked = self.questions.iter().flat_map(|q| &q.reads);
        self.unasked.iter().chain(asked).chain(self.applied.iter().map(|(_, read)| read)).any(|read| read.after_writes)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        let (floor, came) = (LogIndex(0), Moment::default());
        WaitingRead {
            ticket,
            request: Vec::new(),
            resp3: false,
            covers: false,
            at: None,
            after_writes: false,
            floor,
            came,
            deadline,
        }
    }

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn a_read_that_comes_after_the_question_left_needs_another_one() {
        let mut reads = Reads::default();
        reads.ask(read(1));
        let first = reads.next_question(at(0), None).unwrap();
        reads.ask(read(2));
        assert_eq!(reads.confirmed(first, LogIndex(7)).map(|c| c.asked), Some(at(0)));
        assert_eq!(reads.pop_ready(LogIndex(6)).map(|r| r.ticket.id), None);
        assert_eq!(reads.pop_ready(LogIndex(7)).map(|r| r.ticket.id), Some(1));
        assert_eq!(reads.pop_ready(LogIndex(7)).map(|r| r.ticket.id), None);
        assert!(reads.next_question(at(1), None).is_some());
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

    fn ready(reads: &mut Reads, applied: u64) -> Vec<u64> {
        std::iter::from_fn(|| reads.pop_ready(LogIndex(applied))).map(|r| r.ticket.id).collect()
    }

    #[test]
    fn an_unanswered_question_is_asked_again_under_a_new_context_and_either_answer_serves() {
        for late in [false, true] {
            let mut reads = Reads::default();
            reads.ask(read(1));
            let first = reads.next_question(at(0), None).unwrap();
            assert_eq!(reads.next_question(at(50), None), None);
            reads.ask(read(2));
            let second = reads.next_question(at(100), None).unwrap();
            assert_ne!(first, second);
            if late {
                assert_eq!(reads.confirmed(first, LogIndex(7)).map(|c| c.asked), Some(at(0)));
                assert_eq!(ready(&mut reads, 9), [1], "the second came after the first question left");
            }
            assert_eq!(reads.confirmed(second, LogIndex(8)).map(|c| c.asked), Some(at(100)));
            assert_eq!(ready(&mut reads, 9), if late { vec![2] } else { vec![1, 2] });
            assert_eq!(reads.confirmed(first, LogIndex(7)), None, "nobody waits for it any more");
            assert!(reads.is_empty());
        }
    }

    #[test]
    fn without_any_answer_questions_stay_bounded_and_no_read_is_lost() {
        let mut reads = Reads::default();
        let mut last = 0;
        for turn in 0..300 {
            reads.ask(read(turn));
            last = reads.next_question(at(turn * 100), None).unwrap();
        }
        assert_eq!((reads.questions.len(), reads.len()), (QUESTIONS_MAX, 300));
        reads.confirmed(last, LogIndex(3)).unwrap();
        assert_eq!(ready(&mut reads, 3), (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn a_replica_made_anew_does_not_take_the_answers_to_the_one_before_it() {
        let (mut before, mut anew) = (Reads::default(), Reads::default());
        before.begin_at(7);
        anew.begin_at(1 << 60);
        before.ask(read(1));
        anew.ask(read(2));
        let old = before.next_question(at(0), None).unwrap();
        anew.next_question(at(1), None).unwrap();
        assert_eq!(anew.confirmed(old, LogIndex(5)), None);
    }
}
