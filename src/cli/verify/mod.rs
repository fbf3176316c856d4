//! `pontoon verify`: whether all replicas of every shard hold the same, by digests of their states at equal positions of
//! their logs. The cluster serves meanwhile.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | all replicas of all shards are identical |
//! | 1 | there are differences: slots and keys are named |
//! | 2 | no difference was found, and not all could be compared: the reasons are told |

mod collect;
mod compare;
mod report;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::args::VerifyArgs;
use super::gather::gather;
use super::{print, print_json};
use crate::control::config_file;
use crate::control::operator::{Operator, Target};
use crate::net::{Clock, Entropy, Moment};
use crate::protocol::verification::Verdict;
use crate::topology::{Catalog, NodeName, ShardRecord};
use collect::{ASK_INTERVAL, Asker, Subject, UNREACHABLE_PATIENCE};
use report::{Report, ShardOutcome};

/// Shards that are compared at the same time: each makes its replicas read all they hold.
const SHARDS_AT_ONCE: usize = 4;

/// The exit code says what came of it; see the module.
pub async fn run(args: &VerifyArgs) -> ExitCode {
    match verify(args).await {
        Ok(Verdict::Identical) => ExitCode::SUCCESS,
        Ok(Verdict::Different) => ExitCode::from(1),
        Ok(Verdict::Incomplete) => ExitCode::from(2),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::from(2)
        }
    }
}

async fn verify(args: &VerifyArgs) -> anyhow::Result<Verdict> {
    let config = config_file::load(&args.config)?;
    let clock = Clock::system();
    let deadline = clock.now() + Duration::from_millis(args.timeout_ms);
    let operator = Operator { name: "verify".to_owned(), cluster: None };
    let mut gathered = gather(&operator, &config).await;
    // Nodes under load, or just starting, may need a moment to answer.
    let patience = clock.now() + UNREACHABLE_PATIENCE;
    while gathered.is_silent() && clock.now() < patience.min(deadline) {
        sleep(ASK_INTERVAL).await;
        gathered = gather(&operator, &config).await;
    }
    let Some(catalog) = &gathered.catalog else {
        match gathered.first_problem().filter(|_| gathered.is_silent()) {
            Some(problem) => bail!("no node answered: {problem}"),
            None => bail!("there is no cluster yet: `pontoon init` creates it"),
        }
    };
    let asker = Asker { operator, clock: clock.clone(), entropy: Entropy::system(), deadline };
    let subjects = catalog.data_shards().iter().map(|record| subject(catalog, record)).collect();
    let outcomes = verify_all(&asker, subjects).await;
    let report = Report::of(outcomes, clock.now().since(Moment::default()).as_millis() as u64);
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.text())?;
    }
    Ok(report.verdict)
}

/// A shard of the catalog. A replica on a node without an address cannot be there: the catalog names both in one entry.
fn subject(catalog: &Catalog, record: &ShardRecord) -> Subject {
    let all = Target::of_catalog(catalog);
    let of = |node: &NodeName| all.iter().find(|target| target.node == *node).cloned();
    let targets = record.replicas.iter().filter_map(|replica| of(&replica.node)).collect();
    Subject { shard: record.id, name: record.name.clone(), targets }
}

async fn verify_all(asker: &Asker, subjects: Vec<Subject>) -> Vec<ShardOutcome> {
    let mut waiting = subjects.into_iter().enumerate();
    let (mut tasks, mut outcomes) = (JoinSet::new(), Vec::new());
    let mut start = |tasks: &mut JoinSet<(usize, ShardOutcome)>| {
        if let Some((i, subject)) = waiting.next() {
            let asker = asker.clone();
            tasks.spawn(async move { (i, asker.verify(&subject).await) });
        }
    };
    (0..SHARDS_AT_ONCE).for_each(|_| start(&mut tasks));
    while let Some(joined) = tasks.join_next().await {
        outcomes.push(joined.expect("a comparison does not panic"));
        start(&mut tasks);
    }
    outcomes.sort_by_key(|(i, _)| *i);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
