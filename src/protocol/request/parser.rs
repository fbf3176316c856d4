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
    /// The first line of an HTTP request, which a browser was tricked to send: no answer, the connection is closed.
    #[error("an HTTP request")]
    Http,
    /// All arguments together are too much.
    #[error("too big request")]
    RequestTooLarge,
}

impl ProtocolError {
    /// Appends the error reply, if there is to be one.
    pub fn write(self, out: &mut Vec<u8>) {
        if self == Self::Http {
            return;
        }
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
    match words.first() {
        None => return Ok(Parsed::Empty { consumed }),
        Some(name) if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") => {
            return Err(ProtocolError::Http);
        }
        Some(_) => {}
    }
    side.clear();
    write_array(side, words.iter().map(Vec::as_slice));
    super::parse_array(side, spans).expect("what was just written is canonical");
    Ok(Parsed::Request { consumed, form: Form::Rewritten })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that one connection said, fed in pieces: the requests in their canonical form, then the error.
    fn said(pieces: &[&[u8]], limits: &Limits) -> (Vec<Vec<u8>>, Option<ProtocolError>) {
        let (mut parser, mut spans, mut side) = (RequestParser::default(), Vec::new(), Vec::new());
        let (mut buffer, mut requests) = (Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                let consumed = match parser.parse(&buffer, limits, &mut spans, &mut side) {
                    Err(error) => return (requests, Some(error)),
                    Ok(Parsed::Incomplete { bytes_min }) => {
                        assert!(bytes_min > buffer.len());
                        break;
                    }
                    Ok(Parsed::Empty { consumed }) => consumed,
                    Ok(Parsed::Request { consumed, form }) => {
                        let bytes = if form == Form::InPlace { &buffer[..consumed] } else { &side[..] };
                        let mut again = Vec::new();
                        super::super::parse_array(bytes, &mut again).expect("canonical");
                        assert_eq!(again, spans);
                        requests.push(bytes.to_vec());
                        consumed
                    }
                };
                assert!(!parser.is_midway());
                buffer.drain(..consumed);
            }
        }
        (requests, None)
    }

    fn canonical(requests: &[&[&[u8]]]) -> Vec<Vec<u8>> {
        let written = requests.iter().map(|words| {
            let mut out = Vec::new();
            write_array(&mut out, words.iter().copied());
            out
        });
        written.collect()
    }

    #[test]
    fn a_conversation_is_the_same_however_it_is_cut() {
        let stream: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n\r\n*0\r\n*-1\r\nset k \"a\\x20b\"\r\nPING\n\
            *3\r\n$3\r\nSET\r\n$0\r\n\r\n$6\r\n\r\n\0*1$\r\n*1\rX$4\r\rECHO!!*1\r\n$4\r\nQUIT\r\n";
        let expected = canonical(&[
            &[b"GET", b"k"],
            &[b"set", b"k", b"a b"],
            &[b"PING"],
            &[b"SET", b"", b"\r\n\0*1$"],
            &[b"ECHO"],
            &[b"QUIT"],
        ]);
        let limits = Limits::default();
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(said(&pieces, &limits), (expected.clone(), None), "cut at {first} and {second}");
            }
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(said(&bytes, &limits), (expected, None));
    }

    #[test]
    fn what_may_not_be_sent_has_the_text_of_redis() {
        let long = |start: &str| [start.as_bytes(), &[b'1'; 64 * 1024 + 1]].concat();
        let cases: &[(&[u8], &str)] = &[
            (b"*x\r\n", "invalid multibulk length"),
            (b"*\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"* 1\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\nGET\r\n", "expected '$', got 'G'"),
            (b"*1\r\n\r\n", "expected '$', got ' '"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n$x\r\n", "invalid bulk length"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$\r\n", "invalid bulk length"),
            (b"*1\r\n$03\r\n", "invalid bulk length"),
            (b"*1\r\n$999999999\r\n", "invalid bulk length"),
            (b"*2\r\n$3\r\nGET\r\n$4294967297\r\n", "invalid bulk length"),
            (&long("*"), "too big mbulk count string"),
            (&long("*1\r\n$"), "too big bulk count string"),
            (&long("a"), "too big inline request"),
            (&[b"*\0".as_slice(), &[b'1'; 64 * 1024]].concat(), "too big mbulk count string"),
            (&[b"\0\r\n".as_slice(), &[b'1'; 64 * 1024]].concat(), "too big inline request"),
            (b"set k \"v\r\n", "unbalanced quotes in request"),
            (b"set k 'v'x\r\n", "unbalanced quotes in request"),
        ];
        for (stream, text) in cases {
            let shown = stream[..stream.len().min(40)].escape_ascii();
            let (requests, error) = said(&[stream], &Limits::default());
            let mut reply = Vec::new();
            error.expect("an error").write(&mut reply);
            assert_eq!(String::from_utf8(reply).unwrap(), format!("-ERR Protocol error: {text}\r\n"), "{shown}");
            assert!(requests.is_empty(), "{shown}");
            let pieces: Vec<&[u8]> = stream.chunks(1000).collect();
            assert_eq!(said(&pieces, &Limits::default()).1, error, "{shown}");
        }
    }

    #[test]
    fn a_browser_is_not_answered() {
        for stream in ["POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n", "GET k\r\nhost: x\r\nSET a b\r\n"] {
            let (requests, error) = said(&[stream.as_bytes()], &Limits::default());
            let mut reply = Vec::new();
            error.expect("an error").write(&mut reply);
            assert!(requests.len() <= 1 && reply.is_empty(), "{stream}");
        }
    }

    #[test]
    fn limits_are_the_last_value_that_is_taken() {
        let limits = Limits { args_max: 2, bulk_bytes_max: 5, request_bytes_max: 30, line_bytes_max: 64 };
        assert_eq!(said(&[b"*2\r\n$5\r\n12345\r\n$5\r\n12345\r\n"], &limits).1, None);
        assert_eq!(said(&[b"*3\r\n"], &limits).1, Some(ProtocolError::InvalidMultibulkLength));
        assert_eq!(said(&[b"*1\r\n$6\r\n"], &limits).1, Some(ProtocolError::InvalidBulkLength));
        let limits = Limits { request_bytes_max: 25, ..limits };
        assert_eq!(said(&[b"*2\r\n$5\r\n12345\r\n$5\r\n"], &limits).1, Some(ProtocolError::RequestTooLarge));
    }

    #[test]
    fn a_request_in_many_pieces_is_not_read_from_its_start_each_time() {
        let words: Vec<&[u8]> = vec![b"x"; 200_000];
        let stream = canonical(&[&words]).remove(0);
        let (mut parser, mut spans, mut side) = (RequestParser::default(), Vec::new(), Vec::new());
        let limits = Limits::default();
        // Reading it all again for each of the pieces would take minutes.
        for end in (1..stream.len()).step_by(7) {
            let parsed = parser.parse(&stream[..end], &limits, &mut spans, &mut side);
            assert!(matches!(parsed, Ok(Parsed::Incomplete { .. })));
        }
        let whole = Parsed::Request { consumed: stream.len(), form: Form::InPlace };
        assert_eq!(parser.parse(&stream, &limits, &mut spans, &mut side), Ok(whole));
        assert_eq!(spans.len(), words.len());
    }

    #[test]
    fn memory_follows_the_bytes_and_not_what_they_claim() {
        let (mut parser, mut spans, mut side) = (RequestParser::default(), Vec::new(), Vec::new());
        let stream = b"*1000000\r\n$50000000\r\nabc";
        let parsed = parser.parse(stream, &Limits::default(), &mut spans, &mut side);
        assert_eq!(parsed, Ok(Parsed::Incomplete { bytes_min: 21 + 50_000_000 + 2 }));
        assert_eq!((spans.capacity(), side.capacity(), parser.is_midway()), (0, 0, false));
        assert!(size_of::<RequestParser>() <= 8);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_cuts_never_matter(
            bytes in prop::collection::vec(prop::sample::select(b"*$012-\r\n\r\n\r\na\" '\\x\0".to_vec()), 0..80),
            cuts in prop::collection::vec(0_usize..80, 0..6),
        ) {
            let limits = Limits { line_bytes_max: 20, request_bytes_max: 60, ..Limits::default() };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(said(&pieces, &limits), said(&[&bytes], &limits));
        }
    }
}
