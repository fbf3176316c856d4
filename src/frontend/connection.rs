//! Commands about the connection itself.

use super::{Call, Effect, REDIS_VERSION};
use crate::protocol::errors;
use crate::protocol::frame::ReadLevel;
use crate::protocol::numbers::parse_i64;

impl Call<'_, '_> {
    pub(super) fn ping(&mut self) {
        match self.args.len() {
            1 => self.reply.simple("PONG"),
            2 => self.reply.bulk(self.args.get(1)),
            _ => self.reply.error(&errors::wrong_arity(self.spec.name)),
        }
    }

    pub(super) fn echo(&mut self) {
        self.reply.bulk(self.args.get(1));
    }

    pub(super) fn quit(&mut self) -> Effect {
        self.reply.ok();
        Effect::Close
    }

    pub(super) fn reset(&mut self) {
        self.session.reset();
        self.renew_reply();
        self.reply.simple("RESET");
    }

    pub(super) fn select(&mut self) {
        let Some(number) = self.integer(1, errors::NOT_AN_INTEGER) else { return };
        match i32::try_from(number) {
            Ok(0) => self.reply.ok(),
            Ok(_) => self.reply.error(errors::DB_INDEX),
            Err(_) => self.reply.error(errors::NOT_32_BITS),
        }
    }

    pub(super) fn swap_db(&mut self) {
        let number = |position| parse_i64(self.args.get(position)).and_then(|number| i32::try_from(number).ok());
        match (number(1), number(2)) {
            (None, _) => self.reply.error(errors::SWAPDB_FIRST),
            (_, None) => self.reply.error(errors::SWAPDB_SECOND),
            (Some(0), Some(0)) => self.reply.ok(),
            _ => self.reply.error(errors::DB_INDEX),
        }
    }

    /// There are no users yet. A password that nobody checks would be worse than none, so it is refused.
    pub(super) fn auth(&mut self) {
        let error = if self.args.len() <= 3 { errors::AUTH_WITHOUT_PASSWORD } else { errors::SYNTAX };
        self.reply.error(error);
    }

    pub(super) fn hello(&mut self) {
        let mut version = None;
        if self.args.len() > 1 {
            let Some(number) = self.integer(1, errors::PROTOCOL_NOT_A_NUMBER) else { return };
            if !(2..=3).contains(&number) {
                return self.reply.error(errors::NO_PROTOCOL);
            }
            version = Some(number);
        }
        let Some(options) = self.hello_options() else { return };
        if options.has_password {
            return self.reply.error(errors::AUTH_WITHOUT_PASSWORD);
        }
        if let Some(name) = options.name {
            self.session.labels_mut().name = name.to_vec();
        }
        if let Some(version) = version {
            self.session.set_resp3(version == 3);
            self.renew_reply();
        }
        self.write_hello();
    }

    fn write_hello(&mut self) {
        let (id, resp3) = (self.session.id(), self.session.resp3());
        self.reply.map(7);
        self.reply.bulk(b"server");
        self.reply.bulk(b"redis");
        self.reply.bulk(b"version");
        self.reply.bulk(REDIS_VERSION.as_bytes());
        self.reply.bulk(b"proto");
        self.reply.integer(if resp3 { 3 } else { 2 });
        self.reply.bulk(b"id");
        self.reply.integer(id as i64);
        self.reply.bulk(b"mode");
        self.reply.bulk(b"standalone");
        self.reply.bulk(b"role");
        self.reply.bulk(b"master");
        self.reply.bulk(b"modules");
        self.reply.array(0);
    }

    /// What follows the version; `None` when the client was told what is wrong.
    fn hello_options(&mut self) -> Option<HelloOptions<'_>> {
        let args = self.args;
        let mut options = HelloOptions { has_password: false, name: None };
        let mut at = 2;
        while at < args.len() {
            let behind = args.len() - 1 - at;
            if args.is(at, "auth") && behind >= 2 {
                options.has_password = true;
                at += 3;
            } else if args.is(at, "setname") && behind >= 1 {
                options.name = Some(args.get(at + 1));
                if !is_label(args.get(at + 1)) {
                    self.reply.error(errors::CLIENT_NAME);
                    return None;
                }
                at += 2;
            } else {
                self.error_quoting("ERR Syntax error in HELLO option '", args.get(at), "'");
                return None;
            }
        }
        Some(options)
    }

    pub(super) fn read_only(&mut self) {
        self.session.set_reads(ReadLevel::Any);
        self.reply.ok();
    }

    pub(super) fn read_write(&mut self) {
        self.session.set_reads(ReadLevel::Strong);
        self.reply.ok();
    }

    /// Every write that was answered is on a majority already, so that there is nothing to wait for: the answer is how
    /// many replicas that is besides the leader. More than that is never promised, so waiting for more would be in vain.
    pub(super) fn wait(&mut self) {
        if self.integer(1, errors::NOT_AN_INTEGER).is_some() && self.timeout_ms(2).is_some() {
            let replicas = self.around.holder.facts().replicas_acknowledging;
            self.reply.integer(i64::from(replicas));
        }
    }

    /// A time-out in milliseconds; `None` when the client was told what is wrong.
    pub(super) fn timeout_ms(&mut self, position: usize) -> Option<u64> {
        let number = self.integer(position, "ERR timeout is not an integer or out of range")?;
        let wall = i64::try_from(self.around.wall.get()).unwrap_or(i64::MAX);
        match u64::try_from(number) {
            Err(_) => self.reply.error("ERR timeout is negative"),
            Ok(_) if number.checked_add(wall).is_none() => self.reply.error("ERR timeout is out of range"),
            Ok(timeout) => return Some(timeout),
        }
        None
    }
}

struct HelloOptions<'a> {
    has_password: bool,
    name: Option<&'a [u8]>,
}

/// Whether a name can stand in `CLIENT LIST`: visible ASCII only.
pub(super) fn is_label(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}
