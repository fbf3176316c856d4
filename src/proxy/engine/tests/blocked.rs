//! Clients whose blocking commands wait, whatever becomes of nodes and of themselves.

use super::*;
use crate::protocol::identity::{Blocking, CancelHow};

const POPPED: &str = "*2\r\n$1\r\nk\r\n$1\r\nx\r\n";

fn is_cancel(got: &Got, how: CancelHow) -> bool {
    got.head.blocking == Some(Blocking::Cancel(how))
}

impl World {
    /// Seconds pass in which these nodes are heard of.
    fn pass(&mut self, seconds: u32, nodes: &[usize]) {
        for _ in 0..seconds {
            self.tick(1_000);
            nodes.iter().for_each(|node| self.push_status(*node));
        }
        self.turn();
    }

    /// A client that waits at node 0, as that node got it.
    fn blocked(&mut self, timeout: &str) -> (u32, Got) {
        let (client, key) = (self.client(), key_of(0, 1));
        self.send(client, &["BLPOP", &key, timeout]);
        let got = self.take(0);
        assert_eq!((got.head.blocking, got.head.write), (Some(Blocking::Wait), true));
        (client, got)
    }
}

#[test]
fn what_a_blocked_client_sends_waits_for_its_answer() {
    let mut w = World::new();
    let (c, got) = w.blocked("0");
    w.send(c, &["PING"]);
    w.send(c, &["GET", &key_of(0, 2)]);
    w.pass(60, &[0, 1, 2]);
    assert_eq!(w.read(c), "", "and the deadline of other requests is not its own");
    assert!(w.engine.wants_input(c), "its end would be noticed");
    w.reply(0, &got, 20, POPPED);
    assert_eq!(w.read(c), format!("{POPPED}+PONG\r\n"));
    let node = w.only();
    let read = w.take(node);
    assert_eq!(read.head.floor, LogIndex(20));
    w.reply(node, &read, 20, "$-1\r\n");
    assert_eq!(w.read(c), "$-1\r\n");
    w.nothing_left();
}

#[test]
fn r11_a_time_that_is_over_is_told_to_the_shard_and_its_word_is_the_answer() {
    let mut w = World::new();
    let (c, got) = w.blocked("0.5");
    w.tick(499);
    assert!(w.nodes[0].got.is_empty());
    w.tick(1);
    let cancel = w.take(0);
    assert!(is_cancel(&cancel, CancelHow::Timeout));
    assert_eq!(cancel.head.identity, got.head.identity);
    assert_eq!(w.read(c), "", "nothing before the shard has logged it");
    w.reply(0, &got, 20, POPPED);
    w.reply(0, &cancel, 21, "");
    assert_eq!(w.read(c), POPPED, "it was served before");
    w.nothing_left();
    let (c, got) = w.blocked("0.5");
    w.tick(500);
    let cancel = w.take(0);
    w.reply(0, &cancel, 30, "");
    w.reply(0, &got, 30, "*-1\r\n");
    assert_eq!(w.read(c), "*-1\r\n");
    w.nothing_left();
}

#[test]
fn a_wait_is_ended_once_though_time_went_by() {
    let mut w = World::new();
    let (c, got) = w.blocked("2.5");
    w.pass(3, &[0]);
    let cancel = w.take(0);
    let names = [&got, &cancel].map(|got| got.head.identity.unwrap());
    assert!(names[0].id == names[1].id && names[0].born < names[1].born);
    w.reply(0, &cancel, 30, "");
    assert!(w.nodes[0].got.is_empty(), "the same name is not asked about again");
    w.reply(0, &got, 30, "*-1\r\n");
    assert_eq!(w.read(c), "*-1\r\n");
    w.nothing_left();
}

#[test]
fn a_wait_and_its_end_may_both_be_overdue() {
    let mut w = World::new();
    let (c, _) = w.blocked("1");
    w.cut(0);
    w.pass(13, &[1, 2]);
    let text = w.read(c);
    assert!(text.starts_with("-TIMEOUT the outcome of this write is unknown"), "{text}");
    w.send(c, &["PING"]);
    assert_eq!(w.read(c), "+PONG\r\n");
}

#[test]
fn a_new_leader_is_asked_under_the_same_name() {
    let mut w = World::new();
    let (c, got) = w.blocked("10");
    w.refuse(0, &got, RefusalReason::NotLeader, None);
    w.elect(0, 2);
    let again = w.take(2);
    assert_eq!((again.head.identity, &again.body), (got.head.identity, &got.body));
    // Its node dies with the request.
    w.cut(2);
    w.pass(10, &[0, 1]);
    assert_eq!(w.read(c), "");
    w.elect(0, 1);
    let (third, cancel) = (w.take(1), w.take(1));
    assert_eq!(third.head.identity, got.head.identity);
    assert!(is_cancel(&cancel, CancelHow::Timeout), "its time was over meanwhile");
    w.reply(1, &third, 40, "*-1\r\n");
    w.reply(1, &cancel, 40, "");
    assert_eq!(w.read(c), "*-1\r\n");
    w.nothing_left();
}

#[test]
fn an_outcome_that_a_node_does_not_know_is_asked_for_again() {
    let mut w = World::new();
    let (c, got) = w.blocked("0");
    w.refuse(0, &got, RefusalReason::Unknown, None);
    w.tick(100);
    let again = w.take(0);
    assert_eq!(again.head.identity, got.head.identity);
    w.refuse(0, &again, RefusalReason::Forgotten, None);
    assert!(w.read(c).starts_with("-TIMEOUT the outcome of this write is unknown"));
    w.nothing_left();
}

#[test]
fn one_who_was_taken_for_gone_waits_anew() {
    let mut w = World::new();
    let (c, got) = w.blocked("0");
    w.refuse(0, &got, RefusalReason::Cancelled, None);
    w.tick(100);
    let again = w.take(0);
    let names = [&got, &again].map(|got| got.head.identity.unwrap());
    assert_eq!(names[0].id.session, names[1].id.session);
    assert!(names[1].id.sequence > names[0].id.sequence && names[1].low == names[1].id.sequence);
    w.reply(0, &again, 20, POPPED);
    assert_eq!(w.read(c), POPPED);
    w.nothing_left();
}

#[test]
fn one_who_was_taken_for_gone_does_not_wait_anew_when_his_time_is_over() {
    let mut w = World::new();
    let (c, got) = w.blocked("0.5");
    w.tick(500);
    let cancel = w.take(0);
    w.reply(0, &cancel, 30, "");
    w.refuse(0, &got, RefusalReason::Cancelled, None);
    assert_eq!(w.read(c), "*-1\r\n");
    w.send(c, &["PING"]);
    assert_eq!(w.read(c), "+PONG\r\n");
    w.nothing_left();
}

#[test]
fn the_shard_is_told_of_those_who_went_away() {
    let mut w = World::new();
    let (c, got) = w.blocked("0");
    w.engine.client_ended(c);
    // Until its socket is closed, that tells its end again.
    assert!(!w.engine.wants_input(c));
    w.engine.client_ended(c);
    w.engine.client_broke(c);
    w.turn();
    assert_eq!(w.closed, [c]);
    let cancel = w.take(0);
    assert!(is_cancel(&cancel, CancelHow::Gone) && cancel.head.identity == got.head.identity);
    w.refuse(0, &cancel, RefusalReason::NotLeader, None);
    w.elect(0, 2);
    let again = w.take(2);
    assert!(is_cancel(&again, CancelHow::Gone));
    w.reply(2, &again, 20, "");
    w.reply(0, &got, 20, POPPED);
    assert_eq!(w.engine.client_count(), 0);
    w.nothing_left();
    let other = w.client();
    w.send(other, &["BLPOP", &key_of(0, 1), "0"]);
    w.take(2);
    w.engine.kill(&[2]);
    w.turn();
    assert!(is_cancel(&w.take(2), CancelHow::Gone) && w.closed.contains(&other));
}

#[test]
fn a_client_is_unblocked_by_another() {
    let mut w = World::new();
    let (c, got) = w.blocked("0");
    let other = w.client();
    w.send(other, &["CLIENT", "UNBLOCK", "2"]);
    w.send(other, &["CLIENT", "UNBLOCK", "99"]);
    w.send(other, &["CLIENT", "UNBLOCK", "1", "ERROR"]);
    w.send(other, &["CLIENT", "UNBLOCK", "1", "ERROR"]);
    assert_eq!(w.read(other), ":0\r\n:0\r\n:1\r\n:1\r\n");
    w.send(other, &["CLIENT", "LIST"]);
    assert!(w.read(other).contains("flags=b "));
    w.send(other, &["INFO", "clients"]);
    assert!(w.read(other).contains("blocked_clients:1\r\n"));
    let cancel = w.take(0);
    assert!(is_cancel(&cancel, CancelHow::Unblocked) && w.nodes[0].got.is_empty());
    w.reply(0, &got, 20, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    w.reply(0, &cancel, 20, "");
    assert_eq!(w.read(c), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    w.send(other, &["CLIENT", "UNBLOCK", "1"]);
    assert_eq!(w.read(other), ":0\r\n");
    w.nothing_left();
}

#[test]
fn a_node_whose_address_changes_is_not_kept_by_those_who_wait_there() {
    let mut w = World::new();
    let (c, got) = w.blocked("0");
    let other = w.client();
    w.send(other, &["SET", &key_of(0, 1), "1"]);
    let set = w.take(0);
    assert_eq!(w.engine.routing().node(NodeIndex(0)).in_flight, 1, "who waits is no work");
    let mut catalog = Catalog::clone(&w.catalog);
    catalog.revision = Revision(2);
    catalog.nodes.get_mut(&NodeName::new("n1")).unwrap().addr = "127.0.0.1:9".to_owned();
    w.engine.learn_catalog(&Arc::new(catalog));
    w.turn();
    w.reply(0, &set, 11, "+OK\r\n");
    assert_eq!(w.read(other), "+OK\r\n");
    w.tick(100);
    w.push_status(0);
    w.turn();
    let again = w.take(0);
    assert_eq!(again.head.identity, got.head.identity);
    w.reply(0, &again, 20, POPPED);
    assert_eq!(w.read(c), POPPED);
    assert_eq!(w.engine.routing().node(NodeIndex(0)).in_flight, 0);
    w.nothing_left();
}

#[test]
fn without_a_leader_a_wait_ends_without_one() {
    let mut w = World::new();
    w.cut(0);
    let c = w.client();
    w.send(c, &["BRPOP", &key_of(0, 1), "0.2"]);
    w.send(c, &["PING"]);
    w.tick(200);
    assert_eq!(w.read(c), "*-1\r\n+PONG\r\n", "no shard ever heard of it");
    w.send(c, &["BLPOP", &key_of(0, 1), "-1"]);
    assert_eq!(w.read(c), "-ERR timeout is negative\r\n");
    w.nothing_left();
}

#[test]
fn a_shard_that_does_not_answer_is_not_waited_for_past_the_deadline() {
    let mut w = World::new();
    let (c, got) = w.blocked("1");
    w.pass(10, &[0, 1, 2]);
    assert_eq!(w.read(c), "");
    w.pass(3, &[0, 1, 2]);
    assert!(w.read(c).starts_with("-TIMEOUT the outcome of this write is unknown"));
    // Should it wait there all the same, it would be served for nobody.
    let (cancel, gone) = (w.take(0), w.take(0));
    assert!(is_cancel(&cancel, CancelHow::Timeout) && is_cancel(&gone, CancelHow::Gone));
    assert_eq!(gone.head.identity.unwrap().id, got.head.identity.unwrap().id);
    w.engine.drain();
    w.turn();
    assert!(w.engine.client_count() == 0 && !w.engine.is_drained());
    w.reply(0, &gone, 20, "");
    assert!(w.engine.is_drained());
    w.nothing_left();
}

#[test]
fn a_client_may_go_before_the_request_that_ended_its_wait_comes_back() {
    let mut w = World::new();
    let (c, got) = w.blocked("0.5");
    w.tick(500);
    let cancel = w.take(0);
    w.reply(0, &got, 20, "*-1\r\n");
    assert_eq!(w.read(c), "*-1\r\n");
    w.engine.client_ended(c);
    w.turn();
    assert_eq!(w.closed, [c]);
    w.reply(0, &cancel, 20, "");
    w.nothing_left();
    // Both gone at once, and the cancel still on its way.
    let (c, _) = w.blocked("0.5");
    w.tick(500);
    w.engine.client_broke(c);
    w.turn();
    let (cancel, gone) = (w.take(0), w.take(0));
    w.reply(0, &cancel, 21, "");
    w.reply(0, &gone, 21, "");
    w.nothing_left();
}
