//! Commands that the table does not know, of modules and of newer servers: what a server says of them is asked once per name, and
//! believed for a while.
//!
//! Invariants: a request whose keys are not all known never goes to one shard of several; nothing that changes what a connection
//! is, or that is an operator's, goes onto a connection that serves many clients. A name costs memory only for a while, unless
//! servers know it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Engine;
use super::intake::Taken;
use super::layout::Layout;
use super::link::Due;
use crate::frontend::transaction;
use crate::net::Moment;
use crate::protocol::command::{CommandError, CommandSpec, Flag, KeyPlace};
use crate::protocol::errors;
use crate::protocol::request::{Args, write_array};

/// No command has a longer name.
const NAME_BYTES_MAX: usize = 64;
/// Names that are remembered.
const NAMES_MAX: usize = 1024;
/// How long a server's description is believed.
const BELIEVED: Duration = Duration::from_secs(60);
/// How long it is believed that servers do not know a name.
const ABSENT: Duration = Duration::from_secs(2);

/// What is known of the names that clients used.
#[derive(Debug, Default)]
pub struct Learned {
    names: BTreeMap<Box<[u8]>, Entry>,
    /// Rows that were made: they stay, since requests refer to them.
    rows: BTreeMap<Box<[u8]>, &'static CommandSpec>,
    /// Questions that are out, by their numbers.
    asked: Vec<(u32, Box<[u8]>)>,
    next: u32,
    /// Clients that wait for an answer: place and id.
    waiting: Vec<(u32, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    lesson: Lesson,
    until: Moment,
}

/// What is to be done with a request of such a name.
#[derive(Clone, Copy, Debug)]
enum Lesson {
    /// It waits: a server is asked.
    Asked,
    /// It waits: nobody can be asked now.
    Unasked,
    /// Nobody could be asked in time.
    Unreachable,
    /// No server knows it.
    Absent,
    /// Its subcommand counts.
    Container,
    /// It is for the shard of its keys, or for the one shard that there is if they cannot be told.
    Row(&'static CommandSpec, Keys),
    /// It is not for clients of a proxy.
    Refused,
}

/// What is known of a command's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Known,
    Unknown,
    None,
}

impl Engine {
    /// Takes a request that the table does not resolve: its row, or what became of it.
    #[cold]
    pub(super) fn take_unresolved(
        &mut self,
        key: u32,
        args: Args<'_>,
        error: CommandError,
    ) -> Result<&'static CommandSpec, Taken> {
        let lesson = match error {
            CommandError::UnknownCommand => self.lesson(args),
            _ => Lesson::Absent,
        };
        let name = || String::from_utf8_lossy(args.name()).to_lowercase();
        let refusal = match lesson {
            Lesson::Row(spec, keys) if keys == Keys::Known || self.order.len() <= 1 => return Ok(spec),
            Lesson::Asked => {
                let id = self.clients[key as usize].id;
                self.learned.waiting.push((key, id));
                return Err(Taken::Later);
            }
            Lesson::Unasked => return Err(self.postpone(key)),
            Lesson::Absent | Lesson::Container => {
                let mut reply = Vec::new();
                transaction::complain(error, args, &mut self.clients[key as usize].session, &mut reply);
                self.complain_here(key, |out| out.extend_from_slice(&reply));
                self.weigh_transaction(key);
                return Err(Taken::Yes);
            }
            Lesson::Unreachable => errors::not_sent("no server could be asked where the keys of this command are"),
            Lesson::Row(_, Keys::None) => errors::keyless_for_one_shard(&name()),
            Lesson::Row(..) => errors::keys_unknown(&name()),
            Lesson::Refused => errors::not_through_proxy(&name()),
        };
        self.clients[key as usize].session.break_transaction();
        self.error_here(key, &refusal);
        self.weigh_transaction(key);
        Err(Taken::Yes)
    }

    fn lesson(&mut self, args: Args<'_>) -> Lesson {
        let name = args.name().to_ascii_lowercase();
        match self.look_up(&name) {
            Lesson::Container if args.len() > 1 => {
                self.look_up(&[&name, &b"|"[..], &args.get(1).to_ascii_lowercase()].concat())
            }
            lesson => lesson,
        }
    }

    fn look_up(&mut self, name: &[u8]) -> Lesson {
        if name.len() > NAME_BYTES_MAX {
            return Lesson::Absent;
        }
        let known = self.learned.names.get(name).copied();
        match known.filter(|entry| !matches!(entry.lesson, Lesson::Unasked)) {
            Some(entry) if self.now < entry.until || matches!(entry.lesson, Lesson::Asked) => entry.lesson,
            // It is believed until the answer is there.
            Some(Entry { lesson: lesson @ (Lesson::Row(..) | Lesson::Container | Lesson::Refused), .. }) => {
                self.ask_about(name);
                self.remember(name, lesson);
                lesson
            }
            _ if !self.ask_about(name) => self.wait_to_ask(name),
            _ => {
                self.remember(name, Lesson::Asked);
                Lesson::Asked
            }
        }
    }

    /// As any request for a shard, it waits for somebody to be there until its deadline.
    fn wait_to_ask(&mut self, name: &[u8]) -> Lesson {
        let fresh = Entry { lesson: Lesson::Unasked, until: self.now + self.settings.limits.request_deadline };
        let names = &mut self.learned.names;
        if names.len() >= NAMES_MAX && !names.contains_key(name) {
            return Lesson::Unreachable;
        }
        let waiting = names.entry(name.into()).or_insert(fresh);
        if !matches!(waiting.lesson, Lesson::Unasked) {
            *waiting = fresh;
        }
        if self.now < waiting.until {
            return Lesson::Unasked;
        }
        names.remove(name);
        Lesson::Unreachable
    }

    /// Asks any server, those that lead first.
    fn ask_about(&mut self, name: &[u8]) -> bool {
        let leaders = self.order.iter().filter_map(|shard| self.shards[*shard].leader);
        let servers = (0..self.servers.len()).filter(|server| !self.servers[*server].sentinel);
        let Some(lane) = leaders.chain(servers).find_map(|server| self.lane_of(server, false)) else { return false };
        let number = self.learned.next;
        self.learned.next = number.wrapping_add(1);
        self.learned.asked.push((number, name.into()));
        let mut request = Vec::new();
        write_array(&mut request, [&b"COMMAND"[..], b"INFO", name].into_iter());
        self.links[lane].put(&request, Due::Layout(number), 1);
        self.mark_link(lane);
        true
    }

    fn remember(&mut self, name: &[u8], lesson: Lesson) {
        let names = &mut self.learned.names;
        if names.len() >= NAMES_MAX {
            let now = self.now;
            names.retain(|_, entry| now < entry.until && !matches!(entry.lesson, Lesson::Absent));
        }
        if names.len() < NAMES_MAX || names.contains_key(name) {
            let believed = if matches!(lesson, Lesson::Absent) { ABSENT } else { BELIEVED };
            names.insert(name.into(), Entry { lesson, until: self.now + believed });
        }
    }

    /// A server said what it knows of a name.
    pub(super) fn take_layout(&mut self, number: u32, reply: &[u8]) {
        let Some(at) = self.learned.asked.iter().position(|(other, _)| *other == number) else { return };
        let (_, name) = self.learned.asked.swap_remove(at);
        let lesson = match Layout::parse(reply) {
            Ok(Some(layout)) => self.learned.conclude(&name, &layout),
            Ok(None) => Lesson::Absent,
            // Something that stands before a server, and does not know the question: modules' names have a dot.
            Err(()) if name.contains(&b'.') => {
                let layout = Layout { flags: vec![Flag::Write], is_pubsub: false, keys: None, is_container: false };
                self.learned.conclude(&name, &layout)
            }
            Err(()) => Lesson::Absent,
        };
        self.remember(&name, lesson);
        self.resumable.append(&mut self.learned.waiting);
    }

    /// The connection broke on which a question was.
    pub(super) fn forget_layout(&mut self, number: u32) {
        let Some(at) = self.learned.asked.iter().position(|(other, _)| *other == number) else { return };
        let (_, name) = self.learned.asked.swap_remove(at);
        if self.learned.names.get(&name).is_some_and(|entry| matches!(entry.lesson, Lesson::Asked)) {
            self.learned.names.remove(&name);
        }
        self.resumable.append(&mut self.learned.waiting);
    }
}

impl Learned {
    fn conclude(&mut self, name: &[u8], layout: &Layout) -> Lesson {
        let has = |flag| layout.flags.contains(&flag);
        let keyless = layout.keys.as_ref().is_some_and(Vec::is_empty);
        if layout.is_container {
            return Lesson::Container;
        }
        if layout.is_pubsub || has(Flag::Admin) || keyless && (has(Flag::NoScript) || has(Flag::Blocking)) {
            return Lesson::Refused;
        }
        let keys = match &layout.keys {
            None => Keys::Unknown,
            Some(places) if places.is_empty() => Keys::None,
            Some(_) => Keys::Known,
        };
        Lesson::Row(self.row(name, layout), keys)
    }

    /// A row for the command. One that looks the same is used again, so rows are as many as servers' commands.
    fn row(&mut self, name: &[u8], layout: &Layout) -> &'static CommandSpec {
        let places = layout.keys.clone().unwrap_or_default();
        let writes = layout.flags.contains(&Flag::Write) || !layout.flags.contains(&Flag::Read);
        let mut flags = vec![if writes { Flag::Write } else { Flag::Read }];
        flags.extend(layout.flags.contains(&Flag::Blocking).then_some(Flag::Blocking));
        let same = |row: &&CommandSpec| {
            let known: Vec<KeyPlace> = row.keys.iter().map(|keys| keys.place).collect();
            known == places && flags.iter().all(|flag| row.flags.has(*flag)) && row.is_write() == writes
        };
        if let Some(row) = self.rows.get(name).copied().filter(same) {
            return row;
        }
        let text = String::from_utf8_lossy(name).into_owned();
        let row: &'static CommandSpec = Box::leak(Box::new(CommandSpec::learned(text, &flags, &places)));
        self.rows.insert(name.into(), row);
        row
    }
}
