//! A client that sees every byte: exact error texts, and time-outs of its own.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::checkers::history::Reply;

/// What comes back for one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Reply(Reply),
    Error(String),
}

pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    pub fn open(address: &str, patience: Duration) -> io::Result<Self> {
        let address = address.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends commands at once, without waiting.
    pub fn send(&mut self, commands: &[&[&str]]) -> io::Result<()> {
        let mut out = String::new();
        for words in commands {
            out += &format!("*{}\r\n", words.len());
            words.iter().for_each(|word| out += &format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(out.as_bytes())
    }

    /// The answer to the oldest command that has none yet.
    pub fn receive(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, used)) = parse(&self.unread)? {
                self.unread.drain(..used);
                return Ok(answer);
            }
            let mut buffer = [0; 16 * 1024];
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&buffer[..count]);
        }
    }

    pub fn ask(&mut self, words: &[&str]) -> io::Result<Answer> {
        self.send(&[words])?;
        self.receive()
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let nonsense = || io::Error::new(io::ErrorKind::InvalidData, String::from_utf8_lossy(bytes).into_owned());
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (line, after) = (std::str::from_utf8(&bytes[1..end]).map_err(|_| nonsense())?, end + 2);
    let number = || line.parse::<i64>().map_err(|_| nonsense());
    let reply = match bytes[0] {
        b'-' => return Ok(Some((Answer::Error(line.to_owned()), after))),
        b'+' => Reply::text(line),
        b':' => Reply::Number(number()?),
        b'$' | b'*' if number()? < 0 => Reply::Nil,
        b'$' => {
            let length = number()? as usize;
            let Some(text) = bytes.get(after..after + length) else { return Ok(None) };
            if bytes.len() < after + length + 2 {
                return Ok(None);
            }
            return Ok(Some((Answer::Reply(Reply::Text(text.to_vec())), after + length + 2)));
        }
        b'*' => return parse_list(bytes, after, number()? as usize),
        _ => return Err(nonsense()),
    };
    Ok(Some((Answer::Reply(reply), after)))
}

fn parse_list(bytes: &[u8], mut at: usize, length: usize) -> io::Result<Option<(Answer, usize)>> {
    let mut list = Vec::new();
    for _ in 0..length {
        match parse(&bytes[at..])? {
            None => return Ok(None),
            Some((Answer::Reply(reply), used)) => (list.push(reply), at += used).0,
            // An error inside of a transaction: none of ours can have one.
            Some((Answer::Error(error), _)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
    Ok(Some((Answer::Reply(Reply::List(list)), at)))
}
