//! What clients ask for: keys of many kinds, the requests on them, and how a reply is understood.
//!
//! Every written value is unique, so that each read says which writes it has seen. A key is used for so many operations
//! and then left as it is, with another in its slot taking its place.

use super::checkers::append::Append;
use super::checkers::bank::Bank;
use super::checkers::counter::Counter;
use super::checkers::fleeting::Fleeting;
use super::checkers::history::{Level, NEVER, Outcome, Reply};
use super::checkers::queue::Queue;
use super::checkers::register::Register;
use super::checkers::set::Set;
use super::random::Random;
use super::replies::Answer;

/// How many operations one key gets; fewer where the order of all must be searched for.
const OPERATIONS_PER_KEY: usize = 150;
const OPERATIONS_PER_REGISTER: usize = 80;
pub const ACCOUNTS: usize = 3;

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Register,
    Counter,
    List,
    Set,
    /// Several accounts and a log of transfers, in one slot.
    Bank,
    /// A register that is written together with those of other slots.
    Split,
    /// A list that is taken from, by those who wait too.
    Queue,
    /// A register whose values expire.
    Fleeting,
}

const KINDS: [(Kind, &str, usize); 8] = [
    (Kind::Register, "r", 4),
    (Kind::Counter, "c", 3),
    (Kind::List, "l", 4),
    (Kind::Set, "s", 2),
    (Kind::Bank, "b", 2),
    (Kind::Split, "m", 6),
    (Kind::Queue, "q", 2),
    (Kind::Fleeting, "f", 2),
];

/// The hash tags of all keys.
pub fn tags() -> impl Iterator<Item = (Kind, String)> {
    KINDS.iter().flat_map(|(kind, prefix, count)| (0..*count).map(move |i| (*kind, format!("{prefix}{i}"))))
}

/// What one operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Register(Register),
    Counter(Counter),
    Append(Append),
    Set(Set),
    Bank(Bank),
    Queue(Queue),
    /// The same, but whoever finds nothing waits for so long.
    WaitAndTake {
        ms: u64,
    },
    /// When it may expire is for the judge to say.
    Fleeting {
        action: Fleeting,
        ttl_ms: u64,
    },
    /// MSET, DEL and MGET of several keys.
    SetAll(u64),
    DeleteAll,
    GetAll,
}

/// A key, or a group of keys with one tag.
pub struct Key {
    pub kind: Kind,
    /// Which of the tags.
    pub place: usize,
    pub name: String,
}

pub struct Keys {
    pub all: Vec<Key>,
    /// The key that each tag is used with now, and how often it was.
    current: Vec<(usize, usize)>,
    /// The places that are used most: where few keys are used, more is seen of each moment.
    hot: Vec<usize>,
}

/// What a client is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// A write that always changes something.
    Write,
    /// Anything.
    Mixed,
    /// Nothing that could wait for a majority's word.
    Read,
}

/// One operation, about to be sent.
pub struct Wish {
    pub keys: Vec<usize>,
    pub action: Action,
}

impl Keys {
    pub fn new(random: &mut Random) -> Self {
        let all: Vec<Key> =
            tags().enumerate().map(|(place, (kind, tag))| Key { kind, place, name: format!("{{{tag}}}0") }).collect();
        let current = (0..all.len()).map(|key| (key, 0)).collect();
        let count = if random.per_mille(500) { random.within(3, 8) as usize } else { all.len() };
        let hot = (0..count).map(|_| random.below(all.len())).collect();
        Self { all, current, hot }
    }

    /// Some place that suits a mood.
    pub fn any_place(&self, random: &mut Random, mood: Mood) -> usize {
        loop {
            let hot = random.per_mille(900);
            let place = if hot { self.hot[random.below(self.hot.len())] } else { random.below(self.places()) };
            // A transaction is a write, whatever it holds.
            if mood != Mood::Read || self.all[place].kind != Kind::Bank {
                return place;
            }
        }
    }

    pub fn places(&self) -> usize {
        self.current.len()
    }

    /// The first of the places whose keys may be in one request with those of this place.
    pub fn group(&self, place: usize) -> usize {
        let is_split = |place: &usize| self.all[*place].kind == Kind::Split;
        if is_split(&place) { (0..self.places()).find(is_split).expect("this one is") } else { place }
    }

    /// The key that is used at a place now.
    fn take(&mut self, place: usize) -> usize {
        let (key, used) = self.current[place];
        let Key { kind, ref name, .. } = self.all[key];
        let is_register = matches!(kind, Kind::Register | Kind::Split | Kind::Fleeting);
        if used < if is_register { OPERATIONS_PER_REGISTER } else { OPERATIONS_PER_KEY } {
            self.current[place].1 += 1;
            return key;
        }
        let end = name.find('}').expect("a tag");
        let number: usize = name[end + 1..].parse().expect("a number");
        let name = format!("{}{}", &name[..=end], number + 1);
        self.all.push(Key { kind, place, name });
        self.current[place] = (self.all.len() - 1, 1);
        self.all.len() - 1
    }

    /// Something to do at a place. `value`: unique. `added`: members of sets that this connection added.
    pub fn wish(
        &mut self,
        random: &mut Random,
        place: usize,
        value: u64,
        added: &mut Vec<(usize, u64)>,
        mood: Mood,
    ) -> Wish {
        let key = self.take(place);
        let reads = mood == Mood::Read || (mood == Mood::Mixed && random.per_mille(450));
        let rarely = mood == Mood::Mixed && random.per_mille(200);
        let action = match self.all[key].kind {
            Kind::Register if reads => Action::Register(Register::Get),
            Kind::Register if rarely => Action::Register(match random.below(3) {
                0 => Register::Exchange(value),
                1 => Register::SetIfAbsent(value),
                _ => Register::Delete,
            }),
            Kind::Register => Action::Register(Register::Set(value)),
            Kind::Counter if reads => Action::Counter(Counter::Read),
            Kind::Counter => Action::Counter(Counter::Increment),
            Kind::List if reads => Action::Append(Append::Read),
            Kind::List => Action::Append(Append::Push(value)),
            Kind::Set if reads => Action::Set(Set::Read),
            Kind::Set if rarely && !added.is_empty() => {
                let (key, value) = added.swap_remove(random.below(added.len()));
                return Wish { keys: vec![key], action: Action::Set(Set::Remove(value)) };
            }
            Kind::Set => {
                added.push((key, value));
                Action::Set(Set::Add(value))
            }
            Kind::Bank if reads => Action::Bank(Bank::Read),
            Kind::Bank => {
                let from = random.below(ACCOUNTS);
                let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
                let amount = random.within(1, 100) as i64;
                Action::Bank(Bank::Transfer { id: value, from, to, amount, guard: None })
            }
            Kind::Split => return self.split(random, key, value, reads, rarely),
            Kind::Queue if rarely || mood == Mood::Read => Action::Queue(Queue::Read),
            Kind::Queue if reads && random.per_mille(500) => Action::Queue(Queue::Take),
            Kind::Queue if reads => Action::WaitAndTake { ms: random.within(1, 800) },
            Kind::Queue => Action::Queue(Queue::Push(value)),
            Kind::Fleeting if reads => Action::Fleeting { action: Fleeting::Get, ttl_ms: 0 },
            Kind::Fleeting => {
                let action = Fleeting::Set { value, from: 0, until: NEVER };
                Action::Fleeting { action, ttl_ms: random.within(20, 3_000) }
            }
        };
        Wish { keys: vec![key], action }
    }

    /// Something to do with several keys of several slots, this one among them.
    fn split(&mut self, random: &mut Random, key: usize, value: u64, reads: bool, rarely: bool) -> Wish {
        let places: Vec<usize> = (0..self.places())
            .filter(|place| self.all[self.current[*place].0].kind == Kind::Split && *place != self.all[key].place)
            .collect();
        let mut keys = vec![key];
        for place in places {
            if random.per_mille(400) {
                keys.push(self.take(place));
            }
        }
        let action = match (reads, rarely) {
            (true, _) => Action::GetAll,
            (_, true) => Action::DeleteAll,
            _ => Action::SetAll(value),
        };
        Wish { keys, action }
    }
}

impl Action {
    pub fn is_write(&self) -> bool {
        match self {
            Self::Register(action) => *action != Register::Get,
            Self::Counter(action) => *action != Counter::Read,
            Self::Append(action) => *action != Append::Read,
            Self::Set(action) => *action != Set::Read,
            Self::Queue(action) => *action != Queue::Read,
            Self::Fleeting { action, .. } => *action != Fleeting::Get,
            // A transaction is an entry of the log, whatever it holds.
            Self::Bank(_) | Self::WaitAndTake { .. } | Self::SetAll(_) | Self::DeleteAll => true,
            Self::GetAll => false,
        }
    }

    /// How long it may wait by itself.
    pub fn waits_ms(&self) -> u64 {
        if let Self::WaitAndTake { ms } = self { *ms } else { 0 }
    }

    /// The requests, and how many they are.
    pub fn requests(&self, names: &[&str]) -> (Vec<u8>, usize) {
        let name = names[0];
        let one = |words: &[&str]| (command(words), 1);
        match self {
            Self::Register(Register::Set(value)) => one(&["SET", name, &value.to_string()]),
            Self::Register(Register::Exchange(value)) => one(&["GETSET", name, &value.to_string()]),
            Self::Register(Register::SetIfAbsent(value)) => one(&["SET", name, &value.to_string(), "NX"]),
            Self::Register(Register::Delete) => one(&["DEL", name]),
            Self::Register(Register::Get) | Self::Counter(Counter::Read) => one(&["GET", name]),
            Self::Counter(Counter::Increment) => one(&["INCR", name]),
            Self::Append(Append::Push(value)) | Self::Queue(Queue::Push(value)) => {
                one(&["RPUSH", name, &value.to_string()])
            }
            Self::Append(Append::Read) | Self::Queue(Queue::Read) => one(&["LRANGE", name, "0", "-1"]),
            Self::Set(Set::Add(value)) => one(&["SADD", name, &value.to_string()]),
            Self::Set(Set::Remove(value)) => one(&["SREM", name, &value.to_string()]),
            Self::Set(Set::Read) => one(&["SMEMBERS", name]),
            Self::Bank(action) => transaction(name, action),
            Self::Queue(Queue::Take) => one(&["LPOP", name]),
            Self::WaitAndTake { ms } => one(&["BLPOP", name, &format!("{}.{:03}", ms / 1000, ms % 1000)]),
            Self::Fleeting { action: Fleeting::Get, .. } => one(&["GET", name]),
            Self::Fleeting { action: Fleeting::Set { value, .. }, ttl_ms } => {
                one(&["SET", name, &value.to_string(), "PX", &ttl_ms.to_string()])
            }
            Self::SetAll(value) => {
                let value = value.to_string();
                let pairs = names.iter().flat_map(|name| [*name, value.as_str()]);
                one(&["MSET"].into_iter().chain(pairs).collect::<Vec<_>>())
            }
            Self::DeleteAll => one(&["DEL"].iter().chain(names).copied().collect::<Vec<_>>()),
            Self::GetAll => one(&["MGET"].iter().chain(names).copied().collect::<Vec<_>>()),
        }
    }
}

fn transaction(name: &str, action: &Bank) -> (Vec<u8>, usize) {
    let account = |number: usize| format!("{name}:{number}");
    let log = format!("{name}:log");
    let words: Vec<Vec<String>> = match action {
        Bank::Transfer { id, from, to, amount, .. } => vec![
            vec!["DECRBY".into(), account(*from), amount.to_string()],
            vec!["INCRBY".into(), account(*to), amount.to_string()],
            vec!["RPUSH".into(), log, id.to_string()],
        ],
        Bank::Read => vec![
            ["MGET".to_owned()].into_iter().chain((0..ACCOUNTS).map(account)).collect(),
            vec!["LRANGE".into(), log, "0".into(), "-1".into()],
        ],
    };
    let mut bytes = command(&["MULTI"]);
    for words in &words {
        bytes.extend(command(&words.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    bytes.extend(command(&["EXEC"]));
    (bytes, words.len() + 2)
}

/// A request as a client writes it.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| out += &format!("${}\r\n{word}\r\n", word.len()));
    out.into_bytes()
}

/// Whether an answer says that nobody knows what became of a write.
pub fn says_unknown(answer: &Answer) -> bool {
    matches!(answer, Answer::Error(text) if text.starts_with("TIMEOUT") && text.contains("the outcome of this write"))
}

/// What an answer says of what was done.
pub fn outcome(action: &Action, answer: Answer) -> Outcome {
    let text = match answer {
        // The key comes with what was taken.
        Answer::Value(Reply::List(mut list)) if matches!(action, Action::WaitAndTake { .. }) => {
            return Outcome::Done(list.pop().expect("a key and a value"));
        }
        Answer::Value(reply) => return Outcome::Done(reply),
        Answer::Error(text) => text,
    };
    let (code, rest) = text.split_once(' ').unwrap_or((&text, ""));
    match code {
        // Other parts may have been done.
        _ if rest.starts_with("the part of this request") => Outcome::Unknown,
        "TIMEOUT" if rest.starts_with("the outcome of this write is unknown") => Outcome::Unknown,
        "TIMEOUT" if !action.is_write() => Outcome::NotApplied,
        "UNAVAILABLE" | "OOM" | "EXECABORT" => Outcome::NotApplied,
        _ => panic!("{action:?} is answered by an error: {text}"),
    }
}

/// The words of `CLIENT READS`.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Strong => "strong",
        Level::Session => "session",
        Level::Any => "any",
    }
}
