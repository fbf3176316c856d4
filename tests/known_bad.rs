//! The checkers themselves: histories known to be good pass, each history known to be bad is caught by the right rule.

#[path = "checkers/mod.rs"]
mod checkers;

use checkers::append::{self, Append};
use checkers::bank::{self, Bank};
use checkers::counter::{self, Counter};
use checkers::fleeting::{self, Fleeting};
use checkers::history::{Level, NO_LAST_READ, Operation, Outcome, Reply, Verdict, WRONG_FORM};
use checkers::queue::{self, Queue};
use checkers::register::{self, Register};
use checkers::set::{self, Set};

/// How far behind reads of level `any` may be here.
const STALENESS_MAX: u64 = 50;
/// When the last read happens.
const LAST: u64 = 1_000_000;

fn done<A>(session: u64, span: (u64, u64), action: A, reply: Reply) -> Operation<A> {
    Operation::strong(session, span.0, span.1, action, Outcome::Done(reply))
}

fn unknown<A>(session: u64, span: (u64, u64), action: A) -> Operation<A> {
    Operation::strong(session, span.0, span.1, action, Outcome::Unknown)
}

fn refused<A>(session: u64, span: (u64, u64), action: A) -> Operation<A> {
    Operation::strong(session, span.0, span.1, action, Outcome::NotApplied)
}

fn session<A>(operation: Operation<A>) -> Operation<A> {
    operation.at_level(Level::Session, STALENESS_MAX)
}

fn any<A>(operation: Operation<A>) -> Operation<A> {
    operation.at_level(Level::Any, STALENESS_MAX)
}

fn numbers(values: &[i64]) -> Reply {
    Reply::List(values.iter().map(Reply::text).collect())
}

fn passes(what: &str, verdict: Verdict) {
    assert_eq!(verdict, Ok(()), "{what}");
}

fn caught(what: &str, rule: &str, verdict: Verdict) {
    let violation = verdict.expect_err(what);
    assert!(violation.rule.contains(rule), "{what}: found by another rule: {violation}");
}

mod lists {
    use super::*;

    fn push(session: u64, span: (u64, u64), value: u64, length: i64) -> Operation<Append> {
        done(session, span, Append::Push(value), Reply::Number(length))
    }

    fn read(session: u64, span: (u64, u64), values: &[i64]) -> Operation<Append> {
        done(session, span, Append::Read, numbers(values))
    }

    fn judge(mut history: Vec<Operation<Append>>, last: &[i64]) -> Verdict {
        history.push(read(99, (LAST, LAST + 1), last));
        append::check(&history)
    }

    #[test]
    fn good_histories_pass() {
        passes("nothing happened", judge(vec![], &[]));
        let overlapping = vec![push(1, (0, 10), 7, 2), push(2, (0, 10), 8, 1), read(3, (5, 6), &[8])];
        passes("writes that overlap", judge(overlapping, &[8, 7]));
        let lost = vec![unknown(1, (0, 5), Append::Push(7)), refused(1, (6, 7), Append::Push(8))];
        passes("an unknown write that never happened", judge(lost, &[]));
        let late = vec![unknown(1, (0, 5), Append::Push(7)), push(2, (6, 8), 8, 1), read(2, (9, 10), &[8])];
        passes("an unknown write that happened late", judge(late, &[8, 7]));
        let stale = vec![push(1, (0, 5), 7, 1), session(read(2, (6, 8), &[])), any(read(3, (20, 22), &[]))];
        passes("weak reads may be behind", judge(stale, &[7]));
    }

    #[test]
    fn bad_histories_are_caught() {
        let one = || push(1, (0, 5), 7, 1);
        caught("a stale strong read", "misses", judge(vec![one(), read(2, (6, 8), &[])], &[7]));
        caught("a lost append", "lost", judge(vec![one()], &[]));
        caught("a doubled append", "applied twice", judge(vec![one()], &[7, 7]));
        caught("an unknown one doubled", "twice", judge(vec![unknown(1, (0, 5), Append::Push(7))], &[7, 7]));
        caught("a resurrected one", "surely not", judge(vec![refused(1, (0, 5), Append::Push(7))], &[7]));
        caught("a value from nowhere", "nobody wrote", judge(vec![], &[7]));
        let reordered = vec![one(), push(2, (6, 8), 8, 2), read(3, (9, 10), &[8, 7])];
        caught("a read in another order", "no beginning", judge(reordered, &[7, 8]));
        let swapped = vec![push(1, (0, 5), 7, 2), push(2, (6, 8), 8, 1)];
        caught("writes against real time", "before what had ended", judge(swapped, &[8, 7]));
        let early = vec![push(2, (6, 8), 8, 1), unknown(1, (9, 10), Append::Push(7))];
        caught("an unknown write too early", "another place", judge(early, &[7, 8]));
        let early = vec![read(2, (6, 8), &[]), push(2, (20, 25), 8, 2), unknown(1, (9, 10), Append::Push(7))];
        passes("the same in time", judge(early, &[7, 8]));
        caught("a wrong length", "another place", judge(vec![push(1, (0, 5), 7, 2)], &[7]));
        let seen = vec![unknown(1, (0, 5), Append::Push(7)), session(read(2, (6, 7), &[7]))];
        caught("seen, then lost", "no beginning", judge(seen, &[]));
        let future = vec![session(read(2, (0, 1), &[7])), push(1, (5, 6), 7, 1)];
        caught("seen before it was written", "written later", judge(future, &[7]));
        let answers = vec![done(1, (0, 5), Append::Push(7), numbers(&[7]))];
        caught("an answer of another request", WRONG_FORM, judge(answers, &[7]));
        let two = vec![push(1, (0, 9), 7, 2), push(1, (0, 9), 8, 1)];
        caught("a pipeline out of order", "another order", judge(two, &[8, 7]));
    }

    #[test]
    fn levels_are_told_apart() {
        let one = || push(1, (0, 5), 7, 1);
        caught("own write missed", "goes back", judge(vec![one(), session(read(1, (6, 8), &[]))], &[7]));
        let piped = vec![one(), session(read(1, (0, 8), &[]))];
        caught("own write missed in a pipeline", "goes back", judge(piped, &[7]));
        let back = vec![one(), session(read(2, (6, 8), &[7])), session(read(2, (9, 10), &[]))];
        caught("a session that goes back", "goes back", judge(back, &[7]));
        caught("any, too old", "further behind", judge(vec![one(), any(read(2, (60, 61), &[]))], &[7]));
        passes("any, just in time", judge(vec![one(), any(read(2, (55, 56), &[]))], &[7]));
        passes("any after an own write", judge(vec![one(), any(read(1, (6, 8), &[]))], &[7]));
    }

    #[test]
    fn a_history_without_a_last_read_says_nothing() {
        caught("no read", NO_LAST_READ, append::check(&[push(1, (0, 5), 7, 1)]));
        let early = [push(1, (0, 5), 7, 1), read(1, (4, 9), &[7])];
        caught("a read during a write", NO_LAST_READ, append::check(&early));
        let weak = [push(1, (0, 5), 7, 1), session(read(1, (6, 9), &[7]))];
        caught("a weak read", NO_LAST_READ, append::check(&weak));
    }

    #[test]
    fn a_long_history_takes_no_time_and_one_lost_write_in_it_is_found() {
        let all: Vec<i64> = (1..=50_000).collect();
        let mut history: Vec<_> =
            all.iter().map(|v| push(*v as u64 % 10, (*v as u64 * 10, *v as u64 * 10 + 9), *v as u64, *v)).collect();
        passes("long", judge(history.clone(), &all));
        history.push(push(11, (700_000, 700_001), 60_000, 50_001));
        caught("one lost", "lost", judge(history, &all));
    }
}

mod registers {
    use super::*;

    fn ok() -> Reply {
        Reply::text("OK")
    }

    fn set(session: u64, span: (u64, u64), value: u64) -> Operation<Register> {
        done(session, span, Register::Set(value), ok())
    }

    fn shown(value: u64) -> Reply {
        if value == 0 { Reply::Nil } else { Reply::text(value) }
    }

    fn get(session: u64, span: (u64, u64), value: u64) -> Operation<Register> {
        done(session, span, Register::Get, shown(value))
    }

    fn judge(mut history: Vec<Operation<Register>>, last: u64) -> Verdict {
        history.push(get(99, (LAST, LAST + 1), last));
        register::check(&history)
    }

    #[test]
    fn good_histories_pass() {
        passes("nothing", judge(vec![], 0));
        let overlap = vec![set(1, (0, 10), 1), set(2, (0, 10), 2), get(3, (1, 2), 2), get(3, (3, 4), 1)];
        passes("an overlap decided by reads", judge(overlap, 1));
        let late = vec![unknown(1, (0, 1), Register::Set(1)), get(2, (5, 6), 0), get(2, (7, 8), 1)];
        passes("an unknown write comes late", judge(late, 1));
        passes("or never", judge(vec![unknown(1, (0, 1), Register::Set(1)), set(2, (2, 3), 2)], 2));
        let nx = |reply| done(2, (5, 6), Register::SetIfAbsent(2), reply);
        passes("set if absent, refused", judge(vec![set(1, (0, 1), 1), nx(Reply::Nil)], 1));
        passes("set if absent, done", judge(vec![nx(ok())], 2));
        let unseen = vec![unknown(1, (0, 1), Register::Set(1)), nx(Reply::Nil), set(1, (7, 8), 3)];
        passes("an unknown write that only shows as a presence", judge(unseen, 3));
        let swap = |old| done(2, (5, 6), Register::Exchange(2), shown(old));
        passes("an exchange", judge(vec![set(1, (0, 1), 1), swap(1)], 2));
        let delete = |n| done(3, (7, 8), Register::Delete, Reply::Number(n));
        passes("a deletion", judge(vec![swap(0), delete(1)], 0));
        passes("a deletion of nothing", judge(vec![delete(0)], 0));
        passes("an unknown deletion", judge(vec![set(1, (0, 1), 1), unknown(2, (2, 3), Register::Delete)], 0));
        let weak = vec![set(1, (0, 1), 1), set(1, (2, 3), 2), session(get(2, (4, 5), 1)), any(get(3, (6, 7), 0))];
        passes("weak reads may be behind", judge(weak, 2));
    }

    #[test]
    fn bad_histories_are_caught() {
        const ORDER: &str = "no order";
        caught("a stale read", ORDER, judge(vec![set(1, (0, 1), 1), set(1, (2, 3), 2), get(2, (4, 5), 1)], 2));
        caught("a lost write", ORDER, judge(vec![set(1, (0, 1), 1)], 0));
        caught("a value from nowhere", "nobody wrote", judge(vec![set(1, (0, 1), 1)], 7));
        caught("a read before its write", "written later", judge(vec![get(1, (0, 1), 1), set(1, (2, 3), 1)], 1));
        let disagree = vec![set(1, (0, 10), 1), set(2, (0, 10), 2), get(1, (11, 12), 1), get(2, (13, 14), 2)];
        caught("reads that disagree", ORDER, judge(disagree, 2));
        let back = vec![set(1, (0, 10), 1), get(2, (1, 2), 1), get(3, (3, 4), 0)];
        caught("back in time", ORDER, judge(back, 1));
        let twice = vec![unknown(1, (0, 1), Register::Set(1)), set(2, (0, 1), 2), get(3, (2, 3), 1), get(3, (4, 5), 2)];
        caught("an unknown write that comes and goes", ORDER, judge(twice, 2));
        let twice = vec![set(1, (0, 1), 1), set(2, (2, 3), 2), get(3, (4, 5), 2)];
        caught("a write applied again, later", ORDER, judge(twice, 1));
        caught("resurrected", "surely not", judge(vec![refused(1, (0, 1), Register::Set(1))], 1));
        let nx = |span, value, reply| done(2, span, Register::SetIfAbsent(value), reply);
        caught("two win", ORDER, judge(vec![nx((0, 9), 1, ok()), nx((0, 9), 2, ok())], 1));
        caught("nobody wins", ORDER, judge(vec![nx((0, 9), 1, Reply::Nil)], 0));
        let loser = vec![set(1, (0, 1), 3), nx((2, 9), 1, Reply::Nil)];
        caught("the loser is there", "surely not", judge(loser, 1));
        let swap = |span, value, old| done(2, span, Register::Exchange(value), shown(old));
        let both = vec![set(1, (0, 1), 1), swap((2, 9), 2, 1), swap((2, 9), 3, 1)];
        caught("two exchanges of one value", ORDER, judge(both, 3));
        let undeleted = vec![set(1, (0, 1), 1), done(1, (2, 3), Register::Delete, Reply::Number(1))];
        caught("a deletion undone", ORDER, judge(undeleted, 1));
        let answers = vec![done(1, (0, 1), Register::Set(1), Reply::Number(1))];
        caught("an answer of another request", WRONG_FORM, judge(answers, 1));
        caught("no last read", NO_LAST_READ, register::check(&[set(1, (0, 1), 1)]));
    }

    #[test]
    fn levels_are_told_apart() {
        let two = || vec![set(1, (0, 1), 1), set(1, (2, 3), 2)];
        let with = |read: Operation<Register>| judge(two().into_iter().chain([read]).collect(), 2);
        caught("own write missed", "goes back", with(session(get(1, (4, 5), 1))));
        caught("own write missed in a pipeline", "goes back", with(session(get(1, (2, 5), 1))));
        caught("any, too old", "further behind", with(any(get(2, (60, 61), 1))));
        passes("any, just in time", with(any(get(2, (53, 54), 1))));
        let back = vec![session(get(2, (4, 5), 2)), session(get(2, (6, 7), 1))];
        caught("a session that goes back", "goes back", judge(two().into_iter().chain(back).collect(), 2));
        let gone = vec![session(get(2, (4, 5), 2)), session(get(2, (6, 7), 0))];
        caught("to the beginning", "goes back", judge(two().into_iter().chain(gone).collect(), 2));
    }

    #[test]
    fn the_explanation_is_short() {
        let mut history: Vec<_> = (1..=100).map(|i| set(1, (10 * i, 10 * i + 5), i)).collect();
        history.extend((1..=100).map(|i| get(2, (10 * i + 6, 10 * i + 8), i)));
        history.push(get(3, (807, 808), 42));
        let violation = judge(history, 100).unwrap_err();
        assert!(violation.story.len() <= 4, "{violation}");
    }

    #[test]
    fn many_that_overlap_are_judged_and_unknown_ones_cost_little() {
        let mut history = Vec::new();
        for i in 0..30 {
            history.extend((0..10).map(|c| set(c, (100 * i, 100 * i + 50), 10 * i + c + 1)));
            history.push(get(20, (100 * i + 60, 100 * i + 70), 10 * i + 5));
        }
        history.extend((0..12).map(|c| unknown(30 + c, (200 * c, 200 * c + 10), Register::Set(1000 + c))));
        passes("300 operations, 12 unknown", judge(history.clone(), 295));
        history.push(get(21, (2_965, 2_969), 3));
        caught("a stale read among them", "no order", judge(history, 295));
    }
}

mod counters {
    use super::*;

    fn add(session: u64, span: (u64, u64), reply: i64) -> Operation<Counter> {
        done(session, span, Counter::Increment, Reply::Number(reply))
    }

    fn read(session: u64, span: (u64, u64), value: i64) -> Operation<Counter> {
        done(session, span, Counter::Read, Reply::text(value))
    }

    fn judge(mut history: Vec<Operation<Counter>>, last: i64) -> Verdict {
        history.push(if last == 0 {
            done(99, (LAST, LAST + 1), Counter::Read, Reply::Nil)
        } else {
            read(99, (LAST, LAST + 1), last)
        });
        counter::check(&history)
    }

    #[test]
    fn good_histories_pass() {
        passes("nothing", judge(vec![], 0));
        passes("an overlap", judge(vec![add(1, (0, 9), 2), add(2, (0, 9), 1)], 2));
        let unknown_add = |span| unknown(3, span, Counter::Increment);
        passes("unknown, done", judge(vec![unknown_add((0, 1)), add(1, (5, 6), 2)], 2));
        passes("unknown, not done", judge(vec![unknown_add((0, 1)), add(1, (5, 6), 1)], 1));
        passes("unknown, done late", judge(vec![unknown_add((0, 1)), add(1, (5, 6), 1)], 2));
        let two = vec![unknown_add((0, 1)), unknown_add((7, 8)), add(1, (5, 6), 2), add(1, (9, 10), 4)];
        passes("two gaps, each with its own", judge(two, 4));
        passes("a weak read is behind", judge(vec![add(1, (0, 9), 1), session(read(2, (10, 11), 0))], 1));
    }

    #[test]
    fn bad_histories_are_caught() {
        caught("the same reply twice", "same number", judge(vec![add(1, (0, 9), 1), add(2, (0, 9), 1)], 2));
        caught("applied twice", "applied twice", judge(vec![add(1, (0, 9), 1)], 2));
        caught("lost", "more than there is", judge(vec![add(1, (0, 9), 1)], 0));
        let jump = vec![add(1, (0, 9), 1), add(1, (10, 19), 3)];
        caught("a jump nobody made", "applied twice", judge(jump, 3));
        let refused_add = refused(1, (0, 9), Counter::Increment);
        caught("resurrected", "applied twice", judge(vec![refused_add], 1));
        let order = vec![add(1, (0, 9), 2), add(2, (10, 19), 1)];
        caught("against real time", "before what had ended", judge(order, 2));
        let stale = vec![add(1, (0, 9), 1), read(2, (10, 19), 0)];
        caught("a stale read", "misses", judge(stale, 1));
        let own = vec![add(1, (0, 9), 1), session(read(1, (10, 19), 0))];
        caught("own write missed", "goes back", judge(own, 1));
        let old = vec![add(1, (0, 9), 1), any(read(2, (70, 79), 0))];
        caught("any, too old", "further behind", judge(old, 1));
        let early = vec![add(1, (0, 9), 2), unknown(2, (10, 19), Counter::Increment)];
        caught("an unknown one before its time", "added later", judge(early, 2));
        caught("no last read", NO_LAST_READ, counter::check(&[add(1, (0, 9), 1)]));
    }
}

mod sets {
    use super::*;

    fn add(session: u64, span: (u64, u64), value: u64) -> Operation<Set> {
        done(session, span, Set::Add(value), Reply::Number(1))
    }

    fn remove(session: u64, span: (u64, u64), value: u64, found: i64) -> Operation<Set> {
        done(session, span, Set::Remove(value), Reply::Number(found))
    }

    fn read(session: u64, span: (u64, u64), members: &[i64]) -> Operation<Set> {
        done(session, span, Set::Read, numbers(members))
    }

    fn judge(mut history: Vec<Operation<Set>>, last: &[i64]) -> Verdict {
        history.push(read(99, (LAST, LAST + 1), last));
        set::check(&history)
    }

    #[test]
    fn good_histories_pass() {
        passes("nothing", judge(vec![], &[]));
        let life = vec![add(1, (0, 5), 7), read(2, (6, 7), &[7]), remove(1, (8, 9), 7, 1), read(2, (10, 11), &[])];
        passes("a life", judge(life, &[]));
        let gone = || unknown(1, (8, 9), Set::Remove(7));
        passes("an addition that was refused", judge(vec![refused(1, (0, 5), Set::Add(7))], &[]));
        passes("an unknown removal, done", judge(vec![add(1, (0, 5), 7), gone()], &[]));
        passes("and not done", judge(vec![add(1, (0, 5), 7), gone(), read(2, (10, 11), &[7])], &[7]));
        let late = vec![unknown(1, (0, 5), Set::Add(7)), remove(1, (8, 9), 7, 0), read(2, (10, 11), &[7])];
        passes("an unknown addition after its removal", judge(late, &[7]));
        let weak = vec![add(1, (0, 5), 7), remove(1, (8, 9), 7, 1), session(read(2, (10, 11), &[7]))];
        passes("a weak read is behind", judge(weak, &[]));
        let overlap =
            vec![add(1, (0, 20), 7), read(2, (3, 4), &[7]), remove(1, (21, 30), 7, 1), read(2, (22, 23), &[])];
        passes("seen while it is added", judge(overlap, &[]));
    }

    #[test]
    fn bad_histories_are_caught() {
        let one = || add(1, (0, 5), 7);
        caught("a lost member", "missing", judge(vec![one()], &[]));
        caught("a stale read", "missing", judge(vec![one(), read(2, (6, 7), &[])], &[7]));
        caught("resurrected", "surely not", judge(vec![refused(1, (0, 5), Set::Add(7))], &[7]));
        caught("from nowhere", "nobody wrote", judge(vec![], &[7]));
        let twice = done(1, (0, 5), Set::Add(7), Reply::Number(0));
        caught("added twice", "added twice", judge(vec![twice], &[7]));
        let back = vec![one(), remove(1, (6, 7), 7, 1), read(2, (10, 11), &[7])];
        caught("removed and back", "removed member", judge(back, &[]));
        caught("removal finds nothing", "missing", judge(vec![one(), remove(1, (6, 7), 7, 0)], &[]));
        let flicker = vec![unknown(1, (0, 1), Set::Add(7)), read(2, (2, 3), &[7]), read(2, (4, 5), &[])];
        caught("seen and gone", "missing", judge(flicker, &[]));
        let flicker = vec![one(), unknown(1, (6, 7), Set::Remove(7)), read(2, (8, 9), &[]), read(2, (10, 11), &[7])];
        caught("gone and back", "missing", judge(flicker, &[7]));
        let chain = vec![add(1, (0, 20), 7), add(2, (0, 20), 8), read(3, (5, 10), &[7]), read(4, (5, 10), &[8])];
        caught("reads that disagree", "disagree", judge(chain, &[7, 8]));
        caught("no last read", NO_LAST_READ, set::check(&[one()]));
    }

    #[test]
    fn levels_are_told_apart() {
        let one = || add(1, (0, 5), 7);
        caught("own write missed", "goes back", judge(vec![one(), session(read(1, (6, 7), &[]))], &[7]));
        let back = vec![one(), session(read(2, (6, 7), &[7])), session(read(2, (8, 9), &[]))];
        caught("a session that goes back", "goes back", judge(back, &[7]));
        caught("any, too old", "missing", judge(vec![one(), any(read(2, (60, 61), &[]))], &[7]));
        passes("any, just in time", judge(vec![one(), any(read(2, (54, 56), &[]))], &[7]));
        let own = vec![one(), remove(1, (6, 7), 7, 1), session(read(1, (8, 9), &[7]))];
        caught("own removal missed", "removed member", judge(own, &[]));
    }
}

mod banks {
    use super::*;

    const ACCOUNTS: usize = 3;

    fn transfer(id: u64, guard: Option<i64>) -> Bank {
        Bank::Transfer { id, from: 0, to: 1, amount: 5, guard }
    }

    fn moved(span: (u64, u64), id: u64, reply: [i64; 3]) -> Operation<Bank> {
        let reply = Reply::List(reply.map(Reply::Number).to_vec());
        done(1, span, transfer(id, None), reply)
    }

    fn read(span: (u64, u64), balances: [i64; ACCOUNTS], log: &[i64]) -> Operation<Bank> {
        done(9, span, Bank::Read, Reply::List(vec![numbers(&balances), numbers(log)]))
    }

    fn judge(mut history: Vec<Operation<Bank>>, balances: [i64; ACCOUNTS], log: &[i64]) -> Verdict {
        history.push(read((LAST, LAST + 1), balances, log));
        bank::check(&history, ACCOUNTS)
    }

    #[test]
    fn good_histories_pass() {
        passes("nothing", judge(vec![], [0; 3], &[]));
        let two = vec![moved((0, 1), 1, [-5, 5, 1]), read((2, 3), [-5, 5, 0], &[1]), moved((4, 5), 2, [-10, 10, 2])];
        passes("two", judge(two, [-10, 10, 0], &[1, 2]));
        let lost = || vec![unknown(1, (0, 1), transfer(1, None))];
        passes("unknown, not done", judge(lost(), [0; 3], &[]));
        passes("unknown, done", judge(lost(), [-5, 5, 0], &[1]));
        let guarded = vec![done(1, (0, 1), transfer(1, Some(3)), Reply::Nil)];
        passes("held back by its guard", judge(guarded, [0; 3], &[]));
    }

    #[test]
    fn bad_histories_are_caught() {
        let one = || moved((0, 1), 1, [-5, 5, 1]);
        caught("half a transfer", "money", judge(vec![one()], [-5, 0, 0], &[1]));
        caught("a transfer lost", "lost", judge(vec![one()], [0; 3], &[]));
        caught("a transfer twice", "twice", judge(vec![one()], [-10, 10, 0], &[1, 1]));
        caught("balances twice, log once", "balances are not", judge(vec![one()], [-10, 10, 0], &[1]));
        let dirty = vec![one(), read((2, 3), [-5, 5, 0], &[])];
        caught("a read of half a transaction", "misses", judge(dirty, [-5, 5, 0], &[1]));
        caught("wrong balances", "wrong balances", judge(vec![moved((0, 1), 1, [5, 5, 1])], [-5, 5, 0], &[1]));
        let held = vec![done(1, (0, 1), transfer(1, Some(3)), Reply::Nil)];
        caught("held back and done", "surely not", judge(held, [-5, 5, 0], &[1]));
        let reply = Reply::List([-10, 10, 2].map(Reply::Number).to_vec());
        let overtaken = vec![one(), done(2, (0, 9), transfer(2, Some(0)), reply)];
        caught("its guard asleep", "watched", judge(overtaken, [-10, 10, 0], &[1, 2]));
        let stale = vec![one(), read((2, 3), [0, 0, 0], &[])];
        caught("a stale read", "misses", judge(stale, [-5, 5, 0], &[1]));
    }
}

mod queues {
    use super::*;

    fn push(span: (u64, u64), value: u64) -> Operation<Queue> {
        done(1, span, Queue::Push(value), Reply::Number(1))
    }

    fn take(span: (u64, u64), value: u64) -> Operation<Queue> {
        done(2, span, Queue::Take, Reply::text(value))
    }

    fn read(span: (u64, u64), values: &[i64]) -> Operation<Queue> {
        done(3, span, Queue::Read, numbers(values))
    }

    fn judge(mut history: Vec<Operation<Queue>>, last: &[i64]) -> Verdict {
        history.push(read((LAST, LAST + 1), last));
        queue::check(&history)
    }

    #[test]
    fn good_histories_pass() {
        passes("nothing", judge(vec![], &[]));
        let life = vec![push((0, 5), 7), push((6, 7), 8), read((8, 9), &[7, 8]), take((10, 11), 7)];
        passes("first in, first out", judge(life, &[8]));
        let waited = vec![take((0, 9), 7), push((5, 10), 7), done(2, (11, 12), Queue::Take, Reply::Nil)];
        passes("one who waited, and one who waited in vain", judge(waited, &[]));
        let unknown_push = || unknown(1, (0, 5), Queue::Push(7));
        passes("an unknown push that happened", judge(vec![unknown_push(), take((9, 10), 7)], &[]));
        passes("and one that did not", judge(vec![unknown_push(), refused(1, (0, 5), Queue::Push(8))], &[]));
        passes("an unknown taker", judge(vec![push((0, 5), 7), unknown(2, (6, 7), Queue::Take)], &[]));
        let stale = vec![push((0, 5), 7), take((6, 7), 7), session(read((8, 9), &[7]))];
        passes("a weak read is behind", judge(stale, &[]));
    }

    #[test]
    fn bad_histories_are_caught() {
        let one = || push((0, 5), 7);
        caught("lost", "lost", judge(vec![one()], &[]));
        caught("lost twice", "lost", judge(vec![one(), push((6, 7), 8), unknown(2, (8, 9), Queue::Take)], &[]));
        caught("taken twice", "taken twice", judge(vec![one(), take((6, 7), 7), take((8, 9), 7)], &[]));
        caught("applied twice", "applied twice", judge(vec![one()], &[7, 7]));
        caught("back again", "is there", judge(vec![one(), take((6, 7), 7)], &[7]));
        caught("there though taken", "is there", judge(vec![one(), take((6, 7), 7), read((8, 9), &[7])], &[]));
        caught("from nowhere", "nobody wrote", judge(vec![take((6, 7), 7)], &[]));
        caught("resurrected", "surely was not", judge(vec![refused(1, (0, 5), Queue::Push(7)), take((6, 7), 7)], &[]));
        caught("too early", "written later", judge(vec![take((0, 1), 7), push((2, 5), 7)], &[]));
        let alien = done(2, (6, 7), Queue::Take, Reply::text("OK"));
        caught("another's reply", WRONG_FORM, judge(vec![one(), alien], &[7]));
        caught("no last read", NO_LAST_READ, queue::check(&[one()]));
    }
}

mod fleeting_values {
    use super::*;

    fn set(span: (u64, u64), value: u64, from: u64, until: u64) -> Operation<Fleeting> {
        done(1, span, Fleeting::Set { value, from, until }, Reply::text("OK"))
    }

    fn get(span: (u64, u64), value: Option<u64>) -> Operation<Fleeting> {
        done(2, span, Fleeting::Get, value.map_or(Reply::Nil, Reply::text))
    }

    fn judge(mut history: Vec<Operation<Fleeting>>, last: Option<u64>) -> Verdict {
        history.push(get((LAST, LAST + 1), last));
        fleeting::check(&history)
    }

    #[test]
    fn good_histories_pass() {
        passes("nothing", judge(vec![], None));
        let one = || set((0, 5), 7, 50, 60);
        passes("a life", judge(vec![one(), get((6, 7), Some(7)), get((51, 52), None)], None));
        let again = vec![one(), get((51, 52), None), set((53, 55), 8, 100, 200), get((60, 61), Some(8))];
        passes("two lives", judge(again, None));
        let replaced = vec![one(), set((6, 7), 8, LAST * 2, LAST * 3), get((70, 71), Some(8))];
        passes("a new value has its own time", judge(replaced, Some(8)));
        passes("a weak read is behind", judge(vec![one(), session(get((70, 71), Some(7)))], None));
        let short = || unknown(3, (6, 9), Fleeting::Set { value: 8, from: 20, until: 90 });
        passes("gone early by another's time", judge(vec![one(), short(), get((30, 31), None)], None));
    }

    #[test]
    fn bad_histories_are_caught() {
        let one = || set((0, 5), 7, 50, 60);
        caught("too early", "no order", judge(vec![one(), get((6, 7), None)], None));
        caught("too late", "long after", judge(vec![one(), get((61, 62), Some(7))], None));
        let back = vec![set((0, 5), 7, 20, 90), get((30, 31), None), get((40, 41), Some(7))];
        caught("back from the dead", "no order", judge(back, None));
        let late = unknown(3, (6, 9), Fleeting::Set { value: 8, from: 40, until: 90 });
        caught("gone before anybody's time", "no order", judge(vec![one(), late, get((30, 31), None)], None));
        caught("from nowhere", "nobody wrote", judge(vec![get((6, 7), Some(7))], None));
        let refused = refused(1, (0, 5), Fleeting::Set { value: 7, from: 20, until: 90 });
        caught("resurrected", "surely was not", judge(vec![refused, get((6, 7), Some(7))], None));
        caught("no last read", NO_LAST_READ, fleeting::check(&[one()]));
    }
}
