//! Processes of a story, and a client of few words.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pontoon::protocol::reply_scan::reply_end;
use pontoon::protocol::request::write_array;

const PONTOON: &str = env!("CARGO_BIN_EXE_pontoon");
/// Anything here takes a second or two; a busy machine gets its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with its handle.
pub struct Process(pub Child);

impl Process {
    /// As `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A `redis-server`.
pub struct Server {
    pub port: u16,
    pub process: Process,
    _home: tempfile::TempDir,
}

impl Server {
    pub fn start(options: &[&str]) -> Self {
        Self::start_at(free_port(), options)
    }

    pub fn start_at(port: u16, options: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        command.arg("--dir").arg(home.path()).args(options).stdout(Stdio::null()).stderr(Stdio::null());
        let process =
            Process(command.spawn().expect("this test needs `redis-server` (Debian: apt install redis-server)"));
        until("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, process, _home: home }
    }

    /// A server that follows this one, and has its data.
    pub fn replica(&self) -> Self {
        let replica = Self::start(&["--replicaof", "127.0.0.1", &self.port.to_string()]);
        until("the replica follows", || replica.client().ask("ROLE").contains("connected"));
        replica
    }

    /// A sentinel that watches this server as `group`.
    pub fn sentinel(&self) -> Self {
        self.sentinel_with("")
    }

    /// The same, with more lines in its configuration.
    pub fn sentinel_with(&self, more: &str) -> Self {
        let (port, home) = (free_port(), tempfile::tempdir().unwrap());
        let file = home.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nsentinel monitor group 127.0.0.1 {} 1\nsentinel down-after-milliseconds group 500\n\
             sentinel failover-timeout group 5000\n{more}",
            self.port
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(command.spawn().unwrap());
        until("the sentinel listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, process, _home: home }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A file of shards, one per list of servers, named `r1`, `r2`, ...
pub fn file(version: u64, head: &str, groups: &[&[&Server]]) -> String {
    let mut text = format!("version = {version}\n{head}\n");
    for (at, servers) in groups.iter().enumerate() {
        let servers: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.addr())).collect();
        let at = at + 1;
        text += &format!("[[shard]]\nname = \"r{at}\"\nkind = \"redis\"\nservers = [{}]\n", servers.join(", "));
    }
    text
}

/// A proxy and its file.
pub struct Proxy {
    pub port: u16,
    _process: Process,
    home: tempfile::TempDir,
}

impl Proxy {
    pub fn start(text: &str, options: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("shards.toml"), text).unwrap();
        let mut command = Command::new(PONTOON);
        command.args(["proxy", "--listen", "127.0.0.1:0", "--workers", "2", "--log-level", "warn", "--config"]);
        command.arg(home.path().join("shards.toml")).args(options).env_clear();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        Self { port, _process: Process(child), home }
    }

    pub fn path(&self) -> PathBuf {
        self.home.path().join("shards.toml")
    }

    pub fn edit(&self, text: &str) {
        let fresh = self.home.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.path()).unwrap();
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// The section of `INFO` that is about it.
    pub fn info(&self) -> String {
        self.client().ask("INFO pontoon")
    }
}

/// `pontoon` with these arguments.
pub fn pontoon(arguments: &[&str]) -> Output {
    Command::new(PONTOON).args(arguments).env_clear().output().unwrap()
}

/// A connection to whoever speaks RESP.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, line: &str) {
        let mut bytes = Vec::new();
        write_array(&mut bytes, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next reply, its lines divided by blanks.
    pub fn reply(&mut self) -> String {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(end) = reply_end(&self.unread).unwrap() {
                let reply: Vec<u8> = self.unread.drain(..end).collect();
                return String::from_utf8(reply).unwrap().trim_end().replace("\r\n", " ");
            }
            let count = self.stream.read(&mut buffer).expect("a reply in time");
            assert!(count > 0, "the connection was closed");
            self.unread.extend_from_slice(&buffer[..count]);
        }
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }
}

pub fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds(condition), "{what}");
}

fn holds(mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
