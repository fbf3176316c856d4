//! Which server of a group leads: what servers and sentinels say, and what follows from it. Pure.
//!
//! Nobody but the servers decides who leads; this only has to recognise it, and to choose nobody rather than a wrong one.
//! A leader that was recognised stays one until it says otherwise, is unreachable, or is silent while another one
//! claims to lead: so a restarted old leader that knows nothing yet does not take the place of the new one.

use crate::protocol::numbers::parse_i64;
use crate::protocol::reply_scan::{array_elements, integer};
use crate::protocol::request::Span;

/// What a server says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A leader of so many replicas.
    Leader {
        /// Replicas that are connected to it.
        replicas: usize,
    },
    /// A replica.
    Replica {
        /// Whether it follows its leader's changes now.
        connected: bool,
    },
}

impl Role {
    /// Reads the reply to `ROLE`.
    pub fn parse(reply: &[u8]) -> Option<Self> {
        let mut spans = Vec::new();
        array_elements(reply, &mut spans).ok()??;
        let element = |at: usize| spans.get(at).map(|span: &Span| &reply[span.start as usize..span.end as usize]);
        match bulk(element(0)?)? {
            b"master" => {
                let mut replicas = Vec::new();
                integer(element(1)?)?;
                array_elements(element(2)?, &mut replicas).ok()??;
                Some(Self::Leader { replicas: replicas.len() })
            }
            b"slave" | b"replica" => Some(Self::Replica { connected: bulk(element(3)?)? == b"connected" }),
            _ => None,
        }
    }
}

/// Reads a sentinel's answer to which server leads: `host:port`.
pub fn parse_named(reply: &[u8]) -> Option<String> {
    let mut spans = Vec::new();
    array_elements(reply, &mut spans).ok()??;
    let [host, port] = &spans[..] else { return None };
    let text = |span: &Span| bulk(&reply[span.start as usize..span.end as usize]);
    let (host, port) = (std::str::from_utf8(text(host)?).ok()?, std::str::from_utf8(text(port)?).ok()?);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// The bytes of a bulk string that is all of `reply`.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\r', reply)?;
    let length = usize::try_from(parse_i64(reply.get(1..end)?)?).ok()?;
    reply.get(end + 2..)?.get(..length)
}

/// A server as its group's choice sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which server.
    pub server: usize,
    /// What it last said, as far as that still counts.
    pub role: Option<Role>,
    /// Whether it does not answer now, though its connection stands.
    pub silent: bool,
    /// How many sentinels name it; none where there are no sentinels, or none has been heard lately.
    pub votes: Option<usize>,
}

/// What follows from what servers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This server leads.
    Leader(usize),
    /// None is known to.
    None,
    /// Several claim to, and nothing says which of them does.
    Several(Vec<usize>),
}

/// Chooses the leader of a group. `current` is the one that was chosen last.
pub fn choose(servers: &[Seen], current: Option<usize>) -> Choice {
    let claims = |seen: &&Seen| matches!(seen.role, Some(Role::Leader { .. }));
    let claiming: Vec<&Seen> = servers.iter().filter(claims).collect();
    let heard: Vec<&Seen> = claiming.iter().copied().filter(|seen| !seen.silent).collect();
    if let Some(most) = servers.iter().filter_map(|seen| seen.votes).max() {
        let named = claiming.iter().filter(|seen| most > 0 && seen.votes == Some(most));
        let named: Vec<usize> = named.map(|seen| seen.server).collect();
        return match named[..] {
            [] => Choice::None,
            [leader] => Choice::Leader(leader),
            _ => current.filter(|current| named.contains(current)).map_or(Choice::Several(named), Choice::Leader),
        };
    }
    let stays = claiming.iter().find(|seen| Some(seen.server) == current);
    if let Some(stays) = stays
        && (!stays.silent || heard.is_empty())
    {
        return Choice::Leader(stays.server);
    }
    let followers = |seen: &Seen| match seen.role {
        Some(Role::Leader { replicas }) => replicas,
        _ => 0,
    };
    let candidates = if heard.is_empty() { &claiming } else { &heard };
    let most = candidates.iter().map(|seen| followers(seen)).max();
    let most: Vec<usize> =
        candidates.iter().filter(|seen| Some(followers(seen)) == most).map(|seen| seen.server).collect();
    match most[..] {
        [] => Choice::None,
        [leader] => Choice::Leader(leader),
        _ => Choice::Several(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read() {
        let leader = b"*3\r\n$6\r\nmaster\r\n:314\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$3\r\n314\r\n";
        assert_eq!(Role::parse(leader), Some(Role::Leader { replicas: 1 }));
        let replica = |state: &str| {
            let text =
                format!("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n${}\r\n{state}\r\n:314\r\n", state.len());
            Role::parse(text.as_bytes())
        };
        assert_eq!(replica("connected"), Some(Role::Replica { connected: true }));
        assert_eq!(replica("connecting"), Some(Role::Replica { connected: false }));
        for other in ["*2\r\n$8\r\nsentinel\r\n*0\r\n", "-NOAUTH no\r\n", "*0\r\n", "*1\r\n$6\r\nmaster\r\n", "+OK\r\n"]
        {
            assert_eq!(Role::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(parse_named(b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n7000\r\n").as_deref(), Some("127.0.0.1:7000"));
        assert_eq!(parse_named(b"*2\r\n$3\r\n::1\r\n$1\r\n7\r\n").as_deref(), Some("[::1]:7"));
        assert_eq!(parse_named(b"*-1\r\n"), None);
    }

    /// A server per word: `l2` leads two replicas, `r` is a replica, `?` is unknown; behind it `s` for silent, `v1` for votes.
    fn choice(words: &str, current: Option<usize>) -> Choice {
        let seen = words.split(' ').enumerate().map(|(server, word)| {
            let (word, votes) = word.split_once('v').map_or((word, None), |(word, votes)| (word, votes.parse().ok()));
            let silent = word.ends_with('s');
            let word = word.trim_end_matches('s');
            let role = match word.as_bytes()[0] {
                b'l' => Some(Role::Leader { replicas: word[1..].parse().unwrap_or(0) }),
                b'r' => Some(Role::Replica { connected: true }),
                _ => None,
            };
            Seen { server, role, silent, votes }
        });
        choose(&seen.collect::<Vec<_>>(), current)
    }

    #[test]
    fn one_that_leads_is_chosen_and_stays() {
        assert_eq!(choice("r l r", None), Choice::Leader(1));
        assert_eq!(choice("? r", None), Choice::None);
        assert_eq!(choice("l0 l2", None), Choice::Leader(1), "who has replicas");
        assert_eq!(choice("l0 l0 r", None), Choice::Several(vec![0, 1]), "nobody rather than a wrong one");
        assert_eq!(choice("l0 l2", Some(0)), Choice::Leader(0), "it leads still");
        assert_eq!(choice("? l0", Some(0)), Choice::Leader(1), "it is gone");
        assert_eq!(choice("l0s r", Some(0)), Choice::Leader(0), "slow is not gone");
        assert_eq!(choice("l0s l0", Some(0)), Choice::Leader(1), "it does not answer, and another one leads");
    }

    #[test]
    fn sentinels_name_one_that_must_lead_itself() {
        assert_eq!(choice("l0v0 l0v2", Some(0)), Choice::Leader(1));
        assert_eq!(choice("l0v0 rv2", Some(0)), Choice::None, "it does not know yet");
        assert_eq!(choice("l0v0 rv0", Some(0)), Choice::None, "they name somebody else");
        assert_eq!(choice("l0v1 l0v1", Some(0)), Choice::Leader(0));
        assert_eq!(choice("l0v1 l0v1", None), Choice::Several(vec![0, 1]));
    }
}
