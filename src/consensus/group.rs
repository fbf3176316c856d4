//! One replica's membership in one Raft group. See the [module](super) for how it is driven.

mod elections;

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfChange, ConfChangeV2, ConfState, Entry, EntryType, MessageType};
use raft::{RawNode, StateRole};

use super::change::{conf_change, parsed, revision};
use super::codec::entry_type;
use super::log_window::{LogEntry, LogWindow};
use super::{
    HardState, MemberChange, Members, Message, Progress, Situation, SnapshotPoint, Standstill, Step, left_to_do,
    next_step,
};
use crate::topology::{LogIndex, ReplicaId, Revision, Term};
use elections::Elections;

/// What a leader keeps of entries that every member has: a little, for whoever still asks by mistake.
const SPARE_WINDOW_BYTES: usize = 256 * 1024;

/// How a group behaves. All times are in ticks.
#[derive(Clone, Copy, Debug)]
pub struct GroupOptions {
    /// Between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// The shortest time without a leader's heartbeat after which others may be voted for.
    pub lease_ticks: usize,
    /// The time without a leader's heartbeat after which this replica stands for election. Different on each replica of a
    /// group, so that two do not stand at once. At least `lease_ticks`.
    pub election_ticks: usize,
    /// The most bytes of one append message.
    pub append_bytes_max: u64,
    /// The most append messages on their way to one follower.
    pub appends_in_flight_max: usize,
    /// The most bytes of proposed, uncommitted entries; more are refused as [`ProposeError::Full`].
    pub uncommitted_bytes_max: u64,
    /// The most bytes of committed entries handed out at once.
    pub committed_bytes_max: u64,
    /// How long after its start this replica votes for nobody: it may have confirmed a leader just before.
    pub quiet_ticks: usize,
    /// Whether leaders may count on this replica's confirmations: it does nothing then that would let another be elected
    /// before its leader was silent for `lease_ticks`.
    pub keeps_leases: bool,
    /// Random for each start of the process: with it, no context of a read comes twice in the cluster's life.
    pub boot_nonce: u64,
}

/// What a replica finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Where its snapshot stands.
    pub start: SnapshotPoint,
    /// Its last hard state.
    pub hard_state: HardState,
    /// The entries after `start`, without a gap.
    pub entries: Vec<LogEntry>,
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead, or gives its leadership away.
    #[error("not the leader")]
    NotLeader,
    /// As much as may be is uncommitted.
    #[error("too many uncommitted bytes")]
    Full,
}

/// One committed entry.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its position.
    pub index: LogIndex,
    /// The term it was proposed in.
    pub term: Term,
    /// What it says; empty for a new leader's first entry and for changes of members, which the group applied itself.
    pub data: Bytes,
}

/// A confirmed read: everything committed when it was asked is at or below `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The context that the read was asked with.
    pub context: u64,
    /// The index to apply before answering.
    pub index: LogIndex,
}

/// Leadership that nothing has shaken: the same from a question to its answer means that no other leader was let in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// The term.
    pub term: Term,
    /// Where the members last changed.
    pub members_at: LogIndex,
}

/// What is on its way to the disk, and the messages that wait for it.
#[derive(Debug, Default)]
pub struct Held {
    /// Counts up by one with each part.
    pub number: u64,
    /// Messages that acknowledge or vote.
    pub messages: Vec<Message>,
}

/// What a group wants done. Reused: [`Group::collect`] appends to the lists.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages that may be sent at once.
    pub messages: Vec<Message>,
    /// Entries to write; the first may replace an old tail.
    pub entries: Vec<LogEntry>,
    /// The hard state to write, if it changed.
    pub hard_state: Option<HardState>,
    /// A snapshot was accepted: the state becomes the received one, the log starts after it.
    pub snapshot: Option<SnapshotPoint>,
    /// What must be persisted before its messages are sent.
    pub held: Vec<Held>,
    /// Entries to apply, in order.
    pub committed: Vec<Committed>,
    /// Reads to answer.
    pub reads: Vec<ReadAnswer>,
    /// Whether leader or role may have changed.
    pub leadership_changed: bool,
}

/// One replica of one Raft group.
pub struct Group {
    raw: RawNode<LogWindow>,
    lease_ticks: usize,
    quiet_ticks: usize,
    keeps_leases: bool,
    boot_nonce: u64,
    unpersisted: VecDeque<u64>,
    /// A snapshot that was accepted, and the part that must be on disk before the library counts it as applied.
    installing: Option<(u64, LogIndex)>,
    /// Where the members last changed since the start.
    members_at: LogIndex,
    /// The end of the log when they did; entries after it carried the news that they changed.
    members_told_after: LogIndex,
    /// The last term in which this leader began to give its leadership away.
    transferred_in: Option<Term>,
    /// Whether it does not stand for election.
    stands_back: bool,
    /// Whether it does not take the leadership when it is given to it.
    declines: bool,
    elections: Elections,
    questions: Questions,
}

/// Whom a leader asks whether it still leads.
#[derive(Debug, Default)]
struct Questions {
    /// The first to confirm one since the last tick.
    quickest: Option<ReplicaId>,
    /// Whether one went to it alone since then.
    were_spared: bool,
}

impl Group {
    /// Continues from what is on disk; for a new group that is [`SnapshotPoint::birth`], for a newcomer nothing at all.
    ///
    /// # Errors
    /// What is on disk contradicts itself.
    pub fn restore(id: ReplicaId, options: GroupOptions, restored: Restored) -> Result<Self, RestoreError> {
        let Restored { start, mut hard_state, entries } = restored;
        let applied = start.index;
        let contiguous = entries.iter().zip(applied.0 + 1..).all(|(entry, index)| entry.index.0 == index);
        if !contiguous {
            return Err(RestoreError::Gap);
        }
        let last = entries.last().map_or(applied, |e| e.index);
        hard_state.commit = hard_state.commit.max(applied);
        if hard_state.commit > last {
            return Err(RestoreError::CommitBeyondLog { commit: hard_state.commit, last });
        }
        if hard_state.term < start.term {
            hard_state = HardState { term: start.term, vote: ReplicaId(0), ..hard_state };
        }
        let mut window = LogWindow::new(start, hard_state);
        window.append(&entries.into_iter().map(to_entry).collect::<Result<Vec<_>, _>>()?);
        let config = raft::Config {
            id: id.0,
            election_tick: options.lease_ticks,
            heartbeat_tick: options.heartbeat_ticks,
            applied: applied.0,
            max_size_per_msg: options.append_bytes_max,
            max_inflight_msgs: options.appends_in_flight_max,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: options.election_ticks,
            max_election_tick: options.election_ticks + 1,
            read_only_option: raft::ReadOnlyOption::Safe,
            batch_append: true,
            max_uncommitted_size: options.uncommitted_bytes_max,
            max_committed_size_per_ready: options.committed_bytes_max,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, window, &logger).map_err(|e| RestoreError::Rejected(e.to_string()))?;
        let GroupOptions { lease_ticks, quiet_ticks, keeps_leases, boot_nonce, .. } = options;
        Ok(Self {
            raw,
            lease_ticks,
            quiet_ticks,
            keeps_leases,
            boot_nonce,
            unpersisted: VecDeque::new(),
            installing: None,
            members_at: LogIndex(0),
            members_told_after: LogIndex(0),
            transferred_in: None,
            stands_back: false,
            declines: false,
            elections: Elections::default(),
            questions: Questions::default(),
        })
    }

    /// Takes a message of another replica. A message that makes no sense is dropped, as a lost one would be.
    pub fn step(&mut self, message: Message) {
        let refused = match message.get_msg_type() {
            MessageType::MsgSnapshot => !self.accepts(&message),
            // To be elected at once: as in `tick`.
            MessageType::MsgTimeoutNow => self.installing.is_some() || self.declines,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => self.quiet_ticks > 0,
            MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgAppendResponse
            | MessageType::MsgHeartbeatResponse => self.keeps_leases && self.is_shaken_by(&message),
            _ => false,
        };
        if refused {
            return;
        }
        let from = ReplicaId(message.from);
        let asks = message.get_msg_type() == MessageType::MsgReadIndex;
        let confirms = message.get_msg_type() == MessageType::MsgHeartbeatResponse && !message.context.is_empty();
        let sent_before = self.raw.raft.msgs.len();
        let _ = self.raw.step(message);
        if asks && self.is_majority_with(from) {
            self.ask_only(from, sent_before);
        } else if confirms {
            self.questions.quickest.get_or_insert(from);
        }
        self.note_transfer();
    }

    /// Takes back the heartbeats to others among the messages that came after the first so many.
    fn ask_only(&mut self, whom: ReplicaId, sent_before: usize) {
        let messages = &mut self.raw.raft.msgs;
        let asked = messages.split_off(sent_before.min(messages.len()));
        let is_needed = |m: &Message| m.to == whom.0 || m.get_msg_type() != MessageType::MsgHeartbeat;
        messages.extend(asked.into_iter().filter(is_needed));
    }

    /// Asks all what was asked of one alone, who may have stopped. To be called so often that no question waits long for that.
    fn ask_the_others(&mut self) {
        let Questions { were_spared, .. } = std::mem::take(&mut self.questions);
        if were_spared && self.raw.raft.pending_read_count() > 0 {
            self.raw.ping();
        }
    }

    /// Whether this leader and the voter `other` are a majority: then a question of `other` is answered when it confirms the
    /// leader itself, and others need not be asked. If that confirmation is lost, those that come with heartbeats serve.
    fn is_majority_with(&self, other: ReplicaId) -> bool {
        let Members { voters, voters_outgoing, .. } = self.members();
        let leads = self.raw.raft.state == StateRole::Leader;
        leads && voters_outgoing.is_empty() && voters.len() <= 3 && voters.contains(&other) && self.votes()
    }

    /// Whether a message that is no word of a leader would make this follower forget the leader that it hears: what it
    /// answers comes from before, and whoever leads in that term says so itself.
    fn is_shaken_by(&self, message: &Message) -> bool {
        let raft = &self.raw.raft;
        let hears = raft.state == StateRole::Follower && raft.leader_id != 0;
        hears && raft.election_elapsed < self.lease_ticks && message.term > raft.term
    }

    /// Proposes entries in one piece. Returns the index of the first and the term of all.
    ///
    /// # Errors
    /// Nothing was proposed.
    pub fn propose(&mut self, entries: impl IntoIterator<Item = Bytes>) -> Result<(LogIndex, Term), ProposeError> {
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        let first = self.last_index().next();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.raw.raft.id;
        message.set_entries(entries.into_iter().map(|data| Entry { data, ..Entry::default() }).collect());
        match self.raw.step(message) {
            Ok(()) => Ok((first, self.term())),
            Err(_) if self.raw.raft.lead_transferee.is_some() => Err(ProposeError::NotLeader),
            Err(_) => Err(ProposeError::Full),
        }
    }

    /// Proposes one step towards the members that this revision of the catalog wants. Returns its index.
    ///
    /// # Errors
    /// Not the leader, or another change is in the log and not applied.
    pub fn propose_members(&mut self, change: MemberChange, by: Revision) -> Result<LogIndex, ProposeError> {
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        if self.has_unapplied_change() {
            return Err(ProposeError::Full);
        }
        let conf = conf_change(change, by);
        let index = self.last_index().next();
        self.raw.propose_conf_change(Vec::new(), conf).map_err(|_| ProposeError::Full)?;
        Ok(index)
    }

    /// Asks for the index that is committed now; the answer comes in [`Effects::reads`], or never. `context` must not
    /// have been used before by this group of this process. `spares`: one other voter is asked where that makes a majority, the
    /// quickest one since the last tick; if it has not answered by the next, all are.
    pub fn read_index(&mut self, context: u64, spares: bool) {
        let unique = [self.boot_nonce.to_le_bytes(), context.to_le_bytes()].concat();
        let sent_before = self.raw.raft.msgs.len();
        self.raw.read_index(unique);
        if let Some(quickest) = self.questions.quickest.filter(|id| spares && self.is_majority_with(*id)) {
            self.ask_only(quickest, sent_before);
            self.questions.were_spared = true;
        }
    }

    /// Moves what is new into `effects`. `false`: nothing was.
    pub fn collect(&mut self, effects: &mut Effects) -> bool {
        if !self.raw.has_ready() {
            return false;
        }
        let mut ready = self.raw.ready();
        effects.leadership_changed |= ready.ss().is_some();
        effects.messages.extend(ready.take_messages());
        if !ready.snapshot().is_empty() {
            let point = SnapshotPoint::of_snapshot(ready.snapshot());
            self.raw.mut_store().install(point.clone());
            self.installing = Some((ready.number(), point.index));
            effects.entries.clear();
            effects.snapshot = Some(point);
        }
        if !ready.entries().is_empty() {
            self.raw.mut_store().append(ready.entries());
            effects.entries.extend(ready.take_entries().into_iter().map(LogEntry::of));
        }
        // Where the log was cut, or a snapshot took its place, what comes after its new end is as good as what came after the old one.
        self.members_told_after = self.members_told_after.min(self.last_index());
        if let Some(hs) = ready.hs() {
            let hard_state = HardState { term: Term(hs.term), vote: ReplicaId(hs.vote), commit: LogIndex(hs.commit) };
            self.raw.mut_store().set_hard_state(hard_state);
            effects.hard_state = Some(hard_state);
        }
        let nonce = self.boot_nonce.to_le_bytes();
        effects.reads.extend(ready.take_read_states().into_iter().filter_map(|state| {
            let context = state.request_ctx.strip_prefix(&nonce)?;
            Some(ReadAnswer { context: u64::from_le_bytes(context.try_into().ok()?), index: LogIndex(state.index) })
        }));
        let committed = ready.take_committed_entries();
        let held = Held { number: ready.number(), messages: ready.take_persisted_messages() };
        self.unpersisted.push_back(held.number);
        effects.held.push(held);
        self.raw.advance_append_async(ready);
        self.apply(committed, effects);
        true
    }

    /// Everything up to the part with this number is on disk.
    pub fn persisted(&mut self, number: u64) {
        while self.unpersisted.front().is_some_and(|n| *n <= number) {
            self.unpersisted.pop_front();
        }
        // What others have made durable is applied before it is durable here, the own removal too. The library looks for a leader's
        // own progress, which there is none of then, and who is no member cannot lead.
        let own = self.raw.raft.id;
        if self.raw.raft.state == StateRole::Leader && self.raw.raft.prs().get(own).is_none() {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
        self.raw.on_persist_ready(number);
        if let Some((_, index)) = self.installing.take_if(|(part, _)| *part <= number) {
            self.raw.advance_apply_to(index.0);
        }
    }

    /// Whether a snapshot up to `index` was accepted and not yet collected.
    pub fn takes_snapshot(&self, index: LogIndex) -> bool {
        self.raw.raft.snap().is_some_and(|snapshot| snapshot.get_metadata().index == index.0)
    }

    /// Forgets applied entries so that at most `bytes_max` of them stay. A leader forgets more: nearly all that every
    /// other member has, which it will not be asked for again.
    pub fn compact(&mut self, bytes_max: usize) {
        let bytes = self.raw.store().bytes();
        let cut = if bytes > bytes_max {
            self.raw.store().cut_for(bytes_max / 2, LogIndex(u64::MAX))
        } else if bytes > SPARE_WINDOW_BYTES
            && let Some(everywhere) = self.matched_everywhere()
        {
            self.raw.store().cut_for(SPARE_WINDOW_BYTES, everywhere)
        } else {
            return;
        };
        self.raw.mut_store().compact(cut);
    }

    /// Gives the leadership to `replica`, or not: watch who leads.
    pub fn transfer(&mut self, replica: ReplicaId) {
        self.raw.transfer_leader(replica.0);
        self.note_transfer();
    }

    /// Gives the leadership, if it has it, to the one of these voters that lives and has most.
    pub fn hand_over(&mut self, among: &[ReplicaId]) -> Option<ReplicaId> {
        if !self.leads() || !self.leads_surely() {
            return None;
        }
        let progress = self.progress();
        let (me, members, committed) = (ReplicaId(self.raw.raft.id), self.members(), self.committed());
        let to = Situation { me, members, progress: &progress, committed }.successor(among)?;
        self.transfer(to);
        Some(to)
    }

    /// The message that makes the other stand may arrive long after the library gave the transfer up.
    fn note_transfer(&mut self) {
        if self.raw.raft.lead_transferee.is_some() {
            self.transferred_in = Some(self.term());
        }
    }

    /// The connection to `replica` is gone.
    pub fn report_unreachable(&mut self, replica: ReplicaId) {
        self.raw.report_unreachable(replica.0);
        if self.questions.quickest == Some(replica) {
            self.ask_the_others();
        }
    }

    /// The snapshot that was sent to `replica` arrived, or did not.
    pub fn report_snapshot(&mut self, replica: ReplicaId, arrived: bool) {
        let status = if arrived { raft::SnapshotStatus::Finish } else { raft::SnapshotStatus::Failure };
        self.raw.report_snapshot(replica.0, status);
    }

    /// Whether this replica leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.raw.raft.lead_transferee.is_none()
    }

    /// Whether this replica leads and has committed an entry of its term: only then does it know what is committed.
    pub fn leads_surely(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.raw.raft.commit_to_current_term()
    }

    /// What this replica leads as, while nobody else can be elected but by the election time: it has not begun to give its
    /// leadership away, and no change of members is under way.
    pub fn reign(&self) -> Option<Reign> {
        let steady = self.leads_surely() && self.transferred_in != Some(self.term()) && !self.changes_members();
        steady.then(|| Reign { term: self.term(), members_at: self.members_at })
    }

    /// Whether a change of members is under way, or half of one is done.
    pub fn changes_members(&self) -> bool {
        let is_joint = !self.members().voters_outgoing.is_empty();
        is_joint || self.has_unapplied_change()
    }

    /// Whether a change of members may be in this leader's log and not applied: one of its own, or one that it found there. What another
    /// reign proposed and lost is of no account, so nothing is remembered of it.
    fn has_unapplied_change(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// Whether a majority of the members knows durably, and this leader too, that they are the members: an entry that was proposed
    /// after their last change is committed. Before that, after a restart of all, those who were members before may be needed
    /// to elect a leader, as a change counts from when it is known to be committed, and that alone is not synced.
    ///
    /// A transfer of the leadership that was begun in this term, and may have failed, changes nothing of that.
    pub fn members_are_settled(&self) -> bool {
        self.knows_members() && self.applied().index > self.members_told_after
    }

    fn knows_members(&self) -> bool {
        self.leads_surely() && !self.changes_members()
    }

    /// Sees that the members will be settled even if nobody writes.
    pub fn settle_members(&mut self) {
        if self.knows_members() && self.last_index() == self.members_told_after {
            // Should it fail, it is proposed again.
            let _ = self.propose([Bytes::new()]);
        }
    }

    /// The leader as this replica knows it.
    pub fn leader(&self) -> Option<ReplicaId> {
        Some(ReplicaId(self.raw.raft.leader_id)).filter(|id| id.0 != 0)
    }

    /// The shortest time without a leader after which others may be voted for, in ticks.
    pub const fn lease_ticks(&self) -> usize {
        self.lease_ticks
    }

    /// Its term.
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// The highest index of its log.
    pub fn last_index(&self) -> LogIndex {
        LogIndex(self.raw.raft.raft_log.last_index())
    }

    /// The highest index it knows to be committed.
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.raw.raft.raft_log.committed)
    }

    /// The point up to which committed entries were handed out: what a snapshot of the state stands for.
    pub fn applied(&self) -> &SnapshotPoint {
        self.raw.store().applied()
    }

    /// The members at the applied point.
    pub fn members(&self) -> &Members {
        &self.applied().members
    }

    /// Whether this replica is one of the voters at the applied point. A newcomer without a state is not.
    pub fn votes(&self) -> bool {
        let me = ReplicaId(self.raw.raft.id);
        self.members().voters.contains(&me) || self.members().voters_outgoing.contains(&me)
    }

    /// The entry at `index`, as long as it is in memory.
    pub fn entry(&self, index: LogIndex) -> Option<(Term, Bytes)> {
        self.raw.store().entry(index)
    }

    /// Bytes of entries in memory.
    pub fn window_bytes(&self) -> usize {
        self.raw.store().bytes()
    }

    /// How far each follower's log is known to match this leader's; empty on others.
    pub fn matched(&self) -> Vec<(ReplicaId, LogIndex, bool)> {
        if self.raw.raft.state != StateRole::Leader {
            return Vec::new();
        }
        self.progress().into_iter().map(|p| (p.id, p.matched, p.active)).collect()
    }

    fn progress(&self) -> Vec<Progress> {
        let progress = self.raw.raft.prs().iter();
        progress
            .map(|(id, p)| Progress { id: ReplicaId(*id), matched: LogIndex(p.matched), active: p.recent_active })
            .collect()
    }

    /// The next step of this leader towards these voters; none on others, while a change is under way, and when nothing
    /// is left to do or safe to do.
    pub fn next_step(&self, wanted: &[ReplicaId]) -> Option<Step> {
        if !self.leads() || !self.leads_surely() || self.has_unapplied_change() {
            return None;
        }
        let progress = self.progress();
        let (me, members, committed) = (ReplicaId(self.raw.raft.id), self.members(), self.committed());
        next_step(&Situation { me, members, progress: &progress, committed }, wanted)
    }

    /// What is left to do for this leader until the voters are these; nothing on others.
    pub fn left_to_do(&self, wanted: &[ReplicaId]) -> Vec<Standstill> {
        if !self.leads_surely() {
            return Vec::new();
        }
        let progress = self.progress();
        let (me, members, committed) = (ReplicaId(self.raw.raft.id), self.members(), self.committed());
        let mut left = left_to_do(&Situation { me, members, progress: &progress, committed }, wanted);
        if left.is_empty() && !self.members_are_settled() {
            left.push(Standstill::Untold);
        }
        left
    }

    /// The last entry that every member is known to have; none on others than the leader.
    fn matched_everywhere(&self) -> Option<LogIndex> {
        let leads = self.raw.raft.state == StateRole::Leader;
        let least = self.raw.raft.prs().iter().map(|(_, progress)| progress.matched).min();
        least.filter(|_| leads).map(LogIndex)
    }

    fn apply(&mut self, committed: Vec<Entry>, effects: &mut Effects) {
        let Some(last) = committed.last().map(|e| (e.index, e.term)) else { return };
        for entry in committed {
            let data = match entry.get_entry_type() {
                EntryType::EntryNormal => entry.data,
                EntryType::EntryConfChange => {
                    let applied = self.raw.apply_conf_change(&parsed::<ConfChange>(&entry.data));
                    self.set_members(entry.index, applied, Revision(0));
                    Bytes::new()
                }
                EntryType::EntryConfChangeV2 => {
                    let change = parsed::<ConfChangeV2>(&entry.data);
                    let applied = self.raw.apply_conf_change(&change);
                    self.set_members(entry.index, applied, revision(&change.context));
                    Bytes::new()
                }
            };
            effects.committed.push(Committed { index: LogIndex(entry.index), term: Term(entry.term), data });
        }
        self.raw.mut_store().set_applied(LogIndex(last.0), Term(last.1));
        self.raw.advance_apply_to(last.0);
    }

    fn set_members(&mut self, index: u64, applied: raft::Result<ConfState>, by: Revision) {
        self.members_at = LogIndex(index);
        self.members_told_after = self.last_index();
        // An impossible change (removing the last voter) is refused by the library the same way on all replicas.
        if let Ok(conf) = applied {
            let by = by.max(self.members().revision);
            self.raw.mut_store().set_members(Members::of_conf_state(&conf, by));
        }
    }

    fn votes_alone(&self) -> bool {
        let members = self.members();
        members.voters_outgoing.is_empty() && members.voters == [ReplicaId(self.raw.raft.id)]
    }

    /// A snapshot that is not ahead of what is applied must not reach the library with its state unknown.
    fn accepts(&self, message: &Message) -> bool {
        message.get_snapshot().get_metadata().index > self.committed().0
    }
}

/// What is on disk contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The log has a gap.
    #[error("the log has a gap after the snapshot")]
    Gap,
    /// The commit index lies beyond the log.
    #[error("index {commit} is known to be committed, but the log ends at {last}")]
    CommitBeyondLog {
        /// The commit index.
        commit: LogIndex,
        /// The end of the log.
        last: LogIndex,
    },
    /// An entry of a kind that this version does not know.
    #[error("entry {index} is of the unknown kind {kind}")]
    EntryKind {
        /// Its position.
        index: LogIndex,
        /// Its kind.
        kind: u8,
    },
    /// The library refused it.
    #[error("{0}")]
    Rejected(String),
}

fn to_entry(entry: LogEntry) -> Result<Entry, RestoreError> {
    let kind = entry_type(entry.kind).ok_or(RestoreError::EntryKind { index: entry.index, kind: entry.kind })?;
    let mut raw = Entry { term: entry.term.0, index: entry.index.0, data: entry.data, ..Entry::default() };
    raw.set_entry_type(kind);
    Ok(raw)
}

#[cfg(test)]
mod tests;
