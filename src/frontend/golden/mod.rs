//! Conversations: what a client types, what it is answered. Replies of several lines are shown with their line ends.

mod connection;
mod server;

use super::*;
use crate::protocol::command::resolve;
use crate::protocol::frame::ReadLevel;
use crate::protocol::request::{Limits, Parsed, RequestParser};

struct Process;

impl Holder for Process {
    fn facts(&self) -> Facts {
        Facts {
            version: "0.1.0".into(),
            process: "proxy".into(),
            port: 6379,
            clients: 2,
            keys: 3,
            replicas_acknowledging: 1,
            last_save: 1_700_000_000,
            resident_bytes: 2048,
            commands: vec![facts::CommandCount { name: "get", calls: 4, microseconds: 10, ..Default::default() }],
            errors: vec![("ERR".into(), 7)],
            ..Facts::default()
        }
    }

    fn clients(&self) -> Vec<ClientView> {
        let seat = Seat { address: "1.2.3.4:5".into(), local_address: "9.9.9.9:6379".into(), ..Seat::default() };
        vec![Session::new(4, ReadLevel::Session, Moment::default()).view(&seat, Moment::default())]
    }
}

/// A client that is connected as number 7.
struct Client {
    session: Session,
    desk: Desk,
}

impl Client {
    fn new() -> Self {
        Self { session: Session::new(7, ReadLevel::Session, Moment::default()), desk: Desk::default() }
    }

    /// The reply to one inline request, and what the holder is to do.
    fn says(&mut self, line: &str) -> (String, Effect) {
        let (mut spans, mut side, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let line = format!("{line}\n");
        let parsed = RequestParser::default().parse(line.as_bytes(), &Limits::default(), &mut spans, &mut side);
        assert!(matches!(parsed, Ok(Parsed::Request { .. })), "{line}");
        let args = Args::new(&side, &spans);
        let seat = Seat {
            address: "10.0.0.1:4711".into(),
            local_address: "10.0.0.2:6379".into(),
            descriptor: 9,
            ..Seat::default()
        };
        let around = Around {
            desk: &self.desk,
            holder: &Process,
            seat: &seat,
            now: Moment::at(std::time::Duration::from_secs(60)),
            wall: LogTime(1_700_000_000_123),
        };
        let effect = match resolve(args) {
            Ok(spec) => answer(spec, args, &mut self.session, &around, &mut out),
            Err(error) => {
                error.write(args, &mut out);
                Effect::None
            }
        };
        (String::from_utf8(out).unwrap(), effect)
    }

    fn hears(&mut self, line: &str) -> String {
        let (reply, effect) = self.says(line);
        assert_eq!(effect, Effect::None, "{line}");
        reply
    }

    /// Plays a script: a line that starts with `>` is a request, the lines behind it are the reply. A line that ends
    /// with `...` stands for any line that starts like it.
    fn plays(&mut self, script: &str) {
        for scene in script.split("\n        > ").skip(1) {
            let (request, reply) = scene.split_once('\n').unwrap();
            let expected: Vec<&str> = reply.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let heard = self.hears(request.trim());
            let heard: Vec<&str> = heard.split("\r\n").map(str::trim).filter(|line| !line.is_empty()).collect();
            let fits = heard.len() == expected.len()
                && heard.iter().zip(&expected).all(|(heard, expected)| match expected.strip_suffix("...") {
                    Some(start) => heard.starts_with(start),
                    None => heard == expected,
                });
            assert!(fits, "{request}\nheard {heard:#?}\nexpected {expected:#?}");
        }
    }
}
