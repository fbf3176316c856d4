//! `MULTI` to `EXEC`, and `WATCH`: queued here, sent as one contiguous piece when `EXEC` comes.
//!
//! Nothing of other clients gets between `MULTI` and `EXEC`, since all of it is put on a connection at once; so it goes on the lane
//! of all clients. Where keys are watched, it goes on the connection on which they are.

use super::Engine;
use super::intake::Taken;
use super::record::Job;
use crate::frontend::transaction::{Misplaced, Plan, Step, next_step};
use crate::frontend::{Transaction, needs_views};
use crate::protocol::command::{CommandSpec, Route, resolve_with_foreign};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, parse_array};
use crate::protocol::transaction::split;
use crate::proxy::engine::Order;
use crate::topology::Slot;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

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
            Step::Exec => self.take_exec(key, spec),
        };
        self.settle_own(key);
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
        let shard = match self.place_with(key, args.from(1).map(Slot::of_key)) {
            Ok(shard) => shard,
            Err(Misplaced::NoOwner) => return self.fail_watch(key, errors::NO_OWNER),
            Err(Misplaced::SeveralShards) => return self.fail_watch(key, errors::CROSS_SLOT),
        };
        let added = args.from(1).map(|watched| Transaction::default().bytes_with(watched.len())).sum();
        if let Some(error) = self.too_much(key, added) {
            return self.fail_watch(key, &error);
        }
        if self.must_drain(key) {
            return Taken::Later;
        }
        let record_key = self.prepare(key, spec, args.bytes(), None);
        let record = &mut self.records[record_key];
        record.job = Job::Watch(args.from(1).map(Box::from).collect());
        (record.own, record.any) = (true, false);
        self.clients[key as usize].awaited = Some(record_key);
        self.launch(record_key, shard.expect("WATCH has a key"), Some(first));
        Taken::Yes
    }

    fn fail_watch(&mut self, key: u32, error: &str) -> Taken {
        self.stats.cross_slot.add(u64::from(error == errors::CROSS_SLOT));
        self.clients[key as usize].session.transaction_mut().watch_failed();
        self.say_here(key, |reply| reply.error(error))
    }

    /// The one shard of these slots and of all that the client's transaction has.
    fn place_with(&mut self, key: u32, slots: impl Iterator<Item = Slot>) -> Result<Option<usize>, Misplaced> {
        let owners = &self.owners;
        let owner =
            |slot: Slot| Some(usize::from(owners[slot.index()])).filter(|at| *at != usize::from(super::NO_OWNER));
        self.clients[key as usize].session.transaction_mut().shard_with(slots, owner)
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
        if matches!(spec.route, Route::EveryShard(_) | Route::Cursor) && self.order.len() > 1 {
            return self.refuse_queued(key, &errors::every_shard_in_multi(spec.name));
        }
        let slots = spec.key_positions(args).map(|position| Slot::of_key(args.get(position)));
        match self.place_with(key, slots.clone()) {
            Ok(_) => {}
            Err(Misplaced::NoOwner) => return self.refuse_queued(key, errors::NO_OWNER),
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
    fn take_exec(&mut self, key: u32, spec: &'static CommandSpec) -> Taken {
        if std::mem::take(&mut self.clients[key as usize].watch_moved) {
            return self.fail_moved(key);
        }
        let placed = self.place_with(key, std::iter::empty());
        let concerns_shard = self.clients[key as usize].session.transaction_mut().concerns_shard();
        let shard = match placed {
            Ok(None) if concerns_shard => self.order.first().copied().ok_or(Misplaced::NoOwner).map(Some),
            placed => placed,
        };
        match shard {
            Ok(_) if self.must_ask_for_views(key) => Taken::Later,
            Ok(shard) => self.send_exec(key, spec, shard),
            Err(Misplaced::SeveralShards) => {
                self.stats.cross_slot.add(1);
                self.abort(key, errors::CROSS_SLOT)
            }
            Err(Misplaced::NoOwner) => self.abort(key, errors::NO_OWNER),
        }
    }

    /// What was watched may have changed, as far as anybody knows.
    fn fail_moved(&mut self, key: u32) -> Taken {
        let session = &mut self.clients[key as usize].session;
        session.drop_transaction();
        let resp3 = session.resp3();
        self.stats.transactions_aborted.add(1);
        self.stats.answered_here.add(1);
        self.complain_here(key, |out| ReplyWriter::new(out, resp3).null_array());
        Taken::Yes
    }

    fn abort(&mut self, key: u32, error: &str) -> Taken {
        self.clients[key as usize].session.drop_transaction();
        self.stats.transactions_aborted.add(1);
        self.say_here(key, |reply| reply.error(&errors::exec_abort(error)))
    }

    fn send_exec(&mut self, key: u32, spec: &'static CommandSpec, shard: Option<usize>) -> Taken {
        let guarded = self.clients[key as usize].watching;
        if guarded && self.must_drain(key) {
            return Taken::Later;
        }
        let transaction = self.clients[key as usize].session.take_transaction();
        let slot = transaction.first_slot();
        self.stats.transactions.add(1);
        let mut queued = Vec::new();
        let plan = transaction.send(&mut queued);
        let Some(shard) = shard else {
            let mut reply = Vec::new();
            self.merge_here(key, &plan, b"*0\r\n", &mut reply);
            return self.say_here(key, |out| out.raw(&reply));
        };
        let mut spans = Vec::new();
        let queued = split(&queued, &mut spans).expect("it was just put together");
        // Of a leader that was demoted a moment ago, the proxy may not have heard: it is asked in the same breath.
        let question = if guarded { ROLE } else { &[] };
        let body = [question, MULTI, queued.requests(), EXEC].concat();
        let here = !plan.is_shards_alone();
        let record_key = self.prepare(key, spec, &body, None);
        let record = &mut self.records[record_key];
        (record.write, record.any, record.own) = (true, false, guarded);
        record.class = crate::proxy::metrics::CommandClass::Write;
        record.replies = queued.count() as u32 + 2 + u32::from(guarded);
        record.job = Job::Exec(Box::new(plan));
        self.clients[key as usize].watching = false;
        if guarded || here {
            self.clients[key as usize].awaited = Some(record_key);
        }
        self.launch(record_key, shard, slot);
        Taken::Yes
    }

    /// Whether a queued command reports all connections and the other workers are not asked yet; then they are.
    fn must_ask_for_views(&mut self, key: u32) -> bool {
        let client = &self.clients[key as usize];
        let wanted = client.session.transaction().is_some_and(|transaction| {
            let mut spans = Vec::new();
            transaction.here().any(|request| {
                parse_array(request, &mut spans).is_ok()
                    && resolve_with_foreign(Args::new(request, &spans)).is_ok_and(needs_views)
            })
        });
        let must = wanted && self.settings.workers > 1 && !self.has_views(key);
        if must {
            self.orders.push(Order::CollectViews(key, client.id));
        }
        must
    }

    pub(super) fn merge_here(&mut self, key: u32, plan: &Plan, answer: &[u8], reply: &mut Vec<u8>) {
        plan.merge(answer, |request, out| self.carry_out_here(key, request, out), reply);
        self.forget_views(key);
    }

    fn carry_out_here(&mut self, key: u32, request: &[u8], out: &mut Vec<u8>) {
        let mut spans = Vec::new();
        if parse_array(request, &mut spans).is_err() {
            return;
        }
        let args = Args::new(request, &spans);
        match resolve_with_foreign(args) {
            Ok(spec) => self.answer_queued(key, spec, args, out),
            Err(error) => error.write(args, out),
        }
    }
}
