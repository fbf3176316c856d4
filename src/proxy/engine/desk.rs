//! Connection commands.
use super::Engine;
use crate::protocol::command::CommandSpec;
use crate::protocol::frame::ReadLevel;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

#[derive(Debug, Default)]
pub struct Session {
    pub resp3: bool,
    pub level: ReadLevel,
}

impl Engine {
    pub(super) fn answer_here(&mut self, key: u32, spec: &CommandSpec, _args: Args<'_>) {
        let resp3 = self.clients[key as usize].session.resp3;
        self.reply_here(key, |out| {
            let mut reply = ReplyWriter::new(out, resp3);
            match spec.name {
                "ping" => reply.simple("PONG"),
                "config|get" => reply.map(0),
                _ => reply.ok(),
            }
        });
    }
}
