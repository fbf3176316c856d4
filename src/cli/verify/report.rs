//! What `pontoon verify` prints, as text and as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::compare::Difference;
use crate::protocol::verification::Verdict;
use crate::topology::{LogIndex, NodeName, ShardName, Term};

/// `pontoon verify --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of all shards: the worst.
    pub verdict: Verdict,
    /// How long it took.
    pub elapsed_ms: u64,
    /// The shards by id.
    pub shards: Vec<ShardOutcome>,
}

/// What the comparison of one shard's replicas came to.
#[derive(Clone, Debug, Serialize)]
pub struct ShardOutcome {
    /// Its label.
    pub name: ShardName,
    /// The outcome.
    pub verdict: Verdict,
    /// The position of the log at which they were compared.
    pub index: Option<LogIndex>,
    /// The term of that entry.
    pub term: Option<Term>,
    /// Slots compared.
    pub slots: usize,
    /// Keys in them.
    pub keys: u64,
    /// The replicas.
    pub replicas: Vec<ReplicaOutcome>,
    /// Slots that are not the same everywhere; only some of them are looked into if there are many.
    pub differing_slots: usize,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// A replica.
#[derive(Clone, Debug, Serialize)]
pub struct ReplicaOutcome {
    /// Its node.
    pub node: NodeName,
    /// Why it could not be compared, or not in full.
    pub problem: Option<String>,
}

impl Report {
    /// Puts the shards together.
    pub fn of(shards: Vec<ShardOutcome>, elapsed_ms: u64) -> Self {
        let any = |verdict| shards.iter().any(|shard| shard.verdict == verdict);
        let verdict = if any(Verdict::Different) {
            Verdict::Different
        } else if any(Verdict::Incomplete) {
            Verdict::Incomplete
        } else {
            Verdict::Identical
        };
        Self { verdict, elapsed_ms, shards }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.shards.iter().for_each(|shard| shard.write(&mut out));
        let sum = match self.verdict {
            Verdict::Identical => "all replicas are identical",
            Verdict::Different => "the replicas differ",
            Verdict::Incomplete => "no difference was found, and not all replicas could be compared",
        };
        line(&mut out, &format!("{sum} ({} ms)", self.elapsed_ms));
        out
    }
}

impl ShardOutcome {
    fn write(&self, out: &mut String) {
        let word = match self.verdict {
            Verdict::Identical => "identical",
            Verdict::Different => "DIFFERENT",
            Verdict::Incomplete => "incomplete",
        };
        let index = self.index.map_or_else(String::new, |index| format!(" at index {index}"));
        let nodes: Vec<&str> =
            self.replicas.iter().filter(|r| r.problem.is_none()).map(|replica| replica.node.as_str()).collect();
        let on = if nodes.is_empty() { "nowhere".to_owned() } else { format!("on {}", nodes.join(", ")) };
        line(out, &format!("shard {}: {word}{index} {on}: {} slots, {} keys", self.name, self.slots, self.keys));
        for replica in &self.replicas {
            if let Some(problem) = &replica.problem {
                line(out, &format!("  {}: {problem}", replica.node));
            }
        }
        self.differences.iter().for_each(|difference| difference.write(out));
        if self.differing_slots > 0 {
            line(out, &format!("  {} slots differ", self.differing_slots));
        }
    }
}

impl Difference {
    fn write(&self, out: &mut String) {
        let place = match (self.slot, &self.key) {
            (Some(slot), Some(key)) => format!("slot {slot}, key \"{key}\""),
            (Some(slot), None) => format!("slot {slot}"),
            (None, _) => "outside of the slots".to_owned(),
        };
        line(out, &format!("  {place}: {}", self.what.join(", ")));
        for replica in &self.replicas {
            line(out, &format!("    {}: {}", replica.node, replica.has));
        }
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes all text");
}

#[cfg(test)]
mod tests {
    use super::super::compare::Seen;
    use super::*;
    use crate::topology::Slot;

    fn shard(verdict: Verdict, problem: Option<&str>, differences: Vec<Difference>) -> ShardOutcome {
        let node = |name, problem: Option<&str>| ReplicaOutcome {
            node: NodeName::new(name),
            problem: problem.map(str::to_owned),
        };
        ShardOutcome {
            name: ShardName::new("a"),
            verdict,
            index: Some(LogIndex(7)),
            term: Some(Term(2)),
            slots: 16384,
            keys: 3,
            replicas: vec![node("n1", None), node("n2", problem)],
            differing_slots: usize::from(verdict == Verdict::Different),
            differences,
        }
    }

    fn difference() -> Difference {
        let seen = |name, has: &str| Seen { node: NodeName::new(name), has: has.to_owned() };
        Difference {
            slot: Slot::new(9),
            key: Some("k\\x00".to_owned()),
            what: vec!["presence"],
            replicas: vec![seen("n1", "string 00, version 5"), seen("n2", "absent")],
        }
    }

    #[test]
    fn differences_weigh_more_than_replicas_that_could_not_be_asked() {
        use Verdict::{Different, Identical, Incomplete};
        for (verdicts, worst) in [
            (vec![Identical, Identical], Identical),
            (vec![Identical, Incomplete], Incomplete),
            (vec![Different, Incomplete], Different),
            (vec![], Identical),
        ] {
            let shards = verdicts.into_iter().map(|verdict| shard(verdict, None, vec![])).collect();
            assert_eq!(Report::of(shards, 0).verdict, worst);
        }
    }

    #[test]
    fn a_report_names_what_differs_and_what_could_not_be_asked() {
        let shards = vec![
            shard(Verdict::Different, None, vec![difference()]),
            shard(Verdict::Incomplete, Some("connection refused"), vec![]),
        ];
        let report = Report::of(shards, 12);
        let expected = "\
shard a: DIFFERENT at index 7 on n1, n2: 16384 slots, 3 keys
  slot 9, key \"k\\x00\": presence
    n1: string 00, version 5
    n2: absent
  1 slots differ
shard a: incomplete at index 7 on n1: 16384 slots, 3 keys
  n2: connection refused
the replicas differ (12 ms)
";
        assert_eq!(report.text(), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["verdict"], &json["shards"][0]["differences"][0]["slot"]), (&"different".into(), &9.into()));
    }
}
