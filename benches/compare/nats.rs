//! NATS's text protocol, as far as one key of a JetStream bucket needs it: a message published to the key's subject and its
//! acknowledgement, or a direct get.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::speech::{Heard, Op, Picker, Speaker, Template, Work, blank_key};

const BUCKET: &str = "bench";
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";

pub struct Nats {
    inbox: String,
    template: Template,
    picker: Picker,
}

impl Nats {
    pub fn new(work: Work, client: usize) -> Self {
        // A subject's words hold no colon.
        let key = blank_key(work.value_bytes).replace(':', "_");
        // Subjects are everybody's: without one of its own, each client would hear all answers.
        let inbox = format!("_INBOX.bench.{client}");
        let text = match work.op {
            Op::Set => {
                let (length, value) = (work.value_bytes, "x".repeat(work.value_bytes));
                format!("PUB $KV.{BUCKET}.{key} {inbox} {length}\r\n{value}\r\n")
            }
            Op::Get | Op::MultiGet(_) => {
                format!("PUB $JS.API.DIRECT.GET.KV_{BUCKET}.$KV.{BUCKET}.{key} {inbox} 0\r\n\r\n")
            }
        };
        Self {
            inbox,
            template: Template::new(text.into_bytes(), key.as_bytes()),
            picker: Picker::new(work.keys, client),
        }
    }
}

impl Speaker for Nats {
    fn greeting(&self) -> (Vec<u8>, usize) {
        (hello(&self.inbox), 0)
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        self.template.write(out, &mut self.picker);
    }

    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Heard, String> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n") else { return Ok(Heard::Part) };
        let line = &bytes[..end];
        if line.starts_with(b"-ERR") {
            return Err(String::from_utf8_lossy(line).into_owned());
        }
        if line == b"PING" {
            out.extend_from_slice(b"PONG\r\n");
        }
        if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
            return Ok(Heard::Other(end + 2));
        }
        let total =
            line.rsplit(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        let total: usize = total.ok_or_else(|| format!("no length in {}", String::from_utf8_lossy(line)))?;
        let Some(body) = bytes.get(end + 2..end + 2 + total) else { return Ok(Heard::Part) };
        if bytes.len() < end + 2 + total + 2 {
            return Ok(Heard::Part);
        }
        // Headers that begin with a status tell that there is no message; an acknowledgement may hold an error.
        let failed = body.starts_with(b"NATS/1.0 ") || memchr::memmem::find(body, b"\"error\"").is_some();
        let error = failed.then(|| String::from_utf8_lossy(body).into_owned());
        Ok(Heard::Answer { length: end + 2 + total + 2, error })
    }
}

fn hello(inbox: &str) -> Vec<u8> {
    format!("{CONNECT}SUB {inbox} 1\r\n").into_bytes()
}

/// Asks once and waits for the answer; none if there was none in two seconds.
pub fn ask(port: u16, subject: &str, payload: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let inbox = "_INBOX.bench.ask";
    let request = format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", payload.len());
    stream.write_all(&[hello(inbox), request.into_bytes()].concat()).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first() {
            Some(&("MSG" | "HMSG")) => {
                let mut body = vec![0; words.last()?.parse().ok()?];
                reader.read_exact(&mut body).ok()?;
                return Some(String::from_utf8_lossy(&body).into_owned());
            }
            Some(_) => {}
            None => return None,
        }
    }
}

/// Makes the bucket, with three replicas on disk; returns what the server said if that failed.
pub fn make_bucket(port: u16) -> Result<(), String> {
    let config = serde_json::json!({
        "name": format!("KV_{BUCKET}"), "subjects": [format!("$KV.{BUCKET}.>")], "num_replicas": 3, "storage": "file",
        "retention": "limits", "discard": "new", "max_msgs_per_subject": 1, "allow_direct": true,
        "allow_rollup_hdrs": true, "deny_delete": true,
    });
    let subject = format!("$JS.API.STREAM.CREATE.KV_{BUCKET}");
    let answer = ask(port, &subject, &config.to_string()).ok_or("no answer")?;
    if answer.contains("\"error\"") || answer.starts_with("NATS/1.0 ") { Err(answer) } else { Ok(()) }
}

/// The name of the server that leads the bucket, once all its replicas are in step.
pub fn leader(port: u16) -> Option<String> {
    let answer = ask(port, &format!("$JS.API.STREAM.INFO.KV_{BUCKET}"), "")?;
    let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
    let cluster = &answer["cluster"];
    let in_step = |replica: &serde_json::Value| replica["current"] == true && replica["offline"] != true;
    let replicas = cluster["replicas"].as_array()?;
    (replicas.len() == 2 && replicas.iter().all(in_step)).then(|| cluster["leader"].as_str().map(str::to_owned))?
}
