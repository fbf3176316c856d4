//! `pontoon where KEY`: the slot, shard, leader and replicas of a key.

use std::os::unix::ffi::OsStrExt;

use anyhow::bail;

use super::args::WhereArgs;
use super::gather::gather;
use super::report::KeyPlace;
use super::{print, print_json, redis};
use crate::control::config_file;
use crate::control::operator::Operator;
use crate::topology::ShardsFile;

pub async fn run(args: &WhereArgs) -> anyhow::Result<()> {
    let config = match config_file::load_any(&args.config)? {
        ShardsFile::Cluster(config) => config,
        ShardsFile::Redis(config) => {
            let bytes = args.key.as_bytes();
            return redis::locate(&config, &String::from_utf8_lossy(bytes), bytes, args.json).await;
        }
    };
    let operator = Operator { name: "where".to_owned(), cluster: None };
    let gathered = gather(&operator, &config).await;
    let Some(catalog) = &gathered.catalog else {
        match gathered.first_problem().filter(|_| gathered.is_silent()) {
            Some(problem) => bail!("no node answered: {problem}"),
            None => bail!("there is no cluster yet: `pontoon init` creates it"),
        }
    };
    let place = KeyPlace::of(&gathered, catalog, args.key.as_bytes());
    if args.json { print_json(&place) } else { print(&place.text()) }
}
