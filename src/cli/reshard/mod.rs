//! `pontoon reshard`: an edit of `shards.toml`, shown before it is made.
//!
//! The edited text is handed to the catalog first and written when that accepted it, so that a file that is refused is never
//! left behind. Processes that watch the file then find in it what is accepted already.

pub mod args;

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use args::{ReshardArgs, ReshardOptions};
use serde::Serialize;

use super::gather::{Gathered, gather};
use super::outlook::Outlook;
use super::plan::{catalog_of, look_ahead};
use super::{print, print_json, watch};
use crate::control::config_file;
use crate::control::operator::{Operator, Target};
use crate::control::reload::{Standing, standing};
use crate::topology::config::edit::{Edit, edited};
use crate::topology::{CatalogOutcome, ShardsConfig};

/// What `--json` prints.
#[derive(Serialize)]
struct Result<'a> {
    file: String,
    version: u64,
    /// Whether the file was changed.
    written: bool,
    /// What the catalog said; none where it was not asked.
    outcome: Option<CatalogOutcome>,
    /// What changes; none without a cluster.
    plan: Option<&'a Outlook>,
}

pub async fn run(args: &ReshardArgs) -> anyhow::Result<()> {
    let options = &args.options;
    let operator = Operator { name: "reshard".to_owned(), cluster: None };
    let file = config_file::load(&options.config)?;
    let gathered =
        if options.offline { Gathered { catalog: None, answers: Vec::new() } } else { gather(&operator, &file).await };
    match args.action.edit() {
        None => show(&gathered),
        Some(edit) => make(options, &operator, &file, &edit, &gathered).await,
    }
}

fn show(gathered: &Gathered) -> anyhow::Result<()> {
    print(&catalog_of(gathered)?.config_text)
}

async fn make(
    options: &ReshardOptions,
    operator: &Operator,
    file: &ShardsConfig,
    edit: &Edit,
    gathered: &Gathered,
) -> anyhow::Result<()> {
    if !options.offline && gathered.is_silent() {
        let problem = gathered.first_problem().unwrap_or("the file has no node");
        bail!("no node answered: {problem}; `--offline` edits the file all the same");
    }
    let accepted = base(gathered, file)?;
    let version = file.version.max(accepted) + 1;
    let text = edited(file, edit, version, accepted)?;
    let wanted = ShardsConfig::parse(&text, "the edited file")?;
    let outlook = match &gathered.catalog {
        Some(catalog) => Some(look_ahead(operator, gathered, catalog, &wanted).await),
        None => None,
    };
    if let Some(reason) = outlook.as_ref().and_then(Outlook::refusal) {
        bail!("this would be refused: {reason}");
    }
    if !options.json {
        print(&changed_lines(&file.text, &text))?;
        print(&outlook.as_ref().map_or_else(|| "there is no cluster to ask".to_owned(), Outlook::text))?;
    }
    if let Some(hindrance) = outlook.as_ref().and_then(|outlook| outlook.waits().first())
        && !options.dry_run
    {
        bail!("it cannot be done as things are now, and nothing is changed: {hindrance}");
    }
    let mut outcome = None;
    let go_on = !options.dry_run && agreed(options)?;
    if go_on {
        outcome = propose(operator, gathered, &wanted).await?;
        config_file::replace(&options.config, &file.text, &text).with_context(|| match outcome {
            Some(_) => format!("the cluster accepted version {version}, which `pontoon reshard show` prints"),
            None => "nothing is changed".to_owned(),
        })?;
    }
    if options.json {
        let file = options.config.display().to_string();
        print_json(&Result { file, version, written: go_on, outcome: outcome.clone(), plan: outlook.as_ref() })?;
    } else if go_on {
        print(&match outcome {
            Some(_) => format!("accepted as version {version}; `pontoon status --watch` shows how far it is"),
            None => format!("{} has version {version}", options.config.display()),
        })?;
    }
    if go_on && outcome.is_some() && options.watch {
        watch::until_settled(operator, &wanted, options.json).await?;
    }
    Ok(())
}

/// The version that the edit is made from. A file that is not what the cluster accepted is not the one to edit.
fn base(gathered: &Gathered, file: &ShardsConfig) -> anyhow::Result<u64> {
    let Some(catalog) = &gathered.catalog else { return Ok(file.version) };
    let version = file.version;
    match standing(catalog, file) {
        Standing::Propose => bail!(
            "the file has version {version}, and the cluster has accepted {} so far: look with `pontoon plan` why, first",
            catalog.version
        ),
        Standing::Decided(CatalogOutcome::Stale { version: accepted }) => bail!(
            "the file has version {version}, and the cluster has accepted {accepted}: get that by `pontoon reshard show`"
        ),
        Standing::Decided(CatalogOutcome::Conflict { reason, .. }) => bail!(
            "the file and the accepted one both have version {version}, and differ: {reason}; get that by `pontoon reshard show`"
        ),
        Standing::Decided(_) => Ok(catalog.version),
    }
}

async fn propose(
    operator: &Operator,
    gathered: &Gathered,
    wanted: &ShardsConfig,
) -> anyhow::Result<Option<CatalogOutcome>> {
    let Some(catalog) = &gathered.catalog else { return Ok(None) };
    let outcome = operator.propose(&Target::of_catalog(catalog), &wanted.text, "reshard").await?;
    match &outcome {
        CatalogOutcome::Accepted { .. } | CatalogOutcome::Same { .. } => Ok(Some(outcome)),
        CatalogOutcome::Refused { reason, .. } | CatalogOutcome::Unready { reason, .. } => bail!("refused: {reason}"),
        CatalogOutcome::Stale { version } | CatalogOutcome::Conflict { version, .. } => {
            bail!("somebody else was faster: version {version} is accepted by now")
        }
    }
}

/// Asks, unless told not to.
fn agreed(options: &ReshardOptions) -> anyhow::Result<bool> {
    if options.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        bail!("nobody is there to ask: `--yes` makes the edit, `--dry-run` only shows it");
    }
    let mut out = std::io::stdout();
    write!(out, "Go on? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(true);
    }
    bail!("nothing is changed")
}

/// The lines that differ, as `diff` would show them.
fn changed_lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // An edit is in few places, so what both have in common is found by going on from one of them to the next.
    let (mut i, mut j, mut out) = (0, 0, String::new());
    let mut push = |sign: char, line: &str| out.extend([String::from(sign).as_str(), " ", line, "\n"]);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (next_i, next_j) = meeting(&old[i..], &new[j..]);
        old[i..i + next_i].iter().for_each(|line| push('-', line));
        new[j..j + next_j].iter().for_each(|line| push('+', line));
        (i, j) = (i + next_i, j + next_j);
    }
    out
}

/// The nearest place where both have the same line again, or their ends.
fn meeting(old: &[&str], new: &[&str]) -> (usize, usize) {
    for distance in 0..old.len() + new.len() {
        for i in 0..=distance.min(old.len()) {
            if let (Some(a), Some(b)) = (old.get(i), new.get(distance - i))
                && a == b
            {
                return (i, distance - i);
            }
        }
    }
    (old.len(), new.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_lines_are_shown() {
        let old = "version = 1\na\nb\nc\nd\ne\n";
        assert_eq!(changed_lines(old, old), "");
        let new = "version = 2\na\nc\nd\nx\ny\ne\n";
        assert_eq!(changed_lines(old, new), "- version = 1\n+ version = 2\n- b\n+ x\n+ y\n");
        assert_eq!(changed_lines("a\n", "a\nb\n"), "+ b\n");
        assert_eq!(changed_lines("a\nb\n", "a\n"), "- b\n");
    }
}
