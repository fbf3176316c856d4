//! Three nodes in memory, their messages carried by hand: what reads promise while links are cut and nodes start again.

mod arrival;
mod hung;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{ReadOptions, Replica, Turn};
use crate::consensus::{Group, GroupOptions, HardState, LogEntry, Restored, SnapshotPoint};
use crate::keyspace::{Entry, Keyspace, NEWS_AHEAD_MS};
use crate::net::Moment;
use crate::node::answers::{Answers, Ticket};
use crate::node::engine::{Engine, EngineOptions, TICK};
use crate::node::machine::Machine;
use crate::protocol::frame::{Kind, ReadLevel, RefusalReason, RequestHead, split_frame};
use crate::protocol::identity::{Blocking, Identity};
use crate::protocol::request::write_array;
use crate::protocol::split::put_ordinal;
use crate::topology::{
    Catalog, ClusterId, Epoch, LogIndex, LogTime, NodeName, ReplicaId, SessionId, ShardId, ShardsConfig, Slot, Term,
    Whereabouts, WriteId,
};

const SHARD: ShardId = ShardId(1);
const LEASE_TICKS: usize = 18;

#[derive(Default)]
struct Told {
    replies: BTreeMap<u64, (LogIndex, String)>,
    refusals: Vec<(u64, RefusalReason)>,
}

impl Answers for Told {
    fn reply(&mut self, ticket: Ticket, index: LogIndex, reply: &[u8]) {
        let reply = String::from_utf8(reply.to_vec()).unwrap();
        assert!(self.replies.insert(ticket.id, (index, reply)).is_none(), "answered twice");
    }
    fn refuse(&mut self, ticket: Ticket, reason: RefusalReason, _leader: Option<ReplicaId>) {
        self.refusals.push((ticket.id, reason));
    }
    fn redirect(&mut self, ticket: Ticket, _moved: Option<Whereabouts>) {
        self.refusals.push((ticket.id, RefusalReason::NotOwner));
    }
    fn hold_line(&mut self, _ticket: Ticket) {}
    fn is_awaited(&self, _ticket: Ticket, _now: Moment) -> bool {
        true
    }
}

struct Trio {
    engines: Vec<Engine>,
    catalog: Arc<Catalog>,
    reads: ReadOptions,
    /// Whether the followers keep what they announce about leases.
    honest: bool,
    now_ms: u64,
    /// How far each node's clock is off.
    off_ms: [i64; 3],
    cut: BTreeSet<(usize, usize)>,
    told: Told,
    next_id: u64,
}

fn name(node: usize) -> NodeName {
    NodeName::new(&format!("n{}", node + 1))
}

impl Trio {
    fn new(reads: ReadOptions, honest: bool) -> Self {
        let nodes: String = (1..=3).map(|n| format!("[[node]]\nname = 'n{n}'\naddr = 'h:{n}'\n")).collect();
        let text = format!("version = 1\n{nodes}[[shard]]\nname = 'a'\nnodes = ['n1', 'n2', 'n3']\n");
        let config = ShardsConfig::parse(&text, "test").unwrap();
        let catalog = Arc::new(Catalog::found(ClusterId(7), 1, &config, &BTreeMap::new()));
        let (cut, told) = (BTreeSet::new(), Told::default());
        let (engines, now_ms, off_ms) = (Vec::new(), 10_000, [0; 3]);
        let mut trio = Self { engines, catalog, reads, honest, now_ms, off_ms, cut, told, next_id: 1 };
        for node in 0..3 {
            let engine = trio.engine(node, HardState::default(), Vec::new());
            trio.engines.push(engine);
        }
        trio
    }

    /// With the first node as the leader, and everybody fresh.
    fn led(reads: ReadOptions, honest: bool) -> Self {
        let mut trio = Self::new(reads, honest);
        trio.ticks(60);
        assert_eq!(trio.leaders(), [0]);
        trio
    }

    fn engine(&self, node: usize, hard_state: HardState, entries: Vec<LogEntry>) -> Engine {
        let record = self.catalog.shard(SHARD).unwrap();
        let id = record.replica_on(&name(node)).unwrap().id;
        let lease = self.reads.lease && (self.honest || node == 0);
        let started = hard_state.term > Term(0);
        let options = GroupOptions {
            heartbeat_ticks: 2,
            lease_ticks: LEASE_TICKS,
            election_ticks: 24 + 4 * node,
            append_bytes_max: 1 << 20,
            appends_in_flight_max: 256,
            uncommitted_bytes_max: 1 << 20,
            committed_bytes_max: 1 << 20,
            quiet_ticks: if lease && started { LEASE_TICKS + 1 } else { 0 },
            keeps_leases: lease,
            boot_nonce: self.now_ms * 10 + node as u64,
        };
        let restored = Restored { start: SnapshotPoint::birth(record.birth.iter().map(|r| r.id)), hard_state, entries };
        let group = Group::restore(id, options, restored).unwrap();
        let mut keyspace = Keyspace::new(1);
        Slot::all().filter(|slot| *slot != arrival::elsewhere()).for_each(|slot| keyspace.own(slot, Epoch(1)));
        let reads = ReadOptions { lease, ..self.reads };
        let mut engine = Engine::new(name(node), EngineOptions { reads, ..EngineOptions::default() }, self.now_ms);
        engine.adopt_catalog(Arc::clone(&self.catalog));
        engine.add_replica(Replica::new(SHARD, id, group, Machine::Data(keyspace.into()), 0));
        for other in (0..3).filter(|other| *other != node) {
            engine.peer_connected(&name(other));
            engine.peer_keeps_leases(&name(other), self.reads.lease);
        }
        engine
    }

    /// The process ends and starts again with all that was on its disk.
    fn restart(&mut self, node: usize) {
        let group = &self.replica(node).group;
        let hard_state = HardState { term: group.term(), vote: group.leader().unwrap(), commit: group.committed() };
        let indexes = (6..=group.last_index().0).map(LogIndex);
        let entry = |index| {
            let (term, data) = group.entry(index).unwrap();
            LogEntry { index, term, kind: 0, data }
        };
        let entries = indexes.map(entry).collect();
        self.engines[node] = self.engine(node, hard_state, entries);
    }

    fn now(&self) -> Moment {
        Moment::at(Duration::from_millis(self.now_ms))
    }

    fn wall(&self) -> LogTime {
        LogTime(1_000_000 + self.now_ms)
    }

    fn replica(&self, node: usize) -> &Replica {
        self.engines[node].replica(SHARD).unwrap()
    }

    fn leaders(&self) -> Vec<usize> {
        (0..3).filter(|node| self.replica(*node).group.leads_surely()).collect()
    }

    fn separate(&mut self, one: usize, other: usize) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Everything is carried until nobody has anything to say.
    fn exchange(&mut self) {
        let (now, wall) = (self.now(), self.wall());
        loop {
            let mut carried = Vec::new();
            for (node, engine) in self.engines.iter_mut().enumerate() {
                let wall = LogTime(wall.0.saturating_add_signed(self.off_ms[node]));
                engine.turn(now, wall, &mut self.told);
                while let Some(batch) = engine.take_batch() {
                    engine.batch_written(batch);
                    engine.turn(now, wall, &mut self.told);
                }
                for (to, outbox) in engine.peers_mut() {
                    let frames = std::mem::take(&mut outbox.frames);
                    // A fourth node, which an edit may name, is not there.
                    carried.extend((0..3).find(|n| name(*n) == *to).map(|to| (node, to, frames)));
                }
            }
            carried.retain(|(from, to, frames)| !frames.is_empty() && !self.cut.contains(&(*from, *to)));
            if carried.is_empty() {
                return;
            }
            for (_, to, frames) in carried {
                let mut rest = frames.as_slice();
                while let Some(frame) = split_frame(rest).unwrap() {
                    let wall = LogTime(wall.0.saturating_add_signed(self.off_ms[to]));
                    match frame.kind {
                        Kind::Clock => self.engines[to].peer_clock(frame.payload, now, wall),
                        _ => self.engines[to].peer_message(frame.payload),
                    }
                    rest = &rest[frame.consumed..];
                }
            }
        }
    }

    fn tick(&mut self) {
        self.now_ms += TICK.as_millis() as u64;
        let (now, wall) = (self.now(), self.wall());
        for (engine, off_ms) in self.engines.iter_mut().zip(self.off_ms) {
            engine.tick(now, LogTime(wall.0.saturating_add_signed(off_ms)), &mut self.told);
        }
        self.exchange();
    }

    fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// Hands a request to a node; what it comes to is in `told` under the number that is returned.
    fn ask(&mut self, node: usize, words: &[&str], set: impl FnOnce(&mut RequestHead)) -> u64 {
        let mut body = Vec::new();
        write_array(&mut body, words.iter().map(|w| w.as_bytes()));
        self.ask_body(node, &body, Slot::of_key(words[1].as_bytes()), set)
    }

    fn ask_body(&mut self, node: usize, body: &[u8], slot: Slot, set: impl FnOnce(&mut RequestHead)) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut head = RequestHead {
            id,
            shard: SHARD,
            client: 1,
            generation: 0,
            write: false,
            resp3: false,
            transaction: false,
            split: false,
            covers: false,
            retried: false,
            after_writes: false,
            level: ReadLevel::Session,
            slot: Some(slot),
            epoch: Epoch(1),
            remaining_ms: 10_000,
            floor: LogIndex(0),
            identity: None,
            blocking: None,
        };
        set(&mut head);
        let ticket = Ticket {
            connection: node as u32,
            connection_generation: 0,
            id,
            client: head.client,
            generation: head.generation,
            shard: SHARD,
        };
        let (now, wall) = (self.now(), self.wall());
        self.engines[node].request(&head, body, ticket, now, wall, &mut self.told);
        id
    }

    fn read(&mut self, node: usize, level: ReadLevel) -> u64 {
        self.ask(node, &["GET", "k"], |head| head.level = level)
    }

    fn write(&mut self, node: usize, value: &str) -> u64 {
        self.ask(node, &["SET", "k", value], |head| head.write = true)
    }

    fn write_named(&mut self, node: usize, sequence: u64, born: LogTime, words: &[&str]) -> u64 {
        let id = WriteId { session: SessionId(1), sequence };
        let identity = Some(Identity { id, low: sequence, born });
        self.ask(node, words, |head| (head.write, head.identity) = (true, identity))
    }

    /// What a proxy is told that log time is.
    fn told_time(&self, node: usize) -> LogTime {
        self.engines[node].statuses(self.now(), self.wall()).next().unwrap().log_time
    }

    fn reply(&self, id: u64) -> Option<&str> {
        self.told.replies.get(&id).map(|(_, reply)| reply.as_str())
    }

    fn refusal(&self, id: u64) -> Option<RefusalReason> {
        self.told.refusals.iter().find(|(refused, _)| *refused == id).map(|(_, reason)| *reason)
    }

    /// Whether somebody answers `strong` reads alone while somebody else leads in a later term: what he answers may be stale.
    fn overlaps(&self) -> bool {
        let group = |node: usize| &self.replica(node).group;
        let holds = |node: usize| self.replica(node).lease.holds(group(node).reign(), self.now());
        let later = |one: usize, other: usize| group(other).leads_surely() && group(other).term() > group(one).term();
        (0..3).any(|one| holds(one) && (0..3).any(|other| later(one, other)))
    }
}

fn second() -> ReadOptions {
    ReadOptions { max_staleness: Duration::from_secs(1), ..ReadOptions::default() }
}

fn leases() -> ReadOptions {
    ReadOptions { lease: true, ..ReadOptions::default() }
}

#[test]
fn r2_a_read_behind_writes_is_answered_after_them_and_by_the_leader_alone() {
    let mut trio = Trio::led(second(), true);
    let write = trio.write(0, "1");
    let read = trio.ask(0, &["GET", "k"], |head| head.after_writes = true);
    assert!(trio.reply(read).is_none());
    trio.exchange();
    assert_eq!(trio.reply(read), Some("$1\r\n1\r\n"));
    assert!(trio.told.replies[&read].0 >= trio.told.replies[&write].0);
    let elsewhere = trio.ask(1, &["GET", "k"], |head| head.after_writes = true);
    assert_eq!(trio.refusal(elsewhere), Some(RefusalReason::NotLeader));
}

#[test]
fn a_strong_read_at_a_follower_needs_no_third() {
    let mut trio = Trio::led(second(), true);
    (0..2).for_each(|other| trio.separate(2, other));
    let write = trio.write(0, "1");
    trio.exchange();
    assert!(trio.reply(write).is_some());
    let read = trio.read(1, ReadLevel::Strong);
    trio.exchange();
    assert_eq!(trio.reply(read), Some("$1\r\n1\r\n"));
}

#[test]
fn r1_a_read_that_waits_for_a_tick_is_not_overtaken_by_the_next_one_of_its_client() {
    for level in [ReadLevel::Session, ReadLevel::Strong] {
        let mut trio = Trio::led(second(), true);
        trio.ask(0, &["SET", "{k}short", "v", "PX", "100"], |head| head.write = true);
        trio.write(0, "1");
        trio.exchange();
        // Nothing may be swept before it is read.
        trio.now_ms += 150;
        let first = trio.ask(0, &["GET", "{k}short"], |head| head.level = level);
        let second = trio.read(0, level);
        let other = trio.ask(0, &["GET", "k"], |head| head.client = 2);
        assert_eq!((trio.reply(first), trio.reply(second)), (None, None));
        assert_eq!(trio.reply(other), Some("$1\r\n1\r\n"), "others do not wait");
        trio.exchange();
        assert_eq!((trio.reply(first), trio.reply(second)), (Some("$-1\r\n"), Some("$1\r\n1\r\n")));
        assert!(trio.told.replies[&second].0 >= trio.told.replies[&first].0);
        let later = trio.read(0, ReadLevel::Session);
        assert!(trio.reply(later).is_some(), "that is over");
    }
}

#[test]
fn r3_a_read_is_answered_at_its_floor_or_above_and_says_where() {
    let mut trio = Trio::led(second(), true);
    trio.separate(0, 2);
    let write = trio.write(0, "1");
    trio.exchange();
    let floor = trio.told.replies[&write].0;
    let at_floor = |trio: &mut Trio, node| trio.ask(node, &["GET", "k"], |head| head.floor = floor);
    let behind = at_floor(&mut trio, 2);
    assert_eq!(trio.refusal(behind), Some(RefusalReason::Behind));
    trio.ticks(4);
    let there = at_floor(&mut trio, 1);
    assert_eq!(trio.told.replies[&there], (trio.replica(1).applied(), "$1\r\n1\r\n".to_owned()));
    assert!(trio.told.replies[&there].0 >= floor);
}

#[test]
fn r4_any_is_answered_only_as_long_as_an_answered_question_is_young_and_never_at_start() {
    let mut trio = Trio::new(second(), true);
    let at_start = trio.read(2, ReadLevel::Any);
    assert_eq!(trio.refusal(at_start), Some(RefusalReason::Behind));
    trio.ticks(60);
    let fresh = trio.read(2, ReadLevel::Any);
    assert!(trio.reply(fresh).is_some());
    let cut_at = trio.now_ms;
    trio.separate(0, 2);
    trio.separate(1, 2);
    let last = loop {
        let read = trio.read(2, ReadLevel::Any);
        if trio.reply(read).is_none() {
            assert_eq!(trio.refusal(read), Some(RefusalReason::Behind));
            break trio.now_ms;
        }
        trio.tick();
    };
    // Its last question was asked at most a probe's period before the cut.
    assert!((cut_at + 800..=cut_at + 1025).contains(&last), "{}", last - cut_at);
    trio.restart(1);
    let restarted = trio.read(1, ReadLevel::Any);
    assert_eq!(trio.refusal(restarted), Some(RefusalReason::Behind));
    trio.ticks(4);
    let again = trio.read(1, ReadLevel::Any);
    assert!(trio.reply(again).is_some(), "the leader answered it");
}

#[test]
fn r4_a_small_staleness_is_kept_without_a_break() {
    let reads = ReadOptions { max_staleness: Duration::from_millis(200), ..ReadOptions::default() };
    let mut trio = Trio::led(reads, true);
    for _ in 0..100 {
        trio.tick();
        let read = trio.read(2, ReadLevel::Any);
        assert!(trio.reply(read).is_some());
        assert!(trio.replica(2).status(trio.now(), trio.wall()).fresh, "the proxies are told so");
    }
}

#[test]
fn a_strong_read_at_a_follower_has_all_that_was_acknowledged_before_it() {
    let mut trio = Trio::led(second(), true);
    for round in 0..20 {
        let value = round.to_string();
        let write = trio.write(0, &value);
        trio.exchange();
        assert_eq!(trio.reply(write), Some("+OK\r\n"));
        let read = trio.read(1 + round % 2, ReadLevel::Strong);
        assert_eq!(trio.reply(read), None, "nobody was asked yet");
        trio.exchange();
        assert_eq!(trio.reply(read), Some(format!("${}\r\n{value}\r\n", value.len()).as_str()));
    }
}

#[test]
fn r1_a_follower_that_is_cut_off_hands_strong_reads_back_with_all_behind_them() {
    let mut trio = Trio::led(second(), true);
    trio.separate(0, 2);
    trio.separate(1, 2);
    let first = trio.read(2, ReadLevel::Strong);
    trio.ticks(10);
    let (later, other) =
        (trio.read(2, ReadLevel::Strong), trio.ask(2, &["GET", "k"], |h| (h.level, h.client) = (ReadLevel::Strong, 2)));
    trio.ticks(10);
    assert_eq!(trio.refusal(first), Some(RefusalReason::Behind));
    assert_eq!(trio.refusal(later), Some(RefusalReason::Superseded), "it would be answered before the one before it");
    assert_eq!(trio.refusal(other), None);
    trio.ticks(20);
    assert_eq!(trio.refusal(other), Some(RefusalReason::Behind));
    // By now it has noticed that there is nobody to ask.
    let last = trio.read(2, ReadLevel::Strong);
    assert_eq!(trio.refusal(last), Some(RefusalReason::Behind));
}

#[test]
fn orphans_answer_any_only_where_that_is_wanted_and_only_without_a_leader() {
    for orphan_reads in [false, true] {
        let mut trio = Trio::led(ReadOptions { orphan_reads, ..second() }, true);
        trio.write(0, "1");
        trio.ticks(4);
        trio.separate(0, 2);
        trio.separate(1, 2);
        trio.ticks(60);
        let early = trio.read(2, ReadLevel::Any);
        assert_eq!(trio.refusal(early), Some(RefusalReason::Behind), "an election may be all there is");
        trio.ticks(80);
        let late = trio.read(2, ReadLevel::Any);
        assert_eq!(trio.reply(late).is_some(), orphan_reads);
        assert_eq!(trio.replica(2).status(trio.now(), trio.wall()).orphan, orphan_reads);
        assert_eq!(trio.replica(2).counts.orphan_reads, u64::from(orphan_reads));
        let session = trio.ask(2, &["GET", "k"], |head| head.floor = LogIndex(1000));
        assert_eq!(trio.refusal(session), Some(RefusalReason::Behind));
        trio.cut.clear();
        trio.ticks(60);
        assert!(!trio.replica(2).status(trio.now(), trio.wall()).orphan);
    }
}

#[test]
fn a_lease_answers_at_once_and_is_kept_alive_by_reads() {
    let mut trio = Trio::led(leases(), true);
    let first = trio.read(0, ReadLevel::Strong);
    assert_eq!(trio.reply(first).is_some(), trio.replica(0).lease.holds(trio.replica(0).group.reign(), trio.now()));
    trio.exchange();
    for _ in 0..100 {
        trio.tick();
        let read = trio.read(0, ReadLevel::Strong);
        assert!(trio.reply(read).is_some());
        trio.exchange();
    }
    assert!(trio.replica(0).status(trio.now(), trio.wall()).leases);
    let write = trio.write(0, "1");
    trio.exchange();
    let read = trio.read(0, ReadLevel::Strong);
    assert!(trio.reply(write).is_some() && trio.reply(read) == Some("$1\r\n1\r\n"));

    let mut without = Trio::led(second(), true);
    let read = without.read(0, ReadLevel::Strong);
    assert!(without.reply(read).is_none(), "leases are off by default");
    trio.engines[0].peer_lost(&name(2), false);
    trio.tick();
    let read = trio.read(0, ReadLevel::Strong);
    assert!(trio.reply(read).is_none(), "a voter may have come back that keeps none");
}

#[test]
fn a_transfer_ends_the_lease_for_the_rest_of_the_term() {
    let mut trio = Trio::led(leases(), true);
    let read = trio.read(0, ReadLevel::Strong);
    trio.exchange();
    assert!(trio.reply(read).is_some());
    // The message that lets the other stand is lost, or late.
    trio.separate(0, 1);
    let to = trio.replica(1).id;
    trio.engines[0].replica_mut(SHARD).unwrap().group.transfer(to);
    trio.exchange();
    trio.cut.clear();
    for _ in 0..60 {
        trio.tick();
        assert_eq!(trio.leaders(), [0]);
        let read = trio.read(0, ReadLevel::Strong);
        assert!(trio.reply(read).is_none());
        trio.exchange();
        assert!(trio.reply(read).is_some(), "the followers were asked");
    }
}

/// Whether a leader that is cut off, the others being told or started again in some way, believes in its lease for too long.
fn lease_outlives_its_leader(honest: bool, fault: impl Fn(&mut Trio)) -> bool {
    (0..30).any(|offset| {
        let mut trio = Trio::led(leases(), honest);
        // The third hears the leader no more, and stands again and again.
        trio.separate(0, 2);
        trio.ticks(40 + offset);
        trio.read(0, ReadLevel::Strong);
        trio.exchange();
        trio.separate(0, 1);
        fault(&mut trio);
        let mut overlapped = false;
        for _ in 0..60 {
            trio.tick();
            overlapped |= trio.overlaps();
        }
        assert!(trio.leaders().iter().any(|node| *node != 0), "somebody leads in the end: {:?}", trio.leaders());
        overlapped
    })
}

#[test]
fn a_lease_ends_before_the_others_elect() {
    assert!(!lease_outlives_its_leader(true, |_| {}));
}

#[test]
fn a_voter_that_starts_again_does_not_vote_while_a_lease_may_rest_on_it() {
    assert!(!lease_outlives_its_leader(true, |trio| trio.restart(1)));
    assert!(lease_outlives_its_leader(false, |trio| trio.restart(1)), "or else this test would prove nothing");
}

#[test]
fn nobody_stands_early_because_a_node_refuses_connections_while_a_lease_may_rest_on_it() {
    let refuses = |trio: &mut Trio| (1..3).for_each(|node| trio.engines[node].peer_lost(&name(0), true));
    assert!(!lease_outlives_its_leader(true, refuses));
    assert!(lease_outlives_its_leader(false, refuses), "or else this test would prove nothing");
}

#[test]
fn a_command_that_adds_is_refused_while_memory_is_full_though_it_is_split() {
    let mut trio = Trio::led(second(), true);
    trio.write(0, "1");
    trio.exchange();
    trio.engines[0].memory().limit(1);
    for (name, refused) in [("MSET", true), ("DEL", false)] {
        let mut body = Vec::new();
        for (ordinal, key) in ["a", "b"].into_iter().enumerate() {
            put_ordinal(&mut body, ordinal as u32);
            let words = if name == "MSET" { vec![name, key, "1"] } else { vec![name, key] };
            write_array(&mut body, words.into_iter().map(str::as_bytes));
        }
        let id = WriteId { session: SessionId(1), sequence: trio.next_id * 10 };
        let identity = Some(Identity { id, low: 0, born: trio.wall() });
        let set = |head: &mut RequestHead| (head.write, head.split, head.identity) = (true, true, identity);
        let asked = trio.ask_body(0, &body, Slot::of_key(b"a"), set);
        trio.exchange();
        assert_eq!(trio.reply(asked).unwrap().starts_with("-OOM "), refused, "{name}: {:?}", trio.reply(asked));
    }
}

#[test]
fn r1_a_write_that_is_too_old_is_refused_before_a_later_one_of_its_client_is_taken() {
    let mut trio = Trio::led(second(), true);
    let (old, now) = (LogTime(trio.wall().0 - 61_000), trio.wall());
    let late = trio.write_named(0, 1, old, &["SET", "k", "first"]);
    assert_eq!(trio.refusal(late), Some(RefusalReason::Forgotten), "at once, so that what follows it can be refused");
    let fresh = trio.write_named(0, 2, now, &["SET", "k", "second"]);
    trio.exchange();
    assert_eq!(trio.reply(fresh), Some("+OK\r\n"));
}

#[test]
fn r9_no_proxy_is_told_that_it_is_much_later_than_the_log_says_and_what_it_is_told_is_not_old() {
    let mut trio = Trio::new(second(), true);
    // The leader has logged nothing yet, and another one may have an earlier clock.
    while trio.leaders() != [0] || trio.told_time(0) == LogTime(0) {
        let log_time = trio.replica(0).machine.log_time();
        assert!(trio.told_time(0).0 <= log_time.0 + NEWS_AHEAD_MS);
        trio.tick();
    }
    // A write at any time of a long silence is as young as its clock says.
    for _ in 0..100 {
        trio.ticks(40);
        let told = trio.told_time(0);
        assert!(told.0 + 1000 >= trio.wall().0, "{told:?} at {:?}", trio.wall());
    }
    let entries = trio.replica(0).group.last_index().0;
    assert!(entries < 20, "and hardly anything was logged for that: {entries}");
}

#[test]
fn r8_a_node_far_off_the_median_clock_does_not_lead_unless_nobody_else_can() {
    for off_ms in [-60_000, 60_000] {
        let mut trio = Trio::led(second(), true);
        trio.off_ms[0] = off_ms;
        trio.ticks(300);
        assert!(trio.engines[0].clocks().is_far() && trio.leaders() != [0], "it hands over what it leads");
        let (leader, other) = if trio.leaders() == [1] { (1, 2) } else { (2, 1) };
        assert_eq!(trio.engines[leader].clocks().off_ms(), 0);
        // Its election time runs out before that of the others, and it lets them go first.
        trio.separate(leader, 0);
        trio.separate(leader, other);
        trio.ticks(100);
        let leaders = trio.leaders();
        assert!(leaders.contains(&other) && !leaders.contains(&0), "{off_ms}: {leaders:?}");
        // The third is back and the second is gone: only one with this clock has all that is committed.
        let done = trio.write(other, "1");
        trio.exchange();
        assert_eq!(trio.reply(done), Some("+OK\r\n"));
        trio.cut.clear();
        trio.separate(other, 0);
        trio.separate(other, leader);
        trio.ticks(600);
        assert!(trio.leaders().contains(&0), "{off_ms}: {:?}", trio.leaders());
        // Its clock is put right: it may lead for good.
        trio.off_ms[0] = 0;
        trio.cut.clear();
        trio.ticks(300);
        assert!(!trio.engines[0].clocks().is_far() && trio.leaders().len() == 1);
    }
}

#[test]
fn r8_where_only_wrong_clocks_are_left_one_of_them_leads_after_a_while() {
    let mut trio = Trio::led(second(), true);
    (trio.off_ms[1], trio.off_ms[2]) = (60_000, -60_000);
    trio.ticks(300);
    assert!(trio.leaders() == [0] && trio.engines[1].clocks().is_far() && trio.engines[2].clocks().is_far());
    for follower in [1, 2] {
        // As long as it stands back it does not go on following somebody who is gone.
        let group = &mut trio.engines[follower].replica_mut(SHARD).unwrap().group;
        group.stand_back(true);
        (0..100).for_each(|_| group.tick());
        assert_eq!(group.leader(), None);
    }
    trio.separate(0, 1);
    trio.separate(0, 2);
    trio.ticks(600);
    assert!(trio.leaders().iter().any(|leader| *leader > 0), "{:?}", trio.leaders());
}

#[test]
fn r11_a_frame_past_its_time_is_not_proposed() {
    let mut trio = Trio::led(second(), true);
    let last = trio.replica(0).group.last_index();
    let late = trio.ask(0, &["SET", "k", "1"], |head| (head.write, head.remaining_ms) = (true, 0));
    trio.exchange();
    assert_eq!(trio.refusal(late), Some(RefusalReason::DeadlinePassed));
    assert_eq!(trio.replica(0).group.last_index(), last);
}

#[test]
fn r12_a_state_comes_as_a_whole_and_who_waits_for_what_was_before_it_asks_again() {
    let mut trio = Trio::led(second(), true);
    let wait = trio.ask(0, &["BLPOP", "l", "0"], |head| {
        let id = WriteId { session: SessionId(2), sequence: 1 };
        head.identity = Some(Identity { id, low: 1, born: LogTime(1_000_000) });
        (head.write, head.blocking) = (true, Some(Blocking::Wait));
    });
    trio.exchange();
    trio.separate(0, 1);
    trio.separate(0, 2);
    let born = trio.wall();
    let (asked, other) = (trio.write_named(0, 1, born, &["INCR", "n"]), trio.write_named(0, 2, born, &["INCR", "n"]));
    trio.exchange();
    // What the others did meanwhile, the first of the two writes included.
    let mut state = Keyspace::new(1);
    Slot::all().for_each(|slot| state.own(slot, Epoch(1)));
    let id = WriteId { session: SessionId(1), sequence: 1 };
    let (mut request, time) = (Vec::new(), LogTime(born.0 + 7));
    write_array(&mut request, ["INCR", "n"].into_iter().map(str::as_bytes));
    let identity = Some(Identity { id, low: 1, born });
    let entry = Entry::Write { seen: 0, time, seed: 1, resp3: false, identity, request: &request };
    state.apply(&entry, &mut Vec::new()).unwrap();
    let expected = state.freeze().digest(LogIndex(0));
    let (now, wall) = (trio.now(), trio.wall());
    let mut turn =
        Turn { now, wall, answers: &mut trio.told, scratch: &mut Vec::new(), spans: &mut Vec::new(), seed: 0 };
    let replica = trio.engines[0].replica_mut(SHARD).unwrap();
    let point = SnapshotPoint { index: LogIndex(replica.group.last_index().0 + 5), ..replica.point() };
    replica.staged = Some((point.index, Machine::Data(state.into())));
    replica.installed(&point, &mut turn);
    let keyspace = replica.machine.keyspace().unwrap();
    assert_eq!(keyspace.freeze().digest(LogIndex(0)), expected, "data, records, lows and log time");
    assert!(keyspace.knows_write(id) && replica.state_index == point.index);
    assert_eq!([asked, other].map(|id| trio.refusal(id)), [Some(RefusalReason::Unknown); 2]);
    assert_eq!(trio.refusal(wait), Some(RefusalReason::NotLeader));
}
