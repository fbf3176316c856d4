//! The engine among servers that do as the story says: no socket, no clock, every byte through the real buffers.

mod breaks;
mod edits;
mod lanes;
mod leaders;
mod learned;
mod own;
mod stories;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::control::health::HealthTimes;
use crate::control::routing::NodeIndex;
use crate::frontend::{Desk, Facts, Session};
use crate::net::{Clock, Moment};
use crate::protocol::frame::ReadLevel;
use crate::protocol::request::{Limits, Span, parse_first, write_array};
use crate::proxy::engine::{LinkError, Order, Settings, Shared};
use crate::proxy::limits::WorkerLimits;
use crate::proxy::metrics::WorkerStats;
use crate::proxy::outbox::{Outbox, SLICES_MAX};
use crate::proxy::process::Process;
use crate::topology::{LogTime, RedisConfig, SessionId, ShardsFile, Slot};

/// Two groups of two servers; the first of each leads.
const FILE: &str = "version = 1
[[shard]]
name = 'a'
kind = 'redis'
servers = ['h:1', 'h:2']
[[shard]]
name = 'b'
kind = 'redis'
servers = ['h:3', 'h:4']
";

/// A server of a few commands.
#[derive(Debug, Default)]
struct Server {
    dead: bool,
    /// It takes what comes and does nothing.
    frozen: bool,
    replica: bool,
    loading: bool,
    cluster: bool,
    /// What it says to `HELLO`, or closes the connection if that is empty.
    refuses_hello: Option<&'static str>,
    /// What it says to all that comes first on a connection that is opened from now on.
    refuses_connections: Option<&'static str>,
    /// How many connections were opened to it.
    connects: usize,
    replicas: usize,
    values: BTreeMap<String, String>,
    /// What it carried out.
    done: Vec<String>,
    next_id: i64,
    /// What connections were unblocked, by their ids.
    unblocked: Vec<i64>,
    /// What it says of commands: name, flags, range of keys.
    describes: Vec<(&'static str, &'static str, [i64; 3])>,
    /// How often it was asked.
    described: usize,
}

#[derive(Debug, Default)]
struct Socket {
    addr: String,
    id: i64,
    resp3: bool,
    /// Nothing that is sent on it arrives any more.
    cut: bool,
    refused: Option<&'static str>,
    input: Vec<u8>,
    replies: VecDeque<u8>,
    queued: Option<Vec<Vec<String>>>,
    watched: Vec<(String, Option<String>)>,
    blocked: Option<Vec<String>>,
}

struct World {
    engine: Engine,
    now: Moment,
    servers: BTreeMap<String, Server>,
    sockets: BTreeMap<u32, Socket>,
    outputs: BTreeMap<u32, Vec<u8>>,
    closed: Vec<u32>,
    next_client: u64,
    /// How many bytes one read brings.
    read_bytes_max: usize,
    /// Connections to this server take so many bytes more and break then.
    breaks_after: Option<(String, usize)>,
}

fn config(text: &str) -> Arc<RedisConfig> {
    match ShardsFile::parse(text, "test").unwrap() {
        ShardsFile::Redis(config) => Arc::new(config),
        ShardsFile::Cluster(_) => panic!("no file of Redis shards"),
    }
}

/// A key of the first group, and one of the second.
fn keys() -> (String, String) {
    let of =
        |wanted: bool| (0..).map(|i| format!("k{i}")).find(|k| (Slot::of_key(k.as_bytes()).number() < 8192) == wanted);
    (of(true).unwrap(), of(false).unwrap())
}

impl World {
    fn with(file: &str, limits: WorkerLimits) -> Self {
        let settings = Settings {
            limits,
            request_limits: Limits::default(),
            health: HealthTimes::default(),
            zone: None,
            name: "test".to_owned(),
            workers: 1,
            seed: 42,
            session: SessionId(1),
        };
        let stats = Arc::new(WorkerStats::default());
        let process = Arc::new(Process::new(vec![stats.clone()], Facts::default(), Clock::system()));
        let shared = Shared { stats, process, desk: Arc::new(Desk::default()) };
        let mut world = Self {
            engine: Engine::new(settings, shared, Moment::default()),
            now: Moment::default(),
            servers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            outputs: BTreeMap::new(),
            closed: Vec::new(),
            next_client: 1,
            read_bytes_max: usize::MAX,
            breaks_after: None,
        };
        let config = config(file);
        for shard in &config.shards {
            for (at, addr) in shard.servers.iter().enumerate() {
                let replicas = if at == 0 { shard.servers.len() - 1 } else { 0 };
                world.servers.insert(addr.to_string(), Server { replica: at > 0, replicas, ..Server::default() });
            }
        }
        world.engine.follow(&config);
        world.pass(1);
        world.pass(1);
        assert!(world.engine.is_ready());
        world
    }

    fn new() -> Self {
        Self::with(FILE, WorkerLimits::default())
    }

    fn server(&mut self, addr: &str) -> &mut Server {
        self.servers.get_mut(addr).unwrap()
    }

    /// Lets milliseconds pass, and all happen that then does.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now = self.now + Duration::from_millis(ms.min(10));
            self.engine.tick(self.now, LogTime(1));
            self.turn();
        }
    }

    fn turn(&mut self) {
        loop {
            self.engine.at(self.now);
            self.engine.settle();
            let orders = self.engine.take_orders();
            let busy = !orders.is_empty();
            orders.into_iter().for_each(|order| self.carry_out(order));
            let nodes = self.engine.dirty_nodes();
            let clients = self.engine.dirty_clients();
            if !busy && nodes.is_empty() && clients.is_empty() && !self.engine.is_unsettled() {
                return;
            }
            for node in &nodes {
                self.flush_node(*node);
            }
            for key in clients {
                let Some(output) = self.engine.client_output(key) else { continue };
                let bytes = drain(output);
                self.outputs.entry(key).or_default().extend_from_slice(&bytes);
                self.engine.client_sent(key, bytes.len());
            }
            nodes.into_iter().for_each(|node| self.answer(node));
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Connect(node, addr) => match self.servers.get_mut(&addr) {
                Some(server) if !server.dead => {
                    (server.next_id, server.connects) = (server.next_id + 1, server.connects + 1);
                    let refused = server.refuses_connections;
                    let socket = Socket { addr, id: server.next_id, refused, ..Socket::default() };
                    self.sockets.insert(node.0, socket);
                    self.engine.node_connected(node);
                }
                _ => self.engine.node_lost(node, &LinkError::Socket("connection refused".to_owned())),
            },
            Order::Disconnect(node) => drop(self.sockets.remove(&node.0)),
            Order::CloseClient(key, _) => self.closed.push(key),
            _ => {}
        }
    }

    fn flush_node(&mut self, node: NodeIndex) {
        let Some(socket) = self.sockets.get_mut(&node.0) else { return };
        let mut bytes = drain(self.engine.node_output(node));
        let mut breaks = false;
        if let Some((addr, left)) = &mut self.breaks_after
            && *addr == socket.addr
        {
            breaks = bytes.len() >= *left;
            bytes.truncate(*left);
            *left -= bytes.len();
        }
        self.engine.node_sent(node, bytes.len());
        if socket.cut {
            bytes.clear();
        }
        socket.input.extend_from_slice(&bytes);
        if breaks {
            self.breaks_after = None;
            self.execute(node.0);
            self.break_socket(node.0);
        }
    }

    /// A server carries out what came on a connection, and its answers arrive.
    fn answer(&mut self, node: NodeIndex) {
        self.execute(node.0);
        while let Some(socket) = self.sockets.get_mut(&node.0).filter(|socket| !socket.replies.is_empty()) {
            let count = socket.replies.len().min(self.read_bytes_max);
            let bytes: Vec<u8> = socket.replies.drain(..count).collect();
            self.engine.node_data(node, &bytes);
        }
    }

    fn execute(&mut self, node: u32) {
        let Some(socket) = self.sockets.get_mut(&node) else { return };
        let Some(server) = self.servers.get_mut(&socket.addr).filter(|server| !server.frozen) else { return };
        let mut spans: Vec<Span> = Vec::new();
        while socket.blocked.is_none()
            && let Ok(end) = parse_first(&socket.input, &mut spans)
        {
            let text = |span: &Span| {
                String::from_utf8_lossy(&socket.input[span.start as usize..span.end as usize]).into_owned()
            };
            let words: Vec<String> = spans.iter().map(text).collect();
            socket.input.drain(..end);
            let is_hello = words[0] == "HELLO";
            let reply = match socket.refused.or(server.refuses_hello.filter(|_| is_hello)) {
                Some("") => return self.break_socket(node),
                Some(text) => format!("-{text}\r\n"),
                None => server.take(socket, words),
            };
            socket.replies.extend(reply.into_bytes());
        }
    }

    /// All connections to a server break.
    fn break_server(&mut self, addr: &str) {
        let of: Vec<u32> =
            self.sockets.iter().filter(|(_, socket)| socket.addr == addr).map(|(node, _)| *node).collect();
        of.into_iter().for_each(|node| self.break_socket(node));
        self.turn();
    }

    fn break_socket(&mut self, node: u32) {
        self.sockets.remove(&node);
        self.engine.node_lost(NodeIndex(node), &LinkError::Socket("connection reset by peer".to_owned()));
    }

    /// A server carries out all that it has got, and goes on.
    fn thaw(&mut self, addr: &str) {
        self.server(addr).frozen = false;
        let of: Vec<u32> =
            self.sockets.iter().filter(|(_, socket)| socket.addr == addr).map(|(node, _)| *node).collect();
        of.into_iter().for_each(|node| self.answer(NodeIndex(node)));
        self.turn();
    }

    /// The second server of a group leads, and the first follows it.
    fn fail_over(&mut self, from: &str, to: &str) {
        let values = self.server(from).values.clone();
        *self.server(from) = Server { replica: true, next_id: 100, ..std::mem::take(self.server(from)) };
        let heir = self.server(to);
        (heir.replica, heir.replicas, heir.values) = (false, 1, values);
    }

    fn client(&mut self) -> u32 {
        self.client_at(ReadLevel::Session)
    }

    fn client_at(&mut self, level: ReadLevel) -> u32 {
        let session = Session::new(self.next_client, level, self.now);
        self.next_client += 1;
        self.engine.client_opened(session, None, None)
    }

    /// A client sends requests, one a line, as one piece.
    fn send(&mut self, client: u32, lines: &str) {
        let mut bytes = Vec::new();
        for line in lines.lines() {
            write_array(&mut bytes, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
        }
        self.engine.at(self.now);
        self.engine.client_data(client, &bytes);
        self.turn();
    }

    /// What a client has read since it was last looked.
    fn heard(&mut self, client: u32) -> String {
        String::from_utf8(self.outputs.remove(&client).unwrap_or_default())
            .unwrap()
            .replace("\r\n", " ")
            .trim()
            .to_owned()
    }

    fn asks(&mut self, client: u32, lines: &str) -> String {
        self.send(client, lines);
        self.heard(client)
    }

    fn done(&mut self, addr: &str) -> Vec<String> {
        std::mem::take(&mut self.server(addr).done)
    }
}

fn drain(outbox: &Outbox) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbox.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

impl Server {
    fn take(&mut self, socket: &mut Socket, words: Vec<String>) -> String {
        let name = words[0].to_ascii_uppercase();
        match name.as_str() {
            "MULTI" => socket.queued = Some(Vec::new()),
            "EXEC" => return self.exec(socket),
            _ if socket.queued.is_some() => {
                if self.is_write(&name) && self.replica {
                    socket.queued.as_mut().unwrap().push(vec!["REFUSED".to_owned()]);
                    return "-READONLY You can't write against a read only replica.\r\n".to_owned();
                }
                socket.queued.as_mut().unwrap().push(words);
                return "+QUEUED\r\n".to_owned();
            }
            _ => return self.run(socket, &words),
        }
        "+OK\r\n".to_owned()
    }

    fn exec(&mut self, socket: &mut Socket) -> String {
        let queued = socket.queued.take().unwrap();
        let changed = socket.watched.drain(..).any(|(key, value)| self.values.get(&key).cloned() != value);
        if queued.iter().any(|words| words[0] == "REFUSED") {
            return "-EXECABORT Transaction discarded because of previous errors.\r\n".to_owned();
        }
        if changed {
            return if socket.resp3 { "_\r\n".to_owned() } else { "*-1\r\n".to_owned() };
        }
        let replies: Vec<String> = queued.iter().map(|words| self.run(socket, words)).collect();
        format!("*{}\r\n{}", replies.len(), replies.concat())
    }

    fn is_write(&self, name: &str) -> bool {
        matches!(name, "SET" | "INCR" | "DEL" | "MSET" | "RPUSH" | "BLPOP")
    }

    fn run(&mut self, socket: &mut Socket, words: &[String]) -> String {
        let name = words[0].to_ascii_uppercase();
        let null = if socket.resp3 { "_\r\n" } else { "$-1\r\n" };
        let always = match name.as_str() {
            "ROLE" if self.replica => {
                Some("*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:7\r\n".to_owned())
            }
            "ROLE" => {
                Some(format!("*3\r\n$6\r\nmaster\r\n:7\r\n*{}\r\n{}", self.replicas, "*0\r\n".repeat(self.replicas)))
            }
            "HELLO" => {
                socket.resp3 = true;
                Some("%1\r\n$5\r\nproto\r\n:3\r\n".to_owned())
            }
            "CLIENT" if words[1] == "ID" => Some(format!(":{}\r\n", socket.id)),
            "COMMAND" => {
                self.described += 1;
                Some(match self.describes.iter().find(|(name, ..)| *name == words[2]) {
                    None => "*1\r\n*-1\r\n".to_owned(),
                    Some((name, flags, [first, last, step])) => {
                        let count = flags.matches('+').count();
                        let head = format!("*1\r\n*6\r\n{}:-1\r\n*{count}\r\n{flags}\r\n", bulk(name));
                        format!("{head}:{first}\r\n:{last}\r\n:{step}\r\n")
                    }
                })
            }
            "CLIENT" => {
                self.unblocked.push(words[2].parse().unwrap());
                Some(":1\r\n".to_owned())
            }
            _ => None,
        };
        if let Some(reply) = always {
            return reply;
        }
        if self.loading {
            return "-LOADING Redis is loading the dataset in memory\r\n".to_owned();
        }
        if self.cluster {
            return "-MOVED 1 h:9\r\n".to_owned();
        }
        if self.replica && self.is_write(&name) {
            return "-READONLY You can't write against a read only replica.\r\n".to_owned();
        }
        if name != "PING" {
            self.done.push(words.join(" "));
        }
        let key = words.get(1).cloned().unwrap_or_default();
        match name.as_str() {
            "GET" => self.values.get(&key).map_or_else(|| null.to_owned(), |value| bulk(value)),
            "MGET" => {
                let values: Vec<String> = words[1..]
                    .iter()
                    .map(|key| self.values.get(key).map_or_else(|| null.to_owned(), |value| bulk(value)))
                    .collect();
                format!("*{}\r\n{}", values.len(), values.concat())
            }
            "SET" => {
                self.values.insert(key, words[2].clone());
                "+OK\r\n".to_owned()
            }
            "MSET" => {
                words[1..].chunks(2).for_each(|pair| drop(self.values.insert(pair[0].clone(), pair[1].clone())));
                "+OK\r\n".to_owned()
            }
            "INCR" => {
                let value = self.values.get(&key).map_or(0, |value| value.parse::<i64>().unwrap()) + 1;
                self.values.insert(key, value.to_string());
                format!(":{value}\r\n")
            }
            "DEL" => format!(":{}\r\n", words[1..].iter().filter(|key| self.values.remove(*key).is_some()).count()),
            "DBSIZE" => format!(":{}\r\n", self.values.len()),
            "SCAN" if words[1] == "0" => format!("*2\r\n$1\r\n5\r\n*1\r\n{}", bulk(self.values.keys().next().unwrap())),
            "SCAN" => "*2\r\n$1\r\n0\r\n*0\r\n".to_owned(),
            "WATCH" => {
                let watched = words[1..].iter().map(|key| (key.clone(), self.values.get(key).cloned()));
                socket.watched.extend(watched);
                "+OK\r\n".to_owned()
            }
            "UNWATCH" => {
                socket.watched.clear();
                "+OK\r\n".to_owned()
            }
            "BLPOP" => {
                socket.blocked = Some(words.to_vec());
                String::new()
            }
            _ => "-ERR unknown command\r\n".to_owned(),
        }
    }
}
