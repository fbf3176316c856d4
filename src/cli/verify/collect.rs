//! Brings the replicas of one shard to one position of their log and asks each what it has there.
//!
//! The shard's leader logs a mark; the replicas freeze their states when they come to it, so writes go on meanwhile. A
//! replica that passed a mark without stopping (a received state, a restart) needs another one: then all begin anew.
//! Everything ends by the deadline; what could not be asked by then is told with the reason.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::compare::{Told, difference_of_digests, differences_of_slot, differences_of_states, differing_slots};
use super::report::{ReplicaOutcome, ShardOutcome};
use crate::control::operator::{Operator, OperatorError, Target};
use crate::net::{Clock, Entropy, Moment};
use crate::protocol::control::{ControlReply, ControlRequest};
use crate::protocol::verification::{MarkDigests, MarkId, MarkPlace, SlotKeys, StateDigest, Verdict};
use crate::topology::{NodeName, ShardId, ShardName, Slot};

/// Between two questions for the same.
pub const ASK_INTERVAL: Duration = Duration::from_millis(25);
/// How long a node that does not answer is asked again.
pub const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(3);
/// Differing slots whose keys are looked at.
const SLOTS_EXAMINED_MAX: usize = 32;

/// One shard and where its replicas are.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its id.
    pub shard: ShardId,
    /// Its label.
    pub name: ShardName,
    /// Its replicas' nodes.
    pub targets: Vec<Target>,
}

/// Who asks, and until when.
#[derive(Clone)]
pub struct Asker {
    /// Asks.
    pub operator: Operator,
    /// Tells the time.
    pub clock: Clock,
    /// Draws the ids of marks.
    pub entropy: Entropy,
    /// When it is too late.
    pub deadline: Moment,
}

/// What a replica said of a mark in the end.
enum Said {
    Ready(Box<StateDigest>),
    Passed,
    Problem(String),
}

impl Asker {
    /// Compares the replicas of a shard.
    pub async fn verify(&self, subject: &Subject) -> ShardOutcome {
        loop {
            let (id, place) = match self.log_mark(subject).await {
                Ok(marked) => marked,
                Err(reason) => return unverified(subject, &reason),
            };
            let said = self.ask_everybody(subject, id, place).await;
            let passed = said.iter().any(|(_, said)| matches!(said, Said::Passed));
            if passed && self.left() > ASK_INTERVAL {
                self.end(subject, id, Verdict::Incomplete).await;
                sleep(ASK_INTERVAL).await;
                continue;
            }
            let outcome = self.judge(subject, id, place, said).await;
            self.end(subject, id, outcome.verdict).await;
            return outcome;
        }
    }

    fn left(&self) -> Duration {
        self.deadline.since(self.clock.now())
    }

    /// Has the leader log a mark, whoever that is by now.
    async fn log_mark(&self, subject: &Subject) -> Result<(MarkId, MarkPlace), String> {
        let mut last = "it took too long".to_owned();
        while !self.left().is_zero() {
            // One whose outcome is unknown may be in the log: no id is used twice.
            let id = MarkId(self.entropy.next());
            let request = ControlRequest::Mark { shard: subject.shard, id };
            match timeout(self.left(), self.operator.ask_leader(&subject.targets, &request)).await {
                Ok(Ok(ControlReply::Marked(place))) => return Ok((id, place)),
                Ok(Ok(_)) => last = "the leader answered another question".to_owned(),
                Ok(Err(OperatorError::NoLeader(reason))) => last = reason,
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => break,
            }
            sleep(ASK_INTERVAL.min(self.left())).await;
        }
        Err(last)
    }

    async fn ask_everybody(&self, subject: &Subject, id: MarkId, place: MarkPlace) -> Vec<(Target, Said)> {
        let mut tasks = JoinSet::new();
        for (i, target) in subject.targets.iter().enumerate() {
            let (this, target, shard) = (self.clone(), target.clone(), subject.shard);
            tasks.spawn(async move { (i, this.ask_replica(&target, shard, id, place).await) });
        }
        let mut said: BTreeMap<usize, Said> = BTreeMap::new();
        while let Some(joined) = tasks.join_next().await {
            said.extend(joined.ok());
        }
        let missing = || Said::Problem("the question was cancelled".to_owned());
        let targets = subject.targets.iter().cloned().enumerate();
        targets.map(|(i, target)| (target, said.remove(&i).unwrap_or_else(missing))).collect()
    }

    /// Asks one replica until it has come to the mark.
    async fn ask_replica(&self, target: &Target, shard: ShardId, id: MarkId, place: MarkPlace) -> Said {
        let request = ControlRequest::Digests { shard, id, index: place.index };
        let mut heard = self.clock.now();
        let mut problem = String::new();
        while !self.left().is_zero() {
            match timeout(self.left(), self.ask_while_pending(target, &request, &mut problem, &mut heard)).await {
                Ok(Ok(said)) => return said,
                Ok(Err(OperatorError::Unreachable { reason, .. })) => problem = reason,
                Ok(Err(error)) => return Said::Problem(error.reason().to_owned()),
                Err(_) => break,
            }
            if self.clock.now().since(heard) > UNREACHABLE_PATIENCE {
                break;
            }
            sleep(ASK_INTERVAL).await;
        }
        Said::Problem(problem)
    }

    async fn ask_while_pending(
        &self,
        target: &Target,
        request: &ControlRequest,
        problem: &mut String,
        heard: &mut Moment,
    ) -> Result<Said, OperatorError> {
        let mut connection = self.operator.connect(target).await?;
        loop {
            match connection.ask(request).await? {
                ControlReply::Digests(MarkDigests::Ready(state)) => return Ok(Said::Ready(state)),
                ControlReply::Digests(MarkDigests::Passed) => return Ok(Said::Passed),
                ControlReply::Digests(MarkDigests::Pending { applied }) => {
                    *heard = self.clock.now();
                    *problem = format!("it was not done in time; it had applied index {applied}");
                }
                _ => return Err(target.refused("an answer to another question")),
            }
            sleep(ASK_INTERVAL).await;
        }
    }

    async fn judge(&self, subject: &Subject, id: MarkId, place: MarkPlace, said: Vec<(Target, Said)>) -> ShardOutcome {
        let (mut replicas, mut told): (Vec<ReplicaOutcome>, Vec<Told<StateDigest>>) = (Vec::new(), Vec::new());
        for (target, said) in said {
            let node = target.node;
            let problem = match said {
                Said::Ready(state) => {
                    told.push((node.clone(), *state));
                    None
                }
                Said::Passed => Some("it keeps passing the marks without stopping there".to_owned()),
                Said::Problem(problem) => Some(problem),
            };
            replicas.push(ReplicaOutcome { node, problem });
        }
        let slots = differing_slots(&told);
        let mut differences = differences_of_states(&told);
        for slot in slots.iter().take(SLOTS_EXAMINED_MAX) {
            match self.keys_of(subject, id, *slot, &told).await {
                Ok(keys) => differences.extend(differences_of_slot(*slot, &keys)),
                Err(error) => {
                    tracing::warn!("the keys of slot {slot} could not be compared: {error}");
                    differences.push(difference_of_digests(*slot, &told));
                }
            }
        }
        let unseen = slots.iter().skip(SLOTS_EXAMINED_MAX);
        differences.extend(unseen.map(|slot| difference_of_digests(*slot, &told)));
        let complete = replicas.iter().all(|replica| replica.problem.is_none());
        let verdict = match (slots.is_empty() && differences.is_empty(), complete) {
            (false, _) => Verdict::Different,
            (true, true) => Verdict::Identical,
            (true, false) => Verdict::Incomplete,
        };
        ShardOutcome {
            name: subject.name.clone(),
            verdict,
            index: Some(place.index),
            term: Some(place.term),
            slots: told.first().map_or(0, |(_, state)| state.slots.len()),
            keys: told.first().map_or(0, |(_, state)| state.keys),
            replicas,
            differing_slots: slots.len(),
            differences,
        }
    }

    /// All keys of a slot, as every replica that could be asked has them.
    async fn keys_of(
        &self,
        subject: &Subject,
        id: MarkId,
        slot: Slot,
        told: &[Told<StateDigest>],
    ) -> Result<Vec<Told<Option<SlotKeys>>>, String> {
        let mut found = Vec::new();
        for target in subject.targets.iter().filter(|target| told.iter().any(|(node, _)| *node == target.node)) {
            let listed = timeout(self.left(), self.list(target, subject.shard, id, slot)).await;
            let listed = listed.map_err(|_| "it took too long".to_owned())?;
            found.push((target.node.clone(), listed.map_err(|error| error.to_string())?));
        }
        Ok(found)
    }

    async fn list(
        &self,
        target: &Target,
        shard: ShardId,
        id: MarkId,
        slot: Slot,
    ) -> Result<Option<SlotKeys>, OperatorError> {
        let mut connection = self.operator.connect(target).await?;
        let (mut whole, mut next) = (SlotKeys::default(), Some(0));
        while let Some(from) = next {
            let request = ControlRequest::SlotKeys { shard, id, slot, from };
            let ControlReply::SlotKeys(page) = connection.ask(&request).await? else {
                return Err(target.refused("an answer to another question"));
            };
            let Some(page) = page else { return Ok(None) };
            next = page.next;
            let mut keys = std::mem::take(&mut whole.keys);
            keys.extend(page.keys);
            whole = SlotKeys { keys, next: None, ..page };
        }
        Ok(Some(whole))
    }

    /// Lets the replicas go on without what they kept. A node that does not hear it lets go by itself.
    async fn end(&self, subject: &Subject, id: MarkId, verdict: Verdict) {
        let request = ControlRequest::EndVerification { shard: subject.shard, id, verdict };
        let _ = timeout(UNREACHABLE_PATIENCE, self.operator.ask_all(&subject.targets, &request)).await;
    }
}

fn unverified(subject: &Subject, reason: &str) -> ShardOutcome {
    let problem = |node: &NodeName| ReplicaOutcome {
        node: node.clone(),
        problem: Some(format!("no mark could be logged: {reason}")),
    };
    ShardOutcome {
        name: subject.name.clone(),
        verdict: Verdict::Incomplete,
        index: None,
        term: None,
        slots: 0,
        keys: 0,
        replicas: subject.targets.iter().map(|target| problem(&target.node)).collect(),
        differing_slots: 0,
        differences: Vec::new(),
    }
}
