//! The requests that took longest lately: a bounded ring, shared by all connections of a process.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::Call;
use crate::protocol::request::Args;
use crate::topology::LogTime;

/// Arguments of a slow request that are kept; the last says how many more there were.
const ENTRY_ARGS_MAX: usize = 32;
/// Bytes of an argument that are kept.
const ARG_BYTES_MAX: usize = 128;

/// The latest slow requests.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    next_id: u64,
    newest_first: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    wall: LogTime,
    microseconds: u64,
    args: Vec<Vec<u8>>,
    address: String,
    name: Vec<u8>,
}

/// A request that took long.
#[derive(Clone, Copy, Debug)]
pub struct SlowRequest<'a> {
    /// What was asked.
    pub args: Args<'a>,
    /// How long it took.
    pub microseconds: u64,
    /// When it was answered.
    pub wall: LogTime,
    /// Who asked.
    pub address: &'a str,
    /// What the client calls itself.
    pub name: &'a [u8],
}

impl SlowLog {
    /// Keeps a request, and at most `entries_max` in all.
    pub fn push(&self, request: SlowRequest<'_>, entries_max: usize) {
        let mut ring = self.0.lock().expect("no panic while holding the lock");
        let id = ring.next_id;
        ring.next_id += 1;
        let SlowRequest { args, microseconds, wall, address, name } = request;
        ring.newest_first.push_front(Entry {
            id,
            wall,
            microseconds,
            args: kept_args(args),
            address: address.to_owned(),
            name: name.to_vec(),
        });
        ring.newest_first.truncate(entries_max);
    }
}

/// The start of a request, as much as is kept.
fn kept_args(args: Args<'_>) -> Vec<Vec<u8>> {
    let whole = if args.len() > ENTRY_ARGS_MAX { ENTRY_ARGS_MAX - 1 } else { args.len() };
    let mut kept: Vec<Vec<u8>> = args.from(0).take(whole).map(kept_arg).collect();
    if whole < args.len() {
        kept.push(format!("... ({} more arguments)", args.len() - whole).into_bytes());
    }
    kept
}

fn kept_arg(arg: &[u8]) -> Vec<u8> {
    match arg.split_at_checked(ARG_BYTES_MAX) {
        Some((start, rest @ [_, ..])) => [start, format!("... ({} more bytes)", rest.len()).as_bytes()].concat(),
        _ => arg.to_vec(),
    }
}

impl Call<'_, '_> {
    pub(super) fn slow_log(&mut self) {
        match self.spec.own_name() {
            "get" => self.slow_log_get(),
            "len" => {
                let length = self.slow_ring().newest_first.len();
                self.reply.integer(length as i64);
            }
            "reset" => {
                self.slow_ring().newest_first.clear();
                self.reply.ok();
            }
            "help" => self.help(super::help::SLOW_LOG),
            _ => self.subcommand_syntax(),
        }
    }

    fn slow_ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.around.desk.slow_log.0.lock().expect("no panic while holding the lock")
    }

    fn slow_log_get(&mut self) {
        const COUNT_DEFAULT: i64 = 10;
        const OUT_OF_RANGE: &str = "ERR count should be greater than or equal to -1";
        let count = match self.args.len() {
            2 => COUNT_DEFAULT,
            3 => match self.integer(2, OUT_OF_RANGE) {
                Some(count @ -1..) => count,
                Some(_) => return self.reply.error(OUT_OF_RANGE),
                None => return,
            },
            _ => return self.subcommand_syntax(),
        };
        let ring = self.around.desk.slow_log.0.lock().expect("no panic while holding the lock");
        let all = ring.newest_first.len();
        let count = usize::try_from(count).unwrap_or(all).min(all);
        self.reply.array(count);
        for entry in ring.newest_first.iter().take(count) {
            self.reply.array(6);
            self.reply.integer(entry.id as i64);
            self.reply.integer((entry.wall.get() / 1000) as i64);
            self.reply.integer(entry.microseconds as i64);
            self.reply.array(entry.args.len());
            entry.args.iter().for_each(|arg| self.reply.bulk(arg));
            self.reply.bulk(entry.address.as_bytes());
            self.reply.bulk(&entry.name);
        }
    }
}
