//! What counts as the same reply. Everything that is not bytes against bytes is named here.

use std::collections::BTreeSet;

use pontoon::protocol::numbers::{format_double, parse_double};
use pontoon::protocol::reply_scan::{array_elements, integer, is_error, is_null};

use super::generate::is_set;
use super::redis_server::Connection;

/// How far two clocks and the time between two commands may part.
const SECONDS_TOLERANCE: i64 = 60;

/// The last line of any HELP in Redis 7.0 and 7.2.
const HELP_7_0: &[u8] = b"+    Prints this help.\r\n";
const HELP_7_2: &[u8] = b"+    Print this help.\r\n";

/// How two replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Byte for byte.
    Exact,
    /// Arrays in whatever order.
    Unordered,
    /// SCAN that covers everything at once: the cursor, and keys in whatever order.
    Scan,
    /// The same of members with their scores.
    ScoreScan,
    /// Any key, or none on both sides.
    AnyKey,
    /// Maps, or the same as arrays, in whatever order.
    Pairs,
    /// Arrays in whatever order, whose elements may come more than once.
    Multiset,
    /// HSCAN that covers everything at once.
    PairScan,
    /// As many fields or members, whichever they are.
    Fields,
    /// As many, whichever they are.
    Drawn,
    /// The rank of a member with its score, which Redis 7.0 cannot tell.
    RankWithScore,
    /// Integers that may differ by so much.
    Near(i64),
    /// Arrays of such integers.
    NearEach(i64),
    /// What a key costs in memory is each one's own, and Redis shows it of expired keys too.
    Memory,
    /// Lists are never listpacks in Redis 7.0, and sets neither.
    Encoding,
    /// A copied number is one of its own in Redis; we say of every small number that it is shared.
    References,
}

fn rule(command: &[Vec<u8>]) -> Rule {
    let word = |at: usize| command.get(at).map(|arg| arg.to_ascii_uppercase()).unwrap_or_default();
    match (word(0).as_slice(), word(1).as_slice()) {
        (b"KEYS", _) => Rule::Unordered,
        (b"SCAN", _) => Rule::Scan,
        (b"SMEMBERS" | b"SINTER" | b"SUNION" | b"SDIFF", _) => Rule::Unordered,
        (b"SSCAN", _) => Rule::Scan,
        (b"SPOP" | b"SRANDMEMBER", _) => Rule::Drawn,
        (b"SORT" | b"SORT_RO", _) => sort_rule(command),
        (b"ZSCAN", _) => Rule::ScoreScan,
        (b"ZRANK" | b"ZREVRANK", _) if command.len() > 3 => Rule::RankWithScore,
        (b"RANDOMKEY", _) => Rule::AnyKey,
        (b"HGETALL", _) => Rule::Pairs,
        (b"HKEYS" | b"HVALS", _) => Rule::Multiset,
        (b"HSCAN", _) => Rule::PairScan,
        (b"HRANDFIELD" | b"ZRANDMEMBER", _) => Rule::Fields,
        (b"HTTL" | b"HEXPIRETIME", _) => Rule::NearEach(SECONDS_TOLERANCE),
        (b"HPTTL" | b"HPEXPIRETIME", _) => Rule::NearEach(SECONDS_TOLERANCE * 1000),
        (b"TTL" | b"EXPIRETIME", _) | (b"OBJECT", b"IDLETIME") => Rule::Near(SECONDS_TOLERANCE),
        (b"PTTL" | b"PEXPIRETIME", _) => Rule::Near(SECONDS_TOLERANCE * 1000),
        (b"OBJECT", b"ENCODING") => Rule::Encoding,
        (b"OBJECT", b"REFCOUNT") => Rule::References,
        (b"MEMORY", _) => Rule::Memory,
        _ => Rule::Exact,
    }
}

/// Redis leaves open in which order equals come, and sets that are not sorted.
fn sort_rule(command: &[Vec<u8>]) -> Rule {
    let has = |word: &str| command.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let constant = |pair: &[Vec<u8>]| pair[0].eq_ignore_ascii_case(b"by") && !pair[1].contains(&b'*');
    let unsorted = command.windows(2).any(constant) && is_set(&command[1]);
    match has("by") && has("alpha") || unsorted {
        true if has("limit") => Rule::Drawn,
        true => Rule::Unordered,
        false => Rule::Exact,
    }
}

/// LPOS with a RANK whose opposite is no number; Redis 7.0 goes on with it.
const RANK_REFUSED_SINCE_7_2: &[u8] = b"-ERR value is out of range, value must between -9223372036854775807";

/// What SORT may say of numbers in Redis when a system call before it failed with EINVAL or ERANGE: it never resets
/// `errno`. That what is no number is refused is held by unit tests.
const STALE_ERRNO: &[u8] = b"-ERR One or more scores can't be converted into double\r\n";

fn sorts(command: &[Vec<u8>]) -> bool {
    [&b"sort"[..], b"sort_ro"].iter().any(|name| command[0].eq_ignore_ascii_case(name))
}

fn is_stale_errno(command: &[Vec<u8>], ours: &[u8], theirs: &[u8]) -> bool {
    sorts(command) && theirs == STALE_ERRNO && !is_error(ours)
}

/// Whether replies that are allowed to differ leave different data: what a SORT that was refused so should have stored.
pub fn leaves_other_data(command: &[Vec<u8>], ours: &[u8], theirs: &[u8]) -> bool {
    is_stale_errno(command, ours, theirs) && command.iter().any(|arg| arg.eq_ignore_ascii_case(b"store"))
}

/// Whether a SORT replies with the texts that it compared, by `strcoll`.
fn shows_what_it_sorts(command: &[Vec<u8>]) -> bool {
    let has = |word: &str| command.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    has("alpha") && !has("by") && !has("get") && !has("store")
}

/// The elements of an array as `strcoll` sees them: a text ends at its first zero byte, so what differs only behind it has no order.
fn texts(reply: &[u8]) -> Vec<Vec<u8>> {
    let text = |element: Vec<u8>| {
        let begin = element.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let text = element[begin..].strip_suffix(b"\r\n").unwrap_or_default();
        text.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
    };
    elements(reply).into_iter().map(text).collect()
}

/// How replies of ours are compared with those of one server.
pub struct Comparison {
    /// Redis 7.0, which Debian has; ours are the replies of 7.2.
    is_7_0: bool,
}

impl Comparison {
    /// For the server of this connection.
    pub fn with(connection: &mut Connection) -> Self {
        let replies = connection.exchange(&[vec![b"INFO".to_vec(), b"server".to_vec()]]);
        Self { is_7_0: replies[0].windows(17).any(|line| line == b"redis_version:7.0") }
    }

    pub fn same(&self, command: &[Vec<u8>], ours: &[u8], theirs: &[u8]) -> bool {
        if ours == theirs {
            return true;
        }
        if self.is_7_0 && ours.starts_with(RANK_REFUSED_SINCE_7_2) && command[0].eq_ignore_ascii_case(b"lpos") {
            return true;
        }
        if command[0].eq_ignore_ascii_case(b"object") && theirs.ends_with(HELP_7_0) {
            return ours.ends_with(HELP_7_2)
                && ours[..ours.len() - HELP_7_2.len()] == theirs[..theirs.len() - HELP_7_0.len()];
        }
        if self.is_7_0 && rule(command) == Rule::RankWithScore {
            return true;
        }
        if is_stale_errno(command, ours, theirs) {
            return true;
        }
        if is_error(ours) || is_error(theirs) {
            return false;
        }
        let same_texts = || sorted(ours) == sorted(theirs) && texts(ours) == texts(theirs);
        if sorts(command) && shows_what_it_sorts(command) && same_texts() {
            return true;
        }
        match rule(command) {
            Rule::Exact => self.has_long_scores(command) && shortest_scores(ours) == shortest_scores(theirs),
            Rule::Unordered => ours[0] == theirs[0] && sorted(ours) == sorted(theirs),
            Rule::Scan => match (elements(ours).as_slice(), elements(theirs).as_slice()) {
                ([cursor, keys], [their_cursor, their_keys]) => {
                    cursor == their_cursor && sorted(keys) == sorted(their_keys)
                }
                _ => false,
            },
            Rule::Drawn => {
                is_null(ours) == is_null(theirs)
                    && ours[0] == theirs[0]
                    && elements(ours).len() == elements(theirs).len()
            }
            Rule::ScoreScan => match (elements(ours).as_slice(), elements(theirs).as_slice()) {
                ([cursor, members], [their_cursor, their_members]) => {
                    let short = |reply: &Vec<u8>| {
                        if self.has_long_scores(command) { shortest_scores(reply) } else { reply.clone() }
                    };
                    let pairs = |reply: &[u8]| -> BTreeSet<Vec<Vec<u8>>> {
                        elements(reply).chunks(2).map(|pair| pair.iter().map(short).collect()).collect()
                    };
                    cursor == their_cursor && pairs(members) == pairs(their_members)
                }
                _ => false,
            },
            Rule::RankWithScore => false,
            Rule::AnyKey => is_null(ours) == is_null(theirs),
            Rule::Pairs => ours[0] == theirs[0] && sorted_pairs(ours) == sorted_pairs(theirs),
            Rule::Multiset => {
                let (mut ours, mut theirs) = (elements(ours), elements(theirs));
                ours.sort();
                theirs.sort();
                ours == theirs
            }
            Rule::PairScan => match (elements(ours).as_slice(), elements(theirs).as_slice()) {
                ([cursor, names], [their_cursor, their_names]) if asks_for_names(command) => {
                    cursor == their_cursor && sorted(names) == sorted(their_names)
                }
                ([cursor, pairs], [their_cursor, their_pairs]) => {
                    cursor == their_cursor && sorted_pairs(pairs) == sorted_pairs(their_pairs)
                }
                _ => false,
            },
            Rule::Fields => ours[0] == theirs[0] && elements(ours).len() == elements(theirs).len(),
            Rule::Near(tolerance) => near(ours, theirs, tolerance),
            Rule::NearEach(tolerance) => {
                let (ours, theirs) = (elements(ours), elements(theirs));
                let mut each = ours.iter().zip(&theirs);
                ours.len() == theirs.len() && each.all(|(ours, theirs)| ours == theirs || near(ours, theirs, tolerance))
            }
            Rule::Encoding => self.is_7_0 && ours == b"$8\r\nlistpack\r\n",
            Rule::References => ours == b":2147483647\r\n" && theirs == b":1\r\n",
            Rule::Memory => (integer(ours).is_some() || is_null(ours)) && integer(theirs).is_some(),
        }
    }

    /// Whether the reply may have scores in it, and the server tells them with more digits than they need.
    fn has_long_scores(&self, command: &[Vec<u8>]) -> bool {
        self.is_7_0 && command[0].first().is_some_and(|first| first.eq_ignore_ascii_case(&b'z'))
    }
}

/// A reply in which everything that reads as a score is as short as it can be, and zero has no sign.
fn shortest_scores(reply: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in reply.split_inclusive(|byte| *byte == b'\n') {
        let (kind, text) = if line.starts_with(b",") { line.split_at(1) } else { line.split_at(0) };
        match text.strip_suffix(b"\r\n").and_then(parse_double) {
            Some(score) => {
                out.extend_from_slice(kind);
                // Where a store lets a sorted set grow past a listpack, 7.0 and 7.2 differ in whose zero keeps its sign.
                format_double(score + 0.0, &mut out);
                out.extend_from_slice(b"\r\n");
            }
            // The length of a score says nothing then.
            None if line.starts_with(b"$") => out.extend_from_slice(b"$\r\n"),
            None => out.extend_from_slice(line),
        }
    }
    out
}

fn near(ours: &[u8], theirs: &[u8], tolerance: i64) -> bool {
    match (integer(ours), integer(theirs)) {
        // Below zero are answers, not times.
        (Some(ours), Some(theirs)) => ours >= 0 && theirs >= 0 && (ours - theirs).abs() <= tolerance,
        _ => false,
    }
}

fn asks_for_names(command: &[Vec<u8>]) -> bool {
    command.iter().any(|word| word.eq_ignore_ascii_case(b"novalues"))
}

/// The pairs of a map, or of an array that stands for one.
fn sorted_pairs(reply: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut elements = match reply.split_first() {
        Some((b'%', rest)) => {
            let end = rest.iter().position(|&byte| byte == b'\r').unwrap_or(0);
            let count: usize = String::from_utf8_lossy(&rest[..end]).parse().expect("the head of a map");
            elements(&[format!("*{}", count * 2).as_bytes(), &rest[end..]].concat()).into_iter()
        }
        _ => elements(reply).into_iter(),
    };
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (elements.next(), elements.next()) {
        pairs.push((name, value));
    }
    pairs.sort();
    pairs
}

fn elements(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut spans = Vec::new();
    match array_elements(reply, &mut spans) {
        Ok(Some(_)) => spans.iter().map(|span| reply[span.start as usize..span.end as usize].to_vec()).collect(),
        _ => Vec::new(),
    }
}

/// The elements of an array in one order.
fn sorted(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut elements = elements(reply);
    elements.sort();
    elements
}
