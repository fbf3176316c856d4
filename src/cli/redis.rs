//! What commands say of a file whose shards are groups of Redis servers: there is no catalog to ask, only the file and the servers.

use std::fmt::Write;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::report::rows_aligned;
use super::{print, print_json};
use crate::control::os_reason;
use crate::protocol::reply_scan::{array_elements, integer, is_error, reply_end};
use crate::protocol::request::write_array;
use crate::proxy::redis::roles::{Choice, Role, Seen, choose, parse_named};
use crate::topology::config::{Login, listed};
use crate::topology::{HostPort, RedisConfig, RedisShard, ShardName, Slot};

/// How long a server may take to say what it is.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// More is no answer to what is asked here.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const PROMISE: &str = "Redis servers replicate asynchronously: a write that was acknowledged can be lost when its leader fails, \
    and a replica may be read that is behind. A write whose connection breaks is answered as of unknown outcome, and \
    never sent again";

/// What a file says: `pontoon check`.
#[derive(Serialize)]
pub struct Valid<'a> {
    valid: bool,
    kind: &'static str,
    file: &'a str,
    version: u64,
    base: Option<u64>,
    remap: bool,
    shards: Vec<Share>,
}

/// A shard and its slots.
#[derive(Serialize)]
struct Share {
    name: ShardName,
    weight: u32,
    servers: Vec<String>,
    first_slot: Option<u16>,
    last_slot: Option<u16>,
}

/// `pontoon status --json`.
#[derive(Serialize)]
struct Status {
    kind: &'static str,
    version: u64,
    promise: &'static str,
    shards: Vec<ShardStatus>,
}

#[derive(Serialize)]
struct ShardStatus {
    #[serde(flatten)]
    share: Share,
    leader: Option<String>,
    problem: Option<String>,
    servers_seen: Vec<ServerStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sentinels: Vec<SentinelStatus>,
}

#[derive(Serialize)]
struct SentinelStatus {
    addr: String,
    names: Option<String>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct ServerStatus {
    addr: String,
    role: Option<&'static str>,
    offset: Option<i64>,
    problem: Option<String>,
    #[serde(skip)]
    seen: Option<Role>,
}

/// `pontoon where --json`.
#[derive(Serialize)]
struct KeyPlace<'a> {
    key: &'a str,
    slot: Slot,
    shard: &'a ShardName,
    leader: Option<String>,
    servers: Vec<String>,
}

/// `pontoon plan --json`.
#[derive(Serialize)]
struct Plan {
    kind: &'static str,
    version: u64,
    refused: Option<String>,
    remapped: Vec<Move>,
}

#[derive(Serialize)]
struct Move {
    from: ShardName,
    to: ShardName,
    slots: u32,
}

/// What a valid file says, for `pontoon check`.
pub fn valid<'a>(file: &'a str, config: &RedisConfig) -> Valid<'a> {
    let (version, base, remap) = (config.version, config.base, config.remap);
    Valid { valid: true, kind: "redis", file, version, base, remap, shards: shares(config) }
}

/// The same for people.
pub fn summary(file: &str, config: &RedisConfig) -> String {
    let shares: Vec<String> = shares(config).iter().map(|share| format!("{} {}", share.name, share.slots())).collect();
    let servers: usize = config.shards.iter().map(|shard| shard.servers.len()).sum();
    let mut text = format!(
        "{file}: valid, version {}: {} shards of {servers} Redis servers; slots: {}",
        config.version,
        config.shards.len(),
        shares.join(", ")
    );
    if config.remap {
        text.push_str("\nremap = true: this edit may give slots to other servers, which do not have their keys");
    }
    text
}

/// `pontoon status`.
pub async fn status(config: &RedisConfig, json: bool) -> anyhow::Result<()> {
    let status = look(config).await;
    if json {
        print_json(&status)?
    } else {
        print(&status.table())?
    }
    if status.shards.iter().all(|shard| shard.servers_seen.iter().all(|server| server.problem.is_some())) {
        bail!("no server answered");
    }
    Ok(())
}

/// `pontoon where`.
pub async fn locate(config: &RedisConfig, key: &str, bytes: &[u8], json: bool) -> anyhow::Result<()> {
    let slot = Slot::of_key(bytes);
    let run = config.slots().into_iter().find(|run| (run.first..=run.last).contains(&slot.number()));
    let shard = &config.shards[run.expect("all slots have an owner").shard];
    let one = RedisConfig { shards: vec![RedisShard { weight: 1, ..shard.clone() }], ..config.clone() };
    let status = look(&one).await;
    let leader = status.shards[0].leader.clone();
    let servers = shard.servers.iter().map(ToString::to_string).collect();
    let place = KeyPlace { key, slot, shard: &shard.name, leader, servers };
    if json {
        return print_json(&place);
    }
    let leader = place.leader.as_deref().unwrap_or("nobody now");
    print(&format!("slot {slot}, shard {}, led by {leader}; servers: {}", shard.name, place.servers.join(", ")))
}

/// `pontoon plan`: what a proxy that follows `current` would make of this file.
pub fn plan(file: &RedisConfig, current: Option<&RedisConfig>, json: bool) -> anyhow::Result<()> {
    let judged = current.map_or(Ok(Vec::new()), |current| file.may_follow(current));
    let refused = judged.as_ref().err().cloned();
    if json {
        let remapped = judged.iter().flatten();
        let remapped = remapped.map(|it| Move { from: it.from.clone(), to: it.to.clone(), slots: it.slots }).collect();
        print_json(&Plan { kind: "redis", version: file.version, refused: refused.clone(), remapped })?;
    }
    if let Some(reason) = refused {
        bail!("version {} would be refused: {reason}", file.version);
    }
    if json {
        return Ok(());
    }
    let shares: Vec<String> = shares(file).iter().map(|share| format!("{} {}", share.name, share.slots())).collect();
    let mut text = format!("version {}: slots {}", file.version, shares.join(", "));
    match (current, judged.unwrap_or_default()) {
        (None, _) => text.push_str("\nnothing to compare it with: name the file that proxies follow now by --config"),
        (Some(_), remapped) if remapped.is_empty() => text.push_str("\nno slot gets other servers"),
        (Some(_), remapped) => {
            let what = listed(&remapped);
            write!(text, "\nre-maps {what}: their keys are not found any more unless somebody moved them")?;
        }
    }
    print(&text)
}

impl Share {
    fn slots(&self) -> String {
        match (self.first_slot, self.last_slot) {
            (Some(first), Some(last)) => format!("{first}-{last}"),
            _ => "none".to_owned(),
        }
    }
}

fn shares(config: &RedisConfig) -> Vec<Share> {
    let runs = config.slots();
    let share = |(at, shard): (usize, &RedisShard)| {
        let run = runs.iter().find(|run| run.shard == at);
        Share {
            name: shard.name.clone(),
            weight: shard.weight,
            servers: shard.servers.iter().map(ToString::to_string).collect(),
            first_slot: run.map(|run| run.first),
            last_slot: run.map(|run| run.last),
        }
    };
    config.shards.iter().enumerate().map(share).collect()
}

impl Status {
    fn table(&self) -> String {
        let mut text = format!("version {}: {} shards of Redis servers\n", self.version, self.shards.len());
        let heading = ["shard", "slots", "server", "role", "offset", "remark"].map(str::to_owned).to_vec();
        let mut rows = vec![heading];
        for shard in &self.shards {
            for server in &shard.servers_seen {
                let leads = shard.leader.as_ref() == Some(&server.addr);
                let role = if leads { "leader" } else { server.role.unwrap_or("?") };
                let remark = match &server.problem {
                    Some(problem) => problem.clone(),
                    None if server.role == Some("leader") && !leads => "claims to lead".to_owned(),
                    None => String::new(),
                };
                let offset = server.offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
                let name = shard.share.name.to_string();
                rows.push(vec![name, shard.share.slots(), server.addr.clone(), role.to_owned(), offset, remark]);
            }
            for sentinel in &shard.sentinels {
                let says = sentinel.names.iter().map(|addr| format!("names {addr}")).chain(sentinel.problem.clone());
                let (name, slots) = (shard.share.name.to_string(), shard.share.slots());
                let role = "sentinel".to_owned();
                rows.push(vec![name, slots, sentinel.addr.clone(), role, String::new(), says.collect()]);
            }
        }
        rows_aligned(&rows).iter().for_each(|row| text.push_str(&format!("{row}\n")));
        for shard in &self.shards {
            if let Some(problem) = &shard.problem {
                text.push_str(&format!("shard {}: {problem}\n", shard.share.name));
            }
        }
        text + PROMISE
    }
}

async fn look(config: &RedisConfig) -> Status {
    let mut shards = Vec::new();
    for (share, shard) in shares(config).into_iter().zip(&config.shards) {
        let asked: Vec<_> = shard.servers.iter().map(|addr| tokio::spawn(ask(shard.clone(), addr.clone()))).collect();
        let mut servers_seen = Vec::new();
        for answer in asked {
            servers_seen.push(answer.await.expect("asking does not panic"));
        }
        let sentinels = ask_sentinels(shard).await;
        let named: Vec<&String> = sentinels.iter().filter_map(|sentinel| sentinel.names.as_ref()).collect();
        let seen = servers_seen.iter().enumerate().map(|(server, it)| {
            let votes = (!named.is_empty()).then(|| named.iter().filter(|addr| **addr == &it.addr).count());
            Seen { server, role: it.seen, silent: false, votes }
        });
        let choice = choose(&seen.collect::<Vec<_>>(), None);
        let leader = if let Choice::Leader(leader) = choice { Some(servers_seen[leader].addr.clone()) } else { None };
        let problem = match choice {
            Choice::Leader(_) => None,
            Choice::None => Some("no server is known to lead: requests wait".to_owned()),
            Choice::Several(_) => Some("several servers claim to lead, and none is used".to_owned()),
        };
        shards.push(ShardStatus { share, leader, problem, servers_seen, sentinels });
    }
    Status { kind: "redis", version: config.version, promise: PROMISE, shards }
}

async fn ask(shard: RedisShard, addr: HostPort) -> ServerStatus {
    let mut status = ServerStatus { addr: addr.to_string(), role: None, offset: None, problem: None, seen: None };
    let mut requests: Vec<Vec<&str>> = Vec::new();
    requests.extend(shard.login.as_ref().map(Login::words));
    requests.push(vec!["ROLE"]);
    match exchange(&addr, &requests).await {
        Err(problem) => status.problem = Some(problem),
        Ok(reply) => match Role::parse(&reply) {
            Some(role) => {
                let is_leader = matches!(role, Role::Leader { .. });
                let following =
                    if role == (Role::Replica { connected: true }) { "replica" } else { "replica, not connected" };
                status.role = Some(if is_leader { "leader" } else { following });
                status.offset = element(&reply, if is_leader { 1 } else { 4 });
                status.seen = Some(role);
            }
            None => status.problem = Some(text_of(&reply)),
        },
    }
    status
}

async fn ask_sentinels(shard: &RedisShard) -> Vec<SentinelStatus> {
    let mut seen = Vec::new();
    let Some(sentinels) = &shard.sentinels else { return seen };
    for addr in &sentinels.addrs {
        let mut requests: Vec<Vec<&str>> = sentinels.login.iter().map(Login::words).collect();
        requests.push(vec!["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &sentinels.master]);
        let (names, problem) = match exchange(addr, &requests).await {
            Err(problem) => (None, Some(problem)),
            Ok(reply) if is_error(&reply) => (None, Some(text_of(&reply))),
            Ok(reply) => match parse_named(&reply) {
                None => (None, Some(format!("it knows no group `{}`", sentinels.master))),
                names => (names, None),
            },
        };
        seen.push(SentinelStatus { addr: addr.to_string(), names, problem });
    }
    seen
}

/// Sends requests, and returns the reply to the last; an error reply to one before it is the reason of failure.
async fn exchange(addr: &HostPort, requests: &[Vec<&str>]) -> Result<Vec<u8>, String> {
    let talk = async {
        let mut stream = TcpStream::connect((addr.host(), addr.port())).await?;
        let mut bytes = Vec::new();
        for words in requests {
            write_array(&mut bytes, words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>().into_iter());
        }
        stream.write_all(&bytes).await?;
        let (mut input, mut missing) = (Vec::new(), requests.len());
        loop {
            match reply_end(&input) {
                Ok(Some(end)) if missing == 1 || input[0] == b'-' => {
                    input.truncate(end);
                    return Ok(input);
                }
                Ok(Some(end)) => {
                    input.drain(..end);
                    missing -= 1;
                }
                Ok(None) if input.len() < ANSWER_BYTES_MAX => {
                    if stream.read_buf(&mut input).await? == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
                _ => return Err(std::io::ErrorKind::InvalidData.into()),
            }
        }
    };
    match timeout(ANSWER_MAX, talk).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(os_reason(&error)),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

fn element(reply: &[u8], at: usize) -> Option<i64> {
    let mut spans = Vec::new();
    array_elements(reply, &mut spans).ok()??;
    let span = spans.get(at)?;
    integer(&reply[span.start as usize..span.end as usize])
}

fn text_of(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned()
}
