//! A connection to one instance of a Redis Cluster, for a few questions whose answers are texts.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::control::os_reason;
use crate::protocol::reply_scan::reply_end;

/// How long an instance may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer: what `CLUSTER NODES` says of a thousand instances fits many times.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who logs in.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The user; none: the default one.
    pub username: Option<String>,
    /// The password; none: nobody logs in.
    pub password: Option<String>,
}

/// One connection.
pub struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Line {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Why not, for people.
    pub async fn open(addr: &str, login: &Login) -> Result<Self, String> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(os_reason(&error)),
            Err(_) => return Err("no connection within 1 s".to_owned()),
        };
        let mut line = Self { stream, unread: Vec::new() };
        if let Some(password) = &login.password {
            let words: Vec<&str> =
                ["AUTH"].into_iter().chain(login.username.as_deref()).chain([password.as_str()]).collect();
            line.ask(&words).await?;
        }
        Ok(line)
    }

    /// Asks one question; the answer is a text.
    ///
    /// # Errors
    /// What the instance says instead, or why nothing was heard.
    pub async fn ask(&mut self, words: &[&str]) -> Result<String, String> {
        let mut out = format!("*{}\r\n", words.len());
        for word in words {
            out += &format!("${}\r\n{word}\r\n", word.len());
        }
        match timeout(ANSWER_TIMEOUT, self.exchange(out.as_bytes())).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer within 5 s".to_owned()),
        }
    }

    async fn exchange(&mut self, out: &[u8]) -> Result<String, String> {
        self.stream.write_all(out).await.map_err(|error| os_reason(&error))?;
        loop {
            if let Some(end) = reply_end(&self.unread).map_err(|error| error.to_string())? {
                let answer: Vec<u8> = self.unread.drain(..end).collect();
                return text(&answer);
            }
            if self.unread.len() > ANSWER_BYTES_MAX {
                return Err("its answer has no end".to_owned());
            }
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(os_reason(&error)),
            }
        }
    }
}

/// What a whole reply says.
fn text(reply: &[u8]) -> Result<String, String> {
    let line = |reply: &[u8]| String::from_utf8_lossy(&reply[1..]).trim_end_matches("\r\n").to_owned();
    match reply.first() {
        Some(b'+' | b':') => Ok(line(reply)),
        Some(b'-') => Err(line(reply)),
        Some(b'$') => match reply.iter().position(|byte| *byte == b'\n') {
            Some(start) if reply.len() >= start + 3 => {
                Ok(String::from_utf8_lossy(&reply[start + 1..reply.len() - 2]).into_owned())
            }
            _ => Err("it says nothing".to_owned()),
        },
        _ => Err("its answer is not a text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_errors_are_errors() {
        assert_eq!(text(b"+OK\r\n"), Ok("OK".to_owned()));
        assert_eq!(text(b"$5\r\na\r\nbc\r\n"), Ok("a\r\nbc".to_owned()));
        assert_eq!(text(b"$0\r\n\r\n"), Ok(String::new()));
        assert_eq!(text(b"-NOAUTH log in\r\n"), Err("NOAUTH log in".to_owned()));
        assert_eq!(text(b"$-1\r\n"), Err("it says nothing".to_owned()));
        assert!(text(b"*1\r\n:1\r\n").is_err());
    }
}
