//! What a connection remembers between two requests. Small while nobody gave it a name.

use std::fmt::Write;

use super::facts::{ClientView, Seat};
use super::transaction::Transaction;
use crate::net::clock::Moment;
use crate::protocol::command::CommandSpec;
use crate::protocol::frame::ReadLevel;

/// One client connection's state.
#[derive(Debug)]
pub struct Session {
    id: u64,
    created: Moment,
    last_request: Moment,
    last_command: Option<&'static CommandSpec>,
    resp3: bool,
    replies: Replies,
    reads: ReadLevel,
    reads_at_start: ReadLevel,
    no_evict: bool,
    no_touch: bool,
    labels: Option<Box<Labels>>,
    transaction: Option<Box<Transaction>>,
}

/// What a client calls itself.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) name: Vec<u8>,
    pub(super) library_name: Vec<u8>,
    pub(super) library_version: Vec<u8>,
}

/// Which replies a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// All but the next.
    SkipNext,
}

impl Session {
    /// A connection that was opened at `now`, and reads at `reads` until it chooses.
    pub const fn new(id: u64, reads: ReadLevel, now: Moment) -> Self {
        Self {
            id,
            created: now,
            last_request: now,
            last_command: None,
            resp3: false,
            replies: Replies::On,
            reads,
            reads_at_start: reads,
            no_evict: false,
            no_touch: false,
            labels: None,
            transaction: None,
        }
    }

    /// The connection's id, as `CLIENT ID` tells it.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether the client speaks RESP3.
    pub const fn resp3(&self) -> bool {
        self.resp3
    }

    /// What the client's reads promise.
    pub const fn reads(&self) -> ReadLevel {
        self.reads
    }

    /// The level of a read that comes now: what the client watches lets it see nothing older (R3).
    pub fn reads_now(&self) -> ReadLevel {
        match self.reads {
            ReadLevel::Any if self.transaction().is_some_and(Transaction::is_watching) => ReadLevel::Session,
            reads => reads,
        }
    }

    /// Whether the client said `MULTI` and neither `EXEC` nor `DISCARD`.
    pub fn in_multi(&self) -> bool {
        self.transaction().is_some_and(Transaction::is_open)
    }

    /// What the client watches and queued, if anything.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_deref()
    }

    /// The same, to change it.
    pub fn transaction_mut(&mut self) -> &mut Transaction {
        self.transaction.get_or_insert_default()
    }

    /// Takes the transaction out, to be sent; nothing is watched any more.
    pub fn take_transaction(&mut self) -> Transaction {
        self.transaction.take().map_or_else(Transaction::default, |transaction| *transaction)
    }

    /// Forgets what is watched and queued.
    pub fn drop_transaction(&mut self) {
        self.transaction = None;
    }

    /// A request could not be queued: if there is a transaction, its `EXEC` does nothing.
    pub fn break_transaction(&mut self) {
        self.transaction.iter_mut().for_each(|transaction| transaction.make_broken());
    }

    /// What the client called itself; empty if it did not.
    pub fn name(&self) -> &[u8] {
        self.labels.as_ref().map_or(&[], |labels| &labels.name)
    }

    /// Notes a request, for `CLIENT LIST`.
    pub const fn note(&mut self, spec: &'static CommandSpec, now: Moment) {
        self.last_command = Some(spec);
        self.last_request = now;
    }

    /// Whether the client wants the reply to the request that starts now. To be asked once for each, in order;
    /// [`answer`](super::answer) asks by itself.
    pub fn starts_request(&mut self) -> bool {
        match self.replies {
            Replies::On => true,
            Replies::Off => false,
            Replies::SkipNext => {
                self.replies = Replies::On;
                false
            }
        }
    }

    /// Whether the client asked for commands that leave the time of last use alone.
    pub const fn no_touch(&self) -> bool {
        self.no_touch
    }

    /// The connection as others see it.
    pub fn view(&self, seat: &Seat, now: Moment) -> ClientView {
        let mut line =
            format!("id={} addr={} laddr={} fd={} name=", self.id, seat.address, seat.local_address, seat.descriptor);
        let labels = self.labels.as_deref();
        let transaction = self.transaction();
        let transaction_bytes = transaction.map_or(0, Transaction::bytes);
        let text = |label: Option<&Vec<u8>>| String::from_utf8_lossy(label.map_or(&[], Vec::as_slice)).into_owned();
        line.push_str(&text(labels.map(|labels| &labels.name)));
        write!(
            line,
            " age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 multi={} watch={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem={} \
             rbs=0 rbp=0 obl=0 oll=0 omem={} tot-mem={} events=r cmd={} user=default redir=-1 resp={} lib-name={} \
             lib-ver={}",
            now.since(self.created).as_secs(),
            now.since(self.last_request).as_secs(),
            self.flags(seat.is_blocked),
            transaction.and_then(Transaction::queued).map_or(-1, |count| count as i64),
            transaction.map_or(0, Transaction::watched),
            seat.input_bytes,
            transaction_bytes,
            seat.output_bytes,
            seat.input_bytes + seat.output_bytes + transaction_bytes + size_of::<Self>(),
            self.last_command.map_or("NULL", |spec| spec.name),
            if self.resp3 { 3 } else { 2 },
            text(labels.map(|labels| &labels.library_name)),
            text(labels.map(|labels| &labels.library_version)),
        )
        .expect("a String takes all text");
        let (address, local_address) = (seat.address.clone(), seat.local_address.clone());
        ClientView { id: self.id, address, local_address, is_blocked: seat.is_blocked, line }
    }

    fn flags(&self, is_blocked: bool) -> String {
        let set = [
            (self.in_multi(), 'x'),
            (is_blocked, 'b'),
            (self.reads == ReadLevel::Any, 'r'),
            (self.no_evict, 'e'),
            (self.no_touch, 'T'),
        ];
        let flags: String = set.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect();
        if flags.is_empty() { "N".into() } else { flags }
    }

    pub(super) const fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    pub(super) const fn set_reads(&mut self, reads: ReadLevel) {
        self.reads = reads;
    }

    pub(super) const fn set_no_evict(&mut self, on: bool) {
        self.no_evict = on;
    }

    pub(super) const fn set_no_touch(&mut self, on: bool) {
        self.no_touch = on;
    }

    /// Follows `CLIENT REPLY`; replies that are off are not made to skip one.
    pub(super) fn set_replies(&mut self, replies: Replies) {
        if replies != Replies::SkipNext || self.replies != Replies::Off {
            self.replies = replies;
        }
    }

    pub(super) fn labels_mut(&mut self) -> &mut Labels {
        self.labels.get_or_insert_default()
    }

    /// Back to how the connection started, but for what the client's library said of itself.
    pub(super) fn reset(&mut self) {
        self.resp3 = false;
        self.replies = Replies::On;
        self.reads = self.reads_at_start;
        self.no_evict = false;
        self.no_touch = false;
        self.transaction = None;
        if let Some(labels) = &mut self.labels {
            labels.name = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 72, "{} bytes", size_of::<Session>());
    }
}
