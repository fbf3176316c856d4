//! Accounts in one slot. A transfer is one transaction: take, give, and note its number in a log; so the order of all
//! transfers is known, and with it every balance at every moment.

use std::collections::HashMap;

use super::append::{self, Append};
use super::history::{Operation, Outcome, Reply, Verdict, Violation, WRONG_FORM};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bank {
    /// Answered by both balances and the length of the log; nil where the guard held it back.
    Transfer {
        id: u64,
        from: usize,
        to: usize,
        amount: i64,
        /// The balance of `from` that it was made for: the account was watched.
        guard: Option<i64>,
    },
    /// Answered by all balances and the log, of one moment.
    Read,
}

type Op = Operation<Bank>;

/// Judges the history of accounts that start with nothing, and may be overdrawn; a strong read after all else is in it.
pub fn check(history: &[Op], accounts: usize) -> Verdict {
    let log = as_log(history)?;
    append::check(&log)?;
    let order = log.iter().filter(|o| o.action == Append::Read).filter_map(|o| o.reply()?.values());
    let order = order.max_by_key(Vec::len).unwrap_or_default();
    let moments = replay(history, &order, accounts);
    for operation in history {
        let Some(reply) = operation.reply() else { continue };
        match operation.action {
            Bank::Transfer { from, to, guard, amount, .. } => {
                let Some((shown, length)) = transfer_reply(reply) else { continue };
                let after = &moments[length as usize];
                if shown != [after[from], after[to]] {
                    let line = format!("it should be {} and {}", after[from], after[to]);
                    return Err(Violation::of("a transfer was answered by wrong balances", &[operation]).and(line));
                }
                if let Some(guard) = guard.filter(|guard| *guard - amount != after[from]) {
                    let line = format!("the account had {} and not {guard}", after[from] + amount);
                    return Err(Violation::of("a watched account had changed", &[operation]).and(line));
                }
            }
            Bank::Read => {
                let Some((shown, log)) = read_reply(reply) else { continue };
                balances_fit(operation, &shown, &moments[log.len()])?;
            }
        }
    }
    Ok(())
}

/// The log alone.
fn as_log(history: &[Op]) -> Result<Vec<Operation<Append>>, Violation> {
    let mut log = Vec::new();
    for operation in history {
        let wrong = || Violation::of(WRONG_FORM, &[operation]);
        let (action, outcome) = match (operation.action, &operation.outcome) {
            (Bank::Transfer { id, .. }, Outcome::Done(Reply::Nil)) => (Append::Push(id), Outcome::NotApplied),
            (Bank::Transfer { id, .. }, Outcome::Done(reply)) => {
                let (_, length) = transfer_reply(reply).ok_or_else(wrong)?;
                (Append::Push(id), Outcome::Done(Reply::Number(length)))
            }
            (Bank::Read, Outcome::Done(reply)) => {
                let (_, log) = read_reply(reply).ok_or_else(wrong)?;
                (Append::Read, Outcome::Done(Reply::List(log.to_vec())))
            }
            (Bank::Transfer { id, .. }, outcome) => (Append::Push(id), outcome.clone()),
            (Bank::Read, outcome) => (Append::Read, outcome.clone()),
        };
        log.push(operation.map(action, outcome));
    }
    Ok(log)
}

fn transfer_reply(reply: &Reply) -> Option<([i64; 2], i64)> {
    let [from, to, length] = reply.list()? else { return None };
    Some(([from.number()?, to.number()?], length.number()?))
}

fn read_reply(reply: &Reply) -> Option<(Vec<i64>, &[Reply])> {
    let [balances, log] = reply.list()? else { return None };
    let balance = |b: &Reply| if *b == Reply::Nil { Some(0) } else { b.number() };
    Some((balances.list()?.iter().map(balance).collect::<Option<_>>()?, log.list()?))
}

/// All balances before the first transfer, and after each.
fn replay(history: &[Op], order: &[u64], accounts: usize) -> Vec<Vec<i64>> {
    let mut transfers = HashMap::new();
    for operation in history {
        if let Bank::Transfer { id, from, to, amount, .. } = operation.action {
            transfers.insert(id, (from, to, amount));
        }
    }
    let mut balances = vec![0; accounts];
    let mut moments = vec![balances.clone()];
    for id in order {
        let (from, to, amount) = transfers[id];
        balances[from] -= amount;
        balances[to] += amount;
        moments.push(balances.clone());
    }
    moments
}

fn balances_fit(read: &Op, shown: &[i64], expected: &[i64]) -> Verdict {
    let sum: i64 = shown.iter().sum();
    if sum != 0 {
        return Err(Violation::of("money was made or lost", &[read]).and(format!("the sum is {sum} and not 0")));
    }
    if shown != expected {
        let line = format!("the transfers in the log make {expected:?}");
        return Err(Violation::of("the balances are not those of the transfers", &[read]).and(line));
    }
    Ok(())
}
