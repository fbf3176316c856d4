//! Groups without disks or nodes around them, in orders of events that those seldom come to.

use raft::{GetEntriesContext, Storage};

use super::*;

const LEASE_TICKS: usize = 18;
/// More than any election time.
const ELECTION: usize = 80;

/// Three replicas whose messages arrive at once.
struct Trio {
    groups: Vec<Group>,
    /// Whom no message reaches or leaves.
    cut_off: Option<u64>,
    /// Whose disk does not come to an end, and what it was given.
    slow_disk: Option<u64>,
    unsynced: Vec<Held>,
    /// Questions that were answered.
    answered: Vec<u64>,
    /// How many messages went to each.
    sent_to: [usize; 5],
}

const WRITE: Bytes = Bytes::from_static(b"x");

fn id(number: u64) -> ReplicaId {
    ReplicaId(number)
}

fn group(number: u64) -> Group {
    group_with(number, 20 + 4 * number as usize)
}

fn options(number: u64, election_ticks: usize) -> GroupOptions {
    GroupOptions {
        heartbeat_ticks: 2,
        lease_ticks: LEASE_TICKS,
        election_ticks,
        append_bytes_max: 1 << 20,
        appends_in_flight_max: 256,
        uncommitted_bytes_max: 1 << 20,
        committed_bytes_max: 1 << 20,
        quiet_ticks: 0,
        keeps_leases: false,
        boot_nonce: number,
    }
}

fn group_with(number: u64, election_ticks: usize) -> Group {
    let start = SnapshotPoint::birth([1, 2, 3].map(ReplicaId));
    Group::restore(id(number), options(number, election_ticks), Restored { start, ..Restored::default() }).unwrap()
}

impl Trio {
    fn of_groups(groups: Vec<Group>) -> Self {
        let (unsynced, answered) = (Vec::new(), Vec::new());
        Self { groups, cut_off: None, slow_disk: None, unsynced, answered, sent_to: [0; 5] }
    }

    /// With the first as the leader.
    fn led() -> Self {
        let mut trio = Self::of_groups((1..=3).map(group).collect());
        trio.tick(ELECTION);
        assert!(trio.of(1).leads_surely());
        trio
    }

    fn of(&mut self, number: u64) -> &mut Group {
        &mut self.groups[number as usize - 1]
    }

    fn tick(&mut self, times: usize) {
        for _ in 0..times {
            self.groups.iter_mut().for_each(Group::tick);
            self.exchange();
        }
    }

    /// Until nobody has anything to say.
    fn exchange(&mut self) {
        loop {
            let mut said = Vec::new();
            let mut effects = Effects::default();
            for (group, number) in self.groups.iter_mut().zip(1..) {
                while group.collect(&mut effects) {
                    said.append(&mut effects.messages);
                    for held in effects.held.drain(..) {
                        if self.slow_disk == Some(number) {
                            self.unsynced.push(held);
                            continue;
                        }
                        group.persisted(held.number);
                        said.extend(held.messages);
                    }
                }
            }
            self.answered.extend(effects.reads.iter().map(|read| read.context));
            said.iter().for_each(|message| self.sent_to[message.to as usize - 1] += 1);
            said.retain(|message| ![message.from, message.to].map(Some).contains(&self.cut_off));
            if said.is_empty() {
                return;
            }
            for message in said {
                self.of(message.to).step(message);
            }
        }
    }

    /// The slow disk comes to an end with what it was given first.
    fn sync(&mut self) {
        let (number, held) = (self.slow_disk.unwrap(), self.unsynced.remove(0));
        self.of(number).persisted(held.number);
        self.exchange();
    }
}

#[test]
fn replicas_that_stand_for_election_at_the_same_moment_do_not_for_ever() {
    let mut trio = Trio::of_groups((1..=3).map(|number| group_with(number, 24)).collect());
    trio.tick(24);
    assert!(trio.groups.iter().all(|group| !group.leads()), "each votes for itself");
    trio.tick(4 * 24);
    assert_eq!(trio.groups.iter().filter(|group| group.leads_surely()).count(), 1);
}

#[test]
fn a_leader_that_applied_its_own_removal_steps_down_when_what_it_wrote_later_is_on_disk() {
    let mut trio = Trio::led();
    trio.slow_disk = Some(1);
    trio.of(1).propose_members(MemberChange::Remove(id(1)), Revision(1)).unwrap();
    trio.exchange();
    trio.of(1).propose([WRITE]).unwrap();
    trio.exchange();
    assert!(
        trio.of(1).members().contains(id(1)),
        "the others have it on disk, which commits it; it is applied when it is here"
    );
    while trio.of(1).members().contains(id(1)) {
        trio.sync();
    }
    assert!(!trio.unsynced.is_empty() && trio.of(1).leads());
    while !trio.unsynced.is_empty() {
        trio.sync();
    }
    assert!(!trio.of(1).leads() && trio.of(1).leader().is_none());
    assert_eq!(trio.of(1).propose([WRITE]), Err(ProposeError::NotLeader));
    trio.slow_disk = None;
    trio.tick(ELECTION);
    assert!(trio.of(2).leads_surely() && trio.of(2).propose([WRITE]).is_ok());
}

#[test]
fn a_leader_whose_transfer_failed_settles_its_members_all_the_same() {
    let mut trio = Trio::led();
    assert!(trio.of(1).reign().is_some() && trio.of(1).members_are_settled());
    trio.cut_off = Some(3);
    trio.of(1).transfer(id(3));
    assert!(!trio.of(1).leads());
    trio.tick(LEASE_TICKS + 1);
    assert!(trio.of(1).leads_surely(), "given up");
    assert_eq!(trio.of(1).reign(), None, "the message that makes the other stand may still arrive");
    trio.of(1).propose_members(MemberChange::Remove(id(3)), Revision(1)).unwrap();
    trio.exchange();
    let told_after = trio.of(1).last_index();
    assert_eq!(trio.of(1).members().voters, [1, 2].map(ReplicaId));
    assert!(!trio.of(1).members_are_settled(), "nobody else knows durably that it is so");
    trio.of(1).settle_members();
    assert!(!trio.of(1).members_are_settled(), "proposed and not committed");
    trio.exchange();
    assert!(trio.of(1).members_are_settled() && trio.of(1).reign().is_none());
    trio.of(1).settle_members();
    trio.exchange();
    assert_eq!(trio.of(1).last_index(), told_after.next(), "once is enough");
}

#[test]
fn to_confirm_the_members_changes_nothing_but_the_revision() {
    let mut trio = Trio::led();
    let before = trio.of(1).members().clone();
    trio.of(1).propose_members(MemberChange::Confirm(id(1)), Revision(7)).unwrap();
    trio.exchange();
    for number in 1..=3 {
        assert_eq!(trio.of(number).members(), &Members { revision: Revision(7), ..before.clone() });
    }
    trio.of(1).settle_members();
    trio.exchange();
    assert!(trio.of(1).members_are_settled() && trio.of(1).leads_surely());
}

/// Gives the leadership from one to another, whom all reach.
fn hand_to(trio: &mut Trio, from: u64, to: u64) {
    trio.of(from).transfer(id(to));
    trio.exchange();
    assert!(trio.of(to).leads_surely());
}

#[test]
fn a_change_that_was_lost_with_its_leader_hinders_no_later_one() {
    for by_snapshot in [false, true] {
        let mut trio = Trio::led();
        trio.cut_off = Some(1);
        let lost = trio.of(1).propose_members(MemberChange::Remove(id(3)), Revision(1)).unwrap();
        trio.tick(ELECTION);
        assert!(trio.of(2).leads_surely());
        trio.of(2).propose([WRITE]).unwrap();
        trio.exchange();
        if by_snapshot {
            trio.of(2).compact(0);
        }
        trio.cut_off = None;
        trio.tick(ELECTION);
        assert!(trio.of(1).applied().index > lost && trio.of(1).members().contains(id(3)));

        hand_to(&mut trio, 2, 1);
        assert!(trio.of(1).reign().is_some() && trio.of(1).members_are_settled());
        trio.of(1).propose_members(MemberChange::Remove(id(3)), Revision(1)).unwrap();
        trio.exchange();
        assert!(!trio.of(2).members().contains(id(3)));
    }
}

#[test]
fn members_are_settled_though_the_log_was_longer_when_they_changed() {
    for by_snapshot in [false, true] {
        let mut trio = Trio::led();
        trio.cut_off = Some(2);
        let at = trio.of(1).propose_members(MemberChange::Confirm(id(1)), Revision(1)).unwrap();
        trio.exchange();
        // It reaches the second with entries after it that nobody else has in the end.
        let store = trio.of(1).raw.store();
        let mut entries = store.entries(at.0, at.0 + 1, None, GetEntriesContext::empty(false)).unwrap();
        let (before, term) = (store.term(at.0 - 1).unwrap(), entries[0].term);
        entries.extend((1..=10).map(|more| Entry { term, index: at.0 + more, data: WRITE, ..Entry::default() }));
        let mut message = Message { from: 1, to: 2, term, index: at.0 - 1, log_term: before, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.set_entries(entries.into());
        message.commit = at.0;
        trio.of(2).step(message);
        trio.exchange();
        assert!(trio.of(2).members().revision == Revision(1) && trio.of(2).last_index().0 == at.0 + 10);

        trio.of(1).transfer(id(3));
        trio.exchange();
        trio.of(3).propose([WRITE]).unwrap();
        trio.exchange();
        if by_snapshot {
            trio.of(3).compact(0);
        }
        trio.cut_off = None;
        trio.tick(LEASE_TICKS);
        let leaders = trio.of(3).applied().clone();
        assert!(trio.of(2).last_index() == leaders.index && leaders.index.0 < at.0 + 10);
        hand_to(&mut trio, 3, 2);
        trio.of(2).settle_members();
        trio.exchange();
        assert!(trio.of(2).members_are_settled(), "by snapshot: {by_snapshot}");
    }
}

#[test]
fn a_newcomer_without_a_state_stands_for_nothing() {
    let mut newcomer = Group::restore(id(1), options(1, 20), Restored::default()).unwrap();
    newcomer.campaign();
    assert!(!newcomer.leads() && newcomer.term() == Term(0));
    let mut trio = Trio::led();
    trio.of(2).stand_back(true);
    trio.of(2).campaign();
    trio.exchange();
    assert!(trio.of(1).leads(), "who is not to lead does not try");
}

/// The leader's question, and how many messages went to the second and the third since.
fn ask(trio: &mut Trio, context: u64) -> [usize; 2] {
    trio.sent_to = [0; 5];
    trio.of(1).read_index(context, true);
    trio.exchange();
    [trio.sent_to[1], trio.sent_to[2]]
}

#[test]
fn a_question_is_asked_of_the_quickest_alone_until_the_next_tick() {
    let mut trio = Trio::led();
    trio.tick(1);
    trio.cut_off = Some(2);
    assert_eq!(ask(&mut trio, 1), [1, 1], "who is the quickest is not known");
    trio.cut_off = None;
    assert_eq!(ask(&mut trio, 2), [0, 1]);
    assert_eq!(trio.answered, [1, 2]);
    trio.of(1).read_index(3, false);
    trio.exchange();
    assert_eq!((trio.answered.len(), trio.sent_to[1]), (3, 1), "nothing was to be saved");
    trio.tick(1);
    assert_eq!(ask(&mut trio, 4), [1, 1]);
}

#[test]
fn a_question_to_one_who_stopped_is_asked_of_all_with_the_next_tick_or_when_its_connection_is_gone() {
    for notices in [false, true] {
        let mut trio = Trio::led();
        trio.tick(1);
        trio.cut_off = Some(2);
        ask(&mut trio, 1);
        trio.cut_off = Some(3);
        assert_eq!(ask(&mut trio, 2), [0, 1]);
        assert_eq!(trio.answered, [1]);
        if notices {
            trio.of(1).report_unreachable(id(3));
            trio.exchange();
        } else {
            trio.tick(1);
        }
        assert_eq!(trio.answered, [1, 2]);
        ask(&mut trio, 3);
        assert_eq!(trio.answered, [1, 2, 3], "the second is the quickest");
    }
}

#[test]
fn one_of_five_is_no_majority() {
    let start = SnapshotPoint::birth([1, 2, 3, 4, 5].map(ReplicaId));
    let groups = (1..=5).map(|number| {
        let restored = Restored { start: start.clone(), ..Restored::default() };
        Group::restore(id(number), options(number, 20 + 4 * number as usize), restored).unwrap()
    });
    let mut five = Trio::of_groups(groups.collect());
    five.tick(ELECTION);
    for context in 1..4 {
        ask(&mut five, context);
        assert_eq!(five.sent_to, [4, 1, 1, 1, 1]);
    }
    assert_eq!(five.answered, [1, 2, 3]);
}
