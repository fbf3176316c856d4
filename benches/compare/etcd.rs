//! etcd's gRPC, as far as one `Put` or `Range` of one key needs it: HTTP/2 frames with headers that are the same bytes each time
//! (no header table, no Huffman code), and a message of two fields.
//!
//! Requests are a few hundred bytes, so the server's windows never fill and are not looked at; ours are as wide as can be.

use std::collections::HashMap;

use crate::speech::{Heard, KEY_DIGITS, Op, Picker, Speaker, Template, Work, blank_key};

const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// So many bytes of answers are taken before the connection's window is opened again.
const WINDOW_STEP_BYTES: usize = 1 << 28;

pub struct Etcd {
    template: Template,
    picker: Picker,
    /// The least that a good answer has.
    answer_bytes_min: usize,
    stream: u32,
    /// Bytes of messages by stream.
    received: HashMap<u32, usize>,
    unreported: usize,
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
}

/// A field of bytes in a protobuf message.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// Headers as literals that no table keeps (RFC 7541, 6.2.2); the well-known ones by their index.
fn headers(path: &str) -> Vec<u8> {
    // POST, http.
    let mut out = vec![0x83, 0x86];
    let mut text = |name: &[u8], value: &str| {
        out.extend_from_slice(name);
        out.push(value.len() as u8);
        out.extend_from_slice(value.as_bytes());
    };
    text(&[0x04], path);
    // :authority, then content-type (index 31).
    text(&[0x01], "127.0.0.1");
    text(&[0x0f, 31 - 15], "application/grpc");
    text(b"\0\x02te", "trailers");
    out
}

impl Etcd {
    pub fn new(work: Work, client: usize) -> Self {
        let key = blank_key(work.value_bytes);
        let mut message = Vec::new();
        field(&mut message, 1, key.as_bytes());
        let path = match work.op {
            Op::Set => {
                field(&mut message, 2, &vec![b'x'; work.value_bytes]);
                "/etcdserverpb.KV/Put"
            }
            Op::Get | Op::MultiGet(_) => "/etcdserverpb.KV/Range",
        };
        let mut body = vec![0];
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(&message);
        let mut bytes = Vec::new();
        // The stream's number is put in when it is sent.
        frame(&mut bytes, HEADERS, END_HEADERS, 0, &headers(path));
        frame(&mut bytes, DATA, END_STREAM, 0, &body);
        Self {
            template: Template::new(bytes, key.as_bytes()),
            picker: Picker::new(work.keys, client),
            answer_bytes_min: if work.op == Op::Set { 1 } else { work.value_bytes + KEY_DIGITS },
            stream: 1,
            received: HashMap::new(),
            unreported: 0,
        }
    }

    /// A stream is over: with a message, or with a status alone, which is an error.
    fn ended(&mut self, stream: u32, length: usize) -> Heard {
        let received = self.received.remove(&stream).unwrap_or(0);
        let error = (received < self.answer_bytes_min).then(|| format!("etcd answered {received} bytes"));
        Heard::Answer { length, error }
    }
}

impl Speaker for Etcd {
    fn greeting(&self) -> (Vec<u8>, usize) {
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // No pushes, and the widest window of each stream.
        let settings = [&[0, 2][..], &0_u32.to_be_bytes(), &[0, 4], &0x7fff_ffff_u32.to_be_bytes()].concat();
        frame(&mut out, SETTINGS, 0, 0, &settings);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &(WINDOW_STEP_BYTES as u32 * 4).to_be_bytes());
        (out, 0)
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.template.write(out, &mut self.picker);
        let stream = self.stream.to_be_bytes();
        self.stream += 2;
        let header_bytes = usize::from(out[start + 1]) << 8 | usize::from(out[start + 2]);
        let second = start + FRAME_HEADER_BYTES + header_bytes;
        for frame in [start, second] {
            out[frame + 5..frame + FRAME_HEADER_BYTES].copy_from_slice(&stream);
        }
    }

    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Heard, String> {
        let Some(head) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(Heard::Part) };
        let length = FRAME_HEADER_BYTES + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(body) = bytes.get(FRAME_HEADER_BYTES..length) else { return Ok(Heard::Part) };
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        match kind {
            DATA => {
                *self.received.entry(stream).or_default() += body.len();
                self.unreported += body.len();
                if self.unreported > WINDOW_STEP_BYTES {
                    frame(out, WINDOW_UPDATE, 0, 0, &(self.unreported as u32).to_be_bytes());
                    self.unreported = 0;
                }
                if flags & END_STREAM != 0 {
                    return Ok(self.ended(stream, length));
                }
            }
            HEADERS if flags & END_STREAM != 0 => return Ok(self.ended(stream, length)),
            RESET => {
                self.received.remove(&stream);
                return Ok(Heard::Answer { length, error: Some("etcd reset a stream".to_owned()) });
            }
            SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(out, PING, ACK, 0, body),
            GOAWAY => {
                return Err(format!("etcd goes away: {}", String::from_utf8_lossy(body.get(8..).unwrap_or(body))));
            }
            _ => {}
        }
        Ok(Heard::Other(length))
    }
}
