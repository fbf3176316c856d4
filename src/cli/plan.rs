//! `pontoon plan FILE`: what would happen if that file were accepted now.

use anyhow::bail;

use super::args::PlanArgs;
use super::gather::{Gathered, gather};
use super::outlook::Outlook;
use super::{print, print_json, redis};
use crate::control::config_file;
use crate::control::operator::{Operator, Target};
use crate::topology::plan::Plan;
use crate::topology::{Catalog, CatalogOutcome, ShardsConfig, ShardsFile};

pub async fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let file = match config_file::load_any(&args.file)? {
        ShardsFile::Cluster(config) => config,
        ShardsFile::Redis(file) => {
            let current = match args.config.as_ref().map(|path| config_file::load_any(path)).transpose()? {
                Some(ShardsFile::Redis(current)) => Some(current),
                Some(ShardsFile::Cluster(_)) => bail!("the file to compare with is one of a cluster of nodes"),
                None => None,
            };
            return redis::plan(&file, current.as_ref(), args.json);
        }
    };
    let operator = Operator { name: "plan".to_owned(), cluster: None };
    let gathered = match &args.config {
        Some(path) => gather(&operator, &config_file::load(path)?).await,
        None => gather(&operator, &file).await,
    };
    let catalog = catalog_of(&gathered)?;
    let outlook = look_ahead(&operator, &gathered, catalog, &file).await;
    match (outlook.refusal(), args.json) {
        (_, true) => print_json(&outlook)?,
        (None, false) => print(&outlook.text())?,
        (Some(_), false) => {}
    }
    match outlook.refusal() {
        Some(reason) => bail!("version {} would be refused: {reason}", file.version),
        None => Ok(()),
    }
}

/// What the file would change, what that costs, and what it would wait for.
pub async fn look_ahead(operator: &Operator, gathered: &Gathered, catalog: &Catalog, file: &ShardsConfig) -> Outlook {
    let plan = Plan::of(catalog, file);
    let usage = gathered.usage(operator, plan.moves.iter().map(|planned| planned.from_id)).await;
    let foreseen = match plan.outcome {
        CatalogOutcome::Accepted { .. } => operator.foresee(&Target::of_catalog(catalog), &file.text).await,
        _ => Ok(Vec::new()),
    };
    Outlook::of(plan, gathered, &usage, foreseen.map_err(|error| error.to_string()))
}

/// The newest catalog.
///
/// # Errors
/// There is none: nobody answered, or there is no cluster.
pub fn catalog_of(gathered: &Gathered) -> anyhow::Result<&Catalog> {
    match (&gathered.catalog, gathered.first_problem()) {
        (Some(catalog), _) => Ok(catalog),
        (None, Some(problem)) if gathered.is_silent() => bail!("no node answered: {problem}"),
        (None, _) => bail!("there is no cluster yet: `pontoon init` creates it"),
    }
}
