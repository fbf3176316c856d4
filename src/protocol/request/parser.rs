//! The requests in the bytes that a client sent, found where they lie.
//!
//! The parser holds nothing while a client is idle or its request is whole: only a request that is cut after its first
//! argument has a resume point (how far it was read, and the arguments found), so that one that comes in very many
//! pieces is not read again from its start each time. The buffer must start with the same request until it is whole.
//!
//! What is accepted, and every error, is what Redis 7.2 does (`networking.c`): a length is a strict decimal, a line may
//! be as long as 64 KiB before it is given up, and the two bytes after a length or an argument are skipped unseen.
//! A request that is not canonical RESP (inline, or with other bytes where CR LF belongs) is written anew into a side
//! buffer, so that everything behind the parser sees one form only.

use super::inline;
use super::{Args, Limits, Span, write_array};
use crate::protocol::numbers::parse_i64;

/// Finds the requests of one connection.
#[derive(Debug, Default)]
pub struct RequestParser {
    resume: Option<Box<Resume>>,
}

/// Where to go on in a request of which not all has come.
#[derive(Debug)]
struct Resume {
    /// The start of the first argument's line that is not read yet.
    at: usize,
    missing: u32,
    canonical: bool,
    found: Vec<Span>,
}

/// What the buffer starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request that ends after `consumed` bytes; its spans are filled in.
    Request {
        /// Bytes of the buffer that it took.
        consumed: usize,
        /// Where its canonical bytes are.
        form: Form,
    },
    /// Nothing that wants an answer: a blank line, an array of no arguments.
    Empty {
        /// Bytes of the buffer that it took.
        consumed: usize,
    },
    /// The start of a request. Asking again is of no use before the buffer holds `bytes_min` bytes.
    Incomplete {
        /// More than the buffer holds now; never more than the limit of a request.
        bytes_min: usize,
    },
}

/// Where a request's canonical bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The first `consumed` bytes of the buffer.
    InPlace,
    /// All of the side buffer.
    Rewritten,
}

/// What a client may not send. It gets the text and is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number of arguments is no number, or too large.
    #[error("invalid multibulk length")]
    InvalidMultibulkLength,
    /// The length of an argument is no number, or too large.
    #[error("invalid bulk length")]
    InvalidBulkLength,
    /// Something else stands where an argument must start.
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// A line that should hold the number of arguments does not end.
    #[error("too big mbulk count string")]
    MultibulkCountTooLong,
    /// A line that should hold an argument's length does not end.
    #[error("too big bulk count string")]
    BulkCountTooLong,
    /// An inline request does not end.
    #[error("too big inline request")]
    InlineTooLong,
    /// An inline request with a quote too many.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// All arguments together are too much.
    #[error("too big request")]
    RequestTooLarge,
}

impl ProtocolError {
    /// Appends the error reply.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR Protocol error: ");
        match self {
            Self::ExpectedBulk(byte) => {
                let byte = if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
                out.extend_from_slice(&[b"expected '$', got '".as_slice(), &[byte], b"'"].concat());
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl RequestParser {
    /// Whether a request is half read.
    pub const fn is_midway(&self) -> bool {
        self.resume.is_some()
    }

    /// Reads the request that `buffer` starts with. `spans` and `side` are replaced when it is whole; they may be shared
    /// between connections. After an error the connection is to be closed.
    pub fn parse(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        spans: &mut Vec<Span>,
        side: &mut Vec<u8>,
    ) -> Result<Parsed, ProtocolError> {
        match buffer.first() {
            None => Ok(Parsed::Incomplete { bytes_min: 1 }),
            Some(b'*') => self.parse_multibulk(buffer, limits, spans, side),
            Some(_) => parse_inline(buffer, limits, spans, side),
        }
    }

    fn parse_multibulk(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        spans: &mut Vec<Span>,
        side: &mut Vec<u8>,
    ) -> Result<Parsed, ProtocolError> {
        let mut progress = match self.resume.take() {
            Some(resume) => {
                let Resume { at, missing, canonical, found } = *resume;
                *spans = found;
                Progress { at, missing, canonical }
            }
            None => {
                spans.clear();
                match multibulk_head(buffer, limits)? {
                    Head::Incomplete => return Ok(Parsed::Incomplete { bytes_min: buffer.len() + 1 }),
                    Head::Empty { consumed } => return Ok(Parsed::Empty { consumed }),
                    Head::Array(progress) => progress,
                }
            }
        };
        if let Some(bytes_min) = progress.read_bulks(buffer, limits, spans)? {
            if !spans.is_empty() {
                let Progress { at, missing, canonical } = progress;
                self.resume = Some(Box::new(Resume { at, missing, canonical, found: std::mem::take(spans) }));
            }
            return Ok(Parsed::Incomplete { bytes_min });
        }
        let form = if progress.canonical { Form::InPlace } else { rewrite(buffer, spans, side) };
        Ok(Parsed::Request { consumed: progress.at, form })
    }
}

/// What the first line of an array says.
enum Head {
    Incomplete,
    Empty { consumed: usize },
    Array(Progress),
}

/// How far an array was read.
struct Progress {
    at: usize,
    missing: u32,
    canonical: bool,
}

impl Progress {
    /// Reads arguments until none is missing (`None`) or the buffer ends (how long it must be to go on).
    fn read_bulks(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Option<usize>, ProtocolError> {
        while self.missing > 0 {
            let (text, canonical) = match Line::find(&buffer[self.at..], limits) {
                Line::Whole { text, canonical } => (text, canonical),
                Line::Cut => return Ok(Some(buffer.len() + 1)),
                Line::TooLong => return Err(ProtocolError::BulkCountTooLong),
            };
            self.canonical &= canonical;
            let start = self.at + text.len() + 2;
            let end = start + bulk_length(text, limits)?;
            if end + 2 > limits.request_bytes_max as usize {
                return Err(ProtocolError::RequestTooLarge);
            }
            let Some(tail) = buffer.get(end..end + 2) else { return Ok(Some(end + 2)) };
            self.canonical &= tail == b"\r\n";
            spans.push(Span { start: start as u32, end: end as u32 });
            self.at = end + 2;
            self.missing -= 1;
        }
        Ok(None)
    }
}

/// A line up to CR, of which the byte after is skipped whatever it is. As in Redis, a zero byte hides the CR.
enum Line<'a> {
    Whole { text: &'a [u8], canonical: bool },
    Cut,
    TooLong,
}

impl<'a> Line<'a> {
    #[inline]
    fn find(bytes: &'a [u8], limits: &Limits) -> Self {
        // Lengths are short: a plain loop is faster than a vectorised search.
        const SHORT_BYTES: usize = 16;
        let line_bytes_max = limits.line_bytes_max as usize;
        let stop = match bytes.iter().take(SHORT_BYTES).position(|b| matches!(b, b'\r' | 0)) {
            None if bytes.len() > SHORT_BYTES => {
                memchr::memchr2(b'\r', 0, &bytes[SHORT_BYTES..]).map(|stop| stop + SHORT_BYTES)
            }
            found => found,
        };
        let Some(end) = stop.filter(|stop| bytes[*stop] == b'\r') else {
            return if bytes.len() > line_bytes_max { Self::TooLong } else { Self::Cut };
        };
        match bytes.get(end + 1) {
            _ if end > line_bytes_max => Self::TooLong,
            Some(after) => Self::Whole { text: &bytes[..end], canonical: *after == b'\n' },
            None => Self::Cut,
        }
    }
}

fn multibulk_head(buffer: &[u8], limits: &Limits) -> Result<Head, ProtocolError> {
    let (text, canonical) = match Line::find(buffer, limits) {
        Line::Whole { text, canonical } => (text, canonical),
        Line::Cut => return Ok(Head::Incomplete),
        Line::TooLong => return Err(ProtocolError::MultibulkCountTooLong),
    };
    let at = text.len() + 2;
    match parse_i64(&text[1..]) {
        Some(count) if count <= 0 => Ok(Head::Empty { consumed: at }),
        Some(count) if count <= i64::from(limits.args_max) => {
            Ok(Head::Array(Progress { at, missing: count as u32, canonical }))
        }
        _ => Err(ProtocolError::InvalidMultibulkLength),
    }
}

#[inline]
fn bulk_length(line: &[u8], limits: &Limits) -> Result<usize, ProtocolError> {
    let [b'$', digits @ ..] = line else {
        return Err(ProtocolError::ExpectedBulk(line.first().copied().unwrap_or(b'\r')));
    };
    match parse_i64(digits) {
        Some(length) if (0..=i64::from(limits.bulk_bytes_max)).contains(&length) => Ok(length as usize),
        _ => Err(ProtocolError::InvalidBulkLength),
    }
}

/// Writes a request anew whose lines end in something else than CR LF.
fn rewrite(buffer: &[u8], spans: &mut Vec<Span>, side: &mut Vec<u8>) -> Form {
    side.clear();
    write_array(side, Args::new(buffer, spans).from(0));
    super::parse_array(side, spans).expect("what was just written is canonical");
    Form::Rewritten
}

fn parse_inline(
    buffer: &[u8],
    limits: &Limits,
    spans: &mut Vec<Span>,
    side: &mut Vec<u8>,
) -> Result<Parsed, ProtocolError> {
    // As in Redis, a zero byte hides the end of the line.
    let line_bytes_max = limits.line_bytes_max as usize;
    let stop = memchr::memchr2(b'\n', 0, buffer).filter(|stop| buffer[*stop] == b'\n');
    let end = match stop {
        Some(end) if end <= line_bytes_max => end,
        None if buffer.len() <= line_bytes_max => return Ok(Parsed::Incomplete { bytes_min: buffer.len() + 1 }),
        _ => return Err(ProtocolError::InlineTooLong),
    };
    let line = buffer[..end].strip_suffix(b"\r").unwrap_or(&buffer[..end]);
    let words = inline::split(line).map_err(|_| ProtocolError::UnbalancedQuotes)?;
    let consumed = end + 1;
    if words.is_empty() {
        return Ok(Parsed::Empty { consumed });
    }
    side.clear();
    write_array(side, words.iter().map(Vec::as_slice));
    super::parse_array(side, spans).expect("what was just written is canonical");
    Ok(Parsed::Request { consumed, form: Form::Rewritten })
}
