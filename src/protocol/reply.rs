//! Writing RESP2 and RESP3 replies into a buffer.

use super::numbers::format_double;

/// A kind, the longest number, and the line's end.
const LINE_BYTES_MAX: usize = 1 + 20 + 2;

/// Appends RESP values in the client's version of the protocol.
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    resp3: bool,
}

impl<'a> ReplyWriter<'a> {
    /// Writes to the end of `out`.
    pub const fn new(out: &'a mut Vec<u8>, resp3: bool) -> Self {
        Self { out, resp3 }
    }

    /// Whether the client speaks RESP3.
    pub const fn resp3(&self) -> bool {
        self.resp3
    }

    /// Goes on in another version of the protocol.
    pub const fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// `+text`. `text` has no line break.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// `-text`, the error code first. Line breaks become spaces.
    pub fn error(&mut self, text: &str) {
        let start = self.out.len() + 1;
        self.line(b'-', text.as_bytes());
        let end = self.out.len() - 2;
        self.out[start..end].iter_mut().filter(|b| matches!(b, b'\r' | b'\n')).for_each(|b| *b = b' ');
    }

    /// `:number`.
    pub fn integer(&mut self, number: i64) {
        self.number(b':', number);
    }

    /// A floating point number; a byte string in RESP2.
    pub fn double(&mut self, number: f64) {
        if self.resp3 {
            self.out.push(b',');
            format_double(number, self.out);
        } else {
            // Its length has one digit or two.
            let start = self.out.len();
            self.out.extend_from_slice(b"$00\r\n");
            format_double(number, self.out);
            let length = self.out.len() - start - 5;
            self.out[start + 1] = b'0' + (length / 10) as u8;
            self.out[start + 2] = b'0' + (length % 10) as u8;
            if length < 10 {
                self.out.remove(start + 1);
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// `$length` and the bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(LINE_BYTES_MAX + bytes.len() + 2);
        self.number(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// The null of a missing byte string.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The null of a missing array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The head of an array; `length` values follow.
    pub fn array(&mut self, length: usize) {
        self.number(b'*', length as i64);
    }

    /// The head of a map; `pairs` times two values follow.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 { self.number(b'%', pairs as i64) } else { self.number(b'*', pairs as i64 * 2) }
    }

    /// The head of a set; `length` values follow.
    pub fn set(&mut self, length: usize) {
        self.number(if self.resp3 { b'~' } else { b'*' }, length as i64);
    }

    /// The head of an out-of-band message; `length` values follow.
    pub fn push(&mut self, length: usize) {
        self.number(if self.resp3 { b'>' } else { b'*' }, length as i64);
    }

    /// A boolean; 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match (self.resp3, value) {
            (true, true) => self.out.extend_from_slice(b"#t\r\n"),
            (true, false) => self.out.extend_from_slice(b"#f\r\n"),
            (false, _) => self.integer(i64::from(value)),
        }
    }

    /// A text meant for people; `format` is `txt` or `mkd`. A byte string in RESP2.
    pub fn verbatim(&mut self, format: &str, bytes: &[u8]) {
        if !self.resp3 {
            return self.bulk(bytes);
        }
        self.number(b'=', bytes.len() as i64 + 4);
        self.out.extend_from_slice(format.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A value that is RESP already.
    pub fn raw(&mut self, resp: &[u8]) {
        self.out.extend_from_slice(resp);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, kind: u8, number: i64) {
        // Digits come last first.
        let mut line = [0; LINE_BYTES_MAX];
        line[LINE_BYTES_MAX - 2..].copy_from_slice(b"\r\n");
        let (mut start, mut rest) = (LINE_BYTES_MAX - 2, number.unsigned_abs());
        loop {
            start -= 1;
            line[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            start -= 1;
            line[start] = b'-';
        }
        start -= 1;
        line[start] = kind;
        self.out.extend_from_slice(&line[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_lengths() {
        for number in [0, 9, 10, -1, 12_345, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            ReplyWriter::new(&mut out, false).integer(number);
            assert_eq!(out, format!(":{number}\r\n").into_bytes());
        }
    }

    #[test]
    fn each_value_in_both_versions() {
        let written = |resp3| {
            let mut out = Vec::new();
            let mut reply = ReplyWriter::new(&mut out, resp3);
            reply.map(1);
            reply.bulk(b"k");
            reply.boolean(true);
            reply.double(1.5);
            reply.double(-1e-300);
            reply.null();
            reply.null_array();
            reply.integer(-12);
            reply.verbatim("txt", b"hi");
            reply.error("ERR a\r\nb");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(false),
            "*2\r\n$1\r\nk\r\n:1\r\n$3\r\n1.5\r\n$7\r\n-1e-300\r\n$-1\r\n*-1\r\n:-12\r\n$2\r\nhi\r\n-ERR a  b\r\n"
        );
        assert_eq!(
            written(true),
            "%1\r\n$1\r\nk\r\n#t\r\n,1.5\r\n,-1e-300\r\n_\r\n_\r\n:-12\r\n=6\r\ntxt:hi\r\n-ERR a  b\r\n"
        );
    }
}
