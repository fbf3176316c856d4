//! One client's connection without its socket: what a proxy and a node's plain RESP port answer by themselves.
//!
//! A holder (a proxy's worker, a node's listener) parses a request, resolves it in the command table and, when its route
//! is [`Route::Connection`], calls [`answer`]: the request, the client's [`Session`] and what is [`Around`] it go in; the
//! reply and an [`Effect`] come out. Everything is decided here; the effect is what only the holder can carry out.
//! For every other request it asks [`Session::starts_request`] whether the client wants the reply.
//!
//! Invariants: no IO and no clock (`Around::now`); an idle session owns nothing but its names; [`answer`] writes exactly
//! one reply, or none where `CLIENT REPLY` says so.
//!
//! Deliberately absent: commands with keys (the shards'), authentication, pub/sub. Transactions are put
//! together in [`transaction`], and sent by the holder.
//!
//! [`Route::Connection`]: crate::protocol::command::Route::Connection

mod client;
mod client_filter;
mod command;
mod config;
mod connection;
pub mod facts;
mod help;
mod info;
mod parameter_kind;
mod parameters;
mod server;
mod session;
mod slow_log;
pub mod transaction;

#[cfg(test)]
mod golden;

use crate::net::clock::Moment;
use crate::protocol::command::{CommandId, CommandSpec};
use crate::protocol::errors;
use crate::protocol::identity::CancelHow;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;
use crate::topology::LogTime;

pub use client_filter::ClientFilter;
pub use facts::{ClientView, Facts, Seat};
pub use parameter_kind::parse_bytes;
pub use parameters::Parameters;
pub use session::Session;
pub use slow_log::{SlowLog, SlowRequest};
pub use transaction::Transaction;

/// The Redis whose commands and replies these are.
pub const REDIS_VERSION: &str = "7.2.6";

/// What all connections of a process share, between threads too.
#[derive(Debug, Default)]
pub struct Desk {
    /// What `CONFIG` reads and sets.
    pub parameters: Parameters,
    /// What `SLOWLOG` reads.
    pub slow_log: SlowLog,
}

/// What the holder of connections knows of its process. Asked only by the commands that report it.
pub trait Holder {
    /// The numbers of `INFO`, `MEMORY`, `ROLE` and `WAIT`.
    fn facts(&self) -> Facts;
    /// All connections of the process, by id.
    fn clients(&self) -> Vec<ClientView>;
}

/// Whether a command asks for [`Holder::clients`]: for all others the holder need not gather them.
pub fn needs_views(spec: &CommandSpec) -> bool {
    matches!(spec.name, "client|list" | "client|kill" | "client|unblock")
}

/// What is around a request, besides the session that it belongs to.
pub struct Around<'a> {
    /// What the connections of the process share.
    pub desk: &'a Desk,
    /// Who knows the rest of the process.
    pub holder: &'a dyn Holder,
    /// The client's end of the connection.
    pub seat: &'a Seat,
    /// The monotonic clock.
    pub now: Moment,
    /// The wall clock.
    pub wall: LogTime,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("seat", self.seat).field("now", &self.now).finish_non_exhaustive()
    }
}

/// What the holder is to do when the reply is written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// Close this connection once everything before and this reply is sent.
    Close,
    /// Close the connections with these ids; this one, if it is among them, as with [`Effect::Close`].
    Kill(Vec<u64>),
    /// Take no requests from any client until then; only reads if `writes_only`.
    Pause {
        /// When to go on.
        until: Moment,
        /// Whether reads go on meanwhile.
        writes_only: bool,
    },
    /// End the wait of the connection with this id, if it is blocked.
    Unblock {
        /// The connection.
        id: u64,
        /// What it gets.
        how: CancelHow,
    },
    /// End a pause.
    Unpause,
    /// Set the counters behind [`Facts`] back to zero.
    ResetStatistics,
}

/// Answers a request whose route is the connection, into `out`.
pub fn answer(
    spec: &'static CommandSpec,
    args: Args<'_>,
    session: &mut Session,
    around: &Around<'_>,
    out: &mut Vec<u8>,
) -> Effect {
    let start = out.len();
    let mut wanted = session.starts_request();
    let mut call = Call { spec, args, session, around, reply: ReplyWriter::new(out, false) };
    call.renew_reply();
    let effect = call.dispatch();
    // Replies that were off come on with the reply to that.
    wanted |= spec.name == "client|reply" && args.is(2, "on");
    if !wanted {
        out.truncate(start);
    }
    effect
}

/// One request on its way through a command.
struct Call<'a, 'b> {
    spec: &'static CommandSpec,
    args: Args<'a>,
    session: &'b mut Session,
    around: &'b Around<'b>,
    reply: ReplyWriter<'b>,
}

impl Call<'_, '_> {
    fn dispatch(&mut self) -> Effect {
        match self.spec.id {
            CommandId::Auth => self.auth(),
            CommandId::Client => return self.client(),
            CommandId::Cluster => self.cluster(),
            CommandId::Command => self.command(),
            CommandId::Config => return self.config(),
            CommandId::Debug => self.debug(),
            CommandId::Echo => self.echo(),
            CommandId::Function => self.function_flush(),
            CommandId::Hello => self.hello(),
            CommandId::Info => self.info(),
            CommandId::LastSave => self.last_save(),
            CommandId::Latency => self.latency(),
            CommandId::Lolwut => self.lolwut(),
            CommandId::Memory => self.memory(),
            CommandId::Object => self.help(help::OBJECT),
            CommandId::Ping => self.ping(),
            CommandId::Quit => return self.quit(),
            CommandId::ReadOnly => self.read_only(),
            CommandId::ReadWrite => self.read_write(),
            CommandId::Reset => self.reset(),
            CommandId::Role => self.role(),
            // What was acknowledged is on disk already.
            CommandId::Save => self.reply.ok(),
            CommandId::Select => self.select(),
            CommandId::Shutdown => self.reply.error(errors::SHUTDOWN_REFUSED),
            CommandId::SlowLog => self.slow_log(),
            CommandId::SwapDb => self.swap_db(),
            CommandId::Time => self.time(),
            // Queued, it comes when there is nothing left to forget.
            CommandId::Unwatch => self.reply.ok(),
            CommandId::Wait => self.wait(),
            // Whoever routes by the table sends these to the shards.
            _ => self.reply.error("ERR this command needs a shard"),
        }
        Effect::None
    }

    /// Lets the reply follow the session's version of the protocol.
    fn renew_reply(&mut self) {
        self.reply.set_resp3(self.session.resp3());
    }

    /// The integer at `position`; `None` when the client was told what is wrong.
    fn integer(&mut self, position: usize, error: &str) -> Option<i64> {
        let number = crate::protocol::numbers::parse_i64(self.args.get(position));
        if number.is_none() {
            self.reply.error(error);
        }
        number
    }

    /// An error that quotes the client.
    fn error_quoting(&mut self, before: &str, quoted: &[u8], after: &str) {
        let mut error = Vec::new();
        crate::protocol::errors::write_quoting(&mut error, before, quoted, after);
        self.reply.raw(&error);
    }
}
