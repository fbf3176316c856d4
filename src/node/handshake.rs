//! The beginning of a connection: who is there, and whether it may be.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::connections::Dialect;
use super::gate;
use super::server::Shared;
use crate::protocol::control::{Hello, Welcome};
use crate::protocol::frame::{Kind, PREAMBLE, put_message};

/// How long a newcomer may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may take to be made, and then to be welcomed.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const WELCOME_MAX: Duration = Duration::from_secs(2);
/// How long what was sent may stay without TCP's acknowledgement. Without it, a link that was cut for half a minute would
/// sleep as long again after the cut has ended, because TCP doubles its pauses.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(2);

/// A connection that may stay.
pub struct Accepted {
    /// What it speaks.
    pub dialect: Dialect,
    /// What it sent after its `Hello`.
    pub rest: Vec<u8>,
}

/// Waits for the first byte and leaves it there.
pub async fn first_byte(stream: &TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    match stream.peek(&mut byte).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

/// The accepting end.
pub async fn accept(shared: &Shared, stream: &Rc<TcpStream>) -> io::Result<Accepted> {
    let (hello, rest) = tokio::time::timeout(PATIENCE, read_greeting(stream, true, Kind::Hello)).await??;
    let hello: Hello = serde_json::from_slice(&hello).map_err(|e| invalid(format!("malformed Hello: {e}")))?;
    let judged = {
        let node = shared.borrow();
        let (cluster, incarnation) = (node.home.cluster(), node.home.incarnation());
        let keeps_leases = node.home.keeps_leases();
        let catalog = node.engine.catalog().map(|c| &**c);
        gate::judge(gate::Host { name: &node.name, cluster, incarnation, keeps_leases, catalog }, &hello)
    };
    let mut out = Vec::new();
    match judged {
        Ok(welcome) => {
            let json = serde_json::to_vec(&welcome).expect("a greeting is plain data");
            put_message(&mut out, Kind::Welcome, |out| out.extend_from_slice(&json));
            write_all(stream, &out).await?;
            Ok(Accepted { dialect: gate::dialect(&hello), rest })
        }
        Err(reason) => {
            tracing::warn!(from = hello.name, "connection refused: {reason}");
            put_message(&mut out, Kind::Goodbye, |out| out.extend_from_slice(reason.as_bytes()));
            write_all(stream, &out).await?;
            shut_down(stream);
            Err(invalid(reason))
        }
    }
}

/// The connecting end.
pub async fn connect(addr: &str, hello: &Hello) -> io::Result<(Rc<TcpStream>, Welcome, Vec<u8>)> {
    let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(addr)).await??;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    let stream = Rc::new(stream);
    let mut out = PREAMBLE.to_vec();
    let json = serde_json::to_vec(hello).expect("a greeting is plain data");
    put_message(&mut out, Kind::Hello, |out| out.extend_from_slice(&json));
    write_all(&stream, &out).await?;
    let (welcome, rest) = tokio::time::timeout(WELCOME_MAX, read_greeting(&stream, false, Kind::Welcome)).await??;
    let welcome = serde_json::from_slice(&welcome).map_err(|e| invalid(format!("malformed Welcome: {e}")))?;
    Ok((stream, welcome, rest))
}

async fn read_greeting(stream: &TcpStream, preamble: bool, kind: Kind) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        stream.readable().await?;
        match stream.try_read_buf(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            other => other?,
        };
        if let Some((payload, taken)) = gate::greeting(&bytes, preamble, kind).map_err(invalid)? {
            return Ok((payload, bytes.split_off(taken)));
        }
    }
}

/// Writes all of it.
pub async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Ends the sending direction, so that the other end sees what was sent and then the end.
pub fn shut_down(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}

/// Waits for the other end to close.
pub async fn closed(stream: &TcpStream) {
    let mut sink = [0; 4096];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut sink) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
