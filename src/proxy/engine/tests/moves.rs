//! Slots that move while requests for them are on their way: each rule with the interleaving that it closes.

use super::*;
use crate::protocol::coverage::{self, SlotRuns};
use crate::protocol::errors;
use crate::protocol::identity::{Blocking, CancelHow};
use crate::protocol::split::{count, next_part};
use crate::topology::{Epoch, Whereabouts, WriteId};

pub fn slot_of(key: &str) -> Slot {
    Slot::of_key(key.as_bytes())
}

pub fn at(key: &str, owner: u64, epoch: u64) -> Whereabouts {
    Whereabouts { slot: slot_of(key), owner: ShardId(owner), epoch: Epoch(epoch) }
}

fn name(got: &Got) -> WriteId {
    got.head.identity.expect("a write has a name").id
}

fn text(got: &Got) -> String {
    String::from_utf8_lossy(&got.body).into_owned()
}

impl World {
    pub fn redirect(&mut self, node: usize, got: &Got, moved: Option<Whereabouts>) {
        let reason = RefusalReason::NotOwner;
        self.feed(node, |out| Refusal { id: got.head.id, reason, leader: None, moved }.put(out));
        self.turn();
    }

    fn supersede(&mut self, node: usize, got: &Got) {
        self.refuse(node, got, RefusalReason::Superseded, None);
    }

    /// Somebody else's request teaches the worker where a key's slot is.
    fn teach(&mut self, key: &str, owner: u64, epoch: u64) {
        let c = self.client();
        let shard = self.engine.routing().owner(slot_of(key)).unwrap();
        let node = self.leaders[shard.at()].0;
        self.send(c, &["APPEND", key, "taught"]);
        let mine = self.nodes[node].got.iter().position(|got| text(got).contains("taught")).unwrap();
        let got = self.nodes[node].got.remove(mine);
        self.redirect(node, &got, Some(at(key, owner, epoch)));
        self.engine.client_broke(c);
        self.nodes.iter_mut().for_each(|node| node.got.retain(|got| !text(got).contains("taught")));
    }

    /// A newer catalog, with something changed.
    pub fn change_catalog(&mut self, change: impl FnOnce(&mut Catalog)) {
        let mut catalog = Catalog::clone(&self.catalog);
        catalog.revision = catalog.revision.next();
        change(&mut catalog);
        self.catalog = Arc::new(catalog);
        self.engine.learn_catalog(&self.catalog.clone());
        self.turn();
    }
}

#[test]
fn one_refusal_moves_a_request_and_all_behind_it_in_order() {
    let mut w = World::new();
    let (c, k, stays) = (w.client(), key_of(0, 1), key_of(0, 2));
    for word in ["one", "two", "three"] {
        w.send(c, &["APPEND", &k, word]);
    }
    w.send(c, &["APPEND", &stays, "four"]);
    let got: Vec<_> = (0..4).map(|_| w.take(0)).collect();
    w.redirect(0, &got[0], Some(at(&k, 2, 9)));
    assert!(w.nodes[1].got.is_empty(), "the others may yet be answered");
    got[1..].iter().for_each(|got| w.supersede(0, got));
    let again: Vec<_> = (0..3).map(|_| w.take(1)).collect();
    for (again, before) in again.iter().zip(&got) {
        assert_eq!((again.head.shard, again.head.epoch), (ShardId(2), Epoch(9)));
        assert_eq!((again.head.identity, &again.body), (before.head.identity, &before.body));
    }
    let fourth = w.take(0);
    assert_eq!(fourth.body, got[3].body);
    w.reply(0, &fourth, 12, ":4\r\n");
    again.iter().for_each(|got| w.reply(1, got, 12, ":3\r\n"));
    assert_eq!(w.read(c), ":3\r\n:3\r\n:3\r\n:4\r\n");
    w.send(c, &["APPEND", &k, "five"]);
    let fifth = w.take(1);
    w.reply(1, &fifth, 13, ":5\r\n");
    assert_eq!(w.read(c), ":5\r\n");
    assert_eq!((w.engine.stats.reroutes.get(), w.engine.stats.moves_learned.get()), (3, 1));
    w.nothing_left();
}

#[test]
fn a_second_write_does_not_overtake_one_that_the_old_owner_may_execute() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.send(c, &["APPEND", &k, "one"]);
    let first = w.take(0);
    w.teach(&k, 2, 9);
    w.send(c, &["APPEND", &k, "two"]);
    w.send(c, &["APPEND", &key_of(1, 5), "other"]);
    let other = w.take(1);
    assert!(text(&other).contains("other"), "what is about another slot does not wait");
    assert!(w.nodes.iter().all(|node| node.got.is_empty()));
    w.reply(0, &first, 20, ":3\r\n");
    let second = w.take(1);
    assert_eq!((text(&second).contains("two"), second.head.epoch), (true, Epoch(9)));
    w.send(c, &["APPEND", &k, "three"]);
    let third = w.take(1);
    [&other, &second, &third].into_iter().for_each(|got| w.reply(1, got, 30, ":6\r\n"));
    assert_eq!(w.read(c), ":3\r\n:6\r\n:6\r\n:6\r\n");
    w.nothing_left();
}

#[test]
fn a_slot_that_goes_and_comes_back_keeps_its_order() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.send(c, &["APPEND", &k, "one"]);
    let first = w.take(0);
    w.teach(&k, 2, 9);
    w.send(c, &["APPEND", &k, "two"]);
    w.teach(&k, 1, 10);
    w.send(c, &["APPEND", &k, "three"]);
    assert!(w.nodes.iter().all(|node| node.got.is_empty()), "the first may be refused for what was before");
    w.redirect(0, &first, Some(at(&k, 1, 10)));
    let got: Vec<_> = (0..3).map(|_| w.take(0)).collect();
    assert_eq!(got[0].head.identity, first.head.identity);
    for (got, word) in got.iter().zip(["one", "two", "three"]) {
        assert!(text(got).contains(word) && got.head.epoch == Epoch(10), "{got:?}");
        w.reply(0, got, 20, ":1\r\n");
    }
    assert_eq!(w.read(c), ":1\r\n:1\r\n:1\r\n");
    w.nothing_left();
}

#[test]
fn old_news_change_nothing_whoever_tells_them() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.teach(&k, 2, 9);
    w.change_catalog(|_| {});
    assert_eq!(w.engine.routing().epoch(slot_of(&k)), Epoch(9));
    w.send(c, &["APPEND", &k, "one"]);
    let got = w.take(1);
    w.redirect(1, &got, Some(at(&k, 1, 8)));
    assert!(w.nodes.iter().all(|node| node.got.is_empty()), "nothing is asked over and over without a pause");
    w.tick(50);
    let got = w.take(1);
    w.redirect(1, &got, Some(at(&k, 2, 11)));
    let got = w.take(1);
    assert_eq!(got.head.epoch, Epoch(11), "an attempt to move it was undone");
    w.reply(1, &got, 30, ":3\r\n");
    assert_eq!(w.read(c), ":3\r\n");
    w.nothing_left();
}

#[test]
fn a_shard_of_which_no_catalog_told_is_waited_for_and_asked_about() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.send(c, &["APPEND", &k, "one"]);
    w.send(c, &["APPEND", &key_of(0, 2), "two"]);
    let (first, second) = (w.take(0), w.take(0));
    let heartbeats = w.nodes.iter().map(|node| node.heartbeats).collect::<Vec<_>>();
    w.redirect(0, &first, Some(at(&k, 3, 9)));
    w.reply(0, &second, 11, ":2\r\n");
    assert!(w.nodes.iter().zip(heartbeats).all(|(node, before)| node.heartbeats > before));
    w.tick(50);
    assert!(w.nodes.iter().all(|node| node.got.is_empty()));
    w.change_catalog(|catalog| {
        let mut third = catalog.shards[2].clone();
        (third.id, third.name) = (ShardId(3), crate::topology::ShardName::new("c"));
        third.replicas.retain(|replica| replica.node == NodeName::new("n3"));
        third.replicas[0].id = ReplicaId(20);
        (third.birth, third.birth_slots) = (third.replicas.clone(), Vec::new());
        catalog.shards.push(third);
    });
    let mut status = w.status(2, 10);
    let replica = ReplicaStatus { shard: ShardId(3), replica: ReplicaId(20), role: Role::Leader, ..status.replicas[0] };
    status.replicas.push(ReplicaStatus { leader: Some(ReplicaId(20)), ..replica });
    w.feed(2, |out| status.put(out));
    w.turn();
    let again = w.take(2);
    assert_eq!((again.head.identity, again.head.shard), (first.head.identity, ShardId(3)));
    w.reply(2, &again, 5, ":3\r\n");
    assert_eq!(w.read(c), ":3\r\n:2\r\n");
    w.nothing_left();
}

#[test]
fn the_first_session_read_of_a_slot_that_came_is_strong() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.send(c, &["GET", &key_of(1, 5)]);
    let node = w.only();
    let got = w.take(node);
    assert_eq!(got.head.level, ReadLevel::Session);
    w.reply(node, &got, 5, "$-1\r\n");
    w.teach(&k, 2, 9);
    w.send(c, &["GET", &key_of(1, 5)]);
    let node = w.only();
    let got = w.take(node);
    assert_eq!(got.head.level, ReadLevel::Session, "that slot was here before");
    w.reply(node, &got, 5, "$-1\r\n");
    w.send(c, &["GET", &k]);
    let node = w.only();
    let got = w.take(node);
    assert_eq!((got.head.level, got.head.epoch), (ReadLevel::Strong, Epoch(9)));
    w.reply(node, &got, 17, "$1\r\nx\r\n");
    w.send(c, &["GET", &k]);
    let node = w.only();
    let got = w.take(node);
    assert_eq!((got.head.level, got.head.floor), (ReadLevel::Session, LogIndex(17)));
    w.reply(node, &got, 17, "$1\r\nx\r\n");
    let late = w.client();
    w.send(late, &["GET", &k]);
    let node = w.only();
    let got = w.take(node);
    assert_eq!(got.head.level, ReadLevel::Session, "who came later has seen nothing before");
    w.reply(node, &got, 17, "$1\r\nx\r\n");
    w.level(c, ReadLevel::Any);
    w.teach(&k, 1, 10);
    w.send(c, &["GET", &k]);
    let node = w.only();
    let got = w.take(node);
    assert_eq!(got.head.level, ReadLevel::Any);
    w.reply(node, &got, 17, "$1\r\nx\r\n");
    w.nothing_left();
}

#[test]
fn r10_a_split_write_is_cut_again_under_the_names_that_its_slots_had() {
    let mut w = World::new();
    let c = w.client();
    let keys = [key_of(0, 1), key_of(0, 2), key_of(0, 3), key_of(1, 4)];
    w.send(c, &["DEL", &keys[0], &keys[1], &keys[2], &keys[3]]);
    let (near, far) = (w.take(0), w.take(1));
    let (mut rest, mut spans, mut ordinals) = (&near.body[..], Vec::new(), BTreeMap::new());
    while let Some(part) = next_part(&mut rest, &mut spans) {
        ordinals.insert(part.request.to_vec(), part.ordinal);
    }
    w.cut(0);
    w.elect(0, 2);
    let near = { w.take(2) };
    w.redirect(2, &near, Some(at(&keys[1], 2, 9)));
    let (stays, moved) = (w.take(2), w.take(1));
    assert!(stays.head.retried && moved.head.retried && moved.head.split);
    assert_eq!((count(&stays.body, &mut spans), count(&moved.body, &mut spans)), (2, 1));
    for got in [&stays, &moved] {
        assert_eq!(name(got), name(&near), "a piece is called by its number of the whole");
        let mut rest = &got.body[..];
        while let Some(part) = next_part(&mut rest, &mut spans) {
            assert_eq!(ordinals[part.request], part.ordinal);
        }
    }
    w.reply(2, &stays, 12, ":1\r\n:0\r\n");
    w.reply(1, &far, 12, ":1\r\n");
    assert_eq!(w.read(c), "");
    w.send(c, &["INCR", &keys[3]]);
    let low = w.take(1);
    let open = next_part(&mut &moved.body[..], &mut spans).unwrap().ordinal;
    assert_eq!(low.head.identity.unwrap().low, name(&near).sequence + u64::from(open), "the others need none any more");
    w.reply(1, &moved, 13, ":1\r\n");
    w.reply(1, &low, 14, ":1\r\n");
    assert_eq!(w.read(c), ":3\r\n:1\r\n");
    assert_eq!(w.engine.names.span(), 0);
    w.nothing_left();
}

#[test]
fn a_split_write_of_one_shard_becomes_one_of_several() {
    let mut w = World::new();
    let c = w.client();
    let keys = [key_of(0, 1), key_of(0, 2), key_of(0, 3)];
    w.send(c, &["MSET", &keys[0], "1", &keys[1], "2", &keys[2], "3"]);
    w.send(c, &["APPEND", &keys[1], "x"]);
    let (whole, append) = (w.take(0), w.take(0));
    w.redirect(0, &whole, Some(at(&keys[1], 2, 9)));
    w.supersede(0, &append);
    let (stays, moved, append) = (w.take(0), w.take(1), w.take(1));
    assert!(text(&moved).contains("MSET") && text(&append).contains("APPEND"), "in this order");
    w.reply(1, &moved, 12, "+OK\r\n");
    w.reply(1, &append, 13, ":2\r\n");
    assert_eq!(w.read(c), "");
    // The rest of it is cut once more.
    w.redirect(0, &stays, Some(at(&keys[2], 2, 10)));
    let (stays, moved) = (w.take(0), w.take(1));
    w.reply(0, &stays, 12, "+OK\r\n");
    w.reply(1, &moved, 14, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n:2\r\n");
    assert_eq!(w.engine.names.span(), 0);
    w.nothing_left();
}

#[test]
fn scattered_reads_are_cut_again_and_answered_in_the_order_of_their_keys() {
    let mut w = World::new();
    let c = w.client();
    w.read_at_leaders(c);
    let keys = [key_of(0, 1), key_of(0, 2), key_of(1, 3), key_of(0, 4), key_of(0, 2)];
    let words: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
    w.send(c, &words);
    w.send(c, &["EXISTS", &keys[0], &keys[1]]);
    let (near, exists, far) = (w.take(0), w.take(0), w.take(1));
    w.redirect(0, &near, Some(at(&keys[1], 2, 9)));
    w.supersede(0, &exists);
    let (near, exists) = (w.take(0), w.take(0));
    let (moved, moved_exists) = (w.take(1), w.take(1));
    w.reply(1, &far, 9, "*1\r\n$1\r\nc\r\n");
    w.reply(0, &near, 9, "*2\r\n$1\r\na\r\n$1\r\nd\r\n");
    w.reply(1, &moved, 9, "*2\r\n$1\r\nb\r\n$1\r\nb\r\n");
    assert_eq!(w.read(c), "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\nb\r\n");
    w.reply(0, &exists, 9, ":1\r\n");
    w.reply(1, &moved_exists, 9, ":1\r\n");
    assert_eq!(w.read(c), ":2\r\n");
    // A plain one of one shard.
    w.send(c, &["MGET", &keys[3], &keys[0]]);
    let got = w.take(0);
    w.redirect(0, &got, Some(at(&keys[3], 2, 9)));
    let (stays, moved) = (w.take(0), w.take(1));
    w.reply(0, &stays, 9, "*1\r\n$1\r\na\r\n");
    w.reply(1, &moved, 9, "*1\r\n$1\r\nd\r\n");
    assert_eq!(w.read(c), "*2\r\n$1\r\nd\r\n$1\r\na\r\n");
    w.nothing_left();
}

#[test]
fn keys_that_parted_are_told_of_and_counted() {
    let mut w = World::new();
    let c = w.client();
    let (a, b) = (key_of(0, 1), key_of(0, 2));
    w.send(c, &["RENAME", &a, &b]);
    w.send(c, &["APPEND", &a, "x"]);
    let (rename, append) = (w.take(0), w.take(0));
    w.redirect(0, &rename, Some(at(&b, 2, 9)));
    w.supersede(0, &append);
    let append = w.take(0);
    w.reply(0, &append, 12, ":1\r\n");
    let cross = format!("-{}\r\n", crate::protocol::errors::CROSS_SLOT);
    assert_eq!(w.read(c), format!("{cross}:1\r\n"));
    w.send(c, &["RENAME", &a, &b]);
    assert_eq!(w.read(c), cross);
    assert_eq!(w.engine.stats.cross_slot.get(), 2);
    w.teach(&a, 2, 9);
    w.send(c, &["RENAME", &a, &b]);
    let rename = w.take(1);
    w.reply(1, &rename, 12, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n", "together again");
    w.nothing_left();
}

#[test]
fn r10_whether_a_command_of_parted_keys_was_executed_is_asked_where_its_record_is() {
    for executed in [false, true] {
        let mut w = World::new();
        let c = w.client();
        let (a, b) = (key_of(0, 1), key_of(0, 2));
        w.send(c, &["RENAME", &a, &b]);
        w.send(c, &["APPEND", &a, "x"]);
        w.send(c, &["APPEND", &key_of(1, 7), "y"]);
        let (rename, other) = (w.take(0), w.take(1));
        w.cut(0);
        w.teach_by_catalog(&a, 2, 9);
        w.elect(0, 2);
        assert!(w.nodes.iter().all(|node| node.got.is_empty()));
        w.reply(1, &other, 11, ":1\r\n");
        let again = w.take(1);
        assert_eq!((again.head.identity, again.head.retried), (rename.head.identity, true));
        w.send(c, &["APPEND", &b, "z"]);
        assert!(w.nodes.iter().all(|node| node.got.is_empty()), "nothing of this client overtakes it");
        if executed {
            w.reply(1, &again, 12, "+OK\r\n");
        } else {
            w.redirect(1, &again, Some(at(&b, 1, 1)));
        }
        w.tick(2);
        let (a_again, b_append) = (w.take(1), w.take(2));
        w.reply(1, &a_again, 13, ":1\r\n");
        w.reply(2, &b_append, 13, ":2\r\n");
        let first = if executed { "+OK" } else { &format!("-{}", crate::protocol::errors::CROSS_SLOT) };
        assert_eq!(w.read(c), format!("{first}\r\n:1\r\n:1\r\n:2\r\n"));
        w.nothing_left();
    }
}

impl World {
    fn teach_by_catalog(&mut self, key: &str, owner: u64, epoch: u64) {
        let slot = slot_of(key).number();
        self.change_catalog(|catalog| {
            let at = catalog.slots.iter().position(|range| (range.first..=range.last).contains(&slot)).unwrap();
            let range = catalog.slots.remove(at);
            let piece = |first, last, owner, epoch| crate::topology::SlotRange { first, last, owner, epoch };
            let pieces = [
                (slot > range.first).then(|| piece(range.first, slot - 1, range.owner, range.epoch)),
                Some(piece(slot, slot, ShardId(owner), Epoch(epoch))),
                (slot < range.last).then(|| piece(slot + 1, range.last, range.owner, range.epoch)),
            ];
            catalog.slots.splice(at..at, pieces.into_iter().flatten());
        });
    }
}

#[test]
fn a_wait_goes_on_at_the_new_owner_and_its_end_with_it() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.send(c, &["BLPOP", &k, "0.5"]);
    let got = w.take(0);
    w.redirect(0, &got, Some(at(&k, 2, 9)));
    let again = w.take(1);
    assert_eq!((again.head.identity, again.head.blocking), (got.head.identity, Some(Blocking::Wait)));
    // The next owner knows already, the last one is silent.
    w.teach_by_catalog(&k, 1, 10);
    w.tick(500);
    let (wait, cancel) = (w.take(0), w.take(0));
    assert_eq!((wait.head.identity, cancel.head.identity), (got.head.identity, got.head.identity));
    assert_eq!(cancel.head.blocking, Some(Blocking::Cancel(CancelHow::Timeout)));
    w.reply(0, &cancel, 20, "");
    w.reply(0, &wait, 20, "*-1\r\n");
    assert_eq!(w.read(c), "*-1\r\n");
    w.nothing_left();
}

#[test]
fn a_wait_for_keys_that_part_ends() {
    let mut w = World::new();
    let (c, a, b) = (w.client(), key_of(0, 1), key_of(0, 2));
    w.send(c, &["BLPOP", &a, &b, "0"]);
    let got = w.take(0);
    w.redirect(0, &got, Some(at(&b, 2, 9)));
    assert_eq!(w.read(c), format!("-{}\r\n", crate::protocol::errors::CROSS_SLOT));
    let gone = w.take(0);
    assert_eq!(gone.head.blocking, Some(Blocking::Cancel(CancelHow::Gone)));
    w.send(c, &["PING"]);
    assert_eq!(w.read(c), "+PONG\r\n");
    w.redirect(0, &gone, Some(at(&a, 2, 9)));
    let gone = w.take(1);
    w.reply(1, &gone, 20, "");
    w.nothing_left();
}

#[test]
fn a_transaction_follows_its_slots_or_is_aborted_where_they_part() {
    let mut w = World::new();
    let (c, a, b) = (w.client(), key_of(0, 1), key_of(0, 2));
    let send = |w: &mut World| {
        [&["MULTI"][..], &["INCR", &a], &["INCR", &b], &["EXEC"]].into_iter().for_each(|words| w.send(c, words));
    };
    send(&mut w);
    w.send(c, &["INCR", &b]);
    let (exec, incr) = (w.take(0), w.take(0));
    assert_eq!(exec.head.slot, Some(slot_of(&a)));
    w.teach_by_catalog(&b, 2, 9);
    w.redirect(0, &exec, Some(at(&a, 2, 9)));
    w.supersede(0, &incr);
    let (exec, incr) = (w.take(1), w.take(1));
    assert!(exec.head.transaction && !incr.head.transaction);
    w.reply(1, &exec, 12, "*2\r\n:1\r\n:1\r\n");
    w.reply(1, &incr, 13, ":2\r\n");
    assert_eq!(w.read(c), "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n:2\r\n");
    send(&mut w);
    let exec = w.take(1);
    w.redirect(1, &exec, Some(at(&b, 1, 10)));
    let read = w.read(c);
    assert!(read.ends_with("+QUEUED\r\n-EXECABORT Transaction discarded because of: CROSSSLOT Keys in request don't hash to the same slot\r\n"), "{read}");
    assert_eq!((w.engine.stats.transactions_aborted.get(), w.engine.stats.cross_slot.get()), (1, 1));
    w.nothing_left();
}

#[test]
fn watched_keys_take_their_versions_along() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.read_at_leaders(c);
    w.send(c, &["WATCH", &k]);
    let watch = w.take(0);
    w.redirect(0, &watch, Some(at(&k, 2, 9)));
    let watch = w.take(1);
    w.reply(1, &watch, 12, "*1\r\n:7\r\n");
    [&["MULTI"][..], &["SET", &k, "v"], &["EXEC"]].into_iter().for_each(|words| w.send(c, words));
    let exec = w.take(1);
    w.redirect(1, &exec, Some(at(&k, 1, 10)));
    let again = w.take(0);
    assert_eq!((again.body, again.head.identity), (exec.body, exec.head.identity));
}

#[test]
fn requests_of_a_shard_that_goes_away_find_their_slots() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.cut(0);
    w.send(c, &["APPEND", &k, "x"]);
    w.send(c, &["RANDOMKEY"]);
    w.change_catalog(|catalog| {
        catalog.shards.retain(|shard| shard.id != ShardId(1));
        catalog.slots = vec![crate::topology::SlotRange { first: 0, last: 16383, owner: ShardId(2), epoch: Epoch(9) }];
    });
    // A part of RANDOMKEY was at some replica of the other shard.
    let part = (0..3).find(|node| !w.nodes[*node].got.is_empty() && *node != 1);
    part.into_iter().for_each(|node| {
        let part = w.take(node);
        w.cover(node, &part, &[], "$-1\r\n");
    });
    let append = w.take(1);
    assert_eq!((append.head.shard, append.head.epoch), (ShardId(2), Epoch(9)));
    w.reply(1, &append, 12, ":1\r\n");
    let part = w.take(1);
    w.cover(1, &part, &[], "$1\r\nx\r\n");
    assert_eq!(w.read(c), ":1\r\n$1\r\nx\r\n", "the part for the shard that is gone is asked elsewhere");
    w.nothing_left();
}

impl World {
    /// A node covers what it was asked for, but for these slots.
    pub fn cover(&mut self, node: usize, got: &Got, but: &[Slot], reply: &str) {
        let (wanted, _) = coverage::split(&got.body).unwrap();
        let covered = SlotRuns::of(wanted.slots().filter(|slot| !but.contains(slot)));
        let head = ReplyHead { id: got.head.id, index: LogIndex(11) };
        self.feed(node, |out| {
            put_message(out, Kind::Reply, |out| {
                head.encode(out);
                coverage::put(out, &covered);
                out.extend(reply.as_bytes());
            });
        });
        self.turn();
    }
}

#[test]
fn r15_every_slot_is_covered_once_wherever_it_goes() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.read_at_leaders(c);
    w.send(c, &["DBSIZE"]);
    w.send(c, &["APPEND", &k, "x"]);
    let (first, second) = (w.take(0), w.take(1));
    w.cover(1, &second, &[], ":2\r\n");
    w.cover(0, &first, &[slot_of(&k)], ":40\r\n");
    let probe = w.take(0);
    assert_eq!((probe.head.slot, probe.head.level), (Some(slot_of(&k)), ReadLevel::Strong));
    assert!(w.nodes.iter().all(|node| node.got.is_empty()), "nothing of the client is taken meanwhile");
    w.redirect(0, &probe, Some(at(&k, 2, 9)));
    let probe = w.take(1);
    w.reply(1, &probe, 12, "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    let rest = w.take(1);
    let (wanted, _) = coverage::split(&rest.body).unwrap();
    assert_eq!(wanted, SlotRuns::of([slot_of(&k)]));
    w.cover(1, &rest, &[], ":1\r\n");
    assert_eq!(w.read(c), ":43\r\n");
    let append = w.take(1);
    w.reply(1, &append, 13, ":1\r\n");
    assert_eq!(w.read(c), ":1\r\n");
    w.nothing_left();
}

#[test]
fn r15_nothing_before_or_behind_a_flush_goes_past_it() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.send(c, &["APPEND", &k, "x"]);
    w.send(c, &["FLUSHALL"]);
    w.send(c, &["APPEND", &k, "y"]);
    let before = w.take(0);
    assert!(w.nodes.iter().all(|node| node.got.is_empty()));
    w.reply(0, &before, 11, ":1\r\n");
    let (first, second) = (w.take(0), w.take(1));
    assert!(first.head.write && first.head.covers && name(&first) != name(&second));
    w.cover(0, &first, &[], "+OK\r\n");
    w.refuse(1, &second, RefusalReason::Unknown, None);
    w.tick(50);
    let again = w.take(1);
    assert_eq!((name(&again), &again.body), (name(&second), &second.body));
    assert!(w.nodes.iter().all(|node| node.got.is_empty()));
    w.cover(1, &again, &[], "+OK\r\n");
    let behind = w.take(0);
    w.reply(0, &behind, 12, ":1\r\n");
    assert_eq!(w.read(c), ":1\r\n+OK\r\n:1\r\n");
    assert_eq!(w.engine.names.span(), 0);
    w.nothing_left();
}

#[test]
fn r15_a_flush_in_doubt_goes_where_its_first_slot_went_and_is_asked_for_by_its_name() {
    let mut w = World::new();
    let c = w.client();
    w.send(c, &["FLUSHALL"]);
    let (first, second) = (w.take(0), w.take(1));
    assert_eq!((first.head.slot, second.head.slot), (Slot::new(0), Slot::new(8192)));
    w.cover(1, &second, &[], "+OK\r\n");
    // It may have been taken; then the shard gives all that it has away, and is no more.
    w.cut(0);
    w.change_catalog(|catalog| {
        catalog.shards.retain(|shard| shard.id != ShardId(1));
        catalog.slots = vec![crate::topology::SlotRange { first: 0, last: 16383, owner: ShardId(2), epoch: Epoch(9) }];
    });
    (0..5).for_each(|_| w.tick(100));
    let again = w.take(1);
    assert_eq!((name(&again), &again.body, again.head.retried), (name(&first), &first.body, true));
    w.cover(1, &again, &[], "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
    w.nothing_left();
}

#[test]
fn r15_what_was_not_covered_in_time_is_said() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.read_at_leaders(c);
    for (request, reply, left) in [
        (
            "FLUSHALL",
            "+OK\r\n",
            "-TIMEOUT 1 of the 16384 slots could not be asked in time, since nobody served them; nothing was",
        ),
        ("DBSIZE", ":4\r\n", "-TIMEOUT 1 of the 16384 slots could not be asked in time"),
        ("RANDOMKEY", "$-1\r\n", "-TIMEOUT 1 of the 16384 slots could not be asked in time"),
    ] {
        w.send(c, &[request]);
        let (first, second) = (w.take(0), w.take(1));
        w.cover(1, &second, &[], reply);
        w.cover(0, &first, &[slot_of(&k)], reply);
        // The slot is where it was, and then again it is not, until it is too late.
        let deadline = w.engine.settings.limits.request_deadline;
        let probe = w.take(0);
        w.now = w.now + deadline;
        w.reply(0, &probe, 12, "*2\r\n$1\r\n0\r\n*0\r\n");
        let read = w.read(c);
        assert!(read.starts_with(left), "{read}");
        (0..20).for_each(|_| w.tick(100));
    }
    w.nothing_left();
}

#[test]
fn r15_a_random_key_is_of_a_slot_that_was_wanted_and_absent_only_if_all_slots_are_empty() {
    let mut w = World::new();
    let (c, k) = (w.client(), key_of(0, 1));
    w.read_at_leaders(c);
    w.send(c, &["RANDOMKEY"]);
    let (first, second) = (w.take(0), w.take(1));
    assert!(first.head.covers && second.head.covers);
    w.cover(1, &second, &[], "$-1\r\n");
    w.cover(0, &first, &[slot_of(&k)], "$-1\r\n");
    // The only key is in a slot that nobody covered.
    let probe = w.take(0);
    w.reply(0, &probe, 12, "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    let rest = w.take(0);
    w.cover(0, &rest, &[], "$1\r\nk\r\n");
    assert_eq!(w.read(c), "$1\r\nk\r\n");
    // Whoever has a key has the answer, whatever is on its way.
    w.send(c, &["RANDOMKEY"]);
    let (first, second) = (w.take(0), w.take(1));
    w.cover(1, &second, &[], "$1\r\nx\r\n");
    w.cover(0, &first, &[slot_of(&k)], "$-1\r\n");
    assert_eq!(w.read(c), "$1\r\nx\r\n");
    w.nothing_left();
}

#[test]
fn r15_a_transaction_over_all_keys_fails_when_there_is_a_second_shard() {
    let mut w = World::new();
    w.change_catalog(|catalog| {
        catalog.slots = vec![crate::topology::SlotRange { first: 0, last: 16383, owner: ShardId(1), epoch: Epoch(9) }];
    });
    let c = w.client();
    w.send(c, &["MULTI"]);
    w.send(c, &["FLUSHALL"]);
    w.send(c, &["EXEC"]);
    let exec = w.take(0);
    assert_eq!((exec.head.slot, exec.head.transaction), (Slot::new(0), true));
    // A slot has gone elsewhere by the time that it is applied, or has to be judged again.
    let gone = Slot::new(16000).unwrap();
    let moved = Whereabouts { slot: gone, epoch: Epoch(10), owner: ShardId(2) };
    w.redirect(0, &exec, Some(moved));
    let expected = format!("+OK\r\n+QUEUED\r\n-{}\r\n", errors::exec_abort(errors::CROSS_SLOT));
    assert_eq!(w.read(c), expected);
    w.nothing_left();
}

#[test]
fn info_counts_what_answers_in_time() {
    let mut w = World::new();
    let c = w.client();
    w.send(c, &["INFO", "keyspace"]);
    let parts: Vec<_> = (0..3).filter(|node| !w.nodes[*node].got.is_empty()).collect();
    let node = parts[0];
    let got = w.take(node);
    w.cover(node, &got, &[], ":40\r\n");
    (0..20).for_each(|_| w.tick(100));
    let read = w.read(c);
    assert!(read.contains("db0:keys=40,"), "{read}");
    w.nothing_left();
}
