//! The groups of servers that are the shards: who is in them, who leads, when they are asked.
//!
//! Each worker asks each server for its `ROLE` on the connection that its requests take, once a second, and ten times as often while
//! nobody leads; sentinels are asked beside. What follows is in `roles`.
//!
//! Invariant: a shard's lanes lead to a leader that was confirmed since the last doubt, and are shut while something that was put
//! on an earlier lane is unanswered: so no request overtakes another one of its client.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::link::{Due, Link, Stage, Use};
use super::pause::Pause;
use super::record::QUEUES;
use super::roles::{Choice, Role, Seen, choose, parse_named};
use super::{Engine, NO_LINK};
use crate::control::routing::NodeIndex;
use crate::net::Moment;
use crate::protocol::request::write_array;
use crate::proxy::engine::{FlightKey, LinkError, Order};
use crate::proxy::metrics::{NodeStats, ReadStats, ShardStats};
use crate::topology::{NodeName, RedisConfig, RedisShard, SLOT_COUNT, ShardName, Slot};

/// Between two questions for the role of a server.
const ASK: Duration = Duration::from_secs(1);
/// The same while the group has no leader.
const ASK_SOON: Duration = Duration::from_millis(100);
/// After a refusal, the leader is not believed before so long.
const DOUBT: Duration = Duration::from_millis(20);
/// How long a replica that refused to answer is not read.
const UNFIT: Duration = Duration::from_secs(1);
/// What a sentinel said counts for so long.
const NAMED_MAX: Duration = Duration::from_secs(5);

/// A group of servers.
#[derive(Debug)]
pub struct Shard {
    /// Its part of the file.
    pub config: RedisShard,
    /// Whether the file has it.
    pub listed: bool,
    /// Its servers, those that only sentinels name included.
    pub servers: Vec<usize>,
    /// Its sentinels.
    pub sentinels: Vec<usize>,
    /// Who leads.
    pub leader: Option<usize>,
    /// Who led last, also while nobody does.
    pub last_leader: Option<usize>,
    /// Where requests for the leader go, by version of the protocol; [`NO_LINK`] while they wait.
    pub lanes: [usize; 2],
    /// Servers whose replicas may be read now.
    pub replicas: Vec<usize>,
    /// Requests that wait for the leader, by [`Record::queue`](super::record::Record::queue).
    pub parked: [Vec<FlightKey>; QUEUES],
    /// What servers said before this does not count.
    pub doubted: Moment,
    /// What was told last of who leads.
    pub told: Choice,
    /// What is counted.
    pub stats: Arc<ShardStats>,
    /// Reads by the server that answered.
    pub reads: Vec<(usize, Arc<ReadStats>)>,
}

/// One server, or one sentinel of one shard.
#[derive(Debug)]
pub struct Server {
    /// `host:port`.
    pub addr: String,
    /// Its shard.
    pub shard: usize,
    /// Whether it is a sentinel.
    pub sentinel: bool,
    /// Whether it is to be used.
    pub listed: bool,
    /// Its connections for all clients, by version of the protocol.
    pub lanes: [usize; 2],
    /// Whether it does not speak RESP3.
    pub resp2_only: bool,
    /// Its connections for single clients that none has now, by version of the protocol.
    pub idle: [Vec<usize>; 2],
    /// What it last said that it is, and when.
    pub role: Option<(Role, Moment)>,
    /// The server that it names, if it is a sentinel, and when it did.
    pub named: Option<(String, Moment)>,
    /// When it is asked again.
    pub ask_at: Moment,
    /// Whether an answer is due for too long.
    pub silent: bool,
    /// When a connection is tried again, and after how long a pause it was.
    pub retry_at: Moment,
    /// The pause before that.
    pub backoff: Duration,
    /// When connections beside the first are tried again, by version of the protocol.
    pub pauses: [Pause; 2],
    /// Not read as a replica before this.
    pub unfit_until: Moment,
    /// Why it cannot be used, as it was told last.
    pub trouble: Option<String>,
    /// What is counted.
    pub stats: Arc<NodeStats>,
}

impl Engine {
    /// Follows a file.
    pub fn follow(&mut self, config: &Arc<RedisConfig>) {
        for shard in &mut self.shards {
            shard.listed = false;
        }
        let places: Vec<usize> = config.shards.iter().map(|shard| self.place_shard(shard)).collect();
        self.owners = vec![super::NO_OWNER; SLOT_COUNT];
        self.order.clear();
        for run in config.slots() {
            self.order.push(places[run.shard]);
            self.owners[usize::from(run.first)..=usize::from(run.last)].fill(places[run.shard] as u16);
        }
        for at in 0..self.shards.len() {
            if !self.shards[at].listed {
                self.shut(at);
                let members =
                    [std::mem::take(&mut self.shards[at].servers), std::mem::take(&mut self.shards[at].sentinels)];
                members.into_iter().flatten().for_each(|server| self.unlist(server));
            }
        }
        self.stats.revision.set(config.version);
        self.review_watches();
        self.reroute_parked();
        self.recheck = true;
        self.resumable.append(&mut self.postponed);
    }

    /// The place of a shard of the file, with its servers as the file has them.
    fn place_shard(&mut self, config: &RedisShard) -> usize {
        let at = match self.shards.iter().position(|shard| shard.config.name == config.name) {
            Some(at) => at,
            None => {
                self.shards.push(self.new_shard(config));
                self.shards.len() - 1
            }
        };
        let before = std::mem::replace(&mut self.shards[at].config, config.clone());
        self.shards[at].listed = true;
        let sentinels_login = |of: &RedisShard| of.sentinels.as_ref().and_then(|sentinels| sentinels.login.clone());
        let other_login = [before.login != config.login, sentinels_login(&before) != sentinels_login(config)];
        let wanted: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
        let watched: Vec<String> =
            config.sentinels.iter().flat_map(|s| s.addrs.iter().map(ToString::to_string)).collect();
        for (sentinel, wanted) in [(false, wanted), (true, watched)] {
            let known = if sentinel { &self.shards[at].sentinels } else { &self.shards[at].servers };
            let logs_in_otherwise = other_login[usize::from(sentinel)];
            let (stay, go): (Vec<usize>, Vec<usize>) =
                known.iter().partition(|server| wanted.contains(&self.servers[**server].addr) && !logs_in_otherwise);
            go.into_iter().for_each(|server| self.unlist(server));
            let mut members = Vec::new();
            for addr in wanted {
                let known = stay.iter().copied().find(|server| self.servers[*server].addr == addr);
                members.push(known.unwrap_or_else(|| self.list(at, addr, sentinel)));
            }
            if sentinel { self.shards[at].sentinels = members } else { self.shards[at].servers = members }
        }
        at
    }

    fn new_shard(&self, config: &RedisShard) -> Shard {
        Shard {
            config: config.clone(),
            listed: true,
            servers: Vec::new(),
            sentinels: Vec::new(),
            leader: None,
            last_leader: None,
            lanes: [NO_LINK; 2],
            replicas: Vec::new(),
            parked: Default::default(),
            doubted: Moment::default(),
            told: Choice::None,
            stats: self.stats.add_shard(config.name.clone()),
            reads: Vec::new(),
        }
    }

    /// A server that is to be used from now on.
    fn list(&mut self, shard: usize, addr: String, sentinel: bool) -> usize {
        let stats = match self.servers.iter().find(|server| server.addr == addr) {
            Some(server) => server.stats.clone(),
            None => self.stats.add_node(NodeName::new(&addr)),
        };
        let server = Server {
            addr,
            shard,
            sentinel,
            listed: true,
            lanes: [NO_LINK; 2],
            resp2_only: false,
            idle: Default::default(),
            role: None,
            named: None,
            ask_at: self.now,
            silent: false,
            retry_at: self.now,
            backoff: Duration::ZERO,
            pauses: Default::default(),
            unfit_until: Moment::default(),
            trouble: None,
            stats,
        };
        let free = self.servers.iter().position(|s| !s.listed && s.lanes == [NO_LINK; 2] && !self.has_links(s));
        match free.filter(|free| self.links.iter().all(|(_, link)| link.server != *free)) {
            Some(free) => {
                self.servers[free] = server;
                free
            }
            None => {
                self.servers.push(server);
                self.servers.len() - 1
            }
        }
    }

    fn has_links(&self, server: &Server) -> bool {
        !server.idle[0].is_empty() || !server.idle[1].is_empty()
    }

    /// A server that is not to be used any more: what it has is answered, then its connections are closed.
    fn unlist(&mut self, server: usize) {
        self.servers[server].listed = false;
        self.servers[server].role = None;
        self.servers[server].stats.up.set(0);
        let links: Vec<usize> =
            self.links.iter().filter(|(_, link)| link.server == server).map(|(key, _)| key).collect();
        for key in links {
            self.links[key].leaving = true;
            let client_has_it = matches!(self.links[key].usage, Use::Own(Some(_)));
            if self.links[key].due.iter().all(|e| !matches!(e.due, Due::Request(..))) && !client_has_it {
                self.give_up_link(key, &LinkError::Moved);
            }
        }
        self.recheck = true;
    }

    /// What is due for servers at this moment.
    pub(super) fn tick_servers(&mut self) {
        for server in 0..self.servers.len() {
            if self.servers[server].listed {
                self.tick_server(server);
                self.probe_second(server);
            }
        }
        self.give_up_stuck();
    }

    fn tick_server(&mut self, at: usize) {
        let lane = self.servers[at].lanes[0];
        if lane == NO_LINK {
            if self.now >= self.servers[at].retry_at {
                self.open_lane(at, false);
            }
            return;
        }
        let link = &self.links[lane];
        if link.stage != Stage::Open {
            return;
        }
        let asked = link.due.iter().find_map(|e| if let Due::Role(asked) = e.due { Some(asked) } else { None });
        match asked {
            None if self.now >= self.servers[at].ask_at => self.ask(at, lane),
            Some(asked) if self.now.since(asked) >= self.settings.health.silence_max && !self.servers[at].silent => {
                self.servers[at].silent = true;
                self.seek(self.servers[at].shard);
                self.recheck = true;
            }
            _ => {}
        }
    }

    /// Opens a connection for the requests of all clients.
    pub(super) fn open_lane(&mut self, server: usize, resp3: bool) {
        let usage = if self.servers[server].sentinel { Use::Sentinel } else { Use::Shared };
        let key = self.open_link(server, usage, resp3);
        self.servers[server].lanes[usize::from(resp3)] = key;
    }

    /// Begins a connection.
    pub(super) fn open_link(&mut self, server: usize, usage: Use, resp3: bool) -> usize {
        let key = self.links.insert(Link::new(server, usage, resp3, self.now));
        self.orders.push(Order::Connect(NodeIndex(key as u32), self.servers[server].addr.clone()));
        key
    }

    /// A connection was made: says who we are, and asks who answers.
    pub fn node_connected(&mut self, node: NodeIndex) {
        let Some(link) = self.links.get_mut(node.at()) else { return };
        if link.stage != Stage::Opening {
            return;
        }
        link.stage = Stage::Greeting;
        link.heard = self.now;
        let server = &self.servers[link.server];
        let config = &self.shards[server.shard].config;
        let sentinels = config.sentinels.as_ref().and_then(|sentinels| sentinels.login.as_ref());
        if let Some(login) = if server.sentinel { sentinels } else { config.login.as_ref() } {
            put_words(link, &login.words(), Due::Auth);
        }
        if link.resp3 {
            put_words(link, &["HELLO", "3"], Due::Hello);
        }
        match link.usage {
            Use::Own(_) => {
                put_words(link, &["CLIENT", "ID"], Due::Id);
                self.mark_link(node.at());
            }
            Use::Shared | Use::Sentinel => self.ask(self.links[node.at()].server, node.at()),
        }
    }

    /// Asks a server what it is.
    fn ask(&mut self, server: usize, link: usize) {
        let now = self.now;
        match self.shards[self.servers[server].shard]
            .config
            .sentinels
            .as_ref()
            .filter(|_| self.servers[server].sentinel)
        {
            Some(sentinels) => {
                let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &sentinels.master];
                put_words(&mut self.links[link], &words, Due::Role(now));
            }
            None => put_words(&mut self.links[link], &["ROLE"], Due::Role(now)),
        }
        self.mark_link(link);
    }

    /// A server said what it is, or a sentinel who leads.
    pub(super) fn take_role(&mut self, key: usize, asked: Moment, reply: &[u8]) -> Result<(), LinkError> {
        let at = self.links[key].server;
        let shard = self.servers[at].shard;
        let code = reply.split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
        if matches!(code, b"-NOAUTH" | b"-NOPERM" | b"-WRONGPASS") {
            return Err(LinkError::Goodbye(first_line(reply)));
        }
        let pause = if self.shards[shard].leader.is_none() { ASK_SOON } else { ASK };
        let server = &mut self.servers[at];
        server.stats.round_trip_us.set(self.now.since(asked).as_micros() as u64);
        server.stats.up.set(1);
        server.silent = false;
        server.ask_at = self.now + pause;
        (server.backoff, server.trouble) = (Duration::ZERO, None);
        if server.sentinel {
            server.named = parse_named(reply).map(|named| (named, self.now));
            self.learn_named(at);
            self.recheck = true;
            return Ok(());
        }
        let alone = self.shards[shard].servers.len() == 1;
        let role = match Role::parse(reply) {
            // Something that stands before a server, and does not know the question.
            None if alone && reply.starts_with(b"-ERR") => Some(Role::Leader { replicas: 0 }),
            role => role,
        };
        let before = self.servers[at].role.map(|(role, _)| role);
        self.servers[at].role = role.map(|role| (role, self.now));
        self.recheck |= before != role || self.shards[shard].leader.is_none();
        Ok(())
    }

    /// A server that sentinels name is one of the group, whether the file has it or not.
    fn learn_named(&mut self, sentinel: usize) {
        let Some((addr, _)) = self.servers[sentinel].named.clone() else { return };
        let shard = self.servers[sentinel].shard;
        if !self.shards[shard].servers.iter().any(|server| self.servers[*server].addr == addr) {
            info!(shard = %self.shards[shard].config.name, server = addr, "a sentinel names a server that the file does not have");
            let server = self.list(shard, addr, false);
            self.shards[shard].servers.push(server);
        }
    }

    /// Asks all servers of a group at once, and often from now on.
    pub(super) fn seek(&mut self, shard: usize) {
        let members = self.shards[shard].servers.iter().chain(&self.shards[shard].sentinels);
        for server in members.copied().collect::<Vec<_>>() {
            let server = &mut self.servers[server];
            server.ask_at = server.ask_at.min(self.now + DOUBT);
            server.retry_at = server.retry_at.min(self.now + ASK_SOON);
        }
    }

    /// What the leader of a shard was known to be does not count any more.
    pub(super) fn doubt(&mut self, shard: usize) {
        if self.shards[shard].lanes != [NO_LINK; 2] || self.shards[shard].leader.is_some() {
            self.shards[shard].doubted = self.now;
            if let Some(leader) = self.shards[shard].leader {
                self.servers[leader].role = None;
            }
            self.seek(shard);
        }
        self.shut(shard);
        self.recheck = true;
    }

    /// Nothing more is put on the lanes of a shard before all that is on them is answered.
    fn shut(&mut self, shard: usize) {
        self.shards[shard].leader = None;
        for lane in std::mem::replace(&mut self.shards[shard].lanes, [NO_LINK; 2]) {
            if let Some(link) = self.links.get_mut(lane).filter(|link| !link.due.is_empty()) {
                link.draining = true;
            }
        }
    }

    /// Draws what follows from what is known of a group by now.
    pub(super) fn review(&mut self, at: usize) {
        if !self.shards[at].listed {
            return;
        }
        let choice = choose(&self.seen(at), self.shards[at].leader);
        self.tell(at, &choice);
        let leader = if let Choice::Leader(leader) = choice { Some(leader) } else { None };
        let before = self.shards[at].leader;
        if before != leader {
            self.shut(at);
            if leader.is_none() {
                self.seek(at);
            }
            self.close_own_links(before);
            self.shards[at].leader = leader;
        }
        // One that was only doubted keeps the clients that wait there, until another leads.
        if let Some(leader) = leader
            && let Some(last) = self.shards[at].last_leader.replace(leader).filter(|last| *last != leader)
        {
            self.close_own_links(Some(last));
        }
        self.shards[at].replicas = self.readable(at);
        let Some(leader) = leader else { return };
        self.close_silent(at);
        if self.is_draining(at) {
            return;
        }
        for resp3 in [false, true] {
            self.shards[at].lanes[usize::from(resp3)] = self.lane_of(leader, resp3).unwrap_or(NO_LINK);
        }
        self.release_parked(at);
    }

    /// A server that does not answer and leads no more may never do so: what it has does not wait for it.
    fn close_silent(&mut self, shard: usize) {
        let is_hung = |link: &Link| {
            let server = &self.servers[link.server];
            link.draining && server.silent && server.shard == shard
        };
        let hung: Vec<usize> = self.links.iter().filter(|(_, link)| is_hung(link)).map(|(key, _)| key).collect();
        hung.into_iter().for_each(|key| self.give_up_link(key, &LinkError::Silent));
    }

    /// The connection to a server for this version of the protocol, if requests may be put on it.
    pub(super) fn lane_of(&self, server: usize, resp3: bool) -> Option<usize> {
        let server = &self.servers[server];
        let lane = server.lanes[usize::from(resp3 && !server.resp2_only)];
        (self.links.get(lane)?.is_usable() && server.listed).then_some(lane)
    }

    fn seen(&self, at: usize) -> Vec<Seen> {
        let shard = &self.shards[at];
        let heard = shard.sentinels.iter().filter_map(|sentinel| self.servers[*sentinel].named.as_ref());
        let named: Vec<&str> =
            heard.filter(|(_, when)| self.now.since(*when) < NAMED_MAX).map(|(addr, _)| addr.as_str()).collect();
        let seen = shard.servers.iter().map(|&server| {
            let it = &self.servers[server];
            let reachable = self.links.get(it.lanes[0]).is_some_and(|link| link.stage == Stage::Open);
            let role = it.role.filter(|(_, when)| reachable && *when > shard.doubted).map(|(role, _)| role);
            let votes = (!named.is_empty()).then(|| named.iter().filter(|addr| **addr == it.addr).count());
            Seen { server, role, silent: it.silent, votes }
        });
        seen.collect()
    }

    fn readable(&self, at: usize) -> Vec<usize> {
        let fit = |server: &&usize| {
            let it = &self.servers[**server];
            let follows = matches!(it.role, Some((Role::Replica { connected: true }, _)));
            follows && !it.silent && self.now >= it.unfit_until && self.lane_of(**server, false).is_some()
        };
        self.shards[at].servers.iter().filter(fit).copied().collect()
    }

    /// A replica did not answer a read.
    pub(super) fn mark_unfit(&mut self, server: usize) {
        self.servers[server].unfit_until = self.now + UNFIT;
        self.recheck = true;
    }

    fn is_draining(&self, shard: usize) -> bool {
        self.links.iter().any(|(_, link)| link.draining && self.servers[link.server].shard == shard)
    }

    fn tell(&mut self, at: usize, choice: &Choice) {
        if self.shards[at].told == *choice {
            return;
        }
        let shard = &self.shards[at].config.name;
        match choice {
            Choice::Leader(leader) => {
                info!(%shard, server = self.servers[*leader].addr, "leads");
                self.stats.leader_changes.add(1);
            }
            Choice::None => info!(%shard, "no server is known to lead: requests wait"),
            Choice::Several(servers) => {
                let names: Vec<&str> = servers.iter().map(|server| self.servers[*server].addr.as_str()).collect();
                warn!(%shard, servers = names.join(", "), "several servers claim to lead, and none is used: make replicas of the others");
            }
        }
        self.shards[at].told = choice.clone();
    }

    /// Whether every shard has a leader that can be reached.
    pub fn is_ready(&self) -> bool {
        !self.order.is_empty() && self.order.iter().all(|at| self.shards[*at].lanes[0] != NO_LINK)
    }

    /// A connection broke or could not be made.
    pub fn node_lost(&mut self, node: NodeIndex, reason: &LinkError) {
        if self.links.get(node.at()).is_some_and(|link| link.stage != Stage::Closed) {
            self.lose_link(node.at(), reason);
            self.links.remove(node.at());
        }
    }

    /// Closes a connection.
    pub(super) fn give_up_link(&mut self, key: usize, reason: &LinkError) {
        if self.links.get(key).is_some_and(|link| link.stage != Stage::Closed) {
            self.orders.push(Order::Disconnect(NodeIndex(key as u32)));
            self.lose_link(key, reason);
            // Its place is free when the order is carried out.
            self.closed.push(key);
        }
    }

    fn lose_link(&mut self, key: usize, reason: &LinkError) {
        let link = &mut self.links[key];
        let (at, was) = (link.server, link.stage);
        link.stage = Stage::Closed;
        link.draining = false;
        let left = link.leaving;
        let server = &mut self.servers[at];
        let shard = &mut self.shards[server.shard];
        // The one on which the server is asked for its role: it speaks for the server. The other is opened when it is needed.
        let (is_first, other) = (server.lanes[0] == key, server.lanes[1]);
        shard.lanes.iter_mut().filter(|lane| **lane == key).for_each(|lane| *lane = NO_LINK);
        server.lanes.iter_mut().filter(|lane| **lane == key).for_each(|lane| *lane = NO_LINK);
        server.idle.iter_mut().for_each(|idle| idle.retain(|other| *other != key));
        if !left && !is_first {
            let resp3 = self.links[key].resp3;
            self.pause_after(at, resp3, was, reason);
        }
        let server = &mut self.servers[at];
        if !left && is_first {
            server.resp2_only = false;
            server.stats.failures.add(1);
            server.stats.up.set(0);
            server.silent = false;
            let times = &self.settings.health;
            server.backoff = if was == Stage::Open {
                Duration::ZERO
            } else {
                (server.backoff * 2).clamp(times.backoff_min, times.backoff_max)
            };
            let jitter = server.backoff.mul_f64((self.coin.toss() % 256) as f64 / 512.0);
            server.retry_at = self.now + server.backoff - jitter;
            let told = reason.to_string();
            if server.trouble.as_ref() != Some(&told) {
                warn!(shard = %self.shards[server.shard].config.name, server = server.addr, "connection lost: {told}");
                server.trouble = Some(told);
            }
            let shard = server.shard;
            if self.shards[shard].leader == Some(at) {
                self.doubt(shard);
            }
        }
        self.recheck = true;
        self.settle_lost(key);
        if is_first && other != NO_LINK {
            self.give_up_link(other, reason);
        }
    }

    /// The shard of this slot.
    #[inline]
    pub(super) fn owner(&self, slot: Slot) -> Option<usize> {
        match self.owners[slot.index()] {
            super::NO_OWNER => None,
            shard => Some(usize::from(shard)),
        }
    }

    /// The name of a shard.
    pub(super) fn shard_name(&self, shard: usize) -> &ShardName {
        &self.shards[shard].config.name
    }

    /// Counts a read for the server that answered it.
    pub(super) fn count_read(&mut self, shard: usize, server: usize) {
        if let Some((_, stats)) = self.shards[shard].reads.iter().find(|(known, _)| *known == server) {
            return stats.reads.add(1);
        }
        let name = NodeName::new(&self.servers[server].addr);
        let stats = self.stats.add_reads(self.shards[shard].config.name.clone(), name);
        stats.reads.add(1);
        self.shards[shard].reads.push((server, stats));
    }

    /// Requests that wait for a shard go where the file wants them now.
    fn reroute_parked(&mut self) {
        for at in 0..self.shards.len() {
            let all = std::mem::take(&mut self.shards[at].parked);
            let (stay, go): (Vec<_>, Vec<_>) = all.into_iter().flatten().partition(|key| {
                let slot = self.records[*key].slot;
                self.shards[at].listed && slot.is_none_or(|slot| self.owner(slot) == Some(at))
            });
            for key in stay {
                self.shards[at].parked[self.records[key].queue()].push(key);
            }
            for key in go {
                let record = &mut self.records[key];
                let slot = record.slot;
                let owner = slot.and_then(|slot| self.owners.get(slot.index()).map(|owner| usize::from(*owner)));
                let owner = owner.filter(|owner| *owner != usize::from(super::NO_OWNER));
                record.shard = owner.or_else(|| self.order.first().copied()).unwrap_or(at);
                self.shards[record.shard].parked[record.queue()].push(key);
            }
        }
    }
}

fn put_words(link: &mut Link, words: &[&str], due: Due) {
    let mut request = Vec::new();
    write_array(&mut request, words.iter().map(|word| word.as_bytes()));
    link.put(&request, due, 1);
}

/// The text of an error reply.
pub fn first_line(reply: &[u8]) -> String {
    let line = reply.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    String::from_utf8_lossy(line.strip_prefix(b"-").unwrap_or(line)).into_owned()
}
