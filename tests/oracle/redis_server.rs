//! A `redis-server` of our own, on a Unix socket in a temporary directory.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pontoon::protocol::reply_scan::reply_end;
use pontoon::protocol::request::write_array;

/// A running server; it ends with this handle.
pub struct RedisServer {
    child: Child,
    directory: tempfile::TempDir,
}

impl RedisServer {
    pub fn start() -> Self {
        let program = std::env::var_os("PONTOON_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let started = Self::start_program(&program);
        started.expect("this test needs `redis-server` (Debian: apt install redis-server) in the PATH")
    }

    /// A Valkey; none: there is no such program.
    pub fn start_valkey() -> Option<Self> {
        let program = std::env::var_os("PONTOON_VALKEY_SERVER").unwrap_or_else(|| "valkey-server".into());
        match Self::start_program(&program) {
            Ok(server) => Some(server),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("{}: {error}", program.display()),
        }
    }

    fn start_program(program: &OsStr) -> std::io::Result<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("redis.sock");
        let mut command = Command::new(program);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--databases", "1"]);
        // Our limit of a value. Its own cycle of removal would make DBSIZE depend on the moment.
        command.args(["--proto-max-bulk-len", "67108864", "--hz", "1"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(directory.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, directory })
    }

    /// A connection that speaks this version of RESP.
    pub fn connect(&self, version: u8) -> Connection {
        let socket = self.directory.path().join("redis.sock");
        // The socket appears when the server is ready: fifty attempts a second, for ten seconds.
        let attempt = |_| UnixStream::connect(&socket).map_err(|_| std::thread::sleep(Duration::from_millis(20))).ok();
        let stream = (0..500).find_map(attempt).expect("redis-server opens its socket within ten seconds");
        let mut connection = Connection { stream, unread: Vec::new() };
        connection.exchange(&[vec![b"HELLO".to_vec(), version.to_string().into_bytes()]]);
        connection
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Sends all commands at once; their replies in order.
    pub fn exchange(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        commands.iter().for_each(|command| write_array(&mut out, command.iter().map(Vec::as_slice)));
        let mut sender = self.stream.try_clone().expect("a second handle of the socket");
        let sending = std::thread::spawn(move || sender.write_all(&out).expect("redis-server takes the commands"));
        let replies = (0..commands.len()).map(|_| self.reply()).collect();
        sending.join().expect("all commands are sent");
        replies
    }

    fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = reply_end(&self.unread).expect("redis-server speaks RESP") {
                return self.unread.drain(..end).collect();
            }
            let mut buffer = [0; 64 * 1024];
            let count = self.stream.read(&mut buffer).expect("redis-server answers");
            assert!(count > 0, "redis-server closed the connection");
            self.unread.extend_from_slice(&buffer[..count]);
        }
    }
}
