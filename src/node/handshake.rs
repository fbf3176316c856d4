//! The beginning of a connection: who is there, and whether it may be.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::connections::{Dialect, Refused};
use super::server::{Node, Shared};
use crate::protocol::control::{Hello, PeerRole, Welcome};
use crate::protocol::frame::{Assembler, Kind, PREAMBLE, put_message, split_frame};
use crate::topology::NodeName;

/// How long a newcomer may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest `Hello` or `Welcome`.
const HELLO_BYTES_MAX: usize = 64 * 1024;

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
    let judged = judge(&shared.borrow(), &hello);
    let mut out = Vec::new();
    match judged {
        Ok(welcome) => {
            let json = serde_json::to_vec(&welcome).expect("a greeting is plain data");
            put_message(&mut out, Kind::Welcome, |out| out.extend_from_slice(&json));
            write_all(stream, &out).await?;
            let dialect = match hello.role {
                PeerRole::Proxy => Dialect::Proxy(Refused::default()),
                PeerRole::Node | PeerRole::Operator => Dialect::Control,
            };
            Ok(Accepted { dialect, rest })
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

/// Whether somebody who says this may stay (DESIGN.md, section 4).
fn judge(node: &Node, hello: &Hello) -> Result<Welcome, String> {
    let me = &node.name;
    if let Some(to) = hello.to.as_ref().filter(|to| *to != me) {
        return Err(format!("this is node `{me}`, not `{to}`"));
    }
    let cluster = node.home.cluster();
    if let (Some(mine), Some(theirs)) = (cluster, hello.cluster)
        && mine != theirs
    {
        return Err(format!("node `{me}` belongs to cluster {mine}, not {theirs}"));
    }
    if hello.role == PeerRole::Node {
        let name = NodeName::new(&hello.name);
        let record = node.engine.catalog().and_then(|c| c.nodes.get(&name));
        let known = record.and_then(|r| r.incarnation);
        if let (Some(known), Some(theirs)) = (known, hello.incarnation)
            && known != theirs
        {
            return Err(format!("node `{name}` is known by its incarnation {known}, and this one is {theirs}"));
        }
    }
    Ok(Welcome { cluster, node: me.clone(), incarnation: node.home.incarnation() })
}

/// The connecting end.
pub async fn connect(addr: &str, hello: &Hello) -> io::Result<(Rc<TcpStream>, Welcome, Vec<u8>)> {
    let stream = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(addr)).await??;
    stream.set_nodelay(true)?;
    let stream = Rc::new(stream);
    let mut out = PREAMBLE.to_vec();
    let json = serde_json::to_vec(hello).expect("a greeting is plain data");
    put_message(&mut out, Kind::Hello, |out| out.extend_from_slice(&json));
    write_all(&stream, &out).await?;
    let (welcome, rest) = tokio::time::timeout(PATIENCE, read_greeting(&stream, false, Kind::Welcome)).await??;
    let welcome = serde_json::from_slice(&welcome).map_err(|e| invalid(format!("malformed Welcome: {e}")))?;
    Ok((stream, welcome, rest))
}

async fn read_greeting(stream: &TcpStream, preamble: bool, kind: Kind) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let start = if preamble { PREAMBLE.len() } else { 0 };
    loop {
        stream.readable().await?;
        match stream.try_read_buf(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            other => other?,
        };
        if bytes.len() > HELLO_BYTES_MAX {
            return Err(invalid("a greeting that does not end".to_owned()));
        }
        if preamble && !PREAMBLE.starts_with(&bytes[..bytes.len().min(start)]) {
            return Err(invalid("not a Pontoon connection, or one of another format version".to_owned()));
        }
        let Some(rest) = bytes.get(start..) else { continue };
        let Some(frame) = split_frame(rest).map_err(|e| invalid(e.to_string()))? else { continue };
        let mut assembler = Assembler::new(HELLO_BYTES_MAX);
        let message = assembler.push(frame).map_err(|e| invalid(e.to_string()))?;
        return match message {
            Some(m) if m.kind == kind => Ok((m.payload.to_vec(), rest[frame.consumed..].to_vec())),
            Some(m) if m.kind == Kind::Goodbye => Err(invalid(String::from_utf8_lossy(m.payload).into_owned())),
            _ => Err(invalid("something else came in place of a greeting".to_owned())),
        };
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
