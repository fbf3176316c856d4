//! One owner per slot and epoch: what all nodes logged of slots that changed hands (`pontoon::audit`), put together.

use std::collections::BTreeMap;
use std::path::Path;

/// A change of who serves a slot, in the log of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Lost,
    Gained,
    Kept,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// When it was logged, as text that sorts.
    at: String,
    shard: u64,
    index: u64,
    change: Change,
    /// Slots with their epochs.
    slots: Vec<(u16, u64)>,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_once(" pontoon::audit: slots ")?;
        let at = head.split_whitespace().next()?.to_owned();
        let (change, rest) = rest.split_once(' ')?;
        let change = match change {
            "lost" => Change::Lost,
            "gained" => Change::Gained,
            "kept" => Change::Kept,
            _ => return None,
        };
        let field = |name: &str| rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let (shard, index) = (field("shard")?.parse().ok()?, field("index")?.parse().ok()?);
        let runs: Option<Vec<(u16, u64)>> = field("slots")?.split(',').try_fold(Vec::new(), |mut all, run| {
            let (slots, epoch) = run.split_once('@')?;
            let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            let epoch = epoch.parse().ok()?;
            all.extend((first..=last).map(|slot| (slot, epoch)));
            Some(all)
        });
        Some(Self { at, shard, index, change, slots: runs? })
    }
}

/// What the logs of a run say.
#[derive(Debug, Default)]
pub struct Audit {
    /// Times that a slot got another owner.
    pub handed_over: usize,
    /// What must not be.
    pub broken: Vec<String>,
}

/// Reads the logs of nodes. `clocks_are_true`: what happened first was logged first.
pub fn read(logs: &[std::path::PathBuf], clocks_are_true: bool) -> Audit {
    let mut lines = Vec::new();
    for log in logs {
        lines.extend(read_log(log));
    }
    judge(&lines, clocks_are_true)
}

fn read_log(log: &Path) -> Vec<Line> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let marked = text.lines().filter(|line| line.contains(" pontoon::audit: slots "));
    // A process that is killed may leave half a line, at the end of what it wrote.
    marked.filter_map(Line::parse).collect()
}

/// Who served a slot under an epoch, from where to where in its log.
#[derive(Clone, Debug)]
struct Reign<'a> {
    shard: u64,
    gained: Option<&'a Line>,
    lost: Option<&'a Line>,
}

fn judge(lines: &[Line], clocks_are_true: bool) -> Audit {
    let mut audit = Audit::default();
    // All replicas say the same; the first of them says when.
    let mut entries: BTreeMap<(u64, u64, Change), &Line> = BTreeMap::new();
    for line in lines {
        let first = entries.entry((line.shard, line.index, line.change)).or_insert(line);
        if first.slots != line.slots {
            audit.broken.push(format!("two replicas applied an entry otherwise: {first:?} and {line:?}"));
        }
        if line.at < first.at {
            *first = line;
        }
    }
    let mut reigns: BTreeMap<(u16, u64), Reign<'_>> = BTreeMap::new();
    for line in entries.values() {
        for (slot, epoch) in &line.slots {
            let reign = Reign { shard: line.shard, gained: None, lost: None };
            let reign = reigns.entry((*slot, *epoch)).or_insert(reign);
            let which = if line.change == Change::Lost { &mut reign.lost } else { &mut reign.gained };
            if reign.shard != line.shard || which.replace(line).is_some() {
                audit.broken.push(format!("slot {slot} under epoch {epoch} has two owners, or twice one: {line:?}"));
            }
        }
    }
    let all: Vec<(&(u16, u64), &Reign<'_>)> = reigns.iter().collect();
    for pair in all.windows(2) {
        let [((slot, epoch), before), ((next_slot, next_epoch), next)] = pair else { continue };
        if slot != next_slot || before.shard == next.shard {
            continue;
        }
        audit.handed_over += 1;
        let what = || format!("slot {slot}: under epoch {epoch} {before:?}, under epoch {next_epoch} {next:?}");
        match (before.lost, next.gained) {
            (Some(lost), Some(gained)) if !clocks_are_true || lost.at <= gained.at => {}
            (Some(_), Some(_)) => audit.broken.push(format!("served by two at once: {}", what())),
            (None, _) => audit.broken.push(format!("never lost by who had it: {}", what())),
            (_, None) => audit.broken.push(format!("never gained by who has it: {}", what())),
        }
    }
    audit.broken.truncate(10);
    audit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u32, shard: u64, index: u64, what: &str) -> Line {
        let text = format!("2026-01-01T00:00:{at:02}.5Z DEBUG pontoon::audit: slots ");
        let (change, slots) = what.split_once(' ').unwrap();
        Line::parse(&format!("{text}{change} shard={shard} replica=9 index={index} slots={slots}")).unwrap()
    }

    #[test]
    fn a_slot_with_two_owners_is_seen() {
        let good = [
            line(1, 1, 7, "lost 3-4@1"),
            line(3, 1, 7, "lost 3-4@1"),
            line(2, 2, 5, "gained 3-4@2"),
            line(4, 2, 9, "lost 4@2"),
            line(5, 2, 11, "gained 4@4"),
            line(6, 1, 20, "kept 9@3"),
        ];
        let audit = judge(&good, true);
        assert!(audit.broken.is_empty() && audit.handed_over == 2, "{audit:?}");
        for (bad, times) in [
            (line(4, 1, 30, "gained 3@2"), false),
            (line(4, 2, 5, "gained 3@2"), false),
            (line(7, 3, 1, "gained 3@5"), false),
            (line(7, 3, 1, "gained 4@5"), false),
            (line(0, 2, 5, "gained 3-4@2"), true),
        ] {
            let lines: Vec<Line> = good.iter().cloned().chain([bad.clone()]).collect();
            assert!(!judge(&lines, true).broken.is_empty(), "{bad:?}");
            assert_eq!(judge(&lines, false).broken.is_empty(), times, "{bad:?}");
        }
    }
}
