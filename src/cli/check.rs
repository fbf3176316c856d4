//! `pontoon check FILE`: the same judgement that a running process makes of its file.

use serde::Serialize;

use super::args::CheckArgs;
use super::{print, print_json, redis};
use crate::control::config_file;
use crate::topology::{ConfigError, NodeName, ShardsConfig, ShardsFile};

/// What `--json` prints of a valid file.
#[derive(Serialize)]
struct Valid<'a> {
    valid: bool,
    file: &'a str,
    version: u64,
    base: Option<u64>,
    nodes: usize,
    shards: usize,
    catalog: Vec<NodeName>,
}

/// What `--json` prints of an invalid one.
#[derive(Serialize)]
struct Invalid<'a> {
    valid: bool,
    file: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    rule: &'a str,
}

pub fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let outcome = config_file::load_any(&args.file);
    let file = args.file.display().to_string();
    if args.json {
        match &outcome {
            Ok(ShardsFile::Cluster(config)) => print_json(&valid(&file, config))?,
            Ok(ShardsFile::Redis(config)) => print_json(&redis::valid(&file, config))?,
            Err(error) => print_json(&invalid(error))?,
        }
    } else if let Ok(config) = &outcome {
        print(&match config {
            ShardsFile::Cluster(config) => summary(&file, config),
            ShardsFile::Redis(config) => redis::summary(&file, config),
        })?;
    }
    outcome.map(|_| ()).map_err(Into::into)
}

fn valid<'a>(file: &'a str, config: &ShardsConfig) -> Valid<'a> {
    Valid {
        valid: true,
        file,
        version: config.version,
        base: config.base,
        nodes: config.nodes.len(),
        shards: config.shards.len(),
        catalog: config.catalog_members(),
    }
}

fn invalid(error: &ConfigError) -> Invalid<'_> {
    Invalid {
        valid: false,
        file: &error.file,
        line: error.place.map(|place| place.line),
        column: error.place.map(|place| place.column),
        rule: &error.rule,
    }
}

fn summary(file: &str, config: &ShardsConfig) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let catalog: Vec<_> = config.catalog_members().iter().map(ToString::to_string).collect();
    format!(
        "{file}: valid, version {}: {}, {}, catalog on {}",
        config.version,
        counted(config.nodes.len(), "node"),
        counted(config.shards.len(), "shard"),
        catalog.join(", ")
    )
}
