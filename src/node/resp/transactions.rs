//! Transactions of plain RESP clients: put together in the session, sent as one entry, shown as the node answers them.
//!
//! What a client sends behind a `WATCH`, or behind an `EXEC` with commands of the connection among the queued ones, is
//! not looked at before the answer: [`may_go_on`](RespReader::may_go_on) stops the reader, and [`answered`] lets its task go on.

use std::rc::Rc;

use tokio::sync::Notify;

use super::{Place, RespReader, Sent, answer_here};
use crate::frontend::Transaction;
use crate::frontend::transaction::{Awaited, Misplaced, Step, next_step};
use crate::node::connections::{Connections, Dialect};
use crate::node::server::Node;
use crate::protocol::command::{CommandSpec, Route, resolve};
use crate::protocol::errors;
use crate::protocol::frame::ReadLevel;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, parse_array};
use crate::topology::{ShardId, Slot};

/// Bytes that one client may watch and queue; past it the transaction is broken.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// A request whose answer must come before the client's next one is looked at.
pub struct Waiting {
    /// Its number.
    pub id: u64,
    /// What is done with the answer.
    pub awaited: Awaited,
    /// The answer, as soon as it is there.
    pub answer: Option<Vec<u8>>,
}

/// What wakes whoever waits for the answer that a plain RESP client's next requests wait for, if one does.
pub fn answered(connections: &mut Connections, key: usize) -> Option<Rc<Notify>> {
    match &connections.get(key)?.dialect {
        Dialect::Resp(client) if client.waiting.is_some() => Some(Rc::clone(&client.answered)),
        _ => None,
    }
}

impl RespReader {
    /// Does what is to be done with an answer that was waited for. Returns whether the next request may be looked at.
    pub(super) fn may_go_on(&mut self, node: &mut Node, key: usize) -> bool {
        if !self.waits {
            return true;
        }
        let Some(Dialect::Resp(client)) = node.connections.get(key).map(|c| &mut c.dialect) else { return false };
        let Some(waiting) = client.waiting.take_if(|waiting| waiting.answer.is_some()) else { return false };
        self.waits = false;
        let (answer, mut reply) = (waiting.answer.unwrap_or_default(), Vec::new());
        match waiting.awaited {
            Awaited::Nothing => reply.extend_from_slice(&answer),
            Awaited::Watch(keys) => self.session.transaction_mut().watched_at(&keys, &answer, &mut reply),
            Awaited::Exec(plan) => {
                plan.merge(&answer, |request, out| self.carry_out_queued(node, key, request, out), &mut reply);
            }
        }
        if let Some(connection) = node.connections.get_dirty(key)
            && let Dialect::Resp(client) = &mut connection.dialect
        {
            client.answer(waiting.id, &reply, &mut connection.outlet.out);
        }
        true
    }

    fn carry_out_queued(&mut self, node: &mut Node, key: usize, request: &[u8], out: &mut Vec<u8>) {
        let mut spans = Vec::new();
        if parse_array(request, &mut spans).is_err() {
            return;
        }
        let args = Args::new(request, &spans);
        match resolve(args) {
            Ok(spec) => {
                let effect = self.ask_frontend(node, spec, args, out);
                self.carry_out(node, key, effect);
            }
            Err(error) => error.write(args, out),
        }
    }

    /// Takes a request that is about a transaction or goes into one. `false`: it is an ordinary one.
    pub(super) fn take_of_transaction(
        &mut self,
        node: &mut Node,
        key: usize,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> bool {
        let said = match next_step(spec, &mut self.session) {
            Step::Ordinary => return false,
            Step::Ok => Ok("OK"),
            Step::Error(text) => Err(text.to_owned()),
            Step::Queue => self.queue(node, spec, args).inspect_err(|_| self.session.break_transaction()),
            Step::Watch => match self.watch(node, key, args) {
                Ok(()) => return true,
                Err(text) => {
                    self.session.transaction_mut().watch_failed();
                    Err(text)
                }
            },
            Step::Exec => match self.exec(node, key) {
                Ok(()) => return true,
                Err(text) => Err(errors::exec_abort(&text)),
            },
        };
        let mut reply = Vec::new();
        match said {
            Ok(text) => ReplyWriter::new(&mut reply, false).simple(text),
            Err(text) => ReplyWriter::new(&mut reply, false).error(&text),
        }
        let wanted = self.session.starts_request();
        answer_here(node, key, wanted, &reply);
        true
    }

    fn queue(&mut self, node: &Node, spec: &'static CommandSpec, args: Args<'_>) -> Result<&'static str, String> {
        let catalog = node.engine.catalog().ok_or_else(|| errors::NO_OWNER.to_owned())?;
        if matches!(spec.route, Route::EveryShard(_) | Route::Cursor) && catalog.data_shards().len() > 1 {
            return Err(errors::every_shard_in_multi(spec.name));
        }
        let slots = spec.key_positions(args).map(|position| Slot::of_key(args.get(position)));
        self.shard_with(node, slots.clone())?;
        self.check_room(args.bytes().len())?;
        self.session.transaction_mut().queue(spec, args, slots);
        Ok("QUEUED")
    }

    fn shard_with(&mut self, node: &Node, slots: impl Iterator<Item = Slot>) -> Result<Option<ShardId>, String> {
        let catalog = node.engine.catalog().ok_or_else(|| errors::NO_OWNER.to_owned())?;
        let placed = self.session.transaction_mut().shard_with(slots, |slot| Some(catalog.owner(slot).id));
        placed.map_err(|misplaced| match misplaced {
            Misplaced::SeveralShards => errors::CROSS_SLOT.to_owned(),
            Misplaced::NoOwner => errors::NO_OWNER.to_owned(),
        })
    }

    fn check_room(&mut self, length: usize) -> Result<(), String> {
        let fits = self.session.transaction_mut().bytes_with(length) <= TRANSACTION_BYTES_MAX;
        if fits { Ok(()) } else { Err(errors::too_large("the transaction", TRANSACTION_BYTES_MAX)) }
    }

    fn watch(&mut self, node: &mut Node, key: usize, args: Args<'_>) -> Result<(), String> {
        let slot = Slot::of_key(args.get(1));
        let shard = self.shard_with(node, args.from(1).map(Slot::of_key))?;
        let shard = shard.ok_or_else(|| errors::NO_OWNER.to_owned())?;
        self.check_room(args.from(1).map(|watched| Transaction::default().bytes_with(watched.len())).sum())?;
        let level = match self.session.reads_now() {
            ReadLevel::Any => ReadLevel::Session,
            level => level,
        };
        let awaited = Some(Awaited::Watch(args.from(1).map(Box::from).collect()));
        let sent = Sent { bytes: args.bytes(), write: false, transaction: false, level, awaited };
        self.forward(node, key, sent, (shard, Some(slot)));
        Ok(())
    }

    /// Sends the transaction, or answers one that no shard has a part in. It is gone in any case.
    fn exec(&mut self, node: &mut Node, key: usize) -> Result<(), String> {
        let placed = self.shard_with(node, std::iter::empty());
        let transaction = self.session.take_transaction();
        let (concerns_shard, slot) = (transaction.concerns_shard(), transaction.first_slot());
        let mut body = Vec::new();
        let plan = transaction.send(&mut body);
        let place: Option<Place> = match placed? {
            Some(shard) => Some((shard, slot)),
            // Without keys there is one shard, or there would be an error.
            None if concerns_shard => {
                let first = node.engine.catalog().and_then(|catalog| catalog.data_shards().first());
                Some((first.ok_or_else(|| errors::NO_OWNER.to_owned())?.id, None))
            }
            None => None,
        };
        let Some(place) = place else {
            let (wanted, mut reply) = (self.session.starts_request(), Vec::new());
            plan.merge(b"*0\r\n", |request, out| self.carry_out_queued(node, key, request, out), &mut reply);
            answer_here(node, key, wanted, &reply);
            return Ok(());
        };
        let awaited = (!plan.is_shards_alone()).then_some(Awaited::Exec(plan));
        let level = self.session.reads_now();
        self.forward(node, key, Sent { bytes: &body, write: true, transaction: true, level, awaited }, place);
        Ok(())
    }
}
