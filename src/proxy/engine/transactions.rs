//! `MULTI` to `EXEC`, and `WATCH` (DESIGN.md, section 7): a transaction is put together in the client's session, and
//! goes to its shard as one request.
//!
//! Two answers change what the client's later requests mean, so none of those is taken before: that to `WATCH` (what is
//! read from then on may not be older than what is watched, R3), and that to an `EXEC` with commands of the connection
//! among the queued ones, which are carried out only if the shard carried out its own.

use bytes::Bytes;

use super::flight::FlightKey;
use super::request::Taken;
use super::{Engine, Order};
use crate::control::routing::ShardIndex;
use crate::frontend::transaction::{Awaited, Misplaced, Plan, Step, next_step};
use crate::frontend::{Transaction, needs_views};
use crate::protocol::command::{CommandSpec, Route, resolve};
use crate::protocol::errors;
use crate::protocol::frame::ReadLevel;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, parse_array};
use crate::proxy::metrics::CommandClass;
use crate::proxy::outbox::COPY_BYTES_MAX;
use crate::topology::Slot;

impl Engine {
    /// Takes a request that is about a transaction or goes into one; `None`: it is an ordinary one.
    pub(super) fn take_of_transaction(
        &mut self,
        key: u32,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Option<Taken> {
        let step = next_step(spec, &mut self.clients[key as usize].session);
        let taken = match step {
            Step::Ordinary => return None,
            Step::Ok => self.say_here(key, |reply| reply.ok()),
            Step::Error(text) => {
                let aborted = matches!(text, errors::EXEC_ABORT | errors::EXEC_UNGUARDED);
                self.stats.transactions_aborted.add(u64::from(aborted));
                self.say_here(key, |reply| reply.error(text))
            }
            Step::Watch => self.take_watch(key, spec, args),
            Step::Queue => self.take_queued(key, spec, args),
            Step::Exec => self.take_exec(key, spec, args),
        };
        self.weigh_transaction(key);
        Some(taken)
    }

    /// Brings the sum of all transactions in line with this client's.
    pub(super) fn weigh_transaction(&mut self, key: u32) {
        let client = &mut self.clients[key as usize];
        let bytes = client.session.transaction().map_or(0, Transaction::bytes);
        let before = std::mem::replace(&mut client.transaction_bytes, bytes);
        self.transaction_bytes = self.transaction_bytes - before + bytes;
    }

    fn say_here(&mut self, key: u32, say: impl FnOnce(&mut ReplyWriter<'_>)) -> Taken {
        self.stats.answered_here.add(1);
        self.complain_here(key, |out| say(&mut ReplyWriter::new(out, false)));
        Taken::Yes
    }

    fn take_watch(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>) -> Taken {
        let first = Slot::of_key(args.get(1));
        let shard = match self.place(key, args.from(1).map(Slot::of_key)) {
            Ok(shard) => shard,
            Err(Misplaced::NoOwner) => return self.fail_watch_without_owner(key),
            Err(Misplaced::SeveralShards) => return self.fail_watch(key, errors::CROSS_SLOT),
        };
        let added = args.from(1).map(|watched| Transaction::default().bytes_with(watched.len())).sum();
        if let Some(error) = self.too_much(key, added) {
            return self.fail_watch(key, &error);
        }
        let shard = shard.expect("WATCH has a key");
        let many = args.from(1).any(|watched| Slot::of_key(watched) != first);
        if many && self.has_strays_of(key, args.from(1).map(Slot::of_key)) {
            return self.postpone(key);
        }
        let flight_key = self.prepare(key, spec, args.bytes(), None);
        let flight = &mut self.flights[flight_key];
        flight.many = many;
        if flight.level == ReadLevel::Any {
            flight.level = ReadLevel::Session;
        }
        let keys = args.from(1).map(Box::from).collect();
        self.clients[key as usize].awaited = Some((flight_key, Awaited::Watch(keys)));
        self.launch(flight_key, shard, Some(first));
        Taken::Yes
    }

    fn fail_watch_without_owner(&mut self, key: u32) -> Taken {
        let taken = self.no_owner(key);
        if taken == Taken::Yes {
            self.clients[key as usize].session.transaction_mut().watch_failed();
        }
        taken
    }

    fn fail_watch(&mut self, key: u32, error: &str) -> Taken {
        self.stats.cross_slot.add(u64::from(error == errors::CROSS_SLOT));
        self.clients[key as usize].session.transaction_mut().watch_failed();
        self.say_here(key, |reply| reply.error(error))
    }

    /// The one shard of these slots and of all that the client's transaction has.
    fn place(&mut self, key: u32, slots: impl Iterator<Item = Slot>) -> Result<Option<ShardIndex>, Misplaced> {
        let (routing, client) = (&self.routing, &mut self.clients[key as usize]);
        client.session.transaction_mut().shard_with(slots, |slot| routing.owner(slot))
    }

    /// The error for a transaction that would grow by so much.
    fn too_much(&self, key: u32, bytes: usize) -> Option<String> {
        let limits = &self.settings.limits;
        if self.clients[key as usize].transaction_bytes + bytes > limits.transaction_bytes_max {
            return Some(errors::too_large("the transaction", limits.transaction_bytes_max));
        }
        let full = self.transaction_bytes + bytes > limits.transactions_bytes_max;
        full.then(|| errors::TRANSACTIONS_FULL.to_owned())
    }

    fn take_queued(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>) -> Taken {
        if matches!(spec.route, Route::EveryShard(_) | Route::Cursor) && self.routing.owners().nth(1).is_some() {
            return self.refuse_queued(key, &errors::every_shard_in_multi(spec.name));
        }
        let slots = spec.key_positions(args).map(|position| Slot::of_key(args.get(position)));
        match self.place(key, slots.clone()) {
            Ok(_) => {}
            Err(Misplaced::NoOwner) => {
                let taken = self.no_owner(key);
                if taken == Taken::Yes {
                    self.clients[key as usize].session.break_transaction();
                }
                return taken;
            }
            Err(Misplaced::SeveralShards) => return self.refuse_queued(key, errors::CROSS_SLOT),
        }
        let added = Transaction::default().bytes_with(args.bytes().len());
        if let Some(error) = self.too_much(key, added) {
            return self.refuse_queued(key, &error);
        }
        self.clients[key as usize].session.transaction_mut().queue(spec, args, slots);
        self.say_here(key, |reply| reply.simple("QUEUED"))
    }

    fn refuse_queued(&mut self, key: u32, error: &str) -> Taken {
        self.stats.cross_slot.add(u64::from(error == errors::CROSS_SLOT));
        self.clients[key as usize].session.break_transaction();
        self.say_here(key, |reply| reply.error(error))
    }

    /// Who owns what may have changed since the requests were queued, so the shard is looked for again.
    fn take_exec(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>) -> Taken {
        let placed = self.place(key, std::iter::empty());
        let concerns_shard = self.clients[key as usize].session.transaction_mut().concerns_shard();
        let shard = match placed {
            Ok(None) if concerns_shard => self.routing.owners().next().ok_or(Misplaced::NoOwner).map(Some),
            placed => placed,
        };
        match shard {
            Ok(_) if self.must_ask_for_views(key) => Taken::Later,
            Ok(_) if self.is_transaction_astray(key) => self.postpone(key),
            Ok(shard) => self.send_exec(key, spec, shard, args),
            Err(Misplaced::SeveralShards) => {
                self.stats.cross_slot.add(1);
                self.abort(key, errors::CROSS_SLOT)
            }
            Err(Misplaced::NoOwner) => match self.wait_for_owner(key) {
                Taken::Later => Taken::Later,
                Taken::Yes => self.abort(key, errors::NO_OWNER),
            },
        }
    }

    fn abort(&mut self, key: u32, error: &str) -> Taken {
        self.clients[key as usize].session.drop_transaction();
        self.stats.transactions_aborted.add(1);
        self.say_here(key, |reply| reply.error(&errors::exec_abort(error)))
    }

    fn send_exec(&mut self, key: u32, spec: &'static CommandSpec, shard: Option<ShardIndex>, args: Args<'_>) -> Taken {
        let transaction = self.clients[key as usize].session.take_transaction();
        let (slot, many) = (transaction.first_slot(), transaction.slots().nth(1).is_some());
        self.stats.transactions.add(1);
        let mut body = Vec::new();
        let plan = transaction.send(&mut body);
        let Some(shard) = shard else {
            let mut reply = Vec::new();
            self.merge_here(key, &plan, b"*0\r\n", &mut reply);
            return self.say_here(key, |out| out.raw(&reply));
        };
        let large = (body.len() > COPY_BYTES_MAX).then(|| Bytes::from(std::mem::take(&mut body)));
        let flight_key = self.prepare(key, spec, if large.is_some() { args.bytes() } else { &body }, large);
        let flight = &mut self.flights[flight_key];
        (flight.write, flight.transaction, flight.class) = (true, true, CommandClass::Write);
        flight.many = many;
        if !plan.is_shards_alone() {
            self.clients[key as usize].awaited = Some((flight_key, Awaited::Exec(plan)));
        }
        self.launch(flight_key, shard, slot);
        Taken::Yes
    }

    /// Whether other requests for the slots of its transaction are on their way elsewhere.
    fn is_transaction_astray(&mut self, key: u32) -> bool {
        if !self.may_be_astray(key) {
            return false;
        }
        let transaction = self.clients[key as usize].session.transaction();
        let slots: Vec<Slot> = transaction.into_iter().flat_map(Transaction::slots).collect();
        let slots = if slots.len() > 1 { slots } else { Vec::new() };
        self.has_strays_of(key, slots.into_iter())
    }

    /// Whether a queued command reports all connections and the other workers are not asked yet; then they are.
    fn must_ask_for_views(&mut self, key: u32) -> bool {
        let client = &self.clients[key as usize];
        let wanted = client.session.transaction().is_some_and(|transaction| {
            let mut spans = Vec::new();
            transaction.here().any(|request| {
                parse_array(request, &mut spans).is_ok() && resolve(Args::new(request, &spans)).is_ok_and(needs_views)
            })
        });
        let must = wanted && self.settings.workers > 1 && !self.has_views(key);
        if must {
            self.orders.push(Order::CollectViews(key, client.id));
        }
        must
    }

    /// Whether the client's later requests wait for this answer.
    pub(super) fn is_awaited(&self, key: FlightKey) -> bool {
        let client = &self.clients[self.flights[key].client as usize];
        client.awaited.as_ref().is_some_and(|(awaited, _)| *awaited == key)
    }

    /// The answer is there that a client's later requests wait for: the client reads what becomes of it.
    pub(super) fn finish_awaited(&mut self, key: FlightKey, body: &[u8], large: Option<Bytes>) {
        let client_key = self.flights[key].client;
        let Some((_, awaited)) = self.clients[client_key as usize].awaited.take() else { return };
        if matches!(awaited, Awaited::Nothing) {
            self.deliver(key, body, large);
            return self.consider_resuming(client_key);
        }
        let answer = large.as_deref().unwrap_or(body);
        let mut reply = Vec::new();
        match awaited {
            Awaited::Nothing => {}
            Awaited::Watch(keys) => {
                let transaction = self.clients[client_key as usize].session.transaction_mut();
                transaction.watched_at(&keys, answer, &mut reply);
                self.weigh_transaction(client_key);
            }
            Awaited::Exec(plan) => self.merge_here(client_key, &plan, answer, &mut reply),
        }
        let large = (reply.len() > COPY_BYTES_MAX).then(|| Bytes::from(std::mem::take(&mut reply)));
        self.deliver(key, &reply, large);
        self.consider_resuming(client_key);
    }

    fn merge_here(&mut self, key: u32, plan: &Plan, answer: &[u8], reply: &mut Vec<u8>) {
        plan.merge(answer, |request, out| self.carry_out_here(key, request, out), reply);
        self.forget_views(key);
    }

    fn carry_out_here(&mut self, key: u32, request: &[u8], out: &mut Vec<u8>) {
        let mut spans = Vec::new();
        if parse_array(request, &mut spans).is_err() {
            return;
        }
        let args = Args::new(request, &spans);
        match resolve(args) {
            Ok(spec) => self.answer_queued(key, spec, args, out),
            Err(error) => error.write(args, out),
        }
    }
}
